//! From a row and a finished call to the ranges of user memory that the kernel may have written.
//!
//! # The algorithm
//!
//! Each argument of the row is taken in turn. On success its kind says how much was written; the sizes come
//! from other arguments, from the return value, or (value-result) from user memory as it is after the call.
//! On failure nothing was written, except by kinds that say `Always`.
//!
//! `EFAULT` is special: the kernel found out part way that some memory cannot be accessed, and what it had
//! copied until then stays. So everything is reported at its full length. Such ranges may reach into memory
//! that is not mapped; the recorder saves the part that it can read.

use crate::kind::{Arg, Class, Kind, Size};
use crate::outcome::Outcome;
use crate::rules;
use crate::table::lookup;

/// User memory of the traced process, as it is after the call.
pub trait ReadMemory {
    /// Fills `buf` from `addr`, or returns false when any of it cannot be read.
    fn read(&self, addr: u64, buf: &mut [u8]) -> bool;
}

/// A range of user memory that the kernel may have written. Never empty, never at address 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// Its first byte.
    pub addr: u64,
    /// Its length in bytes.
    pub len: u64,
}

/// Whether the reported ranges are all that the call may have written.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// They are.
    Known,
    /// There may be more: there is no rule for this number, command or option. The recorder has to find the
    /// writes by comparing; the ranges reported so far hold.
    Unknown,
}

/// Reports the ranges of user memory that a finished call may have written, in no particular order;
/// ranges may overlap.
///
/// * `nr`: the number the call was made with, also when it was finished by `restart_syscall`.
/// * `args`: rdi, rsi, rdx, r10, r8, r9 as they were at the call.
/// * `ret`: `rax` after it; codes from -512 to -516 count as interrupted by a signal.
/// * `memory`: the state after the call.
///
/// A range may be longer than what was written and may reach into unmapped memory (see the module);
/// writes that the kernel makes later or elsewhere are named in the docs of the rows.
pub fn writes(
    nr: u64,
    args: &[u64; 6],
    ret: i64,
    memory: &dyn ReadMemory,
    each: &mut dyn FnMut(Range),
) -> Coverage {
    let Some(row) = lookup(nr) else { return Coverage::Unknown };
    if matches!(row.class, Class::Refused { .. }) {
        return Coverage::Known;
    }
    let mut call = Call {
        args: *args,
        row: row.args,
        outcome: Outcome::of(ret),
        memory,
        each,
        coverage: Coverage::Known,
    };
    if row.nr == RESTART_SYSCALL {
        call.coverage = Coverage::Unknown;
    }
    for (arg, &addr) in row.args.iter().zip(args) {
        call.argument(addr, arg.kind);
    }
    call.coverage
}

/// `restart_syscall`, which writes what the call that it goes on with would have.
const RESTART_SYSCALL: u32 = 219;

/// Addresses from here on are the kernel's, with five levels of page tables too.
const USER_END: u64 = 1 << 56;

/// A string longer than this is not looked at further; the kernel's own are much shorter.
const STRING_LEN_MAX: u64 = 4096;

/// A finished call, under examination.
pub(crate) struct Call<'a> {
    pub(crate) args: [u64; 6],
    row: &'static [Arg],
    pub(crate) outcome: Outcome,
    pub(crate) memory: &'a dyn ReadMemory,
    each: &'a mut dyn FnMut(Range),
    coverage: Coverage,
}

impl Call<'_> {
    /// Reports one argument.
    fn argument(&mut self, addr: u64, kind: Kind) {
        match kind {
            Kind::Out(size) | Kind::InOut(size) if self.wrote() => self.sized(addr, size),
            Kind::OutAlways(size) | Kind::InOutAlways(size) => self.sized(addr, size),
            kind if kind.is_written() => rules::apply(self, addr, kind),
            _ => {}
        }
    }

    /// Reports `size` bytes.
    fn sized(&mut self, addr: u64, size: Size) {
        let len = self.bytes(addr, size);
        self.report(addr, len);
    }

    /// How many bytes a size means in this call.
    fn bytes(&self, addr: u64, size: Size) -> u64 {
        match size {
            Size::Const(bytes) => u64::from(bytes),
            Size::Arg(n) => self.arg(n),
            Size::ArgTimes(n, each) => self.arg(n).saturating_mul(u64::from(each)),
            Size::Ret => self.returned(),
            Size::RetUpTo(n) => self.returned().min(self.arg(n)),
            Size::RetTimes(each) => self.returned().saturating_mul(u64::from(each)),
            Size::RetTimesUpTo(n, each) => self.returned().min(self.arg(n)).saturating_mul(u64::from(each)),
            Size::PtrU32(n) => self.u32_at(self.args[usize::from(n)]).map_or(0, u64::from),
            Size::PtrU64(n) => self.u64_at(self.args[usize::from(n)]).unwrap_or(0),
            Size::BitsOfArg(n) => self.arg(n).div_ceil(64).saturating_mul(8),
            Size::PagesOfArg(n) => self.arg(n).div_ceil(4096),
            Size::CStr => self.string_len(addr),
        }
    }

    /// Reports a range unless it is empty, at null, or not in user memory.
    pub(crate) fn report(&mut self, addr: u64, len: u64) {
        if addr == 0 || len == 0 || addr >= USER_END {
            return;
        }
        (self.each)(Range { addr, len: len.min(USER_END - addr) });
    }

    /// Says that the call may have written more than is reported.
    pub(crate) fn unknown(&mut self) {
        self.coverage = Coverage::Unknown;
    }

    /// Whether arguments that are written on success were written: on success, and maybe on `EFAULT`.
    pub(crate) fn wrote(&self) -> bool {
        matches!(self.outcome, Outcome::Done(_) | Outcome::Fault)
    }

    /// How much the call returned; without bound when it ended with `EFAULT`.
    pub(crate) fn returned(&self) -> u64 {
        match self.outcome {
            Outcome::Done(value) => value,
            Outcome::Fault => u64::MAX,
            Outcome::Failed(_) => 0,
        }
    }

    /// A numeric argument as the kernel sees it: `int` arguments have no upper half, and no negative sizes.
    pub(crate) fn arg(&self, n: u8) -> u64 {
        let value = self.args[usize::from(n)];
        match self.row.get(usize::from(n)).map(|arg| arg.kind) {
            Some(Kind::Int) => u64::try_from(value as i32).unwrap_or(0),
            Some(kind) if kind.is_32_bit() => u64::from(value as u32),
            Some(Kind::Long) => u64::try_from(value as i64).unwrap_or(0),
            _ => value,
        }
    }

    /// The `u32` at an address.
    pub(crate) fn u32_at(&self, addr: u64) -> Option<u32> {
        self.bytes_at(addr).map(u32::from_le_bytes)
    }

    /// The `u64` at an address.
    pub(crate) fn u64_at(&self, addr: u64) -> Option<u64> {
        self.bytes_at(addr).map(u64::from_le_bytes)
    }

    /// A few bytes at an address; none at null.
    pub(crate) fn bytes_at<const N: usize>(&self, addr: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (addr != 0 && self.memory.read(addr, &mut bytes)).then_some(bytes)
    }

    /// The length of a string with its NUL.
    pub(crate) fn string_len(&self, addr: u64) -> u64 {
        let ended = |len: &u64| self.bytes_at(addr.wrapping_add(*len)).is_none_or(|[byte]| byte == 0);
        (0..STRING_LEN_MAX).find(ended).map_or(STRING_LEN_MAX, |len| len + 1)
    }
}
