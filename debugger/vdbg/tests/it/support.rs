//! Compiles and records small programs, runs `vdbg`, and makes its output comparable.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

pub(crate) const VDBG: &str = env!("CARGO_BIN_EXE_vdbg");

/// A folder of this run.
pub(crate) fn folder() -> &'static Path {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

pub(crate) fn vdbg(arguments: &[&str]) -> Output {
    let mut command = Command::new(VDBG);
    command.args(arguments).current_dir(folder()).env("VDBG_TRACE_DIR", folder().join("traces"));
    command.stdin(std::process::Stdio::null());
    command.output().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Compiles a program in the folder; the compiler is told from the file's ending.
pub(crate) fn compile(file: &str, source: &str) -> PathBuf {
    let path = folder().join(file);
    std::fs::write(&path, source).unwrap();
    let out = path.with_extension("");
    let compiler = if file.ends_with(".rs") { "rustc" } else { "gcc" };
    let output =
        Command::new(compiler).current_dir(folder()).args(["-g", file, "-o"]).arg(&out).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    out
}

/// Compiles and records a program once; returns the name of its recording.
pub(crate) fn record(file: &str, source: &str) -> String {
    let program = compile(file, source);
    let trace = format!("{file}.trace");
    let output = vdbg(&["record", "-o", &trace, "--", program.to_str().unwrap()]);
    assert!(folder().join(&trace).join("events").exists(), "{}", text(&output.stderr));
    trace
}

/// What a batch of commands prints, with numbers that differ from run to run made equal.
pub(crate) fn session(trace: &str, commands: &[&str]) -> String {
    let mut arguments = vec!["replay", trace, "--batch"];
    arguments.extend(commands.iter().flat_map(|command| ["-e", *command]));
    let output = vdbg(&arguments);
    normal(&(text(&output.stdout) + &text(&output.stderr)))
}

/// Addresses, process ids and the folder's name are not the same twice.
pub(crate) fn normal(text: &str) -> String {
    let text = text.replace(folder().to_str().unwrap(), "DIR");
    let mut out = String::new();
    let mut rest = text.as_str();
    while let Some(at) = rest.find("0x") {
        let digits = rest[at + 2..].bytes().take_while(u8::is_ascii_hexdigit).count();
        out.push_str(&rest[..at]);
        // Small numbers are values of the program.
        out.push_str(if digits >= 9 { "ADDR" } else { &rest[at..at + 2 + digits] });
        rest = &rest[at + 2 + digits..];
    }
    out + rest
}

/// Runs commands and compares.
pub(crate) fn check(trace: &str, commands: &[&str], expected: &str) {
    let actual = session(trace, commands);
    assert_eq!(actual.trim(), expected.trim(), "\n--- actual:\n{actual}");
}
