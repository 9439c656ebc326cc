//! DWARF expressions: where a variable is, or what it is worth, in a frame.

use crate::calls::{CallSite, Target, single_register};
use crate::debug::DieAt;
use crate::image::R;
use crate::memory::{self, Memory};
use crate::module::{Module, ModuleDie};
use crate::registers::Registers;
use gimli::constants as dw;
use gimli::{AttributeValue, EndianSlice, Expression, LittleEndian, Value as DwarfValue, ValueType};
use std::sync::Arc;

/// Operations of one expression at most.
const OPERATIONS_MAX: u32 = 10_000;
/// Expressions that ask for other expressions.
const DEPTH_MAX: u32 = 8;
/// The largest variable put together from pieces.
const PIECES_BYTES_MAX: u64 = 1 << 20;

/// Why something has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The compiler kept no location for this place in the code.
    #[error("<optimized out>")]
    OptimizedOut,
    /// The location is known, but a register or memory is not.
    #[error("<not available: {0}>")]
    NotAvailable(String),
}

impl From<memory::Unreadable> for Missing {
    fn from(error: memory::Unreadable) -> Self {
        Self::NotAvailable(error.to_string())
    }
}

impl From<gimli::Error> for Missing {
    fn from(error: gimli::Error) -> Self {
        Self::NotAvailable(format!("bad DWARF expression: {error}"))
    }
}

/// Where a variable's bytes are.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Memory(u64),
    /// Contents, the parts of it that are missing, and the register that holds it when it is a single one.
    Bytes {
        bytes: Vec<u8>,
        holes: Vec<std::ops::Range<usize>>,
        register: Option<u16>,
    },
}

/// The frame that called the present one.
pub(crate) struct Caller<'a> {
    pub(crate) registers: &'a Registers,
    /// The return address.
    pub(crate) pc: u64,
    pub(crate) module: Arc<Module>,
}

/// What an expression may ask for.
pub(crate) struct Machine<'a> {
    pub(crate) memory: &'a dyn Memory,
    pub(crate) registers: Option<&'a Registers>,
    pub(crate) pc: Option<u64>,
    pub(crate) cfa: Option<u64>,
    /// The function around, whose `DW_AT_frame_base` counts.
    pub(crate) function: Option<ModuleDie>,
    /// For values at entry.
    pub(crate) caller: Option<Caller<'a>>,
    pub(crate) executable: bool,
}

