//! `/proc/PID/maps` (proc(5)).

use std::io;
use std::ops::Range;

use crate::sys::process::read_proc;

/// One line of the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Map {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// `PROT_*` bits.
    pub(crate) protection: i32,
    pub(crate) shared: bool,
    pub(crate) offset: u64,
    pub(crate) inode: u64,
    /// Path or pseudo-path; empty for anonymous memory.
    pub(crate) name: String,
}

impl Map {
    pub(crate) fn writable(&self) -> bool {
        self.protection & libc::PROT_WRITE != 0
    }

    pub(crate) fn executable(&self) -> bool {
        self.protection & libc::PROT_EXEC != 0
    }

    /// It shows a file.
    pub(crate) fn is_file(&self) -> bool {
        self.inode != 0
    }
}

/// The mappings of a process, in address order.
pub(crate) fn read(process: i32) -> io::Result<Vec<Map>> {
    let text = read_proc(&format!("/proc/{process}/maps"))?;
    Ok(String::from_utf8_lossy(&text).lines().filter_map(parse).collect())
}

/// The mappings that a fork treats in a way of their own (madvise(2)); true where the child finds them empty, false where it
/// does not have them.
pub(crate) fn advised(process: i32) -> io::Result<Vec<(Range<u64>, bool)>> {
    let text = read_proc(&format!("/proc/{process}/smaps"))?;
    Ok(parse_advised(&String::from_utf8_lossy(&text)))
}

fn parse_advised(text: &str) -> Vec<(Range<u64>, bool)> {
    let mut found = Vec::new();
    let mut range = 0..0;
    for line in text.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            if flags.split(' ').any(|flag| flag == "dc") {
                found.push((range.clone(), false));
            } else if flags.split(' ').any(|flag| flag == "wf") {
                found.push((range.clone(), true));
            }
        } else if let Some(map) = parse(line) {
            range = map.start..map.end;
        }
    }
    found
}

fn parse(line: &str) -> Option<Map> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let flags = fields.next()?.as_bytes();
    let offset = fields.next()?;
    let _device = fields.next()?;
    let inode = fields.next()?;
    let bit = |at: usize, letter: u8, bit: i32| if flags.get(at) == Some(&letter) { bit } else { 0 };
    Some(Map {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        protection: bit(0, b'r', libc::PROT_READ)
            | bit(1, b'w', libc::PROT_WRITE)
            | bit(2, b'x', libc::PROT_EXEC),
        shared: flags.get(3) == Some(&b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        inode: inode.parse().ok()?,
        name: fields.next().unwrap_or("").trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{parse, parse_advised};

    #[test]
    fn what_a_fork_leaves_out() {
        let text = "7f00-8f00 rw-p 00000000 00:00 0 \nSize: 4 kB\nVmFlags: rd wr mr mw me ac wf \n\
                    9000-a000 rw-p 00000000 00:00 0 \nVmFlags: rd wr dc sd \nb000-c000 rw-p 00000000 00:00 0 \nVmFlags: rd\n";
        assert_eq!(parse_advised(text), [(0x7f00..0x8f00, true), (0x9000..0xa000, false)]);
    }

    #[test]
    fn a_line_with_a_path_with_spaces() {
        let map =
            parse("7f00-8f00 rw-s 00001000 fe:00 123                       /tmp/a b (deleted)").unwrap();
        assert_eq!((map.start, map.end, map.offset, map.inode), (0x7f00, 0x8f00, 0x1000, 123));
        assert!(map.shared && map.writable() && !map.executable());
        assert_eq!(map.name, "/tmp/a b (deleted)");
    }
}
