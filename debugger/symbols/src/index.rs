//! What a unit defines: functions with their inlined calls, global variables and named types, found in one walk
//! over its DIEs; and the same by name over all units of an image.

use crate::debug::{Debug, Die, DieAt, LINKS_MAX};
use crate::symtab::demangle;
use gimli::UnitOffset;
use gimli::constants as dw;
use std::collections::HashMap;
use std::sync::Arc;

/// DIEs read of one unit at most.
const DIES_MAX: usize = 50_000_000;
/// Nested scopes that are named; deeper ones keep the name of their parent.
const SCOPES_MAX: usize = 256;

/// A function that has code of its own.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) die: UnitOffset,
    pub(crate) name: Arc<str>,
    pub(crate) ranges: Vec<(u64, u64)>,
    pub(crate) inlines: std::ops::Range<usize>,
}

/// A call that was inlined.
#[derive(Debug)]
pub(crate) struct Inline {
    pub(crate) die: UnitOffset,
    pub(crate) name: Arc<str>,
    pub(crate) ranges: Vec<(u64, u64)>,
    pub(crate) entry: u64,
    pub(crate) call_file: u64,
    pub(crate) call_line: u64,
    pub(crate) call_column: u64,
    pub(crate) depth: isize,
}

/// A named thing without code: variable or type.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) die: UnitOffset,
    pub(crate) name: Arc<str>,
}

/// Everything a unit defines.
#[derive(Debug, Default)]
pub(crate) struct UnitIndex {
    pub(crate) functions: Vec<Function>,
    pub(crate) inlines: Vec<Inline>,
    pub(crate) variables: Vec<Named>,
    pub(crate) types: Vec<Named>,
    by_address: Vec<(u64, u64, u32)>,
}

impl UnitIndex {
    pub(crate) fn build(debug: &Debug, unit: u32) -> Self {
        let mut walk = Walk::new(debug, unit);
        walk.run();
        walk.finish()
    }

    /// The function whose ranges cover an address (before bias).
    pub(crate) fn function_at(&self, address: u64) -> Option<&Function> {
        let end = self.by_address.partition_point(|range| range.0 <= address);
        let found = self.by_address.get(..end)?.iter().rev().take(8).find(|range| address < range.1)?;
        self.functions.get(found.2 as usize)
    }

    /// Inlined calls of a function that cover an address, innermost first.
    pub(crate) fn inlines_at(&self, function: &Function, address: u64) -> Vec<&Inline> {
        let all = self.inlines.get(function.inlines.clone()).unwrap_or_default();
        let mut found: Vec<&Inline> = all.iter().filter(|inline| covers(&inline.ranges, address)).collect();
        found.sort_by_key(|inline| std::cmp::Reverse(inline.depth));
        found
    }

    pub(crate) fn function_ranges(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.by_address.iter().map(|&(begin, end, _)| (begin, end))
    }
}

pub(crate) fn covers(ranges: &[(u64, u64)], address: u64) -> bool {
    ranges.iter().any(|&(begin, end)| (begin..end).contains(&address))
}

/// How a name is known before the walk ends: found, or to be taken from another DIE.
enum Name {
    Known(Arc<str>),
    From(DieAt),
}

fn is_record(tag: gimli::DwTag) -> bool {
    matches!(tag, dw::DW_TAG_structure_type | dw::DW_TAG_union_type | dw::DW_TAG_enumeration_type)
}

struct Walk<'a> {
    debug: &'a Debug,
    unit: u32,
    /// Open scopes: depth, name, and whether it is a function.
    scopes: Vec<(isize, Arc<str>, bool)>,
    declared: HashMap<UnitOffset, Name>,
    /// Open functions with code, by depth and place: a method of a type inside of a function is inside of it too.
    functions: Vec<(isize, usize)>,
    index: UnitIndex,
    /// Names that are to be filled in at the end: functions, inlines and variables by place.
    late: Vec<(Late, DieAt)>,
    empty: Arc<str>,
}

#[derive(Clone, Copy)]
enum Late {
    Function(usize),
    Inline(usize),
    Variable(usize),
}

impl<'a> Walk<'a> {
    fn new(debug: &'a Debug, unit: u32) -> Self {
        Self {
            debug,
            unit,
            scopes: Vec::new(),
            declared: HashMap::new(),
            functions: Vec::new(),
            index: UnitIndex::default(),
            late: Vec::new(),
            empty: "".into(),
        }
    }

