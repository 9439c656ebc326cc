//! Threads and processes that begin and end.

use std::rc::Rc;
use std::time::{Duration, Instant};

use trace::{EventKind, Registers, SpaceId, ThreadId, ThreadStart, Write};

use super::chaos::FRESH_INPUTS;
use super::inside::AtEnd;
use super::task::{Boundary, Intervention, Phase, Space, Status, Task};
use super::{Next, Recorder, gone_is_fine};
use crate::TracerError;
use crate::sys::memory::Memory;
use crate::sys::process;
use crate::sys::ptrace::{self, Resume, Wait};

/// The longest wait for a thread that has passed its exit stop.
const EXIT_WAIT_MAX: Duration = Duration::from_secs(10);

/// What a clone-like call asked for.
pub(super) struct Request {
    pub(super) flags: u64,
    child_tid: u64,
}

/// The thread has entered a call, which has not been made yet.
fn is_at_entry(registers: &Registers) -> bool {
    registers.orig_rax as i64 >= 0 && registers.rax as i64 == -i64::from(libc::ENOSYS)
}

fn is_zombie(thread: i32) -> bool {
    matches!(process::state(thread), Some(b'Z' | b'X'))
}

impl Recorder {
    /// Notes the end of a leader that SIGKILL has ended without an exit stop while it has threads; false when it lives.
    pub(super) fn ended_unseen(&mut self, thread: i32) -> Result<bool, TracerError> {
        if !is_zombie(thread) || !self.is_leader_of_others(thread) {
            return Ok(false);
        }
        match ptrace::poll(thread) {
            Ok(Some((_, stop))) => self.arrived(thread, stop)?,
            _ => self.ended(thread, libc::SIGKILL)?,
        }
        Ok(true)
    }

    /// A call has made a new thread: records its start. It is ready to run.
    pub(super) fn thread_start(&mut self, parent: i32) -> Result<Next, TracerError> {
        self.announce(parent)?;
        let message =
            ptrace::event_message(parent).map_err(TracerError::system("read the id of a new thread"))?;
        let child = message as i32;
        if self.early.remove(&child).is_none() {
            let stop = ptrace::wait_one(child).map_err(TracerError::system("wait for a new thread"))?;
            if let Wait::Ended(_) = stop {
                return Ok(Next::Resume(0));
            }
        }
        let request = self.clone_request(parent)?;
        let has = |flag: i32| request.flags & flag as u64 != 0;
        let space = if has(libc::CLONE_VM) {
            self.space_of(parent).users += 1;
            self.tasks[&parent].space
        } else {
            self.copy_space(parent, child)?
        };
        let process = if has(libc::CLONE_THREAD) { self.tasks[&parent].process } else { child };
        let mut raw = ptrace::registers(child).map_err(TracerError::system("read registers"))?;
        if self.tasks[&parent].intervention == Intervention::Arguments {
            let entry = self.tasks[&parent].entry;
            raw.rdi = entry.rdi;
            ptrace::set_registers(child, &raw).map_err(TracerError::system("write registers"))?;
            show_untraced(&self.memory_of(parent), &entry);
            show_untraced(&self.spaces[&space].memory, &entry);
        }
        let registers = self.spaces[&space].hooks.original(raw);
        if let Some(agent) = self.agent.as_mut().filter(|_| process == child) {
            agent.begin_process(child, Some(self.tasks[&parent].process));
        }
        if let Some(agent) = &mut self.agent {
            agent.begin_thread(child);
        }
        let mut task = Task::new(child, process, space, Rc::clone(&self.tasks[&parent].affinity));
        task.boundary = Some(Boundary::unique(registers));
        task.segments = registers;
        task.fresh = if has(libc::CLONE_VM) { FRESH_INPUTS } else { 0 };
        task.misplaced = true;
        (task.netted, task.filtered) = (self.tasks[&parent].netted, self.tasks[&parent].filtered);
        task.tsc_traps = self.tasks[&parent].tsc_traps;
        task.tsc_forbidden = self.tasks[&parent].tsc_forbidden;
        task.clear_tid = if has(libc::CLONE_CHILD_CLEARTID) { request.child_tid } else { 0 };
        self.tasks.insert(child, task);
        let mut writes = Vec::new();
        if has(libc::CLONE_CHILD_SETTID) {
            let memory = self.memory_of(child);
            self.save(&memory, request.child_tid, 4, &mut writes)?;
        }
        let start = ThreadStart { thread: ThreadId(child), process, space, registers, writes };
        let entry = self.tasks[&parent].entry;
        self.event(parent, entry, EventKind::Start(Box::new(start)))?;
        if !has(libc::CLONE_VM) {
            self.left_out_by_fork(parent, space)?;
        }
        self.ready.push_back(child);
        if has(libc::CLONE_VFORK) {
            // It waits in the kernel until the child has ended or runs another program: its turn is over.
            self.end_turn(parent);
            self.resume(parent, 0)?;
            return Ok(Next::Away);
        }
        Ok(Next::Resume(0))
    }

