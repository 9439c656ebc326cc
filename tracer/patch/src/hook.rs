//! Hooks: `syscall` instructions that lead to the agent.
//!
//! The jump starts at the instruction itself, never before it, since an interrupted call is begun again at its own
//! address. Its trampoline loads the address of its data into rcx, which the instruction would have overwritten, and
//! jumps to the agent. The agent comes back to the copy of the `syscall` instruction, to have the call made under the
//! recorder's eyes, or behind it.

use std::ops::Range;

use crate::assemble::{Assembler, Target};
use crate::place;
use crate::relocate::{self, Place};
use crate::window::{JUMP_BYTES, Refusal, Window};

/// What to write where to hook a `syscall` instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Address of the instruction.
    pub site: u64,
    /// What to write there.
    pub site_bytes: Vec<u8>,
    /// What was there, of the same length.
    pub original: Vec<u8>,
    /// Where `trampoline_bytes` go.
    pub trampoline: u64,
    /// Code, then data, which nobody writes to.
    pub trampoline_bytes: Vec<u8>,
    /// The copy of the `syscall` instruction.
    pub traced: u64,
    /// Where the program goes on when the call has been made.
    pub continuation: u64,
    /// Address behind the overwritten instructions.
    pub end: u64,
    /// Instruction boundaries of the trampoline at which the state is the program's own: (rip, the program's rip).
    places: Vec<(u64, u64)>,
    /// Starts of instructions inside the overwritten bytes, and their copies.
    entries: Vec<(u64, u64)>,
}

/// No trampoline is longer.
const BYTES_MAX: u64 = 256;

impl Hook {
    /// The program's own rip for a thread stopped at `rip` in the trampoline: `None` on the way to the agent, and where
    /// the hook has nothing to do with `rip`.
    pub fn original_rip(&self, rip: u64) -> Option<u64> {
        self.places.iter().find(|(place, _)| *place == rip).map(|(_, original)| *original)
    }

    /// The program's own rip and rcx for a thread stopped at `rip` in the trampoline, where [`Hook::original_rip`] knows it:
    /// behind the copy of the call rcx holds the copy's next address instead of the program's.
    pub fn original_rip_and_rcx(&self, rip: u64, rcx: u64) -> Option<(u64, u64)> {
        let own_rcx = if rcx == self.continuation { self.site + 2 } else { rcx };
        Some((self.original_rip(rip)?, own_rcx))
    }

    /// Where a thread has to go on that stood at `rip`, inside the bytes that are overwritten now.
    pub fn copy_of(&self, rip: u64) -> Option<u64> {
        self.entries.iter().find(|(entry, _)| *entry == rip).map(|(_, copy)| *copy)
    }

    /// Where to set rip after a jump into the middle of the overwritten bytes raised a signal, as
    /// [`Stub::entry_into_middle`](crate::Stub::entry_into_middle).
    pub fn entry_into_middle(&self, rip_of_fault: u64) -> Option<u64> {
        self.entries.iter().find_map(|(entry, copy)| {
            let byte = self.site_bytes[(entry - self.site) as usize];
            let reported = entry + u64::from(byte == place::BREAKPOINT);
            (reported == rip_of_fault).then_some(*copy)
        })
    }

    /// Whether `rip` lies in the trampoline.
    pub fn contains(&self, rip: u64) -> bool {
        (self.trampoline..self.trampoline + self.trampoline_bytes.len() as u64).contains(&rip)
    }

    /// Whether `rip` is on the way from the site to the agent.
    pub fn leads_in(&self, rip: u64) -> bool {
        (self.trampoline..self.traced).contains(&rip)
    }
}

/// Bytes of a range for trampolines, a room.
pub const ROOM_BYTES: u64 = 1 << 20;

