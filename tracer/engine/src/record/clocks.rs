//! Clocks that the agent reads without a system call.
//!
//! What the vDSO does to read a clock needs the time stamp counter, and a program that reads the counter itself has to be
//! seen. So it either traps for a whole thread (prctl(2), `PR_SET_TSC`), and then the clocks are system calls, or its
//! instructions have all been found and replaced by traps. An address space is *clean* while that is so: everything in it
//! that can be executed is the text of files, scanned without a doubt and never writable since, the vDSO, or ours. In a
//! clean space the counter does not trap, and the agent has the addresses of the vDSO's functions; when it ceases to be
//! clean, the addresses are taken away, and every thread's counter is made to trap before the thread executes anything
//! else ([`Recorder::match_time_stamps`]). A space never becomes clean again.
//!
//! The agent calls the functions before its call counts as made, so that a thread that is stopped there begins again
//! outside: code of the vDSO counts as code of the agent ([`Recorder::is_inside`]).

use std::ops::Range;

use trace::{Effect, MemoryOp, Registers, SpaceId, Write};

use super::exec::{TRAP, VDSO, text_of};
use super::{Next, Recorder};
use crate::TracerError;
use crate::layout::subtract;
use crate::sys::maps::Map;
use crate::sys::process::{PR_SET_TSC, PR_TSC_ENABLE, PR_TSC_SIGSEGV};
use crate::sys::ptrace::{self, Wait};
use crate::unruly::Site;
use crate::vdso;

/// `READ_IMPLIES_EXEC` of personality(2).
pub(super) const READ_IMPLIES_EXEC: u64 = 0x040_0000;

/// What personality(2) is called with to ask for it only.
const PERSONALITY_QUERY: u32 = u32::MAX;

/// Executable mappings of the kernel's that read no counter: the vsyscall page is emulated.
const HARMLESS: [&str; 3] = [VDSO, "[vsyscall]", "[uprobes]"];

/// What is known of the executable code of an address space.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clocks {
    /// All of it has been scanned.
    clean: bool,
    /// The time stamp counter need not trap, and the agent reads the clocks.
    active: bool,
    /// A thread in it may not read the counter, or might not: no instruction that does is replaced any more, so that all fault.
    pub(crate) forbidden: bool,
    text: Vec<Range<u64>>,
    /// Code that the call in progress has mapped, and that has been scanned without a doubt.
    scanned: Option<Range<u64>>,
    vdso: vdso::Clocks,
}

impl Clocks {
    /// For a new program with these mappings. `complete`: in its files no instruction was missed.
    pub(crate) fn new(maps: &[Map], complete: bool, vdso: Option<vdso::Clocks>) -> Clocks {
        let executable = || maps.iter().filter(|map| map.executable());
        let is_text =
            |map: &&Map| map.is_file() && !map.writable() && !map.shared && !is_in_memory(&map.name);
        let is_known = |map: &Map| is_text(&map) || HARMLESS.contains(&map.name.as_str());
        let text = executable().filter(|map| is_text(map) || map.name == VDSO);
        Clocks {
            clean: complete && vdso.is_some() && executable().all(is_known),
            active: false,
            forbidden: false,
            text: text.map(|map| map.start..map.end).collect(),
            scanned: None,
            vdso: vdso.unwrap_or_default(),
        }
    }

    /// The call in progress has mapped code in which no instruction was missed.
    pub(crate) fn note_scanned(&mut self, range: Range<u64>) {
        self.scanned = Some(range);
    }

    /// Whether the space is still clean after a change of its mappings.
    fn stays_clean(&mut self, op: &MemoryOp) -> bool {
        let scanned = self.scanned.take();
        let range = |start: u64, len: u64| start..start.saturating_add(len);
        match op {
            MemoryOp::Map(mapping) => {
                let range = mapping.start..mapping.end;
                let replaces_own = self.touches_vdso(&range);
                subtract(&mut self.text, &range);
                let executable = mapping.protection & libc::PROT_EXEC != 0;
                let known = scanned.is_some_and(|scanned| scanned == range);
                if executable && known {
                    self.text.push(range);
                }
                !replaces_own && (known || !executable)
            }
            MemoryOp::Unmap { start, len } => {
                let range = range(*start, *len);
                let replaces_own = self.touches_vdso(&range);
                subtract(&mut self.text, &range);
                !replaces_own
            }
            MemoryOp::Protect { start, len, protection } => {
                let range = range(*start, *len);
                let clean = protection & libc::PROT_EXEC == 0
                    || protection & libc::PROT_WRITE == 0 && self.is_text(&range);
                if protection & libc::PROT_WRITE != 0 {
                    subtract(&mut self.text, &range);
                }
                clean && !(protection & libc::PROT_EXEC == 0 && self.touches_vdso(&range))
            }
            MemoryOp::Remap { old, old_len, new, new_len, .. } => {
                let clean = !self.touches_text(&range(*old, *old_len));
                let target = range(*new, *new_len);
                let replaces_own = self.touches_vdso(&target);
                subtract(&mut self.text, &target);
                clean && !replaces_own
            }
            // The traps in it are gone.
            MemoryOp::Resize { .. } | MemoryOp::StackLimit { .. } => true,
            MemoryOp::Discard { start, len } | MemoryOp::Guard { start, len, .. } => {
                !self.touches_text(&range(*start, *len))
            }
        }
    }

