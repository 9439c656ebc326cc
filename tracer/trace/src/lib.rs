//! The trace on disk.
//!
//! A trace is a directory:
//!
//! | entry | what |
//! |---|---|
//! | `header.json` | format version, machine facts, command line ([`Header`]) |
//! | `events` | blocks of encoded [`Event`]s |
//! | `events.N`, `data.N` | the same from a later snapshot on, in a trace that keeps its newest part only |
//! | `data` | blocks of the bytes that events refer to by [`DataRef`] |
//! | `snapshots` | where in the events snapshots are, a line each ([`SnapshotPlace`]) |
//! | `files/` | the mapped files, as they were when they were mapped ([`FileStore`]) |
//! | `warnings` | what the recorder warned of, a line each ([`warnings`]) |
//! | `recorder` | while it is being written: the recorder's process id ([`recorder_of`]) |
//! | `end.json` | how the recording ended ([`End`]); missing when the recorder was killed |
//!
//! Nothing is ever rewritten in place: a recorder that is killed leaves a good prefix, and [`Reader`] finds the
//! longest one. This crate knows no ptrace and interprets nothing; start reading at [`Event`].

mod block;
mod calls;
mod directory;
mod event;
mod header;
mod pack;
mod reader;
mod registers;
mod segment;
mod snapshot;
mod store;
mod writer;

pub use block::{BLOCK_RAW_BYTES_MAX, DATA_PIECE_BYTES_MAX};
pub use calls::{
    CallsContext, CallsRun, LogPiece, RECORD_WORDS, SAVED_REGISTERS, pieces_of_log, registers_at_entry,
};
pub use directory::{
    RecorderMark, TraceDirectory, default_root, list, note_warning, recorder_of, remove, resolve, users_root,
    warnings,
};
pub use event::{
    Change, DataRef, Effect, Event, EventKind, Fingerprint, Image, InstructionKind, LineHash, Mapping,
    MemoryOp, Outcome, SharedObject, SignalPoint, Source, SpaceId, StoredFile, ThreadId, ThreadStart, Write,
};
pub use header::{End, Header, Machine, TRACE_VERSION};
pub use pack::{Packed, pack};
pub use reader::{Damage, Reader, read_header};
pub use registers::Registers;
pub use snapshot::{GuardState, ObjectState, SnapshotPlace, SpaceState, State, ThreadState};
pub use store::{DataRanges, FileStore, copy_parts};
pub use writer::Writer;

use std::path::PathBuf;

/// What can go wrong with a trace on disk. Every message says what to try next.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The operating system refused an operation on a file of the trace.
    #[error("cannot {action} {}: {source}{}", path.display(), hint(action, source))]
    Io {
        /// What was tried, as a verb: "create", "read".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The directory is no trace.
    #[error("{} is not a trace: it has no header.json; record one with `vdbg record PROGRAM`, list them with `vdbg ls`", .0.display())]
    NotATrace(PathBuf),
    /// No trace of that name, or none at all.
    #[error("no trace {0}; list the recorded ones with `vdbg ls`, or record one with `vdbg record PROGRAM`")]
    NoSuchTrace(String),
    /// Nothing has been recorded yet.
    #[error("there are no recordings in {}; `vdbg record PROGRAM` makes one", .0.display())]
    NoTraces(PathBuf),
    /// A file, while a trace is a directory.
    #[error("{} is a file, and a recording is a directory: `vdbg ls` lists them, and `tar --zstd -xf` unpacks what `vdbg pack -o` has made", .0.display())]
    NotADirectory(PathBuf),
    /// The trace was written by a newer version of the suite.
    #[error(
        "the trace has format version {found}, this vdbg reads up to {supported}: use a newer vdbg to replay it"
    )]
    NewerVersion {
        /// The version in the header.
        found: u32,
        /// [`TRACE_VERSION`].
        supported: u32,
    },
    /// A file of the trace has contents that no recorder writes.
    #[error("{} is damaged: {what}; record again, or restore the trace from a copy", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// The trace is not finished.
    #[error("{} is still being recorded by process {recorder}; `vdbg stop` ends the recording", path.display())]
    BeingRecorded {
        /// The trace.
        path: PathBuf,
        /// The recorder's process id.
        recorder: i32,
    },
    /// An event number past the end, or before the first that was kept.
    #[error("event {0} is not in the trace")]
    NoSuchEvent(u64),
}

/// The advice that belongs to an I/O error.
fn hint(action: &str, error: &std::io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::ENOSPC | libc::EDQUOT) => {
            "; free some space, or choose another place with -o DIR or VDBG_TRACE_DIR"
        }
        Some(libc::EMFILE) => "; raise the limit on open files (`ulimit -n`)",
        Some(libc::EFBIG) => "; the limit on file sizes is too low for the trace (`ulimit -f`)",
        Some(libc::EACCES | libc::EPERM) if matches!(action, "open" | "read") => {
            "; ask its owner, or run vdbg as that user or as root"
        }
        Some(libc::EACCES | libc::EPERM | libc::EROFS) => {
            "; choose a directory you may write to with -o DIR or VDBG_TRACE_DIR"
        }
        Some(libc::EEXIST) => "; choose another directory with -o DIR, or remove what is there",
        Some(libc::ENOENT) if action == "create" => "; the directory above it has to be there",
        Some(libc::ENOENT) if matches!(action, "open" | "read") => {
            "; record again: a file of the trace has been removed"
        }
        _ => "",
    }
}

/// Attaches the path and the action to an I/O result.
pub(crate) fn io<T>(
    action: &'static str,
    path: &std::path::Path,
    result: std::io::Result<T>,
) -> Result<T, TraceError> {
    result.map_err(|source| TraceError::Io { action, path: path.to_owned(), source })
}
