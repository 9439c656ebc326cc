//! Files, directories, pipes, terminals, `ioctl` and `fcntl`, with the running kernel.

use crate::arena::{Arena, Expect::*, call, check};

const AT_FDCWD: u64 = -100_i64 as u64;

/// Opens a file to read.
fn open(arena: &mut Arena, path: &str) -> u64 {
    let args = [arena.path(path), 0, 0, 0, 0, 0];
    arena.fd(call("open", args))
}

/// A file without a name that holds some bytes, at offset 0.
fn file(arena: &mut Arena) -> u64 {
    let name = arena.path("arena");
    let fd = arena.fd(call("memfd_create", [name, 0, 0, 0, 0, 0]));
    let bytes = arena.put(&[0x77; 300]);
    assert_eq!(call("pwrite64", [fd, bytes, 300, 0, 0, 0]), 300);
    fd
}

/// A pipe with some bytes in it: its read and write ends.
fn pipe(arena: &mut Arena) -> [u64; 2] {
    let ends = arena.room(8);
    assert_eq!(call("pipe", [ends, 0, 0, 0, 0, 0]), 0);
    let read = |at| {
        let mut fd = [0; 4];
        assert!(syscalls::ReadMemory::read(arena, ends + at, &mut fd));
        arena.fd(i32::from_le_bytes(fd).into())
    };
    let ends = [read(0), read(4)];
    let bytes = arena.put(&[0x77; 40]);
    assert_eq!(call("write", [ends[1], bytes, 40, 0, 0, 0]), 40);
    ends
}

#[test]
fn reading() {
    check("read", Changes, |a| [file(a), a.room(400), 400, 0, 0, 0]);
    check("read", Changes, |a| [file(a), a.room(100), 100, 0, 0, 0]);
    check("pread64", Changes, |a| [file(a), a.room(400), 400, 250, 0, 0]);
    for name in ["readv", "preadv", "preadv2"] {
        check(name, Changes, |a| {
            let buffers = [a.room(100), a.room(100), a.room(200)];
            let vector = a.words(&[buffers[0], 100, buffers[1], 100, buffers[2], 200]);
            [file(a), vector, 3, 0, 0, 0]
        });
    }
    check("vmsplice", Changes, |a| {
        let buffer = a.room(100);
        let vector = a.words(&[buffer, 100]);
        [pipe(a)[0], vector, 1, 0, 0, 0]
    });
    check("sendfile", Changes, |a| [file(a), file(a), a.words(&[100]), 50, 0, 0]);
    check("copy_file_range", Changes, |a| [file(a), a.words(&[10]), file(a), a.words(&[0]), 50, 0]);
    check("splice", Changes, |a| [file(a), a.words(&[10]), pipe(a)[1], 0, 50, 0]);
    check("splice", Changes, |a| [pipe(a)[0], 0, file(a), a.words(&[10]), 30, 0]);
}

#[test]
fn status() {
    for name in ["stat", "lstat"] {
        check(name, Changes, |a| [a.path("/"), a.room(200), 0, 0, 0, 0]);
    }
    check("fstat", Changes, |a| [file(a), a.room(200), 0, 0, 0, 0]);
    check("newfstatat", Changes, |a| [AT_FDCWD, a.path("/"), a.room(200), 0, 0, 0]);
    check("statx", Changes, |a| [AT_FDCWD, a.path("/"), 0, 0xfff, a.room(300), 0]);
    check("statfs", Changes, |a| [a.path("/proc"), a.room(200), 0, 0, 0, 0]);
    check("fstatfs", Changes, |a| [file(a), a.room(200), 0, 0, 0, 0]);
    check("cachestat", MayLack, |a| [file(a), a.words(&[0, 4096]), a.room(80), 0, 0, 0]);
    check("file_getattr", MayLack, |a| [AT_FDCWD, a.path("/tmp"), a.room(64), 24, 0, 0]);
    check("sysfs", MayLack, |a| [2, 0, a.room(64), 0, 0, 0]);
    check("statmount", MayLack, |a| {
        // mnt_id 0 of the request stands in place of a mount; the kernel answers ENOENT where it is wrong.
        let statx = a.room(256);
        let root = a.path("/");
        assert_eq!(call("statx", [AT_FDCWD, root, 0, 0x4000, statx, 0]), 0);
        let mut id = [0; 8];
        assert!(syscalls::ReadMemory::read(a, statx + 0x90, &mut id));
        [a.words(&[24, u64::from_le_bytes(id), 0x3f]), a.room(2000), 2000, 0, 0, 0]
    });
    check("listmount", MayLack, |a| [a.words(&[24, u64::MAX, 0]), a.room(800), 100, 0, 0, 0]);
    check("listns", MayLack, |a| [a.words(&[32, 0, 0, 0]), a.room(800), 100, 0, 0, 0]);
}

