//! Commands without a prompt: from files, from the command line, from standard input. The first that fails ends it.

use std::io::BufRead;
use std::path::Path;

use anyhow::{Context, anyhow};
use commands::{Debugger, Flow};

use crate::out;
use crate::progress::Progress;

pub(crate) struct Batch {
    pub(crate) debugger: Debugger,
    pub(crate) json: bool,
}

impl Batch {
    /// Runs lines; false when one of them says to leave.
    pub(crate) fn run<'a>(&mut self, lines: impl Iterator<Item = &'a str>) -> anyhow::Result<bool> {
        for line in lines {
            if self.run_line(line)? == Flow::Quit {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Runs the lines of an input.
    pub(crate) fn run_input(&mut self, input: impl BufRead) -> anyhow::Result<()> {
        for line in input.lines() {
            let line = line.context("cannot read commands from standard input")?;
            if self.run_line(&line)? == Flow::Quit {
                break;
            }
        }
        Ok(())
    }

    fn run_line(&mut self, line: &str) -> anyhow::Result<Flow> {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            return Ok(Flow::Continue);
        }
        let progress = Progress::begin(self.debugger.interrupt(), self.debugger.events());
        let (text, result) = execute(&mut self.debugger, line, self.json);
        drop(progress);
        out::write(&text)?;
        result.map_err(|error| anyhow!("command \"{line}\": {error}"))
    }
}

/// Executes a line: what is to be written, and how it went.
pub(crate) fn execute(debugger: &mut Debugger, line: &str, json: bool) -> (String, Result<Flow, String>) {
    if json {
        let (answer, flow) = debugger.execute_json(line);
        let mut answer = answer;
        if let Some(report) = debugger.divergence_report() {
            answer["divergence"] = report.into();
        }
        let failed = answer["error"].as_str().map(str::to_owned);
        return (format!("{answer}\n"), failed.map_or(Ok(flow), Err));
    }
    let mut text = String::new();
    let result = debugger.execute(line, &mut text).map_err(|error| match debugger.divergence_report() {
        Some(report) => format!("{error}\n{report}"),
        None => error.to_string(),
    });
    (text, result)
}

/// The text of a command file.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read the command file {}", path.display()))
}
