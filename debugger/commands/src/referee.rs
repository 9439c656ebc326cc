//! Decides which hits are the user's: conditions, ignore counts, threads, frames.
//!
//! Going forward the counts go up as hits are passed. Going backward hits are seen again and again and in no useful
//! order, so nothing is counted here; the caller counts the hit that was stopped at.

use symbols::{Context, Memory, Symbols, Value};
use trace::ThreadId;
use tracer::{Direction, Hit, Judge, Session, TracerError, Verdict};

use crate::history::Values;
use crate::logpoints::LOG_BYTES_MAX;
use crate::points::{INTERNAL, Kind, Points, Scope, Watched};
use crate::printf::Template;
use crate::spaces::{self, Spaces, ThreadMemory};

/// What must hold at a stop of the engine's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Internal {
    /// The instruction.
    pub(crate) address: u64,
    /// The program.
    pub(crate) image: u64,
    /// The thread.
    pub(crate) thread: ThreadId,
    /// The frame.
    pub(crate) test: Test,
}

/// Which frame is wanted at an internal stop.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    /// Any.
    Any,
    /// The stack pointer has this value.
    StackIs(u64),
    /// The stack pointer is at least this: the frame below is gone.
    StackFrom(u64),
    /// The innermost frame has this canonical frame address.
    Frame(u64),
}

/// Frames looked through for the one of a watched local.
const SCOPE_FRAMES_MAX: usize = 500;

pub(crate) struct Referee<'a> {
    pub(crate) points: &'a mut Points,
    pub(crate) spaces: &'a mut Spaces,
    pub(crate) values: &'a Values,
    pub(crate) internals: &'a [Internal],
    pub(crate) direction: Direction,
    /// A condition that failed: the point's number and why.
    pub(crate) failure: Option<(u32, String)>,
    /// The points that the last stop was for.
    pub(crate) wanted: Vec<u32>,
    /// The user wants to stop: hits that come in quick succession leave the session no time to see it.
    pub(crate) interrupted: bool,
    /// What log points print.
    pub(crate) logged: &'a mut String,
}

impl Judge for Referee<'_> {
    fn judge(&mut self, session: &Session, hit: &Hit) -> Verdict {
        let wanted: Vec<u32> =
            hit.ids.iter().copied().filter(|id| self.is_wanted(session, hit, *id)).collect();
        if wanted.is_empty() {
            let enough = session.interrupt().is_requested() || self.logged.len() > LOG_BYTES_MAX;
            self.interrupted = self.direction == Direction::Forward && enough;
            return if self.interrupted { Verdict::Stop } else { Verdict::Pass };
        }
        self.wanted = wanted;
        Verdict::Stop
    }
}

