//! Going back.
//!
//! Nothing runs backwards: going back is going forward from a checkpoint. To find the last hit before a position, the
//! stretch from the checkpoint before it is run with the stops planted, and the last hit remembered; if there was none,
//! the stretch before that.
//!
//! To go back one instruction, the place one instruction before has to be found and named. From the start of the
//! interval that may be billions of instructions away, so an *anchor* close before the goal is needed, from which to
//! single-step. It is found by sampling: run towards the goal, interrupt at some time, look at which instruction the
//! thread is, count (in the process, with a stub) how often it is visited before the goal, and take its last visit. What
//! lies between that visit and the goal is free of that instruction; so each sample takes away the loop that took most of
//! the remaining time, and a few suffice. What is too short to be sampled is stepped through, and the last instructions
//! stepped to serve as samples.

use std::time::{Duration, Instant};

use patch::Condition;
use trace::{Event, EventKind};

use super::apply::{is_unseen, needs_run};
use super::landmark::Copied;
use super::point::{Found, RunOptions};
use super::position::{Chain, Leg, Position};
use super::run::{Extent, Planted, Ran};
use super::session::{Purpose, Session};
use super::trail::Trail;
use super::travel::{Guard, Hit, Judge, Stop, Stops, Verdict, Went};
use crate::TracerError;

/// How many single steps are made from the first anchor before a closer one is looked for: enough for most loops to come
/// round, whose last turn is then the next anchor.
const STEPS_FIRST: u64 = 300;

/// How many single steps are made from later anchors. What has no loops is stepped through.
const STEPS_MAX: u64 = 2000;

/// How far before a place that was stepped back to a checkpoint is made, in instructions.
const STEPS_BACK: u64 = 64;

/// How many anchors are tried.
const ANCHORS_MAX: usize = 128;

/// How many samples are taken for one anchor.
const SAMPLES_MAX: usize = 24;

/// When in the remaining time samples are taken, in percent.
const SAMPLE_TIMES: [u32; 6] = [85, 60, 95, 40, 75, 20];

/// What runs for less is not sampled: the interrupt would come too late.
const SAMPLED_TIME_MIN: Duration = Duration::from_micros(200);

/// How many of the last instructions stepped to are tried as samples.
const STEPPED_SAMPLES: usize = 24;

/// A count that is never reached.
const NEVER: u64 = i64::MAX as u64;

/// A search for the last hit before a place.
pub(crate) struct Hunt<'a> {
    pub(crate) stops: &'a Stops,
    judge: &'a mut dyn Judge,
    /// Where it began.
    pub(crate) goal: Position,
    /// The same place, by the name that the runs of the search end at.
    pub(crate) end: Position,
}

/// What a stretch gave.
pub(crate) enum Last {
    Hit((Hit, Position)),
    None,
    /// More stops than were to be looked at.
    TooMany,
    Interrupted,
}

/// A hit on the way.
pub(crate) struct FoundHit {
    pub(crate) hit: Hit,
    pub(crate) position: Position,
    /// Hits with the same number are at the same place.
    place: u64,
    /// Its number among all hits of the run.
    pub(crate) call: u64,
}

/// A run through a stretch.
struct Passed {
    /// It did not come to the end.
    stopped: bool,
    hits: Vec<FoundHit>,
    trail: Trail,
}

/// A place before a goal in the same interval.
#[derive(Clone, Debug)]
struct Anchor {
    position: Position,
    /// How many of the visits or touches that the goal's last leg counts have happened by then.
    done: u64,
}

/// What came of single-stepping from an anchor.
enum Stepped {
    /// The goal, after so many steps.
    Reached(u64),
    /// It is farther; these instructions were stepped to last, the latest first, and so much of the leg's count is left.
    Farther(Vec<u64>, u64),
}

/// How a run towards a goal ended.
enum Toward {
    Reached,
    Interrupted,
    Elsewhere,
}

