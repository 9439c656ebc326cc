//! The debugger: a session, what the user has set, and what is selected.

use std::collections::VecDeque;
use std::rc::Rc;

use serde_json::json;
use symbols::{Context, Frame, Sources, Symbols, Value};
use trace::ThreadId;
use tracer::{Interrupt, Position, Session};

use crate::breakpoints::TypedCommands;
use crate::conditions::Conditions;
use crate::error::CommandError;
use crate::history::Values;
use crate::list::Listing;
use crate::navigation::{Mark, Visited};
use crate::output::{Output, Reply};
use crate::parse;
use crate::points::Points;
use crate::settings::Settings;
use crate::spaces::{self, Spaces, ThreadMemory};
use crate::table::{self, Command, Repeat};
use crate::target::Target;
use crate::threads::ThreadNumbers;
use crate::xamine::Examined;

/// Files read by `source` inside each other.
const SOURCE_DEPTH_MAX: u32 = 16;

/// What comes after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next command.
    Continue,
    /// The user wants to leave.
    Quit,
}

/// What is selected: a thread and one of its frames.
#[derive(Default)]
pub(crate) struct Focus {
    pub(crate) thread: Option<ThreadId>,
    pub(crate) frames: Vec<Frame>,
    /// All frames are there.
    pub(crate) complete: bool,
    pub(crate) level: usize,
}

/// A debugger over one recording.
pub struct Debugger {
    pub(crate) session: Target,
    pub(crate) spaces: Spaces,
    pub(crate) points: Points,
    pub(crate) values: Values,
    pub(crate) sources: Sources,
    pub(crate) focus: Focus,
    pub(crate) threads: ThreadNumbers,
    pub(crate) marks: Vec<Mark>,
    pub(crate) last_mark: u32,
    pub(crate) settings: Settings,
    pub(crate) conditions: Conditions,
    /// What log points have printed and no reply has shown yet.
    pub(crate) logged: String,
    pub(crate) listing: Listing,
    pub(crate) examined: Examined,
    pub(crate) displays: Vec<(u32, String, String)>,
    pub(crate) source_depth: u32,
    /// The last table over the whole recording.
    pub(crate) rows: Vec<crate::surveys::Row>,
    /// Where the session has been, and how far back in that it is.
    pub(crate) visited: Visited,
    /// The body of `commands` that is being typed.
    pub(crate) typed: Option<TypedCommands>,
    /// Commands of the point that was stopped at, which are run next.
    pub(crate) due: VecDeque<String>,
    runs_due: bool,
    last_line: String,
}

impl Debugger {
    /// A debugger over a session, wherever it stands.
    pub fn new(session: Session) -> Self {
        Self::of(Target::Recording(Box::new(session)))
    }

    /// A debugger over a core file.
    pub fn of_core(core: targets::Core) -> Self {
        Self::of(Target::of_core(core))
    }

    fn of(session: Target) -> Self {
        let mut debugger = Self {
            session,
            spaces: Spaces::new(),
            points: Points::default(),
            values: Values::default(),
            sources: Sources::default(),
            focus: Focus::default(),
            threads: ThreadNumbers::default(),
            marks: Vec::new(),
            last_mark: 0,
            settings: Settings::default(),
            conditions: Conditions::default(),
            logged: String::new(),
            listing: Listing::default(),
            examined: Examined::default(),
            displays: Vec::new(),
            source_depth: 0,
            rows: Vec::new(),
            visited: Visited::default(),
            typed: None,
            due: VecDeque::new(),
            runs_due: false,
            last_line: String::new(),
        };
        debugger.moved();
        debugger
    }

    /// The recording; `None` for a core file.
    pub fn trace(&self) -> Option<&trace::Reader> {
        self.session.trace().ok()
    }

    /// How many events there are to go through.
    pub fn events(&self) -> u64 {
        self.trace().map_or(0, trace::Reader::len)
    }

    /// What a core file is of, and how the program ended.
    pub fn core_text(&self) -> String {
        let Some(core) = self.core() else { return String::new() };
        let program = core.program().map_or_else(String::new, |path| path.display().to_string());
        let command = if core.command().is_empty() { program } else { core.command().to_owned() };
        let ended = match core.signal() {
            0 => String::new(),
            signal => format!(", ended by {}", crate::report::signal_text(signal)),
        };
        let threads = match core.threads().len() {
            1 => "1 thread".to_owned(),
            threads => format!("{threads} threads"),
        };
        format!("Core file of {command} (process {}, {threads}){ended}.\n", core.process())
    }

