//! What the recorder leaves behind when things go wrong.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use e2e::compile::compile;
use e2e::{Random, Scratch, process};

const DRIVE: &str = env!("CARGO_BIN_EXE_drive");

/// What anything here may take.
const LIMIT: Duration = Duration::from_secs(60);

/// Records a program and kills the recorder after some time. The trace.
fn killed_after(scratch: &Scratch, program: &std::path::Path, time: Duration) -> std::path::PathBuf {
    // The trace begins a while after the recorder; the time counts from there.
    killed_when(scratch, program, Command::new(DRIVE), |trace| {
        let has_begun = trace.join("events").metadata().is_ok_and(|events| events.len() > 0);
        if has_begun {
            std::thread::sleep(time);
        }
        has_begun
    })
}

/// Records a program and kills the recorder when the trace is as wanted. The trace.
fn killed_when(
    scratch: &Scratch,
    program: &std::path::Path,
    mut command: Command,
    is_wanted: impl Fn(&std::path::Path) -> bool,
) -> std::path::PathBuf {
    let trace = scratch.path("trace");
    let _ = std::fs::remove_dir_all(&trace);
    command.arg("record").arg(&trace).arg("--").arg(program).process_group(0);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    process::die_with_us(&mut command);
    let mut recorder = command.spawn().expect("drive can be started");
    let begun = Instant::now();
    while !is_wanted(&trace) && begun.elapsed() < LIMIT {
        std::thread::sleep(Duration::from_millis(1));
    }
    recorder.kill().expect("our own child can be killed");
    let _ = recorder.wait();

    trace
}

/// Replays what there is.
fn prefix(trace: &std::path::Path) -> String {
    let outcome = process::run(Command::new(DRIVE).arg("prefix").arg(trace), None, LIMIT);
    let outcome = outcome.unwrap_or_else(|error| panic!("{error}"));
    assert!(outcome.is_success(), "{outcome:?}");
    String::from_utf8_lossy(&outcome.stdout).into_owned()
}

fn events_of(trace: &std::path::Path) -> u64 {
    trace::Reader::open(trace).expect("a readable trace").len()
}

#[test]
fn a_killed_recorder_leaves_what_it_recorded() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "endless.c");
    let mut random = Random(51);
    for _ in 0..4 {
        let trace = killed_after(&scratch, &program, Duration::from_millis(200 + random.below(500)));
        let said = prefix(&trace);
        assert!(events_of(&trace) > 100, "{said}");
    }
}

/// `timeout`, a service manager or a user ends the recorder and means the program.
#[test]
fn a_signal_to_the_recorder_reaches_the_program() {
    let scratch = Scratch::new();
    let trace = scratch.path("trace");
    let mut command = Command::new(DRIVE);
    command.arg("record").arg(&trace).args(["--", "sh", "-c"]);
    command.arg("trap 'echo ended; exit 3' TERM; echo begun; while :; do sleep 0.05; done");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    process::die_with_us(&mut command);
    let mut recorder = command.spawn().expect("drive can be started");
    let mut lines = BufReader::new(recorder.stdout.take().expect("a pipe")).lines();
    let mut line = || lines.next().expect("a line").expect("a line");
    assert_eq!(line(), "begun");
    process::signal(&recorder, libc::SIGTERM);
    assert_eq!(line(), "ended");
    assert!(recorder.wait().expect("our own child").success());
    assert!(events_of(&trace) > 0);
}

#[test]
fn the_program_dies_with_its_recorder() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "endless.c");
    killed_after(&scratch, &program, Duration::from_millis(100));
    let begun = Instant::now();
    let runs = || {
        let processes = std::fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
        processes
            .filter_map(|entry| std::fs::read_link(entry.path().join("exe")).ok())
            .any(|exe| exe == program)
    };
    while runs() {
        assert!(begun.elapsed() < LIMIT, "{} still runs", program.display());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_truncated_trace_replays_up_to_the_cut() {
    let scratch = Scratch::new();
    let program = compile(&scratch, "endless.c");
    // Without the agent what calls write goes to the data file. Two thirds hold more than the first block of each file.
    let mut command = Command::new(DRIVE);
    command.env("VDBG_NO_AGENT", "1");
    let first = std::cell::Cell::new([0; 2]);
    let has_enough = |trace: &std::path::Path| {
        let len = |file| trace.join(file).metadata().map_or(0, |meta| meta.len());
        let (mut known, now) = (first.get(), [len("events"), len("data")]);
        for (known, now) in known.iter_mut().zip(now) {
            *known = if *known == 0 { now } else { *known };
        }
        first.set(known);
        known.iter().zip(now).all(|(first, now)| *first > 0 && now > 4 * first)
    };
    let trace = killed_when(&scratch, &program, command, has_enough);
    let all = events_of(&trace);
    for file in ["events", "data"] {
        let path = trace.join(file);
        let bytes = std::fs::read(&path).expect("a file of the trace");
        std::fs::write(&path, &bytes[..bytes.len() * 2 / 3]).expect("the file can be written");
        let left = events_of(&trace);
        assert!(left < all && left > 0, "{left} of {all} events");
        prefix(&trace);
        std::fs::write(&path, &bytes).expect("the file can be written");
    }
}

#[test]
fn bad_programs_are_refused_with_a_word() {
    let scratch = Scratch::new();
    let script = scratch.path("script");
    std::fs::write(&script, "#!/there/is/no/interpreter\n").expect("a file");
    let text = scratch.path("text");
    std::fs::write(&text, "no program\n").expect("a file");
    let executable = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::set_permissions(&script, executable).expect("permissions");
    for (program, word) in [
        ("/there/is/no/program".into(), "no program"),
        ("there-is-no-such-program".into(), "PATH"),
        (script.to_string_lossy().into_owned(), "interpreter"),
        (text.to_string_lossy().into_owned(), "execut"),
        ("/tmp".into(), "director"),
    ] {
        let trace = scratch.path("trace");
        let mut command = Command::new(DRIVE);
        let outcome = process::run(command.arg("record").arg(&trace).args(["--", &program]), None, LIMIT);
        let outcome = outcome.unwrap_or_else(|error| panic!("{error}"));
        let said = String::from_utf8_lossy(&outcome.stderr).into_owned();
        assert!(!outcome.is_success(), "{program} was recorded");
        assert!(said.contains(word) && !said.contains("panicked"), "{program}: {said}");
        assert!(!trace.exists(), "an empty trace of {program} is left");
    }
}
