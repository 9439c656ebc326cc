//! Going forward: through intervals and events, to a position or to the first stop.

use std::collections::HashMap;

use trace::{Event, EventKind, Outcome, ThreadId};

use super::apply::{comparable, needs_run};
use super::planted::Extras;
use super::position::{Leg, Position};
use super::run::Ran;
use super::session::{Purpose, Session};
use super::{Watch, apply};
use crate::TracerError;

/// A place that stops the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breakpoint {
    /// The user's number for it.
    pub id: u32,
    /// Address of the instruction.
    pub address: u64,
    /// The program it belongs to ([`Session::program`]).
    pub image: u64,
    /// It stops only where this holds, or needs memory that cannot be read. Evaluated inside the process where a stub
    /// fits.
    pub condition: Option<patch::Predicate>,
}

/// Memory whose change or use stops the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watchpoint {
    /// The user's number for it.
    pub id: u32,
    /// First address.
    pub address: u64,
    /// Length in bytes.
    pub len: u64,
    /// Reads stop as well; else only a write that changes the value.
    pub reads: bool,
    /// The program it belongs to ([`Session::program`]).
    pub image: u64,
}

/// What stops the program.
#[derive(Clone, Debug, Default)]
pub struct Stops {
    /// Places.
    pub breakpoints: Vec<Breakpoint>,
    /// Watched memory; at most [`Watch::PIECES_MAX`] pieces in all.
    pub watchpoints: Vec<Watchpoint>,
    /// Signals: bit `n - 1` for signal `n`.
    pub signals: u64,
    /// A new program or newly mapped code: breakpoints may have to be looked up anew.
    pub code_changes: bool,
    /// Going forward, the position in front of this event.
    pub until: Option<u64>,
}

/// A breakpoint or a watchpoint was reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The thread.
    pub thread: ThreadId,
    /// Numbers of the breakpoints or watchpoints.
    pub ids: Vec<u32>,
    /// For a watchpoint: the value before and after.
    pub change: Option<(Vec<u8>, Vec<u8>)>,
}

/// Whether a hit is one the user wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Stop here.
    Stop,
    /// Go on.
    Pass,
}

/// Decides about hits: conditions, hit counts.
pub trait Judge {
    /// Looks at a hit; the session stands there.
    fn judge(&mut self, session: &Session, hit: &Hit) -> Verdict;
}

/// Stops at every hit.
pub struct NoJudge;

impl Judge for NoJudge {
    fn judge(&mut self, _session: &Session, _hit: &Hit) -> Verdict {
        Verdict::Stop
    }
}

/// Which way to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Towards the end.
    Forward,
    /// Towards the start.
    Backward,
}

/// How far to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// To the next stop.
    Run,
    /// One instruction of the current thread.
    Step,
}

/// Why the session stands where it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A breakpoint or a watchpoint.
    Hit(Hit),
    /// A signal is about to reach the thread.
    Signal {
        /// The thread.
        thread: ThreadId,
        /// The signal.
        signal: i32,
        /// It ends the process.
        fatal: bool,
    },
    /// One instruction has been executed, or undone.
    Step,
    /// The position that was asked for.
    Arrived,
    /// The program or its libraries changed ([`Stops::code_changes`]).
    CodeChange,
    /// The start of the recording.
    Start,
    /// The end of the recording.
    End,
    /// The user asked for a stop.
    Interrupted,
}

/// How often each address and each watch was reached since the last anchor of the position.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(super) visits: HashMap<u64, u64>,
    pub(super) touches: HashMap<Watch, u64>,
    /// Stops that were looked at, in all: two hits with the same number are at the same place.
    pub(crate) stops: u64,
}

impl Counts {
    pub(crate) fn clear(&mut self) {
        self.visits.clear();
        self.touches.clear();
    }
}

/// Receives hits; true stops.
pub(crate) type OnHit<'a> = &'a mut dyn FnMut(&Session, &Hit, &Position) -> bool;

/// How a piece of the way ended.
pub(crate) enum Went {
    /// To its end.
    Through,
    /// To a hit that stops, whose position the session has.
    Hit(Hit),
    Interrupted,
}

/// What is watched on the way, with the values last seen.
pub(crate) struct Guard<'a> {
    pub(crate) stops: &'a Stops,
    values: HashMap<u32, Vec<u8>>,
}

