//! `info …`: registers, variables, files, symbols, events.

use serde_json::{Map, json};

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::events::{describe_event, event_json};
use crate::output::Reply;
use crate::parse;
use crate::table;

/// Events shown without being asked for more.
const EVENTS_SHOWN: u64 = 10;

/// What `info` lists the names of.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Named {
    Functions,
    Variables,
    Types,
}

impl Debugger {
    /// `info WHAT`.
    pub(crate) fn info(
        &mut self,
        format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let (word, rest) = parse::first_word(arguments);
        if word.is_empty() {
            let names: Vec<&str> = table::INFO.iter().map(|command| command.name).collect();
            return Err(CommandError::Usage {
                what: format!("say what: {}", names.join(", ")),
                usage: "info WHAT",
            });
        }
        let command = table::find(table::INFO, word).map_err(|error| match error {
            CommandError::Unknown(word) => {
                CommandError::Other(format!("there is no \"info {word}\"; `help info` lists what there is"))
            }
            error => error,
        })?;
        (command.run)(self, format, rest, reply)
    }

    /// `info registers [NAME…]`.
    pub(crate) fn info_registers(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let frame = self.frame()?;
        let mut list = Map::new();
        let mut show = |name: &str, value: Option<u128>, reply: &mut Reply<'_>| {
            let hex = value.map_or("<not saved>".into(), |value| format!("{value:#x}"));
            let natural = match (name, value) {
                (_, None) => String::new(),
                ("rip" | "rsp" | "rbp" | "pc" | "sp", Some(value)) => format!("{value:#x}"),
                ("eflags" | "rflags", Some(value)) => flags_text(value as u64),
                (_, Some(value)) => (value as i64).to_string(),
            };
            list.insert(name.to_owned(), hex.clone().into());
            reply.line(format!("{name:<15}{hex:<19}{natural}").trim_end());
        };
        if arguments.is_empty() {
            for (name, value) in frame.registers.named() {
                show(name, value.map(u128::from), reply);
            }
        }
        for word in arguments.split_whitespace() {
            let name = word.strip_prefix('$').unwrap_or(word);
            if symbols::Registers::part(name).is_none() {
                return Err(CommandError::Other(format!(
                    "there is no register {name}; `info registers` lists them"
                )));
            }
            show(name, frame.registers.by_name(name), reply);
        }
        reply.set("registers", list);
        Ok(Flow::Continue)
    }

    /// `info locals`.
    pub(crate) fn info_locals(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        self.show_variables(false, reply)
    }

    /// `info args`.
    pub(crate) fn info_args(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        self.show_variables(true, reply)
    }

    fn show_variables(&mut self, arguments: bool, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let frame = self.frame()?;
        let (all, known) = self.with_context(|context| {
            let variables = if arguments { context.arguments() } else { context.locals() };
            // The innermost first, as gdb lists them.
            let text = |variable: &symbols::Variable| {
                (variable.name.clone(), context.format_short(&context.value_of(variable)))
            };
            (variables.iter().map(text).collect::<Vec<_>>(), frame.location.has_debug_info)
        })?;
        match (all.is_empty(), known) {
            (true, false) => {
                reply.line("No symbol table info available: the function has no debug information.")
            }
            (true, true) => reply.line(if arguments { "No arguments." } else { "No locals." }),
            _ => all.iter().for_each(|(name, value)| reply.line(format!("{name} = {value}"))),
        }
        reply.set(
            "variables",
            all.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>(),
        );
        Ok(Flow::Continue)
    }

    /// `info sharedlibrary`.
    pub(crate) fn info_modules(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let symbols = self.symbols()?;
        let mut list = Vec::new();
        reply.line("From                To                  Debug  File");
        for module in symbols.modules() {
            let (start, end) = module
                .ranges()
                .iter()
                .fold((u64::MAX, 0), |(start, end), range| (start.min(range.start), end.max(range.end)));
            let debug = module.image().has_debug_info();
            let word = if debug { "yes" } else { "no" };
            reply.line(format!("{start:#018x}  {end:#018x}  {word:<5}  {}", module.name()));
            list.push(json!({ "file": module.name(), "start": start, "end": end, "debug": debug }));
        }
        reply.set("modules", list);
        Ok(Flow::Continue)
    }

    /// `info source`.
    pub(crate) fn info_source(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let frame = self.frame()?;
        match &frame.location.file {
            Some(file) => {
                reply.line(format!("Current source file is {file}"));
                if let Err(error) = self.source_text(file, frame.location.line.max(1)) {
                    reply.line(format!(
                        "It cannot be shown: {error}; set substitute-path FROM TO says where it is"
                    ));
                }
                reply.set("file", file.as_ref());
            }
            None => reply.line("No source file is known for this frame."),
        }
        Ok(Flow::Continue)
    }

    /// `info sources [TEXT]`.
    pub(crate) fn info_sources(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let symbols = self.symbols()?;
        let files: Vec<_> =
            symbols.source_files().into_iter().filter(|file| file.contains(arguments)).collect();
        if files.is_empty() {
            reply.line("No source files are known: the program has no debug information.");
        }
        files.iter().for_each(|file| reply.line(file.as_ref()));
        reply.set("files", files.iter().map(|file| file.as_ref()).collect::<Vec<_>>());
        Ok(Flow::Continue)
    }

    /// `info functions|variables|types [REGEX]`.
    pub(crate) fn info_names(
        &mut self,
        what: Named,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        /// Names that are listed.
        const NAMES_MAX: usize = 5000;
        let wanted = crate::breakpoints::pattern(arguments)?;
        let matches = |name: &str| wanted.is_match(name);
        let symbols = self.symbols()?;
        let mut names = match what {
            Named::Functions => symbols.function_names(&matches, NAMES_MAX + 1),
            Named::Variables => symbols.variable_names(&matches, NAMES_MAX + 1),
            Named::Types => symbols.type_names(&matches, NAMES_MAX + 1),
        };
        let more = names.len() > NAMES_MAX;
        names.truncate(NAMES_MAX);
        if names.is_empty() {
            reply.line("No names with debug information match.");
        }
        names.iter().for_each(|name| reply.line(name));
        if more {
            reply.line(format!("There are more than {NAMES_MAX}: say more of the name."));
        }
        reply.set("names", names);
        Ok(Flow::Continue)
    }

    /// `info line PLACE`.
    pub(crate) fn info_line(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let spec = self.linespec(arguments)?;
        let places = self.addresses(&spec)?;
        if places.is_empty() {
            return Err(self.no_such_place(&spec));
        }
        let symbols = self.symbols()?;
        for place in places {
            let Some(file) = place.file.as_ref().filter(|_| place.line != 0) else {
                reply.line(format!(
                    "No line number information for address {}",
                    self.address_text(place.address)?
                ));
                continue;
            };
            let end = symbols.line_range(place.address).map_or(place.address, |range| range.end);
            let (start, end) = (self.address_text(place.address)?, self.address_text(end)?);
            reply.line(format!(
                "Line {} of \"{}\" starts at address {start} and ends at {end}.",
                place.line,
                self.short_path(file)
            ));
        }
        Ok(Flow::Continue)
    }

    /// `info symbol ADDRESS`.
    pub(crate) fn info_symbol(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let address = self.address_of(arguments)?;
        let symbols = self.symbols()?;
        let module = symbols.module_at(address).map(|module| module.name().to_owned());
        let of = module.map_or(String::new(), |name| format!(" of {name}"));
        match symbols.symbol_at(address) {
            Some((name, 0)) => reply.line(format!("{name}{of}")),
            Some((name, offset)) => reply.line(format!("{name} + {offset}{of}")),
            None => reply.line(format!("No symbol matches {arguments}.")),
        }
        Ok(Flow::Continue)
    }

    /// `info events [FROM [COUNT]]`.
    pub(crate) fn info_events(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let (first, count) = parse::first_word(arguments);
        let number = |text: &str| {
            parse::number(text).ok_or_else(|| CommandError::Usage {
                what: format!("\"{text}\" is no number"),
                usage: "info events [FROM [COUNT]]",
            })
        };
        let at = self.session.position().event;
        let from = if first.is_empty() { at.saturating_sub(EVENTS_SHOWN / 2) } else { number(first)? };
        let count = if count.is_empty() { EVENTS_SHOWN } else { number(count)? };
        let end = from.saturating_add(count).min(self.session.trace()?.len());
        let mut list = Vec::new();
        for number in from..end {
            let mark = if number == at { "=>" } else { "  " };
            reply.line(format!("{mark} {}", describe_event(self.session.trace()?, number)?));
            list.push(event_json(self.session.trace()?, number)?);
        }
        if from >= end {
            reply.line(format!("No such events: the recording has {}.", self.session.trace()?.len()));
        }
        reply.set("events", list);
        Ok(Flow::Continue)
    }

    /// `info signals`.
    pub(crate) fn info_signals(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        reply.line("Signal        Stop");
        for signal in 1..=64 {
            let Some(name) = syscalls::signal_name(signal) else { continue };
            let stop = if self.settings.stops_at(signal as i32) { "Yes" } else { "When fatal" };
            reply.line(format!("{name:<14}{stop}"));
        }
        Ok(Flow::Continue)
    }

    /// `info mappings`.
    pub(crate) fn info_mappings(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let mappings = self.session.view().regions(self.thread()?)?;
        for mapping in &mappings {
            let bit = |bit: i32, letter: char| if mapping.protection & bit != 0 { letter } else { '-' };
            let access: String =
                [bit(libc::PROT_READ, 'r'), bit(libc::PROT_WRITE, 'w'), bit(libc::PROT_EXEC, 'x')]
                    .into_iter()
                    .collect();
            reply.line(
                format!("{:#018x} {:#018x} {access} {}", mapping.start, mapping.end, mapping.name).trim_end(),
            );
        }
        let json = |mapping: &crate::target::Region| json!({ "start": mapping.start, "end": mapping.end, "name": mapping.name });
        reply.set("mappings", mappings.iter().map(json).collect::<Vec<_>>());
        Ok(Flow::Continue)
    }

    /// `info program`.
    pub(crate) fn info_program(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let thread = self.thread()?;
        let (_, path, arguments) = self.session.program(thread)?;
        reply.line(format!("{}: {path}", self.thread_title(thread)));
        reply.line(format!("arguments: {}", arguments.join(" ")));
        if let Some(core) = self.session.core() {
            reply.line(format!("core file: {}", core.path().display()));
            return Ok(Flow::Continue);
        }
        let header = self.session.trace()?.header();
        reply.line(format!("recording: {}", self.session.trace()?.directory().display()));
        reply.line(format!("recorded command: {}", header.command.join(" ")));
        Ok(Flow::Continue)
    }
}

/// The flags register as gdb shows it (Intel SDM volume 1, section 3.4.3).
fn flags_text(flags: u64) -> String {
    const BITS: [(u32, &str); 10] = [
        (0, "CF"),
        (2, "PF"),
        (4, "AF"),
        (6, "ZF"),
        (7, "SF"),
        (8, "TF"),
        (9, "IF"),
        (10, "DF"),
        (11, "OF"),
        (18, "AC"),
    ];
    let set = BITS.iter().filter(|(bit, _)| flags & 1 << bit != 0).map(|(_, name)| *name);
    format!("[ {} ]", set.collect::<Vec<_>>().join(" "))
}
