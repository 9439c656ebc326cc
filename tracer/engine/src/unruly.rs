//! Unruly instructions: those whose result is no function of registers and memory.
//!
//! Their sites in executable file mappings are found by scanning and replaced by INT3. RDRAND, RDSEED and RDPID cannot be
//! made to trap in other code; the time stamp counter can (prctl(2), `PR_SET_TSC`). CPUID (and RDPID in code that is not
//! scanned) is neutralised by pinning: recording and replay run on a core of the same number.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, Register};
use trace::{InstructionKind, Registers};

use crate::time_stamp::{self, Verdict};

/// A patched instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) kind: InstructionKind,
    /// Length in bytes.
    pub(crate) len: u64,
    /// The byte that the trap takes the place of.
    pub(crate) original: u8,
    destination: Register,
}

impl Site {
    /// RDTSC or RDTSCP.
    pub(crate) fn reads_time_stamp(&self) -> bool {
        matches!(self.kind, InstructionKind::Rdtsc | InstructionKind::Rdtscp)
    }
}

/// How many bytes before a candidate decoding begins. x86 code synchronises within a few instructions.
const RUN_UP_BYTES: usize = 96;

/// Decoding starts at this many different offsets; more than half of them must arrive at the candidate.
const RUN_UPS: usize = 32;

/// What a scan has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Addresses, and what is there.
    pub(crate) sites: Vec<(u64, Site)>,
    /// Nothing else in the code reads the time stamp counter.
    pub(crate) complete: bool,
}

impl Found {
    /// The same, `distance` further on.
    pub(crate) fn moved(&self, distance: u64) -> Found {
        let sites = self.sites.iter().map(|(address, site)| (address.wrapping_add(distance), *site));
        Found { sites: sites.collect(), complete: self.complete }
    }
}

/// Finds the unruly instructions in `code`, which is mapped at `address`.
pub(crate) fn scan(code: &[u8], address: u64) -> Found {
    let sites = memchr::memmem::find_iter(code, b"\x0f\xc7")
        .filter(|at| code.get(at + 2).is_some_and(|modrm| *modrm >= 0xf0))
        .filter_map(|at| site_at(code, address, at));
    let mut found = Found { sites: sites.collect(), complete: true };
    for verdict in time_stamp::candidates(code, address) {
        match verdict {
            Verdict::Found(instruction) => {
                found.sites.extend(site_of(&instruction).map(|site| (instruction.ip(), site)));
            }
            Verdict::Nothing => {}
            Verdict::Unclear => found.complete = false,
        }
    }
    for (at, site) in &mut found.sites {
        site.original = code[(*at - address) as usize];
    }
    found
}

/// Decides whether the opcode bytes at `opcode` belong to an instruction, by decoding up to it from many places.
fn site_at(code: &[u8], address: u64, opcode: usize) -> Option<(u64, Site)> {
    let begin = opcode.saturating_sub(RUN_UP_BYTES);
    let starts = begin..(begin + RUN_UPS).min(opcode + 1);
    let total = starts.len();
    let arrivals: Vec<Instruction> =
        starts.filter_map(|start| arrive(code, address, start, opcode)).collect();
    let found = *arrivals.first()?;
    let agreeing = arrivals.iter().filter(|other| other.ip() == found.ip()).count();
    (agreeing * 2 > total).then_some(())?;
    Some((found.ip(), site_of(&found)?))
}

fn arrive(code: &[u8], address: u64, start: usize, opcode: usize) -> Option<Instruction> {
    let mut decoder = Decoder::with_ip(64, &code[start..], address + start as u64, DecoderOptions::NONE);
    let target = address + opcode as u64;
    while decoder.can_decode() {
        let instruction = decoder.decode();
        if instruction.next_ip() > target {
            let found = site_of(&instruction).is_some_and(|site| !site.reads_time_stamp());
            return found.then_some(instruction);
        }
    }
    None
}

fn site_of(instruction: &Instruction) -> Option<Site> {
    let kind = match instruction.mnemonic() {
        Mnemonic::Rdrand => InstructionKind::Rdrand,
        Mnemonic::Rdseed => InstructionKind::Rdseed,
        Mnemonic::Rdpid => InstructionKind::Rdpid,
        Mnemonic::Rdtsc => InstructionKind::Rdtsc,
        Mnemonic::Rdtscp => InstructionKind::Rdtscp,
        _ => return None,
    };
    Some(Site { kind, len: instruction.len() as u64, original: 0, destination: instruction.op0_register() })
}

