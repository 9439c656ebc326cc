//! Generated programs, recorded and replayed. The first seeds are fixed; more are run with `VDBG_SEEDS=FROM..TO`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use e2e::Scratch;
use e2e::compile::compile_file;
use e2e::generate::{Size, program};

use crate::case;

/// Records, replays and walks the program of a seed.
fn check(seed: u64) {
    let scratch = Scratch::new();
    let source = scratch.path("generated.c");
    std::fs::write(&source, program(seed, Size::default())).expect("the source can be written");
    let program = compile_file(&scratch, &source);
    let bare = case(&program).bare();
    assert!(bare.is_success(), "the generated program is wrong: {bare:?}");
    let recording = case(&program).output_varies().record();
    recording.compare(&bare);
    recording.replay();
    recording.walk();
}

/// Checks all seeds, two at a time, and names those that failed.
fn check_all(seeds: std::ops::Range<u64>) {
    const AT_A_TIME: usize = 2;
    let failures = Mutex::new(Vec::new());
    let left = Mutex::new(seeds.clone());
    std::thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let Some(seed) = left.lock().expect("no thread panics with it").next() else { return };
                    if catch_unwind(AssertUnwindSafe(|| check(seed))).is_err() {
                        failures.lock().expect("no thread panics with it").push(seed);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no thread panics with it");
    assert!(failures.is_empty(), "seeds that failed: {failures:?} (each again with VDBG_SEEDS=SEED..SEED+1)");
}

#[test]
fn fixed_seeds() {
    check_all(0..25);
}

#[test]
fn seeds_from_the_environment() {
    let Ok(range) = std::env::var("VDBG_SEEDS") else { return };
    let parsed = range.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    check_all(parsed.unwrap_or_else(|| panic!("VDBG_SEEDS is FROM..TO, not {range}")));
}
