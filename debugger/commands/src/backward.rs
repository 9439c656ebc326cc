//! Source stepping backward: `reverse-step`, `reverse-next`, `reverse-nexti`, `reverse-finish`.
//!
//! The rule is gdb's: from the middle of a line to its beginning, from its beginning to that of the line executed before.
//! Undoing one instruction costs much more than executing one, so lines are not undone instruction by instruction: stops
//! of the engine's own stand at the beginnings of all lines of the function, and one search backward finds the last one
//! that this frame came by. A stop at the function's entry means that the line before is the caller's.

use symbols::{Frame, Symbols};
use trace::ThreadId;
use tracer::{Direction, Mode};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::motion::Halt;
use crate::output::Reply;
use crate::referee::{Internal, Test};

/// Lines of one function that get a stop.
const LINES_MAX: usize = 20_000;

/// Bytes of one function that are looked through for calls.
const CODE_BYTES_MAX: u64 = 1 << 20;

/// A frame while it lives.
#[derive(Clone, Copy)]
struct Home {
    thread: ThreadId,
    image: u64,
    cfa: u64,
}

impl Home {
    fn stop(&self, address: u64) -> Internal {
        Internal { address, image: self.image, thread: self.thread, test: Test::Frame(self.cfa) }
    }
}

impl Debugger {
    /// `reverse-step [N]` and `reverse-next [N]`.
    pub(crate) fn step_lines_back(
        &mut self,
        into: bool,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        self.repeat_steps(Direction::Backward, arguments, reply, |debugger| debugger.step_line_back(into))
    }

    fn step_line_back(&mut self, into: bool) -> Result<Halt, CommandError> {
        let frame = self.innermost_frame()?;
        let symbols = self.symbols()?;
        let (Some(home), Some(entry)) = (self.home(&frame)?, entry_of(&symbols, frame.pc)) else {
            return self.go(Direction::Backward, Mode::Step, &[]);
        };
        if frame.location.line == 0 {
            return self.back_to_call(&frame);
        }
        if frame.pc == entry {
            return self.back_into_caller(home);
        }
        let mut stops: Vec<Internal> =
            line_starts(&symbols, frame.pc, entry).map(|at| home.stop(at)).collect();
        let lines = stops.len();
        stops.push(home.stop(entry));
        if into {
            let sites = self.return_sites(&symbols, frame.pc)?;
            if sites.contains(&frame.pc)
                && let Some(halt) = self.back_into_callee()?
            {
                return Ok(halt);
            }
            stops.extend(sites.into_iter().map(|at| home.stop(at)));
        }
        self.search_line(&stops, lines, home)
    }

    /// Searches backward for the beginning of a line (the first `lines` stops), the entry (the next one), or a return
    /// into this function (the others).
    fn search_line(&mut self, stops: &[Internal], lines: usize, home: Home) -> Result<Halt, CommandError> {
        loop {
            let halt = self.go(Direction::Backward, Mode::Run, stops)?;
            match halt {
                Halt::Internal(index) if index < lines => return Ok(Halt::Step),
                Halt::Internal(index) if index == lines => return self.back_into_caller(home),
                Halt::Internal(_) => {
                    if let Some(halt) = self.back_into_callee()? {
                        return Ok(halt);
                    }
                }
                halt => return Ok(halt),
            }
        }
    }

    /// At the entry of a function: back to the call, and to the beginning of its line.
    fn back_into_caller(&mut self, callee: Home) -> Result<Halt, CommandError> {
        let halt = self.go(Direction::Backward, Mode::Step, &[])?;
        if !matches!(halt, Halt::Step) || self.thread()? != callee.thread {
            return Ok(halt);
        }
        self.back_to_line_start()
    }

    /// From the middle of a line to its beginning.
    fn back_to_line_start(&mut self) -> Result<Halt, CommandError> {
        let frame = self.innermost_frame()?;
        let symbols = self.symbols()?;
        let start = symbols.line_range(frame.pc).map(|range| range.start);
        let (Some(home), Some(start)) = (self.home(&frame)?, start) else { return Ok(Halt::Step) };
        if start == frame.pc || frame.location.line == 0 {
            return Ok(Halt::Step);
        }
        let mut stops = vec![home.stop(start)];
        // A line that was entered by a jump into its middle is left before its beginning comes.
        let entry = entry_of(&symbols, frame.pc).unwrap_or(start);
        stops
            .extend(line_starts(&symbols, frame.pc, entry).filter(|at| *at != start).map(|at| home.stop(at)));
        Ok(match self.go(Direction::Backward, Mode::Run, &stops)? {
            Halt::Internal(_) => Halt::Step,
            halt => halt,
        })
    }

    /// Behind a call that has returned: back into the callee, if it has lines. `None`: it has none, and the session
    /// stands in it.
    fn back_into_callee(&mut self) -> Result<Option<Halt>, CommandError> {
        let halt = self.go(Direction::Backward, Mode::Step, &[])?;
        if !matches!(halt, Halt::Step) {
            return Ok(Some(halt));
        }
        let frame = self.innermost_frame()?;
        if !frame.location.has_debug_info || frame.location.line == 0 {
            return Ok(None);
        }
        self.back_to_line_start().map(Some)
    }

