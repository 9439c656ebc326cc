//! Hooked system calls: which `syscall` instructions of a program lead to the agent.
//!
//! A site is hooked when its first call returns. What is known of the sites of a file is kept, so that the next program
//! that maps it starts with its sites hooked. A thread's registers are translated, wherever the recorder reads or writes
//! them, such that nobody ever sees an address of a trampoline.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use patch::{Hook, JUMP_BYTES, NEIGHBOURHOOD_BYTES, ROOM_BYTES, is_quiet_hook};
use trace::Registers;

use super::Recorder;
use crate::TracerError;
use crate::sys::maps;

/// More ranges for trampolines are not mapped in a program.
const ARENAS_MAX: usize = 32;

/// More trampolines than this are not planted in one arena.
const HOOKS_PER_ARENA_MAX: usize = 64;

/// Two hooks are at least so far apart.
const WINDOW_BYTES_MAX: u64 = 32;

/// The file system's name for code, and the sites in it that can be hooked, as offsets in the file.
pub(crate) type KnownSites = std::collections::HashMap<String, BTreeSet<u64>>;

/// Code that is mapped from a file and cannot be written.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    pub(crate) range: Range<u64>,
    /// Identifies the file's contents.
    pub(crate) file: String,
    /// Offset of the start in the file.
    pub(crate) offset: u64,
}

/// The hooks of an address space.
#[derive(Clone, Default)]
pub(crate) struct Hooks {
    /// The agent is mapped.
    pub(crate) ready: bool,
    by_site: BTreeMap<u64, Hook>,
    /// Sites by the address of their trampoline.
    trampolines: BTreeMap<u64, u64>,
    arenas: Vec<Range<u64>>,
    pub(crate) text: Vec<Text>,
    /// Code that the call in progress has mapped.
    pub(crate) new_text: Option<Text>,
    /// Sites that were looked at.
    tried: HashSet<u64>,
}

impl Hooks {
    /// The hook to whose trampoline an address belongs.
    pub(crate) fn of_trampoline(&self, address: u64) -> Option<&Hook> {
        let (_, site) = self.trampolines.range(..=address).next_back()?;
        self.by_site.get(site).filter(|hook| hook.contains(address))
    }

    /// The hook whose jump covers an address.
    pub(crate) fn over(&self, address: u64) -> Option<&Hook> {
        let (_, hook) = self.by_site.range(..=address).next_back()?;
        (address < hook.site + JUMP_BYTES as u64).then_some(hook)
    }

    /// Whether a hook is so near that a stub at the address would meet it.
    pub(crate) fn near(&self, address: u64) -> bool {
        let window = address.saturating_sub(WINDOW_BYTES_MAX)..address + WINDOW_BYTES_MAX;
        self.by_site.range(window).next().is_some()
    }

    /// Registers as the program has them.
    pub(crate) fn original(&self, raw: Registers) -> Registers {
        let hook = self.of_trampoline(raw.rip);
        let own = hook.and_then(|hook| hook.original_rip_and_rcx(raw.rip, raw.rcx));
        own.map_or(raw, |(rip, rcx)| Registers { rip, rcx, ..raw })
    }

    /// Registers with which a thread goes on where the program has these.
    pub(crate) fn real(&self, own: Registers) -> Registers {
        let rip = self.over(own.rip).and_then(|hook| hook.copy_of(own.rip)).unwrap_or(own.rip);
        Registers { rip, ..own }
    }

    /// Puts the program's own bytes in the place of hooks into a copy of its memory from `start` on.
    pub(crate) fn hide(&self, start: u64, bytes: &mut [u8]) {
        let window = start.saturating_sub(WINDOW_BYTES_MAX)..start + bytes.len() as u64;
        for hook in self.by_site.range(window).map(|(_, hook)| hook) {
            for (index, byte) in hook.original.iter().enumerate() {
                let at = (hook.site + index as u64).checked_sub(start);
                if let Some(place) = at.and_then(|at| bytes.get_mut(at as usize)) {
                    *place = *byte;
                }
            }
        }
    }

