//! Library types that a user thinks of as text, sequence or box, read by the names of their members. A layout
//! that is not recognised is shown as the plain structure it is: never guessed.

use crate::debug::DieAt;
use crate::location::Missing;
use crate::memory::{self, Memory};
use crate::module::ModuleDie;
use crate::types::{Kind, Record, Type};
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
    /// Elements in a row.
    Sequence { label: String, element: Type, address: u64, len: u64 },
    /// Something that owns one value.
    Boxed { label: &'static str, value: Value },
}

/// The shape of a value, when its type is known to have one.
pub(crate) fn shape(value: &Value, memory: &dyn Memory) -> Result<Option<Shape>, Missing> {
    match value.ty.kind() {
        Kind::Record(record) if record.rust => rust(value, &record, memory),
        Kind::Record(record) => cpp(value, &record, memory),
        Kind::Pointer { .. } if value.ty.name().starts_with("alloc::boxed::Box<") => {
            Ok(value.pointee(memory)?.map(|value| Shape::Boxed { label: "Box", value }))
        }
        _ => Ok(None),
    }
}

fn rust(value: &Value, record: &Record, memory: &dyn Memory) -> Result<Option<Shape>, Missing> {
    let name = record.name.as_str();
    if let (Some(data), Some(len)) = (value.field("data_ptr", memory), value.field("length", memory)) {
        return fat(name, &data, &len, memory);
    }
    if name == "alloc::string::String" {
        let Some(inner) = value.field("vec", memory) else { return Ok(None) };
        return text(sequence(&inner, memory)?);
    }
    if name.ends_with("os_str::OsString") || name == "std::path::PathBuf" {
        let Some(inner) = nested(value, "alloc::vec::Vec<u8", memory, 0) else { return Ok(None) };
        return text(sequence(&inner, memory)?);
    }
    if name.starts_with("alloc::vec::Vec<") {
        return sequence(value, memory);
    }
    for (prefix, label, member) in [("alloc::rc::Rc<", "Rc", "value"), ("alloc::sync::Arc<", "Arc", "data")] {
        if name.starts_with(prefix) {
            let Some(pointer) = first_pointer(value, memory, 0) else { return Ok(None) };
            let inner = pointer.pointee(memory)?.and_then(|inner| inner.field(member, memory));
            return Ok(inner.map(|value| Shape::Boxed { label, value }));
        }
    }
    Ok(None)
}

/// `&str`, `&[T]`, `Box<[T]>`: a pointer and a length.
fn fat(name: &str, data: &Value, len: &Value, memory: &dyn Memory) -> Result<Option<Shape>, Missing> {
    let (address, len) = (data.as_u64(memory)?, len.as_u64(memory)?);
    let inner = name.trim_start_matches('&').trim_start_matches("mut ");
    if inner == "str" || inner.starts_with("alloc::boxed::Box<str") || inner.ends_with("OsStr") {
        return Ok(Some(Shape::Text { address, len }));
    }
    let Kind::Pointer { target, .. } = data.ty.kind() else { return Ok(None) };
    Ok(Some(Shape::Sequence { label: short(name), element: target, address, len }))
}

fn sequence(value: &Value, memory: &dyn Memory) -> Result<Option<Shape>, Missing> {
    let parts = || Some((value.field("len", memory)?, value.field("buf", memory)?, template(&value.ty, 0)?));
    let Some((len, buffer, element)) = parts() else { return Ok(None) };
    let Some(pointer) = first_pointer(&buffer, memory, 0) else { return Ok(None) };
    let (address, len) = (pointer.as_u64(memory)?, len.as_u64(memory)?);
    Ok(Some(Shape::Sequence { label: "Vec".into(), element, address, len }))
}

fn text(sequence: Option<Shape>) -> Result<Option<Shape>, Missing> {
    Ok(match sequence {
        Some(Shape::Sequence { address, len, .. }) => Some(Shape::Text { address, len }),
        _ => None,
    })
}

fn cpp(value: &Value, record: &Record, memory: &dyn Memory) -> Result<Option<Shape>, Missing> {
    let name = record.name.as_str();
    if name.contains("basic_string<char") && name.starts_with("std::") {
        let pointer = value.field("_M_dataplus", memory).and_then(|plus| plus.field("_M_p", memory));
        let Some((pointer, len)) = pointer.zip(value.field("_M_string_length", memory)) else {
            return Ok(None);
        };
        return Ok(Some(Shape::Text { address: pointer.as_u64(memory)?, len: len.as_u64(memory)? }));
    }
    if name.starts_with("std::vector<") && !name.starts_with("std::vector<bool") {
        let Some(implementation) = value.field("_M_impl", memory) else { return Ok(None) };
        let start = implementation.field("_M_start", memory);
        let ends = start.zip(implementation.field("_M_finish", memory)).zip(template(&value.ty, 0));
        let Some(((start, finish), element)) = ends else { return Ok(None) };
        let (address, end) = (start.as_u64(memory)?, finish.as_u64(memory)?);
        let len = end.checked_sub(address).zip(Some(element.size()).filter(|&size| size != 0));
        return Ok(len.map(|(bytes, size)| Shape::Sequence {
            label: "std::vector".into(),
            element,
            address,
            len: bytes / size,
        }));
    }
    if name.starts_with("std::unique_ptr<") {
        let Some(pointer) = first_pointer(value, memory, 0) else { return Ok(None) };
        if pointer.as_u64(memory)? == 0 {
            return Ok(None);
        }
        return Ok(pointer.pointee(memory)?.map(|value| Shape::Boxed { label: "std::unique_ptr", value }));
    }
    Ok(None)
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
        Kind::Record(record) if depth < NESTING_MAX => record
            .members
            .iter()
            .find_map(|member| first_pointer(&value.member(member, memory), memory, depth + 1)),
        _ => None,
    }
}

fn nested(value: &Value, prefix: &str, memory: &dyn Memory, depth: u32) -> Option<Value> {
    let record = value.record().filter(|_| depth < NESTING_MAX)?;
    if record.name.starts_with(prefix) {
        return Some(value.clone());
    }
    record.members.iter().find_map(|member| nested(&value.member(member, memory), prefix, memory, depth + 1))
}

/// The type argument at `index` of a generic type.
fn template(ty: &Type, index: usize) -> Option<Type> {
    let Type::Described(described) = ty else { return None };
    let die = described.definition()?;
    let (debug, at) = (die.module.debug()?, die.at);
    let mut found: Vec<Option<DieAt>> = Vec::new();
    debug.children(at, |child, parameter| {
        if parameter.tag() == dw::DW_TAG_template_type_parameter && found.len() <= index {
            found.push(debug.linked(child, parameter, dw::DW_AT_type));
        }
    });
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
