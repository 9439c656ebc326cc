//! A breakpoint forwards and backwards. The address is found in the trace itself: the return site of a system call,
//! so that no symbols are needed and it is certain that the program comes there.

use std::collections::HashMap;

use trace::{EventKind, Registers, SpaceId};
use tracer::{Breakpoint, Direction, Hit, Mode, NoJudge, Position, Session, Stop, Stops, TracerError};

/// Sites with more visits take too long to stop at each.
const VISITS_MAX: u64 = 40;

/// How many hits are gone back to.
const BACK_MAX: usize = 6;

/// One hit of the breakpoint.
#[derive(Debug, PartialEq)]
pub struct Seen {
    hit: Hit,
    registers: Registers,
    event: u64,
    /// The recording ends there: whoever goes back from the end stands at it already.
    at_end: bool,
}

/// Hits a breakpoint on the way to the end, and comes back to the last few hits from there.
///
/// # Errors
/// When a hit is missed or differs, and what the session says.
pub fn there_and_back(session: &mut Session) -> Result<String, Box<dyn std::error::Error>> {
    let Some(site) = site(session)? else { return Ok("no system call to stop at".into()) };
    let image = image_at(session, site.event)?;
    let stops = Stops {
        breakpoints: vec![Breakpoint { id: 1, address: site.address, image, condition: None }],
        ..Stops::default()
    };
    session.goto(&session.start())?;
    let there = hits(session, Direction::Forward, &stops, usize::MAX)?;
    if there.is_empty() {
        return Err(format!("no hit of {:#x}, which event {} comes to", site.address, site.event).into());
    }
    let back = hits(session, Direction::Backward, &stops, BACK_MAX)?;
    let wanted = there.iter().rev().skip_while(|seen| seen.at_end).take(BACK_MAX);
    let count = there.iter().filter(|seen| !seen.at_end).count();
    for (index, (seen, wanted)) in back.iter().zip(wanted).enumerate() {
        if seen != wanted {
            return Err(format!(
                "hit {index} from the end at {:#x}: {seen:x?}, forwards {wanted:x?}",
                site.address
            )
            .into());
        }
    }
    if back.len() != count.min(BACK_MAX) {
        return Err(format!("{count} hits forwards, but only {} on the way back", back.len()).into());
    }
    Ok(format!("{} hits of {:#x}, the last {} found again", there.len(), site.address, back.len()))
}

/// All hits in one direction, up to a number.
///
/// # Errors
/// What the session says, or a stop of another kind.
pub fn hits(
    session: &mut Session,
    direction: Direction,
    stops: &Stops,
    most: usize,
) -> Result<Vec<Seen>, Box<dyn std::error::Error>> {
    let mut seen = Vec::new();
    while seen.len() < most {
        match session.resume(direction, Mode::Run, stops, &mut NoJudge)? {
            Stop::Hit(hit) => {
                let registers = session.registers(hit.thread)?;
                seen.push(Seen {
                    hit,
                    registers,
                    event: session.position().event,
                    at_end: *session.position() == session.end()?,
                });
            }
            Stop::Start | Stop::End => break,
            other => return Err(format!("{other:?} at {:?}", session.position()).into()),
        }
    }
    Ok(seen)
}

struct Site {
    address: u64,
    event: u64,
}

/// The return site with the most visits up to the bound, else the least visited one.
fn site(session: &Session) -> Result<Option<Site>, TracerError> {
    let trace = session.trace();
    let mut sites: HashMap<(SpaceId, u64), (u64, u64)> = HashMap::new();
    for number in trace.first()..trace.len() {
        let event = trace.event(number)?;
        if matches!(event.kind, EventKind::Syscall { .. }) && returns(event.registers.orig_rax) {
            let site = sites.entry((event.space, event.registers.rip)).or_insert((0, number));
            site.0 += 1;
        }
    }
    let rank = |visits: u64| if visits <= VISITS_MAX { (1, visits) } else { (0, u64::MAX - visits) };
    let best =
        sites.into_iter().max_by_key(|((_, address), (visits, event))| (rank(*visits), *event, *address));
    Ok(best.map(|((_, address), (_, event))| Site { address, event }))
}

/// A call that returns to its site.
fn returns(number: u64) -> bool {
    let leaves =
        [libc::SYS_execve, libc::SYS_execveat, libc::SYS_exit, libc::SYS_exit_group, libc::SYS_rt_sigreturn];
    !leaves.contains(&(number as i64))
}

/// The program that runs at an event.
fn image_at(session: &mut Session, event: u64) -> Result<u64, TracerError> {
    session.goto(&Position::at_event(event))?;
    let thread = session.trace().event(event)?.thread;
    Ok(session.program(thread)?.0)
}
