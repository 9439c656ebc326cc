//! All modules of one address space, and every question of the form "what is at this address" and
//! "where is this name".

use crate::debug::DieAt;
use crate::image::{Image, ImageCache, ModuleError};
use crate::index::{Function, UnitIndex};
use crate::loading::Interrupted;
use crate::module::{Mapping, Module, ModuleDie, modules_of};
use crate::names;
use crate::scan::Kind;
use crate::symtab::demangle;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The modules of one address space.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    cache: Arc<ImageCache>,
    modules: Vec<Arc<Module>>,
}

/// What stands at an address: one entry of a chain of inlined calls.
#[derive(Clone, Debug, Default)]
pub struct Location {
    /// Qualified name of the function, from DWARF, else from the ELF symbol table.
    pub function: Option<Arc<str>>,
    /// Distance from the start of the function (of the outermost one when inlined).
    pub offset: u64,
    /// Path of the source file as the compiler recorded it.
    pub file: Option<Arc<str>>,
    /// Source line; 0 when there is none.
    pub line: u32,
    /// Source column; 0 when there is none.
    pub column: u32,
    /// The module the address lies in.
    pub module: Option<Arc<Module>>,
    /// Whether exactly this address begins a statement.
    pub is_stmt: bool,
    /// Whether this function was inlined into the next entry of the chain.
    pub inlined: bool,
    /// Whether the function has debug information (else the name is an ELF symbol).
    pub has_debug_info: bool,
}

/// A level of the chain with the DIE of its function or inlined call.
#[derive(Clone, Debug)]
pub(crate) struct Level {
    pub(crate) location: Location,
    pub(crate) die: Option<ModuleDie>,
}

/// A function found by name.
#[derive(Clone, Debug)]
pub struct FunctionAt {
    /// Qualified name.
    pub name: Arc<str>,
    /// Entry address.
    pub entry: u64,
    /// Address after the prologue: where a breakpoint belongs.
    pub body: u64,
    /// Whether this is an inlined copy.
    pub inlined: bool,
    /// The module that holds it.
    pub module: Arc<Module>,
}

/// A line's address, with the line that really has code.
#[derive(Clone, Debug)]
pub struct LineAt {
    /// Address of a statement of the line.
    pub address: u64,
    /// Path of the file.
    pub file: Arc<str>,
    /// The line: the one asked for, or the next with code.
    pub line: u32,
    /// The function around.
    pub function: Option<Arc<str>>,
}

/// A variable found by name, to be evaluated by [`crate::Context`].
#[derive(Clone, Debug)]
pub struct GlobalAt {
    /// Qualified name.
    pub name: Arc<str>,
    pub(crate) die: ModuleDie,
}

impl Symbols {
    /// An empty address space that shares parsed files with others.
    pub fn new(cache: Arc<ImageCache>) -> Self {
        Self { cache, modules: Vec::new() }
    }

    /// All modules of a list of mappings. Files that cannot be read come back as errors; the others are there.
    pub fn from_mappings(cache: Arc<ImageCache>, mappings: &[Mapping]) -> (Self, Vec<ModuleError>) {
        let (modules, errors) = modules_of(&cache, mappings);
        (Self { cache, modules }, errors)
    }

    /// Adds a module.
    pub fn add(&mut self, module: Module) {
        self.modules.push(Arc::new(module));
    }

    /// Opens a file and adds it at a bias; `name` is the path to be shown.
    ///
    /// # Errors
    /// As [`Image::open`].
    pub fn add_file(&mut self, path: &Path, name: &str, bias: u64) -> Result<(), ModuleError> {
        let image = self.cache.open(path)?;
        self.add(Module::at_bias(image, name, bias));
        Ok(())
    }

    /// Adds an object that has no file, such as the vDSO read from memory.
    ///
    /// # Errors
    /// The bytes are no ELF object.
    pub fn add_bytes(&mut self, bytes: Vec<u8>, name: &str, range: Range<u64>) -> Result<(), ModuleError> {
        let image = Image::from_bytes(Path::new(name), bytes)?;
        let first = image.segments.first().map_or(0, |segment| segment.address);
        let bias = range.start.wrapping_sub(first);
        self.add(Module::new(Arc::new(image), name, bias, vec![range]));
        Ok(())
    }

    /// Removes every module that touches the range.
    pub fn remove(&mut self, range: Range<u64>) {
        let touches = |own: &Range<u64>| own.start < range.end && range.start < own.end;
        self.modules.retain(|module| !module.ranges().iter().any(touches));
    }

