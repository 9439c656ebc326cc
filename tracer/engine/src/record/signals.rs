//! Signals: which are delivered at once, which wait for the next system call, and what the program sees of them
//! (DESIGN.md §3.2).

use std::time::{Duration, Instant};

use trace::{EventKind, InstructionKind, Outcome, Registers, SignalPoint};

use super::inside::Inside;
use super::task::{Boundary, Phase, Status, Task};
use super::{Next, Recorder, gone_is_fine};
use crate::TracerError;
use crate::sys::machine;
use crate::sys::memory::Memory;
use crate::sys::ptrace::{self, Resume, SignalInfo, Wait};
use crate::sys::signal::{self, Disposition};
use crate::unruly;

/// The longest time for which a signal is kept back.
const DELAY_MAX: Duration = Duration::from_millis(10);

/// More signals than this are never kept back.
const PENDING_MAX: usize = 32;

/// How many other stops may come before the one that is waited for.
const STRAY_STOPS_MAX: usize = 64;

/// `SI_KERNEL` of sigaction(2).
pub(super) const SI_KERNEL: i32 = 0x80;

impl Recorder {
    pub(super) fn signal_stop(&mut self, thread: i32, signal: i32) -> Result<Next, TracerError> {
        let info = ptrace::signal_info(thread).map_err(TracerError::system("read a signal"))?;
        self.cancel_opposites(thread, info.signal());
        if info.signal() == libc::SIGTRAP
            && let Some(next) = self.paused(thread)?
        {
            return Ok(next);
        }
        if self.entered_middle(thread, &info)? {
            return Ok(Next::GoOn);
        }
        if is_fault(&info) && self.clock_failed(thread)? {
            return Ok(Next::GoOn);
        }
        match self.leave_agent(thread)? {
            Inside::Outside => self.drain()?,
            Inside::Before if is_fault(&info) => {
                return Err(TracerError::Inconsistent("the agent in the program has failed"));
            }
            // At its call, which comes next, it will be delivered.
            Inside::Before => {
                self.keep(thread, info);
                return Ok(Next::GoOn);
            }
            Inside::Interrupted if self.disposition(thread, signal)? == Disposition::Ignored => {
                if self.is_out(thread) {
                    return self.go_on_inside(thread, signal).map(|()| Next::Away);
                }
            }
            Inside::Interrupted => self.interrupted_inside(thread)?,
            Inside::After => {
                ptrace::set_signal_info(thread, &info).map_err(TracerError::system("write a signal"))?;
            }
            Inside::Unlogged => {
                self.keep(thread, info);
                return self.return_unlogged(thread);
            }
            Inside::Elsewhere(stop) => {
                self.keep(thread, info);
                return self.unexpected(thread, stop);
            }
        }
        let registers = self.registers(thread)?;
        if self.serve_instruction(thread, &registers, &info)? {
            return Ok(Next::Resume(0));
        }
        if is_fault(&info) {
            // A filter answers a call with SIGSYS, behind which the thread stands already.
            let behind_call = signal == libc::SIGSYS
                && self.tasks[&thread].boundary.is_some_and(|boundary| boundary.holds(&registers));
            let point = if behind_call { SignalPoint::Here } else { SignalPoint::Fault };
            return self.deliver(thread, &registers, info, point);
        }
        match self.disposition(thread, signal)? {
            Disposition::Ignored => return Ok(Next::Resume(signal)),
            // While the process is stopped others run: it has to stand at an event or a point.
            Disposition::Handler | Disposition::Fatal | Disposition::Stops => {}
        }
        if self.tasks[&thread].boundary.is_some_and(|boundary| boundary.holds(&registers)) {
            return self.deliver(thread, &registers, info, SignalPoint::Here);
        }
        let period = self.timer_period(thread, signal);
        self.keep(thread, info);
        let task = self.task(thread);
        let delay = if task.pending.len() > PENDING_MAX { Duration::ZERO } else { period };
        task.deadline.get_or_insert_with(|| Instant::now() + delay);
        Ok(Next::GoOn)
    }

    /// Keeps a signal that came while it cannot be delivered.
    pub(super) fn keep(&mut self, thread: i32, info: SignalInfo) {
        self.cancel_opposites(thread, info.signal());
        self.task(thread).pending.push_back(info);
    }

    /// SIGCONT cancels the stop signals that wait, and a stop signal a SIGCONT (signal(7)): here those that were kept back, which
    /// the kernel does not know of any more. Otherwise the program would stop after it has been continued.
    fn cancel_opposites(&mut self, thread: i32, signal: i32) {
        let stops = signal::stops(signal);
        if signal != libc::SIGCONT && !stops {
            return;
        }
        let is_opposite = |other: i32| if stops { other == libc::SIGCONT } else { signal::stops(other) };
        let process = self.tasks[&thread].process;
        for task in self.tasks.values_mut().filter(|task| task.process == process) {
            task.pending.retain(|kept| !is_opposite(kept.signal()));
            if task.pending.is_empty() {
                task.deadline = None;
            }
        }
    }