impl Session {
    pub(crate) fn backward(&mut self, stops: &Stops, judge: &mut dyn Judge) -> Result<Stop, TracerError> {
        let goal = self.at.clone();
        let mut quickly = !self.options.every_write;
        let mut hunt = Hunt { stops, judge, goal: goal.clone(), end: goal.clone() };
        let (mut end, mut before, mut later) = (goal.clone(), goal.clone(), None);
        while let Some(index) = self.checkpoint_or_snapshot_before(&before)? {
            let begin = self.checkpoints[index].position.clone();
            match (self.search(&begin, &end, quickly, &mut hunt), self.missed.take()) {
                (Ok(Last::Hit((hit, position))), _) => {
                    if let Went::Interrupted = self.travel(&position)? {
                        return self.give_up(&goal);
                    }
                    self.focus = Some(hit.thread);
                    return Ok(Stop::Hit(hit));
                }
                (Ok(Last::None | Last::TooMany), _) => {
                    later = Some(std::mem::replace(&mut end, begin.clone()));
                    before = begin;
                }
                (Ok(Last::Interrupted) | Err(TracerError::Interrupted), _) => return self.give_up(&goal),
                // A landmark was passed by unseen. One of the search's own is done without; behind another, what was
                // searched already is gone through again.
                (Err(_), Some(missed)) if end.landmark() != Some(&missed) && quickly => {
                    quickly = false;
                    hunt.end = goal.clone();
                }
                (Err(error), Some(_)) => end = later.take().ok_or(error)?,
                (Err(error), None) => return Err(error),
            }
        }
        let start = self.start();
        self.travel(&start)?;
        Ok(Stop::Start)
    }

    fn search(
        &mut self,
        begin: &Position,
        end: &Position,
        quickly: bool,
        hunt: &mut Hunt<'_>,
    ) -> Result<Last, TracerError> {
        if *end != hunt.goal && self.recurs(end, hunt.stops)? {
            // As if it had been missed.
            self.missed = end.landmark().cloned();
            return Err(TracerError::Inconsistent("a landmark comes again"));
        }
        if quickly {
            self.last_hit_quickly(begin, end, hunt)
        } else {
            self.last_hit(begin, end, u64::MAX, hunt)
        }
    }

    /// Where a search from here ends: a name for this place that can be looked for from any place before it.
    pub(crate) fn end_of_search(&mut self) -> Result<Position, TracerError> {
        let goal = self.at.clone();
        let is_found = matches!(goal.legs.last(), None | Some(Leg::ToEvent | Leg::Landmark(_)));
        if is_found || self.lost {
            return Ok(goal);
        }
        self.name_here(Chain::new().landmark(goal.main(), Chain::END));
        let end = self.at.clone();
        let added = self.add_checkpoint(Purpose::Near);
        self.at = goal;
        added.map(|()| end)
    }

    /// Goes to the beginning of a stretch.
    pub(crate) fn go_back_to(&mut self, begin: &Position) -> Result<(), TracerError> {
        match self.checkpoints.iter().position(|checkpoint| checkpoint.position == *begin) {
            Some(index) => self.restore(index),
            None => self.go(begin),
        }
    }

    /// The last hit in a stretch, found by stopping at each. More than so many stops are not looked at.
    pub(crate) fn last_hit(
        &mut self,
        begin: &Position,
        end: &Position,
        stops_max: u64,
        hunt: &mut Hunt<'_>,
    ) -> Result<Last, TracerError> {
        let since = Instant::now();
        self.go_back_to(begin)?;
        // With conditions evaluated inside the process stops are few, and a stretch cannot be divided.
        let conditional = hunt.stops.breakpoints.iter().any(|point| point.condition.is_some());
        let stops_max = if conditional { u64::MAX } else { stops_max };
        self.stops_max = self.counts.stops.saturating_add(stops_max);
        let passed = self.pass(end, hunt);
        self.stops_max = u64::MAX;
        let mut passed = passed?;
        if passed.stopped {
            return Ok(if self.interrupt.is_requested() { Last::Interrupted } else { Last::TooMany });
        }
        let Some(found) = passed.hits.pop() else { return Ok(Last::None) };
        let position = self.close_in(&found, &passed.trail, since.elapsed(), hunt.stops)?;
        Ok(Last::Hit((found.hit, position)))
    }

