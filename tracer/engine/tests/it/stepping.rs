//! Going back an instruction is exact: after a step back, a step forward comes to the same registers.

use trace::{EventKind, Registers, ThreadId};
use tracer::{Direction, Leg, Mode, NoJudge, Position, Session, Stop, Stops};

use crate::programs;
use crate::support::{Random, all_registers, effort, isolated, open};

#[test]
fn stepping_back_is_exact_in_a_loop() {
    isolated("steps_in_a_loop");
}

#[test]
fn stepping_back_is_exact_among_threads() {
    isolated("steps_among_threads");
}

#[test]
fn stepping_back_is_exact_among_signals() {
    isolated("steps_among_signals");
}

#[test]
fn stepping_back_is_exact_among_calls() {
    isolated("steps_among_calls");
}

#[test]
fn stepping_back_is_exact_in_children() {
    isolated("steps_in_children");
}

/// From random visits of a function, deep in long intervals.
pub(crate) fn steps_in_a_loop() {
    let (program, trace) = programs::looping();
    let mut session = open(&trace);
    let mut random = Random(11);
    let address = program.symbol("mix");
    let calls = milestones(&session);
    for _ in 0..6 * effort() {
        // Each stretch between two of the calls in `milestone` has 30,000 visits.
        let event = calls[random.below(calls.len() as u64 - 1) as usize] + 1;
        let visits = Leg::Visits { address, count: 1 + random.below(29_000) };
        let position = Position::at_event(event).then(visits).then(Leg::Steps(random.below(4)));
        exact(&mut session, &position, 1, true);
        exact(&mut session, &position, 2 + random.below(12), true);
    }
    around_events(&mut session, &mut random, 8 * effort(), true);
}

/// Numbers of the calls that the function `milestone` makes.
fn milestones(session: &Session) -> Vec<u64> {
    let trace = session.trace();
    let is_call = |number: &u64| {
        let event = trace.event(*number).expect("a readable event");
        matches!(event.kind, EventKind::Syscall { .. })
            && event.registers.orig_rax == libc::SYS_getppid as u64
    };
    (0..trace.len()).filter(is_call).collect()
}

pub(crate) fn steps_among_threads() {
    let (_, trace) = programs::threads();
    around_events(&mut open(&trace), &mut Random(12), 14 * effort(), false);
}

pub(crate) fn steps_among_signals() {
    let (program, trace) = programs::signals();
    let mut session = open(&trace);
    let mut random = Random(13);
    around_events(&mut session, &mut random, 10 * effort(), true);
    let address = program.symbol("mix");
    let event = (0..session.trace().len())
        .find(|number| is_timer_call(&session, *number))
        .expect("a call that starts the timer")
        + 1;
    for _ in 0..4 * effort() {
        let visits = Leg::Visits { address, count: 1 + random.below(2000) };
        exact(&mut session, &Position::at_event(event).then(visits), 1 + random.below(3), true);
    }
}

/// Random events of long runs of calls.
pub(crate) fn steps_among_calls() {
    let (_, trace) = programs::calls();
    around_events(&mut open(&trace), &mut Random(15), 12 * effort(), true);
}

fn is_timer_call(session: &Session, number: u64) -> bool {
    let event = session.trace().event(number).expect("a readable event");
    matches!(event.kind, EventKind::Syscall { .. }) && event.registers.orig_rax == libc::SYS_setitimer as u64
}

pub(crate) fn steps_in_children() {
    let (_, trace) = programs::children();
    around_events(&mut open(&trace), &mut Random(14), 12 * effort(), false);
}

/// Random events, and random steps behind and before them.
fn around_events(session: &mut Session, random: &mut Random, count: u64, one_thread: bool) {
    let end = session.end().expect("an end").event;
    for _ in 0..count {
        let event = 2 + random.below(end - 2);
        exact(session, &Position::at_event(event), 1, one_thread);
        exact(session, &Position::at_event(event), 2 + random.below(20), one_thread);
        // From a few instructions behind the event, where that is still the same interval.
        session.goto(&Position::at_event(event)).unwrap_or_else(|error| panic!("goto {event}: {error}"));
        let ahead = random.below(30);
        let stepped = (0..ahead).all(|_| step(session, Direction::Forward) == Stop::Step);
        if stepped {
            let position = session.position().clone();
            exact(session, &position, 1 + random.below(5), one_thread);
        }
    }
}

fn step(session: &mut Session, direction: Direction) -> Stop {
    let before = session.position().clone();
    let stop = session.resume(direction, Mode::Step, &Stops::default(), &mut NoJudge);
    stop.unwrap_or_else(|error| panic!("a step {direction:?} from {before:?}: {error}"))
}

/// Goes to a position, steps back and forward as often, and compares.
fn exact(session: &mut Session, position: &Position, steps: u64, one_thread: bool) {
    session.goto(position).unwrap_or_else(|error| panic!("goto {position:?}: {error}"));
    let before = all_registers(session);
    let hash = session.state_hash().expect("a thread");
    let mut threads = Vec::new();
    for _ in 0..steps {
        match step(session, Direction::Backward) {
            Stop::Step => threads.push(session.current_thread()),
            Stop::Start => return,
            other => panic!("{other:?} on a step back from {position:?}"),
        }
    }
    let back = session.position().clone();
    for index in (0..steps).rev() {
        let stop = step(session, Direction::Forward);
        // The last event is not applied: the session stands before it, at the end.
        assert!(
            matches!(stop, Stop::Step | Stop::End),
            "step {index} from {back:?} to {position:?}: {stop:?}"
        );
    }
    let after = all_registers(session);
    let place = session.position();
    if one_thread {
        same(
            &before,
            &after,
            &format!("{steps} steps back from {position:?} to {back:?} and forward to {place:?}"),
        );
        assert_eq!(hash, session.state_hash().expect("a thread"), "{steps} steps from {position:?}");
    } else if let [only] = threads.as_slice() {
        // Other threads may have gone elsewhere: only the one that stepped is at the same place.
        let of = |all: &[(ThreadId, Registers)]| all.iter().find(|(id, _)| Some(*id) == *only).copied();
        let (before, after) = (of(&before), of(&after));
        if let (Some(before), Some(after)) = (before, after) {
            same(
                &[before],
                &[after],
                &format!("a step back from {position:?} to {back:?}, forward to {place:?}"),
            );
        }
    }
}

fn same(before: &[(ThreadId, Registers)], after: &[(ThreadId, Registers)], what: &str) {
    assert_eq!(before.len(), after.len(), "threads: {what}");
    for ((thread, before), (_, after)) in before.iter().zip(after) {
        let difference = before.first_difference(after);
        assert!(difference.is_none(), "thread {thread}: {difference:x?}: {what}");
    }
}
