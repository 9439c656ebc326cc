//! System packages: what a command needs is installed when it is missing, as root or through sudo, and said.

use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// A program and the Debian package that has it.
pub(crate) type Need = (&'static str, &'static str);

/// What building debuggees needs.
pub(crate) const COMPILER: &[Need] =
    &[("gcc", "gcc"), ("as", "binutils"), ("/usr/include/stdio.h", "libc6-dev")];

/// What the tests need besides.
pub(crate) const TESTS: &[Need] = &[
    ("g++", "g++"),
    ("gdb", "gdb"),
    ("dwz", "dwz"),
    ("llvm-dwp", "llvm"),
    ("/usr/lib/llvm-19/bin/llvm-symbolizer", "llvm-19"),
    ("git", "git"),
    ("python3", "python3"),
    ("perl", "perl"),
    ("sqlite3", "sqlite3"),
    ("curl", "curl"),
];

/// Makes sure that all of these are there.
pub(crate) fn ensure(needs: &[Need]) -> Result<()> {
    let missing: Vec<&str> =
        needs.iter().filter(|(program, _)| !exists(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    println!("xtask: installing missing system packages: {}", missing.join(" "));
    let is_root = is_root();
    let apt = |arguments: &[&str]| {
        let mut command = if is_root { Command::new("apt-get") } else { Command::new("sudo") };
        if !is_root {
            command.arg("apt-get");
        }
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    // An old list of packages may be good enough, so a failing update is no reason to stop.
    apt(&["update", "-qq"]);
    if apt(&[&["install", "-y", "-qq", "--no-install-recommends"], missing.as_slice()].concat()) {
        return Ok(());
    }
    bail!("cannot install {}; install these packages by hand and run the command again", missing.join(" "))
}

pub(crate) fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// A program is there, by its path or in `$PATH`.
pub(crate) fn exists(program: &str) -> bool {
    if program.starts_with('/') {
        return std::path::Path::new(program).exists();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}
