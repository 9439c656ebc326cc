//! Signals of this process, and what `/proc` says of another's.

use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use crate::sys::process::read_proc;
use crate::sys::ptrace;

/// Blocks SIGCHLD, so that [`wait_child`] can wait for it with a time-out. Threads started later inherit it.
pub(crate) fn block_child_signal() -> io::Result<()> {
    // SAFETY: the sets are local and initialised by sigemptyset before use.
    let result = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut())
    };
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}

/// Waits until SIGCHLD comes or the time is over.
pub(crate) fn wait_child(timeout: Duration) -> bool {
    let time = libc::timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
    // SAFETY: the set is local and initialised by sigemptyset before use; no siginfo is asked for. Whatever the
    // result, the caller looks for stops next.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigtimedwait(&set, std::ptr::null_mut(), &time) == libc::SIGCHLD
    }
}

/// Ignores a signal in this process.
pub(crate) fn ignore(signal: i32) {
    // SAFETY: SIG_IGN runs no code of ours.
    unsafe { libc::signal(signal, libc::SIG_IGN) };
}

/// Who gets the signals that [`forward`] passes on.
static PROGRAM: AtomicI32 = AtomicI32::new(0);

/// Passes a signal that somebody sends to this process on to a program: whoever ends the recorder means the program. What
/// the kernel sends, as when a terminal is closed, the program gets itself.
pub(crate) fn forward(signal: i32, program: i32) {
    PROGRAM.store(program, Ordering::Relaxed);
    // SAFETY: the structure is plain data; the handler only makes a system call and reads an atomic, as a handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = pass_on as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

extern "C" fn pass_on(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel gives a handler with SA_SIGINFO a valid siginfo_t.
    let sent = unsafe { (*info).si_code } <= 0;
    let program = PROGRAM.load(Ordering::Relaxed);
    if sent && program > 0 {
        // SAFETY: kill has no memory effects.
        unsafe { libc::kill(program, signal) };
    }
}

/// Installs a handler that notes a request in an atomic and does nothing else.
fn on_request(signal: i32, note: extern "C" fn(i32)) {
    // SAFETY: the structure is plain data; the handler only sets an atomic, as a handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = note as *const () as usize;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(signal, &action, std::ptr::null_mut());
    }
}

