//! Where a trampoline may lie.
//!
//! The displacement of the planted jump is also code: other code may still jump to the start of an instruction inside
//! it. The byte there must trap when it is executed, which leaves some displacements only (jump punning). The search
//! goes through them, the nearest first, and asks for each whether the address space is free there.

use std::ops::Range;

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
const USER: Range<u64> = 0x1_0000..0x7fff_ffff_f000;

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
    let range = reachable(&window.targets())?;
    displacements(window, &range)
        .filter_map(|displacement| placement(window.site, displacement, data_bytes))
        .filter(|placement| range.start <= placement.pages.0 && placement.pages.1 <= range.end)
        .take(QUESTIONS_MAX)
        .find(|placement| free(placement.pages.0, placement.pages.1))
}

/// Where all pages must lie to reach all targets. None when there is no such place.
fn reachable(targets: &[u64]) -> Option<Range<u64>> {
    let lowest = targets.iter().min()?;
    let highest = targets.iter().max()?;
    let start = highest.saturating_sub(REACH).max(USER.start);
    let end = lowest.saturating_add(REACH).min(USER.end);
    (start < end).then_some(start..end)
}

/// Displacements that lead into `room`, and where they lead, the nearest first.
pub(crate) fn leading_into<'a>(
    window: &Window,
    room: &'a Range<u64>,
) -> impl Iterator<Item = ([u8; 4], u64)> + 'a {
    let next = window.site.wrapping_add(JUMP_BYTES as u64);
    let target = move |displacement: [u8; 4]| {
        (displacement, next.wrapping_add_signed(i64::from(i32::from_le_bytes(displacement))))
    };
    displacements(window, room).map(target).filter(|(_, target)| room.contains(target)).take(QUESTIONS_MAX)
}

fn placement(site: u64, displacement: [u8; 4], data_bytes: u64) -> Option<Placement> {
    let next = site.checked_add(JUMP_BYTES as u64)?;
    let entry = next.checked_add_signed(i64::from(i32::from_le_bytes(displacement)))?;
    let code = entry.checked_sub(ISLAND_BYTES)?;
    let data = code.checked_add(CODE_BYTES_MAX)?.checked_next_multiple_of(PAGE_BYTES)?;
    let end = data.checked_add(data_bytes)?.checked_next_multiple_of(PAGE_BYTES)?;
    Some(Placement { displacement, code, data, pages: (code & !(PAGE_BYTES - 1), end) })
}

/// All displacements whose bytes trap where they must and that lead into `range`, the nearest first.
fn displacements<'a>(window: &Window, range: &'a Range<u64>) -> impl Iterator<Item = [u8; 4]> + 'a {
    let [first, second, third, fourth] = choices(window);
    let next = window.site.wrapping_add(JUMP_BYTES as u64);
    // Whether any displacement with these upper bytes leads into the range, give or take an island.
    let leads_in = move |low: [u8; 4], bytes: u64| {
        let start = next.saturating_add_signed(i64::from(i32::from_le_bytes(low)));
        start < range.end && start.saturating_add(bytes) > range.start
    };
    let upper =
        fourth.into_iter().filter(move |top| leads_in([0, 0, 0, *top], 1 << 24)).flat_map(move |top| {
            let third = third.clone().into_iter();
            third.filter(move |high| leads_in([0, 0, *high, top], 1 << 16)).map(move |high| (high, top))
        });
    let entries = window.entries();
    let all = upper.flat_map(move |(high, top)| {
        let first = first.clone();
        let second = second.clone().into_iter();
        second.flat_map(move |low| first.clone().into_iter().map(move |lowest| [lowest, low, high, top]))
    });
    all.filter(move |displacement| unambiguous(displacement, &entries))
}

/// Whether the address a trap reports names its byte: an int3, which reports the address behind it, may not lie in front
/// of a byte that reports its own.
fn unambiguous(displacement: &[u8; 4], entries: &[(usize, usize)]) -> bool {
    entries.windows(2).all(|pair| {
        let (byte, next) = (pair[0].0 - 1, pair[1].0 - 1);
        next != byte + 1 || displacement[byte] != BREAKPOINT || displacement[next] == BREAKPOINT
    })
}

/// What each byte of the displacement may be, the lowest byte first.
fn choices(window: &Window) -> [Vec<u8>; 4] {
    // The jump should lead ISLAND_BYTES into a page, when the low bytes are free.
    let low = ISLAND_BYTES.wrapping_sub(window.site.wrapping_add(JUMP_BYTES as u64)).to_le_bytes();
    let second = (0..16).map(|high| (low[1] & 0xf) | high << 4);
    let mut choices =
        [vec![low[0]], second.rev().collect(), (0..=255).rev().collect(), (0..=255).rev().collect()];
    for (offset, _) in window.entries() {
        choices[offset - 1] = TRAPS.to_vec();
        if offset + 1 == JUMP_BYTES {
            // An int3 there would report the address of the next instruction, which may fault by itself.
            choices[offset - 1].retain(|byte| *byte != BREAKPOINT);
        }
    }
    // The nearest first, below the site before above it.
    choices[3].sort_by_key(|top| {
        let top = i16::from(*top as i8);
        if top < 0 { (-top - 1) * 2 } else { top * 2 + 1 }
    });
    choices
}
