//! Where commands write to: text for people, and named data for `--json`.

use serde_json::{Map, Value};

/// Receives the text of a command, piece by piece.
pub trait Output {
    /// Takes a piece of text.
    fn text(&mut self, text: &str);
}

impl Output for String {
    fn text(&mut self, text: &str) {
        self.push_str(text);
    }
}

/// What a command answers.
pub(crate) struct Reply<'a> {
    out: &'a mut dyn Output,
    /// The machine-readable part.
    pub(crate) data: Map<String, Value>,
}

impl<'a> Reply<'a> {
    pub(crate) fn new(out: &'a mut dyn Output) -> Self {
        Self { out, data: Map::new() }
    }

    /// Writes a line.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.out.text(text.as_ref());
        self.out.text("\n");
    }

    /// Writes text as it is.
    pub(crate) fn text(&mut self, text: impl AsRef<str>) {
        self.out.text(text.as_ref());
    }

    /// Sets a member of the machine-readable answer.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<Value>) {
        self.data.insert(name.to_owned(), value.into());
    }
}
