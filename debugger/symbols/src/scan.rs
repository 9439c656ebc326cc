//! The quick look at a whole unit: which names it defines, without reading more of a DIE than that takes.
//!
//! Each abbreviation becomes a plan that says what to step over and what to keep. A name that was met before in the
//! same scope is told by its offset in the string section, so its text is not read again. What is found are hashes: a
//! question by name opens the units whose hashes match ([`crate::index`]) and compares there.

use crate::debug::{Debug, DieAt, LINKS_MAX, Part};
use crate::image::R;
use crate::index::foreign_name;
use crate::names;
use gimli::constants as dw;
use gimli::{AttributeValue, DwAt, DwForm, Section, UnitOffset};

/// Abbreviations of one unit at most.
const PLANS_MAX: u64 = 1 << 20;
/// DIEs looked at in one unit.
const DIES_MAX: usize = 50_000_000;
/// Nested scopes; deeper ones count as their parent.
const SCOPES_MAX: usize = 256;
/// Names of types that are remembered as met, a power of two.
const MET: usize = 1 << 14;

/// What a name is the name of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    /// A function with code in the unit, of its own or inlined.
    Function,
    Variable,
    Type,
}

/// One name of a unit: a hash of its last component, and for types one of the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Found {
    pub(crate) hash: u32,
    pub(crate) kind: u8,
    pub(crate) unit: u32,
    pub(crate) whole: u64,
}

/// The hash under which a name is found: that of its last component without arguments.
pub(crate) fn key_of(name: &str) -> u32 {
    key(names::last_component(name).as_bytes())
}

/// The hash of a text as it is.
pub(crate) fn key(text: &[u8]) -> u32 {
    let hash = hash(0, text);
    (hash ^ (hash >> 32)) as u32
}

fn hash(seed: u64, text: &[u8]) -> u64 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut state = seed ^ (text.len() as u64).wrapping_mul(FACTOR);
    let (words, rest) = text.as_chunks::<8>();
    for word in words {
        state = (state ^ u64::from_le_bytes(*word)).wrapping_mul(FACTOR);
        state ^= state >> 29;
    }
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    state = (state ^ u64::from_le_bytes(last)).wrapping_mul(FACTOR);
    state ^ (state >> 32)
}

/// What to do with the bytes of one attribute, or of several of known size.
#[derive(Clone, Copy, Debug)]
enum Step {
    Skip(usize),
    Leb,
    Text,
    Block1,
    Block2,
    Block4,
    Block,
    Name(DwForm),
    Linkage(DwForm),
    Sibling(DwForm),
    Link(DwForm),
}

/// How a DIE of one abbreviation is read.
#[derive(Debug, Default)]
struct Plan {
    tag: u16,
    children: bool,
    /// It has code or a value of its own, not a declaration.
    defined: bool,
    /// It stands for the calls of it that were inlined.
    inline: bool,
    declaration: bool,
    /// Its link leads out of the unit.
    foreign: bool,
    steps: Vec<Step>,
}

/// Where a name's text is.
#[derive(Clone, Copy, Debug)]
enum Text {
    Str(usize),
    Inline(&'static [u8]),
    Other(AttributeValue<R>),
}

/// How the name of a DIE is known that others may link to.
#[derive(Clone, Copy)]
enum Local {
    Text(Text),
    Linkage(Text),
    Link(usize),
    Foreign(DieAt),
}

#[derive(Default)]
struct Die {
    name: Option<Text>,
    linkage: Option<Text>,
    sibling: usize,
    link: Option<Local>,
}

/// Looks at units one after the other; names of types met in one are not reported again for another.
pub(crate) struct Scanner<'a> {
    debug: &'a Debug,
    met: Vec<u64>,
    pub(crate) found: Vec<Found>,
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(debug: &'a Debug) -> Self {
        Self { debug, met: vec![0; MET], found: Vec::new() }
    }

