/* What the agent and the recorder share: addresses, the control page, the format of the log. `src/lib.rs` says the same
 * in Rust; a test there holds the two together. */

#ifndef LAYOUT_H
#define LAYOUT_H

#define CODE_START 0x20000
#define CONTROL_START 0x30000
#define STACK_END 0x38000
#define LOG_START 0x80000
#define LOG_BYTES 0x180000
#define DESCRIPTORS 1024

/* Offsets in the control page. */
#define ATTENTION 0
#define PAUSE 4
#define STAGE 8
#define EXIT 16
#define HOOK 24
#define RESULT 32
#define SAVED 64
#define LAST 240
#define END 376

/* Offsets from SAVED: the general registers at the call, in the order of `struct user_regs_struct`, without those that
 * the call itself overwrites. */
#define R15 (SAVED + 0)
#define R14 (SAVED + 8)
#define R13 (SAVED + 16)
#define R12 (SAVED + 24)
#define RBP (SAVED + 32)
#define RBX (SAVED + 40)
#define R10 (SAVED + 48)
#define R9 (SAVED + 56)
#define R8 (SAVED + 64)
#define RDX (SAVED + 72)
#define RSI (SAVED + 80)
#define RDI (SAVED + 88)
#define RSP (SAVED + 96)
#define RFLAGS (SAVED + 104)
#define RAX (SAVED + 112)

/* Values of STAGE: how far the call is that the agent is busy with. */
#define STAGE_BEFORE 0
#define STAGE_CALL 1
#define STAGE_AFTER 2

/* Offsets in a hook's data, to which rcx points at the entry. */
#define HOOK_NEXT 0
#define HOOK_CONTINUE 8
#define HOOK_TRACED 16

#endif