    /// Forgets what lies in a range that has been unmapped or replaced.
    pub(crate) fn unmapped(&mut self, range: &Range<u64>) {
        let gone: Vec<u64> = self.by_site.range(range.clone()).map(|(site, _)| *site).collect();
        for site in gone {
            if let Some(hook) = self.by_site.remove(&site) {
                self.trampolines.remove(&hook.trampoline);
            }
        }
        self.tried.retain(|site| !range.contains(site));
        self.text.retain(|text| text.range.end <= range.start || range.end <= text.range.start);
    }

    /// Whether a range touches memory of ours.
    pub(crate) fn is_ours(&self, range: &Range<u64>) -> bool {
        let touches = |ours: &Range<u64>| ours.start < range.end && range.start < ours.end;
        self.ready && (touches(&(agent::CODE_START..agent::SHARED_END)) || self.arenas.iter().any(touches))
    }

    fn text_of(&self, address: u64) -> Option<&Text> {
        self.text.iter().find(|text| text.range.contains(&address))
    }

    /// Plans a hook with a trampoline in one of the arenas.
    fn plan(&self, site: u64, code: &[u8]) -> Option<Hook> {
        let free = |start: u64, end: u64| self.is_free(start, end);
        let has_room =
            |arena: &&Range<u64>| self.trampolines.range((*arena).clone()).count() < HOOKS_PER_ARENA_MAX;
        let plan = |arena: &Range<u64>| patch::hook(site, code, agent::ENTRY, arena, &free).ok();
        self.arenas.iter().filter(has_room).find_map(plan)
    }

    fn is_free(&self, start: u64, end: u64) -> bool {
        let before = self.trampolines.range(..end).next_back().and_then(|(_, site)| self.by_site.get(site));
        before.is_none_or(|hook| hook.trampoline + hook.trampoline_bytes.len() as u64 <= start)
    }
}

impl Recorder {
    /// Hooks what is known in a new program. The thread is in a stop outside of any call.
    pub(super) fn hook_known(&mut self, thread: i32) -> Result<(), TracerError> {
        let text = self.space_of(thread).hooks.text.clone();
        text.iter().try_for_each(|text| self.hook_known_in(thread, text))
    }

    /// Hooks what is known in the code that the call has mapped that returns now.
    pub(super) fn hook_new(&mut self, thread: i32) -> Result<(), TracerError> {
        let hooks = &mut self.space_of(thread).hooks;
        let Some(text) = hooks.new_text.take() else { return Ok(()) };
        hooks.text.push(text.clone());
        if hooks.ready { self.hook_known_in(thread, &text) } else { Ok(()) }
    }

    fn hook_known_in(&mut self, thread: i32, text: &Text) -> Result<(), TracerError> {
        let known = self.known_sites.get(&text.file).cloned().unwrap_or_default();
        let len = text.range.end - text.range.start;
        for offset in known.range(text.offset..text.offset + len) {
            self.plant_hook(thread, text.range.start + (offset - text.offset), false)?;
        }
        Ok(())
    }

    /// Takes away the hooks in code that the program is about to change.
    pub(super) fn unhook(&mut self, thread: i32, range: &Range<u64>) -> Result<(), TracerError> {
        let memory = self.memory_of(thread);
        let hooks = &mut self.space_of(thread).hooks;
        for hook in hooks.by_site.range(range.clone()).map(|(_, hook)| hook) {
            memory.write(hook.site, &hook.original).map_err(TracerError::system("take a hook away"))?;
        }
        hooks.unmapped(range);
        Ok(())
    }

