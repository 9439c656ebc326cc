//! Calls that change the address space, as operations that replay executes.

use std::fs::File;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use trace::{Effect, Mapping, MemoryOp, Registers, SharedObject, Source, Write};

use super::changes::key_of;
use super::clocks::is_in_memory;
use super::exec::{TRAP, TextKey, text_of};
use super::{NO_EFFECT, Recorder};
use crate::TracerError;
use crate::sys::{maps, process};

const PAGE: u64 = 4096;

/// Values of madvise(2) that drop contents.
const MADV_DONTNEED: u64 = 4;
const MADV_FREE: u64 = 8;
const MADV_REMOVE: u64 = 9;
const MADV_DONTNEED_LOCKED: u64 = 24;
/// Values of madvise(2) that make guard pages of pages, and take that back.
const MADV_GUARD_INSTALL: u64 = crate::layout::guard_advice(true);
const MADV_GUARD_REMOVE: u64 = crate::layout::guard_advice(false);

const MREMAP_DONTUNMAP: u64 = 4;

/// No device has this number: segments of shmget(2) are told apart from files by it.
pub(super) const SEGMENTS: u64 = u64::MAX;

fn pages(len: u64) -> u64 {
    len.next_multiple_of(PAGE)
}

impl Recorder {
    pub(super) fn mapping_effect(
        &mut self,
        thread: i32,
        entry: &Registers,
        result: i64,
        writes: &mut Vec<Write>,
    ) -> Result<Effect, TracerError> {
        let [a0, a1, a2, a3, ..] = entry.arguments();
        // Where nothing is mapped in a part of the range, the rest has been seen to all the same (madvise(2)).
        let in_part = entry.orig_rax as i64 == libc::SYS_madvise && result == -i64::from(libc::ENOMEM);
        if (-4095..0).contains(&result) && !in_part {
            return Ok(NO_EFFECT);
        }
        let ops = match entry.orig_rax as i64 {
            libc::SYS_mmap => self.mmap(thread, entry, result as u64, writes)?,
            libc::SYS_munmap => vec![MemoryOp::Unmap { start: a0, len: pages(a1) }],
            libc::SYS_mprotect | libc::SYS_pkey_mprotect => {
                vec![MemoryOp::Protect { start: a0, len: pages(a1), protection: a2 as i32 }]
            }
            libc::SYS_brk => self.brk(thread, result as u64),
            libc::SYS_mremap => vec![MemoryOp::Remap {
                old: a0,
                old_len: pages(a1),
                new: result as u64,
                new_len: pages(a2),
                keep_old: a3 & MREMAP_DONTUNMAP != 0,
            }],
            libc::SYS_madvise if [MADV_DONTNEED, MADV_FREE, MADV_DONTNEED_LOCKED].contains(&a2) => {
                let each = |start: u64, len: u64| MemoryOp::Discard { start, len };
                self.in_mapped_parts(thread, a0..a0.saturating_add(pages(a1)), in_part, &each)
            }
            libc::SYS_madvise if [MADV_GUARD_INSTALL, MADV_GUARD_REMOVE].contains(&a2) => {
                let install = a2 == MADV_GUARD_INSTALL;
                let each = |start: u64, len: u64| MemoryOp::Guard { start, len, install };
                self.in_mapped_parts(thread, a0..a0.saturating_add(pages(a1)), in_part, &each)
            }
            libc::SYS_madvise if a2 != MADV_REMOVE => {
                self.note_advice(thread, a2);
                return Ok(NO_EFFECT);
            }
            libc::SYS_madvise if in_part => return Ok(NO_EFFECT),
            libc::SYS_madvise => {
                let memory = self.memory_of(thread);
                self.save(&memory, a0, pages(a1), writes)?;
                return Ok(NO_EFFECT);
            }
            libc::SYS_shmat => self.attach_shared(thread, result as u64)?,
            libc::SYS_shmdt => self.detached(thread, a0)?,
            libc::SYS_personality => {
                self.note_personality(thread, a0);
                return Ok(NO_EFFECT);
            }
            _ => return Ok(NO_EFFECT),
        };
        for op in &ops {
            if let MemoryOp::Protect { start, len, protection } = op
                && protection & libc::PROT_WRITE != 0
            {
                self.unhook(thread, &(*start..start.saturating_add(*len)))?;
            }
        }
        self.note_code(thread, &ops);
        let space = self.space_of(thread);
        space.written.maps_changed();
        for op in &ops {
            let (start, len) = match op {
                MemoryOp::Map(mapping) => (mapping.start, mapping.end - mapping.start),
                MemoryOp::Unmap { start, len }
                | MemoryOp::Discard { start, len }
                | MemoryOp::Guard { start, len, .. } => (*start, *len),
                MemoryOp::Remap { old, old_len, .. } => (*old, *old_len),
                MemoryOp::Protect { .. } | MemoryOp::Resize { .. } | MemoryOp::StackLimit { .. } => continue,
            };
            space.hooks.unmapped(&(start..start.saturating_add(len)));
        }
        Ok(Effect::Memory(ops))
    }

