//! `x`: memory as it is.

use serde_json::json;
use symbols::{Format, Value};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::output::Reply;

/// Units that one `x` shows at most.
const COUNT_MAX: u64 = 100_000;

/// Length of a string shown.
const TEXT_BYTES_MAX: usize = 4096;

/// What the last `x` used, which the next one goes on with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Examined {
    next: u64,
    letter: char,
    unit: u64,
}

impl Default for Examined {
    fn default() -> Self {
        Self { next: 0, letter: 'x', unit: 4 }
    }
}

/// `N`, `F` and `U` of `x/NFU`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spec {
    count: u64,
    letter: char,
    unit: u64,
}

impl Spec {
    fn parse(text: &str, last: &Examined) -> Result<Spec, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (count, letters) = text.split_at(digits);
        let count =
            if count.is_empty() { 1 } else { count.parse().map_err(|_| format!("{count} is too many"))? };
        if count > COUNT_MAX {
            return Err(format!("{count} is too many: x shows up to {COUNT_MAX} units"));
        }
        let mut spec = Spec { count, letter: last.letter, unit: last.unit };
        let mut unit = None;
        for letter in letters.chars() {
            match letter {
                'b' => unit = Some(1),
                'h' => unit = Some(2),
                'w' => unit = Some(4),
                'g' => unit = Some(8),
                'i' | 's' => spec.letter = letter,
                letter if Format::from_letter(letter).is_some() => spec.letter = letter,
                letter => {
                    return Err(format!(
                        "there is no format letter {letter}; x knows /xzduotacfsi and the units bhwg"
                    ));
                }
            }
        }
        spec.unit = match (spec.letter, unit) {
            ('a', _) => 8,
            ('c', None) => 1,
            ('f', None) if spec.unit < 4 => 8,
            (_, Some(unit)) => unit,
            _ => spec.unit,
        };
        Ok(spec)
    }

    /// Units on one line, as gdb lays them out.
    fn per_line(&self) -> u64 {
        match (self.letter, self.unit) {
            ('c', _) | (_, 1) => 8,
            ('t', 2) => 4,
            (_, 2) => 8,
            ('a', _) | (_, 8) => 2,
            ('t', _) => 2,
            _ => 4,
        }
    }
}

impl Debugger {
    /// `x/NFU [ADDRESS]`.
    pub(crate) fn examine(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let spec = Spec::parse(format, &self.examined).map_err(CommandError::Other)?;
        let address = match arguments {
            "" => self.examined.next,
            text => self.address_of(text)?,
        };
        self.examined.letter =
            if matches!(spec.letter, 'i' | 's') { self.examined.letter } else { spec.letter };
        self.examined.unit = spec.unit;
        self.examined.next = match spec.letter {
            'i' => self.show_instructions(address, spec.count, reply)?,
            's' => self.examine_texts(address, spec.count, reply)?,
            _ => self.examine_units(address, &spec, reply)?,
        };
        Ok(Flow::Continue)
    }

    /// An address: a pointer's or number's value, else where the value lies.
    pub(crate) fn address_of(&mut self, text: &str) -> Result<u64, CommandError> {
        let value = self.eval(text)?;
        let is_aggregate = value.address().is_some() && value.size() > 8;
        let name = value.type_name();
        if let Some(address) =
            value.address().filter(|_| is_aggregate || name.contains('[') || name.contains(" ("))
        {
            return Ok(address);
        }
        let number = self.with_context(|context| value.as_u64(context.memory))?;
        number
            .or_else(|missing| value.address().ok_or(missing))
            .map_err(|missing| CommandError::Other(format!("\"{text}\" is no address: {missing}")))
    }

    fn examine_units(
        &mut self,
        address: u64,
        spec: &Spec,
        reply: &mut Reply<'_>,
    ) -> Result<u64, CommandError> {
        let format = match spec.letter {
            // gdb pads what `x` shows in hexadecimal.
            'x' => Format::PaddedHex,
            letter => Format::from_letter(letter).unwrap_or_default(),
        };
        let mut at = address;
        let mut values = Vec::new();
        for index in 0..spec.count {
            let bytes = match self.read_bytes(at, spec.unit as usize) {
                Ok(bytes) => bytes,
                Err(error) => {
                    if index % spec.per_line() != 0 {
                        reply.line("");
                    }
                    return Err(error);
                }
            };
            if index % spec.per_line() == 0 {
                let end = if index == 0 { "" } else { "\n" };
                reply.text(format!("{end}{}:", self.address_text(at)?));
            }
            let shown = self.unit_text(&bytes, spec.letter, format)?;
            reply.text(format!("\t{shown}"));
            values.push(json!(shown));
            at = at.wrapping_add(spec.unit);
        }
        reply.line("");
        reply.set("address", format!("{address:#x}"));
        reply.set("values", values);
        Ok(at)
    }

