//! The ELF symbol tables: the only names there are without debug information, and those of assembly and PLT.

use object::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::OnceLock;

/// One symbol with an address.
#[derive(Clone, Debug)]
pub(crate) struct ElfSymbol {
    pub(crate) address: u64,
    pub(crate) size: u64,
    /// End of its section: a symbol without size does not reach further.
    section_end: u64,
    pub(crate) name: &'static str,
    pub(crate) function: bool,
}

/// Symbols in order of address, and by raw and demangled name.
#[derive(Debug, Default)]
pub(crate) struct SymbolTable {
    symbols: Vec<ElfSymbol>,
    /// Hash of the last component of the demangled name, and place; made on the first question by name.
    by_name: OnceLock<Vec<(u32, u32)>>,
}

impl SymbolTable {
    pub(crate) fn load(file: &object::File<'static>, debug_file: Option<&object::File<'static>>) -> Self {
        let mut symbols: Vec<ElfSymbol> =
            file.symbols().chain(file.dynamic_symbols()).filter_map(|own| symbol(file, own)).collect();
        if let Some(debug_file) = debug_file {
            symbols.extend(debug_file.symbols().filter_map(|own| symbol(debug_file, own)));
        }
        // Of two names of one address the sized, then the one with fewer leading underscores is the better.
        symbols.sort_by_key(|symbol| (symbol.address, symbol.size != 0, !symbol.name.starts_with('_')));
        symbols.dedup_by(|a, b| a.address == b.address && a.name == b.name);
        Self { symbols, by_name: OnceLock::new() }
    }

    fn by_name(&self) -> &[(u32, u32)] {
        self.by_name.get_or_init(|| {
            let keyed = |(place, symbol): (usize, &ElfSymbol)| {
                (crate::scan::key_of(&demangle(symbol.name)), place as u32)
            };
            let mut all: Vec<_> = self.symbols.par_iter().enumerate().map(keyed).collect();
            all.sort_unstable();
            all
        })
    }

    /// The symbol that covers the address, or the nearest one before it when that has no size.
    pub(crate) fn at(&self, address: u64) -> Option<&ElfSymbol> {
        let end = self.symbols.partition_point(|symbol| symbol.address <= address);
        let before = self.symbols.get(..end)?;
        let covers = |symbol: &&ElfSymbol| address - symbol.address < symbol.size;
        // Labels without size may sit inside a function: look back a little for one that covers the address.
        before
            .iter()
            .rev()
            .take(16)
            .find(covers)
            .or_else(|| before.last().filter(|last| last.size == 0 && address < last.section_end))
    }

    /// Symbols whose demangled name ends with the path `name`.
    pub(crate) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a ElfSymbol> {
        let key = crate::scan::key_of(name);
        let all = self.by_name();
        let begin = all.partition_point(|own| own.0 < key);
        let found = all.get(begin..).unwrap_or_default().iter().take_while(move |own| own.0 == key);
        let symbols = found.filter_map(|&(_, place)| self.symbols.get(place as usize));
        symbols
            .filter(move |symbol| symbol.name == name || crate::names::matches(&demangle(symbol.name), name))
    }
}

fn symbol(file: &object::File<'static>, symbol: object::Symbol<'static, '_>) -> Option<ElfSymbol> {
    let kind = symbol.kind();
    let wanted =
        matches!(kind, SymbolKind::Text | SymbolKind::Data | SymbolKind::Label | SymbolKind::Unknown);
    let name = symbol.name().ok().filter(|name| !name.is_empty())?;
    // `_start` of crt1.o and hand-written assembly have no type; mapping symbols begin with a dollar.
    if !wanted || symbol.is_undefined() || symbol.address() == 0 || name.starts_with('$') {
        return None;
    }
    let function = kind != SymbolKind::Data;
    let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
    let section_end = section.map_or(u64::MAX, |section| section.address().saturating_add(section.size()));
    Some(ElfSymbol { address: symbol.address(), size: symbol.size(), section_end, name, function })
}

/// The readable form of a linkage name: Rust without its hash, C++ with parameters, anything else as it is.
pub fn demangle(name: &str) -> Cow<'_, str> {
    if let Ok(rust) = rustc_demangle::try_demangle(name) {
        return Cow::Owned(format!("{rust:#}"));
    }
    if !name.starts_with("_Z") {
        return Cow::Borrowed(name);
    }
    match cpp_demangle::Symbol::new(name).ok().and_then(|symbol| symbol.demangle().ok()) {
        Some(text) => Cow::Owned(text),
        None => Cow::Borrowed(name),
    }
}
