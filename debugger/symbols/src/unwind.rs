//! One step from a frame to its caller, by call frame information, else by frame pointer or the shape of a
//! prologue. All registers that the callee saved come back.

use crate::image::R;
use crate::location::Missing;
use crate::memory::{self, Memory};
use crate::module::Module;
use crate::prologue;
use crate::registers::{RBP, RIP, RSP, Registers};
use crate::symbols::Symbols;
use gimli::{
    BaseAddresses, CfaRule, EndianSlice, Expression, FrameDescriptionEntry, LittleEndian, RegisterRule,
    UnwindContext, UnwindSection,
};

/// Registers that a callee must save; when the rules do not name one, it has not changed.
const CALLEE_SAVED: [u16; 6] = [3, RBP, 12, 13, 14, 15];
const OPERATIONS_MAX: u32 = 10_000;
const ENCODING: gimli::Encoding =
    gimli::Encoding { address_size: 8, format: gimli::Format::Dwarf32, version: 4 };

/// The caller's registers, and what was learnt about the callee on the way.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) caller: Registers,
    pub(crate) cfa: u64,
    /// The frame was set up by the kernel for a signal handler: its caller's pc is exact.
    pub(crate) signal: bool,
}

/// Unwinds one frame. `exact` tells that the pc is the next instruction to run, not a return address.
pub(crate) fn step(
    symbols: &Symbols,
    registers: &Registers,
    memory: &dyn Memory,
    exact: bool,
) -> Option<Step> {
    let pc = registers.pc()?;
    let lookup = if exact { pc } else { pc.wrapping_sub(1) };
    let described = symbols.module_at(lookup).and_then(|module| by_rules(module, lookup, registers, memory));
    // A signal trampoline's information begins at its own first byte, where pc - 1 finds nothing.
    let described = described.or_else(|| {
        let module = symbols.module_at(pc).filter(|_| !exact)?;
        by_rules(module, pc, registers, memory).filter(|step| step.signal)
    });
    described
        .or_else(|| trampoline(registers, memory))
        .or_else(|| by_shape(symbols, registers, memory, exact))
}

fn by_rules(module: &Module, lookup: u64, registers: &Registers, memory: &dyn Memory) -> Option<Step> {
    let address = module.to_file(lookup);
    let bases = bases(module);
    let step = in_eh_frame(module, &bases, address)
        .and_then(|(eh_frame, fde)| apply(&eh_frame, &fde, &bases, module, address, registers, memory));
    if step.is_some() {
        return step;
    }
    let (debug_frame, fde) = in_debug_frame(module, &bases, address)?;
    apply(&debug_frame, &fde, &bases, module, address, registers, memory)
}

/// How the canonical frame address is computed at a place of a function: a register and what is added to it.
pub(crate) fn cfa_rule(module: &Module, lookup: u64) -> Option<(u16, i64)> {
    let address = module.to_file(lookup);
    let bases = bases(module);
    if let Some((eh_frame, fde)) = in_eh_frame(module, &bases, address) {
        return rule_of(&eh_frame, &fde, &bases, address);
    }
    let (debug_frame, fde) = in_debug_frame(module, &bases, address)?;
    rule_of(&debug_frame, &fde, &bases, address)
}

fn rule_of<S: UnwindSection<R>>(
    section: &S,
    fde: &FrameDescriptionEntry<R>,
    bases: &BaseAddresses,
    address: u64,
) -> Option<(u16, i64)> {
    let mut context = UnwindContext::new();
    let row = fde.unwind_info_for_address(section, bases, &mut context, address).ok()?;
    match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => Some((register.0, *offset)),
        CfaRule::Expression(_) => None,
    }
}

fn bases(module: &Module) -> BaseAddresses {
    let address = |name| module.image.section(name).map_or(0, |section| section.address);
    BaseAddresses::default()
        .set_eh_frame(address(".eh_frame"))
        .set_eh_frame_hdr(address(".eh_frame_hdr"))
        .set_text(address(".text"))
        .set_got(address(".got"))
}

/// What `.eh_frame` says of an address, and the section.
fn in_eh_frame(
    module: &Module,
    bases: &BaseAddresses,
    address: u64,
) -> Option<(gimli::EhFrame<R>, FrameDescriptionEntry<R>)> {
    let section = module.image.section(".eh_frame")?;
    let eh_frame = gimli::EhFrame::from(EndianSlice::new(section.data, LittleEndian));
    let fde = fde_by_header(module, &eh_frame, bases, address)
        .or_else(|| eh_frame.fde_for_address(bases, address, gimli::EhFrame::cie_from_offset).ok())?;
    Some((eh_frame, fde))
}

/// What `.debug_frame` says of an address, and the section.
fn in_debug_frame(
    module: &Module,
    bases: &BaseAddresses,
    address: u64,
) -> Option<(gimli::DebugFrame<R>, FrameDescriptionEntry<R>)> {
    let section = module.image.section(".debug_frame")?;
    let mut debug_frame = gimli::DebugFrame::from(EndianSlice::new(section.data, LittleEndian));
    debug_frame.set_address_size(8);
    let fde = debug_frame.fde_for_address(bases, address, gimli::DebugFrame::cie_from_offset).ok()?;
    Some((debug_frame, fde))
}

