//! The check part of a trampoline: decides at each visit whether the condition holds.
//!
//! It uses no stack (the red zone below rsp belongs to the program) and no vector registers, and leaves every register
//! and flag as it was. Two tiers:
//!
//! - **The fast tier** runs at every visit and touches no flag: `lea` adds, `jrcxz` branches (Intel SDM volume 2: both
//!   affect no flags). For a fingerprint it compares a 32-bit linear sum of a few registers, those that the code
//!   behind the site changes; an unequal sum proves unequal registers. For a count it counts.
//! - **The slow tier** runs when the sum is equal. It saves the flags with `lahf; seto al` (restored with
//!   `add al, 0x7f; sahf`), compares registers, flags and lines one by one, and counts if asked to.
//!
//! A predicate has a tier of its own, in `evaluate`.
//!
//! The data part lies on pages of its own: a store near running code makes the processor discard its pipeline (Intel
//! SDM volume 3, 13.6).

use iced_x86::{
    Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, MemoryOperand, OpAccess, Register,
};

use crate::assemble::{Assembler, Label, SLOT, Target};
use crate::condition::{Condition, GeneralRegisters, REGISTERS};
use crate::evaluate;
use crate::{LINE_BYTES, LINE_HASH_MULTIPLIER};

/// How many registers the fast tier sums up.
const SUMMED_REGISTERS: usize = 3;

/// Room in front of the check for the jump that `jrcxz` reaches.
pub(crate) const ISLAND_BYTES: u64 = 16;

const NOT_EQUAL: u8 = 0x85;

/// Offsets in the data part.
pub(crate) mod slot {
    pub(crate) const RAX: u64 = 0;
    pub(crate) const RCX: u64 = 8;
    pub(crate) const RDX: u64 = 16;
    pub(crate) const RSI: u64 = 24;
    pub(crate) const RDI: u64 = 32;
    pub(crate) const FLAGS: u64 = 40;
    pub(crate) const COUNTER: u64 = 48;
    pub(crate) const MULTIPLIER: u64 = 56;
    /// Sixteen values to compare with.
    pub(crate) const EXPECTED: u64 = 64;
    /// Where an indirect call goes.
    pub(crate) const CALL_TARGET: u64 = 192;
    /// Return addresses of emulated calls; a window has at most five.
    pub(crate) const RETURNS: u64 = 200;
    /// Pairs of address and hash.
    pub(crate) const LINES: u64 = 256;
}

/// Places in the finished code, as offsets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Behind the int3.
    pub(crate) hit: u64,
    /// The instructions that read the program's memory, and where to go on if they fault.
    pub(crate) reads: Vec<(u64, u64)>,
}

/// The labels between check and copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Labels {
    /// The slow tier.
    pub(crate) slow: Label,
    /// The relocated instructions.
    pub(crate) resume: Label,
}

