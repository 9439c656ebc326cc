//! The DWARF of one image: its units, each parsed on first need, and references from one unit to another.

use crate::image::{Image, R};
use crate::index::{NameIndex, UnitIndex};
use crate::lines::Lines;
use gimli::constants as dw;
use gimli::{AttributeValue, DebuggingInformationEntry, EndianSlice, LittleEndian, UnitOffset, UnitType};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use std::sync::OnceLock;

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

pub(crate) struct UnitSlot {
    header: gimli::UnitHeader<R>,
    start: usize,
    type_unit: bool,
    unit: OnceLock<Option<Unit>>,
    index: OnceLock<UnitIndex>,
    lines: OnceLock<Lines>,
}

/// All DWARF of an image.
pub(crate) struct Debug {
    pub(crate) dwarf: gimli::Dwarf<R>,
    pub(crate) units: Vec<UnitSlot>,
    signatures: HashMap<u64, DieAt>,
    ranges: OnceLock<Vec<(u64, u64, u32)>>,
    names: OnceLock<NameIndex>,
    vtables: OnceLock<HashMap<u64, DieAt>>,
}

impl Debug {
    pub(crate) fn load(image: &Image) -> Option<Self> {
        let section = |id: gimli::SectionId| {
            let data = image.section(id.name()).map_or(&[][..], |section| section.data);
            Ok::<_, gimli::Error>(EndianSlice::new(data, LittleEndian))
        };
        let mut dwarf = gimli::Dwarf::load(section).ok()?;
        if let Some(alternative) = alternative(image) {
            dwarf.set_sup(alternative);
        }
        dwarf.populate_abbreviations_cache(gimli::AbbreviationsCacheStrategy::Duplicates);
        let mut debug = Self {
            dwarf,
            units: Vec::new(),
            signatures: HashMap::new(),
            ranges: OnceLock::new(),
            names: OnceLock::new(),
            vtables: OnceLock::new(),
        };
        debug.read_headers();
        Some(debug)
    }

    fn read_headers(&mut self) {
        let mut headers = self.dwarf.units();
        while let Ok(Some(header)) = headers.next() {
            if self.units.len() >= UNITS_MAX {
                return;
            }
            self.add_header(header, false);
        }
        let mut headers = self.dwarf.type_units();
        while let Ok(Some(header)) = headers.next() {
            if self.units.len() >= UNITS_MAX {
                return;
            }
            self.add_header(header, true);
        }
    }

    fn add_header(&mut self, header: gimli::UnitHeader<R>, debug_types: bool) {
        let unit = self.units.len() as u32;
        let mut type_unit = debug_types;
        if let UnitType::Type { type_signature, type_offset } = header.type_() {
            self.signatures.insert(type_signature.0, DieAt { unit, offset: type_offset });
            type_unit = true;
        }
        // Units of `.debug_types` are only reached by signature: offset 0 of another section must not be found.
        let start =
            if debug_types { usize::MAX } else { header.debug_info_offset().map_or(usize::MAX, |at| at.0) };
        let slot = UnitSlot {
            header,
            start,
            type_unit,
            unit: OnceLock::new(),
            index: OnceLock::new(),
            lines: OnceLock::new(),
        };
        self.units.push(slot);
    }

    /// The parsed unit, or `None` when its header or root is broken.
    pub(crate) fn unit(&self, unit: u32) -> Option<&Unit> {
        let slot = self.units.get(unit as usize)?;
        slot.unit.get_or_init(|| self.dwarf.unit(slot.header).ok()).as_ref()
    }

    pub(crate) fn index(&self, unit: u32) -> Option<&UnitIndex> {
        let slot = self.units.get(unit as usize)?;
        Some(slot.index.get_or_init(|| UnitIndex::build(self, unit)))
    }

    pub(crate) fn lines(&self, unit: u32) -> Option<&Lines> {
        let slot = self.units.get(unit as usize)?;
        Some(slot.lines.get_or_init(|| Lines::build(self, unit)))
    }

    pub(crate) fn unit_numbers(&self) -> std::ops::Range<u32> {
        0..self.units.len() as u32
    }

    /// Functions, variables and types by name, over all units, built in parallel on the first call.
    pub(crate) fn names(&self) -> &NameIndex {
        self.names.get_or_init(|| {
            self.unit_numbers().into_par_iter().for_each(|unit| {
                self.index(unit);
            });
            NameIndex::build(self)
        })
    }

