//! The patch engine: how to plant a stub at an instruction of another, stopped process.
//!
//! Pure functions: bytes and addresses in, bytes and addresses out. Nothing here reads another process, calls the
//! kernel or panics on what it is given; the caller writes the bytes, maps the trampoline and handles the signals.
//! While a stub is planted or taken away, exactly one thread may run in the address space: neither the planted jump
//! nor the trampoline's data is made for two.
//!
//! Start at [`plan`], which gives a [`Stub`]; [`Condition`] says when it stops the thread. The parts:
//! `window` decodes the instructions that the jump overwrites and says which must not be moved, `place` finds where
//! the trampoline may lie so that the jump's own bytes trap, `relocate` copies the overwritten instructions, `check`
//! writes the comparison, `evaluate` that of a `predicate`, `assemble` turns both into bytes.

mod assemble;
mod check;
mod condition;
mod evaluate;
mod hook;
mod place;
mod predicate;
mod relocate;
mod stub;
mod window;

pub use condition::{ARITHMETIC_FLAGS, Condition, GeneralRegisters, LINES_MAX};
pub use hook::{Hook, ROOM_BYTES, hook, rooms};
pub use predicate::{Operation, Predicate, ReadMemory, RegisterNumber, Relation, Size, Term, Width};
pub use stub::{Stub, plan};
pub use window::{JUMP_BYTES, NEIGHBOURHOOD_BYTES, Refusal, is_quiet, is_quiet_hook, plantable};

/// Size of the unit of memory that fingerprints hash, in bytes.
pub const LINE_BYTES: usize = 64;

/// The odd multiplier of [`line_hash`] (the golden ratio in 64 bits).
pub const LINE_HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of one line of memory: a polynomial over its eight words, of which the upper half is kept. Simple enough for a
/// stub to compute with general registers only.
pub fn line_hash(line: &[u8; LINE_BYTES]) -> u32 {
    let (words, _) = line.as_chunks::<8>();
    let step = |hash: u64, word: &[u8; 8]| {
        hash.wrapping_add(u64::from_le_bytes(*word)).wrapping_mul(LINE_HASH_MULTIPLIER)
    };
    (words.iter().fold(0, step) >> 32) as u32
}
