//! The prompt: rustyline with history and completion.

use std::cell::RefCell;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::rc::Rc;

use commands::{Debugger, Flow};
use rustyline::completion::{Completer, FilenameCompleter, Pair};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};

use crate::progress::Progress;
use crate::{batch, out};

/// Lines of history that are kept.
const HISTORY_LINES_MAX: usize = 5000;

struct Assistant {
    debugger: Rc<RefCell<Debugger>>,
    files: FilenameCompleter,
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(
        &self,
        line: &str,
        pos: usize,
        context: &Context<'_>,
    ) -> rustyline::Result<(usize, Vec<Pair>)> {
        let Ok(mut debugger) = self.debugger.try_borrow_mut() else { return Ok((pos, Vec::new())) };
        let found = debugger.complete(line.get(..pos).unwrap_or(line));
        if found.files {
            return self.files.complete(line, pos, context);
        }
        let pairs = found.words.into_iter().map(|word| Pair { display: word.clone(), replacement: word });
        Ok((found.start, pairs.collect()))
    }
}

impl Hinter for Assistant {
    type Hint = String;
}
impl Highlighter for Assistant {}
impl Validator for Assistant {}
impl Helper for Assistant {}

/// Prompts until the user leaves.
pub(crate) fn run(mut debugger: Debugger, json: bool) -> anyhow::Result<ExitCode> {
    greet(&mut debugger)?;
    let debugger = Rc::new(RefCell::new(debugger));
    let mut editor = editor(&debugger)?;
    let history = history_file();
    if let Some(path) = &history {
        let _ = editor.load_history(path);
    }
    loop {
        let prompt = match debugger.borrow().awaits_lines() {
            true => ">".to_owned(),
            false if debugger.borrow().trace().is_none() => "(vdbg core) ".to_owned(),
            false => format!("(vdbg {}%) ", debugger.borrow().percent()),
        };
        match editor.readline(&prompt) {
            Ok(line) => {
                if !line.trim().is_empty() {
                    let _ = editor.add_history_entry(line.as_str());
                }
                if execute(&mut debugger.borrow_mut(), &line, json)? == Flow::Quit {
                    break;
                }
            }
            // Ctrl-C at the prompt gives up the line.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => {
                out::write("\n")?;
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(path) = &history {
        let _ = editor.save_history(path);
    }
    Ok(ExitCode::SUCCESS)
}

fn execute(debugger: &mut Debugger, line: &str, json: bool) -> anyhow::Result<Flow> {
    let progress = Progress::begin(debugger.interrupt(), debugger.events());
    let (text, result) = batch::execute(debugger, line, json);
    drop(progress);
    out::write(&text)?;
    Ok(result.unwrap_or_else(|error| {
        out::error(&error);
        Flow::Continue
    }))
}

fn greet(debugger: &mut Debugger) -> anyhow::Result<()> {
    let mut text = match debugger.trace() {
        Some(trace) => format!(
            "{}, recorded {}, {} events. `help` lists the commands.\n",
            trace.header().command.join(" "),
            commands::utc_text(trace.header().started_unix_ns),
            trace.len()
        ),
        None => debugger.core_text(),
    };
    if let Err(error) = debugger.greet(&mut text) {
        out::error(&error.to_string());
    }
    out::write(&text)
}

fn editor(debugger: &Rc<RefCell<Debugger>>) -> anyhow::Result<Editor<Assistant, FileHistory>> {
    let config = Config::builder()
        .max_history_size(HISTORY_LINES_MAX)?
        .history_ignore_space(true)
        .completion_type(CompletionType::List)
        .build();
    let mut editor = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant { debugger: Rc::clone(debugger), files: FilenameCompleter::new() }));
    Ok(editor)
}

/// The history, readable by its owner alone. Without a place for it there is none.
fn history_file() -> Option<PathBuf> {
    let root = trace::default_root();
    std::fs::create_dir_all(&root).ok()?;
    let path = root.join("history");
    std::fs::OpenOptions::new().create(true).append(true).mode(0o600).open(&path).ok()?;
    Some(path)
}
