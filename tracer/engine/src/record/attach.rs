//! Recording a process that runs already, and leaving it running (`vdbg record --pid`).
//!
//! All threads are stopped, the process is made fit to be recorded (its clocks become system calls, unruly instructions
//! trap, restartable sequences are given up), and the recording begins with a snapshot. There is neither agent nor seccomp
//! filter in it: a filter cannot be taken away again, and without a tracer it would fail every call (DESIGN.md §3.4). So
//! each call stops. When the recording ends, everything is put back as it was and the process goes on.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use trace::{Mapping, Registers, SharedObject, Source, SpaceId};

use super::clocks::Clocks;
use super::exec::{KERNEL_MAPPINGS, TextKey, VDSO, open_mapped, patch_vdso};
use super::syscall::begins_again;
use super::task::{Boundary, Phase, Space, Status, Task};
use super::{Recorder, gone_is_fine};
use crate::TracerError;
use crate::sys::attach::{self, Rseq};
use crate::sys::maps::{self, Map};
use crate::sys::memory::Memory;
use crate::sys::process::{self, PR_SET_TSC, PR_TSC_ENABLE, PR_TSC_SIGSEGV};
use crate::sys::ptrace::{self, Resume, Wait};
use crate::vdso;

/// How often new threads are looked for while others are being stopped.
const ROUNDS_MAX: usize = 100;

/// How long a thread may take to stop.
const STOP_WAIT: Duration = Duration::from_secs(5);

/// A thread in the vDSO is out of it after fewer instructions.
const STEPS_MAX: usize = 10_000;

/// `PR_GET_TID_ADDRESS` of prctl(2).
const PR_GET_TID_ADDRESS: u64 = 40;

/// `RSEQ_FLAG_UNREGISTER` of rseq(2).
const RSEQ_UNREGISTER: u64 = 1;

/// The kernel's `ERESTART_RESTARTBLOCK`: the call goes on through restart_syscall(2).
const RESTART_BLOCK: i64 = -516;

/// Says early why a process cannot be recorded; returns its program and its command line.
pub(super) fn check(process: i32) -> Result<(PathBuf, Vec<String>), TracerError> {
    let cannot = |why: String| TracerError::NotAttachable { process, why };
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))
        .map_err(|_| cannot("there is no such process; `ps` or `pgrep NAME` lists them".into()))?;
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map_or("", str::trim).to_owned()
    };
    if process == std::process::id() as i32 {
        return Err(cannot("it is this recorder".into()));
    }
    let leader = field("Tgid:");
    if leader != process.to_string() {
        return Err(cannot(format!("it is a thread of process {leader}: name that")));
    }
    match field("TracerPid:").as_str() {
        "0" | "" => {}
        tracer => {
            return Err(cannot(format!(
                "process {tracer} traces it already (a debugger, strace, vdbg): end that first"
            )));
        }
    }
    if field("State:").starts_with(['T', 't']) {
        return Err(cannot(format!("it is stopped: let it go on first (`kill -CONT {process}`)")));
    }
    if field("State:").starts_with('Z') {
        return Err(cannot("it has ended, and waits for its parent to notice".into()));
    }
    let arguments = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    let text = |argument: &[u8]| String::from_utf8_lossy(argument).into_owned();
    let arguments =
        arguments.strip_suffix(&[0]).unwrap_or(&arguments).split(|byte| *byte == 0).map(text).collect();
    let link = format!("/proc/{process}/exe");
    let program = process::program(process).map_err(|error| match error.raw_os_error() {
        Some(libc::ENOENT) => cannot("it is a thread of the kernel".into()),
        _ => cannot(why_not_allowed()),
    })?;
    crate::program::check_running(Path::new(&link)).map_err(cannot)?;
    Ok((program, arguments))
}

