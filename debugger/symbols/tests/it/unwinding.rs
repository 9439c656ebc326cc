//! One frame to its caller: every rule of call frame information, and code without any.

use crate::support::{Stopped, compile};
use symbols::{Frame, Registers};

const RULES: &str = r#"#include <stdlib.h>
/* The frame keeps registers in the ways that compilers seldom use. */
__attribute__((noinline)) void deep(void) { abort(); }
asm(".text\n.globl odd\n.type odd,@function\nodd:\n.cfi_startproc\n"
    "push %rbx\n.cfi_adjust_cfa_offset 8\n"
    "push %r12\n.cfi_adjust_cfa_offset 8\n"
    "push %r13\n.cfi_adjust_cfa_offset 8\n"
    "push %r14\n.cfi_adjust_cfa_offset 8\n"
    "push %r15\n.cfi_adjust_cfa_offset 8\n"
    /* rbx: expression (CFA - 16); r12: val_expression (load of CFA - 24). */
    ".cfi_escape 0x10,3,2,0x40,0x1c\n"
    ".cfi_escape 0x16,12,4,0x48,0x1c,0x06,0x96\n"
    ".cfi_offset 13,-32\n"
    /* r14: in r15; r15: val_offset (CFA - 8); rbp: same value. */
    "mov 8(%rsp),%r15\n.cfi_register 14,15\n"
    ".cfi_escape 0x14,15,1\n"
    ".cfi_same_value 6\n"
    "mov $1,%ebx\nmov $2,%r12d\nmov $3,%r13d\nmov $4,%r14d\n"
    "call deep\n"
    "pop %r15\npop %r14\npop %r13\npop %r12\npop %rbx\nret\n.cfi_endproc\n.size odd,.-odd\n"
    /* The program's start knows no caller. */
    ".globl last\n.type last,@function\nlast:\n.cfi_startproc\n.cfi_undefined 16\nsub $8,%rsp\n.cfi_adjust_cfa_offset 8\n"
    "mov $0x111,%ebx\nmov $0x222,%r12d\nmov $0x333,%r13d\nmov $0x444,%r14d\n"
    "call odd\nud2\n.cfi_endproc\n.size last,.-last\n");
void last(void);
int main(void) { last(); return 0; }
"#;

