//! Call sites: what the compiler tells about a call, for values at entry and for calls that replaced their caller.

use crate::debug::{Debug, Die, DieAt, LINKS_MAX};
use crate::image::R;
use crate::module::{Module, ModuleDie};
use crate::scan::Kind;
use gimli::constants as dw;
use gimli::{AttributeValue, Expression};
use std::sync::Arc;

/// Blocks of one function that are looked through for call sites.
const BLOCKS_MAX: usize = 32_000;
/// Functions between a caller and the function that its call ended up in.
const TAIL_CALLS_MAX: usize = 8;
/// Functions looked at for such a chain.
const FUNCTIONS_MAX: usize = 64;

/// A call with its debug information.
pub(crate) struct CallSite<'a> {
    module: &'a Arc<Module>,
    debug: &'a Debug,
    at: DieAt,
}

/// Which function a call goes to, as far as its site tells.
pub(crate) enum Target {
    /// This one.
    Function(DieAt),
    /// The one at the address that this expression gives in the caller.
    Computed(u32, Expression<R>),
    Unknown,
}

impl<'a> CallSite<'a> {
    /// The site of the call that returns to `return_pc`.
    pub(crate) fn returning_to(module: &'a Arc<Module>, return_pc: u64) -> Option<Self> {
        let debug = module.debug()?;
        let address = module.to_file(return_pc);
        let unit = debug.unit_at(address.wrapping_sub(1))?;
        let function = debug.index(unit)?.function_at(address.wrapping_sub(1))?;
        let mut found = None;
        sites(debug, DieAt { unit, offset: function.die }, |at, die| {
            let pc = die.attr_value(dw::DW_AT_call_return_pc).or(die.attr_value(dw::DW_AT_low_pc));
            let here = pc.and_then(|pc| debug.address(unit, pc)) == Some(address);
            if here && !is_tail_call(die) {
                found = Some(at);
            }
            found.is_some()
        });
        Some(Self { module, debug, at: found? })
    }

    /// The expression for the value of a register that is passed.
    pub(crate) fn value(&self, register: u16) -> Option<(u32, Expression<R>)> {
        let mut value = None;
        self.debug.children(self.at, |_, die| {
            let location = match die.attr_value(dw::DW_AT_location) {
                Some(AttributeValue::Exprloc(location)) => single_register(&location),
                _ => None,
            };
            if location == Some(register) {
                value =
                    die.attr_value(dw::DW_AT_call_value).or(die.attr_value(dw::DW_AT_GNU_call_site_value));
            }
        });
        match value? {
            AttributeValue::Exprloc(expression) => Some((self.at.unit, expression)),
            _ => None,
        }
    }

    /// The function that is called.
    pub(crate) fn target(&self) -> Target {
        let Some(die) = self.debug.die(self.at) else { return Target::Unknown };
        if let Some(origin) = called(self.debug, self.at, &die) {
            return Target::Function(origin);
        }
        let target = die.attr_value(dw::DW_AT_call_target).or(die.attr_value(dw::DW_AT_GNU_call_site_target));
        match target {
            Some(AttributeValue::Exprloc(expression)) => Target::Computed(self.at.unit, expression),
            _ => Target::Unknown,
        }
    }

    /// Whether `function`, which may be of another module, is the one that `called` means.
    pub(crate) fn means(&self, called: DieAt, function: &ModuleDie) -> bool {
        let Some(debug) = function.module.debug() else { return false };
        if Arc::ptr_eq(&function.module, self.module) && same_function(debug, function.at, called) {
            return true;
        }
        let ours = linkage(self.debug, called);
        if ours.is_some() && ours == linkage(debug, function.at) {
            return true;
        }
        let own = Arc::ptr_eq(&function.module, self.module);
        own && aliased(self.module, self.debug, called) == Some(function.at)
    }

    /// The functions by which a call came to `function` that does not name it: each called the next one as its
    /// last act. Empty unless there is just one such way.
    pub(crate) fn tail_calls(&self, function: &ModuleDie) -> Vec<Arc<str>> {
        let Target::Function(first) = self.target() else { return Vec::new() };
        if !Arc::ptr_eq(&function.module, self.module) || self.means(first, function) {
            return Vec::new();
        }
        let mut search = Search {
            module: self.module,
            debug: self.debug,
            wanted: function.at,
            ways: Vec::new(),
            looked_at: 0,
        };
        search.from(first, &mut Vec::new());
        let [way] = search.ways.as_slice() else { return Vec::new() };
        way.iter().filter_map(|&at| name_of(self.debug, at)).collect()
    }
}

/// All ways of tail calls from one function to another, until there are two.
struct Search<'a> {
    module: &'a Module,
    debug: &'a Debug,
    wanted: DieAt,
    ways: Vec<Vec<DieAt>>,
    looked_at: usize,
}

