//! The DWARF of one image: its units, each parsed on first need, and references from one unit to another.

use crate::image::{Image, R};
use crate::index::UnitIndex;
use crate::index_cache::CacheFile;
use crate::lines::Lines;
use crate::loading::{Interrupted, Progress};
use crate::name_index::{NameIndex, Ranges};
use crate::scan::{Kind, Scanner};
use crate::split::{SplitFiles, SplitType, SplitUnit};
use gimli::constants as dw;
use gimli::{AttributeValue, DebuggingInformationEntry, UnitOffset, UnitType};
use rayon::prelude::*;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock};

/// Links from DIE to DIE (origin, specification, typedef) are followed so far: cycles occur in broken files.
pub(crate) const LINKS_MAX: usize = 32;
/// More units than this in one file are not read.
const UNITS_MAX: usize = 1 << 20;

pub(crate) type Die = DebuggingInformationEntry<R>;
pub(crate) type Unit = gimli::Unit<R>;

/// A DIE's place: which unit of its image, and the offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct DieAt {
    pub(crate) unit: u32,
    pub(crate) offset: UnitOffset,
}

/// Which section of which file a unit is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// `.debug_info`.
    Info,
    /// `.debug_types`: only reached by signature.
    Types,
    /// `.debug_info` of the supplementary file of dwz.
    Supplement,
    /// A type unit of a `.dwo` file or package.
    Split,
}

pub(crate) struct UnitSlot {
    pub(crate) header: gimli::UnitHeader<R>,
    pub(crate) origin: Origin,
    /// Offset in the section that references count from.
    start: usize,
    type_unit: bool,
    /// The unit as it is in its own file.
    own: OnceLock<Option<Unit>>,
    /// What a skeleton stands for.
    split: OnceLock<Option<SplitUnit>>,
    /// The file of a unit of [`Origin::Split`].
    file: Option<Arc<gimli::Dwarf<R>>>,
    index: OnceLock<UnitIndex>,
    lines: OnceLock<Lines>,
}

impl UnitSlot {
    fn new(header: gimli::UnitHeader<R>, origin: Origin, start: usize, type_unit: bool) -> Self {
        let (own, split, index, lines) = Default::default();
        Self { header, origin, start, type_unit, own, split, file: None, index, lines }
    }
}

/// A unit with the sections it is read with.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) dwarf: &'a gimli::Dwarf<R>,
    pub(crate) unit: &'a Unit,
}

/// All DWARF of an image: its own units, those of the supplementary file, and what skeletons stand for.
///
/// A unit has one number whatever file it is in. Numbers from [`LATE_FIRST`] on are type units of split files, which are
/// known only when those are opened.
pub(crate) struct Debug {
    pub(crate) dwarf: gimli::Dwarf<R>,
    pub(crate) units: Vec<UnitSlot>,
    /// Places in `units` of the units of `.debug_info`, and of those of the supplementary file: in order of offset.
    info: Range<usize>,
    supplement: Range<usize>,
    signatures: HashMap<u64, DieAt>,
    files: SplitFiles,
    late: RwLock<Late>,
    ranges: OnceLock<Ranges>,
    names: OnceLock<NameIndex>,
    vtables: OnceLock<HashMap<u64, DieAt>>,
    /// Held by the thread that makes `names`; the others wait for it.
    building: Mutex<()>,
    cache: OnceLock<Option<NameIndex>>,
    cache_file: Option<CacheFile>,
    /// There are skeleton units: what the index holds depends on other files too, so it is not kept.
    has_skeletons: AtomicBool,
    progress: Arc<Progress>,
}

/// The first number of a type unit of a split file.
pub(crate) const LATE_FIRST: u32 = 1 << 31;

/// Type units of split files. They are never given back, as the images they belong to.
#[derive(Default)]
struct Late {
    units: Vec<&'static UnitSlot>,
    signatures: HashMap<u64, DieAt>,
}