    /// Adds the names of a unit. What is broken ends the look at it.
    pub(crate) fn unit(&mut self, number: u32, part: Part<'_>) {
        let Ok(bytes) = part.unit.header.range_from(part.unit.header.root_offset()..) else { return };
        let Some(plans) = plans(part) else { return };
        let (found, met) = (std::mem::take(&mut self.found), std::mem::take(&mut self.met));
        let first = found.len();
        let mut walk = Walk {
            debug: self.debug,
            part,
            number,
            bytes: bytes.slice(),
            base: part.unit.header.root_offset().0,
            at: 0,
            c: self.debug.is_c_part(part),
            bodies: plans.iter().any(|plan| plan.tag == dw::DW_TAG_inlined_subroutine.0 && plan.foreign),
            strings: part.dwarf.debug_str.reader().slice(),
            scopes: Vec::new(),
            function: None,
            locals: Vec::new(),
            late: Vec::new(),
            met,
            found,
        };
        walk.run(&plans);
        walk.resolve();
        (self.found, self.met) = (walk.found, walk.met);
        // Within one unit the order does not matter, and a function may be both defined and inlined.
        if let Some(own) = self.found.get_mut(first..) {
            own.sort_unstable();
        }
        self.found.dedup();
    }
}

/// Plans by abbreviation code; an empty one for codes that are not used. `None` when they cannot be followed.
fn plans(part: Part<'_>) -> Option<Vec<Plan>> {
    let mut plans = vec![Plan::default()];
    let mut missing = 0;
    for code in 1..PLANS_MAX {
        let Some(abbreviation) = part.unit.abbreviations.get(code) else {
            plans.push(Plan::default());
            missing += 1;
            // Codes are dense in practice; a long gap is the end.
            if missing > 64 {
                break;
            }
            continue;
        };
        missing = 0;
        plans.push(plan(part.unit.encoding(), abbreviation));
    }
    Some(plans)
}

fn plan(encoding: gimli::Encoding, abbreviation: &gimli::Abbreviation) -> Plan {
    let mut plan =
        Plan { tag: abbreviation.tag().0, children: abbreviation.has_children(), ..Plan::default() };
    for spec in abbreviation.attributes() {
        let (name, form) = (spec.name(), spec.form());
        match name {
            dw::DW_AT_low_pc | dw::DW_AT_ranges | dw::DW_AT_location | dw::DW_AT_const_value => {
                plan.defined = true;
            }
            dw::DW_AT_inline => plan.inline = true,
            dw::DW_AT_declaration => plan.declaration = true,
            _ => {}
        }
        let step = match kept(name, form) {
            Some(step) => step,
            None => stepped_over(form, encoding),
        };
        if let Step::Link(form) = step {
            plan.foreign |= is_foreign(form);
        }
        match (plan.steps.last_mut(), step) {
            (_, Step::Skip(0)) => {}
            (Some(Step::Skip(before)), Step::Skip(more)) => *before += more,
            _ => plan.steps.push(step),
        }
    }
    plan
}

fn is_foreign(form: DwForm) -> bool {
    matches!(
        form,
        dw::DW_FORM_ref_addr | dw::DW_FORM_GNU_ref_alt | dw::DW_FORM_ref_sup4 | dw::DW_FORM_ref_sup8
    )
}

fn kept(name: DwAt, form: DwForm) -> Option<Step> {
    let text = matches!(
        form,
        dw::DW_FORM_strp
            | dw::DW_FORM_string
            | dw::DW_FORM_line_strp
            | dw::DW_FORM_GNU_strp_alt
            | dw::DW_FORM_strp_sup
            | dw::DW_FORM_strx
            | dw::DW_FORM_strx1
            | dw::DW_FORM_strx2
            | dw::DW_FORM_strx3
            | dw::DW_FORM_strx4
            | dw::DW_FORM_GNU_str_index
    );
    let local = matches!(
        form,
        dw::DW_FORM_ref1 | dw::DW_FORM_ref2 | dw::DW_FORM_ref4 | dw::DW_FORM_ref8 | dw::DW_FORM_ref_udata
    );
    match name {
        dw::DW_AT_name if text => Some(Step::Name(form)),
        dw::DW_AT_linkage_name | dw::DW_AT_MIPS_linkage_name if text => Some(Step::Linkage(form)),
        dw::DW_AT_sibling if local => Some(Step::Sibling(form)),
        dw::DW_AT_abstract_origin | dw::DW_AT_specification if local || is_foreign(form) => {
            Some(Step::Link(form))
        }
        _ => None,
    }
}

