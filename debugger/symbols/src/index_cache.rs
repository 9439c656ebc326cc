//! Indexes on disk, so that a program of which nothing changed is not read again. Private to the user, written
//! whole or not at all, bounded in size; a file that is not in order is ignored and written anew.

use crate::name_index::{NameIndex, Ranges};
use crate::sections::hex;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

const MAGIC: &[u8; 8] = b"vdbgidx2";
/// Magic, key, counts of names, ranges and units, checksum of what follows.
const HEADER_BYTES: usize = 8 + 8 + 4 + 4 + 4 + 4;
const RANGE_BYTES: usize = 20;
/// All indexes together; the oldest go first.
const FOLDER_BYTES_MAX: u64 = 512 << 20;
/// A larger file is not one of ours.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// The file for the index of one image.
#[derive(Clone, Debug)]
pub(crate) struct CacheFile {
    folder: PathBuf,
    name: String,
    key: u64,
}

impl CacheFile {
    /// `parts` are build ids, and `headers` what else tells one build from another.
    pub(crate) fn new(folder: &Path, build_id: &[u8], bytes: u64, headers: &[&[u8]]) -> Self {
        let mut key = u64::from(crc32fast::hash(&headers.concat())) << 32;
        key ^= bytes.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        Self { folder: folder.join("symbols"), name: format!("{}.{bytes:x}.index", hex(build_id)), key }
    }

    fn path(&self) -> PathBuf {
        self.folder.join(&self.name)
    }

    /// The index, when the file is there and belongs to this image of so many units.
    pub(crate) fn read(&self, units: u32) -> Option<NameIndex> {
        let path = self.path();
        let metadata = std::fs::symlink_metadata(&path).ok()?;
        if !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            return None;
        }
        let index = self.parse(&std::fs::read(&path).ok()?, units)?;
        // The time of last use decides what goes when there is too much.
        let _ = std::fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(index)
    }

    fn parse(&self, bytes: &[u8], units: u32) -> Option<NameIndex> {
        let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
        let (magic, rest) = header.split_first_chunk::<8>()?;
        let (key, rest) = rest.split_first_chunk::<8>()?;
        let (words, _) = rest.as_chunks::<4>();
        let &[names, ranges, own_units, checksum] = words else { return None };
        let number = u32::from_le_bytes;
        let (names, ranges) = (number(names) as usize, number(ranges) as usize);
        let size = names.checked_mul(8)?.checked_add(ranges.checked_mul(RANGE_BYTES)?)?;
        if magic != MAGIC
            || u64::from_le_bytes(*key) != self.key
            || number(own_units) != units
            || body.len() != size
            || crc32fast::hash(body) != number(checksum)
        {
            return None;
        }
        let (names, ranges) = body.split_at_checked(names * 8)?;
        let names = names.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word)).collect();
        let ranges: Option<Ranges> = ranges.as_chunks::<RANGE_BYTES>().0.iter().map(range_of).collect();
        NameIndex::from_parts(names, ranges?, units)
    }

    /// Keeps an index. That it could not be kept is no harm.
    pub(crate) fn write(&self, index: &NameIndex, units: u32) {
        let _ = self.try_write(index, units);
    }

    fn try_write(&self, index: &NameIndex, units: u32) -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let (names, ranges) = index.parts();
        let mut body = Vec::with_capacity(names.len() * 8 + ranges.len() * RANGE_BYTES);
        names.iter().for_each(|name| body.extend(name.to_le_bytes()));
        for (begin, end, unit) in ranges {
            body.extend(begin.to_le_bytes());
            body.extend(end.to_le_bytes());
            body.extend(unit.to_le_bytes());
        }
        let temporary = self.folder.join(format!(".{}.{}", self.name, std::process::id()));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        let counts = [names.len() as u32, ranges.len() as u32, units, crc32fast::hash(&body)];
        let written = file
            .write_all(&[&MAGIC[..], &self.key.to_le_bytes()].concat())
            .and_then(|()| counts.iter().try_for_each(|count| file.write_all(&count.to_le_bytes())))
            .and_then(|()| file.write_all(&body));
        if let Err(error) = written.and_then(|()| std::fs::rename(&temporary, self.path())) {
            let _ = std::fs::remove_file(&temporary);
            return Err(error);
        }
        self.make_room()
    }

    /// Removes the files that were not used for the longest time, until the rest fits.
    fn make_room(&self) -> std::io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((metadata.modified()?, metadata.len(), entry.path()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|file| file.1).sum();
        for (_, bytes, path) in files {
            if total <= FOLDER_BYTES_MAX {
                break;
            }
            if path != self.path() && std::fs::remove_file(&path).is_ok() {
                total -= bytes;
            }
        }
        Ok(())
    }
}

fn range_of(bytes: &[u8; RANGE_BYTES]) -> Option<(u64, u64, u32)> {
    let (begin, rest) = bytes.split_first_chunk::<8>()?;
    let (end, rest) = rest.split_first_chunk::<8>()?;
    let unit = rest.first_chunk::<4>()?;
    Some((u64::from_le_bytes(*begin), u64::from_le_bytes(*end), u32::from_le_bytes(*unit)))
}

/// Where indexes are kept for this user: `$XDG_CACHE_HOME/vdbg`, else `~/.cache/vdbg`.
pub fn cache_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    folder.map(|folder| folder.join("vdbg"))
}
