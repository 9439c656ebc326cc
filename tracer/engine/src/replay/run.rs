//! Running one thread of a replay until something happens: the mechanics of breakpoints, watchpoints, steps and stubs.
//! What it means is decided elsewhere.

use std::collections::BTreeMap;
use std::time::Instant;

use patch::{Condition, Stub};
use trace::{Registers, ThreadId};

use super::planted::Met;
use super::world::{SERVICE_PAGE, Space, World, settled};
use super::{Interrupt, Watch};
use crate::TracerError;
use crate::sys::ptrace::{self, Resume, SignalInfo, Wait};
use crate::sys::signal;

/// Why a thread stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ran {
    /// At the entry of a system call, which has not been executed.
    Syscall,
    /// An instruction raised a signal.
    Signal(SignalInfo),
    /// At the instruction of a breakpoint, before it executes.
    Breakpoint(u64),
    /// After an instruction that touched watched memory: a bit for each watch.
    Watch(u8),
    /// After one instruction.
    Step,
    /// At the site of a stub whose condition holds: its index.
    Stub(usize),
    /// The time was over, or the user wants to stop. The thread may stand anywhere.
    Interrupted,
}

/// How far to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Free,
    OneInstruction,
}

/// A stub that is planted.
#[derive(Clone, Debug)]
pub(crate) struct Planted {
    pub(crate) stub: Stub,
    start: u64,
    len: u64,
}

/// `TRAP_TRACE` and `TRAP_HWBKPT` (sigaction(2)).
const TRAP_TRACE: i32 = 2;
const TRAP_HWBKPT: i32 = 4;

/// DR6 and DR7 (Intel SDM volume 3, section 19.2).
const STATUS: usize = 6;
const CONTROL: usize = 7;

const TRAP: u8 = 0xcc;
const PAGE: u64 = 4096;

impl World {
    /// Runs a thread. Breakpoints and a stub are planted by the caller; one at the place where the thread stands does
    /// not count.
    pub(crate) fn run(
        &mut self,
        id: ThreadId,
        extent: Extent,
        stubs: &[&Planted],
        limit: Option<Instant>,
        interrupt: &Interrupt,
    ) -> Result<Ran, TracerError> {
        let real = self.task(id)?.real;
        if interrupt.is_requested() {
            // Where stops come quickly one after the other, no wait would ever look.
            return Ok(Ran::Interrupted);
        }
        self.leave_sentry(id)?;
        if let Some(ran) = self.leave_breakpoint(id, real, extent, interrupt)? {
            return Ok(ran);
        }
        let how = if extent == Extent::OneInstruction { Resume::EmulateStep } else { Resume::Emulate };
        loop {
            let pushes_flags = extent == Extent::OneInstruction && self.next_pushes_flags(id, real)?;
            ptrace::resume(real, how, 0).map_err(TracerError::system("run a replay thread"))?;
            let stop = wait(real, limit, interrupt)?;
            if pushes_flags {
                self.clear_trap_flag(id, real)?;
            }
            if let Some(ran) = self.classify(id, real, stop, stubs)? {
                return Ok(ran);
            }
        }
    }

    /// Executes the instruction under a breakpoint at which the thread stands.
    fn leave_breakpoint(
        &mut self,
        id: ThreadId,
        real: i32,
        extent: Extent,
        interrupt: &Interrupt,
    ) -> Result<Option<Ran>, TracerError> {
        let rip = self.registers(id)?.rip;
        let space = self.task(id)?.space;
        let Some(original) = self.planted(space)?.get(&rip).copied() else { return Ok(None) };
        let failed = TracerError::system("step over a breakpoint");
        self.space(space)?.write(rip, &[original]).map_err(&failed)?;
        // A repeated string instruction stays where it is while it goes on: that is no new arrival.
        let ran = loop {
            let ran = self.step_once(id, real, interrupt)?;
            let goes_on = ran == Ran::Step && extent == Extent::Free && self.registers(id)?.rip == rip;
            if !goes_on || interrupt.is_requested() {
                break ran;
            }
        };
        self.space(space)?.write(rip, &[TRAP]).map_err(&failed)?;
        if ran != Ran::Step || extent == Extent::OneInstruction {
            return Ok(Some(ran));
        }
        let now = self.registers(id)?.rip;
        let arrived = now != rip && self.planted(space)?.contains_key(&now);
        Ok(arrived.then_some(Ran::Breakpoint(now)))
    }