    /// A child that asks not to be traced (`CLONE_UNTRACED` of clone(2)) is recorded all the same: the flag is taken away for the
    /// time of the call.
    pub(super) fn keep_traced(
        &mut self,
        thread: i32,
        entry: &Registers,
    ) -> Result<Intervention, TracerError> {
        const UNTRACED: u64 = libc::CLONE_UNTRACED as u64;
        match entry.orig_rax as i64 {
            libc::SYS_clone if entry.rdi & UNTRACED != 0 => {
                self.set_registers(thread, &Registers { rdi: entry.rdi & !UNTRACED, ..*entry })?;
                Ok(Intervention::Arguments)
            }
            libc::SYS_clone3 => {
                let memory = self.memory_of(thread);
                let flags = memory.word(entry.rdi).unwrap_or(0);
                let hidden = flags & UNTRACED != 0
                    && memory.write(entry.rdi, &(flags & !UNTRACED).to_le_bytes()).is_ok();
                Ok(if hidden { Intervention::Arguments } else { Intervention::None })
            }
            _ => Ok(Intervention::None),
        }
    }

    pub(super) fn clone_request(&self, parent: i32) -> Result<Request, TracerError> {
        let entry = &self.tasks[&parent].entry;
        Ok(match entry.orig_rax as i64 {
            libc::SYS_fork => Request { flags: 0, child_tid: 0 },
            libc::SYS_vfork => Request { flags: (libc::CLONE_VM | libc::CLONE_VFORK) as u64, child_tid: 0 },
            libc::SYS_clone3 => {
                // struct clone_args: flags, pidfd, child_tid, ... (clone(2)).
                let memory = self.memory_of(parent);
                let failed = TracerError::system("read the arguments of clone3");
                Request {
                    flags: memory.word(entry.rdi).map_err(&failed)?,
                    child_tid: memory.word(entry.rdi + 16).map_err(&failed)?,
                }
            }
            _ => Request { flags: entry.rdi, child_tid: entry.r10 },
        })
    }

    fn copy_space(&mut self, parent: i32, child: i32) -> Result<SpaceId, TracerError> {
        let memory = Rc::new(Memory::open(child).map_err(TracerError::system("open a child's memory"))?);
        let original = self.space_of(parent);
        let mut copy = Space::new(memory);
        copy.sites = original.sites.clone();
        copy.brk = original.brk;
        copy.syscall_address = original.syscall_address;
        copy.hooks = original.hooks.clone();
        copy.clocks = original.clocks.clone();
        copy.layout = original.layout.clone();
        (copy.vdso, copy.frames_in_vdso) = (original.vdso.clone(), original.frames_in_vdso);
        (copy.image, copy.program) = (original.image, Rc::clone(&original.program));
        let id = SpaceId(self.next_space);
        self.next_space += 1;
        self.spaces.insert(id, copy);
        Ok(id)
    }

    /// A thread is about to end: its registers and memory can be read for the last time.
    pub(super) fn thread_exit(&mut self, thread: i32) -> Result<Next, TracerError> {
        let status = ptrace::event_message(thread).unwrap_or(0) as i32;
        let place = self.place_at_end(thread).unwrap_or(AtEnd::Outside(Registers::default()));
        let (AtEnd::Outside(registers) | AtEnd::InCall(registers) | AtEnd::Behind(registers)) = place;
        let task = &self.tasks[&thread];
        let (space, clear_tid, phase) = (task.space, task.clear_tid, task.phase);
        let boundary = task.boundary;
        let moved = !boundary.is_some_and(|boundary| boundary.holds(&registers));
        let in_call =
            phase == Phase::Kernel || self.agent.as_ref().is_some_and(|agent| agent.is_announced(thread));
        if !in_call && self.current == Some(thread) {
            match place {
                // It was killed when it had come to a call, before the recorder was told.
                AtEnd::Outside(_) if moved && is_at_entry(&registers) => {
                    self.event(thread, registers, EventKind::SyscallEnter)?;
                }
                // It was killed between two inputs.
                AtEnd::Outside(_) if moved => self.record_point(thread, &registers)?,
                AtEnd::InCall(_) => self.event(thread, registers, EventKind::SyscallEnter)?,
                AtEnd::Outside(_) | AtEnd::Behind(_) => {}
            }
        }
        let memory = self.memory_of(thread);
        let left_behind = self.robust_words(thread);
        ptrace::resume(thread, Resume::Continue, 0).or_else(gone_is_fine)?;
        // The first process of a namespace ends after all others in it, which have to be let end first.
        let successor = if self.is_first_of_namespace(thread) { None } else { self.await_end(thread)? };
        let mut writes = Vec::new();
        let others = self.spaces[&space].users > 1;
        if others && clear_tid != 0 {
            self.save(&memory, clear_tid, 4, &mut writes)?;
        }
        for (addr, value) in left_behind {
            writes.push(Write { addr, data: self.data(value.to_ne_bytes().to_vec())? });
        }
        self.record_exit(thread, registers, status, writes)?;
        if let Some(stop) = successor {
            self.arrived(thread, stop)?;
        }
        Ok(Next::Gone)
    }

