//! The patch engine.

/// Size of the unit of memory that fingerprints hash, in bytes.
pub const LINE_BYTES: usize = 64;

/// The odd multiplier of [`line_hash`] (the golden ratio in 64 bits).
pub const LINE_HASH_MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// Hash of one line of memory: a polynomial over its eight words, of which the upper half is kept. Simple enough for a
/// stub to compute with general registers only.
pub fn line_hash(line: &[u8; LINE_BYTES]) -> u32 {
    let words = line.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")));
    let hash = words.fold(0u64, |hash, word| hash.wrapping_add(word).wrapping_mul(LINE_HASH_MULTIPLIER));
    (hash >> 32) as u32
}

/// Whether a stub can be planted at the first instruction of `code`, which lies at `address`.
pub fn plantable(code: &[u8], address: u64) -> bool {
    use iced_x86::{Decoder, DecoderOptions};
    let instruction = Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode();
    !instruction.is_invalid()
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
