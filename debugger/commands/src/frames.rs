//! Frames: `bt`, `frame`, `up`, `down`, and how a frame is shown.

use serde_json::json;
use symbols::Frame;

use crate::debugger::{Debugger, Flow};
use crate::error::CommandError;
use crate::output::Reply;
use crate::parse;
use crate::report::frame_json;

/// Frames shown without being asked for more.
const BACKTRACE_MAX: usize = 200;

impl Debugger {
    /// `func (args) at file:line`, with the address before it when the pc is not at the beginning of a line.
    pub(crate) fn frame_text(&mut self, level: usize) -> Result<String, CommandError> {
        let arguments = self.with_frame(level, |context| context.format_arguments())?;
        let Some(frame) = self.focus.frames.get(level).cloned() else {
            return Err(CommandError::other("the thread has no such frame"));
        };
        if frame.signal {
            return Ok("<signal handler called>".into());
        }
        let location = &frame.location;
        let name = location.function.as_deref().unwrap_or("??");
        let mut text = if is_at_line(&frame) { String::new() } else { format!("{:#018x} in ", frame.pc) };
        text.push_str(&format!("{name} ({arguments})"));
        match &location.file {
            Some(file) if location.line != 0 => {
                text.push_str(&format!(" at {}:{}", self.short_path(file), location.line));
            }
            _ => {
                if let Some(module) = frame.module() {
                    text.push_str(&format!(" from {}", module.name()));
                }
            }
        }
        Ok(text)
    }

    /// The innermost frame after a stop, and its source line. Not whole: the line alone, as when stepping in one function.
    pub(crate) fn show_stop_frame(&mut self, whole: bool, reply: &mut Reply<'_>) -> Result<(), CommandError> {
        if self.focus.thread.is_none() {
            reply.line("[no thread exists here]");
            return Ok(());
        }
        self.focus.level = 0;
        let frame = self.frame()?;
        if whole || frame.location.line == 0 || frame.location.file.is_none() {
            let text = self.frame_text(0)?;
            reply.line(text);
        }
        self.show_source_line(&frame, !whole, reply);
        Ok(())
    }

    /// The source line of a frame; with its address when the pc is in the middle of the line and nothing has said so.
    pub(crate) fn show_source_line(&mut self, frame: &Frame, alone: bool, reply: &mut Reply<'_>) {
        let location = &frame.location;
        let Some(file) = location.file.clone().filter(|_| location.line != 0) else { return };
        let address =
            if is_at_line(frame) || !alone { String::new() } else { format!("{:#018x}\t", frame.pc) };
        match self.source_text(&file, location.line) {
            Ok(text) => reply.line(format!("{address}{}\t{text}", location.line)),
            Err(_) => {
                let file = self.short_path(&file);
                let hint = if self.settings.hint_at_sources() {
                    "; if the sources are elsewhere: set substitute-path FROM TO"
                } else {
                    ""
                };
                reply.line(format!("{address}{}\tin {file} (source not found{hint})", location.line));
            }
        }
        self.listing.center(&file, location.line);
    }

    /// One line of source.
    pub(crate) fn source_text(&mut self, file: &str, line: u32) -> Result<String, symbols::SourceError> {
        self.sources.line(file, line)
    }

    /// A path below the recording's working directory without it.
    pub(crate) fn short_path(&self, path: &str) -> String {
        let Ok(trace) = self.session.trace() else { return path.to_owned() };
        let folder = trace.header().directory.as_str();
        let inside = path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/'));
        inside.filter(|rest| !rest.is_empty()).unwrap_or(path).to_owned()
    }

    /// `backtrace [N|-N] [full]`.
    pub(crate) fn backtrace(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let mut full = false;
        let mut count = None;
        for word in arguments.split_whitespace() {
            match word {
                "full" | "-full" => full = true,
                word => count = Some(word.parse::<i64>().map_err(|_| usage_backtrace(word))?),
            }
        }
        let all = count.is_none_or(|count| count < 0);
        let wanted = count.filter(|_| !all).map_or(symbols::FRAMES_MAX, |count| count as usize);
        self.unwind(wanted.saturating_add(1))?;
        let known = self.frames_to_main();
        let shown = match count {
            Some(count) if count < 0 => known.saturating_sub(count.unsigned_abs() as usize)..known,
            Some(_) => 0..wanted.min(known),
            None => 0..known.min(BACKTRACE_MAX),
        };
        let end = shown.end;
        let mut list = Vec::new();
        for level in shown {
            let text = self.frame_text(level)?;
            reply.line(format!("#{level:<2} {text}"));
            list.extend(self.focus.frames.get(level).map(frame_json));
            if full {
                self.show_locals_of(level, "        ", reply)?;
            }
        }
        match end < known {
            true if self.focus.complete => {
                reply.line(format!("(More frames: {known} in all; `bt {known}` shows them)"));
            }
            true => reply.line("(More frames follow; `bt` shows them)"),
            false => {}
        }
        reply.set("frames", list);
        Ok(Flow::Continue)
    }

