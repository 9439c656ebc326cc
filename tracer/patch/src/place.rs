//! Where a trampoline may lie.
//!
//! The displacement of the planted jump is also code: other code may still jump to the start of an instruction inside
//! it. The byte there must trap when it is executed, which leaves some displacements only (jump punning). The search
//! goes through them, the nearest first, and asks for each whether the address space is free there.

use crate::check::ISLAND_BYTES;
use crate::window::{JUMP_BYTES, Window};

/// Bytes that trap as the first byte of an instruction in 64-bit mode: int3 (#BP), else opcodes without a meaning there
/// (#UD; Intel SDM volume 2, table A-2).
const TRAPS: [u8; 18] = [
    BREAKPOINT, 0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61, 0x82, 0x9a,
    0xce, 0xea,
];

/// int3. It reports the address behind it, the others their own.
pub(crate) const BREAKPOINT: u8 = 0xcc;

/// Size of a page.
pub(crate) const PAGE_BYTES: u64 = 0x1000;

/// Upper bound of the code of a trampoline: about 450 bytes of check and 210 of copy.
pub(crate) const CODE_BYTES_MAX: u64 = 1024;

/// The user half of the address space, without its first 64 KiB and last page.
const USER: std::ops::Range<u64> = 0x1_0000..0x7fff_ffff_f000;

/// How far a 32-bit displacement reaches, whichever instruction of the trampoline it is in.
const REACH: u64 = 0x7fff_0000;

/// Upper bound of the questions asked about one site.
const QUESTIONS_MAX: usize = 1 << 20;

/// Where the parts of a trampoline lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The displacement to plant.
    pub(crate) displacement: [u8; 4],
    /// Start of the code, which is `ISLAND_BYTES` before the address the jump leads to.
    pub(crate) code: u64,
    /// Start of the data, a page boundary.
    pub(crate) data: u64,
    /// The pages of both.
    pub(crate) pages: (u64, u64),
}

/// The first free placement.
pub(crate) fn find(window: &Window, data_bytes: u64, free: &dyn Fn(u64, u64) -> bool) -> Option<Placement> {
    let targets = window.targets();
    Displacements::new(window)
        .filter_map(|displacement| placement(window.site, displacement, data_bytes))
        .filter(|placement| reaches(placement, &targets))
        .take(QUESTIONS_MAX)
        .find(|placement| free(placement.pages.0, placement.pages.1))
}

fn placement(site: u64, displacement: [u8; 4], data_bytes: u64) -> Option<Placement> {
    let next = site.checked_add(JUMP_BYTES as u64)?;
    let entry = next.checked_add_signed(i64::from(i32::from_le_bytes(displacement)))?;
    let code = entry.checked_sub(ISLAND_BYTES)?;
    let data = code.checked_add(CODE_BYTES_MAX)?.checked_next_multiple_of(PAGE_BYTES)?;
    let end = data.checked_add(data_bytes)?.checked_next_multiple_of(PAGE_BYTES)?;
    let pages = (code & !(PAGE_BYTES - 1), end);
    let user = USER.contains(&pages.0) && end <= USER.end;
    user.then_some(Placement { displacement, code, data, pages })
}

fn reaches(placement: &Placement, targets: &[u64]) -> bool {
    let (start, end) = placement.pages;
    targets.iter().all(|target| target.abs_diff(start) < REACH && target.abs_diff(end) < REACH)
}

/// All displacements whose bytes trap where they must.
struct Displacements {
    /// What each byte may be, the lowest first.
    choices: [Vec<u8>; 4],
    /// The next to give.
    indexes: [usize; 4],
    done: bool,
}

impl Displacements {
    fn new(window: &Window) -> Self {
        let forced = |byte: usize| window.entries().iter().any(|(offset, _)| *offset == byte + 1);
        // The jump's target should lie ISLAND_BYTES into a page, when its low bytes are free.
        let low = ISLAND_BYTES.wrapping_sub(window.site.wrapping_add(JUMP_BYTES as u64));
        let low_bytes = low.to_le_bytes();
        let first = vec![low_bytes[0]];
        let second = (0..16).map(|high| (low_bytes[1] & 0xf) | high << 4).collect();
        let third = (0..=255).rev().collect();
        let fourth = (0..=255).collect();
        let mut choices: [Vec<u8>; 4] = [first, second, third, fourth];
        for (byte, choices) in choices.iter_mut().enumerate() {
            if forced(byte) {
                *choices = TRAPS.to_vec();
            }
        }
        // The nearest first, below the site before above it.
        choices[3].sort_by_key(|byte| {
            let signed = *byte as i8;
            (i16::from(signed).abs() * 2 + i16::from(signed < 0), *byte)
        });
        let top = choices[3].iter().position(|byte| *byte == 0xff);
        if let Some(top) = top {
            choices[3][..=top].rotate_right(1);
        }
        Self { choices, indexes: [0; 4], done: false }
    }
}

impl Iterator for Displacements {
    type Item = [u8; 4];

    fn next(&mut self) -> Option<[u8; 4]> {
        if self.done {
            return None;
        }
        let current = std::array::from_fn(|byte| self.choices[byte][self.indexes[byte]]);
        self.done = true;
        for (index, choices) in self.indexes.iter_mut().zip(&self.choices) {
            *index += 1;
            if *index < choices.len() {
                self.done = false;
                break;
            }
            *index = 0;
        }
        Some(current)
    }
}
