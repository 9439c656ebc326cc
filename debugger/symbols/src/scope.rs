//! What names mean in a frame: arguments and locals of the blocks around its pc, and their values.

use crate::debug::DieAt;
use crate::format::Limits;
use crate::frames::{Frame, function_of};
use crate::index::covers;
use crate::location::{Caller, Machine};
use crate::memory::Memory;
use crate::module::ModuleDie;
use crate::symbols::{GlobalAt, Symbols};
use crate::types::Type;
use crate::value::Value;
use gimli::constants as dw;
use std::sync::Arc;

/// Lexical blocks inside each other.
const BLOCKS_MAX: u32 = 200;
/// Variables of one frame.
const VARIABLES_MAX: usize = 100_000;

/// An argument or local variable of a frame.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name in the source.
    pub name: String,
    /// Whether it is an argument of the function.
    pub argument: bool,
    /// Whether an inner block declares the same name: this one cannot be named in an expression.
    pub shadowed: bool,
    pub(crate) die: ModuleDie,
}

/// Where an expression is evaluated: the symbols, the memory, the selected frame, and the prompt's variables.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// All modules.
    pub symbols: &'a Symbols,
    /// The process's memory.
    pub memory: &'a dyn Memory,
    /// The selected frame; without one there are only globals.
    pub frame: Option<&'a Frame>,
    /// Convenience variables by name without the dollar; asked before registers' values are.
    pub convenience: &'a dyn Fn(&str) -> Option<Value>,
    /// How much of a value is shown.
    pub limits: Limits,
}

fn no_variables(_: &str) -> Option<Value> {
    None
}

impl<'a> Context<'a> {
    /// A context without convenience variables.
    pub fn new(symbols: &'a Symbols, memory: &'a dyn Memory, frame: Option<&'a Frame>) -> Self {
        Self { symbols, memory, frame, convenience: &no_variables, limits: Limits::default() }
    }

    /// The same with convenience variables.
    #[must_use]
    pub fn with_convenience(self, convenience: &'a dyn Fn(&str) -> Option<Value>) -> Self {
        Self { convenience, ..self }
    }

    /// The same, showing more or less of values.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Arguments and locals visible at the frame's pc, in source order.
    pub fn variables(&self) -> Vec<Variable> {
        let Some(frame) = self.frame else { return Vec::new() };
        let Some((module, at)) = function_of(frame) else { return Vec::new() };
        let address = module.to_file(frame.lookup_pc);
        let mut found = Vec::new();
        collect(module, at, address, 0, &mut found);
        for place in 0..found.len() {
            let (before, after) = found.split_at_mut(place + 1);
            let Some(own) = before.last_mut() else { continue };
            own.shadowed = after.iter().any(|other| other.name == own.name);
        }
        found
    }

    /// The frame's arguments.
    pub fn arguments(&self) -> Vec<Variable> {
        self.variables().into_iter().filter(|variable| variable.argument).collect()
    }

    /// The frame's locals, without arguments.
    pub fn locals(&self) -> Vec<Variable> {
        self.variables().into_iter().filter(|variable| !variable.argument).collect()
    }

    /// The value of a variable; one without a value says why when it is printed.
    pub fn value_of(&self, variable: &Variable) -> Value {
        self.value_of_die(&variable.die)
    }

    /// The value of a global variable.
    pub fn value_of_global(&self, global: &GlobalAt) -> Value {
        self.value_of_die(&global.die)
    }

