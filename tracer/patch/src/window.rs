//! The window: the instructions that the planted jump overwrites, and which of them must not be moved.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register};

/// Length in bytes of `jmp rel32`, which is what is written at the site. An instruction that starts behind it is not
/// touched.
pub const JUMP_BYTES: usize = 5;

/// Branches to below this address are refused: nothing is mapped there (vm.mmap_min_addr).
const TARGET_MIN: u64 = 0x1_0000;

/// Why no stub can be planted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The given bytes end before the jump does.
    #[error("the code ends at {0:#x}, inside the bytes a jump overwrites: pass more bytes or another site")]
    Truncated(u64),
    /// Not an instruction of 64-bit mode that the decoder knows.
    #[error("no known instruction at {0:#x}: choose another site")]
    Undecodable(u64),
    /// The instruction enters the kernel, traps, is patched elsewhere, or depends on its own address.
    #[error("the instruction at {0:#x} must not be moved: choose another site")]
    NotRelocatable(u64),
    /// The site itself is a repeated string instruction: what a visit is would be ambiguous.
    #[error("the instruction at {0:#x} repeats itself: choose another site")]
    Repeated(u64),
    /// No free address that the jump can name and that is in reach of the window's own targets.
    #[error("no free place for the trampoline of {0:#x}: choose another site")]
    NoRoom(u64),
    /// More than [`LINES_MAX`](crate::LINES_MAX) lines.
    #[error("{0} lines of memory to compare: pass fewer")]
    TooManyLines(usize),
    /// The predicate needs more code or registers than a trampoline has.
    #[error("the condition is too complex: split it")]
    TooComplex,
    /// The trampoline could not be encoded. A bug here.
    #[error("the trampoline of {site:#x} could not be encoded: {reason}")]
    Encoding {
        /// Where the stub was to be planted.
        site: u64,
        /// What the encoder said.
        reason: String,
    },
}

/// Whether a stub can be planted at the first instruction of `code`, which lies at `address`, if a place for its
/// trampoline is found. `code` may be short; 32 bytes are always enough.
pub fn plantable(code: &[u8], address: u64) -> bool {
    Window::decode(address, code).is_ok()
}

/// How far around a site branches into a stub are looked for, in bytes.
pub const NEIGHBOURHOOD_BYTES: u64 = 2048;

/// Whether a stub at `address` would never trap but at the visits that are looked for: it overwrites one instruction
/// only, or others that no branch nearby jumps to and no call returns to. `region` is the code from `start` on, some
/// [`NEIGHBOURHOOD_BYTES`] before and after the address. Where in it instructions start is a guess, though a good one.
pub fn is_quiet(region: &[u8], start: u64, address: u64) -> bool {
    is_quiet_window(region, start, address, Window::decode)
}

/// As [`is_quiet`], for a hook of the `syscall` instruction at `address`.
pub fn is_quiet_hook(region: &[u8], start: u64, address: u64) -> bool {
    is_quiet_window(region, start, address, Window::of_call)
}

fn is_quiet_window(
    region: &[u8],
    start: u64,
    address: u64,
    decode: impl Fn(u64, &[u8]) -> Result<Window, Refusal>,
) -> bool {
    let Some(code) = address.checked_sub(start).and_then(|offset| region.get(offset as usize..)) else {
        return false;
    };
    let Ok(window) = decode(address, code) else { return false };
    let entries = window.entries();
    if entries.is_empty() {
        return true;
    }
    let returns =
        window.originals.iter().filter(|original| original.instruction.code() != Code::Syscall).any(
            |original| {
                matches!(original.instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall)
            },
        );
    let inner: Vec<u64> = entries.iter().map(|(offset, _)| address + *offset as u64).collect();
    let leads_in = |at: &usize| branch_target(region, start, *at).is_some_and(|to| inner.contains(&to));
    !returns && !(0..region.len()).filter(leads_in).any(|at| is_instruction(region, at))
}

/// How many bytes before a place decoding begins, to see whether an instruction starts there: x86 code synchronises within
/// a few instructions.
const RUN_UP_BYTES: usize = 64;

/// How many places decoding begins at.
const RUN_UPS: usize = 16;

/// Whether an instruction seems to start at an offset: decoding from most places before it arrives there.
fn is_instruction(region: &[u8], at: usize) -> bool {
    let begin = at.saturating_sub(RUN_UP_BYTES);
    let starts = begin..(begin + RUN_UPS).min(at + 1);
    let total = starts.len();
    let arrives = |start: &usize| {
        let mut decoder = Decoder::new(64, &region[*start..], DecoderOptions::NONE);
        while decoder.position() + start < at && decoder.can_decode() {
            let _ = decoder.decode();
        }
        decoder.position() + start == at
    };
    starts.filter(arrives).count() * 2 > total
}

