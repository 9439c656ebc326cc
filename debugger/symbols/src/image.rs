//! One ELF file, parsed once and shared: segments, sections, separate debug information.
//!
//! The bytes of a file, and its decompressed debug sections, are never given back while the program runs:
//! the cache never forgets an image, so its data may as well be `'static`. That keeps gimli's readers `Copy`
//! and free of reference counts, which is what makes the index fast.

use crate::debug::Debug;
use crate::symtab::SymbolTable;
use gimli::{EndianSlice, LittleEndian};
use object::{Object, ObjectSection, ObjectSegment};
use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

pub(crate) type R = EndianSlice<'static, LittleEndian>;

/// The largest debug section that is decompressed.
const SECTION_BYTES_MAX: u64 = 4 << 30;

/// Why a file could not become a module.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    /// The file could not be opened or mapped.
    #[error("cannot open {path}: {source}")]
    Open {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is no ELF object for x86-64.
    #[error("{path} is not an x86-64 ELF file: {reason}")]
    NotElf {
        /// The file.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
}

/// A loadable segment: where the file's bytes are to be mapped, before the load bias.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Virtual address in the file's own terms.
    pub address: u64,
    /// Size in memory.
    pub size: u64,
    /// Offset in the file.
    pub file_offset: u64,
    /// Size in the file.
    pub file_size: u64,
}

/// Thread-local storage template of a module.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tls {
    pub(crate) size: u64,
    pub(crate) align: u64,
}

/// A section's bytes and address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Section {
    pub(crate) data: &'static [u8],
    pub(crate) address: u64,
}

/// One parsed ELF file.
pub struct Image {
    path: PathBuf,
    pub(crate) file: object::File<'static>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) tls: Option<Tls>,
    entry: u64,
    debug_file: OnceLock<Option<object::File<'static>>>,
    debug: OnceLock<Option<Debug>>,
    symtab: OnceLock<SymbolTable>,
    sections: Mutex<HashMap<String, Option<Section>>>,
}

impl std::fmt::Debug for Image {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Image").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Image {
    /// Maps and parses the file; debug information waits for the first question.
    ///
    /// # Errors
    /// The file cannot be opened, or is no x86-64 ELF object.
    pub fn open(path: &Path) -> Result<Self, ModuleError> {
        let data = map(path).map_err(|source| ModuleError::Open { path: path.to_owned(), source })?;
        Self::parse(path, data)
    }

    /// Parses bytes that are already in memory, for a vDSO or a test. The bytes are kept for ever.
    ///
    /// # Errors
    /// The bytes are no x86-64 ELF object.
    pub fn from_bytes(path: &Path, data: Vec<u8>) -> Result<Self, ModuleError> {
        Self::parse(path, Vec::leak(data))
    }

    fn parse(path: &Path, data: &'static [u8]) -> Result<Self, ModuleError> {
        let not_elf = |reason: String| ModuleError::NotElf { path: path.to_owned(), reason };
        let file = object::File::parse(data).map_err(|error| not_elf(error.to_string()))?;
        if file.format() != object::BinaryFormat::Elf || file.architecture() != object::Architecture::X86_64 {
            return Err(not_elf("another format or architecture".into()));
        }
        let segments = file.segments().map(|segment| {
            let (file_offset, file_size) = segment.file_range();
            Segment { address: segment.address(), size: segment.size(), file_offset, file_size }
        });
        Ok(Self {
            path: path.to_owned(),
            segments: segments.collect(),
            tls: tls(&file),
            entry: file.entry(),
            file,
            debug_file: OnceLock::new(),
            debug: OnceLock::new(),
            symtab: OnceLock::new(),
            sections: Mutex::default(),
        })
    }

    /// The file that was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entry address, before the load bias.
    pub fn entry(&self) -> u64 {
        self.entry
    }

    /// The loadable segments.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// The build id, as the linker wrote it.
    pub fn build_id(&self) -> Option<&'static [u8]> {
        self.file.build_id().ok().flatten()
    }

    /// Whether the image has DWARF debug information, its own or in a separate file.
    pub fn has_debug_info(&self) -> bool {
        self.debug().is_some_and(|debug| !debug.units.is_empty())
    }

    pub(crate) fn debug(&self) -> Option<&Debug> {
        self.debug.get_or_init(|| Debug::load(self)).as_ref()
    }

    pub(crate) fn symtab(&self) -> &SymbolTable {
        self.symtab.get_or_init(|| SymbolTable::load(&self.file, self.debug_file()))
    }

    /// The separate debug file, searched for only when this file has no `.debug_info`.
    pub(crate) fn debug_file(&self) -> Option<&object::File<'static>> {
        let found = self.debug_file.get_or_init(|| {
            let own = self.file.section_by_name(".debug_info").is_some();
            let own = own || self.file.section_by_name(".zdebug_info").is_some();
            if own { None } else { find_debug_file(&self.path, &self.file) }
        });
        found.as_ref()
    }

    /// A section of this file, else of its debug file, decompressed.
    pub(crate) fn section(&self, name: &str) -> Option<Section> {
        // A poisoned lock only means that another thread panicked between two whole inserts.
        let mut sections = self.sections.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(known) = sections.get(name) {
            return *known;
        }
        let found = section_of(&self.file, name)
            .or_else(|| self.debug_file().and_then(|debug_file| section_of(debug_file, name)));
        sections.insert(name.to_owned(), found);
        found
    }
}

