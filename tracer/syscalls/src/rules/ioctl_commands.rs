//! Known `ioctl` commands: numbers that say nothing about what is written, and numbers that lie.
//!
//! Commands made with `_IOR` and `_IOWR` that write just their structure are not listed; `ioctl.rs` reads
//! them from the number. Sources: `asm-generic/ioctls.h` and `ioctl_tty(2)`, `linux/sockios.h` and
//! `netdevice(7)`, `linux/fs.h`, `linux/loop.h`, `linux/kd.h`, `linux/vt.h`, `linux/if_tun.h`.

use super::command::{self, Command, commands};

/// The name of a known command, for reports.
#[must_use]
pub fn ioctl_name(request: u32) -> Option<&'static str> {
    find(u64::from(request)).map(|command| command.name)
}

/// The row of a command.
pub(super) fn find(request: u64) -> Option<&'static Command> {
    [TERMINALS, SOCKETS, DISKS, FILES, CONSOLE, OTHERS].iter().find_map(|table| command::find(table, request))
}

commands! {
    /// Terminals, and what any descriptor takes (0x54).
    TERMINALS:
    0x5401 TCGETS Writes(2, 36);
    0x5402 TCSETS Nothing;
    0x5403 TCSETSW Nothing;
    0x5404 TCSETSF Nothing;
    0x5405 TCGETA Writes(2, 18);
    0x5406 TCSETA Nothing;
    0x5407 TCSETAW Nothing;
    0x5408 TCSETAF Nothing;
    0x5409 TCSBRK Nothing;
    0x540a TCXONC Nothing;
    0x540b TCFLSH Nothing;
    0x540c TIOCEXCL Nothing;
    0x540d TIOCNXCL Nothing;
    0x540e TIOCSCTTY Nothing;
    0x540f TIOCGPGRP Writes(2, 4);
    0x5410 TIOCSPGRP Nothing;
    0x5411 TIOCOUTQ Writes(2, 4);
    0x5412 TIOCSTI Nothing;
    0x5413 TIOCGWINSZ Writes(2, 8);
    0x5414 TIOCSWINSZ Nothing;
    0x5415 TIOCMGET Writes(2, 4);
    0x5416 TIOCMBIS Nothing;
    0x5417 TIOCMBIC Nothing;
    0x5418 TIOCMSET Nothing;
    0x5419 TIOCGSOFTCAR Writes(2, 4);
    0x541a TIOCSSOFTCAR Nothing;
    0x541b FIONREAD Writes(2, 4);
    0x541d TIOCCONS Nothing;
    0x541e TIOCGSERIAL Writes(2, 72);
    0x541f TIOCSSERIAL Nothing;
    0x5420 TIOCPKT Nothing;
    0x5421 FIONBIO Nothing;
    0x5422 TIOCNOTTY Nothing;
    0x5423 TIOCSETD Nothing;
    0x5424 TIOCGETD Writes(2, 4);
    0x5425 TCSBRKP Nothing;
    0x5427 TIOCSBRK Nothing;
    0x5428 TIOCCBRK Nothing;
    0x5429 TIOCGSID Writes(2, 4);
    0x542e TIOCGRS485 Writes(2, 32);
    // The kernel hands the structure back.
    0x542f TIOCSRS485 Writes(2, 32);
    0x5432 TCGETX Writes(2, 16);
    0x5433 TCSETX Nothing;
    0x5434 TCSETXF Nothing;
    0x5435 TCSETXW Nothing;
    0x5437 TIOCVHANGUP Nothing;
    0x5441 TIOCGPTPEER Nothing;
    0x5450 FIONCLEX Nothing;
    0x5451 FIOCLEX Nothing;
    0x5452 FIOASYNC Nothing;
    0x5453 TIOCSERCONFIG Nothing;
    0x5454 TIOCSERGWILD Writes(2, 4);
    0x5455 TIOCSERSWILD Nothing;
    0x5456 TIOCGLCKTRMIOS Writes(2, 36);
    0x5457 TIOCSLCKTRMIOS Nothing;
    0x5459 TIOCSERGETLSR Writes(2, 4);
    0x545c TIOCMIWAIT Nothing;
    0x545d TIOCGICOUNT Writes(2, 80);
    0x5460 FIOQSIZE Writes(2, 8);
}