    /// Hooks the call that the thread returns from, if that has not been tried yet.
    pub(super) fn hook_site(&mut self, thread: i32, entry: &Registers) -> Result<(), TracerError> {
        let site = entry.rip.wrapping_sub(2);
        let handled = agent::HANDLED.get(entry.orig_rax as usize).is_some_and(|handled| *handled);
        if !handled || !self.tasks[&thread].netted || !self.space_of(thread).hooks.ready {
            return Ok(());
        }
        let hooks = &mut self.space_of(thread).hooks;
        let Some(text) = hooks.text_of(site).cloned() else { return Ok(()) };
        if !hooks.tried.insert(site) {
            return Ok(());
        }
        // What is left of the vDSO's own functions is never executed.
        let careful = text.file != super::exec::VDSO;
        if self.plant_hook(thread, site, careful)? {
            let offset = text.offset + (site - text.range.start);
            self.known_sites.entry(text.file).or_default().insert(offset);
        }
        Ok(())
    }

    fn plant_hook(&mut self, thread: i32, site: u64, careful: bool) -> Result<bool, TracerError> {
        let failed = TracerError::system("hook a system call");
        let memory = self.memory_of(thread);
        let mut code = [0; 32];
        let Ok(read) = memory.read_some(site, &mut code) else { return Ok(false) };
        let hooks = &mut self.space_of(thread).hooks;
        hooks.tried.insert(site);
        if hooks.near(site) {
            return Ok(false);
        }
        if careful {
            let mut region = [0; 2 * NEIGHBOURHOOD_BYTES as usize];
            let text = hooks.text_of(site).map_or(site, |text| text.range.start);
            let start = site.saturating_sub(NEIGHBOURHOOD_BYTES).max(text);
            let seen = memory.read_some(start, &mut region).unwrap_or(0);
            if !is_quiet_hook(&region[..seen], start, site) {
                return Ok(false);
            }
        }
        let mut planned = hooks.plan(site, &code[..read]);
        if planned.is_none() && self.add_arena(thread, site).is_some() {
            planned = self.space_of(thread).hooks.plan(site, &code[..read]);
        }
        let Some(hook) = planned else { return Ok(false) };
        let hooks = &mut self.space_of(thread).hooks;
        memory.write(hook.trampoline, &hook.trampoline_bytes).map_err(&failed)?;
        memory.write(hook.site, &hook.site_bytes).map_err(&failed)?;
        hooks.trampolines.insert(hook.trampoline, site);
        hooks.by_site.insert(site, hook);
        let space = self.tasks[&thread].space;
        for task in self.tasks.values_mut().filter(|task| task.space == space) {
            task.misplaced = true;
        }
        Ok(true)
    }

    /// Maps room for trampolines at the best place for a site; `None` when there is some already, or no place.
    fn add_arena(&mut self, thread: i32, site: u64) -> Option<()> {
        if self.space_of(thread).hooks.arenas.len() >= ARENAS_MAX {
            return None;
        }
        let maps = maps::read(thread).ok()?;
        let is_free = |start: &u64| {
            let end = start + ROOM_BYTES;
            maps.iter().all(|map| map.end <= *start || end <= map.start)
        };
        let start = patch::rooms(site).find(is_free)?;
        let protection = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64;
        let arguments = [start, ROOM_BYTES, protection, flags, u64::MAX, 0];
        let mapped = self.call_in(thread, libc::SYS_mmap, arguments)?;
        (mapped as u64 == start).then(|| self.space_of(thread).hooks.arenas.push(start..start + ROOM_BYTES))
    }

    /// Moves a thread that stands inside the bytes of a hook to the copy of its instruction.
    pub(super) fn replace(&mut self, thread: i32) -> Result<(), TracerError> {
        let raw = self.raw_registers(thread)?;
        let real = self.hooks_of(thread).real(raw);
        if real != raw {
            self.set_raw_registers(thread, &real)?;
        }
        Ok(())
    }

    /// Shows a thread's own address in its registers, for the kernel to put into a signal frame.
    pub(super) fn show_own(&mut self, thread: i32) -> Result<(), TracerError> {
        let raw = self.raw_registers(thread)?;
        let own = self.hooks_of(thread).original(raw);
        if own != raw {
            self.set_raw_registers(thread, &own)?;
            self.task(thread).misplaced = true;
        }
        Ok(())
    }
}
