//! Going back: reverse-continue, `last`, steps; and conditional breakpoints.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::{Bench, ROUNDS, median, milliseconds, print_row, timed, words};

const REVERSE: &str = "reverse-continue, sieve, end to main";

const CONDITIONAL: &str = "conditional breakpoint, visits a second";

/// How often the loop of `tests/bench/conditional.c` reaches its breakpoint.
const CONDITIONAL_VISITS: f64 = 1e8;

/// What is measured of going back over `tests/bench/writes.c`: a row each.
const REVERSE_SHORT: &str = "reverse-continue 0.2 s, end to main";
const REVERSE_LONG: &str = "reverse-continue 10 s, end to main";
const LAST: &str = "last EXPR, 10 million writes in 10 s";
const STEP_SECOND: &str = "reverse-step, second and later";
const STEPI_SECOND: &str = "reverse-stepi, second and later";

/// Going to the end of twenty seconds of a program that makes calls.
const END: &str = "goto end, 20 s of CPython";

/// How many steps one run is measured over.
const STEPS: usize = 20;

pub(super) fn measure(bench: &Bench) -> Result<()> {
    if bench.wants(REVERSE) {
        sieve(bench)?;
    }
    if bench.wants(END) {
        end(bench)?;
    }
    if bench.wants(CONDITIONAL) {
        conditional(bench)?;
    }
    if [REVERSE_SHORT, REVERSE_LONG, LAST, STEP_SECOND, STEPI_SECOND].iter().any(|row| bench.wants(row)) {
        writes(bench)?;
    }
    Ok(())
}

/// Reverse-continue from the end to the start of about a second of computing.
fn sieve(bench: &Bench) -> Result<()> {
    let (trace, bare) = recorded(bench, "trace-reverse", &[&bench.compiled("sieve")?])?;
    let took = difference(bench, &trace, &["continue", "break main"], &["reverse-continue"])?;
    print_row(REVERSE, &format!("{:.1}", milliseconds(bare)), "", &format!("{took:.3} s"), "");
    Ok(())
}

/// By way of the last snapshot.
fn end(bench: &Bench) -> Result<()> {
    const SCRIPT: &str = "import os, time
end = time.time() + 20
while time.time() < end:
    sum(range(20000))
    os.getppid()";
    let long = recorded(bench, "trace-end", &["/usr/bin/python3", "-c", SCRIPT])?;
    row(bench, END, "2 s", Going { trace: &long, before: &[], measured: &["goto end"] })
}

/// Going to a breakpoint in a hot loop whose condition, on an argument or a variable in memory, is true once at its end.
/// All visits by the whole time, with that of the program itself and of the start.
fn conditional(bench: &Bench) -> Result<()> {
    let (trace, bare) = recorded(bench, "trace-conditional", &[&bench.compiled("conditional")?])?;
    for (on, condition) in [("argument", "number == 99999990"), ("variable", "visits == 99999990")] {
        let stop = format!("break step if {condition}");
        let times = (0..ROUNDS).map(|_| bench.batch(&trace, &[&stop, "continue"]));
        let seconds = median(times.collect::<Result<Vec<_>>>()?).as_secs_f64();
        let rate = format!("{:.0} M", CONDITIONAL_VISITS / seconds / 1e6);
        print_row(&format!("{CONDITIONAL}, {on}"), &format!("{:.1}", milliseconds(bare)), "", &rate, "20 M");
    }
    Ok(())
}

/// Going back over a program that writes a variable a million times a second, the last time 1 ms before its end.
fn writes(bench: &Bench) -> Result<()> {
    let program = bench.compiled("writes")?;
    let long = recorded(bench, "trace-writes-long", &[&program, "10"])?;
    let short = recorded(bench, "trace-writes-short", &[&program, "0.2"])?;
    let main = Going { trace: &short, before: &["continue", "break main"], measured: &["reverse-continue"] };
    let stepped = ["continue", "last written", "reverse-step", "reverse-step"];
    let step = Going { trace: &short, before: &stepped, measured: &["reverse-step"; STEPS] };
    row(bench, REVERSE_SHORT, "0.5 s", main)?;
    row(bench, REVERSE_LONG, "12 s", Going { trace: &long, ..main })?;
    let last = Going { trace: &long, before: &["continue"], measured: &["last written"] };
    row(bench, LAST, "2 s", last)?;
    row(bench, STEP_SECOND, "50 ms", step)?;
    row(bench, STEPI_SECOND, "50 ms", Going { measured: &["reverse-stepi"; STEPS], ..step })
}

/// Commands whose time is measured, and those that come before.
#[derive(Clone, Copy)]
struct Going<'a> {
    /// The trace, and how long its program takes bare.
    trace: &'a (PathBuf, Duration),
    before: &'a [&'a str],
    measured: &'a [&'a str],
}

fn row(bench: &Bench, name: &str, must: &str, going: Going) -> Result<()> {
    if !bench.wants(name) {
        return Ok(());
    }
    let took = difference(bench, &going.trace.0, going.before, going.measured)?;
    let shown = match going.measured.len() {
        1 => format!("{took:.3} s"),
        steps => format!("{:.1} ms", took * 1e3 / steps as f64),
    };
    print_row(name, &format!("{:.1}", milliseconds(going.trace.1)), "", &shown, must);
    Ok(())
}

/// Records a program, and says how long it takes bare.
fn recorded(bench: &Bench, name: &str, command: &[&str]) -> Result<(PathBuf, Duration)> {
    let (trace, command) = (bench.folder.join(name), words(command));
    let bare = timed(&command)?.time;
    bench.record(&trace, &command)?;
    Ok((trace, bare))
}

/// The seconds that commands take after others: the median of the differences of interleaved runs with and without them.
fn difference(bench: &Bench, trace: &Path, before: &[&str], measured: &[&str]) -> Result<f64> {
    let all = [before, measured].concat();
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let without = bench.batch(trace, before)?;
        times.push(bench.batch(trace, &all)?.saturating_sub(without));
    }
    Ok(median(times).as_secs_f64())
}
