//! Snapshots in the trace are what replay comes to without them, and replay goes on from each of them.

use e2e::Scratch;
use e2e::compile::compile;

use crate::case;

fn check(source: &str) {
    let scratch = Scratch::new();
    let recording = case(compile(&scratch, source)).snapshots().check();
    let told = recording.drive("snapshots", &[]);
    assert!(!told.starts_with("0 "), "no snapshot was made of {source}");
}

#[test]
fn of_threads() {
    check("threads.c");
}

#[test]
fn of_threads_that_wait_inside() {
    check("handover.c");
}

#[test]
fn of_signals() {
    check("signals.c");
}

#[test]
fn of_process_trees() {
    check("processes.c");
}

#[test]
fn of_changing_mappings() {
    check("mappings.c");
}

#[test]
fn of_vector_state() {
    check("vectors.c");
}

#[test]
fn of_guard_pages() {
    check("advice.c");
}