    /// An operation on a range, or on each part of it that is mapped.
    fn in_mapped_parts(
        &mut self,
        thread: i32,
        range: std::ops::Range<u64>,
        in_part: bool,
        each: &dyn Fn(u64, u64) -> MemoryOp,
    ) -> Vec<MemoryOp> {
        let parts = if in_part { self.space_of(thread).layout.mapped(&range) } else { vec![range] };
        parts.into_iter().map(|part| each(part.start, part.end - part.start)).collect()
    }

    fn brk(&mut self, thread: i32, new: u64) -> Vec<MemoryOp> {
        let space = self.space_of(thread);
        let old = std::mem::replace(&mut space.brk, new);
        if old == 0 {
            return Vec::new();
        }
        let (old, new) = (pages(old), pages(new));
        if new < old {
            return vec![MemoryOp::Unmap { start: new, len: old - new }];
        }
        if new == old {
            return Vec::new();
        }
        vec![MemoryOp::Map(Mapping {
            start: old,
            end: new,
            protection: libc::PROT_READ | libc::PROT_WRITE,
            grows_down: false,
            source: Source::Zero,
            name: "[heap]".into(),
        })]
    }

    fn mmap(
        &mut self,
        thread: i32,
        entry: &Registers,
        start: u64,
        writes: &mut Vec<Write>,
    ) -> Result<Vec<MemoryOp>, TracerError> {
        let [_, len, protection, flags, descriptor, offset] = entry.arguments();
        let (protection, flags) = (protection as i32, flags as i32);
        let end = start + pages(len);
        let shared = matches!(flags & libc::MAP_TYPE, libc::MAP_SHARED | libc::MAP_SHARED_VALIDATE);
        let mut name = String::new();
        let mut resize = None;
        let source = if flags & libc::MAP_ANONYMOUS == 0 {
            let path = format!("/proc/{thread}/fd/{}", descriptor as i32);
            name = std::fs::read_link(&path).unwrap_or_default().display().to_string();
            let source;
            (source, resize) =
                self.file_source(&path, &name, shared, offset, (start, end), thread, writes)?;
            source
        } else if shared {
            let object = self.new_shared(None);
            Source::Shared { object, offset: 0 }
        } else {
            Source::Zero
        };
        if matches!(source, Source::File { .. }) && protection & libc::PROT_EXEC != 0 && !shared {
            let memory = self.memory_of(thread);
            let path = format!("/proc/{thread}/fd/{}", descriptor as i32);
            let key = std::fs::metadata(&path).ok().map(|meta| TextKey::new(&meta, offset, end - start));
            let time_stamps = !self.space_of(thread).clocks.forbidden;
            let found = self.patch_text(&memory, start..end, key, time_stamps);
            let found = found.map_err(TracerError::system("patch code"))?;
            for (address, _) in &found.sites {
                writes.push(Write { addr: *address, data: self.data(vec![TRAP])? });
            }
            let may_change =
                protection & libc::PROT_WRITE != 0 || is_in_memory(&name) || opened_for_writing(&path);
            let space = self.space_of(thread);
            space.sites.extend(found.sites);
            if found.complete && !may_change {
                space.clocks.note_scanned(start..end);
            }
        }
        let grows_down = flags & libc::MAP_GROWSDOWN != 0;
        let mapping = Mapping { start, end, protection, grows_down, source, name };
        // Code that is mapped shared cannot be written through `/proc/PID/mem`.
        self.space_of(thread).hooks.new_text = text_of(&mapping).filter(|_| !shared);
        Ok(std::iter::once(MemoryOp::Map(mapping)).chain(resize).collect())
    }

    pub(super) fn new_shared(&mut self, initial: Option<trace::StoredFile>) -> SharedObject {
        let id = self.next_shared;
        self.next_shared += 1;
        SharedObject { id, initial }
    }

