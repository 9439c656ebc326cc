//! Who goes back to a hit will go back further: what a search has passed on its way is kept.
//!
//! A search backwards runs a stretch and remembers the last hit, so the next search would run the same stretch again. The
//! hits passed on the way are the *trail*; checkpoints at some of them, ever closer to the hit that was found, make the
//! next searches short.

use std::collections::VecDeque;
use std::time::Duration;

use super::position::{Leg, Position};
use super::reverse::FoundHit;
use super::session::{Purpose, Session};
use super::travel::{Guard, Stops, Went};
use crate::TracerError;

/// How many hits before the one that was found checkpoints are made.
const OFFSETS: [u64; 4] = [200, 40, 8, 2];

/// How many hits are remembered.
const MARKS_MAX: usize = 256;

/// A search that took less than this, and met fewer hits, is quick enough the next time.
const QUICK: Duration = Duration::from_millis(3);
const FEW_CALLS: u64 = 40;

/// A hit that was passed.
struct Mark {
    call: u64,
    position: Position,
    /// Hits with the same number are at the same place.
    place: u64,
}

/// The hits that a run has passed, wanted or not.
#[derive(Default)]
pub(crate) struct Trail {
    marks: VecDeque<Mark>,
    calls: u64,
}

impl Trail {
    /// Remembers a hit, and gives its number.
    pub(crate) fn add(&mut self, position: &Position, place: u64) -> u64 {
        if self.marks.len() == MARKS_MAX {
            self.marks.pop_front();
        }
        self.calls += 1;
        self.marks.push_back(Mark { call: self.calls, position: position.clone(), place });
        self.calls
    }

    /// Where to make checkpoints on the way to a hit, in order.
    fn stations(&self, found: &FoundHit) -> Vec<&Mark> {
        let is_last_of_place =
            |index: usize| self.marks.get(index + 1).is_none_or(|next| next.place != self.marks[index].place);
        let station = |offset: &u64| {
            let call = found.call.checked_sub(*offset)?;
            let index = self.marks.iter().position(|mark| mark.call == call)?;
            let mark = self.marks.get(index).filter(|_| is_last_of_place(index))?;
            let inside = mark.position.event == found.position.event && !mark.position.legs.is_empty();
            inside.then_some(mark)
        };
        OFFSETS.iter().filter_map(station).collect()
    }
}

impl Session {
    /// Makes checkpoints on the way to a hit, and goes there. The name of the hit from the last of them.
    pub(crate) fn close_in(
        &mut self,
        found: &FoundHit,
        trail: &Trail,
        time: Duration,
        stops: &Stops,
    ) -> Result<Position, TracerError> {
        let quick = time < QUICK && found.call < FEW_CALLS;
        let stations = trail.stations(found);
        let (Some(first), false, false) = (stations.first(), quick, found.position.legs.is_empty()) else {
            return self.close_to_touch(found.position.clone());
        };
        self.travel(&first.position)?;
        if self.lost {
            return Ok(found.position.clone());
        }
        let mut call = first.call;
        for next in stations[1..].iter().map(|mark| mark.call).chain([found.call]) {
            self.add_checkpoint(Purpose::Near)?;
            if !self.run_hits(next - call, stops)? {
                self.lost = true;
                return Ok(found.position.clone());
            }
            call = next;
        }
        Ok(self.at.clone())
    }

    /// Goes on to the `count`-th hit in this interval; false when there is none.
    fn run_hits(&mut self, count: u64, stops: &Stops) -> Result<bool, TracerError> {
        if self.lost {
            return Ok(false);
        }
        let mut left = count;
        let mut guard = Guard::new(stops, self);
        let after = Position::at_event(self.at.event + 1);
        let went = self.advance_to(&after, &mut guard, &mut |_, _, _| {
            left = left.saturating_sub(1);
            left == 0
        })?;
        Ok(matches!(went, Went::Hit(_)))
    }

    /// A checkpoint one write before a hit that many writes lie before which changed nothing.
    fn close_to_touch(&mut self, position: Position) -> Result<Position, TracerError> {
        /// Fewer are gone through again.
        const TOUCHES_MIN: u64 = 4;
        let Some((Leg::Touches { watch, count }, way)) = position.legs.split_last() else {
            return Ok(position);
        };
        if *count < TOUCHES_MIN {
            return Ok(position);
        }
        let base = Position { event: position.event, legs: way.to_vec() };
        let before = base.then(Leg::Touches { watch: *watch, count: count - 1 });
        self.travel(&before)?;
        if self.lost {
            return Ok(position);
        }
        self.add_checkpoint(Purpose::Near)?;
        Ok(before.then(Leg::Touches { watch: *watch, count: 1 }))
    }
}
