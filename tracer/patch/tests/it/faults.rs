//! Faults of copied instructions: the program's own rip and registers are found again.

use iced_x86::{Decoder, DecoderOptions};
use patch::{Condition, plan, plantable};

use crate::machine::{CODE, Machine, free, registers};

#[test]
fn a_fault_in_a_copy_looks_as_it_did() {
    // Each after `mov ecx, 5; nop; inc rax`, with rbx = 0 and rbp not canonical; each dies.
    let faults: [&[u8]; 12] = [
        &[0x48, 0x8b, 0x03],                      // mov rax, [rbx]
        &[0x48, 0x89, 0x03],                      // mov [rbx], rax
        &[0xff, 0x13],                            // call [rbx]
        &[0xff, 0x54, 0xcb, 0x08],                // call [rbx + rcx*8 + 8]
        &[0x64, 0xff, 0x14, 0x25, 0, 0, 0, 0x70], // call fs:[0x70000000]
        &[0xff, 0x23],                            // jmp [rbx]
        &[0x48, 0xf7, 0xf3],                      // div rbx
        &[0xff, 0x33],                            // push [rbx]
        &[0xf3, 0xa4, 0x48, 0x89, 0x1b],          // rep movsb; mov [rbx], rbx
        &[0x48, 0x8b, 0x45, 0x00],                // mov rax, [rbp]
        &[0x48, 0x89, 0xdc, 0x50],                // mov rsp, rbx; push rax
        &[0x48, 0x89, 0xdc, 0xe8, 0, 0, 0, 0],    // mov rsp, rbx; call
    ];
    let mut machine = Machine::take();
    for fault in faults {
        let program = [&[0xb9, 5, 0, 0, 0, 0x90, 0x48, 0xff, 0xc0], fault, &[0x90; 8]].concat();
        machine.load(&program);
        let start = patch::GeneralRegisters { rbp: 1 << 62, ..registers() };
        let reference = machine.run(CODE, &start);
        assert!(reference.died.is_some(), "{fault:x?}");
        for instruction in Decoder::with_ip(64, &program, CODE, DecoderOptions::NONE).iter() {
            let site = instruction.ip();
            let code = machine.read(site, 32);
            if !plantable(&code, site) {
                continue;
            }
            let stub = plan(site, &code, &Condition::Count { n: 0 }, &free).unwrap();
            machine.reset_memory();
            let outcome = machine.planted(&stub).run(CODE, &start);
            assert_eq!(outcome.died, reference.died, "{fault:x?} {site:#x}");
            assert_eq!(outcome.registers, reference.registers, "{fault:x?} {site:#x}");
        }
    }
}

#[test]
fn a_jump_behind_a_lock_prefix_goes_on() {
    // je +1; lock; inc dword [rsi]: old C libraries jump over the prefix when there is one thread.
    let program = [&[0x31, 0xc0, 0x74, 0x01, 0xf0, 0xff, 0x06][..], &[0x90; 8]].concat();
    let mut machine = Machine::take();
    machine.load(&program);
    let reference = machine.run(CODE, &registers());
    let memory = machine.memory();
    for site in [CODE, CODE + 2, CODE + 4] {
        let stub = plan(site, &machine.read(site, 32), &Condition::Count { n: 0 }, &free).unwrap();
        machine.reset_memory();
        let mut planted = machine.planted(&stub);
        let outcome = planted.run(CODE, &registers());
        assert_eq!((outcome.died, outcome.registers), (None, reference.registers));
        assert!(planted.memory() == memory, "{site:#x}");
    }
}
