//! Pages that the kernel had no room for: a shared mapping of a file in a file system that is full ends there with a SIGBUS
//! (mmap(2)), though the file is long enough.
//!
//! A replay has room. So when the next event is such a SIGBUS, its page is made inaccessible while the thread runs to it: the
//! access faults at the same instruction, with a SIGSEGV that stands for the SIGBUS ([`super::apply::mismatch`]). Nothing
//! in that interval can have used the page, or there would have been room. When the event is applied, the page comes back.

use trace::{Event, EventKind, SignalPoint, Source};

use super::session::Session;
use super::world::World;
use crate::TracerError;

const PAGE: u64 = 4096;

/// Where `si_addr` is in a `siginfo_t` (sigaction(2)).
const ADDRESS: usize = 16;

/// The event is a SIGBUS of an instruction.
pub(crate) fn is_bus_fault(event: &Event) -> bool {
    matches!(event.kind, EventKind::Signal { signal: libc::SIGBUS, point: SignalPoint::Fault, .. })
}

impl Session {
    /// Takes the page of the next event away, if that is a SIGBUS in shared memory.
    pub(crate) fn withhold_page(&self) -> Result<(), TracerError> {
        match self.next_event()?.filter(is_bus_fault) {
            Some(event) => self.world.protect_page(&self.trace, &event, Some(libc::PROT_NONE)),
            None => Ok(()),
        }
    }
}

impl World {
    /// Gives the page of a SIGBUS in shared memory this protection, or its own.
    pub(crate) fn protect_page(
        &self,
        trace: &trace::Reader,
        event: &Event,
        protection: Option<i32>,
    ) -> Result<(), TracerError> {
        let EventKind::Signal { info, .. } = &event.kind else { return Ok(()) };
        let info = trace.data(*info)?;
        let address =
            info.get(ADDRESS..).and_then(|rest| rest.first_chunk()).map(|bytes| u64::from_ne_bytes(*bytes));
        let Some(page) = address.map(|address| address & !(PAGE - 1)) else { return Ok(()) };
        let space = self.space(event.space)?;
        let mapping = space.layout.at(page).filter(|mapping| matches!(mapping.source, Source::Shared { .. }));
        let Some(mapping) = mapping else { return Ok(()) };
        let bits = protection.unwrap_or(mapping.protection) as u32 as u64;
        let set = space.shell.call(libc::SYS_mprotect, [page, PAGE, bits, 0, 0, 0]);
        set.map(drop).map_err(TracerError::system("protect a page of a replay process"))
    }
}
