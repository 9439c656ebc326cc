//! `vdbg`: the command line of the debugger. Thin: recording and replaying are `tracer`'s, commands are `commands`'.
//!
//! What a program or a command writes goes to standard output; errors, warnings, notes and progress go to standard
//! error. The exit status is 1 when something failed, 2 for a wrong command line; `record` and `replay --autopilot` exit
//! with the program's own.

mod archive;
mod autopilot;
mod batch;
mod bugreport;
mod cli;
mod doctor;
mod interrupt;
mod out;
mod pack;
mod progress;
mod prompt;
mod quantities;
mod record;
mod replay;
mod traces;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Verb};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.verb {
        Verb::Record(options) => record::record(&options),
        Verb::Stop(options) => record::stop(&options),
        Verb::Save(options) => record::save(&options),
        Verb::Replay(options) => replay::replay(&options),
        Verb::Core(options) => replay::core(&options),
        Verb::Ls(options) => traces::list(options.json),
        Verb::Info(options) => traces::info(&options),
        Verb::Dump(options) => traces::dump(&options),
        Verb::Rm(options) => traces::remove(&options),
        Verb::BugReport(options) => bugreport::bugreport(&options),
        Verb::Pack(options) => pack::pack(&options),
        Verb::Doctor => doctor::doctor(),
    };
    match result {
        Ok(code) => code,
        // The reader of our output has had enough.
        Err(error) if out::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out::error(&main_message(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, each said once: many messages name their cause already.
pub(crate) fn main_message(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if text.is_empty() {
            text = cause;
        } else if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}
