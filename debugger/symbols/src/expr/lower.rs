//! Expressions made into tests on registers and memory, for whoever evaluates them where there are no symbols.
//!
//! What comes out means just what [`Context::eval`] and [`truth`](super::truth) would find at the frame's pc: the same
//! types, conversions and order. Whatever is not sure to be the same is not lowered: floating point, division, texts,
//! bit fields, variants, values in pieces, thread-local storage.

use super::operators::{common, promoted};
use super::parser::{self, Expr, Node};
use crate::location::Missing;
use crate::memory::NoMemory;
use crate::scope::Context;
use crate::symbolic::{Spot, spot};
use crate::types::{Encoding, Kind, Record, Scalar, Type};
use crate::value::Value;
use std::sync::Arc;

/// Pointers that `.` goes through.
const POINTERS_MAX: usize = 8;
/// Anonymous members and base classes inside each other.
const MEMBERS_DEPTH_MAX: u32 = 16;

/// A number of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// Always the same.
    Constant(u64),
    /// A general register, by its DWARF number (0 to 15).
    Register(u16),
    /// A little-endian number in memory.
    Load {
        /// Its address.
        address: Box<Word>,
        /// 1, 2, 4 or 8 bytes.
        size: u64,
        /// The upper bits repeat the sign; else they are zero.
        signed: bool,
    },
    /// The low bytes of a number.
    Cut {
        /// The number.
        of: Box<Word>,
        /// 1, 2, 4 or 8 bytes.
        size: u64,
        /// The upper bits repeat the sign; else they are zero.
        signed: bool,
    },
    /// Arithmetic on 64 bits.
    Combined {
        /// What is done.
        operation: Arithmetic,
        /// The first operand.
        left: Box<Word>,
        /// The second operand.
        right: Box<Word>,
    },
}

/// Arithmetic whose low bits do not depend on the high bits of its operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    And,
    Or,
    Xor,
}

/// How two numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A test of registers and memory. Its parts are evaluated in order, and no further than needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Test {
    /// A comparison.
    Compare {
        /// The left number.
        left: Word,
        /// How they are compared.
        comparison: Comparison,
        /// As signed numbers.
        signed: bool,
        /// The right number.
        right: Word,
    },
    /// All of them hold.
    All(Vec<Test>),
    /// One of them holds.
    Any(Vec<Test>),
}

impl Word {
    pub(crate) fn plus(self, number: u64) -> Self {
        match self {
            Self::Constant(own) => Self::Constant(own.wrapping_add(number)),
            Self::Combined { operation: Arithmetic::Add, left, right }
                if let Self::Constant(own) = *right =>
            {
                left.plus(own.wrapping_add(number))
            }
            own if number == 0 => own,
            own => own.combined(Arithmetic::Add, Self::Constant(number)),
        }
    }

    pub(crate) fn combined(self, operation: Arithmetic, right: Self) -> Self {
        Self::Combined { operation, left: Box::new(self), right: Box::new(right) }
    }

    pub(crate) fn load(self, size: u64, signed: bool) -> Self {
        Self::Load { address: Box::new(self), size, signed }
    }

    fn cut(self, number: &Number) -> Self {
        match self {
            Self::Constant(own) => {
                let unused = 64 - 8 * number.size as u32;
                let own = if number.signed {
                    ((own << unused) as i64 >> unused) as u64
                } else {
                    own << unused >> unused
                };
                Self::Constant(own)
            }
            own if number.size == 8 => own,
            own => Self::Cut { of: Box::new(own), size: number.size, signed: number.signed },
        }
    }
}

