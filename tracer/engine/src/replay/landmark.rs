//! Landmarks: checkpoints in the midst of an interval.
//!
//! A program may compute for minutes between two events. While replay goes through such an interval for the first time,
//! the thread is interrupted now and then and the processes copied. The place has no name, since nothing was counted on
//! the way; so positions behind it begin with the landmark itself ([`super::Leg::Landmark`]). To run *to* a landmark from
//! before it, which only a search backwards has to, a stub looks for its registers, and at each match the memory is
//! compared with that of the copy, as with a forced point ([`super::point`]). Should all registers and all memory agree at
//! an earlier visit, then that visit has the same future.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use patch::{LINE_BYTES, NEIGHBOURHOOD_BYTES, is_quiet, line_hash, plantable};
use trace::{Event, EventKind, LineHash, Source, ThreadId};

use super::planted::Extras;
use super::point::{FORGIVEN_LINES_MAX, Found, Likeness, RunOptions, Sought};
use super::position::{Landmark, Leg, Position};
use super::run::Ran;
use super::session::{Purpose, Session};
use super::travel::{Guard, OnHit, Went};
use super::world::{FrozenWorld, Space};
use crate::TracerError;
use crate::sys::memory::Memory;
use crate::sys::userfault;
use crate::sys::xstate;

const PAGE: u64 = 4096;

/// How many pages are read at a time.
const PAGES_PER_READ: usize = 64;

/// The red zone below the stack pointer (System V ABI, x86-64, section 3.2.2).
const RED_ZONE_BYTES: u64 = 128;

/// How far a thread is stepped in search of an instruction where a stub can be planted.
const STEPS_MAX: usize = 256;

/// For so many steps an instruction is looked for at which a stub would be quiet.
const CHOOSY_STEPS: usize = 128;

/// How many pages in which visits differed are compared first.
const TELLING_PAGES_MAX: usize = 8;

/// What a thread's memory looks like in a copy of its world.
pub(crate) struct Copied<'a> {
    world: &'a FrozenWorld,
    thread: ThreadId,
    /// Pages that told visits apart.
    telling: RefCell<Vec<u64>>,
}

impl<'a> Copied<'a> {
    pub(crate) fn new(world: &'a FrozenWorld, thread: ThreadId) -> Copied<'a> {
        Copied { world, thread, telling: RefCell::default() }
    }

    /// The place of the copy, to be looked for.
    pub(crate) fn sought(&self) -> Option<Sought<'_>> {
        let registers = &self.world.tasks.get(&self.thread)?.registers;
        Some(Sought { thread: self.thread, registers, likeness: self })
    }

    fn space(&self) -> Option<&Space> {
        self.world.spaces.get(&self.world.tasks.get(&self.thread)?.space)
    }

    /// The pages that the program may have written, in either world. Between two events nothing else changes.
    fn pages(&self, space: &Space, memory: &Memory) -> Vec<u64> {
        let mut pages = Vec::new();
        for mapping in space.layout.iter().filter(|mapping| mapping.protection & libc::PROT_WRITE != 0) {
            let shared = matches!(mapping.source, Source::Shared { .. });
            for process in [space.shell.leader, memory.process()] {
                let each = &mut |start: u64, end: u64| pages.extend((start..end).step_by(PAGE as usize));
                // A range that cannot be asked for counts as written.
                if userfault::pages_in_use(process, mapping.start, mapping.end, shared, each).is_err() {
                    each(mapping.start, mapping.end);
                }
            }
        }
        pages.sort_unstable();
        pages.dedup();
        pages
    }

    /// The lines that tell nothing: dead stack, and where stops are planted.
    fn is_idle(&self, space: &Space, line: u64) -> bool {
        let address = line * LINE_BYTES as u64;
        let Some(task) = self.world.tasks.get(&self.thread) else { return true };
        let stack = space.layout.at(task.registers.rsp);
        let dead = |start: u64| (start..task.registers.rsp.saturating_sub(RED_ZONE_BYTES)).contains(&address);
        let near_stop = |stop: u64| (stop..stop + NEAR_STOP_BYTES).any(|at| at / LINE_BYTES as u64 == line);
        // Memory that is both writable and code is rare.
        let is_code = || space.layout.at(address).is_some_and(|map| map.protection & libc::PROT_EXEC != 0);
        stack.is_some_and(|map| dead(map.start))
            || is_code()
                && (near_stop(task.registers.rip) || space.planted.keys().any(|address| near_stop(*address)))
    }

