//! What a recording holds at most, so that a program without bounds takes no more than a part of the machine.

use std::collections::HashSet;

use trace::Registers;

use super::Recorder;
use super::task::Intervention;
use crate::TracerError;
use crate::sys::limits;

/// How many processes may live at once in a recording. One more is refused, as the kernel does at a user's own limit
/// (`RLIMIT_NPROC` of setrlimit(2)).
pub(super) const PROCESSES_MAX: usize = 1000;

/// Files that the recorder keeps open for each process: its memory and what tracks its pages.
const FILES_OF_PROCESS: u64 = 4;

/// Files that the recorder needs besides.
const FILES_MIN: u64 = 32;

/// How many processes may live at once in this recording.
pub(super) fn processes_max(wanted: Option<usize>) -> usize {
    let files = limits::files(0).map_or(u64::MAX, |limit| limit.rlim_cur);
    let by_files = (files.saturating_sub(FILES_MIN) / FILES_OF_PROCESS).max(1);
    wanted.unwrap_or(PROCESSES_MAX).min(usize::try_from(by_files).unwrap_or(usize::MAX))
}

impl Recorder {
    /// A call that would make one process too many fails.
    pub(super) fn bound_processes(
        &mut self,
        thread: i32,
        entry: &Registers,
    ) -> Result<Intervention, TracerError> {
        // What cannot be read is an error that the kernel finds too.
        let Ok(request) = self.clone_request(thread) else { return Ok(Intervention::None) };
        if request.flags & libc::CLONE_THREAD as u64 != 0 {
            return Ok(Intervention::None);
        }
        let processes: HashSet<i32> = self.tasks.values().map(|task| task.process).collect();
        if processes.len() < self.processes_max {
            return Ok(Intervention::None);
        }
        let by_files = if self.processes_max < PROCESSES_MAX && !self.processes_chosen {
            " (so many as the recorder may open files for: raise `ulimit -n`)"
        } else {
            ""
        };
        self.warn(format!(
            "the program has {}, which is the limit of a recording{by_files}: it was told that it cannot have more (EAGAIN)",
            number_of_processes(self.processes_max)
        ));
        self.instead(thread, entry, -i64::from(libc::EAGAIN))
    }
}

fn number_of_processes(count: usize) -> String {
    if count == 1 { "one process".into() } else { format!("{count} processes") }
}

#[cfg(test)]
mod tests {
    use super::number_of_processes;

    #[test]
    fn one_is_no_plural() {
        assert_eq!([1, 2].map(number_of_processes), ["one process", "2 processes"]);
    }
}
