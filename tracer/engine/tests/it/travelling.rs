//! Every way to a position leads to the same state, and hits are the same in both directions.

use std::path::Path;

use trace::{Registers, ThreadId};
use tracer::{Breakpoint, Direction, Mode, NoJudge, Position, Session, Stop, Stops, Watchpoint};

use crate::programs;
use crate::support::{Program, Random, all_registers, effort, isolated, open};

#[test]
fn two_replays_of_threads_agree_at_every_event() {
    isolated("hashes_of_threads");
}

#[test]
fn two_replays_of_signals_agree_at_every_event() {
    isolated("hashes_of_signals");
}

#[test]
fn two_replays_of_children_agree_at_every_event() {
    isolated("hashes_of_children");
}

#[test]
fn two_replays_of_calls_agree_at_every_event() {
    isolated("hashes_of_calls");
}

#[test]
fn breakpoint_hits_among_calls_are_the_same_in_both_directions() {
    isolated("hits_among_calls");
}

#[test]
fn breakpoint_hits_are_the_same_in_both_directions() {
    isolated("hits_in_a_loop");
}

#[test]
fn breakpoint_hits_among_threads_are_the_same_in_both_directions() {
    isolated("hits_among_threads");
}

#[test]
fn watchpoint_hits_are_the_same_in_both_directions() {
    isolated("writes_to_a_variable");
}

#[test]
fn searches_can_begin_where_others_or_steps_ended() {
    isolated("searches_from_anywhere");
}

#[test]
fn kept_checkpoints_lead_to_the_same_places() {
    isolated("kept_checkpoints");
}

pub(crate) fn hashes_of_threads() {
    check_hashes(&programs::threads().1, 21);
}

pub(crate) fn hashes_of_signals() {
    check_hashes(&programs::signals().1, 22);
}

pub(crate) fn hashes_of_children() {
    check_hashes(&programs::children().1, 23);
}

/// Event by event each call stops; from afar whole runs of them are served inside the process.
pub(crate) fn hashes_of_calls() {
    let (_, trace) = programs::calls();
    let session = open(&trace);
    let runs = (0..session.trace().len())
        .filter(|number| session.trace().calls(*number).is_ok_and(|run| run.is_some()))
        .count();
    assert!(runs > 4000, "only {runs} calls were logged inside the process");
    drop(session);
    check_hashes(&trace, 24);
}

/// Two replays agree at every event, and so does whoever goes there in another order.
fn check_hashes(trace: &Path, seed: u64) {
    let first = hashes(&mut open(trace));
    let mut session = open(trace);
    let second = hashes(&mut session);
    let differing = first.iter().zip(&second).position(|(a, b)| a != b);
    assert_eq!(differing.map(|index| index + 1), None, "the first event with different hashes");
    assert_eq!(first.len(), second.len());
    let mut random = Random(seed);
    for _ in 0..60 * effort() {
        let index = random.below(first.len() as u64);
        let hash = hash_at(&mut session, index + 1);
        assert_eq!(hash, first[index as usize], "at event {} on a random way, seed {seed}", index + 1);
    }
}

/// The hashes at all events from the first on.
fn hashes(session: &mut Session) -> Vec<u64> {
    let end = session.end().expect("an end").event;
    (1..=end).map(|event| hash_at(session, event)).collect()
}

fn hash_at(session: &mut Session, event: u64) -> u64 {
    let stop =
        session.goto(&Position::at_event(event)).unwrap_or_else(|error| panic!("goto {event}: {error}"));
    assert_eq!((stop, session.position()), (Stop::Arrived, &Position::at_event(event)));
    session.state_hash().expect("a thread")
}

/// A place where the session stopped: who, where, and all registers.
#[derive(Debug, PartialEq)]
struct Seen {
    thread: ThreadId,
    ids: Vec<u32>,
    change: Option<(Vec<u8>, Vec<u8>)>,
    position: Position,
    registers: Vec<(ThreadId, Registers)>,
}