impl Machine<'_> {
    /// The place of the variable that `die` describes.
    pub(crate) fn variable(&self, module: &Arc<Module>, at: DieAt, size: u64) -> Result<Place, Missing> {
        let debug = module.debug().ok_or(Missing::OptimizedOut)?;
        if let Some((at, value)) = debug.inherited(at, dw::DW_AT_location) {
            let expression = self.expression(module, at.unit, value)?;
            return self.place(module, at.unit, expression, size, 0);
        }
        let (_, value) = debug.inherited(at, dw::DW_AT_const_value).ok_or(Missing::OptimizedOut)?;
        constant(value, size).ok_or(Missing::OptimizedOut)
    }

    fn expression(
        &self,
        module: &Module,
        unit: u32,
        value: AttributeValue<R>,
    ) -> Result<Expression<R>, Missing> {
        expression_at(module, unit, value, self.pc)
    }

    fn place(
        &self,
        module: &Arc<Module>,
        unit: u32,
        expression: Expression<R>,
        size: u64,
        depth: u32,
    ) -> Result<Place, Missing> {
        let pieces = self.evaluate(module, unit, expression, None, depth)?;
        match pieces.as_slice() {
            [] => Err(Missing::OptimizedOut),
            [piece] if piece.size_in_bits.is_none() => match piece.location {
                gimli::Location::Address { address } => Ok(Place::Memory(address)),
                _ => self.bytes(&pieces, size),
            },
            _ => self.bytes(&pieces, size),
        }
    }

    /// Puts a value together from its pieces; what is missing becomes a hole.
    fn bytes(&self, pieces: &[gimli::Piece<R>], size: u64) -> Result<Place, Missing> {
        let mut bytes = Vec::new();
        let mut holes = Vec::new();
        let mut register = None;
        for piece in pieces {
            let room = size.saturating_sub(bytes.len() as u64).min(PIECES_BYTES_MAX);
            let want = piece.size_in_bits.map_or(room, |bits| bits.div_ceil(8)).min(room) as usize;
            let skip = piece.bit_offset.unwrap_or(0) as usize / 8;
            let start = bytes.len();
            match self.piece(&piece.location, skip, want) {
                Ok(part) => bytes.extend(part),
                Err(Missing::OptimizedOut) if pieces.len() > 1 => holes.push(start..start + want),
                Err(missing) => return Err(missing),
            }
            bytes.resize(start + want, 0);
            if let (gimli::Location::Register { register: number }, 1) = (&piece.location, pieces.len()) {
                register = Some(number.0);
            }
        }
        bytes.resize(size.min(PIECES_BYTES_MAX) as usize, 0);
        if holes.iter().map(ExactSizeIterator::len).sum::<usize>() == bytes.len() && !bytes.is_empty() {
            return Err(Missing::OptimizedOut);
        }
        Ok(Place::Bytes { bytes, holes, register })
    }

    fn piece(&self, location: &gimli::Location<R>, skip: usize, size: usize) -> Result<Vec<u8>, Missing> {
        let cut = |bytes: &[u8]| -> Vec<u8> { bytes.iter().skip(skip).take(size).copied().collect() };
        match *location {
            gimli::Location::Empty | gimli::Location::ImplicitPointer { .. } => Err(Missing::OptimizedOut),
            gimli::Location::Register { register } => Ok(cut(&self.register_wide(register.0)?.to_le_bytes())),
            gimli::Location::Address { address } => {
                Ok(memory::read_bytes(self.memory, address.wrapping_add(skip as u64), size)?)
            }
            gimli::Location::Value { value } => Ok(cut(&value_bytes(value))),
            gimli::Location::Bytes { value } => Ok(cut(value.slice())),
        }
    }

    fn register(&self, number: u16) -> Result<u64, Missing> {
        self.register_wide(number).map(|value| value as u64)
    }

    fn register_wide(&self, number: u16) -> Result<u128, Missing> {
        let registers = self.registers.ok_or_else(|| Missing::NotAvailable("no registers".into()))?;
        let value = registers.get_wide(number);
        value.ok_or_else(|| Missing::NotAvailable(format!("register {number} was not saved")))
    }

    /// Runs an expression to its end, answering what it asks for.
    pub(crate) fn evaluate(
        &self,
        module: &Arc<Module>,
        unit: u32,
        expression: Expression<R>,
        initial: Option<u64>,
        depth: u32,
    ) -> Result<Vec<gimli::Piece<R>>, Missing> {
        if depth > DEPTH_MAX {
            return Err(Missing::NotAvailable("expressions nested too deeply".into()));
        }
        let debug = module.debug().ok_or(Missing::OptimizedOut)?;
        let parsed = debug.unit(unit).ok_or(Missing::OptimizedOut)?;
        let mut evaluation = expression.evaluation(parsed.encoding());
        evaluation.set_max_iterations(OPERATIONS_MAX);
        if let Some(value) = initial {
            evaluation.set_initial_value(value);
        }
        let ask = Ask { machine: self, module, unit, depth };
        let mut state = evaluation.evaluate()?;
        while !matches!(state, gimli::EvaluationResult::Complete) {
            state = ask.answer(&mut evaluation, state)?;
        }
        Ok(evaluation.result())
    }

    fn frame_base(&self, depth: u32) -> Result<u64, Missing> {
        let function = self.function.as_ref().ok_or(Missing::OptimizedOut)?;
        let debug = function.module.debug().ok_or(Missing::OptimizedOut)?;
        let (at, value) = debug.inherited(function.at, dw::DW_AT_frame_base).ok_or(Missing::OptimizedOut)?;
        let expression = self.expression(&function.module, at.unit, value)?;
        let pieces = self.evaluate(&function.module, at.unit, expression, None, depth)?;
        match pieces.first().map(|piece| &piece.location) {
            Some(gimli::Location::Address { address }) => Ok(*address),
            Some(gimli::Location::Register { register }) => self.register(register.0),
            Some(gimli::Location::Value { value }) => Ok(value.to_u64(u64::MAX)?),
            _ => Err(Missing::OptimizedOut),
        }
    }

    /// Local storage of the main executable ends at the thread's base; other modules need the thread library.
    fn tls(&self, module: &Module, offset: u64) -> Result<u64, Missing> {
        let not = |why: &str| Missing::NotAvailable(why.into());
        let base = self.registers.and_then(|registers| registers.fs_base).ok_or_else(|| not("fs_base"))?;
        let tls = module.image.tls.ok_or_else(|| not("no thread-local segment"))?;
        if !self.executable {
            return Err(not("thread-local storage of a shared library"));
        }
        let size =
            tls.size.checked_next_multiple_of(tls.align).ok_or_else(|| not("bad thread-local segment"))?;
        Ok(base.wrapping_sub(size).wrapping_add(offset))
    }

    /// The value a register had at entry, as the caller's call site tells it.
    fn entry_value(&self, expression: &Expression<R>, depth: u32) -> Result<DwarfValue, Missing> {
        let register = single_register(expression).ok_or(Missing::OptimizedOut)?;
        let caller = self.caller.as_ref().ok_or(Missing::OptimizedOut)?;
        let function = self.function.as_ref().ok_or(Missing::OptimizedOut)?;
        let module = &caller.module;
        let site = CallSite::returning_to(module, caller.pc).ok_or(Missing::OptimizedOut)?;
        let machine = Machine {
            memory: self.memory,
            registers: Some(caller.registers),
            pc: Some(caller.pc.wrapping_sub(1)),
            cfa: None,
            function: None,
            caller: None,
            executable: self.executable,
        };
        // What was passed to another function, which went on to this one, is not what this one was given.
        let direct = match site.target() {
            Target::Function(called) => site.means(called, function),
            Target::Computed(unit, expression) => {
                let address = machine.evaluate(module, unit, expression, None, depth + 1)?;
                let entry = function_entry(function);
                address.first().is_some_and(|piece| entry.is_some() && address_of(&machine, piece) == entry)
            }
            Target::Unknown => false,
        };
        let (unit, expression) = site.value(register).filter(|_| direct).ok_or(Missing::OptimizedOut)?;
        let pieces = machine.evaluate(module, unit, expression, None, depth + 1)?;
        match pieces.first().map(|piece| &piece.location) {
            Some(gimli::Location::Value { value }) => Ok(*value),
            Some(gimli::Location::Address { address }) => Ok(DwarfValue::Generic(*address)),
            Some(gimli::Location::Register { register }) => {
                Ok(DwarfValue::Generic(machine.register(register.0)?))
            }
            _ => Err(Missing::OptimizedOut),
        }
    }
}

