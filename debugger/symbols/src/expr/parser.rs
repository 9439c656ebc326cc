//! Tokens to a tree, by recursive descent with bounded depth.

use super::Error;
use super::lexer::{Token, tokens};

/// Brackets and unary operators inside each other.
const DEPTH_MAX: u32 = 50;
/// Operators, casts, fields and indices of one expression.
const LINKS_MAX: u32 = 200;

/// A part of an expression and where it begins.
#[derive(Clone, Debug)]
pub(crate) struct Expr {
    pub(crate) column: usize,
    pub(crate) node: Node,
}

#[derive(Clone, Debug)]
pub(crate) enum Node {
    Integer { value: u128, suffix: String },
    Float(f64),
    Char(u32),
    Text(Vec<u8>),
    Name(String),
    Dollar(String),
    Field(Box<Expr>, String),
    Index(Box<Expr>, Box<Expr>),
    Slice(Box<Expr>, Ends),
    Call(Box<Expr>, String, Vec<Expr>),
    Unary(&'static str, Box<Expr>),
    Binary(&'static str, Box<Expr>, Box<Expr>),
    Cast(Box<Expr>, TypeName),
    SizeOf(Box<Expr>),
    SizeOfType(TypeName),
    Choice(Box<Expr>, Box<Expr>, Box<Expr>),
}

/// The ends of a slice: `[from..to]`, each may be left out.
#[derive(Clone, Debug)]
pub(crate) struct Ends {
    pub(crate) from: Option<Box<Expr>>,
    pub(crate) to: Option<Box<Expr>>,
    pub(crate) inclusive: bool,
}

/// A type as written: a name, then pointers.
#[derive(Clone, Debug)]
pub(crate) struct TypeName {
    pub(crate) column: usize,
    pub(crate) base: String,
    pub(crate) pointers: u32,
    pub(crate) array: Option<u64>,
}

type IsType<'a> = &'a dyn Fn(&str) -> bool;

struct Parser<'a> {
    tokens: Vec<(Token, usize)>,
    at: usize,
    depth: u32,
    links: u32,
    is_type: IsType<'a>,
}

/// Parses a whole expression; `is_type` tells types' names from others.
pub(crate) fn parse(text: &str, is_type: IsType<'_>) -> Result<Expr, Error> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, links: 0, is_type };
    let tree = parser.choice()?;
    match parser.peek() {
        Token::End => Ok(tree),
        Token::Sign("=") => Err(parser.error("assignment is not possible: the program's state is read only")),
        _ => Err(parser.error("a syntax error in expression")),
    }
}

/// The text as a type's name, when it is nothing else.
pub(crate) fn parse_type_alone(text: &str, is_type: IsType<'_>) -> Option<TypeName> {
    let mut parser = Parser { tokens: tokens(text).ok()?, at: 0, depth: 0, links: 0, is_type };
    let name = parser.type_name().ok()??;
    (*parser.peek() == Token::End).then_some(name)
}

/// Binary operators, loosest first.
const LEVELS: [&[&str]; 11] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<", ">", "<=", ">="],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
    &["@"],
];

