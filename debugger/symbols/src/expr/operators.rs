//! Arithmetic and comparison on values, with the types that C and Rust give to the results.

use super::Error;
use super::casts::with_number;
use crate::memory::Memory;
use crate::scope::Context;
use crate::shapes::{self, text_of};
use crate::types::{Encoding, Kind, Scalar, Type};
use crate::value::Value;

pub(crate) fn truth(value: &Value, memory: &dyn Memory, column: usize) -> Result<bool, Error> {
    let fail = |missing: crate::Missing| Error::new(column, missing.to_string());
    if let Some(float) = value.float(memory).map_err(fail)? {
        return Ok(float != 0.0);
    }
    if let Some(number) = value.integer(memory).map_err(fail)? {
        return Ok(number != 0);
    }
    match (value.ty.kind(), value.address) {
        (Kind::Array { .. } | Kind::Function, Some(address)) => Ok(address != 0),
        _ => Err(Error::new(
            column,
            format!("a value of type {} is neither true nor false", value.type_name()),
        )),
    }
}

impl Context<'_> {
    /// The result of a comparison: C's is an `int`.
    pub(crate) fn boolean(&self, truth: bool) -> Value {
        let c = self.frame.is_some() && self.is_c();
        let scalar =
            if c { Scalar::new("int", Encoding::Signed, 4) } else { Scalar::new("bool", Encoding::Bool, 1) };
        Value::of_int(scalar, i128::from(truth))
    }

    fn is_c(&self) -> bool {
        let function = self.frame.and_then(|frame| frame.function.as_ref());
        function.is_some_and(|die| die.module.debug().is_some_and(|debug| debug.is_c(die.at.unit)))
    }

    pub(crate) fn binary(
        &self,
        sign: &str,
        left: Value,
        right: Value,
        column: usize,
    ) -> Result<Value, Error> {
        let (left, right) = (self.plain(left, column)?, self.plain(right, column)?);
        if let Some(equal) = self.texts(sign, &left, &right, column)? {
            return Ok(self.boolean(equal));
        }
        let (left, right) = (self.decayed(left), self.decayed(right));
        if let Some(value) = self.pointers(sign, &left, &right, column)? {
            return Ok(value);
        }
        let fail = |missing: crate::Missing| Error::new(column, missing.to_string());
        let floats = (left.float(self.memory).map_err(fail)?, right.float(self.memory).map_err(fail)?);
        if floats != (None, None) {
            return self.floats(sign, &left, &right, column);
        }
        let number = |value: &Value| {
            let number = value.integer(self.memory).map_err(fail)?;
            number.ok_or_else(|| {
                Error::new(column, format!("operator {sign} cannot take a {}", value.type_name()))
            })
        };
        let (a, b) = (number(&left)?, number(&right)?);
        let shift = matches!(sign, "<<" | ">>");
        let ty = if shift { promoted(&left) } else { common(&left, &right) };
        integers(sign, a, b, &ty, column)?.map_or_else(|truth| Ok(self.boolean(truth)), Ok)
    }

    /// `name == "text"`: strings of any language are compared by what they hold.
    fn texts(&self, sign: &str, left: &Value, right: &Value, column: usize) -> Result<Option<bool>, Error> {
        let literal = |value: &Value| value.address.is_none() && matches!(value.ty, Type::Array(..));
        if !(literal(left) || literal(right)) || !matches!(sign, "==" | "!=" | "<" | ">" | "<=" | ">=") {
            return Ok(None);
        }
        let text = |value: &Value| {
            let text =
                text_of(value, self.memory).map_err(|missing| Error::new(column, missing.to_string()))?;
            text.ok_or_else(|| {
                Error::new(column, format!("a value of type {} is no string", value.type_name()))
            })
        };
        Ok(compare(sign, &text(left)?, &text(right)?))
    }

    fn pointers(
        &self,
        sign: &str,
        left: &Value,
        right: &Value,
        column: usize,
    ) -> Result<Option<Value>, Error> {
        let fail = |missing: crate::Missing| Error::new(column, missing.to_string());
        let target = |value: &Value| match value.ty.kind() {
            Kind::Pointer { target, .. } => Some(target),
            _ => None,
        };
        let moved = |pointer: &Value, target: &Type, by: &Value, sign: i128| {
            let start = pointer.integer(self.memory).map_err(fail)?.unwrap_or(0);
            let count = by.integer(self.memory).map_err(fail)?;
            let count = count.ok_or_else(|| Error::new(column, "a pointer moves by integers only"))?;
            let size = i128::from(target.size().max(1));
            let address = start.wrapping_add(count.wrapping_mul(size).wrapping_mul(sign));
            Ok::<_, Error>(Some(with_number(pointer.ty.clone(), address, 8)))
        };
        match (sign, target(left), target(right)) {
            ("+", Some(target), None) => moved(left, &target, right, 1),
            ("+", None, Some(target)) => moved(right, &target, left, 1),
            ("-", Some(target), None) => moved(left, &target, right, -1),
            ("-", Some(target), Some(_)) => {
                let number = |value: &Value| value.integer(self.memory).map_err(fail).map(|n| n.unwrap_or(0));
                let bytes = number(left)?.wrapping_sub(number(right)?);
                let count = bytes / i128::from(target.size().max(1));
                Ok(Some(Value::of_int(Scalar::new("long", Encoding::Signed, 8), count)))
            }
            _ => Ok(None),
        }
    }

    /// The number that a box, a cell, an atomic or a Rust reference stands for in a calculation; else the value.
    fn plain(&self, value: Value, column: usize) -> Result<Value, Error> {
        /// Wrappings inside each other.
        const STEPS_MAX: u32 = 8;
        let fail = |missing: crate::Missing| Error::new(column, missing.to_string());
        let mut value = value.through_reference(self.memory);
        for _ in 0..STEPS_MAX {
            let inner = match value.ty.kind() {
                Kind::Record(_) => shapes::inner(&value, self.memory).map_err(fail)?,
                Kind::Pointer { target, .. } if is_reference_to_number(&value.ty, &target) => {
                    value.pointee(self.memory).map_err(fail)?
                }
                _ => None,
            };
            match inner {
                Some(inner) => value = inner,
                None => break,
            }
        }
        Ok(value)
    }

    fn floats(&self, sign: &str, left: &Value, right: &Value, column: usize) -> Result<Value, Error> {
        let (a, b) = (self.float_of(left, column)?, self.float_of(right, column)?);
        let result = match sign {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            "%" => a % b,
            _ => {
                let truth = compare(sign, &a, &b);
                let truth =
                    truth.ok_or_else(|| Error::new(column, format!("operator {sign} needs integers")))?;
                return Ok(self.boolean(truth));
            }
        };
        Ok(Value::of_f64(result))
    }

    pub(crate) fn negate(&self, sign: &str, value: Value, column: usize) -> Result<Value, Error> {
        let value = self.plain(value, column)?;
        let fail = |missing: crate::Missing| Error::new(column, missing.to_string());
        if sign == "!" && (!self.is_rust() || is_bool(&value)) {
            return Ok(self.boolean(!truth(&value, self.memory, column)?));
        }
        if let Some(float) = value.float(self.memory).map_err(fail)? {
            return match sign {
                "-" => Ok(Value::of_f64(-float)),
                "+" => Ok(value),
                _ => Err(Error::new(column, format!("operator {sign} needs an integer"))),
            };
        }
        let number = value.integer(self.memory).map_err(fail)?;
        let number = number.ok_or_else(|| {
            Error::new(column, format!("operator {sign} cannot take a {}", value.type_name()))
        })?;
        let ty = promoted(&value);
        let result = match sign {
            "-" => number.wrapping_neg(),
            "~" | "!" => !number,
            _ => number,
        };
        let size = ty.size();
        Ok(with_number(ty, result, size))
    }
}

