//! The machine as a whole: names, log, modules, performance events, BPF; and numbers that never came alive.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    63 uname(buf: Out(Const(390)));
    99 sysinfo(info: Out(Const(112)));
    103 syslog(type: Int, bufp: Out(RetUpTo(2)), len: Int) blocks;
    134 uselib() [Refused ENOSYS "obsolete"];
    153 vhangup();
    156 _sysctl() [Refused ENOSYS "removed in Linux 5.5"];
    163 acct(filename: Path);
    169 reboot(magic: Hex, magic2: Hex, cmd: Hex, arg: Path);
    170 sethostname(name: In(Arg(1)), len: Int);
    171 setdomainname(name: In(Arg(1)), len: Int);
    174 create_module() [Refused ENOSYS "removed in Linux 2.6"];
    175 init_module(module_image: In(Arg(1)), len: Unsigned, param_values: Path);
    176 delete_module(name: Path, flags: Flags);
    177 get_kernel_syms() [Refused ENOSYS "removed in Linux 2.6"];
    178 query_module() [Refused ENOSYS "removed in Linux 2.6"];
    180 nfsservctl() [Refused ENOSYS "removed in Linux 3.1"];
    181 getpmsg() [Refused ENOSYS "never implemented"];
    182 putpmsg() [Refused ENOSYS "never implemented"];
    183 afs_syscall() [Refused ENOSYS "never implemented"];
    184 tuxcall() [Refused ENOSYS "never implemented"];
    185 security() [Refused ENOSYS "never implemented"];
    236 vserver() [Refused ENOSYS "never implemented"];
    246 kexec_load(entry: Address, nr_segments: Unsigned, segments: In(ArgTimes(1, 32)), flags: Flags);
    // E2BIG writes the size that the kernel knows, the word after the type. The ring that a program maps from
    // the descriptor is written whenever an event happens; no call shows that.
    298 perf_event_open(attr: InOutAlways(Const(8)), pid: Pid, cpu: Int, group_fd: Fd, flags: Flags);
    313 finit_module(fd: Fd, param_values: Path, flags: Flags);
    318 getrandom(buf: Out(RetUpTo(1)), buflen: Unsigned, flags: Flags);
    320 kexec_file_load(kernel_fd: Fd, initrd_fd: Fd, cmdline_len: Unsigned, cmdline: In(Arg(2)), flags: Flags);
    321 bpf(cmd: Int, attr: Bpf, size: Uint);
}
