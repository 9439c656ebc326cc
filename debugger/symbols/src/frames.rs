//! The call stack: unwinding repeated, with inlined calls as frames of their own.

use crate::calls::CallSite;
use crate::debug::DieAt;
use crate::memory::Memory;
use crate::module::{Module, ModuleDie};
use crate::registers::{RIP, Registers};
use crate::symbols::{Location, Symbols};
use crate::unwind;
use std::sync::Arc;

/// Physical frames that are unwound at most.
pub const FRAMES_MAX: usize = 100_000;

/// One entry of a backtrace.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Place in the backtrace, 0 innermost.
    pub level: usize,
    /// The instruction to run next in this frame: in outer frames the return address.
    pub pc: u64,
    /// Canonical frame address, the same for all inlined frames of one physical frame. It identifies the frame
    /// while it lives. `None` when the frame could not be unwound.
    pub cfa: Option<u64>,
    /// The registers as this frame sees them; those not saved by its callees are absent.
    pub registers: Arc<Registers>,
    /// Function, file and line. For an outer frame this is the line of the call.
    pub location: Location,
    /// This frame's function was inlined into the next frame's.
    pub inlined: bool,
    /// The frame is a signal trampoline: what is above it is a handler.
    pub signal: bool,
    /// The address that lookups use: `pc`, or one less where `pc` is a return address.
    pub lookup_pc: u64,
    /// Functions that were called on the way from the next physical frame to this one, and replaced by the calls
    /// that were their last act: outermost first. They have no frames any more. Empty when the way is not certain.
    pub tail_calls: Vec<Arc<str>>,
    pub(crate) function: Option<ModuleDie>,
    pub(crate) physical: Option<ModuleDie>,
    pub(crate) caller: Option<Arc<Registers>>,
}

impl Frame {
    /// The module of the frame's code.
    pub fn module(&self) -> Option<&Arc<Module>> {
        self.location.module.as_ref()
    }
}

impl Symbols {
    /// The whole call stack from these registers, innermost frame first. Ends at a frame without caller, at a
    /// loop, or after [`FRAMES_MAX`].
    pub fn frames(&self, registers: &Registers, memory: &dyn Memory) -> Vec<Frame> {
        self.frames_up_to(registers, memory, FRAMES_MAX)
    }

    /// As [`Symbols::frames`], but stops when `limit` entries are there.
    pub fn frames_up_to(&self, registers: &Registers, memory: &dyn Memory, limit: usize) -> Vec<Frame> {
        let mut frames = Vec::new();
        let mut current = Arc::new(registers.clone());
        let mut exact = true;
        let mut last_cfa = 0;
        let mut steps = 0;
        while let Some(pc) = current.pc().filter(|_| frames.len() < limit && steps < FRAMES_MAX) {
            steps += 1;
            let step = unwind::step(self, &current, memory, exact);
            // A stack grows down: a caller's frame that is not above its callee's is a loop. A signal handler
            // may run on another stack, so its trampoline starts afresh.
            let step = step.filter(|step| step.signal || step.cfa > last_cfa || exact);
            let signal = step.as_ref().is_some_and(|step| step.signal);
            let caller = step.as_ref().map(|step| Arc::new(step.caller.clone()));
            let lookup_pc = if exact || signal { pc } else { pc.wrapping_sub(1) };
            let cfa = step.as_ref().map(|step| step.cfa);
            self.expand(
                &mut frames,
                Physical { pc, lookup_pc, cfa, signal, registers: current, caller: caller.clone() },
            );
            let (Some(step), Some(caller)) = (step, caller) else { break };
            if caller.pc().is_none_or(|caller_pc| caller_pc == 0 || (caller_pc == pc && step.cfa == last_cfa))
            {
                break;
            }
            last_cfa = if step.signal { 0 } else { step.cfa };
            exact = step.signal;
            current = caller;
        }
        frames.truncate(limit);
        frames
    }

    /// The caller's registers alone, for `finish` and `up` without a whole backtrace: also the stack pointer
    /// after the return.
    pub fn caller(&self, registers: &Registers, memory: &dyn Memory) -> Option<Registers> {
        let step = unwind::step(self, registers, memory, true)?;
        step.caller.get(RIP).filter(|&pc| pc != 0)?;
        Some(step.caller)
    }

    /// The innermost frame that a thread at `pc` would have, without registers: for questions about the code alone.
    pub fn frame_at(&self, pc: u64) -> Option<Frame> {
        let registers = Arc::new(Registers::default());
        let physical = Physical { pc, lookup_pc: pc, cfa: None, signal: false, registers, caller: None };
        let mut frames = Vec::new();
        self.expand(&mut frames, physical);
        frames.into_iter().next()
    }

    fn tail_calls(&self, physical: &Physical, function: Option<&ModuleDie>) -> Vec<Arc<str>> {
        let find = || {
            // After a signal trampoline the caller was interrupted, not calling.
            let pc = physical.caller.as_ref().filter(|_| !physical.signal)?.pc()?;
            let module = self.module_at(pc.wrapping_sub(1))?;
            Some(CallSite::returning_to(module, pc)?.tail_calls(function?))
        };
        find().unwrap_or_default()
    }

    fn expand(&self, frames: &mut Vec<Frame>, physical: Physical) {
        let levels = self.levels(physical.lookup_pc);
        let outermost = levels.last().and_then(|level| level.die.clone());
        let last = levels.len().saturating_sub(1);
        let mut tail_calls = self.tail_calls(&physical, outermost.as_ref());
        for (place, level) in levels.into_iter().enumerate() {
            let mut location = level.location;
            // A call site is in the middle of its statement.
            location.is_stmt &= physical.pc == physical.lookup_pc;
            location.offset = location.offset.wrapping_add(physical.pc.wrapping_sub(physical.lookup_pc));
            frames.push(Frame {
                level: frames.len(),
                pc: physical.pc,
                cfa: physical.cfa,
                registers: Arc::clone(&physical.registers),
                inlined: location.inlined,
                location,
                signal: physical.signal,
                lookup_pc: physical.lookup_pc,
                tail_calls: if place == last { std::mem::take(&mut tail_calls) } else { Vec::new() },
                function: level.die,
                physical: outermost.clone(),
                caller: physical.caller.clone(),
            });
        }
    }
}

/// A frame of the machine, before inlined calls are told apart.
struct Physical {
    pc: u64,
    lookup_pc: u64,
    cfa: Option<u64>,
    signal: bool,
    registers: Arc<Registers>,
    caller: Option<Arc<Registers>>,
}

/// The DIE of a frame's function, for scopes.
pub(crate) fn function_of(frame: &Frame) -> Option<(&Arc<Module>, DieAt)> {
    frame.function.as_ref().map(|die| (&die.module, die.at))
}
