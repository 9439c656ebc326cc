//! `cargo xtask demo`: a program that crashes long after the fault, recorded, and walked back to it.

use std::io::IsTerminal;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{check, fresh_directory, packages, release_vdbg, root};

/// What is done in the replay, one command after the other.
const SESSION: [&str; 6] =
    ["continue", "backtrace", "print books.newest", "watch books.newest", "reverse-continue", "backtrace"];

/// The guilty line, which the session has to find.
const GUILTY: &str = "books.journal[books.used] = entry;";

pub(crate) fn run() -> Result<()> {
    packages::ensure(packages::COMPILER)?;
    let vdbg = release_vdbg()?;
    let folder = fresh_directory("demo")?;
    let program = folder.join("ledger");
    let source = root().join("tests/debuggees/ledger.c");
    check(Command::new("gcc").args(["-g", "-O0", "-o"]).arg(&program).arg(&source))?;
    let trace = folder.join("trace");
    println!("\n$ vdbg record ./ledger");
    let status = Command::new(&vdbg).args(["record", "-o"]).arg(&trace).arg("--").arg(&program).status()?;
    println!("(it ended with status {}: 128 + SIGSEGV)", status.code().unwrap_or(-1));
    let commands: Vec<&str> = SESSION.iter().flat_map(|command| ["-e", command]).collect();
    println!("\n$ vdbg replay --batch -e {}", SESSION.map(|command| format!("'{command}'")).join(" -e "));
    let output = Command::new(&vdbg).arg("replay").arg(&trace).arg("--batch").args(&commands).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}{}", String::from_utf8_lossy(&output.stderr));
    if !output.status.success() || !text.contains(GUILTY) {
        bail!("the demo did not come to the guilty line");
    }
    println!("\nThe crash was in audit(); the line that caused it is the one above, in journal_add().");
    if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() {
        println!("You are there now; try `list`, `print books.used`, `reverse-step`, `help`; `quit` ends.");
        check(Command::new(&vdbg).arg("replay").arg(&trace).args(&commands))?;
    }
    Ok(())
}