fn named<'a>(frames: &'a [Frame], name: &str) -> &'a Frame {
    let found = frames.iter().find(|frame| frame.location.function.as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn every_rule_gives_back_its_register() {
    let stopped = Stopped::new(compile("rules", "rules.c", RULES, &["-g", "-O1"]));
    let frames = stopped.frames();
    let last = named(&frames, "last");
    assert_eq!(frames.last().unwrap().location.function.as_deref(), Some("last"), "it has no caller");
    let register = |number| last.registers.get(number);
    assert_eq!((register(3), register(12), register(13)), (Some(0x111), Some(0x222), Some(0x333)));
    assert_eq!(register(14), Some(0x444));
    let odd = named(&frames, "odd");
    assert_eq!(register(15), odd.cfa.map(|cfa| cfa - 8));
    assert_eq!(register(6), odd.registers.get(6));
}

const CHAIN: &str = r#"#include <stdlib.h>
#include <stdio.h>
volatile int sink;
__attribute__((noinline, noclone)) int third(int n) { char text[200]; sink = snprintf(text, sizeof text, "%d", n); if (n == 7) abort(); return text[0] + n; }
__attribute__((noinline, noclone)) int second(int n) { long keep[9]; keep[n & 7] = n; int r = third(n + 1); return r + (int)keep[r & 7]; }
__attribute__((noinline, noclone)) int first(int n) { int r = second(n + 1); return r * 2 + sink; }
int main(void) { return first(5) + sink; }
"#;

#[test]
fn code_without_eh_frame_unwinds_by_debug_frame_and_by_prologue() {
    let flags = ["-O1", "-fomit-frame-pointer", "-fno-asynchronous-unwind-tables", "-fno-unwind-tables"];
    let kinds: [(&str, &[&str]); 4] = [
        ("debug_frame", &["-g"]),
        ("no_frames", &[]),
        ("frame_pointers", &["-fno-omit-frame-pointer"]),
        ("no_frames_O2", &["-O2", "-fcf-protection", "-fno-reorder-blocks-and-partition"]),
    ];
    for (name, more) in kinds {
        let stopped = Stopped::new(compile(name, "chain.c", CHAIN, &[&flags[..], more].concat()));
        let names = stopped.names("third");
        assert_eq!(names.get(..4).unwrap_or(&names), ["third", "second", "first", "main"], "{name}");
    }
}

#[test]
fn linkage_table_stubs_have_callers() {
    use object::{Object, ObjectSection};
    let flags = ["-g", "-O1", "-Wl,-z,lazy", "-Wl,-z,ibtplt", "-Wl,--no-ld-generated-unwind-info"];
    let stopped = Stopped::new(compile("plt", "chain.c", CHAIN, &flags));
    let bytes = std::fs::read(&stopped.program).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let frames = stopped.frames();
    let third = named(&frames, "third");
    let bias = stopped.symbols.modules()[0].bias();
    // As if `second` had called a stub in place of `third`.
    let at_entry = third.cfa.unwrap() - 8;
    let section = |name: &str| file.section_by_name(name).map(|section| section.address() + bias);
    let mut places = vec![(section(".plt.sec").unwrap(), 0), (section(".plt.sec").unwrap() + 4, 0)];
    let plt = section(".plt").unwrap();
    places.extend([(plt + 16, 0), (plt + 20, 0), (plt + 25, 8), (plt, 8), (plt + 6, 16)]);
    for (pc, pushed) in places {
        let registers = Registers::minimal(pc, at_entry - pushed, third.registers.get(6).unwrap_or(0));
        let names: Vec<_> = stopped
            .symbols
            .frames_up_to(&registers, &stopped, 3)
            .into_iter()
            .map(|frame| frame.location.function.unwrap_or_default().to_string())
            .collect();
        assert_eq!(names.get(1).map(String::as_str), Some("second"), "{pc:#x}: {names:?}");
    }
}

const TAIL: &str = r#"#include <stdlib.h>
volatile int sink;
__attribute__((noinline, noclone)) static void stop(int code, int more) { sink = code + more; if (sink) abort(); }
__attribute__((noinline, noclone)) static void inner(int one, int two) { sink = one; stop(one * 3, 5); sink++; }
__attribute__((noinline, noclone)) static void middle(int one, int two) { sink = two; inner(two + 10, one); }
__attribute__((noinline, noclone)) static void outer(int one, int two) { sink = one; middle(two + 1, one + 1); }
int main(int argc, char **argv) { outer(argc + 1, argc + 2); sink = 3; return 0; }
"#;

#[test]
fn tail_calls_are_told_and_do_not_spoil_values_at_entry() {
    let stopped = Stopped::new(compile("tail", "tail.c", TAIL, &["-g", "-O2"]));
    let frames = stopped.frames();
    let inner = named(&frames, "inner");
    let passed: Vec<&str> = inner.tail_calls.iter().map(AsRef::as_ref).collect();
    assert_eq!(passed, ["outer", "middle"]);
    let theirs = stopped.gdb(&["bt"]);
    assert!(theirs.contains("in middle (") && theirs.contains("in outer ("), "{theirs}");
    assert!(named(&frames, "stop").tail_calls.is_empty());
    // What `main` passed went to `outer`; `inner` was given other values.
    let values: Vec<String> = ["one", "two"].iter().map(|name| stopped.print(inner, name)).collect();
    assert!(values[0] == "13" || values[0].contains("optimized out"), "{values:?}");
    assert!(values[1] == "4" || values[1].contains("optimized out"), "{values:?}");
    // `stop` was called directly.
    assert_eq!(stopped.print(named(&frames, "stop"), "more"), "5");
}

#[test]
fn garbage_stacks_end() {
    struct Loop;
    impl symbols::Memory for Loop {
        fn read(&self, addr: u64, buf: &mut [u8]) -> Result<(), symbols::Unreadable> {
            // Each word is an address close by, so every chain of frame pointers goes on and on.
            let words = (0..).flat_map(|word: u64| (addr.wrapping_add(word * 8) | 0x1040).to_le_bytes());
            buf.iter_mut().zip(words).for_each(|(to, from)| *to = from);
            Ok(())
        }
    }
    let stopped = Stopped::new(compile("garbage", "chain.c", CHAIN, &["-g", "-O1"]));
    let pc = named(&stopped.frames(), "third").pc;
    for rsp in [0, 8, 0x1000, u64::MAX - 7, pc] {
        for rbp in [0, 8, rsp, u64::MAX, pc] {
            let frames = stopped.symbols.frames(&Registers::minimal(pc, rsp, rbp), &Loop);
            assert!(frames.len() <= symbols::FRAMES_MAX);
        }
    }
}
