//! How far the loading of debug information is, and the wish to stop it. Both sides may be other threads.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by all images of a cache: a prompt shows it, and Ctrl-C stops the work.
#[derive(Debug, Default)]
pub struct Progress {
    done_bytes: AtomicU64,
    total_bytes: AtomicU64,
    interrupted: AtomicBool,
}

/// Loading was stopped by [`Progress::interrupt`]. What was read so far is dropped; the next question begins anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reading of debug information was interrupted")]
pub struct Interrupted;

impl Progress {
    /// Bytes of debug information that were indexed, and all that are to be, of the images met so far.
    pub fn bytes(&self) -> (u64, u64) {
        (self.done_bytes.load(Ordering::Relaxed), self.total_bytes.load(Ordering::Relaxed))
    }

    /// Stops what is being loaded, and what would be, until [`Progress::resume`]. Questions by name answer with
    /// what is known then.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Takes an interruption back: before the next command.
    pub fn resume(&self) {
        self.interrupted.store(false, Ordering::Relaxed);
    }

    /// Whether loading is to stop.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    pub(crate) fn begin(&self, bytes: u64) {
        self.total_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn done(&self, bytes: u64) {
        self.done_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Forgets work that was begun and dropped.
    pub(crate) fn drop_work(&self, total: u64, done: u64) {
        self.total_bytes.fetch_sub(total, Ordering::Relaxed);
        self.done_bytes.fetch_sub(done, Ordering::Relaxed);
    }
}
