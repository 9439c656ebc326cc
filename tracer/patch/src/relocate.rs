//! Copies the overwritten instructions into the trampoline so that they do what they did.
//!
//! - Whatever does not name its own address is copied byte by byte; a rip-relative operand gets a new displacement.
//! - Branches become near ones to the same target. A branch to a following overwritten instruction goes to its copy;
//!   a branch to the site goes to the site, so that the visit is checked again.
//! - `call` pushes the original return address from the data part and jumps: stack contents are as without the stub.
//!   An indirect call reads its operand first, as the processor does, so that a fault comes before the push.

use iced_x86::{Code, FlowControl, Instruction, OpKind, Register};

use crate::assemble::{Assembler, Label, SLOT, Target};
use crate::check::slot;
use crate::window::{Original, Window, is_near_branch};

/// Where a thread inside the copy is, in the program's own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Offset in the trampoline.
    pub(crate) offset: u64,
    /// The program's own rip there.
    pub(crate) original: u64,
}

/// The copy's result.
#[derive(Clone, Debug, Default)]
pub(crate) struct Copy {
    /// Every instruction boundary at which registers and memory are the program's own.
    pub(crate) places: Vec<Place>,
    /// Offset of each original instruction's copy.
    pub(crate) starts: Vec<u64>,
    /// What the slots for return addresses hold.
    pub(crate) returns: Vec<u64>,
}

/// Writes the copy of all of `window`, then the jump behind it if the last instruction can fall through.
pub(crate) fn copy(a: &mut Assembler, window: &Window, data: u64) -> Copy {
    let labels: Vec<Label> = window.originals.iter().map(|_| a.label()).collect();
    let mut copier = Copier { window, labels: &labels, data, copy: Copy::default() };
    for (original, label) in window.originals.iter().zip(&labels) {
        a.bind(*label);
        copier.copy.starts.push(a.here());
        copier.copy.places.push(Place { offset: a.here(), original: original.instruction.ip() });
        copier.instruction(a, original);
    }
    let ends = window.originals.last().is_some_and(|last| never_falls_through(&last.instruction));
    if !ends {
        copier.copy.places.push(Place { offset: a.here(), original: window.end() });
        a.jump(Target::Address(window.end()));
    }
    copier.copy
}

fn never_falls_through(instruction: &Instruction) -> bool {
    use FlowControl::{Call, IndirectBranch, IndirectCall, Return, UnconditionalBranch};
    matches!(instruction.flow_control(), Call | IndirectBranch | IndirectCall | Return | UnconditionalBranch)
}

struct Copier<'a> {
    window: &'a Window,
    labels: &'a [Label],
    data: u64,
    copy: Copy,
}