fn request(recorder: i32, signal: i32) -> io::Result<()> {
    // SAFETY: kill has no memory effects.
    if unsafe { libc::kill(recorder, signal) } == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Somebody has asked for the end of the recording.
static STOP_ASKED: AtomicBool = AtomicBool::new(false);

/// The signal by which `vdbg stop` asks a recorder to end the recording.
fn stop_request() -> i32 {
    libc::SIGRTMIN() + 2
}

/// Takes requests to end the recording: the signal of `vdbg stop`, and these.
pub(crate) fn take_stop_requests(signals: &[i32]) {
    extern "C" fn ask(_: i32) {
        STOP_ASKED.store(true, Ordering::Relaxed);
    }
    for signal in signals.iter().copied().chain([stop_request()]) {
        on_request(signal, ask);
    }
}

/// Somebody has asked for a copy of what is recorded.
static SAVE_ASKED: AtomicBool = AtomicBool::new(false);

/// The signal by which `vdbg save` asks a recorder for a copy of what it has.
fn save_request() -> i32 {
    libc::SIGRTMIN() + 3
}

/// Takes requests for a copy.
pub(crate) fn take_save_requests() {
    extern "C" fn ask(_: i32) {
        SAVE_ASKED.store(true, Ordering::Relaxed);
    }
    on_request(save_request(), ask);
}

/// Whether a copy has been asked for since this was called last.
pub(crate) fn take_save_request() -> bool {
    SAVE_ASKED.swap(false, Ordering::Relaxed)
}

/// Asks the recorder with this process id for a copy of what it has.
pub(crate) fn ask_to_save(recorder: i32) -> io::Result<()> {
    request(recorder, save_request())
}

/// Whether the end of the recording has been asked for.
pub(crate) fn is_stop_asked() -> bool {
    STOP_ASKED.load(Ordering::Relaxed)
}

/// Asks the recorder with this process id to end its recording.
pub(crate) fn ask_to_stop(recorder: i32) -> io::Result<()> {
    request(recorder, stop_request())
}

/// Stops this process, as the shell that waits for it expects of a job.
pub(crate) fn stop_self() {
    // SAFETY: raise has no memory effects.
    unsafe { libc::raise(libc::SIGSTOP) };
}

/// This process is in the foreground of a terminal whose shell waits for it as for a job.
pub(crate) fn is_foreground_job() -> bool {
    let Ok(terminal) = std::fs::File::open("/dev/tty") else { return false };
    // SAFETY: both calls take and give numbers only.
    unsafe { libc::tcgetpgrp(terminal.as_raw_fd()) == libc::getpgrp() }
}

/// Stops this process until it is continued, or `program`, which is stopped: somebody may know the program alone. A process of its
/// own watches for that, as this one cannot.
pub(crate) fn stop_self_beside(program: i32) {
    let recorder = std::process::id() as i32;
    // SAFETY: the children only read files, sleep and send signals, and leave with _exit; no lock of this process is taken in
    // them, as they allocate nothing. The first one ends at once and is waited for, so that the second is nobody's child.
    unsafe {
        match libc::fork() {
            -1 => return,
            0 => {
                if libc::fork() == 0 {
                    watch_for_continue(recorder, program);
                }
                libc::_exit(0);
            }
            child => {
                libc::waitpid(child, std::ptr::null_mut(), 0);
            }
        }
    }
    stop_self();
}

/// Continues the recorder when its program has been continued; ends when the recorder goes on or has ended.
fn watch_for_continue(recorder: i32, program: i32) {
    /// How often that is looked at, in nanoseconds.
    const INTERVAL_NS: i64 = 50_000_000;
    /// The recorder stops within so many intervals.
    const PATIENCE: u32 = 40;
    let mut stopped = false;
    for turn in 0_u32.. {
        let pause = libc::timespec { tv_sec: 0, tv_nsec: INTERVAL_NS };
        // SAFETY: the time is a local.
        unsafe { libc::nanosleep(&pause, std::ptr::null_mut()) };
        let mut text = [0; 4096];
        let now = field(&mut text, recorder, b"State:\t").map(|rest| rest.first() == Some(&b'T'));
        match now {
            Some(true) => stopped = true,
            Some(false) if !stopped && turn < PATIENCE => {}
            _ => return,
        }
        let mut text = [0; 4096];
        let waiting = field(&mut text, program, b"ShdPnd:\t").and_then(hexadecimal);
        let is_continued = waiting.is_none_or(|mask| mask & 1 << (libc::SIGCONT - 1) != 0);
        if stopped && is_continued {
            // SAFETY: kill has no memory effects.
            unsafe { libc::kill(recorder, libc::SIGCONT) };
            return;
        }
    }
}

/// What stands behind a name in `/proc/PID/status`. Allocates nothing.
fn field<'a>(text: &'a mut [u8], process: i32, name: &[u8]) -> Option<&'a [u8]> {
    let mut path = [0_u8; 32];
    let mut digits = process.unsigned_abs();
    let (head, tail) = (b"/proc/", b"/status\0");
    let count = digits.checked_ilog10().unwrap_or(0) as usize + 1;
    path.get_mut(..head.len())?.copy_from_slice(head);
    for index in (0..count).rev() {
        *path.get_mut(head.len() + index)? = b'0' + (digits % 10) as u8;
        digits /= 10;
    }
    let end = head.len() + count;
    path.get_mut(end..end + tail.len())?.copy_from_slice(tail);
    // SAFETY: the path ends with a NUL; the buffer has the length that is given; the descriptor is closed.
    let read = unsafe {
        let file = libc::open(path.as_ptr().cast(), libc::O_RDONLY | libc::O_CLOEXEC);
        let read = libc::read(file, text.as_mut_ptr().cast(), text.len());
        libc::close(file);
        read
    };
    let text = text.get(..usize::try_from(read).ok()?)?;
    let at = text.windows(name.len()).position(|window| window == name)?;
    text.get(at + name.len()..)
}

