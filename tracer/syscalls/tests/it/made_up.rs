//! What `writes` says of calls with made-up arguments and memory, one structured kind after the other.

use syscalls::{Coverage, Outcome, ReadMemory, by_name, errno_name, ioctl_name, signal_name, writes};

/// Memory that holds some values at some addresses, and zeros up to the end of their page.
struct Memory(Vec<(u64, Vec<u8>)>);

impl ReadMemory for Memory {
    fn read(&self, addr: u64, buf: &mut [u8]) -> bool {
        let mapped = |addr: u64| self.0.iter().any(|(base, _)| base & !0xfff == addr & !0xfff);
        for (at, byte) in (addr..).zip(buf) {
            if !mapped(at) {
                return false;
            }
            let value = |(base, bytes): &(u64, Vec<u8>)| {
                bytes.get(usize::try_from(at.checked_sub(*base)?).ok()?).copied()
            };
            *byte = self.0.iter().find_map(value).unwrap_or(0);
        }
        true
    }
}

/// Words of 64 bits at an address.
fn words(addr: u64, words: &[u64]) -> (u64, Vec<u8>) {
    (addr, words.iter().flat_map(|word| word.to_le_bytes()).collect())
}

/// The ranges of a call as `address+length`, sorted, with a `?` at the end when coverage is unknown.
fn ranges(name: &str, args: [u64; 6], ret: i64, memory: &[(u64, Vec<u8>)]) -> String {
    let mut found = Vec::new();
    let row = by_name(name).unwrap_or_else(|| panic!("no row {name}"));
    let coverage = writes(row.nr.into(), &args, ret, &Memory(memory.to_vec()), &mut |range| {
        assert!(range.addr != 0 && range.len != 0, "{name}: an empty range or one at null");
        found.push((range.addr, range.len));
    });
    found.sort_unstable();
    let mut text: Vec<_> = found.iter().map(|(addr, len)| format!("{addr:x}+{len}")).collect();
    if coverage == Coverage::Unknown {
        text.push("?".into());
    }
    text.join(" ")
}

#[track_caller]
fn check(name: &str, args: [u64; 6], ret: i64, memory: &[(u64, Vec<u8>)], expected: &str) {
    assert_eq!(ranges(name, args, ret, memory), expected, "{name} returned {ret}");
}

const EINTR: i64 = -4;
const EFAULT: i64 = -14;
const EINVAL: i64 = -22;
const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
/// What the upper half of a register may hold when the argument is an int.
const GARBAGE: u64 = 0xdead_beef_0000_0000;

#[test]
fn sizes() {
    check("read", [3, 0x1000, 100, 0, 0, 0], 10, &[], "1000+10");
    check("read", [3, 0x1000, 100, 0, 0, 0], 0, &[], "");
    check("read", [3, 0x1000, 100, 0, 0, 0], EINTR, &[], "");
    check("read", [3, 0x1000, 100, 0, 0, 0], EFAULT, &[], "1000+100");
    // MSG_TRUNC returns the length of the datagram.
    check("recvfrom", [3, 0x1000, 100, 0x20, 0, 0], 9000, &[], "1000+100");
    check("getxattr", [1, 1, 0x1000, 0, 0, 0], 30, &[], "");
    check("fstat", [3, 0x1000, 0, 0, 0, 0], 0, &[], "1000+144");
    check("fstat", [3, 0, 0, 0, 0, 0], EFAULT, &[], "");
    check("fstat", [3, u64::MAX - 5, 0, 0, 0, 0], EFAULT, &[], "");
    check("getgroups", [GARBAGE | 8, 0x1000, 0, 0, 0, 0], 3, &[], "1000+12");
    check("getgroups", [0, 0x1000, 0, 0, 0, 0], 3, &[], "");
    check("epoll_wait", [3, 0x1000, GARBAGE | 8, 0, 0, 0], 2, &[], "1000+24");
    check("select", [65, 0x1000, 0, 0x2000, 0x3000, 0], 1, &[], "1000+16 2000+16 3000+16");
    check("mincore", [0x10000, 4097, 0x1000, 0, 0, 0], 0, &[], "1000+2");
    check("sched_getaffinity", [0, GARBAGE | 128, 0x1000, 0, 0, 0], 8, &[], "1000+8");
    check("rt_sigprocmask", [0, 0x1000, 0x2000, 8, 0, 0], 0, &[], "2000+8");
    check("msgrcv", [0, 0x1000, 100, 0, 0, 0], 10, &[], "1000+18");
    check("lsm_list_modules", [0x1000, 0x2000, 0, 0, 0, 0], 2, &[words(0x2000, &[16])], "1000+16 2000+4");
}

