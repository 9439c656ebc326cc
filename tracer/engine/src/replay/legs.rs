//! The legs of a position: the way within an interval.

use trace::Event;

use super::interval::is_on_the_way;
use super::planted::Extras;
use super::position::Leg;
use super::run::{Extent, Ran};
use super::session::Session;
use super::travel::{Guard, OnHit, Went};
use crate::TracerError;

/// A count above this is left to a stub in the process.
pub(crate) const TRAPPED_COUNT_MAX: u64 = 64;

impl Session {
    pub(super) fn go_leg(
        &mut self,
        leg: &Leg,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Went, TracerError> {
        let event = self.trace.event(self.at.event)?;
        match leg {
            Leg::ToEvent => self.run_to_event(&event, guard, on_hit),
            Leg::Landmark(landmark) => self.go_landmark(&event, landmark, guard, on_hit),
            Leg::Steps(count) => self.go_steps(&event, *count, guard, on_hit),
            Leg::Visits { address, count } => self.go_visits(&event, *address, *count, guard, on_hit),
            Leg::Touches { watch, count } => {
                self.prepare(event.thread, guard, Extras::default(), &[*watch])?;
                self.go_counted(&event, guard, on_hit, &mut |session| {
                    session.counts.touches.get(watch).copied().unwrap_or(0) >= *count
                })
            }
        }
    }

    fn go_visits(
        &mut self,
        event: &Event,
        address: u64,
        count: u64,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Went, TracerError> {
        // With memory watched nothing but this stub is planted; with conditions to be evaluated it is one of many.
        let alone = guard.stops.breakpoints.is_empty() || !guard.stops.watchpoints.is_empty();
        if count > TRAPPED_COUNT_MAX && alone {
            self.prepare(event.thread, guard, Extras::stepping(), &[])?;
            if let Some(went) = self.go_visits_by_stub(event, address, count, guard, on_hit)? {
                return Ok(went);
            }
        }
        let left = count.saturating_sub(self.counts.visits.get(&address).copied().unwrap_or(0));
        self.prepare(event.thread, guard, Extras::counting(address, left.max(1)), &[])?;
        self.go_counted(event, guard, on_hit, &mut |session| {
            session.counts.visits.get(&address).copied().unwrap_or(0) >= count
        })
    }

    /// Counts visits inside the process; `None` when no stub can be planted there.
    fn go_visits_by_stub(
        &mut self,
        event: &Event,
        address: u64,
        count: u64,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Option<Went>, TracerError> {
        let thread = event.thread;
        // A thread that stands at the site has visited it before this leg: one more will be counted.
        let standing = self.world.registers(thread)?.rip == address;
        let n = if standing { count + 1 } else { count };
        let Some(planted) = self.world.plant(thread, address, &patch::Condition::Count { n }, &[])? else {
            return Ok(None);
        };
        let interrupt = self.interrupt.clone();
        let went = loop {
            let ran = self.world.run(thread, Extent::Free, &[&planted], None, &interrupt)?;
            if let Ran::Stub(_) = ran {
                self.counts.stops += 1;
                break Some(Went::Through);
            }
            match self.look_at(thread, ran, None, guard, on_hit)? {
                Some(went) => break Some(went),
                None if is_on_the_way(&ran) => {}
                None => break None,
            }
        };
        self.world.unplant(thread, &planted)?;
        went.map(Some).ok_or_else(|| self.unreachable())
    }

    fn go_counted(
        &mut self,
        event: &Event,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
        done: &mut dyn FnMut(&Session) -> bool,
    ) -> Result<Went, TracerError> {
        while !done(self) {
            let ran = self.run_free(event.thread, None)?;
            if let Some(went) = self.look_at(event.thread, ran, None, guard, on_hit)? {
                return Ok(went);
            }
            if !is_on_the_way(&ran) {
                return Err(self.unreachable());
            }
        }
        Ok(Went::Through)
    }

    fn go_steps(
        &mut self,
        event: &Event,
        count: u64,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Went, TracerError> {
        self.prepare(event.thread, guard, Extras::stepping(), &[])?;
        for done in 1..=count {
            let ran = self.step_thread(event.thread)?;
            let here = self.at.then(Leg::Steps(done));
            if let Some(went) = self.look_at(event.thread, ran, Some(here), guard, on_hit)? {
                return Ok(went);
            }
            if !is_on_the_way(&ran) {
                return Err(self.unreachable());
            }
        }
        Ok(Went::Through)
    }

    fn unreachable(&mut self) -> TracerError {
        self.lost = true;
        TracerError::Inconsistent("a position that was reached before cannot be reached again")
    }
}
