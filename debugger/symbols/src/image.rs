//! One ELF file, parsed once and shared: segments, sections, separate debug information.
//!
//! The bytes of a file, and its decompressed debug sections, are never given back while the program runs:
//! the cache never forgets an image, so its data may as well be `'static`. That keeps gimli's readers `Copy`
//! and free of reference counts, which is what makes the index fast.

use crate::debug::Debug;
use crate::index_cache::CacheFile;
use crate::loading::Progress;
use crate::sections::{DebugFile, Section, map, section_of};
use crate::sources::{self, DebugSources, Notices};
use crate::split::SplitFiles;
use crate::symtab::SymbolTable;
use gimli::{EndianSlice, LittleEndian};
use object::{Object, ObjectSegment};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

pub(crate) type R = EndianSlice<'static, LittleEndian>;

/// How much of the ELF header, and of the section headers, tells one file from another.
const HEADERS_BYTES: usize = 4096;

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

/// One parsed ELF file.
pub struct Image {
    path: PathBuf,
    pub(crate) file: object::File<'static>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) tls: Option<Tls>,
    entry: u64,
    sources: Arc<DebugSources>,
    notices: Arc<Notices>,
    modified: Option<SystemTime>,
    data: &'static [u8],
    debug_file: OnceLock<Option<DebugFile>>,
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
        Self::open_with(path, Arc::default())
    }

    /// As [`Image::open`], with places of one's own to look for debug information.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn open_with(path: &Path, sources: Arc<DebugSources>) -> Result<Self, ModuleError> {
        let data = map(path).map_err(|source| ModuleError::Open { path: path.to_owned(), source })?;
        let mut image = Self::parse(path, data, sources)?;
        image.modified = std::fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        Ok(image)
    }

    /// Parses bytes that are already in memory, for a vDSO or a test. The bytes are kept for ever.
    ///
    /// # Errors
    /// The bytes are no x86-64 ELF object.
    pub fn from_bytes(path: &Path, data: Vec<u8>) -> Result<Self, ModuleError> {
        Self::parse(path, Vec::leak(data), Arc::default())
    }

    fn parse(path: &Path, data: &'static [u8], sources: Arc<DebugSources>) -> Result<Self, ModuleError> {
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
            sources,
            notices: Arc::default(),
            modified: None,
            data,
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

    /// The separate debug file that is used, when there is one.
    pub fn debug_path(&self) -> Option<&Path> {
        self.separate().map(|found| found.path.as_path())
    }

    /// What went wrong so far while debug information was looked for and read, each once, to be shown: files that
    /// belong to another build, and parts that are missing.
    pub fn notices(&self) -> Vec<String> {
        self.notices.all()
    }

    /// When the file was last changed; `None` for bytes from memory.
    pub fn modified(&self) -> Option<SystemTime> {
        self.modified
    }

    pub(crate) fn debug_sources(&self) -> &DebugSources {
        &self.sources
    }

    /// Where the index is kept between sessions, when the file can be told from others.
    pub(crate) fn cache_file(&self) -> Option<CacheFile> {
        let folder = self.sources.cache.as_deref()?;
        let data = self.separate().map_or(self.data, |separate| separate.data);
        let id = self.build_id()?;
        let elf = data.get(..HEADERS_BYTES.min(data.len()))?;
        let table = usize::try_from(u64::from_le_bytes(*data.get(40..)?.first_chunk()?)).ok()?;
        let sections = data.get(table..).unwrap_or_default();
        let sections = sections.get(..HEADERS_BYTES.min(sections.len()))?;
        Some(CacheFile::new(folder, id, data.len() as u64, &[elf, sections, &self.data.len().to_le_bytes()]))
    }

    pub(crate) fn split_files(&self) -> SplitFiles {
        let debug_file = self.debug_path().map(Path::to_owned);
        SplitFiles::new(self.path.clone(), debug_file, Arc::clone(&self.sources), Arc::clone(&self.notices))
    }

    /// The supplementary file of dwz, of this file or of its debug file.
    pub(crate) fn supplement(&self) -> Option<DebugFile> {
        let holder = match self.separate() {
            Some(separate) => (separate.path.as_path(), &separate.file),
            None => (self.path.as_path(), &self.file),
        };
        sources::supplement(holder, &self.sources, &self.notices)
    }

    pub(crate) fn debug(&self) -> Option<&Debug> {
        self.debug.get_or_init(|| Debug::load(self)).as_ref()
    }

    pub(crate) fn symtab(&self) -> &SymbolTable {
        self.symtab.get_or_init(|| SymbolTable::load(&self.file, self.debug_file()))
    }

    /// The separate debug file, searched for only when this file has no `.debug_info`.
    pub(crate) fn debug_file(&self) -> Option<&object::File<'static>> {
        self.separate().map(|found| &found.file)
    }

    fn separate(&self) -> Option<&DebugFile> {
        let found = self.debug_file.get_or_init(|| {
            let own = self.file.section_by_name(".debug_info").is_some();
            let own = own || self.file.section_by_name(".zdebug_info").is_some();
            if own { None } else { sources::debug_file(&self.path, &self.file, &self.sources, &self.notices) }
        });
        found.as_ref()
    }

    /// A section as a reader, empty when it is missing.
    pub(crate) fn reader(&self, name: &str) -> R {
        let data = self.section(name).map_or(&[][..], |section| section.data);
        EndianSlice::new(data, LittleEndian)
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

fn tls(file: &object::File<'static>) -> Option<Tls> {
    use object::read::elf::ProgramHeader;
    let object::File::Elf64(elf) = file else { return None };
    let endian = elf.endian();
    let header =
        elf.elf_program_headers().iter().find(|header| header.p_type(endian) == object::elf::PT_TLS)?;
    Some(Tls { size: header.p_memsz(endian), align: header.p_align(endian).max(1) })
}

type Key = (PathBuf, u64, Option<SystemTime>);

/// Parsed images by path, length and time of last change: maps change often, files seldom.
#[derive(Debug, Default)]
pub struct ImageCache {
    images: Mutex<HashMap<Key, Arc<Image>>>,
    sources: Mutex<Arc<DebugSources>>,
}

impl ImageCache {
    /// An empty cache, to be shared by all address spaces of a session.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How far the reading of debug information is, for images opened with the present settings.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.sources.lock().unwrap_or_else(|poison| poison.into_inner()).progress)
    }

    /// Where separate debug information is looked for, for images that are opened from now on. Those that are open
    /// are forgotten, so that they are opened anew when they are next asked for.
    pub fn look_in(&self, sources: DebugSources) {
        *self.sources.lock().unwrap_or_else(|poison| poison.into_inner()) = Arc::new(sources);
        self.images.lock().unwrap_or_else(|poison| poison.into_inner()).clear();
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
        let sources = Arc::clone(&self.sources.lock().unwrap_or_else(|poison| poison.into_inner()));
        let image = Arc::new(Image::open_with(path, sources)?);
        images.insert(key, Arc::clone(&image));
        Ok(image)
    }
}
