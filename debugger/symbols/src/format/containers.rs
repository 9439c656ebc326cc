//! Library types: texts, sequences, maps, boxes, by their shape.

use super::text::quote;
use super::{Printer, REPEATS_MIN, TEXT_MAX};
use crate::location::Missing;
use crate::memory;
use crate::shapes::{Items, Shape};
use crate::types::Type;
use crate::value::Value;

impl Printer<'_> {
    pub(super) fn shape(&self, out: &mut String, shape: &Shape, depth: u32) -> Result<(), Missing> {
        match shape {
            Shape::Text { address, len } => {
                let shown = (*len).min(self.text_bytes());
                let text = memory::read_bytes(self.context.memory, *address, shown as usize)?;
                quote(out, &text);
                out.push_str(if shown < *len { "..." } else { "" });
            }
            Shape::Words(words) => out.push_str(words),
            Shape::Sequence { label, len, items } => {
                out.push_str(&format!("{label}(len: {len}) = "));
                self.items(out, items, *len, depth, ("{", "}"));
            }
            Shape::Boxed { label, value, note } => {
                out.push_str(&format!("{label}("));
                self.followed(out, value, depth);
                out.push_str(&if note.is_empty() { String::new() } else { format!(", {note}") });
                out.push(')');
            }
            Shape::Same(value) => self.value(out, value, depth),
            Shape::Joined { values, sign } => {
                let parenthesised = *sign == ", ";
                out.push_str(if parenthesised { "(" } else { "" });
                for (index, value) in values.iter().enumerate() {
                    out.push_str(if index == 0 { "" } else { sign });
                    self.value(out, value, depth + 1);
                }
                out.push_str(if parenthesised { ")" } else { "" });
            }
            Shape::Code { label, address } => {
                out.push_str(&format!("{label}({})", self.address_text(*address)));
            }
        }
        Ok(())
    }

    /// A value behind a pointer; where it leads back to one that is being written, that is said.
    pub(super) fn followed(&self, out: &mut String, value: &Value, depth: u32) {
        let Some(address) = value.address().filter(|_| value.size() > 0) else {
            return self.value(out, value, depth + 1);
        };
        let own = (address, value.type_name());
        if self.open.borrow().contains(&own) {
            out.push_str(&format!("<cycle: {address:#x}>"));
            return;
        }
        self.open.borrow_mut().push(own);
        self.value(out, value, depth + 1);
        self.open.borrow_mut().pop();
    }

    /// An array in its brackets.
    pub(super) fn elements(
        &self,
        out: &mut String,
        row: &Value,
        element: &Type,
        count: u64,
        depth: u32,
        brackets: (&str, &str),
    ) {
        let size = element.size();
        let mut texts = Vec::new();
        let mut total = out.len();
        for index in 0..count.min(self.context.limits.elements) {
            let part = row.part(element.clone(), index.saturating_mul(size));
            if !self.element(&mut texts, &mut total, None, &part, depth) {
                break;
            }
        }
        self.joined(out, &texts, count, brackets);
    }

    /// The elements of a container in their brackets.
    fn items(&self, out: &mut String, items: &Items, len: u64, depth: u32, brackets: (&str, &str)) {
        let mut texts = Vec::new();
        let mut total = out.len();
        let limit = self.context.limits.elements;
        if depth >= self.context.limits.depth {
            out.push_str("{...}");
            return;
        }
        let result = items.each(len.min(limit), self.context.memory, &mut |item| {
            let more = self.element(&mut texts, &mut total, item.key.as_ref(), &item.value, depth);
            more && (texts.len() as u64) < limit
        });
        if let Err(missing) = result {
            texts.push(missing.to_string());
        }
        self.joined(out, &texts, len, brackets);
    }

    /// Adds an element's text; false when the whole has become too long.
    fn element(
        &self,
        texts: &mut Vec<String>,
        total: &mut usize,
        key: Option<&Value>,
        value: &Value,
        depth: u32,
    ) -> bool {
        let mut text = String::new();
        if let Some(key) = key {
            self.value(&mut text, key, depth + 1);
            text.push_str(": ");
        }
        self.value(&mut text, value, depth + 1);
        *total += text.len();
        texts.push(text);
        *total <= TEXT_MAX
    }

    fn joined(&self, out: &mut String, texts: &[String], count: u64, brackets: (&str, &str)) {
        out.push_str(brackets.0);
        let mut parts: Vec<String> = Vec::new();
        for run in texts.chunk_by(|a, b| a == b) {
            match run.first() {
                Some(text) if run.len() >= REPEATS_MIN => {
                    parts.push(format!("{text} <repeats {} times>", run.len()))
                }
                _ => parts.extend_from_slice(run),
            }
        }
        out.push_str(&parts.join(", "));
        out.push_str(if (texts.len() as u64) < count { "..." } else { "" });
        out.push_str(brackets.1);
    }
}
