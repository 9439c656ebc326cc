//! Threads that are stopped while they are inside the agent, or on the way there.
//!
//! Nobody but the recorder may see them there: a signal has to find the program at its own addresses, and the turn passes
//! only between two inputs. So a thread that is stopped inside is brought out first, either to the call, not yet made, or
//! behind it.
//!
//! A thread that makes its call without the turn may be stopped there too. Before it is brought out it gets the turn
//! ([`super::turn`]); what was written to the log meanwhile decides whether its call is one event or two.

use agent::stage;
use patch::Hook;
use trace::{EventKind, Registers, registers_at_entry};

use super::signals::is_fault;
use super::syscall::RESTARTS;
use super::task::{Boundary, Intervention, Phase};
use super::{NO_EFFECT, Next, Recorder, gone_is_fine};
use crate::TracerError;
use crate::sys::ptrace::{self, Resume, Wait};

/// How many stops may come before a thread is out of the agent.
const STOPS_MAX: usize = 256;

/// The kernel's `ERESTARTNOINTR` (`include/linux/errno.h`): the call is begun again in any case.
pub(super) const BEGIN_AGAIN: i64 = -513;

/// Where a thread was that has been brought out of the agent.
pub(super) enum Inside {
    /// Not in it.
    Outside,
    /// Before its call: it stands at the copy of the call's instruction, where it will stop.
    Before,
    /// In its call, which was interrupted before it did anything: it stands there still.
    Interrupted,
    /// Behind its call, which is in the log.
    After,
    /// Behind its call, which the log could not take.
    Unlogged,
    /// Something else came first.
    Elsewhere(Wait),
}

/// Where a thread ends.
pub(super) enum AtEnd {
    /// At an instruction of the program's.
    Outside(Registers),
    /// In a call that is not in the log, with the registers of its entry.
    InCall(Registers),
    /// Behind a call that is in the log.
    Behind(Registers),
}

impl Recorder {
    /// Brings a thread that is in a stop out of the agent.
    pub(super) fn leave_agent(&mut self, thread: i32) -> Result<Inside, TracerError> {
        let raw = self.raw_registers(thread)?;
        let hooks = &self.hooks_of(thread);
        if !hooks.ready {
            return Ok(Inside::Outside);
        }
        if let Some(hook) = hooks.of_trampoline(raw.rip).filter(|hook| hook.leads_in(raw.rip)) {
            let at_call = Registers { rip: hook.traced, orig_rax: u64::MAX, ..raw };
            return self.set_raw_registers(thread, &at_call).map(|()| Inside::Before);
        }
        if !self.is_inside(thread, raw.rip) {
            return Ok(Inside::Outside);
        }
        if (agent::ENTRY..agent::SAVED).contains(&raw.rip)
            && let Some(stop) = self.step_to(thread, agent::SAVED)?
        {
            return Ok(Inside::Elsewhere(stop));
        }
        let announced = self.agent.as_ref().is_some_and(|agent| agent.is_announced(thread));
        match self.stage(thread)? {
            stage::BEFORE if announced => Ok(Inside::Interrupted),
            stage::BEFORE => self.begin_again_outside(thread).map(|()| Inside::Before),
            stage::CALL => Ok(Inside::Interrupted),
            _ => self.pass_behind(thread),
        }
    }

    /// How far the call is; [`stage::CALL`] only when it was interrupted.
    fn stage(&mut self, thread: i32) -> Result<u32, TracerError> {
        let raw = self.raw_registers(thread)?;
        let Some(agent) = &self.agent else { return Ok(stage::BEFORE) };
        Ok(match agent.stage(thread) {
            stage::CALL if raw.rip == agent::MAIN_INSTRUCTION => stage::BEFORE,
            stage::CALL if raw.rip == agent::MAIN_RETURN && RESTARTS.contains(&(raw.rax as i64)) => {
                stage::CALL
            }
            stage::CALL => stage::AFTER,
            other => other,
        })
    }

    /// Lets a thread whose call has been made write its record, and takes it to the place behind the call.
    fn pass_behind(&mut self, thread: i32) -> Result<Inside, TracerError> {
        let raw = self.raw_registers(thread)?;
        // In the way out nothing is left to be written.
        let leaving = (agent::CALLED..agent::ASM_END).contains(&raw.rip) && raw.rip < agent::PAUSE + 2;
        if !leaving && let Some(stop) = self.run_to_pause(thread)? {
            return Ok(Inside::Elsewhere(stop));
        }
        self.behind_call(thread)
    }

