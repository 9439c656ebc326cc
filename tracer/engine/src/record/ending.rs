//! Ending a recording before the program ends: after a time, at a signal, or when somebody asks for it (`vdbg stop`).
//!
//! A process that was attached to is left running. One that was launched cannot be left, since its safety net needs a
//! tracer (DESIGN.md §3.4): it goes on under the recorder, which writes nothing any more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use trace::{Event, EventKind, Outcome};

use super::Recorder;
use super::agent::Agent;
use super::task::{Phase, Status};
use crate::TracerError;
use crate::sys::{process, signal};

/// When a recording ends, if not with the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopAfter {
    /// After this time.
    Time(Duration),
    /// When this signal has reached the program.
    Signal(i32),
}

/// Asks the recorder of a trace to end its recording, and waits until it has. False when nobody is recording it.
///
/// # Errors
/// When the recorder cannot be asked, or does not end it in time.
pub fn stop(directory: &Path) -> Result<bool, TracerError> {
    /// How long the recorder may take: it has to stop the program's threads and to write what is left.
    const WAIT_MAX: Duration = Duration::from_secs(30);
    let Some(recorder) = trace::recorder_of(directory) else { return Ok(false) };
    signal::ask_to_stop(recorder).map_err(TracerError::system("ask the recorder to stop"))?;
    let since = Instant::now();
    while trace::recorder_of(directory).is_some() {
        if since.elapsed() > WAIT_MAX {
            return Err(TracerError::Stuck("the recorder, asked to end its recording,"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(true)
}

/// Asks the recorder of a ring to save what it has as a trace of its own, waits for it, and returns where it is. `None` when
/// nobody is recording.
///
/// # Errors
/// When the recorder cannot be asked, or does not save it in time, for instance because it keeps no ring.
pub fn save(directory: &Path) -> Result<Option<PathBuf>, TracerError> {
    /// How long the recorder may take.
    const WAIT_MAX: Duration = Duration::from_secs(10);
    let Some(recorder) = trace::recorder_of(directory) else { return Ok(None) };
    if trace::read_header(directory)?.ring.is_none() {
        return Err(TracerError::NoRing(directory.to_owned()));
    }
    let before = copies_of(directory);
    signal::ask_to_save(recorder).map_err(TracerError::system("ask the recorder to save"))?;
    let since = Instant::now();
    loop {
        if let Some(new) = copies_of(directory).into_iter().find(|copy| !before.contains(copy)) {
            return Ok(Some(new));
        }
        if since.elapsed() > WAIT_MAX {
            return Err(TracerError::Stuck("the recorder, asked to save,"));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What stands between a ring's name and the number of a copy.
const SAVED: &str = "-saved-";

/// Where a copy of a ring is put.
fn copy_of(directory: &Path, number: u32) -> PathBuf {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    directory.with_file_name(format!("{name}{SAVED}{number}"))
}

/// The copies of a ring that are there.
fn copies_of(directory: &Path) -> BTreeSet<PathBuf> {
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_copy = |path: &PathBuf| {
        let number = path.file_name()?.to_str()?.strip_prefix(&name)?.strip_prefix(SAVED)?;
        number.parse::<u32>().ok()
    };
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = std::fs::read_dir(parent.unwrap_or(Path::new("."))).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_copy(path).is_some()).collect()
}

/// A server that starts its workers again whenever they crash must not fill the disk.
const CRASH_COPIES_MAX: u32 = 10;

/// A process that its own fault has ended.
struct Crash {
    thread: i32,
    /// Which process, and of what, in words.
    what: String,
}

/// What is known about the end of a recording.
pub(super) struct Ending {
    at: Option<Instant>,
    on_signal: Option<i32>,
    signalled: bool,
    /// A process has crashed since the last copy of the ring was made.
    crashed: Option<Crash>,
    /// Copies of the ring that crashes have led to.
    crash_copies: u32,
    /// The trace is closed; what happens now is not recorded.
    pub(super) over: bool,
}

impl Ending {
    pub(super) fn new(stop_after: Option<StopAfter>) -> Ending {
        let (at, on_signal) = match stop_after {
            Some(StopAfter::Time(time)) => (Some(Instant::now() + time), None),
            Some(StopAfter::Signal(signal)) => (None, Some(signal)),
            None => (None, None),
        };
        Ending { at, on_signal, signalled: false, crashed: None, crash_copies: 0, over: false }
    }

    /// It is time to end.
    pub(super) fn is_due(&self) -> bool {
        let asked = || signal::is_stop_asked() || self.signalled;
        !self.over && (asked() || self.at.is_some_and(|at| Instant::now() >= at))
    }

    /// When it will be time, as far as that is known.
    pub(super) fn at(&self) -> Option<Instant> {
        self.at.filter(|_| !self.over)
    }

    /// Looks at what has been recorded; says of which signal a process crashes.
    pub(super) fn look_at(&mut self, event: &Event) -> Option<i32> {
        /// Those that say that a program is wrong (signal(7): action "Core").
        const CRASHES: [i32; 7] = [
            libc::SIGSEGV,
            libc::SIGABRT,
            libc::SIGBUS,
            libc::SIGFPE,
            libc::SIGILL,
            libc::SIGTRAP,
            libc::SIGSYS,
        ];
        let EventKind::Signal { signal, outcome, .. } = &event.kind else { return None };
        self.signalled |= Some(*signal) == self.on_signal;
        (*outcome == Outcome::Fatal && CRASHES.contains(signal)).then_some(*signal)
    }
}

impl Recorder {
    /// Ends the recording, if it is time and the place allows it: nobody has the turn, or a thread that waits in a call.
    pub(super) fn end_if_due(&mut self) -> Result<(), TracerError> {
        if !self.ending.is_due() {
            return Ok(());
        }
        match self.current {
            Some(thread) => match self.tasks.get(&thread).map(|task| (task.phase, task.status)) {
                Some((Phase::Kernel, Status::Running)) => {
                    self.announce(thread)?;
                    self.end_turn(thread);
                }
                // It makes a call inside; nothing of it is in the log yet.
                Some((Phase::User, Status::Running))
                    if self.agent.is_some() && process::state(thread) == Some(b'S') => {}
                _ => return Ok(()),
            },
            None if self.agent.as_ref().is_some_and(|agent| !agent.take_turn()) => return Ok(()),
            None => {}
        }
        self.end_here()
    }

    /// Makes a copy of the ring, if somebody has asked for it, or a process has crashed while others go on.
    pub(super) fn save_if_asked(&mut self) -> Result<(), TracerError> {
        let asked = signal::take_save_request();
        // The exit of the thread that crashed belongs to it.
        let mut crashed = self.ending.crashed.take_if(|crash| !self.tasks.contains_key(&crash.thread));
        let ring = self.snapshots.is_ring() && !self.ending.over;
        if !ring || self.tasks.is_empty() {
            return Ok(());
        }
        if crashed.is_some() && self.ending.crash_copies == CRASH_COPIES_MAX {
            self.warn(format!(
                "more processes died, but only the first {CRASH_COPIES_MAX} times a copy of the ring was made: `vdbg save` makes others"
            ));
            crashed = None;
        }
        let because = match &crashed {
            Some(crash) => crash.what.clone(),
            None if asked => "somebody asked for it (`vdbg save`)".to_owned(),
            None => return Ok(()),
        };
        if self.current.is_none() && self.agent.as_ref().is_none_or(Agent::take_turn) {
            self.drain()?;
        }
        // One of an earlier recording of that name may be there.
        self.saved += 1;
        while copy_of(&self.directory, self.saved).exists() {
            self.saved += 1;
        }
        let target = copy_of(&self.directory, self.saved);
        let now = self.now();
        self.ending.crash_copies += u32::from(crashed.is_some());
        let warning =
            crashed.map(|crash| format!("{}: a copy of the ring is in {}", crash.what, target.display()));
        self.writer.save(target, because, now)?;
        // The copy says it by itself.
        warning.into_iter().for_each(|warning| self.warn(warning));
        Ok(())
    }

    /// Remembers who has crashed, until its end is recorded too.
    pub(super) fn note_crash(&mut self, thread: i32, signal: i32) {
        let process = self.tasks[&thread].process;
        let program = process::program(process).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let number = u32::try_from(signal).unwrap_or_default();
        let signal = syscalls::signal_name(number).map_or(format!("signal {number}"), str::to_owned);
        let what = format!("process {process} ({name}) died of {signal}");
        self.ending.crashed = Some(Crash { thread, what });
    }

    /// Ends the recording. Every thread stands behind its last event, or is in a call.
    pub(super) fn end_here(&mut self) -> Result<(), TracerError> {
        self.drain()?;
        let duration = self.now();
        self.ending.over = true;
        self.recorded_events = self.writer.events();
        self.writer.finish(self.root_status, duration)?;
        self.lock = None;
        if self.attached { self.leave() } else { Ok(()) }
    }
}