#[test]
fn some_write_on_failure() {
    for interrupted in [EINTR, ERESTARTNOHAND, ERESTART_RESTARTBLOCK] {
        assert!(Outcome::of(interrupted).is_interrupted());
        check("nanosleep", [0x1000, 0x2000, 0, 0, 0, 0], interrupted, &[], "2000+16");
        check("clock_nanosleep", [1, 0, 0x1000, 0x2000, 0, 0], interrupted, &[], "2000+16");
        check("poll", [0x1000, 3, 0, 0, 0, 0], interrupted, &[], "1000+24");
        check("ppoll", [0x1000, 3, 0x2000, 0, 0, 0], interrupted, &[], "1000+24 2000+16");
        check("select", [3, 0x1000, 0, 0, 0x3000, 0], interrupted, &[], "3000+16");
        check("recvmmsg", [3, 0x1000, 2, 0, 0x3000, 0], interrupted, &[], "3000+16");
    }
    check("waitid", [0, 0, 0x1000, 4, 0x2000, 0], -10, &[], "1000+128");
    check("capget", [0x1000, 0x2000, 0, 0, 0, 0], EINVAL, &[], "1000+8");
    check("sched_setattr", [0, 0x1000, 0, 0, 0, 0], -7, &[], "1000+4");
    assert!(!Outcome::of(-5).is_interrupted());
    assert_eq!(Outcome::of(-4096), Outcome::Done(-4096_i64 as u64));
}

#[test]
fn vectors_of_buffers() {
    let vector = [words(0x1000, &[0x2000, 10, 0, 5, 0x3000, 10])];
    check("readv", [3, 0x1000, 3, 0, 0, 0], 25, &vector, "2000+10 3000+10");
    check("readv", [3, 0x1000, 3, 0, 0, 0], 7, &vector, "2000+7");
    check("readv", [3, 0x1000, 3, 0, 0, 0], 17, &vector, "2000+10 3000+2");
    check("preadv", [3, 0x1000, 1, 0, 0, 0], EFAULT, &vector, "2000+10");
    check("readv", [3, 0x9000, 1, 0, 0, 0], EFAULT, &vector, "");
    check("writev", [3, 0x1000, 3, 0, 0, 0], 25, &vector, "");
    check("process_vm_readv", [1, 0x1000, 1, 0x4000, 1, 0], 4, &vector, "2000+4");
}

#[test]
fn messages() {
    let header = words(0x1000, &[0x2000, GARBAGE | 16, 0x3000, 1, 0x4000, 24, 0]);
    let vector = words(0x3000, &[0x5000, 100]);
    let memory = [header.clone(), vector.clone()];
    check("recvmsg", [3, 0x1000, 0, 0, 0, 0], 30, &memory, "1000+56 2000+16 4000+24 5000+30");
    check("recvmsg", [3, 0x1000, 0, 0, 0, 0], EINTR, &memory, "");
    check("sendmsg", [3, 0x1000, 0, 0, 0, 0], 30, &memory, "");

    let two = words(0x1000, &[0, 0, 0x3000, 1, 0, 0, 0, 12, 0x2000, 4, 0, 0, 0, 0, 0, 0]);
    let memory = [two, vector];
    check("recvmmsg", [3, 0x1000, 2, 0, 0x6000, 0], 1, &memory, "1000+56 1038+4 5000+12 6000+16");
    check("recvmmsg", [3, 0x1000, 2, 0, 0, 0], 2, &memory, "1000+56 1038+4 1040+56 1078+4 2000+4 5000+12");
    check("sendmmsg", [3, 0x1000, 2, 0, 0, 0], 2, &memory, "1038+4 1078+4");
}

#[test]
fn socket_addresses_and_options() {
    let len = [words(0x2000, &[GARBAGE | 110])];
    check("accept", [3, 0x1000, 0x2000, 0, 0, 0], 4, &len, "1000+110 2000+4");
    check("accept", [3, 0, 0, 0, 0, 0], 4, &len, "");
    check("accept4", [3, 0x1000, 0x2000, 0, 0, 0], -11, &len, "");
    check("getsockname", [3, 0x1000, 0x2000, 0, 0, 0], 0, &[words(0x2000, &[5000])], "1000+128 2000+4");
    check("recvfrom", [3, 0x1000, 9, 0, 0x3000, 0x2000], 9, &len, "1000+9 2000+4 3000+110");
    check("getsockopt", [3, 1, 7, 0x1000, 0x2000, 0], 0, &[words(0x2000, &[4])], "1000+4 2000+4");
    check("getsockopt", [3, 1, 26, 0x1000, 0x2000, 0], 0, &[words(0x2000, &[4])], "1000+32 2000+4");
    check("getsockopt", [3, 6, 35, 0x1000, 0x2000, 0], 0, &[words(0x2000, &[4])], "1000+4 2000+4 ?");
    check("getsockopt", [3, 1, 31, 0x1000, 0x2000, 0], -34, &len, "2000+4");
}