    #[allow(clippy::too_many_arguments, reason = "the facts of one mmap call")]
    fn file_source(
        &mut self,
        path: &str,
        name: &str,
        shared: bool,
        offset: u64,
        range: (u64, u64),
        thread: i32,
        writes: &mut Vec<Write>,
    ) -> Result<(Source, Option<MemoryOp>), TracerError> {
        let file = match File::open(path) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {
                return Err(TracerError::system("open a mapped file")(error));
            }
            file => file.ok(),
        };
        let meta = file.as_ref().and_then(|file| file.metadata().ok());
        // It is shared memory without a name: each mapping has its own.
        if shared && std::fs::metadata(path).is_ok_and(|meta| is_zero_device(&meta)) {
            let object = self.new_shared(None);
            return Ok((Source::Shared { object, offset: 0 }, None));
        }
        let (Some(file), Some(meta)) = (file, meta.filter(std::fs::Metadata::is_file)) else {
            return self.snapshot_source(name, range, thread, writes).map(|source| (source, None));
        };
        let key = key_of(&meta);
        if shared {
            if let Some(object) = self.shared.get(&key).cloned() {
                self.save_file_range(&file, offset, range, thread, writes)?;
                let resize = self.size_of_shared(key, &object, meta.len());
                return Ok((Source::Shared { object, offset }, resize));
            }
            let in_memory = name.starts_with("/dev/shm/") || name.starts_with("/memfd:");
            if in_memory || opened_for_writing(path) {
                let initial = Some(self.files.keep(&file, name.as_ref())?);
                let object = self.new_shared(initial);
                self.shared.insert(key, object.clone());
                let resize = self.size_of_shared(key, &object, meta.len());
                return Ok((Source::Shared { object, offset }, resize));
            }
        }
        self.note_copied(key, meta.len());
        Ok((Source::File { file: self.files.keep(&file, name.as_ref())?, offset }, None))
    }

    /// Saves what a mapping of a file shows that was mapped shared before: it may have changed since, by whatever means. Of
    /// large files only what is no hole is looked at.
    fn save_file_range(
        &mut self,
        file: &File,
        offset: u64,
        (start, end): (u64, u64),
        thread: i32,
        writes: &mut Vec<Write>,
    ) -> Result<(), TracerError> {
        /// Up to this size all of it is saved, with its holes.
        const SMALL_BYTES: u64 = 16 << 20;
        let memory = self.memory_of(thread);
        if end - start <= SMALL_BYTES {
            return self.save(&memory, start, end - start, writes);
        }
        for part in process::data_ranges(file, offset..offset + (end - start)) {
            self.save(&memory, start + (part.start - offset), part.end - part.start, writes)?;
        }
        Ok(())
    }

    /// A device or another thing that cannot be copied: what it shows now is recorded.
    fn snapshot_source(
        &mut self,
        name: &str,
        (start, end): (u64, u64),
        thread: i32,
        writes: &mut Vec<Write>,
    ) -> Result<Source, TracerError> {
        if name != "/dev/zero" {
            self.warn(format!(
                "{name} is mapped, which cannot be copied: only its contents at that time are recorded"
            ));
            let memory = self.memory_of(thread);
            self.save(&memory, start, end - start, writes)?;
        }
        Ok(Source::Zero)
    }

    /// shmat(2): the segment is known by its id, which the maps show as the inode.
    fn attach_shared(&mut self, thread: i32, start: u64) -> Result<Vec<MemoryOp>, TracerError> {
        let maps = maps::read(thread).map_err(TracerError::system("read the mappings"))?;
        let Some(map) = maps.into_iter().find(|map| map.start == start) else { return Ok(Vec::new()) };
        let key = (SEGMENTS, map.inode);
        let object = match self.shared.get(&key) {
            Some(object) => object.clone(),
            None => {
                let object = self.new_shared(None);
                self.shared.insert(key, object.clone());
                object
            }
        };
        Ok(vec![MemoryOp::Map(Mapping {
            start,
            end: map.end,
            protection: map.protection,
            grows_down: false,
            source: Source::Shared { object, offset: 0 },
            name: map.name,
        })])
    }

    /// shmdt(2) does not say how much it unmaps: the gap that is left does.
    fn detached(&mut self, thread: i32, start: u64) -> Result<Vec<MemoryOp>, TracerError> {
        let maps = maps::read(thread).map_err(TracerError::system("read the mappings"))?;
        let end = maps.iter().map(|map| map.start).find(|next| *next > start);
        Ok(end.map(|end| MemoryOp::Unmap { start, len: end - start }).into_iter().collect())
    }
}

/// `/dev/zero` (Documentation/admin-guide/devices.txt).
fn is_zero_device(meta: &std::fs::Metadata) -> bool {
    const NUMBER: u64 = 0x105;
    meta.file_type().is_char_device() && meta.rdev() == NUMBER
}

/// The descriptor allows writing (proc(5), `/proc/PID/fd`: the link's permission bits say so).
fn opened_for_writing(path: &str) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|link| link.mode() & 0o200 != 0)
}
