//! `cargo xtask bench record`: recording, replay and reverse execution against the bare program, the medians of
//! interleaved runs. Not a test: it asserts nothing, and prints the figure that must be reached beside each value.

mod backward;
mod inputs;
mod record;
mod servers;
pub(crate) mod symbols;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{check, fresh_directory, packages, release_vdbg, root};

/// How often each pair is run; the median is printed.
const ROUNDS: usize = 5;

/// No run may take longer.
const SECONDS_MAX: &str = "300";

/// What every row needs.
struct Bench {
    vdbg: PathBuf,
    /// Where inputs and traces are.
    folder: PathBuf,
    /// Only rows with this in their names are measured.
    only: String,
}

pub(crate) fn run(only: &str) -> Result<()> {
    packages::ensure(packages::COMPILER)?;
    packages::ensure(&[("python3", "python3"), ("gzip", "gzip"), ("git", "git"), ("make", "make")])?;
    let vdbg = release_vdbg()?;
    let bench = Bench { vdbg, folder: fresh_directory("bench")?, only: only.to_owned() };
    print_row(&format!("medians of {ROUNDS} interleaved runs"), "bare ms", "record", "replay", "must");
    record::measure(&bench)?;
    servers::measure(&bench)?;
    backward::measure(&bench)
}

fn print_row(name: &str, bare: &str, record: &str, replay: &str, must: &str) {
    println!("{name:50} {bare:>10} {record:>10} {replay:>10}   {must}");
}

impl Bench {
    fn wants(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// Builds `tests/bench/NAME.c`.
    fn compiled(&self, name: &str) -> Result<String> {
        let program = self.folder.join(name);
        if !program.exists() {
            let source = root().join(format!("tests/bench/{name}.c"));
            check(Command::new("gcc").args(["-O2", "-g", "-pthread", "-o"]).arg(&program).arg(source))?;
        }
        Ok(program.display().to_string())
    }

    /// The command that records this one.
    fn recording(&self, trace: &Path, command: &[String]) -> Vec<String> {
        let vdbg = [&self.vdbg.display().to_string(), "record", "-o", &trace.display().to_string(), "--"];
        vdbg.iter().map(|word| (*word).to_owned()).chain(command.iter().cloned()).collect()
    }

    /// Records a command in a directory made anew.
    fn record(&self, trace: &Path, command: &[String]) -> Result<Run> {
        if trace.exists() {
            std::fs::remove_dir_all(trace)?;
        }
        timed(&self.recording(trace, command))
    }

    fn replay(&self, trace: &Path) -> Result<Run> {
        let (vdbg, trace) = (self.vdbg.display().to_string(), trace.display().to_string());
        timed(&[vdbg, "replay".into(), trace, "--autopilot".into()])
    }

    /// Replays with these commands.
    fn batch(&self, trace: &Path, commands: &[&str]) -> Result<Duration> {
        let words = commands.iter().flat_map(|command| ["-e", command]);
        let mut command = Command::new(&self.vdbg);
        command.arg("replay").arg(trace).arg("--batch").args(words);
        Ok(wait_for(&mut command)?.time)
    }
}

/// How long a command took, and how it ended.
struct Run {
    time: Duration,
    status: ExitStatus,
}

fn timed(words: &[String]) -> Result<Run> {
    wait_for(Command::new("timeout").args(["--kill-after=5", SECONDS_MAX]).args(words))
}

fn wait_for(command: &mut Command) -> Result<Run> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let since = Instant::now();
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    Ok(Run { time: since.elapsed(), status })
}

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

fn median<T: PartialOrd + Copy>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
    values[values.len() / 2]
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
