//! Properties of record and replay, on real processes.
//!
//! A session traces the children of its process and waits for them, and so does the recorder; neither bears a second
//! one beside it, nor the threads of the test harness. So each test starts this binary again, with the name of its job
//! in the environment, and the job runs before `main`, alone in its process.

mod conditions;
mod fingerprints;
mod programs;
mod skipping;
mod stepping;
mod support;
mod travelling;

/// What a job is called, and what it does.
const JOBS: &[(&str, fn())] = &[
    ("record", support::record_job),
    ("steps_in_a_loop", stepping::steps_in_a_loop),
    ("steps_among_threads", stepping::steps_among_threads),
    ("steps_among_signals", stepping::steps_among_signals),
    ("steps_in_children", stepping::steps_in_children),
    ("hashes_of_threads", travelling::hashes_of_threads),
    ("hashes_of_signals", travelling::hashes_of_signals),
    ("hashes_of_children", travelling::hashes_of_children),
    ("hashes_of_calls", travelling::hashes_of_calls),
    ("hits_among_calls", travelling::hits_among_calls),
    ("steps_among_calls", stepping::steps_among_calls),
    ("hits_in_a_loop", travelling::hits_in_a_loop),
    ("hits_among_threads", travelling::hits_among_threads),
    ("writes_to_a_variable", travelling::writes_to_a_variable),
    ("searches_from_anywhere", travelling::searches_from_anywhere),
    ("kept_checkpoints", travelling::kept_checkpoints),
    ("conditions_as_with_stops", conditions::conditions_as_with_stops),
    ("conditions_among_calls", conditions::conditions_among_calls),
    ("conditions_among_threads", conditions::conditions_among_threads),
    ("conditions_beside_forced_points", conditions::conditions_beside_forced_points),
    ("skips_in_long_stretches", skipping::skips_in_long_stretches),
    ("skips_among_threads", skipping::skips_among_threads),
    ("hot_breakpoints", skipping::hot_breakpoints),
    ("steps_from_landmarks", skipping::steps_from_landmarks),
    ("points_in_python", fingerprints::points_in_python),
    ("points_in_perl", fingerprints::points_in_perl),
    ("points_from_outside", fingerprints::points_from_outside),
    ("points_among_remains", fingerprints::points_among_remains),
];

/// Called by the C library before `main`, in every process of this binary.
#[used]
// SAFETY: the section holds pointers to functions of this type; the standard library can be used from there on glibc,
// which has set up arguments, environment and streams by then.
#[unsafe(link_section = ".init_array")]
static BEFORE_MAIN: extern "C" fn() = before_main;

extern "C" fn before_main() {
    let Ok(name) = std::env::var(support::JOB) else { return };
    let job = JOBS.iter().find(|(known, _)| *known == name);
    let Some((_, job)) = job else {
        eprintln!("no job {name}");
        std::process::exit(2);
    };
    let result = std::panic::catch_unwind(job);
    std::process::exit(if result.is_ok() { 0 } else { 1 });
}