fn why_not_allowed() -> String {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").unwrap_or_default();
    let hint = match scope.trim() {
        "1" => "; or allow it for all processes of yours: `sysctl kernel.yama.ptrace_scope=0` as root",
        "2" | "3" => "; this system allows it to root only (kernel.yama.ptrace_scope)",
        _ => "",
    };
    format!(
        "tracing it is not allowed: it belongs to another user or has special rights; run vdbg as root{hint}"
    )
}

impl Recorder {
    /// Takes over all threads of a running process, and begins the trace with a snapshot of it.
    pub(super) fn take_over(&mut self, process: i32) -> Result<(), TracerError> {
        let threads = self.stop_all(process)?;
        let memory =
            Rc::new(Memory::open(process).map_err(TracerError::system("open the process's memory"))?);
        let space = SpaceId(self.next_space);
        self.next_space += 1;
        self.spaces.insert(space, Space { users: 0, ..Space::new(memory) });
        for (thread, stop) in threads {
            let affinity = process::affinity(thread).unwrap_or_default();
            let mut task = Task::new(thread, process, space, Rc::new(affinity));
            if let Wait::Signal(_) = stop {
                task.pending.extend(ptrace::signal_info(thread).ok());
                task.deadline = Some(Instant::now());
            }
            self.tasks.insert(thread, task);
            self.ready.push_back(thread);
            if let Some(space) = self.spaces.get_mut(&space) {
                space.users += 1;
            }
            self.settle(thread)?;
            // Where it may not run there, its time is not the program's alone; it works all the same.
            let _ = process::pin(thread, self.core);
        }
        self.prepare(process, space)?;
        for thread in self.tasks.keys().copied().collect::<Vec<_>>() {
            self.prepare_thread(thread);
            let registers = self.registers(thread)?;
            let task = self.task(thread);
            (task.segments, task.boundary) = (registers, Some(Boundary { registers, unique: false }));
        }
        self.snapshot(process)?;
        Ok(())
    }

