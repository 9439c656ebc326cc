//! The table of the results, and its place in docs/corpora.md.

use std::time::Duration;

use anyhow::Result;

use super::Program;
use crate::page;

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
            None => format!("good; but this was known: {}", program.limit),
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

pub(super) fn write(text: &str) -> Result<()> {
    page::write_between("programs", text)
}
