//! Processes and threads: their life, state, scheduling, limits and tracing.
//!
//! Some writes happen when a thread ends, long after the call that asked for them: `set_tid_address` and
//! `CLONE_CHILD_CLEARTID` clear a word and wake its futex, `set_robust_list` marks the locks that the dead
//! thread held. No range is reported for them; the recorder looks at those words when a thread exits.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    24 sched_yield();
    39 getpid();
    // The child's own word (CLONE_CHILD_SETTID) is written when the child first runs; the recorder has to
    // save it as part of the child's start. With CLONE_PIDFD the descriptor goes to parent_tid.
    56 clone(flags: Flags, stack: Address, parent_tid: ParentTid, child_tid: Address, tls: Address) [Task];
    57 fork() [Task];
    58 vfork() [Task] blocks;
    59 execve(pathname: Path, argv: Strings, envp: Strings) [Task];
    60 exit(status: Int) [Task];
    61 wait4(pid: Pid, wstatus: Out(Const(4)), options: Flags, rusage: Out(Const(144))) blocks;
    101 ptrace(request: Long, pid: Pid, addr: Ptrace, data: Hex);
    109 setpgid(pid: Pid, pgid: Pid);
    110 getppid();
    111 getpgrp();
    112 setsid();
    121 getpgid(pid: Pid);
    124 getsid(pid: Pid);
    97 getrlimit(resource: Uint, rlim: Out(Const(16)));
    98 getrusage(who: Int, usage: Out(Const(144)));
    135 personality(persona: Flags) [State];
    140 getpriority(which: Int, who: Int);
    141 setpriority(which: Int, who: Int, prio: Int);
    142 sched_setparam(pid: Pid, param: In(Const(4)));
    143 sched_getparam(pid: Pid, param: Out(Const(4)));
    144 sched_setscheduler(pid: Pid, policy: Int, param: In(Const(4)));
    145 sched_getscheduler(pid: Pid);
    146 sched_get_priority_max(policy: Int);
    147 sched_get_priority_min(policy: Int);
    148 sched_rr_get_interval(pid: Pid, tp: Out(Const(16)));
    154 modify_ldt(func: Int, ptr: InOut(RetUpTo(2)), bytecount: Unsigned) [State];
    157 prctl(option: Int, arg2: Prctl, arg3: Hex, arg4: Hex, arg5: Hex) [State];
    158 arch_prctl(code: Int, addr: ArchPrctl) [State];
    160 setrlimit(resource: Uint, rlim: In(Const(16)));
    172 iopl(level: Uint) [State];
    173 ioperm(from: Unsigned, num: Unsigned, turn_on: Int) [State];
    186 gettid();
    203 sched_setaffinity(pid: Pid, cpusetsize: Uint, mask: In(Arg(1))) [State];
    204 sched_getaffinity(pid: Pid, cpusetsize: Uint, mask: Out(RetUpTo(1)));
    205 set_thread_area(u_info: Address) [Refused ENOSYS "not implemented for 64-bit programs"];
    211 get_thread_area(u_info: Address) [Refused ENOSYS "not implemented for 64-bit programs"];
    218 set_tid_address(tidptr: Address) [State];
    231 exit_group(status: Int) [Task];
    // siginfo is filled in (with zeros) even when the call fails.
    247 waitid(idtype: Int, id: Pid, infop: OutAlways(Const(128)), options: Flags, rusage: Out(Const(144))) blocks;
    251 ioprio_set(which: Int, who: Int, ioprio: Int);
    252 ioprio_get(which: Int, who: Int);
    272 unshare(flags: Flags);
    273 set_robust_list(head: Address, len: Unsigned) [State];
    274 get_robust_list(pid: Pid, head_ptr: Out(Const(8)), len_ptr: Out(Const(8)));
    302 prlimit64(pid: Pid, resource: Uint, new_limit: In(Const(16)), old_limit: Out(Const(16)));
    308 setns(fd: Fd, nstype: Flags);
    // The last argument, a cache, is unused since Linux 2.6.24.
    309 getcpu(cpu: Out(Const(4)), node: Out(Const(4)), tcache: Address);
    312 kcmp(pid1: Pid, pid2: Pid, type: Int, idx1: Unsigned, idx2: Unsigned);
    // E2BIG writes the size that the kernel knows.
    314 sched_setattr(pid: Pid, attr: InOutAlways(Const(4)), flags: Flags);
    315 sched_getattr(pid: Pid, attr: Out(Arg(2)), size: Uint, flags: Flags);
    317 seccomp(operation: Uint, flags: Flags, args: Seccomp) [State];
    322 execveat(dirfd: DirFd, pathname: Path, argv: Strings, envp: Strings, flags: Flags) [Task];
    324 membarrier(cmd: Int, flags: Flags, cpu_id: Int);
    334 rseq(rseq: Address, rseq_len: Uint, flags: Flags, sig: Hex) [Refused ENOSYS "the kernel writes it whenever it likes"];
    335 uretprobe() [Refused ENOSYS "only the kernel's own trampoline may call it"];
    336 uprobe() [Refused ENOSYS "only the kernel's own trampoline may call it"];
    434 pidfd_open(pid: Pid, flags: Flags);
    435 clone3(cl_args: CloneArgs, size: Unsigned) [Task];
    438 pidfd_getfd(pidfd: Fd, targetfd: Fd, flags: Flags);
    471 rseq_slice_yield() [Refused ENOSYS "belongs to rseq, which is refused"];
}