#[test]
fn names() {
    check("getcwd", Changes, |a| [a.room(4096), 4096, 0, 0, 0, 0]);
    check("readlink", Changes, |a| [a.path("/proc/self/exe"), a.room(100), 100, 0, 0, 0]);
    check("readlinkat", Changes, |a| [AT_FDCWD, a.path("/proc/self/exe"), a.room(9), 9, 0, 0]);
    check("getdents", Changes, |a| [open(a, "/"), a.room(4096), 4096, 0, 0, 0]);
    check("getdents64", Changes, |a| [open(a, "/"), a.room(4096), 4096, 0, 0, 0]);
    // EOVERFLOW: 75. The room for the handle's bytes is none.
    check("name_to_handle_at", FailsAndChanges(75), |a| {
        [AT_FDCWD, a.path("/tmp"), a.words(&[0]), a.room(8), 0, 0]
    });
    check("name_to_handle_at", Changes, |a| {
        let handle = a.room(136);
        let room = a.ints(&[128]);
        copy(a, room, handle);
        [AT_FDCWD, a.path("/tmp"), handle, a.room(8), 0, 0]
    });
}

/// Copies four bytes within the arena, with the kernel's help.
fn copy(arena: &mut Arena, from: u64, to: u64) {
    let [read, write] = pipe(arena);
    let rest = arena.room(40);
    assert_eq!(call("read", [read, rest, 40, 0, 0, 0]), 40);
    assert_eq!(call("write", [write, from, 4, 0, 0, 0]), 4);
    assert_eq!(call("read", [read, to, 4, 0, 0, 0]), 4);
}

#[test]
fn extended_attributes() {
    let with_value = |a: &mut Arena| {
        let fd = file(a);
        let (name, value) = (a.path("user.vdbg"), a.put(b"value"));
        call("fsetxattr", [fd, name, value, 5, 0, 0]);
        fd
    };
    check("fgetxattr", MayLack, |a| [with_value(a), a.path("user.vdbg"), a.room(64), 64, 0, 0]);
    check("flistxattr", MayLack, |a| [with_value(a), a.room(64), 64, 0, 0, 0]);
    check("getxattrat", MayLack, |a| {
        let (fd, value) = (with_value(a), a.room(64));
        [fd, a.path(""), 0x1000, a.path("user.vdbg"), a.words(&[value, 64]), 16]
    });
    check("listxattrat", MayLack, |a| [with_value(a), a.path(""), 0x1000, a.room(64), 64, 0]);
}

#[test]
fn descriptors() {
    check("pipe", Changes, |a| [a.room(8), 0, 0, 0, 0, 0]);
    check("pipe2", Changes, |a| [a.room(8), 0, 0, 0, 0, 0]);
    check("fcntl", Changes, |a| [file(a), 5, a.words(&[0, 0, 0, 0]), 0, 0, 0]);
    check("fcntl", Changes, |a| [file(a), 16, a.room(8), 0, 0, 0]);
    check("fcntl", MayLack, |a| [file(a), 1035, a.room(8), 0, 0, 0]);
    check("fcntl", Nothing, |a| [file(a), 3, a.room(8), 0, 0, 0]);
}

