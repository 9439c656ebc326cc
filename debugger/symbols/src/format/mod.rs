//! Values as text, in gdb's manner: `{x = 1, y = 2}`, `0x4010 "text"`, `Some(5)`.

mod containers;
mod text;

pub(crate) use text::quote;

use crate::location::Missing;
use crate::memory;
use crate::scope::Context;
use crate::shapes::{self, Shape};
use crate::types::{Encoding, Enum, Kind, Member, Record, Scalar, Type};
use crate::value::{Data, Value, float_of, integer_of};
use std::cell::RefCell;
use text::{char_text, flags, float_text, quoted, unicode_text};

/// Length of the whole text, whatever the limits are.
const TEXT_MAX: usize = 32 << 10;
/// As many equal elements in a row are written once.
const REPEATS_MIN: usize = 10;

/// How much of a value is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Elements of an array or container, and bytes of a text.
    pub elements: u64,
    /// Structures inside each other.
    pub depth: u32,
}

impl Default for Limits {
    /// gdb's.
    fn default() -> Self {
        Self { elements: 200, depth: 12 }
    }
}

/// gdb's format letters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As the type says.
    #[default]
    Natural,
    /// `x`: hexadecimal.
    Hex,
    /// `z`: hexadecimal with leading zeros.
    PaddedHex,
    /// `d`: signed decimal.
    Decimal,
    /// `u`: unsigned decimal.
    Unsigned,
    /// `o`: octal.
    Octal,
    /// `t`: binary.
    Binary,
    /// `c`: character.
    Char,
    /// `s`: text.
    Text,
    /// `a`: address with symbol.
    Address,
    /// `f`: floating point.
    Float,
}

impl Format {
    /// The format of gdb's letter.
    pub fn from_letter(letter: char) -> Option<Self> {
        Some(match letter {
            'x' => Self::Hex,
            'z' => Self::PaddedHex,
            'd' => Self::Decimal,
            'u' => Self::Unsigned,
            'o' => Self::Octal,
            't' => Self::Binary,
            'c' => Self::Char,
            's' => Self::Text,
            'a' => Self::Address,
            'f' => Self::Float,
            _ => return None,
        })
    }
}

impl Context<'_> {
    /// A value as text, as `print` shows it.
    pub fn format(&self, value: &Value, format: Format) -> String {
        let printer = Printer::new(self, format);
        let mut out = String::new();
        if format == Format::Natural && !matches!(value.data, Data::Missing(_)) {
            out.push_str(&printer.pointer_type(value));
        }
        printer.value(&mut out, value, 0);
        cut(out)
    }

    /// A value as text without the type that `print` puts before a pointer: for arguments and members.
    pub fn format_short(&self, value: &Value) -> String {
        let mut out = String::new();
        Printer::new(self, Format::Natural).value(&mut out, value, 0);
        cut(out)
    }

    /// Whether a value is shown in a backtrace: numbers, texts and what wraps them, and Rust's references to these.
    fn is_short(&self, value: &Value) -> bool {
        match shapes::shape(value, self.memory) {
            Ok(Some(Shape::Text { .. } | Shape::Words(_) | Shape::Code { .. })) => return true,
            Ok(Some(Shape::Same(inner))) => return self.is_short(&inner),
            Ok(Some(_)) => return false,
            Ok(None) | Err(_) => {}
        }
        match value.ty.kind() {
            Kind::Record(_) | Kind::Array { .. } => false,
            Kind::Pointer { target, .. } if is_rust_reference(&value.ty) => {
                matches!(target.kind(), Kind::Scalar(_) | Kind::Enum(_))
            }
            _ => true,
        }
    }

    /// A frame's argument list for a backtrace: `name=value, …`, structures left out as `...`.
    pub fn format_arguments(&self) -> String {
        let arguments = self.arguments().into_iter().map(|argument| {
            let value = self.value_of(&argument);
            let text = if value.absent().is_some() || self.is_short(&value) {
                self.format_short(&value)
            } else if let Kind::Pointer { .. } = value.ty.kind() {
                value.as_u64(self.memory).map_or_else(|missing| missing.to_string(), |at| format!("{at:#x}"))
            } else {
                "...".into()
            };
            format!("{}={text}", argument.name)
        });
        arguments.collect::<Vec<_>>().join(", ")
    }
}

/// Rust's `&T` and `&mut T`, which are always of a value.
fn is_rust_reference(ty: &Type) -> bool {
    ty.is_rust() && ty.name().starts_with('&')
}

fn cut(mut text: String) -> String {
    if text.len() > TEXT_MAX {
        let end = (0..=TEXT_MAX).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
        text.push_str("...");
    }
    text
}

