//! Made-up programs, run once as they are and once for each instruction with a stub planted there.

use iced_x86::code_asm::*;
use iced_x86::{Decoder, DecoderOptions};
use patch::{Condition, GeneralRegisters, plan, plantable};

use crate::machine::{CODE, DATA, Machine, Outcome, free, registers};

const PROGRAMS: u64 = 150;
const ITEMS: usize = 30;

/// splitmix64.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn register(&mut self) -> AsmRegister64 {
        [rax, rdx, rbx, rbp, r8, r9, r10, r11, r12, r13, r14][self.below(11)]
    }

    fn small(&mut self) -> AsmRegister32 {
        [eax, edx, ebx, ebp, r8d, r9d][self.below(6)]
    }

    /// An address that rip-relative operands name, away from the strings.
    fn word(&mut self) -> u64 {
        DATA + 0x1000 + self.below(64) as u64 * 8
    }
}

/// Functions that programs call.
struct Functions {
    plain: CodeLabel,
    pushing: CodeLabel,
}

type Built = Result<(), iced_x86::IcedError>;

fn program(seed: u64) -> Vec<u8> {
    let mut random = Random(seed);
    let mut a = CodeAssembler::new(64).unwrap();
    build(&mut a, &mut random).unwrap();
    a.assemble(CODE).unwrap()
}

fn build(a: &mut CodeAssembler, random: &mut Random) -> Built {
    let mut functions = Functions { plain: a.create_label(), pushing: a.create_label() };
    let mut start = a.create_label();
    a.jmp(start)?;
    a.set_label(&mut functions.plain)?;
    a.lea(rax, qword_ptr(rax + 3))?;
    a.ret()?;
    a.set_label(&mut functions.pushing)?;
    a.push(rbx)?;
    a.adc(rbx, rax)?;
    a.pop(rdx)?;
    a.ret()?;
    a.set_label(&mut start)?;
    let mut pending: Vec<(usize, CodeLabel)> = Vec::new();
    for index in 0..ITEMS {
        while let Some(position) = pending.iter().position(|(until, _)| *until <= index) {
            let (_, mut label) = pending.remove(position);
            a.set_label(&mut label)?;
            a.nop()?;
        }
        match random.below(8) {
            0 => {
                let label = a.create_label();
                conditional(a, random, label)?;
                pending.push((index + 1 + random.below(4), label));
            }
            1 => backward(a, random)?,
            2 => call(a, random, &functions)?,
            3 => string(a, random)?,
            4 => vector(a, random)?,
            _ => simple(a, random)?,
        }
    }
    for (_, mut label) in pending {
        a.set_label(&mut label)?;
        a.nop()?;
    }
    a.nop()
}

fn conditional(a: &mut CodeAssembler, random: &mut Random, label: CodeLabel) -> Built {
    match random.below(8) {
        0 => a.je(label),
        1 => a.jb(label),
        2 => a.jg(label),
        3 => a.js(label),
        4 => a.jp(label),
        5 => a.jo(label),
        6 => {
            a.xor(ecx, random.small())?;
            // With the prefix: jecxz.
            a.db(&[0x67][..random.below(2)])?;
            a.jrcxz(label)
        }
        _ => a.jmp(label),
    }
}

/// A loop of few bytes that ends after few turns.
fn backward(a: &mut CodeAssembler, random: &mut Random) -> Built {
    let mut head = a.create_label();
    a.mov(ecx, 1 + random.below(5) as i32)?;
    a.mov(r15d, ecx)?;
    a.set_label(&mut head)?;
    for _ in 0..1 + random.below(3) {
        simple(a, random)?;
    }
    match random.below(4) {
        0 => a.loop_(head),
        1 => {
            a.add(ecx, -1)?;
            a.jne(head)
        }
        2 => {
            a.dec(r15)?;
            a.jg(head)
        }
        _ => {
            let out = &mut a.create_label();
            a.dec(r15d)?;
            a.je(*out)?;
            a.jmp(head)?;
            a.set_label(out)?;
            a.nop()
        }
    }
}

