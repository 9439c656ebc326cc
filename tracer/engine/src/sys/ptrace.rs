//! ptrace(2) and waitpid(2). Every function acts on one thread that this thread traces and that is stopped, unless it
//! says otherwise; on another thread the kernel answers ESRCH, which is returned.

use std::io;
use std::time::{Duration, Instant};

use libc::{c_int, c_long, c_void};
use trace::Registers;

use super::{process, signal};

/// A stop or the end of a traced thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Entry to or return from a system call.
    Syscall,
    /// A `PTRACE_EVENT_*` stop other than `PTRACE_EVENT_STOP`.
    Event(i32),
    /// `PTRACE_EVENT_STOP`: an interrupt, a new thread, or (with a stop signal) a group stop.
    Stop(i32),
    /// A signal is about to be delivered, or a step is done.
    Signal(i32),
    /// The thread has ended with this wait status.
    Ended(i32),
}

fn decode(status: c_int) -> Wait {
    if !libc::WIFSTOPPED(status) {
        return Wait::Ended(status);
    }
    let (signal, event) = (libc::WSTOPSIG(status), status >> 16);
    match (signal, event) {
        (signal, libc::PTRACE_EVENT_STOP) => Wait::Stop(signal),
        (_, event) if event != 0 => Wait::Event(event),
        (signal, _) if signal == libc::SIGTRAP | 0x80 => Wait::Syscall,
        (signal, _) => Wait::Signal(signal),
    }
}

