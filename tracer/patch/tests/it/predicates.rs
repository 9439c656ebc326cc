//! Random predicates: the stub's verdict is the model's, and the program sees nothing of it.

use std::time::Instant;

use iced_x86::code_asm::*;
use patch::{
    Condition, GeneralRegisters, Operation, Predicate, RegisterNumber, Relation, Size, Term, Width, plan,
};

use crate::machine::{
    Action, CODE, CODE_BYTES, DATA, DATA_BYTES, Machine, STACK, STACK_BYTES, free, registers,
};
use crate::sequences::Random;

const CASES: u64 = 20_000;

/// A count that is never reached.
const NEVER: u64 = i64::MAX as u64;

/// Where nothing is mapped.
const HOLE: u64 = CODE + 0x80_0000;

fn register(number: u8) -> Term {
    Term::Register(RegisterNumber::new(number).expect("a register"))
}

fn width(random: &mut Random) -> Width {
    let size = [Size::One, Size::Two, Size::Four, Size::Eight][random.below(4)];
    Width { size, signed: random.below(2) == 0 }
}

/// Numbers that are likely to be equal, or on both sides of a border.
fn constant(random: &mut Random) -> u64 {
    match random.below(6) {
        0 => random.next(),
        1 => random.below(3) as u64,
        2 => (random.below(3) as u64).wrapping_neg(),
        3 => 0x7fff_ffff + random.below(3) as u64,
        4 => (0x8000_0000u64).wrapping_neg().wrapping_sub(random.below(2) as u64),
        _ => random.below(256) as u64,
    }
}

/// Mostly of mapped memory.
fn address(random: &mut Random, depth: usize) -> Term {
    let base = match random.below(8) {
        0 => Term::Constant(DATA + random.below(DATA_BYTES as usize - 8) as u64),
        1 => Term::Constant(HOLE),
        2 => register(6),
        3 | 4 => register(7),
        5 => register(4),
        _ => term(random, depth + 1),
    };
    let displacement = Term::Constant((random.below(256) as u64).wrapping_sub(128));
    combined(Operation::Add, base, displacement)
}

fn combined(operation: Operation, left: Term, right: Term) -> Term {
    Term::Combined { operation, left: Box::new(left), right: Box::new(right) }
}

fn term(random: &mut Random, depth: usize) -> Term {
    match random.below(if depth > 3 { 3 } else { 8 }) {
        0 => Term::Constant(constant(random)),
        1 | 2 => register(random.below(16) as u8),
        3 | 4 => Term::Load { address: Box::new(address(random, depth)), width: width(random) },
        5 => Term::Cut { of: Box::new(term(random, depth + 1)), width: width(random) },
        _ => {
            use Operation::{Add, And, Multiply, Or, Subtract, Xor};
            let operation = [Add, And, Multiply, Or, Subtract, Xor][random.below(6)];
            combined(operation, term(random, depth + 1), term(random, depth + 1))
        }
    }
}

fn predicate(random: &mut Random, depth: usize) -> Predicate {
    use Relation::{
        Above, AboveOrEqual, Below, BelowOrEqual, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, NotEqual,
    };
    let kind = if depth > 2 { 2 } else { random.below(5) };
    if kind < 2 {
        let parts = (0..random.below(4)).map(|_| predicate(random, depth + 1)).collect();
        return if kind == 0 { Predicate::All(parts) } else { Predicate::Any(parts) };
    }
    let all = [
        Equal,
        NotEqual,
        Less,
        LessOrEqual,
        Greater,
        GreaterOrEqual,
        Below,
        BelowOrEqual,
        Above,
        AboveOrEqual,
    ];
    let left = term(random, 1);
    let right = if random.below(4) == 0 { left.clone() } else { term(random, 1) };
    Predicate::Compare { left, relation: all[random.below(10)], right }
}

fn random_registers(random: &mut Random) -> GeneralRegisters {
    let mut number = || match random.below(3) {
        0 => DATA + 0x400 + random.below(0x800) as u64,
        _ => constant(random),
    };
    GeneralRegisters {
        rax: number(),
        rcx: number(),
        rdx: number(),
        rbx: number(),
        rbp: number(),
        r8: number(),
        r9: number(),
        r10: number(),
        r11: number(),
        r12: number(),
        r13: number(),
        r14: number(),
        r15: number(),
        eflags: random.next() & patch::ARITHMETIC_FLAGS,
        ..registers()
    }
}

