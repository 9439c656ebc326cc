//! Types named in expressions, and values made into them.

use super::Error;
use super::parser::TypeName;
use crate::scope::Context;
use crate::types::{Encoding, Kind, Scalar, Type};
use crate::value::Value;
use std::sync::Arc;

/// The scalars that are known without debug information.
pub(crate) fn builtin(name: &str, rust: bool) -> Option<Type> {
    use Encoding::{Bool, Float, Signed, SignedChar, Unicode, Unsigned, UnsignedChar};
    let words: Vec<&str> = name.split(' ').collect();
    let has = |word: &str| words.contains(&word);
    let c_words = ["unsigned", "signed", "long", "short", "int", "char", "double"];
    if words.iter().all(|word| c_words.contains(word)) && !(rust && name == "char") {
        let sign = |unsigned, signed| if has("unsigned") { unsigned } else { signed };
        let (encoding, size) = match () {
            () if has("char") => (sign(UnsignedChar, SignedChar), 1),
            () if has("double") => (Float, if has("long") { 16 } else { 8 }),
            () if has("short") => (sign(Unsigned, Signed), 2),
            () if has("long") => (sign(Unsigned, Signed), 8),
            () => (sign(Unsigned, Signed), 4),
        };
        return Some(Type::scalar(name, encoding, size));
    }
    let (encoding, size) = match name {
        "void" => return Some(Type::Void),
        "bool" | "_Bool" => (Bool, 1),
        "char" => (Unicode, 4),
        "float" | "f32" => (Float, 4),
        "f64" => (Float, 8),
        "i8" | "int8_t" => (Signed, 1),
        "i16" | "int16_t" => (Signed, 2),
        "i32" | "int32_t" => (Signed, 4),
        "i64" | "int64_t" | "isize" | "ssize_t" | "intptr_t" | "ptrdiff_t" => (Signed, 8),
        "i128" | "__int128" => (Signed, 16),
        "u8" | "uint8_t" => (Unsigned, 1),
        "u16" | "uint16_t" => (Unsigned, 2),
        "u32" | "uint32_t" => (Unsigned, 4),
        "u64" | "uint64_t" | "usize" | "size_t" | "uintptr_t" => (Unsigned, 8),
        "u128" => (Unsigned, 16),
        _ => return None,
    };
    Some(Type::scalar(name, encoding, size))
}

impl Context<'_> {
    /// Whether a name in an expression means a type: variables hide types of the same name.
    pub(crate) fn is_type(&self, name: &str) -> bool {
        if builtin(name, self.is_rust()).is_some() {
            return true;
        }
        let variable = self.variables().iter().any(|variable| variable.name == name);
        !variable && self.symbols.globals(name).is_empty() && !self.symbols.types(name).is_empty()
    }

    /// The type a name in an expression means.
    pub(crate) fn resolve_type(&self, name: &TypeName) -> Result<Type, Error> {
        let unknown = || Error::new(name.column, format!("no type named {}", name.base));
        let known = builtin(&name.base, self.is_rust());
        let found = known.or_else(|| self.symbols.types(&name.base).into_iter().next().map(Type::described));
        let mut ty = found.ok_or_else(unknown)?;
        for _ in 0..name.pointers {
            ty = Type::Pointer(Arc::new(ty));
        }
        Ok(if name.array.is_some() { Type::Array(Arc::new(ty), name.array) } else { ty })
    }

    pub(crate) fn cast(&self, value: Value, ty: Type, column: usize) -> Result<Value, Error> {
        let fail = |missing: crate::Missing| Error::new(column, missing.to_string());
        match ty.kind() {
            Kind::Void => Ok(Value::of_bytes(ty, Vec::new())),
            Kind::Scalar(scalar) if scalar.encoding == Encoding::Float => {
                let number = self.float_of(&value, column)?;
                let bytes = match scalar.size {
                    4 => (number as f32).to_le_bytes().to_vec(),
                    _ => number.to_le_bytes().to_vec(),
                };
                let ty = if scalar.size > 8 { Type::scalar("double", Encoding::Float, 8) } else { ty };
                Ok(Value::of_bytes(ty, bytes))
            }
            Kind::Scalar(Scalar { encoding: Encoding::Bool, size, .. }) => {
                let truth = super::operators::truth(&value, self.memory, column)?;
                Ok(with_number(ty, i128::from(truth), size))
            }
            Kind::Scalar(_) | Kind::Enum(_) | Kind::Pointer { .. } => {
                let size = ty.size();
                if let Some(float) = value.float(self.memory).map_err(fail)? {
                    return Ok(with_number(ty, float as i128, size));
                }
                let number = self.decayed(value).integer(self.memory).map_err(fail)?;
                let number = number.ok_or_else(|| Error::new(column, "invalid cast"))?;
                Ok(with_number(ty, number, size))
            }
            Kind::Record(_) | Kind::Array { .. } | Kind::Function => match value.address {
                Some(address) => Ok(Value::at(ty, address)),
                None => Err(Error::new(column, "invalid cast: the value is not in memory")),
            },
        }
    }

    pub(crate) fn float_of(&self, value: &Value, column: usize) -> Result<f64, Error> {
        let fail = |missing: crate::Missing| Error::new(column, missing.to_string());
        if let Some(float) = value.float(self.memory).map_err(fail)? {
            return Ok(float);
        }
        let number =
            value.integer(self.memory).map_err(fail)?.ok_or_else(|| Error::new(column, "not a number"))?;
        Ok(number as f64)
    }

    /// An array where a pointer is wanted is the pointer to its first element; a function is its address.
    pub(crate) fn decayed(&self, value: Value) -> Value {
        let value = value.through_reference(self.memory);
        let Some(address) = value.address else { return value };
        let pointer = |target| with_number(Type::Pointer(Arc::new(target)), i128::from(address), 8);
        match value.ty.kind() {
            Kind::Array { element, .. } => pointer(element),
            Kind::Function => pointer(value.ty.clone()),
            _ => value,
        }
    }
}

/// A number of any type, cut to its size.
pub(crate) fn with_number(ty: Type, number: i128, size: u64) -> Value {
    let bytes = number.to_le_bytes();
    Value::of_bytes(ty, bytes.get(..size.min(16) as usize).unwrap_or_default().to_vec())
}
