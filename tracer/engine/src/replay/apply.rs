//! Applying events to the world, and checking that replay has arrived at them as the recording did.

use trace::{
    Change, Effect, Event, EventKind, InstructionKind, Outcome, Reader, Registers, SignalPoint, ThreadId,
};

use super::run::Ran;
use super::withheld::is_bus_fault;
use super::world::{Shell, World};
use crate::TracerError;
use crate::sys::ptrace;
use crate::sys::xstate;

/// TF and RF of rflags (Intel SDM volume 1, section 3.4.3): a step and a breakpoint set them.
const DEBUG_FLAGS: u64 = 1 << 8 | 1 << 16;

/// Nothing that the program could see happens at this event.
pub(crate) fn is_unseen(kind: &EventKind) -> bool {
    matches!(kind, EventKind::Snapshot { .. } | EventKind::ExtendedState { .. })
}

/// The thread has to run to reach this event; all others happen to it where it stands.
pub(crate) fn needs_run(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Syscall { .. }
            | EventKind::SyscallEnter
            | EventKind::Instruction { .. }
            | EventKind::ForcedPoint { .. }
            | EventKind::Signal { point: SignalPoint::Fault | SignalPoint::SyscallEntry, .. }
    )
}

/// Why a stop is not the event that was expected; `None` when it is.
pub(crate) fn mismatch(event: &Event, ran: &Ran, registers: &Registers) -> Option<String> {
    let fits = match (&event.kind, ran) {
        (EventKind::Syscall { .. } | EventKind::SyscallEnter, Ran::Syscall) => true,
        (EventKind::Signal { point: SignalPoint::SyscallEntry, .. }, Ran::Syscall) => true,
        (EventKind::Signal { signal, point: SignalPoint::Fault, .. }, Ran::Signal(info)) => {
            // A page that is withheld stands for one that there was no room for.
            info.signal() == *signal || is_bus_fault(event) && info.signal() == libc::SIGSEGV
        }
        (EventKind::Instruction { kind, .. }, Ran::Signal(info)) => traps_by(*kind, info.signal()),
        (EventKind::ForcedPoint { .. }, Ran::Stub(_) | Ran::Step | Ran::Breakpoint(_)) => true,
        _ => false,
    };
    if !fits {
        return Some(format!(
            "the recording has {}, the replay {}",
            describe(event),
            describe_stop(ran, registers)
        ));
    }
    let difference = comparable(&event.registers).first_difference(&comparable(&at_event(event, registers)));
    difference.map(|(name, recorded, replayed)| {
        format!("at {}, {name} was {recorded:#x} at recording and is {replayed:#x} now", describe(event))
    })
}

/// The registers of a stop in the terms of the event: a patched instruction traps behind its first byte, and a system
/// call under a step has saved the step's trap flag in r11.
pub(crate) fn at_event(event: &Event, registers: &Registers) -> Registers {
    match event.kind {
        EventKind::Instruction { kind, .. }
            if !traps_by(kind, libc::SIGSEGV) || registers.rip == event.registers.rip.wrapping_add(1) =>
        {
            Registers { rip: registers.rip.wrapping_sub(1), ..*registers }
        }
        EventKind::Syscall { .. }
        | EventKind::SyscallEnter
        | EventKind::Signal { point: SignalPoint::SyscallEntry, .. } => {
            Registers { r11: registers.r11 & !DEBUG_FLAGS, ..*registers }
        }
        _ => *registers,
    }
}

/// Whether an instruction is reported by this signal: all can be replaced by a trap, and the time stamp counter faults.
fn traps_by(kind: InstructionKind, signal: i32) -> bool {
    let reads_time_stamp = matches!(kind, InstructionKind::Rdtsc | InstructionKind::Rdtscp);
    signal == libc::SIGTRAP || signal == libc::SIGSEGV && reads_time_stamp
}

pub(crate) fn comparable(registers: &Registers) -> Registers {
    Registers { rflags: registers.rflags & !DEBUG_FLAGS, ..*registers }
}