#[test]
fn the_verdict_is_that_of_the_model() {
    let mut machine = Machine::take();
    // Five bytes, so that nothing else is overwritten: lea rax, [rax + 0x12345].
    machine.load(&[0x90, 0x48, 0x8d, 0x80, 0x45, 0x23, 0x01, 0x00, 0x90]);
    let site = CODE + 1;
    let code = machine.read(site, 32);
    let (mut held, mut unreadable, mut refused) = (0, 0, 0);
    for seed in 0..CASES {
        let mut random = Random(seed);
        let predicate = predicate(&mut random, 0);
        let start = random_registers(&mut random);
        let n = if random.below(8) == 0 { 1 } else { NEVER };
        let condition = Condition::Holds { predicate: predicate.clone(), n };
        let stub = match plan(site, &code, &condition, &free) {
            Ok(stub) => stub,
            Err(patch::Refusal::TooComplex) => {
                refused += 1;
                continue;
            }
            Err(refusal) => panic!("seed {seed}: {refusal}"),
        };
        machine.reset_memory();
        let before = machine.memory();
        // What reads the stub itself sees what the program would not.
        let touches_stub = std::cell::Cell::new(false);
        let read = |address: u64, buffer: &mut [u8]| {
            let end = address.checked_add(buffer.len() as u64);
            let mapped = [(DATA, DATA_BYTES), (STACK, STACK_BYTES)];
            let near = |range: (u64, u64)| address < range.1 && end.is_some_and(|end| end > range.0);
            if near(stub.pages) || near((CODE, CODE + CODE_BYTES)) {
                touches_stub.set(true);
            }
            let inside = mapped
                .iter()
                .any(|(start, bytes)| address >= *start && end.is_some_and(|end| end <= start + bytes));
            if inside {
                buffer.copy_from_slice(&machine.read(address, buffer.len()));
            }
            inside
        };
        let expected = predicate.holds(&start, &read);
        if touches_stub.get() {
            continue;
        }
        let reference = machine.run(CODE, &start);
        let mut planted = machine.planted(&stub);
        let outcome = planted.run(CODE, &start);
        let name = format!("seed {seed}: {predicate:?} with {start:x?}");
        assert_eq!(outcome.died, None, "{name}");
        assert_eq!(outcome.hits.len() == 1, n == 1 || expected != Some(false), "{name}");
        assert!(outcome.hits.iter().all(|now| *now == start), "{name}: {:x?}", outcome.hits);
        assert_eq!(outcome.registers, reference.registers, "{name}");
        assert_eq!(outcome.unreadable, usize::from(n != 1 && expected.is_none()), "{name}");
        assert_eq!(planted.counter(), n - 1, "{name}");
        assert!(planted.memory() == before, "{name}: memory differs");
        held += usize::from(expected == Some(true));
        unreadable += outcome.unreadable;
    }
    println!("{held} held, {unreadable} could not be read, {refused} too complex");
    assert!(held > 1000 && unreadable > 1000 && refused < CASES as usize / 3);
}

/// `L: inc rax; jmp L`, and a predicate on what counts.
#[test]
fn a_loop_is_left_when_the_predicate_holds() {
    let mut machine = Machine::take();
    machine.load(&[0x48, 0xff, 0xc0, 0xeb, 0xfb]);
    let visits = 10_000_000;
    for left in [register(0), combined(Operation::Subtract, register(0), register(13))] {
        let predicate = Predicate::Compare { left, relation: Relation::Equal, right: Term::Constant(visits) };
        let stub = plan(CODE, &machine.read(CODE, 32), &Condition::Holds { predicate, n: NEVER }, &free);
        let stub = stub.expect("plantable");
        let mut planted = machine.planted(&stub);
        let start = Instant::now();
        let outcome = planted.run_with(CODE, &registers(), &mut |_| Action::Leave);
        println!("{:.2} ns a visit", start.elapsed().as_secs_f64() * 1e9 / visits as f64);
        assert_eq!(outcome.registers.rax, visits);
        assert_eq!(NEVER - planted.counter(), visits + 1);
    }
}

#[test]
fn a_variable_in_memory_is_compared() {
    let mut a = CodeAssembler::new(64).unwrap();
    let mut head = a.create_label();
    a.mov(qword_ptr(rsi), 0).unwrap();
    a.set_label(&mut head).unwrap();
    a.add(dword_ptr(rsi), 3).unwrap();
    a.nop_1(dword_ptr(rsi + rcx * 8 + 0x1000)).unwrap();
    a.jmp(head).unwrap();
    let program = a.assemble(CODE).unwrap();
    let site = CODE + 7 + 3;
    let mut machine = Machine::take();
    machine.load(&program);
    let visits = 10_000_000;
    let width = Width { size: Size::Four, signed: true };
    let variable = Term::Load { address: Box::new(register(6)), width };
    let predicate = Predicate::Compare {
        left: variable,
        relation: Relation::GreaterOrEqual,
        right: Term::Constant(3 * visits),
    };
    let stub = plan(site, &machine.read(site, 32), &Condition::Holds { predicate, n: NEVER }, &free).unwrap();
    let mut planted = machine.planted(&stub);
    let start = Instant::now();
    let outcome = planted.run_with(CODE, &registers(), &mut |_| Action::Leave);
    println!("{:.2} ns a visit", start.elapsed().as_secs_f64() * 1e9 / visits as f64);
    assert_eq!(outcome.hits.len(), 1);
    assert_eq!(NEVER - planted.counter(), visits);
}

#[test]
fn what_nests_too_deeply_is_refused() {
    let mut term = register(0);
    for _ in 0..100 {
        term = combined(Operation::Add, register(1), term);
    }
    let predicate = Predicate::Compare { left: term, relation: Relation::Equal, right: Term::Constant(0) };
    let refusal = plan(CODE, &[0x90; 32], &Condition::Holds { predicate, n: 0 }, &free);
    assert_eq!(refusal, Err(patch::Refusal::TooComplex));
}
