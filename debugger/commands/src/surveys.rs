//! Tables over the whole recording: `hits` (every visit of a place), `calls` (every call of a function), `writes` (every
//! change of a value), `output` (every line that was printed); and `goto row N`, which goes to what a row tells of.
//!
//! A survey sets the user's stops aside, goes through the recording once from its start, and comes back.

use serde_json::{Value as Json, json};
use symbols::Type;
use trace::ThreadId;
use tracer::{Direction, Hit, Mode, Position};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::motion::Halt;
use crate::output::Reply;
use crate::parse;
use crate::points::{Kind, Points};
use crate::referee::{Internal, Test};
use crate::time::duration_text;

/// Rows of a table, when the user names no number.
const ROWS: usize = 1000;

/// Calls of one thread that have not returned.
const OPEN_MAX: usize = 10_000;

/// Places that calls return to.
const RETURNS_MAX: usize = 4000;

/// A row of a table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    position: Position,
    time_ns: u64,
    /// The thread as the user numbers it.
    thread: usize,
    text: String,
    data: Json,
}

/// What is done at a stop.
type AtStop<'a> = dyn FnMut(&mut Debugger, &Hit, &mut Survey) -> Result<(), CommandError> + 'a;

/// What is done where a call returns.
type AtReturn<'a> = dyn FnMut(&mut Debugger, ThreadId, &mut Survey) -> Result<(), CommandError> + 'a;

/// A survey in progress.
#[derive(Default)]
pub(crate) struct Survey {
    rows: Vec<Row>,
    returns: Vec<Internal>,
    calls: Vec<Call>,
}

/// A call that has not returned.
struct Call {
    row: usize,
    thread: ThreadId,
    /// The stack pointer behind its return.
    stack: u64,
    back: u64,
    ty: Option<Type>,
}

/// How a survey ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Whole,
    Full,
    Interrupted,
}

impl Debugger {
    /// `hits[/MAX] PLACE [if CONDITION] [print EXPRESSION, …]`.
    pub(crate) fn hits(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let most = rows_wanted(format)?;
        let (place, expressions) = split_print(arguments);
        if place.is_empty() {
            return Err(CommandError::Usage {
                what: "a place is missing".into(),
                usage: "hits[/MAX] PLACE [if CONDITION] [print EXPRESSION, …]",
            });
        }
        let points = self.only_break(place)?;
        self.survey(
            points,
            most,
            reply,
            &mut |debugger, _, survey| {
                let values = expressions.iter().map(|text| debugger.short_value(text)).collect::<Vec<_>>();
                let shown: Vec<String> = expressions
                    .iter()
                    .zip(&values)
                    .map(|(name, value)| format!("{name} = {value}"))
                    .collect();
                let text = if shown.is_empty() { debugger.frame_text(0)? } else { shown.join(", ") };
                let named = expressions.iter().cloned().zip(values.into_iter().map(Json::from));
                let data = Json::Object(named.collect());
                let row = debugger.row(text, data)?;
                survey.rows.push(row);
                Ok(())
            },
            &mut |_, _, _| Ok(()),
        )
    }

    /// `calls[/MAX] FUNCTION [if CONDITION]`.
    pub(crate) fn calls(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let most = rows_wanted(format)?;
        if arguments.is_empty() {
            return Err(CommandError::Usage {
                what: "a function is missing".into(),
                usage: "calls[/MAX] FUNCTION [if CONDITION]",
            });
        }
        let points = self.only_break(arguments)?;
        let mut enter =
            |debugger: &mut Debugger, hit: &Hit, survey: &mut Survey| debugger.note_call(hit, survey);
        let mut leave = |debugger: &mut Debugger, thread: ThreadId, survey: &mut Survey| {
            debugger.note_return(thread, survey)
        };
        self.survey(points, most, reply, &mut enter, &mut leave)
    }