    fn compare(&self, space: &Space, memory: &Memory, pages: &[u64], found: &mut Differing<'_>) {
        let mut here = vec![0; PAGES_PER_READ * PAGE as usize];
        let mut there = here.clone();
        for some in pages.chunks(PAGES_PER_READ) {
            read_pages(memory, some, &mut here);
            read_pages(&space.shell.memory, some, &mut there);
            if here == there {
                continue;
            }
            let lines = here.as_chunks::<LINE_BYTES>().0.iter().zip(there.as_chunks::<LINE_BYTES>().0);
            let per_page = PAGE as usize / LINE_BYTES;
            for (index, (_, there)) in lines.enumerate().filter(|(_, (here, there))| here != there) {
                let Some(page) = some.get(index / per_page) else { break };
                let line = page / LINE_BYTES as u64 + (index % per_page) as u64;
                if !found.forgiven.contains(&line) && !self.is_idle(space, line) {
                    found.add(LineHash { line, hash: line_hash(there) });
                }
                if found.lines.len() > FORGIVEN_LINES_MAX {
                    return;
                }
            }
        }
    }
}

/// Length of a planted jump and of what it may overwrite.
const NEAR_STOP_BYTES: u64 = 32;

/// Differing lines.
struct Differing<'a> {
    forgiven: &'a [u64],
    lines: Vec<LineHash>,
}

impl Differing<'_> {
    fn add(&mut self, line: LineHash) {
        if !self.lines.iter().any(|known| known.line == line.line) {
            self.lines.push(line);
        }
    }
}

impl Likeness for Copied<'_> {
    fn differing(&self, memory: &Memory, forgiven: &[u64]) -> Vec<LineHash> {
        let Some(space) = self.space() else { return Vec::new() };
        let mut found = Differing { forgiven, lines: Vec::new() };
        let telling = self.telling.borrow().clone();
        self.compare(space, memory, &telling, &mut found);
        if found.lines.len() <= FORGIVEN_LINES_MAX {
            self.compare(space, memory, &self.pages(space, memory), &mut found);
        }
        let mut telling = self.telling.borrow_mut();
        for line in &found.lines {
            let page = (line.line * LINE_BYTES as u64) & !(PAGE - 1);
            if !telling.contains(&page) && telling.len() < TELLING_PAGES_MAX {
                telling.push(page);
            }
        }
        found.lines
    }

    fn xstate_hash(&self) -> u64 {
        self.world.tasks.get(&self.thread).map_or(0, |task| xstate::canonical_hash(&task.xstate))
    }
}

/// Reads pages one after the other into `buffer`; what cannot be read counts as zeros.
fn read_pages(memory: &Memory, pages: &[u64], buffer: &mut [u8]) {
    let mut done = memory.read_pages(pages, buffer);
    while done < pages.len() {
        let at = done * PAGE as usize;
        let page = &mut buffer[at..at + PAGE as usize];
        if memory.read(pages[done], page).is_err() {
            page.fill(0);
        }
        done += 1;
    }
    buffer[pages.len() * PAGE as usize..].fill(0);
}

impl Session {
    /// When the thread that is about to run is to be interrupted, to make a landmark.
    pub(crate) fn pause_time(&self) -> Option<Instant> {
        // Stubs that count visits count from where they were planted, and a landmark would begin another count.
        let counting = self.world.spaces.values().any(|space| !space.sentries.is_empty());
        match &self.scout {
            _ if counting => None,
            Some(scout) => scout.pause_time(),
            None if self.is_new_ground() => Some(self.last_checkpoint + self.checkpoint_spacing()),
            None => None,
        }
    }