impl<'a> Guard<'a> {
    pub(crate) fn new(stops: &'a Stops, session: &Session) -> Guard<'a> {
        let values = stops.watchpoints.iter().filter_map(|watch| Some((watch.id, session.watched(watch)?)));
        Guard { stops, values: values.collect() }
    }

    /// Nothing has to be looked at but breakpoints without conditions.
    pub(crate) fn allows_runs(&self) -> bool {
        self.stops.watchpoints.is_empty()
            && self.stops.breakpoints.iter().all(|point| point.condition.is_none())
    }

    /// The addresses that stop a thread of this program.
    pub(crate) fn addresses(&self, image: u64) -> Vec<u64> {
        let of_image = |point: &&Breakpoint| point.image == image;
        self.stops.breakpoints.iter().filter(of_image).map(|point| point.address).collect()
    }

    fn watches(&self, image: u64) -> Vec<Watch> {
        let of_image = |point: &&Watchpoint| point.image == image;
        let pieces = |point: &Watchpoint| Watch::pieces(point.address, point.len, point.reads);
        let mut watches: Vec<Watch> =
            self.stops.watchpoints.iter().filter(of_image).flat_map(pieces).collect();
        watches.dedup();
        watches
    }
}

impl Session {
    /// Goes on from the present position.
    ///
    /// # Errors
    /// A divergence, a damaged trace, or what the kernel refuses.
    pub fn resume(
        &mut self,
        direction: Direction,
        mode: Mode,
        stops: &Stops,
        judge: &mut dyn Judge,
    ) -> Result<Stop, TracerError> {
        let before = self.at.clone();
        let result = match (direction, mode) {
            (Direction::Forward, Mode::Run) => self.forward(stops, judge),
            (Direction::Forward, Mode::Step) => self.step_forward(stops, judge),
            (Direction::Backward, Mode::Run) => self.backward(stops, judge),
            (Direction::Backward, Mode::Step) => self.step_backward(),
        };
        let stop = self.recover(&before, result)?;
        self.quiet()?;
        Ok(stop)
    }

    /// Goes to a position.
    ///
    /// # Errors
    /// As [`Session::resume`].
    pub fn goto(&mut self, position: &Position) -> Result<Stop, TracerError> {
        let before = self.at.clone();
        let result = self.travel(position).map(|went| match went {
            Went::Interrupted => Stop::Interrupted,
            Went::Through | Went::Hit(_) => Stop::Arrived,
        });
        let stop = self.recover(&before, result)?;
        self.quiet()?;
        Ok(stop)
    }

    /// A wrong match of an incomplete fingerprint shows later as a divergence: then the next match is tried.
    fn recover(&mut self, before: &Position, result: Result<Stop, TracerError>) -> Result<Stop, TracerError> {
        /// How many matches of one point are tried.
        const SKIPS_MAX: u32 = 16;
        /// How long after a point a divergence may be its fault, in events.
        const SUSPICION_EVENTS: u64 = 10_000;
        let Err(TracerError::Divergence { event, .. }) = &result else {
            if self.lost {
                self.travel(before)?;
            }
            return result;
        };
        let suspects = (event.saturating_sub(SUSPICION_EVENTS)..*event).rev();
        let mut suspect = suspects.filter(|number| {
            matches!(self.trace.event(*number), Ok(Event { kind: EventKind::ForcedPoint { fingerprint }, .. }) if !fingerprint.complete)
        });
        let Some(suspect) = suspect.next() else { return result };
        let search = self.searches.entry(suspect).or_default();
        search.skipped += 1;
        if search.skipped > SKIPS_MAX {
            return result;
        }
        let goal = Position::at_event(*event + 1);
        self.checkpoints.retain(|checkpoint| checkpoint.position.event <= suspect);
        let last = self.checkpoints.len() - 1;
        self.restore(last)?;
        let again = self.advance_to(&goal, &mut Guard::new(&Stops::default(), self), &mut |_, _, _| false);
        match self.recover(before, again.map(|_| Stop::Arrived)) {
            Ok(_) => {}
            // No other match leads further: the first divergence says more than the last.
            Err(TracerError::Divergence { .. }) => return result,
            Err(other) => return Err(other),
        }
        // The way is clear now: the user's request can be made again from where it began.
        self.travel(before)?;
        Ok(Stop::Interrupted)
    }

