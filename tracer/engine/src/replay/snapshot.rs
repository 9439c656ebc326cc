//! Going to a place by way of a snapshot in the trace, instead of from the start.

use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;

use patch::LINE_BYTES;
use trace::{Event, EventKind, Reader, Registers, Source, SpaceState, State};

use super::apply::comparable;
use super::position::Position;
use super::session::{Checkpoint, Purpose, Session};
use super::world::World;
use crate::TracerError;
use crate::record::point::{dead_stack, written_by_call};
use crate::sys::{ptrace, userfault, xstate};

/// What is done with the snapshots in a trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SnapshotUse {
    /// They are used where that saves time.
    #[default]
    Usual,
    /// They are used wherever they can be: for tests.
    Always,
    /// They are not used, but compared when replay passes them; a difference is a divergence: for tests.
    Verify,
}

/// A snapshot is used when it saves so much recorded time, in nanoseconds.
const SAVED_NS_MIN: u64 = 500_000_000;

impl Session {
    /// Makes a checkpoint of the last snapshot from which `goal` can be reached, if it is much nearer than all checkpoints.
    pub(crate) fn use_snapshot(&mut self, goal: &Position) -> Result<(), TracerError> {
        // Whoever wants the program's output goes through all of it.
        if self.output.is_some() || self.options.snapshots == SnapshotUse::Verify {
            return Ok(());
        }
        let saved_min = if self.options.snapshots == SnapshotUse::Always { 0 } else { SAVED_NS_MIN };
        let place = |event: u64| Position::at_event(event + 1);
        let leads = |event: u64| place(event).leads_to(goal) && place(event) != *goal;
        let snapshots = self.trace.snapshots();
        let Some(snapshot) = snapshots.iter().rfind(|snapshot| leads(snapshot.event)).copied() else {
            return Ok(());
        };
        let leading = self.checkpoints.iter().map(|checkpoint| &checkpoint.position);
        let here = (!self.lost).then_some(&self.at).filter(|at| *at != goal);
        let leading = leading.chain(here).filter(|position| position.leads_to(goal));
        let nearest = leading.map(|position| (position.event, self.time_of(position))).max();
        let (event, time_ns) = nearest.unwrap_or_default();
        if event > snapshot.event || snapshot.time_ns < time_ns.saturating_add(saved_min) {
            return Ok(());
        }
        let state = self.trace.state(&self.trace.event(snapshot.event)?)?;
        let world = World::build(&self.blank, &self.trace, &state)?;
        let world = Rc::new(world.freeze()?);
        self.insert_checkpoint(Checkpoint {
            position: place(snapshot.event),
            world,
            purpose: Purpose::Near,
            serial: 0,
        });
        Ok(())
    }
}

impl Session {
    /// Compares the world with a snapshot that has been reached without it, if that is wanted.
    pub(crate) fn verify_snapshot(&self, number: u64, event: &Event) -> Result<(), TracerError> {
        let wanted = self.options.snapshots == SnapshotUse::Verify && number > self.trace.first();
        if !wanted || !matches!(event.kind, EventKind::Snapshot { .. }) {
            return Ok(());
        }
        let state = self.trace.state(event)?;
        match self.world.difference(&self.trace, &state)? {
            None => Ok(()),
            Some(what) => Err(TracerError::Divergence {
                event: number,
                thread: event.thread.0,
                what: format!("in the snapshot, {what}"),
            }),
        }
    }
}

const PAGE: usize = 4096;

/// The calls that a thread may be in that has these registers. What restart_syscall(2) goes on with, they do not say.
fn calls_of(registers: &Registers) -> impl Iterator<Item = Registers> {
    const RESTARTED: [i64; 3] = [libc::SYS_poll, libc::SYS_nanosleep, libc::SYS_clock_nanosleep];
    let registers = *registers;
    let restarted = registers.orig_rax == libc::SYS_restart_syscall as u64;
    let numbers = if restarted { RESTARTED.to_vec() } else { Vec::from([registers.orig_rax as i64]) };
    numbers.into_iter().map(move |number| Registers { orig_rax: number as u64, ..registers })
}

