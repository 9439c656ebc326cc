//! Going back to a write without stopping at every write.
//!
//! A debug register costs some 20 µs at each write. So the stretch to be searched is first run with the watched pages
//! write-protected ([`WriteTracker`]): a stretch that does not touch them is done with. One that does is run again in
//! slices, with a checkpoint between two of them; the slices are looked at from the last back, each in the same way,
//! until a slice is short or has few writes. Only there the debug registers are used.
//!
//! Breakpoints are planted in all runs, and their hits in a slice without writes are what a run with debug registers would
//! have given. Reads cannot be found so: where they count, debug registers are used from the start.

use std::time::{Duration, Instant};

use trace::{Effect, Event, EventKind, MemoryOp, SpaceId};

use super::landmark::PAUSE_MIN;
use super::position::{Chain, Position};
use super::reverse::{Hunt, Last};
use super::session::{Purpose, Session};
use super::travel::Stops;
use super::world::World;
use crate::TracerError;
use crate::sys::userfault::{self, WriteTracker};

const PAGE: u64 = 4096;

/// Into how many slices a stretch is divided.
const SLICES: u32 = 16;

/// More slices than this are not made, however long the stretch takes the second time.
const PIECES_MAX: usize = 48;

/// A stretch that runs for no longer than this is searched with debug registers.
const FINE: Duration = Duration::from_millis(1);

/// So many stops are looked at in a short stretch before it is divided further.
const STOPS_MAX: u64 = 600;

