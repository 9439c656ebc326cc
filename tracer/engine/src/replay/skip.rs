//! Going back over a stretch without stopping at every hit of it.
//!
//! A stop costs some 20 µs, and a stretch may have millions. So a search gives up a stretch after some hundred stops,
//! and divides it: it is run once without stops, in slices with a checkpoint between two of them, and the slices are
//! searched from the last back, each in the same way. Where only writes are wanted, the watched pages are
//! write-protected in that run ([`WriteTracker`]), and slices that do not touch them are left out.

use std::time::{Duration, Instant};

use trace::{Effect, Event, EventKind, MemoryOp, SpaceId};

use super::landmark::PAUSE_MIN;
use super::position::{Chain, Leg, Position};
use super::reverse::{Hunt, Last};
use super::session::{Purpose, Session};
use super::travel::{Guard, NOTHING, Stops, Went};
use super::world::World;
use crate::TracerError;
use crate::sys::userfault::{self, WriteTracker};

const PAGE: u64 = 4096;

/// Into how many slices a stretch is divided.
const SLICES: u32 = 16;

/// More slices than this are not made, however long the stretch takes the second time.
const PIECES_MAX: usize = 48;

/// So many stops are looked at in a stretch before it is divided, and more where that would take longer.
const STOPS_MAX: u64 = 500;

/// What a stop costs.
const STOP_COST: Duration = Duration::from_micros(20);

/// How often a stretch is divided.
const DEPTH_MAX: u32 = 12;

/// Which watched memory is written.
struct Track {
    trackers: Vec<(SpaceId, WriteTracker)>,
    /// Programs and the page ranges watched in them.
    ranges: Vec<(u64, u64, u64)>,
}

impl Track {
    /// Begins to track; `None` when the kernel cannot.
    fn new(world: &World, ranges: &[(u64, u64, u64)]) -> Option<Track> {
        let mut trackers = Vec::new();
        for (id, space) in &world.spaces {
            let of_space = || ranges.iter().filter(|(image, ..)| *image == space.image);
            if of_space().next().is_none() {
                continue;
            }
            let descriptor =
                space.shell.call(libc::SYS_userfaultfd, [userfault::OPEN_FLAGS, 0, 0, 0, 0, 0]).ok()?;
            let tracker = WriteTracker::adopt(space.shell.leader, descriptor as i32);
            space.shell.call(libc::SYS_close, [descriptor, 0, 0, 0, 0, 0]).ok()?;
            let tracker = tracker.ok()?;
            for (_, start, end) in of_space() {
                let mapped = space.layout.at(*start).is_some() && space.layout.at(end - 1).is_some();
                if mapped {
                    tracker.track(*start, *end).ok()?;
                    tracker.scan(*start, *end, &mut |_, _| {}).ok()?;
                }
            }
            trackers.push((*id, tracker));
        }
        Some(Track { trackers, ranges: ranges.to_vec() })
    }

    /// Whether watched pages were written since the last call.
    fn take_written(&self, world: &World) -> bool {
        let mut written = false;
        let mut known = 0;
        for (id, space) in &world.spaces {
            let mut ranges = self.ranges.iter().filter(|(image, ..)| *image == space.image).peekable();
            if ranges.peek().is_none() {
                continue;
            }
            let Some((_, tracker)) = self.trackers.iter().find(|(tracked, _)| tracked == id) else {
                return true;
            };
            known += 1;
            for (_, start, end) in ranges {
                let scanned = tracker.scan(*start, *end, &mut |_, _| written = true);
                let mapped = space.layout.at(*start).is_some() && space.layout.at(end - 1).is_some();
                written |= mapped && scanned.is_err();
            }
        }
        written || known != self.trackers.len()
    }

    fn is_remapped_by(&self, event: &Event) -> bool {
        let (EventKind::Syscall { effect, .. } | EventKind::SyscallExit { effect, .. }) = &event.kind else {
            return matches!(event.kind, EventKind::Start(_) | EventKind::Exit { .. } | EventKind::Change(_));
        };
        let overlaps =
            |from: u64, to: u64| self.ranges.iter().any(|(_, start, end)| from < *end && *start < to);
        match effect {
            Effect::Exec(_) => true,
            Effect::Memory(ops) => ops.iter().any(|op| match op {
                MemoryOp::Map(mapping) => overlaps(mapping.start, mapping.end),
                MemoryOp::Unmap { start, len }
                | MemoryOp::Protect { start, len, .. }
                | MemoryOp::Discard { start, len }
                | MemoryOp::Guard { start, len, .. } => overlaps(*start, start.saturating_add(*len)),
                MemoryOp::Resize { .. } => true,
                MemoryOp::StackLimit { .. } => false,
                MemoryOp::Remap { old, old_len, new, new_len, .. } => {
                    overlaps(*old, old.saturating_add(*old_len))
                        || overlaps(*new, new.saturating_add(*new_len))
                }
            }),
            _ => false,
        }
    }
}

