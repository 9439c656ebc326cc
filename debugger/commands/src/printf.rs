//! Templates of `printf` and `dprintf`: a C format and the expressions for it.

use symbols::{Context, Missing};

use crate::parse;

/// The widest field.
const WIDTH_MAX: usize = 1000;

/// The longest text that `%s` shows, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// A format with its arguments, taken apart.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// As it was written.
    pub(crate) text: String,
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Directive, String),
}

/// `%-08.3lx`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Directive {
    left: bool,
    zeros: bool,
    sign: Option<char>,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    /// In bytes.
    size: u32,
    conversion: char,
}

impl Template {
    /// Reads `"FORMAT", EXPRESSION, …`.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let inside = text.strip_prefix('"').ok_or("a format in double quotes is needed")?;
        let end = closing_quote(inside).ok_or("the format has no closing quote")?;
        let (format, rest) = (&inside[..end], inside[end + 1..].trim_start());
        let arguments = match rest.strip_prefix(',') {
            Some(rest) => parse::arguments(rest),
            None if rest.is_empty() => Vec::new(),
            None => return Err("a comma must follow the format".into()),
        };
        if arguments.iter().any(|argument| argument.is_empty()) {
            return Err("an expression is missing between the commas".into());
        }
        let mut arguments = arguments.into_iter();
        let pieces = pieces(&unescaped(format), &mut arguments)?;
        if let Some(left) = arguments.next() {
            return Err(format!("the format has no place for \"{left}\""));
        }
        Ok(Self { text: text.to_owned(), pieces })
    }

    /// The expressions in it.
    pub(crate) fn expressions(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Value(_, expression) => Some(expression.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The text with values put in. What has no value says why in its place.
    pub(crate) fn fill(&self, context: &Context<'_>) -> String {
        let fill = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Value(directive, expression) => {
                directive.shown(context, expression).unwrap_or_else(|why| format!("<{why}>"))
            }
        };
        self.pieces.iter().map(fill).collect()
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let closes = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        closes
    })
}

/// C's escapes of single characters.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        out.push(match letters.next() {
            Some('n') => '\n',
            Some('t') => '\t',
            Some('r') => '\r',
            Some('a') => '\u{7}',
            Some('e') => '\u{1b}',
            Some(other) => other,
            None => '\\',
        });
    }
    out
}

fn pieces(format: &str, arguments: &mut dyn Iterator<Item = &str>) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('%') {
            text.push('%');
            rest = after;
            continue;
        }
        let (directive, after) = directive(rest)?;
        rest = after;
        let expression = arguments.next().ok_or("the format needs more expressions than there are")?;
        pieces.push(Piece::Text(std::mem::take(&mut text)));
        pieces.push(Piece::Value(directive, expression.to_owned()));
    }
    text.push_str(rest);
    pieces.push(Piece::Text(text));
    Ok(pieces)
}

/// What follows a `%`, and the rest.
fn directive(text: &str) -> Result<(Directive, &str), String> {
    let mut directive = Directive { size: 4, ..Directive::default() };
    let flags = text.find(|letter| !"-0+ #'".contains(letter)).unwrap_or(text.len());
    for flag in text[..flags].chars() {
        match flag {
            '-' => directive.left = true,
            '0' => directive.zeros = true,
            '+' => directive.sign = Some('+'),
            ' ' => directive.sign = directive.sign.or(Some(' ')),
            '#' => directive.alternate = true,
            _ => {}
        }
    }
    let (width, mut rest) = digits(&text[flags..]);
    directive.width = width.unwrap_or(0).min(WIDTH_MAX);
    if let Some(after) = rest.strip_prefix('.') {
        let (precision, after) = digits(after);
        directive.precision = Some(precision.unwrap_or(0).min(WIDTH_MAX));
        rest = after;
    }
    for (prefix, size) in [("hh", 1), ("h", 2), ("ll", 8), ("l", 8), ("j", 8), ("z", 8), ("t", 8), ("L", 8)] {
        if let Some(after) = rest.strip_prefix(prefix) {
            directive.size = size;
            rest = after;
            break;
        }
    }
    let conversion = rest.chars().next().ok_or("the format ends within a %")?;
    if !"diuxXocpsfFgGeE".contains(conversion) {
        return Err(format!("%{conversion} is not known: use %d %i %u %x %o %c %p %s %f %g %e"));
    }
    directive.conversion = conversion;
    Ok((directive, &rest[conversion.len_utf8()..]))
}

fn digits(text: &str) -> (Option<usize>, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().ok(), &text[end..])
}

impl Directive {
    fn shown(&self, context: &Context<'_>, expression: &str) -> Result<String, String> {
        let missing = |missing: Missing| missing.to_string();
        let eval = |text: &str| context.eval(text).map_err(|error| error.to_string());
        let text = match self.conversion {
            's' => {
                let value = eval(expression)?;
                let bytes = symbols::text_of(&value, context.memory).map_err(missing)?;
                let bytes = bytes.ok_or_else(|| format!("{expression} is no string"))?;
                let len = self.precision.unwrap_or(TEXT_BYTES_MAX).min(bytes.len());
                return Ok(self.padded(&String::from_utf8_lossy(&bytes[..len])));
            }
            'f' | 'F' | 'g' | 'G' | 'e' | 'E' => {
                let bytes =
                    eval(&format!("(double)({expression})"))?.bytes(context.memory).map_err(missing)?;
                let bytes = bytes.as_ref().try_into().map_err(|_| "it is no number".to_owned())?;
                self.float(f64::from_le_bytes(bytes))
            }
            _ => {
                let value = eval(expression)?;
                // An array is its address, as in C.
                let number = value.as_u64(context.memory);
                self.integer(number.or_else(|why| value.address().ok_or(why)).map_err(missing)?)
            }
        };
        Ok(self.padded(&text))
    }