fn hits(session: &mut Session, direction: Direction, stops: &Stops) -> Vec<Seen> {
    const HITS_MAX: usize = 2000;
    let mut seen = Vec::new();
    loop {
        let stop = session.resume(direction, Mode::Run, stops, &mut NoJudge);
        let stop = stop.unwrap_or_else(|error| panic!("{direction:?}, after {} hits: {error}", seen.len()));
        let Stop::Hit(hit) = stop else {
            let last = if direction == Direction::Forward { Stop::End } else { Stop::Start };
            assert_eq!(stop, last);
            return seen;
        };
        let position = session.position().clone();
        let registers = all_registers(session);
        seen.push(Seen { thread: hit.thread, ids: hit.ids, change: hit.change, position, registers });
        assert!(seen.len() < HITS_MAX, "hits without end");
    }
}

/// All hits forwards, all hits backwards; each must be the other's mirror image. The forward hits.
fn mirrored(trace: &Path, stops: &Stops) -> Vec<Seen> {
    let mut session = open(trace);
    let forward = hits(&mut session, Direction::Forward, stops);
    assert_eq!(*session.position(), session.end().expect("an end"));
    let mut backward = hits(&mut session, Direction::Backward, stops);
    assert_eq!(*session.position(), session.start());
    backward.reverse();
    assert_eq!(forward.len(), backward.len(), "numbers of hits forwards and backwards");
    for (index, (forward, backward)) in forward.iter().zip(&backward).enumerate() {
        assert_eq!(forward.registers, backward.registers, "registers at hit {index}");
        assert_eq!((forward.thread, &forward.ids), (backward.thread, &backward.ids), "hit {index}");
        assert_eq!(forward.change, backward.change, "values at hit {index}");
    }
    lead_back(&mut session, &forward);
    forward
}

/// The position of a hit leads to it again.
fn lead_back(session: &mut Session, hits: &[Seen]) {
    let mut random = Random(31);
    for _ in 0..10.min(hits.len()) {
        let wanted = &hits[random.below(hits.len() as u64) as usize];
        session.goto(&wanted.position).unwrap_or_else(|error| panic!("goto {:?}: {error}", wanted.position));
        assert_eq!(all_registers(session), wanted.registers, "at {:?}", wanted.position);
    }
}

fn breakpoint(program: &Program, id: u32, symbol: &str) -> Breakpoint {
    // The program is the one that event 0 executes.
    Breakpoint { id, address: program.symbol(symbol), image: 0, condition: None }
}

pub(crate) fn hits_in_a_loop() {
    let (program, trace) = programs::looping();
    let stops = Stops { breakpoints: vec![breakpoint(&program, 1, "milestone")], ..Stops::default() };
    assert_eq!(mirrored(&trace, &stops).len(), 40);
}

/// One breakpoint lies in the midst of runs of calls, one right behind a call, where a hook would be.
pub(crate) fn hits_among_calls() {
    let (program, trace) = programs::calls();
    let between = Stops { breakpoints: vec![breakpoint(&program, 1, "milestone")], ..Stops::default() };
    assert_eq!(mirrored(&trace, &between).len(), 30);
    let behind = vec![breakpoint(&program, 1, "milestone"), breakpoint(&program, 2, "behind")];
    let mut session = open(&trace);
    let seen = hits(&mut session, Direction::Forward, &Stops { breakpoints: behind, ..Stops::default() });
    // A handler that comes right behind the call returns there.
    assert!(seen.iter().filter(|seen| seen.ids == [2]).count() >= 1500);
    lead_back(&mut session, &seen);
}

pub(crate) fn hits_among_threads() {
    let (program, trace) = programs::threads();
    let breakpoints = vec![breakpoint(&program, 1, "milestone"), breakpoint(&program, 2, "work")];
    let seen = mirrored(&trace, &Stops { breakpoints, ..Stops::default() });
    assert_eq!(seen.iter().filter(|seen| seen.ids == [1]).count(), 120);
    assert_eq!(seen.iter().filter(|seen| seen.ids == [2]).count(), 3);
}