    /// Whether a SIGCONT has come to a process that no thread of it has taken yet. A thread of it is in a signal stop: should another
    /// come from here on, the kernel drops the stop signal that this thread is resumed with (`JOBCTL_STOP_DEQUEUED` of
    /// kernel/signal.c).
    fn was_continued(&mut self, thread: i32) -> Result<bool, TracerError> {
        let process = self.tasks[&thread].process;
        let threads: Vec<i32> =
            self.tasks.values().filter(|task| task.process == process).map(|task| task.thread).collect();
        if threads.iter().any(|thread| signal::is_waiting(*thread, libc::SIGCONT)) {
            return Ok(true);
        }
        // Or it is the reason of a stop, or kept back.
        while self.wait_for_stop(Some(Instant::now()))? {}
        let has_it = |task: &Task| {
            task.status == Status::Stopped(Wait::Signal(libc::SIGCONT))
                || task.pending.iter().any(|info| info.signal() == libc::SIGCONT)
        };
        Ok(threads.iter().any(|thread| self.tasks.get(thread).is_some_and(has_it)))
    }

    /// A jump into the bytes of a hook, which trap: the thread goes on in the copy.
    fn entered_middle(&mut self, thread: i32, info: &SignalInfo) -> Result<bool, TracerError> {
        if !matches!(info.signal(), libc::SIGTRAP | libc::SIGILL | libc::SIGSEGV) {
            return Ok(false);
        }
        let raw = self.raw_registers(thread)?;
        let hooks = &self.hooks_of(thread);
        let Some(rip) = hooks.over(raw.rip - 1).and_then(|hook| hook.entry_into_middle(raw.rip)) else {
            return Ok(false);
        };
        self.set_raw_registers(thread, &Registers { rip, ..raw })?;
        Ok(true)
    }

    pub(super) fn disposition(&self, thread: i32, signal: i32) -> Result<Disposition, TracerError> {
        signal::disposition(thread, signal).map_err(TracerError::system("read the state of a thread"))
    }

    /// How long a signal may wait for a system call.
    fn timer_period(&self, thread: i32, signal: i32) -> Duration {
        if matches!(signal, libc::SIGPROF | libc::SIGVTALRM) {
            return Duration::ZERO;
        }
        let period = self.timers.get(&self.tasks[&thread].process).copied();
        period.map_or(DELAY_MAX, |period| (period / 2).min(DELAY_MAX))
    }

    /// Remembers the period of an interval timer (setitimer(2)).
    pub(super) fn note_timer(&mut self, thread: i32, arguments: &[u64; 6]) {
        let memory = self.memory_of(thread);
        let (Ok(seconds), Ok(micros)) = (memory.word(arguments[1]), memory.word(arguments[1] + 8)) else {
            return;
        };
        let period = Duration::from_secs(seconds) + Duration::from_micros(micros);
        let process = self.tasks[&thread].process;
        if period.is_zero() {
            self.timers.remove(&process);
        } else {
            self.timers.insert(process, period);
        }
    }

    /// Serves an instruction that trapped because its result is an input.
    fn serve_instruction(
        &mut self,
        thread: i32,
        registers: &Registers,
        info: &SignalInfo,
    ) -> Result<bool, TracerError> {
        if info.code() != SI_KERNEL {
            return Ok(false);
        }
        let served = match info.signal() {
            libc::SIGSEGV => self.serve_time_stamp(thread, registers),
            libc::SIGTRAP => self.serve_site(thread, registers),
            _ => None,
        };
        let Some((before, kind, after)) = served else { return Ok(false) };
        self.set_registers(thread, &after)?;
        self.event(thread, before, EventKind::Instruction { kind, after })?;
        self.task(thread).boundary = Some(Boundary::unique(after));
        Ok(true)
    }

    fn serve_time_stamp(
        &mut self,
        thread: i32,
        registers: &Registers,
    ) -> Option<(Registers, InstructionKind, Registers)> {
        if self.tasks[&thread].tsc_forbidden {
            return None;
        }
        let code: [u8; 3] = self.memory_of(thread).array(registers.rip).ok()?;
        let (kind, len) = unruly::time_stamp_instruction(&code)?;
        let (counter, processor) = machine::time_stamp();
        let processor = self.processor_shown(thread, processor);
        Some((*registers, kind, unruly::after_time_stamp(registers, kind, len, counter, processor)))
    }

