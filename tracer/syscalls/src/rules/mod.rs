//! What the structured kinds mean: structures with pointers in them, and calls that are many calls by
//! command.
//!
//! Rules that go by command keep their commands in sorted tables of [`Command`]; a command that no table
//! knows makes the call's coverage unknown.

mod aio;
mod bpf;
mod command;
mod futex;
mod ioctl;
mod ioctl_commands;
mod ipc;
mod keys;
mod prctl;
mod ptrace;
mod sockopt;
mod structures;

use crate::kind::Kind;
use crate::writes::Call;
pub use ioctl_commands::ioctl_name;

/// Reports what was written through one structured argument.
pub(crate) fn apply(call: &mut Call<'_>, addr: u64, kind: Kind) {
    match kind {
        Kind::IovecOut(count) => structures::iovec(call, addr, call.arg(count), call.returned()),
        Kind::MsghdrOut => structures::msghdr(call, addr),
        Kind::MmsghdrIn(_) => structures::mmsghdr_sent(call, addr),
        Kind::MmsghdrOut(_) => structures::mmsghdr_received(call, addr),
        Kind::SockaddrOut(len) => structures::sockaddr(call, addr, call.args[usize::from(len)]),
        Kind::Iocbs(count) => aio::submitted(call, addr, call.arg(count)),
        Kind::IoEvents(count) => aio::completed(call, addr, call.arg(count)),
        Kind::CloneArgs => structures::clone_args(call, addr),
        Kind::ParentTid => structures::parent_tid(call, addr),
        Kind::FileHandle => structures::file_handle(call, addr),
        Kind::XattrArgs => structures::xattr_args(call, addr),
        Kind::CapData => structures::capabilities(call, addr),
        Kind::MsgBuffer => structures::msg_buffer(call, addr),
        Kind::Ioctl => ioctl::ioctl(call),
        Kind::Fcntl => prctl::fcntl(call),
        Kind::Prctl => prctl::prctl(call),
        Kind::ArchPrctl => prctl::arch_prctl(call),
        Kind::Seccomp => prctl::seccomp(call),
        Kind::Sysfs => prctl::sysfs(call),
        Kind::Sockopt => sockopt::getsockopt(call),
        Kind::Futex => futex::futex(call),
        Kind::Ptrace => ptrace::ptrace(call),
        Kind::Shmctl => ipc::shmctl(call),
        Kind::Semctl => ipc::semctl(call),
        Kind::Msgctl => ipc::msgctl(call),
        Kind::Keyctl => keys::keyctl(call),
        Kind::Quotactl(command) => keys::quotactl(call, addr, call.arg(command)),
        Kind::Bpf => bpf::bpf(call),
        // Numbers and memory that is only read, and the sized kinds, which need no rule.
        _ => {}
    }
}
