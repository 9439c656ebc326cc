//! Going to the next stop, either way.

use trace::ThreadId;
use tracer::{Direction, Hit, Mode, Stop};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::logpoints::LOG_BYTES_MAX;
use crate::output::Reply;
use crate::points::INTERNAL;
use crate::referee::{Internal, Referee};

/// Why the session stands where it does, in the user's terms.
#[derive(Clone, Debug)]
pub(crate) enum Halt {
    /// Breakpoints or watchpoints of the user.
    Hit { hit: Hit, ids: Vec<u32> },
    /// A stop of the engine's own.
    Internal(usize),
    /// Catchpoints, behind an event.
    Caught { event: u64, ids: Vec<u32> },
    /// A signal.
    Signal { signal: i32, fatal: bool },
    /// A step is done.
    Step,
    /// The condition of a point failed.
    Failure { id: u32, why: String },
    /// The start of the recording.
    Start,
    /// The end of the recording.
    End,
    /// The user stopped it.
    Interrupted,
}

impl Halt {
    /// A word for scripts.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Hit { hit, .. } if hit.change.is_some() => "watchpoint-trigger",
            Self::Hit { .. } => "breakpoint-hit",
            Self::Caught { .. } => "catchpoint-hit",
            Self::Internal(_) => "location-reached",
            Self::Signal { .. } => "signal-received",
            Self::Step => "end-stepping-range",
            Self::Failure { .. } => "condition-failed",
            Self::Start => "start-of-recording",
            Self::End => "end-of-recording",
            Self::Interrupted => "interrupted",
        }
    }
}

/// What the judge made of a stop.
struct Judged {
    failure: Option<(u32, String)>,
    wanted: Vec<u32>,
    interrupted: bool,
}

impl Debugger {
    /// Goes on until something is worth telling, or an internal stop is reached.
    pub(crate) fn go(
        &mut self,
        direction: Direction,
        mode: Mode,
        internals: &[Internal],
    ) -> Result<Halt, CommandError> {
        self.find_places();
        loop {
            let caught = if mode == Mode::Run { self.next_caught(direction)? } else { None };
            let until = caught.as_ref().map(|(event, _)| event + 1);
            let alone = internals.is_empty() && !self.points.has_others_than_catches();
            let (stop, judged) = match until.filter(|_| alone && direction == Direction::Backward) {
                Some(until) => {
                    let stop = self.session.goto(&tracer::Position::at_event(until))?;
                    (stop, Judged { failure: None, wanted: Vec::new(), interrupted: false })
                }
                None => self.resume_once(direction, mode, internals, until)?,
            };
            if let Some(caught) = caught.filter(|caught| self.comes_first(caught.0, &stop, direction)) {
                if direction == Direction::Backward {
                    self.session.goto(&tracer::Position::at_event(caught.0 + 1))?;
                }
                match self.caught(caught)? {
                    Some(halt) => {
                        self.moved();
                        self.find_places();
                        return Ok(halt);
                    }
                    None => continue,
                }
            }
            if let Some(halt) = self.halt_of(stop, judged, direction) {
                self.moved();
                self.find_places();
                return Ok(halt);
            }
        }
    }

    fn resume_once(
        &mut self,
        direction: Direction,
        mode: Mode,
        internals: &[Internal],
        until: Option<u64>,
    ) -> Result<(Stop, Judged), CommandError> {
        let mut stops = self.points.stops();
        stops.until = until.filter(|_| direction == Direction::Forward);
        stops.breakpoints.extend(internals.iter().enumerate().map(|(index, internal)| tracer::Breakpoint {
            id: INTERNAL + index as u32,
            address: internal.address,
            image: internal.image,
            condition: None,
        }));
        self.lower_conditions(&mut stops);
        stops.signals = if direction == Direction::Forward { self.settings.signals_looked_at() } else { 0 };
        stops.code_changes =
            mode == Mode::Run && direction == Direction::Forward && self.points.wants_code_changes();
        let mut referee = Referee {
            points: &mut self.points,
            spaces: &mut self.spaces,
            values: &self.values,
            internals,
            direction,
            failure: None,
            wanted: Vec::new(),
            interrupted: false,
            logged: &mut self.logged,
        };
        let stop = self.session.resume(direction, mode, &stops, &mut referee);
        let judged = Judged {
            failure: referee.failure.take(),
            wanted: std::mem::take(&mut referee.wanted),
            interrupted: referee.interrupted,
        };
        match stop {
            Ok(stop) => Ok((stop, judged)),
            Err(error) => {
                self.moved();
                Err(error)
            }
        }
    }