fn call(a: &mut CodeAssembler, random: &mut Random, functions: &Functions) -> Built {
    let function = if random.below(2) == 0 { functions.plain } else { functions.pushing };
    match random.below(6) {
        0 | 1 => a.call(function),
        2 => {
            a.lea(rbx, ptr(function))?;
            a.call(rbx)
        }
        3 => {
            a.lea(r12, ptr(function))?;
            a.mov(qword_ptr(rsi + 0x700), r12)?;
            a.call(qword_ptr(rsi + 0x700))
        }
        4 => {
            a.lea(r12, ptr(function))?;
            a.mov(ecx, 2)?;
            a.mov(qword_ptr(rsp - 16), r12)?;
            a.call(qword_ptr(rsp + rcx * 8 - 32))
        }
        _ => {
            let next = &mut a.create_label();
            a.lea(r9, ptr(*next))?;
            a.push(r9)?;
            a.lea(r9, ptr(function))?;
            a.jmp(r9)?;
            a.set_label(next)?;
            a.nop()
        }
    }
}

fn string(a: &mut CodeAssembler, random: &mut Random) -> Built {
    a.mov(ecx, random.below(9) as i32)?;
    match random.below(6) {
        0 => a.rep().movsb()?,
        1 => a.rep().stosq()?,
        2 => a.repne().scasb()?,
        3 => a.lodsb()?,
        4 => a.movsq()?,
        _ => a.stosd()?,
    }
    a.mov(rsi, DATA)?;
    a.mov(rdi, DATA + 0x800)
}

fn vector(a: &mut CodeAssembler, random: &mut Random) -> Built {
    let word = random.word();
    if is_x86_feature_detected!("avx512f") && random.below(2) == 0 {
        a.kmovw(k1, random.small())?;
        a.vmovdqu64(zmm3.k1().z(), zmmword_ptr(rsi + 64))?;
        a.vpaddq(zmm17, zmm3, zmmword_ptr(rsi + 0x40))?;
        a.vmovdqu64(zmmword_ptr(rdi + 0x80).k1(), zmm17)?;
        let mut instruction = iced_x86::Instruction::with3(
            iced_x86::Code::EVEX_Vpaddq_zmm_k1z_zmm_zmmm512b64,
            iced_x86::Register::ZMM3,
            iced_x86::Register::ZMM17,
            relative(word),
        )?;
        instruction.set_op_mask(iced_x86::Register::K1);
        return a.add_instruction(instruction);
    }
    a.movq(xmm1, random.register())?;
    if is_x86_feature_detected!("avx2") {
        a.vmovdqu(ymm2, ymmword_ptr(rsi + random.below(64) as i32))?;
        a.vmovdqu(ymmword_ptr(rdi + 0x40), ymm2)?;
        let code = iced_x86::Code::VEX_Vpaddd_ymm_ymm_ymmm256;
        let (to, from) = (iced_x86::Register::YMM2, iced_x86::Register::YMM1);
        a.add_instruction(iced_x86::Instruction::with3(code, to, from, relative(word))?)?;
    }
    a.movdqu(xmmword_ptr(rdi + 0x60), xmm1)
}

fn relative(address: u64) -> iced_x86::MemoryOperand {
    iced_x86::MemoryOperand::with_base_displ(iced_x86::Register::RIP, address as i64)
}