    pub(crate) fn value_of_die(&self, die: &ModuleDie) -> Value {
        let Some(ty) = self.type_of_die(die) else {
            return Value::missing(Type::Void, crate::Missing::OptimizedOut);
        };
        let first = self.symbols.modules().first();
        let executable = first.is_some_and(|first| Arc::ptr_eq(&first.image, &die.module.image));
        let frame = self.frame;
        let caller = frame.and_then(|frame| frame.caller.as_deref());
        let machine = Machine {
            memory: self.memory,
            registers: frame.map(|frame| frame.registers.as_ref()),
            pc: frame.map(|frame| frame.lookup_pc),
            cfa: frame.and_then(|frame| frame.cfa),
            function: frame.and_then(|frame| frame.physical.clone()),
            caller: caller.and_then(|registers| {
                let pc = registers.pc()?;
                let module = Arc::clone(self.symbols.module_at(pc.wrapping_sub(1))?);
                Some(Caller { registers, pc, module })
            }),
            executable,
        };
        let size = ty.size();
        Value::of_place(ty, machine.variable(&die.module, die.at, size))
    }

    /// The type of the variable that `die` describes; None without debug information.
    pub(crate) fn type_of_die(&self, die: &ModuleDie) -> Option<Type> {
        let debug = die.module.debug()?;
        let target = debug.inherited(die.at, dw::DW_AT_type);
        let target = target.and_then(|(at, value)| debug.target(at.unit, value));
        let described = |at| Type::described(ModuleDie { module: Arc::clone(&die.module), at });
        Some(target.map_or(Type::Void, described))
    }

    /// A local of this name: the innermost one.
    pub(crate) fn local(&self, name: &str) -> Option<Value> {
        self.local_die(name).map(|die| self.value_of_die(&die))
    }

    pub(crate) fn local_die(&self, name: &str) -> Option<ModuleDie> {
        let found = self.variables().into_iter().rev().find(|variable| variable.name == name)?;
        let debug = found.die.module.debug()?;
        // `extern int x;` inside a block only points to the global.
        if debug.die(found.die.at).is_some_and(|die| die.has_attr(dw::DW_AT_declaration)) {
            return None;
        }
        Some(found.die)
    }

    /// A global of this name: one of the frame's own unit before others.
    pub(crate) fn global(&self, name: &str) -> Option<Value> {
        self.global_die(name).map(|die| self.value_of_die(&die))
    }

    pub(crate) fn global_die(&self, name: &str) -> Option<ModuleDie> {
        let found = self.symbols.globals(name);
        let here = self.frame.and_then(|frame| frame.function.as_ref());
        let near = |global: &&GlobalAt| {
            here.is_some_and(|here| {
                here.at.unit == global.die.at.unit && Arc::ptr_eq(&here.module, &global.die.module)
            })
        };
        let exact = found.iter().find(|global| global.name.as_ref() == name);
        let chosen = found.iter().find(near).or(exact).or(found.first())?;
        Some(chosen.die.clone())
    }

    /// Whether the frame's code is Rust.
    pub fn is_rust(&self) -> bool {
        let language =
            self.frame.and_then(function_of).and_then(|(module, at)| module.debug()?.language(at.unit));
        language == Some(dw::DW_LANG_Rust)
    }
}

fn collect(
    module: &Arc<crate::module::Module>,
    at: DieAt,
    address: u64,
    depth: u32,
    found: &mut Vec<Variable>,
) {
    let Some(debug) = module.debug().filter(|_| depth < BLOCKS_MAX) else { return };
    let mut blocks = Vec::new();
    debug.children(at, |child, die| match die.tag() {
        dw::DW_TAG_formal_parameter | dw::DW_TAG_variable => {
            let Some(name) = debug.name(child).filter(|_| found.len() < VARIABLES_MAX) else { return };
            let argument = die.tag() == dw::DW_TAG_formal_parameter;
            let die = ModuleDie { module: Arc::clone(module), at: child };
            found.push(Variable { name, argument, shadowed: false, die });
        }
        dw::DW_TAG_lexical_block => {
            let ranges = debug.die_ranges(at.unit, die);
            if ranges.is_empty() || covers(&ranges, address) {
                blocks.push(child);
            }
        }
        _ => {}
    });
    for block in blocks {
        collect(module, block, address, depth + 1, found);
    }
}
