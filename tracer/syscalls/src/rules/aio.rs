//! Linux AIO, `io_submit(2)` and `io_getevents(2)`: control blocks, events and the buffers behind them.
//!
//! A read of a buffered file is done when `io_submit` returns, one that goes to the device is done by the time
//! its event is handed over. So the buffers are reported by both calls.

use super::structures::iovec;
use crate::writes::Call;

/// `fs.aio-max-nr` is 65,536 unless raised; a call that handles more is not looked at further.
const COUNT_MAX: u64 = 1 << 20;

/// The length of `struct io_event`: the block's data, its address, the result, a second result.
const EVENT_LEN: u64 = 32;

/// The blocks of `io_submit`. The kernel stores a mark of its own in `aio_key` of each block that it looks at,
/// the last of which may be the one that it then refuses.
pub(super) fn submitted(call: &mut Call<'_>, addr: u64, count: u64) {
    for index in 0..count.min(call.returned().saturating_add(1)).min(COUNT_MAX) {
        let Some(block) = call.u64_at(addr.wrapping_add(index * 8)) else { return };
        if block != 0 {
            call.report(block.wrapping_add(8), 4);
            buffers(call, block, u64::MAX);
        }
    }
}

/// The events of `io_getevents`.
pub(super) fn completed(call: &mut Call<'_>, addr: u64, count: u64) {
    for index in 0..count.min(call.returned()).min(COUNT_MAX) {
        let event = addr.wrapping_add(index * EVENT_LEN);
        call.report(event, EVENT_LEN);
        let (block, result) = (call.u64_at(event.wrapping_add(8)), call.u64_at(event.wrapping_add(16)));
        let bytes = result.and_then(|result| u64::try_from(result as i64).ok());
        if let (Some(block), Some(bytes)) = (block, bytes) {
            buffers(call, block, bytes);
        }
    }
}

/// The buffers of a block that reads, of which so many bytes were read.
fn buffers(call: &mut Call<'_>, block: u64, bytes: u64) {
    const PREAD: u64 = 0;
    const PREADV: u64 = 7;
    let mut field = |offset| call.u64_at(block.wrapping_add(offset));
    let [Some(operation), Some(buffer), Some(len)] = [16, 24, 32].map(&mut field) else { return };
    match operation & 0xffff {
        PREAD => call.report(buffer, len.min(bytes)),
        PREADV => iovec(call, buffer, len, bytes),
        _ => {}
    }
}
