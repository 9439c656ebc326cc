//! Open files: reading, writing, their status, locks and offsets.
//!
//! What a descriptor is does not show in a call. A recorder has to know of a few for which more happens than
//! the rows say: writing to `/proc/self/mem` changes memory at the offset, writing to InfiniBand's `uverbs`
//! and old SCSI devices makes the driver write through pointers in the data.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    0 read(fd: Fd, buf: Out(RetUpTo(2)), count: Unsigned) blocks;
    1 write(fd: Fd, buf: In(Arg(2)), count: Unsigned) blocks;
    2 open(pathname: Path, flags: Flags, mode: Mode) blocks;
    3 close(fd: Fd) blocks;
    4 stat(pathname: Path, statbuf: Out(Const(144)));
    5 fstat(fd: Fd, statbuf: Out(Const(144)));
    6 lstat(pathname: Path, statbuf: Out(Const(144)));
    8 lseek(fd: Fd, offset: Long, whence: Int);
    16 ioctl(fd: Fd, request: Uint, argp: Ioctl) blocks;
    17 pread64(fd: Fd, buf: Out(RetUpTo(2)), count: Unsigned, offset: Long) blocks;
    18 pwrite64(fd: Fd, buf: In(Arg(2)), count: Unsigned, offset: Long) blocks;
    19 readv(fd: Fd, iov: IovecOut(2), iovcnt: Unsigned) blocks;
    20 writev(fd: Fd, iov: IovecIn(2), iovcnt: Unsigned) blocks;
    22 pipe(pipefd: Out(Const(8)));
    32 dup(oldfd: Fd);
    33 dup2(oldfd: Fd, newfd: Fd);
    40 sendfile(out_fd: Fd, in_fd: Fd, offset: InOutAlways(Const(8)), count: Unsigned) blocks;
    72 fcntl(fd: Fd, cmd: Uint, arg: Fcntl) blocks;
    73 flock(fd: Fd, operation: Uint) blocks;
    74 fsync(fd: Fd) blocks;
    75 fdatasync(fd: Fd) blocks;
    76 truncate(path: Path, length: Long);
    77 ftruncate(fd: Fd, length: Long);
    78 getdents(fd: Fd, dirp: Out(RetUpTo(2)), count: Uint);
    85 creat(pathname: Path, mode: Mode) blocks;
    162 sync() blocks;
    187 readahead(fd: Fd, offset: Long, count: Unsigned);
    217 getdents64(fd: Fd, dirp: Out(RetUpTo(2)), count: Uint);
    221 fadvise64(fd: Fd, offset: Long, len: Unsigned, advice: Int);
    257 openat(dirfd: DirFd, pathname: Path, flags: Flags, mode: Mode) blocks;
    262 newfstatat(dirfd: DirFd, pathname: Path, statbuf: Out(Const(144)), flags: Flags);
    // A pipe's end has no offset; the kernel takes NULL only.
    275 splice(fd_in: Fd, off_in: InOut(Const(8)), fd_out: Fd, off_out: InOut(Const(8)), len: Unsigned, flags: Flags) blocks;
    276 tee(fd_in: Fd, fd_out: Fd, len: Unsigned, flags: Flags) blocks;
    277 sync_file_range(fd: Fd, offset: Long, nbytes: Long, flags: Flags) blocks;
    // Which way data goes depends on the pipe's end; from a read end it is written to the buffers.
    278 vmsplice(fd: Fd, iov: IovecOut(2), nr_segs: Unsigned, flags: Flags) blocks;
    285 fallocate(fd: Fd, mode: Int, offset: Long, len: Long);
    292 dup3(oldfd: Fd, newfd: Fd, flags: Flags);
    293 pipe2(pipefd: Out(Const(8)), flags: Flags);
    295 preadv(fd: Fd, iov: IovecOut(2), iovcnt: Unsigned, pos_l: Unsigned, pos_h: Unsigned) blocks;
    296 pwritev(fd: Fd, iov: IovecIn(2), iovcnt: Unsigned, pos_l: Unsigned, pos_h: Unsigned) blocks;
    306 syncfs(fd: Fd) blocks;
    319 memfd_create(name: Path, flags: Flags);
    326 copy_file_range(fd_in: Fd, off_in: InOut(Const(8)), fd_out: Fd, off_out: InOut(Const(8)), len: Unsigned, flags: Flags) blocks;
    327 preadv2(fd: Fd, iov: IovecOut(2), iovcnt: Unsigned, pos_l: Unsigned, pos_h: Unsigned, flags: Flags) blocks;
    328 pwritev2(fd: Fd, iov: IovecIn(2), iovcnt: Unsigned, pos_l: Unsigned, pos_h: Unsigned, flags: Flags) blocks;
    332 statx(dirfd: DirFd, pathname: Path, flags: Flags, mask: Flags, statxbuf: Out(Const(256)));
    436 close_range(first: Uint, last: Uint, flags: Flags) blocks;
    437 openat2(dirfd: DirFd, pathname: Path, how: In(Arg(3)), size: Unsigned) blocks;
    451 cachestat(fd: Fd, cstat_range: In(Const(16)), cstat: Out(Const(40)), flags: Flags);
    468 file_getattr(dirfd: DirFd, pathname: Path, ufattr: Out(Arg(3)), usize: Unsigned, at_flags: Flags);
    469 file_setattr(dirfd: DirFd, pathname: Path, ufattr: In(Arg(3)), usize: Unsigned, at_flags: Flags);
}