impl Search<'_> {
    fn from(&mut self, called: DieAt, way: &mut Vec<DieAt>) {
        let Some(body) = body_of(self.module, self.debug, called) else { return };
        self.looked_at += 1;
        if way.len() >= TAIL_CALLS_MAX || way.contains(&body) || self.looked_at > FUNCTIONS_MAX {
            return;
        }
        let mut next = Vec::new();
        sites(self.debug, body, |at, die| {
            next.extend(called_from(self.debug, at, die).filter(|to| !next.contains(to)));
            false
        });
        way.push(body);
        for to in next {
            let there = same_function(self.debug, self.wanted, to)
                || aliased(self.module, self.debug, to) == Some(self.wanted);
            if there {
                self.ways.push(way.clone());
            } else if self.ways.len() < 2 {
                self.from(to, way);
            }
        }
        way.pop();
    }
}

fn called_from(debug: &Debug, at: DieAt, die: &Die) -> Option<DieAt> {
    is_tail_call(die).then(|| called(debug, at, die)).flatten()
}

fn called(debug: &Debug, at: DieAt, die: &Die) -> Option<DieAt> {
    debug.linked(at, die, dw::DW_AT_call_origin).or_else(|| debug.linked(at, die, dw::DW_AT_abstract_origin))
}

fn is_tail_call(die: &Die) -> bool {
    [dw::DW_AT_call_tail_call, dw::DW_AT_GNU_tail_call].iter().any(|&name| die.has_attr(name))
}

/// Each call site of a function, also in its blocks and inlined calls, until `each` says that it is enough.
fn sites(debug: &Debug, function: DieAt, mut each: impl FnMut(DieAt, &Die) -> bool) {
    let mut open = vec![function];
    let mut enough = false;
    for _ in 0..BLOCKS_MAX {
        let Some(at) = open.pop().filter(|_| !enough) else { return };
        debug.children(at, |child, die| match die.tag() {
            dw::DW_TAG_lexical_block | dw::DW_TAG_inlined_subroutine => open.push(child),
            dw::DW_TAG_call_site | dw::DW_TAG_GNU_call_site => enough |= !enough && each(child, die),
            _ => {}
        });
    }
}

/// The DIE and those it completes.
fn chain(debug: &Debug, at: DieAt) -> Vec<DieAt> {
    let mut all = vec![at];
    while let Some(next) = all.last().and_then(|&at| debug.origin(at, &debug.die(at)?)) {
        if all.len() >= LINKS_MAX {
            break;
        }
        all.push(next);
    }
    all
}

fn same_function(debug: &Debug, one: DieAt, other: DieAt) -> bool {
    let (ones, others) = (chain(debug, one), chain(debug, other));
    if ones.iter().any(|at| others.contains(at)) {
        return true;
    }
    let name = linkage(debug, one);
    name.is_some() && one.unit != other.unit && name == linkage(debug, other)
}

/// The name that the linker knows, of a function that other units see.
fn linkage(debug: &Debug, at: DieAt) -> Option<String> {
    if let Some((at, value)) = debug.inherited(at, dw::DW_AT_linkage_name) {
        return debug.string(at.unit, value);
    }
    debug.inherited(at, dw::DW_AT_external)?;
    debug.name(at)
}

/// The function with code that a call's origin means.
fn body_of(module: &Module, debug: &Debug, called: DieAt) -> Option<DieAt> {
    let has_code = |at: DieAt| debug.die(at).is_some_and(|die| !debug.die_ranges(at.unit, &die).is_empty());
    if has_code(called) {
        return Some(called);
    }
    let name = debug.name(called)?;
    let mut units = vec![called.unit];
    units.extend(debug.names().units(Kind::Function, &name).into_iter().take(FUNCTIONS_MAX));
    let functions =
        units.into_iter().filter_map(|unit| Some((unit, debug.index(unit)?))).flat_map(|(unit, index)| {
            index.functions.iter().map(move |function| DieAt { unit, offset: function.die })
        });
    let mut functions = functions.filter(|&at| same_function(debug, at, called));
    functions.next().or_else(|| aliased(module, debug, called))
}

/// The function at the symbol that the linker knows a declaration by: libraries give functions several names.
fn aliased(module: &Module, debug: &Debug, called: DieAt) -> Option<DieAt> {
    let name = linkage(debug, called)?;
    let mut symbols = module.image.symtab().named(&name);
    let symbol = symbols.find(|symbol| symbol.function && symbol.name == name)?;
    let unit = debug.unit_at(symbol.address)?;
    let function = debug.index(unit)?.function_at(symbol.address)?;
    (function.ranges.first()?.0 == symbol.address).then_some(DieAt { unit, offset: function.die })
}

fn name_of(debug: &Debug, at: DieAt) -> Option<Arc<str>> {
    let functions = &debug.index(at.unit)?.functions;
    Some(Arc::clone(&functions.iter().find(|function| function.die == at.offset)?.name))
}

/// `DW_OP_regN` alone: the only form of entry value that call sites answer.
pub(crate) fn single_register(expression: &Expression<R>) -> Option<u16> {
    match *expression.0.slice() {
        [op] => u16::from(op).checked_sub(u16::from(dw::DW_OP_reg0.0)).filter(|&number| number < 32),
        _ => None,
    }
}
