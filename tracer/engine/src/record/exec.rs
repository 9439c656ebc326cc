//! exec(2): a new address space, recorded as an image from which replay builds it.

use std::fs::File;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use trace::{Effect, Image, Mapping, Registers, Source, SpaceId, StoredFile, ThreadId, Write};

use super::Recorder;
use super::clocks::{Clocks, READ_IMPLIES_EXEC};
use super::hooks::Text;
use super::task::Space;
use crate::TracerError;
use crate::sys::limits;
use crate::sys::maps::{self, Map};
use crate::sys::memory::Memory;
use crate::sys::process::read_proc;
use crate::{unruly, vdso};

const PAGE: usize = 4096;

/// What the kernel calls its own code in each process.
pub(super) const VDSO: &str = "[vdso]";

/// What tells a piece of a file's contents from all others: any change of a file changes its times.
#[derive(PartialEq, Eq, Hash)]
pub(super) struct TextKey {
    device: u64,
    inode: u64,
    times_ns: [i64; 4],
    offset: u64,
    len: u64,
}

impl TextKey {
    pub(super) fn new(meta: &std::fs::Metadata, offset: u64, len: u64) -> TextKey {
        use std::os::unix::fs::MetadataExt;
        let times_ns = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        TextKey { device: meta.dev(), inode: meta.ino(), times_ns, offset, len }
    }
}

/// Mappings that the kernel makes and that replay does without: the vDSO that used them has been patched.
pub(super) const KERNEL_MAPPINGS: [&str; 4] = ["[vvar]", "[vvar_vclock]", "[vsyscall]", "[uprobes]"];

impl Recorder {
    /// Records the image of the new program. The exec itself is over when the event has been written
    /// ([`Recorder::finish_exec`]).
    pub(super) fn exec_effect(&mut self, thread: i32, registers: &Registers) -> Result<Effect, TracerError> {
        let failed = TracerError::system("look at a new program");
        let memory = Rc::new(Memory::open(thread).map_err(&failed)?);
        let maps = maps::read(thread).map_err(&failed)?;
        let space = SpaceId(self.next_space);
        self.next_space += 1;
        let mut new = Space::new(Rc::clone(&memory));
        let patched = patch_vdso(&memory, &maps).map_err(&failed)?;
        new.syscall_address = patched.syscall_address;
        new.vdso = patched.original;
        let mut complete = !reads_imply_execution(thread);
        let forbidden = self.tasks[&thread].tsc_forbidden;
        new.brk = maps.iter().find(|map| map.name == "[heap]").map_or(0, |heap| heap.start);
        for map in maps.iter().filter(|map| map.executable() && map.is_file()) {
            let len = map.end - map.start;
            let meta = open_mapped(thread, map).and_then(|file| file.metadata().ok());
            let key = meta.map(|meta| TextKey::new(&meta, map.offset, len));
            let found = self.patch_text(&memory, map.start..map.end, key, !forbidden).map_err(&failed)?;
            complete &= found.complete;
            new.sites.extend(found.sites);
        }
        new.clocks = Clocks::new(&maps, complete, patched.clocks);
        new.clocks.forbidden = forbidden;
        self.spaces.insert(space, new);
        let image = self.capture(thread, space, registers, &memory, &maps)?;
        if let Some(new) = self.spaces.get_mut(&space) {
            new.hooks.text = image.mappings.iter().filter_map(text_of).collect();
        }
        Ok(Effect::Exec(Box::new(image)))
    }

    /// Moves the thread to the space that [`Recorder::exec_effect`] made.
    pub(super) fn finish_exec(
        &mut self,
        thread: i32,
        entry: &Registers,
        result: i64,
    ) -> Result<(), TracerError> {
        let is_exec = matches!(entry.orig_rax as i64, libc::SYS_execve | libc::SYS_execveat);
        if !is_exec || result != 0 {
            return Ok(());
        }
        let new = SpaceId(self.next_space - 1);
        let task = self.task(thread);
        task.clear_tid = 0;
        let old = std::mem::replace(&mut task.space, new);
        self.leave_space(old);
        self.map_agent(thread)?;
        self.begin_clocks(thread);
        Ok(())
    }

