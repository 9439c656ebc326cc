//! Saying where the session stands and why, in gdb's words.

use std::collections::VecDeque;

use serde_json::{Value as Json, json};
use symbols::{Context, Format, Frame, Value};
use trace::{EventKind, Outcome, ThreadId};
use tracer::{Direction, Hit, Mode};

use crate::debugger::Debugger;
use crate::error::CommandError;
use crate::motion::Halt;
use crate::output::Reply;
use crate::points::{Kind, Watched};
use crate::spaces::{Overlay, ThreadMemory};

/// Where the session stood before it moved: what has not changed is not said again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Before {
    thread: Option<ThreadId>,
    frame: Option<(Option<u64>, Option<String>)>,
}

impl Debugger {
    pub(crate) fn before(&mut self) -> Before {
        let thread = self.focus.thread;
        self.focus.level = 0;
        let frame = self.frame().ok();
        Before { thread, frame: frame.map(|frame| (frame.cfa, function_name(&frame))) }
    }

    /// Reports a stop.
    pub(crate) fn report(
        &mut self,
        halt: &Halt,
        direction: Direction,
        before: &Before,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        self.due = self.commands_of(halt);
        if self.due.front().is_some_and(|first| first == "silent") {
            self.due.pop_front();
            let mut ignored = String::new();
            let mut hidden = Reply::new(&mut ignored);
            self.say_stop(halt, direction, before, &mut hidden)?;
            reply.data.append(&mut hidden.data);
            return Ok(());
        }
        self.say_stop(halt, direction, before, reply)
    }

    /// The commands of the points that were stopped at.
    fn commands_of(&self, halt: &Halt) -> VecDeque<String> {
        let (Halt::Hit { ids, .. } | Halt::Caught { ids, .. }) = halt else { return VecDeque::new() };
        let points = ids.iter().filter_map(|id| self.points.get(*id));
        points.flat_map(|point| point.commands.iter().cloned()).collect()
    }

    fn say_stop(
        &mut self,
        halt: &Halt,
        direction: Direction,
        before: &Before,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        reply.set("stop", json!({ "reason": halt.reason() }));
        self.flush_log(reply);
        let guilty = self.go_to_the_write(halt, direction)?;
        self.say_thread(before, reply);
        let whole = match halt {
            Halt::Hit { hit, ids } => self.say_hit(hit, ids, reply)?,
            Halt::Caught { event, ids } => {
                let what = self.caught_text(*event)?;
                ids.iter().for_each(|id| reply.text(format!("\nCatchpoint {id} ({what}), ")));
                true
            }
            Halt::Signal { signal, fatal } => {
                say_signal(*signal, *fatal, reply);
                true
            }
            Halt::Failure { id, why } => {
                reply.line(format!("\nError in testing the condition of breakpoint {id}: {why}"));
                true
            }
            Halt::Start => {
                reply.line("\nNo more history: this is the start of the recording.");
                true
            }
            Halt::End => {
                reply.line(format!("\n{}", self.end_text()));
                true
            }
            Halt::Interrupted => {
                reply.line("\nInterrupted.");
                true
            }
            Halt::Step | Halt::Internal(_) => *before != self.before(),
        };
        self.show_stop_frame(whole, reply)?;
        if let Some(text) = guilty {
            reply.line(text);
        }
        if matches!(halt, Halt::Signal { .. }) || is_write(halt) {
            self.show_nearest_source(reply)?;
        }
        self.stop_json(halt, reply);
        self.drop_temporary(halt);
        self.show_displays(reply)
    }

    /// Going back to a write, the session stands behind the instruction that wrote: one step more, and it stands at it.
    /// Going forward it stays behind, and the line of the write is told when it is another one.
    fn go_to_the_write(&mut self, halt: &Halt, direction: Direction) -> Result<Option<String>, CommandError> {
        let Halt::Hit { hit, .. } = halt else { return Ok(None) };
        if hit.change.is_none() {
            return Ok(None);
        }
        if direction == Direction::Backward {
            self.go(Direction::Backward, Mode::Step, &[])?;
            return Ok(None);
        }
        let pc = self.frame()?.pc;
        let symbols = self.symbols()?;
        let (writer, here) = (symbols.location(pc.wrapping_sub(1)), symbols.location(pc));
        let Some(file) =
            writer.file.clone().filter(|_| (&writer.file, writer.line) != (&here.file, here.line))
        else {
            return Ok(None);
        };
        let text = self.source_text(&file, writer.line).unwrap_or_default();
        let place = format!("The value was written at {}:{}", self.short_path(&file), writer.line);
        Ok(Some(if text.is_empty() { place } else { format!("{place}: {}", text.trim()) }))
    }