fn fde_by_header(
    module: &Module,
    eh_frame: &gimli::EhFrame<R>,
    bases: &BaseAddresses,
    address: u64,
) -> Option<FrameDescriptionEntry<R>> {
    let section = module.image.section(".eh_frame_hdr")?;
    let header = gimli::EhFrameHdr::from(EndianSlice::new(section.data, LittleEndian));
    let header = header.parse(bases, 8).ok()?;
    // Not gimli's own `fde_for_address`: it subtracts without a check when the table points before `.eh_frame`.
    let at = header.table()?.lookup(address, bases).ok()?.direct().ok()?;
    let offset = usize::try_from(at.checked_sub(bases.eh_frame.section?)?).ok()?;
    let fde = eh_frame.fde_from_offset(bases, offset.into(), gimli::EhFrame::cie_from_offset).ok()?;
    fde.contains(address).then_some(fde)
}

fn apply<S: UnwindSection<R>>(
    section: &S,
    fde: &FrameDescriptionEntry<R>,
    bases: &BaseAddresses,
    module: &Module,
    address: u64,
    registers: &Registers,
    memory: &dyn Memory,
) -> Option<Step> {
    let mut context = UnwindContext::new();
    let row = fde.unwind_info_for_address(section, bases, &mut context, address).ok()?;
    let run = |expression: Expression<R>, initial: Option<u64>| {
        evaluate(module, registers, memory, expression, initial).ok()
    };
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => {
            registers.get(register.0)?.wrapping_add_signed(*offset)
        }
        CfaRule::Expression(expression) => run(expression.get(section).ok()?, None)?,
    };
    let mut caller =
        Registers { fs_base: registers.fs_base, gs_base: registers.gs_base, ..Registers::default() };
    for number in CALLEE_SAVED {
        caller.set(number, registers.get(number));
    }
    caller.set(RSP, Some(cfa));
    for (register, rule) in row.registers() {
        let expression =
            |expression: &gimli::UnwindExpression<usize>| run(expression.get(section).ok()?, Some(cfa));
        let load = |address: u64| memory::read_u64(memory, address).ok();
        let value = match rule {
            RegisterRule::Offset(offset) => load(cfa.wrapping_add_signed(*offset)),
            RegisterRule::ValOffset(offset) => Some(cfa.wrapping_add_signed(*offset)),
            RegisterRule::Register(other) => registers.get(other.0),
            RegisterRule::SameValue => registers.get(register.0),
            RegisterRule::Expression(at) => expression(at).and_then(load),
            RegisterRule::ValExpression(value) => expression(value),
            RegisterRule::Constant(value) => Some(*value),
            _ => None,
        };
        caller.set(register.0, value);
    }
    let return_register = fde.cie().return_address_register().0;
    if return_register != RIP {
        caller.set(RIP, caller.get(return_register));
    }
    Some(Step { caller, cfa, signal: fde.is_signal_trampoline() })
}

/// Expressions of frame information use registers and memory, nothing of a unit.
fn evaluate(
    module: &Module,
    registers: &Registers,
    memory: &dyn Memory,
    expression: Expression<R>,
    initial: Option<u64>,
) -> Result<u64, Missing> {
    use gimli::EvaluationResult as Wants;
    let missing = || Missing::NotAvailable("register".into());
    let mut evaluation = expression.evaluation(ENCODING);
    evaluation.set_max_iterations(OPERATIONS_MAX);
    if let Some(initial) = initial {
        evaluation.set_initial_value(initial);
    }
    let mut state = evaluation.evaluate()?;
    loop {
        state = match state {
            Wants::Complete => break,
            Wants::RequiresMemory { address, size, .. } => {
                let word = memory::read_uint(memory, address, usize::from(size))?;
                evaluation.resume_with_memory(gimli::Value::Generic(word))?
            }
            Wants::RequiresRegister { register, .. } => {
                let value = registers.get(register.0).ok_or_else(missing)?;
                evaluation.resume_with_register(gimli::Value::Generic(value))?
            }
            Wants::RequiresRelocatedAddress(address) => {
                evaluation.resume_with_relocated_address(module.to_runtime(address))?
            }
            _ => return Err(Missing::OptimizedOut),
        };
    }
    match evaluation.result().first().map(|piece| &piece.location) {
        Some(gimli::Location::Address { address }) => Ok(*address),
        Some(gimli::Location::Value { value }) => Ok(value.to_u64(u64::MAX)?),
        Some(gimli::Location::Register { register }) => registers.get(register.0).ok_or_else(missing),
        _ => Err(Missing::OptimizedOut),
    }
}

