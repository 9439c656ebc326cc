//! Programs that run once: bare, recorded, replayed.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Bench, ROUNDS, Run, inputs, median, milliseconds, print_row, words};
use crate::root;

const LS_DATA: &str = "own data of a trace of ls";
const MEMORY: &str = "memory of the recorder, 50 MB heap";

/// A command to measure, and how its result is printed.
struct Case {
    name: &'static str,
    command: Vec<String>,
    unit: Unit,
    /// Bare it runs on one core, as it does when it is recorded.
    pinned: bool,
    must: &'static str,
}

enum Unit {
    /// Time divided by bare.
    Ratio,
    /// Milliseconds above bare, divided by this many executions.
    Milliseconds(u32),
}

pub(super) fn measure(bench: &Bench) -> Result<()> {
    for case in cases(bench)?.into_iter().filter(|case| bench.wants(case.name)) {
        measure_case(bench, &case).with_context(|| case.name.to_owned())?;
    }
    if bench.wants(LS_DATA) {
        own_data(bench)?;
    }
    if bench.wants(MEMORY) {
        memory(bench)?;
    }
    Ok(())
}

fn cases(bench: &Bench) -> Result<Vec<Case>> {
    let data = bench.folder.join("data");
    std::fs::write(&data, inputs::pseudo_random_text(20 << 20))?;
    let data = data.display().to_string();
    let python = python()?;
    let (loops, timer) = (script("loop"), script("timer"));
    let (sieve, reads) = (bench.compiled("sieve")?, bench.compiled("reads")?);
    let (mutex, clock) = (bench.compiled("mutex")?, bench.compiled("clock")?);
    let pingpong = bench.compiled("pingpong")?;
    let (repository, project) = (bench.folder.join("repository"), bench.folder.join("project"));
    if bench.wants(GIT) {
        inputs::make_repository(&repository)?;
    }
    inputs::make_project(&project)?;
    let (repository, project) = (repository.display().to_string(), project.display().to_string());
    let twenty = "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do /bin/true; done";
    let cases = vec![
        ratio("gzip -9, 20 MB", "1.05, 1.10", &["gzip", "-9", "-c", &data]),
        ratio("CPython loop", "1.05, 1.10", &[&python, &loops]),
        ratio("sieve and qsort", "1.05, 1.10", &[&sieve]),
        ratio(
            "sha256sum, 8 times 20 MB",
            "1.05, 1.10",
            &[&["sha256sum"], [data.as_str(); 8].as_slice()].concat(),
        ),
        ratio("CPython, 10 ms timer", "1.05", &[&python, &timer, "0"]),
        ratio("CPython, 10 ms timer, 50 MB heap", "1.10", &[&python, &timer, "50"]),
        ratio("2 million one-byte reads", "2.0, 1.0", &[&reads]),
        ratio("clock_gettime, 10 million times", "11", &[&clock]),
        ratio("four threads, one mutex", "2.0", &[&mutex]),
        ratio("four threads, one mutex, bare on one core", "2.0", &[&mutex]).pinned(),
        ratio("ping-pong, condition variable, one core", "2.0", &[&pingpong, "condition"]).pinned(),
        ratio("ping-pong, pipes, two threads, one core", "2.0", &[&pingpong, "threads"]).pinned(),
        ratio("ping-pong, pipes, two processes, one core", "2.0", &[&pingpong, "processes"]).pinned(),
        ratio("find /usr/share", "4", &["find", "/usr/share"]),
        ratio(GIT, "4", &["git", "-C", &repository, "log", "-n", "5000"]),
        ratio("make -j2, a hundred files", "4", &["make", "-B", "-s", "-j2", "-C", &project]),
        above("true, ms above bare", "25", 1, &["true"]),
        above("ls -l /usr/bin, ms above bare", "40", 1, &["ls", "-l", "/usr/bin"]),
        above("20 execs, ms each above bare", "10", 20, &["sh", "-c", twenty]),
    ];
    Ok(cases)
}

const GIT: &str = "git log, 5000 commits";

fn ratio(name: &'static str, must: &'static str, command: &[&str]) -> Case {
    Case { name, command: words(command), unit: Unit::Ratio, pinned: false, must }
}

fn above(name: &'static str, must: &'static str, executions: u32, command: &[&str]) -> Case {
    Case { unit: Unit::Milliseconds(executions), ..ratio(name, must, command) }
}

impl Case {
    fn pinned(self) -> Case {
        Case { pinned: true, ..self }
    }
}

/// The interpreter itself: a version manager's wrapper would be measured instead.
fn python() -> Result<String> {
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output()?;
    Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
}

fn script(name: &str) -> String {
    root().join(format!("tests/bench/{name}.py")).display().to_string()
}

fn measure_case(bench: &Bench, case: &Case) -> Result<()> {
    let trace = bench.folder.join("trace");
    let pin = words(if case.pinned { &["taskset", "-c", "0"] } else { &[] });
    let bare_command = [pin, case.command.clone()].concat();
    let (mut bare, mut record, mut replay) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(super::timed(&bare_command)?);
        record.push(bench.record(&trace, &case.command)?);
        replay.push(bench.replay(&trace)?);
    }
    let bare_time = median(bare.iter().map(|run| run.time).collect());
    let shown = |runs: &[Run]| match runs.iter().zip(&bare).find(|(run, bare)| run.status != bare.status) {
        Some((run, _)) => run.status.code().map_or_else(
            || format!("signal {}", run.status.signal().unwrap_or(0)),
            |code| format!("status {code}"),
        ),
        None => case.unit.shown(median(runs.iter().map(|run| run.time).collect()), bare_time),
    };
    let bare_shown = format!("{:.1}", milliseconds(bare_time));
    print_row(case.name, &bare_shown, &shown(&record), &shown(&replay), case.must);
    Ok(())
}

impl Unit {
    fn shown(&self, time: Duration, bare: Duration) -> String {
        match self {
            Unit::Ratio => format!("{:.2}", time.as_secs_f64() / bare.as_secs_f64()),
            Unit::Milliseconds(executions) => {
                format!("{:.1}", (milliseconds(time) - milliseconds(bare)) / f64::from(*executions))
            }
        }
    }
}

/// What the trace's directory holds besides the copies of files, which traces share.
fn own_data(bench: &Bench) -> Result<()> {
    let trace = bench.folder.join("trace");
    bench.record(&trace, &words(&["ls"]))?;
    let mut bytes = 0;
    for entry in std::fs::read_dir(&trace)? {
        let meta = entry?.metadata()?;
        bytes += if meta.is_file() { meta.len() } else { 0 };
    }
    print_row(LS_DATA, "", &format!("{:.0} kB", bytes as f64 / 1e3), "", "200 kB");
    Ok(())
}

/// The most memory that the recorder itself has had.
fn memory(bench: &Bench) -> Result<()> {
    let trace = bench.folder.join("trace-memory");
    let command = bench.recording(&trace, &words(&[&python()?, &script("timer"), "50"]));
    let mut recorder = Command::new(&command[0]).args(&command[1..]).stdout(Stdio::null()).spawn()?;
    let mut most = 0;
    while recorder.try_wait()?.is_none() {
        most = peak_kilobytes(recorder.id()).unwrap_or(0).max(most);
        std::thread::sleep(Duration::from_millis(10));
    }
    print_row(MEMORY, "", &format!("{:.0} MB", most as f64 / 1024.0), "", "64 MB");
    Ok(())
}

/// `VmHWM` of proc(5).
fn peak_kilobytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(process.to_string()).join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}