/// How often it is looked whether a stretch has written something: then the first run has no more to tell.
const PROBE: Duration = Duration::from_millis(10);

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
            return matches!(event.kind, EventKind::Start(_) | EventKind::Exit { .. });
        };
        let overlaps =
            |from: u64, to: u64| self.ranges.iter().any(|(_, start, end)| from < *end && *start < to);
        match effect {
            Effect::Exec(_) => true,
            Effect::Memory(ops) => ops.iter().any(|op| match op {
                MemoryOp::Map(mapping) => overlaps(mapping.start, mapping.end),
                MemoryOp::Unmap { start, len }
                | MemoryOp::Protect { start, len, .. }
                | MemoryOp::Discard { start, len } => overlaps(*start, start.saturating_add(*len)),
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
    /// The run went through all of it.
    whole: bool,
}

/// A run through a stretch that finds out where watched memory is written.
pub(crate) struct Scout {
    track: Option<Track>,
    ranges: Vec<(u64, u64, u64)>,
    /// The mappings or the processes changed: everything counts as written.
    changed: bool,
    /// How long a slice is.
    slice: Duration,
    aim: Aim,
    next: Instant,
    since: Instant,
    names: Names,
    begin: Position,
    pieces: Vec<Piece>,
}

/// What a scouting run is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// To learn whether anything is written: it stops when that is so.
    Probe,
    /// It has stopped.
    Probed,
    /// To divide the stretch into pieces.
    Divide,
}

/// Where the names of new landmarks come from.
struct Names {
    chain: Chain,
    order: u64,
    stride: u64,
}

impl Scout {
    pub(crate) fn pause_time(&self) -> Option<Instant> {
        (self.pieces.len() < PIECES_MAX).then_some(self.next)
    }

    /// Whether a run that was interrupted now has no more to tell, or (`None`) a piece ends here.
    pub(crate) fn probe(&mut self, world: &World) -> Option<bool> {
        if self.aim == Aim::Divide {
            return None;
        }
        self.paused();
        if self.changed || self.track.as_ref().is_none_or(|track| track.take_written(world)) {
            self.changed = true;
            self.aim = Aim::Probed;
            self.next = Instant::now();
        }
        Some(self.aim == Aim::Probed)
    }

    /// The thread was interrupted: if no landmark can be made here, then after another slice.
    pub(crate) fn paused(&mut self) {
        self.next = Instant::now() + self.slice;
    }

    pub(crate) fn world_changed(&mut self) {
        self.changed = true;
    }

    /// How many pieces are done.
    pub(crate) fn pieces(&self) -> usize {
        self.pieces.len()
    }

    fn end_piece(&mut self, world: &World, end: Position) {
        let written = self.track.as_ref().is_none_or(|track| track.take_written(world)) || self.changed;
        if std::mem::take(&mut self.changed) {
            self.track = Track::new(world, &self.ranges);
        }
        let now = Instant::now();
        let begin = std::mem::replace(&mut self.begin, end.clone());
        let whole = self.aim != Aim::Probed;
        self.pieces.push(Piece { begin, end, written, time: now - self.since, whole });
        self.since = now;
        self.paused();
    }
}

impl Session {
    /// Whether writes to what is watched can be looked for with write protection.
    pub(crate) fn can_skip(&self, stops: &Stops) -> bool {
        !self.options.every_write
            && !stops.watchpoints.is_empty()
            && stops.watchpoints.iter().all(|watch| !watch.reads)
    }

    /// The last hit in a stretch.
    pub(crate) fn last_hit_skipping(
        &mut self,
        begin: &Position,
        end: &Position,
        hunt: &mut Hunt<'_>,
    ) -> Result<Last, TracerError> {
        if begin.landmark().is_some_and(|landmark| landmark.side().is_some()) {
            // Searches have been here before: what is left between two checkpoints is little.
            let last = self.last_hit(begin, end, STOPS_MAX, hunt)?;
            if !matches!(last, Last::TooMany) {
                return Ok(last);
            }
        }
        let since = Instant::now();
        let Some((pieces, hits)) = self.scout(begin, end, hunt, None)? else { return Ok(Last::Interrupted) };
        let Some(piece) = pieces.last().filter(|piece| piece.written) else {
            return Ok(hits.into_iter().flatten().next_back().map_or(Last::None, Last::Hit));
        };
        let expected = Duration::from_nanos(self.time_of(end).saturating_sub(self.time_of(begin)));
        let time = if piece.whole { since.elapsed() } else { expected.max(self.checkpoint_spacing()) };
        self.last_hit_divided(begin, end, hunt, time, 0)
    }

    /// The last hit in a stretch in which something is written and that takes so long.
    fn last_hit_divided(
        &mut self,
        begin: &Position,
        end: &Position,
        hunt: &mut Hunt<'_>,
        time: Duration,
        depth: u32,
    ) -> Result<Last, TracerError> {
        let divisible = depth < DEPTH_MAX && time / SLICES >= PAUSE_MIN;
        if time <= FINE || !divisible {
            let stops_max = if divisible { STOPS_MAX } else { u64::MAX };
            match self.last_hit(begin, end, stops_max, hunt)? {
                Last::TooMany => {}
                other => return Ok(other),
            }
        }
        let Some((pieces, mut hits)) = self.scout(begin, end, hunt, Some(time / SLICES))? else {
            return Ok(Last::Interrupted);
        };
        for (index, piece) in pieces.iter().enumerate().rev() {
            let last = if !piece.written {
                hits.get_mut(index).and_then(Option::take).map_or(Last::None, Last::Hit)
            } else {
                // A stretch that could not be divided is not tried again, unless it was shorter than expected.
                let same = piece.begin == *begin && piece.end == *end;
                let depth = if same && piece.time * 2 > time { DEPTH_MAX } else { depth + 1 };
                self.last_hit_divided(&piece.begin, &piece.end, hunt, piece.time, depth)?
            };
            if !matches!(last, Last::None) {
                return Ok(last);
            }
        }
        Ok(Last::None)
    }

    /// Runs through a stretch with breakpoints only, and finds out which pieces of it write to watched pages. `None`: the
    /// user stopped it.
    #[expect(clippy::type_complexity, reason = "a piece and its last hit belong together")]
    fn scout(
        &mut self,
        begin: &Position,
        end: &Position,
        hunt: &mut Hunt<'_>,
        slice: Option<Duration>,
    ) -> Result<Option<(Vec<Piece>, Vec<Option<(super::Hit, Position)>>)>, TracerError> {
        self.go_back_to(begin)?;
        let ranges = ranges_of(hunt.stops);
        let track = Track::new(&self.world, &ranges);
        let names = Names::between(begin, end, PIECES_MAX as u64);
        let divides = track.is_some() && names.stride > 0;
        let (aim, slice) = match slice {
            Some(slice) if divides => (Aim::Divide, slice),
            // One piece, to the end.
            Some(_) => (Aim::Divide, Duration::from_secs(1 << 30)),
            None => (Aim::Probe, PROBE),
        };
        let now = Instant::now();
        self.scout = Some(Scout {
            changed: false,
            track,
            ranges,
            slice,
            aim,
            next: now + slice,
            since: now,
            names,
            begin: begin.clone(),
            pieces: Vec::new(),
        });
        let quiet = Stops { watchpoints: Vec::new(), ..hunt.stops.clone() };
        let passed = self.pass(end, hunt, &quiet);
        let Some(mut scout) = self.scout.take() else { return Ok(None) };
        let passed = passed?;
        if passed.stopped && scout.aim != Aim::Probed {
            return Ok(None);
        }
        scout.end_piece(&self.world, end.clone());
        let mut hits: Vec<Option<(super::Hit, Position)>> = Vec::new();
        hits.resize_with(scout.pieces.len(), || None);
        for found in passed.hits {
            if let Some(place) = hits.get_mut(found.piece) {
                *place = Some((found.hit, found.position));
            }
        }
        Ok(Some((scout.pieces, hits)))
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
        if scout.pause_time().is_none_or(|next| Instant::now() < next) || scout.probe(&self.world).is_some() {
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