    fn unit_text(&mut self, bytes: &[u8], letter: char, format: Format) -> Result<String, CommandError> {
        let number = bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        let bits = bytes.len() as u32 * 8;
        let signed = ((number << (64 - bits)) as i64) >> (64 - bits);
        Ok(match letter {
            'f' if bytes.len() == 4 => f32::from_bits(number as u32).to_string(),
            'f' => f64::from_bits(number).to_string(),
            'd' => signed.to_string(),
            'x' | 'z' => format!("0x{number:0width$x}", width = bytes.len() * 2),
            't' => format!("{number:0width$b}", width = bytes.len() * 8),
            'u' => number.to_string(),
            'o' => format!("0{number:o}"),
            'c' => self.format_value(&Value::from_i64(i64::from(signed as i8)), Format::Char)?,
            _ => self.format_value(&Value::from_u64(number), format)?,
        })
    }

    fn examine_texts(
        &mut self,
        address: u64,
        count: u64,
        reply: &mut Reply<'_>,
    ) -> Result<u64, CommandError> {
        let mut at = address;
        let mut values = Vec::new();
        for _ in 0..count {
            let (text, whole) = self.read_text(at)?;
            let shown = quoted(&text);
            reply.line(format!("{}:\t{shown}{}", self.address_text(at)?, if whole { "" } else { "..." }));
            values.push(json!(String::from_utf8_lossy(&text)));
            at = at.wrapping_add(text.len() as u64 + u64::from(whole));
        }
        reply.set("values", values);
        Ok(at)
    }

    /// Bytes up to a NUL; whether there was one.
    fn read_text(&self, address: u64) -> Result<(Vec<u8>, bool), CommandError> {
        let mut buffer = vec![0; TEXT_BYTES_MAX];
        let read = self.session.read_memory(self.thread()?, address, &mut buffer)?;
        buffer.truncate(read);
        match buffer.iter().position(|byte| *byte == 0) {
            Some(end) => {
                buffer.truncate(end);
                Ok((buffer, true))
            }
            None => Ok((buffer, false)),
        }
    }

    pub(crate) fn read_bytes(&self, address: u64, len: usize) -> Result<Vec<u8>, CommandError> {
        let mut bytes = vec![0; len];
        let read = self.session.read_memory(self.thread()?, address, &mut bytes)?;
        if read < len {
            let end = address.wrapping_add(read as u64);
            return Err(CommandError::Other(format!("there is no memory at address {end:#x}")));
        }
        Ok(bytes)
    }

    /// `0x… <main+4>`.
    pub(crate) fn address_text(&mut self, address: u64) -> Result<String, CommandError> {
        let symbols = self.symbols()?;
        Ok(match symbols.symbol_at(address) {
            Some((name, 0)) => format!("{address:#x} <{name}>"),
            Some((name, offset)) => format!("{address:#x} <{name}+{offset}>"),
            None => format!("{address:#x}"),
        })
    }
}

/// Text in quotes, with escapes for what cannot be shown.
fn quoted(text: &[u8]) -> String {
    let mut out = String::from('"');
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' | '\\' => out.extend(['\\', letter]),
                '\n' => out.push_str("\\n"),
                '\t' => out.push_str("\\t"),
                '\r' => out.push_str("\\r"),
                letter if letter.is_control() => out.push_str(&format!("\\{:03o}", u32::from(letter))),
                letter => out.push(letter),
            }
        }
        chunk.invalid().iter().for_each(|byte| out.push_str(&format!("\\{byte:03o}")));
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        let parse = |text: &str| {
            let spec = Spec::parse(text, &Examined::default()).unwrap();
            (spec.count, spec.letter, spec.unit)
        };
        assert_eq!(parse("4gx"), (4, 'x', 8));
        assert_eq!(parse("8xb"), (8, 'x', 1));
        assert_eq!(parse(""), (1, 'x', 4));
        assert_eq!(parse("5i"), (5, 'i', 4));
        assert_eq!(parse("a"), (1, 'a', 8));
        for bad in ["q", "9999999999", "99999999999999999999999"] {
            assert!(Spec::parse(bad, &Examined::default()).is_err());
        }
    }

    #[test]
    fn hostile_text_is_escaped() {
        assert_eq!(quoted(b"a\"\x1b[31m\xff\n"), "\"a\\\"\\033[31m\\377\\n\"");
    }
}
