//! docs/corpora.md: results that commands write into it.

use std::process::Command;

use anyhow::{Context, Result};

use crate::root;

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