fn stepped_over(form: DwForm, encoding: gimli::Encoding) -> Step {
    let word = usize::from(encoding.format.word_size());
    Step::Skip(match form {
        dw::DW_FORM_flag_present | dw::DW_FORM_implicit_const => 0,
        dw::DW_FORM_data1 | dw::DW_FORM_flag | dw::DW_FORM_ref1 | dw::DW_FORM_strx1 | dw::DW_FORM_addrx1 => 1,
        dw::DW_FORM_data2 | dw::DW_FORM_ref2 | dw::DW_FORM_strx2 | dw::DW_FORM_addrx2 => 2,
        dw::DW_FORM_strx3 | dw::DW_FORM_addrx3 => 3,
        dw::DW_FORM_data4
        | dw::DW_FORM_ref4
        | dw::DW_FORM_ref_sup4
        | dw::DW_FORM_strx4
        | dw::DW_FORM_addrx4 => 4,
        dw::DW_FORM_data8 | dw::DW_FORM_ref8 | dw::DW_FORM_ref_sig8 | dw::DW_FORM_ref_sup8 => 8,
        dw::DW_FORM_data16 => 16,
        dw::DW_FORM_addr => usize::from(encoding.address_size),
        dw::DW_FORM_ref_addr if encoding.version == 2 => usize::from(encoding.address_size),
        dw::DW_FORM_strp
        | dw::DW_FORM_line_strp
        | dw::DW_FORM_sec_offset
        | dw::DW_FORM_ref_addr
        | dw::DW_FORM_strp_sup
        | dw::DW_FORM_GNU_ref_alt
        | dw::DW_FORM_GNU_strp_alt => word,
        dw::DW_FORM_string => return Step::Text,
        dw::DW_FORM_block1 => return Step::Block1,
        dw::DW_FORM_block2 => return Step::Block2,
        dw::DW_FORM_block4 => return Step::Block4,
        dw::DW_FORM_block | dw::DW_FORM_exprloc => return Step::Block,
        dw::DW_FORM_udata
        | dw::DW_FORM_sdata
        | dw::DW_FORM_ref_udata
        | dw::DW_FORM_strx
        | dw::DW_FORM_addrx
        | dw::DW_FORM_loclistx
        | dw::DW_FORM_rnglistx
        | dw::DW_FORM_GNU_str_index
        | dw::DW_FORM_GNU_addr_index => return Step::Leb,
        // `DW_FORM_indirect`, which nobody writes, and forms to come: the rest of the unit is not to be read.
        _ => usize::MAX / 4,
    })
}

struct Scope {
    depth: i64,
    /// Hash of the qualified name.
    whole: u64,
    function: bool,
}

struct Walk<'a> {
    debug: &'a Debug,
    part: Part<'a>,
    number: u32,
    bytes: &'static [u8],
    /// Offset in the unit of the first byte.
    base: usize,
    at: usize,
    /// Types of C have nothing inside that is looked for by name.
    c: bool,
    /// Bodies of functions must be looked at, since calls of other units' functions may be inlined there.
    bodies: bool,
    strings: &'static [u8],
    scopes: Vec<Scope>,
    /// Depth of the function with code that is open.
    function: Option<i64>,
    /// Names that others may link to, in order of offset.
    locals: Vec<(usize, Local)>,
    late: Vec<(Kind, Local)>,
    met: Vec<u64>,
    found: Vec<Found>,
}

