//! `cargo xtask bench record`: ratios to bare, the medians of interleaved runs. Not a test: it asserts nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::{check, fresh_directory, packages, release_vdbg, root};

/// How often each pair is run; the median is printed.
const ROUNDS: usize = 5;

const REVERSE: &str = "reverse-continue, end to main";

const CONDITIONAL: &str = "conditional breakpoint, evaluations a second";

/// How often the loop of `tests/bench/conditional.c` reaches its breakpoint.
const CONDITIONAL_VISITS: f64 = 1e8;

/// What is measured of going back over `tests/bench/writes.c`: a row each.
const REVERSE_SHORT: &str = "reverse-continue 0.2 s, end to main";
const REVERSE_LONG: &str = "reverse-continue 10 s, end to main";
const LAST: &str = "last EXPR, 10 million writes in 10 s";
const STEP_SECOND: &str = "reverse-step, second and later";
const STEPI_SECOND: &str = "reverse-stepi, second and later";

/// How many steps one run is measured over.
const STEPS: u32 = 20;

/// A command to measure, and how its result is printed.
struct Case {
    name: &'static str,
    command: Vec<String>,
    unit: Unit,
}

enum Unit {
    /// Time divided by bare.
    Ratio,
    /// Milliseconds above bare, divided by this many executions.
    Milliseconds(u32),
}

pub(crate) fn run(only: &str) -> Result<()> {
    packages::ensure(packages::COMPILER)?;
    packages::ensure(&[("python3", "python3"), ("gzip", "gzip")])?;
    let vdbg = release_vdbg()?;
    let folder = fresh_directory("bench")?;
    println!("{:34} {:>10} {:>10} {:>10}", "medians of 5 interleaved runs", "bare ms", "record", "replay");
    for case in cases(&folder)?.into_iter().filter(|case| case.name.contains(only)) {
        measure(&vdbg, &folder, &case).with_context(|| case.name.to_owned())?;
    }
    if REVERSE.contains(only) {
        reverse(&vdbg, &folder)?;
    }
    if CONDITIONAL.contains(only) {
        conditional(&vdbg, &folder)?;
    }
    backward(&vdbg, &folder, only)
}

fn compiled(folder: &Path, name: &str) -> Result<String> {
    let program = folder.join(name);
    let source = root().join(format!("tests/bench/{name}.c"));
    check(Command::new("gcc").args(["-O2", "-g", "-pthread", "-o"]).arg(&program).arg(source))?;
    Ok(program.display().to_string())
}

fn cases(folder: &Path) -> Result<Vec<Case>> {
    let data = folder.join("data");
    std::fs::write(&data, pseudo_random_text(20 << 20))?;
    let script = |name: &str| root().join(format!("tests/bench/{name}.py")).display().to_string();
    let ratio = |name, command: &[&str]| Case {
        name,
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        unit: Unit::Ratio,
    };
    // A version manager's wrapper would be measured instead of the interpreter.
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output()?;
    let python = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    let compiled = |name: &str| compiled(folder, name);
    let (sieve, reads, mutex) = (compiled("sieve")?, compiled("reads")?, compiled("mutex")?);
    let clock = compiled("clock")?;
    let mut cases = vec![
        ratio("gzip -9, 20 MB", &["gzip", "-9", "-c", &data.display().to_string()]),
        ratio("CPython loop", &[&python, &script("loop")]),
        ratio("CPython, 10 ms timer", &[&python, &script("timer"), "0"]),
        ratio("CPython, 10 ms timer, 50 MB heap", &[&python, &script("timer"), "50"]),
        ratio("sieve and qsort", &[&sieve]),
        ratio("2 million one-byte reads", &[&reads]),
        ratio("clock_gettime, 10 million times", &[&clock]),
        ratio("find /usr/share", &["find", "/usr/share"]),
        ratio("four threads, one mutex", &[&mutex]),
    ];
    let above = |name, command: &[&str], executions| Case {
        unit: Unit::Milliseconds(executions),
        ..ratio(name, command)
    };
    cases.push(above("true, ms above bare", &["true"], 1));
    cases.push(above("ls -l /usr/bin, ms above bare", &["ls", "-l", "/usr/bin"], 1));
    cases.push(above(
        "20 execs, ms each above bare",
        &["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do /bin/true; done"],
        20,
    ));
    Ok(cases)
}

fn measure(vdbg: &Path, folder: &Path, case: &Case) -> Result<()> {
    let trace = folder.join("trace");
    let (mut bare, mut record, mut replay) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bare.push(time(Command::new(&case.command[0]).args(&case.command[1..]))?);
        if trace.exists() {
            std::fs::remove_dir_all(&trace)?;
        }
        record
            .push(time(Command::new(vdbg).args(["record", "-o"]).arg(&trace).arg("--").args(&case.command))?);
        replay.push(time(Command::new(vdbg).arg("replay").arg(&trace).arg("--autopilot"))?);
    }
    let (bare, record, replay) = (median(bare), median(record), median(replay));
    let shown = |time: Duration| match case.unit {
        Unit::Ratio => format!("{:.2}", time.as_secs_f64() / bare.as_secs_f64()),
        Unit::Milliseconds(executions) => {
            format!("{:.1}", (time.as_secs_f64() - bare.as_secs_f64()) * 1e3 / f64::from(executions))
        }
    };
    println!(
        "{:34} {:>10.1} {:>10} {:>10}",
        case.name,
        bare.as_secs_f64() * 1e3,
        shown(record),
        shown(replay)
    );
    Ok(())
}

