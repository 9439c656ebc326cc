//! `list`: source text.

use serde_json::json;

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::linespec::Linespec;
use crate::output::Reply;
use crate::settings::LIST_LINES;

/// Where `list` goes on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listing {
    /// The file and the line in the middle, where a stop was shown.
    center: Option<(String, u32)>,
    /// What was listed last: the file, the first line, and the one after the last.
    shown: Option<(String, u32, u32)>,
}

impl Listing {
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// A stop was shown here.
    pub(crate) fn center(&mut self, file: &str, line: u32) {
        *self = Self { center: Some((file.to_owned(), line)), shown: None };
    }

    /// The file and line that a bare line number refers to.
    pub(crate) fn place(&self) -> Option<(String, u32)> {
        let shown = self.shown.as_ref().map(|(file, first, end)| (file.clone(), first.midpoint(*end)));
        shown.or_else(|| self.center.clone())
    }
}

impl Debugger {
    /// `list [PLACE | FIRST,LAST | -]`.
    pub(crate) fn list(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let (file, first, count) = self.list_range(arguments)?;
        let lines = self.sources.lines(&file, first, count as usize).map_err(|error| match error {
            symbols::SourceError::Missing { .. } => CommandError::Other(format!(
                "the source file {file} is not there; if it is elsewhere, say where: set substitute-path FROM TO, or directory DIR"
            )),
            error => CommandError::Other(error.to_string()),
        })?;
        for (number, text) in &lines {
            reply.line(format!("{number}\t{text}"));
        }
        let end = first.saturating_add(lines.len() as u32);
        reply.set("file", file.as_str());
        reply.set(
            "lines",
            lines.iter().map(|(number, text)| json!({ "line": number, "text": text })).collect::<Vec<_>>(),
        );
        self.listing.shown = Some((file, first, end));
        Ok(Flow::Continue)
    }

    /// The file, the first line and the number of lines.
    fn list_range(&mut self, arguments: &str) -> Result<(String, u32, u32), CommandError> {
        let around = |line: u32| line.saturating_sub(LIST_LINES / 2).max(1);
        match (arguments, self.listing.shown.clone()) {
            ("" | "+", Some((file, _, end))) => return Ok((file, end, LIST_LINES)),
            ("-", Some((_, 1, _))) => return Err(CommandError::other("this is the beginning of the file")),
            ("-", Some((file, first, _))) => {
                let start = first.saturating_sub(LIST_LINES).max(1);
                return Ok((file, start, first - start));
            }
            ("" | "+", None) => {
                let (file, line) = self.current_file()?;
                return Ok((file, around(line), LIST_LINES));
            }
            ("-", None) => {
                let (file, line) = self.current_file()?;
                let first = around(line);
                let start = first.saturating_sub(LIST_LINES).max(1);
                return Ok((file, start, first.saturating_sub(start).max(1)));
            }
            _ => {}
        }
        if let Some((first, last)) = arguments.split_once(',') {
            return self.list_between(first.trim(), last.trim());
        }
        let (file, line) = self.line_of(arguments)?;
        Ok((file, around(line), LIST_LINES))
    }

    fn list_between(&mut self, first: &str, last: &str) -> Result<(String, u32, u32), CommandError> {
        if first.is_empty() {
            let (file, last) = self.line_of(last)?;
            let start = last.saturating_sub(LIST_LINES - 1).max(1);
            return Ok((file, start, last - start + 1));
        }
        let (file, start) = self.line_of(first)?;
        if last.is_empty() {
            return Ok((file, start, LIST_LINES));
        }
        let (_, last) = match last.parse::<u32>() {
            Ok(last) => (String::new(), last),
            Err(_) => self.line_of(last)?,
        };
        if last < start {
            return Err(CommandError::Other(format!("line {last} comes before line {start}")));
        }
        Ok((file, start, last - start + 1))
    }

    fn line_of(&mut self, text: &str) -> Result<(String, u32), CommandError> {
        let spec = self.linespec(text)?;
        if let Linespec::FileLine(file, line) = &spec {
            let symbols = self.symbols()?;
            let full = symbols.source_files().into_iter().find(|path| crate::places::is_suffix(path, file));
            return Ok((full.map_or_else(|| file.clone(), |path| path.to_string()), *line));
        }
        let place = self.addresses(&spec)?.into_iter().find(|place| place.file.is_some());
        match place.and_then(|place| Some((place.file?, place.line))) {
            Some(found) => Ok(found),
            None => Err(match &spec {
                Linespec::Address(text) => CommandError::Other(format!("no source line is known for {text}")),
                spec => self.no_such_place(spec),
            }),
        }
    }
}