    /// `writes[/MAX] EXPRESSION`.
    pub(crate) fn writes(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let most = rows_wanted(format)?;
        if arguments.is_empty() {
            return Err(CommandError::Usage {
                what: "an expression is missing".into(),
                usage: "writes[/MAX] EXPRESSION",
            });
        }
        let watched = self.watched(arguments)?;
        let ty = watched.ty.clone();
        let address = watched.address;
        let mut points = Points::default();
        points.add(arguments, Kind::Watch(watched), false);
        self.survey(
            points,
            most,
            reply,
            &mut |debugger, hit, survey| {
                let Some((old, new)) = &hit.change else { return Ok(()) };
                let mut shown = |bytes: &[u8]| match &ty {
                    Some(ty) => {
                        let value = symbols::Value::typed(ty.clone(), bytes.to_vec(), address);
                        debugger.with_context(|context| context.format_short(&value))
                    }
                    None => Ok(format!("{bytes:02x?}")),
                };
                let (old, new) = (shown(old)?, shown(new)?);
                let place = debugger.place_of_writer()?;
                let row = debugger.row(
                    format!("{old} -> {new}  {place}"),
                    json!({ "old": old, "new": new, "place": place }),
                )?;
                survey.rows.push(row);
                Ok(())
            },
            &mut |_, _, _| Ok(()),
        )
    }

    /// Points with a single breakpoint.
    fn only_break(&mut self, place: &str) -> Result<Points, CommandError> {
        let kept = std::mem::take(&mut self.points);
        let mut ignored = String::new();
        let result = self.break_(false, place, &mut Reply::new(&mut ignored));
        let points = std::mem::replace(&mut self.points, kept);
        result.map(|_| points)
    }

    /// Goes through the recording with these points alone, and comes back.
    fn survey(
        &mut self,
        points: Points,
        most: usize,
        reply: &mut Reply<'_>,
        at_stop: &mut AtStop<'_>,
        at_return: &mut AtReturn<'_>,
    ) -> Result<Flow, CommandError> {
        let origin = (self.session.position().clone(), self.focus.thread, self.focus.level);
        let kept = std::mem::replace(&mut self.points, points);
        let mut survey = Survey::default();
        let result = self.go_through(most, &mut survey, at_stop, at_return);
        self.points = kept;
        self.session.interrupt().clear();
        let back = self.session.goto(&origin.0);
        self.moved();
        (self.focus.thread, self.focus.level) = (origin.1.or(self.focus.thread), origin.2);
        back?;
        let end = result?;
        self.show_rows(&survey.rows, reply);
        match end {
            End::Whole if survey.rows.is_empty() => reply.line("Nothing in the whole recording."),
            End::Whole => {}
            End::Full => {
                let next = most.saturating_mul(10);
                reply.line(format!(
                    "There are more than {most}: /{next} behind the command's name shows more."
                ));
            }
            End::Interrupted => reply.line("Interrupted: there may be more."),
        }
        reply.set("complete", end == End::Whole);
        self.rows = survey.rows;
        Ok(Flow::Continue)
    }

    fn go_through(
        &mut self,
        most: usize,
        survey: &mut Survey,
        at_stop: &mut AtStop<'_>,
        at_return: &mut AtReturn<'_>,
    ) -> Result<End, CommandError> {
        let start = self.session.start()?;
        self.session.goto(&start)?;
        self.moved();
        loop {
            let returns = survey.returns.clone();
            match self.go(Direction::Forward, Mode::Run, &returns)? {
                Halt::Hit { hit, .. } => {
                    if survey.rows.len() >= most {
                        return Ok(End::Full);
                    }
                    self.focus.thread = Some(hit.thread);
                    at_stop(self, &hit, survey)?;
                }
                Halt::Internal(index) => {
                    if let Some(thread) = returns.get(index).map(|stop| stop.thread) {
                        at_return(self, thread, survey)?;
                    }
                }
                Halt::Failure { why, .. } => {
                    return Err(CommandError::Other(format!("the condition failed: {why}")));
                }
                Halt::Interrupted => return Ok(End::Interrupted),
                Halt::End | Halt::Start => return Ok(End::Whole),
                Halt::Signal { .. } | Halt::Step | Halt::Caught { .. } => {}
            }
        }
    }

