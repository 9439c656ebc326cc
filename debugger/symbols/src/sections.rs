//! Mapped ELF files and their sections, decompressed on first use, and the checks that tell whether a separate
//! debug file belongs to a program.
//!
//! The bytes are never given back: see [`crate::Image`].

use crate::image::R;
use gimli::{EndianSlice, LittleEndian};
use object::{Object, ObjectSection};
use std::fs::File;
use std::path::{Path, PathBuf};

/// The largest debug section that is decompressed.
const SECTION_BYTES_MAX: u64 = 4 << 30;
/// No debug section is compressed better than this; a header that says so is broken.
const COMPRESSION_RATIO_MAX: u64 = 4096;

/// A section's bytes and address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    pub(crate) data: &'static [u8],
    pub(crate) address: u64,
}

/// A file that was opened besides the image itself: debug information of its own.
pub(crate) struct DebugFile {
    pub(crate) path: PathBuf,
    pub(crate) file: object::File<'static>,
    /// All bytes of the file.
    pub(crate) data: &'static [u8],
}

impl DebugFile {
    /// `None` when there is no such file, or none that is an ELF object.
    pub(crate) fn open(path: &Path) -> Option<Self> {
        if !std::fs::metadata(path).ok()?.is_file() {
            return None;
        }
        let data = map(path).ok()?;
        let file = object::File::parse(data).ok()?;
        (file.format() == object::BinaryFormat::Elf).then(|| Self { path: path.to_owned(), file, data })
    }

    /// A section, empty when it is missing. In a `.dwo` file each type unit is a section of its own, of the same
    /// name: they are put behind each other.
    pub(crate) fn reader(&self, name: &str) -> R {
        let mut all = self.file.sections().filter(|section| section.name() == Ok(name));
        let first = all.next().and_then(|section| bytes_of(&section)).unwrap_or_default();
        let rest: Vec<_> = all.filter_map(|section| bytes_of(&section)).collect();
        if rest.is_empty() {
            return EndianSlice::new(first, LittleEndian);
        }
        let joined = [&[first], rest.as_slice()].concat().concat();
        EndianSlice::new(Vec::leak(joined), LittleEndian)
    }
}

/// Sections without bytes in this file (`NOBITS` in a debug file) count as missing.
pub(crate) fn section_of(file: &object::File<'static>, name: &str) -> Option<Section> {
    let section = file.section_by_name(name)?;
    Some(Section { data: bytes_of(&section)?, address: section.address() })
}

fn bytes_of(section: &object::Section<'static, '_>) -> Option<&'static [u8]> {
    let range = section.compressed_file_range().ok()?;
    if range.format == object::CompressionFormat::None {
        return section.data().ok().filter(|data| !data.is_empty());
    }
    let plausible = range.compressed_size.saturating_mul(COMPRESSION_RATIO_MAX);
    if range.uncompressed_size > plausible.min(SECTION_BYTES_MAX) {
        return None;
    }
    Some(Vec::leak(section.uncompressed_data().ok()?.into_owned()))
}

pub(crate) fn map(path: &Path) -> std::io::Result<&'static [u8]> {
    let file = File::open(path)?;
    // SAFETY: the map is private and read-only. A file that somebody truncates while it is mapped would raise
    // SIGBUS on access: files of a trace are written once, and live objects are replaced by rename.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Box::leak(Box::new(map)))
}

/// A build id as it is written in messages and paths.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