    fn step_once(&mut self, id: ThreadId, real: i32, interrupt: &Interrupt) -> Result<Ran, TracerError> {
        let pushes_flags = self.next_pushes_flags(id, real)?;
        loop {
            let failed = TracerError::system("step over a breakpoint");
            ptrace::resume(real, Resume::EmulateStep, 0).map_err(failed)?;
            let stop = wait(real, None, interrupt)?;
            if let Some(ran) = self.classify(id, real, stop, &[])? {
                if pushes_flags {
                    self.clear_trap_flag(id, real)?;
                }
                return Ok(ran);
            }
        }
    }

    /// What a stop means; `None` when the thread is to go on.
    fn classify(
        &mut self,
        id: ThreadId,
        real: i32,
        stop: Wait,
        stubs: &[&Planted],
    ) -> Result<Option<Ran>, TracerError> {
        match stop {
            Wait::Syscall => Ok(Some(Ran::Syscall)),
            // It has met a trap just before it was interrupted, which is reported only when it goes on.
            Wait::Stop(_)
                if ptrace::is_pending(real, libc::SIGTRAP)
                    .map_err(TracerError::system("look at the signals of a replay thread"))? =>
            {
                Ok(None)
            }
            Wait::Stop(_) => self.interrupted(id, stubs),
            Wait::Signal(_) => {
                let info = ptrace::signal_info(real).map_err(TracerError::system("read a signal"))?;
                self.classify_signal(id, real, info, stubs)
            }
            Wait::Event(_) => Ok(None),
            Wait::Ended(_) => Err(TracerError::Inconsistent("a replay process was killed from outside")),
        }
    }

    fn interrupted(&mut self, id: ThreadId, stubs: &[&Planted]) -> Result<Option<Ran>, TracerError> {
        let registers = self.registers(id)?;
        let around = match stubs.iter().find(|planted| planted.contains(registers.rip)) {
            Some(planted) => Some((*planted).clone()),
            None => self.sentry_around(id, registers.rip)?.cloned(),
        };
        let Some(planted) = around else { return Ok(Some(Ran::Interrupted)) };
        if let Some(rip) = planted.stub.original_rip(registers.rip) {
            self.set_registers(id, &Registers { rip, ..registers })?;
            return Ok(Some(Ran::Interrupted));
        }
        self.leave_check(id, &planted)
    }

    /// Steps a thread that was interrupted in the middle of a check out of it.
    fn leave_check(&mut self, id: ThreadId, planted: &Planted) -> Result<Option<Ran>, TracerError> {
        /// No check is longer, with all its lines.
        const STEPS_MAX: usize = 100_000;
        let real = self.task(id)?.real;
        for _ in 0..STEPS_MAX {
            ptrace::resume(real, Resume::EmulateStep, 0)
                .map_err(TracerError::system("step a replay thread"))?;
            let stop = wait(real, None, &Interrupt::default())?;
            let ran = self.classify(id, real, stop, &[planted])?;
            if ran.is_some_and(|ran| ran != Ran::Step) {
                return Ok(ran);
            }
            let registers = self.registers(id)?;
            if let Some(rip) = planted.stub.original_rip(registers.rip) {
                self.set_registers(id, &Registers { rip, ..registers })?;
                return Ok(Some(Ran::Interrupted));
            }
        }
        Err(TracerError::GaveUp("leaving a check in a replay thread"))
    }

