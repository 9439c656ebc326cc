//! `cargo xtask corpus programs [NAME]`: real programs, recorded, replayed, and stopped at a breakpoint in both directions.
//! Prints a row each: result, time of recording and of replay divided by bare, size of the trace.

mod list;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::{fresh_directory, packages, release_vdbg};

/// The longest time that one run of one program may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A program that must record.
struct Program {
    group: &'static str,
    name: &'static str,
    /// What it needs: a program or file, and the Debian package that has it.
    needs: &'static [packages::Need],
    /// A script that makes its inputs, in a folder of its own; `$PORT` is a free port.
    prepare: &'static str,
    /// What is recorded, by the shell. A script of its own, if it has more than one line.
    command: &'static str,
    /// A function that it is to be stopped at.
    breakpoint: &'static str,
    /// What it prints is the same in every run.
    same_output: bool,
}

impl Program {
    const DEFAULT: Program = Program {
        group: "",
        name: "",
        needs: &[],
        prepare: "",
        command: "",
        breakpoint: "write",
        same_output: true,
    };
}

/// What came of running a command.
struct Ran {
    status: Option<i32>,
    output: Vec<u8>,
    errors: String,
    time: Duration,
}

pub(crate) fn run(only: &str) -> Result<()> {
    let vdbg = release_vdbg()?;
    let folder = fresh_directory("programs")?;
    println!("| group | program | result | record | replay | trace |");
    println!("|---|---|---|---|---|---|");
    let mut failed = 0;
    for program in list::PROGRAMS.iter().filter(|program| program.name.contains(only)) {
        let (result, figures) = match check(&vdbg, &folder, program) {
            Ok(figures) => ("good".to_owned(), figures),
            Err(error) => {
                failed += 1;
                (format!("{error:#}").replace('\n', " "), "- | - | -".into())
            }
        };
        println!("| {} | {} | {result} | {figures} |", program.group, program.name);
    }
    if failed > 0 {
        bail!("{failed} programs failed");
    }
    Ok(())
}

fn check(vdbg: &Path, folder: &Path, program: &Program) -> Result<String> {
    packages::ensure(program.needs)?;
    let place = folder.join(program.name.replace(|other: char| !other.is_ascii_alphanumeric(), "-"));
    std::fs::create_dir_all(&place)?;
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
    let shell = |script: &str| {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command
    };
    let run = |mut command: Command| -> Result<Ran> {
        command.current_dir(&place).env("PORT", &port).env_remove("PYENV_VERSION");
        run_limited(command)
    };
    let prepared = run(shell(&format!("set -e\n{}", program.prepare)))?;
    if prepared.status != Some(0) {
        bail!("could not be prepared: {}", last_line(&prepared.errors));
    }
    let bare = run(shell(program.command))?;
    if bare.status != Some(0) {
        bail!("it fails without being recorded: {}", last_line(&bare.errors));
    }
    let trace = place.join("trace");
    let record = || {
        let mut command = Command::new(vdbg);
        command.args(["record", "-o"]).arg(&trace).args(["--", "bash", "-c", program.command]);
        command
    };
    let recorded = run(record())?;
    if recorded.status != bare.status {
        let (status, errors) = (recorded.status, last_line(&recorded.errors));
        bail!("recorded, it ends with {status:?} instead of {:?}: {errors}", bare.status);
    }
    if program.same_output && recorded.output != bare.output {
        bail!("recorded, it prints something else");
    }
    let replay = |arguments: &[&str]| {
        let mut command = Command::new(vdbg);
        command.arg("replay").arg(&trace).args(arguments);
        command
    };
    let replayed = run(replay(&["--autopilot"]))?;
    if replayed.status != Some(0) {
        bail!("replay: {}", last_line(&replayed.errors));
    }
    if replayed.output != recorded.output {
        bail!("the replay prints something else");
    }
    let stop = format!("break {}", program.breakpoint);
    let stops =
        run(replay(&["--batch", "-e", &stop, "-e", "continue", "-e", "goto end", "-e", "reverse-continue"]))?;
    let hits = String::from_utf8_lossy(&stops.output).matches("Breakpoint 1, ").count();
    if hits != 2 {
        bail!("{hits} of 2 stops at {}: {}", program.breakpoint, last_line(&stops.errors));
    }
    let ratio = |ran: &Ran| ran.time.as_secs_f64() / bare.time.as_secs_f64();
    let size = size_of(&trace)? as f64 / 1e6;
    Ok(format!("{:.1} | {:.1} | {size:.1} MB", ratio(&recorded), ratio(&replayed)))
}

/// Runs a command; whatever still runs of it after [`PATIENCE`] is ended.
fn run_limited(mut command: Command) -> Result<Ran> {
    use std::os::unix::process::CommandExt;
    let files = tempfile();
    let (output, errors) = (std::fs::File::create(&files.0)?, std::fs::File::create(&files.1)?);
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    let since = Instant::now();
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if since.elapsed() > PATIENCE {
            end_group(&child);
            child.wait()?;
            bail!("not done within {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let time = since.elapsed();
    let read = |path: &Path| std::fs::read(path).unwrap_or_default();
    let errors = String::from_utf8_lossy(&read(&files.1)).into_owned();
    Ok(Ran { status: status.code(), output: read(&files.0), errors, time })
}

/// Places for what a command prints.
fn tempfile() -> (PathBuf, PathBuf) {
    let folder = crate::target().join("xtask");
    (folder.join("programs-output"), folder.join("programs-errors"))
}

fn end_group(child: &Child) {
    // The group has the child's id.
    let _ = Command::new("kill").args(["-KILL", &format!("-{}", child.id())]).status();
}

fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it says nothing")
}

fn size_of(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let meta = entry?.metadata()?;
        total += if meta.is_file() { meta.len() } else { 0 };
    }
    Ok(total)
}