impl World {
    /// The first difference between the world and a snapshot.
    fn difference(&self, trace: &Reader, state: &State) -> Result<Option<String>, TracerError> {
        let ids = |threads: &mut dyn Iterator<Item = i32>| -> Vec<i32> {
            let mut ids: Vec<i32> = threads.collect();
            ids.sort_unstable();
            ids
        };
        let here = ids(&mut self.tasks.keys().map(|id| id.0));
        let there = ids(&mut state.threads.iter().map(|thread| thread.thread.0));
        if here != there {
            return Ok(Some(format!("the threads are {there:?}, not {here:?}")));
        }
        for thread in &state.threads {
            let registers = self.registers(thread.thread)?;
            // A thread in a call has its number in orig_rax at recording only, and rax is not the program's yet.
            let in_call = thread.xstate.is_none() || thread.registers.orig_rax != u64::MAX;
            let plain = |registers: &Registers| {
                let own = comparable(registers);
                Registers { orig_rax: 0, rax: if in_call { 0 } else { own.rax }, ..own }
            };
            if let Some((name, recorded, replayed)) =
                plain(&thread.registers).first_difference(&plain(&registers))
            {
                return Ok(Some(format!(
                    "{name} of thread {} is {recorded:#x}, not {replayed:#x}",
                    thread.thread
                )));
            }
            if let Some(piece) = thread.xstate {
                let real = self.task(thread.thread)?.real;
                let now = ptrace::xstate(real).map_err(TracerError::system("read extended state"))?;
                if xstate::canonical_hash(&now) != xstate::canonical_hash(&trace.data(piece)?) {
                    return Ok(Some(format!("the extended state of thread {} differs", thread.thread)));
                }
            }
        }
        for space in &state.spaces {
            if let Some(what) = self.space_difference(trace, state, space)? {
                return Ok(Some(format!("in space {}, {what}", space.space)));
            }
        }
        Ok(None)
    }

    fn space_difference(
        &self,
        trace: &Reader,
        state: &State,
        space: &SpaceState,
    ) -> Result<Option<String>, TracerError> {
        let home = self.space(space.space)?;
        let own = |mapping: &trace::Mapping| (mapping.end, mapping.protection, mapping.source.clone());
        let here: Vec<_> = home.layout.iter().map(own).collect();
        let there: Vec<_> = space.mappings.iter().map(own).collect();
        if let Some((here, there)) =
            here.iter().zip(&there).find(|(here, there)| here.0 != there.0 || here.1 != there.1)
        {
            return Ok(Some(format!("a mapping is {there:x?}, not {here:x?}")));
        }
        let memory = &home.shell.memory;
        let mut unknown: Vec<Range<u64>> = Vec::new();
        for thread in state.threads.iter().filter(|thread| thread.space == space.space) {
            unknown.push(dead_stack(thread.registers.rsp));
            unknown.extend(calls_of(&thread.registers).flat_map(|call| written_by_call(&call, memory)));
        }
        let is_known = |address: u64| {
            let line = address / LINE_BYTES as u64;
            !unknown.iter().any(|lines| lines.contains(&line))
        };
        let mut known_pages = HashSet::new();
        for write in &space.writes {
            let wanted = trace.data(write.data)?;
            let mut found = vec![0; wanted.len()];
            let read = memory.read_some(write.addr, &mut found).unwrap_or(0);
            known_pages.extend((write.addr..write.addr + write.data.len).step_by(PAGE));
            let differs =
                |index: &usize| wanted[*index] != found[*index] && is_known(write.addr + *index as u64);
            if let Some(index) = (0..read).find(differs) {
                let address = write.addr + index as u64;
                return Ok(Some(format!(
                    "the byte at {address:#x} is {:#x}, not {:#x}",
                    wanted[index], found[index]
                )));
            }
        }
        let mut parts = Vec::new();
        for mapping in space.mappings.iter().filter(|mapping| mapping.source == Source::Zero) {
            // Where the kernel does not say so, the pages that the snapshot has must do.
            let _ = userfault::pages_in_use(
                memory.process(),
                mapping.start,
                mapping.end,
                false,
                &mut |from, to| {
                    parts.push(from..to);
                },
            );
        }
        let pages = parts.into_iter().flat_map(|part| part.step_by(PAGE));
        for page in pages.filter(|page| !known_pages.contains(page)) {
            let mut found = [0; PAGE];
            let read = memory.read_some(page, &mut found).unwrap_or(0);
            let differs = |index: &usize| found[*index] != 0 && is_known(page + *index as u64);
            if let Some(index) = (0..read).find(differs) {
                return Ok(Some(format!(
                    "the byte at {:#x} is 0, not {:#x}",
                    page + index as u64,
                    found[index]
                )));
            }
        }
        Ok(None)
    }
}
