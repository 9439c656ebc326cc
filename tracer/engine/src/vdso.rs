//! The vDSO reads clocks without entering the kernel, which a recorder would not see. Its functions are overwritten
//! with plain system calls at exec, before the program runs.

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol};

/// What each function becomes.
const FUNCTIONS: [(&str, u32); 6] = [
    ("__vdso_clock_gettime", libc::SYS_clock_gettime as u32),
    ("__vdso_gettimeofday", libc::SYS_gettimeofday as u32),
    ("__vdso_time", libc::SYS_time as u32),
    ("__vdso_clock_getres", libc::SYS_clock_getres as u32),
    ("__vdso_getcpu", libc::SYS_getcpu as u32),
    ("__vdso_getrandom", u32::MAX),
];

/// The patches for a vDSO with these contents: offset and bytes of each, and the offset of a `syscall` instruction
/// in one of them.
pub(crate) fn patches(image: &[u8]) -> (Vec<(u64, Vec<u8>)>, Option<u64>) {
    let Ok(file) = ElfFile64::<Endianness>::parse(image) else { return (Vec::new(), None) };
    let mut patches = Vec::new();
    let mut syscall = None;
    for symbol in file.dynamic_symbols() {
        let Some((_, number)) = FUNCTIONS.iter().find(|(name, _)| symbol.name() == Ok(name)) else {
            continue;
        };
        let offset = symbol.address();
        if *number == u32::MAX {
            // getrandom's state lives in user memory that the kernel may drop: refused, so that libc falls back.
            patches.push((offset, [&[0xb8], &(-libc::ENOSYS).to_le_bytes()[..], &[0xc3]].concat()));
            continue;
        }
        // mov eax, number; syscall; ret 0: the last two are as long as the jump of a hook.
        patches.push((offset, [&[0xb8], &number.to_le_bytes()[..], &[0x0f, 0x05, 0xc2, 0, 0]].concat()));
        syscall = Some(offset + 5);
    }
    patches.retain(|(offset, bytes)| offset + bytes.len() as u64 <= image.len() as u64);
    (patches, syscall)
}