    fn classify_signal(
        &mut self,
        id: ThreadId,
        real: i32,
        info: SignalInfo,
        stubs: &[&Planted],
    ) -> Result<Option<Ran>, TracerError> {
        if info.code() <= 0 {
            // Sent to the replay process from outside: no input of the recording.
            return Ok(None);
        }
        match self.met_sentry(id, info)? {
            Met::Stop(ran) => return Ok(Some(ran)),
            Met::GoesOn => return Ok(None),
            Met::Other => {}
        }
        let registers = self.registers(id)?;
        for (index, planted) in stubs.iter().enumerate() {
            if registers.rip == planted.stub.hit_rip && info.signal() == libc::SIGTRAP {
                self.set_registers(id, &Registers { rip: planted.stub.site, ..registers })?;
                return Ok(Some(Ran::Stub(index)));
            }
            let stub = &planted.stub;
            let aside = stub.entry_into_middle(registers.rip).or_else(|| stub.unreadable(registers.rip));
            if let Some(rip) = aside {
                self.set_registers(id, &Registers { rip, ..registers })?;
                return Ok(None);
            }
            if let Some(rip) = planted.stub.original_rip(registers.rip) {
                self.set_registers(id, &Registers { rip, ..registers })?;
            }
        }
        if info.signal() != libc::SIGTRAP {
            return Ok(Some(Ran::Signal(info)));
        }
        if matches!(info.code(), TRAP_TRACE | TRAP_HWBKPT) {
            let watches = self.triggered(real)?;
            return Ok(Some(if watches != 0 { Ran::Watch(watches) } else { Ran::Step }));
        }
        let before = registers.rip.wrapping_sub(1);
        if self.planted(self.task(id)?.space)?.contains_key(&before) {
            self.set_registers(id, &Registers { rip: before, ..registers })?;
            return Ok(Some(Ran::Breakpoint(before)));
        }
        Ok(Some(Ran::Signal(info)))
    }

    /// Which watches have triggered; forgets them.
    fn triggered(&self, real: i32) -> Result<u8, TracerError> {
        let failed = TracerError::system("read a debug register");
        let status = ptrace::debug_register(real, STATUS).map_err(&failed)?;
        if status & 0xf != 0 {
            ptrace::set_debug_register(real, STATUS, 0).map_err(&failed)?;
        }
        Ok((status & 0xf) as u8)
    }

    /// PUSHF under a step pushes the trap flag that the step has set.
    fn next_pushes_flags(&self, id: ThreadId, real: i32) -> Result<bool, TracerError> {
        let registers = ptrace::registers(real).map_err(TracerError::system("read registers"))?;
        let code = self.memory_of(id)?.array::<2>(registers.rip).unwrap_or_default();
        Ok(code[0] == 0x9c || code == [0x66, 0x9c] || code == [0x48, 0x9c])
    }

    fn clear_trap_flag(&self, id: ThreadId, real: i32) -> Result<(), TracerError> {
        const TRAP_FLAG: u8 = 1;
        let registers = ptrace::registers(real).map_err(TracerError::system("read registers"))?;
        let memory = self.memory_of(id)?;
        if let Ok([flags]) = memory.array::<1>(registers.rsp + 1) {
            memory
                .write(registers.rsp + 1, &[flags & !TRAP_FLAG])
                .map_err(TracerError::system("write the stack of a replay thread"))?;
        }
        Ok(())
    }

    pub(crate) fn registers(&self, id: ThreadId) -> Result<Registers, TracerError> {
        ptrace::registers(self.task(id)?.real).map_err(TracerError::system("read registers"))
    }

    /// Sets registers such that the kernel restarts no call.
    pub(crate) fn set_registers(&self, id: ThreadId, registers: &Registers) -> Result<(), TracerError> {
        let real = self.task(id)?.real;
        ptrace::set_registers(real, &settled(registers)).map_err(TracerError::system("write registers"))
    }

    /// Gives a thread these watches, at most four pieces of one, two, four or eight aligned bytes.
    pub(crate) fn set_watches(&mut self, id: ThreadId, watches: &[Watch]) -> Result<(), TracerError> {
        let task =
            self.tasks.get_mut(&id).ok_or(TracerError::Inconsistent("an event belongs to no thread"))?;
        if task.watches == watches {
            return Ok(());
        }
        let failed = TracerError::system("set a debug register");
        ptrace::set_debug_register(task.real, CONTROL, 0).map_err(&failed)?;
        let mut control = 0u64;
        for (index, watch) in watches.iter().enumerate() {
            ptrace::set_debug_register(task.real, index, watch.address).map_err(&failed)?;
            control |= 1 << (2 * index) | watch.control_bits() << (16 + 4 * index);
        }
        ptrace::set_debug_register(task.real, CONTROL, control).map_err(&failed)?;
        task.watches = watches.to_vec();
        Ok(())
    }