    /// The type whose vtable lies at an address (before bias): rustc describes each vtable as a variable of a type that
    /// names the concrete one.
    pub(crate) fn type_of_vtable(&self, address: u64) -> Option<DieAt> {
        const NAME: &str = "{vtable}";
        let vtables = self.vtables.get_or_init(|| {
            let places = self.names().variables.get(NAME).into_iter().flatten();
            places.filter_map(|&(unit, place)| self.vtable(unit, place)).collect()
        });
        vtables.get(&address).copied()
    }

    /// The address of a vtable, and the type it is for.
    fn vtable(&self, unit: u32, place: u32) -> Option<(u64, DieAt)> {
        let at = DieAt { unit, offset: self.index(unit)?.variables.get(place as usize)?.die };
        let die = self.die(at)?;
        let AttributeValue::Exprloc(expression) = die.attr_value(dw::DW_AT_location)? else { return None };
        let mut bytes = expression.0;
        let parsed = self.unit(unit)?;
        let address = match gimli::Operation::parse(&mut bytes, parsed.encoding()).ok()? {
            gimli::Operation::Address { address } => address,
            gimli::Operation::AddressIndex { index } => self.dwarf.address(parsed, index).ok()?,
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
        let ranges = self.ranges.get_or_init(|| self.read_ranges());
        let end = ranges.partition_point(|range| range.0 <= address);
        // Ranges of units overlap only in odd files: a short look back is enough.
        ranges.get(..end)?.iter().rev().take(32).find(|range| address < range.1).map(|range| range.2)
    }

    fn read_ranges(&self) -> Vec<(u64, u64, u32)> {
        let mut all: Vec<_> =
            self.unit_numbers().into_par_iter().flat_map_iter(|unit| self.ranges_of(unit)).collect();
        all.sort_unstable();
        all
    }

    fn ranges_of(&self, number: u32) -> Vec<(u64, u64, u32)> {
        if self.units.get(number as usize).is_none_or(|slot| slot.type_unit) {
            return Vec::new();
        }
        let Some(unit) = self.unit(number) else { return Vec::new() };
        let mut found = Vec::new();
        if let Ok(mut ranges) = self.dwarf.unit_ranges(unit) {
            while let Ok(Some(range)) = ranges.next() {
                if range.begin != 0 && range.begin < range.end {
                    found.push((range.begin, range.end, number));
                }
            }
        }
        if found.is_empty() {
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
            AttributeValue::DebugInfoRef(offset) => self.at_section_offset(offset),
            AttributeValue::DebugTypesRef(signature) => self.signatures.get(&signature.0).copied(),
            _ => None,
        }
    }

    fn at_section_offset(&self, offset: gimli::DebugInfoOffset) -> Option<DieAt> {
        let end = self.units.partition_point(|slot| slot.start <= offset.0);
        let unit = end.checked_sub(1)?;
        let offset = offset.to_unit_offset(&self.units.get(unit)?.header)?;
        Some(DieAt { unit: unit as u32, offset })
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
        let text = self.dwarf.attr_string(self.unit(unit)?, value).ok()?;
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
        let Some(ranges) = self.unit(unit).and_then(|unit| self.dwarf.die_ranges(unit, die).ok()) else {
            return Vec::new();
        };
        let mut ranges = ranges;
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
        self.dwarf.attr_address(self.unit(unit)?, value).ok().flatten()
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
        let language = self.language(unit);
        matches!(
            language,
            Some(dw::DW_LANG_C | dw::DW_LANG_C89 | dw::DW_LANG_C99 | dw::DW_LANG_C11 | dw::DW_LANG_C17)
        )
    }

    /// The source language of a unit.
    pub(crate) fn language(&self, unit: u32) -> Option<gimli::DwLang> {
        let parsed = self.unit(unit)?;
        match parsed.entry(parsed.header.root_offset()).ok()?.attr_value(dw::DW_AT_language)? {
            AttributeValue::Language(language) => Some(language),
            _ => None,
        }
    }
}

/// The file that dwz moved common parts to.
fn alternative(image: &Image) -> Option<gimli::Dwarf<R>> {
    use object::Object;
    let file = image.debug_file().unwrap_or(&image.file);
    let (name, _) = file.gnu_debugaltlink().ok().flatten()?;
    let name = String::from_utf8_lossy(name).into_owned();
    let folder = image.path().parent().unwrap_or(Path::new("/"));
    let other = Image::open(&folder.join(name)).ok()?;
    let section = |id: gimli::SectionId| {
        let data = other.section(id.name()).map_or(&[][..], |section| section.data);
        Ok::<_, gimli::Error>(EndianSlice::new(data, LittleEndian))
    };
    gimli::Dwarf::load(section).ok()
}
