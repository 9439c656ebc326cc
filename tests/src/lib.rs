//! What the end-to-end tests share: they record a program in a process of its own, compare it with a bare run, replay
//! the recording and walk in it. Start reading at [`Case`].
//!
//! The recorder and the replay session pin themselves, block SIGCHLD and wait for all children of their process, so
//! neither ever runs in a test process: the binary `drive` does it. Every process has a time-out and is ended by its
//! id; nothing is left behind.

pub mod case;
pub mod compile;
pub mod generate;
pub mod process;
pub mod walk;

pub use case::{Case, Recording};

use std::path::PathBuf;

/// A directory of our own that goes away with the value; with `VDBG_KEEP` in the environment, or after a failure, it
/// stays.
pub struct Scratch(tempfile::TempDir);

impl Drop for Scratch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("what was recorded is left in {}", self.0.path().display());
        }
    }
}

impl Scratch {
    /// Makes one below the system's directory for temporary files.
    ///
    /// # Panics
    /// When it cannot be made.
    pub fn new() -> Scratch {
        let mut directory = tempfile::Builder::new().prefix("e2e-").tempdir().expect("a temporary directory");
        directory.disable_cleanup(std::env::var_os("VDBG_KEEP").is_some());
        Scratch(directory)
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

/// A source among the debuggees.
pub fn debuggee(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("debuggees").join(name)
}

/// A small random number generator (SplitMix64): the same numbers for a seed for ever.
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// One of these.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len() as u64) as usize]
    }
}
