//! Record and replay.
//!
//! [`record`](fn@record) runs a program and writes a trace; [`Session`] replays one and goes to any place in it,
//! forwards and backwards. This crate traces threads and plants stubs; it never looks up a symbol, reads no debug
//! information and talks to no user.

mod program;
mod record;
mod sys;
mod unruly;
mod vdso;

use std::path::PathBuf;

pub use record::{RecordOptions, Recorded, record};

/// What can go wrong while recording or replaying. Every message says what to try next, where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum TracerError {
    /// The trace.
    #[error(transparent)]
    Trace(#[from] trace::TraceError),
    /// The kernel refused something.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// No such program.
    #[error("there is no program {}; check the path", .0.display())]
    NoProgram(PathBuf),
    /// No such program in the search path.
    #[error("there is no program {} in PATH{}", name.display(), if *here { format!("; for the one in this directory say ./{}", name.display()) } else { "; check its name".into() })]
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
    /// A wait that came to its bound.
    #[error("{0} did not do so in time; what was recorded until then can be replayed")]
    Stuck(&'static str),
}

impl TracerError {
    pub(crate) fn system(action: &'static str) -> impl Fn(std::io::Error) -> TracerError {
        move |source| TracerError::System { action, source }
    }
}

fn start_hint(error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM) => {
            "; if this is a container, allow ptrace (for Docker: --cap-add=SYS_PTRACE, or a seccomp profile with ptrace)"
        }
        _ => "",
    }
}
