//! Loops of a few bytes, stopped at a chosen visit.

use std::time::Instant;

use iced_x86::code_asm::*;
use patch::{Condition, GeneralRegisters, LINE_BYTES, Stub, line_hash, plan};

use crate::machine::{Action, CODE, DATA, Machine, free, registers};

/// Plans at an offset of the loaded program.
fn plan_at(machine: &Machine, site: u64, condition: &Condition) -> Stub {
    let code = machine.read(site, 32);
    plan(site, &code, condition, &free).expect("plantable")
}

/// `L: inc rax; jmp L`.
const TWO_INSTRUCTIONS: [u8; 5] = [0x48, 0xff, 0xc0, 0xeb, 0xfb];

#[test]
fn a_two_instruction_loop_is_found_at_ten_million() {
    let mut machine = Machine::take();
    machine.load(&TWO_INSTRUCTIONS);
    let visits = 10_000_000;
    // 0x98967f + 1 = 0x989680: AF, and a low byte of odd parity.
    let goal = GeneralRegisters { rax: visits, eflags: 0x10, ..registers() };
    let stub = plan_at(&machine, CODE, &Condition::Match { registers: goal, lines: Vec::new() });
    let mut planted = machine.planted(&stub);
    let start = Instant::now();
    let outcome = planted.run_with(CODE, &registers(), &mut |_| Action::Leave);
    println!("{:.2} ns a visit", start.elapsed().as_secs_f64() * 1e9 / visits as f64);
    assert_eq!(outcome.hits, [goal]);
    assert_eq!(outcome.registers, goal);
    assert_eq!(outcome.middles, 0);
}

#[test]
fn a_two_instruction_loop_is_counted() {
    let mut machine = Machine::take();
    machine.load(&TWO_INSTRUCTIONS);
    let stub = plan_at(&machine, CODE, &Condition::Count { n: 10_000_001 });
    let mut planted = machine.planted(&stub);
    let start = Instant::now();
    let outcome = planted.run_with(CODE, &registers(), &mut |_| Action::Leave);
    println!("{:.2} ns a visit", start.elapsed().as_secs_f64() * 1e9 / 1e7);
    assert_eq!(outcome.registers.rax, 10_000_000);
    assert_eq!(planted.counter(), 0);
}

#[test]
fn lines_tell_visits_with_equal_registers_apart() {
    // Every visit of the nop has the same registers; a word in memory counts.
    let mut a = CodeAssembler::new(64).unwrap();
    let mut head = a.create_label();
    a.mov(qword_ptr(rsi), 0).unwrap();
    a.set_label(&mut head).unwrap();
    a.add(qword_ptr(rsi), 1).unwrap();
    a.cmp(qword_ptr(rsi), 1000).unwrap();
    a.mov(rax, 7u64).unwrap();
    a.jne(head).unwrap();
    let program = a.assemble(CODE).unwrap();
    let site = CODE + 7 + 4 + 7;

    let mut machine = Machine::take();
    machine.load(&program);
    let mut line: [u8; LINE_BYTES] = machine.read(DATA, LINE_BYTES).try_into().unwrap();
    line[..8].copy_from_slice(&777u64.to_le_bytes());
    let trace = machine.trace(CODE, &registers()).trace;
    let visits: Vec<_> = trace.iter().filter(|(rip, _)| *rip == site).collect();
    let goal = visits[776].1;
    for n in [None, Some(1), Some(2)] {
        machine.reset_memory();
        let lines = vec![(DATA / 64, line_hash(&line))];
        let condition = match n {
            None => Condition::Match { registers: goal, lines },
            Some(n) => Condition::MatchCount { registers: goal, lines, n },
        };
        let stub = plan_at(&machine, site, &condition);
        let mut planted = machine.planted(&stub);
        let mut counts = Vec::new();
        let outcome = planted.run_with(CODE, &registers(), &mut |_| {
            // SAFETY: the data region is mapped.
            counts.push(unsafe { *(DATA as *const u64) });
            Action::Resume
        });
        let expected: &[u64] = if n == Some(2) { &[] } else { &[777] };
        assert_eq!(counts, expected, "{n:?}");
        assert_eq!(outcome.registers.rax, 7);
    }
}

#[test]
fn an_unreadable_line_is_a_difference() {
    let mut machine = Machine::take();
    machine.load(&[0x48, 0xff, 0xc0, 0x90, 0x90, 0x90]);
    let goal = GeneralRegisters { eflags: 0, ..registers() };
    let condition = Condition::Match { registers: goal, lines: vec![(0x1234_5678, 0)] };
    let stub = plan_at(&machine, CODE, &condition);
    let mut planted = machine.planted(&stub);
    let outcome = planted.run(CODE, &registers());
    assert_eq!((outcome.unreadable, outcome.hits.len(), outcome.died), (1, 0, None));
    assert_eq!(outcome.registers.rax, 1);
}

#[test]
fn a_loop_in_which_only_memory_changes_is_found() {
    // L: add qword [rsi], 1; jmp L. Every visit reaches the slow tier; those with equal flags hash the line.
    let mut machine = Machine::take();
    machine.load(&[0x48, 0x83, 0x06, 0x01, 0xeb, 0xfa]);
    machine.write(DATA, &[0; 8]);
    let mut line: [u8; LINE_BYTES] = machine.read(DATA, LINE_BYTES).try_into().unwrap();
    // 0xf4241 + 1 = 0xf4242: PF alone.
    let visits = 1_000_002u64;
    line[..8].copy_from_slice(&visits.to_le_bytes());
    let goal = GeneralRegisters { eflags: 4, ..registers() };
    let condition = Condition::Match { registers: goal, lines: vec![(DATA / 64, line_hash(&line))] };
    let stub = plan_at(&machine, CODE, &condition);
    let mut planted = machine.planted(&stub);
    let start = Instant::now();
    let outcome = planted.run_with(CODE, &registers(), &mut |_| Action::Leave);
    println!("{:.2} ns a visit in the slow tier", start.elapsed().as_secs_f64() * 1e9 / visits as f64);
    assert_eq!(outcome.hits, [goal]);
    // SAFETY: the data region is mapped.
    assert_eq!(unsafe { *(DATA as *const u64) }, visits);
}