    /// Where the stop is in code without source, the innermost caller that has some.
    pub(crate) fn show_nearest_source(&mut self, reply: &mut Reply<'_>) -> Result<(), CommandError> {
        /// Frames looked at.
        const FRAMES_LOOKED_AT: usize = 32;
        self.unwind(FRAMES_LOOKED_AT)?;
        let frames: Vec<Frame> = self.focus.frames.iter().take(FRAMES_LOOKED_AT).cloned().collect();
        let mut readable = frames.iter().filter(|frame| {
            let file = frame.location.file.as_deref().filter(|_| frame.location.line != 0);
            file.is_some_and(|file| self.source_text(file, frame.location.line).is_ok())
        });
        let Some(frame) = readable.next().filter(|frame| frame.level > 0).cloned() else { return Ok(()) };
        let text = self.frame_text(frame.level)?;
        reply.line(format!("Called from #{} {text}", frame.level));
        self.show_source_line(&frame, false, reply);
        reply.set("caller", frame_json(&frame));
        Ok(())
    }

    fn say_thread(&mut self, before: &Before, reply: &mut Reply<'_>) {
        let now = self.session.current_thread();
        if now != before.thread
            && before.thread.is_some()
            && let Some(thread) = now
        {
            reply.line(format!("[Switching to {}]", self.thread_title(thread)));
        }
    }

    /// Says which points were hit. Whether the frame is to be shown whole.
    fn say_hit(&mut self, hit: &Hit, ids: &[u32], reply: &mut Reply<'_>) -> Result<bool, CommandError> {
        for id in ids {
            let Some(point) = self.points.get(*id).cloned() else { continue };
            match &point.kind {
                Kind::Break { .. } => {
                    let name = if point.temporary { "Temporary breakpoint" } else { "Breakpoint" };
                    reply.text(format!("\n{name} {id}, "));
                }
                Kind::Watch(watched) => self.say_watch(*id, watched, hit, reply)?,
                Kind::Catch(_) => {}
            }
        }
        Ok(true)
    }

    fn say_watch(
        &mut self,
        id: u32,
        watched: &Watched,
        hit: &Hit,
        reply: &mut Reply<'_>,
    ) -> Result<(), CommandError> {
        reply.line(format!("\n{} {id}: {}\n", watched.title(), watched.expression));
        match &hit.change {
            Some((old, new)) => {
                let (old, new) = (self.watched_text(watched, old)?, self.watched_text(watched, new)?);
                reply.line(format!("Old value = {old}\nNew value = {new}"));
                reply.set(
                    "watch",
                    json!({ "number": id, "expression": watched.expression, "old": old, "new": new }),
                );
            }
            None => {
                let mut bytes = vec![0; watched.len as usize];
                let read = self.session.read_memory(hit.thread, watched.address, &mut bytes);
                if read.is_ok_and(|read| read == bytes.len()) {
                    let text = self.watched_text(watched, &bytes)?;
                    reply.line(format!("Value = {text}"));
                }
            }
        }
        Ok(())
    }

    /// The bytes of a watched place as its type says.
    pub(crate) fn watched_text(&mut self, watched: &Watched, bytes: &[u8]) -> Result<String, CommandError> {
        let Some(ty) = &watched.ty else { return Ok(hex_bytes(bytes)) };
        let thread = self.thread()?;
        let symbols = self.symbols()?;
        let memory = ThreadMemory { session: self.session.view(), thread };
        // What the value points to may lie in the watched place itself.
        let overlay = Overlay { below: &memory, address: watched.address, bytes };
        let value = Value::typed(ty.clone(), bytes.to_vec(), watched.address);
        Ok(Context::new(&symbols, &overlay, None).format(&value, Format::Natural))
    }

    /// What is known about the end of the recording, and where all threads are to be seen that a signal has ended.
    pub(crate) fn end_text(&self) -> String {
        let text = self.end_reason();
        match self.ended_together() {
            Some((event, others)) => {
                let threads = if others == 1 { "thread" } else { "threads" };
                format!(
                    "{text}\n[{others} more {threads} ended with it: `goto {event}` goes to where all are there, `info threads` lists them]"
                )
            }
            None => text,
        }
    }

    /// Where the threads begin to end that a signal has ended together, and how many there are besides the last.
    fn ended_together(&self) -> Option<(u64, usize)> {
        /// More than a recording has threads.
        const EVENTS_MAX: u64 = 100_000;
        let trace = self.session.trace().ok()?;
        let (mut first, mut exits) = (None, 0_usize);
        for number in (trace.first()..trace.len()).rev().take(EVENTS_MAX as usize) {
            match trace.event(number).ok()?.kind {
                EventKind::Exit { status, .. } if libc::WIFSIGNALED(status) => {
                    (first, exits) = (Some(number), exits + 1);
                }
                // How it takes them out of the calls that they wait in: the kernel's ERESTARTSYS and its kin.
                EventKind::SyscallExit { result: -516..=-512, .. }
                | EventKind::Syscall { result: -516..=-512, .. }
                | EventKind::Signal { outcome: Outcome::Fatal, .. }
                | EventKind::Snapshot { .. }
                | EventKind::ExtendedState { .. }
                | EventKind::Change(_) => {}
                _ => break,
            }
        }
        first.filter(|_| exits > 1).map(|first| (first, exits - 1))
    }