commands! {
    /// Sockets and network interfaces (0x89); `struct ifreq` has 40 bytes.
    SOCKETS:
    0x8901 FIOSETOWN Nothing;
    0x8902 SIOCSPGRP Nothing;
    0x8903 FIOGETOWN Writes(2, 4);
    0x8904 SIOCGPGRP Writes(2, 4);
    0x8905 SIOCATMARK Writes(2, 4);
    0x8906 SIOCGSTAMP Writes(2, 16);
    0x8907 SIOCGSTAMPNS Writes(2, 16);
    0x890b SIOCADDRT Nothing;
    0x890c SIOCDELRT Nothing;
    0x8910 SIOCGIFNAME Writes(2, 40);
    0x8911 SIOCSIFLINK Nothing;
    0x8913 SIOCGIFFLAGS Writes(2, 40);
    0x8914 SIOCSIFFLAGS Nothing;
    0x8915 SIOCGIFADDR Writes(2, 40);
    0x8916 SIOCSIFADDR Nothing;
    0x8917 SIOCGIFDSTADDR Writes(2, 40);
    0x8918 SIOCSIFDSTADDR Nothing;
    0x8919 SIOCGIFBRDADDR Writes(2, 40);
    0x891a SIOCSIFBRDADDR Nothing;
    0x891b SIOCGIFNETMASK Writes(2, 40);
    0x891c SIOCSIFNETMASK Nothing;
    0x891d SIOCGIFMETRIC Writes(2, 40);
    0x891e SIOCSIFMETRIC Nothing;
    0x8921 SIOCGIFMTU Writes(2, 40);
    0x8922 SIOCSIFMTU Nothing;
    0x8923 SIOCSIFNAME Nothing;
    0x8924 SIOCSIFHWADDR Nothing;
    0x8927 SIOCGIFHWADDR Writes(2, 40);
    0x8931 SIOCADDMULTI Nothing;
    0x8932 SIOCDELMULTI Nothing;
    0x8933 SIOCGIFINDEX Writes(2, 40);
    0x8934 SIOCSIFPFLAGS Nothing;
    0x8935 SIOCGIFPFLAGS Writes(2, 40);
    0x8936 SIOCDIFADDR Nothing;
    0x8937 SIOCSIFHWBROADCAST Nothing;
    0x8938 SIOCGIFCOUNT Writes(2, 40);
    0x8942 SIOCGIFTXQLEN Writes(2, 40);
    0x8943 SIOCSIFTXQLEN Nothing;
    0x8947 SIOCGMIIPHY Writes(2, 40);
    0x8948 SIOCGMIIREG Writes(2, 40);
    0x8949 SIOCSMIIREG Nothing;
    0x894b SIOCOUTQNSD Writes(2, 4);
    0x894c SIOCGSKNS Nothing;
    0x8953 SIOCDARP Nothing;
    0x8954 SIOCGARP Writes(2, 68);
    0x8955 SIOCSARP Nothing;
    0x8970 SIOCGIFMAP Writes(2, 40);
    0x8971 SIOCSIFMAP Nothing;
    0x89a0 SIOCBRADDBR Nothing;
    0x89a1 SIOCBRDELBR Nothing;
    0x89a2 SIOCBRADDIF Nothing;
    0x89a3 SIOCBRDELIF Nothing;
    0x80108906 SIOCGSTAMP_NEW Writes(2, 16);
    0x80108907 SIOCGSTAMPNS_NEW Writes(2, 16);
}

commands! {
    /// Disks (0x03, 0x12, 0x22) and loop devices (0x4c).
    DISKS:
    0x0301 HDIO_GETGEO Writes(2, 16);
    0x0307 HDIO_GET_IDENTITY_OBSOLETE Writes(2, 142);
    0x030d HDIO_GET_IDENTITY Writes(2, 512);
    0x125d BLKROSET Nothing;
    0x125e BLKROGET Writes(2, 4);
    0x125f BLKRRPART Nothing;
    0x1260 BLKGETSIZE Writes(2, 8);
    0x1261 BLKFLSBUF Nothing;
    0x1262 BLKRASET Nothing;
    0x1263 BLKRAGET Writes(2, 8);
    0x1264 BLKFRASET Nothing;
    0x1265 BLKFRAGET Writes(2, 8);
    0x1266 BLKSECTSET Nothing;
    0x1267 BLKSECTGET Writes(2, 2);
    0x1268 BLKSSZGET Writes(2, 4);
    0x1269 BLKPG Nothing;
    0x1277 BLKDISCARD Nothing;
    0x1278 BLKIOMIN Writes(2, 4);
    0x1279 BLKIOOPT Writes(2, 4);
    0x127a BLKALIGNOFF Writes(2, 4);
    0x127b BLKPBSZGET Writes(2, 4);
    0x127c BLKDISCARDZEROES Writes(2, 4);
    0x127d BLKSECDISCARD Nothing;
    0x127e BLKROTATIONAL Writes(2, 2);
    0x127f BLKZEROOUT Nothing;
    0x2282 SG_GET_VERSION_NUM Writes(2, 4);
    0x4c00 LOOP_SET_FD Nothing;
    0x4c01 LOOP_CLR_FD Nothing;
    0x4c02 LOOP_SET_STATUS Nothing;
    0x4c03 LOOP_GET_STATUS Writes(2, 168);
    0x4c04 LOOP_SET_STATUS64 Nothing;
    0x4c05 LOOP_GET_STATUS64 Writes(2, 232);
    0x4c06 LOOP_CHANGE_FD Nothing;
    0x4c07 LOOP_SET_CAPACITY Nothing;
    0x4c08 LOOP_SET_DIRECT_IO Nothing;
    0x4c09 LOOP_SET_BLOCK_SIZE Nothing;
    0x4c0a LOOP_CONFIGURE Nothing;
    0x4c80 LOOP_CTL_ADD Nothing;
    0x4c81 LOOP_CTL_REMOVE Nothing;
    0x4c82 LOOP_CTL_GET_FREE Nothing;
}