/// A part of a stretch.
pub(crate) struct Piece {
    pub(crate) begin: Position,
    pub(crate) end: Position,
    written: bool,
    time: Duration,
}

/// A run through a stretch that divides it, and finds out where watched memory is written.
pub(crate) struct Scout {
    track: Option<Track>,
    ranges: Vec<(u64, u64, u64)>,
    /// The mappings or the processes changed: everything counts as written.
    changed: bool,
    /// How long a slice is.
    slice: Duration,
    /// There are names for landmarks.
    divides: bool,
    next: Instant,
    since: Instant,
    names: Names,
    begin: Position,
    pieces: Vec<Piece>,
}

/// Where the names of new landmarks come from.
struct Names {
    chain: Chain,
    order: u64,
    stride: u64,
}

impl Scout {
    pub(crate) fn pause_time(&self) -> Option<Instant> {
        (self.divides && self.pieces.len() < PIECES_MAX).then_some(self.next)
    }

    /// The thread was interrupted: if no landmark can be made here, then after another slice.
    pub(crate) fn paused(&mut self) {
        self.next = Instant::now() + self.slice;
    }

    pub(crate) fn world_changed(&mut self) {
        self.changed = true;
    }

    /// Ends a piece.
    fn end_piece(&mut self, world: &World, end: Position) {
        let written = self.track.as_ref().is_none_or(|track| track.take_written(world)) || self.changed;
        if std::mem::take(&mut self.changed) {
            self.track = Track::new(world, &self.ranges);
        }
        let now = Instant::now();
        let begin = std::mem::replace(&mut self.begin, end.clone());
        self.pieces.push(Piece { begin, end, written, time: now - self.since });
        self.since = now;
        self.paused();
    }
}

impl Session {
    /// The last hit in a stretch.
    pub(crate) fn last_hit_quickly(
        &mut self,
        begin: &Position,
        end: &Position,
        hunt: &mut Hunt<'_>,
    ) -> Result<Last, TracerError> {
        let last = self.last_hit(begin, end, self.stops_before_division(), hunt)?;
        if !matches!(last, Last::TooMany) {
            return Ok(last);
        }
        let mut end = end.clone();
        if end == hunt.goal {
            self.go(&end)?;
            end = self.end_of_search()?;
            if self.recurs(&end, hunt.stops)? {
                return self.last_hit(begin, &hunt.goal.clone(), u64::MAX, hunt);
            }
            hunt.end = end.clone();
        }
        // From a landmark of another search the new end is not known to be reached.
        let known = self.checkpoint_before(&end).filter(|_| !begin.leads_to(&end));
        let begin = &known.map_or_else(|| begin.clone(), |index| self.checkpoints[index].position.clone());
        let expected = Duration::from_nanos(self.time_of(&end).saturating_sub(self.time_of(begin)));
        let time = expected.max(self.checkpoint_spacing());
        self.last_hit_divided(begin, &end, hunt, time, 0)
    }

    /// A stretch with so many stops is divided: they have cost what a checkpoint for each slice costs, which is made once and
    /// gone back to once.
    fn stops_before_division(&self) -> u64 {
        let division = self.checkpoint_cost() * 2 * SLICES;
        STOPS_MAX.max((division.as_nanos() / STOP_COST.as_nanos()) as u64)
    }

    /// The last hit in a stretch that has many stops and takes so long.
    fn last_hit_divided(
        &mut self,
        begin: &Position,
        end: &Position,
        hunt: &mut Hunt<'_>,
        time: Duration,
        depth: u32,
    ) -> Result<Last, TracerError> {
        if depth >= DEPTH_MAX || time / SLICES < PAUSE_MIN {
            return self.last_hit(begin, end, u64::MAX, hunt);
        }
        let Some(pieces) = self.scout(begin, end, hunt.stops, time / SLICES)? else {
            return Ok(Last::Interrupted);
        };
        for piece in pieces.iter().rev().filter(|piece| piece.written && piece.begin != piece.end) {
            // A piece that is all of the stretch has not been divided, unless it took less than expected.
            let whole = piece.begin == *begin && piece.end == *end;
            let hopeless = whole && piece.time * 2 > time;
            if hopeless || piece.end != *end && self.recurs(&piece.end, hunt.stops)? {
                return self.last_hit(begin, end, u64::MAX, hunt);
            }
            let mut last = Last::TooMany;
            if !whole {
                last = self.last_hit(&piece.begin, &piece.end, self.stops_before_division(), hunt)?;
            }
            if matches!(last, Last::TooMany) {
                last = self.last_hit_divided(&piece.begin, &piece.end, hunt, piece.time, depth + 1)?;
            }
            if !matches!(last, Last::None) {
                return Ok(last);
            }
        }
        Ok(Last::None)
    }

