//! The words rows are written in: how an argument is used, how long the memory behind it is, and how the
//! recorder has to treat the call.
//!
//! Everything here is plain constant data; its meaning for recording is given in `writes.rs`.

/// One row of the table: a system call of x86-64 Linux.
#[derive(Clone, Copy, Debug)]
pub struct Syscall {
    /// The number in `rax` (`arch/x86/entry/syscalls/syscall_64.tbl`).
    pub nr: u32,
    /// The kernel's name, without `sys_`.
    pub name: &'static str,
    /// The arguments in register order: rdi, rsi, rdx, r10, r8, r9.
    pub args: &'static [Arg],
    /// How recorder and replayer treat it.
    pub class: Class,
    /// It may sleep for an unbounded time, so another thread has to be let run meanwhile.
    pub blocks: bool,
}

/// One argument of a call.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// The name that the manual page gives it.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

/// What an argument is. Numbers in brackets are indices of other arguments, from 0.
///
/// A kind ending in `Always` is written by the kernel on failure too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A C `int`; the upper half of the register is ignored by the kernel.
    Int,
    /// A C `unsigned int`; the upper half of the register is ignored by the kernel.
    Uint,
    /// A C `long`, `off_t` or `ssize_t`.
    Long,
    /// A C `unsigned long` or `size_t`.
    Unsigned,
    /// A 64-bit number best shown in hexadecimal.
    Hex,
    /// A set of bits.
    Flags,
    /// A file descriptor.
    Fd,
    /// A directory's descriptor, or `AT_FDCWD`.
    DirFd,
    /// A process or thread id.
    Pid,
    /// A user or group id.
    Id,
    /// A signal number.
    Signal,
    /// Permission bits.
    Mode,
    /// A clock's number.
    Clock,
    /// An address that the call does not access itself.
    Address,
    /// A NUL-terminated string that is read.
    Path,
    /// A NULL-terminated array of strings that is read: `argv`, `envp`.
    Strings,
    /// Memory that is read.
    In(Size),
    /// Memory that is written on success.
    Out(Size),
    /// Memory that is read, and written on success.
    InOut(Size),
    /// Memory that is written on success and on failure.
    OutAlways(Size),
    /// Memory that is read, and written on success and on failure.
    InOutAlways(Size),
    /// A vector of buffers that is read; its length is argument n.
    IovecIn(u8),
    /// A vector of buffers of which the first `ret` bytes are written; its length is argument n.
    IovecOut(u8),
    /// A `struct msghdr` that is sent; nothing is written.
    MsghdrIn,
    /// A `struct msghdr` that is received into: name, buffers, control data and the header itself.
    MsghdrOut,
    /// An array of `struct mmsghdr` that is sent: the length of each message is written.
    MmsghdrIn(u8),
    /// An array of `struct mmsghdr` that is received into.
    MmsghdrOut(u8),
    /// A socket address that is written; its value-result length is behind argument n.
    SockaddrOut(u8),
    /// `struct iocb *[]` of `io_submit`, its length is argument n: the blocks and the buffers of reads.
    Iocbs(u8),
    /// `struct io_event []` of `io_getevents`, its length is argument n: the events and the buffers of reads.
    IoEvents(u8),
    /// `struct clone_args` of `clone3`: pidfd and parent tid are written through it.
    CloneArgs,
    /// `parent_tid` of `clone`, written as the flags in argument 0 say.
    ParentTid,
    /// `struct file_handle`, whose first word is its length.
    FileHandle,
    /// `struct xattr_args` of `getxattrat`, which holds the pointer to the value.
    XattrArgs,
    /// `data` of `capget`, two or one elements as the header's version says.
    CapData,
    /// `struct msgbuf` of `msgrcv`: eight bytes of type, then the text.
    MsgBuffer,
    /// The argument of `ioctl`, by command.
    Ioctl,
    /// The argument of `fcntl`, by command.
    Fcntl,
    /// `arg2` of `prctl`: stands for all of them, by option.
    Prctl,
    /// `addr` of `arch_prctl`, by code.
    ArchPrctl,
    /// `optval` of `getsockopt`, by level and name.
    Sockopt,
    /// `uaddr` of `futex`: stands for both words, by operation.
    Futex,
    /// `addr` of `ptrace`: stands for `addr` and `data`, by request.
    Ptrace,
    /// `buf` of `shmctl`, by command.
    Shmctl,
    /// `arg` of `semctl`, by command.
    Semctl,
    /// `buf` of `msgctl`, by command.
    Msgctl,
    /// `arg2` of `keyctl`: stands for all of them, by operation.
    Keyctl,
    /// `addr` of `quotactl` and `quotactl_fd`; the command is in argument n.
    Quotactl(u8),
    /// `attr` of `bpf`, by command.
    Bpf,
    /// `args` of `seccomp`, by operation.
    Seccomp,
    /// `arg2` of `sysfs`, by option.
    Sysfs,
}

