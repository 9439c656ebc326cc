//! Recording a process that runs already, and leaving it running.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use e2e::Scratch;
use e2e::compile::compile;
use e2e::process::{die_with_us, run, signal, wait};

/// What each phase may take.
const LIMIT: Duration = Duration::from_secs(60);

fn drive() -> Command {
    Command::new(env!("CARGO_BIN_EXE_drive"))
}

fn check(command: &mut Command) -> String {
    let outcome = run(command, None, LIMIT).unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.is_success(), "{command:?}: {outcome:?}");
    String::from_utf8_lossy(&outcome.stdout).into_owned()
}

fn status_of(process: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default();
    line.trim().to_owned()
}

fn start(scratch: &Scratch) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut command = Command::new(compile(scratch, "attached.c"));
    command.stdout(Stdio::piped()).process_group(0);
    die_with_us(&mut command);
    let mut child = command.spawn().expect("the debuggee starts");
    let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("the debuggee speaks");
    assert_eq!(line, "ready\n");
    (child, output)
}

fn end(mut child: Child, mut output: BufReader<std::process::ChildStdout>) {
    signal(&child, libc::SIGTERM);
    let status = wait(&mut child, LIMIT).expect("it ends in time");
    let mut said = String::new();
    output.read_to_string(&mut said).expect("its output");
    assert_eq!((status, said.as_str()), (0, "all is well\n"));
}

/// Three times in a row, so that what leaving puts back is needed.
#[test]
fn a_running_process_is_recorded_and_left() {
    let scratch = Scratch::new();
    let (child, output) = start(&scratch);
    let id = child.id();
    let cores = status_of(id, "Cpus_allowed_list:");
    for round in 0..3 {
        let trace = scratch.path(&format!("trace{round}"));
        check(drive().arg("attach").arg(&trace).args([id.to_string(), "300".into()]));
        assert_eq!(status_of(id, "TracerPid:"), "0");
        assert_eq!(status_of(id, "Cpus_allowed_list:"), cores);
        let (out, err) = (scratch.path("out"), scratch.path("err"));
        check(drive().arg("replay").arg(&trace).args([&out, &err]));
        check(drive().arg("walk").arg(&trace));
        let events = trace::Reader::open(&trace).expect("a trace").len();
        assert!(events > 50, "only {events} events");
    }
    end(child, output);
}

/// The recorder records until the process ends.
#[test]
fn a_running_process_is_recorded_to_its_end() {
    let scratch = Scratch::new();
    let (child, output) = start(&scratch);
    let trace = scratch.path("trace");
    let mut recorder = drive();
    recorder.arg("attach").arg(&trace).args([child.id().to_string(), "60000".into()]);
    recorder.process_group(0);
    die_with_us(&mut recorder);
    let mut recorder = recorder.spawn().expect("the recorder starts");
    let since = std::time::Instant::now();
    while status_of(child.id(), "TracerPid:") == "0" || !trace.join("snapshots").exists() {
        assert!(since.elapsed() < LIMIT, "it is not attached to");
        std::thread::sleep(Duration::from_millis(5));
    }
    end(child, output);
    assert_eq!(wait(&mut recorder, LIMIT), Some(0));
    check(drive().arg("replay").arg(&trace).args([scratch.path("out"), scratch.path("err")]));
    assert_eq!(trace::Reader::open(&trace).expect("a trace").end().map(|end| end.status), Some(0));
}