/// The expression of an attribute: itself, or the entry of its location list that covers the pc.
pub(crate) fn expression_at(
    module: &Module,
    unit: u32,
    value: AttributeValue<R>,
    pc: Option<u64>,
) -> Result<Expression<R>, Missing> {
    match value {
        AttributeValue::Exprloc(expression) => return Ok(expression),
        AttributeValue::Block(bytes) => return Ok(Expression(bytes)),
        _ => {}
    }
    let debug = module.debug().ok_or(Missing::OptimizedOut)?;
    let pc = module.to_file(pc.ok_or(Missing::OptimizedOut)?);
    let part = debug.part(unit).ok_or(Missing::OptimizedOut)?;
    let list = part.dwarf.attr_locations(part.unit, value)?;
    let mut list = list.ok_or(Missing::OptimizedOut)?;
    while let Some(entry) = list.next()? {
        if entry.range.begin <= pc && pc < entry.range.end {
            return Ok(entry.data);
        }
    }
    Err(Missing::OptimizedOut)
}

/// One expression's questions.
struct Ask<'a, 'b> {
    machine: &'a Machine<'b>,
    module: &'a Arc<Module>,
    unit: u32,
    depth: u32,
}

impl Ask<'_, '_> {
    fn answer(
        &self,
        evaluation: &mut gimli::Evaluation<R>,
        state: gimli::EvaluationResult<R>,
    ) -> Result<gimli::EvaluationResult<R>, Missing> {
        use gimli::EvaluationResult as Wants;
        let machine = self.machine;
        let next = match state {
            Wants::RequiresMemory { address, size, base_type, .. } => {
                let word = memory::read_uint(machine.memory, address, usize::from(size))?;
                evaluation.resume_with_memory(self.typed(base_type, u128::from(word))?)?
            }
            Wants::RequiresRegister { register, base_type } => {
                let value = machine.register_wide(register.0)?;
                evaluation.resume_with_register(self.typed(base_type, value)?)?
            }
            Wants::RequiresFrameBase => {
                evaluation.resume_with_frame_base(machine.frame_base(self.depth + 1)?)?
            }
            Wants::RequiresCallFrameCfa => {
                let cfa = machine.cfa.ok_or_else(|| Missing::NotAvailable("no frame address".into()))?;
                evaluation.resume_with_call_frame_cfa(cfa)?
            }
            Wants::RequiresTls(offset) => evaluation.resume_with_tls(machine.tls(self.module, offset)?)?,
            // The linker dropped the variable and left its address as 0.
            Wants::RequiresRelocatedAddress(0) => return Err(Missing::OptimizedOut),
            Wants::RequiresRelocatedAddress(address) => {
                evaluation.resume_with_relocated_address(self.module.to_runtime(address))?
            }
            Wants::RequiresIndexedAddress { index, relocate } => {
                let address = self.indexed(index)?;
                let address = if relocate { self.module.to_runtime(address) } else { address };
                evaluation.resume_with_indexed_address(address)?
            }
            Wants::RequiresEntryValue(expression) => {
                evaluation.resume_with_entry_value(machine.entry_value(&expression, self.depth)?)?
            }
            Wants::RequiresBaseType(offset) => evaluation.resume_with_base_type(self.value_type(offset)?)?,
            Wants::RequiresAtLocation(reference) => {
                evaluation.resume_with_at_location(self.called(reference)?)?
            }
            _ => return Err(Missing::OptimizedOut),
        };
        Ok(next)
    }

