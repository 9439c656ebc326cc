//! The check of a predicate: evaluates it at each visit, with general registers only.
//!
//! The flags are kept in ax (`lahf; seto al`) from the first instruction to the last; up to four registers, saved in the
//! data part, hold numbers. A visit is counted before anything else, so that the count is exact whatever comes of it. A
//! read that faults goes on at the stop: then the debugger decides.

use iced_x86::{Code, IcedError, Instruction, MemoryOperand, Register};

use crate::assemble::{Assembler, Label, SLOT, Target};
use crate::check::{self, Labels, Places, slot};
use crate::condition::REGISTERS;
use crate::predicate::{DEPTH_MAX, Operation, Predicate, RegisterNumber, Relation, Size, Term, Width};

/// The registers that hold numbers, and where the program's own values are meanwhile.
const SCRATCH: [(Register, u64); DEPTH_MAX] = [
    (Register::RCX, slot::RCX),
    (Register::RDX, slot::RDX),
    (Register::RSI, slot::RSI),
    (Register::RDI, slot::RDI),
];

/// The low byte of each register, in the order of their encoding.
const LOW_BYTES: [Register; 16] = [
    Register::AL,
    Register::CL,
    Register::DL,
    Register::BL,
    Register::SPL,
    Register::BPL,
    Register::SIL,
    Register::DIL,
    Register::R8L,
    Register::R9L,
    Register::R10L,
    Register::R11L,
    Register::R12L,
    Register::R13L,
    Register::R14L,
    Register::R15L,
];

/// The low 16 bits of each.
const LOW_WORDS: [Register; 16] = [
    Register::AX,
    Register::CX,
    Register::DX,
    Register::BX,
    Register::SP,
    Register::BP,
    Register::SI,
    Register::DI,
    Register::R8W,
    Register::R9W,
    Register::R10W,
    Register::R11W,
    Register::R12W,
    Register::R13W,
    Register::R14W,
    Register::R15W,
];

/// The second byte of a near jump if equal (Intel SDM volume 2, Jcc).
const EQUAL: u8 = 0x84;

/// The way through that most visits take. What follows must be the copy.
pub(crate) fn fast(a: &mut Assembler, predicate: &Predicate, data: u64, labels: Labels) -> Vec<u64> {
    let used = &SCRATCH[..predicate.depth().min(DEPTH_MAX)];
    a.store(data + slot::RAX, Register::RAX);
    for (register, slot) in used {
        a.store(data + slot, *register);
    }
    check::flags_to_ax(a);
    a.add_slot(Instruction::with2(Code::Sub_rm64_imm8, SLOT, 1), data + slot::COUNTER);
    a.jump_if(EQUAL, Target::Label(labels.slow));
    let miss = a.label();
    let mut evaluation = Evaluation { a, data, used, reads: Vec::new() };
    evaluation.branch(predicate, Ways { yes: labels.slow, no: miss, next: Next::No });
    let reads = evaluation.reads;
    a.bind(miss);
    restore(a, used, data);
    reads
}

/// Where a visit stops, behind the copy.
pub(crate) fn slow(
    a: &mut Assembler,
    predicate: &Predicate,
    data: u64,
    labels: Labels,
    reads: &[u64],
) -> Places {
    a.bind(labels.slow);
    let stop = a.here();
    restore(a, &SCRATCH[..predicate.depth().min(DEPTH_MAX)], data);
    let hit = check::trap(a, labels);
    Places { hit, reads: reads.iter().map(|read| (*read, stop)).collect() }
}

fn restore(a: &mut Assembler, used: &[(Register, u64)], data: u64) {
    for (register, slot) in used {
        a.load(*register, data + slot);
    }
    check::flags_from_ax(a);
    a.load(Register::RAX, data + slot::RAX);
}

/// Which of the two ways begins right behind the code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Yes,
    No,
}

/// Where to go on.
#[derive(Clone, Copy)]
struct Ways {
    yes: Label,
    no: Label,
    next: Next,
}

