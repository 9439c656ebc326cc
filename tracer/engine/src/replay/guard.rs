//! Code that may be written while a stub is planted in it.
//!
//! A program that generates code may reach a recorded place in code that it has not written yet. A stub that is planted
//! there would be overwritten, and end up as a part of the program's code. So the pages around such a site are protected
//! against writing for the while: a write faults, the stub is taken away, the write is made, and the stub is planted
//! again.

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

/// Pages of code that cannot be written for the while.
pub(crate) struct CodeGuard {
    pages: Range<u64>,
    protection: i32,
}

impl CodeGuard {
    /// A write to the pages has faulted.
    pub(crate) fn was_met(&self, info: &SignalInfo) -> bool {
        /// `SEGV_ACCERR` of sigaction(2).
        const ACCESS: i32 = 2;
        info.signal() == libc::SIGSEGV && info.code() == ACCESS && self.pages.contains(&info.address())
    }
}

impl World {
    /// Protects the code around a site, if it can be written.
    pub(crate) fn guard_code(
        &mut self,
        thread: ThreadId,
        site: u64,
    ) -> Result<Option<CodeGuard>, TracerError> {
        let home = self.space(self.task(thread)?.space)?;
        let Some(mapping) = home.layout.at(site).filter(|map| map.protection & libc::PROT_WRITE != 0) else {
            return Ok(None);
        };
        let start = (site & !(PAGE - 1)).max(mapping.start);
        let end = ((site + WINDOW_BYTES).next_multiple_of(PAGE)).min(mapping.end);
        let guard = CodeGuard { pages: start..end, protection: mapping.protection };
        self.protect(thread, &guard, guard.protection & !libc::PROT_WRITE)?;
        Ok(Some(guard))
    }

    /// Lets the program write there again.
    pub(crate) fn lift_guard(&mut self, thread: ThreadId, guard: &CodeGuard) -> Result<(), TracerError> {
        self.protect(thread, guard, guard.protection)
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
            self.protect(thread, guard, guard.protection & !libc::PROT_WRITE)?;
        }
        let now = self.registers(thread)?.rip;
        let arrived = ran == Ran::Step && self.has_breakpoint_in(thread, now..now + 1);
        Ok(if arrived { Ran::Breakpoint(now) } else { ran })
    }

    fn protect(&self, thread: ThreadId, guard: &CodeGuard, protection: i32) -> Result<(), TracerError> {
        let home = self.space(self.task(thread)?.space)?;
        let len = guard.pages.end - guard.pages.start;
        let arguments = [guard.pages.start, len, protection as u64, 0, 0, 0];
        let done = home.shell.call(libc::SYS_mprotect, arguments);
        done.map(drop).map_err(TracerError::system("guard code that is being generated"))
    }
}
