//! What calls change elsewhere than in the memory that their arguments name: mappings of files that they write, truncate or
//! let grow, the memory of other processes, and what a fork leaves out.

use std::collections::HashSet;
use std::fs::{File, Metadata};
use std::ops::Range;
use std::os::unix::fs::MetadataExt;

use trace::{Change, EventKind, Mapping, MemoryOp, Registers, SharedObject, Source, SpaceId, Write};

use super::{Phase, Recorder};
use crate::TracerError;
use crate::sys::maps::{self, Map};
use crate::sys::process;

const PAGE: u64 = 4096;

/// Of a larger part of a file only what is no hole is saved.
const SMALL_BYTES: u64 = 1 << 20;

/// A file, by device and inode.
pub(super) type FileKey = (u64, u64);

pub(super) fn key_of(meta: &Metadata) -> FileKey {
    (meta.dev(), meta.ino())
}

/// A file that is mapped such that replay maps a copy of it.
pub(super) struct Copied {
    len: u64,
}

/// A file that a call has written or cut off.
struct Changed {
    file: File,
    key: FileKey,
    len: u64,
    /// Which bytes of it may have new values.
    range: Range<u64>,
}

impl Recorder {
    /// Records an event for what changed while a thread stands where it stands.
    pub(super) fn change(&mut self, thread: i32, changes: Vec<Change>) -> Result<(), TracerError> {
        if changes.iter().all(|change| change.ops.is_empty() && change.writes.is_empty()) {
            return Ok(());
        }
        let task = &self.tasks[&thread];
        let registers = if task.phase == Phase::Kernel { task.entry } else { self.registers(thread)? };
        self.event(thread, registers, EventKind::Change(changes))
    }

    /// The file behind a mapping has this length; an operation that says so when the trace does not yet.
    pub(super) fn size_of_shared(
        &mut self,
        key: FileKey,
        object: &SharedObject,
        len: u64,
    ) -> Option<MemoryOp> {
        let known = self.sizes.insert(key, len);
        (known != Some(len)).then(|| MemoryOp::Resize { object: object.clone(), len })
    }

    /// The length of an object that is a file.
    pub(super) fn known_size(&self, object: &SharedObject) -> Option<u64> {
        let (key, _) = self.shared.iter().find(|(_, known)| known.id == object.id)?;
        self.sizes.get(key).copied()
    }

    pub(super) fn note_copied(&mut self, key: FileKey, len: u64) {
        self.copied.entry(key).or_insert(Copied { len });
    }

    /// Looks at what a finished call has changed in mappings of files and in other processes. Saves in the thread's own memory
    /// go to `writes`, unless the file has another length now: then they come after that.
    pub(super) fn changes_by(
        &mut self,
        thread: i32,
        entry: &Registers,
        result: i64,
        writes: &mut Vec<Write>,
    ) -> Result<Vec<Change>, TracerError> {
        if result < 0 {
            return Ok(Vec::new());
        }
        if let Some(change) = self.reached_over(thread, entry, result)? {
            return Ok(vec![change]);
        }
        if let Some(change) = self.limited(thread, entry) {
            return Ok(vec![change]);
        }
        if self.shared.is_empty() && self.copied.is_empty() {
            return Ok(Vec::new());
        }
        let Some(changed) = self.changed_file(thread, entry, result as u64) else { return Ok(Vec::new()) };
        let mut changes = match self.shared.get(&changed.key).cloned() {
            Some(object) => self.shared_file_changed(thread, &object, &changed, writes)?,
            None => Vec::new(),
        };
        changes.extend(self.copied_file_changed(&changed)?);
        Ok(changes)
    }

