//! `ptrace(2)`: what a tracer among the recorded processes gets back.
//!
//! Only the caller's memory is reported. What `PTRACE_POKEDATA` and `PTRACE_SETREGS` do to the tracee is for
//! the recorder to follow.

use super::command::{self, commands};
use crate::writes::Call;

/// Reports by request; `addr` is argument 2, `data` is argument 3.
pub(super) fn ptrace(call: &mut Call<'_>) {
    let [request, _, addr, data, ..] = call.args;
    match request {
        // PTRACE_ARCH_PRCTL: the code is in `data`; the codes that get write a word at `addr`.
        30 if call.wrote() => call.report(addr, 8),
        // PTRACE_GETREGSET: `data` is an iovec whose length is set to what was written.
        0x4204 if call.wrote() => {
            let (base, len) = (call.u64_at(data), call.u64_at(data.wrapping_add(8)));
            call.report(data, 16);
            call.report(base.unwrap_or(0), len.unwrap_or(0));
        }
        // PTRACE_PEEKSIGINFO returns a count of siginfo, PTRACE_SECCOMP_GET_FILTER one of instructions.
        0x4209 => call.report(data, call.returned().min(SIGINFO_COUNT_MAX) * 128),
        0x420c => call.report(data, call.returned().min(FILTER_LEN_MAX) * 8),
        // PTRACE_GET_SYSCALL_INFO returns the full length and copies what fits in `addr` bytes.
        0x420e => call.report(data, call.returned().min(addr)),
        // PTRACE_GETSIGMASK, SECCOMP_GET_METADATA, GET_RSEQ_CONFIGURATION, GET_SYSCALL_USER_DISPATCH_CONFIG:
        // `addr` is the length.
        0x420a | 0x420d | 0x420f | 0x4211 if call.wrote() => call.report(data, addr),
        _ => command::apply(call, REQUESTS, request),
    }
}

/// More pending signals than this in one call do not happen (`RLIMIT_SIGPENDING` is lower).
const SIGINFO_COUNT_MAX: u64 = 1 << 20;

/// `BPF_MAXINSNS`.
const FILTER_LEN_MAX: u64 = 4096;

commands! {
    /// `include/uapi/linux/ptrace.h`, `arch/x86/include/uapi/asm/ptrace-abi.h`.
    REQUESTS:
    0 PTRACE_TRACEME Nothing;
    1 PTRACE_PEEKTEXT Writes(3, 8);
    2 PTRACE_PEEKDATA Writes(3, 8);
    3 PTRACE_PEEKUSR Writes(3, 8);
    4 PTRACE_POKETEXT Nothing;
    5 PTRACE_POKEDATA Nothing;
    6 PTRACE_POKEUSR Nothing;
    7 PTRACE_CONT Nothing;
    8 PTRACE_KILL Nothing;
    9 PTRACE_SINGLESTEP Nothing;
    12 PTRACE_GETREGS Writes(3, 216);
    13 PTRACE_SETREGS Nothing;
    14 PTRACE_GETFPREGS Writes(3, 512);
    15 PTRACE_SETFPREGS Nothing;
    16 PTRACE_ATTACH Nothing;
    17 PTRACE_DETACH Nothing;
    18 PTRACE_GETFPXREGS Writes(3, 512);
    19 PTRACE_SETFPXREGS Nothing;
    21 PTRACE_OLDSETOPTIONS Nothing;
    24 PTRACE_SYSCALL Nothing;
    25 PTRACE_GET_THREAD_AREA Writes(3, 16);
    26 PTRACE_SET_THREAD_AREA Nothing;
    31 PTRACE_SYSEMU Nothing;
    32 PTRACE_SYSEMU_SINGLESTEP Nothing;
    33 PTRACE_SINGLEBLOCK Nothing;
    0x4200 PTRACE_SETOPTIONS Nothing;
    0x4201 PTRACE_GETEVENTMSG Writes(3, 8);
    0x4202 PTRACE_GETSIGINFO Writes(3, 128);
    0x4203 PTRACE_SETSIGINFO Nothing;
    0x4205 PTRACE_SETREGSET Writes(3, 16);
    0x4206 PTRACE_SEIZE Nothing;
    0x4207 PTRACE_INTERRUPT Nothing;
    0x4208 PTRACE_LISTEN Nothing;
    0x420b PTRACE_SETSIGMASK Nothing;
    0x4210 PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG Nothing;
    0x4212 PTRACE_SET_SYSCALL_INFO Nothing;
}
