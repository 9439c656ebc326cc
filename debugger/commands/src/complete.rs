//! Completion of command lines.

use crate::debugger::Debugger;
use crate::parse;
use crate::table::{self, Argument, COMMANDS, Command, INFO};

/// Names offered at most.
const CANDIDATES_MAX: usize = 200;

/// What can stand in place of the word at the cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Completions {
    /// Where in the line the word begins, in bytes.
    pub start: usize,
    /// The whole words.
    pub words: Vec<String>,
    /// The word is a path: the front end completes it.
    pub files: bool,
}

impl Debugger {
    /// What may come at the end of a line.
    pub fn complete(&mut self, line: &str) -> Completions {
        let (word, _, _) = parse::split_command(line);
        let indent = line.len() - line.trim_start().len();
        if line[indent..].len() == word.len() {
            return names(COMMANDS, word, indent);
        }
        let Ok(command) = table::find(COMMANDS, word) else { return Completions::default() };
        self.complete_argument(command, line, indent + word.len())
    }

    fn complete_argument(&mut self, command: &Command, line: &str, after: usize) -> Completions {
        let start = line
            .rfind(|letter: char| !is_name(letter))
            .map_or(after, |at| at + line[at..].chars().next().map_or(1, char::len_utf8));
        let start = start.max(after);
        let word = &line[start..];
        match command.argument {
            Argument::None => Completions::default(),
            Argument::File => Completions { start, files: true, ..Completions::default() },
            Argument::Command => names(COMMANDS, word, start),
            Argument::Info => self.complete_info(line, after),
            Argument::Place => Completions { start, words: self.places(word), files: false },
            Argument::Expression => Completions { start, words: self.variables(word), files: false },
        }
    }

    fn complete_info(&mut self, line: &str, after: usize) -> Completions {
        let rest = &line[after..];
        let begin = after + rest.len() - rest.trim_start().len();
        let (word, _) = parse::first_word(rest);
        if begin + word.len() == line.len() {
            return names(INFO, word, begin);
        }
        match table::find(INFO, word) {
            Ok(command) if command.argument != Argument::Info => {
                self.complete_argument(command, line, begin + word.len())
            }
            _ => Completions::default(),
        }
    }

    fn places(&mut self, word: &str) -> Vec<String> {
        let Ok(symbols) = self.symbols() else { return Vec::new() };
        let mut words = symbols.complete_function(word, CANDIDATES_MAX);
        let files = symbols.source_files();
        let names =
            files.iter().map(|path| crate::threads::base_name(path)).filter(|name| name.starts_with(word));
        words.extend(names.map(|name| format!("{name}:")));
        tidy(words)
    }

    fn variables(&mut self, word: &str) -> Vec<String> {
        let locals = self.with_context(|context| {
            let names = context.variables().into_iter().map(|variable| variable.name);
            names.filter(|name| name.starts_with(word)).collect::<Vec<_>>()
        });
        let mut words = locals.unwrap_or_default();
        if !word.is_empty() {
            let functions = self.symbols().map(|symbols| symbols.complete_function(word, CANDIDATES_MAX));
            words.extend(functions.unwrap_or_default());
        }
        tidy(words)
    }
}

fn tidy(mut words: Vec<String>) -> Vec<String> {
    words.sort();
    words.dedup();
    words.truncate(CANDIDATES_MAX);
    words
}

fn names(table: &'static [Command], word: &str, start: usize) -> Completions {
    let found = table.iter().map(|command| command.name).filter(|name| name.starts_with(word));
    Completions { start, words: tidy(found.map(str::to_owned).collect()), files: false }
}

fn is_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | ':' | '$')
}
