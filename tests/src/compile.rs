//! Compiling debuggees. Each is compiled once per test process.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::{Scratch, debuggee, process};

const LIMIT: Duration = Duration::from_secs(120);

/// Compiles one of the debuggees; the program lies in `scratch`.
///
/// # Panics
/// When it does not compile.
pub fn compile(scratch: &Scratch, source: &str) -> PathBuf {
    compile_file(scratch, &debuggee(source))
}

/// Compiles a source file by its extension.
///
/// # Panics
/// When it does not compile.
pub fn compile_file(scratch: &Scratch, source: &Path) -> PathBuf {
    let stem = source.file_stem().expect("a source has a name").to_string_lossy().into_owned();
    let program = scratch.path(&stem);
    let mut command = match source.extension().and_then(|extension| extension.to_str()) {
        Some("rs") => {
            let mut rustc = Command::new("rustc");
            rustc.args(["--edition=2024", "-Copt-level=1", "-g"]);
            rustc
        }
        _ => {
            let mut gcc = Command::new("gcc");
            gcc.args(["-std=gnu11", "-O1", "-g", "-Wall", "-Werror", "-Wno-unused-result", "-pthread"]);
            gcc
        }
    };
    command.arg(source).arg("-o").arg(&program);
    let outcome = process::run(&mut command, None, LIMIT).unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.is_success(), "{} does not compile: {outcome:?}", source.display());
    program
}