    /// Goes to the end of a stretch, and remembers its last hits.
    fn pass(&mut self, end: &Position, hunt: &mut Hunt<'_>) -> Result<Passed, TracerError> {
        let goal = hunt.goal.clone();
        let mut hits: Vec<FoundHit> = Vec::new();
        let mut trail = Trail::default();
        let mut guard = Guard::new(hunt.stops, self);
        let mut remember = |session: &Session, hit: &Hit, position: &Position| {
            let place = session.counts.stops;
            let call = trail.add(position, place);
            // Of several hits at one place the first stands for all, as when going forward.
            let is_new = hits.last().is_none_or(|last| last.place != place) || position.legs.is_empty();
            if *position != goal && is_new && hunt.judge.judge(session, hit) == Verdict::Stop {
                // The last two places with a hit: the last of them may be where the search began.
                if hits.len() == 2 {
                    hits.remove(0);
                }
                hits.push(FoundHit { hit: hit.clone(), position: position.clone(), place, call });
            }
            false
        };
        let went = self.advance_to(end, &mut guard, &mut remember)?;
        if *end == hunt.end {
            let here = self.counts.stops;
            hits.retain(|found| found.place != here || lies_before(&found.hit, &goal));
        }
        Ok(Passed { stopped: matches!(went, Went::Interrupted), hits, trail })
    }

    /// The user stopped a search: back to where it began.
    fn give_up(&mut self, goal: &Position) -> Result<Stop, TracerError> {
        self.interrupt.clear();
        self.lost = true;
        self.travel(goal)?;
        Ok(Stop::Interrupted)
    }

    fn checkpoint_or_snapshot_before(&mut self, end: &Position) -> Result<Option<usize>, TracerError> {
        self.use_snapshot(end)?;
        Ok(self.checkpoint_before(end))
    }

    pub(crate) fn checkpoint_before(&self, end: &Position) -> Option<usize> {
        let before = |position: &Position| position.leads_to(end) && position != end;
        let indices = (0..self.checkpoints.len()).filter(|index| before(&self.checkpoints[*index].position));
        indices.max_by_key(|index| self.checkpoints[*index].position.nearness())
    }

    /// The last place with a checkpoint in the interval of `event` from which any place before `goal` can be named.
    fn base_before(&self, event: u64, goal: &Position) -> Position {
        let base = Position::at_event(event);
        let is_base = |position: &Position| matches!(position.legs.as_slice(), [] | [Leg::Landmark(_)]);
        let near = self.checkpoints.iter().map(|checkpoint| &checkpoint.position).filter(|position| {
            position.event == event && is_base(position) && position.leads_to(goal) && *position != goal
        });
        near.max_by_key(|position| position.nearness()).cloned().unwrap_or(base)
    }

    pub(crate) fn step_backward(&mut self) -> Result<Stop, TracerError> {
        let goal = self.at.clone();
        match self.predecessor(&goal) {
            Ok(Some(position)) => {
                self.prepare_steps_back(&position)?;
                self.travel(&position)?;
                Ok(Stop::Step)
            }
            Ok(None) => {
                let start = self.start();
                self.travel(&start)?;
                Ok(Stop::Start)
            }
            Err(TracerError::Interrupted) => self.give_up(&goal),
            Err(error) => Err(error),
        }
    }