    /// Takes breakpoints and watches away, so that what is read is the program's own.
    pub(crate) fn quiet(&mut self) -> Result<(), TracerError> {
        let spaces: Vec<_> = self.world.spaces.keys().copied().collect();
        spaces.into_iter().try_for_each(|space| {
            self.world.clear_sentries(space)?;
            self.world.set_breakpoints(space, &[])
        })
    }

    /// Goes to a position from the nearest place that leads there.
    pub(crate) fn travel(&mut self, goal: &Position) -> Result<Went, TracerError> {
        self.use_snapshot(goal)?;
        let leading =
            (0..self.checkpoints.len()).filter(|index| self.checkpoints[*index].position.leads_to(goal));
        let leading = leading.max_by_key(|index| self.checkpoints[*index].position.nearness());
        let leading = leading.ok_or(TracerError::Inconsistent("a position before the start"))?;
        let here = !self.lost && self.at.leads_to(goal);
        let nearer = self.checkpoints[leading].position.nearness() > self.at.nearness();
        if !here || nearer {
            self.restore(leading)?;
        }
        self.focus = None;
        let mut guard = Guard::new(&NOTHING, self);
        self.advance_to(goal, &mut guard, &mut |_, _, _| false)
    }

    fn forward(&mut self, stops: &Stops, judge: &mut dyn Judge) -> Result<Stop, TracerError> {
        let end = self.end()?;
        let mut guard = Guard::new(stops, self);
        let mut on_hit =
            |session: &Session, hit: &Hit, _: &Position| judge.judge(session, hit) == Verdict::Stop;
        self.focus = None;
        let limit = stops.until.map_or(end.event, |until| until.min(end.event));
        loop {
            if self.at.event >= limit && limit < end.event {
                return Ok(Stop::Arrived);
            }
            if self.at.event >= end.event {
                // From here one goes back.
                self.add_checkpoint(Purpose::Near)?;
                return Ok(Stop::End);
            }
            if self.interrupt.is_requested() {
                return Ok(Stop::Interrupted);
            }
            match self.run_calls(limit, &mut guard, &mut on_hit)? {
                Some(Went::Hit(hit)) => return Ok(Stop::Hit(hit)),
                Some(Went::Interrupted) => {
                    self.lost = true;
                    return Ok(Stop::Interrupted);
                }
                // It may stand at an event, which has to be applied before anything else.
                Some(Went::Through) if !self.has_arrived()? => {}
                Some(Went::Through) | None => {
                    if let Some(stop) = self.forward_event(&mut guard, &mut on_hit)? {
                        return Ok(stop);
                    }
                }
            }
            self.checkpoint_if_due()?;
        }
    }

