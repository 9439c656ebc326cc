//! Processes, threads, users, signals and memory, with the running kernel.

use crate::arena::{Arena, Expect::*, call, check};

/// A child that waits to be killed, and is.
fn child(arena: &Arena) -> u64 {
    // SAFETY: the child calls only functions that are safe after a fork in a program with threads.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: as above; _exit ends the child. It does not outlive a test that is killed.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            libc::pause();
            libc::_exit(0);
        }
    }
    assert!(pid > 0, "no child");
    arena.after(move || {
        call("kill", [pid as u64, 9, 0, 0, 0, 0]);
        call("wait4", [pid as u64, 0, 0, 0, 0, 0]);
    });
    pid as u64
}

/// A child that was killed and not yet waited for.
fn dead_child(arena: &Arena) -> u64 {
    let pid = child(arena);
    call("kill", [pid, 9, 0, 0, 0, 0]);
    pid
}

#[test]
fn waiting_for_children() {
    check("wait4", Changes, |a| [dead_child(a), a.room(4), 0, a.room(144), 0, 0]);
    check("waitid", Changes, |a| [1, dead_child(a), a.room(128), 4, a.room(144), 0]);
    check("waitid", Changes, |a| [1, child(a), a.room(128), 5, 0, 0]);
    // ECHILD: 10. Nobody has this process id; the information is cleared all the same.
    check("waitid", FailsAndChanges(10), |a| [1, 0x3fff_ffff, a.room(128), 4, a.room(144), 0]);
}

#[test]
fn new_tasks() {
    const SIGCHLD: u64 = 17;
    const PIDFD: u64 = 0x1000;
    const PARENT_SETTID: u64 = 0x10_0000;
    check("clone", Changes, |a| [PARENT_SETTID | SIGCHLD, 0, a.room(4), a.room(4), 0, 0]);
    check("clone", Changes, |a| [PIDFD | SIGCHLD, 0, a.room(4), 0, 0, 0]);
    check("clone", Nothing, |a| [SIGCHLD, 0, a.room(4), 0, 0, 0]);
    check("clone3", Changes, |a| {
        let (pidfd, parent_tid) = (a.room(4), a.room(4));
        [a.words(&[PIDFD | PARENT_SETTID, pidfd, 0, parent_tid, SIGCHLD, 0, 0, 0]), 64, 0, 0, 0, 0]
    });
}

#[test]
fn tracing() {
    let tracee = |a: &mut Arena| {
        let pid = child(a);
        // PTRACE_SEIZE, PTRACE_INTERRUPT
        assert_eq!(call("ptrace", [0x4206, pid, 0, 0, 0, 0]), 0);
        assert_eq!(call("ptrace", [0x4207, pid, 0, 0, 0, 0]), 0);
        assert_eq!(call("wait4", [pid, 0, 0x4000_0000, 0, 0, 0]), pid as i64);
        pid
    };
    // GETREGS, GETFPREGS, GETEVENTMSG, GETSIGINFO
    for request in [12, 14, 0x4201, 0x4202] {
        check("ptrace", Changes, |a| [request, tracee(a), 0, a.room(600), 0, 0]);
    }
    // PEEKUSR, GETSIGMASK, GET_SYSCALL_INFO, PTRACE_ARCH_PRCTL (data is the code)
    check("ptrace", Changes, |a| [3, tracee(a), 0, a.room(8), 0, 0]);
    check("ptrace", Changes, |a| [0x420a, tracee(a), 8, a.room(8), 0, 0]);
    check("ptrace", Changes, |a| [0x420e, tracee(a), 88, a.room(88), 0, 0]);
    check("ptrace", Changes, |a| [30, tracee(a), a.room(8), 0x1003, 0, 0]);
    check("ptrace", Changes, |a| {
        let pid = tracee(a);
        let registers = a.room(304);
        [0x4204, pid, 1, a.words(&[registers, 304]), 0, 0]
    });
}

#[test]
fn limits_and_scheduling() {
    check("getrlimit", Changes, |a| [7, a.room(16), 0, 0, 0, 0]);
    check("prlimit64", Changes, |a| [0, 7, 0, a.room(16), 0, 0]);
    check("getrusage", Changes, |a| [0, a.room(144), 0, 0, 0, 0]);
    check("sched_getparam", Changes, |a| [0, a.room(4), 0, 0, 0, 0]);
    check("sched_rr_get_interval", Changes, |a| [0, a.room(16), 0, 0, 0, 0]);
    check("sched_getaffinity", Changes, |a| [0, 128, a.room(128), 0, 0, 0]);
    check("sched_getattr", Changes, |a| [0, a.room(64), 64, 0, 0, 0]);
    // E2BIG: 7. The size is more than the kernel knows, and the rest is not zero.
    check("sched_setattr", FailsAndChanges(7), |a| [0, a.ints(&[512; 128]), 0, 0, 0, 0]);
    check("perf_event_open", FailsAndChanges(7), |a| [a.ints(&[512; 128]), 0, 0, u64::MAX, 0, 0]);
    check("getcpu", Changes, |a| [a.room(4), a.room(4), 0, 0, 0, 0]);
    check("get_robust_list", Changes, |a| [0, a.room(8), a.room(8), 0, 0, 0]);
    check("modify_ldt", MayLack, |a| [2, a.room(64), 64, 0, 0, 0]);
}

