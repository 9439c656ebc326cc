//! Events of a trace as text, one line each, in the manner of strace.

use serde_json::{Value as Json, json};
use syscalls::{Kind, Outcome as Returned};
use trace::{Change, Effect, Event, EventKind, Outcome, Reader, SignalPoint, TraceError};

use crate::time::duration_text;

/// One event as a line: number, time, thread, and what happens.
///
/// # Errors
/// When there is no such event, or its block is damaged.
pub fn describe_event(trace: &Reader, number: u64) -> Result<String, TraceError> {
    let event = trace.event(number)?;
    Ok(format!("{number:>7} {} {:>7} {}", duration_text(event.time_ns), event.thread, what(&event)))
}

/// One event for scripts.
///
/// # Errors
/// As [`describe_event`].
pub fn event_json(trace: &Reader, number: u64) -> Result<Json, TraceError> {
    let event = trace.event(number)?;
    let mut json = json!({
        "event": number,
        "time_ns": event.time_ns,
        "thread": event.thread.0,
        "space": event.space.0,
        "kind": event.kind.label(),
        "rip": format!("{:#x}", event.registers.rip),
        "text": what(&event),
    });
    if let EventKind::Syscall { result, writes, .. } | EventKind::SyscallExit { result, writes, .. } =
        &event.kind
    {
        json["call"] = call_name(event.registers.orig_rax).into();
        json["result"] = (*result).into();
        json["written_bytes"] = writes.iter().map(|write| write.data.len).sum::<u64>().into();
    }
    Ok(json)
}

fn what(event: &Event) -> String {
    match &event.kind {
        // The recording begins with an exec whose arguments are the recorder's.
        EventKind::Syscall { effect: effect @ Effect::Exec(_), .. } if event.registers.rdi == 0 => {
            format!("execve{}", effect_text(effect))
        }
        EventKind::Syscall { result, effect, .. } => {
            format!("{} = {}{}", call(event), result_text(*result), effect_text(effect))
        }
        EventKind::SyscallEnter => format!("{} …", call(event)),
        EventKind::SyscallExit { result, effect, .. } => {
            let name = call_name(event.registers.orig_rax);
            format!("… {name} = {}{}", result_text(*result), effect_text(effect))
        }
        EventKind::SyscallRestart { .. } => format!("restart of {}", call_name(event.registers.orig_rax)),
        EventKind::Instruction { kind, .. } => {
            format!("{} at {:#x}", format!("{kind:?}").to_lowercase(), event.registers.rip)
        }
        EventKind::ForcedPoint { fingerprint } => {
            let known = if fingerprint.complete { "" } else { ", not all of memory" };
            format!("forced point at {:#x} ({} lines{known})", event.registers.rip, fingerprint.lines.len())
        }
        EventKind::Start(start) => {
            let kind = if start.process == start.thread.0 { "process" } else { "thread" };
            format!("new {kind} {} (space {})", start.thread, start.space)
        }
        EventKind::Signal { signal, point, outcome, .. } => signal_event(*signal, *point, outcome),
        EventKind::Change(changes) => change_text(changes),
        EventKind::Exit { status, last, .. } => {
            let whole = if *last { "; its address space ends" } else { "" };
            match status & 0x7f {
                0 => format!("exits with status {}{whole}", status >> 8 & 0xff),
                signal => format!("killed by {}{whole}", signal_name(signal)),
            }
        }
        EventKind::Snapshot { .. } => "snapshot".into(),
        EventKind::ExtendedState { .. } => "extended state at the last snapshot".into(),
    }
}

fn signal_event(signal: i32, point: SignalPoint, outcome: &Outcome) -> String {
    let place = match point {
        SignalPoint::Fault => "raised by the instruction",
        SignalPoint::SyscallEntry => "at the entry of a call",
        SignalPoint::Here => "here",
    };
    let fate = match outcome {
        Outcome::Handler { after, .. } => format!("handler {:#x}", after.rip),
        Outcome::Ignored => "ignored".into(),
        Outcome::Fatal => "fatal".into(),
        Outcome::Stopped => "stops the process".into(),
    };
    format!("{} {place}: {fate}", signal_name(signal))
}

fn signal_name(signal: i32) -> String {
    let known = u32::try_from(signal).ok().and_then(syscalls::signal_name);
    known.map_or_else(|| format!("signal {signal}"), str::to_owned)
}

fn row(number: u64) -> Option<&'static syscalls::Syscall> {
    syscalls::lookup(number)
}

fn call_name(number: u64) -> String {
    row(number).map_or_else(|| format!("syscall_{number:#x}"), |row| row.name.to_owned())
}

/// `name(argument, …)`.
fn call(event: &Event) -> String {
    let values = event.registers.arguments();
    let name = call_name(event.registers.orig_rax);
    let arguments = match row(event.registers.orig_rax) {
        Some(row) => {
            row.args.iter().zip(values).map(|(argument, value)| argument_text(argument, value)).collect()
        }
        None => values.iter().map(|value| format!("{value:#x}")).collect::<Vec<_>>(),
    };
    format!("{name}({})", arguments.join(", "))
}

fn argument_text(argument: &syscalls::Arg, value: u64) -> String {
    match argument.kind {
        Kind::DirFd if value as i32 == libc::AT_FDCWD => "AT_FDCWD".into(),
        Kind::Signal => signal_name(value as i32),
        Kind::Mode => format!("{:#o}", value as u32),
        Kind::Uint => (value as u32).to_string(),
        Kind::Long => (value as i64).to_string(),
        Kind::Unsigned => value.to_string(),
        kind if kind.is_32_bit() => (value as i32).to_string(),
        Kind::Hex | Kind::Flags => format!("{value:#x}"),
        _ if value == 0 => format!("{}=NULL", argument.name),
        _ => format!("{}={value:#x}", argument.name),
    }
}

fn result_text(result: i64) -> String {
    match Returned::of(result) {
        Returned::Failed(errno) => failed(errno),
        Returned::Fault => failed(libc::EFAULT),
        // Addresses are easier to recognise in hexadecimal.
        Returned::Done(value) if value > 1 << 32 => format!("{value:#x}"),
        Returned::Done(value) => value.to_string(),
    }
}

fn failed(errno: i32) -> String {
    syscalls::errno_name(errno).map_or_else(|| format!("-{errno}"), |name| format!("-1 {name}"))
}

fn effect_text(effect: &Effect) -> String {
    match effect {
        Effect::None | Effect::Registers { .. } => String::new(),
        Effect::Output { error: false } => "  [standard output]".into(),
        Effect::Output { error: true } => "  [standard error]".into(),
        Effect::Memory(ops) => format!("  [{} mapping changes]", ops.len()),
        Effect::Exec(image) => format!("  [runs {}: {}]", image.path, image.arguments.join(" ")),
    }
}

fn change_text(changes: &[Change]) -> String {
    let ops: usize = changes.iter().map(|change| change.ops.len()).sum();
    let bytes: u64 = changes.iter().flat_map(|change| &change.writes).map(|write| write.data.len).sum();
    let spaces: Vec<String> = changes.iter().map(|change| change.space.to_string()).collect();
    format!("change from outside of space {}: {ops} mappings, {bytes} bytes", spaces.join(", "))
}