    fn record_exit(
        &mut self,
        thread: i32,
        registers: Registers,
        status: i32,
        writes: Vec<Write>,
    ) -> Result<(), TracerError> {
        let space = self.tasks[&thread].space;
        let users = self.spaces[&space].users;
        self.event(thread, registers, EventKind::Exit { status, writes, last: users == 1 })?;
        if thread == self.root && self.root_status.is_none() {
            self.root_status = Some(status);
        }
        if let Some(ended) = self.tasks.remove(&thread)
            && !self.tasks.values().any(|task| task.process == ended.process)
            && let Some(agent) = &mut self.agent
        {
            agent.end_process(ended.process);
        }
        self.leave_space(space);
        self.end_turn(thread);
        if let Some(agent) = &mut self.agent {
            agent.end_thread(thread);
        }
        Ok(())
    }

    pub(super) fn leave_space(&mut self, space: SpaceId) {
        let Some(left) = self.spaces.get_mut(&space) else { return };
        left.users -= 1;
        if left.users == 0 {
            self.spaces.remove(&space);
        }
    }

    /// Waits until the kernel has done what it does at a thread's end. A leader that ends before its threads is not
    /// reported by waitpid(2): it stays as a zombie, or another thread that calls exec takes its id, whose stop is
    /// returned.
    fn await_end(&mut self, thread: i32) -> Result<Option<Wait>, TracerError> {
        let since = Instant::now();
        loop {
            match ptrace::poll(thread) {
                Ok(Some((_, Wait::Ended(status)))) => {
                    if thread == self.root {
                        self.root_status = Some(status);
                    }
                    return Ok(None);
                }
                Ok(Some((_, stop @ Wait::Event(libc::PTRACE_EVENT_EXEC)))) => return Ok(Some(stop)),
                Err(_) => return Ok(None),
                Ok(_) => {}
            }
            if matches!(process::state(thread), None | Some(b'Z' | b'X')) && self.is_leader_of_others(thread)
            {
                return Ok(None);
            }
            if since.elapsed() > EXIT_WAIT_MAX {
                return Err(TracerError::Stuck("a thread that was ending"));
            }
            std::thread::yield_now();
        }
    }

    /// With this thread ends the process that a namespace of processes began with (pid_namespaces(7)).
    fn is_first_of_namespace(&self, thread: i32) -> bool {
        let process = self.tasks[&thread].process;
        let is_last = !self.tasks.values().any(|task| task.process == process && task.thread != thread);
        is_last && !process::same_namespace(thread, "pid") && process::id_in_namespace(process) == Some(1)
    }

    fn is_leader_of_others(&self, thread: i32) -> bool {
        self.tasks.values().any(|task| task.process == thread && task.thread != thread)
    }

    /// waitpid(2) reports an end that no exit stop announced (SIGKILL in certain stops), or the late end of a leader.
    pub(super) fn ended(&mut self, thread: i32, status: i32) -> Result<(), TracerError> {
        if thread == self.root {
            self.root_status = Some(status);
        }
        if let Some(task) = self.tasks.get(&thread) {
            let registers = task.boundary.map_or(task.entry, |boundary| boundary.registers);
            self.record_exit(thread, registers, status, Vec::new())?;
        }
        self.early.remove(&thread);
        Ok(())
    }

    /// When a thread other than the leader calls exec, it takes the leader's id and all others end.
    pub(super) fn take_over_leader(&mut self, leader: i32) -> Result<(), TracerError> {
        let former =
            ptrace::event_message(leader).map_err(TracerError::system("read a thread's former id"))? as i32;
        if former == leader || !self.tasks.contains_key(&former) {
            return Ok(());
        }
        self.announce(former)?;
        if let Some(old) = self.tasks.get(&leader) {
            let registers = old.boundary.map_or(old.entry, |boundary| boundary.registers);
            let keep_root_status = self.root_status;
            self.record_exit(leader, registers, 0, Vec::new())?;
            self.root_status = keep_root_status;
        }
        if let Some(agent) = &mut self.agent {
            agent.rename_thread(former, leader);
        }
        let mut task = self.tasks.remove(&former).expect("it was just found");
        task.thread = leader;
        self.tasks.insert(leader, task);
        if self.current == Some(former) {
            self.current = Some(leader);
        }
        self.task(leader).status = Status::Running;
        Ok(())
    }
}

/// Puts the flag back that [`Recorder::keep_traced`] has taken from memory.
pub(super) fn show_untraced(memory: &Memory, entry: &Registers) {
    if entry.orig_rax as i64 == libc::SYS_clone3 {
        let flags = memory.word(entry.rdi).unwrap_or(0);
        // It could be written before.
        let _ = memory.write(entry.rdi, &(flags | libc::CLONE_UNTRACED as u64).to_le_bytes());
    }
}