    fn is_text(&self, range: &Range<u64>) -> bool {
        let mut rest = vec![range.clone()];
        for text in &self.text {
            subtract(&mut rest, text);
        }
        rest.is_empty()
    }

    fn touches_text(&self, range: &Range<u64>) -> bool {
        self.text.iter().any(|text| touch(text, range))
    }

    fn touches_vdso(&self, range: &Range<u64>) -> bool {
        self.vdso.code.iter().any(|code| touch(code, range))
    }
}

/// Whether a file of this name lives in memory, where it is often written to and executed at the same time.
pub(super) fn is_in_memory(name: &str) -> bool {
    name.starts_with("/memfd:") || name.starts_with("/dev/shm/")
}

fn touch(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}

impl Recorder {
    /// Gives the agent in a new program the clocks, if the program is clean.
    pub(super) fn begin_clocks(&mut self, thread: i32) {
        let netted = self.tasks[&thread].netted;
        let memory = self.memory_of(thread);
        let space = self.space_of(thread);
        if netted && space.hooks.ready && space.clocks.clean && !space.clocks.forbidden {
            let entries = space.clocks.vdso.entries;
            space.clocks.active = memory.write(agent::CLOCKS, &words(entries)).is_ok();
        }
    }

    /// Whether the time stamp counter has to trap in the threads of a space.
    pub(super) fn tsc_must_trap(&self, space: SpaceId) -> bool {
        self.spaces.get(&space).is_none_or(|space| !space.clocks.active)
    }

    /// Looks at what a call has done to the executable code.
    pub(super) fn note_code(&mut self, thread: i32, ops: &[MemoryOp]) {
        let clocks = &mut self.space_of(thread).clocks;
        if !ops.iter().all(|op| clocks.stays_clean(op)) {
            self.end_clocks(thread);
        }
    }

    /// Looks at a personality that a process has taken on.
    pub(super) fn note_personality(&mut self, thread: i32, personality: u64) {
        if personality as u32 != PERSONALITY_QUERY && personality & READ_IMPLIES_EXEC != 0 {
            self.end_clocks(thread);
        }
    }

    /// The space of a thread is not clean any more. Its threads notice when they are resumed.
    fn end_clocks(&mut self, thread: i32) {
        let memory = self.memory_of(thread);
        let clocks = &mut self.space_of(thread).clocks;
        clocks.clean = false;
        if std::mem::take(&mut clocks.active) {
            let space = self.tasks[&thread].space;
            let others = self.tasks.values().filter(|task| task.space == space && self.is_out(task.thread));
            // They may take the turn without a stop; whoever stops first is seen to all the same.
            others.for_each(|task| self.agent.iter().for_each(|agent| agent.trap_counter(task.thread)));
            // Should it fail, the functions find the counter trapping, and the calls are begun again outside.
            let _ = memory.write(agent::CLOCKS, &words([0; agent::CLOCK_FUNCTIONS]));
        }
    }

    /// The program chooses whether a thread may read its counter (prctl(2), `PR_SET_TSC`); the result of the call.
    pub(super) fn choose_time_stamps(&mut self, thread: i32, mode: u64) -> i64 {
        let forbidden = match u64::from(mode as u32) {
            PR_TSC_ENABLE => false,
            PR_TSC_SIGSEGV => true,
            _ => return -i64::from(libc::EINVAL),
        };
        self.task(thread).tsc_forbidden = forbidden;
        0
    }

