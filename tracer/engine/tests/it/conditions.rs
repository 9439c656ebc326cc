//! Conditions that stubs evaluate: the same hits at the same positions as where every visit stops and is looked at.

use std::path::Path;

use iced_x86::{Decoder, DecoderOptions, FlowControl};
use object::{Object, ObjectSection, ObjectSymbol};
use patch::{GeneralRegisters, Operation, Predicate, RegisterNumber, Relation, Size, Term, Width};
use trace::{Registers, ThreadId};
use tracer::{Breakpoint, Direction, Hit, Judge, Mode, NoJudge, Position, Session, Stop, Stops, Verdict};

use crate::programs;
use crate::support::{Program, Random, all_registers, effort, isolated, open};

#[test]
fn conditions_hold_at_the_same_visits_as_with_stops() {
    isolated("conditions_as_with_stops");
}

#[test]
fn conditions_among_calls_hold_at_the_same_visits_as_with_stops() {
    isolated("conditions_among_calls");
}

#[test]
fn conditions_among_threads_hold_at_the_same_visits_as_with_stops() {
    isolated("conditions_among_threads");
}

#[test]
fn a_condition_in_a_loop_with_forced_points_holds_in_both_directions() {
    isolated("conditions_beside_forced_points");
}

pub(crate) fn conditions_as_with_stops() {
    let (program, trace) = programs::quiet();
    check_program(&program, &trace, &["bump", "main"], 41);
}

pub(crate) fn conditions_among_calls() {
    let (program, trace) = programs::looping();
    check_program(&program, &trace, &["milestone"], 42);
}

pub(crate) fn conditions_among_threads() {
    let (program, trace) = programs::threads();
    check_program(&program, &trace, &["milestone", "main"], 43);
}

/// The slow way: every visit stops, and this decides.
struct Slow<'a>(&'a [Breakpoint]);

impl Judge for Slow<'_> {
    fn judge(&mut self, session: &Session, hit: &Hit) -> Verdict {
        let registers = general(&session.registers(hit.thread).expect("the thread exists"));
        let read = |address: u64, buffer: &mut [u8]| {
            let len = buffer.len();
            session.read_memory(hit.thread, address, buffer).is_ok_and(|read| read == len)
        };
        let wanted = self.0.iter().filter(|point| hit.ids.contains(&point.id));
        let holds = |point: &Breakpoint| match &point.condition {
            Some(condition) => condition.holds(&registers, &read) != Some(false),
            None => true,
        };
        if wanted.into_iter().any(holds) { Verdict::Stop } else { Verdict::Pass }
    }
}

#[derive(Debug)]
struct Seen {
    thread: ThreadId,
    position: Position,
    registers: Vec<(ThreadId, Registers)>,
}

fn hits(session: &mut Session, direction: Direction, stops: &Stops, judge: &mut dyn Judge) -> Vec<Seen> {
    let mut seen = Vec::new();
    loop {
        let stop = session.resume(direction, Mode::Run, stops, judge);
        let stop = stop.unwrap_or_else(|error| panic!("{direction:?}, after {} hits: {error}", seen.len()));
        let Stop::Hit(hit) = stop else { return seen };
        let position = session.position().clone();
        seen.push(Seen { thread: hit.thread, position, registers: all_registers(session) });
        assert!(seen.len() < 10_000, "hits without end");
    }
}

/// More hits than this are not gone through backwards.
const BACKWARD_HITS_MAX: usize = 100;

fn check_program(program: &Program, trace: &Path, functions: &[&str], seed: u64) {
    let sites: Vec<u64> = functions.iter().flat_map(|name| instructions(program, name)).collect();
    let mut random = Random(seed);
    let mut total = 0;
    for round in 0..8 * effort() {
        let mut points = Vec::new();
        for id in 0..1 + random.below(4) as u32 {
            let address = sites[random.below(sites.len() as u64) as usize];
            let condition = Some(predicate(&mut random, program.symbol("counter")));
            points.push(Breakpoint { id, address, image: 0, condition });
        }
        let name = format!("seed {seed}, round {round}: {points:x?}");
        let plain = points.iter().map(|point| Breakpoint { condition: None, ..point.clone() }).collect();
        let slow = Stops { breakpoints: plain, ..Stops::default() };
        let fast = Stops { breakpoints: points.clone(), ..Stops::default() };
        let mut session = open(trace);
        let expected = hits(&mut session, Direction::Forward, &slow, &mut Slow(&points));
        let mut session = open(trace);
        let forward = hits(&mut session, Direction::Forward, &fast, &mut NoJudge);
        assert_eq!(places(&forward), places(&expected), "{name}");
        // Each search backwards sees all hits of an interval: many of them take long.
        if expected.len() <= BACKWARD_HITS_MAX {
            let mut backward = hits(&mut session, Direction::Backward, &fast, &mut NoJudge);
            backward.reverse();
            assert_eq!(backward.len(), expected.len(), "{name}");
            for (index, (backward, expected)) in backward.iter().zip(&expected).enumerate() {
                assert_eq!(backward.registers, expected.registers, "hit {index}, {name}");
            }
        }
        from_anywhere(&mut session, &fast, &slow, &points, &forward, &mut random, &name);
        total += expected.len();
    }
    println!("{total} hits");
    assert!(total > 0);
}

/// Who was seen, before which event, with which registers of all threads.
type Place<'a> = (ThreadId, u64, &'a [(ThreadId, Registers)]);

/// What was seen, but for the legs of the positions: one place may have several names.
fn places(seen: &[Seen]) -> Vec<Place<'_>> {
    seen.iter().map(|seen| (seen.thread, seen.position.event, seen.registers.as_slice())).collect()
}

