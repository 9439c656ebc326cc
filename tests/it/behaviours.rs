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
fn children_that_ask_not_to_be_traced() {
    check("untraced.c");
}

#[test]
fn what_remains_of_interrupted_sleeps() {
    check_varying("remaining.c");
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

/// A leader that waits for its turn is killed by another thread's signal.
#[test]
fn a_leader_that_is_killed_in_a_stop() {
    check("doomed.c");
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

/// Code and data in mappings that are shared and cannot be written.
#[test]
fn shared_code() {
    check("sharedcode.c");
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
fn a_program_that_forbids_itself_time_stamps() {
    check("forbidden.c");
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
fn cores_that_the_program_chooses() {
    let scratch = Scratch::new();
    case(compile(&scratch, "affinity.c")).all_cores().check();
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

#[test]
fn files_that_shrink_under_a_mapping() {
    check("shrunk.c");
}

/// Four gigabytes of which little is used leave no trace of that size.
#[test]
fn advice_about_memory() {
    const LIMIT_BYTES: u64 = 64 << 20;
    let recording = check("advice.c");
    assert!(recording.size() < LIMIT_BYTES, "{} bytes", recording.size());
}

#[test]
fn processes_reach_into_each_other() {
    let recording = check("between.c");
    let warnings = trace::warnings(&recording.trace());
    assert!(warnings.is_empty(), "{warnings:?}");
}

#[test]
fn locks_with_owners() {
    check("locks.c");
}

#[test]
fn a_thousand_short_threads() {
    check("short.c");
}

#[test]
fn all_signals() {
    check("realtime.c");
}

#[test]
fn handlers_that_repair() {
    check("repairs.c");
}

#[test]
fn own_filters() {
    check("filters.c");
}

#[test]
fn namespaces() {
    check("namespaces.c");
}

#[test]
fn sessions_orphans_stops_and_limits() {
    check("lineage.c");
}

#[test]
fn sockets() {
    check("sockets.c");
}

#[test]
fn data_moved_by_the_kernel() {
    check("moves.c");
}

#[test]
fn files_watched_and_locked_and_terminals() {
    check("watched.c");
}

#[test]
fn random_numbers_and_the_system() {
    check_varying("chances.c");
}

/// Tracing is refused, and one line says so.
#[test]
fn a_program_that_traces() {
    let scratch = Scratch::new();
    let recording = case(compile(&scratch, "traced.c")).check();
    assert_eq!(recording.recorded.status, 0);
    let warned = case(compile(&scratch, "traced.c")).with_warnings().record();
    let text = String::from_utf8_lossy(&warned.recorded.stderr).into_owned();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("ptrace") && text.contains("PTRACE_TRACEME"), "{text}");
}

/// Each debuggee that ends by itself, and whether its output is the same in each run.
const ALL: &[(&str, bool)] = &[
    ("advice.c", true),
    ("between.c", true),
    ("bulk.c", true),
    ("chances.c", false),
    ("clockids.c", false),
    ("clocks.c", false),
    ("clockstorm.c", false),
    ("deep.c", true),
    ("execthread.c", true),
    ("filters.c", true),
    ("forbidden.c", true),
    ("handover.c", true),
    ("interrupted.c", false),
    ("jit.c", true),
    ("killed.c", true),
    ("leaves.c", true),
    ("lineage.c", true),
    ("locks.c", true),
    ("mappings.c", true),
    ("moves.c", true),
    ("namespaces.c", true),
    ("processes.c", true),
    ("racy.c", false),
    ("realtime.c", true),
    ("refused.c", true),
    ("remaining.c", false),
    ("repairs.c", true),
    ("sameregs.c", false),
    ("short.c", true),
    ("shrunk.c", true),
    ("signals.c", true),
    ("sockets.c", true),
    ("threads.c", true),
    ("timestamps.c", false),
    ("traced.c", true),
    ("unruly.c", false),
    ("untraced.c", true),
    ("vectors.c", true),
    ("waits.c", true),
    ("watched.c", true),
];

/// All that holds with the agent holds without it.
#[test]
fn without_the_agent() {
    let scratch = Scratch::new();
    for (source, same) in ALL {
        eprintln!("{source} without the agent");
        let case = case(compile(&scratch, source)).without_agent();
        drop(if *same { case.check_replay() } else { case.output_varies().check_replay() });
    }
    for source in ["affinity.c", "cores.c"] {
        case(compile(&scratch, source)).all_cores().without_agent().check_replay();
    }
}

/// Calls without a rule are recorded by comparing memory, and named once each.
#[test]
fn calls_that_are_not_known() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "unheard.c");
    for without_agent in [false, true] {
        let case = case(&program);
        let recording = if without_agent { case.without_agent().check() } else { case.check() };
        let warnings = trace::warnings(&recording.trace());
        let about = |word: &str| warnings.iter().filter(|warning| warning.contains(word)).count();
        assert_eq!(about(" number 600: "), 1, "{warnings:?}");
        assert_eq!(
            about("ioctl with the request 0x8946: ") + about("ioctl SIOCETHTOOL: "),
            1,
            "{warnings:?}"
        );
        // Those that the kernel did not know either have written nothing.
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }
}