impl Test {
    fn negated(self) -> Self {
        match self {
            Self::Compare { left, comparison, signed, right } => {
                let comparison = match comparison {
                    Comparison::Equal => Comparison::NotEqual,
                    Comparison::NotEqual => Comparison::Equal,
                    Comparison::Less => Comparison::GreaterOrEqual,
                    Comparison::LessOrEqual => Comparison::Greater,
                    Comparison::Greater => Comparison::LessOrEqual,
                    Comparison::GreaterOrEqual => Comparison::Less,
                };
                Self::Compare { left, comparison, signed, right }
            }
            Self::All(parts) => Self::Any(parts.into_iter().map(Self::negated).collect()),
            Self::Any(parts) => Self::All(parts.into_iter().map(Self::negated).collect()),
        }
    }
}

/// How a type's bytes are a whole number.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Number {
    size: u64,
    signed: bool,
}

/// As [`Value::integer`] reads it.
fn number_of(ty: &Type) -> Option<Number> {
    let (size, signed) = match ty.kind() {
        Kind::Scalar(scalar) if scalar.encoding != Encoding::Float => (scalar.size, scalar.is_signed()),
        Kind::Enum(enumeration) => (enumeration.size, enumeration.signed),
        Kind::Pointer { reference: false, .. } if ty.size() == 8 => (8, false),
        _ => return None,
    };
    matches!(size, 1 | 2 | 4 | 8).then_some(Number { size, signed })
}

/// A value without its bytes.
struct Operand {
    ty: Type,
    place: Place,
}

enum Place {
    /// In memory at an address.
    Memory(Word),
    /// A number, extended to 64 bits as its type says.
    Number(Word),
}

impl Operand {
    fn memory(ty: Type, address: Word) -> Self {
        Self { ty, place: Place::Memory(address) }
    }

    fn number(ty: Type, word: Word) -> Self {
        Self { ty, place: Place::Number(word) }
    }

    /// A value that is known now.
    fn known(value: &Value) -> Option<Self> {
        let ty = value.ty().clone();
        number_of(&ty)?;
        let number = value.integer(&NoMemory).ok()??;
        Some(Self::number(ty, Word::Constant(number as u64)))
    }

    fn word(&self) -> Option<Word> {
        let number = number_of(&self.ty)?;
        Some(match &self.place {
            Place::Memory(address) => address.clone().load(number.size, number.signed),
            Place::Number(word) => word.clone(),
        })
    }

    /// What a pointer holds, also one that is a reference.
    fn pointer(&self) -> Option<Word> {
        match &self.place {
            Place::Memory(address) => Some(address.clone().load(8, false)),
            Place::Number(word) => Some(word.clone()),
        }
    }

    fn through_reference(self) -> Option<Self> {
        match self.ty.kind() {
            Kind::Pointer { target, reference: true } => Some(Self::memory(target, self.pointer()?)),
            _ => Some(self),
        }
    }

    fn decayed(self) -> Option<Self> {
        let own = self.through_reference()?;
        let own_ty = own.ty.clone();
        match (own.ty.kind(), own.place) {
            (Kind::Array { element, .. }, Place::Memory(address)) => {
                Some(Self::number(Type::Pointer(Arc::new(element)), address))
            }
            (Kind::Array { .. } | Kind::Function, _) => None,
            // It stands for what it refers to.
            (Kind::Pointer { target, .. }, _)
                if super::operators::is_reference_to_number(&own_ty, &target) =>
            {
                None
            }
            (_, place) => Some(Self { ty: own.ty, place }),
        }
    }

    /// For rules that look at types alone.
    fn typed(&self) -> Value {
        Value::missing(self.ty.clone(), Missing::OptimizedOut)
    }
}