#[test]
fn options_of_the_thread() {
    check("prctl", Changes, |a| [2, a.room(4), 0, 0, 0, 0]);
    check("prctl", Changes, |a| [16, a.room(16), 0, 0, 0, 0]);
    check("prctl", Changes, |a| [25, a.room(4), 0, 0, 0, 0]);
    check("prctl", Changes, |a| [37, a.room(4), 0, 0, 0, 0]);
    check("prctl", MayLack, |a| [40, a.room(8), 0, 0, 0, 0]);
    check("prctl", MayLack, |a| [0x4155_5856, a.room(64), 64, 0, 0, 0]);
    check("arch_prctl", Changes, |a| [0x1003, a.room(8), 0, 0, 0, 0]);
    check("arch_prctl", MayLack, |a| [0x1021, a.room(8), 0, 0, 0, 0]);
    check("seccomp", MayLack, |a| [3, 0, a.room(6), 0, 0, 0]);
}

#[test]
fn users() {
    check("getresuid", Changes, |a| [a.room(4), a.room(4), a.room(4), 0, 0, 0]);
    check("getresgid", Changes, |a| [a.room(4), a.room(4), a.room(4), 0, 0, 0]);
    check("capget", Changes, |a| [a.ints(&[0x2008_0522, 0]), a.room(24), 0, 0, 0, 0]);
    check("capget", Changes, |a| [a.ints(&[0x1998_0330, 0]), a.room(24), 0, 0, 0, 0]);
    check("capget", FailsAndChanges(22), |a| [a.ints(&[1, 0]), a.room(24), 0, 0, 0, 0]);
    check("lsm_list_modules", MayLack, |a| [a.room(64), a.ints(&[64]), 0, 0, 0, 0]);
    if call("getgroups", [0; 6]) > 0 {
        check("getgroups", Changes, |a| [64, a.room(256), 0, 0, 0, 0]);
    }
}

#[test]
fn signals() {
    check("rt_sigaction", Changes, |a| [10, 0, a.room(32), 8, 0, 0]);
    check("rt_sigprocmask", Changes, |a| [0, 0, a.room(8), 8, 0, 0]);
    check("rt_sigpending", Changes, |a| [a.room(8), 8, 0, 0, 0, 0]);
    check("sigaltstack", Changes, |a| [0, a.room(24), 0, 0, 0, 0]);
    let pending = |a: &mut Arena| {
        const SIGUSR1: u64 = 10;
        let set = a.words(&[1 << (SIGUSR1 - 1)]);
        assert_eq!(call("rt_sigprocmask", [0, set, 0, 8, 0, 0]), 0);
        let (process, thread) = (call("getpid", [0; 6]) as u64, call("gettid", [0; 6]) as u64);
        assert_eq!(call("tgkill", [process, thread, SIGUSR1, 0, 0, 0]), 0);
        set
    };
    check("rt_sigtimedwait", Changes, |a| [pending(a), a.room(128), a.words(&[5, 0]), 8, 0, 0]);
    check("read", Changes, |a| {
        let set = pending(a);
        [a.fd(call("signalfd4", [u64::MAX, set, 8, 0, 0, 0])), a.room(300), 300, 0, 0, 0]
    });
}

#[test]
fn memory() {
    check("mincore", Changes, |a| [a.room(0) & !0xfff, 8192, a.room(8), 0, 0, 0]);
    check("get_mempolicy", MayLack, |a| [a.room(4), a.room(128), 1024, 0, 0, 0]);
    check("move_pages", MayLack, |a| {
        let pages = [a.room(8), a.room(8)];
        [0, 2, a.words(&pages), 0, a.room(8), 0]
    });
    check("process_vm_readv", Changes, |a| {
        let (to, from) = (a.room(40), a.put(&[0x77; 30]));
        let process = call("getpid", [0; 6]) as u64;
        [process, a.words(&[to, 40]), 1, a.words(&[from, 30]), 1, 0]
    });
    check("process_vm_writev", Changes, |a| {
        let (to, from) = (a.room(40), a.put(&[0x77; 30]));
        let process = call("getpid", [0; 6]) as u64;
        [process, a.words(&[from, 30]), 1, a.words(&[to, 40]), 1, 0]
    });
    // LOCK_PI takes the lock by writing the word; TRYLOCK_PI, UNLOCK_PI, WAKE_OP too.
    check("futex", Changes, |a| [a.ints(&[0]), 128 | 6, 0, 0, 0, 0]);
    check("futex", Changes, |a| [a.ints(&[0]), 128 | 8, 0, 0, 0, 0]);
    check("futex", Changes, |a| [a.ints(&[call("gettid", [0; 6]) as u32]), 128 | 7, 0, 0, 0, 0]);
    check("futex", Changes, |a| [a.ints(&[0]), 128 | 5, 1, 1, a.ints(&[0]), 0x1000_1000 | 5 << 12]);
    check("futex", Nothing, |a| [a.ints(&[0]), 128 | 1, 1, 0, 0, 0]);
}

#[test]
fn the_machine() {
    check("uname", Changes, |a| [a.room(390), 0, 0, 0, 0, 0]);
    check("sysinfo", Changes, |a| [a.room(112), 0, 0, 0, 0, 0]);
    check("getrandom", Changes, |a| [a.room(100), 100, 0, 0, 0, 0]);
    check("syslog", MayLack, |a| [3, a.room(500), 500, 0, 0, 0]);
}
