//! Snapshots: the state of all processes, put into the trace now and then, so that replay can begin there instead of at
//! the start (DESIGN.md §3.8).
//!
//! A snapshot is made between two inputs, when every thread stands behind its last event or waits in a call. A page that
//! an earlier snapshot has is referred to, not stored again. A thread that waits in a call is left alone, since some calls
//! fail when they are interrupted: its registers are known, and its extended state is recorded when it stops next, before
//! it executes anything ([`Recorder::say_state`]).

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use trace::{
    DATA_PIECE_BYTES_MAX, DataRef, EventKind, GuardState, Mapping, ObjectState, Registers, SharedObject,
    Source, SpaceId, SpaceState, State, ThreadState, Write,
};

use super::task::{Phase, Status, Task};
use super::{Recorder, exec};
use crate::TracerError;
use crate::sys::memory::Memory;
use crate::sys::{maps, process, ptrace, userfault};

const PAGE: usize = 4096;

/// No snapshot comes sooner after the start or after another: what is shorter is replayed quickly.
const SPACING_MIN: Duration = Duration::from_secs(2);

/// And none sooner than this many times what the last one cost: at most one percent of the recording.
const COST_FACTOR: u32 = 100;

/// New contents of snapshots may take so much room in a second of recording, before compression.
const BYTES_PER_SECOND_MAX: u64 = 4 << 20;

/// A thread that computes without any call is stopped for a snapshot that has waited for this long.
const PATIENCE: Duration = Duration::from_secs(10);

/// When a snapshot could not be made, for instance because a thread is stopped as a job, it is tried again after this.
const RETRY: Duration = Duration::from_millis(200);

/// A snapshot is made when a segment of a ring has this part of the whole.
const SEGMENTS: u64 = 4;

/// So many different pages are remembered at most; then it begins anew.
const PAGES_MAX: usize = 1 << 20;

/// When snapshots are made, and what they have stored.
pub(super) struct Snapshots {
    due: Instant,
    spacing: Option<Duration>,
    /// Only so many bytes are kept, from a snapshot on.
    ring: Option<u64>,
    /// How much had been written when the last segment began.
    written: u64,
    /// Pages that are in the trace, by a hash of their contents.
    pages: HashMap<u128, DataRef>,
}

impl Snapshots {
    /// For a recording that begins now; with `spacing` they are made so far apart, whatever they cost.
    pub(super) fn new(spacing: Option<Duration>, ring: Option<u64>) -> Snapshots {
        let due = Instant::now() + spacing.unwrap_or(SPACING_MIN);
        Snapshots { due, spacing, ring, written: 0, pages: HashMap::new() }
    }

    /// Only the newest part of the trace is kept.
    pub(super) fn is_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// When a thread is to be stopped for a snapshot.
    pub(super) fn forced_at(&self) -> Instant {
        self.due + PATIENCE
    }
}

impl Recorder {
    /// Makes a snapshot, if it is time. The thread stands behind its last event.
    pub(super) fn snapshot_if_due(&mut self, thread: i32) -> Result<(), TracerError> {
        let begin = Instant::now();
        let full = self
            .snapshots
            .ring
            .is_some_and(|ring| self.writer.written() - self.snapshots.written > ring / SEGMENTS);
        if begin < self.snapshots.due && !full || self.ending.over {
            return Ok(());
        }
        let before = self.writer.data_len();
        let made = self.snapshot(thread)?;
        let bytes = self.writer.data_len() - before;
        let usual = (begin.elapsed() * COST_FACTOR)
            .max(SPACING_MIN)
            .max(Duration::from_millis(bytes * 1000 / BYTES_PER_SECOND_MAX));
        let spacing = self.snapshots.spacing;
        let wait = if made { spacing.unwrap_or(usual) } else { RETRY.min(spacing.unwrap_or(RETRY)) };
        self.snapshots.due = Instant::now() + wait;
        Ok(())
    }

