//! What the agent's image must never do, seen in its instructions.

use iced_x86::{Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, Register};

/// All instructions, reached by following the code from its entry points.
fn instructions() -> Vec<Instruction> {
    let mut seen = std::collections::BTreeMap::new();
    let mut queue = vec![agent::ENTRY, agent::GADGET];
    while let Some(address) = queue.pop() {
        let offset = (address - agent::CODE_START) as usize;
        assert!(offset < agent::IMAGE.len(), "{address:#x} is outside of the image");
        let mut decoder = Decoder::with_ip(64, &agent::IMAGE[offset..], address, DecoderOptions::NONE);
        loop {
            let instruction = decoder.decode();
            assert!(!instruction.is_invalid(), "no instruction at {:#x}", instruction.ip());
            if seen.insert(instruction.ip(), instruction).is_some() {
                break;
            }
            if instruction.near_branch_target() != 0 {
                queue.push(instruction.near_branch_target());
            }
            use iced_x86::FlowControl::{IndirectBranch, Interrupt, Return, UnconditionalBranch};
            let ends = matches!(instruction.flow_control(), Return | UnconditionalBranch | IndirectBranch);
            // Behind the pause and the gadget the recorder decides.
            if ends || instruction.flow_control() == Interrupt && instruction.ip() != agent::PAUSE {
                break;
            }
        }
    }
    seen.into_values().collect()
}

#[test]
fn it_touches_no_vector_registers() {
    let mut factory = InstructionInfoFactory::new();
    let general =
        |register: Register| register.is_gpr() || register.is_segment_register() || register.is_ip();
    for instruction in instructions() {
        for used in factory.info(&instruction).used_registers() {
            assert!(general(used.register()), "{:?} at {:#x}", used.register(), instruction.ip());
        }
    }
}

#[test]
fn only_the_known_places_enter_the_kernel() {
    let all = instructions();
    assert!(all.len() > 200, "only {} instructions were found", all.len());
    let calls: Vec<u64> =
        all.iter().filter(|found| found.code() == Code::Syscall).map(Instruction::ip).collect();
    assert_eq!(calls.len(), 3, "{calls:x?}");
    assert!(calls.contains(&agent::MAIN_INSTRUCTION) && calls.contains(&agent::GADGET));
    assert!(calls.iter().all(|call| (agent::CODE_START..agent::END).contains(call)));
}

#[test]
fn indirect_branches_leave_it_or_read_a_clock() {
    const EXIT: u64 = agent::SHARED_START + agent::control::EXIT;
    use iced_x86::FlowControl::{IndirectBranch, IndirectCall};
    let all = instructions();
    let of = |wanted| all.iter().filter(move |found| found.flow_control() == wanted);
    let places: Vec<u64> = of(IndirectBranch).map(Instruction::memory_displacement64).collect();
    assert_eq!(places, [EXIT]);
    // The addresses of the vDSO's functions are read and called nowhere else.
    let clocks = agent::CLOCKS..agent::CLOCKS + 8 * agent::CLOCK_FUNCTIONS as u64;
    let reads = all.iter().filter(|found| clocks.contains(&found.memory_displacement64()));
    assert_eq!(reads.count(), agent::CLOCK_FUNCTIONS);
    assert_eq!(of(IndirectCall).count(), agent::CLOCK_FUNCTIONS);
}