    /// How many frames there are up to `main`: what called it is of no interest.
    fn frames_to_main(&self) -> usize {
        let frames = &self.focus.frames;
        let is_main = |frame: &Frame| frame.location.function.as_deref() == Some("main") && !frame.inlined;
        let main = frames.iter().rposition(is_main).filter(|_| !self.settings.past_main);
        main.map_or(frames.len(), |main| main + 1)
    }

    fn show_locals_of(
        &mut self,
        level: usize,
        indent: &str,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        let locals = self.with_frame(level, |context| {
            let text = |variable: &symbols::Variable| {
                format!("{} = {}", variable.name, context.format_short(&context.value_of(variable)))
            };
            context.locals().iter().map(text).collect::<Vec<_>>()
        })?;
        if locals.is_empty() {
            reply.line(format!("{indent}No locals."));
        }
        locals.iter().for_each(|text| reply.line(format!("{indent}{text}")));
        Ok(())
    }

    /// `frame [N]`.
    pub(crate) fn frame_command(
        &mut self,
        _format: &str,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        if !arguments.is_empty() {
            let arguments = arguments.strip_prefix("level ").unwrap_or(arguments);
            let level = parse::number(arguments).ok_or_else(|| {
                CommandError::Other(format!("\"{arguments}\" is no frame number; `bt` lists them"))
            })?;
            self.select_frame(level as usize)?;
        }
        self.show_selected(reply)
    }

    /// `up [N]` and `down [N]`.
    pub(crate) fn move_frame(
        &mut self,
        by: i64,
        arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let count = i64::try_from(self.count_argument(arguments)?).unwrap_or(i64::MAX);
        let level = self.focus.level as i64;
        let wanted = level.saturating_add(by.saturating_mul(count));
        if wanted < 0 && level == 0 {
            return Err(CommandError::other("this is the innermost frame: you cannot go down"));
        }
        let wanted = wanted.max(0) as usize;
        self.unwind(wanted.saturating_add(1))?;
        let last = self.focus.frames.len().saturating_sub(1);
        if wanted > last && self.focus.level == last {
            return Err(CommandError::other("this is the outermost frame: you cannot go up"));
        }
        self.select_frame(wanted.min(last))?;
        self.show_selected(reply)
    }

    fn select_frame(&mut self, level: usize) -> Result<(), CommandError> {
        self.unwind(level.saturating_add(1))?;
        if level >= self.focus.frames.len() {
            let count = self.focus.frames.len();
            return Err(CommandError::Other(format!(
                "there is no frame {level}: the stack has {count}; `bt` lists them"
            )));
        }
        self.focus.level = level;
        self.listing.forget();
        Ok(())
    }

    /// The selected frame with its number and line.
    pub(crate) fn show_selected(&mut self, reply: &mut Reply<'_>) -> Result<Flow, CommandError> {
        let frame = self.frame()?;
        let text = self.frame_text(frame.level)?;
        reply.line(format!("#{:<2} {text}", frame.level));
        self.show_source_line(&frame, false, reply);
        reply.set("frame", frame_json(&frame));
        Ok(Flow::Continue)
    }

    /// `info frame`.
    pub(crate) fn info_frame(
        &mut self,
        _format: &str,
        _arguments: &str,
        reply: &mut Reply<'_>,
    ) -> Result<Flow, CommandError> {
        let frame = self.frame()?;
        let text = self.frame_text(frame.level)?;
        reply.line(format!("Stack level {}: {text}", frame.level));
        reply.line(format!(" rip = {:#x}", frame.pc));
        match frame.cfa {
            Some(cfa) => reply.line(format!(" canonical frame address {cfa:#x}")),
            None => reply.line(" no unwind information: the caller is not known"),
        }
        self.unwind(frame.level + 2)?;
        if let Some(caller) = self.focus.frames.get(frame.level + 1).cloned() {
            let how = if frame.inlined { "inlined into" } else { "called from" };
            reply.line(format!(
                " {how} {:#x} ({})",
                caller.pc,
                caller.location.function.as_deref().unwrap_or("??")
            ));
        }
        let module = frame.module().map(|module| module.name().to_owned());
        reply.line(format!(" code from {}", module.as_deref().unwrap_or("no known file")));
        reply.set("frame", json!({ "frame": frame_json(&frame), "cfa": frame.cfa }));
        Ok(Flow::Continue)
    }
}

/// The pc is at the beginning of a statement, so that its address says nothing new.
pub(crate) fn is_at_line(frame: &Frame) -> bool {
    frame.location.is_stmt
}

fn usage_backtrace(word: &str) -> CommandError {
    CommandError::Usage {
        what: format!("\"{word}\" is no number of frames"),
        usage: "backtrace [N|-N] [full]",
    }
}