    /// A thread may not read its counter from now on: it faults, and so do the other threads of its space, which are served
    /// then. What had been replaced by traps comes back.
    pub(super) fn forbid_time_stamps(
        &mut self,
        thread: i32,
        writes: &mut Vec<Write>,
    ) -> Result<Effect, TracerError> {
        self.end_clocks(thread);
        let memory = self.memory_of(thread);
        let space = self.space_of(thread);
        space.clocks.forbidden = true;
        let layout = &space.layout;
        let is_there = |address: u64| {
            layout.at(address).is_some_and(|mapping| text_of(mapping).is_some())
                && memory.array(address).ok() == Some([TRAP])
        };
        let mut replaced: Vec<(u64, Site)> =
            space.sites.extract_if(|address, site| site.reads_time_stamp() && is_there(*address)).collect();
        replaced.sort_unstable_by_key(|(address, _)| *address);
        for (address, site) in replaced {
            let restored = memory.write(address, &[site.original]);
            restored.map_err(TracerError::system("take a trap away"))?;
            writes.push(Write { addr: address, data: self.data(vec![site.original])? });
        }
        // Like a change of the mappings: nothing that replay has put into the code stays meanwhile.
        Ok(Effect::Memory(Vec::new()))
    }

    /// Makes the counter trap in a thread, or not, as its space wants it. The thread is about to execute the program's
    /// code, from a stop in which `signal` may be on its way.
    pub(super) fn match_time_stamps(&mut self, thread: i32, signal: i32) -> Result<(), TracerError> {
        let trap = self.tsc_must_trap(self.tasks[&thread].space);
        if self.tasks[&thread].tsc_traps == trap {
            return Ok(());
        }
        let info = if signal == 0 { None } else { ptrace::signal_info(thread).ok() };
        let mode = if trap { PR_TSC_SIGSEGV } else { PR_TSC_ENABLE };
        let set = self.call_in(thread, libc::SYS_prctl, [PR_SET_TSC as u64, mode, 0, 0, 0, 0]).is_some();
        if let Some(info) = info {
            // A thread that is gone needs no signal.
            let _ = ptrace::set_signal_info(thread, &info);
        }
        if set {
            self.task(thread).tsc_traps = trap;
        } else if trap && ptrace::registers(thread).is_ok() {
            self.warn("a time stamp counter could not be made to trap: its values are not recorded".into());
        }
        Ok(())
    }

    /// A filter of the program's own might object to making the counter trap later: that is done before the call that
    /// installs it, which is begun again.
    pub(super) fn trap_before_filter(&mut self, thread: i32, entry: &Registers) -> Result<Next, TracerError> {
        self.end_clocks(thread);
        self.set_registers(thread, &Registers { orig_rax: u64::MAX, ..*entry })?;
        if let Some(other) = self.resume_until(thread, 0, |stop| stop == Wait::Syscall)? {
            return Ok(other);
        }
        let again = Registers { rip: entry.rip - 2, rax: entry.orig_rax, orig_rax: u64::MAX, ..*entry };
        self.set_registers(thread, &again)?;
        Ok(Next::Resume(0))
    }

    /// Whether an address is the agent's, or in what it calls.
    pub(super) fn is_inside(&self, thread: i32, address: u64) -> bool {
        let vdso = &self.spaces[&self.tasks[&thread].space].clocks.vdso;
        (agent::CODE_START..agent::SHARED_START).contains(&address)
            || vdso.code.iter().any(|range| range.contains(&address))
    }

    /// The agent has read a clock, or tried to, and could not: the program's pointer leads nowhere, or the counter traps.
    /// Then the thread is taken to the call outside.
    pub(super) fn clock_failed(&mut self, thread: i32) -> Result<bool, TracerError> {
        let raw = self.raw_registers(thread)?;
        let Some(agent) = &self.agent else { return Ok(false) };
        let [.., number] = agent.saved(thread);
        let is_clock =
            matches!(number as i64, libc::SYS_clock_gettime | libc::SYS_gettimeofday | libc::SYS_time);
        let ours = raw.rip >= agent::SAVED && self.is_inside(thread, raw.rip);
        if !is_clock || !ours || agent.stage(thread) == agent::stage::CALL {
            return Ok(false);
        }
        self.begin_again_outside(thread)?;
        Ok(true)
    }
}

