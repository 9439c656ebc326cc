//! `bpf(2)`: the attributes are written back by some commands, the verifier's log on failure too.

use crate::outcome::Outcome;
use crate::writes::Call;

/// The largest `union bpf_attr` the kernel takes; more must be zeros.
const ATTR_LEN_MAX: u64 = 4096;

/// Reports the attributes and what they point to.
pub(super) fn bpf(call: &mut Call<'_>) {
    let attr = call.args[1];
    call.report(attr, call.arg(2).min(ATTR_LEN_MAX));
    match call.arg(0) {
        // PROG_LOAD and BTF_LOAD write a log.
        5 => log(call, attr.wrapping_add(32), attr.wrapping_add(28)),
        18 => log(call, attr.wrapping_add(8), attr.wrapping_add(20)),
        // Creating, changing, attaching, pinning, finding by id: results are in the attributes.
        0 | 2 | 3 | 6..=9 | 11..=14 | 17 | 19 | 22 | 23 | 26..=36 => {}
        // The others write values whose length the map knows, or several buffers.
        _ if matches!(call.outcome, Outcome::Failed(1 | 38)) => {}
        _ => call.unknown(),
    }
}

/// The log buffer, whose address and length are at these addresses.
fn log(call: &mut Call<'_>, addr: u64, len_addr: u64) {
    if let (Some(buffer), Some(len)) = (call.u64_at(addr), call.u32_at(len_addr)) {
        call.report(buffer, u64::from(len));
    }
}
