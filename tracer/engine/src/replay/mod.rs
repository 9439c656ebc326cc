//! Replay: the processes of a recording, brought to any position of it.
//!
//! [`Session`] is the face; below it, [`world`] holds the processes, [`run`] runs a thread to its next stop, [`apply`]
//! applies an event, [`calls`] serves runs of calls inside the process, [`point`] finds forced points, [`planted`]
//! evaluates conditions inside the process, [`landmark`] makes and finds places in the midst of an interval, [`interval`] and
//! [`legs`] go through one, [`snapshot`] begins at a snapshot of the trace, [`output`] passes on what the program prints, [`travel`]
//! goes forward, [`reverse`] goes back, [`skip`] makes going back to a write quick.

mod apply;
mod calls;
mod compatible;
#[cfg(test)]
mod cost;
mod divergence;
mod guard;
mod interval;
mod landmark;
mod legs;
mod output;
mod planted;
mod point;
mod position;
mod reverse;
mod run;
mod session;
mod skip;
mod snapshot;
mod trail;
mod travel;
mod withheld;
mod world;

pub use divergence::Divergence;
pub use output::{OutputSink, Written};
pub use patch::{Operation, Predicate, RegisterNumber, Relation, Size, Term, Width};
pub use position::{Landmark, Leg, Position};
pub use session::{OpenOptions, Session, ThreadInfo};
pub use snapshot::SnapshotUse;
pub use travel::{Breakpoint, Direction, Hit, Judge, Mode, NoJudge, Stop, Stops, Verdict, Watchpoint};

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Memory that is watched: one, two, four or eight bytes at an address that is a multiple of their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Watch {
    /// First address.
    pub address: u64,
    /// 1, 2, 4 or 8.
    pub len: u8,
    /// Reads count as well as writes.
    pub reads: bool,
}

impl Watch {
    /// How many pieces can be watched at a time: the processor has four debug registers.
    pub const PIECES_MAX: usize = 4;

    /// Splits any range into pieces that can be watched.
    pub fn pieces(address: u64, len: u64, reads: bool) -> Vec<Watch> {
        let mut pieces = Vec::new();
        let (mut at, end) = (address, address.saturating_add(len));
        while at < end {
            let aligned = if at == 0 { 8 } else { 1 << at.trailing_zeros().min(3) };
            let fitting = 1u64 << (end - at).ilog2().min(3);
            let piece = aligned.min(fitting);
            pieces.push(Watch { address: at, len: piece as u8, reads });
            at += piece;
        }
        pieces
    }

    /// R/W and LEN of DR7 (Intel SDM volume 3, section 19.2.4).
    fn control_bits(&self) -> u64 {
        let kind = if self.reads { 0b11 } else { 0b01 };
        let len = match self.len {
            1 => 0b00,
            2 => 0b01,
            8 => 0b10,
            _ => 0b11,
        };
        kind | len << 2
    }

    fn touches(&self, address: u64, len: u64) -> bool {
        address < self.address + u64::from(self.len) && self.address < address.saturating_add(len)
    }
}

/// The user's wish to stop what is going on, and how far it has come. Shared with whoever reads the keyboard.
#[derive(Clone, Debug, Default)]
pub struct Interrupt {
    requested: Arc<AtomicBool>,
    event: Arc<AtomicU64>,
}

impl Interrupt {
    /// Asks for a stop. Safe to call from a signal handler.
    pub fn request(&self) {
        self.requested.store(true, Ordering::Relaxed);
    }

    /// Forgets the wish.
    pub fn clear(&self) {
        self.requested.store(false, Ordering::Relaxed);
    }

    /// A stop is wanted.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    /// The event at which the work in progress is.
    pub fn event(&self) -> u64 {
        self.event.load(Ordering::Relaxed)
    }

    fn at_event(&self, event: u64) {
        self.event.store(event, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Watch;

    #[test]
    fn pieces_are_aligned_and_cover_the_range() {
        let pieces: Vec<(u64, u8)> =
            Watch::pieces(0x1003, 14, false).iter().map(|w| (w.address, w.len)).collect();
        assert_eq!(pieces, [(0x1003, 1), (0x1004, 4), (0x1008, 8), (0x1010, 1)]);
        assert!(Watch::pieces(0, 0, false).is_empty());
    }
}
