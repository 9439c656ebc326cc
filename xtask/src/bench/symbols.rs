//! `cargo xtask bench symbols`: how long a function's address takes to find in big programs, beside gdb and lldb in the
//! same run. Not a test: it prints the figure that must be reached beside each value.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::{ROUNDS, median, milliseconds, wait_for};
use crate::{cargo, check, packages, root, target};

/// Objects of the large C program, and how often each is linked.
const OBJECTS: usize = 8;
const COPIES: usize = 98;
const TYPES: usize = 2600;

pub(crate) fn run() -> Result<()> {
    packages::ensure(packages::COMPILER)?;
    packages::ensure(&[("gdb", "gdb"), ("objcopy", "binutils"), ("/usr/bin/time", "time")])?;
    check(cargo().args(["build", "--release", "--package", "symbols", "--example", "lookup"]))?;
    let folder = target().join("xtask/bench-symbols");
    std::fs::create_dir_all(&folder)?;
    println!("{:44} {:>9} {:>11}   must", format!("medians of {ROUNDS} interleaved runs"), "ms", "memory kB");
    let rg = ripgrep(&folder)?;
    rows("ripgrep 14.1.1, debug", &rg, "rg::main", &folder, ("400", "60000 anonymous"))?;
    let large = large_program(&folder)?;
    rows("C, 215 MB of DWARF", &large, "main", &folder, ("2500", "250000 anonymous"))?;
    // Inlined in a third of the units.
    rows("the same, inlined function", &large, "inlined131", &folder, ("2500", "250000 anonymous"))
}

/// Ours without and with the cache, gdb and lldb, in turn.
fn rows(shown: &str, program: &Path, function: &str, folder: &Path, must: (&str, &str)) -> Result<()> {
    let lookup = target().join("release/examples/lookup");
    let cache = folder.join("cache");
    let ours = |cached: bool| {
        let mut command = Command::new(&lookup);
        command.arg(program).arg(function).args(cached.then_some(&cache));
        command
    };
    check(ours(true).stdout(Stdio::null()))?;
    let mut gdb = Command::new("gdb");
    gdb.args(["-nx", "-batch", "-ex", &format!("info line {function}")]).arg(program);
    let mut all = vec![("vdbg", ours(false)), ("vdbg, from the cache", ours(true)), ("gdb", gdb)];
    for name in ["lldb", "lldb-19", "lldb-14"] {
        if packages::exists(name) {
            let mut lldb = Command::new(name);
            lldb.args(["--no-lldbinit", "--batch", "-o", &format!("image lookup -n {function}")])
                .arg(program);
            all.push(("lldb", lldb));
            break;
        }
    }
    let mut times = vec![Vec::new(); all.len()];
    for _ in 0..ROUNDS {
        for ((name, command), times) in all.iter_mut().zip(&mut times) {
            let run = wait_for(command)?;
            if !run.status.success() {
                bail!("{name} failed on {}", program.display());
            }
            times.push(milliseconds(run.time));
        }
    }
    for ((name, command), times) in all.iter().zip(times) {
        let must = match *name {
            "vdbg" => format!("{} ms, {}", must.0, must.1),
            "vdbg, from the cache" => "100 ms".into(),
            _ => String::new(),
        };
        let memory = memory(command)?;
        println!("{:44} {:>9.0} {memory:>11}   {must}", format!("{shown}: {name}"), median(times));
    }
    Ok(())
}

/// Anonymous memory where the program tells it, else the resident set.
fn memory(command: &Command) -> Result<String> {
    let mut timed = Command::new("/usr/bin/time");
    timed.args(["-f", "%M"]).arg(command.get_program()).args(command.get_args());
    let output = timed.stdin(Stdio::null()).output().context("cannot run time")?;
    let own = String::from_utf8_lossy(&output.stdout);
    if let Some((_, told)) = own.rsplit_once("anonymous memory ") {
        return Ok(told.trim().trim_end_matches(" kB").to_owned());
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    Ok(errors.lines().last().unwrap_or("?").trim().to_owned())
}

/// ripgrep, built with debug information.
fn ripgrep(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("bin/rg");
    if !program.exists() {
        let mut install = cargo();
        install
            .args(["install", "ripgrep", "--version", "14.1.1", "--locked", "--debug", "--root"])
            .arg(folder);
        check(
            install
                .current_dir(root().parent().unwrap_or(root()))
                .env("CARGO_TARGET_DIR", folder.join("build")),
        )?;
        std::fs::remove_dir_all(folder.join("build"))?;
    }
    Ok(program)
}

/// A program whose units each have all types of one large header, as a kernel's have.
fn large_program(folder: &Path) -> Result<PathBuf> {
    let program = folder.join("large");
    if program.exists() {
        return Ok(program);
    }
    let mut header = "#include <stddef.h>\n".to_owned();
    for number in 0..TYPES {
        writeln!(header, "struct s{number} {{ int count; char *name; struct s{} *link;", number / 2)?;
        for member in 0..number % 11 {
            writeln!(header, "  unsigned long member{number}_{member};")?;
        }
        writeln!(
            header,
            "}};\ntypedef struct s{number} t{number}_t; enum e{number} {{ A{number}, B{number} }};"
        )?;
        writeln!(
            header,
            "static inline __attribute__((always_inline)) int inlined{number}(struct s{number} *p, int n) \
             {{ int v = n * {number}; return p->link && v ? v + p->count : v; }}\nextern struct s{number} *g{number};"
        )?;
    }
    std::fs::write(folder.join("all.h"), header)?;
    let mut definitions = "#include \"all.h\"\n".to_owned();
    for number in 0..TYPES {
        writeln!(definitions, "struct s{number} *g{number};")?;
    }
    definitions += "int main(void) { return 0; }\n";
    std::fs::write(folder.join("main.c"), definitions)?;
    let compile = |name: &str| {
        check(Command::new("gcc").current_dir(folder).args(["-g", "-O1", "-c", &format!("{name}.c")]))
    };
    compile("main")?;
    let mut objects = vec![String::from("main.o")];
    for object in 0..OBJECTS {
        let mut text = "#include \"all.h\"\n".to_owned();
        for function in 0..60 {
            writeln!(text, "int fn{object}_{function}(int n) {{ int t = 0;")?;
            for call in 0..12 {
                let number = (object * 977 + function * 131 + call * 17) % TYPES;
                writeln!(text, "  t += inlined{number}(g{number}, n + {call});")?;
            }
            text += "  return t; }\n";
        }
        let name = format!("unit{object}");
        std::fs::write(folder.join(format!("{name}.c")), text)?;
        compile(&name)?;
        let local = ["-w", "--localize-symbol=fn*", &format!("{name}.o")];
        check(Command::new("objcopy").current_dir(folder).args(local))?;
        for copy in 0..COPIES {
            let copied = format!("{name}-{copy}.o");
            let _ = std::fs::remove_file(folder.join(&copied));
            std::fs::hard_link(folder.join(format!("{name}.o")), folder.join(&copied))?;
            objects.push(copied);
        }
    }
    let link = ["-g", "-Wl,--build-id", "-o", "large"];
    check(Command::new("gcc").current_dir(folder).args(link).args(&objects))?;
    for object in &objects {
        std::fs::remove_file(folder.join(object))?;
    }
    Ok(program)
}