    /// Puts the state of everything into the trace; false when some thread's is not known now.
    pub(super) fn snapshot(&mut self, thread: i32) -> Result<bool, TracerError> {
        self.drain()?;
        if !self.is_settled()? {
            return Ok(false);
        }
        if self.snapshots.ring.is_some() {
            // Earlier ones will be gone.
            self.writer.begin_segment()?;
            self.snapshots.written = self.writer.written();
            self.snapshots.pages.clear();
        }
        if self.snapshots.pages.len() > PAGES_MAX {
            self.snapshots.pages.clear();
        }
        let threads = self.thread_states()?;
        let mut state = State { threads, ..State::default() };
        let ids: Vec<SpaceId> = self.spaces.keys().copied().collect();
        let mut shared = SharedRanges::default();
        for id in ids {
            state.spaces.push(self.space_state(id, &mut shared)?);
            let guards = self.spaces[&id].layout.guards().iter();
            let guards = guards.map(|range| (range.start, range.end - range.start));
            state.guards.extend(guards.map(|(start, len)| GuardState { space: id, start, len }));
        }
        for (object, ranges) in shared.0.into_values() {
            state.objects.push(self.object_state(object, &ranges)?);
        }
        let mut pieces = Vec::new();
        for piece in state.encode().chunks(DATA_PIECE_BYTES_MAX) {
            pieces.push(self.data(piece.to_vec())?);
        }
        let registers = self.registers_outside(thread)?;
        self.event(thread, registers, EventKind::Snapshot { state: pieces })?;
        let now = self.now();
        self.writer.note_snapshot(now)?;
        Ok(true)
    }

