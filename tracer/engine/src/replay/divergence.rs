//! Where a replay differs from its recording, so that both can be looked at.

use trace::{Event, Registers, ThreadId};

use super::apply;
use super::session::Session;
use crate::TracerError;

/// The first difference between a replay and its recording. The memory that the session shows is the replay's, at that
/// place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// Number of the event that the replay did not come to.
    pub event: u64,
    /// The thread that should have come to it.
    pub thread: ThreadId,
    /// Its registers at the event, as they were at recording.
    pub recorded: Registers,
    /// Its registers where it stands instead.
    pub replayed: Registers,
}

impl Divergence {
    /// The registers that differ, with their values at recording and now.
    pub fn registers(&self) -> impl Iterator<Item = (&'static str, u64, u64)> {
        self.recorded.differences(&self.replayed)
    }
}

impl Session {
    /// Takes what is known of the divergence that an operation has just ended with, if it did.
    pub fn take_divergence(&mut self) -> Option<Divergence> {
        self.divergence.take()
    }

    /// Keeps what the replay looks like instead of the event that it is at.
    pub(crate) fn diverge(&mut self, event: &Event, what: String) -> TracerError {
        self.lost = true;
        self.divergence = self.world.registers(event.thread).ok().map(|registers| Divergence {
            event: self.at.event,
            thread: event.thread,
            recorded: apply::comparable(&event.registers),
            replayed: apply::comparable(&apply::at_event(event, &registers)),
        });
        TracerError::Divergence { event: self.at.event, thread: event.thread.0, what }
    }
}
