//! `vdbg bugreport`: what a maintainer needs to see why a recording does not replay, in one file.
//!
//! Not in it, unless it is asked for: the memory of the program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use commands::{Debugger, describe_event};
use trace::Reader;
use tracer::{Direction, Mode, NoJudge, OpenOptions, Session, Stop, Stops, TracerError};

use crate::archive::Archive;
use crate::progress::Progress;
use crate::{cli, doctor, interrupt, main_message, out};

/// Events that are told of: those before the place in question.
const EVENTS_BEFORE: u64 = 400;

/// And those behind it.
const EVENTS_BEHIND: u64 = 20;

const CONTENTS: &str = "\
version.txt    version of vdbg; this machine's kernel and processor
doctor.txt     what `vdbg doctor` says
header.json    of the recording: command line, working directory, machine
end.json       how the recording ended (missing when the recorder was killed)
snapshots      where in the recording snapshots are
warnings       what the recorder warned of (missing when of nothing)
replay.txt     how a replay went: the divergence, call stacks, registers
events.txt     the events around that place: system calls with arguments and results, names of programs and files
";

/// What came of a replay.
struct Tried {
    text: String,
    /// The event that it ended at.
    event: u64,
}

pub(crate) fn bugreport(options: &cli::BugReport) -> anyhow::Result<ExitCode> {
    let directory = trace::resolve(options.directory.as_deref())?;
    // One that cannot be read is just what a report is for.
    if let Err(error @ trace::TraceError::NotATrace(_)) = trace::read_header(&directory) {
        return Err(error.into());
    }
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let output = options.output.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.bugreport.tar.zst")));
    let mut archive = Archive::create(&output, &format!("bugreport-{name}"))?;
    let mut contents = CONTENTS.to_owned();
    archive.text("version.txt", &version())?;
    archive.text("doctor.txt", &doctor::report().0)?;
    for file in ["header.json", "end.json", "snapshots", "warnings"] {
        let path = directory.join(file);
        if path.exists() {
            archive.file(file, &path)?;
        }
    }
    let tried = try_replay(&directory);
    archive.text("replay.txt", &tried.text)?;
    archive.text("events.txt", &events(&directory, tried.event))?;
    if options.with_trace {
        tracer::pack(&directory)?;
        archive.directory("trace", &directory)?;
        contents.push_str(
            "trace/         all of the recording, with the contents of the program's memory and its files\n",
        );
    } else {
        contents
            .push_str("\nThe memory of the program, its files, and what it read and wrote are not in it.\n");
    }
    archive.text("CONTENTS.txt", &contents)?;
    archive.finish()?;
    out::write(&format!("{} holds:\n\n{contents}", output.display()))?;
    Ok(ExitCode::SUCCESS)
}

fn version() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_else(|error| format!("not known: {error}\n"));
    let processor = read("/proc/cpuinfo");
    let processor = processor.split("\n\n").next().unwrap_or_default();
    format!("vdbg {}\n{}\n{processor}\n", env!("CARGO_PKG_VERSION"), read("/proc/version"))
}

/// Replays all of it, and says how that went.
fn try_replay(directory: &Path) -> Tried {
    let failed = |error: &anyhow::Error, event| Tried { text: format!("{}\n", main_message(error)), event };
    let session = match Session::open(directory, OpenOptions { any_machine: true, ..OpenOptions::default() })
    {
        Ok(session) => session,
        Err(error) => return failed(&error.into(), 0),
    };
    let mut text = String::new();
    if let Some(note) = session.note_on_machine() {
        text = format!("note: {note}\n");
    }
    if let Some(damage) = session.trace().damage() {
        let _ = writeln!(text, "the recording is damaged: {damage}");
    }
    if let Err(error) = interrupt::install(session.interrupt()).context("cannot take Ctrl-C") {
        return failed(&error, 0);
    }
    let mut session = session;
    let progress = Progress::begin(session.interrupt(), session.trace().len());
    let result = session.resume(Direction::Forward, Mode::Run, &Stops::default(), &mut NoJudge);
    drop(progress);
    let here = session.position().event;
    match result {
        Ok(Stop::End) => {
            let _ = writeln!(text, "{} events replayed, no divergence", session.trace().len());
            Tried { text, event: here }
        }
        Ok(stop) => {
            let _ = writeln!(text, "the replay stopped early ({stop:?}) at event {here}");
            Tried { text, event: here }
        }
        Err(error) => {
            let event = if let TracerError::Divergence { event, .. } = &error { *event } else { here };
            let _ = writeln!(text, "{error}");
            if let Some(report) = Debugger::new(session).divergence_report() {
                let _ = writeln!(text, "{report}");
            }
            Tried { text, event }
        }
    }
}

fn events(directory: &Path, around: u64) -> String {
    let reader = match Reader::open(directory) {
        Ok(reader) => reader,
        Err(error) => return format!("{error}\n"),
    };
    let end = around.saturating_add(EVENTS_BEHIND).min(reader.len());
    let mut text = String::new();
    for number in around.saturating_sub(EVENTS_BEFORE)..end {
        match describe_event(&reader, number) {
            Ok(event) => {
                let _ = writeln!(text, "{event}");
            }
            Err(error) => {
                let _ = writeln!(text, "{number}: {error}");
            }
        }
    }
    text
}
