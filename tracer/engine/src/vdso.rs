//! The vDSO reads clocks without entering the kernel, which a recorder would not see. Its functions are overwritten
//! with plain system calls at exec, before the program runs.
//!
//! Behind these calls the agent reads the clocks as the program would have: it calls the functions' own code. So the
//! instructions that are overwritten are copied to the unused end of the vDSO. The functions fall back to a system call
//! when they cannot read a clock; that instruction becomes a NOP, so that the number of the call comes back as the result,
//! which is never 0. So whatever the clock source is and whenever it changes, nothing here enters the kernel.

use std::collections::BTreeMap;
use std::ops::Range;

use iced_x86::{
    BlockEncoder, BlockEncoderOptions, Code, Decoder, DecoderOptions, FlowControl, Instruction,
    InstructionBlock, InstructionInfoFactory, OpKind, Register,
};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSymbol};

/// What each function becomes.
const FUNCTIONS: [(&str, u32); 6] = [
    ("__vdso_clock_gettime", libc::SYS_clock_gettime as u32),
    ("__vdso_gettimeofday", libc::SYS_gettimeofday as u32),
    ("__vdso_time", libc::SYS_time as u32),
    ("__vdso_clock_getres", libc::SYS_clock_getres as u32),
    ("__vdso_getcpu", libc::SYS_getcpu as u32),
    ("__vdso_getrandom", u32::MAX),
];

/// The first functions above are those that the agent calls, in the order of its table.
const CLOCKS: usize = agent::CLOCK_FUNCTIONS;

/// Length of `mov eax, imm32`, with which what each function becomes begins.
const MOV_BYTES: u64 = 5;

/// `syscall`, and the `ret 0` behind it.
const SYSCALL: [u8; 2] = [0x0f, 0x05];
const RETURN: [u8; 3] = [0xc2, 0, 0];

/// Where a thread stands in what a function has become.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It has not made the call; the function begins so many bytes before.
    BeforeCall { distance: u64 },
    /// The call has been made.
    BehindCall,
    /// In none.
    Elsewhere,
}

/// Tells from the next bytes of code.
pub(crate) fn place_in_stub(code: &[u8; 3]) -> Place {
    match code {
        &RETURN => Place::BehindCall,
        _ if code.starts_with(&SYSCALL) => Place::BeforeCall { distance: MOV_BYTES },
        _ => Place::Elsewhere,
    }
}

/// More instructions than this no function of the vDSO has.
const INSTRUCTIONS_MAX: usize = 4096;

/// The vDSO is looked at as if it were mapped here. What it refers to lies close by.
const BASE: u64 = 1 << 32;

/// Where copies of instructions begin.
const ALIGNMENT: u64 = 16;

/// Offset, and the bytes to write there.
type Patch = (u64, Vec<u8>);

/// What to write into a vDSO, and what is there then. Places are offsets in it.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) patches: Vec<Patch>,
    /// A `syscall` instruction in one of them.
    pub(crate) syscall: Option<u64>,
    /// The functions' own code, unless it is of an unknown kind.
    pub(crate) clocks: Option<Clocks>,
}

/// How the functions' own code can be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clocks {
    /// Where clock_gettime, gettimeofday and time begin.
    pub(crate) entries: [u64; CLOCKS],
    /// All their code, which nobody else executes.
    pub(crate) code: Vec<Range<u64>>,
}

impl Clocks {
    /// The same for a vDSO that lies at an address.
    pub(crate) fn at(&self, address: u64) -> Clocks {
        let code = self.code.iter().map(|range| range.start + address..range.end + address);
        Clocks { entries: self.entries.map(|entry| entry + address), code: code.collect() }
    }
}