#[test]
fn new_tasks() {
    check("clone", [0x11, 0, 0x1000, 0x2000, 0, 0], 99, &[], "");
    check("clone", [0x10_0011, 0, 0x1000, 0x2000, 0, 0], 99, &[], "1000+4");
    check("clone", [0x1011, 0, 0x1000, 0x2000, 0, 0], 99, &[], "1000+4");
    let args = [words(0x1000, &[0x10_1000, 0x2000, 0x3000, 0x4000, 17])];
    check("clone3", [0x1000, 88, 0, 0, 0, 0], 99, &args, "2000+4 4000+4");
    check("clone3", [0x1000, 88, 0, 0, 0, 0], 99, &[words(0x1000, &[0, 0x2000, 0, 0x4000])], "");
}

#[test]
fn other_structures() {
    let handle = [words(0x1000, &[20])];
    check("name_to_handle_at", [0, 1, 0x1000, 0x2000, 0, 0], 0, &handle, "1000+28 2000+8");
    check("name_to_handle_at", [0, 1, 0x1000, 0x2000, 0, 0], -75, &handle, "1000+8 2000+8");
    check("getxattrat", [0, 1, 0, 1, 0x1000, 16], 5, &[words(0x1000, &[0x2000, 64])], "2000+5");
    check("capget", [0x1000, 0x2000, 0, 0, 0, 0], 0, &[words(0x1000, &[0x1998_0330])], "1000+8 2000+12");
    check("capget", [0x1000, 0x2000, 0, 0, 0, 0], 0, &[words(0x1000, &[0x2008_0522])], "1000+8 2000+24");
    // struct iocb: a read of 64 bytes at 0x5000, a write from there.
    let blocks = [
        words(0x1000, &[0x2000, 0x3000]),
        words(0x2000, &[1, 0, 0, 0x5000, 64]),
        words(0x3000, &[1, 0, 1, 0x5000, 64]),
        words(0x4000, &[1, 0x2000, 7, 0]),
    ];
    check("io_submit", [1, 2, 0x1000, 0, 0, 0], 2, &blocks, "2008+4 3008+4 5000+64");
    check("io_submit", [1, 2, 0x1000, 0, 0, 0], EINVAL, &blocks, "2008+4 5000+64");
    check("io_getevents", [1, 1, 4, 0x4000, 0, 0], 1, &blocks, "4000+32 5000+7");
    check("sysfs", [2, 1, 0x1000, 0, 0, 0], 0, &[(0x1000, b"tmpfs\0".to_vec())], "1000+6");
    check("sysfs", [3, 0, 0x1000, 0, 0, 0], 30, &[], "");
    check(
        "bpf",
        [5, 0x1000, 48, 0, 0, 0],
        -13,
        &[words(0x1000, &[0, 0, 0, 0x40_0000_0001, 0x2000])],
        "1000+48 2000+64",
    );
    check("bpf", [1, 0x1000, 48, 0, 0, 0], 0, &[], "1000+48 ?");
}