    fn run(&mut self) {
        let Some(unit) = self.debug.unit(self.unit) else { return };
        let mut cursor = unit.entries();
        let (c, mut past_members) = (self.debug.is_c(self.unit), false);
        for _ in 0..DIES_MAX {
            // Members of C's types are nothing that has a name of its own here.
            let there = match past_members {
                true => cursor.next_sibling().map(|die| die.is_some()),
                false => Ok(false),
            };
            let there = match there {
                Ok(false) => cursor.next_dfs().map(|die| die.is_some()),
                other => other,
            };
            let Some(die) = cursor.current().filter(|_| there == Ok(true)) else { return };
            past_members = c && is_record(die.tag()) && die.has_children();
            let depth = die.depth();
            while self.scopes.last().is_some_and(|scope| scope.0 >= depth) {
                self.scopes.pop();
            }
            self.close_function(depth);
            self.visit(die, depth);
        }
    }

    fn close_function(&mut self, depth: isize) {
        while self.functions.last().is_some_and(|(opened, _)| *opened >= depth) {
            self.functions.pop();
        }
    }

    fn visit(&mut self, die: &Die, depth: isize) {
        match die.tag() {
            dw::DW_TAG_namespace | dw::DW_TAG_module => self.open(die, depth, "(anonymous namespace)"),
            dw::DW_TAG_structure_type
            | dw::DW_TAG_class_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_enumeration_type
            | dw::DW_TAG_interface_type => {
                self.named_type(die);
                self.open(die, depth, "{anonymous}");
            }
            dw::DW_TAG_base_type | dw::DW_TAG_typedef | dw::DW_TAG_unspecified_type => self.named_type(die),
            dw::DW_TAG_subprogram => self.subprogram(die, depth),
            dw::DW_TAG_inlined_subroutine => self.inlined(die, depth),
            dw::DW_TAG_variable | dw::DW_TAG_member => self.variable(die),
            _ => {}
        }
    }

    fn qualified(&self, name: &str) -> Arc<str> {
        match self.scopes.last() {
            Some((_, scope, _)) if !scope.is_empty() => format!("{scope}::{name}").into(),
            _ => name.into(),
        }
    }

    fn open(&mut self, die: &Die, depth: isize, anonymous: &str) {
        if self.scopes.len() >= SCOPES_MAX {
            return;
        }
        let own = self.debug.own_name(self.unit, die);
        let name = self.specified(die).unwrap_or_else(|| self.qualified(own.as_deref().unwrap_or(anonymous)));
        self.scopes.push((depth, name, false));
    }

    /// The name of the declaration inside its namespace that this type completes from outside.
    fn specified(&self, die: &Die) -> Option<Arc<str>> {
        let at = DieAt { unit: self.unit, offset: die.offset() };
        let declaration = self.debug.linked(at, die, dw::DW_AT_specification)?;
        match self.declared.get(&declaration.offset)? {
            Name::Known(name) => Some(Arc::clone(name)),
            Name::From(_) => None,
        }
    }

    fn named_type(&mut self, die: &Die) {
        if die.has_attr(dw::DW_AT_declaration) {
            if let Some(name) = self.debug.own_name(self.unit, die) {
                self.declared.insert(die.offset(), Name::Known(self.qualified(&name)));
            }
            return;
        }
        if let Some(name) = self.debug.own_name(self.unit, die) {
            let name = self.specified(die).unwrap_or_else(|| self.qualified(&name));
            self.index.types.push(Named { die: die.offset(), name });
        }
    }

    fn name_of(&self, die: &Die) -> Option<Name> {
        if let Some(name) = self.debug.own_name(self.unit, die) {
            return Some(Name::Known(self.qualified(&name)));
        }
        let at = DieAt { unit: self.unit, offset: die.offset() };
        if let Some(origin) = self.debug.origin(at, die) {
            return Some(Name::From(origin));
        }
        let linkage = self.debug.string(self.unit, die.attr_value(dw::DW_AT_linkage_name)?)?;
        Some(Name::Known(demangle(&linkage).as_ref().into()))
    }

    fn subprogram(&mut self, die: &Die, depth: isize) {
        let name = self.name_of(die);
        let known = match &name {
            Some(Name::Known(name)) => Arc::clone(name),
            _ => Arc::clone(&self.empty),
        };
        let ranges = self.debug.die_ranges(self.unit, die);
        if !ranges.is_empty() {
            let place = self.index.functions.len();
            if let Some(Name::From(origin)) = &name {
                self.late.push((Late::Function(place), *origin));
            }
            let start = self.index.inlines.len();
            let name = Arc::clone(&known);
            self.index.functions.push(Function { die: die.offset(), name, ranges, inlines: start..start });
            self.functions.push((depth, place));
        }
        if let Some(name) = name {
            self.declared.insert(die.offset(), name);
        }
        if self.scopes.len() < SCOPES_MAX {
            self.scopes.push((depth, known, true));
        }
    }