/// Plans the patches for a vDSO with these contents.
pub(crate) fn plan(image: &[u8]) -> Plan {
    let Ok(file) = ElfFile64::<Endianness>::parse(image) else { return Plan::default() };
    let mut plan = Plan::default();
    let mut entries = [None; CLOCKS];
    for symbol in file.dynamic_symbols() {
        let Some(index) = FUNCTIONS.iter().position(|(name, _)| symbol.name() == Ok(name)) else {
            continue;
        };
        let (offset, number) = (symbol.address(), FUNCTIONS[index].1);
        if let Some(entry) = entries.get_mut(index) {
            *entry = Some(offset);
        }
        if number == u32::MAX {
            // getrandom's state lives in user memory that the kernel may drop: refused, so that libc falls back.
            plan.patches.push((offset, [&[0xb8], &(-libc::ENOSYS).to_le_bytes()[..], &[0xc3]].concat()));
            continue;
        }
        // mov eax, number; syscall; ret 0: the last two are as long as the jump of a hook.
        let call = [&[0xb8], &number.to_le_bytes()[..], &SYSCALL, &RETURN].concat();
        plan.patches.push((offset, call));
        plan.syscall = Some(offset + MOV_BYTES);
    }
    plan.patches.retain(|(offset, bytes)| offset.saturating_add(bytes.len() as u64) <= image.len() as u64);
    if let [Some(clock_gettime), Some(gettimeofday), Some(time)] = entries
        && let Some((clocks, patches)) = keep(image, [clock_gettime, gettimeofday, time], &plan.patches)
    {
        plan.clocks = Some(clocks);
        plan.patches.extend(patches);
    }
    plan
}

/// Plans how functions that are overwritten can still be called. `None` where they do something unexpected.
fn keep(image: &[u8], entries: [u64; CLOCKS], overwritten: &[Patch]) -> Option<(Clocks, Vec<Patch>)> {
    let mut code = BTreeMap::new();
    for entry in entries {
        walk(image, entry, &mut code)?;
    }
    let mut room = unused_end(image)?;
    let mut clocks = Clocks::default();
    let mut patches = Vec::new();
    for (index, entry) in entries.into_iter().enumerate() {
        let (_, bytes) = overwritten.iter().find(|(offset, _)| *offset == entry)?;
        let displaced = displace(&mut code, entry, bytes.len() as u64)?;
        let copy = encode(&displaced, room)?;
        let end = room + copy.len() as u64;
        clocks.entries[index] = room;
        clocks.code.push(room..end);
        patches.push((room, copy));
        room = end.next_multiple_of(ALIGNMENT);
    }
    (room <= image.len() as u64).then_some(())?;
    for (offset, instruction) in &code {
        let end = offset + instruction.len() as u64;
        let touches = |(start, bytes): &Patch| *start < end && *offset < start + bytes.len() as u64;
        // A branch back into what has been displaced leads to no known instruction now.
        if overwritten.iter().any(touches)
            || branch_of(instruction).is_some_and(|target| !code.contains_key(&target))
        {
            return None;
        }
        if instruction.code() == Code::Syscall {
            // Two bytes of NOP.
            patches.push((*offset, vec![0x66, 0x90]));
        }
        match clocks.code.last_mut() {
            Some(last) if last.end == *offset => last.end = end,
            _ => clocks.code.push(*offset..end),
        }
    }
    Some((clocks, patches))
}

/// Follows the code from an entry. `None` when it does what the agent must not do.
fn walk(image: &[u8], entry: u64, code: &mut BTreeMap<u64, Instruction>) -> Option<()> {
    let mut factory = InstructionInfoFactory::new();
    let mut queue = vec![entry];
    while let Some(mut offset) = queue.pop() {
        while !code.contains_key(&offset) {
            let bytes = image.get(usize::try_from(offset).ok()?..)?;
            let instruction = Decoder::with_ip(64, bytes, BASE + offset, DecoderOptions::NONE).decode();
            let info = factory.info(&instruction);
            let general = info.used_registers().iter().all(|used| {
                let register = used.register();
                register.is_gpr() || register.is_ip() || matches!(register, Register::SS | Register::DS)
            });
            if instruction.is_invalid() || !general || code.len() > INSTRUCTIONS_MAX {
                return None;
            }
            code.insert(offset, instruction);
            offset += instruction.len() as u64;
            let is_near = branch_of(&instruction).is_some();
            match instruction.flow_control() {
                FlowControl::Next => {}
                FlowControl::Call if instruction.code() == Code::Syscall => {}
                FlowControl::ConditionalBranch | FlowControl::Call if is_near => {
                    queue.extend(branch_of(&instruction));
                }
                FlowControl::UnconditionalBranch if is_near => {
                    queue.extend(branch_of(&instruction));
                    break;
                }
                FlowControl::Return => break,
                _ => return None,
            }
        }
    }
    Some(())
}

