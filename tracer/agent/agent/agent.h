/* What the parts of the agent share. */

#ifndef AGENT_H
#define AGENT_H

#include "layout.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;
typedef long i64;

#define SAVED 15

/* A thread's own. Its stack is the rest of the page. */
struct area {
	u32 state;
	u32 wake;	/* a futex: not 0 when the thread that waits for the turn is to look */
	u32 stage;
	u32 announced;	/* its entry into the call is in the trace */
	u32 stopped;	/* the recorder has it in a stop, and gives it the turn itself */
	u32 unlogged;	/* the call that has just returned is not in the log */
	u64 *hook;
	i64 result;
	u64 ticket;
	u64 reserved;	/* bytes of the log that are kept free for it */
	u8 *classes;
	u64 next;	/* address behind the call; the hook itself only the thread's own process can read */
	u32 trap_counter;	/* the time stamp counter has to trap from now on */
	u32 report;	/* the recorder wants to see it behind its call */
	u64 saved[SAVED];
};

struct control {
	u32 attention;		/* leave all calls to the recorder */
	u32 pause;		/* stop behind the call */
	u32 alone;		/* no other thread is recorded: a call may block */
	u32 shared_files;	/* files are mapped shared, so that writing to files may change memory */
	u64 exit;
	struct area *turn;
	struct area *left;	/* who had the turn last and has given it up; its entry is not in the trace */
	u64 head, count;	/* bytes and records in the log */
	u64 reserved;
	u32 areas_used;
	u32 outsiders;		/* threads outside wait for the turn, which only the recorder can give them */
	u64 queued;
	u64 tickets;
	u64 turns;		/* how often the turn was taken */
	u64 proc_device;
	u64 output_device, output_inode;
	u64 error_device, error_inode;
	u64 last[WORDS];
	u64 end;		/* at replay: how many bytes of the log are to be served */
	u64 last_head;
};

#define CONTROL ((volatile struct control *)SHARED_START)

static inline volatile struct area *area_at(u32 index)
{
	return (volatile struct area *)(AREAS_START + (u64)index * AREA_BYTES);
}

#define OFFSET(structure, field, offset) \
	_Static_assert(__builtin_offsetof(struct structure, field) == offset, "layout: " #field)
OFFSET(control, attention, CONTROL_ATTENTION);
OFFSET(control, pause, CONTROL_PAUSE);
OFFSET(control, alone, CONTROL_ALONE);
OFFSET(control, shared_files, CONTROL_SHARED_FILES);
OFFSET(control, exit, CONTROL_EXIT);
OFFSET(control, turn, CONTROL_TURN);
OFFSET(control, left, CONTROL_LEFT);
OFFSET(control, head, CONTROL_HEAD);
OFFSET(control, count, CONTROL_COUNT);
OFFSET(control, reserved, CONTROL_RESERVED);
OFFSET(control, areas_used, CONTROL_AREAS_USED);
OFFSET(control, outsiders, CONTROL_OUTSIDERS);
OFFSET(control, queued, CONTROL_QUEUED);
OFFSET(control, tickets, CONTROL_TICKETS);
OFFSET(control, turns, CONTROL_TURNS);
OFFSET(control, proc_device, CONTROL_PROC_DEVICE);
OFFSET(control, output_device, CONTROL_OUTPUT);
OFFSET(control, last, CONTROL_LAST);
OFFSET(control, end, CONTROL_END);
OFFSET(area, state, AREA_STATE);
OFFSET(area, wake, AREA_WAKE);
OFFSET(area, stage, AREA_STAGE);
OFFSET(area, announced, AREA_ANNOUNCED);
OFFSET(area, stopped, AREA_STOPPED);
OFFSET(area, unlogged, AREA_UNLOGGED);
OFFSET(area, hook, AREA_HOOK);
OFFSET(area, result, AREA_RESULT);
OFFSET(area, ticket, AREA_TICKET);
OFFSET(area, reserved, AREA_RESERVED);
OFFSET(area, classes, AREA_CLASSES);
OFFSET(area, next, AREA_NEXT);
OFFSET(area, trap_counter, AREA_TRAP_COUNTER);
OFFSET(area, report, AREA_REPORT);
OFFSET(area, saved, AREA_SAVED);
_Static_assert(AREAS_START + AREAS * AREA_BYTES <= CLASSES_START, "layout: areas");

/* Where the arguments are among the saved registers. */
static const u8 argument_places[6] = { 11, 10, 9, 6, 8, 7 };

#define SYSTEM_CALL_NUMBER 14

/* The most that a record takes without what the call writes. */
#define RECORD_BYTES (8 + 8 * WORDS)

static inline void copy_bytes(void *to, const volatile void *from, u64 bytes)
{
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

/* entry.S: a call of the agent's own, with a fourth argument of 0; and the call that the program wants. */
i64 agent_plain_call(u64 number, u64 a, u64 b, u64 c);
i64 agent_main_call(volatile struct area *area);

/* log.c */
void log_entry(volatile struct area *area);
u64 *begin_record(volatile struct area *area, u64 kind);
void end_record(u64 *to, u64 flags, u64 writes);
long serve(volatile struct area *area);

/* turn.c */
void give_up_turn(volatile struct area *area);
void take_turn(volatile struct area *area);

#endif