/// Where a room for the hook of a site may start, the best places first.
///
/// Where an instruction starts in the last byte of the jump, that byte of the displacement must trap (jump punning), which
/// it does at a certain distance only. So a room is put there, where it serves any site: about 800 MB below the code, out of
/// the way of what is mapped next to it, or a gigabyte above.
pub fn rooms(site: u64) -> impl Iterator<Item = u64> {
    /// Displacements of about the same size: -0x31800000 and 0x3f800000 are in the middle of those that end in 0xce and 0x3f.
    const BELOW: u64 = 0x3180_0000;
    const ABOVE: u64 = 0x3f80_0000;
    /// So many rooms have the same last byte of the displacement.
    const SAME: u64 = 7;
    const STEP: u64 = 16 << 20;
    const LOWEST: u64 = 0x1000_0000;
    /// The displacement must reach, with some room.
    const REACH: u64 = 0x7ff0_0000;
    let base = site & !(ROOM_BYTES - 1);
    let around = |middle: u64| {
        let down = (1..=SAME).filter_map(move |index| middle.checked_sub(index * ROOM_BYTES));
        std::iter::once(middle).chain(down).chain((1..=SAME).map(move |index| middle + index * ROOM_BYTES))
    };
    let below = base.checked_sub(BELOW).into_iter().flat_map(around);
    let others =
        (1..100).flat_map(move |index| [base.checked_sub(index * STEP), base.checked_add(index * STEP)]);
    below
        .chain(around(base.saturating_add(ABOVE)))
        .chain(others.flatten())
        .filter(move |start| *start >= LOWEST && start.abs_diff(site) + ROOM_BYTES < REACH)
}

/// Plans a hook of the `syscall` instruction at `site`, with a trampoline somewhere in `room` that leads to the agent's
/// `entry`.
///
/// `code` are the program's own bytes at `site`: 32, or up to the end of the mapping. `free` answers whether a range of
/// addresses in `room` is unused.
///
/// # Errors
/// A [`Refusal`] when there is no `syscall` instruction, the ones behind it must not be moved, or no place is found.
pub fn hook(
    site: u64,
    code: &[u8],
    entry: u64,
    room: &Range<u64>,
    free: &dyn Fn(u64, u64) -> bool,
) -> Result<Hook, Refusal> {
    let window = Window::of_call(site, code)?;
    let fits = |start: &u64| {
        room.contains(start) && start + BYTES_MAX <= room.end && free(*start, start + BYTES_MAX)
    };
    let (displacement, trampoline) =
        place::leading_into(&window, room).find(|(_, start)| fits(start)).ok_or(Refusal::NoRoom(site))?;
    build(&window, code, entry, displacement, trampoline).map_err(|reason| Refusal::Encoding { site, reason })
}

