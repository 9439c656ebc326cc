//! Split DWARF: the `.dwo` files and `.dwp` packages that skeleton units refer to.

use crate::debug::Unit;
use crate::image::R;
use crate::sections::DebugFile;
use crate::sources::{self, DebugSources, Notices};
use gimli::{DebugTypeSignature, EndianSlice, LittleEndian, UnitType};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

/// `.dwo` files opened for one image at most: each takes a mapping.
const FILES_MAX: usize = 20_000;
/// Units looked at in one `.dwo` file.
const UNITS_MAX: usize = 1 << 20;

/// A unit of another file, with that file's sections.
#[derive(Debug)]
pub(crate) struct SplitUnit {
    pub(crate) dwarf: Arc<gimli::Dwarf<R>>,
    pub(crate) unit: Unit,
}

/// A type unit that came with a split file, not parsed yet.
pub(crate) struct SplitType {
    pub(crate) dwarf: Arc<gimli::Dwarf<R>>,
    pub(crate) header: gimli::UnitHeader<R>,
    pub(crate) signature: u64,
    pub(crate) offset: gimli::UnitOffset,
}

/// What a skeleton leads to.
pub(crate) struct Split {
    pub(crate) unit: SplitUnit,
    pub(crate) types: Vec<SplitType>,
}

/// Finds split files for one image.
pub(crate) struct SplitFiles {
    program: PathBuf,
    /// The separate debug file, which has the package beside it when the program was stripped.
    debug_file: Option<PathBuf>,
    sources: Arc<DebugSources>,
    notices: Arc<Notices>,
    package: OnceLock<Option<gimli::DwarfPackage<R>>>,
    opened: std::sync::atomic::AtomicUsize,
}

impl SplitFiles {
    pub(crate) fn new(
        program: PathBuf,
        debug_file: Option<PathBuf>,
        sources: Arc<DebugSources>,
        notices: Arc<Notices>,
    ) -> Self {
        let (package, opened) = Default::default();
        Self { program, debug_file, sources, notices, package, opened }
    }

    /// The package beside the program, when there is one.
    fn package(&self) -> Option<&gimli::DwarfPackage<R>> {
        let open = || {
            let mut paths = sources::package_paths(&self.program, &self.sources);
            paths.extend(self.debug_file.iter().flat_map(|path| sources::package_paths(path, &self.sources)));
            paths.into_iter().find_map(|path| {
                let file = DebugFile::open(&path)?;
                let load = |id: gimli::SectionId| {
                    Ok::<_, gimli::Error>(id.dwo_name().map_or(empty(), |name| file.reader(name)))
                };
                match gimli::DwarfPackage::load(load, empty()) {
                    Ok(package) => Some(package),
                    Err(error) => {
                        self.notices.add(format!("{}: bad package: {error}", path.display()));
                        None
                    }
                }
            })
        };
        self.package.get_or_init(open).as_ref()
    }

    /// The unit that a skeleton stands for. `None` when the unit is whole, or when its file is not to be had.
    pub(crate) fn of(&self, parent: &gimli::Dwarf<R>, skeleton: &Unit) -> Option<Split> {
        let id = skeleton.dwo_id?;
        let name = dwo_name(parent, skeleton)?;
        let packed = self.package().and_then(|package| package.find_cu(id, parent).ok().flatten());
        let mut split = match packed {
            Some(dwarf) => whole(dwarf, Some(id)),
            None => self.file(parent, skeleton, id, &name),
        }?;
        split.unit.unit.copy_relocated_attributes(skeleton);
        Some(split)
    }