    /// Takes a thread that has paused, or is on its way out, to the place behind its call.
    fn behind_call(&mut self, thread: i32) -> Result<Inside, TracerError> {
        let hook = self.entered_hook(thread)?;
        let entry = self.entry_registers(thread, &hook)?;
        let Some(agent) = &self.agent else { return Ok(Inside::Outside) };
        agent.set_pause(false);
        let result = agent.result(thread);
        let unlogged = agent.take_unlogged(thread);
        let own = Registers { rax: result as u64, ..entry };
        self.set_raw_registers(thread, &Registers { rip: hook.continuation, ..own })?;
        self.drain()?;
        if unlogged {
            let task = self.task(thread);
            (task.entry, task.call) = (entry, entry.orig_rax);
            return Ok(Inside::Unlogged);
        }
        self.task(thread).boundary = Some(Boundary::unique(own));
        Ok(Inside::After)
    }

    /// The agent has paused by itself, behind a call that is not in its log.
    pub(super) fn paused(&mut self, thread: i32) -> Result<Option<Next>, TracerError> {
        let raw = self.raw_registers(thread)?;
        if raw.rip != agent::PAUSE + 1 {
            return Ok(None);
        }
        match self.behind_call(thread)? {
            Inside::Unlogged => self.return_unlogged(thread).map(Some),
            _ => Ok(Some(Next::Resume(0))),
        }
    }

    /// Records the return of a call that the agent made and did not log.
    pub(super) fn return_unlogged(&mut self, thread: i32) -> Result<Next, TracerError> {
        let announced = self.agent.as_ref().is_some_and(|agent| agent.bring_out(thread));
        let task = self.task(thread);
        task.phase = Phase::Kernel;
        task.announced = announced;
        task.intervention = Intervention::None;
        self.syscall_exit(thread)
    }

    /// Records that the call was interrupted, and puts the thread where the kernel would have it then: behind the call's
    /// own instruction, for a signal to be delivered or the call to be begun again.
    pub(super) fn interrupted_inside(&mut self, thread: i32) -> Result<(), TracerError> {
        self.drain()?;
        let raw = self.raw_registers(thread)?;
        let hook = self.entered_hook(thread)?;
        let entry = self.entry_registers(thread, &hook)?;
        let interrupted = raw.rip == agent::MAIN_RETURN && RESTARTS.contains(&(raw.rax as i64));
        let result = if interrupted { raw.rax as i64 } else { BEGIN_AGAIN };
        let own = Registers { rax: result as u64, ..entry };
        let (mut writes, effect) = (Vec::new(), NO_EFFECT);
        if interrupted {
            // What remains of a time has been written already.
            let memory = self.memory_of(thread);
            self.collect_writes(entry.orig_rax, &entry, result, &memory, None, &mut writes)?;
        }
        let kind = match self.agent.as_ref().is_some_and(|agent| agent.bring_out(thread)) {
            true => EventKind::SyscallExit { result, writes, effect },
            false => EventKind::Syscall { result, writes, effect },
        };
        self.event(thread, entry, kind)?;
        self.set_raw_registers(thread, &own)?;
        let task = self.task(thread);
        (task.entry, task.call) = (entry, entry.orig_rax);
        task.boundary = Some(Boundary::unique(own));
        task.interrupted = true;
        task.misplaced = true;
        Ok(())
    }

    /// Takes a thread whose call has not been made, or was interrupted before it did anything, to the call outside, which
    /// will stop.
    pub(super) fn begin_again_outside(&mut self, thread: i32) -> Result<(), TracerError> {
        let hook = self.entered_hook(thread)?;
        let entry = self.entry_registers(thread, &hook)?;
        if let Some(agent) = &self.agent {
            agent.bring_out(thread);
        }
        let at_call = Registers { rip: hook.traced, rax: entry.orig_rax, orig_rax: u64::MAX, ..entry };
        self.set_raw_registers(thread, &at_call)
    }

    /// The registers of a thread, put as if it had not made the call that it is in inside.
    pub(super) fn registers_outside(&self, thread: i32) -> Result<Registers, TracerError> {
        let raw = self.raw_registers(thread)?;
        if !self.is_inside(thread, raw.rip) || raw.rip < agent::SAVED {
            return self.registers(thread);
        }
        let hook = self.entered_hook(thread)?;
        let entry = self.entry_registers(thread, &hook)?;
        let announced = self.agent.as_ref().is_some_and(|agent| agent.is_announced(thread));
        Ok(if announced { entry } else { Registers { rip: hook.site, rax: entry.orig_rax, ..entry } })
    }

