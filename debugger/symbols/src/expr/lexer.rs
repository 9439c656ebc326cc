//! Text to tokens, each with its column.

use super::Error;

/// Expressions longer than this are refused.
const TEXT_MAX: usize = 64 << 10;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    Integer {
        value: u128,
        suffix: String,
    },
    Float(f64),
    Char(u32),
    Text(Vec<u8>),
    /// A name, with its path: `a::b`.
    Name(String),
    /// `$name`, without the dollar.
    Dollar(String),
    Sign(&'static str),
    End,
}

/// Longer signs first, so that `<<` is not two `<`.
const SIGNS: [&str; 37] = [
    "..=", "..", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "->", "+", "-", "*", "/", "%", "&", "|",
    "^", "~", "!", "<", ">", "(", ")", "[", "]", ".", ",", "@", "?", ":", "=", "{", "}", ";", "#",
];

pub(crate) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    tokens: Vec<(Token, usize)>,
}

/// All tokens with their columns; the last is [`Token::End`].
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, usize)>, Error> {
    if text.len() > TEXT_MAX {
        return Err(Error::new(1, "expression is too long"));
    }
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new() };
    while lexer.next()? {}
    Ok(lexer.tokens)
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn column(&self) -> usize {
        self.text.get(..self.at).unwrap_or_default().chars().count() + 1
    }

    fn take(&mut self, wanted: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|letter| !wanted(letter)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    fn next(&mut self) -> Result<bool, Error> {
        self.take(char::is_whitespace);
        let column = self.column();
        let Some(first) = self.peek() else {
            self.tokens.push((Token::End, column));
            return Ok(false);
        };
        let after_dot = matches!(self.tokens.last(), Some((Token::Sign("."), _)));
        let token = match first {
            '0'..='9' if after_dot => self.field_number(column)?,
            '0'..='9' => self.number(column)?,
            '\'' => self.character(column)?,
            '"' => self.string(column)?,
            '$' => {
                self.at += 1;
                Token::Dollar(self.take(|letter| letter.is_alphanumeric() || letter == '_').to_owned())
            }
            _ if is_name_start(first) || self.rest().starts_with("::") => self.name(),
            _ => self.sign(column)?,
        };
        self.tokens.push((token, column));
        Ok(true)
    }

    /// `.0` of a tuple: digits alone, so that `pair.0.1` is two fields and no fraction.
    fn field_number(&mut self, column: usize) -> Result<Token, Error> {
        let digits = self.take(|letter| letter.is_ascii_digit());
        let value = digits.parse().map_err(|_| Error::new(column, "bad field number"))?;
        Ok(Token::Integer { value, suffix: String::new() })
    }

    fn number(&mut self, column: usize) -> Result<Token, Error> {
        let start = self.at;
        let word = self.take(|letter| letter.is_alphanumeric() || letter == '_');
        let (radix, digits) = match word.get(..2) {
            Some("0x" | "0X") => (16, word.get(2..)),
            Some("0b" | "0B") => (2, word.get(2..)),
            Some("0o") => (8, word.get(2..)),
            _ => (10, Some(word)),
        };
        let digits = digits.unwrap_or_default();
        if radix == 10 && self.is_fraction(word) {
            self.at = start;
            return self.float(column);
        }
        // A leading zero is octal, as in C.
        let plain = radix == 10 && digits.len() > 1 && digits.starts_with('0');
        let radix = if plain { 8 } else { radix };
        let bad = || Error::new(column, format!("invalid number \"{word}\""));
        let end =
            digits.find(|letter: char| !(letter.is_digit(radix) || letter == '_')).unwrap_or(digits.len());
        let (digits, suffix) = digits.split_at_checked(end).ok_or_else(bad)?;
        let digits = digits.replace('_', "");
        let value = u128::from_str_radix(&digits, radix).map_err(|_| bad())?;
        let suffix = suffix.to_ascii_lowercase();
        if !SUFFIXES.contains(&suffix.as_str()) {
            return Err(bad());
        }
        Ok(Token::Integer { value, suffix })
    }

    fn is_fraction(&self, word: &str) -> bool {
        let digits = word.trim_end_matches(['f', 'F']);
        let exponent = digits
            .split_once(['e', 'E'])
            .is_some_and(|(before, _)| before.chars().all(|l| l.is_ascii_digit()));
        let mut rest = self.rest().chars();
        let point = rest.next() == Some('.')
            && !rest.next().is_some_and(|letter| letter == '.' || is_name_start(letter));
        exponent || (point && word.chars().all(|letter| letter.is_ascii_digit()))
    }

    fn float(&mut self, column: usize) -> Result<Token, Error> {
        let start = self.at;
        self.take(|letter| letter.is_ascii_digit());
        if self.peek() == Some('.') {
            self.at += 1;
            self.take(|letter| letter.is_ascii_digit());
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            self.at += 1;
            if matches!(self.peek(), Some('+' | '-')) {
                self.at += 1;
            }
            self.take(|letter| letter.is_ascii_digit());
        }
        let text = self.text.get(start..self.at).unwrap_or_default();
        let suffix = self.take(|letter| letter.is_alphanumeric());
        let bad = || Error::new(column, format!("invalid number \"{text}{suffix}\""));
        if !["", "f", "F", "l", "L", "f32", "f64"].contains(&suffix) {
            return Err(bad());
        }
        text.parse().map(Token::Float).map_err(|_| bad())
    }

    fn character(&mut self, column: usize) -> Result<Token, Error> {
        self.at += 1;
        let value = match self.peek() {
            None | Some('\'') => return Err(Error::new(column, "empty character constant")),
            Some('\\') => self.escaped(column)?,
            Some(letter) => {
                self.at += letter.len_utf8();
                u32::from(letter)
            }
        };
        if self.peek() != Some('\'') {
            return Err(Error::new(column, "unmatched single quote"));
        }
        self.at += 1;
        Ok(Token::Char(value))
    }

    fn string(&mut self, column: usize) -> Result<Token, Error> {
        self.at += 1;
        let mut text = Vec::new();
        loop {
            match self.peek() {
                None => return Err(Error::new(column, "unterminated string in expression")),
                Some('"') => {
                    self.at += 1;
                    return Ok(Token::Text(text));
                }
                Some('\\') => text.push(self.escaped(column)? as u8),
                Some(letter) => {
                    self.at += letter.len_utf8();
                    text.extend(letter.to_string().into_bytes());
                }
            }
        }
    }

    fn escaped(&mut self, column: usize) -> Result<u32, Error> {
        self.at += 1;
        let Some(letter) = self.peek() else { return Err(Error::new(column, "escape without a character")) };
        if letter.is_digit(8) {
            let digits: String =
                self.rest().chars().take(3).take_while(|letter| letter.is_digit(8)).collect();
            self.at += digits.len();
            return Ok(u32::from_str_radix(&digits, 8).unwrap_or(0));
        }
        self.at += letter.len_utf8();
        Ok(match letter {
            'n' => 10,
            't' => 9,
            'r' => 13,
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'v' => 11,
            'e' => 27,
            'x' => {
                let digits: String =
                    self.rest().chars().take(2).take_while(char::is_ascii_hexdigit).collect();
                self.at += digits.len();
                u32::from_str_radix(&digits, 16).map_err(|_| Error::new(column, "bad escape \\x"))?
            }
            other => u32::from(other),
        })
    }

    /// A name with its path. Generic arguments belong to it only inside a path (`Vec<u8>::len`) or when they
    /// close before anything that cannot be a type: `a < b` stays a comparison.
    fn name(&mut self) -> Token {
        let start = self.at;
        if self.rest().starts_with("::") {
            self.at += 2;
        }
        loop {
            self.take(|letter| letter.is_alphanumeric() || letter == '_' || letter == '~');
            if let Some(length) = generic(self.rest()) {
                self.at += length;
            }
            if !self.rest().starts_with("::") {
                break;
            }
            self.at += 2;
        }
        let name = self.text.get(start..self.at).unwrap_or_default();
        Token::Name(name.strip_prefix("::").unwrap_or(name).to_owned())
    }

    fn sign(&mut self, column: usize) -> Result<Token, Error> {
        let rest = self.rest();
        let Some(sign) = SIGNS.iter().find(|sign| rest.starts_with(**sign)) else {
            let letter = self.peek().unwrap_or(' ');
            return Err(Error::new(column, format!("invalid character '{letter}' in expression")));
        };
        self.at += sign.len();
        Ok(Token::Sign(sign))
    }
}

const SUFFIXES: [&str; 22] = [
    "", "u", "l", "ul", "lu", "ll", "ull", "llu", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16",
    "u32", "u64", "u128", "usize", "_i32", "_u32",
];

fn is_name_start(letter: char) -> bool {
    letter.is_alphabetic() || letter == '_'
}

/// Length of `<...>` when it directly follows a name and holds only what types are made of.
fn generic(rest: &str) -> Option<usize> {
    if !rest.starts_with('<') || rest.starts_with("<<") || rest.starts_with("<=") {
        return None;
    }
    let mut depth = 0;
    for (index, letter) in rest.char_indices() {
        match letter {
            '<' => depth += 1,
            '>' => depth -= 1,
            letter if is_name_start(letter) || letter.is_ascii_digit() || ":,&*[](); ".contains(letter) => {}
            _ => return None,
        }
        if depth == 0 {
            // `a<b>c` compares; after a type's arguments no operand follows.
            let after = rest.get(index + 1..).unwrap_or_default().trim_start();
            let operand = after.starts_with(|l: char| is_name_start(l) || l.is_ascii_digit() || l == '(');
            return (!operand).then_some(index + 1);
        }
    }
    None
}