    /// Whether what was caught comes before the stop that was found. Forwards the session has stopped there; backwards it has
    /// gone past.
    fn comes_first(&self, event: u64, stop: &Stop, direction: Direction) -> bool {
        let here = self.session.position();
        match direction {
            Direction::Forward => *stop == Stop::Arrived,
            Direction::Backward => {
                let there = *here == tracer::Position::at_event(event + 1);
                *stop != Stop::Interrupted && (here.event <= event || there)
            }
        }
    }

    /// `None`: nothing to stop for.
    fn halt_of(&mut self, stop: Stop, judged: Judged, direction: Direction) -> Option<Halt> {
        Some(match stop {
            Stop::Hit(hit) => return self.hit(hit, judged, direction),
            Stop::Signal { signal, fatal, .. } => {
                if !fatal && !self.settings.stops_at(signal) {
                    return None;
                }
                Halt::Signal { signal, fatal }
            }
            Stop::CodeChange => {
                self.find_places();
                return None;
            }
            Stop::Step | Stop::Arrived => Halt::Step,
            Stop::Start => Halt::Start,
            Stop::End => Halt::End,
            Stop::Interrupted => Halt::Interrupted,
        })
    }

    fn hit(&mut self, hit: Hit, judged: Judged, direction: Direction) -> Option<Halt> {
        if let Some((id, why)) = judged.failure {
            return Some(Halt::Failure { id, why });
        }
        if judged.interrupted {
            return Some(Halt::Interrupted);
        }
        let mut ids: Vec<u32> = judged.wanted.iter().copied().filter(|id| *id < INTERNAL).collect();
        if direction == Direction::Backward {
            ids.retain(|id| self.count_hit(*id) && !self.log(*id));
            if self.logged.len() > LOG_BYTES_MAX {
                return Some(Halt::Interrupted);
            }
        }
        let internal = judged.wanted.iter().find_map(|id| id.checked_sub(INTERNAL));
        match internal {
            _ if !ids.is_empty() => Some(Halt::Hit { hit, ids }),
            Some(index) => Some(Halt::Internal(index as usize)),
            None => None,
        }
    }

    /// Counts a hit that the judge has not; false when it is to be passed.
    pub(crate) fn count_hit(&mut self, id: u32) -> bool {
        let Some(point) = self.points.get_mut(id) else { return false };
        point.hits += 1;
        if point.ignore > 0 {
            point.ignore -= 1;
            return false;
        }
        true
    }

    /// `continue` and `reverse-continue`: with a count, the breakpoint stood at is passed so often.
    pub(crate) fn continue_(
        &mut self,
        direction: Direction,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let count = self.count_argument(arguments)?;
        let before = self.before();
        for left in (0..count).rev() {
            let halt = self.go(direction, Mode::Run, &[])?;
            let passed = left > 0 && matches!(halt, Halt::Hit { .. });
            if !passed {
                self.report(&halt, direction, &before, reply)?;
                break;
            }
        }
        Ok(Flow::Continue)
    }

    /// `stepi` and its like: so many instructions.
    pub(crate) fn step_instructions(
        &mut self,
        direction: Direction,
        over_calls: bool,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let count = self.count_argument(arguments)?;
        let before = self.before();
        let mut halt = Halt::Step;
        for _ in 0..count {
            halt = match (over_calls, direction) {
                (false, _) => self.go(direction, Mode::Step, &[])?,
                (true, Direction::Forward) => self.next_instruction()?,
                (true, Direction::Backward) => self.previous_instruction()?,
            };
            if !matches!(halt, Halt::Step) {
                break;
            }
            if self.session.interrupt().is_requested() {
                halt = Halt::Interrupted;
                break;
            }
        }
        self.report(&halt, direction, &before, reply)?;
        Ok(Flow::Continue)
    }

    /// A repeat count: an expression, one without.
    pub(crate) fn count_argument(&mut self, text: &str) -> Result<u64, CommandError> {
        match text {
            "" => Ok(1),
            text => {
                let count = self.eval_number(text)?;
                Ok(count)
            }
        }
    }

    /// The program of a thread, as a number.
    pub(crate) fn image(&self, thread: ThreadId) -> Result<u64, CommandError> {
        Ok(self.session.program(thread)?.0)
    }
}