/// The target of the direct branch that the bytes at `at` would be (Intel SDM volume 2, Jcc, JMP, CALL, LOOP).
fn branch_target(region: &[u8], start: u64, at: usize) -> Option<u64> {
    let short = |len: usize| {
        let displacement = *region.get(at + len - 1)? as i8;
        Some((start + (at + len) as u64).wrapping_add_signed(displacement.into()))
    };
    let near = |len: usize| {
        let bytes = region.get(at + len - 4..at + len)?;
        let displacement = i32::from_le_bytes(bytes.try_into().ok()?);
        Some((start + (at + len) as u64).wrapping_add_signed(displacement.into()))
    };
    match region[at] {
        0x70..=0x7f | 0xe0..=0xe3 | 0xeb => short(2),
        0xe8 | 0xe9 => near(5),
        0x0f if matches!(region.get(at + 1), Some(0x80..=0x8f)) => near(6),
        _ => None,
    }
}

/// One overwritten instruction.
#[derive(Clone, Debug)]
pub(crate) struct Original {
    pub(crate) instruction: Instruction,
    pub(crate) bytes: Vec<u8>,
    /// Where in `bytes` the displacement of a rip-relative operand lies.
    pub(crate) displacement_offset: usize,
}

/// The instructions a planted jump overwrites, wholly or in part.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    pub(crate) site: u64,
    pub(crate) originals: Vec<Original>,
    /// From this instruction on there is only padding, which nobody executes.
    padding: usize,
}

impl Window {
    /// Decodes until the jump's bytes are covered.
    ///
    /// Decoding goes on behind a `ret` or `jmp` too: what lies there is overwritten all the same.
    pub(crate) fn decode(site: u64, code: &[u8]) -> Result<Self, Refusal> {
        let window = Self::decode_with(site, code, movable)?;
        if repeats(&window.originals[0].instruction) {
            return Err(Refusal::Repeated(site));
        }
        Ok(window)
    }

    /// As [`Window::decode`], for a window that starts with a `syscall` instruction and has no other. Where a function ends
    /// with it, only padding may follow: the next function must not be touched.
    pub(crate) fn of_call(site: u64, code: &[u8]) -> Result<Self, Refusal> {
        let of_call = |instruction: &Instruction, bytes: &[u8]| match instruction.code() {
            Code::Syscall => instruction.ip() == site,
            Code::Int3 => true,
            _ => instruction.ip() != site && movable(instruction, bytes),
        };
        let mut window = Self::decode_with(site, code, of_call)?;
        let ends = |original: &Original| {
            matches!(
                original.instruction.flow_control(),
                FlowControl::Return | FlowControl::UnconditionalBranch
            )
        };
        let padding = window.originals.iter().position(ends).map_or(window.originals.len(), |last| last + 1);
        let is_padding =
            |original: &Original| matches!(original.instruction.mnemonic(), Mnemonic::Nop | Mnemonic::Int3);
        let (executed, rest) = window.originals.split_at(padding);
        let stops = |original: &&Original| original.instruction.code() == Code::Int3;
        let refused = rest.iter().find(|other| !is_padding(other)).or_else(|| executed.iter().find(stops));
        if let Some(refused) = refused {
            return Err(Refusal::NotRelocatable(refused.instruction.ip()));
        }
        window.padding = padding;
        Ok(window)
    }