/// `&T` of Rust where `T` is a number: compared and calculated with as the number.
pub(super) fn is_reference_to_number(ty: &Type, target: &Type) -> bool {
    ty.is_rust() && ty.name().starts_with('&') && matches!(target.kind(), Kind::Scalar(_) | Kind::Enum(_))
}

fn is_bool(value: &Value) -> bool {
    matches!(value.ty.kind(), Kind::Scalar(scalar) if scalar.encoding == Encoding::Bool)
}

fn compare<T: PartialOrd + ?Sized>(sign: &str, a: &T, b: &T) -> Option<bool> {
    Some(match sign {
        "==" => a == b,
        "!=" => a != b,
        "<" => a < b,
        ">" => a > b,
        "<=" => a <= b,
        ">=" => a >= b,
        _ => return None,
    })
}

/// A number of the type, or the truth of a comparison.
fn integers(sign: &str, a: i128, b: i128, ty: &Type, column: usize) -> Result<Result<Value, bool>, Error> {
    // Both sides take the common type first: in C `-1 < 1u` is false.
    let (a, b) = if matches!(sign, "<<" | ">>") { (a, b) } else { (wrap(a, ty), wrap(b, ty)) };
    let wide = matches!(ty.kind(), Kind::Scalar(ref scalar) if scalar.size == 16 && !scalar.is_signed());
    let truth = if wide { compare(sign, &(a as u128), &(b as u128)) } else { compare(sign, &a, &b) };
    if let Some(truth) = truth {
        return Ok(Err(truth));
    }
    if matches!(sign, "/" | "%") && b == 0 {
        return Err(Error::new(column, "division by zero"));
    }
    let bits = ty.size().saturating_mul(8);
    let shift = u32::try_from(b).ok().filter(|&shift| u64::from(shift) < bits.min(128));
    let result = match sign {
        "+" => a.wrapping_add(b),
        "-" => a.wrapping_sub(b),
        "*" => a.wrapping_mul(b),
        "/" if wide => (a as u128).wrapping_div(b as u128) as i128,
        "%" if wide => (a as u128).wrapping_rem(b as u128) as i128,
        "/" => a.wrapping_div(b),
        "%" => a.wrapping_rem(b),
        "&" => a & b,
        "|" => a | b,
        "^" => a ^ b,
        "<<" => shift.map_or(0, |shift| a.wrapping_shl(shift)),
        ">>" if wide => shift.map_or(0, |shift| ((a as u128) >> shift) as i128),
        ">>" => a >> shift.unwrap_or(127),
        _ => return Err(Error::new(column, format!("operator {sign} is not known"))),
    };
    Ok(Ok(with_number(ty.clone(), result, ty.size())))
}

