//! What can go wrong with a command.

/// Why a command did not do what it says. Every message says what to try next, where something can be done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// No such command.
    #[error("there is no command \"{0}\"; `help` lists them all")]
    Unknown(String),
    /// The word is the beginning of several commands.
    #[error("\"{word}\" is ambiguous: {candidates}")]
    Ambiguous {
        /// What was typed.
        word: String,
        /// The commands it may mean.
        candidates: String,
    },
    /// The arguments do not fit.
    #[error("{what}; usage: {usage}")]
    Usage {
        /// What is wrong.
        what: String,
        /// How the command is written.
        usage: &'static str,
    },
    /// An expression that does not parse or has no value.
    #[error("{message} (column {column} of \"{expression}\")")]
    Expression {
        /// What is wrong.
        message: String,
        /// Where, in characters from 1.
        column: usize,
        /// The whole expression.
        expression: String,
    },
    /// The replay.
    #[error(transparent)]
    Tracer(#[from] tracer::TracerError),
    /// The trace.
    #[error(transparent)]
    Trace(#[from] trace::TraceError),
    /// Anything else, as a whole sentence.
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    pub(crate) fn expression(expression: &str, error: symbols::Error) -> Self {
        Self::Expression { message: error.message, column: error.column, expression: expression.to_owned() }
    }
}
