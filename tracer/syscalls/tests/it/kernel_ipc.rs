//! Sockets, message queues, shared memory and asynchronous I/O, with the running kernel.

use crate::arena::{Arena, Expect::*, call, check};

/// A number that the kernel put in memory.
fn int(arena: &Arena, addr: u64) -> i64 {
    let mut bytes = [0; 4];
    assert!(syscalls::ReadMemory::read(arena, addr, &mut bytes));
    i32::from_le_bytes(bytes).into()
}

/// Two connected sockets of a type (1: stream, 2: datagram).
fn pair(arena: &mut Arena, kind: u64) -> [u64; 2] {
    let fds = arena.room(8);
    assert_eq!(call("socketpair", [1, kind, 0, fds, 0, 0]), 0);
    [arena.fd(int(arena, fds)), arena.fd(int(arena, fds + 4))]
}

/// A datagram socket at an address of 127.0.0.1, and that address.
fn udp(arena: &mut Arena) -> (u64, u64) {
    let fd = arena.fd(call("socket", [2, 2, 0, 0, 0, 0]));
    let addr = arena.put(&[2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(call("bind", [fd, addr, 16, 0, 0, 0]), 0);
    let len = arena.ints(&[16]);
    assert_eq!(call("getsockname", [fd, addr, len, 0, 0, 0]), 0);
    (fd, addr)
}

/// A datagram socket with some messages waiting, of 20, 21, … bytes.
fn with_messages(arena: &mut Arena, count: u64) -> u64 {
    let (fd, addr) = udp(arena);
    let bytes = arena.put(&[0x77; 64]);
    for index in 0..count {
        let len = 20 + index;
        assert_eq!(call("sendto", [fd, bytes, len, 0, addr, 16]), len as i64);
    }
    fd
}

#[test]
fn addresses() {
    check("socketpair", Changes, |a| [1, 1, 0, a.room(8), 0, 0]);
    check("getsockname", Changes, |a| [udp(a).0, a.room(64), a.ints(&[64]), 0, 0, 0]);
    check("getsockname", Changes, |a| [udp(a).0, a.room(64), a.ints(&[5]), 0, 0, 0]);
    check("getpeername", Changes, |a| [pair(a, 1)[0], a.room(64), a.ints(&[64]), 0, 0, 0]);
    for name in ["accept", "accept4"] {
        check(name, Changes, |a| {
            let listener = a.fd(call("socket", [2, 1, 0, 0, 0, 0]));
            let addr = a.put(&[2, 0, 0, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
            assert_eq!(call("bind", [listener, addr, 16, 0, 0, 0]), 0);
            assert_eq!(call("listen", [listener, 1, 0, 0, 0, 0]), 0);
            let len = a.ints(&[16]);
            assert_eq!(call("getsockname", [listener, addr, len, 0, 0, 0]), 0);
            let client = a.fd(call("socket", [2, 1, 0, 0, 0, 0]));
            assert_eq!(call("connect", [client, addr, 16, 0, 0, 0]), 0);
            [listener, a.room(64), a.ints(&[64]), 0, 0, 0]
        });
    }
}

#[test]
fn receiving() {
    check("recvfrom", Changes, |a| [with_messages(a, 1), a.room(64), 64, 0, a.room(64), a.ints(&[64])]);
    // MSG_TRUNC: the length is returned, the buffer is shorter.
    check("recvfrom", Changes, |a| [with_messages(a, 1), a.room(9), 9, 0x20, 0, 0]);
    let header = |a: &mut Arena, control: u64| {
        let (name, first, rest) = (a.room(64), a.room(10), a.room(64));
        let vector = a.words(&[first, 10, rest, 64]);
        [name, 64, vector, 2, control, 64, 0]
    };
    check("recvmsg", Changes, |a| {
        let (fd, header) = (with_messages(a, 1), header(a, 0));
        [fd, a.words(&header), 0, 0, 0, 0]
    });
    check("recvmsg", Changes, |a| {
        let [from, to] = pair(a, 1);
        let bytes = a.put(b"abc");
        let vector = a.words(&[bytes, 3]);
        // struct cmsghdr of 20 bytes, SOL_SOCKET, SCM_RIGHTS, a descriptor
        let control = a.ints(&[20, 0, 1, 1, from as u32, 0]);
        let message = a.words(&[0, 0, vector, 1, control, 24, 0]);
        assert_eq!(call("sendmsg", [from, message, 0, 0, 0, 0]), 3);
        let room = a.room(64);
        let header = header(a, room);
        [to, a.words(&header), 0, 0, 0, 0]
    });
    check("recvmmsg", Changes, |a| {
        let fd = with_messages(a, 2);
        let (first, second) = (header(a, 0), header(a, 0));
        let vector = [&first[..], &[0x55], &second[..], &[0x55]].concat();
        // MSG_DONTWAIT
        [fd, a.words(&vector), 2, 0x40, a.words(&[5, 0]), 0]
    });
    check("sendmmsg", Changes, |a| {
        let fd = pair(a, 2)[0];
        let bytes = a.put(b"abc");
        let vector = a.words(&[bytes, 3]);
        let message = [0, 0, vector, 1, 0, 0, 0, 0x55];
        [fd, a.words(&[message, message].concat()), 2, 0, 0, 0]
    });
}

#[test]
fn options() {
    // SO_RCVBUF, SO_PEERCRED, SO_LINGER, with room to spare
    for option in [8, 17, 13] {
        check("getsockopt", Changes, |a| [pair(a, 1)[0], 1, option, a.room(64), a.ints(&[64]), 0]);
    }
    // TCP_INFO
    check("getsockopt", Changes, |a| {
        let fd = a.fd(call("socket", [2, 1, 0, 0, 0, 0]));
        [fd, 6, 11, a.room(512), a.ints(&[512]), 0]
    });
    // SO_ATTACH_FILTER of one instruction, then SO_GET_FILTER
    check("getsockopt", Changes, |a| {
        let fd = udp(a).0;
        let filter = a.ints(&[6, 0xffff]);
        let program = a.words(&[1, filter]);
        assert_eq!(call("setsockopt", [fd, 1, 26, program, 16, 0]), 0);
        [fd, 1, 26, a.room(64), a.ints(&[8]), 0]
    });
    // SIOCGIFCONF, and SIOCGIFFLAGS of "lo"
    check("ioctl", Changes, |a| {
        let buffer = a.room(400);
        [udp(a).0, 0x8912, a.words(&[400, buffer]), 0, 0, 0]
    });
    check("ioctl", Changes, |a| {
        let mut request = [0x55; 40];
        request[..3].copy_from_slice(b"lo\0");
        [udp(a).0, 0x8913, a.put(&request), 0, 0, 0]
    });
}

#[test]
fn system_v() {
    let shared = |a: &mut Arena| {
        let id = call("shmget", [0, 4096, 0o1600, 0, 0, 0]) as u64;
        a.after(move || {
            call("shmctl", [id, 0, 0, 0, 0, 0]);
        });
        id
    };
    check("shmctl", Changes, |a| [shared(a), 2, a.room(112), 0, 0, 0]);
    // IPC_INFO, SHM_INFO
    check("shmctl", Changes, |a| [0, 3, a.room(112), 0, 0, 0]);
    check("shmctl", Changes, |a| [0, 14, a.room(112), 0, 0, 0]);
    let semaphores = |a: &mut Arena| {
        let id = call("semget", [0, 3, 0o1600, 0, 0, 0]) as u64;
        a.after(move || {
            call("semctl", [id, 0, 0, 0, 0, 0]);
        });
        id
    };
    check("semctl", Changes, |a| [semaphores(a), 0, 2, a.room(112), 0, 0]);
    check("semctl", Changes, |a| [0, 0, 3, a.room(112), 0, 0]);
    let queue = |a: &mut Arena| {
        let id = call("msgget", [0, 0o1600, 0, 0, 0, 0]) as u64;
        a.after(move || {
            call("msgctl", [id, 0, 0, 0, 0, 0]);
        });
        let message = a.words(&[1, 0x7777_7777_7777_7777]);
        assert_eq!(call("msgsnd", [id, message, 8, 0, 0, 0]), 0);
        id
    };
    check("msgctl", Changes, |a| [queue(a), 2, a.room(120), 0, 0, 0]);
    check("msgctl", Changes, |a| [0, 3, a.room(120), 0, 0, 0]);
    check("msgrcv", Changes, |a| [queue(a), a.room(40), 32, 0, 0, 0]);
}

#[test]
fn posix_queues() {
    let queue = |a: &mut Arena| {
        let name = a.path("vdbg-syscalls-test");
        let attributes = a.words(&[0, 4, 64, 0, 0, 0, 0, 0]);
        call("mq_unlink", [name, 0, 0, 0, 0, 0]);
        let fd = call("mq_open", [name, 0o102, 0o600, attributes, 0, 0]);
        if fd < 0 {
            return u64::MAX;
        }
        call("mq_unlink", [name, 0, 0, 0, 0, 0]);
        let bytes = a.put(&[0x77; 20]);
        assert_eq!(call("mq_timedsend", [fd as u64, bytes, 20, 3, 0, 0]), 0);
        a.fd(fd)
    };
    check("mq_timedreceive", MayLack, |a| [queue(a), a.room(64), 64, a.room(4), 0, 0]);
    check("mq_getsetattr", MayLack, |a| [queue(a), 0, a.room(64), 0, 0, 0]);
}

#[test]
fn asynchronous() {
    let context = |a: &mut Arena| {
        let id = a.words(&[0]);
        if call("io_setup", [4, id, 0, 0, 0, 0]) != 0 {
            return 0;
        }
        let mut context = [0; 8];
        assert!(syscalls::ReadMemory::read(a, id, &mut context));
        let context = u64::from_le_bytes(context);
        a.after(move || {
            call("io_destroy", [context, 0, 0, 0, 0, 0]);
        });
        context
    };
    // One block that reads 16 bytes and one that reads a vector of 8 and 8.
    let blocks = |a: &mut Arena| {
        let (name, bytes) = (a.path("aio"), a.put(&[0x77; 16]));
        let fd = a.fd(call("memfd_create", [name, 0, 0, 0, 0, 0]));
        assert_eq!(call("write", [fd, bytes, 16, 0, 0, 0]), 16);
        let buffers = [a.room(40), a.room(8), a.room(40)];
        let vector = a.words(&[buffers[1], 8, buffers[2], 40]);
        let flat = a.words(&[1, 0x5555_5555, fd << 32, buffers[0], 40, 0, 0, 0]);
        let scattered = a.words(&[1, 0x5555_5555, fd << 32 | 7, vector, 2, 0, 0, 0]);
        a.words(&[flat, scattered])
    };
    check("io_setup", MayLack, |a| [4, a.words(&[0]), 0, 0, 0, 0]);
    check("io_submit", MayLack, |a| [context(a), 2, blocks(a), 0, 0, 0]);
    for name in ["io_getevents", "io_pgetevents"] {
        check(name, MayLack, |a| {
            let (context, blocks) = (context(a), blocks(a));
            call("io_submit", [context, 2, blocks, 0, 0, 0]);
            [context, 1, 4, a.room(128), a.words(&[1, 0]), 0]
        });
    }
}
