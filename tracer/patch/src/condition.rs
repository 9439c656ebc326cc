//! When a stub stops the thread: plain data, given by the caller.

use iced_x86::Register;

use crate::predicate::Predicate;

/// The flags a stub compares, as bits of RFLAGS: CF, PF, AF, ZF, SF and OF (Intel SDM volume 1, 3.4.3.1).
///
/// DF is left to the caller: without the stack there is no way to read it.
pub const ARITHMETIC_FLAGS: u64 = 0x8d5;

/// Upper bound of the lines of memory one stub compares.
pub const LINES_MAX: usize = 1024;

/// The general registers and flags of a thread, named as in `user_regs_struct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are the processor's own names")]
pub struct GeneralRegisters {
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rbx: u64,
    pub rsp: u64,
    pub rbp: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    /// RFLAGS; only [`ARITHMETIC_FLAGS`] are compared.
    pub eflags: u64,
}

impl GeneralRegisters {
    /// The sixteen registers in the order of their encoding (Intel SDM volume 2, table 2-2).
    pub(crate) fn by_number(&self) -> [u64; 16] {
        let Self { rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, .. } = *self;
        [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15]
    }

    /// What `lahf; seto al` leaves in `ax` under these flags: SF ZF 0 AF 0 PF 1 CF above, OF below.
    pub(crate) fn flags_word(&self) -> u32 {
        let low = (self.eflags & ARITHMETIC_FLAGS & 0xff) | 2;
        let overflow = self.eflags >> 11 & 1;
        (low << 8 | overflow) as u32
    }
}

/// The general registers in the order of their encoding.
pub(crate) const REGISTERS: [Register; 16] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RBX,
    Register::RSP,
    Register::RBP,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
    Register::R12,
    Register::R13,
    Register::R14,
    Register::R15,
];

/// When a stub stops the thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// All sixteen general registers and [`ARITHMETIC_FLAGS`] equal `registers`, and [`line_hash`](crate::line_hash)
    /// of each line is as listed.
    Match {
        /// What is compared first.
        registers: GeneralRegisters,
        /// (line number, hash): the line's address is its number times [`LINE_BYTES`](crate::LINE_BYTES). Read only
        /// when the registers are equal, in this order, until the first difference.
        lines: Vec<(u64, u32)>,
    },
    /// The `n`-th visit from now, `n` at least 1. With 0 the stub only counts (down from 0, wrapping).
    Count {
        /// The counter's first value.
        n: u64,
    },
    /// The `n`-th visit that matches.
    MatchCount {
        /// As in [`Condition::Match`].
        registers: GeneralRegisters,
        /// As in [`Condition::Match`].
        lines: Vec<(u64, u32)>,
        /// As in [`Condition::Count`].
        n: u64,
    },
    /// A visit at which the predicate holds or needs memory that cannot be read, and the `n`-th visit from now in any
    /// case. The counter goes down by one at every visit.
    Holds {
        /// What is asked.
        predicate: Predicate,
        /// As in [`Condition::Count`].
        n: u64,
    },
}

impl Condition {
    pub(crate) fn pattern(&self) -> Option<(&GeneralRegisters, &[(u64, u32)])> {
        match self {
            Self::Match { registers, lines } | Self::MatchCount { registers, lines, .. } => {
                Some((registers, lines))
            }
            Self::Count { .. } | Self::Holds { .. } => None,
        }
    }

    pub(crate) fn count(&self) -> Option<u64> {
        match self {
            Self::Match { .. } => None,
            Self::Count { n } | Self::MatchCount { n, .. } | Self::Holds { n, .. } => Some(*n),
        }
    }

    pub(crate) fn lines(&self) -> &[(u64, u32)] {
        self.pattern().map_or(&[], |(_, lines)| lines)
    }
}
