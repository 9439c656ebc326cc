//! `--chaos` finds what an unlucky schedule does, and what it has found replays.

use e2e::Scratch;
use e2e::compile::compile;

use crate::case;

/// The program ends with status 0 when its failure has shown, and gives up after some thousand tries.
fn finds(failure: &str) {
    let scratch = Scratch::new();
    let program = compile(&scratch, "unlucky.c");
    let recording = case(&program).args([failure]).chaos(1).record();
    assert_eq!(recording.recorded.status, 0, "{:?}", recording.recorded);
    recording.replay();
}

#[test]
fn finds_a_race() {
    finds("race");
}

/// Each thread does what it does in microseconds.
#[test]
fn finds_a_race_of_brief_threads() {
    finds("brief");
}

#[test]
fn finds_a_deadlock() {
    finds("deadlock");
}

#[test]
fn finds_a_lost_wakeup() {
    finds("wakeup");
}

/// Nobody else is ready to run where it is lost.
#[test]
fn finds_a_wakeup_lost_to_a_sleeper() {
    finds("late");
}

/// Programs that are right stay right, and replay.
#[test]
fn does_no_harm() {
    let scratch = Scratch::new();
    for (seed, source) in [(1, "threads.c"), (2, "processes.c")] {
        case(compile(&scratch, source)).chaos(seed).check();
    }
    // Thousands of points: to walk among them takes long.
    let program = case(compile(&scratch, "handover.c"));
    let bare = program.bare();
    let recording = program.chaos(3).record();
    recording.compare(&bare);
    recording.replay();
}
