//! `vdbg replay`: which way of replaying, and the opening of the recording.

use std::io::IsTerminal;
use std::process::ExitCode;

use commands::Debugger;
use tracer::{OpenOptions, Session};

use crate::{autopilot, batch, cli, interrupt, out, prompt};

pub(crate) fn replay(options: &cli::Replay) -> anyhow::Result<ExitCode> {
    let directory = trace::resolve(options.directory.as_deref())?;
    let session = Session::open(
        &directory,
        OpenOptions { any_machine: options.any_machine, ..OpenOptions::default() },
    )?;
    if let Some(note) = session.note_on_machine() {
        out::error(&format!("note: {note}"));
    }
    warn_of_damage(&session);
    interrupt::install(session.interrupt())?;
    if options.autopilot {
        return autopilot::run(session);
    }
    run_commands(Debugger::new(session), &options.commands)
}

/// `vdbg core`.
pub(crate) fn core(options: &cli::Core) -> anyhow::Result<ExitCode> {
    let core = targets::Core::open(&options.file, options.executable.as_deref())?;
    if core.is_cut_off() {
        out::error(
            "warning: the core file is cut off (the disk was full, or `ulimit -c` is too small): some memory is missing",
        );
    }
    let missing = core.missing_files();
    if let Some(first) = missing.first() {
        out::error(&format!(
            "warning: {} of the files that the program had mapped {} not there any more, {} among them: what they held is missing",
            missing.len(),
            if missing.len() == 1 { "is" } else { "are" },
            first.display()
        ));
    }
    let debugger = Debugger::of_core(core);
    interrupt::install(debugger.interrupt())?;
    run_commands(debugger, &options.commands)
}

/// Runs the commands that are given, and prompts for more where that is wanted.
fn run_commands(debugger: Debugger, options: &cli::Commands) -> anyhow::Result<ExitCode> {
    let given = !options.files.is_empty() || !options.commands.is_empty();
    let terminal = std::io::stdin().is_terminal();
    let mut batch = batch::Batch { debugger, json: options.json };
    let commands =
        options.files.iter().map(|file| batch::read_file(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let lines =
        commands.iter().flat_map(|text| text.lines()).chain(options.commands.iter().map(String::as_str));
    if !batch.run(lines)? {
        return Ok(ExitCode::SUCCESS);
    }
    match (options.batch, given, terminal) {
        (true, true, _) => Ok(ExitCode::SUCCESS),
        (false, _, true) => prompt::run(batch.debugger, options.json),
        // Without a terminal the commands that were given are all, unless there are none.
        (false, true, false) => Ok(ExitCode::SUCCESS),
        (_, false, _) => {
            batch.run_input(std::io::stdin().lock())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// How many events there are, and which.
fn extent(trace: &trace::Reader) -> String {
    let (first, end) = (trace.first(), trace.len());
    match first {
        0 => format!("{end} events"),
        first => format!("{} events, {first} to {}", end - first, end - 1),
    }
}

fn warn_of_damage(session: &Session) {
    if let Some(damage) = session.trace().damage() {
        out::error(&format!(
            "warning: the recording is damaged ({damage}); what is good can be replayed: {}",
            extent(session.trace())
        ));
    } else if let Some(recorder) = session.trace().recorder() {
        let trace = session.trace();
        out::error(&format!(
            "note: process {recorder} is still recording this; what was there a moment ago can be replayed: {}",
            extent(trace)
        ));
    } else if session.trace().end().is_none() {
        out::error(&format!(
            "warning: the recorder was stopped before the program ended; what it recorded until then can be replayed: {}",
            extent(session.trace())
        ));
    }
}