    /// Maps the agent into a new program, whose exec is about to return.
    fn map_agent(&mut self, thread: i32) -> Result<(), TracerError> {
        let Some(agent) = self.agent.as_ref().filter(|_| self.tasks[&thread].netted) else { return Ok(()) };
        let path = [agent.path().as_os_str().as_bytes(), &[0]].concat();
        if self.map_agent_memory(thread, &path).is_none() {
            self.space_of(thread).hooks.ready = false;
            self.warn(format!(
                "every system call of {} stops it, which is slow: the agent could not be mapped into it",
                std::fs::read_link(format!("/proc/{thread}/exe")).unwrap_or_default().display()
            ));
            return Ok(());
        }
        self.hook_known(thread)
    }

    fn map_agent_memory(&mut self, thread: i32, path: &[u8]) -> Option<()> {
        /// Where the path is put for the while, in the agent's code.
        const PATH: u64 = agent::SHARED_START - 0x1000;
        const PATH_BYTES_MAX: usize = 0x1000;
        let room = (PATH - agent::CODE_START) as usize;
        if path.len() > PATH_BYTES_MAX || agent::IMAGE.len() > room {
            return None;
        }
        let len = agent::SHARED_START - agent::CODE_START;
        let code = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
        self.call_in(thread, libc::SYS_mmap, [agent::CODE_START, len, code, flags, u64::MAX, 0])?;
        let memory = self.memory_of(thread);
        memory.write(agent::CODE_START, agent::IMAGE).ok()?;
        memory.write(PATH, path).ok()?;
        // From here on calls can be made from the agent's code, where the safety net does not stop them.
        self.space_of(thread).hooks.ready = true;
        let open = (libc::O_RDWR | libc::O_CLOEXEC) as u64;
        let descriptor = self.open_in(thread, [PATH, open, 0, 0, 0, 0])?;
        let len = agent::SHARED_END - agent::SHARED_START;
        let data = (libc::PROT_READ | libc::PROT_WRITE) as u64;
        let flags = (libc::MAP_SHARED | libc::MAP_FIXED_NOREPLACE) as u64;
        let mapped =
            self.call_in(thread, libc::SYS_mmap, [agent::SHARED_START, len, data, flags, descriptor, 0]);
        self.call_in(thread, libc::SYS_close, [descriptor, 0, 0, 0, 0, 0])?;
        mapped.map(drop)
    }

    /// Opens a file in a program, also in one that has all the files open that it may.
    fn open_in(&mut self, thread: i32, arguments: [u64; 6]) -> Option<u64> {
        let opened = self.call_in(thread, libc::SYS_open, arguments);
        let descriptor = opened.or_else(|| {
            let process = self.tasks[&thread].process;
            let before = limits::files(process)?;
            limits::set_files(process, &limits::Limit { rlim_cur: before.rlim_max, ..before }).ok()?;
            let opened = self.call_in(thread, libc::SYS_open, arguments);
            limits::set_files(process, &before).ok()?;
            opened
        });
        descriptor.map(|descriptor| descriptor as u64)
    }

    /// Replaces the unruly instructions in code that a file's mapping shows by traps. What was found is kept for the next
    /// program that maps it. Without `time_stamps` those that read the time stamp counter stay: they fault.
    pub(super) fn patch_text(
        &mut self,
        memory: &Memory,
        range: Range<u64>,
        key: Option<TextKey>,
        time_stamps: bool,
    ) -> std::io::Result<unruly::Found> {
        let known = key.as_ref().and_then(|key| self.unruly_sites.get(key));
        let mut found = match known {
            Some(known) => known.moved(range.start),
            None => {
                let mut code = vec![0; (range.end - range.start) as usize];
                let read = memory.read_some(range.start, &mut code)?;
                unruly::scan(&code[..read], range.start)
            }
        };
        if let Some(key) = key {
            self.unruly_sites.entry(key).or_insert_with(|| found.moved(range.start.wrapping_neg()));
        }
        found.sites.retain(|(_, site)| time_stamps || !site.reads_time_stamp());
        for (address, _) in &found.sites {
            memory.write(*address, &[TRAP])?;
        }
        Ok(found)
    }