    fn indexed(&self, index: gimli::DebugAddrIndex) -> Result<u64, Missing> {
        let debug = self.module.debug().ok_or(Missing::OptimizedOut)?;
        let part = debug.part(self.unit).ok_or(Missing::OptimizedOut)?;
        Ok(part.dwarf.address(part.unit, index)?)
    }

    fn called(&self, reference: gimli::DieReference) -> Result<R, Missing> {
        let debug = self.module.debug().ok_or(Missing::OptimizedOut)?;
        let value = match reference {
            gimli::DieReference::UnitRef(offset) => AttributeValue::UnitRef(offset),
            gimli::DieReference::DebugInfoRef(offset) => AttributeValue::DebugInfoRef(offset),
        };
        let at = debug.target(self.unit, value).ok_or(Missing::OptimizedOut)?;
        let location = debug.die(at).and_then(|die| die.attr_value(dw::DW_AT_location));
        let Some(value) = location else { return Ok(EndianSlice::new(&[], LittleEndian)) };
        Ok(self.machine.expression(self.module, at.unit, value)?.0)
    }

    fn value_type(&self, offset: gimli::UnitOffset) -> Result<ValueType, Missing> {
        if offset.0 == 0 {
            return Ok(ValueType::Generic);
        }
        let debug = self.module.debug().ok_or(Missing::OptimizedOut)?;
        let die = debug.die(DieAt { unit: self.unit, offset }).ok_or(Missing::OptimizedOut)?;
        let size = die.attr_value(dw::DW_AT_byte_size).and_then(|value| value.udata_value());
        let encoding = match die.attr_value(dw::DW_AT_encoding) {
            Some(AttributeValue::Encoding(encoding)) => encoding,
            _ => return Err(Missing::OptimizedOut),
        };
        size.and_then(|size| ValueType::from_encoding(encoding, size)).ok_or(Missing::OptimizedOut)
    }

    fn typed(&self, base_type: gimli::UnitOffset, value: u128) -> Result<DwarfValue, Missing> {
        let kind = self.value_type(base_type)?;
        let bytes = value.to_le_bytes();
        Ok(DwarfValue::parse(kind, EndianSlice::new(&bytes, LittleEndian))
            .unwrap_or(DwarfValue::Generic(value as u64)))
    }
}

fn function_entry(function: &ModuleDie) -> Option<u64> {
    let debug = function.module.debug()?;
    let die = debug.die(function.at)?;
    let (entry, _) = debug.die_ranges(function.at.unit, &die).first().copied()?;
    Some(function.module.to_runtime(entry))
}

fn address_of(machine: &Machine<'_>, piece: &gimli::Piece<R>) -> Option<u64> {
    match &piece.location {
        gimli::Location::Value { value } => value.to_u64(u64::MAX).ok(),
        gimli::Location::Address { address } => Some(*address),
        gimli::Location::Register { register } => machine.register(register.0).ok(),
        _ => None,
    }
}

fn constant(value: AttributeValue<R>, size: u64) -> Option<Place> {
    let mut bytes = match value {
        AttributeValue::Block(bytes) => bytes.slice().to_vec(),
        AttributeValue::String(text) => text.slice().to_vec(),
        AttributeValue::Data16(value) => value.to_le_bytes().to_vec(),
        AttributeValue::Udata(value) => u128::from(value).to_le_bytes().to_vec(),
        other => i128::from(other.sdata_value()?).to_le_bytes().to_vec(),
    };
    bytes.resize(size.min(PIECES_BYTES_MAX) as usize, 0);
    Some(Place::Bytes { bytes, holes: Vec::new(), register: None })
}

fn value_bytes(value: DwarfValue) -> [u8; 16] {
    let wide: i128 = match value {
        DwarfValue::Generic(value) | DwarfValue::U64(value) => i128::from(value),
        DwarfValue::I8(value) => i128::from(value),
        DwarfValue::U8(value) => i128::from(value),
        DwarfValue::I16(value) => i128::from(value),
        DwarfValue::U16(value) => i128::from(value),
        DwarfValue::I32(value) => i128::from(value),
        DwarfValue::U32(value) => i128::from(value),
        DwarfValue::I64(value) => i128::from(value),
        DwarfValue::F32(value) => i128::from(value.to_bits()),
        DwarfValue::F64(value) => i128::from(value.to_bits()),
    };
    wide.to_le_bytes()
}