/// Where a direct branch leads.
fn branch_of(instruction: &Instruction) -> Option<u64> {
    let is_near = instruction.op_count() > 0 && instruction.op0_kind() == OpKind::NearBranch64;
    is_near.then(|| instruction.near_branch_target().wrapping_sub(BASE))
}

/// Takes the instructions out that the first `len` bytes of a function touch.
fn displace(code: &mut BTreeMap<u64, Instruction>, entry: u64, len: u64) -> Option<Vec<Instruction>> {
    let mut displaced = Vec::new();
    let mut at = entry;
    while at < entry + len {
        let instruction = code.remove(&at)?;
        (instruction.flow_control() == FlowControl::Next).then_some(())?;
        at += instruction.len() as u64;
        displaced.push(instruction);
    }
    let back = Instruction::with_branch(Code::Jmp_rel32_64, BASE + at).ok()?;
    displaced.push(back);
    Some(displaced)
}

fn encode(instructions: &[Instruction], offset: u64) -> Option<Vec<u8>> {
    let block = InstructionBlock::new(instructions, BASE + offset);
    Some(BlockEncoder::encode(64, block, BlockEncoderOptions::NONE).ok()?.code_buffer)
}

/// Where the zeros behind the last of the image's contents begin.
fn unused_end(image: &[u8]) -> Option<u64> {
    /// Offsets in the header of `e_shoff`, `e_shentsize` and `e_shnum` (elf(5)).
    const SECTIONS: (usize, usize, usize) = (0x28, 0x3a, 0x3c);
    let half = |at: usize| Some(u64::from(u16::from_le_bytes(*image.get(at..)?.first_chunk()?)));
    let table = u64::from_le_bytes(*image.get(SECTIONS.0..)?.first_chunk()?);
    let table_end = table.checked_add(half(SECTIONS.1)? * half(SECTIONS.2)?)?;
    let contents_end = image.iter().rposition(|byte| *byte != 0)? as u64 + 1;
    Some(table_end.max(contents_end).next_multiple_of(ALIGNMENT))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use iced_x86::Code;

    use super::{Plan, plan, walk};
    use crate::sys::{maps, memory::Memory};

    /// The vDSO of this process, which nobody has patched.
    fn own() -> Option<Vec<u8>> {
        let process = std::process::id() as i32;
        let maps = maps::read(process).expect("the maps of this process");
        let map = maps.iter().find(|map| map.name == "[vdso]")?;
        let mut image = vec![0; (map.end - map.start) as usize];
        Memory::open(process).and_then(|memory| memory.read(map.start, &mut image)).expect("it can be read");
        Some(image)
    }

    #[test]
    fn the_clocks_of_this_machine_can_be_called_and_never_enter_the_kernel() {
        let Some(mut image) = own() else { return };
        let Plan { patches, clocks, .. } = plan(&image);
        let clocks = clocks.expect("the clocks are of a known kind");
        for (offset, bytes) in &patches {
            image[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        let mut code = BTreeMap::new();
        for entry in clocks.entries {
            walk(&image, entry, &mut code).expect("harmless code");
        }
        assert!(code.len() > 50, "{} instructions", code.len());
        assert!(code.values().all(|instruction| instruction.code() != Code::Syscall));
        for offset in code.keys() {
            assert!(clocks.code.iter().any(|range| range.contains(offset)), "{offset:#x}");
        }
    }

    #[test]
    fn what_is_no_vdso_is_left_alone() {
        let Some(image) = own() else { return };
        for len in [0, 1, 64, 0x200, 0x700] {
            let plan = plan(&image[..len.min(image.len())]);
            assert!(plan.clocks.is_none());
        }
        assert!(plan(&[0; 4096]).patches.is_empty());
    }

    #[test]
    fn without_room_behind_it_the_clocks_are_not_kept() {
        let Some(mut image) = own() else { return };
        if let Some(last) = image.last_mut() {
            *last = 1;
        }
        let plan = plan(&image);
        assert!(plan.clocks.is_none() && !plan.patches.is_empty());
    }
}