    fn capture(
        &mut self,
        thread: i32,
        space: SpaceId,
        registers: &Registers,
        memory: &Memory,
        maps: &[Map],
    ) -> Result<Image, TracerError> {
        let mut mappings = Vec::new();
        let mut writes = Vec::new();
        let mut last: Option<(&Map, Option<Kept>)> = None;
        let brk = self.spaces[&space].brk;
        let mut sites: Vec<u64> = self.spaces[&space].sites.keys().copied().collect();
        sites.sort_unstable();
        for map in maps.iter().filter(|map| !KERNEL_MAPPINGS.contains(&map.name.as_str())) {
            // A program's parts lie one after the other.
            let same = |before: &Map| (before.inode, &before.name) == (map.inode, &map.name);
            let file = match last.take() {
                Some((before, file)) if same(before) => file,
                _ => self.keep_mapped(thread, map)?,
            };
            if file.is_some() && !map.writable() {
                // Only our own traps differ from the file.
                for site in sites.iter().filter(|site| (map.start..map.end).contains(site)) {
                    writes.push(Write { addr: *site, data: self.data(vec![TRAP])? });
                }
            } else {
                self.capture_contents(memory, map, file.as_ref().map(|kept| &kept.file), &mut writes)?;
            }
            let file_of = |kept: &Kept| Source::File { file: kept.stored.clone(), offset: map.offset };
            mappings.push(Mapping {
                start: map.start,
                end: map.end,
                protection: map.protection,
                grows_down: map.name == "[stack]",
                source: file.as_ref().map_or(Source::Zero, file_of),
                name: map.name.clone(),
            });
            last = Some((map, file));
        }
        let arguments = read_proc(&format!("/proc/{thread}/cmdline")).unwrap_or_default();
        let arguments = arguments.strip_suffix(&[0]).unwrap_or(&arguments);
        let path = std::fs::read_link(format!("/proc/{thread}/exe")).unwrap_or_default();
        Ok(Image {
            space,
            thread: ThreadId(thread),
            path: path.display().to_string(),
            arguments: arguments
                .split(|byte| *byte == 0)
                .map(|s| String::from_utf8_lossy(s).into_owned())
                .collect(),
            mappings,
            writes,
            registers: *registers,
            brk,
        })
    }

    /// Keeps the file behind a mapping, if there is one.
    pub(super) fn keep_mapped(&mut self, thread: i32, map: &Map) -> Result<Option<Kept>, TracerError> {
        let Some(file) = map.is_file().then(|| open_mapped(thread, map)).flatten() else { return Ok(None) };
        let stored = self.files.keep(&file, map.name.as_ref())?;
        Ok(Some(Kept { file, stored }))
    }

    /// Saves the pages that differ from what replay maps: zeros, or the file.
    fn capture_contents(
        &mut self,
        memory: &Memory,
        map: &Map,
        file: Option<&File>,
        writes: &mut Vec<Write>,
    ) -> Result<(), TracerError> {
        /// How many pages are read with one call.
        const PAGES_PER_READ: usize = 64;
        let pages: Vec<u64> = (map.start..map.end).step_by(PAGE).collect();
        let mut contents = vec![0; PAGES_PER_READ.min(pages.len()) * PAGE];
        for batch in pages.chunks(PAGES_PER_READ) {
            let read = memory.read_pages(batch, &mut contents);
            for (index, address) in batch.iter().copied().enumerate() {
                let page = &mut contents[index * PAGE..][..PAGE];
                // What comes after a page that cannot be read so is read page by page.
                let read = if index < read { Ok(PAGE) } else { memory.read_some(address, page) };
                let Ok(read) = read else { continue };
                let mut expected = [0; PAGE];
                if let Some(file) = file {
                    read_page(file, map.offset + (address - map.start), &mut expected);
                }
                if page[..read] != expected[..read] {
                    writes.push(Write { addr: address, data: self.data(page[..read].to_vec())? });
                }
            }
        }
        Ok(())
    }
}

