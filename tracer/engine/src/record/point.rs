//! Forced points: places between two inputs at which the recorder had to stop a thread, described by what they look
//! like (DESIGN.md §3.3), so that replay can find them again without anything having been counted.
//!
//! A fingerprint holds the registers, a hash of the extended state, and hashes of the 64-byte lines of memory that
//! were written since the last forced point ([`super::written`]).

use std::ops::Range;

use patch::{LINE_BYTES, NEIGHBOURHOOD_BYTES, is_quiet, plantable};
use trace::{EventKind, Fingerprint, Registers, SignalPoint};

use super::exec::TRAP;
use super::inside::Inside;
use super::signals::{SI_KERNEL, is_fault};
use super::syscall::begins_again;
use super::task::{Boundary, Phase, Status, Task};
use super::written::RED_ZONE_BYTES;
use super::{Recorder, gone_is_fine};
use crate::TracerError;
use crate::sys::memory::Memory;
use crate::sys::ptrace::{self, Resume, Wait};
use crate::sys::userfault::{self, WriteTracker};
use crate::sys::xstate;

const PAGE: u64 = 4096;

/// How far a thread is stepped in search of an instruction where a stub can be planted.
const STEPS_MAX: usize = 256;

/// For so many steps an instruction is looked for at which a stub would be quiet: a jump into the middle of a stub costs
/// a trap at replay, each time.
const CHOOSY_STEPS: usize = 128;

/// How many unrelated stops may come before a thread obeys an interrupt or a step.
const STRAY_STOPS_MAX: usize = 64;

/// What came of running to the end of a repeated string instruction.
enum Behind {
    Reached,
    /// Another stop came first.
    Other(Wait),
    /// No trap can be put there: code that is mapped shared cannot be written.
    Unreachable,
}

impl Recorder {
    /// Stops the running thread between two inputs: to deliver a signal that waited too long, or to let others run.
    pub(super) fn force_point(&mut self, thread: i32) -> Result<(), TracerError> {
        ptrace::interrupt(thread).or_else(gone_is_fine)?;
        self.make_point(thread)
    }

    /// Lets a thread go on for some instructions, and stops it there.
    pub(super) fn cut(&mut self, thread: i32, steps: u64) -> Result<(), TracerError> {
        self.task(thread).status = Status::Running;
        for _ in 0..steps {
            let Ok(raw) = self.raw_registers(thread) else { break };
            if self.enters_agent(thread, raw.rip) {
                // It makes a call.
                return ptrace::resume(thread, Resume::Continue, 0).or_else(gone_is_fine);
            }
            let code = self.memory_of(thread).array::<4>(raw.rip).unwrap_or_default();
            if is_input(&code) || pushes_flags(&code) {
                // It would see the trap flag.
                break;
            }
            ptrace::resume(thread, Resume::Step, 0).or_else(gone_is_fine)?;
            let stop = ptrace::wait_one(thread).map_err(TracerError::system("wait for a thread"))?;
            if stop != Wait::Signal(libc::SIGTRAP) || !self.is_step(thread) {
                return self.arrived(thread, stop);
            }
        }
        ptrace::interrupt(thread).or_else(gone_is_fine)?;
        ptrace::resume(thread, Resume::Continue, 0).or_else(gone_is_fine)?;
        self.make_point(thread)
    }

    /// An address is in the agent, or on the way there.
    pub(super) fn enters_agent(&self, thread: i32, address: u64) -> bool {
        let leads_in = |hook: &patch::Hook| hook.leads_in(address);
        self.is_inside(thread, address) || self.hooks_of(thread).of_trampoline(address).is_some_and(leads_in)
    }

    /// Makes a point of where a thread stops that has been asked to.
    fn make_point(&mut self, thread: i32) -> Result<(), TracerError> {
        if !self.stop_for_point(thread)? {
            return Ok(());
        }
        self.drain()?;
        let registers = self.registers(thread)?;
        self.record_point(thread, &registers)?;
        self.snapshot_if_due(thread)?;
        match self.deliverable(thread)? {
            Some(info) => {
                ptrace::set_signal_info(thread, &info).map_err(TracerError::system("write a signal"))?;
                let next = self.deliver(thread, &registers, info, SignalPoint::Here)?;
                self.go_on(thread, next)?;
            }
            None => {
                self.task(thread).status = Status::Parked;
                self.yield_turn(thread);
            }
        }
        Ok(())
    }

