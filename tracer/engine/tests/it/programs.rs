//! The recordings that several tests use.

use std::path::PathBuf;

use crate::support::Program;

/// One thread that computes, with a few system calls.
pub(crate) fn looping() -> (Program, PathBuf) {
    recorded("loop.c")
}

/// Many writes to a variable between two system calls.
pub(crate) fn quiet() -> (Program, PathBuf) {
    recorded("quiet.c")
}

/// Threads that contend, spin and wait.
pub(crate) fn threads() -> (Program, PathBuf) {
    recorded("threads.c")
}

/// One thread that makes many calls, interrupted by a timer.
pub(crate) fn calls() -> (Program, PathBuf) {
    recorded("calls.c")
}

/// One thread that a timer interrupts all the time.
pub(crate) fn signals() -> (Program, PathBuf) {
    recorded("signals.c")
}

/// A parent with children.
pub(crate) fn children() -> (Program, PathBuf) {
    recorded("children.c")
}

/// Variables that are written often, by threads that compute for long.
pub(crate) fn busy() -> (Program, PathBuf) {
    recorded("busy.c")
}

fn recorded(source: &str) -> (Program, PathBuf) {
    let program = Program::compile(source);
    let trace = program.record("trace", &[]);
    (program, trace)
}
