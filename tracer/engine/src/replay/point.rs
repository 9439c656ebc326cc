//! Finding a forced point again (DESIGN.md §3.3).
//!
//! A stub at the recorded address compares the registers on every visit, in a nanosecond. Where they agree, the lines of
//! memory are compared here; if one differs, it is added to what the stub compares, and the thread goes on. When all
//! registers and all written memory agree, the visit has the same future as the recorded one, and is as good.

use std::time::Instant;

use patch::{Condition, GeneralRegisters, LINE_BYTES, line_hash};
use trace::{Event, Fingerprint, LineHash, Registers, ThreadId};

use super::Interrupt;
use super::apply::comparable;
use super::guard::CodeGuard;
use super::run::{Extent, Planted, Ran};
use super::world::World;
use crate::TracerError;
use crate::sys::memory::Memory;
use crate::sys::ptrace;
use crate::sys::xstate;

/// How many lines a stub compares at most.
const STUB_LINES_MAX: usize = 48;

/// A visit that differs in more lines than this is not taken for the recorded one, however it goes on.
pub(crate) const FORGIVEN_LINES_MAX: usize = 8;

/// So many writes to a page of code that is searched are waited for; each costs some stops.
const GUARDED_WRITES_MAX: u32 = 50_000;

/// How often a search is repeated with more lines forgiven.
const FORGIVEN_ROUNDS_MAX: usize = 4;

/// What is known about a forced point from earlier searches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    /// Lines that told visits apart.
    lines: Vec<LineHash>,
    /// Lines that differed at every visit: uninitialised remains of an XSAVE, which differ between identical runs.
    forgiven: Vec<u64>,
    /// The extended state differed at the only visit that agreed in everything else: what dead vector registers hold is
    /// not always the same.
    any_xstate: bool,
    /// How many matching visits turned out not to be the recorded one.
    pub(crate) skipped: u32,
    /// What the run in progress has met, which may be interrupted and go on.
    met: Met,
}

/// What a run towards a point has met.
#[derive(Clone, Debug, Default)]
struct Met {
    /// The lines that differed at the closest visit.
    closest: Option<Vec<LineHash>>,
    /// Matching visits that were passed.
    passed: u32,
}

impl Search {
    /// A run from before the point begins.
    pub(crate) fn set_out(&mut self) {
        self.met = Met::default();
    }

    /// The search that may succeed when this one has not: what differed at the closest visit is forgiven. `None` when that
    /// was too much.
    pub(crate) fn wider(&self) -> Option<Search> {
        let closest = self.met.closest.as_ref()?;
        if closest.is_empty() {
            let wider = || Search { any_xstate: true, met: Met::default(), ..self.clone() };
            return (!self.any_xstate).then(wider);
        }
        let room = self.forgiven.len() < FORGIVEN_LINES_MAX * FORGIVEN_ROUNDS_MAX;
        (closest.len() <= FORGIVEN_LINES_MAX && room).then(|| {
            let mut wider = Search { met: Met::default(), ..self.clone() };
            wider.forgiven.extend(closest.iter().map(|line| line.line));
            wider.lines.retain(|line| !wider.forgiven.contains(&line.line));
            wider
        })
    }
}

/// How a thread is run to its point.
pub(crate) struct RunOptions<'a> {
    /// Stubs that are planted already.
    pub(crate) others: &'a [&'a Planted],
    pub(crate) limit: Option<Instant>,
    pub(crate) interrupt: &'a Interrupt,
}

/// What the memory at a place looks like.
pub(crate) trait Likeness {
    /// Lines whose contents are others there, up to one more than can be forgiven.
    fn differing(&self, memory: &Memory, forgiven: &[u64]) -> Vec<LineHash>;

    /// [`xstate::canonical_hash`] there.
    fn xstate_hash(&self) -> u64;
}

impl Likeness for Fingerprint {
    fn differing(&self, memory: &Memory, forgiven: &[u64]) -> Vec<LineHash> {
        differing(memory, &self.lines, forgiven)
    }

    fn xstate_hash(&self) -> u64 {
        self.xstate_hash
    }
}

/// A place that is looked for.
#[derive(Clone, Copy)]
pub(crate) struct Sought<'a> {
    pub(crate) thread: ThreadId,
    pub(crate) registers: &'a Registers,
    pub(crate) likeness: &'a dyn Likeness,
}

impl<'a> Sought<'a> {
    /// A forced point.
    pub(crate) fn point(event: &'a Event, fingerprint: &'a Fingerprint) -> Sought<'a> {
        Sought { thread: event.thread, registers: &event.registers, likeness: fingerprint }
    }
}

/// The outcome of one look at a visit.
enum Verdict {
    Same,
    Differs(Vec<LineHash>),
}

/// How a search ended.
pub(crate) enum Found {
    Point,
    /// Something else came first: a breakpoint, a watch, an interrupt.
    Other(Ran),
    /// The thread went past; with these lines forgiven the search may succeed.
    Missed(Search),
}