    /// Who goes one instruction back will go further: a checkpoint some steps before makes that quick.
    fn prepare_steps_back(&mut self, position: &Position) -> Result<(), TracerError> {
        let Some((Leg::Steps(steps), before)) = position.legs.split_last() else { return Ok(()) };
        let near = |other: &Position| {
            let same_way = other.event == position.event
                && other.legs.split_last().is_some_and(|(_, way)| way == before);
            same_way
                && matches!(other.legs.last(), Some(Leg::Steps(at)) if at <= steps && steps - at <= STEPS_BACK)
        };
        if *steps <= STEPS_BACK || self.checkpoints.iter().any(|checkpoint| near(&checkpoint.position)) {
            return Ok(());
        }
        let base = Position { event: position.event, legs: before.to_vec() };
        self.travel(&base.then(Leg::Steps(steps - STEPS_BACK)))?;
        self.add_checkpoint(Purpose::Near)
    }

    /// The position one instruction before; `None` at the start.
    fn predecessor(&mut self, goal: &Position) -> Result<Option<Position>, TracerError> {
        let Some((last, before)) = goal.legs.split_last() else { return self.before_event(goal.event) };
        if *last == Leg::ToEvent && !needs_run(&self.trace.event(goal.event)?.kind) {
            // It happens where the thread stands: nothing is executed on the way to it.
            return self.predecessor(&Position { event: goal.event, legs: before.to_vec() });
        }
        let base = match last {
            Leg::Landmark(_) => self.base_before(goal.event, goal),
            Leg::ToEvent if before.is_empty() => {
                self.base_before(goal.event, &Position::at_event(goal.event + 1))
            }
            _ => Position { event: goal.event, legs: before.to_vec() },
        };
        if let Leg::Steps(steps) = last {
            return Ok(Some(base.then(Leg::Steps(steps - 1))));
        }
        let (anchor, steps) = self.approach(&base, last)?;
        self.one_before(&base, anchor, steps)
    }

    /// One instruction before a place that is `steps` after `anchor`.
    fn one_before(
        &mut self,
        base: &Position,
        anchor: Position,
        steps: u64,
    ) -> Result<Option<Position>, TracerError> {
        match steps {
            0 => self.predecessor(base),
            steps => Ok(Some(anchor.then(Leg::Steps(steps - 1)))),
        }
    }

    /// The position before the last event that has been applied.
    fn before_event(&mut self, applied: u64) -> Result<Option<Position>, TracerError> {
        let mut applied = applied;
        while applied > self.start().event && is_unseen(&self.trace.event(applied - 1)?.kind) {
            applied -= 1;
        }
        if applied <= self.start().event {
            return Ok(None);
        }
        let base = self.base_before(applied - 1, &Position::at_event(applied));
        let event = self.trace.event(applied - 1)?;
        if !needs_run(&event.kind) {
            return Ok(Some(Position::at_event(applied - 1)));
        }
        let (anchor, steps) = self.approach(&base, &Leg::ToEvent)?;
        if let EventKind::ForcedPoint { .. } = event.kind {
            // The event changes nothing: the place before it looks the same.
            return self.one_before(&base, anchor, steps);
        }
        Ok(Some(anchor.then(Leg::Steps(steps))))
    }

    /// Finds an anchor close before the end of `leg`, and how many instructions before.
    fn approach(&mut self, base: &Position, leg: &Leg) -> Result<(Position, u64), TracerError> {
        let mut anchor = Anchor { position: base.clone(), done: 0 };
        let mut steps_max = STEPS_FIRST;
        for _ in 0..ANCHORS_MAX {
            if self.interrupt.is_requested() {
                return Err(TracerError::Interrupted);
            }
            let (stepped, left) = match self.count_steps(&anchor, leg, steps_max)? {
                Stepped::Reached(steps) => {
                    // Farther from the anchor, a checkpoint is made on the way (`prepare_steps_back`).
                    if steps <= STEPS_BACK {
                        self.add_anchor_checkpoint(&anchor)?;
                    }
                    return Ok((anchor.position, steps));
                }
                Stepped::Farther(addresses, left) => (addresses, left),
            };
            self.add_anchor_checkpoint(&anchor)?;
            anchor = match self.closer_anchor(base, leg, &anchor, &stepped) {
                Ok(closer) => closer,
                // A stretch without a loop, or with one where no stub fits: then step by step.
                Err(TracerError::GaveUp(_)) => Anchor {
                    position: anchor.position.then(Leg::Steps(steps_max)),
                    done: count_of(leg).saturating_sub(left),
                },
                Err(error) => return Err(error),
            };
            steps_max = STEPS_MAX.min(steps_max * 4);
        }
        Err(TracerError::GaveUp("the search for the previous instruction"))
    }

