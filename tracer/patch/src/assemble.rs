//! A small assembler: instructions, labels, and 32-bit displacements that are filled in last.
//!
//! Every displacement is four bytes, so the length of the code does not depend on where it lies.

use iced_x86::{Code, Encoder, IcedError, Instruction, MemoryOperand, Register};

/// A place in the code, bound at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label(usize);

/// What a displacement leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Target {
    Address(u64),
    Label(Label),
}

#[derive(Clone, Copy, Debug)]
struct Fixup {
    /// Where the displacement lies.
    offset: usize,
    /// 1 or 4.
    size: usize,
    /// Where the instruction ends.
    next: usize,
    target: Target,
}

/// Code under construction.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    bytes: Vec<u8>,
    labels: Vec<Option<usize>>,
    fixups: Vec<Fixup>,
    failure: Option<String>,
}

impl Assembler {
    pub(crate) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    pub(crate) fn bind(&mut self, label: Label) {
        self.labels[label.0] = Some(self.bytes.len());
    }

    /// Offset of the next instruction.
    pub(crate) fn here(&self) -> u64 {
        self.bytes.len() as u64
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// `bytes`, an instruction whose four bytes at `displacement_offset` are replaced.
    pub(crate) fn raw_relative(&mut self, bytes: &[u8], displacement_offset: usize, target: Target) {
        let start = self.bytes.len();
        self.raw(bytes);
        self.fixups.push(Fixup {
            offset: start + displacement_offset,
            size: 4,
            next: self.bytes.len(),
            target,
        });
    }

    /// An instruction without a rip-relative operand.
    pub(crate) fn add(&mut self, instruction: Result<Instruction, IcedError>) {
        self.encode(instruction);
    }

    /// An instruction that reads or writes `address`; `instruction` is made with [`SLOT`].
    pub(crate) fn add_slot(&mut self, instruction: Result<Instruction, IcedError>, address: u64) {
        let start = self.bytes.len();
        if let Some(displacement_offset) = self.encode(instruction) {
            let next = self.bytes.len();
            let target = Target::Address(address);
            self.fixups.push(Fixup { offset: start + displacement_offset, size: 4, next, target });
        }
    }

    pub(crate) fn load(&mut self, register: Register, address: u64) {
        self.add_slot(Instruction::with2(Code::Mov_r64_rm64, register, SLOT), address);
    }

    pub(crate) fn store(&mut self, address: u64, register: Register) {
        self.add_slot(Instruction::with2(Code::Mov_rm64_r64, SLOT, register), address);
    }

    pub(crate) fn jump(&mut self, target: Target) {
        self.raw_relative(&[0xe9, 0, 0, 0, 0], 1, target);
    }

    /// `opcode` is the second byte of a near conditional jump.
    pub(crate) fn jump_if(&mut self, opcode: u8, target: Target) {
        self.raw_relative(&[0x0f, opcode, 0, 0, 0, 0], 2, target);
    }

    /// A branch that exists only with one byte of displacement: `bytes` up to the displacement.
    pub(crate) fn short(&mut self, bytes: &[u8], label: Label) {
        self.raw(bytes);
        let offset = self.bytes.len();
        self.raw(&[0]);
        self.fixups.push(Fixup { offset, size: 1, next: offset + 1, target: Target::Label(label) });
    }

    /// The bytes, for `address`.
    pub(crate) fn finish(mut self, address: u64) -> Result<Vec<u8>, String> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        for fixup in &self.fixups {
            let target = match fixup.target {
                Target::Address(target) => target,
                Target::Label(Label(label)) => {
                    let offset = self.labels[label].ok_or("unbound label")?;
                    address.wrapping_add(offset as u64)
                }
            };
            let displacement = target.wrapping_sub(address.wrapping_add(fixup.next as u64)) as i64;
            let bytes = displacement.to_le_bytes();
            let fits = match fixup.size {
                1 => i8::try_from(displacement).is_ok(),
                _ => i32::try_from(displacement).is_ok(),
            };
            if !fits {
                return Err(format!("displacement {displacement:#x} to {target:#x} does not fit"));
            }
            self.bytes[fixup.offset..fixup.offset + fixup.size].copy_from_slice(&bytes[..fixup.size]);
        }
        Ok(self.bytes)
    }

    /// Returns the offset of the displacement inside the instruction.
    fn encode(&mut self, instruction: Result<Instruction, IcedError>) -> Option<usize> {
        let encoded = instruction.and_then(|instruction| {
            let mut encoder = Encoder::try_new(64)?;
            encoder.encode(&instruction, 0)?;
            let offset = encoder.get_constant_offsets().displacement_offset();
            self.bytes.extend(encoder.take_buffer());
            Ok(offset)
        });
        encoded.map_err(|error| self.failure = Some(error.to_string())).ok()
    }
}

/// The rip-relative operand whose address [`Assembler::add_slot`] fills in.
pub(crate) const SLOT: MemoryOperand = MemoryOperand {
    segment_prefix: Register::None,
    base: Register::RIP,
    index: Register::None,
    scale: 1,
    displacement: 0x100,
    displ_size: 8,
    is_broadcast: false,
};
