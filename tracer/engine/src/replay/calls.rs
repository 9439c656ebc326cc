//! Runs of system calls, served inside the replayed process.
//!
//! What the agent has logged is replayed by the agent: the thread's `syscall` instructions are hooked, a run's records are
//! put into the process, and the agent compares each call with its record and gives it the recorded results, without a
//! stop. Hooks are planted for a run only; outside of it nobody meets them. To everybody else each call is an event as
//! ever: a stop in the midst of a run is at the event that comes next.

use std::collections::BTreeMap;
use std::ops::Range;

use agent::{area, control};
use patch::{Hook, ROOM_BYTES};
use trace::{CallsRun, Registers, SpaceId, ThreadId, registers_at_entry};

use super::planted::Extras;
use super::position::Position;
use super::run::Ran;
use super::session::Session;
use super::travel::{Guard, OnHit, Went};
use super::world::{Space, World};
use crate::TracerError;

/// A run that is shorter is not worth the hooks.
const RUN_MIN: u64 = 8;

/// More ranges for trampolines are not mapped in a process.
const ARENAS_MAX: usize = 32;

/// What a replayed address space has for its agent.
#[derive(Clone, Default)]
pub(crate) struct Serving {
    /// The agent and its memory are mapped.
    mapped: bool,
    arenas: Vec<Range<u64>>,
    /// Hooks by site; their trampolines are written, they themselves only during a run.
    hooks: BTreeMap<u64, Hook>,
}

impl Serving {
    /// Forgets what the program's own mappings replace.
    pub(crate) fn mapped_over(&mut self, range: &Range<u64>) {
        let touches = |other: &Range<u64>| other.start < range.end && range.start < other.end;
        self.mapped &= !touches(&(agent::CODE_START..agent::SHARED_END));
        let gone = |hook: &Hook| touches(&(hook.site..hook.end)) || touches(&extent(hook));
        self.hooks.retain(|_, hook| !gone(hook));
        if self.arenas.iter().any(touches) {
            let lost: Vec<Range<u64>> = self.arenas.extract_if(.., |arena| touches(arena)).collect();
            self.hooks.retain(|_, hook| !lost.iter().any(|arena| arena.contains(&hook.trampoline)));
        }
    }

    /// Nothing of it lies in a range.
    pub(crate) fn leaves_free(&self, range: &Range<u64>) -> bool {
        let touches = |ours: &Range<u64>| ours.start < range.end && range.start < ours.end;
        !(self.mapped && touches(&(agent::CODE_START..agent::SHARED_END)) || self.arenas.iter().any(touches))
    }

    /// Plans a hook with a trampoline in one of the arenas.
    fn plan(&self, site: u64, code: &[u8]) -> Option<Hook> {
        let free = |start: u64, end: u64| {
            self.hooks.values().map(extent).all(|used| end <= used.start || used.end <= start)
        };
        self.arenas.iter().find_map(|arena| patch::hook(site, code, agent::ENTRY, arena, &free).ok())
    }

    fn of_trampoline(&self, address: u64) -> Option<&Hook> {
        self.hooks.values().find(|hook| hook.contains(address))
    }
}

fn extent(hook: &Hook) -> Range<u64> {
    hook.trampoline..hook.trampoline + hook.trampoline_bytes.len() as u64
}

/// A run in progress.
struct Served {
    thread: ThreadId,
    space: SpaceId,
    /// Number of the first event that was put into the process.
    first: u64,
    /// The hooks that are planted.
    sites: Vec<u64>,
}