/// Waits for a stop of `thread`, or of any traced thread when it is -1.
pub(crate) fn wait(thread: i32) -> io::Result<(i32, Wait)> {
    loop {
        match wait_flags(thread, 0) {
            Ok(Some(stop)) => return Ok(stop),
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Waits for a stop of this one thread. A leader that is killed without an exit stop (a SIGKILL that is pending keeps the kernel
/// from that stop) is a zombie that waitpid(2) does not report while it has other threads: its end is said all the same.
pub(crate) fn wait_one(thread: i32) -> io::Result<Wait> {
    /// How often that is looked at.
    const LOOK_INTERVAL: Duration = Duration::from_millis(10);
    let mut looked = Instant::now();
    loop {
        if let Some((_, stop)) = poll(thread)? {
            return Ok(stop);
        }
        if looked.elapsed() >= LOOK_INTERVAL {
            looked = Instant::now();
            if process::state(thread) == Some(b'Z') {
                let reported = poll(thread)?.map(|(_, stop)| stop);
                return Ok(reported.unwrap_or(Wait::Ended(libc::SIGKILL)));
            }
        }
        signal::wait_child(LOOK_INTERVAL);
    }
}

/// Looks for a stop without waiting.
pub(crate) fn poll(thread: i32) -> io::Result<Option<(i32, Wait)>> {
    wait_flags(thread, libc::WNOHANG)
}

fn wait_flags(thread: i32, flags: c_int) -> io::Result<Option<(i32, Wait)>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for the status.
    let result = unsafe { libc::waitpid(thread, &mut status, flags | libc::__WALL) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        stopped => Ok(Some((stopped, decode(status)))),
    }
}

/// ptrace with two words of arguments.
///
/// # Safety
/// `address` and `data` must be what the request takes; pointers must be valid for it.
unsafe fn request(request: u32, thread: i32, address: *mut c_void, data: *mut c_void) -> io::Result<c_long> {
    // SAFETY: the caller's promise.
    let result = unsafe { libc::ptrace(request, thread, address, data) };
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// ptrace with plain numbers.
fn number(kind: u32, thread: i32, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: the requests used here take numbers and touch no memory of this process.
    unsafe { request(kind, thread, address as *mut c_void, data as *mut c_void) }.map(drop)
}

/// Starts tracing a thread without stopping it (`PTRACE_SEIZE`).
pub(crate) fn seize(thread: i32, options: i32) -> io::Result<()> {
    number(libc::PTRACE_SEIZE, thread, 0, options as usize)
}

/// Stops a running thread; the stop is a [`Wait::Stop`].
pub(crate) fn interrupt(thread: i32) -> io::Result<()> {
    number(libc::PTRACE_INTERRUPT, thread, 0, 0)
}

/// How to go on from a stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resume {
    /// Until the next event.
    Continue,
    /// Until the next entry to or return from a system call.
    Syscall,
    /// Until the next entry to a system call, which is not executed.
    Emulate,
    /// One instruction.
    Step,
    /// One instruction; a system call is not executed.
    EmulateStep,
    /// Stay in a group stop, but report what comes (`PTRACE_LISTEN`).
    Listen,
}

const PTRACE_SYSEMU: u32 = 31;
const PTRACE_SYSEMU_SINGLESTEP: u32 = 32;

/// Goes on, delivering `signal` if it is not 0.
pub(crate) fn resume(thread: i32, how: Resume, signal: i32) -> io::Result<()> {
    let kind = match how {
        Resume::Continue => libc::PTRACE_CONT,
        Resume::Syscall => libc::PTRACE_SYSCALL,
        Resume::Emulate => PTRACE_SYSEMU,
        Resume::Step => libc::PTRACE_SINGLESTEP,
        Resume::EmulateStep => PTRACE_SYSEMU_SINGLESTEP,
        Resume::Listen => libc::PTRACE_LISTEN,
    };
    number(kind, thread, 0, signal as usize)
}

/// Lets a thread that is in a stop go, and traces it no more.
pub(crate) fn detach(thread: i32) -> io::Result<()> {
    number(libc::PTRACE_DETACH, thread, 0, 0)
}

/// General registers.
pub(crate) fn registers(thread: i32) -> io::Result<Registers> {
    let mut registers = Registers::default();
    // SAFETY: Registers has the layout of user_regs_struct, which this request fills.
    unsafe { request(libc::PTRACE_GETREGS, thread, std::ptr::null_mut(), (&raw mut registers).cast()) }?;
    Ok(registers)
}

/// Sets the general registers.
pub(crate) fn set_registers(thread: i32, registers: &Registers) -> io::Result<()> {
    let mut copy = *registers;
    // SAFETY: Registers has the layout of user_regs_struct, which this request reads.
    unsafe { request(libc::PTRACE_SETREGS, thread, std::ptr::null_mut(), (&raw mut copy).cast()) }.map(drop)
}

/// `NT_X86_XSTATE` of `<elf.h>`.
const NT_X86_XSTATE: usize = 0x202;

/// No processor's extended state is larger, in bytes (AMX's tiles included).
const XSTATE_BYTES_MAX: usize = 16 << 10;

/// Extended state in the standard format of XSAVE.
pub(crate) fn xstate(thread: i32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; XSTATE_BYTES_MAX];
    let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: the vector describes a live buffer, whose length the kernel shortens to what it wrote.
    unsafe {
        request(libc::PTRACE_GETREGSET, thread, NT_X86_XSTATE as *mut c_void, (&raw mut vector).cast())?;
    }
    bytes.truncate(vector.iov_len);
    Ok(bytes)
}

/// Sets the extended state.
pub(crate) fn set_xstate(thread: i32, bytes: &[u8]) -> io::Result<()> {
    let mut vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: the vector describes a live buffer that the kernel only reads.
    unsafe {
        request(libc::PTRACE_SETREGSET, thread, NT_X86_XSTATE as *mut c_void, (&raw mut vector).cast())
            .map(drop)
    }
}

/// The message of a `PTRACE_EVENT_*` stop.
pub(crate) fn event_message(thread: i32) -> io::Result<u64> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: `message` is a valid place for the message.
    unsafe { request(libc::PTRACE_GETEVENTMSG, thread, std::ptr::null_mut(), (&raw mut message).cast()) }?;
    Ok(message)
}

/// Size of `siginfo_t` in bytes.
pub(crate) const SIGINFO_BYTES: usize = 128;

/// A signal's `siginfo_t` as bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignalInfo(pub(crate) [u8; SIGINFO_BYTES]);

impl SignalInfo {
    fn word(&self, at: usize) -> i32 {
        i32::from_ne_bytes(self.0[at..at + 4].try_into().expect("four bytes"))
    }

    /// `si_signo`.
    pub(crate) fn signal(&self) -> i32 {
        self.word(0)
    }

    /// `si_code`.
    pub(crate) fn code(&self) -> i32 {
        self.word(8)
    }

    /// `si_addr`, of a fault.
    pub(crate) fn address(&self) -> u64 {
        u64::from_ne_bytes(self.0[16..24].try_into().expect("eight bytes"))
    }
}

/// The `siginfo_t` of a signal stop.
pub(crate) fn signal_info(thread: i32) -> io::Result<SignalInfo> {
    let mut info = SignalInfo([0; SIGINFO_BYTES]);
    // SAFETY: the buffer has the size of siginfo_t; any bytes are a valid value of it.
    unsafe { request(libc::PTRACE_GETSIGINFO, thread, std::ptr::null_mut(), info.0.as_mut_ptr().cast()) }?;
    Ok(info)
}

/// `PTRACE_PEEKSIGINFO` and `struct ptrace_peeksiginfo_args` of ptrace(2).
const PTRACE_PEEKSIGINFO: u32 = 0x4209;

#[repr(C)]
struct PeekSignals {
    offset: u64,
    flags: u32,
    count: i32,
}

/// How many waiting signals are looked at.
const PEEKED: usize = 16;

/// Whether a signal waits to be reported that is meant for this thread alone.
pub(crate) fn is_pending(thread: i32, signal: i32) -> io::Result<bool> {
    let mut infos = [[0u8; SIGINFO_BYTES]; PEEKED];
    let found = peek_signals(thread, 0, &mut infos)?;
    Ok(infos.iter().take(found).any(|info| SignalInfo(*info).signal() == signal))
}

/// Whether any signal waits, for this thread or for its process.
pub(crate) fn has_pending(thread: i32) -> io::Result<bool> {
    /// `PTRACE_PEEKSIGINFO_SHARED`.
    const OF_PROCESS: u32 = 1;
    let mut infos = [[0u8; SIGINFO_BYTES]; PEEKED];
    Ok(peek_signals(thread, 0, &mut infos)? > 0 || peek_signals(thread, OF_PROCESS, &mut infos)? > 0)
}

fn peek_signals(thread: i32, flags: u32, infos: &mut [[u8; SIGINFO_BYTES]; PEEKED]) -> io::Result<usize> {
    let mut ask = PeekSignals { offset: 0, flags, count: PEEKED as i32 };
    // SAFETY: the kernel reads `ask` and writes at most the number of signals that it names.
    let found =
        unsafe { request(PTRACE_PEEKSIGINFO, thread, (&raw mut ask).cast(), infos.as_mut_ptr().cast()) }?;
    Ok(found as usize)
}

/// Replaces the `siginfo_t` of a signal stop.
pub(crate) fn set_signal_info(thread: i32, info: &SignalInfo) -> io::Result<()> {
    let mut copy = info.0;
    // SAFETY: the buffer has the size of siginfo_t and is only read.
    unsafe { request(libc::PTRACE_SETSIGINFO, thread, std::ptr::null_mut(), copy.as_mut_ptr().cast()) }
        .map(drop)
}

/// Sets debug register `index` (0 to 3 addresses, 6 status, 7 control; Intel SDM volume 3, section 19.2).
pub(crate) fn set_debug_register(thread: i32, index: usize, value: u64) -> io::Result<()> {
    let offset = std::mem::offset_of!(libc::user, u_debugreg) + 8 * index;
    number(libc::PTRACE_POKEUSER, thread, offset, value as usize)
}

/// Reads debug register `index`.
pub(crate) fn debug_register(thread: i32, index: usize) -> io::Result<u64> {
    let offset = std::mem::offset_of!(libc::user, u_debugreg) + 8 * index;
    // glibc's wrapper returns the word and reports failure through errno, which has to be cleared before.
    // SAFETY: errno is this thread's own.
    unsafe { *libc::__errno_location() = 0 };
    // SAFETY: the request reads a word of the tracee and touches no memory of this process.
    let word = unsafe {
        libc::ptrace(libc::PTRACE_PEEKUSER, thread, offset as *mut c_void, std::ptr::null_mut::<c_void>())
    };
    let error = io::Error::last_os_error();
    if word == -1 && error.raw_os_error() != Some(0) { Err(error) } else { Ok(word as u64) }
}

/// `PTRACE_GETSIGMASK` of ptrace(2).
const PTRACE_GETSIGMASK: u32 = 0x420a;

/// The signals a thread blocks: bit `n - 1` for signal `n`.
pub(crate) fn signal_mask(thread: i32) -> io::Result<u64> {
    let mut mask = 0u64;
    // SAFETY: the kernel writes the eight bytes that are announced.
    unsafe { request(PTRACE_GETSIGMASK, thread, size_of::<u64>() as *mut c_void, (&raw mut mask).cast()) }?;
    Ok(mask)
}