fn hexadecimal(text: &[u8]) -> Option<u64> {
    let digits = text.split(|byte| !byte.is_ascii_hexdigit()).next()?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// What happens to a signal by default, if it reaches a process (signal(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    Ignore,
    Stop,
    End,
}

pub(crate) fn default_action(signal: i32) -> Default {
    match signal {
        libc::SIGCHLD | libc::SIGURG | libc::SIGWINCH | libc::SIGCONT => Default::Ignore,
        stop if stops(stop) => Default::Stop,
        _ => Default::End,
    }
}

/// A stop signal, which SIGCONT cancels and which cancels SIGCONT (signal(7)).
pub(crate) fn stops(signal: i32) -> bool {
    matches!(signal, libc::SIGSTOP | libc::SIGTSTP | libc::SIGTTIN | libc::SIGTTOU)
}

/// The signal to send to a thread in place of another that it is to take in a signal stop. A stop signal that is sent takes away
/// a SIGCONT that waits; so one that does nothing takes its place, unless the thread blocks all of those.
pub(crate) fn carrier(thread: i32, signal: i32) -> i32 {
    if !stops(signal) {
        return signal;
    }
    let Ok(masks) = Masks::read(thread) else { return signal };
    let unfit = masks.get("SigBlk:") | masks.get("SigPnd:");
    let harmless = [libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD];
    harmless.into_iter().find(|other| unfit & 1 << (other - 1) == 0).unwrap_or(signal)
}

/// Whether a signal waits for a thread or its process.
pub(crate) fn is_waiting(thread: i32, signal: i32) -> bool {
    Masks::read(thread)
        .is_ok_and(|masks| (masks.get("SigPnd:") | masks.get("ShdPnd:")) & 1 << (signal - 1) != 0)
}

/// How a thread would take a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disposition {
    Handler,
    Ignored,
    Stops,
    Fatal,
}

/// Reads it from `/proc/PID/status` (proc(5): SigIgn, SigCgt).
pub(crate) fn disposition(thread: i32, signal: i32) -> io::Result<Disposition> {
    let masks = Masks::read(thread)?;
    let bit = 1u64 << (signal - 1);
    Ok(if masks.get("SigCgt:") & bit != 0 {
        Disposition::Handler
    } else if masks.get("SigIgn:") & bit != 0 {
        Disposition::Ignored
    } else {
        match default_action(signal) {
            Default::Ignore => Disposition::Ignored,
            Default::Stop => Disposition::Stops,
            Default::End => Disposition::Fatal,
        }
    })
}

/// Whether a signal with a handler waits that the thread, which is in a stop, does not block: it will be delivered
/// before the thread executes anything.
pub(crate) fn is_due(thread: i32) -> bool {
    // The status file costs far more to read, and there seldom is one.
    ptrace::has_pending(thread).unwrap_or(true)
        && Masks::read(thread).is_ok_and(|masks| {
            let waiting = masks.get("SigPnd:") | masks.get("ShdPnd:");
            waiting & !masks.get("SigBlk:") & masks.get("SigCgt:") != 0
        })
}

/// The signal masks of a thread (proc_pid_status(5)).
struct Masks(String);

impl Masks {
    fn read(thread: i32) -> io::Result<Masks> {
        let text = read_proc(&format!("/proc/{thread}/status"))?;
        Ok(Masks(String::from_utf8_lossy(&text).into_owned()))
    }

    fn get(&self, name: &str) -> u64 {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| u64::from_str_radix(line.trim(), 16).ok()).unwrap_or(0)
    }
}