commands! {
    /// File systems, and btrfs's numbers for what all of them do.
    FILES:
    0x0001 FIBMAP Writes(2, 4);
    0x0002 FIGETBSZ Writes(2, 4);
    0x40049409 FICLONE Nothing;
    0x4020940d FICLONERANGE Nothing;
    // Reads a path; the answer is the descriptor.
    0x5000940f BTRFS_IOC_SNAP_DESTROY Nothing;
    0x80086601 FS_IOC_GETFLAGS Writes(2, 8);
    0x80087601 FS_IOC_GETVERSION Writes(2, 8);
    0x81009431 FS_IOC_GETFSLABEL Writes(2, 256);
    0x8400941f BTRFS_IOC_FS_INFO Writes(2, 1024);
    0xd0009411 BTRFS_IOC_TREE_SEARCH Writes(2, 4096);
    0xd0009412 BTRFS_IOC_INO_LOOKUP Writes(2, 4096);
}

commands! {
    /// Consoles (0x4b, 0x56).
    CONSOLE:
    0x4b2f KIOCSOUND Nothing;
    0x4b30 KDMKTONE Nothing;
    0x4b31 KDGETLED Writes(2, 1);
    0x4b32 KDSETLED Nothing;
    0x4b33 KDGKBTYPE Writes(2, 1);
    0x4b3a KDSETMODE Nothing;
    0x4b3b KDGETMODE Writes(2, 4);
    0x4b44 KDGKBMODE Writes(2, 4);
    0x4b45 KDSKBMODE Nothing;
    0x4b46 KDGKBENT Writes(2, 4);
    0x4b47 KDSKBENT Nothing;
    0x4b48 KDGKBSENT Writes(2, 513);
    0x4b49 KDSKBSENT Nothing;
    0x4b62 KDGKBMETA Writes(2, 4);
    0x4b63 KDSKBMETA Nothing;
    0x4b64 KDGKBLED Writes(2, 1);
    0x4b65 KDSKBLED Nothing;
    0x5600 VT_OPENQRY Writes(2, 4);
    0x5601 VT_GETMODE Writes(2, 8);
    0x5602 VT_SETMODE Nothing;
    0x5603 VT_GETSTATE Writes(2, 6);
    0x5605 VT_RELDISP Nothing;
    0x5606 VT_ACTIVATE Nothing;
    0x5607 VT_WAITACTIVE Nothing;
    0x5608 VT_DISALLOCATE Nothing;
    0x5609 VT_RESIZE Nothing;
    0x560b VT_LOCKSWITCH Nothing;
    0x560c VT_UNLOCKSWITCH Nothing;
}

commands! {
    /// Performance events, random numbers, name spaces, tunnels, watchdogs.
    OTHERS:
    0x2400 PERF_EVENT_IOC_ENABLE Nothing;
    0x2401 PERF_EVENT_IOC_DISABLE Nothing;
    0x2402 PERF_EVENT_IOC_REFRESH Nothing;
    0x2403 PERF_EVENT_IOC_RESET Nothing;
    0x2405 PERF_EVENT_IOC_SET_OUTPUT Nothing;
    0x5204 RNDZAPENTCNT Nothing;
    0x5206 RNDCLEARPOOL Nothing;
    0x5207 RNDRESEEDCRNG Nothing;
    0xb701 NS_GET_USERNS Nothing;
    0xb702 NS_GET_PARENT Nothing;
    0xb703 NS_GET_NSTYPE Nothing;
    // Its number names no direction, yet it writes a user id.
    0xb704 NS_GET_OWNER_UID Writes(2, 4);
    0xff01 PIDFD_GET_CGROUP_NAMESPACE Nothing;
    0xff02 PIDFD_GET_IPC_NAMESPACE Nothing;
    0xff03 PIDFD_GET_MNT_NAMESPACE Nothing;
    0xff04 PIDFD_GET_NET_NAMESPACE Nothing;
    0xff05 PIDFD_GET_PID_NAMESPACE Nothing;
    0xff06 PIDFD_GET_PID_FOR_CHILDREN_NAMESPACE Nothing;
    0xff07 PIDFD_GET_TIME_NAMESPACE Nothing;
    0xff08 PIDFD_GET_TIME_FOR_CHILDREN_NAMESPACE Nothing;
    0xff09 PIDFD_GET_USER_NAMESPACE Nothing;
    0xff0a PIDFD_GET_UTS_NAMESPACE Nothing;
    // Their numbers say they read or write an int; they hand back a struct ifreq.
    0x400454ca TUNSETIFF Writes(2, 40);
    0x800454d2 TUNGETIFF Writes(2, 40);
    // Its number says it writes; it fills a struct sock_fprog.
    0x801054db TUNGETFILTER Writes(2, 16);
}