/// A file behind a mapping, and its copy.
pub(super) struct Kept {
    file: File,
    pub(super) stored: StoredFile,
}

/// Reads a page of a file; behind its end it stays as it is.
fn read_page(file: &File, offset: u64, page: &mut [u8; PAGE]) {
    use std::os::unix::fs::FileExt;
    let mut filled = 0;
    while filled < PAGE
        && let Ok(n @ 1..) = file.read_at(&mut page[filled..], offset + filled as u64)
    {
        filled += n;
    }
}

/// The code that a mapping shows, if it cannot be written.
pub(super) fn text_of(mapping: &Mapping) -> Option<Text> {
    let fixed = libc::PROT_EXEC;
    if mapping.protection & (libc::PROT_EXEC | libc::PROT_WRITE) != fixed {
        return None;
    }
    let range = mapping.start..mapping.end;
    match &mapping.source {
        Source::File { file, offset } => Some(Text { range, file: file.stored.clone(), offset: *offset }),
        _ if mapping.name == VDSO => Some(Text { range, file: mapping.name.clone(), offset: 0 }),
        _ => None,
    }
}

/// The file behind a mapping, as the process has it: its path may name another file by now.
pub(super) fn open_mapped(thread: i32, map: &Map) -> Option<File> {
    use std::os::unix::fs::MetadataExt;
    let by_range = format!("/proc/{thread}/map_files/{:x}-{:x}", map.start, map.end);
    let same = |file: &File| file.metadata().is_ok_and(|meta| meta.ino() == map.inode && meta.is_file());
    let open = |path: String| File::open(path).ok().filter(same);
    open(map.name.clone()).or_else(|| open(by_range)).or_else(|| open(format!("/proc/{thread}/exe")))
}

/// The file behind a range of a process's memory, where this process may open it (proc(5), `/proc/PID/map_files`).
pub(super) fn open_range(thread: i32, range: Range<u64>) -> Option<File> {
    File::open(format!("/proc/{thread}/map_files/{:x}-{:x}", range.start, range.end)).ok()
}

/// What patching a vDSO gives.
#[derive(Default)]
pub(super) struct PatchedVdso {
    /// The address of a `syscall` instruction in it, or 0.
    pub(super) syscall_address: u64,
    /// How the functions' own code can be called.
    pub(super) clocks: Option<vdso::Clocks>,
    /// Where it lies, and what was in it before.
    pub(super) original: Option<(u64, Rc<Vec<u8>>)>,
}

/// Overwrites the vDSO's functions.
pub(super) fn patch_vdso(memory: &Memory, maps: &[Map]) -> std::io::Result<PatchedVdso> {
    let Some(map) = maps.iter().find(|map| map.name == VDSO) else { return Ok(PatchedVdso::default()) };
    let mut image = vec![0; (map.end - map.start) as usize];
    memory.read(map.start, &mut image)?;
    let plan = vdso::plan(&image);
    for (offset, bytes) in plan.patches {
        memory.write(map.start + offset, &bytes)?;
    }
    Ok(PatchedVdso {
        syscall_address: plan.syscall.map_or(0, |offset| map.start + offset),
        clocks: plan.clocks.map(|clocks| clocks.at(map.start)),
        original: Some((map.start, Rc::new(image))),
    })
}

/// Whether everything that a process can read it can also execute (personality(2)).
fn reads_imply_execution(thread: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{thread}/personality")).unwrap_or_default();
    u64::from_str_radix(text.trim(), 16).map_or(true, |personality| personality & READ_IMPLIES_EXEC != 0)
}

/// The opcode of INT3.
pub(super) const TRAP: u8 = 0xcc;
