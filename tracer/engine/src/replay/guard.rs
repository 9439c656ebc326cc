//! Code that may be written while a stub is planted in it.
//!
//! A program that generates code may reach a recorded place in code that it has not written yet. A stub that is planted
//! there would be overwritten, and end up as a part of the program's code. So the pages around such a site are protected
//! against writing for the while: a write faults, the stub is taken away, the write is made, and the stub is planted
//! again. Memory that is mapped shared may be written at another address than it is executed at.

use std::ops::Range;

use trace::ThreadId;

use super::point::RunOptions;
use super::run::{Extent, Ran};
use super::world::World;
use crate::TracerError;
use crate::sys::ptrace::SignalInfo;

const PAGE: u64 = 4096;

/// How much code a stub overwrites at most: a jump, and the instruction that it ends in.
const WINDOW_BYTES: u64 = 20;

/// Pages of code that cannot be written for the while, and the protection that they have otherwise.
pub(crate) struct CodeGuard(Vec<(Range<u64>, i32)>);

impl CodeGuard {
    /// A write to the pages has faulted.
    pub(crate) fn was_met(&self, info: &SignalInfo) -> bool {
        /// `SEGV_ACCERR` of sigaction(2).
        const ACCESS: i32 = 2;
        let holds = || self.0.iter().any(|(pages, _)| pages.contains(&info.address()));
        info.signal() == libc::SIGSEGV && info.code() == ACCESS && holds()
    }
}

impl World {
    /// Protects the code around a site wherever it can be written.
    pub(crate) fn guard_code(
        &mut self,
        thread: ThreadId,
        site: u64,
    ) -> Result<Option<CodeGuard>, TracerError> {
        let home = self.space(self.task(thread)?.space)?;
        let mut pages = Vec::new();
        for alias in home.layout.aliases(site) {
            let mapping = home.layout.at(alias).filter(|map| map.protection & libc::PROT_WRITE != 0);
            let Some(mapping) = mapping else { continue };
            let start = (alias & !(PAGE - 1)).max(mapping.start);
            let end = (alias + WINDOW_BYTES).next_multiple_of(PAGE).min(mapping.end);
            pages.push((start..end, mapping.protection));
        }
        if pages.is_empty() {
            return Ok(None);
        }
        let guard = CodeGuard(pages);
        self.protect(thread, &guard, !libc::PROT_WRITE)?;
        Ok(Some(guard))
    }

    /// Lets the program write there again.
    pub(crate) fn lift_guard(&mut self, thread: ThreadId, guard: &CodeGuard) -> Result<(), TracerError> {
        self.protect(thread, guard, !0)
    }

    /// Makes the write that has met the guard. [`Ran::Step`] when nothing else came; then the pages are protected as
    /// before, unless that is not wanted any more.
    pub(crate) fn write_guarded(
        &mut self,
        thread: ThreadId,
        guard: &CodeGuard,
        run: &RunOptions<'_>,
        again: bool,
    ) -> Result<Ran, TracerError> {
        self.lift_guard(thread, guard)?;
        let ran = self.run(thread, Extent::OneInstruction, run.others, run.limit, run.interrupt)?;
        if again && ran == Ran::Step {
            self.protect(thread, guard, !libc::PROT_WRITE)?;
        }
        let now = self.registers(thread)?.rip;
        let arrived = ran == Ran::Step && self.has_breakpoint_in(thread, now..now + 1);
        Ok(if arrived { Ran::Breakpoint(now) } else { ran })
    }

    /// Gives the pages what is in `mask` of their protection.
    fn protect(&self, thread: ThreadId, guard: &CodeGuard, mask: i32) -> Result<(), TracerError> {
        let home = self.space(self.task(thread)?.space)?;
        for (pages, protection) in &guard.0 {
            let arguments =
                [pages.start, pages.end - pages.start, (protection & mask) as u32 as u64, 0, 0, 0];
            let done = home.shell.call(libc::SYS_mprotect, arguments);
            done.map_err(TracerError::system("guard code that is being generated"))?;
        }
        Ok(())
    }
}