impl Context<'_> {
    /// The expression's truth as a test at the frame's pc; None when it cannot be said in these terms. No memory and no
    /// register is read: the frame may be one of [`Symbols::frame_at`](crate::Symbols::frame_at).
    pub fn lower(&self, text: &str) -> Option<Test> {
        let is_type = |name: &str| self.is_type(name);
        self.lowered_truth(&parser::parse(text, &is_type).ok()?)
    }

    fn lowered_truth(&self, expr: &Expr) -> Option<Test> {
        match &expr.node {
            Node::Binary("&&", left, right) => {
                Some(Test::All(vec![self.lowered_truth(left)?, self.lowered_truth(right)?]))
            }
            Node::Binary("||", left, right) => {
                Some(Test::Any(vec![self.lowered_truth(left)?, self.lowered_truth(right)?]))
            }
            // In Rust it turns the bits of a number.
            Node::Unary("!", inner) if !self.is_rust() => Some(self.lowered_truth(inner)?.negated()),
            Node::Binary(sign, left, right) if let Some(comparison) = comparison(sign) => {
                self.lowered_comparison(comparison, left, right)
            }
            _ => {
                let left = self.lowered(expr)?.through_reference()?.word()?;
                let (comparison, right) = (Comparison::NotEqual, Word::Constant(0));
                Some(Test::Compare { left, comparison, signed: false, right })
            }
        }
    }

    fn lowered_comparison(&self, comparison: Comparison, left: &Expr, right: &Expr) -> Option<Test> {
        let (left, right) = (self.lowered(left)?.decayed()?, self.lowered(right)?.decayed()?);
        let common = number_of(&common(&left.typed(), &right.typed()))?;
        let side = |operand: &Operand| {
            let (own, word) = (number_of(&operand.ty)?, operand.word()?);
            // Numbers that fit stay what they are.
            let fits = own == common || (own.size < common.size && (!own.signed || common.signed));
            Some(if fits { word } else { word.cut(&common) })
        };
        Some(Test::Compare { left: side(&left)?, comparison, signed: common.signed, right: side(&right)? })
    }

    fn lowered(&self, expr: &Expr) -> Option<Operand> {
        match &expr.node {
            Node::Integer { .. } | Node::Char(_) | Node::SizeOfType(_) => {
                Operand::known(&self.run(expr).ok()?)
            }
            Node::Name(name) => self.lowered_name(name, expr),
            Node::Dollar(name) => self.lowered_dollar(name),
            Node::Field(inner, name) => lowered_field(self.lowered(inner)?, name),
            Node::Index(inner, index) => lowered_index(self.lowered(inner)?, &self.lowered(index)?),
            Node::Unary("*", inner) => lowered_target(self.lowered(inner)?),
            Node::Unary("&", inner) => {
                let inner = self.lowered(inner)?.through_reference()?;
                match inner.place {
                    Place::Memory(address) => {
                        Some(Operand::number(Type::Pointer(Arc::new(inner.ty)), address))
                    }
                    Place::Number(_) => None,
                }
            }
            Node::Unary(sign @ ("-" | "~" | "+"), inner) => {
                lowered_sign(sign, &self.lowered(inner)?.through_reference()?)
            }
            Node::Binary(sign, left, right) => {
                lowered_arithmetic(sign, self.lowered(left)?.decayed()?, self.lowered(right)?.decayed()?)
            }
            Node::Cast(inner, name) => {
                lowered_cast(self.lowered(inner)?.decayed()?, self.resolve_type(name).ok()?)
            }
            _ => None,
        }
    }

    fn lowered_name(&self, name: &str, expr: &Expr) -> Option<Operand> {
        if matches!(name, "true" | "false" | "nullptr" | "NULL") {
            return Operand::known(&self.run(expr).ok()?);
        }
        let frame = self.frame?;
        if let Some(die) = self.local_die(name) {
            return self.placed(frame, &die);
        }
        // A member of `*this` hides a global.
        if self.variables().iter().any(|variable| variable.name == "this") {
            return None;
        }
        if let Some(die) = self.global_die(name) {
            return self.placed(frame, &die);
        }
        if let Some(value) = self.enumerator(name) {
            return Operand::known(&value);
        }
        if self.function(name).is_some() {
            return None;
        }
        let value = self.data_symbol(name)?;
        Some(Operand::memory(value.ty().clone(), Word::Constant(value.address()?)))
    }

    fn placed(&self, frame: &crate::Frame, die: &crate::module::ModuleDie) -> Option<Operand> {
        let ty = self.type_of_die(die)?;
        Some(match spot(frame, die)? {
            Spot::Memory(address) => Operand::memory(ty, address),
            Spot::Number(word) => {
                let number = number_of(&ty)?;
                Operand::number(ty, word.cut(&number))
            }
        })
    }

    fn lowered_dollar(&self, name: &str) -> Option<Operand> {
        if let Some(value) = (self.convenience)(name) {
            return Operand::known(&value);
        }
        let part = crate::Registers::part(name).filter(|part| part.number < 16 && part.shift == 0)?;
        let register = Word::Register(part.number);
        if matches!(name, "rsp" | "sp" | "rbp" | "fp") {
            return Some(Operand::number(Type::Pointer(Arc::new(Type::Void)), register));
        }
        let number = Number { size: u64::from(part.size), signed: true };
        let ty = Type::Scalar(Scalar::new("long", Encoding::Signed, number.size));
        Some(Operand::number(ty, register.cut(&number)))
    }
}

