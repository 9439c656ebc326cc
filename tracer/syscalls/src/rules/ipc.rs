//! `shmctl(2)`, `semctl(2)` and `msgctl(2)`, with the structures of x86-64.

use super::command::{self, commands};
use crate::writes::Call;

/// `shmctl`.
pub(super) fn shmctl(call: &mut Call<'_>) {
    command::apply(call, SHMCTL, call.arg(1));
}

/// `semctl`.
pub(super) fn semctl(call: &mut Call<'_>) {
    command::apply(call, SEMCTL, call.arg(2));
}

/// `msgctl`.
pub(super) fn msgctl(call: &mut Call<'_>) {
    command::apply(call, MSGCTL, call.arg(1));
}

commands! {
    /// `include/uapi/linux/shm.h`.
    SHMCTL:
    0 IPC_RMID Nothing;
    1 IPC_SET Nothing;
    2 IPC_STAT Writes(2, 112);
    3 IPC_INFO Writes(2, 72);
    11 SHM_LOCK Nothing;
    12 SHM_UNLOCK Nothing;
    13 SHM_STAT Writes(2, 112);
    14 SHM_INFO Writes(2, 48);
    15 SHM_STAT_ANY Writes(2, 112);
}

commands! {
    /// `include/uapi/linux/sem.h`.
    SEMCTL:
    0 IPC_RMID Nothing;
    1 IPC_SET Nothing;
    2 IPC_STAT Writes(3, 104);
    3 IPC_INFO Writes(3, 40);
    11 GETPID Nothing;
    12 GETVAL Nothing;
    // Two bytes for each semaphore of the set; nothing in the call says how many those are.
    13 GETALL Unknown;
    14 GETNCNT Nothing;
    15 GETZCNT Nothing;
    16 SETVAL Nothing;
    17 SETALL Nothing;
    18 SEM_STAT Writes(3, 104);
    19 SEM_INFO Writes(3, 40);
    20 SEM_STAT_ANY Writes(3, 104);
}

commands! {
    /// `include/uapi/linux/msg.h`.
    MSGCTL:
    0 IPC_RMID Nothing;
    1 IPC_SET Nothing;
    2 IPC_STAT Writes(2, 120);
    3 IPC_INFO Writes(2, 32);
    11 MSG_STAT Writes(2, 120);
    12 MSG_INFO Writes(2, 32);
    13 MSG_STAT_ANY Writes(2, 120);
}
