//! What `/proc/PID/status` says about a traced thread (proc_pid_status(5)), put as it would be without the recorder:
//! nobody traces it, and it may run on the cores that it believes it may.

use trace::Registers;

use super::Recorder;
use crate::TracerError;
use crate::sys::memory::Memory;

/// No status file is longer; a longer result is not looked at.
const STATUS_BYTES_MAX: usize = 4096;

const TRACER: &[u8] = b"TracerPid:\t";
const MASK: &[u8] = b"Cpus_allowed:\t";
const LIST: &[u8] = b"Cpus_allowed_list:\t";
const FILTER: &[u8] = b"Seccomp:\t";
const FILTERS: &[u8] = b"Seccomp_filters:\t";

impl Recorder {
    /// Rewrites the result of a call that has read a status file. Returns the new length.
    pub(super) fn disguise_status(
        &self,
        thread: i32,
        entry: &Registers,
        result: i64,
        memory: &Memory,
    ) -> Result<Option<i64>, TracerError> {
        let is_read = matches!(entry.orig_rax as i64, libc::SYS_read | libc::SYS_pread64);
        let Some(len) = usize::try_from(result).ok().filter(|len| is_read && *len <= STATUS_BYTES_MAX) else {
            return Ok(None);
        };
        // Status files are read whole in practice, and the lines follow this one.
        const LEN_MIN: usize = 64;
        if len < LEN_MIN || memory.array::<6>(entry.rsi).ok().as_ref() != Some(b"Name:\t") {
            return Ok(None);
        }
        let Some(task) = self.status_owner(thread, entry.rdi as i32).and_then(|id| self.tasks.get(&id))
        else {
            return Ok(None);
        };
        let mut text = vec![0; len];
        if memory.read(entry.rsi, &mut text).is_err() {
            return Ok(None);
        }
        let shown = Shown { affinity: &task.affinity, filters: usize::from(task.netted) };
        let new = disguised(&text, &shown, entry.rdx as usize);
        memory.write(entry.rsi, &new).map_err(TracerError::system("write the program's memory"))?;
        Ok(Some(new.len() as i64))
    }

    /// The thread whose status file a descriptor is.
    fn status_owner(&self, thread: i32, descriptor: i32) -> Option<i32> {
        let target = std::fs::read_link(format!("/proc/{thread}/fd/{descriptor}")).ok()?;
        let mut parts = target.strip_prefix("/proc").ok()?.iter().filter_map(|part| part.to_str());
        let process = parts.next()?.parse().ok()?;
        match (parts.next()?, parts.next(), parts.next()) {
            ("status", None, None) => Some(process),
            ("task", Some(thread), Some("status")) => thread.parse().ok(),
            _ => None,
        }
    }
}

/// What a thread is to be shown of itself.
struct Shown<'a> {
    affinity: &'a [u8],
    /// How many of its seccomp filters are the recorder's.
    filters: usize,
}

impl Shown<'_> {
    /// The line in place of `line`, if there is one.
    fn line(&self, line: &[u8]) -> Option<Vec<u8>> {
        let value = |key: &[u8]| line.strip_prefix(key)?.strip_suffix(b"\n");
        if value(TRACER).is_some() {
            Some([TRACER, b"0\n"].concat())
        } else if let Some(old) = value(MASK) {
            Some([MASK, &mask_like(old, self.affinity), b"\n"].concat())
        } else if value(LIST).is_some() {
            Some([LIST, list_of(self.affinity).as_bytes(), b"\n"].concat())
        } else if self.filters > 0 && value(FILTER).is_some() {
            Some([FILTER, b"0\n"].concat())
        } else if self.filters > 0 && value(FILTERS).is_some() {
            Some([FILTERS, b"0\n"].concat())
        } else {
            None
        }
    }
}

/// A status file's text without the recorder; lines that would make it longer than `room` stay as they are.
fn disguised(text: &[u8], shown: &Shown<'_>, room: usize) -> Vec<u8> {
    let mut new = Vec::with_capacity(text.len());
    let mut left = text;
    while !left.is_empty() {
        let len = left.iter().position(|byte| *byte == b'\n').map_or(left.len(), |end| end + 1);
        let (line, rest) = left.split_at(len);
        left = rest;
        let fits = |line: &Vec<u8>| new.len() + line.len() + rest.len() <= room;
        match shown.line(line).filter(fits) {
            Some(line) => new.extend_from_slice(&line),
            None => new.extend_from_slice(line),
        }
    }
    new
}

/// The mask in hexadecimal with as many digits as `old`, and its commas.
fn mask_like(old: &[u8], affinity: &[u8]) -> Vec<u8> {
    let mut nibbles = affinity.iter().flat_map(|byte| [byte & 0xf, byte >> 4]);
    let mut digit = |old: &u8| match old {
        b',' => b',',
        _ => b"0123456789abcdef"[usize::from(nibbles.next().unwrap_or(0))],
    };
    let mut backwards: Vec<u8> = old.iter().rev().map(&mut digit).collect();
    backwards.reverse();
    backwards
}

/// The cores as ranges: `0-3,8`.
fn list_of(affinity: &[u8]) -> String {
    let allowed = |core: usize| affinity.get(core / 8).is_some_and(|byte| byte >> (core % 8) & 1 == 1);
    let mut ranges = Vec::new();
    let mut core = 0;
    while core < affinity.len() * 8 {
        let end = (core..).find(|core| !allowed(*core)).unwrap_or(core);
        match end - core {
            0 => {}
            1 => ranges.push(core.to_string()),
            _ => ranges.push(format!("{core}-{}", end - 1)),
        }
        core = end + 1;
    }
    ranges.join(",")
}

#[cfg(test)]
mod tests {
    use super::{Shown, disguised, list_of};

    fn shown(affinity: &[u8]) -> Shown<'_> {
        Shown { affinity, filters: 1 }
    }

    const SEEN: &str = "Name:\tcat\nTracerPid:\t6899\nFDSize:\t64\nCpus_allowed:\t01\nCpus_allowed_list:\t0\nMems_allowed:\t1\nSeccomp:\t2\n";

    #[test]
    fn the_recorder_does_not_show() {
        let new = disguised(SEEN.as_bytes(), &shown(&[0b1011, 0]), 4096);
        let wanted = "Name:\tcat\nTracerPid:\t0\nFDSize:\t64\nCpus_allowed:\t0b\nCpus_allowed_list:\t0-1,3\nMems_allowed:\t1\nSeccomp:\t0\n";
        assert_eq!(String::from_utf8_lossy(&new), wanted);
    }

    #[test]
    fn a_text_never_outgrows_its_buffer() {
        for room in SEEN.len()..SEEN.len() + 8 {
            assert!(disguised(SEEN.as_bytes(), &shown(&[0x55; 16]), room).len() <= room);
        }
    }

    #[test]
    fn a_cut_line_stays() {
        assert_eq!(disguised(b"Name:\tcat\nTracerPid:\t68", &shown(&[1]), 64), b"Name:\tcat\nTracerPid:\t68");
    }

    #[test]
    fn cores_are_listed_in_ranges() {
        assert_eq!(list_of(&[0xff, 0x01, 0x80]), "0-8,23");
        assert_eq!(list_of(&[0, 0]), "");
    }
}
