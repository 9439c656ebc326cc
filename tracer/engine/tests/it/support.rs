//! Jobs in processes of their own, recordings, and small helpers.

use std::ffi::{CString, OsString};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use trace::{EventKind, Registers, ThreadId};
use tracer::{OpenOptions, RecordOptions, Session};

/// The variable that names the job of a process.
pub(crate) const JOB: &str = "TRACER_IT_JOB";

/// What a job may take, for each unit of [`effort`].
const LIMIT: Duration = Duration::from_secs(400);

/// How often a child is looked at.
const POLL: Duration = Duration::from_millis(5);

/// Runs a job in a process of its own; its failure is ours.
pub(crate) fn isolated(job: &str) {
    let scratch = tempfile::Builder::new().prefix("e2e-").tempdir().expect("a temporary directory");
    let log = scratch.path().join("log");
    let output = std::fs::File::create(&log).expect("a file for the output");
    let mut command = Command::new(std::env::current_exe().expect("this binary has a path"));
    command.env(JOB, job).env(SCRATCH, scratch.path()).process_group(0);
    command.stdin(Stdio::null()).stdout(output.try_clone().expect("a copy")).stderr(output);
    die_with_us(&mut command);
    let mut child = command.spawn().expect("this binary can be started");
    let good = finish(&mut child, LIMIT * effort() as u32);
    let said = std::fs::read(&log).unwrap_or_default();
    assert_eq!(good, Some(0), "job {job}: {}", String::from_utf8_lossy(&said));
    print!("{}", String::from_utf8_lossy(&said));
}

/// When the test is ended from outside, nothing is left behind: what a session or a recorder traces ends with it.
fn die_with_us(command: &mut Command) {
    // SAFETY: between fork and exec only prctl(2) is called, which takes no pointers here.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
}

/// Waits for a child that leads a process group; ends it when it takes too long. Its exit code.
pub(crate) fn finish(child: &mut Child, limit: Duration) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            return status.code();
        }
        if begun.elapsed() > limit {
            // SAFETY: kill(2) takes no pointers; the group is the child's own, which has not been waited for.
            unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
            let _ = child.wait();
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// The variable with the directory of a job's files.
const SCRATCH: &str = "TRACER_IT_SCRATCH";

/// A path in the job's directory; the test that started the job removes it.
pub(crate) fn scratch(name: &str) -> PathBuf {
    PathBuf::from(std::env::var_os(SCRATCH).expect("a job has a directory")).join(name)
}

/// A program among the sources beside this file, compiled without relocation, so that symbols are addresses.
pub(crate) struct Program {
    pub(crate) path: PathBuf,
}

impl Program {
    pub(crate) fn compile(source: &str) -> Program {
        Program::compile_with(source, &[])
    }

    /// With further options for the compiler.
    pub(crate) fn compile_with(source: &str, options: &[&str]) -> Program {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/programs").join(source);
        let path = scratch(source.trim_end_matches(".c"));
        let mut gcc = Command::new("gcc");
        gcc.args([
            "-std=gnu11",
            "-O1",
            "-g",
            "-no-pie",
            "-pthread",
            "-Wall",
            "-Werror",
            "-Wno-unused-result",
        ]);
        gcc.args(options).arg("-o");
        let status = gcc.arg(&path).arg(from).status().expect("gcc can be started");
        assert!(status.success(), "{source} does not compile");
        Program { path }
    }

    /// Address of a symbol.
    pub(crate) fn symbol(&self, name: &str) -> u64 {
        use object::{Object, ObjectSymbol};
        let bytes = std::fs::read(&self.path).expect("the program can be read");
        let file = object::File::parse(bytes.as_slice()).expect("the program is an ELF file");
        let found = file.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address());
        found.unwrap_or_else(|| panic!("no symbol {name}"))
    }

    /// Records it; the trace is called `name`.
    pub(crate) fn record(&self, name: &str, arguments: &[&str]) -> PathBuf {
        record(name, &self.path, arguments)
    }
}

/// Records a program in a process of its own.
pub(crate) fn record(name: &str, program: &Path, arguments: &[&str]) -> PathBuf {
    let (mut recorder, trace) = start_recording(name, program, arguments);
    assert_eq!(finish(&mut recorder, LIMIT), Some(0), "the recording of {} failed", program.display());
    trace
}

/// Starts to record a program in a process of its own.
pub(crate) fn start_recording(name: &str, program: &Path, arguments: &[&str]) -> (Child, PathBuf) {
    let trace = scratch(name);
    let mut recorder = Command::new(std::env::current_exe().expect("this binary has a path"));
    recorder.env(JOB, "record").arg(&trace).arg(program).args(arguments).process_group(0);
    die_with_us(recorder.stdin(Stdio::null()));
    let child = recorder.spawn().expect("this binary can be started");
    (child, trace)
}

/// The job that records: DIR PROGRAM ARG…
pub(crate) fn record_job() {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let text =
        |argument: &OsString| CString::new(argument.clone().into_vec()).expect("no NUL in an argument");
    // SAFETY: this process has one thread.
    unsafe { std::env::remove_var(JOB) };
    let options = RecordOptions {
        program: PathBuf::from(&arguments[1]),
        arguments: arguments[1..].iter().map(text).collect(),
        output: Some(PathBuf::from(&arguments[0])),
        ..RecordOptions::default()
    };
    let recorded = tracer::record(&options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(recorded.status, 0, "the program failed");
}

/// Opens a trace.
pub(crate) fn open(trace: &Path) -> Session {
    Session::open(trace, OpenOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The registers of all threads, without what is the kernel's own note.
pub(crate) fn all_registers(session: &Session) -> Vec<(ThreadId, Registers)> {
    let of =
        |thread: ThreadId| Registers { orig_rax: 0, ..session.registers(thread).expect("the thread exists") };
    session.threads().into_iter().map(|info| (info.thread, of(info.thread))).collect()
}

/// How many events of a kind a trace has.
pub(crate) fn count(session: &Session, is_wanted: impl Fn(&EventKind) -> bool) -> usize {
    let trace = session.trace();
    (0..trace.len()).filter(|number| trace.event(*number).is_ok_and(|event| is_wanted(&event.kind))).count()
}

/// SplitMix64: the same numbers for a seed for ever.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// How many times as much is tried: 1 in the suite, more in the corpus through `VDBG_EFFORT`.
pub(crate) fn effort() -> u64 {
    std::env::var("VDBG_EFFORT").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}