impl Session {
    /// Goes through calls up to the event `limit` at once; `None` when the next event is no such call, or has to be seen.
    /// When it comes back `Through`, some events have been applied, and the thread may stand at the next.
    pub(crate) fn run_calls(
        &mut self,
        limit: u64,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Option<Went>, TracerError> {
        let first = self.at.event;
        if !guard.allows_runs() || limit < first + RUN_MIN {
            return Ok(None);
        }
        let Some(run) = self.trace.calls(first)? else { return Ok(None) };
        let thread = run.thread();
        let arrived = self.world.tasks.get(&thread).is_none_or(|task| task.arrived);
        let mut end = limit.min(run.end());
        if self.output.is_some() && self.reproduced < end {
            end = end.min(run.next_output(first.max(self.reproduced)).unwrap_or(end));
        }
        if arrived || end < first + RUN_MIN {
            return Ok(None);
        }
        let Some(served) = self.begin_run(&run, first..end, guard)? else { return Ok(None) };
        let result = self.run_served(&served, guard, on_hit);
        self.world.end_run(&served)?;
        result.map(Some)
    }

    fn begin_run(
        &mut self,
        run: &CallsRun,
        events: Range<u64>,
        guard: &Guard<'_>,
    ) -> Result<Option<Served>, TracerError> {
        let (thread, space) = (run.thread(), run.space());
        let image = self.image_of(thread).unwrap_or(0);
        let breakpoints = guard.addresses(image);
        self.world.set_breakpoints(space, &[])?;
        let Some((words, records)) = run.records(events.clone()) else { return Ok(None) };
        if !self.world.load_run(space, &words, records)? {
            return Ok(None);
        }
        let mut sites = Vec::new();
        for site in run.sites() {
            if self.world.plant_hook(space, site, &breakpoints)? {
                sites.push(site);
            }
        }
        self.world.move_threads(space, &sites, Hook::copy_of)?;
        self.prepare(thread, guard, Extras::stepping(), &[])?;
        Ok(Some(Served { thread, space, first: events.start, sites }))
    }

    fn run_served(
        &mut self,
        served: &Served,
        guard: &mut Guard<'_>,
        on_hit: OnHit<'_>,
    ) -> Result<Went, TracerError> {
        loop {
            let ran = self.run_free(served.thread, None)?;
            let behind = self.world.settle(served)?;
            self.passed(served.first + self.world.count_served(served.space)?);
            if behind {
                return Ok(Went::Through);
            }
            match self.look_at(served.thread, ran, None, guard, on_hit)? {
                Some(went) => return Ok(went),
                None if matches!(ran, Ran::Breakpoint(_)) => {}
                None => {
                    let event = self.trace.event(self.at.event)?;
                    self.check(&event, &ran)?;
                    return self.arrive(&event);
                }
            }
        }
    }

    /// Notes that all events before this one have been applied.
    fn passed(&mut self, event: u64) {
        if event > self.at.event {
            self.at = Position::at_event(event);
            self.counts.clear();
            self.interrupt.at_event(event);
        }
    }
}

impl World {
    /// Puts records into a process, for its agent to serve. False when there is no room for it.
    fn load_run(
        &mut self,
        space: SpaceId,
        words: &[u64; trace::RECORD_WORDS],
        records: &[u8],
    ) -> Result<bool, TracerError> {
        let failed = TracerError::system("prepare a replay process for a run of calls");
        let home = self.space_mut(space)?;
        if !home.map_agent().map_err(&failed)? {
            return Ok(false);
        }
        if records.len() as u64 > agent::SHARED_END - agent::LOG_START {
            return Ok(false);
        }
        let memory = &home.shell.memory;
        let set = |offset: u64, value: u64| memory.write(agent::SHARED_START + offset, &value.to_le_bytes());
        memory.write(agent::LOG_START, records).map_err(&failed)?;
        let words: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        memory.write(agent::SHARED_START + control::LAST, &words).map_err(&failed)?;
        for (offset, value) in [
            (control::ATTENTION, 0),
            (control::HEAD, 0),
            (control::COUNT, 0),
            (control::TURN, agent::AREAS_START),
            (control::END, records.len() as u64),
        ] {
            set(offset, value).map_err(&failed)?;
        }
        Ok(true)
    }

    /// Hooks a site for a run, unless a breakpoint is in the way or it cannot be done.
    fn plant_hook(&mut self, space: SpaceId, site: u64, breakpoints: &[u64]) -> Result<bool, TracerError> {
        let failed = TracerError::system("hook a system call");
        let home = self.space_mut(space)?;
        let mut code = [0; 32];
        let Ok(read) = home.shell.memory.read_some(site, &mut code) else { return Ok(false) };
        let known = home.serving.hooks.get(&site);
        if known.is_none_or(|hook| code[..patch::JUMP_BYTES] != hook.original[..]) {
            home.serving.hooks.remove(&site);
            let Some(hook) = home.plan_hook(site, &code[..read]).map_err(&failed)? else { return Ok(false) };
            home.shell.memory.write(hook.trampoline, &hook.trampoline_bytes).map_err(&failed)?;
            home.serving.hooks.insert(site, hook);
        }
        let Some(hook) = home.serving.hooks.get(&site) else { return Ok(false) };
        if breakpoints.iter().any(|address| (hook.site..hook.end).contains(address)) {
            return Ok(false);
        }
        home.shell.memory.write(site, &hook.site_bytes).map_err(&failed)?;
        Ok(true)
    }