    fn file(&self, parent: &gimli::Dwarf<R>, skeleton: &Unit, id: gimli::DwoId, name: &str) -> Option<Split> {
        use std::sync::atomic::Ordering;
        if self.opened.fetch_add(1, Ordering::Relaxed) > FILES_MAX {
            return None;
        }
        let comp_dir = skeleton.comp_dir.map(|folder| folder.to_string_lossy().into_owned());
        let comp_dir = comp_dir.unwrap_or_default();
        for path in sources::split_paths(&self.program, &comp_dir, name, &self.sources) {
            let Some(file) = DebugFile::open(&path) else { continue };
            let load = |id: gimli::SectionId| {
                Ok::<_, gimli::Error>(id.dwo_name().map_or(empty(), |name| file.reader(name)))
            };
            let Ok(mut dwarf) = gimli::Dwarf::load(load) else { continue };
            dwarf.make_dwo(parent);
            if let Some(found) = whole(dwarf, Some(id)) {
                return Some(found);
            }
            self.notices.add(format!(
                "{} is not the split debug information of {}: it has no unit {:016x}",
                path.display(),
                self.program.display(),
                id.0
            ));
        }
        self.notices.add(format!(
            "{name}, with debug information of {}, is not there: it has addresses and lines only",
            self.program.display()
        ));
        None
    }

    /// A type unit of the package.
    pub(crate) fn packed_type(&self, parent: &gimli::Dwarf<R>, signature: u64) -> Option<SplitType> {
        let package = self.package()?;
        let dwarf = package.find_tu(DebugTypeSignature(signature), parent).ok().flatten()?;
        types_of(&Arc::new(dwarf)).into_iter().find(|found| found.signature == signature)
    }

    /// All type units of the package, for an index of names.
    pub(crate) fn packed_types(&self, parent: &gimli::Dwarf<R>) -> Vec<SplitType> {
        let Some(package) = self.package() else { return Vec::new() };
        let rows = 1..=package.tu_index.unit_count().min(UNITS_MAX as u32);
        let all = rows.filter_map(|row| package.tu_sections(row, parent).ok());
        all.flat_map(|dwarf| types_of(&Arc::new(dwarf))).collect()
    }
}

fn empty() -> R {
    EndianSlice::new(&[], LittleEndian)
}

/// The name of the `.dwo` file of a skeleton unit.
fn dwo_name(parent: &gimli::Dwarf<R>, skeleton: &Unit) -> Option<String> {
    let root = skeleton.entry(skeleton.header.root_offset()).ok()?;
    let name =
        root.attr_value(gimli::DW_AT_dwo_name).or_else(|| root.attr_value(gimli::DW_AT_GNU_dwo_name))?;
    Some(parent.attr_string(skeleton, name).ok()?.to_string_lossy().into_owned())
}

/// The unit of this id in a split file, and the type units beside it.
fn whole(dwarf: gimli::Dwarf<R>, id: Option<gimli::DwoId>) -> Option<Split> {
    let dwarf = Arc::new(dwarf);
    let mut headers = dwarf.units();
    let mut found = None;
    for _ in 0..UNITS_MAX {
        let Ok(Some(header)) = headers.next() else { break };
        if found.is_none()
            && !matches!(header.type_(), UnitType::Type { .. } | UnitType::SplitType { .. })
            && let Ok(unit) = dwarf.unit(header)
            && unit.dwo_id == id
        {
            found = Some(unit);
        }
    }
    let types = types_of(&dwarf);
    Some(Split { unit: SplitUnit { dwarf, unit: found? }, types })
}

fn types_of(dwarf: &Arc<gimli::Dwarf<R>>) -> Vec<SplitType> {
    let mut found = Vec::new();
    let mut add = |header: gimli::UnitHeader<R>| match header.type_() {
        UnitType::Type { type_signature, type_offset }
        | UnitType::SplitType { type_signature, type_offset } => found.push(SplitType {
            dwarf: Arc::clone(dwarf),
            header,
            signature: type_signature.0,
            offset: type_offset,
        }),
        _ => {}
    };
    let (mut headers, mut old) = (dwarf.units(), dwarf.type_units());
    for _ in 0..UNITS_MAX {
        let Ok(Some(header)) = headers.next() else { break };
        add(header);
    }
    for _ in 0..UNITS_MAX {
        let Ok(Some(header)) = old.next() else { break };
        add(header);
    }
    found
}
