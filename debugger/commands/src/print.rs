//! Values: `print`, `output`, `ptype`, `whatis`, `display`, `set $var`, and what a function returned.

use serde_json::json;
use symbols::{Format, Value};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::output::Reply;
use crate::parse;

impl Debugger {
    /// `print[/F] [EXPRESSION]`.
    pub(crate) fn print(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let letter = format_letter(format)?;
        if let Some((name, value)) = convenience_assignment(arguments) {
            self.set_convenience(name, value)?;
            return self.print(format, &format!("${name}"), reply);
        }
        let text = if arguments.is_empty() { "$" } else { arguments };
        let value = self.eval(text)?;
        let shown = self.format_value(&value, letter)?;
        if let Some(symbols::Missing::NotAvailable(why)) = value.absent() {
            return Err(CommandError::Other(format!("{text}: {why}")));
        }
        let number = self.values.push(value.clone());
        reply.line(format!("${number} = {shown}"));
        reply.set("number", number);
        reply.set("type", value.type_name());
        reply.set("value", shown);
        Ok(Flow::Continue)
    }

    /// `output[/F] EXPRESSION`: the value alone; without one, what the program printed.
    pub(crate) fn output(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        if arguments.is_empty() {
            return self.printed(reply);
        }
        let letter = format_letter(format)?;
        let value = self.eval(arguments)?;
        let shown = self.format_value(&value, letter)?;
        reply.text(&shown);
        reply.set("value", shown);
        Ok(Flow::Continue)
    }

    pub(crate) fn format_value(&mut self, value: &Value, format: Format) -> Result<String, CommandError> {
        self.with_context(|context| context.format(value, format))
    }

    /// `whatis EXPRESSION`.
    pub(crate) fn whatis(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let text = self.values.expand(arguments).map_err(CommandError::Other)?;
        let ty = self.with_context(|context| context.type_of(&text))?;
        let ty = ty.map_err(|error| CommandError::expression(&text, error))?;
        reply.line(format!("type = {}", ty.name()));
        reply.set("type", ty.name());
        Ok(Flow::Continue)
    }

    /// `ptype[/o] EXPRESSION`: the type with its members.
    pub(crate) fn ptype(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        if !matches!(format, "" | "o") {
            return Err(CommandError::Other(format!(
                "there is no ptype/{format}; /o shows offsets and sizes"
            )));
        }
        let text = self.values.expand(arguments).map_err(CommandError::Other)?;
        let ty = self.with_context(|context| context.type_of(&text))?;
        let ty = ty.map_err(|error| CommandError::expression(&text, error))?;
        let description = ty.description(format == "o");
        reply.line(format!("type = {description}"));
        reply.set("type", ty.name());
        reply.set("description", description);
        reply.set("size", ty.size());
        Ok(Flow::Continue)
    }

    /// `set VAR = VALUE` for convenience variables.
    pub(crate) fn set_convenience(&mut self, name: &str, text: &str) -> Result<(), CommandError> {
        if symbols::Registers::part(name).is_some() {
            return Err(CommandError::Other(format!(
                "${name} is a register: a replay shows what happened and cannot be changed"
            )));
        }
        let value = self.eval(text)?;
        self.values.set(name, value);
        Ok(())
    }

    /// `call FUNCTION(…)` cannot work.
    pub(crate) fn call(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        if arguments.contains('(') {
            return Err(CommandError::other(
                "functions cannot be called in a replay, which only shows what happened; `print` evaluates expressions",
            ));
        }
        self.print(format, arguments, reply)
    }

    /// `Value returned is …`, right behind the return of a function of that type.
    pub(crate) fn show_returned(
        &mut self,
        ty: &symbols::Type,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        let Some(value) = self.returned(ty)? else { return Ok(()) };
        let shown = self.format_value(&value, Format::Natural)?;
        let number = self.values.push(value);
        reply.line(format!("Value returned is ${number} = {shown}"));
        reply.set("returned", shown);
        Ok(())
    }

    /// What a function of this type has just returned.
    pub(crate) fn returned(&mut self, ty: &symbols::Type) -> Result<Option<Value>, CommandError> {
        let frame = self.innermost_frame()?;
        self.with_context(|context| context.returned(ty, &frame.registers))
    }

    /// `display[/F] [EXPRESSION]`.
    pub(crate) fn display(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        if arguments.is_empty() {
            self.show_displays(reply)?;
            return Ok(Flow::Continue);
        }
        format_letter(format)?;
        let checked = self.with_context(|context| context.check(arguments))?;
        checked.map_err(|error| CommandError::expression(arguments, error))?;
        let number = self.displays.last().map_or(0, |(number, ..)| *number) + 1;
        self.displays.push((number, format.to_owned(), arguments.to_owned()));
        self.show_display(number, format, arguments, reply);
        Ok(Flow::Continue)
    }

    /// `undisplay [N…]`.
    pub(crate) fn undisplay(&mut self, arguments: &str) -> Result<Flow, CommandError> {
        let numbers = parse::numbers(arguments).map_err(CommandError::Other)?;
        self.displays.retain(|(number, ..)| !numbers.is_empty() && !numbers.contains(number));
        Ok(Flow::Continue)
    }

    /// Shows what is to be displayed at each stop. What has no value here is left out.
    pub(crate) fn show_displays(&mut self, reply: &mut Reply<'_>) -> Result<(), CommandError> {
        for (number, format, text) in self.displays.clone() {
            self.show_display(number, &format, &text, reply);
        }
        Ok(())
    }

    fn show_display(&mut self, number: u32, format: &str, text: &str, reply: &mut Reply<'_>) {
        let shown = self.eval(text).and_then(|value| self.format_value(&value, format_letter(format)?));
        if let Ok(shown) = shown {
            let slash = if format.is_empty() { String::new() } else { format!("/{format}") };
            reply.line(format!(
                "{number}: {slash}{}{text} = {shown}",
                if slash.is_empty() { "" } else { " " }
            ));
        }
    }

    /// `info display`.
    pub(crate) fn info_display(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        if self.displays.is_empty() {
            reply.line("There are no auto-display expressions now.");
        }
        for (number, format, text) in &self.displays {
            reply.line(format!(
                "{number}: {text}{}",
                if format.is_empty() { String::new() } else { format!(" (/{format})") }
            ));
        }
        reply.set(
            "displays",
            self.displays
                .iter()
                .map(|(number, _, text)| json!({ "number": number, "expression": text }))
                .collect::<Vec<_>>(),
        );
        Ok(Flow::Continue)
    }
}

/// The format of `/F`; sizes are of no use to `print`.
pub(crate) fn format_letter(format: &str) -> Result<Format, CommandError> {
    let mut letters = format.chars();
    match (letters.next(), letters.next()) {
        (None, _) => Ok(Format::Natural),
        (Some(letter), None) => Format::from_letter(letter).ok_or_else(|| bad_format(format)),
        _ => Err(bad_format(format)),
    }
}

fn bad_format(format: &str) -> CommandError {
    CommandError::Other(format!("there is no format /{format}; print knows /x /z /d /u /o /t /c /s /a /f"))
}

/// `$name = value`, as name and value.
pub(crate) fn convenience_assignment(text: &str) -> Option<(&str, &str)> {
    let at = parse::assignment(text)?;
    let name = text[..at].trim().strip_prefix('$')?;
    let is_name = name.starts_with(|letter: char| letter.is_alphabetic() || letter == '_')
        && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    is_name.then(|| (name, text[at + 1..].trim()))
}
