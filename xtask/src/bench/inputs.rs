//! What the measured programs work on: the same every time, and nothing of this checkout.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::check;

const COMMITS: usize = 5000;
const SOURCES: usize = 100;
const FUNCTIONS_PER_SOURCE: usize = 3;

/// Text that compresses about as well as text does.
pub(super) fn pseudo_random_text(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..len).map(|_| b"etaoin shrdlu\nABCDEFGHIJKLMNOPQR"[(next() >> 59) as usize]).collect()
}

/// A git repository of a file that each commit adds a line to.
pub(super) fn make_repository(folder: &Path) -> Result<()> {
    check(Command::new("git").args(["init", "--quiet", "--initial-branch=main"]).arg(folder))?;
    let mut stream = String::new();
    for number in 0..COMMITS {
        let message = format!("area: change number {number}\n\nWhy it was made, in a line or two of text.\n");
        let content = format!("{number}\n");
        write!(
            stream,
            "commit refs/heads/main\ncommitter A Person <person@example.org> {} +0000\ndata {}\n{message}",
            1_600_000_000 + number * 3600,
            message.len()
        )?;
        write!(stream, "M 100644 inline file-{}\ndata {}\n{content}\n", number % 50, content.len())?;
    }
    let mut import = Command::new("git");
    import.arg("-C").arg(folder).args(["fast-import", "--quiet"]).stdin(Stdio::piped());
    let mut import = import.spawn().context("cannot run git")?;
    import.stdin.take().context("git has no input")?.write_all(stream.as_bytes())?;
    let status = import.wait()?;
    if status.success() { Ok(()) } else { bail!("git fast-import failed: {status}") }
}

/// A C project of a hundred sources and a makefile.
pub(super) fn make_project(folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut declarations = String::new();
    let mut calls = String::new();
    for source in 0..SOURCES {
        let mut text = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n".to_owned();
        for function in 0..FUNCTIONS_PER_SOURCE {
            writeln!(
                text,
                "int f{source}_{function}(int x) {{\n    char text[64];\n    \
                 snprintf(text, sizeof text, \"%d\", x);\n    for (int i = 0; i < x % 7; i++)\n        \
                 x += (int)strlen(text) * {function};\n    return abs(x) + {source};\n}}"
            )?;
        }
        std::fs::write(folder.join(format!("f{source}.c")), text)?;
        writeln!(declarations, "int f{source}_0(int);")?;
        writeln!(calls, "    sum += f{source}_0(sum);")?;
    }
    let main =
        format!("{declarations}int main(void) {{\n    int sum = 0;\n{calls}    return sum == 0;\n}}\n");
    std::fs::write(folder.join("main.c"), main)?;
    let makefile = "CFLAGS = -O1\nOBJECTS = $(patsubst %.c,%.o,$(wildcard *.c))\n\
                    program: $(OBJECTS)\n\t$(CC) -o $@ $(OBJECTS)\n";
    Ok(std::fs::write(folder.join("Makefile"), makefile)?)
}
