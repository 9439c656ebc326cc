//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md, held.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::root;

/// What each crate of ours may depend on, of ours.
const MAY_DEPEND: &[(&str, &[&str])] = &[
    ("debugger/symbols", &[]),
    ("debugger/commands", &["symbols", "syscalls", "targets", "trace", "tracer"]),
    ("debugger/targets", &["trace"]),
    ("debugger/vdbg", &["commands", "symbols", "syscalls", "targets", "trace", "tracer"]),
    ("tracer/agent", &["syscalls"]),
    ("tracer/engine", &["agent", "patch", "syscalls", "trace"]),
    ("tracer/patch", &[]),
    ("tracer/syscalls", &[]),
    ("tracer/trace", &[]),
    ("xtask", &[]),
];

const OURS: &[&str] =
    &["agent", "commands", "patch", "symbols", "syscalls", "targets", "trace", "tracer", "vdbg"];

/// Words that must not appear in the sources of a folder, with the reason.
const ABSENT: &[(&str, &[&str], &str)] = &[
    ("tracer", &["gimli", "addr2line", "DW_AT_", "demangle"], "the tracer never looks up a symbol"),
    ("tracer/patch/src", &["libc::", "std::fs", "unsafe {"], "the patch engine is pure"),
    ("tracer/trace/src", &["ptrace("], "the trace knows no ptrace"),
    ("debugger/symbols/src", &["libc::ptrace", "tracer::"], "symbols know no process"),
    (
        "debugger/commands/src",
        &["libc::ptrace", " println!"],
        "the command engine traces nothing and prints nothing",
    ),
];

/// A file of more lines than this has to be split.
const LINES_MAX: usize = 1000;

pub(crate) fn run() -> Result<()> {
    let mut faults = Vec::new();
    check_dependencies(&mut faults)?;
    for path in sources(root())? {
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let shown = path.strip_prefix(root()).unwrap_or(&path).display().to_string();
        check_file(&shown, &text, &mut faults);
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!("tidy found {} faults:\n  {}", faults.len(), faults.join("\n  "))
}

fn check_dependencies(faults: &mut Vec<String>) -> Result<()> {
    for (folder, allowed) in MAY_DEPEND {
        let path = root().join(folder).join("Cargo.toml");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let section = text.split("\n[dependencies]\n").nth(1).unwrap_or("");
        let names = section
            .lines()
            .take_while(|line| !line.starts_with('['))
            .filter_map(|line| line.split(['.', ' ', '=']).next());
        for name in names.filter(|name| OURS.contains(name) && !allowed.contains(name)) {
            faults.push(format!("{folder} depends on {name}, which ARCHITECTURE.md does not allow"));
        }
    }
    Ok(())
}

fn check_file(shown: &str, text: &str, faults: &mut Vec<String>) {
    for (folder, words, reason) in ABSENT {
        let inside = shown.starts_with(folder) && !shown.contains("/tests/");
        for word in words.iter().filter(|word| inside && text.contains(**word)) {
            faults.push(format!("{shown} has `{word}`: {reason}"));
        }
    }
    let lines = text.lines().count();
    if lines > LINES_MAX {
        faults.push(format!("{shown} has {lines} lines; split it"));
    }
    if !text.starts_with("//!") {
        faults.push(format!("{shown} does not say at its top what it is for (`//!`)"));
    }
    if shown.starts_with("tracer/engine/src")
        && !shown.starts_with("tracer/engine/src/sys/")
        && text.contains("unsafe {")
    {
        faults.push(format!("{shown} has unsafe code outside sys/"));
    }
    for (number, line) in text.lines().enumerate().filter(|(_, line)| line.ends_with([' ', '\t'])) {
        faults.push(format!("{shown}:{}: trailing space in `{}`", number + 1, line.trim()));
    }
}

/// All Rust sources of the project.
fn sources(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() && !matches!(name.as_str(), "target" | ".git" | "fixtures") {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}
