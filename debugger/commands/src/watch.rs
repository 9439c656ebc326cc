//! Watchpoints: `watch`, `rwatch`, `awatch`, and `last`, which goes back to the write of a value.

use serde_json::json;
use symbols::Context;
use tracer::{Direction, Mode, Position, Watch};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::motion::Halt;
use crate::output::Reply;
use crate::parse;
use crate::points::{Kind, Scope, Watched};
use crate::report::Before;
use crate::spaces::ThreadMemory;

/// The largest value that is watched: with four debug registers of eight bytes.
const WATCHED_BYTES_MAX: u64 = 32;

/// The kinds of watchpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watching {
    /// `watch`: changes.
    Changes,
    /// `rwatch`: reads.
    Reads,
    /// `awatch`: reads and changes.
    Both,
}

/// Where `last` was asked.
struct Origin {
    before: Before,
    position: Position,
}

impl Debugger {
    /// `watch [-l] EXPRESSION|*ADDRESS [if CONDITION]` and its like.
    pub(crate) fn watch(
        &mut self,
        watching: Watching,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let (text, condition) = parse::split_condition(arguments);
        if text.is_empty() {
            return Err(CommandError::Usage {
                what: "an expression is missing".into(),
                usage: "watch EXPRESSION",
            });
        }
        let mut watched = self.watched(text)?;
        watched.reads = watching != Watching::Changes;
        watched.writes = watching != Watching::Reads;
        if let Some(condition) = condition {
            self.with_context(|context| context.check(condition))?
                .map_err(|error| CommandError::expression(condition, error))?;
        }
        let (title, expression) = (watched.title(), watched.expression.clone());
        let point = self.points.add(text, Kind::Watch(watched), false);
        point.condition = condition.map(str::to_owned);
        let id = point.id;
        if let Err(error) = self.check_room() {
            self.points.remove(id);
            return Err(error);
        }
        reply.line(format!("{title} {id}: {expression}"));
        reply.set("breakpoint", json!({ "number": id, "expression": expression }));
        Ok(Flow::Continue)
    }

    /// All enabled watchpoints must fit into the debug registers.
    pub(crate) fn check_room(&self) -> Result<(), CommandError> {
        if self.points.pieces() <= Watch::PIECES_MAX {
            return Ok(());
        }
        Err(CommandError::Other(format!(
            "there is no room for this watchpoint: the processor watches {} places of up to 8 aligned bytes at a time; delete or disable another one",
            Watch::PIECES_MAX
        )))
    }

    /// The memory that an expression names.
    pub(crate) fn watched(&mut self, text: &str) -> Result<Watched, CommandError> {
        let (text, location) = match text.strip_prefix("-location").or_else(|| text.strip_prefix("-l ")) {
            Some(rest) => (rest.trim(), true),
            None => (text, false),
        };
        let thread = self.thread()?;
        let image = self.image(thread)?;
        let value = self.eval(text)?;
        if let Some(missing) = value.absent() {
            return Err(CommandError::Other(format!("{text} cannot be watched: {missing}")));
        }
        let (address, len, ty) = match (value.address(), value.register()) {
            (Some(address), _) => (address, value.size(), Some(value.ty().clone())),
            (None, Some(_)) => {
                return Err(CommandError::Other(format!(
                    "{text} is in a register here, and only memory can be watched; step to where it is in memory, or watch what it points to"
                )));
            }
            (None, None) => {
                return Err(CommandError::Other(format!(
                    "{text} is no place in memory; watch a variable, or *(TYPE *)ADDRESS"
                )));
            }
        };
        if len == 0 || len > WATCHED_BYTES_MAX {
            return Err(CommandError::Other(format!(
                "{text} has {len} bytes, and 1 to {WATCHED_BYTES_MAX} can be watched; watch a member of it"
            )));
        }
        let scope = if location { None } else { self.scope_of(text)? };
        let expression = if location { format!("-location {text}") } else { text.to_owned() };
        Ok(Watched { expression, address, len, ty, reads: false, writes: true, image, scope })
    }

    /// The frame that an expression needs: `None` for one that has the same meaning everywhere.
    fn scope_of(&mut self, text: &str) -> Result<Option<Scope>, CommandError> {
        let thread = self.thread()?;
        let symbols = self.symbols()?;
        let memory = ThreadMemory { session: self.session.view(), thread };
        let lookup = |name: &str| self.values.lookup(name);
        let global = Context::new(&symbols, &memory, None).with_convenience(&lookup).eval(text);
        let frame = self.frame()?;
        let here = self.eval(text)?;
        if global.is_ok_and(|global| global.address() == here.address()) {
            return Ok(None);
        }
        // A value outside of this frame, such as `*pointer`, outlives it.
        let sp = frame.registers.sp().unwrap_or(0);
        let inside = here.address().is_some_and(|address| {
            frame.cfa.is_some_and(|cfa| address < cfa && address >= sp.saturating_sub(128))
        });
        let function = symbols.function_ranges(frame.lookup_pc).first().map(|range| range.start);
        Ok(frame.cfa.filter(|_| inside).map(|cfa| Scope { thread, cfa, function }))
    }

    /// `last EXPRESSION`: back to the write that gave it its present value.
    pub(crate) fn last(&mut self, text: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        if text.is_empty() {
            return Err(CommandError::Usage {
                what: "an expression is missing".into(),
                usage: "last EXPRESSION",
            });
        }
        let mut watched = self.watched(text)?;
        watched.scope = None;
        if Watch::pieces(watched.address, watched.len, false).len() > Watch::PIECES_MAX {
            return Err(CommandError::Other(format!(
                "{text} lies across too many words to be watched; ask for a member"
            )));
        }
        let position = self.session.position().clone();
        let before = self.before();
        // The user's own points do not take part.
        let kept = std::mem::take(&mut self.points.all);
        let point = self.points.add(text, Kind::Watch(watched), false);
        let id = point.id;
        let result = self.go(Direction::Backward, Mode::Run, &[]);
        let answer = self.tell_last(id, text, result, &Origin { before, position }, reply);
        self.points.take_back(kept);
        answer
    }

    fn tell_last(
        &mut self,
        id: u32,
        text: &str,
        result: Result<Halt, CommandError>,
        origin: &Origin,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        match result? {
            Halt::Hit { hit, .. } => {
                let Some(Kind::Watch(watched)) = self.points.get(id).map(|point| point.kind.clone()) else {
                    return Ok(Flow::Continue);
                };
                let (old, new) = hit.change.unwrap_or_default();
                let halt = self.go(Direction::Backward, Mode::Step, &[])?;
                let (old, new) = (self.watched_text(&watched, &old)?, self.watched_text(&watched, &new)?);
                reply.line(format!(
                    "\n{text}: {old} -> {new}, written here (event {}):",
                    self.session.position().event
                ));
                reply.set("last", json!({ "expression": text, "old": old, "new": new }));
                self.report(&halt, Direction::Backward, &origin.before, reply)?;
                self.show_nearest_source(reply)?;
            }
            Halt::Start => {
                self.session.goto(&origin.position)?;
                self.moved();
                reply.line(format!(
                    "{text} was not changed between the start of the recording and here: it has had its value from the start."
                ));
                reply.set("last", serde_json::Value::Null);
            }
            _ => {
                self.session.goto(&origin.position)?;
                self.moved();
                reply.line("Interrupted; nothing was found yet.");
            }
        }
        Ok(Flow::Continue)
    }
}
