//! A search that skips what does not write finds what a search that stops at every write finds.

use std::time::Duration;

use trace::{Registers, ThreadId};
use tracer::{
    Breakpoint, Direction, Hit, Mode, NoJudge, OpenOptions, Position, Session, Stop, Stops, Watchpoint,
};

use crate::programs;
use crate::support::{Program, Random, all_registers, effort, isolated};

#[test]
fn writes_are_found_in_long_stretches() {
    isolated("skips_in_long_stretches");
}

#[test]
fn writes_are_found_among_threads_and_signals() {
    isolated("skips_among_threads");
}

#[test]
fn hot_breakpoints_are_the_same_in_both_ways() {
    isolated("hot_breakpoints");
}

#[test]
fn steps_back_from_landmarks_are_exact() {
    isolated("steps_from_landmarks");
}

/// Landmarks and slices close together, so that a short program has many.
fn quick(trace: &std::path::Path) -> Session {
    let options =
        OpenOptions { checkpoint_spacing: Some(Duration::from_millis(15)), ..OpenOptions::default() };
    Session::open(trace, options).unwrap_or_else(|error| panic!("{error}"))
}

fn slow(trace: &std::path::Path) -> Session {
    let options = OpenOptions { every_write: true, ..OpenOptions::default() };
    Session::open(trace, options).unwrap_or_else(|error| panic!("{error}"))
}

fn watch(program: &Program, id: u32, symbol: &str) -> Watchpoint {
    Watchpoint { id, address: program.symbol(symbol), len: 8, reads: false, image: 0 }
}

fn breakpoint(program: &Program, id: u32, symbol: &str) -> Breakpoint {
    Breakpoint { id, address: program.symbol(symbol), image: 0, condition: None }
}

fn to_end(session: &mut Session) {
    let stop = session.resume(Direction::Forward, Mode::Run, &Stops::default(), &mut NoJudge);
    assert!(matches!(stop, Ok(Stop::End)), "{stop:?}");
}

/// A place without its name, which is each session's own.
type Seen = (Option<Hit>, u64, Vec<(ThreadId, Registers)>);

fn back(session: &mut Session, stops: &Stops) -> Seen {
    let stop = session.resume(Direction::Backward, Mode::Run, stops, &mut NoJudge);
    let hit = match stop.unwrap_or_else(|error| panic!("backward from {:?}: {error}", session.position())) {
        Stop::Hit(hit) => Some(hit),
        Stop::Start => None,
        other => panic!("{other:?}"),
    };
    (hit, session.position().event, all_registers(session))
}

/// Goes back `count` hits in both ways, and compares.
fn same_hits(quick: &mut Session, slow: &mut Session, stops: &Stops, count: usize) {
    to_end(quick);
    to_end(slow);
    for index in 0..count {
        let (found, expected) = (back(quick, stops), back(slow, stops));
        assert_eq!(found, expected, "hit {index} back, at {:?} and {:?}", quick.position(), slow.position());
        if found.0.is_none() {
            return;
        }
    }
}

pub(crate) fn skips_in_long_stretches() {
    let (program, trace) = programs::busy();
    let (mut quick, mut slow) = (quick(&trace), slow(&trace));
    let only = |symbol: &str| Stops { watchpoints: vec![watch(&program, 1, symbol)], ..Stops::default() };
    same_hits(&mut quick, &mut slow, &only("often"), 12);
    same_hits(&mut quick, &mut slow, &only("toggled"), 20);
    same_hits(&mut quick, &mut slow, &only("seldom"), 20);
}

