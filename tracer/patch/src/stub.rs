//! The finished stub, and the arithmetic between its addresses and the program's own.

use crate::assemble::Assembler;
use crate::check::{self, Labels, slot};
use crate::condition::{Condition, LINES_MAX};
use crate::place::{self, BREAKPOINT, CODE_BYTES_MAX, Placement};
use crate::relocate::{self, Place};
use crate::window::{JUMP_BYTES, Refusal, Window};

/// What to write where to plant a stub, and how to read the signals it raises.
///
/// The trampoline is one region: pages of code, then pages of data ([`Stub::data`]). Map all of it readable, writable
/// and executable, or the code without write and the data without execute permission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stub {
    /// The instruction the stub is planted at.
    pub site: u64,
    /// What to write there.
    pub site_bytes: Vec<u8>,
    /// What was there, of the same length.
    pub original: Vec<u8>,
    /// Where `trampoline_bytes` go; not a page boundary.
    pub trampoline: u64,
    /// Code, zeros up to `data`, data.
    pub trampoline_bytes: Vec<u8>,
    /// The pages to map: start and end. What `free` was asked about.
    pub pages: (u64, u64),
    /// The first page of data. `pages.0..data` is code.
    pub data: u64,
    /// Rip, as ptrace reports it at SIGTRAP, when the condition held. All registers are the program's own except rip,
    /// which stands for `site`.
    pub hit_rip: u64,
    /// Where to set rip to let the program go on past the site without another check. Continuing at `hit_rip` does the
    /// same.
    pub resume_rip: u64,
    /// Offset in `trampoline_bytes` of the 64-bit counter, little endian: how many visits (or matching visits) are left
    /// until the stub stops. May be read and set whenever the thread is stopped. Unused by [`Condition::Match`].
    pub counter: u64,
    /// Rip when the check reads what is not mapped, and where to set rip then.
    reads: Vec<(u64, u64)>,
    /// Instruction boundaries of the trampoline at which the state is the program's own: (rip, the program's rip).
    places: Vec<(u64, u64)>,
    /// Starts of instructions inside the overwritten bytes, and their copies.
    entries: Vec<(u64, u64)>,
}

impl Stub {
    /// The program's own rip for a thread stopped at `rip`, inside the trampoline or at the start of an overwritten
    /// instruction: by a fault of a copied instruction, by the int3 of a hit, or between two instructions.
    ///
    /// None inside the check (and inside the few instructions of a copied call): step on until it is Some, watching for
    /// `hit_rip`. None too where the stub has nothing to do with `rip`.
    pub fn original_rip(&self, rip: u64) -> Option<u64> {
        let place = self.places.iter().find(|(place, _)| *place == rip);
        let entry = self.entries.iter().find(|(entry, _)| *entry == rip);
        place.map(|(_, original)| *original).or(entry.map(|(entry, _)| *entry))
    }

    /// Where to set rip after a jump into the middle of the overwritten bytes raised SIGTRAP (`rip_of_fault` is behind
    /// the int3), SIGILL or SIGSEGV (`rip_of_fault` is at the byte): the copy of that instruction.
    ///
    /// No signal of the program's own is mistaken for one: all these addresses lie inside the overwritten bytes. A
    /// single step that ends there is not such a jump: it reports `si_code` TRAP_TRACE, and the trap comes next.
    pub fn entry_into_middle(&self, rip_of_fault: u64) -> Option<u64> {
        self.entries.iter().find_map(|(entry, copy)| {
            let byte = self.site_bytes[(entry - self.site) as usize];
            let reported = entry + u64::from(byte == BREAKPOINT);
            (reported == rip_of_fault).then_some(*copy)
        })
    }

    /// Where to set rip when the stub itself raised SIGSEGV or SIGBUS at `rip`, because memory that it looks at cannot
    /// be read: a visit with an unreadable line then counts as one that does not match; one whose predicate needs what
    /// is unreadable stops. None for every other fault.
    pub fn unreadable(&self, rip: u64) -> Option<u64> {
        self.reads.iter().find(|(read, _)| *read == rip).map(|(_, way_out)| *way_out)
    }

    /// Whether `rip` lies in the trampoline.
    pub fn contains(&self, rip: u64) -> bool {
        (self.pages.0..self.pages.1).contains(&rip)
    }

    /// Addresses inside the overwritten bytes that other code may jump to; each traps.
    pub fn entries(&self) -> impl Iterator<Item = u64> + '_ {
        self.entries.iter().map(|(entry, _)| *entry)
    }
}

/// Plans a stub at `site`.
///
/// `code` are the program's own bytes at `site`: 32, or up to the end of the mapping. Windows of two stubs must not
/// overlap, nor may another stub's bytes be among `code`. `free` answers whether all of the pages from the first address
/// up to the second are free for a trampoline.
///
/// # Errors
///
/// A [`Refusal`] when the instructions must not be moved, or no place is found.
pub fn plan(
    site: u64,
    code: &[u8],
    condition: &Condition,
    free: &dyn Fn(u64, u64) -> bool,
) -> Result<Stub, Refusal> {
    let lines = condition.lines().len();
    if lines > LINES_MAX {
        return Err(Refusal::TooManyLines(lines));
    }
    if let Condition::Holds { predicate, .. } = condition
        && !predicate.fits()
    {
        return Err(Refusal::TooComplex);
    }
    let window = Window::decode(site, code)?;
    let data_bytes = slot::LINES + lines as u64 * 16;
    let placement = place::find(&window, data_bytes, free).ok_or(Refusal::NoRoom(site))?;
    build(&window, code, condition, &placement).map_err(|reason| Refusal::Encoding { site, reason })
}

fn build(window: &Window, code: &[u8], condition: &Condition, placement: &Placement) -> Result<Stub, String> {
    let Placement { displacement, code: trampoline, data, pages } = *placement;
    let order = check::order(window.site, code);
    let mut a = Assembler::default();
    let labels = Labels { slow: a.label(), resume: a.label() };
    let reads = check::fast(&mut a, condition, &order, data, labels);
    a.bind(labels.resume);
    let resume_rip = trampoline + a.here();
    let copy = relocate::copy(&mut a, window, data);
    let places = check::slow(&mut a, condition, &order, data, labels, &reads);
    let mut bytes = a.finish(trampoline)?;
    if bytes.len() as u64 > CODE_BYTES_MAX {
        return Err(format!("{} bytes of code", bytes.len()));
    }
    let data_offset = data - trampoline;
    bytes.resize(data_offset as usize, 0);
    bytes.extend(check::data(condition, &copy.returns));

    let hit_rip = trampoline + places.hit;
    let entry = trampoline + check::ISLAND_BYTES;
    let at_site = [window.site, entry, hit_rip, hit_rip - 1].map(|rip| (rip, window.site));
    let copied = copy.places.iter().map(|Place { offset, original }| (trampoline + offset, *original));
    let entries = window.entries().into_iter();
    let mut site_bytes = vec![0xe9];
    site_bytes.extend(displacement);
    Ok(Stub {
        site: window.site,
        site_bytes,
        original: code[..JUMP_BYTES].to_vec(),
        trampoline,
        trampoline_bytes: bytes,
        pages,
        data,
        hit_rip,
        resume_rip,
        counter: data_offset + slot::COUNTER,
        reads: places.reads.iter().map(|(read, out)| (trampoline + read, trampoline + out)).collect(),
        places: at_site.into_iter().chain(copied).collect(),
        entries: entries
            .map(|(offset, index)| (window.site + offset as u64, trampoline + copy.starts[index]))
            .collect(),
    })
}
