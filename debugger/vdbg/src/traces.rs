//! `vdbg ls`, `info`, `dump`, `rm`: recordings as files.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use commands::{describe_event, duration_text, event_json, utc_text};
use serde_json::{Value, json};
use trace::Reader;

use crate::{cli, out};

/// Events that are put together before they are written.
const DUMP_PIECE_EVENTS: u64 = 1000;

pub(crate) fn list(json: bool) -> anyhow::Result<ExitCode> {
    let traces = trace::list()?;
    if traces.is_empty() && !json {
        out::error(&format!(
            "there are no recordings in {}; `vdbg record PROGRAM` makes one",
            trace::default_root().display()
        ));
    }
    let mut text = String::new();
    if !json && !traces.is_empty() {
        text.push_str(
            "NAME                 DATE                 DURATION   EVENTS     SIZE  STATUS       COMMAND\n",
        );
    }
    for path in traces {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        match Reader::open(&path) {
            Ok(reader) if json => text.push_str(&format!("{}\n", facts(&reader, &name))),
            Ok(reader) => text.push_str(&row(&reader, &name)),
            Err(error) if json => {
                text.push_str(&format!("{}\n", json!({ "name": name, "error": error.to_string() })))
            }
            Err(error) => writeln!(text, "{name:<20} (cannot be read: {error})")?,
        }
    }
    out::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn row(reader: &Reader, name: &str) -> String {
    let header = reader.header();
    let date = utc_text(header.started_unix_ns);
    let duration = duration_ns(reader)
        .map_or("?".into(), |ns| format!("{}.{:03} s", ns / 1_000_000_000, ns / 1_000_000 % 1000));
    let date = date.get(..19).unwrap_or(&date);
    let status = status_text(reader);
    let size = size_text(size(reader.directory()));
    format!(
        "{name:<20} {date:<19} {duration:>9} {:>8} {size:>8}  {status:<12} {}\n",
        reader.len() - reader.first(),
        header.command.join(" ")
    )
}

/// When the first event that is there was recorded.
fn first_ns(reader: &Reader) -> u64 {
    reader.event(reader.first()).map_or(0, |event| event.time_ns)
}

fn facts(reader: &Reader, name: &str) -> Value {
    let header = reader.header();
    json!({
        "name": name,
        "directory": reader.directory(),
        "command": header.command,
        "working_directory": header.directory,
        "started": utc_text(header.started_unix_ns),
        "started_unix_ns": header.started_unix_ns,
        "duration_ns": duration_ns(reader),
        "events": reader.len() - reader.first(),
        "first_event": reader.first(),
        "first_ns": first_ns(reader),
        "ring_bytes": header.ring,
        "recorded_by": reader.recorder(),
        "copied_because": reader.end().and_then(|end| end.copied_because.as_ref()),
        "bytes": size(reader.directory()),
        "status": status_text(reader),
        "complete": reader.end().is_some() && reader.damage().is_none(),
        "damage": reader.damage().map(ToString::to_string),
        "cpu": header.machine.cpu,
        "kernel": header.machine.kernel,
        "recorder": header.recorder,
        "version": header.version,
        "chaos_seed": header.chaos_seed,
    })
}

fn duration_ns(reader: &Reader) -> Option<u64> {
    let last = || reader.event(reader.len().checked_sub(1)?).ok().map(|event| event.time_ns);
    reader.end().map(|end| end.duration_ns).or_else(last)
}

/// How many events there are; which, and of what time, where the first ones are gone.
fn events_text(reader: &Reader) -> String {
    let (first, count) = (reader.first(), reader.len() - reader.first());
    if first == 0 {
        return format!("{count}{}", so_far(reader));
    }
    let (from, to) = (duration_text(first_ns(reader)), duration_ns(reader).map_or("?".into(), duration_text));
    format!(
        "{count} ({first} to {}, {from} to {to} after the start): a ring keeps the newest",
        reader.len() - 1
    )
}

fn so_far(reader: &Reader) -> &'static str {
    if reader.recorder().is_some() { " so far" } else { "" }
}

/// How it ended, or that it has not.
fn whole_status_text(reader: &Reader) -> String {
    if let Some(recorder) = reader.recorder() {
        return format!("being recorded by process {recorder}; what is there replays, `vdbg stop` ends it");
    }
    match reader.end().and_then(|end| end.copied_because.as_ref()) {
        Some(because) => format!("a copy of a ring whose recording went on: {because}"),
        None => status_text(reader),
    }
}

