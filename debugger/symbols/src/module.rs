//! An image at its place in an address space, and how that place is told from the kernel's list of mappings.

use crate::debug::{Debug, DieAt};
use crate::image::{Image, ImageCache, ModuleError};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PAGE: u64 = 4096;

/// One line of `/proc/PID/maps`, live or recorded.
#[derive(Clone, Debug)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// Offset of the first byte in the file.
    pub offset: u64,
    /// The file to read: in a recording this is the copy that the trace keeps.
    pub file: PathBuf,
    /// The path the process knew, to be shown.
    pub name: PathBuf,
}

/// An ELF object loaded at a bias: run-time address = address in the file + bias.
#[derive(Debug)]
pub struct Module {
    pub(crate) image: Arc<Image>,
    name: String,
    bias: u64,
    ranges: Vec<Range<u64>>,
}

/// A debugging information entry of a loaded module.
#[derive(Clone, Debug)]
pub(crate) struct ModuleDie {
    pub(crate) module: Arc<Module>,
    pub(crate) at: DieAt,
}

impl Module {
    /// A module that occupies `ranges`; `name` is the path to be shown.
    pub fn new(image: Arc<Image>, name: impl Into<String>, bias: u64, ranges: Vec<Range<u64>>) -> Self {
        Self { image, name: name.into(), bias, ranges }
    }

    /// A module at a bias, with ranges from its own program headers.
    pub fn at_bias(image: Arc<Image>, name: impl Into<String>, bias: u64) -> Self {
        let range = |address: u64, size: u64| {
            let start = address.wrapping_add(bias);
            start & !(PAGE - 1)..start.saturating_add(size).saturating_add(PAGE - 1) & !(PAGE - 1)
        };
        let ranges = image.segments.iter().map(|segment| range(segment.address, segment.size)).collect();
        Self::new(image, name, bias, ranges)
    }

    /// The path the process knew.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that was read.
    pub fn path(&self) -> &Path {
        self.image.path()
    }

    /// What is added to the file's addresses.
    pub fn bias(&self) -> u64 {
        self.bias
    }

    /// Where the module lies.
    pub fn ranges(&self) -> &[Range<u64>] {
        &self.ranges
    }

    /// The parsed file.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The entry point at its run-time address.
    pub fn entry(&self) -> u64 {
        self.to_runtime(self.image.entry())
    }

    /// Whether an address lies in the module.
    pub fn contains(&self, address: u64) -> bool {
        self.ranges.iter().any(|range| range.contains(&address))
    }

    pub(crate) fn to_file(&self, address: u64) -> u64 {
        address.wrapping_sub(self.bias)
    }

    pub(crate) fn to_runtime(&self, address: u64) -> u64 {
        address.wrapping_add(self.bias)
    }

    pub(crate) fn debug(&self) -> Option<&Debug> {
        self.image.debug()
    }

    /// The file's own bytes at one of its addresses: code, before anybody patched it.
    pub(crate) fn file_bytes(&self, address: u64, size: usize) -> Option<&'static [u8]> {
        use object::{Object, ObjectSegment};
        let segment = self.image.file.segments().find(|segment| {
            address.checked_sub(segment.address()).is_some_and(|offset| offset < segment.size())
        })?;
        let start = usize::try_from(address - segment.address()).ok()?;
        segment.data().ok()?.get(start..start.checked_add(size)?)
    }
}

/// Makes modules of mappings. Mappings without a readable ELF file are left out; the errors come beside.
pub(crate) fn modules_of(cache: &ImageCache, mappings: &[Mapping]) -> (Vec<Arc<Module>>, Vec<ModuleError>) {
    let (mut modules, mut errors) = (Vec::new(), Vec::new());
    for group in group(mappings) {
        let Some(first) = group.first() else { continue };
        match cache.open(&first.file) {
            Ok(image) => modules.extend(module_of(image, &group).map(Arc::new)),
            Err(error) => errors.push(error),
        }
    }
    (modules, errors)
}

/// Mappings of one loaded object: same file, and not beginning the file anew (the object is loaded twice then).
fn group(mappings: &[Mapping]) -> Vec<Vec<&Mapping>> {
    let mut groups: Vec<Vec<&Mapping>> = Vec::new();
    let named = |mapping: &&Mapping| mapping.file.is_absolute() || mapping.file.exists();
    for mapping in mappings.iter().filter(named) {
        let found =
            groups.iter_mut().rev().find(|group| group.first().is_some_and(|m| m.file == mapping.file));
        match found {
            Some(group) if group.last().is_some_and(|last| mapping.offset >= last.offset) => {
                group.push(mapping)
            }
            _ => groups.push(vec![mapping]),
        }
    }
    groups
}

fn module_of(image: Arc<Image>, group: &[&Mapping]) -> Option<Module> {
    let name = group.first()?.name.display().to_string();
    let bias = exact_bias(&image, group).or_else(|| loose_bias(&image, group))?;
    let ranges = group.iter().map(|mapping| mapping.start..mapping.end).collect();
    let mut module = Module::new(image, name, bias, ranges);
    // The tail of .bss is an anonymous mapping: the program headers know that it belongs to the module.
    let whole = Module::at_bias(Arc::clone(&module.image), "", bias);
    module.ranges.extend(whole.ranges);
    Some(module)
}

/// From a mapping that begins where a segment begins.
fn exact_bias(image: &Image, group: &[&Mapping]) -> Option<u64> {
    image.segments.iter().find_map(|segment| {
        let offset = segment.file_offset & !(PAGE - 1);
        let mapping = group.iter().find(|mapping| mapping.offset == offset)?;
        Some(mapping.start.wrapping_sub(segment.address & !(PAGE - 1)))
    })
}

/// From a mapping that begins inside a segment, as after mprotect has split one.
fn loose_bias(image: &Image, group: &[&Mapping]) -> Option<u64> {
    group.iter().find_map(|mapping| {
        let segment = image.segments.iter().find(|segment| {
            mapping.offset.checked_sub(segment.file_offset).is_some_and(|inside| inside < segment.file_size)
        })?;
        let address = segment.address.wrapping_add(mapping.offset - segment.file_offset);
        Some(mapping.start.wrapping_sub(address))
    })
}