    /// Reads all that questions by name need, of all modules: minutes of work at worst, on other threads than the
    /// prompt's. Without it the first question does it. [`Progress`](crate::Progress) tells how far it is.
    ///
    /// # Errors
    /// It was interrupted.
    pub fn load(&self) -> Result<(), Interrupted> {
        for debug in self.modules.iter().filter_map(|module| module.debug()) {
            debug.try_names()?;
        }
        Ok(())
    }

    /// All modules, in the order they were added: the executable first when mappings told them.
    pub fn modules(&self) -> &[Arc<Module>] {
        &self.modules
    }

    /// The module at an address.
    pub fn module_at(&self, address: u64) -> Option<&Arc<Module>> {
        self.modules.iter().find(|module| module.contains(address))
    }

    /// The chain of functions at an address, innermost inlined one first. Never empty.
    pub fn locate(&self, address: u64) -> Vec<Location> {
        self.levels(address).into_iter().map(|level| level.location).collect()
    }

    /// The innermost location at an address.
    pub fn location(&self, address: u64) -> Location {
        self.locate(address).into_iter().next().unwrap_or_default()
    }

    /// The nearest symbol of any kind, for `<main+4>`.
    pub fn symbol_at(&self, address: u64) -> Option<(String, u64)> {
        let module = self.module_at(address)?;
        let file_address = module.to_file(address);
        let symbol = module.image.symtab().at(file_address)?;
        Some((demangle(symbol.name).into_owned(), file_address - symbol.address))
    }

    pub(crate) fn levels(&self, address: u64) -> Vec<Level> {
        let Some(module) = self.module_at(address) else {
            return vec![Level { location: Location::default(), die: None }];
        };
        levels_in(module, module.to_file(address)).unwrap_or_else(|| vec![elf_level(module, address)])
    }

    /// Functions of this name: out-of-line code first, then inlined copies, then ELF symbols without debug
    /// information. The name may leave out leading path components and generic arguments.
    pub fn functions(&self, name: &str) -> Vec<FunctionAt> {
        let mut found: Vec<FunctionAt> = Vec::new();
        for module in &self.modules {
            let before = found.len();
            dwarf_functions(module, name, &mut found);
            if found.len() == before {
                found.extend(elf_functions(module, name));
            }
        }
        found.sort_by_key(|function| function.inlined);
        let mut seen = std::collections::HashSet::new();
        found.retain(|function| seen.insert(function.body));
        found
    }

    /// Addresses of a source line: statements only, one for each function or inlined copy, the lowest of it.
    /// A line without code means the next line of the file that has some. `file` may be a suffix of the path.
    pub fn line_addresses(&self, file: &str, line: u32) -> Vec<LineAt> {
        let candidates: Vec<_> =
            self.modules.iter().flat_map(|module| line_candidates(module, file, line)).collect();
        let Some(best) = candidates.iter().map(|found| found.1.line).min() else { return Vec::new() };
        let mut kept: Vec<(Copy, LineAt)> = Vec::new();
        for (copy, found) in candidates.into_iter().filter(|found| found.1.line == best) {
            match kept.iter_mut().find(|other| other.0 == copy) {
                Some((_, other)) if other.address <= found.address => {}
                Some((_, other)) => *other = found,
                None => kept.push((copy, found)),
            }
        }
        let mut kept: Vec<LineAt> = kept.into_iter().map(|(_, found)| self.past_prologue(found)).collect();
        kept.sort_by_key(|found| found.address);
        kept.dedup_by_key(|found| found.address);
        kept
    }

    /// A breakpoint on the opening line of a function belongs after its prologue, where arguments are in place.
    fn past_prologue(&self, found: LineAt) -> LineAt {
        let address = self.body_of(found.address).unwrap_or(found.address);
        LineAt { address, ..found }
    }

    /// The address after the prologue when `entry` is the entry of a function with debug information.
    pub fn body_of(&self, entry: u64) -> Option<u64> {
        let module = self.module_at(entry)?;
        let address = module.to_file(entry);
        let debug = module.debug()?;
        let unit = debug.unit_at(address)?;
        let function = debug.index(unit)?.function_at(address)?;
        (function.ranges.first()?.0 == address).then(|| module.to_runtime(body(module, unit, function)))
    }

    /// The span of addresses around `pc` that belong to its line: `step` and `next` go on inside it.
    pub fn line_range(&self, pc: u64) -> Option<Range<u64>> {
        let module = self.module_at(pc)?;
        let address = module.to_file(pc);
        let debug = module.debug()?;
        let (start, end) = debug.lines(debug.unit_at(address)?)?.range_at(address)?;
        Some(module.to_runtime(start)..module.to_runtime(end))
    }

