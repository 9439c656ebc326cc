//! What must be refused, and that nothing panics.

use patch::{Condition, LINES_MAX, Refusal, Stub, plan, plantable};

use crate::machine::{CODE, Machine, registers};

const SITE: u64 = 0x5555_5555_5000;

fn refusal(code: &[u8]) -> Option<Refusal> {
    let mut padded = code.to_vec();
    padded.resize(32, 0x90);
    plan(SITE, &padded, &Condition::Count { n: 1 }, &|_, _| true).err()
}

#[test]
fn what_must_stay_in_place_is_refused_at_the_site_and_behind_it() {
    let codes: [&[u8]; 23] = [
        &[0x0f, 0x05],                   // syscall
        &[0x0f, 0x34],                   // sysenter
        &[0xcd, 0x80],                   // int 0x80
        &[0xcc],                         // int3
        &[0xf1],                         // int1
        &[0x0f, 0x0b],                   // ud2
        &[0xf4],                         // hlt
        &[0x0f, 0x31],                   // rdtsc
        &[0x0f, 0x01, 0xf9],             // rdtscp
        &[0x0f, 0xa2],                   // cpuid
        &[0x0f, 0xc7, 0xf0],             // rdrand eax
        &[0x0f, 0xc7, 0xf8],             // rdseed eax
        &[0xf3, 0x0f, 0xc7, 0xf8],       // rdpid rax
        &[0xc7, 0xf8, 0, 0, 0, 0],       // xbegin
        &[0x0f, 0x01, 0xd5],             // xend
        &[0x0f, 0x01, 0xd0],             // xgetbv
        &[0xcf],                         // iret
        &[0xcb],                         // retf
        &[0xff, 0xd4],                   // call rsp
        &[0xff, 0x1c, 0x24],             // call far [rsp]
        &[0xec],                         // in al, dx
        &[0x67, 0x8b, 0x05, 0, 0, 0, 0], // mov eax, [eip]
        &[0x66, 0x70, 0x10],             // data16 jo
    ];
    for code in codes {
        assert!(
            matches!(refusal(code), Some(Refusal::NotRelocatable(SITE))),
            "{code:x?} {:?}",
            refusal(code)
        );
        let behind = [&[0x90], code].concat();
        assert_eq!(refusal(&behind), Some(Refusal::NotRelocatable(SITE + 1)), "{code:x?}");
        assert!(!plantable(&behind, SITE));
    }
}

#[test]
fn a_repeated_string_instruction_is_refused_at_the_site_only() {
    assert_eq!(refusal(&[0xf3, 0xa4]), Some(Refusal::Repeated(SITE)));
    assert_eq!(refusal(&[0xf2, 0xae]), Some(Refusal::Repeated(SITE)));
    assert_eq!(refusal(&[0x90, 0xf3, 0xa4]), None);
    assert_eq!(refusal(&[0xf3, 0xc3]), None);
}

#[test]
fn short_code_and_lack_of_room_are_refused() {
    let condition = Condition::Count { n: 1 };
    let refusal = |code: &[u8], site| plan(site, code, &condition, &|_, _| true).err();
    assert_eq!(refusal(&[0x90; 4], SITE), Some(Refusal::Truncated(SITE + 4)));
    assert_eq!(refusal(&[], SITE), Some(Refusal::Truncated(SITE)));
    assert_eq!(refusal(&[0x48, 0xb8, 0, 0], SITE), Some(Refusal::Truncated(SITE)));
    assert_eq!(refusal(&[0x90; 5], SITE), None);
    assert_eq!(refusal(&[0x90; 32], u64::MAX - 8), Some(Refusal::NoRoom(u64::MAX - 8)));
    assert_eq!(plan(SITE, &[0x90; 32], &condition, &|_, _| false).err(), Some(Refusal::NoRoom(SITE)));
    let lines = vec![(0, 0); LINES_MAX + 1];
    let condition = Condition::Match { registers: Default::default(), lines };
    assert_eq!(
        plan(SITE, &[0x90; 32], &condition, &|_, _| true).err(),
        Some(Refusal::TooManyLines(LINES_MAX + 1))
    );
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 1u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as u8
    };
    let condition = Condition::Match { registers: Default::default(), lines: vec![(u64::MAX, 1)] };
    for round in 0..20_000u64 {
        let length = random() as usize % 40;
        let code: Vec<u8> = (0..length).map(|_| random()).collect();
        let site = [SITE, 0, 0x400_000, u64::MAX - 20, 1 << 63, 0x7fff_ffff_efff][round as usize % 6];
        match plan(site, &code, &condition, &|_, _| true) {
            Ok(stub) => {
                assert!(plantable(&code, site));
                for rip in stub.pages.0..stub.pages.1 {
                    let _ = stub.original_rip(rip);
                }
            }
            Err(Refusal::Encoding { reason, .. }) => panic!("{code:x?}: {reason}"),
            Err(_) => {}
        }
    }
}

#[test]
fn every_byte_put_into_a_jump_traps() {
    // Five one-byte instructions force all four bytes: each answer of `free` refused leads to another combination.
    let code = [0x90; 32];
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    for refused in 0..400 {
        let asked = std::cell::Cell::new(0);
        let free = |_: u64, _: u64| {
            asked.set(asked.get() + 1);
            asked.get() > refused * 37
        };
        if let Ok(stub) = plan(SITE, &code, &Condition::Count { n: 1 }, &free) {
            seen.borrow_mut().extend(stub.site_bytes[1..].to_vec());
            check_entries(&stub);
        }
    }
    let seen = seen.into_inner();
    assert!(seen.len() >= 15, "{seen:x?}");
    let mut machine = Machine::take();
    for byte in seen {
        machine.load(&[byte]);
        let outcome = machine.run(CODE, &registers());
        let (signal, rip) = if byte == 0xcc { (libc::SIGTRAP, CODE + 1) } else { (libc::SIGILL, CODE) };
        assert_eq!(outcome.died, Some((signal, rip)), "{byte:#x}");
    }
}

/// Each trap leads to the copy of its own instruction.
fn check_entries(stub: &Stub) {
    assert_eq!(stub.entries().count(), 4);
    for (entry, byte) in stub.entries().zip(&stub.site_bytes[1..]) {
        let copy = stub.entry_into_middle(entry + u64::from(*byte == 0xcc)).expect("an entry");
        assert_eq!(stub.original_rip(copy), Some(entry), "{:x?}", stub.site_bytes);
    }
    assert_eq!(stub.entry_into_middle(stub.site), None);
    assert_eq!(stub.entry_into_middle(stub.site + 5), None);
}
