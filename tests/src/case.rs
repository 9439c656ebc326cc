//! A program as a test case: run bare, recorded, replayed, and walked backwards.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::Scratch;
use crate::process::{Outcome, excerpt, run};

/// What a case may take in all its phases, each.
const LIMIT: Duration = Duration::from_secs(60);

/// A program with its arguments and standard input.
#[derive(Clone)]
pub struct Case {
    drive: PathBuf,
    program: PathBuf,
    arguments: Vec<OsString>,
    stdin: Vec<u8>,
    directory: Option<PathBuf>,
    all_cores: bool,
    same_output: bool,
    snapshots: bool,
    chaos_seed: Option<u64>,
    ring: Option<u64>,
    without_agent: bool,
    with_warnings: bool,
    limit: Duration,
}

/// A recording that has been made.
pub struct Recording {
    case: Case,
    scratch: Scratch,
    /// What the recorded run said.
    pub recorded: Outcome,
}

impl Case {
    /// A case of this program; `drive` is the path of the helper binary.
    pub fn new(drive: impl Into<PathBuf>, program: impl Into<PathBuf>) -> Case {
        Case {
            drive: drive.into(),
            program: program.into(),
            arguments: Vec::new(),
            stdin: Vec::new(),
            directory: None,
            all_cores: false,
            same_output: true,
            snapshots: false,
            chaos_seed: None,
            ring: None,
            without_agent: false,
            with_warnings: false,
            limit: LIMIT,
        }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Case {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets the standard input.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Case {
        self.stdin = bytes.into();
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, path: impl Into<PathBuf>) -> Case {
        self.directory = Some(path.into());
        self
    }

    /// Shows the program all cores. Otherwise cases take turns in using one core each, since a recording uses only one.
    #[must_use]
    pub fn all_cores(mut self) -> Case {
        self.all_cores = true;
        self
    }

    /// The output differs from run to run: only the recorded and the replayed one are compared.
    #[must_use]
    pub fn output_varies(mut self) -> Case {
        self.same_output = false;
        self
    }

    /// Snapshots are made all the time, and compared with what replay comes to.
    #[must_use]
    pub fn snapshots(mut self) -> Case {
        self.snapshots = true;
        self
    }

    /// Only about so many bytes are kept.
    #[must_use]
    pub fn ring(mut self, bytes: u64) -> Case {
        self.ring = Some(bytes);
        self
    }

    /// Turns are given at random.
    #[must_use]
    pub fn chaos(mut self, seed: u64) -> Case {
        self.chaos_seed = Some(seed);
        self
    }

    /// Records without the agent: every system call stops the program.
    #[must_use]
    pub fn without_agent(mut self) -> Case {
        self.without_agent = true;
        self
    }

    /// Lets the recorder's warnings go to the standard error.
    #[must_use]
    pub fn with_warnings(mut self) -> Case {
        self.with_warnings = true;
        self
    }

    /// Sets the time-out of each phase.
    #[must_use]
    pub fn limit_s(mut self, seconds: u64) -> Case {
        self.limit = Duration::from_secs(seconds);
        self
    }

    /// Everything: bare and recorded agree, the replay reproduces it, and a breakpoint is found forwards and backwards.
    ///
    /// # Panics
    /// When something disagrees.
    pub fn check(self) -> Recording {
        let bare = self.bare();
        let recording = self.record();
        recording.compare(&bare);
        recording.replay();
        recording.walk();
        recording
    }

    /// The same without the breakpoint: bare and recorded agree, and the replay reproduces it.
    ///
    /// # Panics
    /// When something disagrees.
    pub fn check_replay(self) -> Recording {
        let bare = self.bare();
        let recording = self.record();
        recording.compare(&bare);
        recording.replay();
        recording
    }

    /// Runs the program without us.
    ///
    /// # Panics
    /// When it takes too long.
    pub fn bare(&self) -> Outcome {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        self.run(&mut command, &Scratch::new(), core())
    }

    /// Records the program.
    ///
    /// # Panics
    /// When that takes too long or fails.
    pub fn record(self) -> Recording {
        let scratch = Scratch::new();
        let mut command = Command::new(&self.drive);
        command.arg("record").arg(scratch.path("trace")).arg("--").arg(&self.program).args(&self.arguments);
        if let Some(bytes) = self.ring {
            command.env("VDBG_RING", bytes.to_string());
        }
        if let Some(seed) = self.chaos_seed {
            command.env("VDBG_CHAOS_SEED", seed.to_string());
        }
        if self.snapshots {
            command.env("VDBG_SNAPSHOTS_US", "5000");
        }
        if self.without_agent {
            command.env("VDBG_NO_AGENT", "1");
        }
        if self.with_warnings {
            command.env("VDBG_WARNINGS", "1");
        }
        let mut recorded = self.run(&mut command, &scratch, core());
        let recording = |recorded| Recording { case: self, scratch, recorded };
        let Some(end) =
            trace::Reader::open(&recording_path(&recorded, &command)).ok().and_then(|t| t.end().cloned())
        else {
            panic!("not recorded: {recorded:?}");
        };
        recorded.status = end.status;
        recording(recorded)
    }

    fn run(&self, command: &mut Command, scratch: &Scratch, core: usize) -> Outcome {
        let input = scratch.path("stdin");
        std::fs::write(&input, &self.stdin).expect("the input can be written");
        let input = File::open(&input).expect("it has just been written");
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        if !self.all_cores {
            // SAFETY: between fork and exec only sched_setaffinity(2) is called, with a set that outlives the call.
            unsafe { command.pre_exec(move || pin(core)) };
        }
        run(command, Some(input), self.limit).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The trace that this command writes.
fn recording_path(_recorded: &Outcome, command: &Command) -> PathBuf {
    command.get_args().nth(1).map(PathBuf::from).expect("the trace is the second argument")
}

impl Recording {
    /// The trace.
    pub fn trace(&self) -> PathBuf {
        self.scratch.path("trace")
    }

    /// How many bytes the trace takes on the disk, with the files that are kept in it.
    ///
    /// # Panics
    /// When it cannot be looked at.
    pub fn size(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        const BLOCK_BYTES: u64 = 512;
        let entries = |path: &Path| std::fs::read_dir(path).expect("a readable directory");
        let size = |entry: std::io::Result<std::fs::DirEntry>| {
            let meta = entry.and_then(|entry| entry.metadata()).expect("a readable entry");
            if meta.is_file() { meta.blocks() * BLOCK_BYTES } else { 0 }
        };
        let trace = self.trace();
        entries(&trace).map(size).sum::<u64>() + entries(&trace.join("files")).map(size).sum::<u64>()
    }

    /// How many events of each kind the trace has.
    ///
    /// # Panics
    /// When the trace cannot be read.
    pub fn events(&self) -> BTreeMap<&'static str, u64> {
        let reader = trace::Reader::open(&self.trace()).expect("a readable trace");
        let mut counts = BTreeMap::new();
        for number in reader.first()..reader.len() {
            *counts.entry(reader.event(number).expect("a readable event").kind.label()).or_default() += 1;
        }
        counts
    }

    /// The recorded run was like the bare one.
    ///
    /// # Panics
    /// When it was not.
    pub fn compare(&self, bare: &Outcome) {
        assert_eq!(self.recorded.status, bare.status, "exit status\n{:?}\nbare: {bare:?}", self.recorded);
        if self.case.same_output {
            assert_same("recorded standard output", &self.recorded.stdout, &bare.stdout);
            assert_same("recorded standard error", &self.recorded.stderr, &bare.stderr);
        }
    }

    /// Replays to the end: no divergence, and the same output.
    ///
    /// # Panics
    /// When it diverges or the output differs.
    pub fn replay(&self) {
        let (out, err) = (self.scratch.path("out"), self.scratch.path("err"));
        self.drive("replay", &[&out, &err]);
        assert_same("replayed standard output", &read(&out), &self.recorded.stdout);
        assert_same("replayed standard error", &read(&err), &self.recorded.stderr);
    }

    /// Plants a breakpoint, hits it forwards, and comes back to it from the end.
    ///
    /// # Panics
    /// When a hit is missed or differs.
    pub fn walk(&self) {
        self.drive("walk", &[]);
    }

    /// As [`Recording::drive`], on another trace.
    ///
    /// # Panics
    /// When it fails.
    pub fn drive_on(&self, trace: &Path, verb: &str) {
        let mut command = Command::new(&self.case.drive);
        command.arg(verb).arg(trace);
        let outcome = run(&mut command, None, self.case.limit).unwrap_or_else(|error| panic!("{error}"));
        assert!(outcome.is_success(), "{verb} of {}: {outcome:?}", trace.display());
    }

    /// Runs a verb of the helper binary on the trace and returns what it printed.
    ///
    /// # Panics
    /// When it fails.
    pub fn drive(&self, verb: &str, arguments: &[&Path]) -> String {
        let mut command = Command::new(&self.case.drive);
        command.arg(verb).arg(self.trace()).args(arguments);
        let outcome = run(&mut command, None, self.case.limit);
        let outcome = outcome.unwrap_or_else(|error| panic!("{verb}: {error}\nevents: {:?}", self.events()));
        assert!(outcome.is_success(), "{verb} failed: {outcome:?}\nevents: {:?}", self.events());
        String::from_utf8_lossy(&outcome.stdout).into_owned()
    }
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn assert_same(what: &str, got: &[u8], wanted: &[u8]) {
    if got == wanted {
        return;
    }
    let at = got.iter().zip(wanted).take_while(|(a, b)| a == b).count();
    let from = at.saturating_sub(200);
    let (got_len, wanted_len) = (got.len(), wanted.len());
    let (got, wanted) = (excerpt(&got[from..]), excerpt(&wanted[from..]));
    panic!(
        "{what} differs at byte {at} ({got_len} bytes, wanted {wanted_len}):\n{got}\n--- wanted\n{wanted}"
    );
}

/// The core whose turn it is.
fn core() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Pins the calling thread to one of the cores it may use.
fn pin(core: usize) -> std::io::Result<()> {
    // SAFETY: a cpu_set_t is plain bits; both calls get the address and the size of one that lives on this stack.
    unsafe {
        let mut allowed: libc::cpu_set_t = std::mem::zeroed();
        if libc::sched_getaffinity(0, size_of_val(&allowed), &raw mut allowed) != 0 {
            return Err(std::io::Error::last_os_error());
        }
        let count = libc::CPU_COUNT(&allowed) as usize;
        let is_allowed = |index: &usize| libc::CPU_ISSET(*index, &allowed);
        let chosen = (0..libc::CPU_SETSIZE as usize).filter(is_allowed).nth(core % count.max(1));
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(chosen.unwrap_or(0), &mut set);
        match libc::sched_setaffinity(0, size_of_val(&set), &raw const set) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        }
    }
}
