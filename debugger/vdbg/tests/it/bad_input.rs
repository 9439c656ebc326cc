//! What goes wrong is said on standard error, with a status other than zero, and without a panic.

use std::os::unix::fs::PermissionsExt;

use crate::support::{compile, folder, record, text, vdbg};

/// Runs `vdbg` and expects a failure with these words.
fn fails(arguments: &[&str], status: i32, words: &[&str]) {
    let output = vdbg(arguments);
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{arguments:?}: {errors}");
    for word in words {
        assert!(errors.contains(word), "{arguments:?} without {word:?}: {errors}");
    }
    assert!(!errors.contains("panicked"), "{errors}");
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
}

fn file(name: &str, contents: &[u8], mode: u32) -> String {
    let path = folder().join(name);
    std::fs::write(&path, contents).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    format!("./{name}")
}

#[test]
fn programs_that_cannot_be_recorded() {
    fails(&["record", "./no-such-program"], 1, &["vdbg: ", "no-such-program"]);
    fails(&["record", "no-such-command-anywhere"], 1, &["PATH"]);
    fails(&["record", "--no-such", "true"], 1, &["option --no-such", "--help"]);
    fails(&["record", &file("plain.txt", b"hello", 0o644)], 1, &["plain.txt"]);
    fails(&["record", &file("bad-script", b"#!/no/such/interpreter\n", 0o755)], 1, &["/no/such/interpreter"]);
    fails(&["record", &file("garbage", b"\x7fELFgarbage", 0o755)], 1, &["garbage"]);
    fails(&["record", "-o", "/proc/nowhere", "/bin/true"], 1, &["/proc/nowhere"]);
}

#[test]
fn wrong_command_lines() {
    for arguments in [&["record"][..], &["nonsense"], &["replay", "--nonsense"], &["rm"], &[]] {
        assert_eq!(vdbg(arguments).status.code(), Some(2), "{arguments:?}");
    }
    fails(&["record", "--ring", "-1M", "true"], 2, &["256M"]);
    fails(&["record", "--stop-after", "-3s", "true"], 2, &["1h30m", "SIGUSR1"]);
    fails(&["record", "--pid", "-3"], 2, &["pgrep"]);
}

#[test]
fn recordings_that_are_none() {
    fails(&["replay", "no-such-trace"], 1, &["no trace no-such-trace", "vdbg ls"]);
    std::fs::create_dir_all(folder().join("empty/dir")).unwrap();
    fails(&["replay", "empty/dir"], 1, &["not a trace"]);
    fails(&["rm", "empty/dir"], 1, &["not a trace"]);
    fails(&["bugreport", "empty/dir", "-o", "none.tar.zst"], 1, &["not a trace"]);
    assert!(!folder().join("none.tar.zst").exists());
    fails(&["dump", "no-such-trace"], 1, &["no trace"]);
    fails(&["info", "no-such-trace"], 1, &["no trace"]);
    fails(&["stop", "4711"], 1, &["no trace 4711", "not a process"]);
    fails(&["info", &file("some-file", b"", 0o600)], 1, &["is a file", "vdbg ls"]);
}

#[test]
fn damaged_recordings() {
    let trace = record("small.c", "int main(void) { return 4; }\n");
    let events = folder().join(&trace).join("events");
    let whole = std::fs::read(&events).unwrap();
    std::fs::write(&events, &whole[..whole.len() / 2]).unwrap();
    let output = vdbg(&["replay", &trace, "-e", "when"]);
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
    std::fs::write(&events, &whole).unwrap();
    let header = folder().join(&trace).join("header.json");
    let mut facts: serde_json::Value = serde_json::from_slice(&std::fs::read(&header).unwrap()).unwrap();
    facts["version"] = 99.into();
    std::fs::write(&header, facts.to_string()).unwrap();
    fails(&["replay", &trace, "-e", "when"], 1, &["newer vdbg"]);
    std::fs::write(&header, "{").unwrap();
    fails(&["replay", &trace, "-e", "when"], 1, &["header.json"]);
    // That is what a report is for.
    assert!(vdbg(&["bugreport", &trace, "-o", "damaged.tar.zst"]).status.success());
}

#[test]
fn commands_that_fail_end_the_batch() {
    let trace = record("other.c", "int x;\nint main(void)\n{\n    x = 3;\n    return x;\n}\n");
    for (command, words) in [
        ("break nowhere", "there is no function \"nowhere\""),
        ("break 4 if x >", "column"),
        ("break 4 if x = 3", "column 3"),
        ("break other.c:400", "no code at or after line 400"),
        ("break gone.c:4", "there is no source file gone.c"),
        ("print y", "no symbol \"y\""),
        ("set x = 4", "cannot be changed"),
        ("print x = 4", "cannot be changed"),
        ("call main()", "cannot be called"),
        ("frobnicate", "no command \"frobnicate\""),
        ("re", "ambiguous"),
        ("goto never", "no event number"),
        ("goto 101%", "past the end"),
        ("restart 7", "no checkpoint 7"),
        ("delete 9", "no breakpoint number 9"),
        ("thread 9", "no thread 9"),
        ("frame 99", "no frame 99"),
        ("watch 3", "no place in memory"),
        ("x/999999999x 0", "too many"),
        ("x/4x 0", "no memory at address"),
        ("print/q x", "no format"),
        ("source /no/such/file", "cannot read the command file"),
        ("info nothing", "help info"),
    ] {
        fails(&["replay", &trace, "-e", command, "-e", "echo not reached"], 1, &[words, command]);
    }
    fails(&["replay", &trace, "-x", "/no/such/file"], 1, &["/no/such/file"]);
}

#[test]
fn no_debug_information_is_no_obstacle() {
    let program =
        compile("bare.c", "#include <unistd.h>\nint main(void) { return write(1, \"x\", 1) + 4; }\n");
    std::process::Command::new("strip").arg(&program).status().unwrap();
    vdbg(&["record", "-o", "bare.trace", "./bare"]);
    let output = vdbg(&["replay", "bare.trace", "-e", "c", "-e", "rc", "-e", "stepi", "-e", "bt", "-e", "s"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    fails(&["replay", "bare.trace", "-e", "list"], 1, &["debug information"]);
}

#[test]
fn lists_and_removal() {
    record("listed.c", "int main(void) { return 0; }\n");
    vdbg(&["record", "./listed"]);
    let listed = text(&vdbg(&["ls"]).stdout);
    assert!(listed.contains("listed-0") && listed.contains("exit 0"), "{listed}");
    let json = text(&vdbg(&["info", "listed-0", "--json"]).stdout);
    let facts: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(facts["status"], "exit 0");
    let dumped = text(&vdbg(&["dump", "listed-0", "--from", "1", "--count", "3"]).stdout);
    assert_eq!(dumped.lines().count(), 3, "{dumped}");
    assert!(vdbg(&["rm", "listed-0"]).status.success());
    fails(&["info", "listed-0"], 1, &["no trace"]);
}
