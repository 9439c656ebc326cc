//! What goes wrong around a recording: who is killed or stopped, and what runs out. What was recorded replays, nothing is
//! left behind, and somebody says what happened.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use e2e::compile::compile;
use e2e::process::{self, Outcome};
use e2e::{Random, Scratch};

use crate::case;

const DRIVE: &str = env!("CARGO_BIN_EXE_drive");

/// What anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// A recording in progress.
struct Recorder {
    child: Child,
    lines: Receiver<String>,
    errors: ChildStderr,
    trace: PathBuf,
    program: PathBuf,
}

impl Recorder {
    /// Begins to record a program, and waits until it has printed so many lines.
    fn start(scratch: &Scratch, program: &Path, arguments: &[&str], printed: usize) -> Recorder {
        let trace = scratch.path("trace");
        let _ = std::fs::remove_dir_all(&trace);
        let mut command = Command::new(DRIVE);
        command.arg("record").arg(&trace).arg("--").arg(program).args(arguments).process_group(0);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process::die_with_us(&mut command);
        let mut child = command.spawn().expect("drive can be started");
        let lines = lines_of(child.stdout.take().expect("a pipe"));
        let errors = child.stderr.take().expect("a pipe");
        let program = program.to_owned();
        let recorder = Recorder { child, lines, errors, trace, program };
        recorder.read_lines(printed);
        recorder
    }

    fn read_lines(&self, count: usize) -> Vec<String> {
        let line = |_| self.lines.recv_timeout(LIMIT).expect("the program goes on");
        (0..count).map(line).collect()
    }

    /// The processes that run the program.
    fn processes(&self) -> Vec<i32> {
        processes_of(&self.program)
    }

    /// Waits for the recorder to end, and for all that it recorded. Its wait status and what it said.
    fn end(mut self) -> (i32, String) {
        let program = self.program.clone();
        // The pipe must not fill up.
        drop(self.lines);
        let status = process::wait(&mut self.child, LIMIT).expect("the recorder ends in time");
        wait_for(&format!("{} to end", program.display()), || processes_of(&program).is_empty());
        let mut said = String::new();
        let _ = self.errors.read_to_string(&mut said);
        assert!(!said.contains("panicked"), "{said}");
        (status, said)
    }
}

/// What a program prints. When nobody wants it any more it is read all the same.
fn lines_of(output: ChildStdout) -> Receiver<String> {
    const AHEAD: usize = 1000;
    let (sender, receiver) = mpsc::sync_channel(AHEAD);
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// The processes that run a program and are no zombies.
fn processes_of(program: &Path) -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    entries
        .filter(|entry| std::fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == program))
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

fn wait_for(what: &str, is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LIMIT, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn signal(process: i32, signal: i32) {
    // SAFETY: kill takes numbers only; the process is one of this test's, seen a moment ago.
    unsafe { libc::kill(process, signal) };
}

fn state_of(process: u32) -> Option<char> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("State:"))?.trim().chars().next()
}

fn run(command: &mut Command) -> Outcome {
    process::run(command, None, LIMIT).unwrap_or_else(|error| panic!("{error}"))
}

/// Replays to the end, whether or not the recorder got to close the trace. How many events there are.
fn replays(trace: &Path, scratch: &Scratch) -> u64 {
    let reader = trace::Reader::open(trace).expect("a readable trace");
    let mut command = Command::new(DRIVE);
    match reader.end() {
        Some(_) => command.arg("replay").arg(trace).args([scratch.path("out"), scratch.path("err")]),
        None => command.arg("prefix").arg(trace),
    };
    let outcome = run(&mut command);
    assert!(outcome.is_success(), "{outcome:?}");
    reader.len()
}

#[test]
fn kill_of_the_recorder() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "endless.c");
    let mut random = Random(77);
    for _ in 0..3 {
        let recorder = Recorder::start(&scratch, &program, &[], 200);
        // What is not written yet is lost.
        while recorder.trace.join("events").metadata().is_ok_and(|events| events.len() == 0) {
            recorder.read_lines(1);
        }
        let mut lines = random.below(300) as usize;
        while lines > 0 {
            recorder.read_lines(1);
            lines -= 1;
        }
        process::signal(&recorder.child, libc::SIGKILL);
        let trace = recorder.trace.clone();
        assert_eq!(recorder.end().0, libc::SIGKILL);
        assert!(replays(&trace, &scratch) > 50);
        assert_eq!(trace::recorder_of(&trace), None);
    }
}