    /// A row about the present position.
    fn row(&mut self, text: String, data: Json) -> Result<Row, CommandError> {
        let trace = self.session.trace()?;
        let event = self.session.position().event.min(trace.len().saturating_sub(1));
        let time_ns = trace.event(event)?.time_ns;
        let thread = self.thread().map_or(0, |thread| self.threads.number(thread));
        Ok(Row { position: self.session.position().clone(), time_ns, thread, text, data })
    }

    /// A value for a table: what has none says why.
    fn short_value(&mut self, text: &str) -> String {
        let value = self.eval(text);
        let shown = value.and_then(|value| self.with_context(|context| context.format_short(&value)));
        shown.unwrap_or_else(|error| format!("<{error}>"))
    }

    fn note_call(&mut self, hit: &Hit, survey: &mut Survey) -> Result<(), CommandError> {
        let frame = self.innermost_frame()?;
        let (arguments, ty) =
            self.with_context(|context| (context.format_arguments(), context.return_type()))?;
        let name = frame.location.function.clone().unwrap_or_else(|| "??".into());
        let caller = self.caller_text()?;
        let text = format!("{name} ({arguments})");
        let data = json!({ "function": name.as_ref(), "arguments": arguments, "caller": caller });
        let row = self.row(text, data)?;
        survey.rows.push(Row { text: row.text, ..row });
        if let Ok(stop) = self.caller_of(&frame)
            && let Test::StackFrom(stack) = stop.test
            && survey.calls.len() < OPEN_MAX
        {
            let same = |other: &Internal| {
                (other.address, other.thread, other.image) == (stop.address, stop.thread, stop.image)
            };
            if !survey.returns.iter().any(same) && survey.returns.len() < RETURNS_MAX {
                survey.returns.push(Internal { test: Test::Any, ..stop });
            }
            let row = survey.rows.len() - 1;
            survey.calls.push(Call { row, thread: hit.thread, stack, back: stop.address, ty });
        }
        if let (Some(caller), Some(row)) = (caller, survey.rows.last_mut()) {
            row.text.push_str(&format!("  from {caller}"));
        }
        Ok(())
    }

    fn note_return(&mut self, thread: ThreadId, survey: &mut Survey) -> Result<(), CommandError> {
        self.focus.thread = Some(thread);
        let registers = self.session.registers(thread)?;
        let done = |call: &Call| call.thread == thread && call.stack <= registers.rsp;
        // Those above were left without a return, by an exception or longjmp(3).
        let Some(last) = survey.calls.iter().position(done) else { return Ok(()) };
        let mut ended: Vec<Call> = Vec::new();
        let mut at = last;
        while at < survey.calls.len() {
            if survey.calls.get(at).is_some_and(done) {
                ended.push(survey.calls.remove(at));
            } else {
                at += 1;
            }
        }
        let Some(call) =
            ended.into_iter().find(|call| call.back == registers.rip && call.stack == registers.rsp)
        else {
            return Ok(());
        };
        let Some(ty) = call.ty else { return Ok(()) };
        let value = match self.returned(&ty)? {
            Some(value) => self.with_context(|context| context.format_short(&value))?,
            None => return Ok(()),
        };
        if let Some(row) = survey.rows.get_mut(call.row) {
            let (head, from) =
                row.text.split_once("  from ").map_or((row.text.as_str(), None), |cut| (cut.0, Some(cut.1)));
            let from = from.map_or_else(String::new, |from| format!("  from {from}"));
            row.text = format!("{head} = {value}{from}");
            row.data["returned"] = value.into();
        }
        Ok(())
    }

    /// Where the innermost frame was called from.
    fn caller_text(&mut self) -> Result<Option<String>, CommandError> {
        self.unwind(2)?;
        let Some(caller) = self.focus.frames.get(1).cloned() else { return Ok(None) };
        let place = caller.location.file.as_deref().filter(|_| caller.location.line != 0);
        let place = place.map(|file| format!(" at {}:{}", self.short_path(file), caller.location.line));
        let name = caller.location.function.unwrap_or_else(|| "??".into());
        Ok(Some(format!("{name}{}", place.unwrap_or_default())))
    }