    /// Brings an interrupted thread to an instruction where a stub can be planted, in a step stop. False when an
    /// input came first: then that is dealt with as always.
    fn stop_for_point(&mut self, thread: i32) -> Result<bool, TracerError> {
        let mut stepped = false;
        for steps in 0..STRAY_STOPS_MAX + STEPS_MAX {
            let stop = ptrace::wait_one(thread).map_err(TracerError::system("wait for a thread"))?;
            self.follow_turn();
            if self.current != Some(thread) {
                // It has passed the turn on meanwhile.
                return self.arrived(thread, stop).map(|()| false);
            }
            match stop {
                Wait::Stop(libc::SIGTRAP) => {}
                Wait::Signal(libc::SIGTRAP) if self.is_step(thread) => stepped = true,
                Wait::Signal(_) if self.keep_back(thread)? => {}
                other => {
                    self.arrived(thread, other)?;
                    return Ok(false);
                }
            }
            match self.leave_agent(thread)? {
                Inside::Outside => {}
                Inside::Before => return self.resume(thread, 0).map(|()| false),
                Inside::Interrupted => {
                    self.begin_again_outside(thread)?;
                    return self.resume(thread, 0).map(|()| false);
                }
                Inside::After => stepped = false,
                Inside::Unlogged => {
                    let next = self.return_unlogged(thread)?;
                    return self.go_on(thread, next).map(|()| false);
                }
                Inside::Elsewhere(stop) => return self.arrived(thread, stop).map(|()| false),
            }
            // In a trampoline this is the copy's address, so that its code is looked at.
            let registers = self.raw_registers(thread)?;
            let hooks = &self.space_of(thread).hooks;
            let hooked = hooks.near(registers.rip) || hooks.of_trampoline(registers.rip).is_some();
            let mut code = [0; 32];
            let read = self.memory_of(thread).read_some(registers.rip, &mut code).unwrap_or(0);
            let code = &code[..read];
            if stepped && !hooked && is_good_site(&self.memory_of(thread), code, registers.rip, steps) {
                return Ok(true);
            }
            if is_input(code) || begins_again(&registers) {
                self.resume(thread, 0)?;
                return Ok(false);
            }
            if let Some(end) = repeated_end(code, registers.rip) {
                match self.run_to_end_of_repeat(thread, end)? {
                    Behind::Other(stop) => {
                        self.arrived(thread, stop)?;
                        return Ok(false);
                    }
                    Behind::Reached => stepped = false,
                    Behind::Unreachable => {
                        self.resume(thread, 0)?;
                        return Ok(false);
                    }
                }
            }
            ptrace::resume(thread, Resume::Step, 0).or_else(gone_is_fine)?;
        }
        Err(TracerError::Stuck("a thread that was to be stopped"))
    }

    /// Keeps a signal for later that comes while its thread is being brought to a point. False for a fault.
    fn keep_back(&mut self, thread: i32) -> Result<bool, TracerError> {
        let info = ptrace::signal_info(thread).map_err(TracerError::system("read a signal"))?;
        if info.code() > 0 && info.code() != SI_KERNEL || is_fault(&info) {
            return Ok(false);
        }
        self.keep(thread, info);
        Ok(true)
    }

    /// Runs a repeated string instruction to its end, where a trap is put for the time.
    fn run_to_end_of_repeat(&mut self, thread: i32, end: u64) -> Result<Behind, TracerError> {
        let failed = TracerError::system("stop a thread behind a repeated instruction");
        let memory = self.memory_of(thread);
        let original = memory.array::<1>(end).map_err(&failed)?;
        if memory.write(end, &[TRAP]).is_err() {
            return Ok(Behind::Unreachable);
        }
        let mut came = Behind::Reached;
        for _ in 0..STRAY_STOPS_MAX {
            ptrace::resume(thread, Resume::Continue, 0).or_else(gone_is_fine)?;
            let stop = ptrace::wait_one(thread).map_err(&failed)?;
            if stop == Wait::Signal(libc::SIGTRAP) {
                let registers = self.registers(thread)?;
                self.set_registers(thread, &Registers { rip: end, ..registers })?;
                break;
            }
            let passing =
                matches!(stop, Wait::Stop(_)) || matches!(stop, Wait::Signal(_)) && self.keep_back(thread)?;
            if !passing {
                came = Behind::Other(stop);
                break;
            }
        }
        memory.write(end, &original).map_err(&failed)?;
        Ok(came)
    }

