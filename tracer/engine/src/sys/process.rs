//! Starting processes to trace, and small facts about running ones.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::{limits, ptrace, seccomp};

/// `PR_SET_TSC` of prctl(2). Whether the time stamp counter traps is a thread's own, and kept across fork and exec.
pub(crate) const PR_SET_TSC: i32 = 26;
/// It does not trap.
pub(crate) const PR_TSC_ENABLE: u64 = 1;
/// It traps.
pub(crate) const PR_TSC_SIGSEGV: u64 = 2;

const TRACE_OPTIONS: i32 = libc::PTRACE_O_TRACESYSGOOD
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEEXEC
    | libc::PTRACE_O_TRACEEXIT
    | libc::PTRACE_O_TRACESECCOMP
    | libc::PTRACE_O_EXITKILL;

/// A program to start.
pub(crate) struct Program {
    /// Its file, already searched for.
    pub(crate) path: CString,
    pub(crate) arguments: Vec<CString>,
    pub(crate) environment: Vec<CString>,
    /// Its action for SIGXFSZ ([`ignore_file_size_signal`]).
    pub(crate) file_size_action: libc::sighandler_t,
    /// Its limit on open files ([`limits::raise_files`]).
    pub(crate) files_limit: Option<limits::Limit>,
}

/// Makes a limit on file sizes (setrlimit(2)) an error of writing the trace, not the end of the recorder. Returns the
/// action that was there before.
pub(crate) fn ignore_file_size_signal() -> libc::sighandler_t {
    // SAFETY: no handler is installed; the signal is ignored.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) }
}

/// Starts a program under ptrace, pinned to `core`, with a trapping time stamp counter. It is left at its
/// `PTRACE_EVENT_EXEC` stop.
///
/// # Errors
/// The error of fork(2), of exec(2), or of tracing.
pub(crate) fn launch(program: &Program, core: u32) -> io::Result<i32> {
    let (go_read, go_write) = pipe()?;
    let (error_read, error_write) = pipe()?;
    let pointers = |strings: &[CString]| -> Vec<*const libc::c_char> {
        strings.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (arguments, environment) = (pointers(&program.arguments), pointers(&program.environment));
    let filter = seccomp::filter();
    // SAFETY: between fork and exec the child only makes system calls on memory prepared here, as the child of a
    // process with threads must.
    let child = unsafe { libc::fork() };
    match child {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: as above; all pointers are to memory that lives until exec or exit.
        0 => unsafe {
            unblock_signals();
            libc::signal(libc::SIGXFSZ, program.file_size_action);
            libc::prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0);
            wait_for_go(&go_read, &go_write);
            seccomp::install(&filter);
            if let Some(limit) = &program.files_limit {
                let _ = limits::set_files(0, limit);
            }
            libc::execve(program.path.as_ptr(), arguments.as_ptr(), environment.as_ptr());
            let error = *libc::__errno_location();
            libc::write(error_write.as_raw_fd(), (&raw const error).cast(), 4);
            libc::_exit(127)
        },
        _ => {}
    }
    drop(error_write);
    pin(child, core)?;
    ptrace::seize(child, TRACE_OPTIONS)?;
    drop(go_read);
    write_byte(&go_write)?;
    loop {
        match ptrace::wait(child)?.1 {
            ptrace::Wait::Event(libc::PTRACE_EVENT_EXEC) => return Ok(child),
            ptrace::Wait::Event(libc::PTRACE_EVENT_EXIT) => {
                ptrace::resume(child, ptrace::Resume::Continue, 0)?
            }
            ptrace::Wait::Signal(signal) => ptrace::resume(child, ptrace::Resume::Continue, signal)?,
            ptrace::Wait::Ended(_) => return Err(exec_error(&error_read)),
            _ => ptrace::resume(child, ptrace::Resume::Continue, 0)?,
        }
    }
}

