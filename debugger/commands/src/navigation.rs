//! Places in the recording: `when`, `goto`, `checkpoint`, `restart`, `info checkpoints`.

use serde_json::json;
use tracer::{Position, Stop};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::output::Reply;
use crate::parse;
use crate::time::{duration_text, utc_text};

/// A checkpoint of the user's.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    number: u32,
    position: Position,
    /// Where it is in the source.
    text: String,
}

/// Places where the session has been.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    /// Those before this one, the last one last.
    before: Vec<Position>,
    /// Those that `back` has left, the next one last.
    after: Vec<Position>,
}

/// Places that are remembered.
const VISITED_MAX: usize = 1000;

const NS_PER_SECOND: f64 = 1e9;

impl Debugger {
    /// `when`: where in the recording the session stands.
    pub(crate) fn when(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let trace = self.session.trace()?;
        let (event, count) = (self.session.position().event, trace.len());
        let time_ns = trace.event(event.min(count.saturating_sub(1)))?.time_ns;
        let clock = utc_text(trace.header().started_unix_ns.saturating_add(time_ns));
        let percent = self.percent();
        let of = match trace.first() {
            0 => count.to_string(),
            first => format!("{first} to {}", count - 1),
        };
        reply.line(format!(
            "event {event} of {of} ({percent}%), {} after the start, {clock}",
            duration_text(time_ns)
        ));
        if let Some(thread) = self.session.current_thread() {
            reply.line(format!("{} runs next", self.thread_title(thread)));
            reply.set("thread", self.threads.number(thread));
        }
        reply.set("event", event);
        reply.set("events", count);
        reply.set("percent", percent);
        reply.set("time_ns", time_ns);
        reply.set("clock", clock);
        Ok(Flow::Continue)
    }

    /// `goto EVENT|PERCENT%|TIMEs|start|end|row N`.
    pub(crate) fn goto(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let position = self.position_of(arguments, reply)?;
        self.travel_to(&position, reply)
    }

    fn position_of(&mut self, text: &str, reply: &mut Reply<'_>) -> Result<Position, CommandError> {
        let (start, end) = (self.session.start()?, self.session.end()?);
        let usage =
            |what: String| CommandError::Usage { what, usage: "goto EVENT|PERCENT%|TIMEs|start|end|row N" };
        let event = match text {
            "" => return Err(usage("a place is missing".into())),
            "start" | "begin" => return Ok(start),
            "end" => return Ok(end),
            text if text.starts_with("row ") || text.starts_with("output ") => {
                return self.row_position(text.split_once(' ').map_or("", |cut| cut.1).trim());
            }
            text if text.ends_with('%') => {
                let percent: f64 = fraction(&text[..text.len() - 1])
                    .ok_or_else(|| usage(format!("\"{text}\" is no percentage")))?;
                if percent > 100.0 {
                    return Err(usage(format!("{text} is past the end")));
                }
                let (first, end) = (self.session.trace()?.first(), self.session.trace()?.len());
                first + (percent / 100.0 * (end - first) as f64) as u64
            }
            text if text.ends_with('s') => {
                let seconds = fraction(&text[..text.len() - 1])
                    .ok_or_else(|| usage(format!("\"{text}\" is no time in seconds")))?;
                let (trace, time_ns) = (self.session.trace()?, (seconds * NS_PER_SECOND) as u64);
                let first_ns = trace.event(trace.first())?.time_ns;
                if trace.first() > 0 && time_ns < first_ns {
                    reply.line(format!("{}, {} after the start.", self.beginning(), duration_text(first_ns)));
                }
                self.event_at(time_ns)?
            }
            text => {
                let event =
                    parse::number(text).ok_or_else(|| usage(format!("\"{text}\" is no event number")))?;
                if event > self.session.trace()?.len() {
                    return Err(CommandError::Other(format!(
                        "event {event} is past the end: the last is {}",
                        self.session.trace()?.len() - 1
                    )));
                }
                if self.session.trace()?.first() > 0 && event < start.event {
                    reply.line(format!("{}.", self.beginning()));
                }
                event
            }
        };
        Ok(Position::at_event(event.clamp(start.event, end.event)))
    }

    /// Says where a recording begins of which only the newest part was kept.
    fn beginning(&self) -> String {
        format!(
            "The recording begins at event {}: a ring keeps the newest part only",
            self.session.start().map_or(0, |start| start.event)
        )
    }

