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
