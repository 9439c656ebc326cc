//! Expressions of the prompt: a C core with the parts of Rust that are of use for looking at data.
//! They read the program and never change it. `lexer` makes tokens, `parser` a tree, `eval` walks it, `lookup` finds parts of containers.
//! `lower` makes a condition into a test that needs no symbols.

mod casts;
mod eval;
mod lexer;
mod lookup;
mod lower;
mod operators;
mod parser;

pub use lower::{Arithmetic, Comparison, Test, Word};

use crate::memory::Memory;
use crate::scope::Context;
use crate::value::Value;

/// What is wrong with an expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What is wrong.
    pub message: String,
    /// Character in the expression, from 1.
    pub column: usize,
}

impl Error {
    pub(crate) fn new(column: usize, message: impl Into<String>) -> Self {
        Self { message: message.into(), column }
    }
}

impl Context<'_> {
    /// Evaluates an expression. A variable without a value is a value that says why; using it further is an
    /// error.
    ///
    /// # Errors
    /// The text is no expression, a name is not known, types do not fit, or memory cannot be read.
    pub fn eval(&self, text: &str) -> Result<Value, Error> {
        let is_type = |name: &str| self.is_type(name);
        let tree = parser::parse(text, &is_type)?;
        let value = self.run(&tree)?;
        Ok(value.through_reference(self.memory).loaded(self.memory))
    }

    /// Whether the text is an expression as far as its form goes.
    ///
    /// # Errors
    /// As [`Context::eval`], for the form alone.
    pub fn check(&self, text: &str) -> Result<(), Error> {
        parser::parse(text, &|name| self.is_type(name)).map(drop)
    }

    /// The type an expression or a type's name has, for `ptype` and `whatis`.
    ///
    /// # Errors
    /// As [`Context::eval`].
    pub fn type_of(&self, text: &str) -> Result<crate::Type, Error> {
        let is_type = |name: &str| self.is_type(name);
        if let Some(name) = parser::parse_type_alone(text, &is_type) {
            return self.resolve_type(&name);
        }
        Ok(self.run(&parser::parse(text, &is_type)?)?.ty)
    }
}

/// Whether a value counts as true: a number other than zero, a pointer other than null.
///
/// # Errors
/// The value is no number, or has no value; the column is 1.
pub fn truth(value: &Value, memory: &dyn Memory) -> Result<bool, Error> {
    operators::truth(value, memory, 1)
}