fn status_text(reader: &Reader) -> String {
    match reader.end() {
        _ if reader.damage().is_some() => "damaged".into(),
        None if reader.recorder().is_some() => "recording".into(),
        None => "unfinished".into(),
        Some(end) if end.running => "a part".into(),
        Some(end) if libc::WIFSIGNALED(end.status) => {
            let signal = libc::WTERMSIG(end.status);
            u32::try_from(signal)
                .ok()
                .and_then(syscalls::signal_name)
                .map_or(format!("signal {signal}"), str::to_owned)
        }
        Some(end) => format!("exit {}", libc::WEXITSTATUS(end.status)),
    }
}

/// Bytes of all files of a recording; those it shares with others count too.
fn size(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let size_of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size_of).sum()
}

pub(crate) fn size_text(bytes: u64) -> String {
    let units = ["B", "kB", "MB", "GB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", units[unit]) }
}

/// A size as `--ring` takes it.
fn ring_text(bytes: u64) -> String {
    let units = [(30, "G"), (20, "M"), (10, "K")];
    let whole = units.iter().find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    whole.map_or(bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

pub(crate) fn info(options: &cli::Info) -> anyhow::Result<ExitCode> {
    let directory = trace::resolve(options.directory.as_deref())?;
    let reader = Reader::open(&directory)?;
    let name = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if options.json {
        out::write(&format!("{}\n", facts(&reader, &name)))?;
        return Ok(ExitCode::SUCCESS);
    }
    let (header, machine) = (reader.header(), &reader.header().machine);
    let lines = [
        ("recording", directory.display().to_string()),
        ("command", header.command.join(" ")),
        ("directory", header.directory.clone()),
        ("started", utc_text(header.started_unix_ns)),
        ("duration", duration_ns(&reader).map_or("not known".into(), duration_text) + so_far(&reader)),
        ("events", events_text(&reader)),
        ("size", size_text(size(&directory))),
        ("status", whole_status_text(&reader)),
        ("processor", machine.cpu.clone()),
        ("kernel", machine.kernel.clone()),
        ("recorder", format!("{} (format {})", header.recorder, header.version)),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        writeln!(text, "{name:<10} {value}")?;
    }
    if let Some(bytes) = header.ring {
        writeln!(text, "ring       --ring {}", ring_text(bytes))?;
    }
    if let Some(seed) = header.chaos_seed {
        writeln!(text, "chaos seed {seed}")?;
    }
    for warning in trace::warnings(&directory) {
        writeln!(text, "warning    {warning}")?;
    }
    if let Some(damage) = reader.damage() {
        writeln!(text, "damage     {damage}; the first {} events can be replayed", reader.len())?;
    }
    out::write(&text)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn dump(options: &cli::Dump) -> anyhow::Result<ExitCode> {
    let reader = Reader::open(&trace::resolve(options.directory.as_deref())?)?;
    if options.from > reader.len() {
        anyhow::bail!(
            "event {} is past the end: the last is {}",
            options.from,
            reader.len().saturating_sub(1)
        );
    }
    let mut number = options.from.max(reader.first());
    let end = options.count.map_or(reader.len(), |count| number.saturating_add(count).min(reader.len()));
    while number < end {
        let mut text = String::new();
        let piece_end = end.min(number + DUMP_PIECE_EVENTS);
        for number in number..piece_end {
            match options.json {
                true => writeln!(text, "{}", event_json(&reader, number)?)?,
                false => writeln!(text, "{}", describe_event(&reader, number)?)?,
            }
        }
        out::write(&text)?;
        number = piece_end;
    }
    if let Some(damage) = reader.damage() {
        out::error(&format!(
            "warning: the recording is damaged ({damage}); these are all events that can be read"
        ));
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn remove(options: &cli::Remove) -> anyhow::Result<ExitCode> {
    let directories = match options.all {
        true => {
            let (active, others): (Vec<_>, Vec<_>) =
                trace::list()?.into_iter().partition(|directory| trace::recorder_of(directory).is_some());
            for directory in active {
                out::error(&format!("note: {} stays: it is being recorded", directory.display()));
            }
            others
        }
        false => {
            let resolve = |path: &std::path::PathBuf| trace::resolve(Some(path));
            options.directories.iter().map(resolve).collect::<Result<Vec<_>, _>>()?
        }
    };
    for directory in directories {
        trace::remove(&directory).context("this recording stays")?;
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::size_text;

    #[test]
    fn sizes_are_short() {
        assert_eq!((size_text(999).as_str(), size_text(1500).as_str()), ("999 B", "1.5 kB"));
        assert_eq!(size_text(5_000_000_000_000), "5000.0 GB");
    }
}