    /// `reverse-nexti`: one instruction back, a call that has returned at once.
    pub(crate) fn previous_instruction(&mut self) -> Result<Halt, CommandError> {
        let thread = self.thread()?;
        let after = self.session.registers(thread)?;
        let halt = self.go(Direction::Backward, Mode::Step, &[])?;
        if !matches!(halt, Halt::Step) || self.thread()? != thread {
            return Ok(halt);
        }
        let instruction = self.instruction_at(self.pc()?)?;
        if instruction.flow_control() != iced_x86::FlowControl::Return {
            return Ok(halt);
        }
        match self.call_before(after.rip)? {
            Some(call) => {
                let image = self.image(thread)?;
                let stop = Internal { address: call, image, thread, test: Test::StackIs(after.rsp) };
                Ok(match self.go(Direction::Backward, Mode::Run, &[stop])? {
                    Halt::Internal(_) => Halt::Step,
                    halt => halt,
                })
            }
            None => Ok(halt),
        }
    }

    /// `reverse-finish`.
    pub(crate) fn reverse_finish(&mut self, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let frame = self.frame()?;
        let text = self.frame_text(frame.level)?;
        reply.line(format!("Run back to call of #{:<2} {text}", frame.level));
        let before = self.before();
        let halt = self.back_to_call(&frame)?;
        self.report(&halt, Direction::Backward, &before, reply)?;
        Ok(Flow::Continue)
    }

    /// Back to the call instruction that made a frame.
    fn back_to_call(&mut self, frame: &Frame) -> Result<Halt, CommandError> {
        let symbols = self.symbols()?;
        let entry = entry_of(&symbols, frame.lookup_pc);
        let (Some(home), Some(entry)) = (self.home(frame)?, entry) else {
            return Err(CommandError::other(
                "the beginning of this function is not known (it has no symbol); set a breakpoint and use reverse-continue",
            ));
        };
        if frame.pc != entry || frame.level > 0 {
            let halt = self.go(Direction::Backward, Mode::Run, &[home.stop(entry)])?;
            if !matches!(halt, Halt::Internal(_)) {
                return Ok(halt);
            }
        }
        self.go(Direction::Backward, Mode::Step, &[])
    }

    fn home(&mut self, frame: &Frame) -> Result<Option<Home>, CommandError> {
        let thread = self.thread()?;
        let image = self.image(thread)?;
        Ok(frame.cfa.map(|cfa| Home { thread, image, cfa }))
    }

    /// The call instruction that ends where `after` begins, found by decoding from the function's start.
    fn call_before(&mut self, after: u64) -> Result<Option<u64>, CommandError> {
        let symbols = self.symbols()?;
        let mut found = None;
        self.each_instruction(&symbols, after.wrapping_sub(1), |instruction| {
            if instruction.next_ip() == after && is_call(instruction) {
                found = Some(instruction.ip());
            }
        })?;
        Ok(found)
    }

    /// The addresses behind the calls of the function at `pc`.
    fn return_sites(&mut self, symbols: &Symbols, pc: u64) -> Result<Vec<u64>, CommandError> {
        let mut sites = Vec::new();
        self.each_instruction(symbols, pc, |instruction| {
            if is_call(instruction) {
                sites.push(instruction.next_ip());
            }
        })?;
        Ok(sites)
    }

    fn each_instruction(
        &mut self,
        symbols: &Symbols,
        pc: u64,
        mut each: impl FnMut(&iced_x86::Instruction),
    ) -> Result<(), CommandError> {
        let thread = self.thread()?;
        let Some(range) = symbols.function_range(pc) else { return Ok(()) };
        let mut bytes = vec![0; (range.end - range.start).min(CODE_BYTES_MAX) as usize];
        let read = self.session.read_memory(thread, range.start, &mut bytes)?;
        let bytes = bytes.get(..read).unwrap_or_default();
        let decoder = iced_x86::Decoder::with_ip(64, bytes, range.start, iced_x86::DecoderOptions::NONE);
        decoder.into_iter().for_each(|instruction| each(&instruction));
        Ok(())
    }
}

fn is_call(instruction: &iced_x86::Instruction) -> bool {
    use iced_x86::FlowControl::{Call, IndirectCall};
    matches!(instruction.flow_control(), Call | IndirectCall)
}

fn entry_of(symbols: &Symbols, pc: u64) -> Option<u64> {
    symbols.function_ranges(pc).first().map(|range| range.start)
}

/// The beginnings of the lines of the function at `pc`, without its prologue: `step` does not stop there either.
fn line_starts(symbols: &Symbols, pc: u64, entry: u64) -> impl Iterator<Item = u64> {
    let body = symbols.body_of(entry).unwrap_or(entry);
    let mut starts = Vec::new();
    for range in symbols.function_ranges(pc) {
        let mut at = range.start;
        while at < range.end && starts.len() < LINES_MAX {
            let Some(line) = symbols.line_range(at).filter(|line| line.end > at) else { break };
            let start = line.start.max(range.start);
            let location = symbols.location(start);
            if location.is_stmt && location.line != 0 && !(entry..body).contains(&start) {
                starts.push(start);
            }
            at = line.end;
        }
    }
    // The prologue may end within its line's range.
    if body != entry && !starts.contains(&body) {
        starts.push(body);
    }
    starts.into_iter()
}