struct Printer<'a> {
    context: &'a Context<'a>,
    format: Format,
    /// Where the values are that are being written, from the outermost on: what leads back to one is not followed.
    open: RefCell<Vec<(u64, String)>>,
}

impl<'a> Printer<'a> {
    fn new(context: &'a Context<'a>, format: Format) -> Self {
        Self { context, format, open: RefCell::default() }
    }

    /// How much of a text is shown.
    fn text_bytes(&self) -> u64 {
        self.context.limits.elements.min(TEXT_MAX as u64)
    }

    fn value(&self, out: &mut String, value: &Value, depth: u32) {
        if depth > self.context.limits.depth || out.len() > TEXT_MAX {
            out.push_str("...");
            return;
        }
        if let Err(missing) = self.try_value(out, value, depth) {
            out.push_str(&missing.to_string());
        }
    }

    fn try_value(&self, out: &mut String, value: &Value, depth: u32) -> Result<(), Missing> {
        if let Data::Missing(missing) = &value.data {
            return Err(missing.clone());
        }
        if let Some(shape) = shapes::shape(value, self.context.memory)? {
            return self.shape(out, &shape, depth);
        }
        match value.ty.kind() {
            Kind::Void => out.push_str("void"),
            Kind::Scalar(scalar) => self.scalar(out, &scalar, &value.bytes(self.context.memory)?),
            Kind::Pointer { target, reference } => self.pointer(out, value, &target, reference, depth)?,
            Kind::Record(record) => self.record(out, value, &record, depth)?,
            Kind::Array { element, count } => self.array(out, value, &element, count, depth)?,
            Kind::Enum(enumeration) => self.enumeration(out, value, &enumeration)?,
            Kind::Function => self.function(out, value),
        }
        Ok(())
    }

    fn scalar(&self, out: &mut String, scalar: &Scalar, bytes: &[u8]) {
        if self.format != Format::Natural && self.format != Format::Text {
            out.push_str(&self.lettered(bytes, scalar));
            return;
        }
        let number = integer_of(bytes, scalar.is_signed());
        match scalar.encoding {
            _ if scalar.size == 0 => out.push_str(&scalar.name),
            Encoding::Float => out.push_str(&float_text(bytes)),
            Encoding::Bool if number == 0 => out.push_str("false"),
            Encoding::Bool if number == 1 => out.push_str("true"),
            Encoding::SignedChar | Encoding::UnsignedChar if scalar.size == 1 => {
                out.push_str(&char_text(number))
            }
            Encoding::Unicode => out.push_str(&unicode_text(number, scalar.size, self.context.is_rust())),
            Encoding::Unsigned => out.push_str(&(number as u128).to_string()),
            _ => out.push_str(&number.to_string()),
        }
    }

    fn lettered(&self, bytes: &[u8], scalar: &Scalar) -> String {
        let unsigned = integer_of(bytes, false) as u128;
        match self.format {
            Format::Hex => format!("{unsigned:#x}"),
            Format::PaddedHex => format!("0x{unsigned:0width$x}", width = bytes.len() * 2),
            Format::Decimal => match scalar.encoding {
                Encoding::Float => (float_of(bytes) as i128).to_string(),
                _ => integer_of(bytes, true).to_string(),
            },
            Format::Unsigned => unsigned.to_string(),
            Format::Octal if unsigned == 0 => "0".into(),
            Format::Octal => format!("0{unsigned:o}"),
            Format::Binary => format!("{unsigned:b}"),
            Format::Char => char_text(integer_of(bytes.get(..1).unwrap_or_default(), scalar.is_signed())),
            Format::Address => self.address_text(unsigned as u64),
            Format::Float if bytes.len() == 4 || bytes.len() == 8 || bytes.len() >= 10 => float_text(bytes),
            _ => integer_of(bytes, scalar.is_signed()).to_string(),
        }
    }

    fn address_text(&self, address: u64) -> String {
        match self.context.symbols.symbol_at(address) {
            Some((name, 0)) => format!("{address:#x} <{name}>"),
            Some((name, offset)) => format!("{address:#x} <{name}+{offset}>"),
            None => format!("{address:#x}"),
        }
    }

    /// `(int *) ` before a pointer at the top, as gdb writes it.
    fn pointer_type(&self, value: &Value) -> String {
        match value.ty.kind() {
            Kind::Pointer { target, reference } if !reference && !shapes::is_byte_char(&target) => {
                let name = value.ty.name();
                let followed = name.starts_with("alloc::boxed::Box<") || is_rust_reference(&value.ty);
                if followed && target.size() > 0 { String::new() } else { format!("({name}) ") }
            }
            Kind::Pointer { reference: true, .. } => format!("({}) ", value.ty.name()),
            Kind::Function => format!("{{{}}} ", value.ty.name()),
            _ => String::new(),
        }
    }