    /// The ranges of the function at `pc`, the one with its entry first; from the ELF symbol when there is no
    /// debug information.
    pub fn function_ranges(&self, pc: u64) -> Vec<Range<u64>> {
        let Some(module) = self.module_at(pc) else { return Vec::new() };
        let address = module.to_file(pc);
        let from_dwarf = || {
            let debug = module.debug()?;
            Some(debug.index(debug.unit_at(address)?)?.function_at(address)?.ranges.clone())
        };
        let from_elf = || {
            let symbol = module.image.symtab().at(address).filter(|symbol| symbol.size != 0)?;
            Some(vec![(symbol.address, symbol.address.saturating_add(symbol.size))])
        };
        let ranges = from_dwarf().or_else(from_elf).unwrap_or_default();
        ranges.into_iter().map(|(start, end)| module.to_runtime(start)..module.to_runtime(end)).collect()
    }

    /// The range of the function at `pc` that holds `pc`.
    pub fn function_range(&self, pc: u64) -> Option<Range<u64>> {
        self.function_ranges(pc).into_iter().find(|range| range.contains(&pc))
    }

    /// Global and static variables of this name.
    pub fn globals(&self, name: &str) -> Vec<GlobalAt> {
        self.modules.iter().flat_map(|module| globals_of(module, name)).collect()
    }

    /// The address and size of an ELF data symbol, for variables without debug information.
    pub fn data_symbol(&self, name: &str) -> Option<(u64, u64)> {
        self.modules.iter().find_map(|module| {
            let symbol = module.image.symtab().named(name).next()?;
            Some((module.to_runtime(symbol.address), symbol.size))
        })
    }

    /// Types of this name, complete ones only.
    pub(crate) fn types(&self, name: &str) -> Vec<ModuleDie> {
        let all = self.modules.iter().flat_map(|module| {
            let Some(debug) = module.debug() else { return Vec::new() };
            let named = debug
                .types_named(name)
                .into_iter()
                .map(|(own, at)| (own.as_ref() != name, ModuleDie { module: Arc::clone(module), at }));
            let mut named: Vec<_> = named.collect();
            named.sort_by_key(|(inexact, _)| *inexact);
            named.into_iter().map(|(_, die)| die).collect()
        });
        all.collect()
    }

    /// Names of functions that begin with `prefix` (in their last or in all components), for completion.
    pub fn complete_function(&self, prefix: &str, limit: usize) -> Vec<String> {
        let mut found = std::collections::BTreeSet::new();
        for debug in self.modules.iter().filter_map(|module| module.debug()) {
            for index in debug.indexes() {
                let names = index.functions.iter().map(|function| &function.name);
                let wanted = |name: &&Arc<str>| {
                    name.starts_with(prefix) || names::last_component(name).starts_with(prefix)
                };
                found.extend(names.filter(wanted).map(|name| name.to_string()));
                if found.len() >= limit {
                    return found.into_iter().take(limit).collect();
                }
            }
        }
        found.into_iter().collect()
    }

    /// Names of functions that are wanted, in order.
    pub fn function_names(&self, wanted: &dyn Fn(&str) -> bool, limit: usize) -> Vec<String> {
        self.names_where(wanted, limit, |index| {
            index.functions.iter().map(|function| &function.name).collect()
        })
    }

    /// Names of global and static variables that are wanted, in order.
    pub fn variable_names(&self, wanted: &dyn Fn(&str) -> bool, limit: usize) -> Vec<String> {
        self.names_where(wanted, limit, |index| {
            index.variables.iter().map(|variable| &variable.name).collect()
        })
    }

    /// Names of types that are wanted, in order.
    pub fn type_names(&self, wanted: &dyn Fn(&str) -> bool, limit: usize) -> Vec<String> {
        self.names_where(wanted, limit, |index| index.types.iter().map(|named| &named.name).collect())
    }

    fn names_where(
        &self,
        wanted: &dyn Fn(&str) -> bool,
        limit: usize,
        names: impl Fn(&UnitIndex) -> Vec<&Arc<str>>,
    ) -> Vec<String> {
        let mut found = std::collections::BTreeSet::new();
        for debug in self.modules.iter().filter_map(|module| module.debug()) {
            for index in debug.indexes() {
                let named = names(index).into_iter().filter(|name| !name.is_empty() && wanted(name));
                found.extend(named.map(|name| name.to_string()));
                if found.len() >= limit {
                    return found.into_iter().take(limit).collect();
                }
            }
        }
        found.into_iter().collect()
    }