impl Copier<'_> {
    fn instruction(&mut self, a: &mut Assembler, original: &Original) {
        let instruction = &original.instruction;
        match instruction.flow_control() {
            // A call into the kernel, in the decoder's terms; only a hook has one.
            _ if instruction.code() == Code::Syscall => a.raw(&original.bytes),
            FlowControl::Call => self.direct_call(a, instruction),
            FlowControl::IndirectCall => self.indirect_call(a, original),
            _ if is_near_branch(instruction) => self.branch(a, original),
            _ => plain(a, original, &original.bytes, original.displacement_offset),
        }
    }

    /// What a branch to `address` leads to now.
    fn target(&self, address: u64) -> Target {
        let inside = self.window.originals.iter().skip(1).position(|other| other.instruction.ip() == address);
        inside.map_or(Target::Address(address), |index| Target::Label(self.labels[index + 1]))
    }

    fn branch(&self, a: &mut Assembler, original: &Original) {
        let instruction = &original.instruction;
        let target = self.target(instruction.near_branch_target());
        let opcode = opcode(&original.bytes);
        match opcode {
            _ if instruction.is_jmp_short_or_near() => a.jump(target),
            [0x0f, opcode, ..] => a.jump_if(*opcode, target),
            [opcode @ 0x70..=0x7f, ..] => a.jump_if(opcode + 0x10, target),
            _ => self.counted_branch(a, original, target),
        }
    }

    /// loop, loope, loopne, jecxz, jrcxz: they exist only with one byte of displacement.
    fn counted_branch(&self, a: &mut Assembler, original: &Original, target: Target) {
        let (taken, next) = (a.label(), a.label());
        a.short(&original.bytes[..original.bytes.len() - 1], taken);
        a.short(&[0xeb], next);
        a.bind(taken);
        a.jump(target);
        a.bind(next);
    }

    fn direct_call(&mut self, a: &mut Assembler, instruction: &Instruction) {
        self.push_return(a, instruction);
        let target = instruction.near_branch_target();
        self.copy.places.push(Place { offset: a.here(), original: target });
        a.jump(self.target(target));
    }

    fn push_return(&mut self, a: &mut Assembler, instruction: &Instruction) {
        let index = self.copy.returns.len() as u64;
        self.copy.returns.push(instruction.next_ip());
        a.add_slot(Instruction::with1(Code::Push_rm64, SLOT), self.data + slot::RETURNS + index * 8);
    }

    fn indirect_call(&mut self, a: &mut Assembler, original: &Original) {
        let instruction = &original.instruction;
        if instruction.op0_kind() == OpKind::Register {
            self.push_return(a, instruction);
            a.add(Instruction::with1(Code::Jmp_rm64, instruction.op0_register()));
            return;
        }
        a.store(self.data + slot::RCX, Register::RCX);
        self.copy.places.push(Place { offset: a.here(), original: instruction.ip() });
        let (bytes, displacement_offset) = load_operand(original);
        plain(a, original, &bytes, displacement_offset);
        a.store(self.data + slot::CALL_TARGET, Register::RCX);
        a.load(Register::RCX, self.data + slot::RCX);
        self.push_return(a, instruction);
        a.add_slot(Instruction::with1(Code::Jmp_rm64, SLOT), self.data + slot::CALL_TARGET);
    }
}

/// `bytes` as they are, but for a rip-relative displacement.
fn plain(a: &mut Assembler, original: &Original, bytes: &[u8], displacement_offset: usize) {
    if original.instruction.is_ip_rel_memory_operand() {
        let target = Target::Address(original.instruction.ip_rel_memory_address());
        a.raw_relative(bytes, displacement_offset, target);
    } else {
        a.raw(bytes);
    }
}

/// The bytes behind legacy and REX prefixes.
fn opcode(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().position(|byte| !is_prefix(*byte)).unwrap_or(0);
    &bytes[start..]
}

fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x40..=0x4f | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}

/// rcx in the middle bits of a ModRM byte.
const RCX_FIELD: u8 = 1 << 3;

/// `call [operand]` (FF /2) turned into `mov rcx, [operand]` (REX.W 8B /1), and where its displacement is now.
fn load_operand(original: &Original) -> (Vec<u8>, usize) {
    let bytes = &original.bytes;
    let opcode_offset = bytes.len() - opcode(bytes).len();
    let (prefixes, rest) = bytes.split_at(opcode_offset);
    let rex = prefixes.last().filter(|byte| **byte & 0xf0 == 0x40);
    // 66, f2 (bnd) and 3e (notrack) mean nothing to a call that they could mean to a mov; segments and 67 stay.
    let legacy = prefixes.iter().filter(|byte| matches!(byte, 0x64 | 0x65 | 0x67));
    let mut load: Vec<u8> = legacy.copied().collect();
    load.push(0x48 | rex.map_or(0, |rex| rex & 3));
    load.push(0x8b);
    load.push(rest[1] & !0x38 | RCX_FIELD);
    load.extend(&rest[2..]);
    let displacement_offset = (original.displacement_offset + load.len()).saturating_sub(bytes.len());
    (load, displacement_offset)
}
