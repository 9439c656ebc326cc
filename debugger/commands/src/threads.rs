//! Threads: `thread`, `thread apply`, `info threads`, and their numbers.

use serde_json::json;
use trace::ThreadId;

use crate::debugger::{Debugger, Flow, Focus};
use crate::error::CommandError;
use crate::output::Reply;
use crate::parse;
use crate::target::View;

/// Numbers for threads, in the order in which they were first seen. A number stays with its thread, backwards too.
#[derive(Default)]
pub(crate) struct ThreadNumbers {
    known: Vec<ThreadId>,
}

impl ThreadNumbers {
    pub(crate) fn update(&mut self, session: &dyn View) {
        for info in session.threads() {
            if !self.known.contains(&info.thread) {
                self.known.push(info.thread);
            }
        }
    }

    pub(crate) fn number(&self, thread: ThreadId) -> usize {
        self.known.iter().position(|known| *known == thread).map_or(0, |index| index + 1)
    }

    pub(crate) fn thread(&self, number: usize) -> Option<ThreadId> {
        self.known.get(number.checked_sub(1)?).copied()
    }
}

impl Debugger {
    /// `Thread 2 (LWP 4711)`, and the program when there are several.
    pub(crate) fn thread_title(&self, thread: ThreadId) -> String {
        let number = self.threads.number(thread);
        let info = self.session.threads().into_iter().find(|info| info.thread == thread);
        match info {
            Some(info) if info.process != thread.0 => {
                format!("Thread {number} (LWP {thread}, process {})", info.process)
            }
            Some(info) => format!("Thread {number} (process {}, {})", info.process, base_name(&info.program)),
            None => format!("Thread {number} (LWP {thread})"),
        }
    }

    /// `info threads`.
    pub(crate) fn info_threads(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let kept = self.focus.thread;
        let level = self.focus.level;
        let mut list = Vec::new();
        let mut threads = self.session.threads();
        threads.sort_by_key(|info| self.threads.number(info.thread));
        if threads.is_empty() {
            reply.line("No threads.");
        }
        for info in &threads {
            self.focus = Focus { thread: Some(info.thread), ..Focus::default() };
            let frame = self.frame_text(0).unwrap_or_else(|error| error.to_string());
            let mark = if Some(info.thread) == kept { "*" } else { " " };
            let number = self.threads.number(info.thread);
            reply.line(format!("{mark} {number:<3} {} {frame}", self.thread_title(info.thread)));
            list.push(json!({
                "number": number,
                "thread": info.thread.0,
                "process": info.process,
                "program": info.program,
                "frame": frame,
                "selected": Some(info.thread) == kept,
            }));
        }
        self.focus = Focus { thread: kept, level, ..Focus::default() };
        reply.set("threads", list);
        Ok(Flow::Continue)
    }

    /// `thread [N | apply all|N… COMMAND]`.
    pub(crate) fn thread_command(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let (word, rest) = parse::first_word(arguments);
        match word {
            "" => {
                let thread = self.thread()?;
                reply.line(format!("[Current thread is {}]", self.thread_title(thread)));
                Ok(Flow::Continue)
            }
            "apply" => self.thread_apply(rest, reply),
            number => {
                let thread = self.existing_thread(number)?;
                self.focus = Focus { thread: Some(thread), ..Focus::default() };
                self.listing.forget();
                reply.line(format!("[Switching to {}]", self.thread_title(thread)));
                self.show_selected(reply)
            }
        }
    }

    fn thread_apply(&mut self, arguments: &str, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let (which, command) = parse::first_word(arguments);
        if command.is_empty() {
            return Err(CommandError::Usage {
                what: "a command is missing".into(),
                usage: "thread apply all|N COMMAND",
            });
        }
        let threads: Vec<ThreadId> = match which {
            "all" => self.session.threads().into_iter().map(|info| info.thread).collect(),
            number => vec![self.existing_thread(number)?],
        };
        let kept = self.focus.thread;
        let position = self.session.position().clone();
        for thread in threads {
            if *self.session.position() != position {
                return Err(CommandError::other(
                    "the command has moved the session: other threads are left out",
                ));
            }
            self.focus = Focus { thread: Some(thread), ..Focus::default() };
            reply.line(format!("\n{}:", self.thread_title(thread)));
            self.run_line(command, reply)?;
        }
        if *self.session.position() == position {
            self.focus = Focus { thread: kept, ..Focus::default() };
        }
        Ok(Flow::Continue)
    }

    fn existing_thread(&self, number: &str) -> Result<ThreadId, CommandError> {
        let unknown =
            || CommandError::Other(format!("there is no thread {number} here; `info threads` lists them"));
        let thread =
            number.parse().ok().and_then(|number| self.threads.thread(number)).ok_or_else(unknown)?;
        let exists = self.session.threads().iter().any(|info| info.thread == thread);
        exists.then_some(thread).ok_or_else(unknown)
    }
}

/// The last component of a path.
pub(crate) fn base_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
