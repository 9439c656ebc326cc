//! Scalars and text as text.

use crate::types::Enum;
use crate::value::float_of;

/// `(READ | WRITE)` when the enumeration's values are single bits, else the number.
pub(super) fn flags(enumeration: &Enum, number: i128) -> String {
    let single = |value: i128| value > 0 && value & (value - 1) == 0;
    let set = enumeration.values.iter().filter(|(_, value)| single(*value) && number & value != 0);
    let set: Vec<_> = set.collect();
    let known = set.iter().fold(0, |sum, (_, value)| sum | value);
    if set.is_empty()
        || number < 0
        || !enumeration.values.iter().all(|(_, value)| *value == 0 || single(*value))
    {
        return number.to_string();
    }
    let mut parts: Vec<String> = set.iter().map(|(name, _)| name.clone()).collect();
    if number & !known != 0 {
        parts.push(format!("unknown: {:#x}", number & !known));
    }
    format!("({})", parts.join(" | "))
}

/// Shortest text that reads back as the same number; whole numbers without a fraction, as gdb writes them.
pub(super) fn float_text(bytes: &[u8]) -> String {
    let value = float_of(bytes);
    if value.is_nan() {
        return if value.is_sign_negative() { "-nan".into() } else { "nan".into() };
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf".into() } else { "inf".into() };
    }
    let size = value.abs();
    let scientific = size != 0.0 && !(1e-5..1e17).contains(&size);
    let text = match (bytes.len(), scientific) {
        (4, false) => (value as f32).to_string(),
        (4, true) => format!("{:e}", value as f32),
        (_, false) => value.to_string(),
        (_, true) => format!("{value:e}"),
    };
    match text.split_once('e') {
        Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent:0>2}"),
        Some((digits, exponent)) => format!("{digits}e-{:0>2}", exponent.trim_start_matches('-')),
        None => text,
    }
}

/// `97 'a'`.
pub(super) fn char_text(number: i128) -> String {
    let mut text = format!("{number} '");
    match number as u8 {
        b'\'' => text.push_str("\\'"),
        b'"' => text.push('"'),
        byte => escape(&mut text, byte),
    }
    text + "'"
}

/// `97 'a'`, or `'a'` alone in Rust.
pub(super) fn unicode_text(number: i128, size: u64, rust: bool) -> String {
    let letter = u32::try_from(number).ok().and_then(char::from_u32).filter(|letter| !letter.is_control());
    let shown = match letter {
        Some(letter) => format!("'{letter}'"),
        None => format!("'\\u{{{number:x}}}'"),
    };
    if rust && size == 4 { shown } else { format!("{number} {shown}") }
}

pub(super) fn quoted(text: &[u8]) -> Option<String> {
    let mut out = String::new();
    quote(&mut out, text);
    (!text.is_empty()).then_some(out)
}

fn escape(out: &mut String, byte: u8) {
    match byte {
        b'\n' => out.push_str("\\n"),
        b'\t' => out.push_str("\\t"),
        b'\r' => out.push_str("\\r"),
        7 => out.push_str("\\a"),
        8 => out.push_str("\\b"),
        11 => out.push_str("\\v"),
        12 => out.push_str("\\f"),
        27 => out.push_str("\\033"),
        b'\\' => out.push_str("\\\\"),
        b'"' => out.push_str("\\\""),
        0x20..=0x7e => out.push(char::from(byte)),
        byte => out.push_str(&format!("\\{byte:03o}")),
    }
}

/// Text in quotes: UTF-8 as it is, other bytes in octal.
pub(crate) fn quote(out: &mut String, text: &[u8]) {
    out.push('"');
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match u8::try_from(u32::from(letter)) {
                Ok(byte) if byte < 0x80 => escape(out, byte),
                _ => out.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|&byte| escape(out, byte));
    }
    out.push('"');
}
