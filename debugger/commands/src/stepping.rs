//! Source stepping forward: `step`, `next`, `nexti`, `until`, `advance`, `finish`.
//!
//! Within a line the session goes instruction by instruction. A call that is not to be followed is run through: a stop
//! of the engine's own stands at the return address, and counts only when the stack pointer is back where it was, so
//! that recursion does not end it. A signal handler that comes in between is run through in the same way.

use std::ops::Range;

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};
use symbols::{Frame, Location, Symbols};
use trace::ThreadId;
use tracer::{Direction, Mode};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::motion::Halt;
use crate::output::Reply;
use crate::points::Place;
use crate::referee::{Internal, Test};

/// The longest instruction (Intel SDM volume 2, section 2.3.11).
const INSTRUCTION_BYTES_MAX: usize = 15;

/// How `step` and its like differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stepping {
    /// `step`: into functions with line information.
    Into,
    /// `next`: over calls.
    Over,
    /// `until`: as `next`, and not back in a loop.
    Until,
}

/// The line that is being left.
struct Line {
    range: Range<u64>,
    line: u32,
    file: Option<std::sync::Arc<str>>,
}

impl Line {
    fn of(symbols: &Symbols, pc: u64) -> Option<Line> {
        let location = symbols.location(pc);
        let range = symbols.line_range(pc).filter(|_| location.line != 0)?;
        Some(Line { range, line: location.line, file: location.file })
    }

    fn is(&self, location: &Location) -> bool {
        self.line == location.line && self.file == location.file
    }
}

impl Debugger {
    /// `step [N]`, `next [N]`, `until`.
    pub(crate) fn step_lines(
        &mut self,
        stepping: Stepping,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        self.repeat_steps(Direction::Forward, arguments, reply, |debugger| debugger.step_line(stepping))
    }

    /// Makes as many steps as `arguments` say, up to the first that ends elsewhere, and reports where it stands.
    pub(crate) fn repeat_steps(
        &mut self,
        direction: Direction,
        arguments: &str,
        reply: &mut Reply<'_>,
        step: impl Fn(&mut Debugger) -> Result<Halt, CommandError>,
    ) -> Result<Flow, CommandError> {
        let count = self.count_argument(arguments)?;
        let before = self.before();
        let mut halt = Halt::Step;
        for _ in 0..count {
            halt = step(self)?;
            if !matches!(halt, Halt::Step) {
                break;
            }
        }
        self.report(&halt, direction, &before, reply)?;
        Ok(Flow::Continue)
    }

    fn step_line(&mut self, stepping: Stepping) -> Result<Halt, CommandError> {
        let symbols = self.symbols()?;
        let frame = self.innermost_frame()?;
        let Some(mut line) = Line::of(&symbols, frame.pc) else { return self.leave_function(&frame) };
        let function = symbols.function_range(frame.pc);
        if stepping == Stepping::Until
            && let Some(function) = &function
        {
            line.range.start = function.start;
        }
        loop {
            if self.session.interrupt().is_requested() {
                return Ok(Halt::Interrupted);
            }
            let halt = self.step_in_line(&line, stepping)?;
            if !matches!(halt, Halt::Step) {
                return Ok(halt);
            }
            let pc = self.pc()?;
            if line.range.contains(&pc) {
                continue;
            }
            // An exec is the end of every line.
            let symbols = self.symbols()?;
            let location = symbols.location(pc);
            if location.line == 0 {
                let frame = self.innermost_frame()?;
                return self.leave_function(&frame);
            }
            let in_function = function.as_ref().is_some_and(|function| function.contains(&pc));
            if !in_function || (location.is_stmt && !line.is(&location)) {
                return Ok(Halt::Step);
            }
            if stepping != Stepping::Until
                && let Some(range) = symbols.line_range(pc)
            {
                line.range = range;
            }
        }
    }