    /// Runs through a stretch without stops, and divides it. `None`: the user stopped it.
    fn scout(
        &mut self,
        begin: &Position,
        end: &Position,
        stops: &Stops,
        slice: Duration,
    ) -> Result<Option<Vec<Piece>>, TracerError> {
        self.go_back_to(begin)?;
        let ranges = ranges_of(stops);
        let track = if only_writes(stops) { Track::new(&self.world, &ranges) } else { None };
        let names = Names::between(begin, end, PIECES_MAX as u64);
        let now = Instant::now();
        self.scout = Some(Scout {
            changed: false,
            track,
            ranges,
            slice,
            divides: names.stride > 0,
            next: now + slice,
            since: now,
            names,
            begin: begin.clone(),
            pieces: Vec::new(),
        });
        let mut guard = Guard::new(&NOTHING, self);
        let went = self.advance_to(end, &mut guard, &mut |_, _, _| false);
        let Some(mut scout) = self.scout.take() else { return Ok(None) };
        if let Went::Interrupted = went? {
            return Ok(None);
        }
        scout.end_piece(&self.world, end.clone());
        Ok(Some(scout.pieces))
    }

    /// Whether a landmark's state comes again, so that it is not known which of its visits is the landmark: a loop that
    /// waits and changes nothing. What stops at places must not use it; values do not change there.
    pub(crate) fn recurs(&mut self, place: &Position, stops: &Stops) -> Result<bool, TracerError> {
        /// A loop that takes longer changes something: it counts.
        const LOOP_TIME: Duration = Duration::from_millis(2);
        let [Leg::Landmark(landmark)] = place.legs.as_slice() else { return Ok(false) };
        if only_writes(stops) {
            return Ok(false);
        }
        if let Some(known) = self.recurring.get(&landmark.number()) {
            return Ok(*known);
        }
        self.go_back_to(place)?;
        let event = self.trace.event(place.event)?;
        self.lost = true;
        let recurs = self.comes_again(&event, landmark, Instant::now() + LOOP_TIME)?;
        self.recurring.insert(landmark.number(), recurs);
        Ok(recurs)
    }

    /// A scouting run stands at a good place for the end of a piece.
    pub(crate) fn scout_pause(&mut self) -> Result<(), TracerError> {
        let main = self.at.main();
        let Some(scout) = &mut self.scout else { return Ok(()) };
        let landmark = scout.names.next(main);
        self.name_here(landmark);
        self.end_piece_here()
    }

    /// A scouting run has applied an event.
    pub(crate) fn scout_event(&mut self) -> Result<(), TracerError> {
        let event = self.trace.event(self.at.event - 1)?;
        let Some(scout) = &mut self.scout else { return Ok(()) };
        if scout.track.as_ref().is_some_and(|track| track.is_remapped_by(&event)) {
            scout.changed = true;
        }
        if scout.pause_time().is_none_or(|next| Instant::now() < next) {
            return Ok(());
        }
        self.end_piece_here()
    }

    fn end_piece_here(&mut self) -> Result<(), TracerError> {
        self.add_checkpoint(Purpose::Near)?;
        let at = self.at.clone();
        let Some(scout) = &mut self.scout else { return Ok(()) };
        scout.end_piece(&self.world, at);
        Ok(())
    }
}

impl Names {
    /// Names for landmarks in order between two places.
    fn between(begin: &Position, end: &Position, count: u64) -> Names {
        let side = |position: &Position| position.landmark().and_then(super::position::Landmark::side);
        let (chain, low, high) = match (side(begin), side(end)) {
            (Some((chain, low)), Some((other, high))) if chain == other => (chain, low, high),
            // A new chain, whose landmarks nothing but this search puts in order.
            (None, Some((chain, high))) => (chain, 0, high),
            (Some((chain, low)), None) => (chain, low, Chain::END),
            _ => (Chain::new(), 0, Chain::END),
        };
        Names { chain, order: low, stride: high.saturating_sub(low) / (count + 2) }
    }

    fn next(&mut self, main: u64) -> super::position::Landmark {
        self.order += self.stride;
        self.chain.landmark(main, self.order)
    }
}

/// Only changes of values stop.
fn only_writes(stops: &Stops) -> bool {
    stops.breakpoints.is_empty() && stops.watchpoints.iter().all(|watch| !watch.reads)
}

/// The pages of the watched memory, by program.
fn ranges_of(stops: &Stops) -> Vec<(u64, u64, u64)> {
    let range = |watch: &super::Watchpoint| {
        let end = watch.address.saturating_add(watch.len).next_multiple_of(PAGE);
        (watch.image, watch.address & !(PAGE - 1), end)
    };
    let mut ranges: Vec<_> = stops.watchpoints.iter().map(range).collect();
    ranges.dedup();
    ranges
}
