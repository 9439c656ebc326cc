//! Record and replay.
//!
//! [`record`](fn@record) runs a program and writes a trace; [`Session`] replays one and goes to any place in it,
//! forwards and backwards. This crate traces threads and plants stubs; it never looks up a symbol, reads no debug
//! information and talks to no user.

mod layout;
mod program;
mod record;
mod replay;
mod sys;
mod time_stamp;
mod unruly;
mod vdso;

use std::path::PathBuf;

pub use record::{RecordOptions, Recorded, StopAfter, record, save, stop};
pub use replay::*;

/// Makes a trace self-contained, so that it can be moved to another machine.
///
/// # Errors
/// When it is still being recorded, something that it refers to is missing, or the disk is full.
pub fn pack(directory: &std::path::Path) -> Result<trace::Packed, TracerError> {
    Ok(trace::pack(directory, sys::process::data_ranges)?)
}

/// What can go wrong while recording or replaying. Every message says what to try next, where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// The trace.
    #[error(transparent)]
    Trace(#[from] trace::TraceError),
    /// The kernel refused something.
    #[error("cannot {action}: {source}{}", files_hint(source))]
    System {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A recording could not go on.
    #[error("{source}. The program {fate}; what was recorded until then can be replayed from {}", directory.display())]
    BrokenOff {
        /// What became of the program.
        fate: &'static str,
        /// The trace.
        directory: PathBuf,
        /// Why.
        source: Box<TracerError>,
    },
    /// No such program.
    #[error("there is no program {}; check the path", .0.display())]
    NoProgram(PathBuf),
    /// No such program in the search path.
    #[error("there is no program {} in PATH; {}", name.display(), path_hint(name, *here))]
    NotInPath {
        /// What was looked for.
        name: PathBuf,
        /// There is such a file in the working directory.
        here: bool,
    },
    /// A file that is no program we can record.
    #[error("cannot record {}: {why}", program.display())]
    NotRecordable {
        /// The file.
        program: PathBuf,
        /// The reason, and what to do.
        why: String,
    },
    /// There is no ring to make a copy of.
    #[error("{} is recorded without --ring: all of it is kept, and `vdbg stop` ends it", .0.display())]
    NoRing(PathBuf),
    /// A process that cannot be attached to.
    #[error("cannot record process {process}: {why}")]
    NotAttachable {
        /// Its id.
        process: i32,
        /// The reason, and what to do.
        why: String,
    },
    /// The kernel did not start the program.
    #[error("cannot start {program}: {source}{}", start_hint(source))]
    Start {
        /// The program.
        program: String,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A path with a NUL byte.
    #[error("the program's path has a NUL byte in it")]
    NulInPath,
    /// Replay has come to another state than the recording.
    #[error("the replay diverges from the recording at event {event}, thread {thread}: {what}; what comes before can be looked at with `goto {}`", event.saturating_sub(1))]
    Divergence {
        /// Number of the event.
        event: u64,
        /// The thread, by its id at recording.
        thread: i32,
        /// The first difference.
        what: String,
    },
    /// An event does not fit the world it is applied to: a damaged trace, or a bug.
    #[error("the trace cannot be replayed: {0}; check it with `vdbg info`, or record again")]
    Inconsistent(&'static str),
    /// Not even the first event can be read.
    #[error("nothing of the trace can be replayed: {0}; record again")]
    Empty(String),
    /// Memory that is not mapped.
    #[error("there is no memory at address {0:#x}")]
    Unmapped(u64),
    /// The trace needs another machine.
    #[error("{0}")]
    OtherMachine(String),
    /// The user asked for a stop.
    #[error("interrupted")]
    Interrupted,
    /// A search that came to its bound.
    #[error("{0} was given up after many attempts; try it again from a place nearby")]
    GaveUp(&'static str),
    /// A wait that came to its bound.
    #[error("{0} did not do so in time; what was recorded until then can be replayed")]
    Stuck(&'static str),
}

impl TracerError {
    pub(crate) fn system(action: &'static str) -> impl Fn(std::io::Error) -> TracerError {
        move |source| TracerError::System { action, source }
    }
}

/// What to try when a program is not in the search path.
fn path_hint(name: &std::path::Path, here: bool) -> String {
    let text = name.display();
    if text.to_string().starts_with('-') {
        return format!("there is no option {text} either: see `vdbg record --help`");
    }
    if here { format!("for the one in this directory say ./{text}") } else { "check its name".into() }
}

/// What to try when there are no descriptors left.
fn files_hint(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EMFILE) => "; raise the limit on open files (`ulimit -n`)",
        Some(libc::ENFILE) => "; the whole system has too many open files",
        _ => "",
    }
}

fn start_hint(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            "; if vdbg itself is traced (`strace -f`, gdb), run it alone; if this is a container, allow ptrace (for Docker: --cap-add=SYS_PTRACE, or a seccomp profile with ptrace)"
        }
        _ => files_hint(error),
    }
}