    /// One instruction of a line, or a call through to its return. `Halt::Step` when the thread is in the same frame
    /// again, or at a place where `step` stops.
    fn step_in_line(&mut self, line: &Line, stepping: Stepping) -> Result<Halt, CommandError> {
        let thread = self.thread()?;
        let before = self.session.registers(thread)?;
        let instruction = self.instruction_at(before.rip)?;
        let is_call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        let halt = self.go(Direction::Forward, Mode::Step, &[])?;
        if !matches!(halt, Halt::Step) || self.thread()? != thread {
            return Ok(halt);
        }
        let after = self.session.registers(thread)?;
        let next = before.rip.wrapping_add(instruction.len() as u64);
        if is_call && after.rip != next {
            if stepping == Stepping::Into
                && let Some(halt) = self.enter(after.rip, after.rsp, next, before.rsp)?
            {
                return Ok(halt);
            }
            return self.run_to(&[self.at_return(thread, next, before.rsp)?]);
        }
        let straight =
            matches!(instruction.flow_control(), FlowControl::Next) && !is_system_call(&instruction);
        let expected = after.rip == next || after.rip == before.rip;
        if straight && !expected && !line.range.contains(&after.rip) {
            // A signal handler has begun.
            let back = [before.rip, next].map(|address| self.at_return(thread, address, before.rsp));
            let [again, behind] = back;
            return self.run_to(&[again?, behind?]);
        }
        if is_system_call(&instruction) && after.rip != next && after.rsp != before.rsp {
            return self.run_to(&[self.at_return(thread, next, before.rsp)?]);
        }
        Ok(halt)
    }

    /// `step` at the first instruction of a callee: goes on to its body when it has line information; through a stub of
    /// the procedure linkage table first. `None`: it is to be stepped over.
    fn enter(&mut self, entry: u64, rsp: u64, back: u64, stack: u64) -> Result<Option<Halt>, CommandError> {
        let thread = self.thread()?;
        let symbols = self.symbols()?;
        let mut stops = Vec::new();
        let target = match has_lines(&symbols, entry) {
            true => entry,
            false => match self.plt_target(entry)?.filter(|target| has_lines(&symbols, *target)) {
                Some(target) => target,
                None => return Ok(None),
            },
        };
        let body = symbols.body_of(target).unwrap_or(target);
        if body == entry {
            return Ok(Some(Halt::Step));
        }
        let image = self.image(thread)?;
        // The body has its frame below the entry's stack pointer.
        stops.push(Internal { address: body, image, thread, test: Test::Frame(rsp.wrapping_add(8)) });
        stops.push(self.at_return(thread, back, stack)?);
        self.run_to(&stops).map(Some)
    }

    /// Where a stub of the procedure linkage table leads, when the loader has filled its slot.
    fn plt_target(&mut self, entry: u64) -> Result<Option<u64>, CommandError> {
        /// `endbr64`, `bnd jmp *slot(%rip)`.
        const INSTRUCTIONS_MAX: usize = 2;
        let thread = self.thread()?;
        let mut at = entry;
        for _ in 0..INSTRUCTIONS_MAX {
            let instruction = self.instruction_at(at)?;
            if instruction.flow_control() == FlowControl::IndirectBranch
                && instruction.op0_kind() == OpKind::Memory
                && instruction.memory_base() == Register::RIP
            {
                let mut slot = [0; 8];
                let read = self.session.read_memory(thread, instruction.ip_rel_memory_address(), &mut slot);
                return Ok(read.is_ok_and(|read| read == 8).then(|| u64::from_le_bytes(slot)));
            }
            at = instruction.next_ip();
        }
        Ok(None)
    }

    /// Runs to one of these places, or to any stop of the user's.
    pub(crate) fn run_to(&mut self, stops: &[Internal]) -> Result<Halt, CommandError> {
        Ok(match self.go(Direction::Forward, Mode::Run, stops)? {
            Halt::Internal(_) => Halt::Step,
            halt => halt,
        })
    }

    /// The return address of a call, when the callee's frame is gone.
    pub(crate) fn at_return(
        &self,
        thread: ThreadId,
        address: u64,
        rsp: u64,
    ) -> Result<Internal, CommandError> {
        Ok(Internal { address, image: self.image(thread)?, thread, test: Test::StackFrom(rsp) })
    }

    /// `step` where there are no lines: on to the caller, as gdb does.
    fn leave_function(&mut self, frame: &Frame) -> Result<Halt, CommandError> {
        match self.caller_of(frame) {
            Ok(stop) => self.run_to(&[stop]),
            // The outermost frame ends with the program.
            Err(_) => self.run_to(&[]),
        }
    }