    /// The file that a call has changed.
    fn changed_file(&self, thread: i32, entry: &Registers, result: u64) -> Option<Changed> {
        let [first, second, third, fourth, ..] = entry.arguments();
        let whole = |_: &Metadata| 0..u64::MAX;
        let at = |offset: u64| offset..offset.saturating_add(result);
        let by_descriptor = |descriptor: u64| {
            let path = format!("/proc/{thread}/fd/{}", descriptor as i32);
            // Of anything but a file that is mapped nothing need be known.
            let meta = std::fs::metadata(&path).ok().filter(|meta| self.is_mapped(meta))?;
            File::open(path).ok().map(|file| (file, meta))
        };
        let by_path = |path: u64| {
            let path = self.path_argument(thread, path)?;
            let meta = std::fs::metadata(&path).ok().filter(|meta| self.is_mapped(meta))?;
            File::open(path).ok().map(|file| (file, meta))
        };
        let has = |flags: u64, flag: i32| flags & flag as u64 != 0;
        let ((file, meta), range) = match entry.orig_rax as i64 {
            libc::SYS_write | libc::SYS_writev | libc::SYS_sendfile => {
                let end = position(thread, first)?;
                (by_descriptor(first)?, end.saturating_sub(result)..end)
            }
            libc::SYS_pwrite64 | libc::SYS_pwritev | libc::SYS_pwritev2 => {
                let found = by_descriptor(first)?;
                let appends = fourth == u64::MAX || is_appending(thread, first);
                let range = if appends { whole(&found.1) } else { at(fourth) };
                (found, range)
            }
            libc::SYS_copy_file_range | libc::SYS_splice => (by_descriptor(third)?, 0..u64::MAX),
            libc::SYS_fallocate => (by_descriptor(first)?, third..third.saturating_add(fourth)),
            libc::SYS_ftruncate => (by_descriptor(first)?, second..second),
            libc::SYS_truncate => (by_path(first)?, second..second),
            libc::SYS_open if has(second, libc::O_TRUNC) => (by_descriptor(result)?, 0..0),
            libc::SYS_openat if has(third, libc::O_TRUNC) => (by_descriptor(result)?, 0..0),
            libc::SYS_creat => (by_descriptor(result)?, 0..0),
            _ => return None,
        };
        Some(Changed { file, key: key_of(&meta), len: meta.len(), range })
    }

    fn is_mapped(&self, meta: &Metadata) -> bool {
        let key = key_of(meta);
        self.shared.contains_key(&key) || self.copied.contains_key(&key)
    }