impl Referee<'_> {
    fn is_wanted(&mut self, session: &Session, hit: &Hit, id: u32) -> bool {
        match id.checked_sub(INTERNAL) {
            Some(index) => self.passes(session, hit, index as usize),
            None => self.is_users(session, hit, id),
        }
    }

    fn passes(&mut self, session: &Session, hit: &Hit, index: usize) -> bool {
        let Some(internal) = self.internals.get(index) else { return false };
        if internal.thread != hit.thread {
            return false;
        }
        let Ok(registers) = session.registers(hit.thread) else { return false };
        match internal.test {
            Test::Any => true,
            Test::StackIs(rsp) => registers.rsp == rsp,
            Test::StackFrom(rsp) => registers.rsp >= rsp,
            Test::Frame(cfa) => {
                let Ok(symbols) = self.spaces.symbols(session, hit.thread) else { return false };
                let registers = symbols::Registers::from_user_regs(&registers.words());
                let memory = ThreadMemory { session, thread: hit.thread };
                spaces::frame_address(&symbols, &registers, &memory) == Some(cfa)
            }
        }
    }

    fn is_users(&mut self, session: &Session, hit: &Hit, id: u32) -> bool {
        let Some(point) = self.points.get(id).filter(|point| point.enabled) else { return false };
        if point.thread.is_some_and(|thread| thread != hit.thread) {
            return false;
        }
        if let Kind::Watch(watched) = &point.kind
            && !applies(watched, hit, session, self.spaces)
        {
            return false;
        }
        if let Some(condition) = point.condition.clone() {
            match self.condition_holds(session, hit.thread, &condition) {
                Ok(false) => return false,
                Ok(true) => {}
                Err(why) => {
                    self.failure = Some((id, why));
                    return true;
                }
            }
        }
        let stops = self.count(id);
        let template = self.points.get(id).and_then(|point| point.template.clone());
        match template.filter(|_| stops && self.direction == Direction::Forward) {
            Some(template) => {
                self.log(session, hit.thread, &template);
                false
            }
            None => stops,
        }
    }

    fn log(&mut self, session: &Session, thread: ThreadId, template: &Template) {
        let text = self.with_context(session, thread, |context| template.fill(context));
        self.logged.push_str(&text.unwrap_or_else(|error| format!("<{error}>\n")));
    }

    /// Counts a hit, and says whether it stops.
    fn count(&mut self, id: u32) -> bool {
        let Some(point) = self.points.get_mut(id).filter(|_| self.direction == Direction::Forward) else {
            return true;
        };
        point.hits += 1;
        if point.ignore > 0 {
            point.ignore -= 1;
            return false;
        }
        true
    }

    fn condition_holds(
        &mut self,
        session: &Session,
        thread: ThreadId,
        condition: &str,
    ) -> Result<bool, String> {
        let truth = self.with_context(session, thread, |context| truth_of(context, condition));
        truth.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
    }

    /// Asks something of the context of the innermost frame.
    fn with_context<T>(
        &mut self,
        session: &Session,
        thread: ThreadId,
        ask: impl FnOnce(&Context<'_>) -> T,
    ) -> Result<T, TracerError> {
        let symbols = self.spaces.symbols(session, thread)?;
        let registers = spaces::registers(session, thread)?;
        let memory = ThreadMemory { session, thread };
        let frame = spaces::innermost(&symbols, &registers, &memory);
        let lookup = |name: &str| self.values.lookup(name);
        Ok(ask(&Context::new(&symbols, &memory, frame.as_ref()).with_convenience(&lookup)))
    }
}

fn truth_of(context: &Context<'_>, condition: &str) -> Result<bool, symbols::Error> {
    let value: Value = context.eval(condition)?;
    symbols::truth(&value, context.memory)
}

/// The hit is of the kind the watchpoint wants, and its frame is alive.
fn applies(watched: &Watched, hit: &Hit, session: &Session, spaces: &mut Spaces) -> bool {
    if !watched.writes && hit.change.is_some() {
        return false;
    }
    let Some(scope) = watched.scope else { return true };
    let Ok(registers) = session.registers(scope.thread) else { return false };
    if registers.rsp > scope.cfa {
        return false;
    }
    let Ok(symbols) = spaces.symbols(session, scope.thread) else { return false };
    let registers = symbols::Registers::from_user_regs(&registers.words());
    lives(&symbols, &registers, &ThreadMemory { session, thread: scope.thread }, &scope)
}

fn lives(symbols: &Symbols, registers: &symbols::Registers, memory: &dyn Memory, scope: &Scope) -> bool {
    let frames = symbols.frames_up_to(registers, memory, SCOPE_FRAMES_MAX);
    let entry = |pc: u64| symbols.function_ranges(pc).first().map(|range| range.start);
    // A stack deeper than was looked at is taken as alive: better a stop too many.
    frames.len() >= SCOPE_FRAMES_MAX
        || frames.iter().any(|frame| {
            frame.cfa == Some(scope.cfa)
                && (scope.function.is_none() || entry(frame.lookup_pc) == scope.function)
        })
}