/// Starts a process for replay: a copy of this one, which does nothing but wait to be taken over. It is returned in a
/// ptrace stop, traced, with a trapping time stamp counter, and dies with this process.
pub(crate) fn launch_blank() -> io::Result<i32> {
    let (go_read, go_write) = pipe()?;
    let rseq = registered_rseq();
    // SAFETY: the child only makes system calls, as the child of a process with threads must.
    let child = unsafe { libc::fork() };
    match child {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: as above.
        0 => unsafe {
            libc::setpgid(0, 0);
            libc::prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0);
            if let Some(area) = rseq {
                libc::syscall(libc::SYS_rseq, area, RSEQ_BYTES, RSEQ_FLAG_UNREGISTER, RSEQ_SIGNATURE);
            }
            wait_for_go(&go_read, &go_write);
            libc::raise(libc::SIGSTOP);
            libc::_exit(127)
        },
        _ => {}
    }
    drop(go_read);
    let replay = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_EXITKILL;
    ptrace::seize(child, replay)?;
    write_byte(&go_write)?;
    loop {
        match ptrace::wait(child)?.1 {
            ptrace::Wait::Signal(libc::SIGSTOP) => return Ok(child),
            ptrace::Wait::Ended(_) => return Err(io::Error::other("the replay process ended at once")),
            _ => ptrace::resume(child, ptrace::Resume::Continue, 0)?,
        }
    }
}

/// rseq(2) as glibc registers it.
const RSEQ_BYTES: u64 = 32;
const RSEQ_FLAG_UNREGISTER: u64 = 1;
const RSEQ_SIGNATURE: u64 = 0x5305_3053;

/// The restartable-sequences area of this thread. The kernel writes to it whenever it likes, so a process whose memory
/// is to be taken away has to give it up first.
fn registered_rseq() -> Option<u64> {
    // SAFETY: the name is a constant string; the symbol, if there, is a ptrdiff_t (glibc 2.35 and newer).
    let offset =
        unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"__rseq_offset".as_ptr()).cast::<isize>().as_ref() }?;
    let thread_pointer: u64;
    // SAFETY: on x86-64 the first word of the thread control block, at fs:0, is its own address (System V ABI, TLS).
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) thread_pointer, options(nostack, readonly)) };
    Some(thread_pointer.wrapping_add_signed(*offset as i64))
}

