//! `getsockopt(2)`: a value-result length, with few exceptions.

use crate::outcome::Outcome;
use crate::writes::Call;

/// Reports the option's value. The length word has a kind of its own in the row.
pub(super) fn getsockopt(call: &mut Call<'_>) {
    if !call.wrote() {
        return;
    }
    let [_, level, option, value, len_addr, _] = call.args;
    let len = match call.outcome {
        Outcome::Fault => OPTION_LEN_MAX,
        _ => call.u32_at(len_addr).map_or(0, u64::from),
    };
    match (level as u32, option as u32) {
        // SO_GET_FILTER counts instructions of eight bytes.
        (SOL_SOCKET, 26) => call.report(value, len.saturating_mul(8)),
        // TCP_ZEROCOPY_RECEIVE maps pages and copies the rest to a buffer named in the value.
        (IPPROTO_TCP, 35) => {
            call.report(value, len);
            call.unknown();
        }
        _ => call.report(value, len),
    }
}

/// `SOL_SOCKET`.
const SOL_SOCKET: u32 = 1;

/// `IPPROTO_TCP`.
const IPPROTO_TCP: u32 = 6;

/// What is saved when the call ended with `EFAULT` and the length says nothing.
const OPTION_LEN_MAX: u64 = 4096;