/// Going to a breakpoint in a hot loop whose condition, on an argument or a variable in memory, is true once at its end.
/// All visits by the whole time, with that of the program itself and of the start.
fn conditional(vdbg: &Path, folder: &Path) -> Result<()> {
    let trace = folder.join("trace-conditional");
    let program = compiled(folder, "conditional")?;
    time(Command::new(vdbg).args(["record", "-o"]).arg(&trace).args(["--", &program]))?;
    for condition in ["number == 99999990", "visits == 99999990"] {
        let (mut bare, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let run = |commands: &[&str]| {
                let words: Vec<&str> = commands.iter().flat_map(|command| ["-e", command]).collect();
                time(Command::new(vdbg).arg("replay").arg(&trace).arg("--batch").args(words))
            };
            bare.push(run(&["break step", "goto end"])?);
            whole.push(run(&[&format!("break step if {condition}"), "continue"])?);
        }
        let (bare, whole) = (median(bare).as_secs_f64(), median(whole).as_secs_f64());
        println!(
            "{CONDITIONAL}: {:.0} M ({condition}; {whole:.2} s with the breakpoint, {bare:.2} s without)",
            CONDITIONAL_VISITS / whole / 1e6
        );
    }
    Ok(())
}

/// Reverse-continue from the end to the start of about a second of computing.
fn reverse(vdbg: &Path, folder: &Path) -> Result<()> {
    let trace = folder.join("trace-reverse");
    let program = folder.join("sieve").display().to_string();
    time(Command::new(vdbg).args(["record", "-o"]).arg(&trace).args(["--", &program]))?;
    let bare = median((0..ROUNDS).map(|_| time(&mut Command::new(&program))).collect::<Result<_>>()?);
    let run = |commands: &[&str]| {
        let words: Vec<&str> = commands.iter().flat_map(|command| ["-e", command]).collect();
        time(Command::new(vdbg).arg("replay").arg(&trace).arg("--batch").args(words))
    };
    let there = median((0..ROUNDS).map(|_| run(&["continue"])).collect::<Result<_>>()?);
    let back = median(
        (0..ROUNDS).map(|_| run(&["continue", "break main", "reverse-continue"])).collect::<Result<_>>()?,
    );
    let seconds = back.saturating_sub(there).as_secs_f64();
    println!("{REVERSE}: {:.2} s over a program of {:.2} s", seconds, bare.as_secs_f64());
    Ok(())
}

/// Going back over a program that writes a variable a million times a second, the last time 1 ms before its end.
fn backward(vdbg: &Path, folder: &Path, only: &str) -> Result<()> {
    let rows = [REVERSE_SHORT, REVERSE_LONG, LAST, STEP_SECOND, STEPI_SECOND];
    if !rows.iter().any(|row| row.contains(only)) {
        return Ok(());
    }
    let program = folder.join("writes");
    let source = root().join("tests/bench/writes.c");
    check(Command::new("gcc").args(["-O2", "-g", "-o"]).arg(&program).arg(source))?;
    let record = |seconds: &str| -> Result<(std::path::PathBuf, Duration)> {
        let trace = folder.join(format!("trace-writes-{seconds}"));
        let bare = time(Command::new(&program).arg(seconds))?;
        let mut command = Command::new(vdbg);
        time(command.args(["record", "-o"]).arg(&trace).arg("--").arg(&program).arg(seconds))?;
        Ok((trace, bare))
    };
    let long = record("10")?;
    let short = record("0.2")?;
    for (row, (trace, bare)) in [(REVERSE_SHORT, &short), (REVERSE_LONG, &long)] {
        if row.contains(only) {
            let there = ["continue", "break main"];
            let took = difference(vdbg, trace, &there, &["reverse-continue"])?;
            println!("{row}: {took:.3} s over a program of {:.2} s", bare.as_secs_f64());
        }
    }
    if LAST.contains(only) {
        let took = difference(vdbg, &long.0, &["continue"], &["last written"])?;
        println!("{LAST}: {took:.3} s");
    }
    for (row, step) in [(STEP_SECOND, "reverse-step"), (STEPI_SECOND, "reverse-stepi")] {
        if row.contains(only) {
            let there = ["continue", "last written", "reverse-step", "reverse-step"];
            let took = difference(vdbg, &short.0, &there, &[step; STEPS as usize])?;
            println!("{row}: {:.1} ms each", took * 1e3 / f64::from(STEPS));
        }
    }
    Ok(())
}

/// The seconds that commands take after others: the median of the differences of interleaved runs with and without them.
fn difference(vdbg: &Path, trace: &Path, before: &[&str], measured: &[&str]) -> Result<f64> {
    let run = |commands: &[&str]| {
        let words = commands.iter().flat_map(|command| ["-e", command]);
        time(Command::new(vdbg).arg("replay").arg(trace).arg("--batch").args(words))
    };
    let all = [before, measured].concat();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let without = run(before)?;
        times.push(run(&all)?.saturating_sub(without));
    }
    Ok(median(times).as_secs_f64())
}

fn time(command: &mut Command) -> Result<Duration> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let since = Instant::now();
    command.status().with_context(|| format!("cannot run {command:?}"))?;
    Ok(since.elapsed())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Text that compresses about as well as text does, the same every time.
fn pseudo_random_text(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len).map(|_| b"etaoin shrdlu\nABCDEFGHIJKLMNOPQR"[(next() >> 59) as usize]).collect()
}
