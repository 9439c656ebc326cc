//! How a call went, read from its return value.
//!
//! The tracer sees codes that no program does (`ERESTARTSYS` and its kin, 512 to 516); they mean that a
//! signal interrupted the call, and everything the kernel writes on `EINTR` has been written.

/// The highest number that stands for an error (`MAX_ERRNO` in `include/linux/err.h`).
pub const ERRNO_MAX: i64 = 4095;

/// `EFAULT`.
const EFAULT: i32 = 14;

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It returned this.
    Done(u64),
    /// It failed because some user memory could not be accessed, maybe after writing a part of it.
    Fault,
    /// It failed with this error, a positive number.
    Failed(i32),
}

impl Outcome {
    /// Reads `rax`. Values from -4095 to -1 are errors.
    #[must_use]
    pub const fn of(ret: i64) -> Outcome {
        if ret >= 0 || ret < -ERRNO_MAX {
            return Outcome::Done(ret as u64);
        }
        match -ret as i32 {
            EFAULT => Outcome::Fault,
            errno => Outcome::Failed(errno),
        }
    }

    /// Whether a signal interrupted it: `EINTR` or a code of the kernel that asks for a restart.
    #[must_use]
    pub const fn is_interrupted(self) -> bool {
        matches!(self, Outcome::Failed(4 | 512..=516))
    }
}