pub(crate) fn writes_to_a_variable() {
    let (program, trace) = programs::looping();
    let watch = Watchpoint { id: 7, address: program.symbol("counter"), len: 8, reads: false, image: 0 };
    let seen = mirrored(&trace, &Stops { watchpoints: vec![watch], ..Stops::default() });
    // The first addition is of zero, which changes nothing.
    assert_eq!(seen.len(), 39);
    let value = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    for (index, seen) in seen.iter().enumerate() {
        let (before, after) = seen.change.as_ref().expect("a watchpoint knows the values");
        assert_eq!(value(after) - value(before), index as u64 + 1);
    }
}

/// Many hits within one interval: of a watch, of breakpoints, of both at the same place. A search backwards begins at
/// hits, and some steps before and after them.
pub(crate) fn searches_from_anywhere() {
    let (program, trace) = programs::quiet();
    let watch = Watchpoint { id: 1, address: program.symbol("counter"), len: 8, reads: false, image: 0 };
    let (at_entry, at_place) = (breakpoint(&program, 2, "bump"), breakpoint(&program, 3, "written"));
    let only = Stops { watchpoints: vec![watch.clone()], ..Stops::default() };
    assert_eq!(mirrored(&trace, &only).len(), 60);
    let both = Stops { breakpoints: vec![at_entry.clone()], ..only.clone() };
    assert_eq!(mirrored(&trace, &both).len(), 120);
    let same_place = Stops { breakpoints: vec![at_entry, at_place], ..only };
    let forward = mirrored(&trace, &same_place);
    assert_eq!(forward.len(), 120);
    let mut session = open(&trace);
    let mut random = Random(33);
    for _ in 0..12 * effort() {
        let index = 1 + random.below(forward.len() as u64 - 1) as usize;
        session.goto(&forward[index].position).expect("a hit is reached again");
        // A few steps from a hit there is no other hit.
        let (back, steps) = (random.below(2) == 0, random.below(3));
        for _ in 0..steps {
            let direction = if back { Direction::Backward } else { Direction::Forward };
            let stop = session.resume(direction, Mode::Step, &Stops::default(), &mut NoJudge);
            assert_eq!(stop.expect("a step"), Stop::Step);
        }
        let expected = if steps > 0 && !back { index } else { index - 1 };
        for expected in forward[expected.saturating_sub(2)..=expected].iter().rev() {
            let stop = session.resume(Direction::Backward, Mode::Run, &same_place, &mut NoJudge);
            let stop =
                stop.unwrap_or_else(|error| panic!("from hit {index}, {steps} steps, back {back}: {error}"));
            assert!(matches!(stop, Stop::Hit(_)), "{stop:?}");
            let what = format!("from hit {index}, {steps} steps, back {back}");
            assert_eq!(all_registers(&session), expected.registers, "{what}");
        }
    }
}

pub(crate) fn kept_checkpoints() {
    let (program, trace) = programs::threads();
    let mut session = open(&trace);
    let stops = Stops { breakpoints: vec![breakpoint(&program, 1, "milestone")], ..Stops::default() };
    let mut kept = Vec::new();
    for number in 0..40 {
        let stop = session.resume(Direction::Forward, Mode::Run, &stops, &mut NoJudge);
        assert!(matches!(stop, Ok(Stop::Hit(_))), "{stop:?}");
        if number % 5 == 0 {
            session.keep_checkpoint().unwrap_or_else(|error| panic!("checkpoint {number}: {error}"));
            kept.push((session.position().clone(), all_registers(&session)));
        }
    }
    let mut random = Random(32);
    for _ in 0..20 {
        let (position, registers) = &kept[random.below(kept.len() as u64) as usize];
        session.goto(position).unwrap_or_else(|error| panic!("goto {position:?}: {error}"));
        assert_eq!(all_registers(&session), *registers, "at {position:?}");
    }
}
