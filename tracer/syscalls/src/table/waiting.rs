//! Waiting for descriptors and words, and asynchronous input and output.
//!
//! A wait that a signal interrupts may go on as `restart_syscall`, which takes no arguments of its own and
//! writes what the interrupted call would have written (`poll` its results, `nanosleep` the rest of its
//! time). The registers still hold the first call's arguments, so the recorder asks
//! [`writes`](fn@crate::writes) with the number of the call that was interrupted. Asked for `restart_syscall`
//! itself it answers [`Coverage::Unknown`](crate::Coverage).
//!
//! Linux AIO (`io_submit`) is asynchronous: the data buffers of reads are written by the time `io_submit` or
//! `io_getevents` returns, and both report them; but the completion ring that `io_setup` maps is written
//! whenever an operation ends, and a program may read it without any call. Then a buffer has changed that no
//! call reported. A recorder that wants to be sure refuses `io_setup`.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    // The results are written (with zeros) when a signal interrupts the wait, too.
    7 poll(fds: InOutAlways(ArgTimes(1, 8)), nfds: Uint, timeout: Int) blocks;
    // The time left is written whatever the outcome.
    23 select(nfds: Int, readfds: InOut(BitsOfArg(0)), writefds: InOut(BitsOfArg(0)), exceptfds: InOut(BitsOfArg(0)), timeout: InOutAlways(Const(16))) blocks;
    202 futex(uaddr: Futex, futex_op: Int, val: Uint, timeout: Hex, uaddr2: Address, val3: Uint) blocks;
    // Maps the completion ring; its address is the context's name.
    206 io_setup(nr_events: Uint, ctx_idp: InOut(Const(8))) [Memory];
    207 io_destroy(ctx_id: Address) [Memory] blocks;
    208 io_getevents(ctx_id: Address, min_nr: Long, nr: Long, events: IoEvents(2), timeout: In(Const(16))) blocks;
    209 io_submit(ctx_id: Address, nr: Long, iocbpp: Iocbs(1)) blocks;
    210 io_cancel(ctx_id: Address, iocb: InOutAlways(Const(64)), result: Out(Const(32)));
    213 epoll_create(size: Int);
    214 epoll_ctl_old() [Refused ENOSYS "never implemented for x86-64"];
    215 epoll_wait_old() [Refused ENOSYS "never implemented for x86-64"];
    219 restart_syscall() blocks;
    232 epoll_wait(epfd: Fd, events: Out(RetTimesUpTo(2, 12)), maxevents: Int, timeout: Int) blocks;
    233 epoll_ctl(epfd: Fd, op: Int, fd: Fd, event: In(Const(12)));
    270 pselect6(nfds: Int, readfds: InOut(BitsOfArg(0)), writefds: InOut(BitsOfArg(0)), exceptfds: InOut(BitsOfArg(0)), timeout: InOutAlways(Const(16)), sigmask: In(Const(16))) blocks;
    271 ppoll(fds: InOutAlways(ArgTimes(1, 8)), nfds: Uint, tmo_p: InOutAlways(Const(16)), sigmask: In(Arg(4)), sigsetsize: Unsigned) blocks;
    281 epoll_pwait(epfd: Fd, events: Out(RetTimesUpTo(2, 12)), maxevents: Int, timeout: Int, sigmask: In(Arg(5)), sigsetsize: Unsigned) blocks;
    284 eventfd(initval: Uint);
    290 eventfd2(initval: Uint, flags: Flags);
    291 epoll_create1(flags: Flags);
    333 io_pgetevents(ctx_id: Address, min_nr: Long, nr: Long, events: IoEvents(2), timeout: In(Const(16)), sig: In(Const(16))) blocks;
    425 io_uring_setup(entries: Uint, p: Address) [Refused ENOSYS "the kernel writes the rings whenever it likes"];
    426 io_uring_enter(fd: Fd, to_submit: Uint, min_complete: Uint, flags: Flags, arg: Address, argsz: Unsigned) [Refused ENOSYS "the kernel writes the rings whenever it likes"];
    427 io_uring_register(fd: Fd, opcode: Uint, arg: Address, nr_args: Uint) [Refused ENOSYS "the kernel writes the rings whenever it likes"];
    441 epoll_pwait2(epfd: Fd, events: Out(RetTimesUpTo(2, 12)), maxevents: Int, timeout: In(Const(16)), sigmask: In(Arg(5)), sigsetsize: Unsigned) blocks;
    449 futex_waitv(waiters: In(ArgTimes(1, 24)), nr_futexes: Uint, flags: Flags, timeout: In(Const(16)), clockid: Clock) blocks;
    454 futex_wake(uaddr: Address, mask: Hex, nr: Int, flags: Flags);
    455 futex_wait(uaddr: In(Const(4)), val: Unsigned, mask: Hex, flags: Flags, timeout: In(Const(16)), clockid: Clock) blocks;
    456 futex_requeue(waiters: In(Const(48)), flags: Flags, nr_wake: Int, nr_requeue: Int);
}