    fn decode_with(
        site: u64,
        code: &[u8],
        movable: impl Fn(&Instruction, &[u8]) -> bool,
    ) -> Result<Self, Refusal> {
        let end = site.checked_add(32).ok_or(Refusal::NoRoom(site))?;
        let code = &code[..code.len().min((end - site) as usize)];
        let mut decoder = Decoder::with_ip(64, code, site, DecoderOptions::NONE);
        let mut originals = Vec::new();
        while decoder.position() < JUMP_BYTES {
            let start = decoder.position();
            let at = decoder.ip();
            if !decoder.can_decode() {
                return Err(Refusal::Truncated(at));
            }
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                let short = decoder.last_error() == iced_x86::DecoderError::NoMoreBytes;
                return Err(if short { Refusal::Truncated(at) } else { Refusal::Undecodable(at) });
            }
            let bytes = code[start..decoder.position()].to_vec();
            if !movable(&instruction, &bytes) {
                return Err(Refusal::NotRelocatable(at));
            }
            let displacement_offset = decoder.get_constant_offsets(&instruction).displacement_offset();
            originals.push(Original { instruction, bytes, displacement_offset });
        }
        let padding = originals.len();
        Ok(Self { site, originals, padding })
    }

    /// Address behind the last instruction.
    pub(crate) fn end(&self) -> u64 {
        self.originals.last().map_or(self.site, |last| last.instruction.next_ip())
    }

    /// Where other code may jump to inside the overwritten bytes: (offset, index of the instruction).
    ///
    /// Every start of a following instruction, and the byte behind a `lock` prefix, which old C libraries jump to
    /// when the process has one thread. The copy with the prefix does the same there.
    pub(crate) fn entries(&self) -> Vec<(usize, usize)> {
        let mut entries = Vec::new();
        for (index, original) in self.originals[..self.padding].iter().enumerate() {
            let offset = (original.instruction.ip() - self.site) as usize;
            if index > 0 {
                entries.push((offset, index));
            }
            if original.bytes[0] == 0xf0 && offset + 1 < JUMP_BYTES {
                entries.push((offset + 1, index));
            }
        }
        entries
    }

    /// Addresses outside the window that the copy must reach with 32-bit displacements.
    pub(crate) fn targets(&self) -> Vec<u64> {
        let of = |original: &Original| {
            let instruction = &original.instruction;
            let memory = instruction.is_ip_rel_memory_operand().then(|| instruction.ip_rel_memory_address());
            let branch = is_near_branch(instruction).then(|| instruction.near_branch_target());
            memory.into_iter().chain(branch)
        };
        self.originals.iter().flat_map(of).chain([self.site, self.end()]).collect()
    }
}

/// Whether the only operand is a code address.
pub(crate) fn is_near_branch(instruction: &Instruction) -> bool {
    instruction.op_count() > 0 && instruction.op0_kind() == OpKind::NearBranch64
}

fn repeats(instruction: &Instruction) -> bool {
    instruction.is_string_instruction() && (instruction.has_rep_prefix() || instruction.has_repne_prefix())
}

/// Whether a copy elsewhere, made by `relocate`, does what the instruction does here.
fn movable(instruction: &Instruction, bytes: &[u8]) -> bool {
    let flow = match instruction.flow_control() {
        FlowControl::Next => !traps(instruction),
        FlowControl::ConditionalBranch => is_near_branch(instruction),
        FlowControl::UnconditionalBranch => {
            matches!(instruction.code(), Code::Jmp_rel8_64 | Code::Jmp_rel32_64)
        }
        FlowControl::IndirectBranch => instruction.code() == Code::Jmp_rm64,
        FlowControl::Return => matches!(instruction.code(), Code::Retnq | Code::Retnq_imm16),
        FlowControl::Call => instruction.code() == Code::Call_rel32_64,
        FlowControl::IndirectCall => {
            instruction.code() == Code::Call_rm64 && instruction.op0_register() != Register::RSP
        }
        FlowControl::Interrupt | FlowControl::XbeginXabortXend | FlowControl::Exception => false,
    };
    let ambiguous = instruction.flow_control() != FlowControl::Next && has_word_prefix(bytes);
    let low = is_near_branch(instruction) && instruction.near_branch_target() < TARGET_MIN;
    flow && !ambiguous && !low && instruction.memory_base() != Register::EIP && !instruction.is_privileged()
}

/// A near branch with an operand-size prefix is 64 bits wide for Intel and 16 for AMD, unless REX.W says 64 (Intel SDM
/// volume 2, JMP).
fn has_word_prefix(bytes: &[u8]) -> bool {
    let prefix =
        |byte: &&u8| matches!(byte, 0x66 | 0x67 | 0xf2 | 0xf3 | 0x2e | 0x36 | 0x3e | 0x26 | 0x64 | 0x65);
    let prefixes = bytes.iter().take_while(prefix).count();
    let wide = bytes.get(prefixes).is_some_and(|byte| byte & 0xf8 == 0x48);
    bytes[..prefixes].contains(&0x66) && !wide
}

/// Instructions whose result the recorder supplies: they trap, or carry an int3, and must stay where they are.
fn traps(instruction: &Instruction) -> bool {
    use Mnemonic::{
        Cpuid, Enqcmd, Monitorx, Mwaitx, Rdpid, Rdpmc, Rdpru, Rdrand, Rdseed, Rdtsc, Rdtscp, Tpause,
        Umonitor, Umwait, Xabort, Xend, Xgetbv, Xresldtrk, Xsusldtrk, Xtest,
    };
    matches!(
        instruction.mnemonic(),
        Cpuid
            | Enqcmd
            | Monitorx
            | Mwaitx
            | Rdpid
            | Rdpmc
            | Rdpru
            | Rdrand
            | Rdseed
            | Rdtsc
            | Rdtscp
            | Tpause
            | Umonitor
            | Umwait
            | Xabort
            | Xend
            | Xgetbv
            | Xresldtrk
            | Xsusldtrk
            | Xtest
    )
}
