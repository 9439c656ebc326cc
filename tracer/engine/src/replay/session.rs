//! A replay as its users see it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use trace::{Event, EventKind, Mapping, Reader, Registers, SpaceId, ThreadId};

use super::Interrupt;
use super::divergence::Divergence;
use super::output::OutputSink;
use super::point::Search;
use super::position::{Landmark, Position};
use super::run::Extent;
use super::snapshot::SnapshotUse;
use super::travel::Counts;
use super::world::{FrozenWorld, Shell, World};
use crate::TracerError;
use crate::sys::{limits, process, ptrace, signal};

/// A checkpoint is made when replay has gone on for this long since the last one.
const CHECKPOINT_SPACING: Duration = Duration::from_millis(300);

/// And no sooner than this many times what the last one took.
const CHECKPOINT_COST_FACTOR: u32 = 30;

/// More checkpoints than this are thinned out.
const CHECKPOINTS_MAX: usize = 40;

/// While replay goes through what it has been through before, checkpoints are made this many times closer together.
const NEAR_CHECKPOINT_FACTOR: u32 = 5;

/// More checkpoints of searches than this are dropped, the oldest first.
const NEAR_CHECKPOINTS_MAX: usize = 32;

/// How to open a trace.
#[derive(Clone, Copy, Debug, Default)]
pub struct OpenOptions {
    /// Replay on a processor that differs from the recording's.
    pub any_machine: bool,
    /// How far apart checkpoints are made, if not by the usual rule.
    pub checkpoint_spacing: Option<Duration>,
    /// Searches for writes stop at each one: slow, for comparison.
    pub every_write: bool,
    /// What is done with the snapshots in the trace.
    pub snapshots: SnapshotUse,
}

/// A thread of the replayed program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ThreadInfo {
    /// Its id at recording.
    pub thread: ThreadId,
    /// Its process at recording.
    pub process: i32,
    /// Its address space.
    pub space: SpaceId,
    /// Path of the program it runs.
    pub program: String,
}

pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    pub(crate) world: Rc<FrozenWorld>,
    pub(crate) purpose: Purpose,
    /// Rises with each that is made.
    pub(crate) serial: u64,
}

/// What a checkpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// For the user: never dropped.
    Kept,
    /// One of those spread over the recording.
    Spaced,
    /// For a search and what follows it.
    Near,
}

/// A recording opened for replay, at some position of it.
///
/// All methods must be called from the thread that opened it: it is the one that traces the replay processes.
pub struct Session {
    pub(crate) trace: Arc<Reader>,
    pub(crate) blank: Shell,
    pub(crate) world: World,
    pub(crate) at: Position,
    /// The thread that stopped, when it is not the one that runs next.
    pub(crate) focus: Option<ThreadId>,
    pub(crate) counts: Counts,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) last_checkpoint: Instant,
    /// What was learnt about forced points, by event.
    pub(crate) searches: HashMap<u64, Search>,
    pub(crate) interrupt: Interrupt,
    /// Where the program's own output goes while replay moves forward.
    pub(crate) output: Option<OutputSink>,
    /// Up to here the output has been passed on: going there again is no news.
    pub(crate) reproduced: u64,
    /// The world is in the middle of an interval at no known position.
    pub(crate) lost: bool,
    pub(crate) options: OpenOptions,
    /// What was learnt about landmarks, by number.
    pub(crate) landmark_searches: HashMap<u64, Search>,
    /// Whether the state at a landmark comes again, by number.
    pub(crate) recurring: HashMap<u64, bool>,
    /// A landmark that was not found again.
    pub(crate) missed: Option<Landmark>,
    /// The search that goes through a stretch in slices.
    pub(crate) scout: Option<super::skip::Scout>,
    /// How many stops are looked at before a run gives up.
    pub(crate) stops_max: u64,
    checkpoint_cost: Duration,
    serial: u64,
    /// What the last divergence looks like, while the world is as it was then.
    pub(crate) divergence: Option<Divergence>,
    /// What is to be said about the processor.
    other_model: Option<String>,
}