pub(crate) fn skips_among_threads() {
    let (program, trace) = programs::busy();
    let (mut quick, mut slow) = (quick(&trace), slow(&trace));
    let only = |symbol: &str| Stops { watchpoints: vec![watch(&program, 1, symbol)], ..Stops::default() };
    same_hits(&mut quick, &mut slow, &only("ticks"), 12);
    same_hits(&mut quick, &mut slow, &only("unchanged"), 3);
    let both = Stops {
        breakpoints: vec![breakpoint(&program, 2, "milestone"), breakpoint(&program, 3, "wrote")],
        watchpoints: vec![watch(&program, 1, "seldom"), watch(&program, 4, "ticks")],
        ..Stops::default()
    };
    same_hits(&mut quick, &mut slow, &both, 40);
}

/// A breakpoint that is hit thousands of times, and one in a loop that waits for a signal and changes nothing; reads.
pub(crate) fn hot_breakpoints() {
    let (program, trace) = programs::busy();
    let (mut quick, mut slow) = (quick(&trace), slow(&trace));
    let at = |symbol: &str| Stops { breakpoints: vec![breakpoint(&program, 1, symbol)], ..Stops::default() };
    same_hits(&mut quick, &mut slow, &at("spin"), 12);
    // The checkpoints that the search has left were made with the breakpoint planted.
    for _ in 0..3 {
        let stepped = [&mut quick, &mut slow].map(|session| {
            let stop = session.resume(Direction::Backward, Mode::Step, &at("spin"), &mut NoJudge);
            (stop.unwrap_or_else(|error| panic!("a step back: {error}")), all_registers(session))
        });
        assert_eq!(stepped[0], stepped[1], "a step back from {:?}", quick.position());
    }
    same_hits(&mut quick, &mut slow, &at("waiting"), 6);
    let both = Stops { watchpoints: vec![watch(&program, 2, "ticks")], ..at("spin") };
    same_hits(&mut quick, &mut slow, &both, 12);
    let reads = Watchpoint { reads: true, ..watch(&program, 1, "often") };
    same_hits(&mut quick, &mut slow, &Stops { watchpoints: vec![reads], ..Stops::default() }, 8);
}

/// From hits in the midst of long intervals, and from between them: back by instructions and forward again.
pub(crate) fn steps_from_landmarks() {
    let (program, trace) = programs::busy();
    let mut session = quick(&trace);
    let stops = Stops { watchpoints: vec![watch(&program, 1, "often")], ..Stops::default() };
    to_end(&mut session);
    let mut random = Random(41);
    for _ in 0..4 * effort() {
        for _ in 0..1 + random.below(3) {
            back(&mut session, &stops);
        }
        let expected = all_registers(&session);
        let position: Position = session.position().clone();
        let steps = 1 + random.below(90);
        for (direction, count) in [(Direction::Backward, steps), (Direction::Forward, steps)] {
            for _ in 0..count {
                let stop = session.resume(direction, Mode::Step, &Stops::default(), &mut NoJudge);
                assert!(matches!(stop, Ok(Stop::Step)), "{direction:?} from {position:?}: {stop:?}");
            }
        }
        assert_eq!(all_registers(&session), expected, "{steps} steps from {position:?}");
        session.goto(&position).unwrap_or_else(|error| panic!("goto {position:?}: {error}"));
        assert_eq!(all_registers(&session), expected, "at {position:?}");
    }
    // Every landmark is a place like any other.
    let landmarks: Vec<Position> =
        session.checkpoints().filter(|position| !position.legs.is_empty()).cloned().collect();
    assert!(landmarks.len() > 3, "{} places in the midst of intervals", landmarks.len());
    for position in landmarks.iter().take(6 * effort() as usize) {
        session.goto(position).unwrap_or_else(|error| panic!("goto {position:?}: {error}"));
        let expected = all_registers(&session);
        for direction in [Direction::Backward, Direction::Forward] {
            let stop = session.resume(direction, Mode::Step, &Stops::default(), &mut NoJudge);
            assert!(matches!(stop, Ok(Stop::Step)), "{direction:?} from {position:?}: {stop:?}");
        }
        assert_eq!(all_registers(&session), expected, "a step back and forward at {position:?}");
    }
}
