//! Calls that the table of system calls has no rule for: what the kernel wrote is found by comparing.
//!
//! Before such a call the memory behind each argument that may be a pointer is kept, and behind each word there that may be
//! one too: that is where structures with buffers lie. What differs afterwards goes to the event. A call that turns out to
//! be unknown only when it returns (restart_syscall(2)) has all of that memory saved.

use std::collections::BTreeMap;

use syscalls::{Coverage, Kind};
use trace::{Registers, Write};

use super::Recorder;
use crate::TracerError;
use crate::sys::memory::Memory;

/// Nothing is mapped below; smaller numbers are counts, flags and descriptors.
const POINTER_MIN: u64 = 0x1_0000;

/// What is compared behind each pointer. No structure of an `ioctl` is longer (`_IOC_SIZEBITS` of `asm-generic/ioctl.h`).
const BYTES: usize = 1 << 14;

/// Bytes of a structure in which further pointers are looked for.
const STRUCTURE_BYTES: usize = 1024;

/// More places than this are not looked at.
const PLACES_MAX: usize = 256;

/// Differences that are closer together become one write.
const GAP_BYTES: usize = 16;

/// Memory as it was before a call.
pub(super) type Before = BTreeMap<u64, Vec<u8>>;

/// The memory that a call may write to of which only its arguments tell. `None` for one that has a rule.
pub(super) fn memory_before(entry: &Registers, memory: &Memory) -> Option<Before> {
    if !may_be_unknown(entry, memory) {
        return None;
    }
    let mut before = Before::new();
    for argument in entry.arguments() {
        keep(&mut before, memory, argument);
    }
    let words: Vec<u64> = before
        .values()
        .flat_map(|bytes| bytes[..bytes.len().min(STRUCTURE_BYTES)].chunks_exact(8))
        .map(|word| u64::from_le_bytes(word.try_into().unwrap_or_default()))
        .collect();
    for word in words {
        keep(&mut before, memory, word);
    }
    Some(before)
}

fn keep(before: &mut Before, memory: &Memory, address: u64) {
    if address < POINTER_MIN || before.len() >= PLACES_MAX || before.contains_key(&address) {
        return;
    }
    let mut bytes = vec![0; BYTES];
    let Ok(read) = memory.read_some(address, &mut bytes) else { return };
    bytes.truncate(read);
    if read > 0 {
        before.insert(address, bytes);
    }
}

/// Whether the table has no rule for a call that succeeds with these arguments.
fn may_be_unknown(entry: &Registers, memory: &Memory) -> bool {
    let Some(row) = syscalls::lookup(entry.orig_rax) else { return true };
    let has_rules = |kind: Kind| {
        kind.is_written()
            && !matches!(kind, Kind::Out(_) | Kind::InOut(_) | Kind::OutAlways(_) | Kind::InOutAlways(_))
    };
    row.args.iter().any(|argument| has_rules(argument.kind))
        && syscalls::writes(entry.orig_rax, &entry.arguments(), 0, memory, &mut |_| {}) == Coverage::Unknown
}

/// The ranges in which two pieces of memory differ.
fn differences(before: &[u8], after: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found: Vec<std::ops::Range<usize>> = Vec::new();
    let differing = before.iter().zip(after).enumerate().filter(|(_, (old, new))| old != new);
    for (at, _) in differing {
        match found.last_mut().filter(|last| at - last.end < GAP_BYTES) {
            Some(last) => last.end = at + 1,
            None => found.push(at..at + 1),
        }
    }
    found
}

/// A call and its command, in words.
fn name_of(call: u64, arguments: &[u64; 6]) -> String {
    let [first, second, third, ..] = *arguments;
    match (syscalls::lookup(call).map(|row| row.name), call as i64) {
        (Some(name), libc::SYS_ioctl) => {
            let request = second as u32;
            syscalls::ioctl_name(request).map_or_else(
                || format!("{name} with the request {request:#x}"),
                |known| format!("{name} {known}"),
            )
        }
        (Some(name), libc::SYS_fcntl) => format!("{name} with the command {second}"),
        (Some(name), libc::SYS_getsockopt) => {
            format!("{name} with the level {second} and the option {third}")
        }
        (Some(name), libc::SYS_semctl) => format!("{name} with the command {third}"),
        (Some(name), libc::SYS_futex) => format!("{name} with the operation {second}"),
        (Some(name), libc::SYS_restart_syscall) => name.to_owned(),
        (Some(name), _) => format!("{name} with the option {first}"),
        (None, _) => format!("number {call}"),
    }
}

impl Recorder {
    /// Adds what a call has written that has no rule, and says so.
    pub(super) fn collect_unknown(
        &mut self,
        (call, arguments): (u64, &[u64; 6]),
        memory: &Memory,
        before: Option<Before>,
        writes: &mut Vec<Write>,
    ) -> Result<(), TracerError> {
        let how = if before.is_some() { "was found by comparing memory" } else { "is taken to be all there" };
        self.warn(format!(
            "no rule is known for the system call {}: what it wrote behind its arguments {how}; if a replay diverges behind it, this may be why",
            name_of(call, arguments)
        ));
        let Some(before) = before else {
            for argument in arguments.iter().filter(|argument| **argument >= POINTER_MIN) {
                self.save(memory, *argument, BYTES as u64, writes)?;
            }
            return Ok(());
        };
        for (address, old) in before {
            let mut new = vec![0; old.len()];
            let read = memory.read_some(address, &mut new).unwrap_or(0);
            for range in differences(&old[..read.min(old.len())], &new) {
                self.save(memory, address + range.start as u64, range.len() as u64, writes)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::differences;

    #[test]
    fn close_differences_are_one() {
        let mut after = [0; 100];
        (after[3], after[10], after[80]) = (1, 2, 3);
        assert_eq!(differences(&[0; 100], &after), [3..11, 80..81]);
        assert_eq!(differences(&after, &after), []);
    }
}
