//! `cargo xtask corpus load`: many recordings of the debuggees with threads and signals while all cores are busy with other
//! work, each replayed. Prints how many of each were good, and keeps the trace of every other.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, bail};

use crate::limited::{last_line, run_limited};
use crate::{check, fresh_directory, packages, page, release_vdbg, root};

/// A debuggee, with its arguments.
struct Debuggee {
    name: &'static str,
    arguments: &'static [&'static str],
}

const fn debuggee(name: &'static str) -> Debuggee {
    Debuggee { name, arguments: &[] }
}

const DEBUGGEES: &[Debuggee] = &[
    debuggee("threads"),
    debuggee("signals"),
    debuggee("handover"),
    Debuggee { name: "handover", arguments: &["exec"] },
    debuggee("racy"),
    debuggee("interrupted"),
    debuggee("sameregs"),
    debuggee("clockstorm"),
    debuggee("waits"),
    debuggee("leaves"),
    debuggee("execthread"),
    debuggee("killed"),
    debuggee("doomed"),
    debuggee("processes"),
    debuggee("timestamps"),
    debuggee("vectors"),
    debuggee("jit"),
    debuggee("sharedcode"),
    debuggee("repeated"),
];

/// All recordings together, at least.
const RECORDINGS_MIN: usize = 1000;

/// Recordings that are made at the same time.
const WORKERS: usize = 2;

/// What became of the recordings of one debuggee.
#[derive(Default)]
struct Tally {
    good: AtomicUsize,
    bad: AtomicUsize,
}

/// Runs those with `only` in their names.
pub(crate) fn run(only: &str, is_to_be_written: bool) -> Result<()> {
    packages::ensure(packages::COMPILER)?;
    let folder = fresh_directory("load")?;
    // A copy, so that the next build does not change it meanwhile.
    let vdbg = folder.join("vdbg");
    std::fs::copy(release_vdbg()?, &vdbg)?;
    let chosen: Vec<&Debuggee> = DEBUGGEES.iter().filter(|one| one.name.contains(only)).collect();
    if chosen.is_empty() {
        bail!("there is no debuggee of that name");
    }
    let mut expected = Vec::new();
    for one in &chosen {
        compile(&folder, one)?;
        let mut bare = Command::new(folder.join(one.name));
        bare.args(one.arguments);
        expected.push(run_limited(bare, &folder)?.status);
    }
    let rounds = RECORDINGS_MIN.div_ceil(DEBUGGEES.len());
    let tallies: Vec<Tally> = chosen.iter().map(|_| Tally::default()).collect();
    let (next, is_over) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let spinners = std::thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..spinners {
            scope.spawn(|| spin(&is_over));
        }
        let work = || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= rounds * chosen.len() {
                    return;
                }
                let index = number % chosen.len();
                match check_once(&vdbg, &folder, chosen[index], expected[index], number) {
                    Ok(()) => tallies[index].good.fetch_add(1, Ordering::Relaxed),
                    Err(error) => {
                        println!("{} {number}: {error:#}", chosen[index].name);
                        tallies[index].bad.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
        };
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().for_each(|worker| drop(worker.join()));
        is_over.store(true, Ordering::Relaxed);
    });
    let text = table(&chosen, &tallies);
    print!("{text}");
    if is_to_be_written {
        page::write_between("load", &text)?;
    }
    let bad: usize = tallies.iter().map(|tally| tally.bad.load(Ordering::Relaxed)).sum();
    if bad > 0 {
        bail!("{bad} recordings failed; their traces are in {}", folder.display());
    }
    Ok(())
}

/// Keeps a core busy.
fn spin(is_over: &AtomicBool) {
    while !is_over.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

fn table(chosen: &[&Debuggee], tallies: &[Tally]) -> String {
    let mut text = "| debuggee | recordings | not good |\n|---|---|---|\n".to_owned();
    let mut row = |name: &str, good: usize, bad: usize| {
        text += &format!("| {name} | {} | {bad} |\n", good + bad);
    };
    let (mut all_good, mut all_bad) = (0, 0);
    for (one, tally) in chosen.iter().zip(tallies) {
        let (good, bad) = (tally.good.load(Ordering::Relaxed), tally.bad.load(Ordering::Relaxed));
        row(&format!("{} {}", one.name, one.arguments.join(" ")), good, bad);
        (all_good, all_bad) = (all_good + good, all_bad + bad);
    }
    row("all", all_good, all_bad);
    text
}

fn compile(folder: &Path, one: &Debuggee) -> Result<()> {
    let source = root().join("tests/debuggees").join(format!("{}.c", one.name));
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=gnu11", "-O1", "-g", "-Wno-unused-result", "-pthread"]).arg(source);
    check(gcc.arg("-o").arg(folder.join(one.name)))
}

/// Records once, and replays. The trace stays when something is wrong.
fn check_once(
    vdbg: &Path,
    folder: &Path,
    one: &Debuggee,
    expected: Option<i32>,
    number: usize,
) -> Result<()> {
    let place: PathBuf = folder.join(format!("{}-{number}", one.name));
    std::fs::create_dir(&place)?;
    let trace = place.join("trace");
    let mut record = Command::new(vdbg);
    record.arg("record").arg("-o").arg(&trace).arg("--").arg(folder.join(one.name)).args(one.arguments);
    let recorded = run_limited(record, &place)?;
    if recorded.status != expected {
        bail!("recorded, it ends with {:?}: {}", recorded.status, last_line(&recorded.errors));
    }
    let mut replay = Command::new(vdbg);
    replay.arg("replay").arg(&trace).arg("--autopilot");
    let replayed = run_limited(replay, &place)?;
    // It ends as the program did.
    if replayed.status != recorded.status || !replayed.errors.contains("no divergence") {
        bail!("replay: {}", last_line(&replayed.errors));
    }
    if replayed.output != recorded.output {
        bail!("the replay prints something else");
    }
    std::fs::remove_dir_all(&place)?;
    Ok(())
}