    /// Every source file with a line table, for `info sources` and completion.
    pub fn source_files(&self) -> Vec<Arc<str>> {
        let mut all: Vec<Arc<str>> = Vec::new();
        for debug in self.modules.iter().filter_map(|module| module.debug()) {
            let lines = debug.unit_numbers().filter_map(|unit| debug.lines(unit));
            all.extend(lines.flat_map(|lines| lines.files().map(|(_, path)| Arc::clone(path))));
        }
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The out-of-line function or the inlined copy a line's row lies in: one breakpoint each.
#[derive(Clone, Debug, PartialEq)]
struct Copy {
    bias: u64,
    unit: u32,
    function: Option<usize>,
    inline: Option<usize>,
}

fn levels_in(module: &Arc<Module>, address: u64) -> Option<Vec<Level>> {
    let debug = module.debug()?;
    let unit = debug.unit_at(address)?;
    let (index, lines) = (debug.index(unit)?, debug.lines(unit)?);
    let function = index.function_at(address)?;
    let offset = address.wrapping_sub(function.ranges.first()?.0);
    let row = lines.row_at(address);
    let mut place = match row {
        Some(row) => (lines.file(u64::from(row.file)).cloned(), row.line, row.column),
        None => (None, 0, 0),
    };
    let is_stmt = row.is_some_and(|row| row.is_stmt && row.address == address);
    let mut levels = Vec::new();
    let mut push = |name: &Arc<str>, die, place: (Option<Arc<str>>, u32, u32), inlined| {
        let die = Some(ModuleDie { module: Arc::clone(module), at: DieAt { unit, offset: die } });
        let (file, line, column) = place;
        let function = Some(Arc::clone(name)).filter(|name| !name.is_empty());
        let module = Some(Arc::clone(module));
        let has_debug_info = true;
        let location =
            Location { function, offset, file, line, column, module, is_stmt, inlined, has_debug_info };
        levels.push(Level { location, die });
    };
    for inline in index.inlines_at(function, address) {
        let number = |value: u64| u32::try_from(value).unwrap_or(0);
        let caller =
            (lines.file(inline.call_file).cloned(), number(inline.call_line), number(inline.call_column));
        push(&inline.name, inline.die, std::mem::replace(&mut place, caller), true);
    }
    push(&function.name, function.die, place, false);
    Some(levels)
}

/// What the symbol table alone knows; the line table may still know a line (assembly).
fn elf_level(module: &Arc<Module>, address: u64) -> Level {
    let file_address = module.to_file(address);
    let symbol = module.image.symtab().at(file_address);
    let mut location = Location { module: Some(Arc::clone(module)), ..Location::default() };
    if let Some(symbol) = symbol {
        location.function = Some(demangle(symbol.name).as_ref().into());
        location.offset = file_address - symbol.address;
    }
    let row = module.debug().and_then(|debug| {
        let lines = debug.lines(debug.unit_at(file_address)?)?;
        Some((lines, lines.row_at(file_address)?))
    });
    if let Some((lines, row)) = row {
        location.file = lines.file(u64::from(row.file)).cloned();
        (location.line, location.column) = (row.line, row.column);
        location.is_stmt = row.is_stmt && row.address == file_address;
    }
    Level { location, die: None }
}

fn dwarf_functions(module: &Arc<Module>, name: &str, found: &mut Vec<FunctionAt>) {
    let Some(debug) = module.debug() else { return };
    let units = debug.units_with(Kind::Function, name);
    // Most names of a unit are others: a look at the text is cheaper than taking the path to pieces.
    let last = names::last_component(name);
    let wanted = |own: &str| own.contains(last) && names::matches(own, name);
    let indexes = || units.iter().filter_map(|&unit| Some((unit, debug.index(unit)?)));
    for (unit, index) in indexes() {
        for function in index.functions.iter().filter(|own| wanted(&own.name)) {
            let Some(range) = function.ranges.first() else { continue };
            found.push(FunctionAt {
                name: Arc::clone(&function.name),
                entry: module.to_runtime(range.0),
                body: module.to_runtime(body(module, unit, function)),
                inlined: false,
                module: Arc::clone(module),
            });
        }
    }
    for (_, index) in indexes() {
        for inline in index.inlines.iter().filter(|own| wanted(&own.name)) {
            let entry = module.to_runtime(inline.entry);
            let name = Arc::clone(&inline.name);
            found.push(FunctionAt { name, entry, body: entry, inlined: true, module: Arc::clone(module) });
        }
    }
}

fn elf_functions<'a>(module: &'a Arc<Module>, name: &'a str) -> impl Iterator<Item = FunctionAt> + 'a {
    let symbols = module.image.symtab().named(name).filter(|symbol| symbol.function);
    symbols.map(|symbol| {
        let skipped = frame_setup(module, symbol.address).unwrap_or(0);
        let entry = module.to_runtime(symbol.address);
        let name = Arc::from(demangle(symbol.name).as_ref());
        FunctionAt {
            name,
            entry,
            body: entry.wrapping_add(skipped),
            inlined: false,
            module: Arc::clone(module),
        }
    })
}

/// Size of `endbr64; push %rbp; mov %rsp,%rbp` when a function begins so.
fn frame_setup(module: &Module, address: u64) -> Option<u64> {
    let landing = module.file_bytes(address, 4) == Some(&[0xf3, 0x0f, 0x1e, 0xfa]);
    let skipped = if landing { 4 } else { 0 };
    let code = module.file_bytes(address.checked_add(skipped)?, 4)?;
    let setup = matches!(code, [0x55, 0x48, 0x89, 0xe5] | [0x55, 0x48, 0x8b, 0xec]);
    setup.then_some(skipped + 4)
}

/// Where the body of a function begins. Without a mark from the compiler only code that sets up a frame has a
/// prologue: the second row of optimised code may lie behind a branch, and a breakpoint there would be missed.
fn body(module: &Module, unit: u32, function: &Function) -> u64 {
    let Some(&(entry, end)) = function.ranges.first() else { return 0 };
    let Some(lines) = module.debug().and_then(|debug| debug.lines(unit)) else { return entry };
    let marked = lines.rows().iter().any(|row| row.prologue_end);
    if marked || frame_setup(module, entry).is_some() { lines.after_prologue(entry, end) } else { entry }
}

/// Rows at `line`, or at the next line with code, in every unit that has the file.
fn line_candidates(module: &Arc<Module>, file: &str, line: u32) -> Vec<(Copy, LineAt)> {
    let Some(debug) = module.debug() else { return Vec::new() };
    let mut found = Vec::new();
    for unit in debug.unit_numbers() {
        let Some(lines) = debug.lines(unit) else { continue };
        let files: Vec<_> = lines.files().filter(|(_, path)| names::path_matches(path, file)).collect();
        if files.is_empty() {
            continue;
        }
        let named = |row: &&crate::lines::Row| {
            !row.end
                && row.is_stmt
                && row.line >= line
                && files.iter().any(|(number, _)| *number == u64::from(row.file))
        };
        let Some(index) = debug.index(unit) else { continue };
        let Some(best) = lines.rows().iter().filter(named).map(|row| row.line).min() else { continue };
        for row in lines.rows().iter().filter(named).filter(|row| row.line == best) {
            let Some(path) = lines.file(u64::from(row.file)) else { continue };
            found.push(line_at(module, unit, index, row, path));
        }
    }
    found
}

fn line_at(
    module: &Arc<Module>,
    unit: u32,
    index: &UnitIndex,
    row: &crate::lines::Row,
    path: &Arc<str>,
) -> (Copy, LineAt) {
    let function = index.function_at(row.address);
    let inline = function.and_then(|function| index.inlines_at(function, row.address).first().copied());
    let copy = Copy {
        bias: module.bias(),
        unit,
        function: function.map(|function| function.die.0),
        inline: inline.map(|inline| inline.die.0),
    };
    let name = inline.map(|inline| &inline.name).or(function.map(|function| &function.name)).cloned();
    let address = module.to_runtime(row.address);
    (copy, LineAt { address, file: Arc::clone(path), line: row.line, function: name })
}

fn globals_of(module: &Arc<Module>, name: &str) -> Vec<GlobalAt> {
    let Some(debug) = module.debug() else { return Vec::new() };
    let mut found = Vec::new();
    for unit in debug.units_with(Kind::Variable, name) {
        let variables = debug.index(unit).map(|index| index.variables.as_slice()).unwrap_or_default();
        for variable in variables.iter().filter(|own| names::matches(&own.name, name)) {
            let die = ModuleDie { module: Arc::clone(module), at: DieAt { unit, offset: variable.die } };
            found.push(GlobalAt { name: Arc::clone(&variable.name), die });
        }
    }
    found
}