impl World {
    /// Runs the thread to the forced point `event`, or to what comes before it.
    pub(crate) fn run_to_point(
        &mut self,
        event: &Event,
        fingerprint: &Fingerprint,
        search: &mut Search,
        run: &RunOptions<'_>,
    ) -> Result<Found, TracerError> {
        self.run_to_sought(Sought::point(event, fingerprint), search, run)
    }

    /// Runs the thread to the place, or to what comes before it.
    pub(crate) fn run_to_sought(
        &mut self,
        sought: Sought<'_>,
        search: &mut Search,
        run: &RunOptions<'_>,
    ) -> Result<Found, TracerError> {
        let layout = &self.space(self.task(sought.thread)?.space)?.layout;
        let stubs = run.others.iter().map(|planted| planted.stub.site);
        let patched = stubs.chain([sought.registers.rip]).flat_map(|site| layout.aliases(site)).collect();
        let seeker = Seeker { sought, patched };
        if seeker.look(self, search)? {
            return Ok(Found::Point);
        }
        match self.plant(sought.thread, sought.registers.rip, &seeker.condition(search), run.others)? {
            Some(planted) => seeker.run_with_stub(self, planted, search, run),
            None => seeker.run_with_trap(self, search, run),
        }
    }

    /// Whether the thread stands at the forced point.
    pub(crate) fn is_at_point(
        &self,
        event: &Event,
        fingerprint: &Fingerprint,
        search: &Search,
    ) -> Result<bool, TracerError> {
        self.is_at_sought(Sought::point(event, fingerprint), search)
    }

    /// Whether the thread stands at the place.
    pub(crate) fn is_at_sought(&self, sought: Sought<'_>, search: &Search) -> Result<bool, TracerError> {
        let mut search = Search { skipped: 0, ..search.clone() };
        Seeker { sought, patched: Vec::new() }.look(self, &mut search)
    }
}

struct Seeker<'a> {
    sought: Sought<'a>,
    /// Where stubs are planted meanwhile, or show.
    patched: Vec<u64>,
}

impl Seeker<'_> {
    fn condition(&self, search: &Search) -> Condition {
        let lines = search.lines.iter().map(|line| (line.line, line.hash)).collect();
        Condition::Match { registers: general(self.sought.registers), lines }
    }

    /// Whether the thread stands at the point; a line that tells it apart is remembered.
    fn look(&self, world: &World, search: &mut Search) -> Result<bool, TracerError> {
        let registers = world.registers(self.sought.thread)?;
        if comparable(&registers).first_difference(&comparable(self.sought.registers)).is_some() {
            return Ok(false);
        }
        match self.judge(world, search)? {
            Verdict::Same if search.met.passed < search.skipped => {
                search.met.passed += 1;
                Ok(false)
            }
            Verdict::Same => Ok(true),
            Verdict::Differs(lines) => {
                if let Some(first) = lines.first()
                    && search.lines.len() < STUB_LINES_MAX
                    && !search.lines.contains(first)
                {
                    search.lines.push(*first);
                }
                let closest = &mut search.met.closest;
                if closest.as_ref().is_none_or(|closest| lines.len() < closest.len()) {
                    *closest = Some(lines);
                }
                Ok(false)
            }
        }
    }

    /// Whether a line holds code of the program that is overwritten by a stub or a breakpoint at the moment: code that was
    /// generated a short while ago is part of a fingerprint.
    fn is_patched(&self, world: &World, line: &LineHash) -> bool {
        let start = line.line * LINE_BYTES as u64;
        let end = start + LINE_BYTES as u64;
        let by_stub = |site: &u64| site + patch::JUMP_BYTES as u64 > start && *site < end;
        self.patched.iter().any(by_stub) || world.shows_breakpoint(self.sought.thread, start..end)
    }

    fn judge(&self, world: &World, search: &Search) -> Result<Verdict, TracerError> {
        let memory = world.memory_of(self.sought.thread)?;
        let mut lines = self.sought.likeness.differing(memory, &search.forgiven);
        lines.retain(|line| !self.is_patched(world, line));
        if !lines.is_empty() {
            return Ok(Verdict::Differs(lines));
        }
        let state = ptrace::xstate(world.task(self.sought.thread)?.real)
            .map_err(TracerError::system("read extended state"))?;
        let same = search.any_xstate || xstate::canonical_hash(&state) == self.sought.likeness.xstate_hash();
        Ok(if same { Verdict::Same } else { Verdict::Differs(Vec::new()) })
    }

    fn run_with_stub(
        self,
        world: &mut World,
        planted: Planted,
        search: &mut Search,
        run: &RunOptions<'_>,
    ) -> Result<Found, TracerError> {
        let thread = self.sought.thread;
        let guard = world.guard_code(thread, self.sought.registers.rip)?;
        let found = self.run_with_guarded_stub(world, planted, guard.as_ref(), search, run);
        guard.iter().try_for_each(|guard| world.lift_guard(thread, guard))?;
        found
    }

    fn run_with_guarded_stub(
        self,
        world: &mut World,
        mut planted: Planted,
        guard: Option<&CodeGuard>,
        search: &mut Search,
        run: &RunOptions<'_>,
    ) -> Result<Found, TracerError> {
        let thread = self.sought.thread;
        let mut writes = 0;
        // The thread may stand at the site already, at a visit that has just been judged.
        let mut judged = world.registers(thread)?.rip == planted.stub.site;
        loop {
            if judged {
                pass(world, thread, &planted)?;
            }
            let stubs: Vec<&Planted> = std::iter::once(&planted).chain(run.others.iter().copied()).collect();
            let ran = world.run(thread, Extent::Free, &stubs, run.limit, run.interrupt)?;
            if let (Ran::Signal(info), Some(guard)) = (&ran, guard)
                && guard.was_met(info)
            {
                // The code at the site may be generated only now: the stub must not be in the way, nor be overwritten.
                world.unplant(thread, &planted)?;
                writes += 1;
                let ran = world.write_guarded(thread, guard, run, writes < GUARDED_WRITES_MAX)?;
                if ran != Ran::Step {
                    return Ok(self.ended(ran, search));
                }
                judged = world.registers(thread)?.rip == self.sought.registers.rip;
                if judged && self.look(world, search)? {
                    return Ok(Found::Point);
                }
                match world.plant(thread, self.sought.registers.rip, &self.condition(search), run.others)? {
                    Some(again) => planted = again,
                    None => return self.run_with_trap(world, search, run),
                }
                continue;
            }
            if ran != Ran::Stub(0) {
                world.unplant(thread, &planted)?;
                return Ok(self.ended(ran, search));
            }
            let known = search.lines.len();
            if self.look(world, search)? {
                world.unplant(thread, &planted)?;
                return Ok(Found::Point);
            }
            judged = true;
            if search.lines.len() > known {
                world.unplant(thread, &planted)?;
                match world.plant(thread, self.sought.registers.rip, &self.condition(search), run.others)? {
                    Some(sharper) => planted = sharper,
                    None => return self.run_with_trap(world, search, run),
                }
            }
        }
    }

    /// The last resort, where no stub fits: a breakpoint, a few microseconds a visit.
    fn run_with_trap(
        self,
        world: &mut World,
        search: &mut Search,
        run: &RunOptions<'_>,
    ) -> Result<Found, TracerError> {
        let thread = self.sought.thread;
        let site = self.sought.registers.rip;
        let space = world.task(thread)?.space;
        let before: Vec<u64> = world.space(space)?.planted.keys().copied().collect();
        let shared = before.contains(&site);
        if !shared {
            world.set_breakpoints(space, &[before.as_slice(), &[site]].concat())?;
        }
        let found = loop {
            let ran = world.run(thread, Extent::Free, run.others, run.limit, run.interrupt)?;
            if ran != Ran::Breakpoint(site) {
                break self.ended(ran, search);
            }
            if self.look(world, search)? {
                break Found::Point;
            }
            if shared {
                break Found::Other(ran);
            }
        };
        world.set_breakpoints(space, &before)?;
        Ok(found)
    }

    fn ended(&self, ran: Ran, search: &Search) -> Found {
        let on_the_way =
            matches!(ran, Ran::Breakpoint(_) | Ran::Watch(_) | Ran::Interrupted | Ran::Step | Ran::Stub(_));
        let wider = if on_the_way { None } else { search.wider() };
        wider.map_or(Found::Other(ran), Found::Missed)
    }
}