fn words<const N: usize>(words: [u64; N]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use trace::{Mapping, MemoryOp, Source};

    use super::Clocks;
    use crate::layout::subtract;
    use crate::sys::maps::Map;
    use crate::vdso;

    const TEXT: std::ops::Range<u64> = 0x10_0000..0x20_0000;
    const VDSO: std::ops::Range<u64> = 0x7000_0000..0x7000_2000;

    fn map(range: std::ops::Range<u64>, protection: i32, inode: u64, name: &str) -> Map {
        let (start, end) = (range.start, range.end);
        Map { start, end, protection, shared: false, offset: 0, inode, name: name.into() }
    }

    fn maps() -> Vec<Map> {
        let code = libc::PROT_READ | libc::PROT_EXEC;
        vec![map(TEXT, code, 7, "/bin/true"), map(VDSO, code, 0, "[vdso]")]
    }

    fn clocks_of(maps: &[Map]) -> Clocks {
        let own = VDSO.start + 0x100..VDSO.start + 0x200;
        Clocks::new(maps, true, Some(vdso::Clocks { entries: [1, 2, 3], code: Vec::from([own]) }))
    }

    fn mapped(start: u64, end: u64, protection: i32) -> MemoryOp {
        let name = String::new();
        MemoryOp::Map(Mapping { start, end, protection, grows_down: false, source: Source::Zero, name })
    }

    fn protect(start: u64, end: u64, protection: i32) -> MemoryOp {
        MemoryOp::Protect { start, len: end - start, protection }
    }

    #[test]
    fn a_program_of_files_is_clean() {
        assert!(clocks_of(&maps()).clean);
        let vdso = Some(vdso::Clocks::default());
        assert!(!Clocks::new(&maps(), false, vdso).clean);
        assert!(!Clocks::new(&maps(), true, None).clean);
    }

    #[test]
    fn a_program_with_other_code_is_not() {
        let with = |more: Map| [maps(), vec![more]].concat();
        let code = libc::PROT_READ | libc::PROT_EXEC;
        let elsewhere = 0x30_0000..0x31_0000;
        assert!(clocks_of(&with(map(elsewhere.clone(), libc::PROT_READ, 0, ""))).clean);
        assert!(!clocks_of(&with(map(elsewhere.clone(), code, 0, ""))).clean);
        assert!(!clocks_of(&with(map(elsewhere.clone(), code | libc::PROT_WRITE, 7, "/lib/a"))).clean);
        assert!(!clocks_of(&with(map(elsewhere.clone(), code, 7, "/memfd:code (deleted)"))).clean);
        let shared = Map { shared: true, ..map(elsewhere, code, 7, "/lib/a") };
        assert!(!clocks_of(&with(shared)).clean);
    }

    #[test]
    fn code_from_elsewhere_makes_it_unclean() {
        let code = libc::PROT_READ | libc::PROT_EXEC;
        assert!(clocks_of(&maps()).stays_clean(&mapped(0x30_0000, 0x31_0000, libc::PROT_READ)));
        assert!(!clocks_of(&maps()).stays_clean(&mapped(0x30_0000, 0x31_0000, code)));
        let mut clocks = clocks_of(&maps());
        clocks.note_scanned(0x30_0000..0x31_0000);
        assert!(clocks.stays_clean(&mapped(0x30_0000, 0x31_0000, code)));
        assert!(!clocks.stays_clean(&mapped(0x31_0000, 0x32_0000, code)));
    }

    #[test]
    fn text_that_could_be_written_is_no_longer_text() {
        let code = libc::PROT_READ | libc::PROT_EXEC;
        let mut clocks = clocks_of(&maps());
        assert!(clocks.stays_clean(&protect(TEXT.start, TEXT.start + 0x1000, code)));
        assert!(clocks.stays_clean(&protect(TEXT.start, TEXT.start + 0x1000, libc::PROT_WRITE)));
        assert!(clocks.stays_clean(&protect(TEXT.start + 0x1000, TEXT.end, code)));
        assert!(!clocks.stays_clean(&protect(TEXT.start, TEXT.end, code)));
        assert!(!clocks_of(&maps()).stays_clean(&protect(TEXT.start, TEXT.end, code | libc::PROT_WRITE)));
    }

    #[test]
    fn text_that_moves_or_loses_its_traps_makes_it_unclean() {
        let moved = |old: u64| MemoryOp::Remap { old, old_len: 1, new: 1 << 40, new_len: 1, keep_old: false };
        assert!(!clocks_of(&maps()).stays_clean(&moved(TEXT.start)));
        assert!(clocks_of(&maps()).stays_clean(&moved(TEXT.end)));
        assert!(!clocks_of(&maps()).stays_clean(&MemoryOp::Discard { start: TEXT.start, len: 4096 }));
        assert!(!clocks_of(&maps()).stays_clean(&MemoryOp::Unmap { start: VDSO.start, len: 0x2000 }));
        assert!(clocks_of(&maps()).stays_clean(&MemoryOp::Unmap { start: TEXT.start, len: 4096 }));
    }

    #[test]
    fn ranges_are_cut() {
        let cut = |gone| {
            let mut ranges = vec![0..10, 20..30];
            subtract(&mut ranges, &gone);
            ranges
        };
        assert_eq!(cut(3..5), [0..3, 5..10, 20..30]);
        assert_eq!(cut(5..25), [0..5, 25..30]);
        assert_eq!(cut(0..40), []);
        assert_eq!(cut(12..18), [0..10, 20..30]);
    }
}
