//! ELF, DWARF, unwinding, values and expressions: what turns addresses and bytes into names and back.
//!
//! A pure library: it opens files and asks a [`Memory`] for bytes, and does nothing else; it knows no ptrace,
//! no recording and no user interface. Input is outside data: corrupt files and memory give errors or less
//! information, never a panic.
//!
//! Start at [`Symbols`], the modules of one address space.

mod abi;
mod calls;
mod debug;
mod describe;
mod dynamic;
mod expr;
mod format;
mod frames;
mod image;
mod index;
mod index_cache;
mod lines;
mod loading;
mod location;
mod memory;
mod module;
mod name_index;
mod names;
mod prologue;
mod registers;
mod scan;
mod scope;
mod sections;
mod shapes;
mod source;
mod sources;
mod split;
mod symbolic;
mod symbols;
mod symtab;
mod types;
mod unwind;
mod value;

pub use expr::{Arithmetic, Comparison, Error, Test, Word, truth};
pub use format::{Format, Limits};
pub use frames::{FRAMES_MAX, Frame};
pub use image::{Image, ImageCache, ModuleError, Segment};
pub use index_cache::cache_folder;
pub use loading::{Interrupted, Progress};
pub use location::Missing;
pub use memory::{Memory, NoMemory, Unreadable};
pub use module::{Mapping, Module};
pub use registers::{RBP, RIP, RSP, RegisterPart, Registers, XMM0};
pub use scope::{Context, Variable};
pub use shapes::text_of;
pub use source::{SourceError, Sources};
pub use sources::DebugSources;
pub use symbols::{FunctionAt, GlobalAt, LineAt, Location, Symbols};
pub use symtab::demangle;
pub use types::{Described, Encoding, Scalar, Type};
pub use value::Value;