    /// Later steps back from here start at the anchor.
    fn add_anchor_checkpoint(&mut self, anchor: &Anchor) -> Result<(), TracerError> {
        if anchor.position.legs.is_empty() {
            return Ok(());
        }
        self.travel(&anchor.position)?;
        self.add_checkpoint(Purpose::Near)
    }

    /// Counts single steps from the anchor to the end of the leg.
    fn count_steps(&mut self, anchor: &Anchor, leg: &Leg, steps_max: u64) -> Result<Stepped, TracerError> {
        self.go(&anchor.position)?;
        let event = self.trace.event(anchor.position.event)?;
        let mut left = count_of(leg).saturating_sub(anchor.done);
        if let Leg::Touches { watch, .. } = leg {
            self.world.set_watches(event.thread, &[*watch])?;
        }
        let mut last = Vec::new();
        for steps in 0..steps_max {
            if self.stands_at_end(&event, leg)? {
                return Ok(Stepped::Reached(steps));
            }
            let ran = self.step_thread(event.thread)?;
            self.lost = true;
            let counts = match (&ran, leg) {
                (Ran::Step | Ran::Watch(_), Leg::Visits { address, .. }) => {
                    self.world.registers(event.thread)?.rip == *address
                }
                (Ran::Watch(_), Leg::Touches { .. }) => true,
                (Ran::Syscall | Ran::Signal(_), _) => return Ok(Stepped::Reached(steps)),
                _ => false,
            };
            left = if counts { left.saturating_sub(1) } else { left };
            if left == 0 {
                return Ok(Stepped::Reached(steps + 1));
            }
            if steps + STEPPED_SAMPLES as u64 >= steps_max {
                last.insert(0, self.world.registers(event.thread)?.rip);
            }
        }
        Ok(Stepped::Farther(last, left))
    }

    /// The thread stands where a leg ends that counts nothing.
    fn stands_at_end(&mut self, event: &Event, leg: &Leg) -> Result<bool, TracerError> {
        match leg {
            Leg::ToEvent => self.stands_at(event),
            Leg::Landmark(landmark) => {
                let copy = self.copy_at(landmark)?;
                let copied = Copied::new(&copy, event.thread);
                let search = self.landmark_searches.get(&landmark.number()).cloned().unwrap_or_default();
                copied.sought().map_or(Ok(false), |sought| self.world.is_at_sought(sought, &search))
            }
            Leg::Visits { .. } | Leg::Touches { .. } | Leg::Steps(_) => Ok(false),
        }
    }

    /// Goes to a position of this search.
    pub(crate) fn go(&mut self, position: &Position) -> Result<(), TracerError> {
        if let Went::Interrupted = self.travel(position)? {
            return Err(TracerError::Interrupted);
        }
        // A checkpoint may have been made with breakpoints planted, where stubs are to be planted now.
        self.quiet()
    }

