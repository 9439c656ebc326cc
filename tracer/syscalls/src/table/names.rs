//! The name space of files: directories, links, permissions, times, extended attributes, handles.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    21 access(pathname: Path, mode: Mode);
    79 getcwd(buf: Out(RetUpTo(1)), size: Unsigned);
    80 chdir(path: Path);
    81 fchdir(fd: Fd);
    82 rename(oldpath: Path, newpath: Path);
    83 mkdir(pathname: Path, mode: Mode);
    84 rmdir(pathname: Path);
    86 link(oldpath: Path, newpath: Path);
    87 unlink(pathname: Path);
    88 symlink(target: Path, linkpath: Path);
    89 readlink(pathname: Path, buf: Out(RetUpTo(2)), bufsiz: Int);
    90 chmod(pathname: Path, mode: Mode);
    91 fchmod(fd: Fd, mode: Mode);
    92 chown(pathname: Path, owner: Id, group: Id);
    93 fchown(fd: Fd, owner: Id, group: Id);
    94 lchown(pathname: Path, owner: Id, group: Id);
    95 umask(mask: Mode);
    132 utime(filename: Path, times: In(Const(16)));
    133 mknod(pathname: Path, mode: Mode, dev: Uint);
    161 chroot(path: Path);
    188 setxattr(path: Path, name: Path, value: In(Arg(3)), size: Unsigned, flags: Flags);
    189 lsetxattr(path: Path, name: Path, value: In(Arg(3)), size: Unsigned, flags: Flags);
    190 fsetxattr(fd: Fd, name: Path, value: In(Arg(3)), size: Unsigned, flags: Flags);
    191 getxattr(path: Path, name: Path, value: Out(RetUpTo(3)), size: Unsigned);
    192 lgetxattr(path: Path, name: Path, value: Out(RetUpTo(3)), size: Unsigned);
    193 fgetxattr(fd: Fd, name: Path, value: Out(RetUpTo(3)), size: Unsigned);
    194 listxattr(path: Path, list: Out(RetUpTo(2)), size: Unsigned);
    195 llistxattr(path: Path, list: Out(RetUpTo(2)), size: Unsigned);
    196 flistxattr(fd: Fd, list: Out(RetUpTo(2)), size: Unsigned);
    197 removexattr(path: Path, name: Path);
    198 lremovexattr(path: Path, name: Path);
    199 fremovexattr(fd: Fd, name: Path);
    212 lookup_dcookie(cookie: Unsigned, buffer: Address, len: Unsigned) [Refused ENOSYS "removed in Linux 6.7"];
    235 utimes(filename: Path, times: In(Const(32)));
    253 inotify_init();
    254 inotify_add_watch(fd: Fd, pathname: Path, mask: Flags);
    255 inotify_rm_watch(fd: Fd, wd: Int);
    258 mkdirat(dirfd: DirFd, pathname: Path, mode: Mode);
    259 mknodat(dirfd: DirFd, pathname: Path, mode: Mode, dev: Uint);
    260 fchownat(dirfd: DirFd, pathname: Path, owner: Id, group: Id, flags: Flags);
    261 futimesat(dirfd: DirFd, pathname: Path, times: In(Const(32)));
    263 unlinkat(dirfd: DirFd, pathname: Path, flags: Flags);
    264 renameat(olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path);
    265 linkat(olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path, flags: Flags);
    266 symlinkat(target: Path, newdirfd: DirFd, linkpath: Path);
    267 readlinkat(dirfd: DirFd, pathname: Path, buf: Out(RetUpTo(3)), bufsiz: Int);
    268 fchmodat(dirfd: DirFd, pathname: Path, mode: Mode);
    269 faccessat(dirfd: DirFd, pathname: Path, mode: Mode);
    280 utimensat(dirfd: DirFd, pathname: Path, times: In(Const(32)), flags: Flags);
    294 inotify_init1(flags: Flags);
    300 fanotify_init(flags: Flags, event_f_flags: Flags);
    301 fanotify_mark(fanotify_fd: Fd, flags: Flags, mask: Flags, dirfd: DirFd, pathname: Path);
    // The mount id is an int, or 64 bits wide with AT_HANDLE_MNT_ID_UNIQUE; EOVERFLOW writes both.
    303 name_to_handle_at(dirfd: DirFd, pathname: Path, handle: FileHandle, mount_id: OutAlways(Const(8)), flags: Flags);
    304 open_by_handle_at(mount_fd: Fd, handle: In(Const(8)), flags: Flags) blocks;
    316 renameat2(olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path, flags: Flags);
    439 faccessat2(dirfd: DirFd, pathname: Path, mode: Mode, flags: Flags);
    452 fchmodat2(dirfd: DirFd, pathname: Path, mode: Mode, flags: Flags);
    463 setxattrat(dirfd: DirFd, pathname: Path, at_flags: Flags, name: Path, uargs: In(Arg(5)), usize: Unsigned);
    464 getxattrat(dirfd: DirFd, pathname: Path, at_flags: Flags, name: Path, uargs: XattrArgs, usize: Unsigned);
    465 listxattrat(dirfd: DirFd, pathname: Path, at_flags: Flags, list: Out(RetUpTo(4)), size: Unsigned);
    466 removexattrat(dirfd: DirFd, pathname: Path, at_flags: Flags, name: Path);
}