#[test]
fn commands() {
    check("ioctl", [0, 0x5401, 0x1000, 0, 0, 0], 0, &[], "1000+36");
    check("ioctl", [0, GARBAGE | 0x5401, 0x1000, 0, 0, 0], -25, &[], "");
    check("ioctl", [0, 0x5421, 0x1000, 0, 0, 0], 0, &[], "");
    // TIOCGPTN, known by its number alone; an unknown one without direction; graphics.
    check("ioctl", [0, 0x8004_5430, 0x1000, 0, 0, 0], 0, &[], "1000+4");
    check("ioctl", [0, 0x4004_5431, 0x1000, 0, 0, 0], 0, &[], "");
    check("ioctl", [0, 0x7777, 0x1000, 0, 0, 0], 0, &[], "?");
    check("ioctl", [0, 0xc040_6400, 0x1000, 0, 0, 0], 0, &[], "1000+64 ?");
    check("ioctl", [0, 0x400454ca, 0x1000, 0, 0, 0], 0, &[], "1000+40");
    check("ioctl", [0, 0x8912, 0x1000, 0, 0, 0], 0, &[words(0x1000, &[80, 0x2000])], "1000+16 2000+80");
    check("ioctl", [0, 0xc020_660b, 0x1000, 0, 0, 0], 0, &[words(0x1000, &[0, 9, 3 << 32, 8])], "1000+200");
    check("fcntl", [0, 5, 0x1000, 0, 0, 0], 0, &[], "1000+32");
    check("fcntl", [0, 3, 0x1000, 0, 0, 0], 0, &[], "");
    check("fcntl", [0, 999, 0x1000, 0, 0, 0], 0, &[], "?");
    check("fcntl", [0, 999, 0x1000, 0, 0, 0], EINVAL, &[], "");
    check("prctl", [16, 0x1000, 0, 0, 0, 0], 0, &[], "1000+16");
    check("prctl", [0x4155_5856, 0x1000, 64, 0, 0, 0], 320, &[], "1000+64");
    check("prctl", [12345, 0x1000, 0, 0, 0, 0], 0, &[], "?");
    check("prctl", [12345, 0x1000, 0, 0, 0, 0], -22, &[], "");
    check("fcntl", [3, 0x7654, 0x1000, 0, 0, 0], 0, &[], "?");
    check("fcntl", [3, 0x7654, 0x1000, 0, 0, 0], -22, &[], "");
    check("arch_prctl", [0x1003, 0x1000, 0, 0, 0, 0], 0, &[], "1000+8");
    check("futex", [0x1000, 128, 1, 0, 0x2000, 0], EINTR, &[], "");
    check("futex", [0x1000, 128 | 5, 1, 0, 0x2000, 0], 1, &[], "2000+4");
    check("futex", [0x1000, 128 | 6, 1, 0, 0, 0], EINTR, &[], "1000+4");
    check("ptrace", [1, 9, 0x1000, 0x2000, 0, 0], 0, &[], "2000+8");
    check("ptrace", [0x4204, 9, 1, 0x2000, 0, 0], 0, &[words(0x2000, &[0x3000, 216])], "2000+16 3000+216");
    check("ptrace", [0x420e, 9, 24, 0x2000, 0, 0], 88, &[], "2000+24");
    check("shmctl", [9, 2, 0x1000, 0, 0, 0], 0, &[], "1000+112");
    check("semctl", [9, 0, 2, 0x1000, 0, 0], 0, &[], "1000+104");
    check("semctl", [9, 0, 13, 0x1000, 0, 0], 0, &[], "?");
    check("msgctl", [9, 2, 0x1000, 0, 0, 0], 0, &[], "1000+120");
    check("keyctl", [11, 9, 0x1000, 4, 0, 0], 30, &[], "1000+4");
    check("quotactl", [0x8000_0700, 1, 0, 0x1000, 0, 0], 0, &[], "1000+72");
    check("quotactl_fd", [3, 0x8000_0401, 0, 0x1000, 0, 0], 0, &[], "1000+4");
    check("seccomp", [3, 0, 0x1000, 0, 0, 0], 0, &[], "1000+6");
}

#[test]
fn what_has_no_rule_is_unknown() {
    let nothing = Memory(Vec::new());
    let coverage = writes(400, &[0x1000; 6], 0, &nothing, &mut |_| panic!("a range"));
    assert_eq!(coverage, Coverage::Unknown);
    check("restart_syscall", [0x1000; 6], 0, &[], "?");
    // Refused calls are answered by the recorder and write nothing.
    check("rseq", [0x1000, 32, 0, 0, 0, 0], -38, &[], "");
}

#[test]
fn no_memory_makes_writes_panic() {
    /// Memory full of ones: every pointer and length in it is absurd.
    struct Absurd;
    impl ReadMemory for Absurd {
        fn read(&self, _: u64, buf: &mut [u8]) -> bool {
            buf.fill(0xff);
            true
        }
    }
    let commands = [0, 1, 5, 6, 16, 0x1000, 0x5401, 0x8912, 0xc020_660b, 0x2285, 0xc138_fd00, u64::MAX];
    for row in syscalls::all() {
        for ret in [0, 1, i64::MAX, i64::MIN, EINTR, EFAULT] {
            for command in commands {
                for position in 0..3 {
                    let mut args = [u64::MAX - 7; 6];
                    args[position] = command;
                    let _ = writes(row.nr.into(), &args, ret, &Absurd, &mut |range| {
                        assert!(range.len > 0 && range.addr > 0);
                        assert!(range.addr.checked_add(range.len).is_some());
                    });
                }
            }
        }
    }
}

#[test]
fn names() {
    assert_eq!(errno_name(2), Some("ENOENT"));
    assert_eq!(errno_name(38), Some("ENOSYS"));
    assert_eq!(errno_name(516), Some("ERESTART_RESTARTBLOCK"));
    assert_eq!(errno_name(41), None);
    assert_eq!(signal_name(0), None);
    assert_eq!(signal_name(9), Some("SIGKILL"));
    assert_eq!(signal_name(31), Some("SIGSYS"));
    assert_eq!(signal_name(34), Some("SIG34"));
    assert_eq!(signal_name(64), Some("SIG64"));
    assert_eq!(signal_name(65), None);
    assert_eq!(ioctl_name(0x5413), Some("TIOCGWINSZ"));
    assert_eq!(ioctl_name(0x1234_5678), None);
}