    /// Makes a landmark where a thread was interrupted by the time. `Some`: on the way to a good place for it something
    /// else came. `goal` is an instruction that may be the one looked for.
    pub(crate) fn pause(&mut self, event: &Event, goal: Option<u64>) -> Result<Option<Ran>, TracerError> {
        if let Some(scout) = &mut self.scout {
            scout.paused();
        }
        let stepped = self.settle(event, goal);
        let since = std::mem::replace(&mut self.last_checkpoint, Instant::now());
        match stepped? {
            Settled::Came(ran) => return Ok(Some(ran)),
            Settled::Nowhere => return Ok(None),
            Settled::Good => {}
        }
        if self.scout.is_some() {
            return self.scout_pause().map(|()| None);
        }
        let main = self.at.main() + since.elapsed().as_nanos() as u64;
        self.name_here(Landmark::of_main(main));
        self.add_checkpoint(Purpose::Spaced)?;
        Ok(None)
    }

    /// The present place gets this name.
    pub(crate) fn name_here(&mut self, landmark: Landmark) {
        self.at = Position::at_event(self.at.event).then(Leg::Landmark(landmark));
        self.counts.clear();
    }

    /// Steps to an instruction where a stub can be planted.
    fn settle(&mut self, event: &Event, goal: Option<u64>) -> Result<Settled, TracerError> {
        let space = self.world.task(event.thread)?.space;
        for steps in 0..STEPS_MAX {
            let rip = self.world.registers(event.thread)?.rip;
            if goal == Some(rip) {
                return Ok(Settled::Came(Ran::Step));
            }
            if self.is_good_site(space, rip, steps)? {
                return Ok(Settled::Good);
            }
            let ran = self.step_thread(event.thread)?;
            let at_breakpoint = {
                let rip = self.world.registers(event.thread)?.rip;
                self.world.space(space)?.planted.contains_key(&rip)
            };
            if ran != Ran::Step || at_breakpoint {
                return Ok(Settled::Came(ran));
            }
        }
        Ok(Settled::Nowhere)
    }

