//! Recordings that are being made while somebody looks at them.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{VDBG, compile, folder, text, vdbg};

/// What anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A process that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder()).stdin(Stdio::null()).stdout(Stdio::null());
    Running(command.stderr(Stdio::null()).spawn().unwrap())
}

/// Runs `vdbg`; everything it says.
fn said(arguments: &[&str]) -> String {
    let output = vdbg(arguments);
    text(&output.stdout) + &text(&output.stderr)
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_ring_that_is_being_recorded() {
    let source = "#include <fcntl.h>\n#include <unistd.h>\nint main(void) {\n    static char bytes[65536];\n    \
        int chance = open(\"/dev/urandom\", O_RDONLY);\n    for (;;) {\n        read(chance, bytes, sizeof bytes);\n        \
        usleep(1000);\n    }\n}\n";
    compile("goes_on.c", source);
    let trace = folder().join("goes_on.trace");
    let _recorder = start(VDBG, &["record", "--ring", "2M", "-o", "goes_on.trace", "./goes_on"]);
    wait_for("the ring to be full", || trace::Reader::open(&trace).is_ok_and(|reader| reader.first() > 100));
    let name = "./goes_on.trace";
    let info = said(&["info", name]);
    assert!(info.contains("being recorded by process") && info.contains("a ring keeps the newest"), "{info}");
    let facts: serde_json::Value = serde_json::from_str(&said(&["info", name, "--json"])).unwrap();
    assert!(facts["status"] == "recording" && facts["ring_bytes"] == 2 << 20, "{facts}");
    assert!(facts["events"].as_u64() < facts["first_event"].as_u64(), "{facts}");
    let replay = said(&["replay", name, "--batch", "-e", "goto 0", "-e", "goto end"]);
    for words in ["is still recording this", "The recording begins at event", "the recording goes on]"] {
        assert!(replay.contains(words), "{words}: {replay}");
    }
    assert!(said(&["rm", name]).contains("still being recorded"));
    let saved = said(&["save", name]);
    assert!(saved.trim().ends_with("goes_on.trace-saved-1"), "{saved}");
    let saved = said(&["info", saved.trim()]);
    assert!(saved.contains("a copy of a ring whose recording went on"), "{saved}");
    let stopped = said(&["stop", name]);
    assert!(stopped.contains("goes on under the recorder"), "{stopped}");
    let info = said(&["info", name]);
    assert!(info.contains("status     a part"), "{info}");
}

/// Nothing goes on under the recorder that was not started under it.
#[test]
fn an_attached_recording_is_stopped() {
    compile("visited.c", "#include <unistd.h>\nint main(void) {\n    for (;;)\n        usleep(1000);\n}\n");
    let process = start(folder().join("visited").to_str().unwrap(), &[]);
    let id = process.0.id().to_string();
    let trace = folder().join("visited.trace");
    let _recorder = start(VDBG, &["record", "--pid", &id, "-o", "visited.trace"]);
    wait_for("events", || trace::Reader::open(&trace).is_ok_and(|reader| reader.len() > 10));
    let stopped = said(&["stop", "./visited.trace"]);
    assert!(stopped.contains("goes on without a recorder") && !stopped.contains("under"), "{stopped}");
}

/// It is named after its program, also when that has been replaced, as a server's is by an update.
#[test]
fn a_process_whose_program_has_been_removed() {
    compile("replaced.c", "#include <unistd.h>\nint main(void) {\n    for (;;)\n        usleep(1000);\n}\n");
    let program = folder().join("replaced");
    let process = start(program.to_str().unwrap(), &[]);
    let exe = format!("/proc/{}/exe", process.0.id());
    wait_for("it to run", || std::fs::read_link(&exe).is_ok_and(|exe| exe.ends_with("replaced")));
    std::fs::remove_file(&program).unwrap();
    let recorded = said(&["record", "-v", "--stop-after", "100ms", "--pid", &process.0.id().to_string()]);
    assert!(recorded.contains("traces/replaced-0;"), "{recorded}");
}
