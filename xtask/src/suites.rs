//! `cargo xtask test`: everything that checks the project, suite by suite, with the time each took.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::{cargo, packages, tidy};

/// A suite and its budget on two idle cores, in minutes.
struct Suite {
    name: &'static str,
    budget_min: u64,
    run: fn() -> Result<()>,
}

const SUITES: &[Suite] = &[
    Suite { name: "format", budget_min: 1, run: || crate::check(cargo().args(["fmt", "--all", "--check"])) },
    Suite { name: "tidy", budget_min: 1, run: tidy::run },
    Suite {
        name: "build",
        budget_min: 15,
        run: || crate::check(cargo().args(["build", "--workspace", "--all-targets"])),
    },
    Suite {
        name: "clippy",
        budget_min: 4,
        run: || {
            crate::check(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
        },
    },
    Suite { name: "syscalls", budget_min: 4, run: || package("syscalls") },
    Suite { name: "agent", budget_min: 4, run: || package("agent") },
    Suite { name: "patch", budget_min: 4, run: || package("patch") },
    Suite { name: "trace", budget_min: 4, run: || package("trace") },
    Suite { name: "symbols", budget_min: 4, run: || package("symbols") },
    Suite { name: "tracer (core)", budget_min: 10, run: || package("tracer") },
    Suite { name: "targets", budget_min: 4, run: || package("targets") },
    Suite { name: "commands", budget_min: 4, run: || package("commands") },
    Suite { name: "vdbg", budget_min: 4, run: || package("vdbg") },
    Suite { name: "end to end", budget_min: 4, run: || package("e2e") },
];

pub(crate) fn run() -> Result<()> {
    packages::ensure(packages::COMPILER)?;
    packages::ensure(packages::TESTS)?;
    let mut times: Vec<(&Suite, Duration, bool)> = Vec::new();
    for suite in SUITES {
        println!("==> {}", suite.name);
        let since = Instant::now();
        let result = (suite.run)();
        if let Err(error) = &result {
            eprintln!("xtask: {}: {error:#}", suite.name);
        }
        times.push((suite, since.elapsed(), result.is_ok()));
    }
    println!("\n{:16} {:>8} {:>8}", "suite", "seconds", "budget");
    for (suite, time, passed) in &times {
        let note = if *passed { "" } else { "  FAILED" };
        println!("{:16} {:>8} {:>8}{note}", suite.name, time.as_secs(), suite.budget_min * 60);
    }
    let failed = times.iter().filter(|(_, _, passed)| !passed).count();
    println!("{} passed, {failed} failed", times.len() - failed);
    if failed > 0 { bail!("{failed} of {} suites failed", times.len()) } else { Ok(()) }
}

fn package(name: &str) -> Result<()> {
    let mut command: Command = cargo();
    crate::check(command.args(["test", "--quiet", "--package", name]))
}
