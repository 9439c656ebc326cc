//! `set`, `show`, `handle`, `directory`, `source`, `echo`.

use std::path::Path;

use crate::debugger::{Debugger, Flow};
use crate::disassemble::Flavour;
use crate::error::CommandError;
use crate::output::Reply;
use crate::parse;
use crate::print::convenience_assignment;

/// Lines that `list` shows.
pub(crate) const LIST_LINES: u32 = 10;

/// No values are shown that are nested deeper than this.
const DEPTH_MAX: u64 = 100;

/// The largest command file.
const SOURCE_BYTES_MAX: u64 = 16 << 20;

/// Signals that stop even when the program handles them: those of an instruction that went wrong.
const STOPPING: [i32; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

/// What the user can set.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) flavour: Flavour,
    /// Bit `n - 1` for signal `n`.
    stopping: u64,
    source_hints: u32,
    /// The backtrace goes on behind `main`.
    pub(crate) past_main: bool,
    /// Conditions of breakpoints are evaluated here at every visit, not inside the process.
    pub(crate) conditions_by_host: bool,
    /// How much of a value is shown.
    pub(crate) limits: symbols::Limits,
}

impl Default for Settings {
    fn default() -> Self {
        let stopping = STOPPING.iter().fold(0, |bits, signal| bits | bit(*signal));
        Self {
            flavour: Flavour::default(),
            stopping,
            source_hints: 0,
            past_main: false,
            conditions_by_host: false,
            limits: symbols::Limits::default(),
        }
    }
}

fn bit(signal: i32) -> u64 {
    signal.checked_sub(1).and_then(|index| 1_u64.checked_shl(index as u32)).unwrap_or(0)
}

impl Settings {
    pub(crate) fn stops_at(&self, signal: i32) -> bool {
        self.stopping & bit(signal) != 0
    }

    /// The signals that are looked at: any may be fatal, save those that never are.
    pub(crate) fn signals_looked_at(&self) -> u64 {
        let harmless = [libc::SIGCHLD, libc::SIGURG, libc::SIGWINCH, libc::SIGCONT];
        let harmless = harmless.iter().fold(0, |bits, signal| bits | bit(*signal));
        !harmless | self.stopping
    }

    /// The advice about missing sources is given once.
    pub(crate) fn hint_at_sources(&mut self) -> bool {
        self.source_hints += 1;
        self.source_hints == 1
    }
}

impl Debugger {
    /// `set …`.
    pub(crate) fn set(&mut self, arguments: &str) -> Result<Flow, CommandError> {
        let (word, rest) = parse::first_word(arguments);
        match word {
            "substitute-path" => return self.substitute(rest),
            "disassembly-flavor" => {
                self.settings.flavour = match rest {
                    "att" => Flavour::Att,
                    "intel" => Flavour::Intel,
                    _ => return Err(CommandError::other("disassembly-flavor is att or intel")),
                };
                return Ok(Flow::Continue);
            }
            "backtrace" => {
                let (what, value) = parse::first_word(rest);
                if what != "past-main" || !matches!(value, "" | "on" | "off") {
                    return Err(CommandError::other("usage: set backtrace past-main [on|off]"));
                }
                self.settings.past_main = value != "off";
                return Ok(Flow::Continue);
            }
            "breakpoint" if rest.starts_with("condition-evaluation") => {
                let (_, value) = parse::first_word(rest);
                self.settings.conditions_by_host = match value {
                    "host" => true,
                    "" | "auto" | "target" => false,
                    _ => return Err(CommandError::other("condition-evaluation is auto, target or host")),
                };
                return Ok(Flow::Continue);
            }
            "print" if self.set_print(rest)? => return Ok(Flow::Continue),
            // Scripts written for gdb set these; they mean nothing here.
            "pagination" | "confirm" | "height" | "width" | "print" | "debuginfod" | "breakpoint"
            | "logging" => {
                return Ok(Flow::Continue);
            }
            _ => {}
        }
        let text = if matches!(word, "var" | "variable") { rest } else { arguments };
        if let Some((name, value)) = convenience_assignment(text) {
            self.set_convenience(name, value)?;
            return Ok(Flow::Continue);
        }
        if parse::assignment(text).is_some() {
            return Err(CommandError::other(
                "a replay shows what happened and cannot be changed: only convenience variables can be set (set $name = …)",
            ));
        }
        Err(CommandError::Usage {
            what: format!("\"{text}\" cannot be set"),
            usage: "set $NAME = EXPRESSION | set substitute-path FROM TO | set disassembly-flavor att|intel",
        })
    }