    /// A path in a thread's memory, as this process can open it.
    fn path_argument(&self, thread: i32, address: u64) -> Option<std::path::PathBuf> {
        use std::os::unix::ffi::OsStrExt;
        let mut bytes = vec![0; libc::PATH_MAX as usize];
        let read = self.memory_of(thread).read_some(address, &mut bytes).ok()?;
        let end = bytes[..read].iter().position(|byte| *byte == 0)?;
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(&bytes[..end]));
        let root = format!("/proc/{thread}/root");
        Some(match path.strip_prefix("/") {
            Ok(below) => std::path::Path::new(&root).join(below),
            Err(_) => std::path::Path::new(&format!("/proc/{thread}/cwd")).join(path),
        })
    }

    /// Recorded processes show what is in the object: its length and the contents that one of them shows say it all.
    fn shared_file_changed(
        &mut self,
        thread: i32,
        object: &SharedObject,
        changed: &Changed,
        writes: &mut Vec<Write>,
    ) -> Result<Vec<Change>, TracerError> {
        let resize = self.size_of_shared(changed.key, object, changed.len);
        let own = self.tasks[&thread].space;
        let mut changes = Vec::new();
        if let Some(op) = resize {
            changes.push(Change { space: own, ops: vec![op], writes: Vec::new() });
        }
        for (space, map) in self.mappings_of(changed.key, |map| map.shared) {
            let mut saved = Vec::new();
            self.save_changed(space, &map, changed, &mut saved)?;
            if space == own && changes.is_empty() {
                writes.append(&mut saved);
            } else {
                changes.push(Change { space, ops: Vec::new(), writes: saved });
            }
        }
        Ok(changes)
    }

    /// Replay maps a copy of the file as it was: what lies behind a new end is mapped anew.
    fn copied_file_changed(&mut self, changed: &Changed) -> Result<Vec<Change>, TracerError> {
        let Some(copied) = self.copied.get_mut(&changed.key) else { return Ok(Vec::new()) };
        let old = std::mem::replace(&mut copied.len, changed.len);
        let is_cut = changed.len < old;
        self.cut |= is_cut;
        if !self.cut {
            return Ok(Vec::new());
        }
        let mut changes = Vec::new();
        // Without an object those that are mapped shared are copies too.
        let has_object = self.shared.contains_key(&changed.key);
        for (space, map) in self.mappings_of(changed.key, |map| !(map.shared && has_object)) {
            let in_map = |offset: u64| {
                let from = offset.next_multiple_of(PAGE).saturating_sub(map.offset);
                map.start.saturating_add(from).min(map.end)
            };
            let (from, to) =
                if is_cut { (in_map(changed.len), map.end) } else { (in_map(old), in_map(changed.len)) };
            let mut change = Change { space, ops: Vec::new(), writes: Vec::new() };
            if from < to {
                let source = if is_cut {
                    let file = self.files.keep(&changed.file, map.name.as_ref())?;
                    Source::File { file, offset: map.offset + (from - map.start) }
                } else {
                    Source::Zero
                };
                let mapping = Mapping {
                    start: from,
                    end: to,
                    protection: map.protection,
                    grows_down: false,
                    source,
                    name: map.name.clone(),
                };
                self.space_at(space).hooks.unmapped(&(from..to));
                change.ops.push(MemoryOp::Map(mapping));
            }
            self.save_changed(space, &map, changed, &mut change.writes)?;
            if is_cut {
                // The rest of the last page shows zeros.
                let end = Range { start: changed.len & !(PAGE - 1), end: changed.len.next_multiple_of(PAGE) };
                self.save_part(space, &map, &end, None, &mut change.writes)?;
            }
            changes.push(change);
        }
        Ok(changes)
    }

    fn space_at(&mut self, space: SpaceId) -> &mut super::task::Space {
        self.spaces.get_mut(&space).expect("a space lives as long as its threads")
    }

    /// Where recorded processes have mapped a file.
    fn mappings_of(&self, key: FileKey, counts: impl Fn(&Map) -> bool) -> Vec<(SpaceId, Map)> {
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for task in self.tasks.values().filter(|task| seen.insert(task.space)) {
            // One that is just ending has none.
            let maps = maps::read(task.thread).unwrap_or_default();
            let of_file = |map: &Map| map.inode == key.1 && counts(map);
            found.extend(maps.into_iter().filter(of_file).map(|map| (task.space, map)));
        }
        found
    }

    fn save_changed(
        &mut self,
        space: SpaceId,
        map: &Map,
        changed: &Changed,
        writes: &mut Vec<Write>,
    ) -> Result<(), TracerError> {
        let range = changed.range.start..changed.range.end.min(changed.len.next_multiple_of(PAGE));
        self.save_part(space, map, &range, Some(&changed.file), writes)
    }

    /// Saves what a mapping shows of a range of its file.
    fn save_part(
        &mut self,
        space: SpaceId,
        map: &Map,
        range: &Range<u64>,
        file: Option<&File>,
        writes: &mut Vec<Write>,
    ) -> Result<(), TracerError> {
        let (from, to) = (range.start.max(map.offset), range.end.min(map.offset + (map.end - map.start)));
        if from >= to {
            return Ok(());
        }
        let parts = match file.filter(|_| to - from > SMALL_BYTES) {
            Some(file) => process::data_ranges(file, from..to),
            None => Vec::from([Range { start: from, end: to }]),
        };
        let Some(memory) = self.spaces.get(&space).map(|space| std::rc::Rc::clone(&space.memory)) else {
            return Ok(());
        };
        for part in parts {
            self.save(&memory, map.start + (part.start - map.offset), part.end - part.start, writes)?;
        }
        Ok(())
    }

    /// A call that has written to another process's memory (process_vm_writev(2), `/proc/PID/mem`).
    fn reached_over(
        &mut self,
        thread: i32,
        entry: &Registers,
        result: i64,
    ) -> Result<Option<Change>, TracerError> {
        let [first, _, _, fourth, fifth, _] = entry.arguments();
        let (target, ranges) = match entry.orig_rax as i64 {
            libc::SYS_process_vm_writev => {
                (self.named_by(thread, first as i32), self.vector(thread, fourth, fifth, result as u64))
            }
            libc::SYS_write | libc::SYS_pwrite64 if result > 0 => {
                let Some(target) = memory_file_of(thread, first) else { return Ok(None) };
                let end = if entry.orig_rax as i64 == libc::SYS_pwrite64 {
                    fourth.saturating_add(result as u64)
                } else {
                    position(thread, first).unwrap_or(0)
                };
                let start = end.saturating_sub(result as u64);
                (Some(target), Vec::from([Range { start, end }]))
            }
            _ => return Ok(None),
        };
        let Some(space) = target.and_then(|target| self.space_of_process(target)) else { return Ok(None) };
        let memory = std::rc::Rc::clone(&self.space_at(space).memory);
        let mut change = Change { space, ops: Vec::new(), writes: Vec::new() };
        for range in ranges {
            self.save(&memory, range.start, range.end.saturating_sub(range.start), &mut change.writes)?;
        }
        Ok(Some(change))
    }

    /// A call that has set a limit for a stack.
    fn limited(&self, thread: i32, entry: &Registers) -> Option<Change> {
        let [first, second, third, ..] = entry.arguments();
        let is_stack = |resource: u64| resource as u32 == libc::RLIMIT_STACK;
        let target = match entry.orig_rax as i64 {
            libc::SYS_setrlimit if is_stack(first) => thread,
            libc::SYS_prlimit64 if is_stack(second) && third != 0 && first == 0 => thread,
            libc::SYS_prlimit64 if is_stack(second) && third != 0 => self.named_by(thread, first as i32)?,
            _ => return None,
        };
        let space = self.space_of_process(target)?;
        let bytes = process::stack_limit_of(target)?;
        Some(Change { space, ops: vec![MemoryOp::StackLimit { bytes }], writes: Vec::new() })
    }

    /// The recorded process that a thread names so; in a namespace of processes it has another number there.
    fn named_by(&self, thread: i32, id: i32) -> Option<i32> {
        let known =
            |task: &super::task::Task| (task.process == id || task.thread == id).then_some(task.process);
        if process::same_namespace(thread, "pid") {
            return self.tasks.values().find_map(known);
        }
        let there = |task: &&super::task::Task| process::id_in_namespace(task.thread) == Some(id);
        self.tasks.values().find(there).map(|task| task.process)
    }

    fn space_of_process(&self, process: i32) -> Option<SpaceId> {
        let is_of = |task: &&super::task::Task| task.process == process || task.thread == process;
        self.tasks.values().find(is_of).map(|task| task.space)
    }

    /// The first `bytes` bytes of a vector of buffers (readv(2)).
    fn vector(&self, thread: i32, vector: u64, count: u64, bytes: u64) -> Vec<Range<u64>> {
        let memory = self.memory_of(thread);
        let mut left = bytes;
        let mut ranges = Vec::new();
        for index in 0..count.min(libc::UIO_MAXIOV as u64) {
            let entry = vector.wrapping_add(index * 16);
            let (Ok(start), Ok(len)) = (memory.word(entry), memory.word(entry.wrapping_add(8))) else {
                break;
            };
            let len = len.min(left);
            left -= len;
            ranges.push(start..start.saturating_add(len));
            if left == 0 {
                break;
            }
        }
        ranges
    }

    /// Notes that a fork will not simply copy the space (madvise(2)).
    pub(super) fn note_advice(&mut self, thread: i32, advice: u64) {
        if [libc::MADV_DONTFORK as u64, libc::MADV_WIPEONFORK as u64].contains(&advice) {
            self.space_of(thread).forks_in_part = true;
        }
    }

    /// What a fork has left out of the new space: mappings that the parent has kept to itself, and contents.
    pub(super) fn left_out_by_fork(&mut self, parent: i32, space: SpaceId) -> Result<(), TracerError> {
        if !self.space_of(parent).forks_in_part {
            return Ok(());
        }
        self.space_at(space).forks_in_part = true;
        let advised = maps::advised(parent).map_err(TracerError::system("read the mappings"))?;
        let mut ops = Vec::new();
        for (range, is_wiped) in advised {
            let (start, len) = (range.start, range.end - range.start);
            if !is_wiped {
                ops.push(MemoryOp::Unmap { start, len });
                continue;
            }
            ops.push(MemoryOp::Discard { start, len });
            let guards = self.space_at(space).layout.guards();
            if guards.iter().any(|guard| guard.start < range.end && range.start < guard.end) {
                ops.push(MemoryOp::Guard { start, len, install: false });
            }
        }
        let change = Change { space, ops, writes: Vec::new() };
        self.change(parent, vec![change])
    }

    /// The words of locks that the kernel will mark as left behind when the thread ends (get_robust_list(2)): in memory shared
    /// with other processes they are seen when this one's is gone.
    pub(super) fn robust_words(&self, thread: i32) -> Vec<(u64, u32)> {
        /// `ROBUST_LIST_LIMIT` (include/uapi/linux/futex.h).
        const ENTRIES_MAX: usize = 2048;
        const TID: u32 = 0x3fff_ffff;
        const OWNER_DIED: u32 = 0x4000_0000;
        const WAITERS: u32 = 0x8000_0000;
        let memory = self.memory_of(thread);
        let head = process::robust_list(thread).filter(|head| *head != 0);
        let Some((head, Ok([first, offset, pending]))) =
            head.map(|head| (head, memory.array::<24>(head).map(words)))
        else {
            return Vec::new();
        };
        let mut own = None;
        let mut found = Vec::new();
        let mut look = |entry: u64| {
            let address = (entry & !1).wrapping_add(offset);
            let Ok(word) = memory.array(address).map(u32::from_ne_bytes) else { return };
            let own = *own.get_or_insert_with(|| process::id_in_namespace(thread).unwrap_or(thread));
            if word & TID == own as u32 {
                found.push((address, word & WAITERS | OWNER_DIED));
            }
        };
        let mut entry = first;
        for _ in 0..ENTRIES_MAX {
            if entry & !1 == head || entry & !1 == 0 {
                break;
            }
            if entry & !1 != pending & !1 {
                look(entry);
            }
            match memory.word(entry & !1) {
                Ok(next) => entry = next,
                Err(_) => break,
            }
        }
        if pending & !1 != 0 {
            look(pending);
        }
        found
    }
}