/// `mov $15,%rax; syscall`: a signal's return path without frame information. The kernel's frame holds all
/// registers at fixed offsets from the stack pointer (`struct rt_sigframe` after its return address is popped).
fn trampoline(registers: &Registers, memory: &dyn Memory) -> Option<Step> {
    let code = memory::read_bytes(memory, registers.pc()?, 9).ok()?;
    if code != [0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05] {
        return None;
    }
    // ucontext: flags, link, stack (24 bytes), then r8 r9 … r15 rdi rsi rbp rbx rdx rax rcx rsp rip eflags.
    const ORDER: [u16; 17] = [8, 9, 10, 11, 12, 13, 14, 15, 5, 4, RBP, 3, 1, 0, 2, RSP, RIP];
    let cfa = registers.sp()?;
    let mut caller =
        Registers { fs_base: registers.fs_base, gs_base: registers.gs_base, ..Registers::default() };
    for (index, number) in ORDER.into_iter().enumerate() {
        let value = memory::read_u64(memory, cfa.wrapping_add(40 + 8 * index as u64)).ok()?;
        caller.set(number, Some(value));
    }
    Some(Step { caller, cfa, signal: true })
}

/// Without frame information: at a function's entry the return address is on top of the stack; else trust the
/// frame pointer when what it points to looks like a frame.
fn by_shape(symbols: &Symbols, registers: &Registers, memory: &dyn Memory, exact: bool) -> Option<Step> {
    let (pc, sp) = (registers.pc()?, registers.sp()?);
    let at_entry = exact && symbols.symbol_at(pc).is_some_and(|(_, offset)| offset == 0);
    let code = symbols.module_at(pc).filter(|_| exact);
    if let Some(above) = code.and_then(|module| prologue::in_linkage_table(module, module.to_file(pc))) {
        return frame_at(symbols, registers, memory, sp.wrapping_add(above), None);
    }
    // A jump to nowhere (a null function pointer) leaves the return address on top too.
    if (at_entry || (exact && symbols.module_at(pc).is_none()))
        && let Some(step) = frame_at(symbols, registers, memory, sp, None)
    {
        return Some(step);
    }
    // The pushes of a prologue tell where the return address is, as long as the stack pointer stays where they put
    // it; a call before the address found there makes it likely.
    let lookup = if exact { pc } else { pc.wrapping_sub(1) };
    let begun = symbols.symbol_at(lookup).and_then(|(_, offset)| {
        let module = symbols.module_at(lookup)?;
        let start = module.to_file(lookup).wrapping_sub(offset);
        prologue::pushed_by(module, start, module.to_file(pc))
    });
    if let Some(pushed) = begun.filter(|pushed| !pushed.framed) {
        let slot = sp.wrapping_add(pushed.bytes);
        let saved = pushed.frame_pointer.map(|at| memory::read_u64(memory, slot.wrapping_sub(at)).ok());
        let certain = |step: &Step| {
            let pc = step.caller.pc().unwrap_or(0);
            symbols.module_at(pc).is_some_and(|module| prologue::follows_call(module, module.to_file(pc)))
        };
        if let Some(step) =
            frame_at(symbols, registers, memory, slot, saved.or(Some(registers.get(RBP)))).filter(certain)
        {
            return Some(step);
        }
    }
    // After `push %rbp` and before `mov %rsp,%rbp` of a function without a symbol.
    let pushed = exact
        && symbols.module_at(pc).is_some_and(|module| {
            let before = module.to_file(pc).wrapping_sub(1);
            module.file_bytes(before, 4) == Some(&[0x55, 0x48, 0x89, 0xe5])
        });
    if pushed {
        let saved = memory::read_u64(memory, sp).ok();
        return frame_at(symbols, registers, memory, sp.wrapping_add(8), Some(saved));
    }
    let fp = registers.get(RBP).filter(|fp| fp % 8 == 0 && *fp >= sp)?;
    let saved = memory::read_u64(memory, fp).ok();
    frame_at(symbols, registers, memory, fp.wrapping_add(8), Some(saved))
}

/// A frame whose return address is at `slot`; `saved` is the caller's frame pointer when it was pushed.
fn frame_at(
    symbols: &Symbols,
    registers: &Registers,
    memory: &dyn Memory,
    slot: u64,
    saved: Option<Option<u64>>,
) -> Option<Step> {
    let return_address = memory::read_u64(memory, slot).ok()?;
    symbols.module_at(return_address)?;
    let mut caller = registers.clone();
    // Only the registers that calls preserve can be trusted, and with a hidden push not even those but rbp.
    for number in 0..17 {
        if !CALLEE_SAVED.contains(&number) || (saved.is_some() && number != RBP) {
            caller.set(number, None);
        }
    }
    caller.xmm = [None; 16];
    caller.rflags = None;
    if let Some(saved) = saved {
        caller.set(RBP, saved);
    }
    let cfa = slot.wrapping_add(8);
    caller.set(RSP, Some(cfa));
    caller.set(RIP, Some(return_address));
    Some(Step { caller, cfa, signal: false })
}