fn wrap(number: i128, ty: &Type) -> i128 {
    let size = ty.size().clamp(1, 16) as u32;
    let signed = matches!(ty.kind(), Kind::Scalar(ref scalar) if scalar.is_signed());
    let unused = 128 - size * 8;
    if signed { (number << unused) >> unused } else { (((number as u128) << unused) >> unused) as i128 }
}

fn scalar_of(value: &Value) -> Scalar {
    match value.ty.kind() {
        Kind::Scalar(scalar) => scalar,
        Kind::Enum(enumeration) => {
            let encoding = if enumeration.signed { Encoding::Signed } else { Encoding::Unsigned };
            Scalar::new("int", encoding, enumeration.size)
        }
        _ => Scalar::new("unsigned long", Encoding::Unsigned, 8),
    }
}

fn is_plain_number(scalar: &Scalar) -> bool {
    matches!(scalar.encoding, Encoding::Signed | Encoding::Unsigned)
}

/// C's promotion of small types to `int`; Rust's numbers stay what they are.
pub(super) fn promoted(value: &Value) -> Type {
    let scalar = scalar_of(value);
    if is_plain_number(&scalar) && (scalar.size >= 4 || value.ty.is_rust()) {
        return if matches!(value.ty.kind(), Kind::Enum(_)) {
            Type::Scalar(scalar)
        } else {
            value.ty.clone()
        };
    }
    match scalar.size {
        0..=3 => Type::scalar("int", Encoding::Signed, 4),
        size => Type::Scalar(Scalar { size, ..scalar }),
    }
}

/// The type of both operands of an arithmetic operator. A literal takes the type of what it meets in Rust.
pub(super) fn common(left: &Value, right: &Value) -> Type {
    match (left.ty.is_rust(), right.ty.is_rust()) {
        (true, false) if is_plain_number(&scalar_of(left)) => return left.ty.clone(),
        (false, true) if is_plain_number(&scalar_of(right)) => return right.ty.clone(),
        _ => {}
    }
    let (a, b) = (promoted(left), promoted(right));
    let unsigned = |ty: &Type| matches!(ty.kind(), Kind::Scalar(scalar) if !scalar.is_signed());
    match a.size().cmp(&b.size()) {
        std::cmp::Ordering::Greater => a,
        std::cmp::Ordering::Less => b,
        std::cmp::Ordering::Equal if unsigned(&b) => b,
        std::cmp::Ordering::Equal => a,
    }
}
