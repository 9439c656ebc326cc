//! Catchpoints: `catch syscall|fork|exec`, which stop behind events of the recording, and `catch signal|panic|throw|catch`,
//! which are other stops under gdb's names.

use serde_json::json;
use trace::{Effect, Event, EventKind};
use tracer::{Direction, Position};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::motion::Halt;
use crate::output::Reply;
use crate::parse;
use crate::points::{Kind, Point, Points};

/// Events that a catchpoint stops behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Catch {
    /// Returns of these system calls; of all when there are none.
    Syscalls(Vec<u64>),
    /// New processes.
    Fork,
    /// New programs.
    Exec,
}

impl Catch {
    fn takes(&self, event: &Event) -> bool {
        match (self, &event.kind) {
            (Self::Syscalls(numbers), EventKind::Syscall { .. } | EventKind::SyscallExit { .. }) => {
                numbers.is_empty() || numbers.contains(&event.registers.orig_rax)
            }
            (Self::Fork, EventKind::Start(start)) => start.process == start.thread.0,
            (
                Self::Exec,
                EventKind::Syscall { effect: Effect::Exec(_), .. }
                | EventKind::SyscallExit { effect: Effect::Exec(_), .. },
            ) => true,
            _ => false,
        }
    }

    /// What `info breakpoints` shows.
    pub(crate) fn title(&self) -> String {
        let name = |number: &u64| {
            syscalls::lookup(*number).map_or_else(|| number.to_string(), |row| row.name.to_owned())
        };
        match self {
            Self::Syscalls(numbers) if numbers.is_empty() => "any syscall".into(),
            Self::Syscalls(numbers) => {
                format!("syscall {}", numbers.iter().map(name).collect::<Vec<_>>().join(", "))
            }
            Self::Fork => "fork".into(),
            Self::Exec => "exec".into(),
        }
    }
}

/// The next event that some catchpoint takes, with those that do.
pub(crate) type Caught = (u64, Vec<u32>);

impl Points {
    fn catches(&self) -> impl Iterator<Item = (&Point, &Catch)> {
        self.all.iter().filter(|point| point.enabled).filter_map(|point| match &point.kind {
            Kind::Catch(catch) => Some((point, catch)),
            _ => None,
        })
    }

    /// Some enabled point is no catchpoint.
    pub(crate) fn has_others_than_catches(&self) -> bool {
        self.all.iter().any(|point| point.enabled && !matches!(point.kind, Kind::Catch(_)))
    }

    fn takers(&self, event: &Event) -> Vec<u32> {
        let takes = |(point, catch): &(&Point, &Catch)| {
            point.thread.is_none_or(|thread| thread == event.thread) && catch.takes(event)
        };
        self.catches().filter(takes).map(|(point, _)| point.id).collect()
    }
}

impl Debugger {
    /// `catch WHAT`.
    pub(crate) fn catch(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let (what, rest) = parse::first_word(arguments);
        let catch = match what {
            "syscall" => Catch::Syscalls(
                rest.split_whitespace().map(syscall_number).collect::<Result<Vec<_>, CommandError>>()?,
            ),
            "fork" | "vfork" => Catch::Fork,
            "exec" => Catch::Exec,
            "signal" if !rest.is_empty() => {
                for name in rest.split_whitespace() {
                    self.handle(&format!("{name} stop"), reply)?;
                }
                return Ok(Flow::Continue);
            }
            "throw" => return self.add_break(false, "__cxa_throw", None, reply),
            "catch" => return self.add_break(false, "__cxa_begin_catch", None, reply),
            "panic" => return self.add_break(false, "rust_panic", None, reply),
            _ => {
                return Err(CommandError::Usage {
                    what: "what is to be caught is missing, or not known".into(),
                    usage: "catch syscall [NAME…] | signal NAME… | fork | exec | throw | catch | panic",
                });
            }
        };
        let title = catch.title();
        let id = self.points.add(arguments, Kind::Catch(catch), false).id;
        reply.line(format!("Catchpoint {id} ({title})"));
        reply.set("breakpoint", json!({ "number": id, "catch": title }));
        Ok(Flow::Continue)
    }

    /// The next event behind which a catchpoint stops, in a direction. `None` when there is none, or the user wants to stop.
    pub(crate) fn next_caught(&self, direction: Direction) -> Result<Option<Caught>, CommandError> {
        /// How often it is looked whether the user wants to stop.
        const EVENTS_BETWEEN_LOOKS: u64 = 4096;
        if self.points.catches().next().is_none() {
            return Ok(None);
        }
        let (trace, here) = (self.session.trace()?, self.session.position());
        let look = |number: u64| -> Result<Option<Caught>, CommandError> {
            let takers = self.points.takers(&trace.event(number)?);
            Ok((!takers.is_empty()).then_some((number, takers)))
        };
        let wanted = |number: u64| {
            number.is_multiple_of(EVENTS_BETWEEN_LOOKS) && self.session.interrupt().is_requested()
        };
        match direction {
            Direction::Forward => {
                for number in here.event..trace.len() {
                    if wanted(number) {
                        return Ok(None);
                    }
                    if let Some(found) = look(number)? {
                        return Ok(Some(found));
                    }
                }
            }
            Direction::Backward => {
                let behind = |number: u64| *here == Position::at_event(number + 1);
                for number in (trace.first()..here.event).rev().filter(|number| !behind(*number)) {
                    if wanted(number) {
                        return Ok(None);
                    }
                    if let Some(found) = look(number)? {
                        return Ok(Some(found));
                    }
                }
            }
        }
        Ok(None)
    }

    /// Counts what was caught, and makes a stop of it if somebody wants one.
    pub(crate) fn caught(&mut self, caught: Caught) -> Result<Option<Halt>, CommandError> {
        let (event, ids) = caught;
        let ids: Vec<u32> = ids.into_iter().filter(|id| self.count_hit(*id)).collect();
        let mut wanted = Vec::new();
        for id in ids {
            let condition = self.points.get(id).and_then(|point| point.condition.clone());
            let holds = match condition {
                Some(condition) => {
                    self.moved();
                    let value = self.eval(&condition)?;
                    self.with_context(|context| symbols::truth(&value, context.memory))?
                        .map_err(|error| CommandError::expression(&condition, error))?
                }
                None => true,
            };
            wanted.extend(holds.then_some(id));
        }
        Ok((!wanted.is_empty()).then_some(Halt::Caught { event, ids: wanted }))
    }

    /// What a caught event is, for the report of the stop.
    pub(crate) fn caught_text(&self, number: u64) -> Result<String, CommandError> {
        let event = self.session.trace()?.event(number)?;
        let name = syscalls::lookup(event.registers.orig_rax).map_or("a system call", |row| row.name);
        Ok(match &event.kind {
            EventKind::Start(start) => format!("forked process {}", start.process),
            EventKind::Syscall { effect: Effect::Exec(image), .. }
            | EventKind::SyscallExit { effect: Effect::Exec(image), .. } => format!("exec'd {}", image.path),
            EventKind::Syscall { result, .. } | EventKind::SyscallExit { result, .. } => {
                format!("returned from syscall {name}, result {result}")
            }
            _ => format!("event {number}"),
        })
    }
}

/// A system call by name or number.
fn syscall_number(text: &str) -> Result<u64, CommandError> {
    if let Some(number) = parse::number(text) {
        return Ok(number);
    }
    let row = syscalls::by_name(text);
    row.map(|row| row.nr.into())
        .ok_or_else(|| CommandError::Other(format!("there is no system call \"{text}\"")))
}