impl Walk<'_> {
    fn run(&mut self, plans: &[Plan]) {
        let mut depth = 0;
        for _ in 0..DIES_MAX {
            let offset = self.at + self.base;
            let Some(code) = self.leb() else { return };
            if code == 0 {
                depth -= 1;
                if depth <= 0 {
                    return;
                }
                continue;
            }
            let Some(plan) = usize::try_from(code).ok().and_then(|code| plans.get(code)) else { return };
            if plan.tag == 0 {
                return;
            }
            let mut die = Die::default();
            if self.read(plan, &mut die).is_none() {
                return;
            }
            while self.scopes.last().is_some_and(|scope| scope.depth >= depth) {
                self.scopes.pop();
            }
            if self.function.is_some_and(|opened| opened >= depth) {
                self.function = None;
            }
            let inside = self.visit(plan, &die, offset, depth);
            if !plan.children {
                continue;
            }
            let next = die.sibling.wrapping_sub(self.base);
            if !inside && next > self.at && next <= self.bytes.len() {
                self.at = next;
            } else {
                depth += 1;
            }
        }
    }

    fn read(&mut self, plan: &Plan, die: &mut Die) -> Option<()> {
        for &step in &plan.steps {
            match step {
                Step::Skip(size) => self.skip(size)?,
                Step::Leb => drop(self.leb()?),
                Step::Text => drop(self.text()?),
                Step::Block1 => self.block(1)?,
                Step::Block2 => self.block(2)?,
                Step::Block4 => self.block(4)?,
                Step::Block => {
                    let size = usize::try_from(self.leb()?).ok()?;
                    self.skip(size)?;
                }
                Step::Name(form) => die.name = Some(self.name(form)?),
                Step::Linkage(form) => die.linkage = Some(self.name(form)?),
                Step::Sibling(form) => die.sibling = self.reference(form)?,
                Step::Link(form) => {
                    let link = self.link(form)?;
                    die.link = die.link.or(link);
                }
            }
        }
        Some(())
    }

    fn skip(&mut self, size: usize) -> Option<()> {
        self.at = self.at.checked_add(size).filter(|&at| at <= self.bytes.len())?;
        Some(())
    }

    fn uint(&mut self, size: usize) -> Option<u64> {
        let bytes = self.bytes.get(self.at..self.at.checked_add(size)?)?;
        self.at += size;
        Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }

    fn leb(&mut self) -> Option<u64> {
        let first = *self.bytes.get(self.at)?;
        self.at += 1;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            if shift < 64 {
                value |= u64::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte < 0x80 {
                return Some(value);
            }
        }
    }

    fn text(&mut self) -> Option<&'static [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let text = rest.get(..memchr::memchr(0, rest)?)?;
        self.at += text.len() + 1;
        Some(text)
    }

    fn block(&mut self, width: usize) -> Option<()> {
        let size = usize::try_from(self.uint(width)?).ok()?;
        self.skip(size)
    }

    fn word(&mut self) -> Option<usize> {
        let size = self.part.unit.encoding().format.word_size();
        usize::try_from(self.uint(usize::from(size))?).ok()
    }

    fn name(&mut self, form: DwForm) -> Option<Text> {
        let index = |index: u64| {
            Text::Other(AttributeValue::DebugStrOffsetsIndex(gimli::DebugStrOffsetsIndex(index as usize)))
        };
        Some(match form {
            dw::DW_FORM_strp => Text::Str(self.word()?),
            dw::DW_FORM_string => Text::Inline(self.text()?),
            dw::DW_FORM_line_strp => {
                Text::Other(AttributeValue::DebugLineStrRef(gimli::DebugLineStrOffset(self.word()?)))
            }
            dw::DW_FORM_GNU_strp_alt | dw::DW_FORM_strp_sup => {
                Text::Other(AttributeValue::DebugStrRefSup(gimli::DebugStrOffset(self.word()?)))
            }
            dw::DW_FORM_strx1 => index(self.uint(1)?),
            dw::DW_FORM_strx2 => index(self.uint(2)?),
            dw::DW_FORM_strx3 => index(self.uint(3)?),
            dw::DW_FORM_strx4 => index(self.uint(4)?),
            _ => index(self.leb()?),
        })
    }

    fn reference(&mut self, form: DwForm) -> Option<usize> {
        let value = match form {
            dw::DW_FORM_ref1 => self.uint(1)?,
            dw::DW_FORM_ref2 => self.uint(2)?,
            dw::DW_FORM_ref4 => self.uint(4)?,
            dw::DW_FORM_ref8 => self.uint(8)?,
            _ => self.leb()?,
        };
        usize::try_from(value).ok()
    }

    /// A link out of the unit whose target is not there is no link.
    fn link(&mut self, form: DwForm) -> Option<Option<Local>> {
        if !is_foreign(form) {
            return Some(Some(Local::Link(self.reference(form)?)));
        }
        let offset = match form {
            dw::DW_FORM_ref_sup4 => self.uint(4)? as usize,
            dw::DW_FORM_ref_sup8 => self.uint(8)? as usize,
            dw::DW_FORM_ref_addr if self.part.unit.encoding().version == 2 => self.uint(8)? as usize,
            _ => self.word()?,
        };
        let offset = gimli::DebugInfoOffset(offset);
        let value = match form {
            dw::DW_FORM_ref_addr => AttributeValue::DebugInfoRef(offset),
            _ => AttributeValue::DebugInfoRefSup(offset),
        };
        Some(self.debug.target(self.number, value).map(Local::Foreign))
    }

    /// Takes note of a DIE, and tells whether to look inside.
    fn visit(&mut self, plan: &Plan, die: &Die, offset: usize, depth: i64) -> bool {
        match dw::DwTag(plan.tag) {
            dw::DW_TAG_namespace | dw::DW_TAG_module => {
                self.open(die, depth, false);
                true
            }
            dw::DW_TAG_structure_type
            | dw::DW_TAG_class_type
            | dw::DW_TAG_union_type
            | dw::DW_TAG_interface_type => {
                self.named_type(plan, die);
                if plan.children && !self.c {
                    self.open(die, depth, false);
                }
                !self.c
            }
            dw::DW_TAG_enumeration_type
            | dw::DW_TAG_base_type
            | dw::DW_TAG_typedef
            | dw::DW_TAG_unspecified_type => {
                self.named_type(plan, die);
                false
            }
            dw::DW_TAG_subprogram => {
                self.subprogram(plan, die, offset);
                if plan.children && self.scopes.len() < SCOPES_MAX {
                    self.open(die, depth, true);
                }
                if plan.defined && self.function.is_none() {
                    self.function = Some(depth);
                }
                self.bodies
            }
            dw::DW_TAG_inlined_subroutine => {
                if let Some(link @ Local::Foreign(_)) = die.link {
                    self.late.push((Kind::Function, link));
                }
                true
            }
            dw::DW_TAG_variable | dw::DW_TAG_member => {
                self.variable(plan, die, offset);
                false
            }
            dw::DW_TAG_compile_unit
            | dw::DW_TAG_partial_unit
            | dw::DW_TAG_type_unit
            | dw::DW_TAG_skeleton_unit => true,
            dw::DW_TAG_lexical_block => true,
            _ => false,
        }
    }

    fn scope(&self) -> u64 {
        self.scopes.last().map_or(0, |scope| scope.whole)
    }

    fn open(&mut self, die: &Die, depth: i64, function: bool) {
        if self.scopes.len() >= SCOPES_MAX {
            return;
        }
        // A function's own scope matters only for telling apart types inside, so its offset will do as name.
        let whole = match die.name {
            Some(Text::Str(at)) => hash(self.scope(), &at.to_le_bytes()),
            Some(Text::Inline(text)) => hash(self.scope(), text),
            _ => hash(self.scope(), &self.at.to_le_bytes()),
        };
        self.scopes.push(Scope { depth, whole, function });
    }

    fn named_type(&mut self, plan: &Plan, die: &Die) {
        let Some(name) = die.name.filter(|_| !plan.declaration) else { return };
        // A type that completes a declaration elsewhere in the unit stands outside of its namespace.
        let scope = match die.link {
            Some(Local::Link(target)) => hash(u64::from(self.number), &target.to_le_bytes()),
            _ => self.scope(),
        };
        let whole = match name {
            Text::Str(at) => hash(scope, &at.to_le_bytes()),
            Text::Inline(text) => hash(scope, text),
            Text::Other(_) => match self.read_text(name) {
                Some(text) => hash(scope, text),
                None => return,
            },
        };
        let Some(slot) = self.met.get_mut(whole as usize & (MET - 1)) else { return };
        if std::mem::replace(slot, whole) == whole {
            return;
        }
        let Some(text) = self.read_text(name) else { return };
        let (unit, kind) = (self.number, Kind::Type as u8);
        let (bare, full) = keys(text);
        self.found.push(Found { hash: bare, kind, unit, whole });
        if full != bare {
            self.found.push(Found { hash: full, kind, unit, whole });
        }
    }

    fn subprogram(&mut self, plan: &Plan, die: &Die, offset: usize) {
        let known = match (die.name, die.link, die.linkage) {
            (Some(name), _, _) => Local::Text(name),
            (None, Some(link), _) => link,
            (None, None, Some(linkage)) => Local::Linkage(linkage),
            (None, None, None) => return,
        };
        self.locals.push((offset, known));
        if plan.defined || plan.inline {
            self.late.push((Kind::Function, known));
        }
    }

    fn variable(&mut self, plan: &Plan, die: &Die, offset: usize) {
        if self.function.is_some() || self.scopes.last().is_some_and(|scope| scope.function) {
            return;
        }
        let known = match (die.name, die.link, die.linkage) {
            (Some(name), _, _) => Local::Text(name),
            (None, Some(link), _) => link,
            (None, None, Some(linkage)) => Local::Linkage(linkage),
            (None, None, None) => return,
        };
        if plan.defined {
            self.late.push((Kind::Variable, known));
        } else if die.name.is_some() {
            self.locals.push((offset, known));
        }
    }

    fn read_text(&self, text: Text) -> Option<&'static [u8]> {
        match text {
            Text::Str(at) => {
                let rest = self.strings.get(at..)?;
                rest.get(..memchr::memchr(0, rest)?)
            }
            Text::Inline(text) => Some(text),
            Text::Other(value) => Some(self.part.dwarf.attr_string(self.part.unit, value).ok()?.slice()),
        }
    }

    /// Names of functions and variables, once all that they may link to is known.
    fn resolve(&mut self) {
        let mut foreign: std::collections::HashMap<DieAt, Option<u32>> = std::collections::HashMap::new();
        for (kind, known) in std::mem::take(&mut self.late) {
            let Some(hash) = self.hash_of(known, &mut foreign) else { continue };
            self.found.push(Found { hash, kind: kind as u8, unit: self.number, whole: 0 });
        }
    }

    fn hash_of(
        &self,
        known: Local,
        foreign: &mut std::collections::HashMap<DieAt, Option<u32>>,
    ) -> Option<u32> {
        let mut known = known;
        for _ in 0..LINKS_MAX {
            match known {
                Local::Text(text) => return Some(keys(self.read_text(text)?).0),
                Local::Linkage(text) => {
                    let text = String::from_utf8_lossy(self.read_text(text)?);
                    return Some(key_of(&crate::symtab::demangle(&text)));
                }
                Local::Foreign(at) => {
                    let find = || foreign_name(self.debug, at).map(|name| key_of(&name));
                    return *foreign.entry(at).or_insert_with(find);
                }
                Local::Link(target) => match self.locals.binary_search_by_key(&target, |local| local.0) {
                    Ok(place) => known = self.locals.get(place)?.1,
                    Err(_) => {
                        let at = DieAt { unit: self.number, offset: UnitOffset(target) };
                        return foreign_name(self.debug, at).map(|name| key_of(&name));
                    }
                },
            }
        }
        None
    }
}

/// Hashes of a name without and with its arguments.
fn keys(text: &[u8]) -> (u32, u32) {
    if !text.iter().any(|byte| matches!(byte, b':' | b'<' | b'(' | b'[' | b' ')) {
        let key = key(text);
        return (key, key);
    }
    let text = String::from_utf8_lossy(text);
    let components = names::components(&text);
    let last = components.last().copied().unwrap_or(&text);
    (key(names::bare(last).as_bytes()), key(last.as_bytes()))
}