impl Session {
    /// Opens a trace and goes to its start: the first instruction of the program.
    ///
    /// # Errors
    /// When the trace cannot be read, needs another machine, or the kernel refuses to trace.
    pub fn open(directory: &Path, options: OpenOptions) -> Result<Session, TracerError> {
        let trace = Reader::open(directory)?;
        if trace.is_empty() {
            let damage = trace.damage().map_or_else(|| "it has no events".into(), ToString::to_string);
            return Err(TracerError::Empty(damage));
        }
        let other_model = super::compatible::check(&trace.header().machine, options.any_machine)?;
        let core = trace.header().machine.core;
        signal::block_child_signal().map_err(TracerError::system("block SIGCHLD"))?;
        // On a machine without that core any other will do, unless the program asks which one it is.
        let _ = process::pin(0, core);
        limits::raise_files();
        let blank = Shell::blank().map_err(TracerError::system("make a process for replay"))?;
        let mut session = Session {
            trace: Arc::new(trace),
            blank,
            world: World::default(),
            at: Position::default(),
            focus: None,
            counts: Counts::default(),
            checkpoints: Vec::new(),
            last_checkpoint: Instant::now(),
            searches: HashMap::new(),
            interrupt: Interrupt::default(),
            output: None,
            reproduced: 0,
            lost: false,
            options,
            landmark_searches: HashMap::new(),
            recurring: HashMap::new(),
            missed: None,
            scout: None,
            stops_max: u64::MAX,
            checkpoint_cost: Duration::ZERO,
            serial: 0,
            other_model,
            divergence: None,
        };
        session.at = Position::at_event(session.trace.first());
        session.apply_next()?;
        session.add_checkpoint(Purpose::Kept)?;
        Ok(session)
    }

    /// The trace.
    pub fn trace(&self) -> &Reader {
        &self.trace
    }

    /// What a user should know about this machine, when it is not quite the recording's.
    pub fn note_on_machine(&self) -> Option<&str> {
        self.other_model.as_deref()
    }

    /// How to ask for a stop while the session works.
    pub fn interrupt(&self) -> Interrupt {
        self.interrupt.clone()
    }

    /// Where the session is.
    pub fn position(&self) -> &Position {
        &self.at
    }

    /// The first position: the program's first instruction.
    pub fn start(&self) -> Position {
        Position::at_event(self.trace.first() + 1)
    }

    /// The last position with something to look at: before the last thread ends.
    ///
    /// # Errors
    /// When the trace cannot be read.
    pub fn end(&self) -> Result<Position, TracerError> {
        let last = self.trace.len() - 1;
        let ends = matches!(self.trace.event(last)?.kind, EventKind::Exit { last: true, .. });
        Ok(Position::at_event(if ends && last > 0 { last } else { last + 1 }))
    }

    /// The thread that stopped, or that runs next.
    pub fn current_thread(&self) -> Option<ThreadId> {
        let next = || self.trace.event(self.at.event).ok().map(|event| event.thread);
        let known = |id: &ThreadId| self.world.tasks.contains_key(id);
        self.focus.or_else(next).filter(known).or_else(|| self.world.tasks.keys().next().copied())
    }

    /// The threads that exist.
    pub fn threads(&self) -> Vec<ThreadInfo> {
        let info = |(id, task): (&ThreadId, &super::world::Task)| ThreadInfo {
            thread: *id,
            process: task.process,
            space: task.space,
            program: self.world.spaces.get(&task.space).map_or(String::new(), |space| space.program.clone()),
        };
        self.world.tasks.iter().map(info).collect()
    }

    /// Registers of a thread. In a call, rip is behind the call's instruction.
    ///
    /// # Errors
    /// When there is no such thread.
    pub fn registers(&self, thread: ThreadId) -> Result<Registers, TracerError> {
        self.world.registers(thread)
    }

    /// Extended state of a thread, in the standard format of XSAVE.
    ///
    /// # Errors
    /// When there is no such thread.
    pub fn extended_state(&self, thread: ThreadId) -> Result<Vec<u8>, TracerError> {
        let real = self.world.task(thread)?.real;
        ptrace::xstate(real).map_err(TracerError::system("read extended state"))
    }

    /// Reads memory of a thread's address space from `address` on; returns how much of `buffer` is mapped.
    ///
    /// # Errors
    /// When nothing is mapped there, or there is no such thread.
    pub fn read_memory(
        &self,
        thread: ThreadId,
        address: u64,
        buffer: &mut [u8],
    ) -> Result<usize, TracerError> {
        self.world.read_memory(self.world.task(thread)?.space, address, buffer)
    }