    /// The registers of all threads are known.
    fn is_settled(&self) -> Result<bool, TracerError> {
        for task in self.tasks.values() {
            if self.settled_registers(task)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The registers of all threads, and what else is known of them.
    fn thread_states(&mut self) -> Result<Vec<ThreadState>, TracerError> {
        let mut states = Vec::new();
        let mut owing = Vec::new();
        for task in self.tasks.values() {
            let Some(registers) = self.settled_registers(task)? else { continue };
            let stopped = matches!(task.status, Status::Stopped(_) | Status::Parked);
            let xstate = if stopped { ptrace::xstate(task.thread).ok() } else { None };
            owing.extend(xstate.is_none().then_some(task.thread));
            let (thread, process, space) = (task.id(), task.process, task.space);
            states.push((ThreadState { thread, process, space, registers, xstate: None }, xstate));
        }
        for thread in owing {
            self.task(thread).owes_state = true;
            self.agent.iter().for_each(|agent| agent.ask_for_report(thread));
        }
        let mut known = Vec::new();
        for (mut state, xstate) in states {
            state.xstate = xstate.map(|bytes| self.data(bytes)).transpose()?;
            known.push(state);
        }
        Ok(known)
    }

    /// The registers of a thread as its last event left them.
    fn settled_registers(&self, task: &Task) -> Result<Option<Registers>, TracerError> {
        if task.phase == Phase::Kernel {
            return Ok(task.announced.then_some(task.entry));
        }
        if self.current != Some(task.thread) && self.is_out(task.thread) {
            let announced = self.agent.as_ref().is_some_and(|agent| agent.is_announced(task.thread));
            return if announced { self.entry_inside(task.thread).map(Some) } else { Ok(None) };
        }
        match task.status {
            Status::Stopped(_) | Status::Parked => self.registers_outside(task.thread).map(Some),
            Status::Running | Status::GroupStopped => Ok(None),
        }
    }

    /// Records the extended state of a thread that was in a call when the last snapshot was made. It is about to execute
    /// the program's code.
    pub(super) fn say_state(&mut self, thread: i32) -> Result<(), TracerError> {
        let raw = self.raw_registers(thread)?;
        if self.is_inside(thread, raw.rip) {
            return Ok(());
        }
        self.drain()?;
        let xstate = ptrace::xstate(thread).map_err(TracerError::system("read extended state"))?;
        let xstate = self.data(xstate)?;
        let registers = self.registers(thread)?;
        self.event(thread, registers, EventKind::ExtendedState { xstate })?;
        self.task(thread).owes_state = false;
        self.agent.iter().for_each(|agent| agent.forget_report(thread));
        Ok(())
    }

    /// The mappings of an address space, and what is in them.
    fn space_state(&mut self, id: SpaceId, shared: &mut SharedRanges) -> Result<SpaceState, TracerError> {
        let space = &self.spaces[&id];
        let (memory, image, program) = (Rc::clone(&space.memory), space.image, Rc::clone(&space.program));
        let mut mappings: Vec<Mapping> = space.layout.iter().cloned().collect();
        let process = self.process_of(id).unwrap_or(memory.process());
        let real = maps::read(process).map_err(TracerError::system("read the mappings"))?;
        let mut writes = Vec::new();
        for mapping in &mut mappings {
            if mapping.grows_down
                && let Some(grown) =
                    real.iter().find(|map| map.start < mapping.start && map.end >= mapping.end)
            {
                mapping.start = grown.start;
            }
            if let Source::Shared { object, offset } = &mapping.source {
                shared.add(object, *offset, mapping, Rc::clone(&memory));
                continue;
            }
            let is_zero = mapping.source == Source::Zero;
            let (start, end) = (mapping.start, mapping.end);
            // A file that cannot be opened, or the kernel's own code.
            let is_other = |map: &&maps::Map| map.is_file() || map.name == exec::VDSO;
            if is_zero && real.iter().filter(is_other).any(|map| map.start <= start && start < map.end) {
                self.pages(&memory, start..end, true, Some(id), &mut writes)?;
                continue;
            }
            let mut parts = Vec::new();
            let known =
                userfault::pages_in_use(process, start, end, false, &mut |from, to| parts.push(from..to));
            if known.is_err() {
                parts.clear();
                parts.push(start..end);
            }
            for part in parts {
                self.pages(&memory, part, is_zero, Some(id), &mut writes)?;
            }
        }
        let (path, arguments) = (*program).clone();
        let stack_limit = process::stack_limit_of(process).unwrap_or_else(process::stack_limit);
        Ok(SpaceState { space: id, image, path, arguments, stack_limit, mappings, writes })
    }

    /// A thread of a space.
    fn process_of(&self, space: SpaceId) -> Option<i32> {
        self.tasks.values().find(|task| task.space == space).map(|task| task.thread)
    }

    /// What is in a shared memory object, as far as it is mapped anywhere.
    fn object_state(
        &mut self,
        object: SharedObject,
        ranges: &MappedRanges,
    ) -> Result<ObjectState, TracerError> {
        let mut writes = Vec::new();
        let mut done = 0;
        let size = self.known_size(&object);
        let mapped = ranges.iter().map(|(range, ..)| range.end).max().unwrap_or(0);
        let len = size.unwrap_or(mapped);
        let last = len.next_multiple_of(PAGE as u64);
        // In the order of their offsets; what one shows another need not.
        for (range, address, memory, file) in ranges {
            let (from, to) = (range.start.max(done), range.end.min(last));
            if from >= to {
                continue;
            }
            let whole = || std::iter::once(from..to).collect();
            let parts = file.as_ref().map_or_else(whole, |file| process::data_ranges(file, from..to));
            for part in parts {
                let whole = part.start & !(PAGE as u64 - 1)..part.end.next_multiple_of(PAGE as u64);
                let at = whole.start - range.start + address;
                let mut found = Vec::new();
                self.pages(memory, at..at + (whole.end - whole.start), true, None, &mut found)?;
                let offset = |write: Write| Write { addr: write.addr - address + range.start, ..write };
                writes.extend(found.into_iter().map(offset));
            }
            done = range.end;
        }
        Ok(ObjectState { object, len, sized: size.is_some(), writes })
    }

    /// Stores the pages of a range that are not known yet, and refers to all of them. Zeros are left out where they are
    /// expected.
    fn pages(
        &mut self,
        memory: &Memory,
        range: Range<u64>,
        is_zero: bool,
        space: Option<SpaceId>,
        writes: &mut Vec<Write>,
    ) -> Result<(), TracerError> {
        /// How much is read at once.
        const READ_BYTES: u64 = 1 << 20;
        let mut at = range.start;
        while at < range.end {
            let mut bytes = vec![0; (range.end - at).min(READ_BYTES) as usize];
            let read = memory.read_some(at, &mut bytes).unwrap_or(0);
            if read < PAGE {
                // A page that cannot be read: nothing is known of it.
                at += PAGE as u64;
                continue;
            }
            bytes.truncate(read / PAGE * PAGE);
            if let Some(space) = space.and_then(|space| self.spaces.get(&space)) {
                space.hooks.hide(at, &mut bytes);
            }
            let mut fresh = Fresh { at, ..Fresh::default() };
            for (index, page) in bytes.chunks(PAGE).enumerate() {
                let address = at + (index * PAGE) as u64;
                if is_zero && page.iter().all(|byte| *byte == 0) {
                    self.store(&mut fresh, writes)?;
                    continue;
                }
                let hash = twox_hash::XxHash3_128::oneshot(page);
                if let Some(known) = self.snapshots.pages.get(&hash).copied() {
                    self.store(&mut fresh, writes)?;
                    refer(writes, Write { addr: address, data: known });
                    continue;
                }
                if fresh.bytes.is_empty() {
                    fresh.at = address;
                }
                fresh.bytes.extend_from_slice(page);
                fresh.hashes.push(hash);
            }
            self.store(&mut fresh, writes)?;
            at += bytes.len() as u64;
        }
        Ok(())
    }

    /// Stores pages that lie one after the other.
    fn store(&mut self, fresh: &mut Fresh, writes: &mut Vec<Write>) -> Result<(), TracerError> {
        if fresh.bytes.is_empty() {
            return Ok(());
        }
        let piece = self.data(std::mem::take(&mut fresh.bytes))?;
        for (index, hash) in fresh.hashes.drain(..).enumerate() {
            let page = DataRef { offset: piece.offset + (index * PAGE) as u64, len: PAGE as u64 };
            self.snapshots.pages.insert(hash, page);
        }
        refer(writes, Write { addr: fresh.at, data: piece });
        Ok(())
    }
}

/// Pages that are to be stored, one after the other from `at` on.
#[derive(Default)]
struct Fresh {
    at: u64,
    bytes: Vec<u8>,
    hashes: Vec<u128>,
}

/// Adds a write; to the last one, if it continues that in memory and in the data.
fn refer(writes: &mut Vec<Write>, next: Write) {
    if let Some(last) = writes.last_mut() {
        let continues =
            last.addr + last.data.len == next.addr && last.data.offset + last.data.len == next.data.offset;
        if continues && last.data.len + next.data.len <= DATA_PIECE_BYTES_MAX as u64 {
            last.data.len += next.data.len;
            return;
        }
    }
    writes.push(next);
}

/// Which parts of shared memory objects are mapped where: a range of the object, its address, and the file behind it,
/// where it can be opened.
type MappedRanges = Vec<(Range<u64>, u64, Rc<Memory>, Option<std::fs::File>)>;

#[derive(Default)]
struct SharedRanges(BTreeMap<u32, (SharedObject, MappedRanges)>);

impl SharedRanges {
    fn add(&mut self, object: &SharedObject, offset: u64, mapping: &Mapping, memory: Rc<Memory>) {
        let (_, ranges) = self.0.entry(object.id).or_insert_with(|| (object.clone(), Vec::new()));
        let file = exec::open_range(memory.process(), mapping.start..mapping.end);
        ranges.push((offset..offset + (mapping.end - mapping.start), mapping.start, memory, file));
        ranges.sort_by_key(|(range, ..)| range.start);
    }
}