fn build(
    window: &Window,
    code: &[u8],
    entry: u64,
    displacement: [u8; 4],
    trampoline: u64,
) -> Result<Hook, String> {
    let mut a = Assembler::default();
    let (data, target) = (a.label(), a.label());
    a.raw_relative(&[0x48, 0x8d, 0x0d, 0, 0, 0, 0], 3, Target::Label(data));
    a.raw_relative(&[0xff, 0x25, 0, 0, 0, 0], 2, Target::Label(target));
    let traced = trampoline + a.here();
    let copy = relocate::copy(&mut a, window, trampoline);
    if !copy.returns.is_empty() {
        return Err("a call behind a system call".into());
    }
    a.raw(&vec![0xcc; (8 - a.here() as usize % 8) % 8]);
    a.bind(data);
    let continuation = trampoline + copy.starts.get(1).copied().ok_or("nothing follows the call")?;
    for word in [window.site + 2, continuation, traced] {
        a.raw(&word.to_le_bytes());
    }
    a.bind(target);
    a.raw(&entry.to_le_bytes());
    let bytes = a.finish(trampoline)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("{} bytes of trampoline", bytes.len()));
    }
    let places = copy.places.iter().map(|Place { offset, original }| (trampoline + offset, *original));
    let entries = window.entries().into_iter();
    Ok(Hook {
        site: window.site,
        site_bytes: [&[0xe9], &displacement[..]].concat(),
        original: code[..JUMP_BYTES].to_vec(),
        trampoline,
        trampoline_bytes: bytes,
        traced,
        continuation,
        end: window.end(),
        places: places.collect(),
        entries: entries
            .map(|(offset, index)| (window.site + offset as u64, trampoline + copy.starts[index]))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::{ROOM_BYTES, hook, rooms};
    use crate::Refusal;

    /// `syscall; cmp rax, -4096; ja .`, as in the C library.
    const USUAL: [u8; 14] =
        [0x0f, 0x05, 0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff, 0x77, 0xfe, 0x90, 0x90, 0x90, 0x90];
    const SITE: u64 = 0x7f00_1234_5678;

    fn room() -> std::ops::Range<u64> {
        SITE - 0x80_0000..SITE - 0x7c_0000
    }

    #[test]
    fn the_jump_leads_to_the_trampoline() {
        let hook = hook(SITE, &USUAL, 0x2_0000, &room(), &|_, _| true).expect("a hook");
        let displacement = i32::from_le_bytes(hook.site_bytes[1..].try_into().expect("four bytes"));
        assert_eq!(SITE.wrapping_add(5).wrapping_add_signed(displacement.into()), hook.trampoline);
        assert_eq!(hook.original_rip(hook.traced), Some(SITE));
        assert_eq!(hook.original_rip(hook.continuation), Some(SITE + 2));
        assert_eq!(hook.copy_of(SITE + 2), Some(hook.continuation));
        assert_eq!(hook.continuation, hook.traced + 2);
        assert!(hook.leads_in(hook.trampoline) && !hook.leads_in(hook.traced));
    }

    #[test]
    fn the_best_room_serves_any_site() {
        // `syscall; mov edi, ebx; mov [rsp+8], rax`, as where the C library waits for a condition variable.
        let code = [0x0f, 0x05, 0x89, 0xdf, 0x48, 0x89, 0x44, 0x24, 0x08, 0x90, 0x90, 0x90, 0x90, 0x90];
        for site in [SITE, SITE & !0xf_ffff, SITE | 0xf_ffff, 0x40_1234] {
            let start = rooms(site).next().expect("a room");
            hook(site, &code, 0x2_0000, &(start..start + ROOM_BYTES), &|_, _| true).expect("a hook");
        }
    }

    #[test]
    fn trampolines_do_not_overlap() {
        let mut taken: Vec<(u64, u64)> = Vec::new();
        for index in 0..40 {
            let free = |start: u64, end: u64| taken.iter().all(|(from, to)| end <= *from || *to <= start);
            let hook = hook(SITE + index * 64, &USUAL, 0x2_0000, &room(), &free).expect("a hook");
            taken.push((hook.trampoline, hook.trampoline + hook.trampoline_bytes.len() as u64));
        }
    }

    #[test]
    fn a_jump_into_the_middle_traps_and_is_known() {
        let hook = hook(SITE, &USUAL, 0x2_0000, &room(), &|_, _| true).expect("a hook");
        let reported = SITE + 2 + u64::from(hook.site_bytes[2] == 0xcc);
        assert_eq!(hook.entry_into_middle(reported), Some(hook.continuation));
    }

    #[test]
    fn padding_behind_the_end_of_a_function_is_no_entry() {
        // As in getpid: `syscall; ret`, and a long nop.
        let code = [0x0f, 0x05, 0xc3, 0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0, 0x90, 0x90];
        let found = hook(SITE, &code, 0x2_0000, &room(), &|_, _| true).expect("a hook");
        assert_eq!((found.copy_of(SITE + 2).is_some(), found.copy_of(SITE + 3)), (true, None));
        // The next function must not be touched.
        let next = [0x0f, 0x05, 0xc3, 0xb8, 0x28, 0, 0, 0, 0x0f, 0x05, 0xc3];
        assert!(hook(SITE, &next, 0x2_0000, &room(), &|_, _| true).is_err());
    }

    #[test]
    fn only_system_calls_are_hooked() {
        let refused = hook(SITE, &USUAL[2..], 0x2_0000, &room(), &|_, _| true);
        assert!(matches!(refused, Err(Refusal::NotRelocatable(SITE))), "{refused:?}");
    }
}
