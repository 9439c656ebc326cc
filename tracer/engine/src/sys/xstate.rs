//! Extended state (x87, SSE, AVX and beyond) in the standard format of XSAVE (Intel SDM volume 1, chapter 13).
//!
//! Which components XSAVE marks as in use (XSTATE_BV) differs between identical runs, as do the x87 last-instruction
//! pointers, so a comparison has to look at the canonical form.

/// Offset of XSTATE_BV: the header follows the 512 bytes of the legacy region.
const XSTATE_BV: usize = 512;

/// End of the XSAVE header.
const HEADER_END: usize = 576;

/// x87, in the legacy region, and SSE (XMM and MXCSR).
const X87: u64 = 1;
const SSE: u64 = 2;

/// Hashes the canonical form: components in their initial state count as such whether marked or not, and the x87
/// instruction and data pointers are left out.
pub(crate) fn canonical_hash(bytes: &[u8]) -> u64 {
    if bytes.len() < HEADER_END {
        return hash(bytes);
    }
    let in_use = u64::from_le_bytes(bytes[XSTATE_BV..XSTATE_BV + 8].try_into().expect("eight bytes"));
    let mut legacy = bytes[..XSTATE_BV].to_vec();
    // FOP, FIP and FDP: bytes 6 to 23 (FXSAVE layout). Software-reserved bytes: 464 on.
    legacy[6..24].fill(0);
    legacy[464..].fill(0);
    if in_use & X87 == 0 {
        legacy[..6].copy_from_slice(&[0x7f, 3, 0, 0, 0, 0]);
        legacy[32..160].fill(0);
    }
    if in_use & SSE == 0 {
        legacy[160..416].fill(0);
    }
    // MXCSR_MASK is a constant of the processor. Components past the header are zeros when not in use, and zeros are
    // their initial state, so the bytes themselves are canonical.
    hash(&legacy) ^ hash(&bytes[HEADER_END..]).rotate_left(1)
}

/// The state that exec(2) leaves, in the layout of `like`.
pub(crate) fn initial(like: &[u8]) -> Vec<u8> {
    /// FCW and MXCSR after FNINIT and a reset (Intel SDM volume 1, section 13.6).
    const CONTROL_WORD: [u8; 2] = 0x37fu16.to_le_bytes();
    const MXCSR: [u8; 4] = 0x1f80u32.to_le_bytes();
    let mut bytes = vec![0; like.len()];
    bytes[..2].copy_from_slice(&CONTROL_WORD);
    bytes[24..28].copy_from_slice(&MXCSR);
    // MXCSR_MASK and the kernel's description of the layout are constants of the machine.
    bytes[28..32].copy_from_slice(&like[28..32]);
    bytes[464..XSTATE_BV].copy_from_slice(&like[464..XSTATE_BV]);
    bytes
}

fn hash(bytes: &[u8]) -> u64 {
    bytes.chunks(8).fold(0xcbf2_9ce4_8422_2325, |hash: u64, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    })
}

#[cfg(test)]
mod tests {
    use super::{HEADER_END, XSTATE_BV, canonical_hash};

    #[test]
    fn the_in_use_mark_of_an_initial_component_does_not_count() {
        let mut unmarked = vec![0u8; HEADER_END + 256];
        unmarked[..2].copy_from_slice(&[0x7f, 3]);
        let mut marked = unmarked.clone();
        marked[XSTATE_BV] = 7;
        assert_eq!(canonical_hash(&unmarked), canonical_hash(&marked));
        marked[HEADER_END + 3] = 1;
        assert_ne!(canonical_hash(&unmarked), canonical_hash(&marked));
    }
}
