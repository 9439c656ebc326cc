//! Mapped files, kept so that a rebuilt or deleted executable does not spoil a trace. A file is copied once into a
//! store that all traces below one root share (by reflink where the file system can), and hard-linked from there into
//! each trace, so that a trace directory is complete in itself.

use std::collections::HashSet;
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::event::StoredFile;
use crate::{TraceError, io};

/// Name of the shared store below the root of the traces.
pub(crate) const SHARED: &str = ".files";

/// Says which parts of a range of a file are no holes.
pub type DataRanges = fn(&File, Range<u64>) -> Vec<Range<u64>>;

/// The files of one trace.
pub struct FileStore {
    shared: Option<PathBuf>,
    local: PathBuf,
    known: HashSet<String>,
    data_ranges: DataRanges,
}

impl FileStore {
    /// A store for the trace in `directory`; `root` is where traces share files, if anywhere. `data_ranges` finds the holes
    /// in files, which are kept as holes.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn create(
        directory: &Path,
        root: Option<&Path>,
        data_ranges: DataRanges,
    ) -> Result<FileStore, TraceError> {
        let local = directory.join("files");
        io("create", &local, std::fs::create_dir(&local))?;
        let shared = root.map(|root| root.join(SHARED));
        // Sharing is a comfort: without it every trace has its own copies.
        let shared = shared.filter(|path| std::fs::create_dir_all(path).is_ok());
        Ok(FileStore { shared, local, known: HashSet::new(), data_ranges })
    }

    /// Keeps the contents that `file` has now.
    ///
    /// # Errors
    /// When it cannot be read or stored.
    pub fn keep(&mut self, file: &File, path: &Path) -> Result<StoredFile, TraceError> {
        let meta = io("read", path, file.metadata())?;
        let name = stamp(&meta);
        let entry = StoredFile { stored: name.clone(), len: meta.len() };
        if self.known.contains(&name) {
            return Ok(entry);
        }
        let target = self.local.join(&name);
        let linked = self.shared.as_ref().is_some_and(|shared| {
            let source = shared.join(&name);
            std::fs::hard_link(&source, &target).is_ok()
                || (copy_whole(file, &source, self.data_ranges).is_ok()
                    && std::fs::hard_link(&source, &target).is_ok())
        });
        if !linked {
            io("copy a mapped file to", &target, copy_whole(file, &target, self.data_ranges))?;
        }
        self.known.insert(name);
        Ok(entry)
    }
}

/// Copies a file under a temporary name first, so that nobody ever sees half a file. Holes stay holes.
pub(crate) fn copy_whole(file: &File, target: &Path, data_ranges: DataRanges) -> std::io::Result<()> {
    let temporary = target.with_extension(format!("tmp{}", std::process::id()));
    let result =
        copy_contents(file, &temporary, data_ranges).and_then(|()| std::fs::rename(&temporary, target));
    if result.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    result
}

fn copy_contents(file: &File, target: &Path, data_ranges: DataRanges) -> std::io::Result<()> {
    /// `st_blocks` counts these (stat(2)).
    const BLOCK_BYTES: u64 = 512;
    let mut source = File::open(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))?;
    let mut copy = File::create(target)?;
    let meta = source.metadata()?;
    if meta.blocks().saturating_mul(BLOCK_BYTES) >= meta.len() {
        // std uses copy_file_range(2), which reflinks where it can.
        return std::io::copy(&mut source, &mut copy).map(drop);
    }
    copy.set_len(meta.len())?;
    copy_parts(&source, &copy, data_ranges(&source, 0..meta.len()))
}

/// Copies these parts of a file to the same places of another.
///
/// # Errors
/// When one of them cannot be read or written.
pub fn copy_parts(source: &File, target: &File, parts: Vec<Range<u64>>) -> std::io::Result<()> {
    const PIECE_BYTES: u64 = 1 << 20;
    let mut bytes = Vec::new();
    for part in parts {
        let mut at = part.start;
        while at < part.end {
            bytes.resize((part.end - at).min(PIECE_BYTES) as usize, 0);
            let read = source.read_at(&mut bytes, at)?;
            if read == 0 {
                break;
            }
            target.write_all_at(&bytes[..read], at)?;
            at += read as u64;
        }
    }
    Ok(())
}

/// Identifies contents without reading them: any change of a file changes its ctime.
fn stamp(meta: &std::fs::Metadata) -> String {
    let (mtime, ctime) = (meta.mtime_nsec(), meta.ctime_nsec());
    format!(
        "{:x}-{:x}-{:x}-{:x}.{mtime:x}-{:x}.{ctime:x}",
        meta.dev(),
        meta.ino(),
        meta.len(),
        meta.mtime(),
        meta.ctime()
    )
}
