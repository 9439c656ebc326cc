//! Plans stubs all over system binaries and reads the copies back.

use std::collections::BTreeMap;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction};
use object::{Object, ObjectSection};
use patch::{Condition, Refusal, Stub, plan};

const STUBS_PER_BINARY: usize = 3000;
/// Share of instructions that must be plantable.
const SHARE_MIN: f64 = 0.97;

const BINARIES: [(&str, u64); 4] = [
    ("/usr/bin/gzip", 0x5555_5555_4000),
    ("/usr/bin/perl", 0x55d3_1234_5000),
    ("/lib/x86_64-linux-gnu/libc.so.6", 0x7fff_f7c0_0000),
    ("/lib/x86_64-linux-gnu/libm.so.6", 0x7f12_3456_7000),
];

/// Address and bytes of the code, as loaded.
fn text(path: &str, base: u64) -> Option<(u64, Vec<u8>)> {
    let file = std::fs::read(path).ok()?;
    let object = object::File::parse(&*file).ok()?;
    let section = object.section_by_name(".text")?;
    Some((base + section.address(), section.data().ok()?.to_vec()))
}

fn decode(bytes: &[u8], address: u64) -> Instruction {
    Decoder::with_ip(64, bytes, address, DecoderOptions::NONE).decode()
}

/// Decodes the trampoline at `rip`.
fn copied(stub: &Stub, rip: u64) -> Instruction {
    decode(&stub.trampoline_bytes[(rip - stub.trampoline) as usize..], rip)
}

fn word(stub: &Stub, address: u64) -> u64 {
    let offset = (address - stub.trampoline) as usize;
    u64::from_le_bytes(stub.trampoline_bytes[offset..offset + 8].try_into().unwrap())
}

/// Where a branch of the copy leads in the program's own terms.
fn own(stub: &Stub, target: u64) -> u64 {
    if stub.contains(target) { stub.original_rip(target).expect("a boundary") } else { target }
}

/// Checks that the copy at `rip` does what `original` does. Returns the address behind it.
fn check_copy(stub: &Stub, original: &Instruction, rip: u64) -> u64 {
    let copy = copied(stub, rip);
    match original.flow_control() {
        FlowControl::Call => {
            assert_eq!(copy.code(), Code::Push_rm64, "{original}");
            assert_eq!(word(stub, copy.ip_rel_memory_address()), original.next_ip());
            let jump = copied(stub, copy.next_ip());
            assert_eq!(own(stub, jump.near_branch_target()), original.near_branch_target(), "{original}");
            jump.next_ip()
        }
        FlowControl::IndirectCall => check_indirect_call(stub, original, copy),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
            if original.is_loop() || original.is_loopcc() || original.is_jcx_short() {
                let jump = copied(stub, copied(stub, copy.next_ip()).next_ip());
                assert_eq!(own(stub, jump.near_branch_target()), original.near_branch_target());
                return jump.next_ip();
            }
            assert_eq!(copy.condition_code(), original.condition_code(), "{original}");
            assert_eq!(own(stub, copy.near_branch_target()), original.near_branch_target(), "{original}");
            copy.next_ip()
        }
        _ => {
            // iced compares everything but the addresses; a rip-relative displacement is the absolute target.
            assert_eq!(copy, *original);
            copy.next_ip()
        }
    }
}

fn check_indirect_call(stub: &Stub, original: &Instruction, first: Instruction) -> u64 {
    let mut copy = first;
    if copy.code() == Code::Mov_rm64_r64 {
        let load = copied(stub, copy.next_ip());
        assert_eq!(load.code(), Code::Mov_r64_rm64, "{original}");
        let memory = |it: &Instruction| {
            (
                it.memory_base(),
                it.memory_index(),
                it.memory_index_scale(),
                it.memory_displacement64(),
                it.memory_segment(),
            )
        };
        assert_eq!(memory(&load), memory(original), "{original}");
        copy = copied(stub, copied(stub, copied(stub, load.next_ip()).next_ip()).next_ip());
    }
    assert_eq!(copy.code(), Code::Push_rm64, "{original}");
    assert_eq!(word(stub, copy.ip_rel_memory_address()), original.next_ip());
    let jump = copied(stub, copy.next_ip());
    assert_eq!(jump.flow_control(), FlowControl::IndirectBranch);
    if first.code() != Code::Mov_rm64_r64 {
        assert_eq!(jump.op0_register(), original.op0_register());
    }
    jump.next_ip()
}

fn check_stub(stub: &Stub, code: &[u8]) {
    assert_eq!(stub.original, &code[..5]);
    let jump = decode(&stub.site_bytes, stub.site);
    assert_eq!(stub.original_rip(jump.near_branch_target()), Some(stub.site));
    let mut decoder = Decoder::with_ip(64, code, stub.site, DecoderOptions::NONE);
    let mut rip = stub.resume_rip;
    while decoder.position() < 5 {
        let original = decoder.decode();
        assert_eq!(stub.original_rip(rip), Some(original.ip()));
        rip = check_copy(stub, &original, rip);
    }
}

#[test]
fn nearly_every_instruction_of_system_binaries_is_plantable() {
    let condition = Condition::Match { registers: Default::default(), lines: vec![(1, 2), (3, 4)] };
    let (mut planned, mut all) = (0, 0);
    for (path, base) in BINARIES {
        let Some((address, bytes)) = text(path, base) else { continue };
        let end = address + bytes.len() as u64;
        // The whole image is taken, with room for its data, and the heap behind a program.
        let free = |from: u64, to: u64| to <= base || from >= end + 0x200_0000;
        let sites: Vec<u64> =
            Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE).iter().map(|it| it.ip()).collect();
        let mut refused = BTreeMap::new();
        let mut here = 0;
        let step = (sites.len() / STUBS_PER_BINARY).max(1);
        let sampled = sites.iter().step_by(step);
        for site in sampled.clone() {
            let code = &bytes[(site - address) as usize..];
            let code = &code[..code.len().min(32)];
            match plan(*site, code, &condition, &free) {
                Ok(stub) => {
                    check_stub(&stub, code);
                    here += 1;
                }
                Err(refusal) => *refused.entry(reason(&refusal, code, *site)).or_insert(0) += 1,
            }
        }
        let count = sampled.count();
        println!("{path}: {here} of {count}; refused {refused:?}");
        planned += here;
        all += count;
    }
    let share = f64::from(planned) / all as f64;
    println!("{:.2} % plantable", share * 100.0);
    assert!(share >= SHARE_MIN);
}

fn reason(refusal: &Refusal, code: &[u8], site: u64) -> String {
    match refusal {
        Refusal::NotRelocatable(at) | Refusal::Repeated(at) | Refusal::Undecodable(at) => {
            let offset = (at - site) as usize;
            let mnemonic = decode(&code[offset..], *at).mnemonic();
            format!("{mnemonic:?}{}", if offset == 0 { "" } else { " behind" })
        }
        other => format!("{other:?}").chars().take_while(|letter| letter.is_alphabetic()).collect(),
    }
}