    /// Plants a stub for `condition` at `site`; `None` when that is not possible there.
    pub(crate) fn plant(
        &mut self,
        id: ThreadId,
        site: u64,
        condition: &Condition,
        others: &[&Planted],
    ) -> Result<Option<Planted>, TracerError> {
        let home = self.space(self.task(id)?.space)?;
        let mut code = [0; 64];
        let read = self.read_memory(self.task(id)?.space, site, &mut code).unwrap_or(0);
        let overlaps = |address: u64| (site..site + patch::JUMP_BYTES as u64).contains(&address);
        let other_overlaps = |other: &Planted| other.stub.site.abs_diff(site) < patch::JUMP_BYTES as u64;
        let stubs = || others.iter().copied().chain(home.sentries.iter().map(|sentry| &sentry.planted));
        if home.planted.keys().any(|address| overlaps(*address)) || stubs().any(other_overlaps) {
            return Ok(None);
        }
        let clear = |start: u64, end: u64| {
            stubs().all(|other| end <= other.start || other.start + other.len <= start)
        };
        let free = |start: u64, end: u64| {
            start >= SERVICE_PAGE + PAGE
                && clear(start, end)
                && home.layout.is_free(start, end)
                && home.serving.leaves_free(&(start..end))
        };
        let Ok(stub) = patch::plan(site, &code[..read], condition, &free) else { return Ok(None) };
        let (start, end) = stub.pages;
        let len = end - start;
        let failed = TracerError::system("plant a stub");
        let protection = (libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
        home.shell.call(libc::SYS_mmap, [start, len, protection, flags, u64::MAX, 0]).map_err(&failed)?;
        home.shell.memory.write(stub.trampoline, &stub.trampoline_bytes).map_err(&failed)?;
        home.write(stub.site, &stub.site_bytes).map_err(&failed)?;
        Ok(Some(Planted { stub, start, len }))
    }

    /// Takes a stub away. The thread must not stand inside it.
    pub(crate) fn unplant(&mut self, id: ThreadId, planted: &Planted) -> Result<(), TracerError> {
        self.space(self.task(id)?.space)?.unplant(planted)
    }

    /// How many visits are left until a counting stub stops.
    pub(crate) fn counter(&self, id: ThreadId, planted: &Planted) -> Result<u64, TracerError> {
        self.memory_of(id)?.word(planted.counter_address()).map_err(TracerError::system("read a counter"))
    }

    fn planted(&self, space: trace::SpaceId) -> Result<&BTreeMap<u64, u8>, TracerError> {
        Ok(&self.space(space)?.planted)
    }

    /// Makes the breakpoints of a space just these addresses. Addresses that are not mapped are left out.
    pub(crate) fn set_breakpoints(
        &mut self,
        space: trace::SpaceId,
        wanted: &[u64],
    ) -> Result<(), TracerError> {
        let home = self
            .spaces
            .get_mut(&space)
            .ok_or(TracerError::Inconsistent("an event belongs to no address space"))?;
        let gone: Vec<u64> =
            home.planted.keys().copied().filter(|address| !wanted.contains(address)).collect();
        for address in gone {
            let original = home.planted.remove(&address).expect("it was just listed");
            // The code may have been unmapped since.
            let _ = home.write(address, &[original]);
        }
        for address in wanted {
            if home.planted.contains_key(address) {
                continue;
            }
            if let Ok([original]) = home.shell.memory.array::<1>(*address)
                && home.write(*address, &[TRAP]).is_ok()
            {
                home.planted.insert(*address, original);
            }
        }
        Ok(())
    }

    /// Whether a breakpoint is planted in a range of a thread's space.
    pub(crate) fn has_breakpoint_in(&self, thread: ThreadId, range: std::ops::Range<u64>) -> bool {
        let space = self.task(thread).and_then(|task| self.space(task.space));
        space.is_ok_and(|space| space.planted.range(range).next().is_some())
    }

    /// The same, or one that is planted elsewhere shows in the range, since the memory is mapped twice.
    pub(crate) fn shows_breakpoint(&self, thread: ThreadId, range: std::ops::Range<u64>) -> bool {
        let Ok(space) = self.task(thread).and_then(|task| self.space(task.space)) else { return false };
        let len = range.end - range.start;
        let shows = |start: u64| space.planted.range(start..start.saturating_add(len)).next().is_some();
        space.layout.aliases(range.start).into_iter().any(shows)
    }

    /// Reads memory as the program sees it: without our breakpoints and sentries.
    pub(crate) fn read_memory(
        &self,
        space: trace::SpaceId,
        address: u64,
        buffer: &mut [u8],
    ) -> Result<usize, TracerError> {
        let home = self.space(space)?;
        let read =
            home.shell.memory.read_some(address, buffer).map_err(|_| TracerError::Unmapped(address))?;
        let end = address.saturating_add(read as u64);
        for (at, original) in home.planted.range(address..end) {
            buffer[(at - address) as usize] = *original;
        }
        for stub in home.sentries.iter().map(|sentry| &sentry.planted.stub) {
            for (at, original) in (stub.site..).zip(&stub.original) {
                if (address..end).contains(&at) {
                    buffer[(at - address) as usize] = *original;
                }
            }
        }
        Ok(read)
    }
}

impl Space {
    /// Takes a stub away. No thread may stand inside it.
    pub(crate) fn unplant(&self, planted: &Planted) -> Result<(), TracerError> {
        let failed = TracerError::system("take a stub away");
        self.write(planted.stub.site, &planted.stub.original).map_err(&failed)?;
        self.shell.call(libc::SYS_munmap, [planted.start, planted.len, 0, 0, 0, 0]).map_err(&failed)?;
        Ok(())
    }
}

impl Planted {
    pub(crate) fn counter_address(&self) -> u64 {
        self.stub.trampoline + self.stub.counter
    }

