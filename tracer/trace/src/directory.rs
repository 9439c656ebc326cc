//! Where traces live: `$VDBG_TRACE_DIR`, else `$XDG_DATA_HOME/vdbg`, else `~/.local/share/vdbg`; the link `latest`
//! names the newest.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::{TraceError, io, store};

/// The highest number tried for a trace of the same program.
const NUMBERS_MAX: u32 = 1_000_000;

/// A directory made for a new trace.
pub struct TraceDirectory {
    /// Where it is.
    pub path: PathBuf,
    /// Where traces share files; `None` when the user chose the place.
    pub root: Option<PathBuf>,
}

impl TraceDirectory {
    /// Makes `path`, or, without one, `PROGRAM-N` below the default root, and points `latest` at it.
    ///
    /// # Errors
    /// When it cannot be made, or is there already.
    pub fn create(path: Option<&Path>, program: &str) -> Result<TraceDirectory, TraceError> {
        if let Some(path) = path {
            make(path)?;
            return Ok(TraceDirectory { path: path.to_owned(), root: None });
        }
        let root = default_root();
        let mut builder = std::fs::DirBuilder::new();
        io("create", &root, builder.recursive(true).mode(0o700).create(&root))?;
        let path = numbered(&root, program)?;
        point_latest(&root, &path);
        Ok(TraceDirectory { path, root: Some(root) })
    }
}

/// Says that a trace is being written, and by which process, for as long as this lives.
pub struct RecorderMark {
    path: PathBuf,
    /// The lock on it goes with the process, however that ends.
    _file: std::fs::File,
}

/// Name of the file that holds the recorder's process id.
const RECORDER: &str = "recorder";

impl RecorderMark {
    /// Marks a trace as being written by this process.
    ///
    /// # Errors
    /// When the mark cannot be made.
    pub fn create(directory: &Path) -> Result<RecorderMark, TraceError> {
        use std::io::Write;
        let path = directory.join(RECORDER);
        let mut file = io("create", &path, std::fs::File::create_new(&path))?;
        let written = file.lock().and_then(|()| file.write_all(std::process::id().to_string().as_bytes()));
        io("write", &path, written)?;
        Ok(RecorderMark { path, _file: file })
    }
}