    fn is_step(&self, thread: i32) -> bool {
        const TRAP_TRACE: i32 = 2;
        ptrace::signal_info(thread).is_ok_and(|info| info.code() == TRAP_TRACE)
    }

    /// Records where a thread stands between two inputs.
    pub(super) fn record_point(&mut self, thread: i32, registers: &Registers) -> Result<(), TracerError> {
        let fingerprint = self.fingerprint(thread, registers)?;
        self.event(thread, *registers, EventKind::ForcedPoint { fingerprint })?;
        self.task(thread).boundary = Some(Boundary { registers: *registers, unique: false });
        Ok(())
    }

    fn fingerprint(&mut self, thread: i32, registers: &Registers) -> Result<Fingerprint, TracerError> {
        let state = ptrace::xstate(thread).map_err(TracerError::system("read extended state"))?;
        let memory = self.memory_of(thread);
        self.begin_tracking(thread)?;
        let (mut lines, mut complete) = self.space_of(thread).written.lines(thread, &memory, registers);
        let others: Vec<(Registers, bool)> = self.others_in_space(thread);
        for (registers, _) in &others {
            let dead = dead_stack(registers.rsp);
            lines.retain(|line| !dead.contains(&line.line));
        }
        let found = lines.len();
        for (entry, _) in others.iter().filter(|(_, in_call)| *in_call) {
            for written in written_by_call(entry, &memory) {
                lines.retain(|line| !written.contains(&line.line));
            }
        }
        complete &= lines.len() == found;
        Ok(Fingerprint { xstate_hash: xstate::canonical_hash(&state), lines, complete })
    }

    /// The registers of all other threads of the space, and whether they are in a call.
    fn others_in_space(&self, thread: i32) -> Vec<(Registers, bool)> {
        let space = self.tasks[&thread].space;
        let others = self.tasks.values().filter(|task| task.space == space && task.thread != thread);
        let registers = |task: &Task| match task.phase {
            // A call that goes on after an interruption writes what it would have written at first.
            Phase::Kernel => Some((Registers { orig_rax: task.call, ..task.entry }, true)),
            Phase::User if self.is_out(task.thread) => Some((self.entry_inside(task.thread).ok()?, true)),
            Phase::User => Some((self.registers(task.thread).ok()?, false)),
        };
        others.filter_map(registers).collect()
    }

    /// Starts write tracking in the thread's space, at its first forced point.
    fn begin_tracking(&mut self, thread: i32) -> Result<(), TracerError> {
        if !self.space_of(thread).written.has_begun() {
            let tracker = self.make_tracker(thread);
            self.space_of(thread).written.begin(tracker);
        }
        Ok(())
    }

    fn make_tracker(&mut self, thread: i32) -> Option<WriteTracker> {
        // A filter of the program's own may answer an unexpected call with a kill.
        if self.tasks[&thread].filtered {
            return None;
        }
        let descriptor =
            self.call_in(thread, libc::SYS_userfaultfd, [userfault::OPEN_FLAGS, 0, 0, 0, 0, 0])?;
        let process = self.tasks[&thread].process;
        let tracker = WriteTracker::adopt(process, descriptor as i32);
        self.call_in(thread, libc::SYS_close, [descriptor as u64, 0, 0, 0, 0, 0])?;
        tracker.ok()
    }

    /// Makes a system call in a thread that is in a stop outside of any call, and puts its registers back.
    pub(super) fn call_in(&mut self, thread: i32, number: i64, arguments: [u64; 6]) -> Option<i64> {
        let space = self.space_of(thread);
        let address = if space.hooks.ready { agent::GADGET } else { space.syscall_address };
        let saved = ptrace::registers(thread).ok().filter(|_| address != 0)?;
        let call = Registers {
            rip: address,
            rax: number as u64,
            rdi: arguments[0],
            rsi: arguments[1],
            rdx: arguments[2],
            r10: arguments[3],
            r8: arguments[4],
            r9: arguments[5],
            orig_rax: u64::MAX,
            ..saved
        };
        ptrace::set_registers(thread, &call).ok()?;
        let result = self.step_call(thread, address);
        ptrace::set_registers(thread, &saved).ok()?;
        result.filter(|result| *result >= 0)
    }

