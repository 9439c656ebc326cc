//! Running a process with a time-out and collecting what it says.

use std::fs::File;
use std::io::Read;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a child is looked at.
const POLL: Duration = Duration::from_millis(2);

/// How a process ended and what it said.
#[derive(Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error.
    pub stderr: Vec<u8>,
    /// Its wait status, as in waitpid(2).
    pub status: i32,
}

impl Outcome {
    /// It ended with status 0.
    pub fn is_success(&self) -> bool {
        self.status == 0
    }
}

impl std::fmt::Debug for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (out, err) = (excerpt(&self.stdout), excerpt(&self.stderr));
        write!(f, "status {:#x}\n--- stdout\n{out}\n--- stderr\n{err}", self.status)
    }
}

/// The start and the end of a text.
pub fn excerpt(bytes: &[u8]) -> String {
    const SIDE_BYTES: usize = 2000;
    if bytes.len() <= 2 * SIDE_BYTES {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let head = String::from_utf8_lossy(&bytes[..SIDE_BYTES]);
    let tail = String::from_utf8_lossy(&bytes[bytes.len() - SIDE_BYTES..]);
    format!("{head}\n[… {} bytes …]\n{tail}", bytes.len() - 2 * SIDE_BYTES)
}

/// Runs a command in a process group of its own; its standard input is the file, or empty. `None` when it took longer
/// than the limit and was ended.
///
/// # Panics
/// When it cannot be started.
pub fn run(command: &mut Command, stdin: Option<File>, limit: Duration) -> Result<Outcome, String> {
    command.stdin(stdin.map_or_else(Stdio::null, Stdio::from));
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    die_with_us(command);
    let shown = format!("{command:?}");
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {shown}: {error}"));
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let ended = wait(&mut child, limit);
    let (stdout, stderr) = (stdout.join().expect("a reader"), stderr.join().expect("a reader"));
    match ended {
        Some(status) => Ok(Outcome { stdout, stderr, status }),
        None => {
            let outcome = Outcome { stdout, stderr, status: -1 };
            Err(format!("{shown}: not done within {limit:?}\n{outcome:?}"))
        }
    }
}

/// When the test is ended from outside, nothing is left behind: what a recorder traces ends with it.
pub fn die_with_us(command: &mut Command) {
    // SAFETY: between fork and exec only prctl(2) is called, which takes no pointers here.
    unsafe {
        command.pre_exec(|| match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error()),
        })
    };
}

fn collect<R: Read + Send + 'static>(stream: Option<R>) -> JoinHandle<Vec<u8>> {
    let mut stream = stream.expect("it is piped");
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

/// Waits for a child that leads a process group, and returns its wait status; `None` when it took longer than the limit
/// and was ended.
pub fn wait(child: &mut Child, limit: Duration) -> Option<i32> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            return Some(status.into_raw());
        }
        if begun.elapsed() > limit {
            end_group(child);
            return None;
        }
        std::thread::sleep(POLL);
    }
}

/// Sends a signal to a child that has not been waited for.
pub fn signal(child: &Child, signal: i32) {
    // SAFETY: the child is our own and has not been waited for, so its id is not another's; kill touches no memory.
    unsafe { libc::kill(child.id() as i32, signal) };
}

/// Ends a child that leads its own process group, and the group.
pub fn end_group(child: &mut Child) {
    // SAFETY: kill(2) takes no pointers; the group is the child's own, which has not been waited for.
    unsafe { libc::kill(-(child.id() as i32), libc::SIGKILL) };
    let _ = child.wait();
}
