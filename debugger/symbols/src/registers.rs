//! The x86-64 registers of one frame, under their DWARF numbers.
//! A register is `None` when the frame's caller did not save it: outer frames know only part of them.

/// The DWARF number of the stack pointer.
pub const RSP: u16 = 7;
/// The DWARF number of the frame pointer.
pub const RBP: u16 = 6;
/// The DWARF number of the return address column, which is the instruction pointer.
pub const RIP: u16 = 16;
/// The DWARF number of `xmm0`; `xmm15` is 32.
pub const XMM0: u16 = 17;

const NAMES: [&str; 17] = [
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13", "r14",
    "r15", "rip",
];

/// The registers of a frame, each absent when it is not known there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// rax, rdx, rcx, rbx, rsi, rdi, rbp, rsp, r8 to r15, rip: the DWARF order.
    pub general: [Option<u64>; 17],
    /// Base of the thread's local storage.
    pub fs_base: Option<u64>,
    /// Base of the `gs` segment.
    pub gs_base: Option<u64>,
    /// The flags register.
    pub rflags: Option<u64>,
    /// The vector registers' low 128 bits.
    pub xmm: [Option<u128>; 16],
}

/// The part of a register that a name such as `al` or `r8d` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterPart {
    /// DWARF number (0 to 16 general, 17 to 32 xmm, 49 rflags, 58 fs_base, 59 gs_base).
    pub number: u16,
    /// First bit of the part.
    pub shift: u8,
    /// Size of the part in bytes.
    pub size: u8,
}

impl Registers {
    /// Registers of which only what a prologue needs is known.
    pub fn minimal(rip: u64, rsp: u64, rbp: u64) -> Self {
        let mut registers = Self::default();
        registers.set(RIP, Some(rip));
        registers.set(RSP, Some(rsp));
        registers.set(RBP, Some(rbp));
        registers
    }

    /// From the kernel's `user_regs_struct` order, as in ptrace and in a core file's `NT_PRSTATUS`:
    /// r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base
    /// gs_base ds es fs gs.
    pub fn from_user_regs(user: &[u64; 27]) -> Self {
        const ORDER: [usize; 17] = [10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0, 16];
        Self {
            general: ORDER.map(|index| user.get(index).copied()),
            fs_base: Some(user[21]),
            gs_base: Some(user[22]),
            rflags: Some(user[18]),
            xmm: [None; 16],
        }
    }

    /// The 64-bit register with this DWARF number, when it is known.
    pub fn get(&self, number: u16) -> Option<u64> {
        match number {
            49 => self.rflags,
            58 => self.fs_base,
            59 => self.gs_base,
            _ => self.general.get(usize::from(number)).copied().flatten(),
        }
    }

    /// Any register by DWARF number, widened to 128 bits.
    pub fn get_wide(&self, number: u16) -> Option<u128> {
        match number.checked_sub(XMM0) {
            Some(index @ 0..16) => self.xmm.get(usize::from(index)).copied().flatten(),
            _ => self.get(number).map(u128::from),
        }
    }

    /// Sets a general register; other numbers are left alone.
    pub fn set(&mut self, number: u16, value: Option<u64>) {
        if let Some(slot) = self.general.get_mut(usize::from(number)) {
            *slot = value;
        }
    }

    /// The instruction pointer.
    pub fn pc(&self) -> Option<u64> {
        self.get(RIP)
    }

    /// The stack pointer.
    pub fn sp(&self) -> Option<u64> {
        self.get(RSP)
    }

    /// What a register name means, or `None` when there is no such register.
    pub fn part(name: &str) -> Option<RegisterPart> {
        let full = |number, size| Some(RegisterPart { number, shift: 0, size });
        match name {
            "pc" => return full(RIP, 8),
            "sp" => return full(RSP, 8),
            "fp" => return full(RBP, 8),
            "eflags" | "rflags" => return full(49, 8),
            "fs_base" => return full(58, 8),
            "gs_base" => return full(59, 8),
            _ => {}
        }
        if let Some(number) = NAMES.iter().position(|&known| known == name) {
            return full(number as u16, 8);
        }
        if let Some(index) = name.strip_prefix("xmm").and_then(|i| i.parse().ok()).filter(|&i: &u16| i < 16) {
            return full(XMM0 + index, 16);
        }
        old_part(name).or_else(|| numbered_part(name))
    }

    /// The value of a register or of the part its name means (`eax`, `al`, `r8d`, `xmm3`).
    pub fn by_name(&self, name: &str) -> Option<u128> {
        let part = Self::part(name)?;
        let whole = self.get_wide(part.number)? >> part.shift;
        Some(if part.size >= 16 { whole } else { whole & ((1 << (u32::from(part.size) * 8)) - 1) })
    }

    /// Names and values of the general registers, in gdb's order of `info registers`.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, Option<u64>)> + '_ {
        const ORDER: [u16; 17] = [0, 3, 2, 1, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];
        ORDER.iter().filter_map(|&number| Some((*NAMES.get(usize::from(number))?, self.get(number)))).chain([
            ("eflags", self.rflags),
            ("fs_base", self.fs_base),
            ("gs_base", self.gs_base),
        ])
    }
}

/// The 8086 names: `eax`, `ax`, `al`, `ah`, `esi`, `si`, `sil`…
fn old_part(name: &str) -> Option<RegisterPart> {
    const OLD: [(&str, &str, &str, &str); 9] = [
        ("eax", "ax", "al", "ah"),
        ("edx", "dx", "dl", "dh"),
        ("ecx", "cx", "cl", "ch"),
        ("ebx", "bx", "bl", "bh"),
        ("esi", "si", "sil", ""),
        ("edi", "di", "dil", ""),
        ("ebp", "bp", "bpl", ""),
        ("esp", "", "spl", ""),
        ("eip", "", "", ""),
    ];
    OLD.iter().zip([0, 1, 2, 3, 4, 5, 6, 7, 16]).find_map(|(&(long, word, low, high), number)| {
        let (shift, size) = match name {
            _ if name == long => (0, 4),
            _ if name == word => (0, 2),
            _ if name == low => (0, 1),
            _ if name == high => (8, 1),
            _ => return None,
        };
        (!name.is_empty()).then_some(RegisterPart { number, shift, size })
    })
}

/// `r8d`, `r8w`, `r8b` to `r15`.
fn numbered_part(name: &str) -> Option<RegisterPart> {
    let digits = name.strip_prefix('r')?;
    let (number, size) = match digits.as_bytes().last()? {
        b'd' => (digits.strip_suffix('d')?, 4),
        b'w' => (digits.strip_suffix('w')?, 2),
        b'b' | b'l' => (digits.get(..digits.len() - 1)?, 1),
        _ => return None,
    };
    let number: u16 = number.parse().ok()?;
    (8..16).contains(&number).then_some(RegisterPart { number, shift: 0, size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_parts() {
        let mut registers = Registers::default();
        registers.set(0, Some(0x1122_3344_5566_7788));
        registers.set(8, Some(0xaabb_ccdd_eeff_0011));
        let of = |name| registers.by_name(name);
        assert_eq!(of("rax"), Some(0x1122_3344_5566_7788));
        assert_eq!(of("eax"), Some(0x5566_7788));
        assert_eq!((of("ax"), of("al"), of("ah")), (Some(0x7788), Some(0x88), Some(0x77)));
        assert_eq!((of("r8d"), of("r8b")), (Some(0xeeff_0011), Some(0x11)));
        assert_eq!((of("pc"), of("nonsense"), of("")), (None, None, None));
    }
}
