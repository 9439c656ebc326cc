//! Segments: a trace that keeps only its newest part is written to several files of events and of data, each pair beginning
//! with a snapshot, so that the oldest can be removed.

use std::path::{Path, PathBuf};

/// Name of a file of a segment: the first has no number.
pub(crate) fn path(directory: &Path, stream: &str, number: u64) -> PathBuf {
    if number == 0 { directory.join(stream) } else { directory.join(format!("{stream}.{number}")) }
}

/// The numbers of the segments that are there, the oldest first.
pub(crate) fn numbers(directory: &Path) -> Vec<u64> {
    let number = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name();
        match name.to_str()?.strip_prefix("events")? {
            "" => Some(0),
            rest => rest.strip_prefix('.')?.parse().ok().filter(|number| *number > 0),
        }
    };
    let mut numbers: Vec<u64> =
        std::fs::read_dir(directory).into_iter().flatten().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}