/// Recognises an instruction that trapped by itself.
pub(crate) fn time_stamp_instruction(code: &[u8]) -> Option<(InstructionKind, u64)> {
    let instruction = Decoder::new(64, code, DecoderOptions::NONE).decode();
    let kind = match instruction.code() {
        Code::Rdtsc => InstructionKind::Rdtsc,
        Code::Rdtscp => InstructionKind::Rdtscp,
        _ => return None,
    };
    Some((kind, instruction.len() as u64))
}

/// The registers after RDTSC or RDTSCP of `len` bytes.
pub(crate) fn after_time_stamp(
    before: &Registers,
    kind: InstructionKind,
    len: u64,
    counter: u64,
    processor: u32,
) -> Registers {
    let mut after = *before;
    after.rax = counter & 0xffff_ffff;
    after.rdx = counter >> 32;
    if kind == InstructionKind::Rdtscp {
        after.rcx = processor.into();
    }
    after.rip += len;
    after
}

/// The registers after a patched instruction that gives `value`. `before` stands at the instruction itself.
pub(crate) fn after_site(before: &Registers, site: &Site, value: u64) -> Registers {
    let mut after = *before;
    set_register(&mut after, site.destination, value);
    if site.kind != InstructionKind::Rdpid {
        // CF says that there is a number; OF, SF, ZF, AF and PF are cleared (Intel SDM volume 2, RDRAND).
        const CF: u64 = 1;
        const CLEARED: u64 = 1 << 11 | 1 << 7 | 1 << 6 | 1 << 4 | 1 << 2;
        after.rflags = after.rflags & !CLEARED | CF;
    }
    after.rip += site.len;
    after
}

fn set_register(registers: &mut Registers, name: Register, value: u64) {
    let place = match name.full_register() {
        Register::RAX => &mut registers.rax,
        Register::RCX => &mut registers.rcx,
        Register::RDX => &mut registers.rdx,
        Register::RBX => &mut registers.rbx,
        Register::RSP => &mut registers.rsp,
        Register::RBP => &mut registers.rbp,
        Register::RSI => &mut registers.rsi,
        Register::RDI => &mut registers.rdi,
        Register::R8 => &mut registers.r8,
        Register::R9 => &mut registers.r9,
        Register::R10 => &mut registers.r10,
        Register::R11 => &mut registers.r11,
        Register::R12 => &mut registers.r12,
        Register::R13 => &mut registers.r13,
        Register::R14 => &mut registers.r14,
        Register::R15 => &mut registers.r15,
        _ => return,
    };
    *place = match name.size() {
        2 => *place & !0xffff | value & 0xffff,
        4 => value & 0xffff_ffff,
        _ => value,
    };
}

#[cfg(test)]
mod tests {
    use trace::InstructionKind;

    use super::scan;

    fn code_with(bytes: &[u8]) -> Vec<u8> {
        // mov eax, [rbp-4]; add eax, 1; nop: ordinary code around the candidate.
        let filler = [0x8b, 0x45, 0xfc, 0x83, 0xc0, 0x01, 0x90].repeat(30);
        [&filler, bytes, &filler].concat()
    }

    #[test]
    fn an_instruction_is_found_with_its_prefix() {
        let sites = scan(&code_with(&[0x48, 0x0f, 0xc7, 0xf0]), 0x1000).sites;
        assert_eq!(sites.len(), 1);
        assert_eq!((sites[0].0, sites[0].1.len), (0x1000 + 210, 4));
    }

    #[test]
    fn the_same_bytes_inside_a_constant_are_left_alone() {
        // mov rax, 0x...f0c70f...
        assert!(
            scan(&code_with(&[0x48, 0xb8, 0x11, 0x0f, 0xc7, 0xf0, 0x22, 0x33, 0x44, 0x55]), 0x1000)
                .sites
                .is_empty()
        );
    }

    #[test]
    fn time_stamps_are_found_and_doubts_are_told() {
        // rdtsc; mov ecx, eax
        let found = scan(&code_with(&[0x0f, 0x31, 0x89, 0xc1]), 0x1000);
        assert_eq!((found.sites.len(), found.complete), (1, true));
        assert_eq!((found.sites[0].1.kind, found.sites[0].1.len), (InstructionKind::Rdtsc, 2));
        assert_eq!(found.moved(0x10).sites[0].0, found.sites[0].0 + 0x10);
        assert!(!scan(&code_with(&[0x0f, 0x31, 0, 0, 0, 0]), 0x1000).complete);
    }
}