    fn serve_site(
        &mut self,
        thread: i32,
        registers: &Registers,
    ) -> Option<(Registers, InstructionKind, Registers)> {
        let address = registers.rip - 1;
        let site = *self.space_of(thread).sites.get(&address)?;
        let before = Registers { rip: address, ..*registers };
        if site.reads_time_stamp() {
            let (counter, processor) = machine::time_stamp();
            let processor = self.processor_shown(thread, processor);
            let after = unruly::after_time_stamp(&before, site.kind, site.len, counter, processor);
            return Some((before, site.kind, after));
        }
        let value = if site.kind == InstructionKind::Rdpid {
            self.processor_shown(thread, self.core).into()
        } else {
            random()
        };
        Some((before, site.kind, unruly::after_site(&before, &site, value)))
    }

    /// The first signal kept back that the thread does not block.
    pub(super) fn deliverable(&mut self, thread: i32) -> Result<Option<SignalInfo>, TracerError> {
        let task = self.task(thread);
        task.deadline = None;
        if task.pending.is_empty() {
            return Ok(None);
        }
        let mask = ptrace::signal_mask(thread).map_err(TracerError::system("read a signal mask"))?;
        let task = self.task(thread);
        let open = task.pending.iter().position(|info| mask & (1 << (info.signal() - 1)) == 0);
        let found = open.and_then(|index| task.pending.remove(index));
        if found.is_some() && !task.pending.is_empty() {
            task.deadline = Some(Instant::now() + DELAY_MAX);
        }
        Ok(found)
    }

    /// Delivers a signal at the entry of a call, before it executes; after the handler the call is begun again.
    pub(super) fn deliver_at_entry(
        &mut self,
        thread: i32,
        entry: &Registers,
        info: SignalInfo,
    ) -> Result<Next, TracerError> {
        self.set_registers(thread, &Registers { orig_rax: u64::MAX, ..*entry })?;
        if let Some(other) = self.resume_until(thread, 0, |stop| stop == Wait::Syscall)? {
            return Ok(other);
        }
        let again = Registers { rip: entry.rip - 2, rax: entry.orig_rax, orig_rax: u64::MAX, ..*entry };
        self.set_registers(thread, &again)?;
        if let Some(other) = self.come_to_signal_stop(thread, &info)? {
            return Ok(other);
        }
        self.deliver(thread, entry, info, SignalPoint::SyscallEntry)
    }

    /// Delivers a signal that was kept back to a thread at the exit of a call.
    pub(super) fn deliver_behind_call(&mut self, thread: i32, info: SignalInfo) -> Result<Next, TracerError> {
        if let Some(other) = self.come_to_signal_stop(thread, &info)? {
            return Ok(other);
        }
        let registers = self.registers(thread)?;
        self.deliver(thread, &registers, info, SignalPoint::Here)
    }

    /// Takes a thread that is in a stop of a call to a stop in which a signal that was kept back can be delivered. `Some` when
    /// something else came, which has been dealt with.
    fn come_to_signal_stop(&mut self, thread: i32, info: &SignalInfo) -> Result<Option<Next>, TracerError> {
        let sent = signal::carrier(thread, info.signal());
        if let Some(other) = self.resume_until(thread, sent, |stop| stop == Wait::Signal(sent))? {
            return Ok(Some(other));
        }
        ptrace::set_signal_info(thread, info).map_err(TracerError::system("write a signal"))?;
        Ok(None)
    }

    /// Resumes with `signal` and waits for the stop that is wanted. Signals that come first are kept back. `Some` when
    /// something else came, which has been dealt with.
    pub(super) fn resume_until(
        &mut self,
        thread: i32,
        signal: i32,
        wanted: impl Fn(Wait) -> bool,
    ) -> Result<Option<Next>, TracerError> {
        ptrace::resume(thread, Resume::Syscall, signal).or_else(gone_is_fine)?;
        for _ in 0..STRAY_STOPS_MAX {
            let stop = ptrace::wait_one(thread).map_err(TracerError::system("wait for a thread"))?;
            match stop {
                stop if wanted(stop) => return Ok(None),
                Wait::Signal(_) => {
                    let info = ptrace::signal_info(thread).map_err(TracerError::system("read a signal"))?;
                    self.keep(thread, info);
                }
                Wait::Stop(_) => {}
                other => return self.unexpected(thread, other).map(Some),
            }
            ptrace::resume(thread, Resume::Syscall, 0).or_else(gone_is_fine)?;
        }
        Err(TracerError::Stuck("a thread that was to take a signal"))
    }

    /// A thread that was to take a signal was killed instead, or came to another stop.
    pub(super) fn unexpected(&mut self, thread: i32, stop: Wait) -> Result<Next, TracerError> {
        self.task(thread).status = Status::Running;
        self.arrived(thread, stop)?;
        match self.tasks.get(&thread).map(|task| task.status) {
            Some(Status::Stopped(stop)) => self.process(thread, stop),
            _ => Ok(Next::Gone),
        }
    }

