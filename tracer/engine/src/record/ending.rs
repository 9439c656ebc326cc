//! Ending a recording before the program ends: after a time, at a signal, or when somebody asks for it (`vdbg stop`).
//!
//! A process that was attached to is left running. One that was launched cannot be left, since its safety net needs a
//! tracer (DESIGN.md §3.4): it goes on under the recorder, which writes nothing any more.

use std::path::Path;
use std::time::{Duration, Instant};

use trace::EventKind;

use super::Recorder;
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

/// What is known about the end of a recording.
pub(super) struct Ending {
    at: Option<Instant>,
    on_signal: Option<i32>,
    signalled: bool,
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
        Ending { at, on_signal, signalled: false, over: false }
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

    /// Looks at what has been recorded.
    pub(super) fn look_at(&mut self, kind: &EventKind) {
        if let EventKind::Signal { signal, .. } = kind {
            self.signalled |= Some(*signal) == self.on_signal;
        }
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