/// The length in bytes of the memory behind a pointer. Argument numbers count from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// A fixed length.
    Const(u32),
    /// Argument n is the length.
    Arg(u8),
    /// Argument n counts elements of this many bytes.
    ArgTimes(u8, u32),
    /// As many bytes as the call returned.
    Ret,
    /// As many bytes as the call returned, but no more than argument n.
    ///
    /// Calls that can return the length they would have needed (`MSG_TRUNC`, xattrs with size 0) end here.
    RetUpTo(u8),
    /// The call returned how many elements of this many bytes there are.
    RetTimes(u32),
    /// The same, with no more than argument n elements.
    RetTimesUpTo(u8, u32),
    /// Value-result: the `u32` that argument n points to, after the call.
    PtrU32(u8),
    /// Value-result: the `u64` that argument n points to, after the call.
    PtrU64(u8),
    /// A bit for each of argument n, in whole 64-bit words (`fd_set`, `nodemask`).
    BitsOfArg(u8),
    /// A byte for each page of argument n bytes (`mincore`).
    PagesOfArg(u8),
    /// Up to and with the first NUL byte.
    CStr,
}

impl Size {
    /// The argument that the size refers to, if any.
    #[must_use]
    pub const fn arg(self) -> Option<u8> {
        match self {
            Size::Const(_) | Size::Ret | Size::RetTimes(_) | Size::CStr => None,
            Size::Arg(n)
            | Size::ArgTimes(n, _)
            | Size::RetUpTo(n)
            | Size::RetTimesUpTo(n, _)
            | Size::PtrU32(n)
            | Size::PtrU64(n)
            | Size::BitsOfArg(n)
            | Size::PagesOfArg(n) => Some(n),
        }
    }
}

impl Kind {
    /// The argument that the kind refers to, if any.
    #[must_use]
    pub const fn arg(self) -> Option<u8> {
        match self {
            Kind::In(size)
            | Kind::Out(size)
            | Kind::InOut(size)
            | Kind::OutAlways(size)
            | Kind::InOutAlways(size) => size.arg(),
            Kind::IovecIn(n)
            | Kind::IovecOut(n)
            | Kind::MmsghdrIn(n)
            | Kind::MmsghdrOut(n)
            | Kind::SockaddrOut(n)
            | Kind::Iocbs(n)
            | Kind::IoEvents(n)
            | Kind::Quotactl(n) => Some(n),
            _ => None,
        }
    }

    /// Whether the kernel looks at only the lower half of the register.
    #[must_use]
    pub const fn is_32_bit(self) -> bool {
        matches!(
            self,
            Kind::Int
                | Kind::Uint
                | Kind::Fd
                | Kind::DirFd
                | Kind::Pid
                | Kind::Id
                | Kind::Signal
                | Kind::Mode
                | Kind::Clock
        )
    }

    /// Whether memory is written through the argument, on success at least.
    #[must_use]
    pub const fn is_written(self) -> bool {
        !matches!(
            self,
            Kind::Int
                | Kind::Uint
                | Kind::Long
                | Kind::Unsigned
                | Kind::Hex
                | Kind::Flags
                | Kind::Fd
                | Kind::DirFd
                | Kind::Pid
                | Kind::Id
                | Kind::Signal
                | Kind::Mode
                | Kind::Clock
                | Kind::Address
                | Kind::Path
                | Kind::Strings
                | Kind::In(_)
                | Kind::IovecIn(_)
                | Kind::MsghdrIn
        )
    }
}

/// How recorder and replayer treat a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The replayer emulates it: it writes the recorded memory and the result.
    Plain,
    /// It changes the address space and is executed at replay.
    Memory,
    /// It creates, replaces or ends tasks.
    Task,
    /// It changes what signals do; the recorder follows it.
    Signal,
    /// It changes the thread's state in a way that later execution sees.
    State,
    /// The recorder answers in the kernel's place, so that programs fall back.
    Refused {
        /// What the program is told, as a positive number.
        errno: i32,
        /// Why, for the report.
        reason: &'static str,
    },
}
