//! What a function returns, from the registers right behind its return.
//!
//! C and C++ by the System V ABI (AMD64 supplement, 3.2.3): eightbytes of integers in rax and rdx, of floating-point
//! numbers in xmm0 and xmm1, anything else in memory whose address is in rax. Rust's own ABI differs where a value is one
//! scalar or two (`ScalarPair` of rustc's `rustc_abi`): each of them has a register of its own.

use crate::frames::function_of;
use crate::registers::Registers;
use crate::scope::Context;
use crate::types::{Described, Encoding, Kind, Member, Type};
use crate::value::Value;
use gimli::constants as dw;
use std::collections::BTreeSet;

/// Structures inside each other.
const DEPTH_MAX: u32 = 16;

/// Scalars of one value that are looked at.
const LEAVES_MAX: usize = 64;

/// A scalar inside a value: offset, size, and whether it is a floating-point number.
type Leaf = (u64, u64, bool);

impl Context<'_> {
    /// The type that the frame's function returns; `None` for none, or when it is not known.
    pub fn return_type(&self) -> Option<Type> {
        let (module, at) = self.frame.and_then(function_of)?;
        let debug = module.debug()?;
        let (at, value) = debug.inherited(at, dw::DW_AT_type)?;
        let die = crate::module::ModuleDie {
            module: std::sync::Arc::clone(module),
            at: debug.target(at.unit, value)?,
        };
        let ty = Type::described(die);
        (ty.size() > 0).then_some(ty)
    }

    /// The value of this type that a function has just returned. `None` when it is not known where it is.
    pub fn returned(&self, ty: &Type, registers: &Registers) -> Option<Value> {
        let size = ty.size();
        let mut leaves = BTreeSet::new();
        let whole = collect(ty, 0, 0, &mut leaves);
        let in_memory = size > 16 || by_reference(ty) || leaves.iter().any(|leaf| leaf.2 && leaf.1 > 8);
        if in_memory {
            let long_double = matches!(ty.kind(), Kind::Scalar(scalar) if scalar.encoding == Encoding::Float);
            let address = registers.by_name("rax").filter(|_| !long_double)?;
            return Some(Value::at(ty.clone(), address as u64).loaded(self.memory));
        }
        if !whole || leaves.is_empty() {
            return None;
        }
        let bytes =
            if ty.is_rust() { rust(&leaves, size, registers)? } else { packed(&leaves, size, registers)? };
        Some(Value::in_register(ty.clone(), bytes))
    }
}

/// Takes the next register of each kind, in order.
struct Taker<'a> {
    registers: &'a Registers,
    integers: std::slice::Iter<'static, &'static str>,
    floats: std::slice::Iter<'static, &'static str>,
}

impl<'a> Taker<'a> {
    fn new(registers: &'a Registers) -> Self {
        Self { registers, integers: ["rax", "rdx"].iter(), floats: ["xmm0", "xmm1"].iter() }
    }

    fn take(&mut self, float: bool) -> Option<[u8; 16]> {
        let name = if float { self.floats.next() } else { self.integers.next() };
        Some(self.registers.by_name(name?)?.to_le_bytes())
    }
}

fn rust(leaves: &BTreeSet<Leaf>, size: u64, registers: &Registers) -> Option<Vec<u8>> {
    let overlap = leaves.iter().zip(leaves.iter().skip(1)).any(|(a, b)| a.0 + a.1 > b.0);
    if leaves.len() > 2 || overlap {
        // Other small values are as integers of their size.
        let all: BTreeSet<Leaf> = (0..size.div_ceil(8)).map(|index| (index * 8, 8, false)).collect();
        return packed(&all, size, registers);
    }
    let mut bytes = vec![0; size as usize];
    let mut taker = Taker::new(registers);
    for (offset, len, float) in leaves {
        let low = taker.take(*float)?;
        // A number of 128 bits has both registers.
        let high = if *len == 16 { taker.take(*float)? } else { [0; 16] };
        let both: Vec<u8> = low.iter().take(8).chain(high.iter().take(8)).copied().collect();
        let target = bytes.get_mut(*offset as usize..(*offset + *len) as usize)?;
        target.iter_mut().zip(both).for_each(|(to, from)| *to = from);
    }
    Some(bytes)
}

/// Eightbyte by eightbyte.
fn packed(leaves: &BTreeSet<Leaf>, size: u64, registers: &Registers) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut taker = Taker::new(registers);
    for start in (0..size).step_by(8) {
        let inside = |leaf: &&Leaf| leaf.0 < start + 8 && leaf.0 + leaf.1 > start;
        let float = leaves.iter().filter(inside).all(|leaf| leaf.2);
        bytes.extend_from_slice(&taker.take(float)?[..8]);
    }
    bytes.truncate(size as usize);
    Some(bytes)
}

/// Finds the scalars of a type. False when some part is none that is known.
fn collect(ty: &Type, offset: u64, depth: u32, leaves: &mut BTreeSet<Leaf>) -> bool {
    if depth > DEPTH_MAX || leaves.len() > LEAVES_MAX {
        return false;
    }
    let mut member =
        |member: &Member| collect(&member.ty, offset.saturating_add(member.offset), depth + 1, leaves);
    match ty.kind() {
        Kind::Scalar(scalar) if scalar.size == 0 => true,
        Kind::Scalar(scalar) => {
            leaves.insert((offset, scalar.size, scalar.encoding == Encoding::Float));
            true
        }
        Kind::Pointer { .. } => {
            leaves.insert((offset, 8, false));
            true
        }
        Kind::Enum(enumeration) => {
            leaves.insert((offset, enumeration.size, false));
            true
        }
        Kind::Record(record) => {
            let variants = record.variants.iter();
            let tags = variants.clone().flat_map(|variants| &variants.tag);
            let all = variants.flat_map(|variants| &variants.all).map(|variant| &variant.member);
            record.members.iter().chain(tags).chain(all).all(&mut member)
        }
        Kind::Array { element, count } => {
            let count = count.unwrap_or(0).min(LEAVES_MAX as u64);
            (0..count).all(|index| {
                collect(&element, offset.saturating_add(index * element.size()), depth + 1, leaves)
            })
        }
        Kind::Void => true,
        Kind::Function => false,
    }
}

/// A class of C++ that is not trivially copied (`DW_CC_pass_by_reference`, DWARF 5, 5.7.1).
fn by_reference(ty: &Type) -> bool {
    let Type::Described(described) = ty else { return false };
    let die = Described::definition(described);
    let convention = die.and_then(|die| {
        let debug = die.module.debug()?;
        debug.die(die.at)?.attr_value(dw::DW_AT_calling_convention)
    });
    matches!(convention, Some(gimli::AttributeValue::CallingConvention(dw::DW_CC_pass_by_reference)))
}