struct Evaluation<'a, 'b> {
    a: &'a mut Assembler,
    data: u64,
    used: &'b [(Register, u64)],
    /// Offsets of the instructions that read the program's memory.
    reads: Vec<u64>,
}

impl Evaluation<'_, '_> {
    /// Goes one way or the other, by a jump or by falling through to the next one.
    fn branch(&mut self, predicate: &Predicate, ways: Ways) {
        match predicate {
            Predicate::Compare { left, relation, right } => {
                self.compare(left, right);
                match ways.next {
                    Next::No => self.a.jump_if(jump_of(*relation), Target::Label(ways.yes)),
                    Next::Yes => self.a.jump_if(jump_of(relation.opposite()), Target::Label(ways.no)),
                }
            }
            Predicate::All(parts) => self.each(parts, ways, Next::Yes),
            Predicate::Any(parts) => self.each(parts, ways, Next::No),
        }
    }

    /// Each part in turn goes on to the following one where it comes out as `going_on`.
    fn each(&mut self, parts: &[Predicate], ways: Ways, going_on: Next) {
        let Some((last, first)) = parts.split_last() else {
            // All of nothing holds, any of nothing does not.
            if going_on != ways.next {
                let to = if going_on == Next::Yes { ways.yes } else { ways.no };
                self.a.jump(Target::Label(to));
            }
            return;
        };
        for part in first {
            let following = self.a.label();
            let ways = match going_on {
                Next::Yes => Ways { yes: following, no: ways.no, next: Next::Yes },
                Next::No => Ways { yes: ways.yes, no: following, next: Next::No },
            };
            self.branch(part, ways);
            self.a.bind(following);
        }
        self.branch(last, ways);
    }

    fn compare(&mut self, left: &Term, right: &Term) {
        let register = self.operand(left, 0);
        if let Some(number) = right.small() {
            self.a.add(Instruction::with2(Code::Cmp_rm64_imm32, register, number));
            return;
        }
        let other = self.operand(right, 1);
        self.a.add(Instruction::with2(Code::Cmp_r64_rm64, register, other));
    }

    /// Some register that holds the number: the program's own where that one is untouched, else `SCRATCH[depth]`.
    fn operand(&mut self, term: &Term, depth: usize) -> Register {
        if let Term::Register(number) = term
            && self.saved(*number).is_none()
        {
            return REGISTERS[number.index()];
        }
        self.load(term, depth);
        SCRATCH[depth].0
    }

    /// Where the program's value of a register is kept, if the register itself has another one.
    fn saved(&self, number: RegisterNumber) -> Option<u64> {
        let register = REGISTERS[number.index()];
        let in_scratch = self.used.iter().find(|(used, _)| *used == register).map(|(_, slot)| *slot);
        if register == Register::RAX { Some(slot::RAX) } else { in_scratch }
    }

    /// `SCRATCH[depth]` = the number. Registers of a lower depth are left alone.
    fn load(&mut self, term: &Term, depth: usize) {
        let (to, _) = SCRATCH[depth];
        match term {
            Term::Constant(number) => self.constant(to, *number),
            Term::Register(number) => match self.saved(*number) {
                Some(slot) => self.a.load(to, self.data + slot),
                None => {
                    let from = REGISTERS[number.index()];
                    self.a.add(Instruction::with2(Code::Mov_r64_rm64, to, from));
                }
            },
            Term::Load { address, width } => {
                let (base, displacement) = self.address(address, depth);
                let operand = MemoryOperand::with_base_displ(base, displacement);
                self.reads.push(self.a.here());
                self.a.add(extend_from_memory(to, operand, *width));
            }
            Term::Cut { of, width } => {
                let from = self.operand(of, depth);
                self.a.add(extend_register(to, from, *width));
            }
            Term::Combined { operation, left, right } => self.combined(*operation, left, right, depth),
        }
    }

