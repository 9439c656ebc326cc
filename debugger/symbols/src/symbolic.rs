//! Where a variable is, as a function of registers that are not known yet: DWARF expressions evaluated with symbols in
//! place of numbers. What the few operations of ordinary code cannot say has no answer.

use crate::debug::Debug;
use crate::expr::{Arithmetic, Word};
use crate::frames::Frame;
use crate::image::R;
use crate::location;
use crate::module::{Module, ModuleDie};
use crate::unwind;
use gimli::constants as dw;
use gimli::{AttributeValue, Expression, Operation};

/// Operations of one expression.
const OPERATIONS_MAX: usize = 64;

/// Where a variable is.
pub(crate) enum Spot {
    /// In memory at this address.
    Memory(Word),
    /// This is its value, in the low bytes.
    Number(Word),
}

impl Spot {
    fn word(self) -> Word {
        match self {
            Self::Memory(word) | Self::Number(word) => word,
        }
    }
}

/// The place of the variable that `die` describes, at the frame's pc.
pub(crate) fn spot(frame: &Frame, die: &ModuleDie) -> Option<Spot> {
    let debug = die.module.debug()?;
    if let Some((at, value)) = debug.inherited(die.at, dw::DW_AT_location) {
        let expression = location::expression_at(&die.module, at.unit, value, Some(frame.lookup_pc)).ok()?;
        return evaluate(frame, &die.module, at.unit, expression, true);
    }
    match debug.inherited(die.at, dw::DW_AT_const_value)?.1 {
        AttributeValue::Udata(number) => Some(Spot::Number(Word::Constant(number))),
        other => Some(Spot::Number(Word::Constant(other.sdata_value()? as u64))),
    }
}

/// `with_base`: the expression may ask for the frame base, which may not ask for itself.
fn evaluate(
    frame: &Frame,
    module: &Module,
    unit: u32,
    expression: Expression<R>,
    with_base: bool,
) -> Option<Spot> {
    let debug = module.debug()?;
    let mut operations = expression.operations(debug.unit(unit)?.encoding());
    let mut stack: Vec<Word> = Vec::new();
    let mut count = 0;
    while let Some(operation) = operations.next().ok()? {
        count += 1;
        if count > OPERATIONS_MAX {
            return None;
        }
        let word = match operation {
            Operation::Register { register } if count == 1 => {
                return operations.next().ok()?.is_none().then_some(Spot::Number(general(register.0)?));
            }
            Operation::StackValue => {
                return operations.next().ok()?.is_none().then_some(Spot::Number(stack.pop()?));
            }
            Operation::FrameOffset { offset } if with_base => frame_base(frame)?.plus(offset as u64),
            Operation::RegisterOffset { register, offset, base_type } if base_type.0 == 0 => {
                general(register.0)?.plus(offset as u64)
            }
            Operation::CallFrameCFA => cfa(frame)?,
            // The linker dropped the variable and left its address as 0.
            Operation::Address { address } if address != 0 => Word::Constant(module.to_runtime(address)),
            Operation::AddressIndex { index } => {
                Word::Constant(module.to_runtime(indexed(debug, unit, index)?))
            }
            Operation::UnsignedConstant { value } => Word::Constant(value),
            Operation::SignedConstant { value } => Word::Constant(value as u64),
            Operation::PlusConstant { value } => stack.pop()?.plus(value),
            Operation::Plus => binary(&mut stack, Arithmetic::Add)?,
            Operation::Minus => binary(&mut stack, Arithmetic::Subtract)?,
            Operation::Mul => binary(&mut stack, Arithmetic::Multiply)?,
            Operation::And => binary(&mut stack, Arithmetic::And)?,
            Operation::Deref { base_type, size: 8, space: false } if base_type.0 == 0 => {
                stack.pop()?.load(8, false)
            }
            _ => return None,
        };
        stack.push(word);
    }
    stack.pop().map(Spot::Memory)
}

fn general(number: u16) -> Option<Word> {
    (number < 16).then_some(Word::Register(number))
}

fn binary(stack: &mut Vec<Word>, operation: Arithmetic) -> Option<Word> {
    let right = stack.pop()?;
    Some(stack.pop()?.combined(operation, right))
}

fn indexed(debug: &Debug, unit: u32, index: gimli::DebugAddrIndex) -> Option<u64> {
    let part = debug.part(unit)?;
    part.dwarf.address(part.unit, index).ok()
}

fn cfa(frame: &Frame) -> Option<Word> {
    let module = frame.module()?;
    let (register, offset) = unwind::cfa_rule(module, frame.lookup_pc)?;
    Some(general(register)?.plus(offset as u64))
}

fn frame_base(frame: &Frame) -> Option<Word> {
    let function = frame.physical.as_ref()?;
    let debug = function.module.debug()?;
    let (at, value) = debug.inherited(function.at, dw::DW_AT_frame_base)?;
    let expression = location::expression_at(&function.module, at.unit, value, Some(frame.lookup_pc)).ok()?;
    Some(evaluate(frame, &function.module, at.unit, expression, false)?.word())
}