    /// The core file; `None` for a recording.
    pub fn core(&self) -> Option<&targets::Core> {
        self.session.core()
    }

    /// How to stop what is going on.
    pub fn interrupt(&self) -> Interrupt {
        self.session.interrupt()
    }

    /// How far into the recording the session is, in percent of its events.
    pub fn percent(&self) -> u64 {
        self.percent_of(self.session.position())
    }

    pub(crate) fn percent_of(&self, position: &Position) -> u64 {
        let Ok(trace) = self.session.trace() else { return 0 };
        let (first, end) = (trace.first(), trace.len());
        (position.event.saturating_sub(first) * 100).checked_div(end - first).unwrap_or(0).min(100)
    }

    /// Says where the session stands, as at the beginning of a prompt.
    ///
    /// # Errors
    /// When registers cannot be read.
    pub fn greet(&mut self, out: &mut dyn Output) -> Result<(), CommandError> {
        self.show_stop_frame(true, &mut Reply::new(out))
    }

    /// Executes one line. An empty one repeats the last command.
    ///
    /// # Errors
    /// When the command is refused or fails; what was written to `out` until then stands.
    pub fn execute(&mut self, line: &str, out: &mut dyn Output) -> Result<Flow, CommandError> {
        self.session.interrupt().clear();
        self.run_line(line, &mut Reply::new(out))
    }

    /// Executes one line and answers with one JSON object: `command`, `ok`, then `error` or named data, and the text
    /// for people as `output`.
    pub fn execute_json(&mut self, line: &str) -> (serde_json::Value, Flow) {
        self.session.interrupt().clear();
        let mut text = String::new();
        let mut reply = Reply::new(&mut text);
        let result = self.run_line(line, &mut reply);
        let mut data = std::mem::take(&mut reply.data);
        data.insert("command".into(), line.trim().into());
        data.insert("ok".into(), result.is_ok().into());
        let flow = match result {
            Ok(flow) => flow,
            Err(error) => {
                data.insert("error".into(), error.to_string().into());
                Flow::Continue
            }
        };
        data.insert("output".into(), text.into());
        data.insert("position".into(), self.position_json());
        (data.into(), flow)
    }

    fn position_json(&self) -> serde_json::Value {
        json!({ "event": self.session.position().event, "percent": self.percent() })
    }

    pub(crate) fn run_line(&mut self, line: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let line = line.trim();
        if line.starts_with('#') {
            return Ok(Flow::Continue);
        }
        if self.typed.is_some() {
            self.take_typed(line);
            return Ok(Flow::Continue);
        }
        let line = if line.is_empty() { std::mem::take(&mut self.last_line) } else { line.to_owned() };
        if line.is_empty() {
            return Ok(Flow::Continue);
        }
        let (command, word, format, arguments) = find(&line)?;
        self.last_line = match command.repeat {
            Repeat::Same => line.clone(),
            Repeat::WithoutArguments => word.to_owned(),
            Repeat::Never => String::new(),
        };
        let before = self.session.position().clone();
        let result = (command.run)(self, format, arguments, reply);
        self.flush_log(reply);
        self.note_visit(command.name, before);
        match result? {
            Flow::Quit => Ok(Flow::Quit),
            Flow::Continue => self.run_due(reply),
        }
    }

    /// Runs the commands of the points that were stopped at. They may go on to another stop, whose commands follow.
    fn run_due(&mut self, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        if self.runs_due || self.due.is_empty() {
            return Ok(Flow::Continue);
        }
        self.runs_due = true;
        // What an empty line repeats is the user's command, not one of these.
        let repeated = std::mem::take(&mut self.last_line);
        let mut result = Ok(Flow::Continue);
        while let Some(line) = self.due.pop_front()
            && matches!(result, Ok(Flow::Continue))
            && !self.session.interrupt().is_requested()
        {
            result = self.run_line(&line, reply);
        }
        self.due.clear();
        self.runs_due = false;
        self.last_line = repeated;
        result
    }

    /// Whether the lines that come next belong to a command that has begun.
    pub fn awaits_lines(&self) -> bool {
        self.typed.is_some()
    }