fn comparison(sign: &str) -> Option<Comparison> {
    Some(match sign {
        "==" => Comparison::Equal,
        "!=" => Comparison::NotEqual,
        "<" => Comparison::Less,
        "<=" => Comparison::LessOrEqual,
        ">" => Comparison::Greater,
        ">=" => Comparison::GreaterOrEqual,
        _ => return None,
    })
}

fn lowered_field(value: Operand, name: &str) -> Option<Operand> {
    let mut value = value.through_reference()?;
    for _ in 0..POINTERS_MAX {
        match value.ty.kind() {
            Kind::Record(record) => {
                let Place::Memory(address) = value.place else { return None };
                let (ty, offset) = member(&record, name, 0)?;
                return Some(Operand::memory(ty, address.plus(offset)));
            }
            Kind::Pointer { target, reference: false } => {
                value = Operand::memory(target, value.pointer()?);
            }
            _ => return None,
        }
    }
    None
}

/// A member's type and offset, as [`Value::field`] finds it.
fn member(record: &Record, name: &str, depth: u32) -> Option<(Type, u64)> {
    if depth >= MEMBERS_DEPTH_MAX {
        return None;
    }
    let is_name = |own: &str| own == name || own.strip_prefix("__") == Some(name);
    if let Some(own) = record.members.iter().find(|own| own.name.as_deref().is_some_and(is_name)) {
        return own.bits.is_none().then(|| (own.ty.clone(), own.offset));
    }
    if record.variants.is_some() {
        return None;
    }
    record.members.iter().filter(|hidden| hidden.base || hidden.name.is_none()).find_map(|hidden| {
        let Kind::Record(inner) = hidden.ty.kind() else { return None };
        let (ty, offset) = member(&inner, name, depth + 1)?;
        Some((ty, hidden.offset.wrapping_add(offset)))
    })
}

fn lowered_index(value: Operand, index: &Operand) -> Option<Operand> {
    let value = value.through_reference()?;
    let index = index.word()?;
    let moved = |start: Word, size: u64| match index {
        Word::Constant(index) => start.plus(index.wrapping_mul(size)),
        index if size == 1 => start.combined(Arithmetic::Add, index),
        index => {
            let offset = index.combined(Arithmetic::Multiply, Word::Constant(size));
            start.combined(Arithmetic::Add, offset)
        }
    };
    match (value.ty.kind(), &value.place) {
        // Rust's arrays have bounds, whose failure is an error.
        (Kind::Array { element, .. }, Place::Memory(start)) if !value.ty.is_rust() => {
            let size = element.size();
            Some(Operand::memory(element, moved(start.clone(), size)))
        }
        (Kind::Pointer { target, reference: false }, _)
            if !is_box(&value.ty) && !super::lookup::is_reference_to_record(&value.ty, &target) =>
        {
            let size = target.size().max(1);
            Some(Operand::memory(target, moved(value.pointer()?, size)))
        }
        _ => None,
    }
}