    /// Stops all threads of a process; those that come meanwhile too.
    fn stop_all(&mut self, process: i32) -> Result<Vec<(i32, Wait)>, TracerError> {
        let cannot = |why: String| TracerError::NotAttachable { process, why };
        let mut seized = BTreeSet::new();
        let mut stopped = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let threads = attach::threads(process).map_err(|_| cannot("it has just ended".into()))?;
            let new: Vec<i32> = threads.into_iter().filter(|thread| !seized.contains(thread)).collect();
            if new.is_empty() {
                return Ok(stopped);
            }
            for thread in &new {
                match attach::seize(*thread) {
                    Ok(()) => drop(ptrace::interrupt(*thread)),
                    // A new thread of one that is traced already is traced, and stops by itself.
                    Err(error) if error.raw_os_error() == Some(libc::EPERM) && !seized.is_empty() => {}
                    Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
                        return Err(cannot(why_not_allowed()));
                    }
                    // It has just ended.
                    Err(_) => continue,
                }
                seized.insert(*thread);
            }
            for thread in new.into_iter().filter(|thread| seized.contains(thread)) {
                stopped.extend(wait_for_stop(thread).map_err(cannot)?.map(|stop| (thread, stop)));
            }
        }
        Err(cannot("it makes new threads faster than they can be stopped".into()))
    }

    /// Takes a stopped thread out of a call that was interrupted: it will make the call again. What a tracer sees of such
    /// a call, no program does.
    fn settle(&mut self, thread: i32) -> Result<(), TracerError> {
        let registers = self.raw_registers(thread)?;
        let Some(settled) = begun_again(&registers) else { return Ok(()) };
        self.task(thread).call = registers.orig_rax;
        self.set_raw_registers(thread, &settled)
    }

    /// Makes a process fit to be recorded, and notes what is mapped in it.
    fn prepare(&mut self, process: i32, id: SpaceId) -> Result<(), TracerError> {
        let failed = TracerError::system("look at a running process");
        let memory = Rc::clone(&self.spaces[&id].memory);
        let maps = maps::read(process).map_err(&failed)?;
        if let Some(vdso) = maps.iter().find(|map| map.name == VDSO) {
            let threads: Vec<i32> = self.tasks.keys().copied().collect();
            threads.into_iter().try_for_each(|thread| self.step_out_of(thread, vdso))?;
        }
        let patched = patch_vdso(&memory, &maps).map_err(&failed)?;
        let mut complete = true;
        let mut objects = HashMap::new();
        for map in maps.iter().filter(|map| !KERNEL_MAPPINGS.contains(&map.name.as_str())) {
            if map.executable() && map.is_file() && !map.shared && !map.writable() {
                let meta = open_mapped(process, map).and_then(|file| file.metadata().ok());
                let key = meta.map(|meta| TextKey::new(&meta, map.offset, map.end - map.start));
                let found = self.patch_text(&memory, map.start..map.end, key, true).map_err(&failed)?;
                complete &= found.complete;
                self.space_of(process).sites.extend(found.sites);
            }
            let source = self.source_of(process, map, &mut objects)?;
            let mapping = Mapping {
                start: map.start,
                end: map.end,
                protection: map.protection,
                grows_down: map.name == "[stack]",
                source,
                name: map.name.clone(),
            };
            self.space_of(process).layout.insert(mapping);
        }
        let space = self.space_of(process);
        space.syscall_address = patched.syscall_address;
        space.vdso = patched.original;
        space.clocks = Clocks::new(&maps, complete, patched.clocks);
        let program = std::fs::read_link(format!("/proc/{process}/exe")).unwrap_or_default();
        let arguments = self.command.clone();
        self.space_of(process).program = Rc::new((program.display().to_string(), arguments));
        let brk = self.call_in(process, libc::SYS_brk, [0; 6]).unwrap_or(0);
        self.space_of(process).brk = brk as u64;
        Ok(())
    }

    /// What a mapping of a running process shows.
    fn source_of(
        &mut self,
        process: i32,
        map: &Map,
        objects: &mut HashMap<u64, SharedObject>,
    ) -> Result<Source, TracerError> {
        use std::os::unix::fs::MetadataExt;
        if map.shared {
            if let Some(object) = objects.get(&map.inode) {
                return Ok(Source::Shared { object: object.clone(), offset: map.offset });
            }
            let file = open_mapped(process, map);
            if let Some(file) = file.as_ref().filter(|_| !map.writable()) {
                let stored = self.files.keep(file, map.name.as_ref())?;
                return Ok(Source::File { file: stored, offset: map.offset });
            }
            let object = self.new_shared(None);
            let meta = file.and_then(|file| file.metadata().ok());
            let key = match meta {
                Some(meta) => Some((meta.dev(), meta.ino())),
                None => map.name.starts_with("/SYSV").then_some((super::mappings::SEGMENTS, map.inode)),
            };
            self.shared.extend(key.map(|key| (key, object.clone())));
            objects.insert(map.inode, object.clone());
            return Ok(Source::Shared { object, offset: map.offset });
        }
        let kept = self.keep_mapped(process, map)?;
        Ok(kept.map_or(Source::Zero, |kept| Source::File { file: kept.stored, offset: map.offset }))
    }

    fn step_out_of(&mut self, thread: i32, map: &Map) -> Result<(), TracerError> {
        for _ in 0..STEPS_MAX {
            let registers = self.raw_registers(thread)?;
            if !(map.start..map.end).contains(&registers.rip) {
                return Ok(());
            }
            ptrace::resume(thread, Resume::Step, 0).or_else(gone_is_fine)?;
            match ptrace::wait_one(thread).map_err(TracerError::system("wait for a thread"))? {
                Wait::Signal(signal) if signal != libc::SIGTRAP => {
                    let info = ptrace::signal_info(thread).map_err(TracerError::system("read a signal"))?;
                    self.keep(thread, info);
                }
                _ => {}
            }
        }
        Err(TracerError::Stuck("a thread that reads a clock"))
    }

    /// What has to be set in each thread.
    fn prepare_thread(&mut self, thread: i32) {
        let tsc = [PR_SET_TSC as u64, PR_TSC_SIGSEGV, 0, 0, 0, 0];
        if self.call_in(thread, libc::SYS_prctl, tsc).is_none() {
            self.warn("a time stamp counter could not be made to trap: its values are not recorded".into());
        }
        let rseq = attach::rseq(thread);
        if rseq.address != 0 {
            let [address, bytes, signature] = [rseq.address, rseq.bytes.into(), rseq.signature.into()];
            let given_up =
                self.call_in(thread, libc::SYS_rseq, [address, bytes, RSEQ_UNREGISTER, signature, 0, 0]);
            self.task(thread).rseq = given_up.map(|_| rseq).unwrap_or_default();
        }
        self.task(thread).clear_tid = self.clear_tid_of(thread).unwrap_or(0);
    }

    /// The address that the kernel clears when the thread ends. The kernel writes it below the thread's stack.
    fn clear_tid_of(&mut self, thread: i32) -> Option<u64> {
        /// Behind the red zone.
        const BELOW: u64 = 1024;
        let memory = self.memory_of(thread);
        let place = (self.raw_registers(thread).ok()?.rsp - BELOW) & !7;
        let before = memory.word(place).ok()?;
        let asked = self.call_in(thread, libc::SYS_prctl, [PR_GET_TID_ADDRESS, place, 0, 0, 0, 0]);
        let address = memory.word(place).ok();
        memory.write(place, &before.to_le_bytes()).ok()?;
        asked.and(address)
    }

    /// Puts everything back as it was, and lets the processes go on alone.
    pub(super) fn leave(&mut self) -> Result<(), TracerError> {
        let threads: Vec<i32> = self.tasks.keys().copied().collect();
        let mut stopped = Vec::new();
        for thread in threads {
            if self.stop_to_leave(thread)? {
                stopped.push(thread);
            }
        }
        for thread in &stopped {
            let mode = if self.tasks[thread].tsc_forbidden { PR_TSC_SIGSEGV } else { PR_TSC_ENABLE };
            self.call_in(*thread, libc::SYS_prctl, [PR_SET_TSC as u64, mode, 0, 0, 0, 0]);
            let Rseq { address, bytes, signature, .. } = self.tasks[thread].rseq;
            if address != 0 {
                let arguments = [address, bytes.into(), 0, signature.into(), 0, 0];
                self.call_in(*thread, libc::SYS_rseq, arguments);
            }
        }
        for thread in &stopped {
            self.move_out_of_stub(*thread)?;
        }
        for space in self.spaces.values() {
            // Where a handler will return to it, what is there stays: it works without a recorder, but slower.
            let vdso = space
                .vdso
                .iter()
                .filter(|_| space.frames_in_vdso == 0)
                .map(|(start, image)| (*start, image.as_slice()));
            let sites =
                space.sites.iter().map(|(address, site)| (*address, std::slice::from_ref(&site.original)));
            for (address, bytes) in vdso.chain(sites) {
                // What has been unmapped since needs nothing.
                let _ = space.memory.write(address, bytes);
            }
        }
        for thread in stopped {
            let task = &self.tasks[&thread];
            task.pending.iter().for_each(|info| attach::send_again(task.process, thread, info));
            let _ = process::set_affinity(thread, &task.affinity);
            ptrace::detach(thread).or_else(gone_is_fine)?;
        }
        self.tasks.clear();
        Ok(())
    }

    /// Takes a thread that stands in what was put in the place of a function of the vDSO to the function's start, if it has
    /// not made the call yet, else to where the function was called from.
    fn move_out_of_stub(&mut self, thread: i32) -> Result<(), TracerError> {
        let registers = self.raw_registers(thread)?;
        let memory = self.memory_of(thread);
        let space = self.space_of(thread);
        let moves = space.is_in_vdso(registers.rip) && space.frames_in_vdso == 0;
        let Some(code) = memory.array::<3>(registers.rip).ok().filter(|_| moves) else { return Ok(()) };
        let moved = match vdso::place_in_stub(&code) {
            vdso::Place::BeforeCall { distance } => Registers { rip: registers.rip - distance, ..registers },
            vdso::Place::BehindCall => {
                let back = memory.word(registers.rsp).map_err(TracerError::system("read a stack"))?;
                Registers { rip: back, rsp: registers.rsp + 8, ..registers }
            }
            vdso::Place::Elsewhere => return Ok(()),
        };
        self.set_raw_registers(thread, &moved)
    }

    /// Brings a thread to a stop from which it can be let go; false when it has ended.
    fn stop_to_leave(&mut self, thread: i32) -> Result<bool, TracerError> {
        match self.tasks[&thread].status {
            Status::Parked => {}
            Status::Stopped(Wait::Signal(_)) => {
                let info = ptrace::signal_info(thread).ok();
                self.task(thread).pending.extend(info);
            }
            Status::Stopped(Wait::Event(libc::PTRACE_EVENT_EXIT)) => {
                ptrace::detach(thread).or_else(gone_is_fine)?;
                return Ok(false);
            }
            // Behind a call, or with nothing to do.
            Status::Stopped(Wait::Syscall | Wait::Stop(_) | Wait::Event(_)) => {}
            Status::Stopped(Wait::Ended(_)) => return Ok(false),
            Status::Running | Status::GroupStopped => {
                ptrace::interrupt(thread).or_else(gone_is_fine)?;
                loop {
                    match wait_for_stop(thread)
                        .map_err(|_| TracerError::Stuck("a thread that was to be left"))?
                    {
                        Some(Wait::Signal(_)) => {
                            let info = ptrace::signal_info(thread).ok();
                            self.task(thread).pending.extend(info);
                            // Any stop makes the kernel forget that another was asked for.
                            ptrace::interrupt(thread).or_else(gone_is_fine)?;
                            ptrace::resume(thread, Resume::Continue, 0).or_else(gone_is_fine)?;
                        }
                        // The call that it waited in has returned, or will be made again.
                        Some(_) => break,
                        None => return Ok(false),
                    }
                }
            }
        }
        self.task(thread).phase = Phase::User;
        let registers = self.raw_registers(thread)?;
        if let Some(settled) = begun_again(&registers) {
            self.set_raw_registers(thread, &settled)?;
        }
        Ok(true)
    }
}

/// The registers with which an interrupted call is made again.
fn begun_again(registers: &Registers) -> Option<Registers> {
    if !begins_again(registers) {
        return None;
    }
    let number = if registers.rax as i64 == RESTART_BLOCK {
        libc::SYS_restart_syscall as u64
    } else {
        registers.orig_rax
    };
    Some(Registers { rip: registers.rip - 2, rax: number, orig_rax: u64::MAX, ..*registers })
}

/// Waits for a thread that was asked to stop; `None` when it has ended.
fn wait_for_stop(thread: i32) -> Result<Option<Wait>, String> {
    let since = Instant::now();
    loop {
        match ptrace::poll(thread) {
            Ok(Some((_, Wait::Ended(_)))) | Err(_) => return Ok(None),
            Ok(Some((_, Wait::Event(_)))) => drop(ptrace::resume(thread, Resume::Continue, 0)),
            Ok(Some((_, stop))) => return Ok(Some(stop)),
            Ok(None) if since.elapsed() > STOP_WAIT => {
                return Err(format!(
                    "its thread {thread} does not stop: it waits in the kernel for a device or a file system"
                ));
            }
            Ok(None) => std::thread::sleep(Duration::from_micros(50)),
        }
    }
}
