//! How users name places in code: `12`, `+3`, `demo.c:12`, `main`, `demo.c:main`, `*0x401000`.

/// A place as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Linespec {
    /// Where the selected frame is.
    Here,
    /// A line of the current file.
    Line(u32),
    /// So many lines after the current one.
    Offset(i64),
    /// A line of a file.
    FileLine(String, u32),
    /// A function.
    Function(String),
    /// A function of a file.
    FileFunction(String, String),
    /// An address, as an expression.
    Address(String),
}

impl Linespec {
    /// Reads a place.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(Self::Here);
        }
        if let Some(address) = text.strip_prefix('*') {
            return match address.trim() {
                "" => Err("an address must follow the \"*\"".into()),
                address => Ok(Self::Address(address.to_owned())),
            };
        }
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return line(text).map(Self::Line);
        }
        if let Some(sign) = text.chars().next().filter(|sign| matches!(sign, '+' | '-')) {
            let offset = i64::from(line(text[1..].trim())?);
            return Ok(Self::Offset(if sign == '-' { -offset } else { offset }));
        }
        match split_file(text) {
            Some((_, "")) => Err(format!("a line or a function must follow \"{text}\"")),
            Some((file, rest)) if rest.bytes().all(|byte| byte.is_ascii_digit()) => {
                Ok(Self::FileLine(file.to_owned(), line(rest)?))
            }
            Some((file, rest)) => Ok(Self::FileFunction(file.to_owned(), rest.to_owned())),
            None => Ok(Self::Function(text.to_owned())),
        }
    }
}

fn line(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(0) => Err("lines are counted from 1".into()),
        Ok(line) => Ok(line),
        Err(_) => Err(format!("\"{text}\" is no line number")),
    }
}

/// Cuts at the last colon that is no part of `::`.
fn split_file(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let single = |at: usize| {
        let before = at.checked_sub(1).and_then(|at| bytes.get(at));
        bytes.get(at) == Some(&b':') && bytes.get(at + 1) != Some(&b':') && before != Some(&b':')
    };
    let at = (1..bytes.len()).rev().find(|at| single(*at))?;
    Some((text[..at].trim(), text[at + 1..].trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form() {
        let parse = |text: &str| Linespec::parse(text).unwrap();
        assert_eq!(parse(""), Linespec::Here);
        assert_eq!(parse("12"), Linespec::Line(12));
        assert_eq!(parse("-3"), Linespec::Offset(-3));
        assert_eq!(parse("a/b.c:7"), Linespec::FileLine("a/b.c".into(), 7));
        assert_eq!(parse("main"), Linespec::Function("main".into()));
        assert_eq!(parse("core::fmt::write"), Linespec::Function("core::fmt::write".into()));
        assert_eq!(parse("m.rs:a::b"), Linespec::FileFunction("m.rs".into(), "a::b".into()));
        assert_eq!(parse("*$pc + 4"), Linespec::Address("$pc + 4".into()));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["0", "*", "a.c:", "a.c:0", "99999999999", "+", "+x"] {
            assert!(Linespec::parse(text).is_err(), "{text}");
        }
    }
}