    /// Delivers a signal to a thread in a signal stop. `before` are the registers of the event.
    pub(super) fn deliver(
        &mut self,
        thread: i32,
        before: &Registers,
        info: SignalInfo,
        point: SignalPoint,
    ) -> Result<Next, TracerError> {
        let signal = info.signal();
        let disposition = self.disposition(thread, signal)?;
        // A fault cannot be ignored, and a blocked one ends the process.
        let blocked = point == SignalPoint::Fault
            && ptrace::signal_mask(thread).is_ok_and(|mask| mask & (1 << (signal - 1)) != 0);
        match disposition {
            Disposition::Handler if !blocked => self.enter_handler(thread, before, info, point),
            Disposition::Stops if self.was_continued(thread)? => Ok(Next::Resume(0)),
            Disposition::Stops => {
                self.signal_event(thread, before, &info, point, Outcome::Stopped)?;
                Ok(Next::Resume(signal))
            }
            Disposition::Ignored if point != SignalPoint::Fault => {
                self.signal_event(thread, before, &info, point, Outcome::Ignored)?;
                Ok(Next::Resume(signal))
            }
            _ => {
                self.signal_event(thread, before, &info, point, Outcome::Fatal)?;
                self.task(thread).boundary = Some(Boundary::unique(self.registers(thread)?));
                Ok(Next::Resume(signal))
            }
        }
    }

    fn enter_handler(
        &mut self,
        thread: i32,
        before: &Registers,
        info: SignalInfo,
        point: SignalPoint,
    ) -> Result<Next, TracerError> {
        let signal = info.signal();
        self.show_own(thread)?;
        // With a step the kernel stops at the handler's first instruction, when the frame is complete.
        ptrace::resume(thread, Resume::Step, signal).or_else(gone_is_fine)?;
        let stop = ptrace::wait_one(thread).map_err(TracerError::system("wait for a signal handler"))?;
        if stop != Wait::Signal(libc::SIGTRAP) {
            // The frame could not be written: the kernel forces SIGSEGV, which comes next.
            self.signal_event(thread, before, &info, point, Outcome::Ignored)?;
            return self.unexpected(thread, stop);
        }
        let after = self.registers(thread)?;
        let xstate = ptrace::xstate(thread).map_err(TracerError::system("read extended state"))?;
        let xstate = self.data(xstate)?;
        let memory = self.memory_of(thread);
        let mut frame = Vec::new();
        self.save(&memory, after.rsp, frame_len(&memory, after.rsp), &mut frame)?;
        let outcome = Outcome::Handler { after: Box::new(after), xstate, frame };
        self.signal_event(thread, before, &info, point, outcome)?;
        self.space_of(thread).note_frame(before.rip, 1);
        let task = self.task(thread);
        task.boundary = Some(Boundary::unique(after));
        task.interrupted = false;
        debug_assert_eq!(task.phase, Phase::User);
        Ok(Next::Resume(0))
    }

    fn signal_event(
        &mut self,
        thread: i32,
        before: &Registers,
        info: &SignalInfo,
        point: SignalPoint,
        outcome: Outcome,
    ) -> Result<(), TracerError> {
        let data = self.data(info.0.to_vec())?;
        self.event(thread, *before, EventKind::Signal { signal: info.signal(), info: data, point, outcome })
    }
}

/// The instruction itself raised it (sigaction(2), "The si_code field").
pub(super) fn is_fault(info: &SignalInfo) -> bool {
    let of_instruction =
        matches!(info.signal(), libc::SIGSEGV | libc::SIGBUS | libc::SIGILL | libc::SIGFPE | libc::SIGTRAP);
    of_instruction && info.code() > 0 || info.signal() == libc::SIGSYS && info.code() > 0
}

/// Length in bytes of the signal frame at `rsp` (`struct rt_sigframe`, arch/x86/include/asm/sigframe.h).
fn frame_len(memory: &Memory, rsp: u64) -> u64 {
    /// The frame without extended state: return address, ucontext, siginfo.
    const FRAME_BYTES: u64 = 440;
    /// Where the frame points to the extended state.
    const STATE_POINTER: u64 = 232;
    /// Where the extended state says how long it is (`struct _fpx_sw_bytes`).
    const EXTENDED_SIZE: u64 = 468;
    /// No frame is longer.
    const FRAME_BYTES_MAX: u64 = 32 << 10;
    let end = memory.word(rsp + STATE_POINTER).ok().filter(|state| *state > rsp).and_then(|state| {
        let size = u32::from_le_bytes(memory.array(state + EXTENDED_SIZE).ok()?);
        Some(state + u64::from(size).max(512))
    });
    end.map_or(FRAME_BYTES, |end| (end - rsp).clamp(FRAME_BYTES, FRAME_BYTES_MAX))
}

/// A random number that stands for RDRAND's.
fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish()
}
