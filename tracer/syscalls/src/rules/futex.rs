//! `futex(2)`: most operations only compare and sleep or wake; the ones with an owner write the word.

use crate::writes::Call;

/// The operation without `FUTEX_PRIVATE_FLAG` and `FUTEX_CLOCK_REALTIME`.
const OPERATION: u64 = 0x7f;

/// Reports the words that the kernel changes. It marks waiters in them also when the call then fails.
pub(super) fn futex(call: &mut Call<'_>) {
    match call.args[1] & OPERATION {
        // WAIT, WAKE, FD, REQUEUE, CMP_REQUEUE, WAIT_BITSET, WAKE_BITSET
        0..=4 | 9 | 10 => {}
        // WAKE_OP changes the second word.
        5 => call.report(call.args[4], 4),
        // LOCK_PI, UNLOCK_PI, TRYLOCK_PI, LOCK_PI2
        6..=8 | 13 => call.report(call.args[0], 4),
        // WAIT_REQUEUE_PI, CMP_REQUEUE_PI lock the second word.
        11 | 12 => call.report(call.args[4], 4),
        _ if call.wrote() => call.unknown(),
        _ => {}
    }
}