    /// Moves all threads that stand inside the bytes of these hooks, or in their copies.
    fn move_threads(
        &self,
        space: SpaceId,
        sites: &[u64],
        to: impl Fn(&Hook, u64) -> Option<u64>,
    ) -> Result<(), TracerError> {
        let hooks = &self.space(space)?.serving.hooks;
        for (id, _) in self.tasks.iter().filter(|(_, task)| task.space == space) {
            let registers = self.registers(*id)?;
            let rip = sites.iter().find_map(|site| to(hooks.get(site)?, registers.rip));
            if let Some(rip) = rip {
                self.set_registers(*id, &Registers { rip, ..registers })?;
            }
        }
        Ok(())
    }

    /// Takes the hooks of a run away.
    fn end_run(&mut self, served: &Served) -> Result<(), TracerError> {
        self.set_breakpoints(served.space, &[])?;
        self.move_threads(served.space, &served.sites, Hook::original_rip)?;
        let home = self.space(served.space)?;
        for site in &served.sites {
            if let Some(hook) = home.serving.hooks.get(site) {
                let restored = home.shell.memory.write(hook.site, &hook.original);
                restored.map_err(TracerError::system("take a hook away"))?;
            }
        }
        let end = agent::SHARED_START + control::END;
        home.shell.memory.write(end, &0u64.to_le_bytes()).map_err(TracerError::system("end a run of calls"))
    }

    /// How many calls of the run have been served.
    fn count_served(&self, space: SpaceId) -> Result<u64, TracerError> {
        let memory = &self.space(space)?.shell.memory;
        memory
            .word(agent::SHARED_START + control::COUNT)
            .map_err(TracerError::system("read the agent's memory"))
    }

    /// Gives a thread that has stopped in a run its own registers again. True when all calls have been served and it
    /// stands behind the last.
    fn settle(&mut self, served: &Served) -> Result<bool, TracerError> {
        let registers = self.registers(served.thread)?;
        let serving = &self.space(served.space)?.serving;
        if let Some(hook) = serving.of_trampoline(registers.rip) {
            if let Some((rip, rcx)) = hook.original_rip_and_rcx(registers.rip, registers.rcx) {
                self.set_registers(served.thread, &Registers { rip, rcx, ..registers })?;
            }
            return Ok(false);
        }
        if registers.rip != agent::PAUSE + 1 {
            return Ok(false);
        }
        let failed = TracerError::system("read the agent's memory");
        let memory = self.memory_of(served.thread)?;
        let word = |offset: u64| memory.word(agent::AREAS_START + offset).map_err(&failed);
        let next = word(area::NEXT)?;
        let mut saved = [0; trace::SAVED_REGISTERS];
        for (index, register) in saved.iter_mut().enumerate() {
            *register = word(area::SAVED + 8 * index as u64)?;
        }
        let entry = registers_at_entry(&saved, next, &registers);
        let own = Registers { rax: word(area::RESULT)?, ..entry };
        memory.write(agent::SHARED_START + control::PAUSE, &[0; 4]).map_err(&failed)?;
        self.set_registers(served.thread, &own)?;
        Ok(true)
    }
}

impl Space {
    /// Maps the agent; false when the program has something of its own there.
    fn map_agent(&mut self) -> std::io::Result<bool> {
        if self.serving.mapped {
            return Ok(true);
        }
        if !self.layout.is_free(agent::CODE_START, agent::SHARED_END) {
            return Ok(false);
        }
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
        let map = |start: u64, end: u64, protection: i32| {
            self.shell.call(libc::SYS_mmap, [start, end - start, protection as u64, flags, u64::MAX, 0])
        };
        map(agent::CODE_START, agent::SHARED_START, libc::PROT_READ | libc::PROT_EXEC)?;
        map(agent::SHARED_START, agent::SHARED_END, libc::PROT_READ | libc::PROT_WRITE)?;
        self.shell.memory.write(agent::CODE_START, agent::IMAGE)?;
        self.serving.mapped = true;
        Ok(true)
    }

    fn plan_hook(&mut self, site: u64, code: &[u8]) -> std::io::Result<Option<Hook>> {
        let planned = self.serving.plan(site, code);
        if planned.is_some() || self.serving.arenas.len() >= ARENAS_MAX {
            return Ok(planned);
        }
        let is_free =
            |start: &u64| *start > agent::SHARED_END && self.layout.is_free(*start, start + ROOM_BYTES);
        let Some(start) = patch::rooms(site).find(is_free) else { return Ok(None) };
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
        let protection = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        self.shell.call(libc::SYS_mmap, [start, ROOM_BYTES, protection, flags, u64::MAX, 0])?;
        self.serving.arenas.push(start..start + ROOM_BYTES);
        Ok(self.serving.plan(site, code))
    }
}