    /// Runs the lines of a command file.
    pub(crate) fn run_lines(&mut self, text: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        if self.source_depth >= SOURCE_DEPTH_MAX {
            return Err(CommandError::other("command files are read inside each other too deeply"));
        }
        self.source_depth += 1;
        let mut lines = text.lines().filter(|line| !line.trim().is_empty());
        let result = lines.try_fold(Flow::Continue, |flow, line| match flow {
            Flow::Quit => Ok(Flow::Quit),
            Flow::Continue => self.run_line(line, reply),
        });
        self.source_depth -= 1;
        result
    }

    /// The selected thread.
    pub(crate) fn thread(&self) -> Result<ThreadId, CommandError> {
        let selected = self.focus.thread.or_else(|| self.session.current_thread());
        selected.ok_or_else(|| CommandError::other("no thread exists here; go elsewhere with `goto`"))
    }

    /// The modules of the selected thread's program.
    pub(crate) fn symbols(&mut self) -> Result<Rc<Symbols>, CommandError> {
        let thread = self.thread()?;
        Ok(self.spaces.symbols(self.session.view(), thread)?)
    }

    /// Makes sure that so many frames are known, if there are so many.
    pub(crate) fn unwind(&mut self, count: usize) -> Result<(), CommandError> {
        if self.focus.complete || self.focus.frames.len() >= count {
            return Ok(());
        }
        let thread = self.thread()?;
        let symbols = self.symbols()?;
        let registers = spaces::registers(self.session.view(), thread)?;
        let memory = ThreadMemory { session: self.session.view(), thread };
        self.focus.frames = symbols.frames_up_to(&registers, &memory, count);
        self.focus.complete = self.focus.frames.len() < count;
        Ok(())
    }

    /// The selected frame.
    pub(crate) fn frame(&mut self) -> Result<Frame, CommandError> {
        self.unwind(self.focus.level + 1)?;
        let frame = self.focus.frames.get(self.focus.level).cloned();
        frame.ok_or_else(|| CommandError::other("the thread has no frame here"))
    }

    /// Asks something of the selected frame's context.
    pub(crate) fn with_context<T>(&mut self, ask: impl FnOnce(&Context<'_>) -> T) -> Result<T, CommandError> {
        let level = self.focus.level;
        self.with_frame(level, ask)
    }

    /// Asks something of a frame's context.
    pub(crate) fn with_frame<T>(
        &mut self,
        level: usize,
        ask: impl FnOnce(&Context<'_>) -> T,
    ) -> Result<T, CommandError> {
        self.unwind(level + 1)?;
        let thread = self.thread()?;
        let symbols = self.symbols()?;
        let memory = ThreadMemory { session: self.session.view(), thread };
        let values = &self.values;
        let lookup = |name: &str| values.lookup(name);
        let frame = self.focus.frames.get(level);
        let context = Context::new(&symbols, &memory, frame).with_limits(self.settings.limits);
        Ok(ask(&context.with_convenience(&lookup)))
    }

    /// The value of an expression in the selected frame.
    pub(crate) fn eval(&mut self, text: &str) -> Result<Value, CommandError> {
        if parse::assignment(text).is_some() {
            return Err(CommandError::other(
                "a replay shows what happened and cannot be changed: only convenience variables can be set (set $name = …)",
            ));
        }
        let text = self.values.expand(text).map_err(CommandError::Other)?;
        self.with_context(|context| context.eval(&text))?
            .map_err(|error| CommandError::expression(&text, error))
    }

    /// The value of an expression as a number.
    pub(crate) fn eval_number(&mut self, text: &str) -> Result<u64, CommandError> {
        let value = self.eval(text)?;
        let number = self.with_context(|context| {
            value.as_u64(context.memory).or_else(|missing| value.address().ok_or(missing))
        })?;
        number.map_err(|missing| CommandError::Other(format!("\"{text}\" is no address: {missing}")))
    }

    /// The session stands somewhere else: what was selected no longer holds.
    pub(crate) fn moved(&mut self) {
        self.focus = Focus { thread: self.session.current_thread(), ..Focus::default() };
        self.listing.forget();
        self.threads.update(self.session.view());
    }
}

/// The command of a line, the words that named it, its format letters and its arguments.
fn find(line: &str) -> Result<(&'static Command, &str, &str, &str), CommandError> {
    let (word, format, arguments) = parse::split_command(line);
    if word.is_empty() {
        return Err(CommandError::Unknown(parse::first_word(line).0.to_owned()));
    }
    let command = table::find(table::COMMANDS, word)?;
    Ok((command, word, format, arguments))
}