    fn pointer(
        &self,
        out: &mut String,
        value: &Value,
        target: &Type,
        reference: bool,
        depth: u32,
    ) -> Result<(), Missing> {
        let address = value.as_address(self.context)?;
        if reference {
            out.push_str(&format!("@{address:#x}: "));
            self.value(out, &Value::at(target.clone(), address), depth + 1);
            return Ok(());
        }
        if self.format == Format::Natural && is_rust_reference(&value.ty) && target.size() > 0 {
            out.push('&');
            self.followed(out, &Value::at(target.clone(), address), depth);
            return Ok(());
        }
        if !matches!(self.format, Format::Natural | Format::Text) {
            let scalar = Scalar::new("", Encoding::Unsigned, 8);
            out.push_str(&self.lettered(&address.to_le_bytes(), &scalar));
            return Ok(());
        }
        if shapes::is_byte_char(target) {
            out.push_str(&format!("{address:#x}"));
            if address != 0 {
                out.push(' ');
                self.c_string(out, address);
            }
            return Ok(());
        }
        let symbol = self.context.symbols.symbol_at(address).filter(|_| address != 0);
        match symbol {
            Some((name, 0)) => out.push_str(&format!("{address:#x} <{name}>")),
            Some((name, offset)) => out.push_str(&format!("{address:#x} <{name}+{offset}>")),
            None => out.push_str(&format!("{address:#x}")),
        }
        Ok(())
    }

    fn c_string(&self, out: &mut String, address: u64) {
        match memory::read_cstr(self.context.memory, address, self.text_bytes() as usize) {
            Ok((text, whole)) => {
                quote(out, &text);
                out.push_str(if whole { "" } else { "..." });
            }
            Err(error) => out.push_str(&format!("<error: {error}>")),
        }
    }

    fn array(
        &self,
        out: &mut String,
        value: &Value,
        element: &Type,
        count: Option<u64>,
        depth: u32,
    ) -> Result<(), Missing> {
        let textual = matches!(self.format, Format::Natural | Format::Text) && shapes::is_byte_char(element);
        if textual {
            let shown =
                value.part(Type::Array(element.clone().into(), count), 0).bytes(self.context.memory)?;
            self.char_array(out, &shown);
            return Ok(());
        }
        let brackets = if element.is_rust() { ("[", "]") } else { ("{", "}") };
        self.elements(out, value, element, count.unwrap_or(0), depth, brackets);
        Ok(())
    }

    /// An array of characters is text; the NUL that ends it is not shown.
    fn char_array(&self, out: &mut String, bytes: &[u8]) {
        let filled = bytes.strip_suffix(&[0]).unwrap_or(bytes);
        let shown = filled.get(..filled.len().min(self.text_bytes() as usize)).unwrap_or_default();
        let mut parts: Vec<String> = Vec::new();
        let mut plain: Vec<u8> = Vec::new();
        for run in shown.chunk_by(|a, b| a == b) {
            match run.first() {
                Some(&byte) if run.len() > REPEATS_MIN => {
                    parts.extend(quoted(&std::mem::take(&mut plain)));
                    let letter = char_text(i128::from(byte));
                    let letter = letter.split_once(' ').map_or(letter.as_str(), |cut| cut.1);
                    parts.push(format!("{letter} <repeats {} times>", run.len()));
                }
                _ => plain.extend_from_slice(run),
            }
        }
        parts.extend(quoted(&plain));
        out.push_str(if parts.is_empty() { "\"\"" } else { "" });
        out.push_str(&parts.join(", "));
        out.push_str(if shown.len() < filled.len() { "..." } else { "" });
    }

    fn enumeration(&self, out: &mut String, value: &Value, enumeration: &Enum) -> Result<(), Missing> {
        let bytes = value.bytes(self.context.memory)?;
        if !matches!(self.format, Format::Natural | Format::Text) {
            let encoding = if enumeration.signed { Encoding::Signed } else { Encoding::Unsigned };
            out.push_str(&self.lettered(&bytes, &Scalar::new("", encoding, enumeration.size)));
            return Ok(());
        }
        let number = integer_of(&bytes, enumeration.signed);
        let text = match enumeration.values.iter().find(|known| known.1 == number) {
            Some((name, _)) if enumeration.path.is_empty() || is_librarys(&enumeration.path) => name.clone(),
            Some((name, _)) => format!("{}::{name}", enumeration.path),
            None => flags(enumeration, number),
        };
        out.push_str(&text);
        Ok(())
    }

