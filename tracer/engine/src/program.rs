//! Finding a program and telling early why it cannot be recorded.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::TracerError;

/// How many interpreters may name another one (the kernel's own limit, execve(2)).
const SCRIPT_DEPTH_MAX: usize = 4;

/// Finds a program as a shell would, and checks that it is one that can be recorded.
///
/// # Errors
/// A message for each reason why not: missing, a directory, not executable, for another machine, 32-bit, a script
/// whose interpreter is missing.
pub(crate) fn find(name: &Path) -> Result<PathBuf, TracerError> {
    let path = search(name)?;
    check(&path, SCRIPT_DEPTH_MAX)?;
    Ok(path)
}

/// Checks the program of a running process, and says why it cannot be recorded.
pub(crate) fn check_running(path: &Path) -> Result<(), String> {
    let mut head = [0; 256];
    let Ok(read) = File::open(path).and_then(|mut file| file.read(&mut head)) else { return Ok(()) };
    check_elf(&head[..read])
}

fn search(name: &Path) -> Result<PathBuf, TracerError> {
    if name.as_os_str().as_encoded_bytes().contains(&b'/') {
        return if name.exists() {
            Ok(name.to_owned())
        } else {
            Err(TracerError::NoProgram(name.to_owned()))
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let found = std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    });
    found.ok_or_else(|| TracerError::NotInPath {
        name: name.to_owned(),
        here: Path::new(".").join(name).is_file(),
    })
}

fn check(path: &Path, depth: usize) -> Result<(), TracerError> {
    let cannot = |why: String| TracerError::NotRecordable { program: path.to_owned(), why };
    let meta = path.metadata().map_err(|error| cannot(error.to_string()))?;
    if meta.is_dir() {
        return Err(cannot("it is a directory".into()));
    }
    if meta.permissions().mode() & 0o111 == 0 {
        return Err(cannot(
            "it is not executable; make it so with `chmod +x`, or name its interpreter first".into(),
        ));
    }
    let mut head = [0; 256];
    // A program that may be executed but not read is left to the kernel.
    let Ok(read) = File::open(path).and_then(|mut file| file.read(&mut head)) else { return Ok(()) };
    let head = &head[..read];
    if let Some(script) = head.strip_prefix(b"#!") {
        return check_interpreter(path, script, depth);
    }
    check_elf(head).map_err(cannot)
}

fn check_interpreter(path: &Path, script: &[u8], depth: usize) -> Result<(), TracerError> {
    let line = script.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let text = String::from_utf8_lossy(line);
    let interpreter = text.split_whitespace().next().unwrap_or("");
    let bad = |why: String| TracerError::NotRecordable { program: path.to_owned(), why };
    if depth == 0 {
        return Err(bad("its interpreters are scripts that name each other".into()));
    }
    if interpreter.is_empty() || !Path::new(interpreter).exists() {
        let carriage = if line.ends_with(b"\r") {
            " (the line ends with a carriage return: convert the file with `dos2unix`)"
        } else {
            ""
        };
        return Err(bad(format!(
            "it is a script whose interpreter `{}` does not exist{carriage}; correct its first line",
            interpreter.escape_default()
        )));
    }
    check(Path::new(interpreter), depth - 1)
}

fn check_elf(head: &[u8]) -> Result<(), String> {
    const CLASS_64: u8 = 2;
    const MACHINE_386: u16 = 3;
    const MACHINE_X86_64: u16 = 62;
    if head.len() < 20 || head[..4] != *b"\x7fELF" {
        return Err(
            "it is neither an ELF program nor a script with a `#!` line; name its interpreter first".into()
        );
    }
    let machine = u16::from_le_bytes([head[18], head[19]]);
    match (head[4], machine) {
        (CLASS_64, MACHINE_X86_64) => Ok(()),
        (_, MACHINE_386) => {
            Err("it is a 32-bit program; only 64-bit x86 programs can be recorded: build it with -m64".into())
        }
        (_, MACHINE_X86_64) => {
            Err("it uses the x32 interface; only plain 64-bit programs can be recorded".into())
        }
        (_, other) => {
            Err(format!("it is built for another kind of processor (ELF machine {other}); this is x86-64"))
        }
    }
}
