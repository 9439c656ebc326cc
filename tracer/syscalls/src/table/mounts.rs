//! Mounted file systems, quotas and swap.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    136 ustat(dev: Uint, ubuf: Out(Const(32)));
    137 statfs(path: Path, buf: Out(Const(120)));
    138 fstatfs(fd: Fd, buf: Out(Const(120)));
    139 sysfs(option: Int, arg1: Hex, arg2: Sysfs);
    155 pivot_root(new_root: Path, put_old: Path);
    165 mount(source: Path, target: Path, filesystemtype: Path, mountflags: Flags, data: Address) blocks;
    166 umount2(target: Path, flags: Flags) blocks;
    167 swapon(path: Path, swapflags: Flags);
    168 swapoff(path: Path) blocks;
    179 quotactl(cmd: Uint, special: Path, id: Id, addr: Quotactl(0));
    428 open_tree(dirfd: DirFd, pathname: Path, flags: Flags);
    429 move_mount(from_dirfd: DirFd, from_pathname: Path, to_dirfd: DirFd, to_pathname: Path, flags: Flags);
    430 fsopen(fsname: Path, flags: Flags);
    431 fsconfig(fd: Fd, cmd: Uint, key: Path, value: Address, aux: Int) blocks;
    432 fsmount(fsfd: Fd, flags: Flags, attr_flags: Flags);
    433 fspick(dirfd: DirFd, pathname: Path, flags: Flags);
    442 mount_setattr(dirfd: DirFd, pathname: Path, flags: Flags, attr: In(Arg(4)), size: Unsigned);
    443 quotactl_fd(fd: Fd, cmd: Uint, id: Id, addr: Quotactl(1));
    457 statmount(req: In(Const(24)), buf: Out(Arg(2)), bufsize: Unsigned, flags: Flags);
    458 listmount(req: In(Const(24)), mnt_ids: Out(RetTimesUpTo(2, 8)), nr_mnt_ids: Unsigned, flags: Flags);
    467 open_tree_attr(dirfd: DirFd, pathname: Path, flags: Flags, attr: In(Arg(4)), size: Unsigned);
    470 listns(req: In(Const(32)), ns_ids: Out(RetTimesUpTo(2, 8)), nr_ns_ids: Unsigned, flags: Flags);
}
