//! `disassemble` and `x/i`.

use iced_x86::{
    Decoder, DecoderOptions, Formatter, GasFormatter, Instruction, IntelFormatter, SymbolResolver,
    SymbolResult,
};
use serde_json::json;
use std::rc::Rc;
use symbols::Symbols;

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::output::Reply;

/// The largest function that is shown.
const CODE_BYTES_MAX: u64 = 1 << 20;

/// The longest instruction.
const INSTRUCTION_BYTES_MAX: u64 = 15;

/// Which notation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// `mov %rsp,%rbp`, gdb's default.
    #[default]
    Att,
    /// `mov rbp,rsp`.
    Intel,
}

/// Names addresses in operands as `<main+4>` would be too long for; the name stands beside them.
struct Names(Rc<Symbols>);

impl SymbolResolver for Names {
    fn symbol(
        &mut self,
        _instruction: &Instruction,
        _operand: u32,
        _instruction_operand: Option<u32>,
        address: u64,
        _address_size: u32,
    ) -> Option<SymbolResult<'_>> {
        let (name, offset) = self.0.symbol_at(address)?;
        let offset = if offset == 0 { String::new() } else { format!("+{offset}") };
        Some(SymbolResult::with_string(address, format!("{address:#x} <{name}{offset}>")))
    }
}

fn formatter(flavour: Flavour, symbols: Rc<Symbols>) -> Box<dyn Formatter> {
    let names: Box<dyn SymbolResolver> = Box::new(Names(symbols));
    let mut formatter: Box<dyn Formatter> = match flavour {
        Flavour::Att => Box::new(GasFormatter::with_options(Some(names), None)),
        Flavour::Intel => Box::new(IntelFormatter::with_options(Some(names), None)),
    };
    let options = formatter.options_mut();
    options.set_hex_prefix("0x");
    options.set_hex_suffix("");
    options.set_uppercase_hex(false);
    options.set_small_hex_numbers_in_decimal(false);
    options.set_first_operand_char_index(7);
    options.set_rip_relative_addresses(false);
    formatter
}

impl Debugger {
    /// `disassemble [FUNCTION|ADDRESS]`; with `/r` the bytes too, with `/s` source lines.
    pub(crate) fn disassemble(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let symbols = self.symbols()?;
        let pc = match arguments {
            "" => self.frame()?.lookup_pc,
            text => self.address_of(text)?,
        };
        let ranges = symbols.function_ranges(pc);
        if ranges.is_empty() {
            return Err(CommandError::Other(format!(
                "no function contains {pc:#x}; `x/10i {pc:#x}` shows instructions from there"
            )));
        }
        let name = symbols.location(pc).function.map_or("??".into(), |name| name.to_string());
        reply.line(format!("Dump of assembler code for function {name}:"));
        let mut list = Vec::new();
        for range in ranges {
            let bytes =
                self.read_bytes(range.start, (range.end - range.start).min(CODE_BYTES_MAX) as usize)?;
            self.show_code(&bytes, range.start, usize::MAX, Style::of(format), reply, &mut list)?;
        }
        reply.line("End of assembler dump.");
        reply.set("instructions", list);
        Ok(Flow::Continue)
    }

    /// `x/Ni`: returns the address after the last.
    pub(crate) fn show_instructions(
        &mut self,
        address: u64,
        count: u64,
        reply: &mut Reply<'_>,
    ) -> Result<u64, CommandError> {
        let mut bytes = vec![0; count.saturating_mul(INSTRUCTION_BYTES_MAX).min(CODE_BYTES_MAX) as usize];
        let read = self.session.read_memory(self.thread()?, address, &mut bytes)?;
        bytes.truncate(read);
        let mut list = Vec::new();
        let end = self.show_code(&bytes, address, count as usize, Style::Examine, reply, &mut list)?;
        reply.set("instructions", list);
        Ok(end)
    }

    fn show_code(
        &mut self,
        bytes: &[u8],
        start: u64,
        count: usize,
        style: Style,
        reply: &mut Reply<'_>,
        list: &mut Vec<serde_json::Value>,
    ) -> Result<u64, CommandError> {
        let symbols = self.symbols()?;
        let mut formatter = formatter(self.settings.flavour, Rc::clone(&symbols));
        let current = self.frame().map(|frame| frame.pc).ok();
        let decoder = Decoder::with_ip(64, bytes, start, DecoderOptions::NONE);
        let (mut end, mut line) = (start, None);
        for instruction in decoder.into_iter().take(count) {
            let mut text = String::new();
            formatter.format(&instruction, &mut text);
            let at = instruction.ip();
            if style == Style::Source {
                self.show_line_of(&symbols, at, &mut line, reply);
            }
            let mark = if current == Some(at) { "=> " } else { "   " };
            let place = match (style, symbols.location(at).function, symbols.symbol_at(at)) {
                (Style::Examine, _, Some((name, offset))) => format!(" <{name}+{offset}>"),
                (Style::Examine, Some(name), _) => format!(" <{name}>"),
                (_, Some(_), _) => format!(" <+{}>", symbols.location(at).offset),
                _ => String::new(),
            };
            let raw = match style {
                Style::Raw => instruction_bytes(bytes, at - start, instruction.len()),
                _ => String::new(),
            };
            let address = if style == Style::Examine { format!("{at:#x}") } else { format!("{at:#018x}") };
            reply.line(format!("{mark}{address}{place}:\t{raw}{text}"));
            list.push(json!({ "address": format!("{at:#x}"), "text": text, "current": current == Some(at) }));
            end = instruction.next_ip();
        }
        Ok(end)
    }

    fn show_line_of(&mut self, symbols: &Symbols, at: u64, last: &mut Option<u32>, reply: &mut Reply<'_>) {
        let location = symbols.location(at);
        let Some(file) = location.file.filter(|_| location.line != 0 && *last != Some(location.line)) else {
            return;
        };
        *last = Some(location.line);
        let text = self.source_text(&file, location.line).unwrap_or_default();
        reply.line(format!("{}:{}\t{text}", self.short_path(&file), location.line));
    }
}

/// What stands beside an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    Plain,
    Raw,
    Source,
    Examine,
}

impl Style {
    fn of(format: &str) -> Style {
        match format {
            "r" => Style::Raw,
            "s" | "m" => Style::Source,
            _ => Style::Plain,
        }
    }
}

fn instruction_bytes(bytes: &[u8], offset: u64, len: usize) -> String {
    let own = bytes.iter().skip(offset as usize).take(len);
    own.map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ") + "\t"
}
