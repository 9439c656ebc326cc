//! Taking over threads of a running process, and letting them go.

use std::io;

use super::ptrace::{self, SignalInfo};

/// What is traced in a process that goes on when the recorder has gone: so no `PTRACE_O_EXITKILL`.
const OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEEXIT;

/// `PTRACE_GET_RSEQ_CONFIGURATION` and `struct ptrace_rseq_configuration` of `<linux/ptrace.h>`.
const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;

/// A thread's registration for restartable sequences (rseq(2)).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rseq {
    /// Where the kernel writes to; 0 when there is none.
    pub(crate) address: u64,
    /// Length of that area in bytes.
    pub(crate) bytes: u32,
    /// What stands before each abort handler.
    pub(crate) signature: u32,
    flags: u32,
    padding: u32,
}

/// The threads of a process (proc(5), `/proc/PID/task`).
pub(crate) fn threads(process: i32) -> io::Result<Vec<i32>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(format!("/proc/{process}/task"))? {
        threads.extend(entry?.file_name().to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    threads.sort_unstable();
    Ok(threads)
}

/// Starts tracing a thread of a running process.
pub(crate) fn seize(thread: i32) -> io::Result<()> {
    ptrace::seize(thread, OPTIONS)
}

/// A thread's registration for restartable sequences; none on kernels that do not tell.
pub(crate) fn rseq(thread: i32) -> Rseq {
    let mut found = Rseq::default();
    // SAFETY: the kernel writes at most the announced size, which is the structure's.
    let result = unsafe {
        libc::ptrace(
            PTRACE_GET_RSEQ_CONFIGURATION,
            thread,
            size_of::<Rseq>(),
            (&raw mut found).cast::<libc::c_void>(),
        )
    };
    if result < 0 { Rseq::default() } else { found }
}

/// Sends a thread a signal that had been taken from it. What the kernel lets nobody else say in a `siginfo_t` is lost.
pub(crate) fn send_again(process: i32, thread: i32, info: &SignalInfo) {
    let mut copy = *info;
    // SAFETY: the information lives on this stack and has the kernel's size; both calls only read it.
    unsafe {
        let signal = info.signal();
        if libc::syscall(libc::SYS_rt_tgsigqueueinfo, process, thread, signal, copy.0.as_mut_ptr()) != 0 {
            libc::syscall(libc::SYS_tgkill, process, thread, signal);
        }
    }
}
