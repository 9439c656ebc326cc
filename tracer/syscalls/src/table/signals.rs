//! Signals: sending, masking, handling and waiting for them.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    13 rt_sigaction(signum: Signal, act: In(Const(32)), oldact: Out(Const(32)), sigsetsize: Unsigned) [Signal];
    14 rt_sigprocmask(how: Int, set: In(Arg(3)), oldset: Out(Arg(3)), sigsetsize: Unsigned) [Signal];
    // Restores registers from the frame on the stack; writes no memory.
    15 rt_sigreturn() [Signal];
    34 pause() [Signal] blocks;
    62 kill(pid: Pid, sig: Signal);
    127 rt_sigpending(set: Out(Arg(1)), sigsetsize: Unsigned);
    128 rt_sigtimedwait(set: In(Arg(3)), info: Out(Const(128)), timeout: In(Const(16)), sigsetsize: Unsigned) blocks;
    129 rt_sigqueueinfo(tgid: Pid, sig: Signal, info: In(Const(128)));
    130 rt_sigsuspend(mask: In(Arg(1)), sigsetsize: Unsigned) [Signal] blocks;
    131 sigaltstack(ss: In(Const(24)), old_ss: Out(Const(24))) [Signal];
    200 tkill(tid: Pid, sig: Signal);
    234 tgkill(tgid: Pid, tid: Pid, sig: Signal);
    282 signalfd(fd: Fd, mask: In(Arg(2)), sizemask: Unsigned);
    289 signalfd4(fd: Fd, mask: In(Arg(2)), sizemask: Unsigned, flags: Flags);
    297 rt_tgsigqueueinfo(tgid: Pid, tid: Pid, sig: Signal, info: In(Const(128)));
    424 pidfd_send_signal(pidfd: Fd, sig: Signal, info: In(Const(128)), flags: Flags);
}