/// Sections without bytes in this file (`NOBITS` in a debug file) count as missing.
fn section_of(file: &object::File<'static>, name: &str) -> Option<Section> {
    let section = file.section_by_name(name)?;
    let range = section.compressed_file_range().ok()?;
    let address = section.address();
    if range.format == object::CompressionFormat::None {
        let data = section.data().ok().filter(|data| !data.is_empty())?;
        return Some(Section { data, address });
    }
    if range.uncompressed_size > SECTION_BYTES_MAX {
        return None;
    }
    let data = section.uncompressed_data().ok()?.into_owned();
    Some(Section { data: Vec::leak(data), address })
}

fn map(path: &Path) -> std::io::Result<&'static [u8]> {
    let file = File::open(path)?;
    // SAFETY: the map is private and read-only. A file that somebody truncates while it is mapped would raise
    // SIGBUS on access: files of a trace are written once, and live objects are replaced by rename.
    let map = unsafe { memmap2::Mmap::map(&file)? };
    Ok(Box::leak(Box::new(map)))
}

fn tls(file: &object::File<'static>) -> Option<Tls> {
    use object::read::elf::ProgramHeader;
    let object::File::Elf64(elf) = file else { return None };
    let endian = elf.endian();
    let header =
        elf.elf_program_headers().iter().find(|header| header.p_type(endian) == object::elf::PT_TLS)?;
    Some(Tls { size: header.p_memsz(endian), align: header.p_align(endian).max(1) })
}

/// gdb's search: by build id, then by `.gnu_debuglink` beside the file, in `.debug`, and under `/usr/lib/debug`.
fn find_debug_file(path: &Path, file: &object::File<'static>) -> Option<object::File<'static>> {
    let mut candidates = Vec::new();
    let build_id = file.build_id().ok().flatten();
    if let Some((first, rest)) = build_id.and_then(<[u8]>::split_first) {
        let hex: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        candidates.push(PathBuf::from(format!("/usr/lib/debug/.build-id/{first:02x}/{hex}.debug")));
    }
    if let Ok(Some((name, _crc))) = file.gnu_debuglink() {
        let name = String::from_utf8_lossy(name).into_owned();
        let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let folder = real.parent().unwrap_or(Path::new("/"));
        candidates.push(folder.join(&name));
        candidates.push(folder.join(".debug").join(&name));
        candidates
            .push(Path::new("/usr/lib/debug").join(folder.strip_prefix("/").unwrap_or(folder)).join(&name));
    }
    candidates.iter().filter(|candidate| candidate.as_path() != path).find_map(|candidate| {
        let found = object::File::parse(map(candidate).ok()?).ok()?;
        // A debug file of another build would give wrong answers; none is better.
        let same = build_id.is_none() || found.build_id().ok().flatten() == build_id;
        same.then_some(found)
    })
}

type Key = (PathBuf, u64, Option<SystemTime>);

/// Parsed images by path, length and time of last change: maps change often, files seldom.
#[derive(Debug, Default)]
pub struct ImageCache {
    images: Mutex<HashMap<Key, Arc<Image>>>,
}

impl ImageCache {
    /// An empty cache, to be shared by all address spaces of a session.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The parsed image of a file, read only when the file is new or has changed.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open(&self, path: &Path) -> Result<Arc<Image>, ModuleError> {
        let open_error = |source| ModuleError::Open { path: path.to_owned(), source };
        let metadata = std::fs::metadata(path).map_err(open_error)?;
        if !metadata.is_file() {
            return Err(open_error(std::io::Error::other("not a regular file")));
        }
        let key = (path.to_owned(), metadata.len(), metadata.modified().ok());
        let mut images = self.images.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(image) = images.get(&key) {
            return Ok(Arc::clone(image));
        }
        let image = Arc::new(Image::open(path)?);
        images.insert(key, Arc::clone(&image));
        Ok(image)
    }
}