/// The values of the data part.
pub(crate) fn data(condition: &Condition, returns: &[u64]) -> Vec<u8> {
    let mut data = vec![0; slot::LINES as usize + condition.lines().len() * 16];
    let mut put = |offset: u64, value: u64| {
        data[offset as usize..offset as usize + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(slot::COUNTER, condition.count().unwrap_or(0));
    put(slot::MULTIPLIER, LINE_HASH_MULTIPLIER);
    for (index, value) in returns.iter().enumerate() {
        put(slot::RETURNS + index as u64 * 8, *value);
    }
    if let Some((registers, lines)) = condition.pattern() {
        for (number, value) in registers.by_number().into_iter().enumerate() {
            put(slot::EXPECTED + number as u64 * 8, value);
        }
        for (index, (line, hash)) in lines.iter().enumerate() {
            put(slot::LINES + index as u64 * 16, line.wrapping_mul(LINE_BYTES as u64));
            put(slot::LINES + index as u64 * 16 + 8, u64::from(*hash));
        }
    }
    data
}

/// The jump that `jrcxz` reaches, then the fast tier. What follows must be the copy. Returns the offsets of the reads of
/// the program's memory.
pub(crate) fn fast(
    a: &mut Assembler,
    condition: &Condition,
    order: &[usize; 16],
    data: u64,
    labels: Labels,
) -> Vec<u64> {
    let island = a.label();
    a.bind(island);
    a.jump(Target::Label(labels.slow));
    a.raw(&[0xcc; ISLAND_BYTES as usize - 5]);
    if let Condition::Holds { predicate, .. } = condition {
        return evaluate::fast(a, predicate, data, labels);
    }
    a.store(data + slot::RCX, Register::RCX);
    match condition.pattern() {
        Some((registers, _)) => sum(a, &order[..SUMMED_REGISTERS], &registers.by_number()),
        None => count_down(a, data),
    }
    a.short(&[0xe3], island);
    a.load(Register::RCX, data + slot::RCX);
    Vec::new()
}

/// rcx = --counter.
fn count_down(a: &mut Assembler, data: u64) {
    a.load(Register::RCX, data + slot::COUNTER);
    a.add(lea(Code::Lea_r64_m, Register::RCX, None, -1));
    a.store(data + slot::COUNTER, Register::RCX);
}

/// ecx = 25 a + 5 b + c - the same of the expected values, in 32 bits. Odd factors other than one, so that a pointer
/// that goes up and a counter that goes down do not cancel.
fn sum(a: &mut Assembler, numbers: &[usize], expected: &[u64; 16]) {
    // rcx itself must come first: it holds the sum from then on.
    let mut numbers = numbers.to_vec();
    numbers.sort_by_key(|number| REGISTERS[*number] != Register::RCX);
    let value = numbers.iter().fold(0u64, |sum, number| sum.wrapping_mul(5).wrapping_add(expected[*number]));
    let difference = (value as u32).wrapping_neg() as i32;
    let (first, others) = numbers.split_first().map_or((1, &[][..]), |(first, others)| (*first, others));
    if REGISTERS[first] != Register::RCX {
        a.add(Instruction::with2(Code::Mov_r32_rm32, Register::ECX, REGISTERS[first].full_register32()));
    }
    for (index, number) in others.iter().enumerate() {
        let last = index + 1 == others.len();
        a.add(lea(Code::Lea_r32_m, Register::RCX, Some((Register::RCX, 4)), 0));
        let displacement = if last { difference } else { 0 };
        a.add(lea(Code::Lea_r32_m, REGISTERS[*number], Some((Register::RCX, 1)), displacement));
    }
}

/// `lea rcx, [base + index * scale + displacement]`, or ecx.
fn lea(
    code: Code,
    base: Register,
    index: Option<(Register, u32)>,
    displacement: i32,
) -> Result<Instruction, iced_x86::IcedError> {
    let (index, scale) = index.unwrap_or((Register::None, 1));
    let size = if displacement == 0 { 0 } else { 8 };
    let displacement = i64::from(displacement);
    let operand = MemoryOperand::new(base, index, scale, displacement, size, false, Register::None);
    let target = if code == Code::Lea_r32_m { Register::ECX } else { Register::RCX };
    Instruction::with2(code, target, operand)
}

/// The slow tier, behind the copy. On entry rcx is in its slot. `reads` is what [`fast`] returned.
pub(crate) fn slow(
    a: &mut Assembler,
    condition: &Condition,
    order: &[usize; 16],
    data: u64,
    labels: Labels,
    reads: &[u64],
) -> Places {
    if let Condition::Holds { predicate, .. } = condition {
        return evaluate::slow(a, predicate, data, labels, reads);
    }
    let mut places = Places::default();
    a.bind(labels.slow);
    let Some((registers, lines)) = condition.pattern() else {
        a.load(Register::RCX, data + slot::RCX);
        places.hit = trap(a, labels);
        return places;
    };
    let miss = a.label();
    save_flags(a, data);
    compare_registers(a, registers, order, data, miss);
    if !lines.is_empty() {
        places.reads.push(compare_lines(a, lines.len(), data, miss));
    }
    if condition.count().is_some() {
        a.add_slot(Instruction::with2(Code::Sub_rm64_imm8, SLOT, 1), data + slot::COUNTER);
        a.jump_if(NOT_EQUAL, Target::Label(miss));
    }
    restore_flags(a, data);
    places.hit = trap(a, labels);
    a.bind(miss);
    restore_flags(a, data);
    a.jump(Target::Label(labels.resume));
    places
}

/// The int3 and the way on.
pub(crate) fn trap(a: &mut Assembler, labels: Labels) -> u64 {
    a.raw(&[0xcc]);
    let hit = a.here();
    a.jump(Target::Label(labels.resume));
    hit
}

/// ax = flags; rax is in its slot.
fn save_flags(a: &mut Assembler, data: u64) {
    a.store(data + slot::RAX, Register::RAX);
    flags_to_ax(a);
}

pub(crate) fn flags_to_ax(a: &mut Assembler) {
    a.add(Ok(Instruction::with(Code::Lahf)));
    a.add(Instruction::with1(Code::Seto_rm8, Register::AL));
}

/// Changes al.
pub(crate) fn flags_from_ax(a: &mut Assembler) {
    a.add(Instruction::with2(Code::Add_AL_imm8, Register::AL, 0x7f));
    a.add(Ok(Instruction::with(Code::Sahf)));
}

fn restore_flags(a: &mut Assembler, data: u64) {
    flags_from_ax(a);
    a.load(Register::RAX, data + slot::RAX);
    a.load(Register::RCX, data + slot::RCX);
}

fn compare_registers(
    a: &mut Assembler,
    registers: &GeneralRegisters,
    order: &[usize; 16],
    data: u64,
    miss: Label,
) {
    for number in order {
        let saved = match REGISTERS[*number] {
            Register::RAX => Some(slot::RAX),
            Register::RCX => Some(slot::RCX),
            _ => None,
        };
        let mut register = REGISTERS[*number];
        if let Some(saved) = saved {
            a.load(Register::RCX, data + saved);
            register = Register::RCX;
        }
        let expected = data + slot::EXPECTED + *number as u64 * 8;
        a.add_slot(Instruction::with2(Code::Cmp_r64_rm64, register, SLOT), expected);
        a.jump_if(NOT_EQUAL, Target::Label(miss));
    }
    a.add(Instruction::with2(Code::Movzx_r32_rm16, Register::ECX, Register::AX));
    a.add(Instruction::with2(Code::Cmp_rm32_imm32, Register::ECX, registers.flags_word()));
    a.jump_if(NOT_EQUAL, Target::Label(miss));
}

/// [`line_hash`](crate::line_hash) over the table, with rax, rcx, rdx, rsi and rdi. Falls through when all are equal.
///
/// Returns the offsets of the read and of the way out if it faults.
fn compare_lines(a: &mut Assembler, count: usize, data: u64, miss: Label) -> (u64, u64) {
    use Register::{EAX, ECX, EDI, RAX, RDI, RDX, RSI};
    let (next_line, next_word) = (a.label(), a.label());
    let (equal, lines_miss) = (a.label(), a.label());
    a.store(data + slot::FLAGS, RAX);
    a.store(data + slot::RDX, RDX);
    a.store(data + slot::RSI, RSI);
    a.store(data + slot::RDI, RDI);
    a.add_slot(Instruction::with2(Code::Lea_r64_m, RSI, SLOT), data + slot::LINES);
    a.add(Instruction::with2(Code::Mov_r32_imm32, EDI, count as u32));
    a.bind(next_line);
    a.add(Instruction::with2(Code::Mov_r64_rm64, RDX, MemoryOperand::with_base(RSI)));
    a.add(Instruction::with2(Code::Xor_r32_rm32, EAX, EAX));
    a.add(Instruction::with2(Code::Mov_r32_imm32, ECX, (LINE_BYTES / 8) as u32));
    a.bind(next_word);
    let read = a.here();
    a.add(Instruction::with2(Code::Add_r64_rm64, RAX, MemoryOperand::with_base(RDX)));
    a.add_slot(Instruction::with2(Code::Imul_r64_rm64, RAX, SLOT), data + slot::MULTIPLIER);
    a.add(Instruction::with2(Code::Add_rm64_imm8, RDX, 8));
    a.add(Instruction::with2(Code::Sub_rm32_imm8, ECX, 1));
    a.jump_if(NOT_EQUAL, Target::Label(next_word));
    a.add(Instruction::with2(Code::Shr_rm64_imm8, RAX, 32));
    a.add(Instruction::with2(Code::Cmp_r32_rm32, EAX, MemoryOperand::with_base_displ(RSI, 8)));
    a.jump_if(NOT_EQUAL, Target::Label(lines_miss));
    a.add(Instruction::with2(Code::Add_rm64_imm8, RSI, 16));
    a.add(Instruction::with2(Code::Sub_rm32_imm8, EDI, 1));
    a.jump_if(NOT_EQUAL, Target::Label(next_line));
    let restore = |a: &mut Assembler| {
        a.load(RAX, data + slot::FLAGS);
        a.load(RDX, data + slot::RDX);
        a.load(RSI, data + slot::RSI);
        a.load(RDI, data + slot::RDI);
    };
    restore(a);
    a.jump(Target::Label(equal));
    a.bind(lines_miss);
    let way_out = a.here();
    restore(a);
    a.jump(Target::Label(miss));
    a.bind(equal);
    (read, way_out)
}

/// Numbers of the registers, those first that the instructions at the site change: they tell visits apart.
pub(crate) fn order(site: u64, code: &[u8]) -> [usize; 16] {
    // Induction variables and results first, what functions keep last.
    let mut order = [0, 1, 2, 6, 7, 8, 9, 10, 11, 3, 12, 13, 14, 15, 5, 4];
    let changed = changed(site, code);
    order.sort_by_key(|number| changed.iter().position(|other| other == number).unwrap_or(usize::MAX));
    order
}

/// Numbers of the registers that the code writes, rsp left out, the first written first.
fn changed(site: u64, code: &[u8]) -> Vec<usize> {
    let mut factory = InstructionInfoFactory::new();
    let mut changed = Vec::new();
    for instruction in Decoder::with_ip(64, &code[..code.len().min(32)], site, DecoderOptions::NONE).iter() {
        for used in factory.info(&instruction).used_registers() {
            let number = REGISTERS.iter().position(|register| *register == used.register().full_register());
            let written = !matches!(used.access(), OpAccess::None | OpAccess::Read | OpAccess::CondRead);
            let Some(number) = number.filter(|number| written && REGISTERS[*number] != Register::RSP) else {
                continue;
            };
            if !changed.contains(&number) {
                changed.push(number);
            }
        }
    }
    changed
}
