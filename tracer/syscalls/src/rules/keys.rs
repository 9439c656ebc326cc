//! `keyctl(2)` and `quotactl(2)`.

use super::command::{self, Effect, commands};
use crate::writes::Call;

/// `keyctl`. Calls that read a key return its full length and copy what fits.
pub(super) fn keyctl(call: &mut Call<'_>) {
    let [operation, arg2, arg3, arg4, arg5, _] = call.args;
    match operation & 0xffff_ffff {
        // DESCRIBE, READ, GET_SECURITY, DH_COMPUTE
        6 | 11 | 17 | 23 => call.report(arg3, call.returned().min(arg4)),
        // PKEY_ENCRYPT, PKEY_DECRYPT, PKEY_SIGN: the room is the third word of the parameters.
        25..=27 => {
            let room = call.u32_at(arg2.wrapping_add(8)).map_or(0, u64::from);
            call.report(arg5, call.returned().min(room));
        }
        // CAPABILITIES
        31 => call.report(arg2, call.returned().min(arg3)),
        operation => command::apply(call, KEYCTL, operation),
    }
}

/// `quotactl` and `quotactl_fd`: the upper three bytes of the command are the operation.
pub(super) fn quotactl(call: &mut Call<'_>, addr: u64, command: u64) {
    if !call.wrote() {
        return;
    }
    match command::find(QUOTACTL, command >> 8).map(|found| found.effect) {
        Some(Effect::Writes(_, bytes)) => call.report(addr, u64::from(bytes)),
        Some(Effect::Nothing) => {}
        Some(Effect::Unknown) | None => call.unknown(),
    }
}

commands! {
    /// `include/uapi/linux/keyctl.h`.
    KEYCTL:
    0 KEYCTL_GET_KEYRING_ID Nothing;
    1 KEYCTL_JOIN_SESSION_KEYRING Nothing;
    2 KEYCTL_UPDATE Nothing;
    3 KEYCTL_REVOKE Nothing;
    4 KEYCTL_CHOWN Nothing;
    5 KEYCTL_SETPERM Nothing;
    7 KEYCTL_CLEAR Nothing;
    8 KEYCTL_LINK Nothing;
    9 KEYCTL_UNLINK Nothing;
    10 KEYCTL_SEARCH Nothing;
    12 KEYCTL_INSTANTIATE Nothing;
    13 KEYCTL_NEGATE Nothing;
    14 KEYCTL_SET_REQKEY_KEYRING Nothing;
    15 KEYCTL_SET_TIMEOUT Nothing;
    16 KEYCTL_ASSUME_AUTHORITY Nothing;
    18 KEYCTL_SESSION_TO_PARENT Nothing;
    19 KEYCTL_REJECT Nothing;
    20 KEYCTL_INSTANTIATE_IOV Nothing;
    21 KEYCTL_INVALIDATE Nothing;
    22 KEYCTL_GET_PERSISTENT Nothing;
    24 KEYCTL_PKEY_QUERY Writes(4, 56);
    28 KEYCTL_PKEY_VERIFY Nothing;
    29 KEYCTL_RESTRICT_KEYRING Nothing;
    30 KEYCTL_MOVE Nothing;
    32 KEYCTL_WATCH_KEY Nothing;
}

commands! {
    /// `include/uapi/linux/quota.h`, `include/uapi/linux/dqblk_xfs.h`. The argument's number is not used.
    QUOTACTL:
    0x5801 Q_XQUOTAON Nothing;
    0x5802 Q_XQUOTAOFF Nothing;
    0x5803 Q_XGETQUOTA Writes(3, 112);
    0x5804 Q_XSETQLIM Nothing;
    0x5805 Q_XGETQSTAT Writes(3, 80);
    0x5806 Q_XQUOTARM Nothing;
    0x5807 Q_XQUOTASYNC Nothing;
    0x5808 Q_XGETQSTATV Writes(3, 160);
    0x5809 Q_XGETNEXTQUOTA Writes(3, 112);
    0x800001 Q_SYNC Nothing;
    0x800002 Q_QUOTAON Nothing;
    0x800003 Q_QUOTAOFF Nothing;
    0x800004 Q_GETFMT Writes(3, 4);
    0x800005 Q_GETINFO Writes(3, 24);
    0x800006 Q_SETINFO Nothing;
    0x800007 Q_GETQUOTA Writes(3, 72);
    0x800008 Q_SETQUOTA Nothing;
    0x800009 Q_GETNEXTQUOTA Writes(3, 72);
}
