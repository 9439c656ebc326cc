//! Through one interval to its event.

use std::time::{Duration, Instant};

use trace::{Event, EventKind, ThreadId};

use super::apply::{self, mismatch, needs_run};
use super::landmark::site_of;
use super::planted::Extras;
use super::point::{Found, RunOptions, Search};
use super::position::{Leg, Position};
use super::run::{Extent, Ran};
use super::session::Session;
use super::travel::{Guard, OnHit, Went};
use crate::TracerError;

impl Session {
    /// Runs the thread of `event` to it, without applying it.
    pub(crate) fn run_to_event(
        &mut self,
        event: &Event,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Went, TracerError> {
        let arrived = self.world.tasks.get(&event.thread).is_none_or(|task| task.arrived);
        if !needs_run(&event.kind) || arrived {
            return Ok(Went::Through);
        }
        self.prepare(event.thread, guard, Extras::default(), &[])?;
        let bound = self.search_bound(event)?;
        let mut begun = Instant::now();
        self.searches.entry(self.at.event).or_default().set_out();
        let origin = self.at.clone();
        loop {
            let limit = [self.pause_time(), limit_of(&bound)].into_iter().flatten().min();
            let mut ran = match &event.kind {
                EventKind::ForcedPoint { fingerprint } => {
                    let mut search = self.searches.remove(&self.at.event).unwrap_or_default();
                    let interrupt = self.interrupt.clone();
                    let found = self.world.run_to_point(
                        event,
                        fingerprint,
                        &mut search,
                        &RunOptions { others: &[], limit, interrupt: &interrupt },
                    );
                    self.searches.insert(self.at.event, search);
                    match found? {
                        Found::Point => return self.arrive(event),
                        Found::Other(ran) => ran,
                        Found::Missed(wider) => {
                            self.search_again(&origin, wider)?;
                            self.prepare(event.thread, guard, Extras::default(), &[])?;
                            continue;
                        }
                    }
                }
                _ => self.run_free(event.thread, limit)?,
            };
            if ran == Ran::Interrupted && !self.interrupt.is_requested() {
                if limit_of(&bound).is_some_and(|given_up| Instant::now() >= given_up) {
                    return Err(self.not_reached(event));
                }
                if bound.as_ref().is_some_and(|bound| begun.elapsed() >= bound.doubted) {
                    begun = Instant::now();
                    // The thread may wait for what only comes at the point.
                    if let Some(wider) = self.searches.get(&self.at.event).and_then(Search::wider) {
                        self.search_again(&origin, wider)?;
                        self.prepare(event.thread, guard, Extras::default(), &[])?;
                        continue;
                    }
                }
                match self.pause(event, site_of(event))? {
                    None => continue,
                    Some(other) => ran = other,
                }
            }
            match self.look_at(event.thread, ran, None, guard, on_hit)? {
                Some(went) => return Ok(went),
                None if is_on_the_way(&ran) => {}
                None => {
                    self.check(event, &ran)?;
                    return self.arrive(event);
                }
            }
        }
    }

    /// How long a forced point is searched for: a program may compute for ever once it is not found.
    fn search_bound(&self, event: &Event) -> Result<Option<Bound>, TracerError> {
        /// After this, and so many times the recorded interval, the closest visit is taken to be the right one.
        const DOUBT_MIN: Duration = Duration::from_secs(2);
        const DOUBT_FACTOR: u64 = 20;
        /// A search takes at least so long.
        const SEARCH_MIN: Duration = Duration::from_secs(120);
        /// How much longer than the recorded interval it may take: each false match costs a stop.
        const SEARCH_FACTOR: u64 = 200;
        if !matches!(event.kind, EventKind::ForcedPoint { .. }) {
            return Ok(None);
        }
        let before = self.at.event.checked_sub(1).map(|number| self.trace.event(number)).transpose()?;
        let interval_ns = event.time_ns.saturating_sub(before.map_or(0, |before| before.time_ns));
        let times = |factor: u64| Duration::from_nanos(interval_ns.saturating_mul(factor));
        Ok(Some(Bound {
            doubted: times(DOUBT_FACTOR).max(DOUBT_MIN),
            given_up: Instant::now() + times(SEARCH_FACTOR).max(SEARCH_MIN),
        }))
    }

    fn not_reached(&mut self, event: &Event) -> TracerError {
        self.diverge(event, format!("{} has not been reached in a long time", apply::describe(event)))
    }

    /// Goes back to where the run began, to look for the interval's point with a wider search.
    fn search_again(&mut self, origin: &Position, wider: super::point::Search) -> Result<(), TracerError> {
        self.searches.insert(origin.event, wider);
        // Landmarks that were made on the way may lie behind the point.
        let is_new = |position: &Position| {
            let landmark = matches!(position.legs.as_slice(), [Leg::Landmark(_)]);
            position.event == origin.event && landmark && position != origin && !position.leads_to(origin)
        };
        self.checkpoints.retain(|checkpoint| !is_new(&checkpoint.position));
        self.at = origin.clone();
        self.begin_again()
    }

    pub(crate) fn run_free(&mut self, thread: ThreadId, limit: Option<Instant>) -> Result<Ran, TracerError> {
        let interrupt = self.interrupt.clone();
        self.world.run(thread, Extent::Free, &[], limit, &interrupt)
    }

    /// The thread of the next event stands at it.
    pub(super) fn has_arrived(&self) -> Result<bool, TracerError> {
        let event = self.next_event()?;
        let task = event.and_then(|event| self.world.tasks.get(&event.thread));
        Ok(task.is_some_and(|task| task.arrived))
    }

    pub(crate) fn arrive(&mut self, event: &Event) -> Result<Went, TracerError> {
        if let Some(task) = self.world.tasks.get_mut(&event.thread) {
            task.arrived = true;
        }
        Ok(Went::Through)
    }

    /// Checks that a stop is the event.
    pub(crate) fn check(&mut self, event: &Event, ran: &Ran) -> Result<(), TracerError> {
        let registers = self.world.registers(event.thread)?;
        if let Some(what) = mismatch(event, ran, &registers) {
            return Err(self.diverge(event, what));
        }
        let corrected = apply::at_event(event, &registers);
        if corrected != registers {
            self.world.set_registers(event.thread, &corrected)?;
        }
        Ok(())
    }
}

/// After what time the search for a forced point is doubted, and when it is given up.
struct Bound {
    doubted: Duration,
    given_up: Instant,
}

fn limit_of(bound: &Option<Bound>) -> Option<Instant> {
    bound.as_ref().map(|bound| bound.given_up)
}

/// A stop that is no event: the run goes on.
pub(crate) fn is_on_the_way(ran: &Ran) -> bool {
    matches!(ran, Ran::Breakpoint(_) | Ran::Watch(_) | Ran::Step)
}
