//! A piece of memory in which real calls are made, so that every byte the kernel changes is seen.
//!
//! [`check`] makes a call twice, with its memory filled with two patterns whose bytes differ everywhere, so
//! that a write that happens to leave a byte as it was shows in the other run. Each changed byte must lie in
//! a range that the table reported.

use std::cell::RefCell;

use syscalls::{Coverage, Range, ReadMemory, by_name, errno_name, writes};

/// Room for the memory of one call.
const LEN: usize = 1 << 17;

/// Bytes left alone after each buffer, where a write past its end shows.
const GAP: usize = 64;

/// The memory of one call.
pub(crate) struct Arena {
    bytes: Box<[u8]>,
    used: usize,
    /// What a case opened or created; undone after the call.
    cleanup: RefCell<Vec<Box<dyn FnOnce()>>>,
}

impl Arena {
    fn new(pattern: u8) -> Arena {
        let bytes = (0..LEN).map(|at| pattern ^ at as u8).collect();
        Arena { bytes, used: GAP, cleanup: RefCell::default() }
    }

    /// A buffer of `len` bytes that holds the pattern.
    pub(crate) fn room(&mut self, len: usize) -> u64 {
        self.used = self.used.next_multiple_of(16);
        let addr = self.bytes.as_mut_ptr().wrapping_add(self.used) as u64;
        self.used += len + GAP;
        assert!(self.used <= LEN, "the arena is too small");
        addr
    }

    /// A buffer that holds these bytes.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        let addr = self.room(bytes.len());
        let at = (addr - self.bytes.as_ptr() as u64) as usize;
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        addr
    }

    /// A buffer that holds these words.
    pub(crate) fn words(&mut self, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.put(&bytes)
    }

    /// A buffer that holds these half words.
    pub(crate) fn ints(&mut self, ints: &[u32]) -> u64 {
        let bytes: Vec<u8> = ints.iter().flat_map(|int| int.to_le_bytes()).collect();
        self.put(&bytes)
    }

    /// A NUL-terminated string.
    pub(crate) fn path(&mut self, path: &str) -> u64 {
        let mut bytes = path.as_bytes().to_vec();
        bytes.push(0);
        self.put(&bytes)
    }

    /// A descriptor that is closed after the call.
    pub(crate) fn fd(&self, fd: i64) -> u64 {
        assert!(fd >= 0, "no descriptor: {}", errno_name(-fd as i32).unwrap_or("?"));
        self.after(move || {
            call("close", [fd as u64, 0, 0, 0, 0, 0]);
        });
        fd as u64
    }

    /// Has something undone after the call.
    pub(crate) fn after(&self, undo: impl FnOnce() + 'static) {
        self.cleanup.borrow_mut().push(Box::new(undo));
    }
}

impl ReadMemory for Arena {
    fn read(&self, addr: u64, buf: &mut [u8]) -> bool {
        let from = addr.checked_sub(self.bytes.as_ptr() as u64).and_then(|from| usize::try_from(from).ok());
        let bytes = from.and_then(|from| self.bytes.get(from..)?.get(..buf.len()));
        bytes.map(|bytes| buf.copy_from_slice(bytes)).is_some()
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        self.cleanup.take().into_iter().rev().for_each(|undo| undo());
    }
}

/// Makes a call and returns what `rax` held.
pub(crate) fn call(name: &str, args: [u64; 6]) -> i64 {
    let nr = by_name(name).unwrap_or_else(|| panic!("no row {name}")).nr;
    let [a, b, c, d, e, f] = args;
    // SAFETY: the callers pass addresses of buffers in an arena, which outlives the call, or no addresses.
    let ret = unsafe { libc::syscall(libc::c_long::from(nr), a, b, c, d, e, f) };
    if ret == 0 && matches!(name, "clone" | "clone3") {
        // SAFETY: the child has nothing to clean up that the parent does not.
        unsafe { libc::_exit(0) };
    }
    if ret == -1 { -i64::from(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { ret }
}

/// What a case expects of its call.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Expect {
    /// It succeeds and changes memory.
    Changes,
    /// It succeeds and changes nothing.
    Nothing,
    /// It fails with this error, and changes memory nevertheless.
    FailsAndChanges(i32),
    /// The kernel here may lack it or deny it; if it works it changes memory.
    MayLack,
}

/// Makes the call that `build` prepares, in both patterns, and holds every changed byte against the table.
#[track_caller]
pub(crate) fn check(name: &str, expect: Expect, build: impl Fn(&mut Arena) -> [u64; 6]) {
    let mut changed_count = 0;
    let mut failed = 0;
    for pattern in [0x00, 0xff] {
        let mut arena = Arena::new(pattern);
        let args = build(&mut arena);
        let before = arena.bytes.to_vec();
        let ret = call(name, args);
        if ret < 0 {
            failed = -ret as i32;
        }
        changed_count += held_against_the_table(name, &args, ret, &before, &arena);
    }
    let told = format!("{name}: error {failed} {:?}, {changed_count} bytes changed", errno_name(failed));
    match expect {
        Expect::Changes => assert!(failed == 0 && changed_count > 0, "{told}"),
        Expect::Nothing => assert!(failed == 0 && changed_count == 0, "{told}"),
        Expect::FailsAndChanges(errno) => assert!(failed == errno && changed_count > 0, "{told}"),
        Expect::MayLack if failed != 0 => println!("not checked: {told}"),
        Expect::MayLack => assert!(changed_count > 0, "{told}"),
    }
}

/// Counts the bytes that changed, each of which must lie in a reported range.
#[track_caller]
fn held_against_the_table(name: &str, args: &[u64; 6], ret: i64, before: &[u8], arena: &Arena) -> usize {
    let nr = by_name(name).map_or(0, |row| row.nr);
    let mut ranges: Vec<Range> = Vec::new();
    let coverage = writes(nr.into(), args, ret, arena, &mut |range| ranges.push(range));
    assert_eq!(coverage, Coverage::Known, "{name}");
    let base = arena.bytes.as_ptr() as u64;
    let changed = || (0..LEN).filter(|&at| arena.bytes[at] != before[at]).map(|at| base + at as u64);
    for addr in changed() {
        let reported =
            ranges.iter().any(|range| addr.checked_sub(range.addr).is_some_and(|at| at < range.len));
        let args = args.map(|arg| format!("{arg:#x}"));
        assert!(reported, "{name}{args:?} = {ret} wrote {addr:#x}, the table says {ranges:x?}");
    }
    changed().count()
}
