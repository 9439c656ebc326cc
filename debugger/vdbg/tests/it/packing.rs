//! Recordings that go to another machine: `vdbg pack`, and what replay says about another processor.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::support::{compile, folder, record, text, vdbg};

fn links(directory: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(directory.join("files")).unwrap();
    files.map(|file| file.unwrap().metadata().unwrap().nlink()).collect()
}

#[test]
fn a_packed_recording_is_its_own() {
    compile("packed.c", "#include <stdio.h>\nint main(void) { puts(\"hello\"); return 3; }\n");
    assert_eq!(vdbg(&["record", "./packed"]).status.code(), Some(3));
    let directory = folder().join("traces/packed-0");
    assert!(links(&directory).iter().all(|links| *links > 1), "files are shared");
    let output = vdbg(&["pack", "packed-0", "-o", "packed.tar.zst"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("self-contained"), "{}", text(&output.stdout));
    assert!(links(&directory).iter().all(|links| *links == 1), "the trace has its own files");

    // What it was unpacked to replays without anything of this one's.
    let unpacked = folder().join("elsewhere");
    std::fs::create_dir(&unpacked).unwrap();
    let archive = zstd::decode_all(std::fs::File::open(folder().join("packed.tar.zst")).unwrap()).unwrap();
    std::fs::write(folder().join("packed.tar"), archive).unwrap();
    let mut tar = std::process::Command::new("tar");
    let status = tar.arg("-xf").arg(folder().join("packed.tar")).arg("-C").arg(&unpacked).status().unwrap();
    assert!(status.success());
    std::fs::remove_dir_all(&directory).unwrap();
    let output = vdbg(&["replay", "elsewhere/packed-0", "--autopilot"]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(3), "hello\n"));

    // Something is missing.
    let first = std::fs::read_dir(unpacked.join("packed-0/files")).unwrap().next().unwrap().unwrap().path();
    std::fs::remove_file(&first).unwrap();
    let output = vdbg(&["pack", "elsewhere/packed-0"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains(first.file_name().unwrap().to_str().unwrap()));
}

/// Changes a recording's machine.
fn doctor(trace: &str, change: impl FnOnce(&mut serde_json::Value)) {
    let header = folder().join(trace).join("header.json");
    let mut facts: serde_json::Value = serde_json::from_slice(&std::fs::read(&header).unwrap()).unwrap();
    change(&mut facts["machine"]);
    std::fs::write(&header, facts.to_string()).unwrap();
}

#[test]
fn other_processors() {
    let trace = record("moved.c", "int main(void) { return 0; }\n");
    let replay = |options: &[&str]| {
        let output = vdbg(&[&["replay", &trace, "--autopilot"], options].concat());
        (output.status.success(), text(&output.stderr))
    };
    doctor(&trace, |machine| machine["signature"] = 0x1234.into());
    let (good, said) = replay(&[]);
    assert!(good && said.contains("another model") && said.contains("0x1234"), "{said}");

    doctor(&trace, |machine| {
        let features = machine["features"].as_array_mut().unwrap();
        features.retain(|feature| feature != "sse2" && feature != "nx");
        features.push("avx4096".into());
        machine["xcr0"] = 0x3.into();
    });
    let (good, said) = replay(&[]);
    assert!(!good, "{said}");
    for words in ["missing here: avx4096", "not at recording: sse2;", "XCR0 was 0x3", "--any-machine"] {
        assert!(said.contains(words), "without {words}: {said}");
    }
    let (good, said) = replay(&["--any-machine"]);
    assert!(good && said.contains("note: "), "{said}");
}
