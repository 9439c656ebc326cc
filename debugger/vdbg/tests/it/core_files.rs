//! Core files: what can be looked at, and what is said of what cannot.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::support::{compile, folder, normal, text, vdbg};

const SOURCE: &str = r#"#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char constant[] = "from the file";
static char text[32];
static int counts[4] = { 1, 2, 3, 4 };
static pthread_barrier_t both;

static void *wait_for_ever(void *argument)
{
    pthread_barrier_wait(&both);
    pthread_barrier_wait(&both);
    return argument;
}

static void fail(int depth)
{
    if (depth == 0)
        abort();
    fail(depth - 1);
}

int main(void)
{
    pthread_t thread;
    strcpy(text, constant);
    pthread_barrier_init(&both, 0, 2);
    pthread_create(&thread, 0, wait_for_ever, 0);
    pthread_barrier_wait(&both);
    fail(2);
    return counts[0];
}
"#;

/// A core file that gdb has made at the end of the program.
fn core() -> &'static PathBuf {
    static ONCE: OnceLock<PathBuf> = OnceLock::new();
    ONCE.get_or_init(|| {
        let program = compile("cores.c", SOURCE);
        let core = folder().join("cores.core");
        let mut gdb = Command::new("gdb");
        gdb.args(["-nx", "-batch", "-ex", "set debuginfod enabled off", "-ex", "run", "-ex"]);
        let output =
            gdb.arg(format!("generate-core-file {}", core.display())).arg(&program).output().unwrap();
        assert!(core.exists(), "{}{}", text(&output.stdout), text(&output.stderr));
        core
    })
}

fn ask(commands: &[&str]) -> String {
    let mut arguments = vec!["core", core().to_str().unwrap(), "--batch"];
    arguments.extend(commands.iter().flat_map(|command| ["-e", *command]));
    let output = vdbg(&arguments);
    normal(&(text(&output.stdout) + &text(&output.stderr)))
}

#[test]
fn stacks_values_and_threads() {
    let shown =
        ask(&["bt", "frame function main", "print counts", "print text", "print constant", "info threads"]);
    for line in [
        "fail (depth=0) at DIR/cores.c:20",
        "fail (depth=2) at DIR/cores.c:21",
        "in main () at DIR/cores.c:31",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    let values = ask(&["print counts", "print text", "print constant"]);
    assert_eq!(
        values,
        "$1 = {1, 2, 3, 4}\n$2 = \"from the file\", '\\000' <repeats 18 times>\n$3 = \"from the file\"\n"
    );
    let threads = ask(&["info threads", "thread apply all bt 6"]);
    assert!(threads.contains("* 1   Thread 1 (process "), "{threads}");
    assert!(threads.contains("wait_for_ever (argument=0x0) at DIR/cores.c:13"), "{threads}");
    assert!(ask(&["info mappings"]).contains("[vdso]"));
}

#[test]
fn what_a_core_file_cannot_do() {
    for command in
        ["continue", "reverse-step", "goto 50%", "when", "hits main", "output", "checkpoint", "info events"]
    {
        let said = ask(&[command]);
        assert!(said.contains("it cannot go on or back"), "{command}: {said}");
    }
}

#[test]
fn files_that_are_no_core() {
    let program = compile("nocore.c", "int main(void) { return 0; }\n");
    let said = |arguments: &[&str]| {
        let output = vdbg(&[&["core"], arguments, &["--batch", "-e", "bt"]].concat());
        assert!(!output.status.success());
        text(&output.stderr)
    };
    assert!(said(&[program.to_str().unwrap()]).contains("it is an ELF file, but no core"));
    assert!(said(&["there-is-none"]).contains("cannot open there-is-none"));
    let source = folder().join("nocore.c");
    assert!(said(&[source.to_str().unwrap()]).contains("it is no 64-bit ELF file"));
}

/// Cut off anywhere, it shows what is there.
#[test]
fn a_core_that_is_cut_off() {
    let whole = std::fs::read(core()).unwrap();
    let cut = folder().join("cut.core");
    for len in [0, 64, 1000, 8192, whole.len() / 2, whole.len() - 4096] {
        std::fs::write(&cut, &whole[..len]).unwrap();
        let output = vdbg(&["core", cut.to_str().unwrap(), "--batch", "-e", "bt", "-e", "info threads"]);
        let said = text(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code < 100), "{len}: {said}");
        assert!(!said.is_empty() && !said.contains("panicked"), "{len}: {said}");
    }
}

/// The program may have been moved since.
#[test]
fn a_program_elsewhere() {
    core();
    let (there, moved) = (folder().join("cores"), folder().join("cores-moved"));
    let copy = folder().join("elsewhere.core");
    // The core names the file by a path of the same length, where nothing is.
    let mut bytes = std::fs::read(core()).unwrap();
    let (name, gone) =
        (there.to_str().unwrap().to_owned() + "\0", there.to_str().unwrap().replace("cores", "gone!") + "\0");
    let places: Vec<usize> = bytes
        .windows(name.len())
        .enumerate()
        .filter(|(_, w)| *w == name.as_bytes())
        .map(|(at, _)| at)
        .collect();
    for at in places {
        bytes[at..at + gone.len()].copy_from_slice(gone.as_bytes());
    }
    std::fs::write(&copy, bytes).unwrap();
    std::fs::copy(&there, &moved).unwrap();
    let without = vdbg(&["core", copy.to_str().unwrap(), "--batch", "-e", "print text"]);
    assert!(text(&without.stderr).contains("not there any more"), "{}", text(&without.stderr));
    let with =
        vdbg(&["core", copy.to_str().unwrap(), moved.to_str().unwrap(), "--batch", "-e", "print constant"]);
    assert_eq!(text(&with.stdout), "$1 = \"from the file\"\n", "{}", text(&with.stderr));
}