    fn closer_anchor(
        &mut self,
        base: &Position,
        leg: &Leg,
        from: &Anchor,
        stepped: &[u64],
    ) -> Result<Anchor, TracerError> {
        let event = self.trace.event(base.event)?;
        let left = count_of(leg).saturating_sub(from.done);
        self.go(&from.position)?;
        let since = Instant::now();
        self.toward(&event, leg, left, &[], None)?;
        let whole = since.elapsed();
        let samples = if whole < SAMPLED_TIME_MIN { 0 } else { SAMPLES_MAX };
        for sample in 0..samples {
            let percent = SAMPLE_TIMES[sample % SAMPLE_TIMES.len()];
            // The whole may have been measured while the machine was busy: ever earlier times are tried.
            let time = whole * percent / 100 / (1 << (sample / SAMPLE_TIMES.len() * 2));
            let Some(address) = self.sample(&event, leg, left, from, time)? else { continue };
            if let Some(anchor) = self.last_visit(base, &event, leg, address)?
                && anchor.position != from.position
            {
                return Ok(anchor);
            }
        }
        for address in stepped {
            if let Some(anchor) = self.last_visit(base, &event, leg, *address)? {
                return Ok(anchor);
            }
        }
        Err(TracerError::GaveUp("the search for the previous instruction"))
    }

    /// Where the thread is some time after the anchor; `None` when it has reached the goal by then.
    fn sample(
        &mut self,
        event: &Event,
        leg: &Leg,
        left: u64,
        from: &Anchor,
        time: Duration,
    ) -> Result<Option<u64>, TracerError> {
        self.go(&from.position)?;
        let limit = Some(Instant::now() + time);
        match self.toward(event, leg, left, &[], limit)? {
            Toward::Interrupted if self.interrupt.is_requested() => Err(TracerError::Interrupted),
            Toward::Interrupted => Ok(Some(self.world.registers(event.thread)?.rip)),
            Toward::Reached | Toward::Elsewhere => Ok(None),
        }
    }

    /// The last visit of an instruction before the end of the leg.
    fn last_visit(
        &mut self,
        base: &Position,
        event: &Event,
        leg: &Leg,
        address: u64,
    ) -> Result<Option<Anchor>, TracerError> {
        let goal = match (leg, &event.kind) {
            (Leg::ToEvent, EventKind::ForcedPoint { .. }) => Some(event.registers.rip),
            (Leg::Landmark(landmark), _) => {
                self.copy_at(landmark)?.tasks.get(&event.thread).map(|task| task.registers.rip)
            }
            (Leg::Visits { address, .. }, _) => Some(*address),
            _ => None,
        };
        match (leg, goal) {
            (Leg::Visits { count, .. }, Some(goal)) if goal == address => {
                let before = (*count > 1).then(|| count - 1);
                let visits = |count| base.then(Leg::Visits { address, count });
                return Ok(before.map(|done| Anchor { position: visits(done), done }));
            }
            // The stub that looks for the goal needs the place: a trap there would cost microseconds a visit.
            (_, Some(goal)) if address.abs_diff(goal) < patch::JUMP_BYTES as u64 => return Ok(None),
            _ => {}
        }
        self.go(base)?;
        self.world.set_breakpoints(self.world.task(event.thread)?.space, &[])?;
        let standing = u64::from(self.world.registers(event.thread)?.rip == address);
        let Some(counter) = self.world.plant(event.thread, address, &Condition::Count { n: NEVER }, &[])?
        else {
            return Ok(None);
        };
        let reached = self.toward(event, leg, count_of(leg), &[&counter], None)?;
        let visits = (NEVER - self.world.counter(event.thread, &counter)?).saturating_sub(standing);
        self.take_away(event, &counter)?;
        if visits == 0 || !matches!(reached, Toward::Reached) {
            return Ok(None);
        }
        let position = base.then(Leg::Visits { address, count: visits });
        let done = self.done_at(base, event, leg, address, visits)?;
        Ok(done.map(|done| Anchor { position, done }))
    }

