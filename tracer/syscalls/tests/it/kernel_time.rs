//! Clocks, timers, and waits that a signal interrupts, with the running kernel.

use crate::arena::{Arena, Expect::*, call, check};

/// `EINTR`.
const EINTR: i32 = 4;

/// A timer of the thread's own that sends it a signal with a handler after 20 ms, and again and again.
fn alarm(arena: &mut Arena) {
    extern "C" fn ignore(_: i32) {}
    let handler: extern "C" fn(i32) = ignore;
    // SAFETY: the handler does nothing, and all fields of the action are set or may be zero.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        assert_eq!(libc::sigaction(libc::SIGUSR2, &raw const action, std::ptr::null_mut()), 0);
    }
    let thread = call("gettid", [0; 6]) as u32;
    // struct sigevent: value, signal, SIGEV_THREAD_ID, thread
    let mut event = [0_u32; 16];
    (event[2], event[3], event[4]) = (libc::SIGUSR2 as u32, 4, thread);
    let (event, id) = (arena.ints(&event), arena.room(4));
    assert_eq!(call("timer_create", [1, event, id, 0, 0, 0]), 0);
    let mut timer = [0; 4];
    assert!(syscalls::ReadMemory::read(arena, id, &mut timer));
    let timer = u64::from(u32::from_le_bytes(timer));
    arena.after(move || {
        call("timer_delete", [timer, 0, 0, 0, 0, 0]);
    });
    let times = arena.words(&[0, 20_000_000, 0, 20_000_000]);
    assert_eq!(call("timer_settime", [timer, 0, times, 0, 0, 0]), 0);
}

#[test]
fn clocks() {
    check("gettimeofday", Changes, |a| [a.room(16), a.room(8), 0, 0, 0, 0]);
    check("time", Changes, |a| [a.room(8), 0, 0, 0, 0, 0]);
    check("times", Changes, |a| [a.room(32), 0, 0, 0, 0, 0]);
    check("clock_gettime", Changes, |a| [1, a.room(16), 0, 0, 0, 0]);
    check("clock_getres", Changes, |a| [1, a.room(16), 0, 0, 0, 0]);
    check("adjtimex", Changes, |a| [a.words(&[0; 26]), 0, 0, 0, 0, 0]);
    check("clock_adjtime", Changes, |a| [0, a.words(&[0; 26]), 0, 0, 0, 0]);
}

#[test]
fn timers() {
    check("getitimer", Changes, |a| [0, a.room(32), 0, 0, 0, 0]);
    check("setitimer", Changes, |a| [2, a.words(&[0; 4]), a.room(32), 0, 0, 0]);
    check("timer_create", Changes, |a| [1, a.ints(&[0, 0, 0, 1, 0, 0, 0, 0]), a.room(4), 0, 0, 0]);
    let timer = |a: &mut Arena| a.fd(call("timerfd_create", [1, 0, 0, 0, 0, 0]));
    check("timerfd_settime", Changes, |a| [timer(a), 0, a.words(&[0, 0, 9, 9]), a.room(32), 0, 0]);
    check("timerfd_gettime", Changes, |a| [timer(a), a.room(32), 0, 0, 0, 0]);
    check("timer_gettime", Changes, |a| {
        let id = a.room(4);
        let event = a.ints(&[0, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(call("timer_create", [1, event, id, 0, 0, 0]), 0);
        let mut timer = [0; 4];
        assert!(syscalls::ReadMemory::read(a, id, &mut timer));
        [u64::from(u32::from_le_bytes(timer)), a.room(32), 0, 0, 0, 0]
    });
}

#[test]
fn interrupted_waits() {
    check("nanosleep", FailsAndChanges(EINTR), |a| {
        alarm(a);
        [a.words(&[5, 0]), a.room(16), 0, 0, 0, 0]
    });
    check("clock_nanosleep", FailsAndChanges(EINTR), |a| {
        alarm(a);
        [1, 0, a.words(&[5, 0]), a.room(16), 0, 0]
    });
    check("poll", FailsAndChanges(EINTR), |a| {
        alarm(a);
        [a.words(&[0x55_0000_ffff_ffff]), 1, 5000, 0, 0, 0]
    });
    check("ppoll", FailsAndChanges(EINTR), |a| {
        alarm(a);
        [a.ints(&[u32::MAX, 1]), 1, a.words(&[5, 0]), 0, 0, 0]
    });
    for name in ["select", "pselect6"] {
        check(name, FailsAndChanges(EINTR), |a| {
            alarm(a);
            [0, 0, 0, 0, a.words(&[5, 0]), 0]
        });
    }
}