    pub(crate) fn contains(&self, rip: u64) -> bool {
        (self.start..self.start + self.len).contains(&rip)
    }
}

/// Waits for a stop of `real`; interrupts it when the time is over or the user wants to stop.
fn wait(real: i32, limit: Option<Instant>, interrupt: &Interrupt) -> Result<Wait, TracerError> {
    /// How often the user's wish is looked at.
    const LOOK_INTERVAL: std::time::Duration = std::time::Duration::from_millis(50);
    /// Most stops come within this many looks.
    const QUICK_LOOKS: usize = 3;
    /// A thread on this core that is let run runs for some milliseconds: where less time is left, there is none for that.
    const LOOK_TIME: std::time::Duration = std::time::Duration::from_millis(20);
    let failed = TracerError::system("wait for a replay thread");
    let mut asked = false;
    let mut looks = 0;
    loop {
        match ptrace::poll(real).map_err(&failed)? {
            // An interrupt of an earlier run, in which something else came first: the thread is to go on.
            Some((_, Wait::Stop(_))) if !asked => return Ok(Wait::Event(libc::PTRACE_EVENT_STOP)),
            Some((_, stop)) => return Ok(stop),
            None => {}
        }
        looks += 1;
        let left = limit.map(|limit| limit.saturating_duration_since(Instant::now()));
        if looks <= QUICK_LOOKS && left.is_none_or(|left| left > LOOK_TIME) {
            std::thread::yield_now();
            continue;
        }
        if !asked && (interrupt.is_requested() || left.is_some_and(|left| left.is_zero())) {
            asked = true;
            ptrace::interrupt(real).map_err(TracerError::system("interrupt a replay thread"))?;
        }
        let pause = if asked { LOOK_INTERVAL } else { left.unwrap_or(LOOK_INTERVAL).min(LOOK_INTERVAL) };
        signal::wait_child(pause);
    }
}
