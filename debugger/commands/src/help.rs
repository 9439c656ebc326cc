//! `help`.

use crate::debugger::Flow;
use crate::error::CommandError;
use crate::output::Reply;
use crate::parse;
use crate::table::{self, COMMANDS, Command, INFO};

/// The groups of commands, in the order they are listed.
const GROUPS: [(&str, &str); 8] = [
    ("forwards", "Going forwards"),
    ("backwards", "Going backwards"),
    ("time", "Going to a place in the recording"),
    ("stops", "What stops"),
    ("stack", "Stack and threads"),
    ("data", "Data"),
    ("source", "Source and code"),
    ("other", "Other"),
];

/// `help [COMMAND]`.
pub(crate) fn help(arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
    let (word, rest) = parse::first_word(arguments);
    match word {
        "" => overview(reply),
        word => {
            let command = table::find(COMMANDS, word)?;
            match (command.name, rest) {
                ("info", "") => all_info(command, reply),
                ("info", rest) => one(table::find(INFO, rest)?, reply),
                _ => one(command, reply),
            }
        }
    }
    Ok(Flow::Continue)
}

fn overview(reply: &mut Reply<'_>) {
    for (group, title) in GROUPS {
        reply.line(format!("{title}:"));
        COMMANDS
            .iter()
            .filter(|command| command.group == group)
            .for_each(|command| reply.line(summary(command)));
    }
    reply.line("A command may be cut short while it stays unique. An empty line repeats the last one.");
    reply.line("`help COMMAND` says more.");
}

fn summary(command: &Command) -> String {
    let names = match command.aliases.first() {
        Some(alias) if alias.len() < command.name.len() => format!("{} ({alias})", command.name),
        _ => command.name.to_owned(),
    };
    format!("  {names:<24}{}", command.short)
}

fn one(command: &Command, reply: &mut Reply<'_>) {
    reply.line(command.short);
    reply.line(format!("Usage: {}", command.usage));
    if !command.aliases.is_empty() {
        reply.line(format!("Also: {}", command.aliases.join(", ")));
    }
    if !command.long.is_empty() {
        reply.line(command.long);
    }
}

fn all_info(command: &Command, reply: &mut Reply<'_>) {
    one(command, reply);
    INFO.iter().for_each(|command| reply.line(summary(command)));
}
