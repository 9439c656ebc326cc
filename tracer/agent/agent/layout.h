/* What the agent and the recorder share: addresses, the control page, the threads' areas, the format of the log.
 * `src/lib.rs` says the same in Rust; `tests/layout.rs` holds the two together. */

#ifndef LAYOUT_H
#define LAYOUT_H

#define CODE_START 0x20000
#define SHARED_START 0x30000
#define AREAS_START 0x31000
#define AREA_BYTES 0x1000
#define AREAS 128
#define CLASSES_START 0xb1000
#define LOG_START 0x100000
#define SHARED_END 0x200000
#define LOG_BYTES (SHARED_END - LOG_START)
#define DESCRIPTORS 1024

/* Offsets in the control page. */
#define CONTROL_ATTENTION 0
#define CONTROL_PAUSE 4
#define CONTROL_ALONE 8
#define CONTROL_SHARED_FILES 12
#define CONTROL_EXIT 16
#define CONTROL_TURN 24
#define CONTROL_LEFT 32
#define CONTROL_HEAD 40
#define CONTROL_COUNT 48
#define CONTROL_RESERVED 56
#define CONTROL_AREAS_USED 64
#define CONTROL_OUTSIDERS 68
#define CONTROL_QUEUED 72
#define CONTROL_TICKETS 80
#define CONTROL_TURNS 88
#define CONTROL_PROC_DEVICE 96
#define CONTROL_OUTPUT 104
#define CONTROL_LAST 136
#define CONTROL_END 272

/* Offsets in an area. */
#define AREA_STATE 0
#define AREA_WAKE 4
#define AREA_STAGE 8
#define AREA_ANNOUNCED 12
#define AREA_STOPPED 16
#define AREA_UNLOGGED 20
#define AREA_HOOK 24
#define AREA_RESULT 32
#define AREA_TICKET 40
#define AREA_RESERVED 48
#define AREA_CLASSES 56
#define AREA_NEXT 64
#define AREA_TRAP_COUNTER 72
#define AREA_REPORT 76
#define AREA_SAVED 80

/* The general registers at the call, in the order of `struct user_regs_struct`, without those that the call itself
 * overwrites. */
#define R15 (AREA_SAVED + 0)
#define R14 (AREA_SAVED + 8)
#define R13 (AREA_SAVED + 16)
#define R12 (AREA_SAVED + 24)
#define RBP (AREA_SAVED + 32)
#define RBX (AREA_SAVED + 40)
#define R10 (AREA_SAVED + 48)
#define R9 (AREA_SAVED + 56)
#define R8 (AREA_SAVED + 64)
#define RDX (AREA_SAVED + 72)
#define RSI (AREA_SAVED + 80)
#define RDI (AREA_SAVED + 88)
#define RSP (AREA_SAVED + 96)
#define RFLAGS (AREA_SAVED + 104)
#define RAX (AREA_SAVED + 112)

/* Values of CONTROL_TURN that are no area: nobody has the turn, the recorder has it. */
#define TURN_NOBODY 0
#define TURN_RECORDER 1

/* Values of AREA_STATE. */
#define STATE_HELD 0	/* has the turn, or is not inside */
#define STATE_LEAVING 1	/* is about to give the turn up */
#define STATE_OUT 2	/* makes its call without the turn */
#define STATE_QUEUED 3	/* has made it, and waits for the turn */

/* Values of AREA_STAGE: how far the call is that the thread is busy with. */
#define STAGE_BEFORE 0
#define STAGE_CALL 1
#define STAGE_AFTER 2

/* Classes of descriptors. 0: not known yet. */
#define CLASS_FILE 1		/* never blocks */
#define CLASS_OUTPUT 2		/* the recording's standard output */
#define CLASS_ERROR 4		/* the recording's standard error */
#define CLASS_WAITS 8		/* may block: a pipe, a socket, a terminal */
#define CLASS_SPECIAL 128	/* the recorder changes what it shows */

/* Offsets in a hook's data, to which rcx points at the entry. */
#define HOOK_NEXT 0
#define HOOK_CONTINUE 8
#define HOOK_TRACED 16

/* A record of the log has a head, the words that differ from the record before, and a piece for each argument that the
 * call wrote behind: a word with the argument and the length, and the bytes, filled up to words. The words: address behind
 * the call, result, registers. The first record has all of them, and so has one of another thread than the one before,
 * one that is only an entry or a return, and the one behind such a record. The `calls` module of the `trace` crate reads
 * this. */
#define WORDS 17
#define HEAD_OUTPUT_BIT 17
#define HEAD_ERROR_BIT 18
#define HEAD_ENTRY_BIT 19
#define HEAD_RETURN_BIT 23
#define HEAD_WRITES_SHIFT 20
#define HEAD_AREA_SHIFT 24
#define HEAD_BYTES_SHIFT 32
#define PIECE_BYTES_SHIFT 3

#endif
