//! `cargo xtask corpus programs [NAME]`: real programs, recorded, replayed, and stopped at a breakpoint in both directions,
//! with the agent and without. Prints a row each; `--write` puts the table into docs/corpora.md. Start reading at
//! [`check`].

mod gui;
mod languages;
mod servers;
mod table;
mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::limited::{self, Beside, Ran, last_line};
use crate::{fresh_directory, packages, release_vdbg, root, target};
use table::Row;

/// A program that must record. Its scripts are bash's and run in a folder of its own, with these variables: `$PORT`, a free
/// port; `$SOURCES`, the folder tests/programs; `$SHARED`, a folder that stays from run to run.
struct Program {
    group: &'static str,
    name: &'static str,
    /// What it needs: a program or file, and the Debian package that has it.
    needs: &'static [packages::Need],
    /// Makes its inputs.
    prepare: &'static str,
    /// Runs beside it without being recorded, and is ended when it has ended.
    beside: &'static str,
    /// What is recorded. It prints the same in every run.
    command: &'static str,
    /// A function that it is to be stopped at.
    breakpoint: &'static str,
    /// Why it is known not to be good.
    limit: &'static str,
}

impl Program {
    const DEFAULT: Program = Program {
        group: "",
        name: "",
        needs: &[],
        prepare: "",
        beside: "",
        command: "",
        breakpoint: "write",
        limit: "",
    };
}

/// Builds the programs with tokio.
const TOKIO: &str = "CARGO_TARGET_DIR=$SHARED/tokio cargo build -q --release --locked --manifest-path $SOURCES/tokio/Cargo.toml";

/// Runs those with `only` in their names.
pub(crate) fn run(only: &str, is_to_be_written: bool) -> Result<()> {
    let vdbg = release_vdbg()?;
    let all = [languages::PROGRAMS, servers::PROGRAMS, tools::PROGRAMS, gui::PROGRAMS];
    let mut text = table::HEAD.to_owned();
    print!("{text}");
    let mut failed = 0;
    for program in all.into_iter().flatten().filter(|program| program.name.contains(only)) {
        let row = check(&vdbg, program);
        failed += usize::from(row.is_failure(program));
        let line = row.line(program);
        print!("{line}");
        text += &line;
    }
    if is_to_be_written {
        table::write(&text)?;
    }
    if failed > 0 {
        bail!("{failed} programs failed");
    }
    Ok(())
}

/// Where a program runs, and with what.
struct Place<'a> {
    vdbg: &'a Path,
    program: &'a Program,
    folder: PathBuf,
    port: String,
}

fn check(vdbg: &Path, program: &Program) -> Row {
    let mut row = Row::default();
    let checked = (|| {
        packages::ensure(program.needs)?;
        let place = Place::new(vdbg, program)?;
        place.prepare()?;
        let bare = place.bare()?;
        row.bare = Some(bare.time);
        let agent = place.recorded(&bare, &[], "trace").map(|figures| row.agent = Some(figures));
        let no_agent = place.recorded(&bare, &["--no-agent"], "trace-no-agent");
        // A failure of the first is told, whatever became of the second.
        agent?;
        row.no_agent = Some(no_agent?);
        Ok(())
    })();
    row.error = checked.err().map(|error: anyhow::Error| format!("{error:#}"));
    row
}

impl<'a> Place<'a> {
    fn new(vdbg: &'a Path, program: &'a Program) -> Result<Place<'a>> {
        let name = program.name.replace(|other: char| !other.is_ascii_alphanumeric(), "-");
        let folder = fresh_directory(&format!("programs/{name}"))?;
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        Ok(Place { vdbg, program, folder, port })
    }

    fn run(&self, mut command: Command) -> Result<Ran> {
        self.set(&mut command);
        limited::run_limited(command, &self.folder)
    }

    fn set(&self, command: &mut Command) {
        command.current_dir(&self.folder).env("PORT", &self.port).env_remove("PYENV_VERSION");
        command.env("SOURCES", root().join("tests/programs")).env("SHARED", target().join("xtask/shared"));
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("bash");
        command.args(["-c", script]);
        command
    }

    /// Runs a command with what has to run beside it.
    fn run_with_company(&self, command: Command) -> Result<Ran> {
        if self.program.beside.is_empty() {
            return self.run(command);
        }
        let mut company = Self::shell(self.program.beside);
        self.set(&mut company);
        let company = Beside::start(company)?;
        let ran = self.run(command);
        drop(company);
        ran
    }

    fn prepare(&self) -> Result<()> {
        let prepared = self.run(Self::shell(&format!("set -e\n{}", self.program.prepare)))?;
        if prepared.status != Some(0) {
            bail!("could not be prepared: {}", last_line(&prepared.errors));
        }
        Ok(())
    }

    /// The second of two runs, since the first finds no file in the page cache.
    fn bare(&self) -> Result<Ran> {
        self.run_with_company(Self::shell(self.program.command))?;
        let bare = self.run_with_company(Self::shell(self.program.command))?;
        if bare.status != Some(0) {
            bail!("it fails without being recorded: {}", last_line(&bare.errors));
        }
        Ok(bare)
    }

    fn recorded(&self, bare: &Ran, options: &[&str], name: &str) -> Result<table::Figures> {
        let trace = self.folder.join(name);
        let with = if options.is_empty() { String::new() } else { format!("{}: ", options.join(" ")) };
        let mut command = Command::new(self.vdbg);
        command.arg("record").args(options).arg("-o").arg(&trace).args([
            "--",
            "bash",
            "-c",
            self.program.command,
        ]);
        let recorded = self.run_with_company(command)?;
        if recorded.status != bare.status {
            let (status, errors) = (recorded.status, last_line(&recorded.errors));
            bail!("{with}recorded, it ends with {status:?} instead of {:?}: {errors}", bare.status);
        }
        if recorded.output != bare.output {
            bail!("{with}recorded, it prints something else");
        }
        let replayed = self.replayed(&trace, &["--autopilot"])?;
        if replayed.status != Some(0) {
            bail!("{with}replay: {}", last_line(&replayed.errors));
        }
        if replayed.output != recorded.output {
            bail!("{with}the replay prints something else");
        }
        self.check_stops(&trace, &with)?;
        let ratio = |ran: &Ran| ran.time.as_secs_f64() / bare.time.as_secs_f64();
        let figures = table::Figures {
            record: ratio(&recorded),
            replay: ratio(&replayed),
            size_mb: limited::size_of(&trace)? as f64 / 1e6,
        };
        std::fs::remove_dir_all(&trace)?;
        Ok(figures)
    }

    fn replayed(&self, trace: &Path, arguments: &[&str]) -> Result<Ran> {
        let mut command = Command::new(self.vdbg);
        command.arg("replay").arg(trace).args(arguments);
        self.run(command)
    }

    /// Stops at the breakpoint once from the start, and once from the end.
    fn check_stops(&self, trace: &Path, with: &str) -> Result<()> {
        let stop = format!("break {}", self.program.breakpoint);
        let commands = ["--batch", "-e", &stop, "-e", "continue", "-e", "goto end", "-e", "reverse-continue"];
        let stops = self.replayed(trace, &commands)?;
        let hits = String::from_utf8_lossy(&stops.output).matches("Breakpoint 1, ").count();
        if hits != 2 {
            bail!("{with}{hits} of 2 stops at {}: {}", self.program.breakpoint, last_line(&stops.errors));
        }
        Ok(())
    }
}