fn words(bytes: [u8; 24]) -> [u64; 3] {
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *word = u64::from_ne_bytes(*bytes);
    }
    words
}

/// The process whose memory a descriptor shows.
fn memory_file_of(thread: i32, descriptor: u64) -> Option<i32> {
    let target = std::fs::read_link(format!("/proc/{thread}/fd/{}", descriptor as i32)).ok()?;
    let mut parts = target.strip_prefix("/proc").ok()?.iter().filter_map(|part| part.to_str());
    let process = parts.next()?.parse().ok()?;
    (parts.next_back()? == "mem").then_some(process)
}

/// A line of what `/proc/PID/fdinfo` says of a descriptor (proc(5)).
fn information(thread: i32, descriptor: u64, name: &str) -> Option<String> {
    let text = process::read_proc(&format!("/proc/{thread}/fdinfo/{}", descriptor as i32)).ok()?;
    let text = String::from_utf8_lossy(&text);
    text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// Where the next byte is read or written.
fn position(thread: i32, descriptor: u64) -> Option<u64> {
    information(thread, descriptor, "pos:")?.parse().ok()
}

fn is_appending(thread: i32, descriptor: u64) -> bool {
    let flags = information(thread, descriptor, "flags:").and_then(|text| i32::from_str_radix(&text, 8).ok());
    flags.is_some_and(|flags| flags & libc::O_APPEND != 0)
}