/// # Safety
/// Only for a freshly forked child: it changes the signal mask of the calling thread.
unsafe fn unblock_signals() {
    // SAFETY: the set is local and initialised before use; restoring SIGPIPE undoes what Rust's runtime set.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made both descriptors.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Waits in a child until it is traced. When its parent gives up instead, the child ends.
///
/// # Safety
/// Only for a freshly forked child, where nothing else uses the descriptors.
unsafe fn wait_for_go(read: &OwnedFd, write: &OwnedFd) {
    // SAFETY: the child's own end for writing is closed, so that the parent's end is the last; the byte is a local.
    unsafe {
        libc::close(write.as_raw_fd());
        let mut byte = 0u8;
        if libc::read(read.as_raw_fd(), (&raw mut byte).cast(), 1) != 1 {
            libc::_exit(127);
        }
    }
}

fn write_byte(fd: &OwnedFd) -> io::Result<()> {
    // SAFETY: one byte from a live constant.
    let written = unsafe { libc::write(fd.as_raw_fd(), b"g".as_ptr().cast(), 1) };
    if written == 1 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn exec_error(pipe: &OwnedFd) -> io::Error {
    let mut error = 0i32;
    // SAFETY: four bytes into a live i32; the writing end is closed, so this does not wait.
    let read = unsafe { libc::read(pipe.as_raw_fd(), (&raw mut error).cast(), 4) };
    if read == 4 { io::Error::from_raw_os_error(error) } else { io::Error::other("it ended before it began") }
}

/// Restricts a thread (0: the calling one) to one core.
pub(crate) fn pin(thread: i32, core: u32) -> io::Result<()> {
    // SAFETY: a cpu_set_t of zeros is an empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: CPU_SET ignores numbers beyond the set.
    unsafe { libc::CPU_SET(core as usize, &mut set) };
    // SAFETY: the set is initialised and of the size given.
    let result = unsafe { libc::sched_setaffinity(thread, size_of::<libc::cpu_set_t>(), &set) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Restricts a thread (0: the calling one) to the cores of a set, as the bytes of a `cpu_set_t`.
pub(crate) fn set_affinity(thread: i32, cores: &[u8]) -> io::Result<()> {
    // SAFETY: the buffer has the size given; the kernel only reads it.
    let result = unsafe { libc::sched_setaffinity(thread, cores.len(), cores.as_ptr().cast()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The cores that the kernel would leave of a set, for a thread that may run where this one may. This thread goes back to
/// its own core.
pub(crate) fn cores_allowed(cores: &[u8], own: u32) -> io::Result<Vec<u8>> {
    let left = set_affinity(0, cores).and_then(|()| affinity(0));
    pin(0, own)?;
    left
}

/// The node of memory that a core belongs to.
pub(crate) fn node_of(core: u32) -> u32 {
    let number = |entry: io::Result<std::fs::DirEntry>| {
        entry.ok()?.file_name().to_str()?.strip_prefix("node")?.parse().ok()
    };
    let entries = std::fs::read_dir(format!("/sys/devices/system/cpu/cpu{core}"));
    entries.into_iter().flatten().find_map(number).unwrap_or(0)
}

/// The core this thread runs on: the kernel has chosen it because it was free.
pub(crate) fn current_core() -> Option<u32> {
    // SAFETY: sched_getcpu takes and touches nothing.
    u32::try_from(unsafe { libc::sched_getcpu() }).ok()
}

/// The cores a thread (0: the calling one) may run on, as the bytes of a `cpu_set_t`.
pub(crate) fn affinity(thread: i32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; size_of::<libc::cpu_set_t>()];
    // SAFETY: the buffer has the size given; the raw call says how much of it the kernel filled.
    let filled =
        unsafe { libc::syscall(libc::SYS_sched_getaffinity, thread, bytes.len(), bytes.as_mut_ptr()) };
    if filled < 0 {
        return Err(io::Error::last_os_error());
    }
    bytes.truncate(filled as usize);
    Ok(bytes)
}

/// How many semaphores a set has, in this process's namespace (semctl(2)).
pub(crate) fn semaphores(set: i32) -> io::Result<u64> {
    // SAFETY: a semid_ds is plain numbers.
    let mut state: libc::semid_ds = unsafe { std::mem::zeroed() };
    // SAFETY: IPC_STAT writes one semid_ds where the fourth argument points, which is live.
    let result = unsafe { libc::semctl(set, 0, libc::IPC_STAT, &raw mut state) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(state.sem_nsems) }
}

/// The parts of a range of a file that are no holes (lseek(2), `SEEK_DATA`); all of it where that is not known.
pub(crate) fn data_ranges(file: &File, range: Range<u64>) -> Vec<Range<u64>> {
    let seek = |from: u64, how: i32| {
        // SAFETY: lseek has no memory effects; the descriptor is our own.
        u64::try_from(unsafe { libc::lseek(file.as_raw_fd(), from as i64, how) })
            .map_err(|_| io::Error::last_os_error())
    };
    let mut parts = Vec::new();
    let mut at = range.start;
    while at < range.end {
        match seek(at, libc::SEEK_DATA) {
            Ok(data) if data < range.end => {
                let end = seek(data, libc::SEEK_HOLE).unwrap_or(range.end).min(range.end);
                parts.push(data..end);
                at = end;
            }
            Ok(_) => break,
            // ENXIO: only a hole is left.
            Err(error) if error.raw_os_error() == Some(libc::ENXIO) => break,
            Err(_) => {
                parts.push(at..range.end);
                break;
            }
        }
    }
    parts
}

/// A file of `/proc`. These have no size, so that reading one of them without room would begin with a few bytes.
pub(crate) fn read_proc(path: &str) -> io::Result<Vec<u8>> {
    const ROOM: usize = 8 << 10;
    let mut text = Vec::with_capacity(ROOM);
    File::open(path)?.read_to_end(&mut text)?;
    Ok(text)
}

/// The state letter of a thread (proc(5), `/proc/PID/stat`), or `None` when it is gone.
pub(crate) fn state(thread: i32) -> Option<u8> {
    /// The letter comes behind the number and the name of at most 15 bytes.
    const START_BYTES: usize = 64;
    let mut stat = [0; START_BYTES];
    let read = File::open(format!("/proc/{thread}/stat")).ok()?.read(&mut stat).ok()?;
    let end_of_name = stat[..read].iter().rposition(|byte| *byte == b')')?;
    stat.get(end_of_name + 2).copied()
}

/// The program that a process runs (proc(5), `/proc/PID/exe`), also when its file has been removed.
pub(crate) fn program(process: i32) -> io::Result<PathBuf> {
    let path = std::fs::read_link(format!("/proc/{process}/exe"))?;
    let without = path.as_os_str().as_bytes().strip_suffix(b" (deleted)").filter(|_| !path.exists());
    Ok(without.map_or_else(|| path.clone(), |bytes| PathBuf::from(OsStr::from_bytes(bytes))))
}

/// The process has a seccomp filter (proc(5), `/proc/PID/status`).
pub(crate) fn is_filtered(process: i32) -> bool {
    let status = read_proc(&format!("/proc/{process}/status")).unwrap_or_default();
    String::from_utf8_lossy(&status)
        .lines()
        .any(|line| line.strip_prefix("Seccomp:").is_some_and(|mode| mode.trim() == "2"))
}

/// The thread is in the same namespace of this kind as this process (namespaces(7)).
pub(crate) fn same_namespace(thread: i32, kind: &str) -> bool {
    let of = |path: String| std::fs::read_link(path).ok();
    let own = of(format!("/proc/self/ns/{kind}"));
    own.is_none() || own == of(format!("/proc/{thread}/ns/{kind}"))
}

/// The thread's number in its own namespace of processes (proc(5), `NSpid`).
pub(crate) fn id_in_namespace(thread: i32) -> Option<i32> {
    let status = read_proc(&format!("/proc/{thread}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_whitespace().next_back()?.parse().ok()
}

/// The head of a thread's list of robust locks (get_robust_list(2)); 0 without one.
pub(crate) fn robust_list(thread: i32) -> Option<u64> {
    let (mut head, mut len) = (0u64, 0usize);
    // SAFETY: both places are live and of the size that the kernel writes.
    let result = unsafe { libc::syscall(libc::SYS_get_robust_list, thread, &raw mut head, &raw mut len) };
    (result == 0).then_some(head)
}

/// Sends a signal to a process that this one started.
pub(crate) fn kill(process: i32, signal: i32) {
    // SAFETY: kill takes numbers only. A process that is gone already needs no signal.
    unsafe { libc::kill(process, signal) };
}

/// Soft limit of the stack in bytes.
pub(crate) fn stack_limit() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the limits.
    unsafe { libc::getrlimit(libc::RLIMIT_STACK, &mut limit) };
    limit.rlim_cur
}

/// Sets the soft limit of another process's stack.
pub(crate) fn set_stack_limit(process: i32, bytes: u64) {
    let Some(present) = stack_limits(process) else { return };
    // The hard limit stays: an ordinary user could not raise it again.
    let limit = libc::rlimit { rlim_cur: bytes.min(present.rlim_max), rlim_max: present.rlim_max };
    // SAFETY: `limit` is read only.
    unsafe { libc::prlimit(process, libc::RLIMIT_STACK, &limit, std::ptr::null_mut()) };
}

/// Soft limit of another process's stack in bytes.
pub(crate) fn stack_limit_of(process: i32) -> Option<u64> {
    stack_limits(process).map(|limit| limit.rlim_cur)
}

fn stack_limits(process: i32) -> Option<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is a valid place for the limits.
    let result = unsafe { libc::prlimit(process, libc::RLIMIT_STACK, std::ptr::null(), &mut limit) };
    (result == 0).then_some(limit)
}

/// Makes a memory file of `len` bytes.
pub(crate) fn memory_file(len: u64) -> io::Result<std::fs::File> {
    // SAFETY: the name is a constant string.
    let fd = unsafe { libc::memfd_create(c"vdbg-shared".as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor.
    let file = unsafe { std::fs::File::from_raw_fd(fd) };
    file.set_len(len)?;
    Ok(file)
}