fn simple(a: &mut CodeAssembler, random: &mut Random) -> Built {
    use iced_x86::{Code, Instruction};
    let (one, other) = (random.register(), random.register());
    let register: iced_x86::Register = one.into();
    let word = relative(random.word());
    match random.below(24) {
        0 => a.inc(one),
        1 => a.add(one, other),
        2 => a.adc(one, other),
        3 => a.sbb(random.small(), 5),
        4 => a.setb(al),
        5 => a.seto(dl),
        6 => a.lea(one, qword_ptr(one + other * 4 + 0x1234)),
        7 => a.mov(qword_ptr(rsi + random.below(256) as i32), one),
        8 => a.mov(one, qword_ptr(rdi + random.below(100) as i32)),
        9 => a.add_instruction(Instruction::with2(Code::Mov_r64_rm64, register, word)?),
        10 => a.add_instruction(Instruction::with2(Code::Add_rm64_r64, word, register)?),
        11 => a.add_instruction(Instruction::with2(Code::Cmp_rm64_imm32, word, 0x1234_5678)?),
        12 => a.add_instruction(Instruction::with2(Code::Lea_r64_m, register, word)?),
        13 => {
            a.push(one)?;
            a.pop(other)
        }
        14 => {
            a.lock().cmpxchg(qword_ptr(rsi + 8), one)?;
            a.cmc()
        }
        15 => {
            a.lahf()?;
            a.stc()
        }
        16 => a.cmovle(one, other),
        17 => a.mul(one),
        18 => a.cqo(),
        19 => a.mov(one, random.next()),
        20 => a.xchg(qword_ptr(rsi + 24), one),
        21 => a.imul_3(one, other, 0x7777),
        22 => {
            a.enter(16, 0)?;
            a.mov(qword_ptr(rbp - 8), one)?;
            a.leave()
        }
        _ => a.mov(qword_ptr(rsp - 120), one),
    }
}

struct Reference {
    outcome: Outcome,
    memory: Vec<u8>,
    trace: Vec<(u64, GeneralRegisters)>,
}

fn reference(machine: &mut Machine) -> Reference {
    let trace = machine.trace(CODE, &registers()).trace;
    machine.reset_memory();
    let outcome = machine.run(CODE, &registers());
    Reference { memory: machine.memory(), outcome, trace }
}

/// Plants, runs, and compares all that the program can see.
fn compare(
    machine: &mut Machine,
    reference: &Reference,
    site: u64,
    condition: &Condition,
    name: &str,
) -> (Outcome, u64) {
    let code = machine.read(site, 32);
    let stub = plan(site, &code, condition, &free).unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    machine.reset_memory();
    let mut planted = machine.planted(&stub);
    let outcome = planted.run(CODE, &registers());
    assert_eq!(outcome.died, reference.outcome.died, "{name}");
    assert_eq!(outcome.registers, reference.outcome.registers, "{name}");
    assert!(planted.memory() == reference.memory, "{name}: memory differs");
    let counter = planted.counter();
    (outcome, counter)
}

#[test]
fn made_up_programs_do_the_same_with_a_stub_at_any_instruction() {
    let mut machine = Machine::take();
    let (mut stubs, mut middles, mut hits) = (0, 0, 0);
    for seed in 0..PROGRAMS {
        let mut random = Random(seed ^ 0xabcd);
        let bytes = program(seed);
        machine.load(&bytes);
        let reference = reference(&mut machine);
        assert_eq!(reference.outcome.died, None, "seed {seed}");
        let sites: Vec<u64> =
            Decoder::with_ip(64, &bytes, CODE, DecoderOptions::NONE).iter().map(|it| it.ip()).collect();
        for site in sites {
            if !plantable(&machine.read(site, 32), site) {
                continue;
            }
            let name = format!("seed {seed}, site {site:#x}");
            let visits: Vec<_> = reference.trace.iter().filter(|(rip, _)| *rip == site).collect();
            let (outcome, counter) =
                compare(&mut machine, &reference, site, &Condition::Count { n: 0 }, &name);
            assert_eq!(counter.wrapping_neg(), visits.len() as u64, "{name}");
            stubs += 1;
            middles += outcome.middles;
            if visits.is_empty() {
                continue;
            }
            let goal = visits[random.below(visits.len())].1;
            let equal: Vec<_> = visits.iter().map(|(_, now)| *now).filter(|now| *now == goal).collect();
            let condition = Condition::Match { registers: goal, lines: Vec::new() };
            let (outcome, _) = compare(&mut machine, &reference, site, &condition, &name);
            assert_eq!(outcome.hits, equal, "{name}");
            hits += outcome.hits.len();
            let n = 1 + random.below(visits.len()) as u64;
            let (outcome, _) = compare(&mut machine, &reference, site, &Condition::Count { n }, &name);
            assert_eq!(outcome.hits, [visits[n as usize - 1].1], "{name}");
        }
    }
    println!("{stubs} stubs, {middles} jumps into the middle, {hits} hits");
    assert!(middles > 100);
}