fn is_box(ty: &Type) -> bool {
    ty.name().starts_with("alloc::boxed::Box<")
}

fn lowered_target(value: Operand) -> Option<Operand> {
    let value = value.decayed()?;
    match value.ty.kind() {
        Kind::Pointer { target, reference: false } => match target.kind() {
            Kind::Void => None,
            _ => Some(Operand::memory(target, value.pointer()?)),
        },
        // A bare number is an address of a long.
        Kind::Scalar(_) => Some(Operand::memory(Type::scalar("long", Encoding::Signed, 8), value.word()?)),
        _ => None,
    }
}

fn lowered_sign(sign: &str, value: &Operand) -> Option<Operand> {
    let (word, ty) = (value.word()?, promoted(&value.typed()));
    let number = number_of(&ty)?;
    let word = match sign {
        "-" => Word::Constant(0).combined(Arithmetic::Subtract, word),
        "~" => word.combined(Arithmetic::Xor, Word::Constant(u64::MAX)),
        _ => word,
    };
    Some(Operand::number(ty, folded(word).cut(&number)))
}

fn lowered_arithmetic(sign: &str, left: Operand, right: Operand) -> Option<Operand> {
    let operation = match sign {
        "+" => Arithmetic::Add,
        "-" => Arithmetic::Subtract,
        "*" => Arithmetic::Multiply,
        "&" => Arithmetic::And,
        "|" => Arithmetic::Or,
        "^" => Arithmetic::Xor,
        _ => return None,
    };
    let target = |operand: &Operand| match operand.ty.kind() {
        Kind::Pointer { target, .. } => Some(target),
        _ => None,
    };
    let scaled = |by: &Operand, target: &Type| {
        let size = target.size().max(1);
        Some(folded(by.word()?.combined(Arithmetic::Multiply, Word::Constant(size))))
    };
    match (operation, target(&left), target(&right)) {
        (Arithmetic::Add | Arithmetic::Subtract, Some(to), None) => {
            let word = left.word()?.combined(operation, scaled(&right, &to)?);
            Some(Operand::number(left.ty, folded(word)))
        }
        (Arithmetic::Add, None, Some(to)) => {
            let word = right.word()?.combined(operation, scaled(&left, &to)?);
            Some(Operand::number(right.ty, folded(word)))
        }
        (Arithmetic::Subtract, Some(_), Some(_)) => None,
        _ => {
            let ty = common(&left.typed(), &right.typed());
            let number = number_of(&ty)?;
            let word = folded(left.word()?.combined(operation, right.word()?));
            Some(Operand::number(ty, word.cut(&number)))
        }
    }
}

/// Arithmetic on constants is done at once.
fn folded(word: Word) -> Word {
    let Word::Combined { operation, left, right } = &word else { return word };
    let (Word::Constant(left), Word::Constant(right)) = (left.as_ref(), right.as_ref()) else { return word };
    Word::Constant(match operation {
        Arithmetic::Add => left.wrapping_add(*right),
        Arithmetic::Subtract => left.wrapping_sub(*right),
        Arithmetic::Multiply => left.wrapping_mul(*right),
        Arithmetic::And => left & right,
        Arithmetic::Or => left | right,
        Arithmetic::Xor => left ^ right,
    })
}

fn lowered_cast(value: Operand, ty: Type) -> Option<Operand> {
    match ty.kind() {
        Kind::Scalar(scalar) if matches!(scalar.encoding, Encoding::Float | Encoding::Bool) => None,
        Kind::Scalar(_) | Kind::Enum(_) | Kind::Pointer { reference: false, .. } => {
            let (word, number) = (value.word()?, number_of(&ty)?);
            Some(Operand::number(ty, word.cut(&number)))
        }
        _ => None,
    }
}
