//! `fcntl(2)`, `prctl(2)`, `arch_prctl(2)`, `seccomp(2)` and `sysfs(2)`: by command.

use super::command::{self, commands};
use crate::writes::Call;

/// `fcntl`.
pub(super) fn fcntl(call: &mut Call<'_>) {
    command::apply(call, FCNTL, call.arg(1));
}

/// `prctl`. Unknown options fail with `EINVAL` and write nothing.
pub(super) fn prctl(call: &mut Call<'_>) {
    /// `PR_GET_AUXV` returns the full length and copies what fits.
    const PR_GET_AUXV: u64 = 0x4155_5856;
    match call.args[0] & 0xffff_ffff {
        PR_GET_AUXV => call.report(call.args[1], call.returned().min(call.args[2])),
        option => command::apply(call, PRCTL, option),
    }
}

/// `arch_prctl`.
pub(super) fn arch_prctl(call: &mut Call<'_>) {
    command::apply(call, ARCH_PRCTL, call.args[0] & 0xffff_ffff);
}

/// `seccomp`.
pub(super) fn seccomp(call: &mut Call<'_>) {
    command::apply(call, SECCOMP, call.arg(0));
}

/// `sysfs`: option 2 writes the name of a file system type.
pub(super) fn sysfs(call: &mut Call<'_>) {
    if call.wrote() && call.arg(0) == 2 {
        let name = call.args[2];
        call.report(name, call.string_len(name));
    }
}

commands! {
    /// `fcntl(2)`, `include/uapi/linux/fcntl.h`.
    FCNTL:
    0 F_DUPFD Nothing;
    1 F_GETFD Nothing;
    2 F_SETFD Nothing;
    3 F_GETFL Nothing;
    4 F_SETFL Nothing;
    5 F_GETLK Writes(2, 32);
    6 F_SETLK Nothing;
    7 F_SETLKW Nothing;
    8 F_SETOWN Nothing;
    9 F_GETOWN Nothing;
    10 F_SETSIG Nothing;
    11 F_GETSIG Nothing;
    15 F_SETOWN_EX Nothing;
    16 F_GETOWN_EX Writes(2, 8);
    17 F_GETOWNER_UIDS Writes(2, 8);
    36 F_OFD_GETLK Writes(2, 32);
    37 F_OFD_SETLK Nothing;
    38 F_OFD_SETLKW Nothing;
    1024 F_SETLEASE Nothing;
    1025 F_GETLEASE Nothing;
    1026 F_NOTIFY Nothing;
    1027 F_DUPFD_QUERY Nothing;
    1028 F_CREATED_QUERY Nothing;
    1029 F_CANCELLK Nothing;
    1030 F_DUPFD_CLOEXEC Nothing;
    1031 F_SETPIPE_SZ Nothing;
    1032 F_GETPIPE_SZ Nothing;
    1033 F_ADD_SEALS Nothing;
    1034 F_GET_SEALS Nothing;
    1035 F_GET_RW_HINT Writes(2, 8);
    1036 F_SET_RW_HINT Nothing;
    1037 F_GET_FILE_RW_HINT Writes(2, 8);
    1038 F_SET_FILE_RW_HINT Nothing;
    1039 F_GETDELEG Writes(2, 8);
    1040 F_SETDELEG Nothing;
}