    /// The place where a frame's caller goes on.
    pub(crate) fn caller_of(&mut self, frame: &Frame) -> Result<Internal, CommandError> {
        let thread = self.thread()?;
        let physical = |other: &Frame| other.cfa != frame.cfa || other.pc != frame.pc;
        // Inlined frames share their physical frame; the caller is the first of another one.
        let mut wanted = frame.level + 2;
        let caller = loop {
            self.unwind(wanted)?;
            let found = self.focus.frames.iter().skip(frame.level + 1).find(|other| physical(other));
            if found.is_some() || self.focus.complete {
                break found.cloned();
            }
            wanted += 8;
        };
        match (caller, frame.cfa) {
            (Some(caller), Some(cfa)) if !frame.signal => Ok(Internal {
                address: caller.pc,
                image: self.image(thread)?,
                thread,
                test: Test::StackFrom(cfa),
            }),
            (Some(caller), _) => {
                Ok(Internal { address: caller.pc, image: self.image(thread)?, thread, test: Test::Any })
            }
            (None, _) => Err(CommandError::other(
                "this frame has no known caller: it is the outermost, or there is no unwind information for it",
            )),
        }
    }

    /// `nexti`: one instruction, a call at once.
    pub(crate) fn next_instruction(&mut self) -> Result<Halt, CommandError> {
        let thread = self.thread()?;
        let before = self.session.registers(thread)?;
        let instruction = self.instruction_at(before.rip)?;
        let halt = self.go(Direction::Forward, Mode::Step, &[])?;
        let is_call = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall);
        if !is_call || !matches!(halt, Halt::Step) || self.pc()? == instruction.next_ip() {
            return Ok(halt);
        }
        self.run_to(&[self.at_return(thread, instruction.next_ip(), before.rsp)?])
    }

    /// `finish`.
    pub(crate) fn finish(&mut self, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let frame = self.frame()?;
        let stop = self.caller_of(&frame)?;
        let text = self.frame_text(frame.level)?;
        reply.line(format!("Run till exit from #{:<2} {text}", frame.level));
        let ty = self.with_frame(frame.level, |context| context.return_type())?;
        let before = self.before();
        let halt = self.go(Direction::Forward, Mode::Run, &[stop])?;
        let returned = matches!(halt, Halt::Internal(_));
        self.report(&halt, Direction::Forward, &before, reply)?;
        if let (true, Some(ty)) = (returned, ty) {
            self.show_returned(&ty, reply)?;
        }
        Ok(Flow::Continue)
    }

    /// `until LOC` and `advance LOC`: to a place, or to where the current frame returns.
    pub(crate) fn advance(&mut self, place: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let spec = self.linespec(place)?;
        let places = self.addresses(&spec)?;
        if places.is_empty() {
            return Err(self.no_such_place(&spec));
        }
        let thread = self.thread()?;
        let image = self.image(thread)?;
        let stop = |place: &Place| Internal { address: place.address, image, thread, test: Test::Any };
        let mut stops: Vec<Internal> = places.iter().map(stop).collect();
        let frame = self.frame()?;
        stops.extend(self.caller_of(&frame));
        let before = self.before();
        let halt = self.go(Direction::Forward, Mode::Run, &stops)?;
        self.report(&halt, Direction::Forward, &before, reply)?;
        Ok(Flow::Continue)
    }

    /// The innermost frame, which becomes the selected one.
    pub(crate) fn innermost_frame(&mut self) -> Result<Frame, CommandError> {
        self.focus.level = 0;
        self.frame()
    }

    /// The instruction pointer of the selected thread.
    pub(crate) fn pc(&self) -> Result<u64, CommandError> {
        Ok(self.session.registers(self.thread()?)?.rip)
    }

    /// The instruction at an address.
    pub(crate) fn instruction_at(&self, address: u64) -> Result<Instruction, CommandError> {
        let mut bytes = [0; INSTRUCTION_BYTES_MAX];
        let read = self.session.read_memory(self.thread()?, address, &mut bytes)?;
        let bytes = bytes.get(..read).unwrap_or_default();
        Ok(Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode())
    }
}

fn is_system_call(instruction: &Instruction) -> bool {
    matches!(instruction.mnemonic(), iced_x86::Mnemonic::Syscall | iced_x86::Mnemonic::Int)
}

fn has_lines(symbols: &Symbols, address: u64) -> bool {
    let location = symbols.location(address);
    location.has_debug_info && location.line != 0
}
