//! Frames of code that nothing describes: stubs of procedure linkage tables, and functions of which only the first
//! instructions tell how much they pushed.

use crate::module::Module;
use object::{Object, ObjectSection};

/// Bytes of a function that may set up its frame.
const PROLOGUE_BYTES_MAX: u64 = 64;

/// How far above the stack pointer the return address is, when `address` (in the file) is in a linkage table.
pub(crate) fn in_linkage_table(module: &Module, address: u64) -> Option<u64> {
    let inside = |name: &str| {
        let section = module.image.file.section_by_name(name)?;
        let offset = address.checked_sub(section.address())?;
        (offset < section.size()).then_some(offset)
    };
    if [".plt.sec", ".plt.got", ".iplt"].iter().any(|name| inside(name).is_some()) {
        return Some(0);
    }
    // The common part pushes a word of its own, and each stub its number before it goes there.
    let offset = inside(".plt")?;
    Some(match (offset / 16, offset % 16) {
        (0, 0..6) => 8,
        (0, _) => 16,
        (_, within) => {
            // Behind `endbr64`, or behind the jump through the table.
            let landing = module.file_bytes(address - within, 4)? == [0xf3, 0x0f, 0x1e, 0xfa];
            let push = if landing { 4 } else { 6 };
            if within > push { 8 } else { 0 }
        }
    })
}

/// What the instructions before `address` did to the stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pushed {
    /// Bytes below the return address.
    pub(crate) bytes: u64,
    /// How far below the return address the caller's frame pointer was saved.
    pub(crate) frame_pointer: Option<u64>,
    /// The frame pointer is this function's own: the stack pointer may have moved since.
    pub(crate) framed: bool,
}

/// Follows the prologue of the function that begins at `start` up to `address`, both in the file. It ends at the
/// first instruction that sets up nothing: from there on the frame stays as it is.
pub(crate) fn pushed_by(module: &Module, start: u64, address: u64) -> Option<Pushed> {
    let size = address.checked_sub(start)?.min(PROLOGUE_BYTES_MAX);
    // An instruction that has not run yet counts for nothing, but must be read whole to be known.
    let code = module.file_bytes(start, (size + 8) as usize).or(module.file_bytes(start, size as usize))?;
    Some(follow(code, size as usize))
}

fn follow(code: &[u8], end: usize) -> Pushed {
    let mut pushed = Pushed::default();
    let mut at = 0;
    while let Some(rest) = code.get(at..).filter(|_| at < end) {
        let size = match *rest {
            // endbr64
            [0xf3, 0x0f, 0x1e, 0xfa, ..] => 4,
            // push %rbp
            [0x55, ..] => {
                pushed.bytes += 8;
                pushed.frame_pointer = pushed.frame_pointer.or(Some(pushed.bytes));
                1
            }
            // push of another register
            [0x50..=0x57, ..] => {
                pushed.bytes += 8;
                1
            }
            [0x41, 0x50..=0x57, ..] => {
                pushed.bytes += 8;
                2
            }
            // mov %rsp,%rbp, behind the push
            [0x48, 0x89, 0xe5, ..] | [0x48, 0x8b, 0xec, ..] if pushed.frame_pointer == Some(pushed.bytes) => {
                pushed.framed = true;
                3
            }
            // sub $n,%rsp
            [0x48, 0x83, 0xec, small @ 0..=0x7f, ..] => {
                pushed.bytes += u64::from(small);
                4
            }
            [0x48, 0x81, 0xec, a, b, c, d @ 0..=0x7f, ..] => {
                pushed.bytes += u64::from(u32::from_le_bytes([a, b, c, d]));
                7
            }
            // The compiler's scheduler puts the first constants and addresses of the body in between.
            [0xb8..=0xbf, ..] => 5,
            [0x48 | 0x4c, 0x8d, modrm, ..] => match (modrm >> 6, modrm & 7) {
                (0, 5) => 7,
                (0, 4) | (1, 4) | (3, _) => break,
                (0, _) => 3,
                (1, _) => 4,
                (_, 4) => 8,
                _ => 7,
            },
            // mov %fs:0x28,%rax: the guard of the stack
            [0x64, 0x48, 0x8b, 0x04, 0x25, ..] => 9,
            // Moves between registers may stand between the pushes.
            [0x48 | 0x49 | 0x4c | 0x4d, 0x89 | 0x8b, 0xc0..=0xff, ..] => 3,
            [0x89 | 0x8b | 0x31, 0xc0..=0xff, ..] => 2,
            _ => break,
        };
        at += size;
    }
    pushed
}

/// Whether the bytes before a return address are a call.
pub(crate) fn follows_call(module: &Module, return_address: u64) -> bool {
    let ends_with_call = |size: u64| {
        let code = return_address.checked_sub(size).and_then(|at| module.file_bytes(at, size as usize));
        match code {
            Some([0xe8, _, _, _, _]) => size == 5,
            Some([0xff, modrm, ..]) => modrm & 0x38 == 0x10,
            Some([0x41..=0x43, 0xff, modrm, ..]) => modrm & 0x38 == 0x10,
            _ => false,
        }
    };
    (2..=8).any(ends_with_call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prologues_are_followed_to_where_execution_is() {
        // push %rbp; mov %rsp,%rbp; push %rbx; sub $0x18,%rsp; call
        let code = [0x55, 0x48, 0x89, 0xe5, 0x53, 0x48, 0x83, 0xec, 0x18, 0xe8, 0, 0, 0, 0];
        let at = |end| follow(&code, end);
        assert_eq!(at(0), Pushed::default());
        assert_eq!(at(1), Pushed { bytes: 8, frame_pointer: Some(8), framed: false });
        assert_eq!(at(4), Pushed { bytes: 8, frame_pointer: Some(8), framed: true });
        assert_eq!(at(5), Pushed { bytes: 16, frame_pointer: Some(8), framed: true });
        assert_eq!(at(14), Pushed { bytes: 40, frame_pointer: Some(8), framed: true });
        // endbr64; push %r15; push %r14; sub $0x1000,%rsp
        let code = [0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x57, 0x41, 0x56, 0x48, 0x81, 0xec, 0, 0x10, 0, 0, 0xc3];
        assert_eq!(follow(&code, 15), Pushed { bytes: 4112, ..Pushed::default() });
    }
}
