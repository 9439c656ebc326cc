//! What the debugger looks at besides recordings. For now these are core files: [`Core`].

mod core;
mod notes;

pub use core::{Core, CoreError, CoreThread, Region};
