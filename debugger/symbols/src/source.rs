//! Source text for the prompt: files are read once and kept as lines.

use crate::image::Image;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Larger files are not shown.
const SOURCE_BYTES_MAX: u64 = 64 << 20;

/// Why source text cannot be shown.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SourceError {
    /// The file is not there or not readable.
    #[error("{path}: {reason} (use a source path substitution, or run where the program was built)")]
    Missing {
        /// The path looked for.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// The file is shorter than the debug information says.
    #[error("line {line} is past the end of {path}, which has {count} lines")]
    PastEnd {
        /// The path.
        path: String,
        /// The first line asked for.
        line: u32,
        /// Lines in the file.
        count: usize,
    },
}

/// Source files that were read, with rules to find them elsewhere.
#[derive(Debug, Default)]
pub struct Sources {
    files: HashMap<String, Arc<Vec<String>>>,
    substitutions: Vec<(String, String)>,
    folders: Vec<PathBuf>,
}

impl Sources {
    /// Paths that begin with `from` are looked for under `to`, as gdb's `set substitute-path`.
    pub fn substitute(&mut self, from: &str, to: &str) {
        self.substitutions.push((from.to_owned(), to.to_owned()));
    }

    /// A folder in which files are looked for by their last components, as gdb's `directory`.
    pub fn add_folder(&mut self, folder: &Path) {
        self.folders.push(folder.to_owned());
    }

    /// Lines `first..first + count` with their numbers, fewer at the end of the file.
    ///
    /// # Errors
    /// The file is missing, or has fewer than `first` lines.
    pub fn lines(&mut self, path: &str, first: u32, count: usize) -> Result<Vec<(u32, String)>, SourceError> {
        let lines = self.file(path)?;
        let start = first.max(1) as usize - 1;
        let past_end = || SourceError::PastEnd { path: path.to_owned(), line: first, count: lines.len() };
        let rest = lines.get(start..).filter(|rest| !rest.is_empty()).ok_or_else(past_end)?;
        let numbers = first.max(1)..;
        Ok(numbers.zip(rest.iter().take(count).cloned()).collect())
    }

    /// One line.
    ///
    /// # Errors
    /// As [`Sources::lines`].
    pub fn line(&mut self, path: &str, line: u32) -> Result<String, SourceError> {
        let mut found = self.lines(path, line, 1)?;
        Ok(found.pop().map(|(_, text)| text).unwrap_or_default())
    }

    /// Whether the source was changed after the program was built, so that its lines may not be the program's.
    /// A source or program without a time is not newer.
    pub fn is_newer(&self, path: &str, image: &Image) -> bool {
        let modified = |path: PathBuf| std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        let source = self.candidates(path).into_iter().find_map(modified);
        source.zip(image.modified()).is_some_and(|(source, program)| source > program)
    }

    fn file(&mut self, path: &str) -> Result<Arc<Vec<String>>, SourceError> {
        if let Some(known) = self.files.get(path) {
            return Ok(Arc::clone(known));
        }
        let mut reason = None;
        for candidate in self.candidates(path) {
            match read(&candidate) {
                Ok(lines) => {
                    let lines = Arc::new(lines);
                    self.files.insert(path.to_owned(), Arc::clone(&lines));
                    return Ok(lines);
                }
                Err(error) => reason = reason.or(Some(error)),
            }
        }
        let reason = reason.map_or_else(|| "no such file".into(), |error| error.to_string());
        Err(SourceError::Missing { path: path.to_owned(), reason })
    }

    fn candidates(&self, path: &str) -> Vec<PathBuf> {
        let moved = self.substitutions.iter().filter_map(|(from, to)| {
            let rest = path.strip_prefix(from.as_str())?;
            Some(PathBuf::from(format!("{to}{rest}")))
        });
        let mut all: Vec<PathBuf> = moved.chain([PathBuf::from(path)]).collect();
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        for folder in &self.folders {
            let tails =
                (0..parts.len()).filter_map(|from| parts.get(from..)).map(|tail| folder.join(tail.join("/")));
            all.extend(tails);
        }
        all
    }
}

fn read(path: &Path) -> std::io::Result<Vec<String>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() || metadata.len() > SOURCE_BYTES_MAX {
        return Err(std::io::Error::other("not a source file"));
    }
    let text = std::fs::read(path)?;
    Ok(String::from_utf8_lossy(&text).lines().map(str::to_owned).collect())
}