    fn is_good_site(&self, space: trace::SpaceId, rip: u64, steps: usize) -> Result<bool, TracerError> {
        let planted = &self.world.space(space)?.planted;
        let near = rip.saturating_sub(patch::JUMP_BYTES as u64)..=rip + patch::JUMP_BYTES as u64;
        if planted.range(near).next().is_some() {
            return Ok(false);
        }
        let mut region = [0; 2 * NEIGHBOURHOOD_BYTES as usize];
        // At the start of a mapping there is less before the address.
        for start in [rip.saturating_sub(NEIGHBOURHOOD_BYTES), rip & !(PAGE - 1)] {
            let read = self.world.read_memory(space, start, &mut region).unwrap_or(0);
            let region = &region[..read];
            let Some(code) = region.get((rip - start) as usize..) else { continue };
            if is_quiet(region, start, rip) || steps >= CHOOSY_STEPS && plantable(code, rip) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Goes to a landmark that lies ahead.
    pub(crate) fn go_landmark(
        &mut self,
        event: &Event,
        landmark: &Landmark,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Went, TracerError> {
        let copy = self.copy_at(landmark)?;
        let copied = Copied::new(&copy, event.thread);
        let sought = copied.sought().ok_or(TracerError::Inconsistent("a landmark belongs to no thread"))?;
        let site = sought.registers.rip;
        self.prepare(event.thread, guard, Extras::avoiding(site), &[])?;
        self.landmark_searches.entry(landmark.number()).or_default().set_out();
        loop {
            let mut search = self.landmark_searches.remove(&landmark.number()).unwrap_or_default();
            let standing = self.world.is_at_sought(sought, &search)?;
            let interrupt = self.interrupt.clone();
            let run = RunOptions { others: &[], limit: self.pause_time(), interrupt: &interrupt };
            let found = self.world.run_to_sought(sought, &mut search, &run);
            self.landmark_searches.insert(landmark.number(), search);
            let mut ran = match found? {
                Found::Point if standing => return Ok(Went::Through),
                Found::Point => return self.arrive_at_landmark(event, site, guard, on_hit),
                Found::Missed(wider) => {
                    self.landmark_searches.insert(landmark.number(), wider);
                    self.begin_again()?;
                    self.prepare(event.thread, guard, Extras::avoiding(site), &[])?;
                    continue;
                }
                Found::Other(ran) => ran,
            };
            if ran == Ran::Interrupted && !self.interrupt.is_requested() {
                match self.pause(event, Some(site))? {
                    None => continue,
                    Some(other) => ran = other,
                }
            }
            match self.look_at(event.thread, ran, None, guard, on_hit)? {
                Some(went) => return Ok(went),
                None if matches!(ran, Ran::Breakpoint(_) | Ran::Watch(_) | Ran::Step) => {}
                None => {
                    self.lost = true;
                    self.missed = Some(landmark.clone());
                    return Err(TracerError::Inconsistent("a landmark is not found again"));
                }
            }
        }
    }

    /// The thread stands at a landmark: whether it comes to a place that looks the same before the time is over.
    pub(crate) fn comes_again(
        &mut self,
        event: &Event,
        landmark: &Landmark,
        limit: Instant,
    ) -> Result<bool, TracerError> {
        let copy = self.copy_at(landmark)?;
        let copied = Copied::new(&copy, event.thread);
        let sought = copied.sought().ok_or(TracerError::Inconsistent("a landmark belongs to no thread"))?;
        let space = self.world.task(event.thread)?.space;
        self.world.set_breakpoints(space, &[])?;
        self.world.set_watches(event.thread, &[])?;
        // One step away, so that it is not found where it stands.
        if self.step_thread(event.thread)? != Ran::Step {
            return Ok(false);
        }
        let interrupt = self.interrupt.clone();
        let run = RunOptions { others: &[], limit: Some(limit), interrupt: &interrupt };
        let found = self.world.run_to_sought(sought, &mut super::point::Search::default(), &run)?;
        Ok(matches!(found, Found::Point))
    }

    /// A stop that was not looked at: a breakpoint may be there.
    fn arrive_at_landmark(
        &mut self,
        event: &Event,
        site: u64,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Went, TracerError> {
        let space = self.world.task(event.thread)?.space;
        if !self.world.space(space)?.planted.contains_key(&site) {
            self.counts.stops += 1;
            return Ok(Went::Through);
        }
        let went = self.look_at(event.thread, Ran::Breakpoint(site), None, guard, on_hit)?;
        Ok(went.unwrap_or(Went::Through))
    }

    /// The copy that was made at a landmark.
    pub(crate) fn copy_at(&self, landmark: &Landmark) -> Result<std::rc::Rc<FrozenWorld>, TracerError> {
        let is_it = |position: &Position| matches!(position.legs.as_slice(), [Leg::Landmark(known)] if known == landmark);
        let found = self.checkpoints.iter().find(|checkpoint| is_it(&checkpoint.position));
        found
            .map(|checkpoint| checkpoint.world.clone())
            .ok_or(TracerError::Inconsistent("a position of another session"))
    }

    /// Back to the present position, after a run that went past what it looked for.
    pub(crate) fn begin_again(&mut self) -> Result<(), TracerError> {
        let here = self.at.clone();
        self.lost = true;
        let scout = self.scout.take();
        let result = self.travel(&here);
        self.scout = scout;
        if let Some(scout) = &mut self.scout {
            scout.world_changed();
        }
        result.map(drop)
    }
}

/// Where stepping to a good place for a landmark ended.
enum Settled {
    Good,
    /// No instruction would do.
    Nowhere,
    Came(Ran),
}

/// The instruction of the point that the run is going to.
pub(crate) fn site_of(event: &Event) -> Option<u64> {
    matches!(event.kind, EventKind::ForcedPoint { .. }).then_some(event.registers.rip)
}

/// Times between landmarks below this are not worth one.
pub(crate) const PAUSE_MIN: Duration = Duration::from_micros(20);