    fn inlined(&mut self, die: &Die, depth: isize) {
        let Some(&(_, function)) = self.functions.last() else { return };
        let ranges = self.debug.die_ranges(self.unit, die);
        let at = DieAt { unit: self.unit, offset: die.offset() };
        let Some(lowest) = ranges.iter().map(|range| range.0).min() else { return };
        let Some(origin) = self.debug.origin(at, die) else { return };
        let number = |name| die.attr_value(name).and_then(|value| value.udata_value()).unwrap_or(0);
        let file = match die.attr_value(dw::DW_AT_call_file) {
            Some(gimli::AttributeValue::FileIndex(file)) => file,
            other => other.and_then(|value| value.udata_value()).unwrap_or(0),
        };
        let entry = die.attr_value(dw::DW_AT_entry_pc).and_then(|value| match value.udata_value() {
            Some(offset) => lowest.checked_add(offset),
            None => self.debug.address(self.unit, value),
        });
        self.late.push((Late::Inline(self.index.inlines.len()), origin));
        self.index.inlines.push(Inline {
            die: die.offset(),
            name: Arc::clone(&self.empty),
            entry: entry.filter(|&entry| covers(&ranges, entry)).unwrap_or(lowest),
            ranges,
            call_file: file,
            call_line: number(dw::DW_AT_call_line),
            call_column: number(dw::DW_AT_call_column),
            depth,
        });
        if let Some(function) = self.index.functions.get_mut(function) {
            function.inlines.end = self.index.inlines.len();
        }
    }

    fn variable(&mut self, die: &Die) {
        if self.scopes.last().is_some_and(|scope| scope.2) || !self.functions.is_empty() {
            return;
        }
        let valued = die.has_attr(dw::DW_AT_location) || die.has_attr(dw::DW_AT_const_value);
        let name = self.name_of(die);
        if let (Some(Name::Known(name)), false) = (&name, valued) {
            // A declaration: a static member or `extern`, completed elsewhere in the unit.
            self.declared.insert(die.offset(), Name::Known(Arc::clone(name)));
        }
        if !valued || (die.tag() == dw::DW_TAG_member && !die.has_attr(dw::DW_AT_const_value)) {
            return;
        }
        let known = match name {
            Some(Name::Known(name)) => name,
            Some(Name::From(origin)) => {
                self.late.push((Late::Variable(self.index.variables.len()), origin));
                Arc::clone(&self.empty)
            }
            None => return,
        };
        self.index.variables.push(Named { die: die.offset(), name: known });
    }

    fn resolve(&self, origin: DieAt) -> Arc<str> {
        let mut at = origin;
        for _ in 0..LINKS_MAX {
            match self.declared.get(&at.offset).filter(|_| at.unit == self.unit) {
                Some(Name::Known(name)) => return Arc::clone(name),
                Some(Name::From(next)) => at = *next,
                None => break,
            }
        }
        foreign_name(self.debug, at).unwrap_or_else(|| Arc::clone(&self.empty))
    }

    fn finish(mut self) -> UnitIndex {
        for (late, origin) in std::mem::take(&mut self.late) {
            let name = self.resolve(origin);
            let slot = match late {
                Late::Function(place) => self.index.functions.get_mut(place).map(|found| &mut found.name),
                Late::Inline(place) => self.index.inlines.get_mut(place).map(|found| &mut found.name),
                Late::Variable(place) => self.index.variables.get_mut(place).map(|found| &mut found.name),
            };
            if let Some(slot) = slot {
                *slot = name;
            }
        }
        let functions = self.index.functions.iter().enumerate();
        let ranges = functions.flat_map(|(place, function)| {
            function.ranges.iter().map(move |&(begin, end)| (begin, end, place as u32))
        });
        self.index.by_address = ranges.collect();
        self.index.by_address.sort_unstable();
        self.index
    }
}

/// The name of a DIE of another unit (link-time optimisation): the linkage name holds the whole path.
pub(crate) fn foreign_name(debug: &Debug, at: DieAt) -> Option<Arc<str>> {
    let linkage = debug.inherited(at, dw::DW_AT_linkage_name);
    if let Some(name) = linkage.and_then(|(at, value)| debug.string(at.unit, value)) {
        let text = demangle(&name);
        let path =
            text.split_once('(').filter(|(path, _)| !path.is_empty()).map_or(text.as_ref(), |cut| cut.0);
        return Some(path.into());
    }
    Some(debug.name(at)?.into())
}