#[test]
fn commands_of_descriptors() {
    let terminal = |a: &mut Arena| {
        let args = [a.path("/dev/ptmx"), 2 | 0x100, 0, 0, 0, 0];
        a.fd(call("open", args))
    };
    // TCGETS, TCGETS2, TIOCGWINSZ, TIOCGPTN, TIOCGPTLCK, TIOCOUTQ, FIONREAD, TCGETA, TIOCGETD
    for command in [0x5401, 0x802c_542a, 0x5413, 0x8004_5430, 0x8004_5439, 0x5411, 0x541b, 0x5405, 0x5424] {
        check("ioctl", Changes, |a| [terminal(a), command, a.room(100), 0, 0, 0]);
    }
    check("ioctl", Changes, |a| [pipe(a)[0], 0x541b, a.room(8), 0, 0, 0]);
    // FS_IOC_GETFLAGS, FIGETBSZ, FS_IOC_FSGETXATTR, FIOQSIZE
    for command in [0x8008_6601, 2, 0x801c_581f, 0x5460] {
        check("ioctl", MayLack, |a| [open(a, "/tmp"), command, a.room(100), 0, 0, 0]);
    }
    // RNDGETENTCNT
    check("ioctl", MayLack, |a| [open(a, "/dev/urandom"), 0x8004_5200, a.room(8), 0, 0, 0]);
    // FS_IOC_FIEMAP with room for four extents
    check("ioctl", MayLack, |a| {
        let args = [a.path("/proc/self/exe"), 0, 0, 0, 0, 0];
        let fd = a.fd(call("open", args));
        let mut words = vec![0; 4 + 28];
        (words[1], words[3]) = (u64::MAX, 4);
        [fd, 0xc020_660b, a.words(&words), 0, 0, 0]
    });
    // PAGEMAP_SCAN for pages that are present, PROCMAP_QUERY with the name of a mapping
    check("ioctl", MayLack, |a| {
        let array = a.room(240);
        let here = array & !0xfff;
        let scan = [96, 0, here, here + 0x8000, 0, array, 10, 0, 0, 0, 8, 8];
        [open(a, "/proc/self/pagemap"), 0xc060_6610, a.words(&scan), 0, 0, 0]
    });
    check("ioctl", MayLack, |a| {
        let name = a.room(300);
        // PROCMAP_QUERY_COVERING_OR_NEXT_VMA, PROCMAP_QUERY_FILE_BACKED_VMA
        let query = [104, 0x30, 0x1000, 0, 0, 0, 0, 0, 0, 0, 300, name, 0];
        [open(a, "/proc/self/maps"), 0xc068_6611, a.words(&query), 0, 0, 0]
    });
    // NS_GET_NSTYPE returns a number, NS_GET_OWNER_UID writes one.
    check("ioctl", Nothing, |a| [open(a, "/proc/self/ns/user"), 0xb703, a.room(8), 0, 0, 0]);
    check("ioctl", MayLack, |a| [open(a, "/proc/self/ns/user"), 0xb704, a.room(8), 0, 0, 0]);
}

#[test]
fn waiting() {
    let ready = |a: &mut Arena| {
        let fd = pipe(a)[0] as u32;
        a.ints(&[fd, 1])
    };
    check("poll", Changes, |a| [ready(a), 1, 0, 0, 0, 0]);
    check("ppoll", Changes, |a| [ready(a), 1, a.words(&[5, 0]), 0, 0, 0]);
    for name in ["select", "pselect6"] {
        check(name, Changes, |a| {
            let fd = pipe(a)[0];
            let mut set = [0_u64; 16];
            set[(fd / 64) as usize] = 1 << (fd % 64);
            [fd + 1, a.words(&set), 0, 0, a.words(&[5, 0]), 0]
        });
    }
    let epoll = |a: &mut Arena| {
        let epoll = a.fd(call("epoll_create1", [0; 6]));
        for number in [7, 8] {
            let (fd, event) = (pipe(a)[0], a.ints(&[1, number, number]));
            assert_eq!(call("epoll_ctl", [epoll, 1, fd, event, 0, 0]), 0);
        }
        epoll
    };
    for name in ["epoll_wait", "epoll_pwait"] {
        check(name, Changes, |a| [epoll(a), a.room(120), 10, 1000, 0, 0]);
    }
    check("epoll_pwait2", MayLack, |a| [epoll(a), a.room(120), 10, a.words(&[1, 0]), 0, 0]);
    check("read", Changes, |a| [a.fd(call("eventfd2", [5, 0, 0, 0, 0, 0])), a.room(8), 8, 0, 0, 0]);
}