#[test]
fn kill_of_the_program() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "endless.c");
    let mut random = Random(78);
    for _ in 0..3 {
        let recorder = Recorder::start(&scratch, &program, &[], 100);
        recorder.read_lines(random.below(100) as usize);
        // Its children are short: the first is the parent.
        let root = recorder.processes().into_iter().min().expect("it runs");
        signal(root, libc::SIGKILL);
        let trace = recorder.trace.clone();
        let (status, said) = recorder.end();
        assert_eq!(status, 0, "{said}");
        assert!(replays(&trace, &scratch) > 50);
        let end = trace::Reader::open(&trace).expect("a trace").end().cloned().expect("it has ended");
        assert_eq!(end.status & 0x7f, libc::SIGKILL);
    }
}

#[test]
fn kill_of_one_process() {
    let scratch = Scratch::new();
    let trace = scratch.path("trace");
    let mut command = Command::new(DRIVE);
    command.arg("record").arg(&trace).args(["--", "sh", "-c"]);
    command.arg("(while :; do :; done) & busy=$!; (while :; do sleep 0.01; done) & idle=$!; echo $busy $idle; wait $busy; echo $?; wait $idle; echo $?");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    process::die_with_us(&mut command);
    let mut recorder = command.spawn().expect("drive can be started");
    let mut lines = BufReader::new(recorder.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("a line");
    let ids = line();
    for id in ids.split(' ') {
        signal(id.parse().expect("a process id"), libc::SIGKILL);
        assert_eq!(line(), "137");
    }
    assert_eq!(process::wait(&mut recorder, LIMIT), Some(0));
    replays(&trace, &scratch);
}

/// SIGSTOP for all, in several orders, then SIGCONT: as when a terminal or a machine is suspended.
#[test]
fn everything_stopped_and_continued() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "endless.c");
    let recorder = Recorder::start(&scratch, &program, &[], 50);
    let id = recorder.child.id();
    for round in 0..4 {
        let root = recorder.processes().into_iter().min().expect("it runs");
        let order = if round % 2 == 0 { [id as i32, root] } else { [root, id as i32] };
        order.into_iter().for_each(|process| signal(process, libc::SIGSTOP));
        wait_for("the recorder to stop", || state_of(id) == Some('T'));
        // Longer than the limits within which things happen at recording.
        std::thread::sleep(Duration::from_millis(if round == 0 { 1500 } else { 150 }));
        let order = if round < 2 { [id as i32, root] } else { [root, id as i32] };
        order.into_iter().for_each(|process| signal(process, libc::SIGCONT));
        recorder.read_lines(100);
    }
    let root = recorder.processes().into_iter().min().expect("it runs");
    signal(root, libc::SIGTERM);
    let trace = recorder.trace.clone();
    let (status, said) = recorder.end();
    assert_eq!(status, 0, "{said}");
    assert!(replays(&trace, &scratch) > 400);
}

/// Runs a script with a mount namespace of its own. `None` when that, or mounting, is not allowed here.
fn with_mounts(script: &str) -> Option<Outcome> {
    let allowed = run(Command::new("unshare").args(["--mount", "sh", "-c", "mount -t tmpfs none /mnt"]));
    if !allowed.is_success() {
        eprintln!("skipped: file systems cannot be mounted here (that needs root): {allowed:?}");
        return None;
    }
    Some(run(Command::new("unshare").args(["--mount", "sh", "-c", script])))
}

/// A disk that is full at once, soon, or later.
#[test]
fn a_full_disk() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "endless.c");
    std::fs::create_dir(scratch.path("disk")).expect("a directory");
    for kilobytes in [8, 600, 2400, 4096, 6000] {
        let (disk, copy) = (scratch.path("disk"), scratch.path(&format!("copy{kilobytes}")));
        let script = format!(
            "mount -t tmpfs -o size={kilobytes}k none {disk} && {DRIVE} record {disk}/trace -- {program} > /dev/null; status=$?; test -d {disk}/trace && cp -r {disk}/trace {copy}; exit $status",
            disk = disk.display(),
            copy = copy.display(),
            program = program.display(),
        );
        let Some(outcome) = with_mounts(&script) else { return };
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(!outcome.is_success() && !said.contains("panicked"), "{kilobytes} kB: {said}");
        assert!(said.contains("No space left") && said.contains("-o DIR"), "{kilobytes} kB: {said}");
        wait_for("the program to end", || processes_of(&program).is_empty());
        assert_eq!(copy.exists(), said.contains("can be replayed from"), "{said}");
        if copy.exists() {
            assert!(replays(&copy, &scratch) > 20, "{kilobytes} kB");
        }
    }
}

