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
//! writes the comparison, `assemble` turns both into bytes.

mod assemble;
mod check;
mod condition;
mod place;
mod relocate;
mod stub;
mod window;

pub use condition::{ARITHMETIC_FLAGS, Condition, GeneralRegisters, LINES_MAX};
pub use stub::{Stub, plan};
pub use window::{Refusal, plantable};

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

#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GeneralRegisters { pub rax: u64, pub rcx: u64, pub rdx: u64, pub rbx: u64, pub rsp: u64, pub rbp: u64, pub rsi: u64, pub rdi: u64, pub r8: u64, pub r9: u64, pub r10: u64, pub r11: u64, pub r12: u64, pub r13: u64, pub r14: u64, pub r15: u64, pub rflags: u64 }
#[allow(missing_docs)]
pub enum Condition { Match { registers: GeneralRegisters, lines: Vec<(u64, u32)> }, Count { n: u64 } }
#[allow(missing_docs)]
pub struct Stub { pub site: u64, pub site_bytes: Vec<u8>, pub original: Vec<u8>, pub trampoline: u64, pub trampoline_bytes: Vec<u8>, pub hit_rip: u64, pub resume_rip: u64, pub counter: u64 }
#[allow(missing_docs)]
impl Stub { pub fn original_rip(&self, _: u64) -> Option<u64> { None } pub fn entry_into_middle(&self, _: u64) -> Option<u64> { None } }
#[allow(missing_docs)]
pub fn plan(_: u64, _: &[u8], _: &Condition, _: &dyn Fn(u64, u64) -> bool) -> Result<Stub, ()> { Err(()) }