    /// Where a thread is that ends. What rcx and r11 were before its call is not known inside: so it counts as being in the
    /// call if it has not come out of it.
    pub(super) fn place_at_end(&self, thread: i32) -> Result<AtEnd, TracerError> {
        let raw = self.raw_registers(thread)?;
        let hooks = self.hooks_of(thread);
        let on_way_in = |hook: &&Hook| hook.leads_in(raw.rip);
        let entering = match hooks.of_trampoline(raw.rip).filter(on_way_in) {
            None if (agent::ENTRY..agent::SAVED).contains(&raw.rip) => hooks.of_trampoline(raw.rcx),
            leading => leading,
        };
        if let Some(hook) = entering {
            // All other registers are the program's own still.
            let behind = hook.site + 2;
            let in_area = (agent::SHARED_START..agent::SHARED_END).contains(&raw.rsp);
            let saved = self.agent.as_ref().filter(|_| in_area).map(|agent| agent.saved(thread));
            let rsp = saved.map_or(raw.rsp, |saved| registers_at_entry(&saved, behind, &raw).rsp);
            let rax = -i64::from(libc::ENOSYS) as u64;
            let entry =
                Registers { rip: behind, rcx: behind, r11: raw.rflags, rsp, orig_rax: raw.rax, rax, ..raw };
            return Ok(AtEnd::InCall(entry));
        }
        if !self.is_inside(thread, raw.rip) {
            return self.registers(thread).map(AtEnd::Outside);
        }
        let hook = self.entered_hook(thread)?;
        let entry = self.entry_registers(thread, &hook)?;
        let Some(agent) = &self.agent else { return Ok(AtEnd::InCall(entry)) };
        let leaving = (agent::CALLED..agent::ASM_END).contains(&raw.rip);
        if leaving && agent.stage(thread) == stage::AFTER && !agent.is_announced(thread) {
            return Ok(AtEnd::Behind(Registers { rax: agent.result(thread) as u64, ..entry }));
        }
        Ok(AtEnd::InCall(entry))
    }

    /// The registers at the entry of the call that a thread makes without the turn.
    pub(super) fn entry_inside(&self, thread: i32) -> Result<Registers, TracerError> {
        let hook = self.entered_hook(thread)?;
        let saved = self.agent.as_ref().map_or_else(Default::default, |agent| agent.saved(thread));
        Ok(registers_at_entry(&saved, hook.site + 2, &self.tasks[&thread].segments))
    }

    /// The hook through which the running thread has entered the agent.
    fn entered_hook(&self, thread: i32) -> Result<Hook, TracerError> {
        let address = self.agent.as_ref().map_or(0, |agent| agent.hook(thread));
        let hooks = &self.hooks_of(thread);
        hooks
            .of_trampoline(address)
            .cloned()
            .ok_or(TracerError::Inconsistent("a call came from no known hook"))
    }

    /// The program's registers at the entry of the call.
    fn entry_registers(&self, thread: i32, hook: &Hook) -> Result<Registers, TracerError> {
        let raw = self.raw_registers(thread)?;
        let saved = self.agent.as_ref().map_or_else(Default::default, |agent| agent.saved(thread));
        Ok(registers_at_entry(&saved, hook.site + 2, &raw))
    }

    /// Steps a thread through the agent's entry. `Some` when something else came first.
    fn step_to(&mut self, thread: i32, address: u64) -> Result<Option<Wait>, TracerError> {
        self.run_inside(thread, Resume::Step, address)
    }

    fn run_to_pause(&mut self, thread: i32) -> Result<Option<Wait>, TracerError> {
        if let Some(agent) = &self.agent {
            agent.set_pause(true);
        }
        self.run_inside(thread, Resume::Continue, agent::PAUSE + 1)
    }

    /// Runs a thread inside the agent until a trap at `address`.
    fn run_inside(&mut self, thread: i32, how: Resume, address: u64) -> Result<Option<Wait>, TracerError> {
        for _ in 0..STOPS_MAX {
            ptrace::resume(thread, how, 0).or_else(gone_is_fine)?;
            let stop = ptrace::wait_one(thread).map_err(TracerError::system("wait for a thread"))?;
            match stop {
                Wait::Signal(libc::SIGTRAP) => {
                    let raw = self.raw_registers(thread)?;
                    if raw.rip == address {
                        return Ok(None);
                    }
                }
                Wait::Signal(_) => {
                    let info = ptrace::signal_info(thread).map_err(TracerError::system("read a signal"))?;
                    if is_fault(&info) {
                        return Err(TracerError::Inconsistent("the agent in the program has failed"));
                    }
                    self.keep(thread, info);
                }
                Wait::Stop(_) => {}
                other => return Ok(Some(other)),
            }
        }
        Err(TracerError::Stuck("a thread that was to leave the agent"))
    }
}