commands! {
    /// `prctl(2)`, `include/uapi/linux/prctl.h`.
    PRCTL:
    1 PR_SET_PDEATHSIG Nothing;
    2 PR_GET_PDEATHSIG Writes(1, 4);
    3 PR_GET_DUMPABLE Nothing;
    4 PR_SET_DUMPABLE Nothing;
    5 PR_GET_UNALIGN Writes(1, 4);
    6 PR_SET_UNALIGN Nothing;
    7 PR_GET_KEEPCAPS Nothing;
    8 PR_SET_KEEPCAPS Nothing;
    9 PR_GET_FPEMU Writes(1, 4);
    10 PR_SET_FPEMU Nothing;
    11 PR_GET_FPEXC Writes(1, 4);
    12 PR_SET_FPEXC Nothing;
    13 PR_GET_TIMING Nothing;
    14 PR_SET_TIMING Nothing;
    15 PR_SET_NAME Nothing;
    16 PR_GET_NAME Writes(1, 16);
    19 PR_GET_ENDIAN Writes(1, 4);
    20 PR_SET_ENDIAN Nothing;
    21 PR_GET_SECCOMP Nothing;
    22 PR_SET_SECCOMP Nothing;
    23 PR_CAPBSET_READ Nothing;
    24 PR_CAPBSET_DROP Nothing;
    25 PR_GET_TSC Writes(1, 4);
    26 PR_SET_TSC Nothing;
    27 PR_GET_SECUREBITS Nothing;
    28 PR_SET_SECUREBITS Nothing;
    29 PR_SET_TIMERSLACK Nothing;
    30 PR_GET_TIMERSLACK Nothing;
    31 PR_TASK_PERF_EVENTS_DISABLE Nothing;
    32 PR_TASK_PERF_EVENTS_ENABLE Nothing;
    33 PR_MCE_KILL Nothing;
    34 PR_MCE_KILL_GET Nothing;
    // Its option PR_SET_MM_MAP_SIZE writes a word at arg3; the others take numbers there.
    35 PR_SET_MM Writes(2, 4);
    36 PR_SET_CHILD_SUBREAPER Nothing;
    37 PR_GET_CHILD_SUBREAPER Writes(1, 4);
    38 PR_SET_NO_NEW_PRIVS Nothing;
    39 PR_GET_NO_NEW_PRIVS Nothing;
    40 PR_GET_TID_ADDRESS Writes(1, 8);
    41 PR_SET_THP_DISABLE Nothing;
    42 PR_GET_THP_DISABLE Nothing;
    43 PR_MPX_ENABLE_MANAGEMENT Nothing;
    44 PR_MPX_DISABLE_MANAGEMENT Nothing;
    45 PR_SET_FP_MODE Nothing;
    46 PR_GET_FP_MODE Nothing;
    47 PR_CAP_AMBIENT Nothing;
    50 PR_SVE_SET_VL Nothing;
    51 PR_SVE_GET_VL Nothing;
    52 PR_GET_SPECULATION_CTRL Nothing;
    53 PR_SET_SPECULATION_CTRL Nothing;
    54 PR_PAC_RESET_KEYS Nothing;
    55 PR_SET_TAGGED_ADDR_CTRL Nothing;
    56 PR_GET_TAGGED_ADDR_CTRL Nothing;
    57 PR_SET_IO_FLUSHER Nothing;
    58 PR_GET_IO_FLUSHER Nothing;
    // From then on the kernel reads (never writes) the selector byte.
    59 PR_SET_SYSCALL_USER_DISPATCH Nothing;
    60 PR_PAC_SET_ENABLED_KEYS Nothing;
    61 PR_PAC_GET_ENABLED_KEYS Nothing;
    // PR_SCHED_CORE_GET writes the cookie at arg5.
    62 PR_SCHED_CORE Writes(4, 8);
    63 PR_SME_SET_VL Nothing;
    64 PR_SME_GET_VL Nothing;
    65 PR_SET_MDWE Nothing;
    66 PR_GET_MDWE Nothing;
    67 PR_SET_MEMORY_MERGE Nothing;
    68 PR_GET_MEMORY_MERGE Nothing;
    69 PR_RISCV_V_SET_CONTROL Nothing;
    70 PR_RISCV_V_GET_CONTROL Nothing;
    71 PR_RISCV_SET_ICACHE_FLUSH_CTX Nothing;
    72 PR_PPC_GET_DEXCR Nothing;
    73 PR_PPC_SET_DEXCR Nothing;
    74 PR_GET_SHADOW_STACK_STATUS Writes(1, 8);
    75 PR_SET_SHADOW_STACK_STATUS Nothing;
    76 PR_LOCK_SHADOW_STACK_STATUS Nothing;
    77 PR_TIMER_CREATE_RESTORE_IDS Nothing;
    78 PR_FUTEX_HASH Nothing;
    0x53564d41 PR_SET_VMA Nothing;
    0x59616d61 PR_SET_PTRACER Nothing;
}

commands! {
    /// `arch_prctl(2)`, `arch/x86/include/uapi/asm/prctl.h`.
    ARCH_PRCTL:
    0x1001 ARCH_SET_GS Nothing;
    0x1002 ARCH_SET_FS Nothing;
    0x1003 ARCH_GET_FS Writes(1, 8);
    0x1004 ARCH_GET_GS Writes(1, 8);
    0x1011 ARCH_GET_CPUID Nothing;
    0x1012 ARCH_SET_CPUID Nothing;
    0x1021 ARCH_GET_XCOMP_SUPP Writes(1, 8);
    0x1022 ARCH_GET_XCOMP_PERM Writes(1, 8);
    0x1023 ARCH_REQ_XCOMP_PERM Nothing;
    0x1024 ARCH_GET_XCOMP_GUEST_PERM Writes(1, 8);
    0x1025 ARCH_REQ_XCOMP_GUEST_PERM Nothing;
    // These three map the vDSO; they need checkpoint/restore in the kernel.
    0x2001 ARCH_MAP_VDSO_X32 Nothing;
    0x2002 ARCH_MAP_VDSO_32 Nothing;
    0x2003 ARCH_MAP_VDSO_64 Nothing;
    0x4001 ARCH_GET_UNTAG_MASK Writes(1, 8);
    0x4002 ARCH_ENABLE_TAGGED_ADDR Nothing;
    0x4003 ARCH_GET_MAX_TAG_BITS Writes(1, 8);
    0x4004 ARCH_FORCE_TAGGED_SVA Nothing;
    0x5001 ARCH_SHSTK_ENABLE Nothing;
    0x5002 ARCH_SHSTK_DISABLE Nothing;
    0x5003 ARCH_SHSTK_LOCK Nothing;
    0x5004 ARCH_SHSTK_UNLOCK Nothing;
    0x5005 ARCH_SHSTK_STATUS Writes(1, 8);
}

commands! {
    /// `seccomp(2)`.
    SECCOMP:
    0 SECCOMP_SET_MODE_STRICT Nothing;
    1 SECCOMP_SET_MODE_FILTER Nothing;
    2 SECCOMP_GET_ACTION_AVAIL Nothing;
    3 SECCOMP_GET_NOTIF_SIZES Writes(2, 6);
}
