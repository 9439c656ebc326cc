//! The address space: mappings, their rights, where their pages lie, and the memory of other processes.
//!
//! Calls that change what is mapped are executed at replay too ([`Memory`](crate::kind::Class::Memory));
//! calls that only ask, lock or place pages are not.

use crate::kind::Kind::*;
use crate::kind::Size::*;

rows! {
    9 mmap(addr: Address, length: Unsigned, prot: Flags, flags: Flags, fd: Fd, offset: Long) [Memory];
    10 mprotect(addr: Address, len: Unsigned, prot: Flags) [Memory];
    11 munmap(addr: Address, length: Unsigned) [Memory];
    12 brk(addr: Address) [Memory];
    25 mremap(old_address: Address, old_size: Unsigned, new_size: Unsigned, flags: Flags, new_address: Address) [Memory];
    26 msync(addr: Address, length: Unsigned, flags: Flags) blocks;
    27 mincore(addr: Address, length: Unsigned, vec: Out(PagesOfArg(1)));
    28 madvise(addr: Address, length: Unsigned, advice: Int) [Memory];
    30 shmat(shmid: Int, shmaddr: Address, shmflg: Flags) [Memory];
    67 shmdt(shmaddr: Address) [Memory];
    149 mlock(addr: Address, len: Unsigned);
    150 munlock(addr: Address, len: Unsigned);
    151 mlockall(flags: Flags);
    152 munlockall();
    216 remap_file_pages(addr: Address, size: Unsigned, prot: Flags, pgoff: Unsigned, flags: Flags) [Refused ENOSYS "pages of a mapping in another order are not followed"];
    237 mbind(addr: Address, len: Unsigned, mode: Unsigned, nodemask: In(BitsOfArg(4)), maxnode: Unsigned, flags: Flags);
    238 set_mempolicy(mode: Int, nodemask: In(BitsOfArg(2)), maxnode: Unsigned);
    239 get_mempolicy(mode: Out(Const(4)), nodemask: Out(BitsOfArg(2)), maxnode: Unsigned, addr: Address, flags: Flags);
    256 migrate_pages(pid: Pid, maxnode: Unsigned, old_nodes: In(BitsOfArg(1)), new_nodes: In(BitsOfArg(1)));
    // A failure part way leaves the status of the pages before it.
    279 move_pages(pid: Pid, count: Unsigned, pages: In(ArgTimes(1, 8)), nodes: In(ArgTimes(1, 4)), status: OutAlways(ArgTimes(1, 4)), flags: Flags);
    // Both sides are vectors; only the local one is written.
    310 process_vm_readv(pid: Pid, local_iov: IovecOut(2), liovcnt: Unsigned, remote_iov: In(ArgTimes(4, 16)), riovcnt: Unsigned, flags: Flags);
    // Writes into the other process: no memory of the caller changes, unless the caller names itself.
    311 process_vm_writev(pid: Pid, local_iov: IovecIn(2), liovcnt: Unsigned, remote_iov: IovecOut(4), riovcnt: Unsigned, flags: Flags);
    323 userfaultfd(flags: Flags) [Refused ENOSYS "page faults that the program serves itself cannot be replayed"];
    325 mlock2(addr: Address, len: Unsigned, flags: Flags);
    329 pkey_mprotect(addr: Address, len: Unsigned, prot: Flags, pkey: Int) [Memory];
    330 pkey_alloc(flags: Flags, access_rights: Flags) [Memory];
    331 pkey_free(pkey: Int) [Memory];
    // With the caller's own pidfd it can drop the caller's pages.
    440 process_madvise(pidfd: Fd, iovec: In(ArgTimes(2, 16)), vlen: Unsigned, advice: Int, flags: Flags) [Memory];
    447 memfd_secret(flags: Flags);
    448 process_mrelease(pidfd: Fd, flags: Flags);
    450 set_mempolicy_home_node(start: Address, len: Unsigned, home_node: Unsigned, flags: Flags);
    453 map_shadow_stack(addr: Address, size: Unsigned, flags: Flags) [Refused ENOSYS "a user shadow stack does not survive patched code"];
    462 mseal(addr: Address, len: Unsigned, flags: Flags) [Memory];
}