/// Lets a thread that stands at the site go past it without another check.
fn pass(world: &World, thread: ThreadId, planted: &Planted) -> Result<(), TracerError> {
    let registers = world.registers(thread)?;
    world.set_registers(thread, &Registers { rip: planted.stub.resume_rip, ..registers })
}

pub(crate) fn general(registers: &Registers) -> GeneralRegisters {
    GeneralRegisters {
        rax: registers.rax,
        rcx: registers.rcx,
        rdx: registers.rdx,
        rbx: registers.rbx,
        rsp: registers.rsp,
        rbp: registers.rbp,
        rsi: registers.rsi,
        rdi: registers.rdi,
        r8: registers.r8,
        r9: registers.r9,
        r10: registers.r10,
        r11: registers.r11,
        r12: registers.r12,
        r13: registers.r13,
        r14: registers.r14,
        r15: registers.r15,
        eflags: registers.rflags,
    }
}

/// The lines whose contents are not the recorded ones; gives up counting at one more than can be forgiven.
fn differing(memory: &Memory, lines: &[LineHash], forgiven: &[u64]) -> Vec<LineHash> {
    const PAGE_LINES: u64 = 64;
    let mut different = Vec::new();
    let mut page = [0u8; PAGE_LINES as usize * LINE_BYTES];
    let mut loaded = None;
    for line in lines.iter().filter(|line| !forgiven.contains(&line.line)) {
        let number = line.line / PAGE_LINES;
        if loaded != Some(number) {
            loaded = Some(number);
            if memory.read(number * page.len() as u64, &mut page).is_err() {
                page.fill(0);
            }
        }
        let contents = page.as_chunks::<LINE_BYTES>().0[(line.line % PAGE_LINES) as usize];
        if line_hash(&contents) != line.hash {
            different.push(*line);
            if different.len() > FORGIVEN_LINES_MAX {
                break;
            }
        }
    }
    different
}