impl Parser<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.at).map_or(&Token::End, |token| &token.0)
    }

    fn column(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |token| token.1)
    }

    fn next(&mut self) -> Token {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn error(&self, message: &str) -> Error {
        let found = match self.peek() {
            Token::End => ": the expression ends here",
            _ => "",
        };
        Error::new(self.column(), format!("{message}{found}"))
    }

    fn accept(&mut self, sign: &str) -> bool {
        let found = matches!(self.peek(), Token::Sign(own) if *own == sign);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, sign: &str) -> Result<(), Error> {
        if self.accept(sign) { Ok(()) } else { Err(self.error(&format!("expected '{sign}'"))) }
    }

    fn deeper<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, Error>) -> Result<T, Error> {
        if self.depth >= DEPTH_MAX {
            return Err(self.error("expression is nested too deeply"));
        }
        self.depth += 1;
        let result = parse(self);
        self.depth -= 1;
        result
    }

    fn choice(&mut self) -> Result<Expr, Error> {
        let condition = self.deeper(|parser| parser.binary(0))?;
        let column = self.column();
        if !self.accept("?") {
            return Ok(condition);
        }
        let yes = self.deeper(Self::choice)?;
        self.expect(":")?;
        let no = self.deeper(Self::choice)?;
        Ok(Expr { column, node: Node::Choice(condition.into(), yes.into(), no.into()) })
    }

    /// Precedence climbing: operands joined by operators of `level` or tighter.
    fn binary(&mut self, level: usize) -> Result<Expr, Error> {
        let mut left = self.cast_after()?;
        loop {
            let column = self.column();
            let Token::Sign(sign) = *self.peek() else { return Ok(left) };
            let found = LEVELS.iter().position(|signs| signs.contains(&sign));
            let Some(found) = found.filter(|&found| found >= level) else { return Ok(left) };
            self.grow()?;
            self.at += 1;
            let right = self.deeper(|parser| parser.binary(found + 1))?;
            left = Expr { column, node: Node::Binary(sign, left.into(), right.into()) };
        }
    }

    /// Chains nest the tree to the left, and walking it costs stack: their total is bounded too.
    fn grow(&mut self) -> Result<(), Error> {
        self.links += 1;
        if self.links > LINKS_MAX { Err(self.error("expression is too long")) } else { Ok(()) }
    }

    /// Rust's `value as Type`.
    fn cast_after(&mut self) -> Result<Expr, Error> {
        let mut value = self.unary()?;
        while *self.peek() == Token::Name("as".into()) {
            let column = self.column();
            self.grow()?;
            self.at += 1;
            let name = self.type_name()?.ok_or_else(|| self.error("expected a type after 'as'"))?;
            value = Expr { column, node: Node::Cast(value.into(), name) };
        }
        Ok(value)
    }

    fn unary(&mut self) -> Result<Expr, Error> {
        let column = self.column();
        match self.peek().clone() {
            Token::Sign("&&") => {
                self.at += 1;
                let inner = self.deeper(Self::unary)?;
                let inner = Expr { column, node: Node::Unary("&", inner.into()) };
                Ok(Expr { column, node: Node::Unary("&", inner.into()) })
            }
            Token::Sign(sign @ ("*" | "&" | "-" | "!" | "~" | "+")) => {
                self.at += 1;
                let inner = self.deeper(Self::unary)?;
                Ok(Expr { column, node: Node::Unary(sign, inner.into()) })
            }
            Token::Name(name) if name == "sizeof" => {
                self.at += 1;
                self.size_of(column)
            }
            Token::Sign("(") => match self.cast_before()? {
                Some(name) => {
                    let inner = self.deeper(Self::unary)?;
                    Ok(Expr { column, node: Node::Cast(inner.into(), name) })
                }
                None => self.postfix(),
            },
            _ => self.postfix(),
        }
    }

    /// `(type)` with an operand behind it; anything else in brackets is left to the expression parser.
    fn cast_before(&mut self) -> Result<Option<TypeName>, Error> {
        let start = self.at;
        self.at += 1;
        let name = self.type_name()?;
        let closed = name.is_some() && self.accept(")");
        let operand = match self.peek() {
            Token::End => false,
            Token::Sign(sign) => ["(", "*", "&", "-", "!", "~", "+"].contains(sign),
            Token::Name(name) => name != "as",
            _ => true,
        };
        if closed && operand {
            return Ok(name);
        }
        self.at = start;
        Ok(None)
    }

    fn size_of(&mut self, column: usize) -> Result<Expr, Error> {
        let start = self.at;
        if self.accept("(")
            && let Some(name) = self.type_name()?
            && self.accept(")")
        {
            return Ok(Expr { column, node: Node::SizeOfType(name) });
        }
        self.at = start;
        let inner = self.deeper(Self::unary)?;
        Ok(Expr { column, node: Node::SizeOf(inner.into()) })
    }

    fn postfix(&mut self) -> Result<Expr, Error> {
        let mut value = self.primary()?;
        loop {
            self.grow()?;
            let column = self.column();
            let node = if self.accept("[") {
                self.subscript(value)?
            } else if self.accept(".") {
                self.field(value)?
            } else if self.accept("->") {
                let pointer = Expr { column, node: Node::Unary("*", value.into()) };
                self.field(pointer)?
            } else {
                return Ok(value);
            };
            value = Expr { column, node };
        }
    }

    /// `[index]` or `[from..to]`, behind its opening bracket.
    fn subscript(&mut self, value: Expr) -> Result<Node, Error> {
        let is_dots = |token: &Token| matches!(token, Token::Sign(".." | "..="));
        let from = if is_dots(self.peek()) { None } else { Some(self.deeper(Self::choice)?) };
        let inclusive = self.accept("..=");
        if !inclusive && !self.accept("..") {
            self.expect("]")?;
            let index = from.ok_or_else(|| self.error("expected an index"))?;
            return Ok(Node::Index(value.into(), index.into()));
        }
        let to = if self.accept("]") {
            None
        } else {
            let to = self.deeper(Self::choice)?;
            self.expect("]")?;
            Some(to.into())
        };
        Ok(Node::Slice(value.into(), Ends { from: from.map(Box::new), to, inclusive }))
    }

    fn field(&mut self, value: Expr) -> Result<Node, Error> {
        let name = match self.peek().clone() {
            Token::Name(name) => name,
            Token::Integer { value, .. } => value.to_string(),
            _ => return Err(self.error("expected a field name")),
        };
        self.at += 1;
        if self.accept("(") {
            return Ok(Node::Call(value.into(), name, self.arguments()?));
        }
        Ok(Node::Field(value.into(), name))
    }

    /// What stands between a call's brackets, behind the opening one.
    fn arguments(&mut self) -> Result<Vec<Expr>, Error> {
        let mut arguments = Vec::new();
        if self.accept(")") {
            return Ok(arguments);
        }
        loop {
            self.grow()?;
            arguments.push(self.deeper(Self::choice)?);
            if self.accept(")") {
                return Ok(arguments);
            }
            self.expect(",")?;
        }
    }

    fn primary(&mut self) -> Result<Expr, Error> {
        let column = self.column();
        let node = match self.peek().clone() {
            Token::Sign("(") => {
                self.at += 1;
                let inner = self.deeper(Self::choice)?;
                self.expect(")")?;
                return Ok(inner);
            }
            Token::Integer { value, suffix } => Node::Integer { value, suffix },
            Token::Float(value) => Node::Float(value),
            Token::Char(value) => Node::Char(value),
            Token::Text(text) => Node::Text(text),
            Token::Dollar(name) => Node::Dollar(name),
            Token::Name(name) => Node::Name(name),
            Token::Sign("=") => return Err(self.error("expected a value before '='")),
            _ => return Err(self.error("expected a value")),
        };
        self.at += 1;
        if self.accept("(") {
            return Err(Error::new(
                column,
                "the program's functions cannot be called: its state is read only",
            ));
        }
        Ok(Expr { column, node })
    }

    /// A type in C's or Rust's form, or `None` (and nothing taken) when there is none.
    fn type_name(&mut self) -> Result<Option<TypeName>, Error> {
        let (start, column) = (self.at, self.column());
        let mut pointers = 0;
        // Rust's `*const T`, `&mut T`.
        while self.accept("*") || self.accept("&") {
            pointers += 1;
            self.skip_words(&["const", "mut"]);
        }
        self.skip_words(&["const", "volatile"]);
        let tagged = self.skip_words(&["struct", "union", "class", "enum"]);
        let Some(base) = self.base_type(tagged) else {
            self.at = start;
            return Ok(None);
        };
        self.skip_words(&["const", "volatile"]);
        while self.accept("*") || self.accept("&") {
            pointers += 1;
            self.skip_words(&["const", "volatile", "restrict"]);
            if pointers > DEPTH_MAX {
                return Err(self.error("too many pointers"));
            }
        }
        let array = self.array_length()?;
        Ok(Some(TypeName { column, base, pointers, array }))
    }

    fn array_length(&mut self) -> Result<Option<u64>, Error> {
        if !self.accept("[") {
            return Ok(None);
        }
        let Token::Integer { value, .. } = self.next() else {
            return Err(self.error("expected an array's length"));
        };
        self.expect("]")?;
        Ok(u64::try_from(value).ok())
    }

    fn skip_words(&mut self, words: &[&str]) -> bool {
        let mut any = false;
        while matches!(self.peek(), Token::Name(name) if words.contains(&name.as_str())) {
            self.at += 1;
            any = true;
        }
        any
    }

    fn base_type(&mut self, tagged: bool) -> Option<String> {
        const WORDS: [&str; 7] = ["unsigned", "signed", "long", "short", "int", "char", "double"];
        let mut words = Vec::new();
        while let Token::Name(name) = self.peek() {
            if !WORDS.contains(&name.as_str()) {
                break;
            }
            words.push(name.clone());
            self.at += 1;
        }
        if !words.is_empty() {
            return Some(words.join(" "));
        }
        let Token::Name(name) = self.peek().clone() else { return None };
        if !tagged && !(self.is_type)(&name) {
            return None;
        }
        self.at += 1;
        Some(name)
    }
}