    /// The mappings of a thread's address space, in address order.
    ///
    /// # Errors
    /// When there is no such thread.
    pub fn mappings(&self, thread: ThreadId) -> Result<Vec<Mapping>, TracerError> {
        let space = self.world.space(self.world.task(thread)?.space)?;
        Ok(space.layout.iter().cloned().collect())
    }

    /// The program of a thread: the number of the event that executed it, its path, its arguments.
    ///
    /// # Errors
    /// When there is no such thread.
    pub fn program(&self, thread: ThreadId) -> Result<(u64, String, Vec<String>), TracerError> {
        let space = self.world.space(self.world.task(thread)?.space)?;
        Ok((space.image, space.program.clone(), space.arguments.clone()))
    }

    /// Path of the stored copy of a mapped file.
    pub fn stored_file(&self, mapping: &Mapping) -> Option<PathBuf> {
        match &mapping.source {
            trace::Source::File { file, .. } => Some(self.trace.file(file)),
            _ => None,
        }
    }

    /// Keeps the present position as a checkpoint, from which going back here is quick.
    ///
    /// # Errors
    /// When the kernel refuses to copy the processes.
    pub fn keep_checkpoint(&mut self) -> Result<(), TracerError> {
        self.add_checkpoint(Purpose::Kept)
    }

    /// Positions of the checkpoints, in order.
    pub fn checkpoints(&self) -> impl Iterator<Item = &Position> {
        self.checkpoints.iter().map(|checkpoint| &checkpoint.position)
    }

    /// A hash over the registers of the thread at the present position, and the memory it writes to next to its stack
    /// pointer: two replays of a trace agree in it at every event.
    ///
    /// # Errors
    /// When there is no thread.
    pub fn state_hash(&self) -> Result<u64, TracerError> {
        use std::hash::{DefaultHasher, Hash, Hasher};
        let mut hasher = DefaultHasher::new();
        for id in self.world.tasks.keys() {
            let registers = super::apply::comparable(&self.registers(*id)?);
            Registers { orig_rax: 0, ..registers }.words().hash(&mut hasher);
            let mut stack = [0; 256];
            let read = self.read_memory(*id, registers.rsp, &mut stack).unwrap_or(0);
            stack[..read].hash(&mut hasher);
        }
        Ok(hasher.finish())
    }

    /// The next event, or `None` at the end of the trace.
    pub(crate) fn next_event(&self) -> Result<Option<Event>, TracerError> {
        if self.at.event >= self.trace.len() { Ok(None) } else { Ok(Some(self.trace.event(self.at.event)?)) }
    }

    /// Applies the next event to a thread that stands at it.
    pub(crate) fn apply_next(&mut self) -> Result<(), TracerError> {
        let number = self.at.event;
        let event = self.trace.event(number)?;
        self.reproduce(&event)?;
        self.verify_snapshot(number, &event)?;
        self.world.apply(&self.trace, &self.blank, number, &event)?;
        self.at = Position::at_event(number + 1);
        self.counts.clear();
        self.interrupt.at_event(number + 1);
        Ok(())
    }

    /// How long replay goes on between two checkpoints.
    pub(crate) fn checkpoint_spacing(&self) -> Duration {
        let usual = || CHECKPOINT_SPACING.max(self.checkpoint_cost * CHECKPOINT_COST_FACTOR);
        self.options.checkpoint_spacing.unwrap_or_else(usual)
    }

    /// What the last checkpoint took.
    pub(crate) fn checkpoint_cost(&self) -> Duration {
        self.checkpoint_cost
    }

    /// Copies the world as it is at the present position; not when that is unknown, after an interrupted run.
    pub(crate) fn add_checkpoint(&mut self, purpose: Purpose) -> Result<(), TracerError> {
        if self.lost {
            return Ok(());
        }
        self.last_checkpoint = Instant::now();
        if let Some(same) = self.checkpoints.iter_mut().find(|other| other.position == self.at) {
            if purpose == Purpose::Kept {
                same.purpose = purpose;
            }
            return Ok(());
        }
        let world = Rc::new(self.world.freeze()?);
        self.checkpoint_cost = self.last_checkpoint.elapsed();
        self.insert_checkpoint(Checkpoint { position: self.at.clone(), world, purpose, serial: 0 });
        self.last_checkpoint = Instant::now();
        Ok(())
    }

    pub(crate) fn insert_checkpoint(&mut self, checkpoint: Checkpoint) {
        let place = |position: &Position| (position.event, position.main());
        let here = place(&checkpoint.position);
        let index = self.checkpoints.partition_point(|other| place(&other.position) <= here);
        self.serial += 1;
        self.checkpoints.insert(index, Checkpoint { serial: self.serial, ..checkpoint });
        self.drop_checkpoints();
    }

