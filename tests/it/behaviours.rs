//! One small C program for each behaviour that recording must get right.

use e2e::compile::compile;
use e2e::{Recording, Scratch};

use crate::case;

/// Compiles and checks a debuggee whose output is the same in every run.
fn check(source: &str) -> Recording {
    let scratch = Scratch::new();
    case(compile(&scratch, source)).check()
}

/// The same for one whose output differs from run to run.
fn check_varying(source: &str) -> Recording {
    let scratch = Scratch::new();
    case(compile(&scratch, source)).output_varies().check()
}

#[test]
fn process_trees() {
    check("processes.c");
}

#[test]
fn sigkill_of_a_busy_child() {
    check("killed.c");
}

#[test]
fn death_by_signals() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "dies.c");
    for signal in [libc::SIGTERM, libc::SIGSEGV, libc::SIGKILL, libc::SIGABRT] {
        let recording = case(&program).args([signal.to_string()]).check();
        assert_eq!(recording.recorded.status & 0x7f, signal);
    }
}

#[test]
fn threads() {
    check("threads.c");
}

#[test]
fn threads_on_all_cores() {
    let scratch = Scratch::new();
    case(compile(&scratch, "threads.c")).all_cores().check();
}

#[test]
fn threads_that_main_leaves_behind() {
    check("leaves.c");
}

#[test]
fn exec_from_a_thread() {
    check("execthread.c");
}

/// Forced points lie in code that the program has not written yet when replay begins to look for them.
#[test]
fn generated_code() {
    check("jit.c");
}

#[test]
fn a_racy_counter() {
    check_varying("racy.c");
}

/// Threads that wait in calls pass the turn on inside the program, among signals, stops and ends.
#[test]
fn turns_passed_on_inside() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "handover.c");
    for round in 0..3 {
        let case = case(&program);
        if round == 0 {
            case.check()
        } else {
            case.args(["exec"]).check()
        };
    }
}

/// On a busy machine the end of a turn and a signal often come together.
#[test]
fn turns_among_signals() {
    let done = std::sync::atomic::AtomicBool::new(false);
    let ordering = std::sync::atomic::Ordering::Relaxed;
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while !done.load(ordering) {
                    std::hint::spin_loop();
                }
            });
        }
        let checked = std::panic::catch_unwind(|| (0..3).for_each(|_| drop(check_varying("interrupted.c"))));
        done.store(true, ordering);
        checked.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn signals_where_registers_repeat() {
    check_varying("sameregs.c");
}

#[test]
fn signals() {
    check("signals.c");
}

#[test]
fn mappings() {
    check("mappings.c");
}

#[test]
fn clocks() {
    check_varying("clocks.c");
}

#[test]
fn all_clocks_in_all_ways() {
    check_varying("clockids.c");
}

#[test]
fn a_timer_interrupts_the_reading_of_clocks() {
    check_varying("clockstorm.c");
}

#[test]
fn time_stamps_of_code_that_comes_later() {
    check_varying("timestamps.c");
}

#[test]
fn unruly_instructions() {
    check_varying("unruly.c");
}

#[test]
fn the_program_sees_all_cores() {
    let scratch = Scratch::new();
    case(compile(&scratch, "cores.c")).all_cores().check();
}

#[test]
fn bulk_input_and_output() {
    check("bulk.c");
}

#[test]
fn waits() {
    check("waits.c");
}

#[test]
fn refused_calls() {
    check("refused.c");
}

#[test]
fn deep_recursion() {
    check("deep.c");
}

#[test]
fn vector_state_lives_through_signals() {
    check("vectors.c");
}

#[test]
fn a_timer_interrupts_a_repeated_string_instruction() {
    let scratch = Scratch::new();
    case(compile(&scratch, "repeated.c")).limit_s(20).check();
}