    /// The first event at or after a recorded time.
    fn event_at(&self, time_ns: u64) -> Result<u64, CommandError> {
        let trace = self.session.trace()?;
        let (mut low, mut high) = (trace.first(), trace.len());
        while low < high {
            let middle = low.midpoint(high);
            if trace.event(middle)?.time_ns < time_ns {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn travel_to(&mut self, position: &Position, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let stop = self.session.goto(position);
        self.moved();
        self.find_places();
        if stop? == Stop::Interrupted {
            reply.line("Interrupted.");
        }
        if *self.session.position() == self.session.end()? {
            let text = self.end_text();
            reply.line(text);
        }
        self.show_stop_frame(true, reply)?;
        if let Ok(frame) = self.frame() {
            reply.set("frame", crate::report::frame_json(&frame));
        }
        self.show_displays(reply)?;
        Ok(Flow::Continue)
    }

    /// Remembers where a command has led away from.
    pub(crate) fn note_visit(&mut self, command: &str, before: Position) {
        if matches!(command, "back" | "forward") || *self.session.position() == before {
            return;
        }
        self.visited.after.clear();
        self.visited.before.push(before);
        if self.visited.before.len() > VISITED_MAX {
            self.visited.before.remove(0);
        }
    }

    /// `back [N]` and `forward [N]`: among the places where the session has been.
    pub(crate) fn revisit(
        &mut self,
        back: bool,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let count = self.count_argument(arguments)?;
        let here = self.session.position().clone();
        let (from, to) = match back {
            true => (&mut self.visited.before, &mut self.visited.after),
            false => (&mut self.visited.after, &mut self.visited.before),
        };
        let (mut place, mut passed) = (here, 0);
        while passed < count
            && let Some(next) = from.pop()
        {
            to.push(std::mem::replace(&mut place, next));
            passed += 1;
        }
        if passed == 0 {
            let which = if back { "before" } else { "after" };
            return Err(CommandError::Other(format!("there is no place that was visited {which} this one")));
        }
        self.travel_to(&place, reply)
    }

    /// `checkpoint`: marks the present position.
    pub(crate) fn checkpoint(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        self.session.keep_checkpoint()?;
        self.last_mark += 1;
        let (number, position) = (self.last_mark, self.session.position().clone());
        let text = self.frame_text(0).unwrap_or_default();
        reply.line(format!(
            "Checkpoint {number} at event {} ({}%): {text}",
            position.event,
            self.percent_of(&position)
        ));
        reply.set("number", number);
        self.marks.push(Mark { number, position, text });
        Ok(Flow::Continue)
    }

    /// `restart N`: back to a checkpoint; without a number, to the start.
    pub(crate) fn restart(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let position = match arguments {
            "" => self.session.start()?,
            text => self.mark(text)?.position.clone(),
        };
        self.travel_to(&position, reply)
    }

    fn mark(&self, text: &str) -> Result<&Mark, CommandError> {
        let number = text.parse().ok();
        let found = self.marks.iter().find(|mark| Some(mark.number) == number);
        found.ok_or_else(|| {
            CommandError::Other(format!("there is no checkpoint {text}; `info checkpoints` lists them"))
        })
    }

    /// `delete checkpoint N`.
    pub(crate) fn delete_mark(&mut self, text: &str) -> Result<Flow, CommandError> {
        let number = self.mark(text)?.number;
        self.marks.retain(|mark| mark.number != number);
        Ok(Flow::Continue)
    }

    /// `info checkpoints`.
    pub(crate) fn info_checkpoints(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        if self.marks.is_empty() {
            reply.line("No checkpoints; `checkpoint` makes one.");
        }
        for mark in &self.marks {
            let percent = self.percent_of(&mark.position);
            reply.line(format!(
                "{:<3} event {} ({percent}%): {}",
                mark.number, mark.position.event, mark.text
            ));
        }
        let list: Vec<_> = self
            .marks
            .iter()
            .map(|mark| json!({ "number": mark.number, "event": mark.position.event, "text": mark.text }))
            .collect();
        reply.set("checkpoints", list);
        Ok(Flow::Continue)
    }
}

/// A number with a fraction that is not negative.
fn fraction(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
}