    fn end_reason(&self) -> String {
        let Ok(trace) = self.session.trace() else { return String::new() };
        match trace.end() {
            None if trace.recorder().is_some() => {
                "[end of what was recorded when this was opened: the recording goes on]".into()
            }
            None => "[end of the recording: the recorder was stopped here]".into(),
            Some(trace::End { copied_because: Some(because), .. }) => {
                format!("[end of the copy: the recording went on; {because}]")
            }
            Some(end) if end.running => "[end of the recording: the program went on]".into(),
            Some(end) if end.status & 0x7f == 0 => {
                format!("[end of the recording: the program exited with status {}]", end.status >> 8 & 0xff)
            }
            Some(end) => {
                let signal = end.status & 0x7f;
                format!("[end of the recording: the program was killed by {}]", signal_text(signal))
            }
        }
    }

    fn stop_json(&mut self, halt: &Halt, reply: &mut Reply<'_>) {
        let mut stop = json!({ "reason": halt.reason() });
        match halt {
            Halt::Hit { ids, .. } | Halt::Caught { ids, .. } => stop["numbers"] = json!(ids),
            Halt::Signal { signal, fatal } => {
                stop["signal"] = json!(syscalls::signal_name(*signal as u32));
                stop["fatal"] = json!(fatal);
            }
            Halt::Failure { id, why } => {
                stop["numbers"] = json!([id]);
                stop["error"] = json!(why);
            }
            _ => {}
        }
        if let Some(thread) = self.session.current_thread() {
            stop["thread"] = json!(self.threads.number(thread));
        }
        stop["frame"] = self.frame().map_or(Json::Null, |frame| frame_json(&frame));
        reply.set("stop", stop);
    }

    /// A temporary breakpoint has done its work.
    fn drop_temporary(&mut self, halt: &Halt) {
        let (Halt::Hit { ids, .. } | Halt::Caught { ids, .. }) = halt else { return };
        self.points.all.retain(|point| !(point.temporary && ids.contains(&point.id)));
    }
}

fn is_write(halt: &Halt) -> bool {
    matches!(halt, Halt::Hit { hit, .. } if hit.change.is_some())
}

/// A frame for scripts.
pub(crate) fn frame_json(frame: &Frame) -> Json {
    json!({
        "level": frame.level,
        "address": format!("{:#x}", frame.pc),
        "function": function_name(frame),
        "file": frame.location.file.as_deref(),
        "line": (frame.location.line != 0).then_some(frame.location.line),
        "module": frame.module().map(|module| module.name().to_owned()),
        "inlined": frame.inlined,
    })
}

pub(crate) fn function_name(frame: &Frame) -> Option<String> {
    frame.location.function.as_deref().map(str::to_owned)
}

fn say_signal(signal: i32, fatal: bool, reply: &mut Reply<'_>) {
    let verb =
        if fatal { "\nProgram is about to be terminated by signal" } else { "\nProgram received signal" };
    // A fault is what people look for; gdb's words for it are known to everybody.
    let verb = if is_fault(signal) { "\nProgram received signal" } else { verb };
    reply.line(format!("{verb} {}.", signal_text(signal)));
}

fn is_fault(signal: i32) -> bool {
    matches!(
        signal,
        libc::SIGSEGV
            | libc::SIGBUS
            | libc::SIGILL
            | libc::SIGFPE
            | libc::SIGABRT
            | libc::SIGTRAP
            | libc::SIGSYS
    )
}

/// A signal's name and what it means, as gdb says it.
pub(crate) fn signal_text(signal: i32) -> String {
    let name =
        u32::try_from(signal).ok().and_then(syscalls::signal_name).map_or(format!("{signal}"), str::to_owned);
    let meaning = match signal {
        libc::SIGHUP => "Hangup",
        libc::SIGINT => "Interrupt",
        libc::SIGQUIT => "Quit",
        libc::SIGILL => "Illegal instruction",
        libc::SIGTRAP => "Trace/breakpoint trap",
        libc::SIGABRT => "Aborted",
        libc::SIGBUS => "Bus error",
        libc::SIGFPE => "Arithmetic exception",
        libc::SIGKILL => "Killed",
        libc::SIGUSR1 => "User defined signal 1",
        libc::SIGSEGV => "Segmentation fault",
        libc::SIGUSR2 => "User defined signal 2",
        libc::SIGPIPE => "Broken pipe",
        libc::SIGALRM => "Alarm clock",
        libc::SIGTERM => "Terminated",
        libc::SIGSYS => "Bad system call",
        libc::SIGXCPU => "CPU time limit exceeded",
        libc::SIGXFSZ => "File size limit exceeded",
        _ => return name,
    };
    format!("{name}, {meaning}")
}

fn hex_bytes(bytes: &[u8]) -> String {
    match <[u8; 8]>::try_from(bytes) {
        Ok(word) => format!("{:#x}", u64::from_le_bytes(word)),
        Err(_) => bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" "),
    }
}