    /// How far the goal's own count is at the `visits`-th visit of `address`.
    fn done_at(
        &mut self,
        base: &Position,
        event: &Event,
        leg: &Leg,
        address: u64,
        visits: u64,
    ) -> Result<Option<u64>, TracerError> {
        match leg {
            Leg::ToEvent | Leg::Steps(_) | Leg::Landmark(_) => Ok(Some(0)),
            Leg::Visits { address: goal, .. } => self.visits_until(base, event, *goal, address, visits),
            Leg::Touches { watch, .. } => self.touches_until(base, event, *watch, address, visits),
        }
    }

    /// How often a watch triggers before the `visits`-th visit of `address`.
    fn touches_until(
        &mut self,
        base: &Position,
        event: &Event,
        watch: super::Watch,
        address: u64,
        visits: u64,
    ) -> Result<Option<u64>, TracerError> {
        self.go(base)?;
        let thread = event.thread;
        let standing = u64::from(self.world.registers(thread)?.rip == address);
        let condition = Condition::Count { n: visits + standing };
        let Some(planted) = self.world.plant(thread, address, &condition, &[])? else { return Ok(None) };
        self.world.set_watches(thread, &[watch])?;
        let interrupt = self.interrupt.clone();
        let mut touches = 0;
        let ran = loop {
            match self.world.run(thread, Extent::Free, &[&planted], None, &interrupt)? {
                Ran::Watch(_) => touches += 1,
                other => break other,
            }
        };
        self.take_away(event, &planted)?;
        self.world.set_watches(thread, &[])?;
        Ok((ran == Ran::Stub(0)).then_some(touches))
    }

    /// How often `goal` is visited before the `visits`-th visit of `address`.
    fn visits_until(
        &mut self,
        base: &Position,
        event: &Event,
        goal: u64,
        address: u64,
        visits: u64,
    ) -> Result<Option<u64>, TracerError> {
        self.go(base)?;
        let rip = self.world.registers(event.thread)?.rip;
        let Some(counter) = self.world.plant(event.thread, goal, &Condition::Count { n: NEVER }, &[])? else {
            return Ok(None);
        };
        let until = Leg::Visits { address, count: visits };
        let reached = self.toward(event, &until, visits, &[&counter], None);
        let visited = NEVER - self.world.counter(event.thread, &counter)?;
        let done = visited.saturating_sub(u64::from(rip == goal));
        self.take_away(event, &counter)?;
        Ok(matches!(reached?, Toward::Reached).then_some(done))
    }

    fn take_away(&mut self, event: &Event, planted: &Planted) -> Result<(), TracerError> {
        self.lost = true;
        self.world.unplant(event.thread, planted)
    }

