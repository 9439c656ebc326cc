//! `drive`: what must not run in a test process. See the library's head.
//!
//! ```text
//! drive record DIR -- PROGRAM [ARG…]   records; the exit status says only whether that worked
//! drive attach DIR PID MILLISECONDS    records a running process for some time
//! drive replay DIR OUT ERR             replays to the end; reproduced output goes to the files OUT and ERR
//! drive walk DIR                       a breakpoint forwards, and back to it
//! drive snapshots DIR                  from several snapshots to the end
//! drive replay-ring DIR             replays what a ring has kept
//! drive hashes DIR                     the hash of the state at every event
//! drive dump DIR                       the events, a line each
//! drive prefix DIR                     replays what a killed recorder left
//! ```

use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracer::{Direction, Mode, NoJudge, RecordOptions, Session, SnapshotUse, Stop, Stops};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("drive: {error}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[OsString]) -> Result<()> {
    let texts: Vec<&str> = arguments.iter().map(|argument| argument.to_str().unwrap_or("?")).collect();
    match texts.as_slice() {
        ["record", directory, "--", _, ..] => record(Path::new(directory), &arguments[3..]),
        ["attach", directory, process, milliseconds] => {
            attach(Path::new(directory), process.parse()?, milliseconds.parse()?)
        }
        ["replay", directory, out, err] => replay(Path::new(directory), Path::new(out), Path::new(err)),
        ["walk", directory] => walk(Path::new(directory)),
        ["snapshots", directory] => snapshots(Path::new(directory)),
        ["replay-ring", directory] => to_the_end(&mut open(Path::new(directory), SnapshotUse::Verify)?),
        ["hashes", directory] => hashes(Path::new(directory)),
        ["dump", directory] => dump(Path::new(directory)),
        ["prefix", directory] => prefix(Path::new(directory)),
        _ => Err("usage: drive record|replay|walk|snapshots|hashes|dump|prefix DIR …".into()),
    }
}

fn record(directory: &Path, command: &[OsString]) -> Result<()> {
    let text = |argument: &OsString| CString::new(argument.clone().into_vec());
    let microseconds = std::env::var("VDBG_SNAPSHOTS_US").ok().and_then(|text| text.parse().ok());
    let chaos_seed = std::env::var("VDBG_CHAOS_SEED").ok().and_then(|text| text.parse().ok());
    let ring = std::env::var("VDBG_RING").ok().and_then(|text| text.parse().ok());
    let options = RecordOptions {
        ring,
        chaos_seed,
        program: PathBuf::from(&command[0]),
        arguments: command.iter().map(text).collect::<std::result::Result<_, _>>()?,
        output: Some(directory.to_owned()),
        without_agent: std::env::var_os("VDBG_NO_AGENT").is_some(),
        snapshot_spacing: microseconds.map(std::time::Duration::from_micros),
        processes_max: std::env::var("VDBG_PROCESSES_MAX").ok().and_then(|text| text.parse().ok()),
        ..RecordOptions::default()
    };
    let recorded = tracer::record(&options)?;
    if std::env::var_os("VDBG_WARNINGS").is_some() {
        std::io::stderr().write_all(recorded.warnings.join("\n").as_bytes())?;
    }
    Ok(())
}

fn attach(directory: &Path, process: i32, milliseconds: u64) -> Result<()> {
    let time = std::time::Duration::from_millis(milliseconds);
    tracer::record(&RecordOptions {
        attach: Some(process),
        output: Some(directory.to_owned()),
        stop_after: Some(tracer::StopAfter::Time(time)),
        ..RecordOptions::default()
    })?;
    Ok(())
}

fn replay(directory: &Path, out: &Path, err: &Path) -> Result<()> {
    let mut session = open(directory, SnapshotUse::Verify)?;
    let (mut out, mut err) = (File::create(out)?, File::create(err)?);
    session.reproduce_output(Box::new(move |written| {
        let file = if written.error { &mut err } else { &mut out };
        file.write_all(&written.bytes).expect("the output can be written");
    }));
    to_the_end(&mut session)
}

/// Opens a trace, with this use of its snapshots.
fn open(directory: &Path, snapshots: SnapshotUse) -> Result<Session> {
    Ok(Session::open(directory, tracer::OpenOptions { snapshots, ..tracer::OpenOptions::default() })?)
}

fn to_the_end(session: &mut Session) -> Result<()> {
    let stop = session.resume(Direction::Forward, Mode::Run, &Stops::default(), &mut NoJudge)?;
    let end = session.end()?;
    if stop != Stop::End || *session.position() != end {
        return Err(format!("{stop:?} at {:?} instead of the end {end:?}", session.position()).into());
    }
    println!("{} events replayed, no divergence", session.trace().len());
    Ok(())
}

/// From each of the last snapshots to the end.
fn snapshots(directory: &Path) -> Result<()> {
    const TRIED_MAX: usize = 4;
    let places = trace::Reader::open(directory)?.snapshots().to_vec();
    for place in places.iter().rev().step_by(places.len().div_ceil(TRIED_MAX).max(1)) {
        let mut session = open(directory, SnapshotUse::Always)?;
        session.goto(&tracer::Position::at_event(place.event + 2))?;
        to_the_end(&mut session)?;
    }
    println!("{} snapshots", places.len());
    Ok(())
}

fn walk(directory: &Path) -> Result<()> {
    let mut session = open(directory, SnapshotUse::Always)?;
    println!("{}", e2e::walk::there_and_back(&mut session)?);
    Ok(())
}

fn hashes(directory: &Path) -> Result<()> {
    let mut session = Session::open(directory, tracer::OpenOptions::default())?;
    let end = session.end()?;
    for event in 1..=end.event {
        session.goto(&tracer::Position::at_event(event))?;
        println!("{event} {:x}", session.state_hash()?);
    }
    Ok(())
}

fn dump(directory: &Path) -> Result<()> {
    let trace = trace::Reader::open(directory)?;
    for number in trace.first()..trace.len() {
        let event = trace.event(number)?;
        let (registers, mut kind) = (event.registers, format!("{:x?}", event.kind));
        kind.truncate(400);
        println!(
            "{number} {} rip {:x} call {} {kind}",
            event.thread, registers.rip, registers.orig_rax as i64
        );
    }
    Ok(())
}

fn prefix(directory: &Path) -> Result<()> {
    let mut session = Session::open(directory, tracer::OpenOptions::default())?;
    if session.trace().end().is_some() {
        return Err("this recording was not cut off".into());
    }
    to_the_end(&mut session)
}