    /// Makes a checkpoint if the last one is long ago. Only between two intervals.
    pub(crate) fn checkpoint_if_due(&mut self) -> Result<(), TracerError> {
        if self.scout.is_some() {
            return self.scout_event();
        }
        let elapsed = self.last_checkpoint.elapsed();
        match self.is_new_ground() {
            true if elapsed >= self.checkpoint_spacing() => self.add_checkpoint(Purpose::Spaced),
            // Who comes here again goes back, and will do so once more.
            false if elapsed >= self.checkpoint_spacing() / NEAR_CHECKPOINT_FACTOR => {
                self.add_checkpoint(Purpose::Near)
            }
            _ => Ok(()),
        }
    }

    /// No checkpoint lies farther than here.
    pub(crate) fn is_new_ground(&self) -> bool {
        let place = |position: &Position| (position.event, position.main());
        self.checkpoints.last().is_none_or(|last| place(&last.position) <= place(&self.at))
    }

    /// Keeps the number of checkpoints in bounds.
    fn drop_checkpoints(&mut self) {
        let count = |purpose| self.checkpoints.iter().filter(|other| other.purpose == purpose).count();
        if count(Purpose::Near) > NEAR_CHECKPOINTS_MAX {
            let near = (0..self.checkpoints.len()).filter(|index| self.is_droppable(*index, Purpose::Near));
            if let Some(oldest) = near.min_by_key(|index| self.checkpoints[*index].serial) {
                self.drop_checkpoint(oldest);
            }
        }
        let count = |purpose| self.checkpoints.iter().filter(|other| other.purpose == purpose).count();
        if count(Purpose::Spaced) > CHECKPOINTS_MAX {
            self.thin_checkpoints();
        }
    }

    /// Drops the checkpoint whose neighbours are closest together, in time or, where no time is known, in events.
    fn thin_checkpoints(&mut self) {
        let spread: Vec<usize> = (0..self.checkpoints.len())
            .filter(|index| self.checkpoints[*index].purpose != Purpose::Near)
            .collect();
        let time = |index: usize| self.time_of(&self.checkpoints[index].position);
        let gaps = spread
            .windows(3)
            .filter(|window| self.is_droppable(window[1], Purpose::Spaced))
            .map(|window| (time(window[2]).saturating_sub(time(window[0])), window[1]));
        if let Some((_, index)) = gaps.min() {
            self.drop_checkpoint(index);
        }
    }

    /// The recorded time of the start of a position's interval, and how far in it the last main landmark is, in
    /// nanoseconds.
    pub(crate) fn time_of(&self, position: &Position) -> u64 {
        let before = self.trace.event(position.event.saturating_sub(1));
        before.map_or(0, |event| event.time_ns).saturating_add(position.main())
    }

    /// It has this purpose, and no other position depends on it.
    fn is_droppable(&self, index: usize, purpose: Purpose) -> bool {
        let checkpoint = &self.checkpoints[index];
        let [super::Leg::Landmark(landmark)] = checkpoint.position.legs.as_slice() else {
            return checkpoint.purpose == purpose;
        };
        checkpoint.purpose == purpose && landmark.is_forgotten()
    }

    fn drop_checkpoint(&mut self, index: usize) {
        let dropped = self.checkpoints.remove(index);
        if let [super::Leg::Landmark(landmark)] = dropped.position.legs.as_slice() {
            self.landmark_searches.remove(&landmark.number());
            self.recurring.remove(&landmark.number());
        }
    }

    /// Rebuilds the world of a checkpoint.
    pub(crate) fn restore(&mut self, index: usize) -> Result<(), TracerError> {
        let checkpoint = &self.checkpoints[index];
        self.world = checkpoint.world.rebuild()?;
        self.at = checkpoint.position.clone();
        self.counts.clear();
        self.focus = None;
        self.lost = false;
        self.divergence = None;
        self.last_checkpoint = Instant::now();
        Ok(())
    }

    /// Runs one instruction of a thread whose next event needs it to run.
    pub(crate) fn step_thread(&mut self, thread: ThreadId) -> Result<super::run::Ran, TracerError> {
        self.world.run(thread, Extent::OneInstruction, &[], None, &Interrupt::default())
    }
}