    /// Through one interval and its event.
    fn forward_event(
        &mut self,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Option<Stop>, TracerError> {
        let event = self.trace.event(self.at.event)?;
        match self.run_to_event(&event, guard, on_hit)? {
            Went::Through => {}
            Went::Hit(hit) => return Ok(Some(Stop::Hit(hit))),
            Went::Interrupted => {
                self.lost = true;
                return Ok(Some(Stop::Interrupted));
            }
        }
        if let Some(stop) = self.signal_stop(&event, guard) {
            self.at = self.at.then(Leg::ToEvent);
            self.focus = Some(event.thread);
            return Ok(Some(stop));
        }
        if let Some(hit) = self.apply_guarded(&event, guard, on_hit)? {
            return Ok(Some(Stop::Hit(hit)));
        }
        let changes = guard.stops.code_changes && changes_code(&event);
        Ok(changes.then_some(Stop::CodeChange))
    }

    /// A signal of the kind that stops, unless the session stands at it already.
    fn signal_stop(&self, event: &Event, guard: &Guard<'_>) -> Option<Stop> {
        let EventKind::Signal { signal, outcome, .. } = &event.kind else { return None };
        let wanted = guard.stops.signals & (1 << (signal - 1)) != 0;
        let seen = self.at.legs.last() == Some(&Leg::ToEvent);
        let fatal = *outcome == Outcome::Fatal;
        (wanted && !seen).then_some(Stop::Signal { thread: event.thread, signal: *signal, fatal })
    }

    /// Applies an event, and sees what it did to breakpoints and watched memory.
    fn apply_guarded(
        &mut self,
        event: &Event,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Option<Hit>, TracerError> {
        self.apply_next()?;
        if guard.stops.breakpoints.is_empty() && guard.stops.watchpoints.is_empty() {
            return Ok(None);
        }
        let position = self.at.clone();
        let moved = !matches!(
            event.kind,
            EventKind::SyscallEnter
                | EventKind::ForcedPoint { .. }
                | EventKind::Start(_)
                | EventKind::Exit { .. }
                | EventKind::Change(_)
        ) && !apply::is_unseen(&event.kind);
        let mut hits: Vec<Hit> = self.changed_values(event.thread, guard);
        if moved && let Ok(registers) = self.world.registers(event.thread) {
            hits.extend(self.breakpoint_hit(event.thread, registers.rip, guard));
        }
        for hit in hits {
            self.focus = Some(hit.thread);
            if on_hit(self, &hit, &position) {
                return Ok(Some(hit));
            }
        }
        self.focus = None;
        Ok(None)
    }

    /// The breakpoints at an address of a thread's program.
    fn breakpoint_hit(&self, thread: ThreadId, address: u64, guard: &Guard<'_>) -> Option<Hit> {
        let image = self.image_of(thread)?;
        let at_address = |point: &&Breakpoint| {
            let holds = || point.condition.as_ref().is_none_or(|condition| self.holds(thread, condition));
            point.address == address && point.image == image && holds()
        };
        let ids: Vec<u32> = guard.stops.breakpoints.iter().filter(at_address).map(|point| point.id).collect();
        (!ids.is_empty()).then_some(Hit { thread, ids, change: None })
    }

    pub(crate) fn image_of(&self, thread: ThreadId) -> Option<u64> {
        let task = self.world.task(thread).ok()?;
        Some(self.world.space(task.space).ok()?.image)
    }

    /// The bytes of a watchpoint, if its program is there.
    fn watched(&self, watch: &Watchpoint) -> Option<Vec<u8>> {
        let (id, _) = self.world.spaces.iter().find(|(_, space)| space.image == watch.image)?;
        let mut bytes = vec![0; watch.len as usize];
        let read = self.world.read_memory(*id, watch.address, &mut bytes).ok()?;
        (read == bytes.len()).then_some(bytes)
    }

    /// Watchpoints whose value is another than when it was last seen.
    fn changed_values(&self, thread: ThreadId, guard: &mut Guard<'_>) -> Vec<Hit> {
        let mut hits = Vec::new();
        for watch in &guard.stops.watchpoints {
            let Some(now) = self.watched(watch) else { continue };
            let before = guard.values.insert(watch.id, now.clone()).unwrap_or_else(|| now.clone());
            if before != now {
                hits.push(Hit { thread, ids: vec![watch.id], change: Some((before, now)) });
            }
        }
        hits
    }

    /// Plants breakpoints and watches for a thread that is about to run.
    pub(crate) fn prepare(
        &mut self,
        thread: ThreadId,
        guard: &Guard<'_>,
        extras: Extras,
        watches: &[Watch],
    ) -> Result<(), TracerError> {
        self.withhold_page()?;
        let image = self.image_of(thread).unwrap_or(0);
        let watching = !watches.is_empty() || !guard.watches(image).is_empty();
        let traps_only = extras.traps_only || watching;
        self.plant_stops(thread, guard.stops, Extras { traps_only, ..extras })?;
        let mut watched = guard.watches(image);
        watched.extend(watches.iter().filter(|watch| !guard.watches(image).contains(watch)));
        watched.truncate(Watch::PIECES_MAX);
        self.world.set_watches(thread, &watched)
    }

    /// Counts what a stop means for positions, and tells about hits. `None`: nothing that stops. In a leg of steps,
    /// `steps` is the position of the stop.
    pub(crate) fn look_at(
        &mut self,
        thread: ThreadId,
        ran: Ran,
        steps: Option<Position>,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Option<Went>, TracerError> {
        self.counts.stops += 1;
        if self.counts.stops > self.stops_max {
            return Ok(Some(Went::Interrupted));
        }
        let hits = match ran {
            Ran::Interrupted => return Ok(Some(Went::Interrupted)),
            Ran::Breakpoint(address) => self.visited(thread, address, guard)?.into_iter().collect(),
            Ran::Watch(bits) => {
                let mut hits = self.touched(thread, bits, guard)?;
                // The instruction may lie right before that of a breakpoint, which will not be seen again.
                hits.extend(self.visited_here(thread, guard)?);
                hits
            }
            Ran::Step => self.visited_here(thread, guard)?.into_iter().collect(),
            Ran::Syscall | Ran::Signal(_) | Ran::Stub(_) => return Ok(None),
        };
        for (hit, position) in hits {
            let position = steps.clone().unwrap_or(position);
            self.focus = Some(thread);
            if on_hit(self, &hit, &position) {
                self.at = position;
                self.counts.clear();
                return Ok(Some(Went::Hit(hit)));
            }
        }
        self.focus = None;
        Ok(None)
    }

    /// Counts a visit, and gives the user's breakpoint there with its position.
    fn visited(
        &mut self,
        thread: ThreadId,
        address: u64,
        guard: &Guard<'_>,
    ) -> Result<Option<(Hit, Position)>, TracerError> {
        let count = self.counts.visits.entry(address).or_default();
        *count += self.world.visits_since(thread, address)?;
        let position = self.at.then(Leg::Visits { address, count: *count });
        Ok(self.breakpoint_hit(thread, address, guard).map(|hit| (hit, position)))
    }

    /// As [`Session::visited`], if there is a breakpoint where the thread stands.
    fn visited_here(
        &mut self,
        thread: ThreadId,
        guard: &Guard<'_>,
    ) -> Result<Option<(Hit, Position)>, TracerError> {
        let address = self.world.registers(thread)?.rip;
        let space = self.world.task(thread)?.space;
        let planted = self.world.space(space)?.planted.contains_key(&address);
        if planted { self.visited(thread, address, guard) } else { Ok(None) }
    }

    fn touched(
        &mut self,
        thread: ThreadId,
        bits: u8,
        guard: &mut Guard<'_>,
    ) -> Result<Vec<(Hit, Position)>, TracerError> {
        let watches = self.world.task(thread)?.watches.clone();
        let mut position = self.at.clone();
        let mut reads = Vec::new();
        for (_, watch) in watches.iter().enumerate().filter(|(index, _)| bits & 1 << index != 0) {
            let count = self.counts.touches.entry(*watch).or_default();
            *count += 1;
            position = self.at.then(Leg::Touches { watch: *watch, count: *count });
            let of_watch = |point: &&Watchpoint| point.reads && watch.touches(point.address, point.len);
            reads.extend(guard.stops.watchpoints.iter().filter(of_watch).map(|point| point.id));
        }
        let mut hits = self.changed_values(thread, guard);
        reads.retain(|id| !hits.iter().any(|hit| hit.ids.contains(id)));
        reads.dedup();
        if !reads.is_empty() {
            hits.push(Hit { thread, ids: reads, change: None });
        }
        Ok(hits.into_iter().map(|hit| (hit, position.clone())).collect())
    }

    /// Goes forward to a position, telling about hits on the way.
    pub(crate) fn advance_to(
        &mut self,
        goal: &Position,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Went, TracerError> {
        while self.at.event < goal.event {
            if self.interrupt.is_requested() {
                return Ok(Went::Interrupted);
            }
            match self.run_calls(goal.event, guard, on_hit)? {
                // It may stand at an event, which has to be applied before anything else.
                Some(Went::Through) if !self.has_arrived()? => {
                    self.checkpoint_if_due()?;
                    continue;
                }
                Some(Went::Through) | None => {}
                Some(Went::Interrupted) => {
                    self.lost = true;
                    return Ok(Went::Interrupted);
                }
                hit => return Ok(hit.unwrap_or(Went::Through)),
            }
            let Some(event) = self.next_event()? else { return Ok(Went::Through) };
            match self.run_to_event(&event, guard, on_hit)? {
                Went::Through => {}
                Went::Interrupted => {
                    self.lost = true;
                    return Ok(Went::Interrupted);
                }
                hit => return Ok(hit),
            }
            if let Some(hit) = self.apply_guarded(&event, guard, on_hit)? {
                return Ok(Went::Hit(hit));
            }
            self.checkpoint_if_due()?;
        }
        for leg in self.at.rest_of(goal) {
            match self.go_leg(&leg, guard, on_hit)? {
                Went::Through => {
                    self.at = self.at.then(leg);
                    self.counts.clear();
                }
                Went::Interrupted => {
                    self.lost = true;
                    return Ok(Went::Interrupted);
                }
                hit => return Ok(hit),
            }
        }
        Ok(Went::Through)
    }

    /// One instruction of the current thread; whatever other threads do before it is gone through.
    fn step_forward(&mut self, stops: &Stops, judge: &mut dyn Judge) -> Result<Stop, TracerError> {
        let Some(thread) = self.current_thread() else { return Ok(Stop::End) };
        let end = self.end()?;
        let mut guard = Guard::new(stops, self);
        let mut on_hit =
            |session: &Session, hit: &Hit, _: &Position| judge.judge(session, hit) == Verdict::Stop;
        self.focus = None;
        loop {
            if self.at.event >= end.event {
                return Ok(Stop::End);
            }
            if self.interrupt.is_requested() {
                return Ok(Stop::Interrupted);
            }
            let event = self.trace.event(self.at.event)?;
            if event.thread == thread && needs_run(&event.kind) && !self.stands_at(&event)? {
                return self.step_in_interval(&event, &mut guard, &mut on_hit);
            }
            let of_thread = event.thread == thread;
            if let Some(stop) = self.forward_event(&mut guard, &mut on_hit)? {
                return Ok(stop);
            }
            let stepped = of_thread
                && !matches!(event.kind, EventKind::ForcedPoint { .. } | EventKind::SyscallEnter)
                && !apply::is_unseen(&event.kind);
            if stepped && self.world.tasks.contains_key(&thread) {
                self.focus = Some(thread);
                return Ok(Stop::Step);
            }
        }
    }

    /// The thread stands at the event already.
    pub(crate) fn stands_at(&mut self, event: &Event) -> Result<bool, TracerError> {
        if self.world.task(event.thread)?.arrived {
            return Ok(true);
        }
        let EventKind::ForcedPoint { fingerprint } = &event.kind else { return Ok(false) };
        let registers = self.world.registers(event.thread)?;
        if comparable(&registers).first_difference(&comparable(&event.registers)).is_some() {
            return Ok(false);
        }
        let search = self.searches.entry(self.at.event).or_default().clone();
        self.world.is_at_point(event, fingerprint, &search)
    }

    fn step_in_interval(
        &mut self,
        event: &Event,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Stop, TracerError> {
        self.prepare(event.thread, guard, Extras::stepping(), &[])?;
        let ran = self.step_thread(event.thread)?;
        let here = self.at.then(Leg::Steps(1));
        if let Some(Went::Hit(hit)) = self.look_at(event.thread, ran, Some(here), guard, on_hit)? {
            return Ok(Stop::Hit(hit));
        }
        self.focus = Some(event.thread);
        match ran {
            Ran::Step | Ran::Watch(_) => {
                // A watch that does not stop is a step like any other.
                self.at = self.at.then(Leg::Steps(1));
                self.counts.clear();
                Ok(Stop::Step)
            }
            ran => {
                self.check(event, &ran)?;
                self.arrive(event)?;
                self.focus = None;
                Ok(self.forward_event(guard, on_hit)?.unwrap_or(Stop::Step))
            }
        }
    }
}

/// Nothing stops.
pub(crate) static NOTHING: Stops =
    Stops { breakpoints: Vec::new(), watchpoints: Vec::new(), signals: 0, code_changes: false, until: None };

/// The event maps code, or replaces the program.
fn changes_code(event: &Event) -> bool {
    use trace::{Effect, MemoryOp};
    let maps_code =
        |op: &MemoryOp| matches!(op, MemoryOp::Map(mapping) if mapping.protection & libc::PROT_EXEC != 0);
    match &event.kind {
        EventKind::Syscall { effect, .. } | EventKind::SyscallExit { effect, .. } => match effect {
            Effect::Exec(_) => true,
            Effect::Memory(ops) => ops.iter().any(maps_code),
            _ => false,
        },
        EventKind::Change(changes) => changes.iter().flat_map(|change| &change.ops).any(maps_code),
        _ => false,
    }
}
