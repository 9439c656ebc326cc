//! End-to-end tests.

mod attach;
mod behaviours;
mod chaos;
mod faults;
mod generated;
mod real;
mod recorder;
mod ring;
mod snapshots;

use std::path::PathBuf;

use e2e::Case;

/// A case of this program.
fn case(program: impl Into<PathBuf>) -> Case {
    Case::new(env!("CARGO_BIN_EXE_drive"), program)
}