    fn combined(&mut self, operation: Operation, left: &Term, right: &Term, depth: usize) {
        let (to, _) = SCRATCH[depth];
        self.load(left, depth);
        let (by_number, by_register) = match operation {
            Operation::Add => (Code::Add_rm64_imm32, Code::Add_r64_rm64),
            Operation::Subtract => (Code::Sub_rm64_imm32, Code::Sub_r64_rm64),
            Operation::Multiply => (Code::Imul_r64_rm64_imm32, Code::Imul_r64_rm64),
            Operation::And => (Code::And_rm64_imm32, Code::And_r64_rm64),
            Operation::Or => (Code::Or_rm64_imm32, Code::Or_r64_rm64),
            Operation::Xor => (Code::Xor_rm64_imm32, Code::Xor_r64_rm64),
        };
        let instruction = match right.small() {
            Some(number) if operation == Operation::Multiply => Instruction::with3(by_number, to, to, number),
            Some(number) => Instruction::with2(by_number, to, number),
            None => {
                let other = self.operand(right, depth + 1);
                Instruction::with2(by_register, to, other)
            }
        };
        self.a.add(instruction);
    }

    /// Base and displacement of a memory operand.
    fn address(&mut self, address: &Term, depth: usize) -> (Register, i64) {
        match address {
            Term::Combined { operation: Operation::Add, left, right } if let Some(number) = right.small() => {
                (self.operand(left, depth), number.into())
            }
            _ => (self.operand(address, depth), 0),
        }
    }

    fn constant(&mut self, to: Register, number: u64) {
        self.a.add(match (u32::try_from(number), i32::try_from(number as i64)) {
            (Ok(number), _) => Instruction::with2(Code::Mov_r32_imm32, to.full_register32(), number),
            (_, Ok(number)) => Instruction::with2(Code::Mov_rm64_imm32, to, number),
            _ => Instruction::with2(Code::Mov_r64_imm64, to, number),
        });
    }
}

fn extend_from_memory(to: Register, from: MemoryOperand, width: Width) -> Result<Instruction, IcedError> {
    let (code, to) = extension(to, width);
    Instruction::with2(code, to, from)
}

fn extend_register(to: Register, from: Register, width: Width) -> Result<Instruction, IcedError> {
    let number = REGISTERS.iter().position(|register| *register == from).unwrap_or(0);
    let from = match width.size {
        Size::One => LOW_BYTES[number],
        Size::Two => LOW_WORDS[number],
        Size::Four => from.full_register32(),
        Size::Eight => from,
    };
    let (code, to) = extension(to, width);
    Instruction::with2(code, to, from)
}

/// The move that extends to 64 bits; one of 32 bits clears the upper half.
fn extension(to: Register, width: Width) -> (Code, Register) {
    match (width.size, width.signed) {
        (Size::One, false) => (Code::Movzx_r32_rm8, to.full_register32()),
        (Size::One, true) => (Code::Movsx_r64_rm8, to),
        (Size::Two, false) => (Code::Movzx_r32_rm16, to.full_register32()),
        (Size::Two, true) => (Code::Movsx_r64_rm16, to),
        (Size::Four, false) => (Code::Mov_r32_rm32, to.full_register32()),
        (Size::Four, true) => (Code::Movsxd_r64_rm32, to),
        (Size::Eight, _) => (Code::Mov_r64_rm64, to),
    }
}

/// The second byte of the near jump (Intel SDM volume 2, Jcc).
fn jump_of(relation: Relation) -> u8 {
    match relation {
        Relation::Below => 0x82,
        Relation::AboveOrEqual => 0x83,
        Relation::Equal => EQUAL,
        Relation::NotEqual => 0x85,
        Relation::BelowOrEqual => 0x86,
        Relation::Above => 0x87,
        Relation::Less => 0x8c,
        Relation::GreaterOrEqual => 0x8d,
        Relation::LessOrEqual => 0x8e,
        Relation::Greater => 0x8f,
    }
}