impl Drop for RecorderMark {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The process that is writing a trace, if there is one.
pub fn recorder_of(directory: &Path) -> Option<i32> {
    let file = std::fs::File::open(directory.join(RECORDER)).ok()?;
    match file.try_lock_shared() {
        Err(std::fs::TryLockError::WouldBlock) => {
            std::fs::read_to_string(directory.join(RECORDER)).ok()?.parse().ok()
        }
        _ => None,
    }
}

/// Keeps a warning of the recorder with its trace. Failing to do so is no reason not to record.
pub fn note_warning(directory: &Path, warning: &str) {
    use std::io::Write;
    let file = std::fs::OpenOptions::new().create(true).append(true).open(directory.join(WARNINGS));
    let _ = file.and_then(|mut file| writeln!(file, "{warning}"));
}

/// What the recorder has warned of.
pub fn warnings(directory: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(directory.join(WARNINGS)).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Name of the file that holds the recorder's warnings.
const WARNINGS: &str = "warnings";

/// The directory of all traces.
pub fn default_root() -> PathBuf {
    users_root().unwrap_or_else(|| PathBuf::from("vdbg-traces"))
}

/// The directory that the environment names; without one, traces go to the working directory.
pub fn users_root() -> Option<PathBuf> {
    let var = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    var("VDBG_TRACE_DIR")
        .or_else(|| var("XDG_DATA_HOME").map(|data| data.join("vdbg")))
        .or_else(|| var("HOME").map(|home| home.join(".local/share/vdbg")))
}

/// The trace a user means: a directory, a name below the root, or nothing for the latest.
///
/// # Errors
/// When there is no such trace.
pub fn resolve(name: Option<&Path>) -> Result<PathBuf, TraceError> {
    let Some(name) = name else {
        let latest = default_root().join("latest");
        return match std::fs::canonicalize(&latest) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Err(TraceError::NoTraces(default_root()))
            }
            found => io("read", &latest, found),
        };
    };
    let below_root = default_root().join(name);
    for candidate in [name, &below_root] {
        if candidate.is_dir() && (name.components().count() > 1 || candidate.join("header.json").exists()) {
            return io("read", candidate, std::fs::canonicalize(candidate));
        }
    }
    for candidate in [name, &below_root] {
        match candidate.metadata() {
            Ok(meta) if meta.is_dir() => return Err(TraceError::NotATrace(candidate.to_owned())),
            Ok(_) => return Err(TraceError::NotADirectory(candidate.to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
                return io("read", candidate, Err(error));
            }
            Err(_) => {}
        }
    }
    Err(TraceError::NoSuchTrace(name.display().to_string()))
}

/// All traces below the root, oldest first.
///
/// # Errors
/// When the root is there but cannot be read.
pub fn list() -> Result<Vec<PathBuf>, TraceError> {
    let root = default_root();
    if !root.exists() {
        return Ok(Vec::new());
    }
    let entries = io("read", &root, std::fs::read_dir(&root))?;
    let mut traces: Vec<(SystemTime, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| {
            let header = entry.path().join("header.json").metadata().ok()?;
            Some((header.modified().ok()?, entry.path()))
        })
        .collect();
    traces.sort();
    Ok(traces.into_iter().map(|(_, path)| path).collect())
}

/// Removes a trace, and the shared files that no other trace uses.
///
/// # Errors
/// When it is being recorded, or something cannot be removed.
pub fn remove(path: &Path) -> Result<(), TraceError> {
    if let Some(recorder) = recorder_of(path) {
        return Err(TraceError::BeingRecorded { path: path.to_owned(), recorder });
    }
    if !path.join("header.json").exists() {
        return Err(TraceError::NotATrace(path.to_owned()));
    }
    io("remove", path, std::fs::remove_dir_all(path))?;
    let root = default_root();
    if let Ok(entries) = std::fs::read_dir(root.join(store::SHARED)) {
        let unused = |entry: &std::fs::DirEntry| entry.metadata().is_ok_and(|meta| meta.nlink() == 1);
        for entry in entries.filter_map(Result::ok).filter(unused) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    if std::fs::canonicalize(root.join("latest")).is_err()
        && let Some(newest) = list()?.last()
    {
        point_latest(&root, newest);
    }
    Ok(())
}

pub(crate) fn make(path: &Path) -> Result<(), TraceError> {
    if path.read_dir().is_ok_and(|mut entries| entries.next().is_none()) {
        return Ok(());
    }
    io("create", path, std::fs::DirBuilder::new().mode(0o700).create(path))
}

fn numbered(root: &Path, program: &str) -> Result<PathBuf, TraceError> {
    let base =
        Path::new(program).file_name().map_or("program".into(), |name| name.to_string_lossy().into_owned());
    let taken = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok).filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        name.strip_prefix(&base)?.strip_prefix('-')?.parse::<u32>().ok()
    });
    let mut number = taken.max().map_or(0, |n| n.saturating_add(1));
    loop {
        let path = root.join(format!("{base}-{number}"));
        match make(&path) {
            Err(TraceError::Io { source, .. })
                if source.kind() == std::io::ErrorKind::AlreadyExists && number < NUMBERS_MAX =>
            {
                number += 1;
            }
            result => return result.map(|()| path),
        }
    }
}

/// `latest` is a comfort: failing to set it is no reason not to record.
fn point_latest(root: &Path, path: &Path) {
    let temporary = root.join(format!(".latest-{}", std::process::id()));
    let Some(name) = path.file_name() else { return };
    if symlink(name, &temporary).is_ok() && std::fs::rename(&temporary, root.join("latest")).is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
}
