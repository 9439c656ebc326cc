//! `vdbg record`.

use std::ffi::CString;
use std::io::IsTerminal;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use tracer::RecordOptions;

use crate::{cli, out};

pub(crate) fn record(options: &cli::Record) -> anyhow::Result<ExitCode> {
    let argument =
        |text: &std::ffi::OsString| CString::new(text.as_bytes()).context("an argument has a NUL byte in it");
    let arguments = options.command.iter().map(argument).collect::<Result<Vec<_>, _>>()?;
    let program = options.command.first().map(PathBuf::from).unwrap_or_default();
    let recorded = tracer::record(&RecordOptions {
        attach: options.pid,
        stop_after: options.stop_after,
        ring: options.ring,
        chaos_seed: options.chaos_seed.or_else(|| options.chaos.then(random_seed)),
        program,
        arguments,
        output: options.output.clone(),
        without_agent: options.no_agent,
        ..RecordOptions::default()
    })?;
    for warning in &recorded.warnings {
        out::error(&format!("warning: {warning}"));
    }
    // Nobody would look for it in the working directory.
    let unexpected = options.output.is_none() && trace::users_root().is_none();
    if unexpected {
        out::error(
            "neither VDBG_TRACE_DIR, XDG_DATA_HOME nor HOME is set: the trace is below the working directory",
        );
    }
    if unexpected || options.verbose || std::io::stderr().is_terminal() {
        out::error(&format!(
            "recorded {} events{} to {}; walk through them with `vdbg replay{}`",
            recorded.events,
            match (recorded.stopped_early, options.ring) {
                (_, Some(_)) => ", the newest of which are kept,",
                (true, None) => " of a part of the run",
                (false, None) => "",
            },
            recorded.directory.display(),
            options.output.as_ref().map_or(String::new(), |path| format!(" {}", path.display()))
        ));
    }
    // A process that goes on has no status yet.
    let left = options.pid.is_some() && recorded.stopped_early;
    Ok(if left { ExitCode::SUCCESS } else { exit_code(recorded.status) })
}

/// The recording that is meant: without a name the one that is being made, if there is just one.
fn in_progress(name: Option<&Path>) -> anyhow::Result<PathBuf> {
    if let Some(name) = name {
        let found = trace::resolve(Some(name));
        if let (Err(trace::TraceError::NoSuchTrace(name)), true) =
            (&found, name.to_str().is_some_and(|name| name.parse::<u32>().is_ok()))
        {
            anyhow::bail!(
                "no trace {name}; the name of a recording is meant, not a process: `vdbg ls` lists them"
            );
        }
        return Ok(found?);
    }
    let mut active = trace::list()?;
    active.retain(|directory| trace::recorder_of(directory).is_some());
    match active.as_slice() {
        [] => anyhow::bail!(
            "nothing is being recorded below {}; name the directory",
            trace::default_root().display()
        ),
        [only] => Ok(only.clone()),
        [first, ..] => {
            let count = active.len();
            anyhow::bail!(
                "{count} recordings are being made, {} is one of them: name the one you mean",
                first.display()
            )
        }
    }
}

pub(crate) fn save(options: &cli::Stop) -> anyhow::Result<ExitCode> {
    let directory = in_progress(options.directory.as_deref())?;
    let Some(saved) = tracer::save(&directory)? else {
        anyhow::bail!("nobody is recording {}; `vdbg ls` lists the recordings", directory.display());
    };
    out::write(&format!("{}\n", saved.display()))?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn stop(options: &cli::Stop) -> anyhow::Result<ExitCode> {
    let directory = in_progress(options.directory.as_deref())?;
    let attached = trace::read_header(&directory)?.attached;
    if !tracer::stop(&directory)? {
        anyhow::bail!("nobody is recording {}; `vdbg ls` lists the recordings", directory.display());
    }
    let program = if attached {
        "the process goes on without a recorder"
    } else {
        "the program goes on under the recorder, unrecorded, until it ends"
    };
    out::error(&format!("the recording {} has ended; {program}", directory.display()));
    Ok(ExitCode::SUCCESS)
}

/// A seed that nobody has chosen, short enough to be typed.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % 1_000_000_000
}

/// The exit status that a shell would give for a wait status.
pub(crate) fn exit_code(status: i32) -> ExitCode {
    ExitCode::from(shell_status(status))
}

fn shell_status(status: i32) -> u8 {
    if libc::WIFSIGNALED(status) {
        128 + libc::WTERMSIG(status) as u8
    } else {
        libc::WEXITSTATUS(status) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::shell_status;

    #[test]
    fn statuses_are_the_shells() {
        assert_eq!(shell_status(3 << 8), 3);
        assert_eq!(shell_status(libc::SIGSEGV), 139);
        assert_eq!(shell_status(libc::SIGABRT | 0x80), 134);
    }
}