/// An event in a few words.
pub(crate) fn describe(event: &Event) -> String {
    let call = || {
        let number = event.registers.orig_rax;
        syscalls::lookup(number).map_or_else(|| format!("system call {number}"), |row| row.name.to_owned())
    };
    match &event.kind {
        EventKind::Syscall { .. } | EventKind::SyscallEnter => format!("the call {}", call()),
        EventKind::SyscallExit { .. } => format!("the return of {}", call()),
        EventKind::SyscallRestart { .. } => "the restart of a call".into(),
        EventKind::Instruction { kind, .. } => format!("{kind:?}").to_lowercase(),
        EventKind::ForcedPoint { .. } => "a forced point".into(),
        EventKind::Start(start) => format!("the start of thread {}", start.thread),
        EventKind::Signal { signal, .. } => {
            let name = syscalls::signal_name(*signal as u32);
            name.map_or_else(|| format!("signal {signal}"), str::to_owned)
        }
        EventKind::Exit { .. } => "the end of the thread".into(),
        EventKind::Snapshot { .. } => "a snapshot".into(),
        EventKind::ExtendedState { .. } => "the extended state at a snapshot".into(),
        EventKind::Change(_) => "a change from outside".into(),
    }
}

fn describe_stop(ran: &Ran, registers: &Registers) -> String {
    match ran {
        Ran::Syscall => match syscalls::lookup(registers.orig_rax) {
            Some(row) => format!("the call {}", row.name),
            None => format!("system call {}", registers.orig_rax),
        },
        Ran::Signal(info) => {
            let name = syscalls::signal_name(info.signal() as u32).unwrap_or("a signal");
            format!("{name} at {:#x}", registers.rip)
        }
        other => format!("{other:?}"),
    }
}

impl World {
    /// Applies an event to a thread that stands at it.
    pub(crate) fn apply(
        &mut self,
        trace: &Reader,
        blank: &Shell,
        number: u64,
        event: &Event,
    ) -> Result<(), TracerError> {
        if let Some(task) = self.tasks.get_mut(&event.thread) {
            task.arrived = false;
        }
        if is_bus_fault(event) {
            self.protect_page(trace, event, None)?;
        }
        match &event.kind {
            EventKind::Syscall { result, writes, effect }
            | EventKind::SyscallExit { result, writes, effect } => {
                if let Effect::Exec(image) = effect {
                    return self.apply_exec(trace, blank, number, event, image);
                }
                self.apply_return(trace, event, *result, effect)?;
                self.write_all(trace, event.space, writes)
            }
            EventKind::Snapshot { .. } if self.spaces.is_empty() => {
                *self = World::build(blank, trace, &trace.state(event)?)?;
                Ok(())
            }
            EventKind::SyscallEnter => self.mark_waiter(event),
            EventKind::ForcedPoint { .. } | EventKind::Snapshot { .. } => Ok(()),
            EventKind::ExtendedState { xstate } => self.set_xstate(event.thread, &trace.data(*xstate)?),
            EventKind::Change(changes) => {
                changes.iter().try_for_each(|change| self.apply_change(trace, change))
            }
            EventKind::SyscallRestart { rax } => {
                let again = Registers { rip: event.registers.rip - 2, rax: *rax, ..event.registers };
                self.set_registers(event.thread, &again)
            }
            EventKind::Instruction { after, .. } => self.set_registers(event.thread, after),
            EventKind::Start(start) => {
                if !self.spaces.contains_key(&start.space) {
                    self.copy_space(event.space, start.space)?;
                }
                let parent = self.task(event.thread)?.real;
                self.add_thread(start.thread, start.process, start.space, &start.registers)?;
                let state = ptrace::xstate(parent).map_err(TracerError::system("read extended state"))?;
                self.set_xstate(start.thread, &state)?;
                self.write_all(trace, start.space, &start.writes)
            }
            EventKind::Signal { outcome: Outcome::Handler { after, xstate, frame }, .. } => {
                self.write_all(trace, event.space, frame)?;
                self.set_registers(event.thread, after)?;
                self.set_xstate(event.thread, &trace.data(*xstate)?)
            }
            // Without a handler the call is begun again at once.
            EventKind::Signal {
                point: SignalPoint::SyscallEntry,
                outcome: Outcome::Ignored | Outcome::Stopped,
                ..
            } => {
                let entry = event.registers;
                let again = Registers { rip: entry.rip - 2, rax: entry.orig_rax, ..entry };
                self.set_registers(event.thread, &again)
            }
            EventKind::Signal { .. } => Ok(()),
            EventKind::Exit { writes, .. } => {
                // In memory that others share these are seen also when the space ends.
                self.write_all(trace, event.space, writes)?;
                self.end_thread(event.thread);
                Ok(())
            }
        }
    }