/// Searches that begin at a hit, or some steps beside it, end where the slow way ends.
fn from_anywhere(
    session: &mut Session,
    fast: &Stops,
    slow: &Stops,
    points: &[Breakpoint],
    expected: &[Seen],
    random: &mut Random,
    name: &str,
) {
    for _ in 0..4.min(expected.len()) {
        let start = &expected[random.below(expected.len() as u64) as usize].position;
        let steps = random.below(3);
        for direction in [Direction::Backward, Direction::Forward] {
            let mut ends = Vec::new();
            for quick in [true, false] {
                session.goto(start).unwrap_or_else(|error| panic!("{name}: goto {start:?}: {error}"));
                for _ in 0..steps {
                    session
                        .resume(Direction::Forward, Mode::Step, &Stops::default(), &mut NoJudge)
                        .expect("a step");
                }
                let stop = match quick {
                    true => session.resume(direction, Mode::Run, fast, &mut NoJudge),
                    false => session.resume(direction, Mode::Run, slow, &mut Slow(points)),
                };
                let stop = stop.unwrap_or_else(|error| panic!("{name}: from {start:?}: {error}"));
                let stop = match stop {
                    Stop::Hit(hit) => Stop::Hit(Hit { ids: Vec::new(), ..hit }),
                    other => other,
                };
                // One place may have several names.
                ends.push((stop, all_registers(session)));
            }
            assert_eq!(ends[0], ends[1], "{name}: {direction:?} from {start:?} and {steps} steps");
        }
    }
}

pub(crate) fn conditions_beside_forced_points() {
    let (program, trace) = programs::threads();
    // The loop that counts to two million: each of its instructions, when the counter passes a number.
    let mut all = 0;
    for site in instructions(&program, "work").into_iter().take(24) {
        let counter =
            Term::Load { address: Box::new(Term::Constant(program.symbol("counter"))), width: LONG };
        let masked = Term::Combined {
            operation: Operation::And,
            left: Box::new(counter),
            right: Box::new(Term::Constant(0x3_ffff)),
        };
        let predicate =
            Predicate::Compare { left: masked, relation: Relation::Equal, right: Term::Constant(0x1_2345) };
        let point = Breakpoint { id: 1, address: site, image: 0, condition: Some(predicate) };
        let stops = Stops { breakpoints: vec![point], ..Stops::default() };
        let mut session = open(&trace);
        let forward = hits(&mut session, Direction::Forward, &stops, &mut NoJudge);
        let mut backward = hits(&mut session, Direction::Backward, &stops, &mut NoJudge);
        backward.reverse();
        let registers = |seen: &[Seen]| seen.iter().map(|seen| seen.registers.clone()).collect::<Vec<_>>();
        assert_eq!(registers(&forward), registers(&backward), "at {site:#x}");
        for seen in forward.iter().take(2) {
            session.goto(&seen.position).expect("a hit is reached again");
            assert_eq!(all_registers(&session), seen.registers, "at {site:#x}");
        }
        all += forward.len();
    }
    println!("{all} hits");
    assert!(all >= 20, "{all}");
}

const LONG: Width = Width { size: Size::Eight, signed: false };

/// Something that holds at some visits.
fn predicate(random: &mut Random, counter: u64) -> Predicate {
    let left = match random.below(3) {
        0 => Term::Load { address: Box::new(Term::Constant(counter)), width: LONG },
        1 => Term::Load {
            address: Box::new(Term::Register(RegisterNumber::new(4).expect("rsp"))),
            width: Width { size: Size::Four, signed: true },
        },
        _ => Term::Register(RegisterNumber::new(random.below(16) as u8).expect("a register")),
    };
    let mask = [1, 3, 7, 15, 0xff][random.below(5) as usize];
    let left = Term::Combined {
        operation: Operation::And,
        left: Box::new(left),
        right: Box::new(Term::Constant(mask)),
    };
    let relation = [Relation::Equal, Relation::NotEqual, Relation::Below][random.below(3) as usize];
    Predicate::Compare { left, relation, right: Term::Constant(random.below(mask + 1)) }
}

/// Addresses of a function's instructions, up to its first return.
fn instructions(program: &Program, symbol: &str) -> Vec<u64> {
    let bytes = std::fs::read(&program.path).expect("the program can be read");
    let file = object::File::parse(bytes.as_slice()).expect("the program is an ELF file");
    let start = program.symbol(symbol);
    let size = file.symbols().find(|known| known.name() == Ok(symbol)).map_or(0, |known| known.size());
    let text = file.section_by_name(".text").expect("code");
    let code = text.data_range(start, size).expect("the section can be read").expect("the function is in it");
    let mut addresses = Vec::new();
    for instruction in Decoder::with_ip(64, code, start, DecoderOptions::NONE).iter() {
        addresses.push(instruction.ip());
        if instruction.flow_control() == FlowControl::Return {
            break;
        }
    }
    addresses
}

fn general(registers: &Registers) -> GeneralRegisters {
    GeneralRegisters {
        rax: registers.rax,
        rcx: registers.rcx,
        rdx: registers.rdx,
        rbx: registers.rbx,
        rsp: registers.rsp,
        rbp: registers.rbp,
        rsi: registers.rsi,
        rdi: registers.rdi,
        r8: registers.r8,
        r9: registers.r9,
        r10: registers.r10,
        r11: registers.r11,
        r12: registers.r12,
        r13: registers.r13,
        r14: registers.r14,
        r15: registers.r15,
        eflags: registers.rflags,
    }
}
