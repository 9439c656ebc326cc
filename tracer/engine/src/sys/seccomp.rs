//! The safety net below the agent (seccomp(2)): every system call stops its thread, except those that the agent makes.

use libc::{sock_filter, sock_fprog};

/// Offsets in `struct seccomp_data`.
const POINTER_LOW: u32 = 8;
const POINTER_HIGH: u32 = 12;

/// What tells reports of this filter from those that a filter of the program's own asks for (`SECCOMP_RET_DATA`).
pub(crate) const OURS: u32 = 0x7664;

/// The filter: calls from the agent's code are allowed, all others are reported to the tracer.
pub(crate) fn filter() -> Vec<sock_filter> {
    let load = |offset| sock_filter { code: 0x20, jt: 0, jf: 0, k: offset };
    let jump = |code, k, jt, jf| sock_filter { code, jt, jf, k };
    let answer = |k| sock_filter { code: 0x06, jt: 0, jf: 0, k };
    const EQUAL: u16 = 0x15;
    const AT_LEAST: u16 = 0x35;
    vec![
        load(POINTER_HIGH),
        jump(EQUAL, 0, 0, 4),
        load(POINTER_LOW),
        jump(AT_LEAST, agent::CODE_START as u32, 0, 2),
        jump(AT_LEAST, agent::END as u32, 1, 0),
        answer(libc::SECCOMP_RET_ALLOW),
        answer(libc::SECCOMP_RET_TRACE | OURS),
    ]
}

/// Installs the filter for this process and its descendants. Where the kernel refuses, the recorder sees that and goes
/// without.
///
/// # Safety
/// Only for a freshly forked child that is traced: without a tracer every further call fails.
pub(super) unsafe fn install(filter: &[sock_filter]) {
    let program = sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let mode = libc::SECCOMP_MODE_FILTER as libc::c_ulong;
    // SAFETY: the program points to a live filter, which the kernel copies.
    unsafe {
        if libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0) != 0 {
            // Without privileges the kernel wants the promise that none are gained.
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program, 0, 0);
        }
    }
}