impl Debug {
    pub(crate) fn load(image: &Image) -> Option<Self> {
        let section = |id: gimli::SectionId| Ok::<_, gimli::Error>(image.reader(id.name()));
        let mut dwarf = gimli::Dwarf::load(section).ok()?;
        if let Some(file) = image.supplement() {
            let section = |id: gimli::SectionId| Ok::<_, gimli::Error>(file.reader(id.name()));
            let mut supplement = gimli::Dwarf::load(section).ok()?;
            supplement.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
            dwarf.set_sup(supplement);
        }
        dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
        let mut debug = Self {
            dwarf,
            units: Vec::new(),
            info: 0..0,
            supplement: 0..0,
            signatures: HashMap::new(),
            files: image.split_files(),
            late: RwLock::default(),
            ranges: OnceLock::new(),
            names: OnceLock::new(),
            vtables: OnceLock::new(),
            building: Mutex::new(()),
            cache: OnceLock::new(),
            cache_file: image.cache_file(),
            has_skeletons: AtomicBool::new(false),
            progress: Arc::clone(&image.debug_sources().progress),
        };
        debug.read_headers();
        Some(debug)
    }

    fn read_headers(&mut self) {
        let mut headers = self.dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            self.add_header(header, Origin::Info);
        }
        self.info = 0..self.units.len();
        let mut headers = self.dwarf.type_units();
        while let Ok(Some(header)) = headers.next() {
            self.add_header(header, Origin::Types);
        }
        let Some(mut headers) = self.dwarf.sup().map(gimli::Dwarf::units) else { return };
        let first = self.units.len();
        while let Ok(Some(header)) = headers.next() {
            self.add_header(header, Origin::Supplement);
        }
        self.supplement = first..self.units.len();
    }

    fn add_header(&mut self, header: gimli::UnitHeader<R>, origin: Origin) {
        if self.units.len() >= UNITS_MAX {
            return;
        }
        let unit = self.units.len() as u32;
        let mut type_unit = origin == Origin::Types;
        if let UnitType::Type { type_signature, type_offset } = header.type_() {
            self.signatures.insert(type_signature.0, DieAt { unit, offset: type_offset });
            type_unit = true;
        }
        let start = header.debug_info_offset().map_or(usize::MAX, |at| at.0);
        self.units.push(UnitSlot::new(header, origin, start, type_unit));
    }

    /// The unit of a number, wherever it lives.
    pub(crate) fn slot(&self, unit: u32) -> Option<&UnitSlot> {
        match unit.checked_sub(LATE_FIRST) {
            None => self.units.get(unit as usize),
            Some(late) => self.late().units.get(late as usize).copied(),
        }
    }

    fn late(&self) -> std::sync::RwLockReadGuard<'_, Late> {
        // Nothing panics while it holds this lock.
        self.late.read().unwrap_or_else(|poison| poison.into_inner())
    }

    fn own_part<'a>(&'a self, slot: &'a UnitSlot) -> Option<Part<'a>> {
        let dwarf = self.dwarf_of(slot);
        let unit = slot.own.get_or_init(|| dwarf.unit(slot.header).ok()).as_ref()?;
        Some(Part { dwarf, unit })
    }

    /// The sections that a unit's own part is read with.
    pub(crate) fn dwarf_of<'a>(&'a self, slot: &'a UnitSlot) -> &'a gimli::Dwarf<R> {
        match (slot.origin, &slot.file) {
            (Origin::Supplement, _) => self.dwarf.sup().unwrap_or(&self.dwarf),
            (Origin::Split, Some(file)) => file,
            _ => &self.dwarf,
        }
    }

    /// The unit with its sections: the whole one when its own file has a skeleton only. `None` when its header or
    /// root is broken.
    pub(crate) fn part(&self, unit: u32) -> Option<Part<'_>> {
        let slot = self.slot(unit)?;
        let own = self.own_part(slot)?;
        if slot.origin != Origin::Info || own.unit.dwo_id.is_none() {
            return Some(own);
        }
        let split = slot.split.get_or_init(|| self.open_split(own.unit));
        Some(split.as_ref().map_or(own, |split| Part { dwarf: &split.dwarf, unit: &split.unit }))
    }

    fn open_split(&self, skeleton: &Unit) -> Option<SplitUnit> {
        let found = self.files.of(&self.dwarf, skeleton)?;
        for own in found.types {
            self.add_late(own);
        }
        Some(found.unit)
    }

    fn add_late(&self, own: SplitType) -> Option<DieAt> {
        let mut late = self.late.write().unwrap_or_else(|poison| poison.into_inner());
        if let Some(known) = late.signatures.get(&own.signature) {
            return Some(*known);
        }
        if late.units.len() >= UNITS_MAX {
            return None;
        }
        let at = DieAt { unit: LATE_FIRST + late.units.len() as u32, offset: own.offset };
        let slot = UnitSlot::new(own.header, Origin::Split, usize::MAX, true);
        late.units.push(Box::leak(Box::new(UnitSlot { file: Some(own.dwarf), ..slot })));
        late.signatures.insert(own.signature, at);
        Some(at)
    }

    /// The parsed unit, or `None` when its header or root is broken.
    pub(crate) fn unit(&self, unit: u32) -> Option<&Unit> {
        self.part(unit).map(|part| part.unit)
    }

    /// The part that has the line table: a skeleton keeps it.
    pub(crate) fn line_part(&self, unit: u32) -> Option<Part<'_>> {
        self.own_part(self.slot(unit)?)
    }

    pub(crate) fn index(&self, unit: u32) -> Option<&UnitIndex> {
        let slot = self.slot(unit)?;
        Some(slot.index.get_or_init(|| UnitIndex::build(self, unit)))
    }

    pub(crate) fn lines(&self, unit: u32) -> Option<&Lines> {
        let slot = self.slot(unit)?;
        Some(slot.lines.get_or_init(|| Lines::build(self, unit)))
    }

    /// Numbers of the units that are known without opening split files.
    pub(crate) fn unit_numbers(&self) -> Range<u32> {
        0..self.units.len() as u32
    }

    /// Numbers of the type units of split files that are known by now.
    pub(crate) fn late_numbers(&self) -> Range<u32> {
        LATE_FIRST..LATE_FIRST + self.late().units.len() as u32
    }

    /// Opens the type units of a package, which are reached one by one otherwise.
    pub(crate) fn open_packed_types(&self) {
        for packed in self.files.packed_types(&self.dwarf) {
            self.add_late(packed);
        }
    }

    /// Functions, variables and types by name, over all units. Empty while loading is interrupted.
    pub(crate) fn names(&self) -> &NameIndex {
        static NOTHING: OnceLock<NameIndex> = OnceLock::new();
        self.try_names().unwrap_or_else(|Interrupted| NOTHING.get_or_init(NameIndex::default))
    }

    /// The same, made or read from the cache on the first call.
    pub(crate) fn try_names(&self) -> Result<&NameIndex, Interrupted> {
        if let Some(known) = self.known_names() {
            return Ok(known);
        }
        // Nothing is broken when a thread panicked here: the index is not there then.
        let _guard = self.building.lock().unwrap_or_else(|poison| poison.into_inner());
        if let Some(known) = self.names.get() {
            return Ok(known);
        }
        let built = NameIndex::build(self, &self.progress).ok_or(Interrupted)?;
        if let Some(file) = self.cache_file.as_ref().filter(|_| !self.has_skeletons.load(Ordering::Relaxed)) {
            file.write(&built, self.units.len() as u32);
        }
        Ok(self.names.get_or_init(|| built))
    }

    /// The index if it is to be had at once.
    fn known_names(&self) -> Option<&NameIndex> {
        let cached = || self.cache_file.as_ref()?.read(self.units.len() as u32);
        self.names.get().or_else(|| self.cache.get_or_init(cached).as_ref())
    }

    /// Adds what the index keeps of a unit. The unit itself is not kept: there may be thousands.
    pub(crate) fn scan_unit(&self, number: u32, scanner: &mut Scanner<'_>, ranges: &mut Ranges) {
        let Some(slot) = self.slot(number) else { return };
        let dwarf = self.dwarf_of(slot);
        let parsed;
        let unit = match slot.own.get() {
            Some(known) => known.as_ref(),
            None => {
                parsed = dwarf.unit(slot.header).ok();
                parsed.as_ref()
            }
        };
        let Some(unit) = unit else { return };
        let own = Part { dwarf, unit };
        ranges.extend(self.ranges_of_part(number, slot, own));
        let split = slot.origin == Origin::Info && unit.dwo_id.is_some();
        if split {
            self.has_skeletons.store(true, Ordering::Relaxed);
        }
        scanner.unit(number, if split { self.part(number).unwrap_or(own) } else { own });
    }

    /// Units that may have a function, variable or type of this name, with their indexes at hand.
    pub(crate) fn units_with(&self, kind: Kind, name: &str) -> Vec<u32> {
        let names = self.names();
        let units = if kind == Kind::Type { names.units_of_type(name) } else { names.units(kind, name) };
        if units.len() > 1 {
            units.par_iter().for_each(|&unit| {
                self.index(unit);
            });
        }
        units
    }

    /// Complete types of this name with their qualified names.
    pub(crate) fn types_named(&self, name: &str) -> Vec<(Arc<str>, DieAt)> {
        let mut units = self.units_with(Kind::Type, name);
        if units.is_empty() {
            // Types inside functions are known only where somebody has looked already.
            units = self.unit_numbers().filter(|&unit| self.is_indexed(unit)).collect();
        }
        let mut found = Vec::new();
        for unit in units {
            let types = self.index(unit).map(|index| index.types.as_slice()).unwrap_or_default();
            let named = types.iter().filter(|own| crate::names::matches(&own.name, name));
            found.extend(named.map(|own| (Arc::clone(&own.name), DieAt { unit, offset: own.die })));
        }
        found
    }

    /// What each unit defines: all of it is read, in parallel, unless loading is interrupted.
    pub(crate) fn indexes(&self) -> impl Iterator<Item = &UnitIndex> {
        self.unit_numbers().into_par_iter().for_each(|unit| {
            if !self.progress.is_interrupted() {
                self.index(unit);
            }
        });
        let known = self.unit_numbers().filter(|&unit| self.is_indexed(unit));
        known.filter_map(|unit| self.index(unit))
    }

    fn is_indexed(&self, unit: u32) -> bool {
        self.slot(unit).is_some_and(|slot| slot.index.get().is_some())
    }

    /// The type whose vtable lies at an address (before bias): rustc describes each vtable as a variable of a type that
    /// names the concrete one.
    pub(crate) fn type_of_vtable(&self, address: u64) -> Option<DieAt> {
        const NAME: &str = "{vtable}";
        let vtables = self.vtables.get_or_init(|| {
            let named = |unit| {
                let variables = self.index(unit).map(|index| index.variables.as_slice()).unwrap_or_default();
                variables
                    .iter()
                    .filter(|own| own.name.ends_with(NAME))
                    .map(move |own| DieAt { unit, offset: own.die })
            };
            self.units_with(Kind::Variable, NAME)
                .into_iter()
                .flat_map(named)
                .filter_map(|at| self.vtable(at))
                .collect()
        });
        vtables.get(&address).copied()
    }

    /// The address of a vtable, and the type it is for.
    fn vtable(&self, at: DieAt) -> Option<(u64, DieAt)> {
        let die = self.die(at)?;
        let AttributeValue::Exprloc(expression) = die.attr_value(dw::DW_AT_location)? else { return None };
        let mut bytes = expression.0;
        let part = self.part(at.unit)?;
        let address = match gimli::Operation::parse(&mut bytes, part.unit.encoding()).ok()? {
            gimli::Operation::Address { address } => address,
            gimli::Operation::AddressIndex { index } => part.dwarf.address(part.unit, index).ok()?,
            _ => return None,
        };
        let ty = self.linked(at, &die, dw::DW_AT_type)?;
        Some((address, self.linked(ty, &self.die(ty)?, dw::DW_AT_containing_type)?))
    }

    pub(crate) fn die(&self, at: DieAt) -> Option<Die> {
        let unit = self.unit(at.unit)?;
        at.offset.is_in_bounds(&unit.header).then(|| unit.entry(at.offset).ok())?
    }

    /// The unit that covers an address (before bias).
    pub(crate) fn unit_at(&self, address: u64) -> Option<u32> {
        let ranges = match self.known_names() {
            Some(known) => &known.ranges,
            None => self.ranges.get_or_init(|| self.read_ranges()),
        };
        let end = ranges.partition_point(|range| range.0 <= address);
        // Ranges of units overlap only in odd files: a short look back is enough.
        ranges.get(..end)?.iter().rev().take(32).find(|range| address < range.1).map(|range| range.2)
    }

    fn read_ranges(&self) -> Ranges {
        let of = |number| {
            let slot = self.slot(number).filter(|slot| slot.origin == Origin::Info);
            let parsed = slot.and_then(|slot| self.dwarf.unit(slot.header).ok());
            let part = parsed.as_ref().map(|unit| Part { dwarf: &self.dwarf, unit });
            slot.zip(part).map(|(slot, part)| self.ranges_of_part(number, slot, part)).unwrap_or_default()
        };
        let mut all: Ranges = self.unit_numbers().into_par_iter().flat_map_iter(of).collect();
        all.sort_unstable();
        all
    }

    fn ranges_of_part(&self, number: u32, slot: &UnitSlot, part: Part<'_>) -> Ranges {
        let mut found = Ranges::new();
        if slot.type_unit || slot.origin != Origin::Info {
            return found;
        }
        if let Ok(mut ranges) = part.dwarf.unit_ranges(part.unit) {
            while let Ok(Some(range)) = ranges.next() {
                if range.begin != 0 && range.begin < range.end {
                    found.push((range.begin, range.end, number));
                }
            }
        }
        let root = part.unit.entry(part.unit.header.root_offset()).ok();
        let partial = root.is_some_and(|root| root.tag() == dw::DW_TAG_partial_unit);
        if found.is_empty() && !partial {
            let index = self.index(number).into_iter();
            found.extend(
                index.flat_map(|index| index.function_ranges()).map(|(begin, end)| (begin, end, number)),
            );
        }
        found
    }

    /// Where a reference attribute points, from inside the unit it was read in.
    pub(crate) fn target(&self, unit: u32, value: AttributeValue<R>) -> Option<DieAt> {
        match value {
            AttributeValue::UnitRef(offset) => Some(DieAt { unit, offset }),
            AttributeValue::DebugInfoRef(offset) => self.at_section_offset(unit, offset),
            AttributeValue::DebugInfoRefSup(offset) => self.within(self.supplement.clone(), offset),
            AttributeValue::DebugTypesRef(signature) => self.signed(signature.0),
            _ => None,
        }
    }

    /// The type of this signature, in whichever file.
    fn signed(&self, signature: u64) -> Option<DieAt> {
        let known = self.signatures.get(&signature).copied();
        let known = known.or_else(|| self.late().signatures.get(&signature).copied());
        known.or_else(|| self.add_late(self.files.packed_type(&self.dwarf, signature)?))
    }

    /// An offset in the section that this unit is in.
    fn at_section_offset(&self, unit: u32, offset: gimli::DebugInfoOffset) -> Option<DieAt> {
        let slot = self.slot(unit)?;
        match slot.origin {
            Origin::Supplement => self.within(self.supplement.clone(), offset),
            Origin::Info if slot.split.get().is_some_and(Option::is_some) => {
                // In a split file the section has this one unit.
                let offset = offset.to_unit_offset(&self.unit(unit)?.header)?;
                Some(DieAt { unit, offset })
            }
            Origin::Info | Origin::Types => self.within(self.info.clone(), offset),
            Origin::Split => None,
        }
    }

    fn within(&self, units: Range<usize>, offset: gimli::DebugInfoOffset) -> Option<DieAt> {
        let first = units.start;
        let units = self.units.get(units)?;
        let place = units.partition_point(|slot| slot.start <= offset.0).checked_sub(1)?;
        let offset = offset.to_unit_offset(&units.get(place)?.header)?;
        Some(DieAt { unit: (first + place) as u32, offset })
    }

    /// The DIE that a reference attribute of `die` points to.
    pub(crate) fn linked(&self, at: DieAt, die: &Die, name: gimli::DwAt) -> Option<DieAt> {
        self.target(at.unit, die.attr_value(name)?)
    }

    /// An attribute of the DIE, or of the declaration or abstract instance it completes.
    pub(crate) fn inherited(&self, at: DieAt, name: gimli::DwAt) -> Option<(DieAt, AttributeValue<R>)> {
        let mut at = at;
        for _ in 0..LINKS_MAX {
            let die = self.die(at)?;
            if let Some(value) = die.attr_value(name) {
                return Some((at, value));
            }
            at = self.origin(at, &die)?;
        }
        None
    }

    /// The abstract instance or the declaration behind a DIE.
    pub(crate) fn origin(&self, at: DieAt, die: &Die) -> Option<DieAt> {
        self.linked(at, die, dw::DW_AT_abstract_origin)
            .or_else(|| self.linked(at, die, dw::DW_AT_specification))
    }

    pub(crate) fn string(&self, unit: u32, value: AttributeValue<R>) -> Option<String> {
        let part = self.part(unit)?;
        let text = part.dwarf.attr_string(part.unit, value).ok()?;
        Some(text.to_string_lossy().into_owned())
    }

    /// The DIE's own `DW_AT_name`.
    pub(crate) fn own_name(&self, unit: u32, die: &Die) -> Option<String> {
        self.string(unit, die.attr_value(dw::DW_AT_name)?)
    }

    /// The DIE's name, its own or that of its origin.
    pub(crate) fn name(&self, at: DieAt) -> Option<String> {
        let (at, value) = self.inherited(at, dw::DW_AT_name)?;
        self.string(at.unit, value)
    }

    pub(crate) fn die_ranges(&self, unit: u32, die: &Die) -> Vec<(u64, u64)> {
        let ranges = self.part(unit).and_then(|part| part.dwarf.die_ranges(part.unit, die).ok());
        let Some(mut ranges) = ranges else { return Vec::new() };
        let mut found = Vec::new();
        while let Ok(Some(range)) = ranges.next() {
            // Linkers leave dropped functions at address 0.
            if range.begin != 0 && range.begin < range.end {
                found.push((range.begin, range.end));
            }
        }
        found
    }

    pub(crate) fn address(&self, unit: u32, value: AttributeValue<R>) -> Option<u64> {
        let part = self.part(unit)?;
        part.dwarf.attr_address(part.unit, value).ok().flatten()
    }

    /// Direct children of a DIE, with their places.
    pub(crate) fn children(&self, at: DieAt, mut each: impl FnMut(DieAt, &Die)) {
        let Some(mut tree) = self.unit(at.unit).and_then(|unit| unit.entries_tree(Some(at.offset)).ok())
        else {
            return;
        };
        let Ok(root) = tree.root() else { return };
        let mut children = root.children();
        while let Ok(Some(child)) = children.next() {
            let die = child.entry();
            each(DieAt { unit: at.unit, offset: die.offset() }, die);
        }
    }

    /// Whether a unit is C of any year.
    pub(crate) fn is_c(&self, unit: u32) -> bool {
        is_c(self.language(unit))
    }

    pub(crate) fn is_c_part(&self, part: Part<'_>) -> bool {
        is_c(language_of(part.unit))
    }

    /// The source language of a unit.
    pub(crate) fn language(&self, unit: u32) -> Option<gimli::DwLang> {
        language_of(self.unit(unit)?)
    }
}

fn is_c(language: Option<gimli::DwLang>) -> bool {
    matches!(
        language,
        Some(dw::DW_LANG_C | dw::DW_LANG_C89 | dw::DW_LANG_C99 | dw::DW_LANG_C11 | dw::DW_LANG_C17)
    )
}

fn language_of(unit: &Unit) -> Option<gimli::DwLang> {
    match unit.entry(unit.header.root_offset()).ok()?.attr_value(dw::DW_AT_language)? {
        AttributeValue::Language(language) => Some(language),
        _ => None,
    }
}
