//! Structures in user memory that hold pointers and lengths of their own.
//!
//! They are read after the call. That is right for lengths the kernel updates, and the same as before for
//! the rest, unless a program receives into the very structure that describes where to receive.

use crate::outcome::Outcome;
use crate::writes::Call;

/// The most elements that a vector may have (`UIO_MAXIOV`, also the limit of `sendmmsg`).
const IOVEC_COUNT_MAX: u64 = 1024;

/// The length of `struct sockaddr_storage`: no address is longer.
const SOCKADDR_LEN_MAX: u64 = 128;

/// The length of `struct msghdr`.
const MSGHDR_LEN: u64 = 56;

/// The length of `struct mmsghdr`: a `msghdr`, the message's length, padding.
const MMSGHDR_LEN: u64 = 64;

/// `CLONE_PIDFD`.
const CLONE_PIDFD: u64 = 0x1000;

/// `CLONE_PARENT_SETTID`.
const CLONE_PARENT_SETTID: u64 = 0x10_0000;

/// The first `bytes` bytes of a vector of buffers (`readv(2)`).
pub(super) fn iovec(call: &mut Call<'_>, addr: u64, count: u64, bytes: u64) {
    let mut left = bytes;
    for index in 0..count.min(IOVEC_COUNT_MAX) {
        if left == 0 {
            return;
        }
        let element = addr.wrapping_add(index * 16);
        let (Some(base), Some(len)) = (call.u64_at(element), call.u64_at(element.wrapping_add(8))) else {
            return;
        };
        call.report(base, len.min(left));
        left -= len.min(left);
    }
}

/// A socket address with its length behind a pointer (`accept(2)`).
///
/// The kernel stores the address's true length and as much of the address as fits.
pub(super) fn sockaddr(call: &mut Call<'_>, addr: u64, len_addr: u64) {
    let len = match call.outcome {
        Outcome::Done(_) => call.u32_at(len_addr).map_or(0, u64::from).min(SOCKADDR_LEN_MAX),
        Outcome::Fault => SOCKADDR_LEN_MAX,
        Outcome::Failed(_) => 0,
    };
    call.report(addr, len);
}

/// The header of `recvmsg(2)`.
pub(super) fn msghdr(call: &mut Call<'_>, addr: u64) {
    if call.wrote() {
        received(call, addr, call.returned());
    }
}

/// What receiving a message of `bytes` bytes wrote: name, buffers, control data, header.
fn received(call: &mut Call<'_>, addr: u64, bytes: u64) {
    call.report(addr, MSGHDR_LEN);
    let mut field = |offset| call.u64_at(addr.wrapping_add(offset)).unwrap_or(0);
    let [name, name_len, iov, iov_count, control, control_len] = [0, 8, 16, 24, 32, 40].map(&mut field);
    call.report(name, (name_len & 0xffff_ffff).min(SOCKADDR_LEN_MAX));
    call.report(control, control_len);
    iovec(call, iov, iov_count, bytes);
}

/// The vector of `sendmmsg(2)`: each sent message's length.
pub(super) fn mmsghdr_sent(call: &mut Call<'_>, addr: u64) {
    for index in 0..message_count(call) {
        call.report(addr.wrapping_add(index * MMSGHDR_LEN + MSGHDR_LEN), 4);
    }
}

/// The vector of `recvmmsg(2)`: each received message and its length.
pub(super) fn mmsghdr_received(call: &mut Call<'_>, addr: u64) {
    for index in 0..message_count(call) {
        let header = addr.wrapping_add(index * MMSGHDR_LEN);
        let len_addr = header.wrapping_add(MSGHDR_LEN);
        let bytes = if call.outcome == Outcome::Fault {
            u64::MAX
        } else {
            u64::from(call.u32_at(len_addr).unwrap_or(0))
        };
        received(call, header, bytes);
        call.report(len_addr, 4);
    }
}

/// How many messages of a vector were handled: the third argument bounds it.
fn message_count(call: &Call<'_>) -> u64 {
    call.returned().min(call.arg(2)).min(IOVEC_COUNT_MAX)
}

/// `parent_tid` of `clone(2)`, which also takes the descriptor of `CLONE_PIDFD`; a failure may come after
/// the write.
pub(super) fn parent_tid(call: &mut Call<'_>, addr: u64) {
    if call.args[0] & (CLONE_PARENT_SETTID | CLONE_PIDFD) != 0 {
        call.report(addr, 4);
    }
}

/// `struct clone_args` of `clone3(2)`; a failure may come after the write.
pub(super) fn clone_args(call: &mut Call<'_>, addr: u64) {
    let mut field = |offset| call.u64_at(addr.wrapping_add(offset)).unwrap_or(0);
    let [flags, pidfd, parent_tid] = [0, 8, 24].map(&mut field);
    if flags & CLONE_PIDFD != 0 {
        call.report(pidfd, 4);
    }
    if flags & CLONE_PARENT_SETTID != 0 {
        call.report(parent_tid, 4);
    }
}

/// `struct file_handle` of `name_to_handle_at(2)`; with `EOVERFLOW` only its head is written.
pub(super) fn file_handle(call: &mut Call<'_>, addr: u64) {
    let bytes = if call.wrote() { call.u32_at(addr).map_or(0, u64::from) } else { 0 };
    call.report(addr, 8 + bytes);
}

/// `struct xattr_args` of `getxattrat(2)`: the value's address and the room for it.
pub(super) fn xattr_args(call: &mut Call<'_>, addr: u64) {
    if let (Some(value), Some(size)) = (call.u64_at(addr), call.u32_at(addr.wrapping_add(8))) {
        call.report(value, call.returned().min(u64::from(size)));
    }
}

/// `data` of `capget(2)`: two elements of 12 bytes, or one for the first version of the header.
pub(super) fn capabilities(call: &mut Call<'_>, addr: u64) {
    const VERSION_1: u32 = 0x1998_0330;
    if call.wrote() {
        let one = call.u32_at(call.args[0]) == Some(VERSION_1);
        call.report(addr, if one { 12 } else { 24 });
    }
}

/// `struct msgbuf` of `msgrcv(2)`.
pub(super) fn msg_buffer(call: &mut Call<'_>, addr: u64) {
    if call.wrote() {
        call.report(addr, call.returned().min(call.arg(2)).saturating_add(8));
    }
}
