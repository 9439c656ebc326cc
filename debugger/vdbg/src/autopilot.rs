//! `vdbg replay --autopilot`: to the end, with the program's own output and status.

use std::io::Write;
use std::process::ExitCode;

use commands::Debugger;
use tracer::{Direction, Mode, NoJudge, Session, Stop, Stops};

use crate::out;
use crate::progress::Progress;
use crate::record::exit_code;

pub(crate) fn run(mut session: Session) -> anyhow::Result<ExitCode> {
    session.reproduce_output(Box::new(|written| {
        // Nothing can be done about a reader that has gone; the verification goes on.
        let bytes = &written.bytes;
        let _ = if written.error { std::io::stderr().write_all(bytes) } else { write_out(bytes) };
    }));
    let progress = Progress::begin(session.interrupt(), session.trace().len());
    let result = session.resume(Direction::Forward, Mode::Run, &Stops::default(), &mut NoJudge);
    drop(progress);
    let stop = match result {
        Ok(stop) => stop,
        Err(error) => {
            let report = Debugger::new(session).divergence_report().map(|report| format!("\n{report}"));
            anyhow::bail!("{error}{}", report.unwrap_or_default());
        }
    };
    match stop {
        Stop::Interrupted => {
            out::error(&format!("interrupted at event {}", session.position().event));
            return Ok(ExitCode::from(128 + libc::SIGINT as u8));
        }
        Stop::End => {}
        stop => anyhow::bail!("the replay stopped early ({stop:?}) at event {}", session.position().event),
    }
    let count = session.trace().len() - session.trace().first();
    out::error(&format!("{count} events replayed, no divergence"));
    Ok(session
        .trace()
        .end()
        .map_or(ExitCode::SUCCESS, |end| if end.running { ExitCode::SUCCESS } else { exit_code(end.status) }))
}

fn write_out(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}