    fn function(&self, out: &mut String, value: &Value) {
        let address = value.address.unwrap_or(0);
        out.push_str(&self.address_text(address));
    }

    fn record(&self, out: &mut String, value: &Value, record: &Record, depth: u32) -> Result<(), Missing> {
        if !record.rust {
            match self.context.dynamic(value) {
                Some(whole) => {
                    out.push_str(&format!("({}) ", whole.type_name()));
                    let Some(record) = whole.record() else { return Ok(()) };
                    self.c_record(out, &whole, &record, depth);
                }
                None => self.c_record(out, value, record, depth),
            }
            return Ok(());
        }
        let Some(variants) = &record.variants else {
            let name = if record.name.starts_with('(') { "" } else { record.name.as_str() };
            self.rust_record(out, name, value, record, depth);
            return Ok(());
        };
        let member = value.active_variant(variants, self.context.memory)?;
        let inner = value.member(member, self.context.memory);
        let Some(fields) = inner.record() else { return Ok(()) };
        let variant =
            member.name.clone().unwrap_or_else(|| crate::names::last_component(&fields.name).to_owned());
        if let Some(state) = coroutine_state(&record.name, &fields.name, member) {
            self.rust_record(out, &state, &inner, &fields, depth);
            return Ok(());
        }
        let name = if is_librarys(&record.name) { variant } else { format!("{}::{variant}", record.name) };
        self.rust_record(out, &name, &inner, &fields, depth);
        Ok(())
    }

    fn rust_record(&self, out: &mut String, name: &str, value: &Value, record: &Record, depth: u32) {
        let tuple = record
            .members
            .iter()
            .all(|member| member.name.as_deref().is_some_and(|name| name.starts_with("__")));
        out.push_str(name);
        if record.members.is_empty() {
            out.push_str(if name.is_empty() { "()" } else { "" });
            return;
        }
        let (open, close) = if tuple { ("(", ")") } else { (" {", "}") };
        out.push_str(if name.is_empty() { open.trim_start() } else { open });
        for (index, member) in record.members.iter().enumerate() {
            out.push_str(if index == 0 { "" } else { ", " });
            if !tuple && member.name.as_deref() == Some("__awaitee") {
                out.push_str("awaits: ");
            } else if !tuple {
                out.push_str(&format!("{}: ", member.name.as_deref().unwrap_or("_")));
            }
            self.value(out, &value.member(member, self.context.memory), depth + 1);
        }
        out.push_str(close);
    }

    fn c_record(&self, out: &mut String, value: &Value, record: &Record, depth: u32) {
        out.push('{');
        let nothing = |member: &&Member| member.base && member.ty.is_empty_record();
        let shown = record.members.iter().filter(|member| !nothing(member));
        for (index, member) in shown.enumerate() {
            out.push_str(if index == 0 { "" } else { ", " });
            out.push_str(&member_name(member));
            let part = value.member(member, self.context.memory);
            match part.record().filter(|base| member.base && !base.rust && depth < self.context.limits.depth)
            {
                // A base is a part here, whatever the whole is.
                Some(base) => self.c_record(out, &part, &base, depth + 1),
                None => self.value(out, &part, depth + 1),
            }
            if out.len() > TEXT_MAX {
                break;
            }
        }
        out.push('}');
    }
}

/// The names of the library's own enumerations need no path.
fn is_librarys(path: &str) -> bool {
    ["core::", "alloc::", "std::"].iter().any(|root| path.starts_with(root))
}

/// What an `async` function or block does: its variants are rustc's `Unresumed`, `Returned`, `Panicked` and `Suspend0` and on,
/// each with the line where it waits.
fn coroutine_state(name: &str, variant: &str, member: &Member) -> Option<String> {
    const MARKS: [&str; 3] = ["{async_fn_env#", "{async_block_env#", "{async_closure_env#"];
    if !MARKS.iter().any(|mark| name.contains(mark)) {
        return None;
    }
    let state = match crate::names::last_component(variant) {
        "Unresumed" => "not started".into(),
        "Returned" => "finished".into(),
        "Panicked" => "panicked".into(),
        _ => member.line.map_or_else(|| "waiting".into(), |line| format!("waiting at line {line}")),
    };
    Some(format!("{name} ({state})"))
}

fn member_name(member: &Member) -> String {
    match &member.name {
        _ if member.base => format!("<{}> = ", member.ty.name()),
        Some(name) => format!("{name} = "),
        None => String::new(),
    }
}

impl Value {
    fn as_address(&self, context: &Context<'_>) -> Result<u64, Missing> {
        Ok(integer_of(&self.bytes(context.memory)?, false) as u64)
    }
}
