//! General registers of one thread, in the layout of `struct user_regs_struct` (`<sys/user.h>`).

use serde::{Deserialize, Serialize};

/// General registers, segment registers and segment bases of a thread.
///
/// The layout equals the kernel's `struct user_regs_struct` for x86-64, so that it can be handed to
/// `PTRACE_GETREGS` as it is.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are the registers of the same name")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub rbp: u64,
    pub rbx: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rax: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub orig_rax: u64,
    pub rip: u64,
    pub cs: u64,
    pub rflags: u64,
    pub rsp: u64,
    pub ss: u64,
    pub fs_base: u64,
    pub gs_base: u64,
    pub ds: u64,
    pub es: u64,
    pub fs: u64,
    pub gs: u64,
}

/// How many 64-bit words [`Registers`] has.
pub(crate) const COUNT: usize = 27;

const _: () = assert!(size_of::<Registers>() == COUNT * 8);

/// The names in the order of the words.
const NAMES: [&str; COUNT] = [
    "r15", "r14", "r13", "r12", "rbp", "rbx", "r11", "r10", "r9", "r8", "rax", "rcx", "rdx", "rsi", "rdi",
    "orig_rax", "rip", "cs", "rflags", "rsp", "ss", "fs_base", "gs_base", "ds", "es", "fs", "gs",
];

impl Registers {
    /// The six system call arguments, in the order rdi, rsi, rdx, r10, r8, r9 (syscall(2)).
    pub fn arguments(&self) -> [u64; 6] {
        [self.rdi, self.rsi, self.rdx, self.r10, self.r8, self.r9]
    }

    /// The registers as words, in the kernel's order.
    pub fn words(&self) -> [u64; COUNT] {
        [
            self.r15,
            self.r14,
            self.r13,
            self.r12,
            self.rbp,
            self.rbx,
            self.r11,
            self.r10,
            self.r9,
            self.r8,
            self.rax,
            self.rcx,
            self.rdx,
            self.rsi,
            self.rdi,
            self.orig_rax,
            self.rip,
            self.cs,
            self.rflags,
            self.rsp,
            self.ss,
            self.fs_base,
            self.gs_base,
            self.ds,
            self.es,
            self.fs,
            self.gs,
        ]
    }

    /// The inverse of [`Registers::words`].
    pub fn from_words(w: [u64; COUNT]) -> Registers {
        let [r15, r14, r13, r12, rbp, rbx, r11, r10, r9, r8, rax, rcx, rdx, rsi, rdi, orig_rax, rip, cs, ..] =
            w;
        let [.., rflags, rsp, ss, fs_base, gs_base, ds, es, fs, gs] = w;
        Registers {
            r15,
            r14,
            r13,
            r12,
            rbp,
            rbx,
            r11,
            r10,
            r9,
            r8,
            rax,
            rcx,
            rdx,
            rsi,
            rdi,
            orig_rax,
            rip,
            cs,
            rflags,
            rsp,
            ss,
            fs_base,
            gs_base,
            ds,
            es,
            fs,
            gs,
        }
    }

    /// Name and both values of the first word in which the two differ, leaving out `orig_rax`, which is the
    /// kernel's own note.
    pub fn first_difference(&self, other: &Registers) -> Option<(&'static str, u64, u64)> {
        self.differences(other).find(|(name, ..)| *name != "orig_rax")
    }

    /// The names of all registers that differ, and both values.
    pub fn differences(&self, other: &Registers) -> impl Iterator<Item = (&'static str, u64, u64)> {
        let pairs = self.words().into_iter().zip(other.words());
        NAMES.into_iter().zip(pairs).filter(|(_, (a, b))| a != b).map(|(name, (a, b))| (name, a, b))
    }
}
