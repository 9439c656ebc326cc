//! The table of the results, and its place in docs/corpora.md.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use super::Program;
use crate::root;

pub(super) const HEAD: &str = "\
| group | program | result | bare | record | replay | trace | record, no agent | replay, no agent | trace, no agent |
|---|---|---|---|---|---|---|---|---|---|
";

/// What recording and replaying took, divided by bare, and the size of the trace's own files.
pub(super) struct Figures {
    pub(super) record: f64,
    pub(super) replay: f64,
    pub(super) size_mb: f64,
}

/// What became of one program.
#[derive(Default)]
pub(super) struct Row {
    pub(super) bare: Option<Duration>,
    pub(super) agent: Option<Figures>,
    pub(super) no_agent: Option<Figures>,
    pub(super) error: Option<String>,
}

impl Row {
    /// It went wrong, and nobody knows why.
    pub(super) fn is_failure(&self, program: &Program) -> bool {
        self.error.is_some() && program.limit.is_empty()
    }

    pub(super) fn line(&self, program: &Program) -> String {
        let result = match &self.error {
            None if program.limit.is_empty() => "good".to_owned(),
            None => format!("good; but {}", program.limit),
            Some(error) if program.limit.is_empty() => error.replace('\n', " ").replace('|', "/"),
            Some(error) => {
                format!("known limit: {} ({})", program.limit, error.replace('\n', " ").replace('|', "/"))
            }
        };
        let bare = self.bare.map_or("-".into(), |bare| format!("{:.2} s", bare.as_secs_f64()));
        let figures = |figures: &Option<Figures>| {
            figures.as_ref().map_or("- | - | -".into(), |Figures { record, replay, size_mb }| {
                format!("{record:.1} | {replay:.1} | {size_mb:.1} MB")
            })
        };
        let (agent, no_agent) = (figures(&self.agent), figures(&self.no_agent));
        format!("| {} | {} | {result} | {bare} | {agent} | {no_agent} |\n", program.group, program.name)
    }
}

/// Replaces what is between two lines of docs/corpora.md, which name what it is.
pub(crate) fn write_between(name: &str, text: &str) -> Result<()> {
    let path = root().join("docs/corpora.md");
    let page = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let (begin, end) = (format!("<!-- {name}: begin -->\n"), format!("<!-- {name}: end -->\n"));
    let (before, rest) = page.split_once(&begin).with_context(|| format!("the page has no {begin}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("the page has no {end}"))?;
    let commit =
        Command::new("git").args(["describe", "--always", "--dirty"]).current_dir(root()).output()?;
    let commit = String::from_utf8_lossy(&commit.stdout).trim().to_owned();
    let cores = std::thread::available_parallelism()?;
    let head = format!("At commit {commit}, on a machine with {cores} cores:\n\n");
    std::fs::write(&path, [before, &begin, &head, text, &end, after].concat())?;
    Ok(())
}

pub(super) fn write(text: &str) -> Result<()> {
    write_between("programs", text)
}
