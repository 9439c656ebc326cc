//! Library types that a user thinks of as text, sequence, map or box, read by the names of their members. A layout
//! that is not recognised is shown as the plain structure it is: never guessed.

mod cpp;
mod items;
mod rust;

pub(crate) use items::{Item, Items};

use crate::debug::DieAt;
use crate::location::Missing;
use crate::memory::{self, Memory};
use crate::module::ModuleDie;
use crate::types::{Kind, Type};
use crate::value::Value;
use gimli::constants as dw;
use std::sync::Arc;

/// Members inside each other that are searched for a pointer.
const NESTING_MAX: u32 = 8;

/// What a value is to its user.
#[derive(Debug)]
pub(crate) enum Shape {
    /// Bytes of text.
    Text { address: u64, len: u64 },
    /// A few words that say all.
    Words(String),
    /// Elements in order; pairs when they have keys.
    Sequence { label: String, len: u64, items: Items },
    /// Something that owns or guards one value; `note` is what else is to be known of it.
    Boxed { label: String, value: Value, note: String },
    /// Nothing but its one part, which is shown in its place.
    Same(Value),
    /// Values with a sign between them: a range.
    Joined { values: Vec<Value>, sign: &'static str },
    /// Something callable: the address of its code.
    Code { label: String, address: u64 },
}

impl Shape {
    fn boxed(label: impl Into<String>, value: Value) -> Self {
        Self::Boxed { label: label.into(), value, note: String::new() }
    }
}

/// The shape of a value, when its type is known to have one.
pub(crate) fn shape(value: &Value, memory: &dyn Memory) -> Result<Option<Shape>, Missing> {
    match value.ty.kind() {
        Kind::Record(record) if record.rust => rust::shape(value, &record, memory),
        Kind::Record(record) => cpp::shape(value, &record, memory),
        Kind::Pointer { .. } if value.ty.name().starts_with("alloc::boxed::Box<") => {
            Ok(value.pointee(memory)?.map(|value| Shape::boxed("Box", value)))
        }
        _ => Ok(None),
    }
}

/// The one value that a value stands for: of a box, a cell, a guard, a number's wrapping.
pub(crate) fn inner(value: &Value, memory: &dyn Memory) -> Result<Option<Value>, Missing> {
    Ok(match shape(value, memory)? {
        Some(Shape::Boxed { value, .. } | Shape::Same(value)) => Some(value),
        _ => None,
    })
}

/// Text without its paths: `&[alloc::string::String]` is `&[String]`.
pub(crate) fn short(name: &str) -> String {
    let mut out = String::new();
    let mut word = String::new();
    let mut rest = name.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            ':' if rest.peek() == Some(&':') => {
                rest.next();
                word.clear();
            }
            letter if letter.is_alphanumeric() || letter == '_' => word.push(letter),
            other => {
                out.push_str(&word);
                word.clear();
                out.push(other);
            }
        }
    }
    out + &word
}

fn first_pointer(value: &Value, memory: &dyn Memory, depth: u32) -> Option<Value> {
    match value.ty.kind() {
        Kind::Pointer { .. } => Some(value.clone()),
        Kind::Record(record) if depth < NESTING_MAX => {
            // That of an `Option` is null where there is none.
            let variants = record.variants.iter().flat_map(|variants| &variants.all);
            let members = record.members.iter().chain(variants.map(|variant| &variant.member));
            let mut parts = members.map(|member| value.member(member, memory));
            parts.find_map(|part| first_pointer(&part, memory, depth + 1))
        }
        _ => None,
    }
}

/// The first number inside a value: what a cell, an atomic or a checked number wraps.
fn first_number(value: &Value, memory: &dyn Memory, depth: u32) -> Option<Value> {
    match value.ty.kind() {
        Kind::Scalar(scalar) if scalar.size > 0 => Some(value.clone()),
        Kind::Record(record) if depth < NESTING_MAX => record
            .members
            .iter()
            .find_map(|member| first_number(&value.member(member, memory), memory, depth + 1)),
        _ => None,
    }
}

fn number_in(value: &Value, name: &str, memory: &dyn Memory) -> Result<Option<u64>, Missing> {
    let number = value.field(name, memory).and_then(|inner| first_number(&inner, memory, 0));
    number.map(|number| number.as_u64(memory)).transpose()
}

fn nested(value: &Value, prefix: &str, memory: &dyn Memory, depth: u32) -> Option<Value> {
    let record = value.record().filter(|_| depth < NESTING_MAX)?;
    if record.name.starts_with(prefix) {
        return Some(value.clone());
    }
    record.members.iter().find_map(|member| nested(&value.member(member, memory), prefix, memory, depth + 1))
}

/// The type argument at `index` of a generic type. The parts of a parameter pack count one by one.
fn template(ty: &Type, index: usize) -> Option<Type> {
    let Type::Described(described) = ty else { return None };
    let die = described.definition()?;
    let (debug, at) = (die.module.debug()?, die.at);
    let mut found: Vec<Option<DieAt>> = Vec::new();
    let mut packs = Vec::new();
    debug.children(at, |child, parameter| match parameter.tag() {
        dw::DW_TAG_template_type_parameter if found.len() <= index => {
            found.push(debug.linked(child, parameter, dw::DW_AT_type));
        }
        dw::DW_TAG_GNU_template_parameter_pack => packs.push(child),
        _ => {}
    });
    for pack in packs {
        debug.children(pack, |child, parameter| {
            if parameter.tag() == dw::DW_TAG_template_type_parameter && found.len() <= index {
                found.push(debug.linked(child, parameter, dw::DW_AT_type));
            }
        });
    }
    let at = found.get(index).copied().flatten()?;
    Some(Type::described(ModuleDie { module: Arc::clone(&die.module), at }))
}

/// The text of a value that is one: strings of the languages, `char *`, arrays of characters.
pub fn text_of(value: &Value, memory: &dyn Memory) -> Result<Option<Vec<u8>>, Missing> {
    if let Some(Shape::Text { address, len }) = shape(value, memory)? {
        let len = len.min(memory::TEXT_BYTES_MAX as u64) as usize;
        return Ok(Some(memory::read_bytes(memory, address, len)?));
    }
    match value.ty.kind() {
        Kind::Array { element, .. } if is_byte_char(&element) => {
            let bytes = value.bytes(memory)?;
            Ok(Some(bytes.split(|&byte| byte == 0).next().unwrap_or_default().to_vec()))
        }
        Kind::Pointer { target, .. } if is_byte_char(&target) => {
            let address = value.as_u64(memory)?;
            Ok(Some(memory::read_cstr(memory, address, memory::TEXT_BYTES_MAX)?.0))
        }
        _ => Ok(None),
    }
}

/// C's `char` of any sign.
pub(crate) fn is_byte_char(ty: &Type) -> bool {
    matches!(ty.kind(), Kind::Scalar(scalar) if scalar.is_char() && scalar.size == 1)
}