    /// Runs towards the end of a leg, of whose count `left` are left.
    fn toward(
        &mut self,
        event: &Event,
        leg: &Leg,
        left: u64,
        others: &[&Planted],
        limit: Option<Instant>,
    ) -> Result<Toward, TracerError> {
        self.lost = true;
        let interrupt = self.interrupt.clone();
        let thread = event.thread;
        let space = self.world.task(thread)?.space;
        match (leg, &event.kind) {
            (Leg::ToEvent, EventKind::ForcedPoint { fingerprint }) => {
                let mut search = self.searches.get(&self.at.event).cloned().unwrap_or_default();
                search.set_out();
                let run = RunOptions { others, limit, interrupt: &interrupt };
                let found = self.world.run_to_point(event, fingerprint, &mut search, &run)?;
                Ok(match found {
                    Found::Point => Toward::Reached,
                    Found::Other(Ran::Interrupted) => Toward::Interrupted,
                    Found::Other(Ran::Stub(_)) => Toward::Elsewhere,
                    Found::Other(_) | Found::Missed(_) => return Err(self.gone_past()),
                })
            }
            (Leg::Landmark(landmark), _) => {
                let copy = self.copy_at(landmark)?;
                let copied = Copied::new(&copy, thread);
                let sought = copied.sought().ok_or_else(|| self.gone_past())?;
                let mut search = self.landmark_searches.get(&landmark.number()).cloned().unwrap_or_default();
                search.set_out();
                let run = RunOptions { others, limit, interrupt: &interrupt };
                let found = self.world.run_to_sought(sought, &mut search, &run)?;
                self.landmark_searches.insert(landmark.number(), search);
                Ok(match found {
                    Found::Point => Toward::Reached,
                    Found::Other(Ran::Interrupted) => Toward::Interrupted,
                    Found::Other(Ran::Stub(_)) => Toward::Elsewhere,
                    Found::Other(_) | Found::Missed(_) => return Err(self.gone_past()),
                })
            }
            (Leg::ToEvent | Leg::Steps(_), _) => {
                self.world.set_breakpoints(space, &[])?;
                let ran = self.world.run(thread, Extent::Free, others, limit, &interrupt)?;
                Ok(ended(ran))
            }
            (Leg::Visits { address, .. }, _) => self.toward_visits(event, *address, left, others, limit),
            (Leg::Touches { watch, .. }, _) => {
                self.world.set_watches(thread, &[*watch])?;
                for _ in 0..left {
                    let ran = self.world.run(thread, Extent::Free, others, limit, &interrupt)?;
                    if !matches!(ran, Ran::Watch(_)) {
                        return Ok(ended(ran));
                    }
                }
                self.world.set_watches(thread, &[])?;
                Ok(Toward::Reached)
            }
        }
    }

    fn toward_visits(
        &mut self,
        event: &Event,
        address: u64,
        left: u64,
        others: &[&Planted],
        limit: Option<Instant>,
    ) -> Result<Toward, TracerError> {
        let thread = event.thread;
        let interrupt = self.interrupt.clone();
        let space = self.world.task(thread)?.space;
        let standing = u64::from(self.world.registers(thread)?.rip == address);
        let condition = Condition::Count { n: left + standing };
        if let Some(planted) = self.world.plant(thread, address, &condition, others)? {
            let stubs: Vec<&Planted> = others.iter().copied().chain([&planted]).collect();
            let ran = self.world.run(thread, Extent::Free, &stubs, limit, &interrupt)?;
            self.world.unplant(thread, &planted)?;
            return Ok(if ran == Ran::Stub(others.len()) { Toward::Reached } else { ended(ran) });
        }
        self.world.set_breakpoints(space, &[address])?;
        let mut toward = Toward::Reached;
        for _ in 0..left {
            let ran = self.world.run(thread, Extent::Free, others, limit, &interrupt)?;
            if !matches!(ran, Ran::Breakpoint(_)) {
                toward = ended(ran);
                break;
            }
        }
        self.world.set_breakpoints(space, &[])?;
        Ok(toward)
    }

    fn gone_past(&self) -> TracerError {
        TracerError::Inconsistent("a forced point was found before and is not found again")
    }
}

fn ended(ran: Ran) -> Toward {
    match ran {
        Ran::Interrupted => Toward::Interrupted,
        Ran::Stub(_) => Toward::Elsewhere,
        _ => Toward::Reached,
    }
}

/// Whether a hit at the place of `goal` is one to go back to: whoever stands at a breakpoint has not been told of the
/// write by the instruction before; who stands at a watchpoint, or was there already, has.
fn lies_before(hit: &Hit, goal: &Position) -> bool {
    let is_watch = hit.change.is_some();
    match goal.legs.last() {
        Some(Leg::Visits { .. } | Leg::Steps(_)) => is_watch,
        Some(Leg::Touches { .. } | Leg::ToEvent | Leg::Landmark(_)) => false,
        // The place after an event: the last stop before it was another place.
        None => true,
    }
}

fn count_of(leg: &Leg) -> u64 {
    match leg {
        Leg::Visits { count, .. } | Leg::Touches { count, .. } => *count,
        Leg::Steps(_) | Leg::ToEvent | Leg::Landmark(_) => 1,
    }
}