    fn apply_change(&mut self, trace: &Reader, change: &Change) -> Result<(), TracerError> {
        if !change.ops.is_empty() {
            self.set_breakpoints(change.space, &[])?;
            self.clear_sentries(change.space)?;
        }
        change.ops.iter().try_for_each(|op| self.memory_op(trace, change.space, op))?;
        self.write_all(trace, change.space, &change.writes)
    }

    /// A thread that waits for a lock with an owner has been noted in the lock by the kernel (futex(2), `FUTEX_LOCK_PI`):
    /// the owner sees that before the call returns.
    fn mark_waiter(&self, event: &Event) -> Result<(), TracerError> {
        const OPERATION: u64 = 0x7f;
        const LOCK_PI: u64 = 6;
        const LOCK_PI2: u64 = 13;
        const FUTEX_WAITERS: u32 = 0x8000_0000;
        let [word, operation, ..] = event.registers.arguments();
        let locks = matches!(operation & OPERATION, LOCK_PI | LOCK_PI2);
        if event.registers.orig_rax as i64 != libc::SYS_futex || !locks {
            return Ok(());
        }
        let memory = &self.space(event.space)?.shell.memory;
        let failed = TracerError::system("mark a lock of a replay process");
        let value = memory.array(word).map(u32::from_ne_bytes).map_err(&failed)?;
        memory.write(word, &(value | FUTEX_WAITERS).to_ne_bytes()).map_err(&failed)
    }

    fn set_xstate(&self, id: ThreadId, state: &[u8]) -> Result<(), TracerError> {
        let real = self.task(id)?.real;
        ptrace::set_xstate(real, state).map_err(TracerError::system("write extended state"))
    }

    fn apply_return(
        &mut self,
        trace: &Reader,
        event: &Event,
        result: i64,
        effect: &Effect,
    ) -> Result<(), TracerError> {
        let returned = Registers { rax: result as u64, ..event.registers };
        match effect {
            Effect::Memory(ops) => {
                // Breakpoints in code that goes away must not be put back into what comes.
                self.set_breakpoints(event.space, &[])?;
                self.clear_sentries(event.space)?;
                for op in ops {
                    self.memory_op(trace, event.space, op)?;
                }
                self.set_registers(event.thread, &returned)
            }
            Effect::Registers { after, xstate } => {
                if let Some(state) = xstate {
                    self.set_xstate(event.thread, &trace.data(*state)?)?;
                }
                self.set_registers(event.thread, after)
            }
            Effect::None | Effect::Output { .. } | Effect::Exec(_) => {
                self.set_registers(event.thread, &returned)
            }
        }
    }

    fn apply_exec(
        &mut self,
        trace: &Reader,
        blank: &Shell,
        number: u64,
        event: &Event,
        image: &trace::Image,
    ) -> Result<(), TracerError> {
        let process = self.tasks.get(&event.thread).map_or(image.thread.0, |task| task.process);
        let before = self.tasks.get(&event.thread).and_then(|task| self.spaces.get(&task.space));
        let stack_limit = before.map_or(trace.header().machine.stack_limit, |space| space.stack_limit);
        self.exec(blank, trace, image, number, stack_limit)?;
        let old: Vec<ThreadId> =
            self.tasks.iter().filter(|(_, task)| task.process == process).map(|(id, _)| *id).collect();
        old.into_iter().for_each(|id| self.end_thread(id));
        self.add_thread(image.thread, process, image.space, &image.registers)?;
        let real = self.task(image.thread)?.real;
        let state = ptrace::xstate(real).map_err(TracerError::system("read extended state"))?;
        self.set_xstate(image.thread, &xstate::initial(&state))
    }
}