    /// `set print elements|max-depth N|unlimited`. False for gdb's other settings of `print`.
    fn set_print(&mut self, arguments: &str) -> Result<bool, CommandError> {
        let (word, value) = parse::first_word(arguments);
        let number = || match value {
            "unlimited" | "0" | "-1" => Ok(u64::MAX),
            text => text.parse().map_err(|_| {
                CommandError::Other(format!("\"{text}\" is no number: set print {word} N, or unlimited"))
            }),
        };
        match word {
            "elements" => self.settings.limits.elements = number()?,
            // A value's text is built with the stack: unlimited is what that bears.
            "max-depth" => {
                self.settings.limits.depth = number()?.min(DEPTH_MAX).try_into().unwrap_or(u32::MAX)
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn substitute(&mut self, arguments: &str) -> Result<Flow, CommandError> {
        let (from, to) = parse::first_word(arguments);
        if from.is_empty() || to.is_empty() {
            return Err(CommandError::Usage {
                what: "two paths are needed".into(),
                usage: "set substitute-path FROM TO",
            });
        }
        self.sources.substitute(from, to);
        Ok(Flow::Continue)
    }

    /// `directory DIR`.
    pub(crate) fn directory(&mut self, arguments: &str) -> Result<Flow, CommandError> {
        if !Path::new(arguments).is_dir() {
            return Err(CommandError::Other(format!("{arguments} is no directory")));
        }
        self.sources.add_folder(Path::new(arguments));
        Ok(Flow::Continue)
    }

    /// `show convenience` and the like.
    pub(crate) fn show(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let (word, _) = parse::first_word(arguments);
        match word {
            "" | "convenience" | "conv" => {
                let all: Vec<(String, symbols::Value)> = self
                    .values
                    .variables()
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value.clone()))
                    .collect();
                if all.is_empty() {
                    reply.line("No convenience variables; `set $name = …` makes one.");
                }
                for (name, value) in all {
                    let shown = self.format_value(&value, symbols::Format::Natural)?;
                    reply.line(format!("${name} = {shown}"));
                }
            }
            "print" => {
                let limits = self.settings.limits;
                let shown = |number: u64, most: u64| {
                    if number >= most { "unlimited".into() } else { number.to_string() }
                };
                reply.line(format!("print elements: {}", shown(limits.elements, u64::MAX)));
                reply.line(format!("print max-depth: {}", shown(limits.depth.into(), DEPTH_MAX)));
            }
            "version" => reply.line(format!("vdbg {}", env!("CARGO_PKG_VERSION"))),
            "disassembly-flavor" => reply.line(format!("{:?}", self.settings.flavour).to_lowercase()),
            word => return Err(CommandError::Other(format!("there is nothing to show about \"{word}\""))),
        }
        Ok(Flow::Continue)
    }

    /// `handle SIGNAL stop|nostop`.
    pub(crate) fn handle(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let usage = |what: String| CommandError::Usage { what, usage: "handle SIGNAL stop|nostop" };
        let (name, rest) = parse::first_word(arguments);
        let signal = signal_number(name).ok_or_else(|| usage(format!("\"{name}\" is no signal")))?;
        for word in rest.split_whitespace() {
            match word {
                "stop" => self.settings.stopping |= bit(signal),
                "nostop" => self.settings.stopping &= !bit(signal),
                // gdb's other words: a replay neither prints nor passes.
                "print" | "noprint" | "pass" | "nopass" | "ignore" | "noignore" => {}
                word => return Err(usage(format!("\"{word}\" is not known"))),
            }
        }
        let stops = if self.settings.stops_at(signal) { "stops" } else { "stops only when it is fatal" };
        reply.line(format!("{name} {stops}."));
        Ok(Flow::Continue)
    }

    /// `source FILE`.
    pub(crate) fn source(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let path = Path::new(arguments);
        let failed = |error: std::io::Error| {
            CommandError::Other(format!("cannot read the command file {}: {error}", path.display()))
        };
        if std::fs::metadata(path).map_err(failed)?.len() > SOURCE_BYTES_MAX {
            return Err(CommandError::Other(format!("{arguments} is too large for a command file")));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        self.run_lines(&text, reply)
    }

    /// `echo TEXT`, with C's escapes.
    pub(crate) fn echo(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let mut letters = arguments.chars();
        let mut out = String::new();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => match letters.next() {
                    Some('n') => out.push('\n'),
                    Some('t') => out.push('\t'),
                    Some(other) => out.push(other),
                    None => {}
                },
                letter => out.push(letter),
            }
        }
        reply.text(out);
        Ok(Flow::Continue)
    }
}

fn signal_number(name: &str) -> Option<i32> {
    let upper = name.to_uppercase();
    let full = if upper.starts_with("SIG") { upper } else { format!("SIG{upper}") };
    let by_name = (1..=64).find(|signal| syscalls::signal_name(*signal) == Some(full.as_str()));
    by_name
        .or_else(|| name.parse().ok().filter(|number| (1..=64).contains(number)))
        .map(|number| number as i32)
}