/// A program that ran before goes on when it can no longer be recorded.
#[test]
fn a_full_disk_while_attached() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "endless.c");
    let mut child = Command::new(&program);
    child.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
    process::die_with_us(&mut child);
    let mut child = child.spawn().expect("the debuggee starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("it goes on").expect("text");
    let (disk, copy) = (scratch.path("disk"), scratch.path("copy"));
    std::fs::create_dir(&disk).expect("a directory");
    let script = format!(
        "mount -t tmpfs -o size=6000k none {disk} && {DRIVE} attach {disk}/trace {id} 50000; status=$?; cp -r {disk}/trace {copy}; exit $status",
        disk = disk.display(),
        copy = copy.display(),
        id = child.id(),
    );
    let attached = std::thread::spawn(move || with_mounts(&script));
    // It would wait for a reader of its output.
    while !attached.is_finished() {
        line();
    }
    if let Some(outcome) = attached.join().expect("a result") {
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(!outcome.is_success() && said.contains("No space left"), "{said}");
        assert!(said.contains("goes on without being recorded"), "{said}");
        assert!(replays(&copy, &scratch) > 20);
    }
    (0..200).for_each(|_| drop(line()));
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    assert!(status.contains("TracerPid:\t0\n"), "{status}");
    process::end_group(&mut child);
}

/// A full `/dev/shm` is seen by the program as without us, and is none of the replay's.
#[test]
fn a_full_shm() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "exhausted.c");
    let trace = scratch.path("trace");
    let script = format!(
        "mount -t tmpfs -o size=64k none /dev/shm && {DRIVE} record {} -- {} memory",
        trace.display(),
        program.display()
    );
    let Some(outcome) = with_mounts(&script) else { return };
    assert!(outcome.is_success(), "{outcome:?}");
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "no more memory\nfull\n");
    replays(&trace, &scratch);
    assert_eq!(std::fs::read(scratch.path("out")).expect("output"), outcome.stdout);
    let walked = run(Command::new(DRIVE).arg("walk").arg(&trace));
    assert!(walked.is_success(), "{walked:?}");
}

#[test]
fn a_program_without_descriptors() {
    let scratch = Scratch::new();
    // The loader of a dynamic program would need one.
    let program = scratch.path("exhausted");
    let mut gcc = Command::new("gcc");
    gcc.args(["-std=gnu11", "-O1", "-g", "-static", "-pthread"]).arg(e2e::debuggee("exhausted.c"));
    assert!(run(gcc.arg("-o").arg(&program)).is_success(), "it does not compile");
    let recording = case(&program).with_warnings().check();
    // The agent found its way in.
    assert_eq!(String::from_utf8_lossy(&recording.recorded.stderr), "");
    case(&program).without_agent().check();
}

/// The recorder may open few files: it records with them, or says what is missing.
#[test]
fn a_recorder_without_descriptors() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "forker.c");
    let (mut recorded, mut refused) = (0, 0);
    for limit in [3, 4, 5, 6, 8, 10, 12, 16, 24, 48, 64] {
        let trace = scratch.path(&format!("trace{limit}"));
        let mut command = Command::new("sh");
        let script = "ulimit -n $1; shift; exec \"$@\"";
        command.args(["-c", script, "sh", &limit.to_string(), DRIVE, "record"]).arg(&trace).arg("--");
        let outcome = run(command.arg(&program).env("VDBG_WARNINGS", "1"));
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(!said.contains("panicked"), "{limit}: {said}");
        if said.contains("error while loading shared libraries") {
            // The recorder itself has not been started.
            continue;
        }
        assert!(said.contains("ulimit -n"), "{limit}: {outcome:?}");
        match outcome.is_success() {
            true => {
                recorded += 1;
                replays(&trace, &scratch);
            }
            false => {
                refused += 1;
                assert!(said.contains("Too many open files"), "{limit}: {said}");
                assert!(!trace.exists() || said.contains("can be replayed"), "{limit}: {said}");
            }
        }
        wait_for("the program to end", || processes_of(&program).is_empty());
    }
    assert!(recorded > 2 && refused > 1, "{recorded} were recorded, {refused} were not");
}

#[test]
fn forks_without_end() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "forker.c");
    let trace = scratch.path("trace");
    let mut command = Command::new(DRIVE);
    command.arg("record").arg(&trace).arg("--").arg(&program);
    command.env("VDBG_PROCESSES_MAX", "40").env("VDBG_WARNINGS", "1");
    let outcome = run(&mut command);
    let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "39 children\nforks again\n", "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.contains("40 processes") && said.contains("EAGAIN"), "{said}");
    assert_eq!(trace::warnings(&trace), [said.trim_end()]);
    replays(&trace, &scratch);
    assert_eq!(std::fs::read(scratch.path("out")).expect("output"), outcome.stdout);
}