    fn integer(&self, number: u64) -> String {
        let unused = 64 - 8 * self.size;
        let (signed, unsigned) = ((number << unused) as i64 >> unused, number << unused >> unused);
        let (sign, prefix, digits) = match self.conversion {
            'c' => return char::from(number as u8).to_string(),
            'p' => return format!("{number:#x}"),
            'd' | 'i' if signed < 0 => ("-".to_owned(), "", signed.unsigned_abs().to_string()),
            'd' | 'i' => (self.sign.map_or(String::new(), String::from), "", signed.to_string()),
            'x' => (String::new(), "0x", format!("{unsigned:x}")),
            'X' => (String::new(), "0X", format!("{unsigned:X}")),
            'o' => (String::new(), "0", format!("{unsigned:o}")),
            _ => (String::new(), "", unsigned.to_string()),
        };
        let prefix = if self.alternate && unsigned != 0 { prefix } else { "" };
        let zeros = match self.precision {
            Some(precision) => precision,
            None if self.zeros && !self.left => self.width.saturating_sub(sign.len() + prefix.len()),
            None => 0,
        };
        format!("{sign}{prefix}{digits:0>zeros$}")
    }

    fn float(&self, number: f64) -> String {
        let precision = self.precision.unwrap_or(6);
        let text = match self.conversion {
            'f' | 'F' => format!("{number:.precision$}"),
            'e' | 'E' => exponential(number, precision),
            _ => general(number, precision.max(1)),
        };
        let sign = self.sign.filter(|_| number.is_sign_positive()).map_or(String::new(), String::from);
        let width = if self.zeros && !self.left { self.width.saturating_sub(sign.len()) } else { 0 };
        let negative = text.strip_prefix('-');
        match negative {
            Some(digits) => format!("-{digits:0>width$}", width = width.saturating_sub(1)),
            None => format!("{sign}{text:0>width$}"),
        }
    }

    fn padded(&self, text: &str) -> String {
        let width = self.width;
        if self.left { format!("{text:<width$}") } else { format!("{text:>width$}") }
    }
}

/// C writes at least two digits of the exponent, and its sign.
fn exponential(number: f64, precision: usize) -> String {
    let text = format!("{number:.precision$e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}e{sign}{exponent:0>2}")
}

/// The shorter of both forms, without zeros at the end.
fn general(number: f64, precision: usize) -> String {
    let scientific = format!("{number:.*e}", precision - 1);
    let exponent = scientific.split_once('e').and_then(|(_, exponent)| exponent.parse::<i64>().ok());
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match exponent {
        Some(exponent) if exponent < -4 || exponent >= precision as i64 => {
            let text = exponential(number, precision - 1);
            let (digits, exponent) = text.split_once('e').unwrap_or((&text, "+00"));
            format!("{}e{exponent}", trimmed(digits))
        }
        Some(exponent) => {
            let places = (precision as i64 - 1 - exponent).max(0) as usize;
            trimmed(&format!("{number:.places$}"))
        }
        None => scientific,
    }
}

#[cfg(test)]
mod tests {
    use symbols::{ImageCache, NoMemory, Symbols};

    use super::*;

    fn filled(text: &str) -> String {
        let symbols = Symbols::new(ImageCache::new());
        let template = Template::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        template.fill(&Context::new(&symbols, &NoMemory, None))
    }

    #[test]
    fn values_are_put_in_as_c_does() {
        for (text, expected) in [
            (r#""plain\n""#, "plain\n"),
            (r#""%d %i|%u", -5, 7, -1"#, "-5 7|4294967295"),
            (r#""%5d|%-5d|%05d|%+d", 42, 42, -42, 42"#, "   42|42   |-0042|+42"),
            (r#""%x %#x %08lx %X", 255, 255, 0x1234, 255"#, "ff 0xff 00001234 FF"),
            (r#""%ld %lu", 0x123456789a, 1 << 40"#, "78187493530 0"),
            (r#""100%% of %c", 65"#, "100% of A"),
            (r#""%s, %.2s|%6s", "ab\"c", "hello", "x""#, "ab\"c, he|     x"),
            (r#""%f %.2f %e %g", 1.5, 2.0, 1500.0, 0.0001"#, "1.500000 2.00 1.500000e+03 0.0001"),
            (r#""%g %g %08.3f", 1e10, 100000, -1.5"#, "1e+10 100000 -001.500"),
            (r#""%p", 0x1000"#, "0x1000"),
            (r#""%d", nothing"#, "<no symbol \"nothing\" in current context>"),
        ] {
            assert_eq!(filled(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("x", "a format in double quotes is needed"),
            ("\"x", "the format has no closing quote"),
            ("\"%d\"", "the format needs more expressions than there are"),
            ("\"x\", 1", "the format has no place for \"1\""),
            ("\"%d\" 1", "a comma must follow the format"),
            ("\"%d\",", "an expression is missing between the commas"),
            ("\"%", "the format has no closing quote"),
            ("\"%\"", "the format ends within a %"),
            ("\"%n\", 1", "%n is not known: use %d %i %u %x %o %c %p %s %f %g %e"),
        ] {
            assert_eq!(Template::parse(text).map(|_| ()), Err(expected.to_owned()), "{text}");
        }
    }
}