    /// The place of the instruction that has just been executed.
    fn place_of_writer(&mut self) -> Result<String, CommandError> {
        let frame = self.innermost_frame()?;
        let location = self.symbols()?.location(frame.pc.wrapping_sub(1));
        let name = location.function.as_deref().unwrap_or("??");
        Ok(match location.file.as_deref().filter(|_| location.line != 0) {
            Some(file) => format!("{name} at {}:{}", self.short_path(file), location.line),
            None => name.to_owned(),
        })
    }

    fn show_rows(&self, rows: &[Row], reply: &mut Reply<'_>) {
        for (index, row) in rows.iter().enumerate() {
            let thread = row.thread;
            reply.line(format!(
                "{:<5} event {:<8} {:>12}  thread {thread:<3} {}",
                index + 1,
                row.position.event,
                duration_text(row.time_ns),
                row.text
            ));
        }
        let json = rows.iter().enumerate().map(|(index, row)| {
            json!({
                "row": index + 1,
                "event": row.position.event,
                "time_ns": row.time_ns,
                "thread": row.thread,
                "text": row.text,
                "data": row.data,
            })
        });
        reply.set("rows", json.collect::<Vec<_>>());
    }

    /// The position that a row of the last table tells of.
    pub(crate) fn row_position(&self, text: &str) -> Result<Position, CommandError> {
        if self.rows.is_empty() {
            return Err(CommandError::other(
                "there is no table yet: hits, calls, writes and output make one",
            ));
        }
        let row = text.parse::<usize>().ok().and_then(|number| self.rows.get(number.checked_sub(1)?));
        row.map(|row| row.position.clone()).ok_or_else(|| {
            CommandError::Other(format!(
                "the last table has rows 1 to {}, and no row \"{text}\"",
                self.rows.len()
            ))
        })
    }

    /// `output` without an expression: every line that the program printed, with its time.
    pub(crate) fn printed(&mut self, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let origin = (self.session.position().clone(), self.focus.thread, self.focus.level);
        let pieces = self.session.all_output();
        self.session.interrupt().clear();
        let back = self.session.goto(&origin.0);
        self.moved();
        (self.focus.thread, self.focus.level) = (origin.1.or(self.focus.thread), origin.2);
        back?;
        let (pieces, whole) = pieces?;
        let mut rows: Vec<Row> = Vec::new();
        // Lines of the two streams may be written in pieces that alternate.
        let mut open = [None, None];
        for piece in pieces {
            let stream = usize::from(piece.error);
            for line in String::from_utf8_lossy(&piece.bytes).split_inclusive('\n') {
                let text = line.trim_end_matches('\n');
                match open[stream].and_then(|index: usize| rows.get_mut(index)) {
                    Some(row) => row.text.push_str(text),
                    None => {
                        let event = self.session.trace()?.event(piece.event)?;
                        open[stream] = Some(rows.len());
                        rows.push(Row {
                            position: Position::at_event(piece.event + 1),
                            time_ns: event.time_ns,
                            thread: self.threads.number(event.thread),
                            text: text.to_owned(),
                            data: json!({ "error": piece.error }),
                        });
                    }
                }
                if line.ends_with('\n') {
                    open[stream] = None;
                }
            }
        }
        self.show_rows(&rows, reply);
        if rows.is_empty() {
            reply.line("The program printed nothing.");
        }
        if !whole {
            reply.line("Interrupted: there may be more.");
        }
        reply.set("complete", whole);
        self.rows = rows;
        Ok(Flow::Continue)
    }
}

/// The number behind the slash of a command's name.
fn rows_wanted(format: &str) -> Result<usize, CommandError> {
    match format {
        "" => Ok(ROWS),
        text => {
            text.parse().ok().filter(|rows| *rows > 0).ok_or_else(|| {
                CommandError::Other(format!("\"/{text}\" is no number of rows, as in hits/5000"))
            })
        }
    }
}

/// Cuts `PLACE … print A, B` in front of `print`, and its expressions at commas outside of brackets and quotes.
fn split_print(text: &str) -> (&str, Vec<String>) {
    let Some((place, list)) = text.split_once(" print ") else { return (text.trim(), Vec::new()) };
    (place.trim(), parse::arguments(list).into_iter().map(str::to_owned).collect())
}
