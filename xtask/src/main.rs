//! `cargo xtask`: everything a newcomer or the continuous integration runs. Each command installs the system packages
//! it needs and says so.

mod bench;
mod corpus;
mod demo;
mod limited;
mod load;
mod packages;
mod page;
mod programs;
mod suites;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo             record a program that crashes, and walk back to the line that caused it
  test             everything that checks the project; prints the time of each suite
  tidy             the invariants of ARCHITECTURE.md
  bench record [NAME]
                   ratios to bare of recording, replay and reverse execution (only rows with NAME in their names)
  bench symbols    finding a function in big programs, beside gdb and lldb
  corpus [NAME]    the longer variants of the tests
  corpus programs [NAME]
                   real programs, a row each (only those with NAME in their names)
  corpus programs --write
                   the same, all of them, and the table goes into docs/corpora.md
  corpus load [NAME | --write]
                   1000 recordings of threads and signals while all cores are busy with other work
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["demo"] => demo::run(),
        ["test"] => suites::run(),
        ["tidy"] => tidy::run(),
        ["bench", "record"] | ["bench"] => bench::run(""),
        ["bench", "record", only] => bench::run(only),
        ["bench", "symbols"] => bench::symbols::run(),
        ["corpus", "programs"] => programs::run("", false),
        ["corpus", "programs", "--write"] => programs::run("", true),
        ["corpus", "programs", only] => programs::run(only, false),
        ["corpus", "load"] => load::run("", false),
        ["corpus", "load", "--write"] => load::run("", true),
        ["corpus", "load", only] => load::run(only, false),
        ["corpus", rest @ ..] => corpus::run(rest.first().copied()),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The top of the workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Runs a command and fails when it fails.
fn check(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    if status.success() { Ok(()) } else { bail!("{command:?} failed: {status}") }
}

/// Builds the release binary and says where it is.
fn release_vdbg() -> Result<PathBuf> {
    check(cargo().args(["build", "--release", "--package", "vdbg"]))?;
    Ok(target().join("release/vdbg"))
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    command
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A directory below the target directory, made anew.
fn fresh_directory(name: &str) -> Result<PathBuf> {
    let path = target().join("xtask").join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).with_context(|| format!("cannot clear {}", path.display()))?;
    }
    std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(path)
}