    fn step_call(&mut self, thread: i32, address: u64) -> Option<i64> {
        for _ in 0..STRAY_STOPS_MAX {
            ptrace::resume(thread, Resume::Step, 0).ok()?;
            let stop = ptrace::wait_one(thread).ok()?;
            let registers = ptrace::registers(thread).ok()?;
            match stop {
                Wait::Signal(libc::SIGTRAP) if registers.rip == address + 2 => {
                    return Some(registers.rax as i64);
                }
                Wait::Signal(_) => {
                    let info = ptrace::signal_info(thread).ok()?;
                    self.keep(thread, info);
                }
                Wait::Stop(_) | Wait::Event(libc::PTRACE_EVENT_SECCOMP) => {}
                _ => return None,
            }
        }
        None
    }
}

/// The instruction puts the flags, with the trap flag of a step, on the stack.
fn pushes_flags(code: &[u8]) -> bool {
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};
    let mnemonic = Decoder::new(64, code, DecoderOptions::NONE).decode().mnemonic();
    matches!(mnemonic, Mnemonic::Pushf | Mnemonic::Pushfq)
}

/// The lines that a call in progress may have written already: replay writes them when the call returns.
pub(crate) fn written_by_call(entry: &Registers, memory: &Memory) -> Vec<Range<u64>> {
    /// With this result a call may have written as much as it ever does.
    const FAULT: i64 = -(libc::EFAULT as i64);
    let mut lines = Vec::new();
    let line = |address: u64| address / LINE_BYTES as u64;
    let mut add = |range: syscalls::Range| {
        lines.push(line(range.addr)..line(range.addr.saturating_add(range.len - 1)) + 1);
    };
    // What a call without a rule writes is not known: it is found as a divergence.
    let _ = syscalls::writes(entry.orig_rax, &entry.arguments(), FAULT, memory, &mut add);
    lines
}

/// The lines below a waiting thread's stack pointer that nobody reads again. They may hold remains of an XSAVE, which leaves
/// out what the processor happens to know to be in its initial state.
pub(crate) fn dead_stack(rsp: u64) -> Range<u64> {
    /// No further: the stack of a coroutine has other memory below it.
    const BYTES_MAX: u64 = 32 << 10;
    let end = rsp.saturating_sub(RED_ZONE_BYTES);
    end.saturating_sub(BYTES_MAX) / LINE_BYTES as u64..end / LINE_BYTES as u64
}

/// The end of a repeated string instruction at the start of `code`.
fn repeated_end(code: &[u8], address: u64) -> Option<u64> {
    use iced_x86::{Decoder, DecoderOptions};
    let instruction = Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode();
    let repeats = instruction.has_rep_prefix() || instruction.has_repne_prefix();
    (instruction.is_string_instruction() && repeats).then(|| instruction.next_ip())
}

fn is_good_site(memory: &Memory, code: &[u8], address: u64, steps: usize) -> bool {
    is_quiet_in(memory, address) || steps >= CHOOSY_STEPS && plantable(code, address) || steps >= STEPS_MAX
}

fn is_quiet_in(memory: &Memory, address: u64) -> bool {
    let mut region = [0; 2 * NEIGHBOURHOOD_BYTES as usize];
    // At the start of a mapping there is less before the address.
    let starts = [address.saturating_sub(NEIGHBOURHOOD_BYTES), address & !(PAGE - 1)];
    starts.into_iter().any(|start| {
        memory.read_some(start, &mut region).is_ok_and(|read| is_quiet(&region[..read], start, address))
    })
}

/// The next instruction is an input or must not be stepped: a system call, a trap, a time stamp.
fn is_input(code: &[u8]) -> bool {
    code.starts_with(&[0x0f, 0x05])
        || code.starts_with(&[0xcc])
        || crate::unruly::time_stamp_instruction(code).is_some()
}
