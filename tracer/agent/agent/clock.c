/* Reads clocks as the vDSO does: by its own functions, whose addresses the recorder has written to agent_clocks.
 *
 * They use general registers only, write to nothing but the stack and what they are given, and enter no kernel: where
 * they would, they return the number of the call (the recorder sees to all that, in vdso.rs). They are given memory of the
 * agent's, so that a thread that is stopped in one of them has changed nothing of the program's.
 */

#include "clock.h"

#define SYS_gettimeofday 96
#define SYS_time 201
#define SYS_clock_gettime 228

/* In entry.S. */
extern volatile u64 agent_clocks[3];

typedef i64 (*function)(u64 first, void *second);

int agent_read_clock(u64 number, u64 first, u64 second, struct reading *reading)
{
	function read;
	switch (number) {
	case SYS_clock_gettime:
		read = (function)agent_clocks[0];
		if (!read || !second)
			return 0;
		reading->address = (u64 *)second;
		reading->argument = 1;
		reading->words = 2;
		reading->result = read(first, reading->value);
		return reading->result == 0;
	case SYS_gettimeofday:
		read = (function)agent_clocks[1];
		/* Nobody asks for the time zone any more. */
		if (!read || !first || second)
			return 0;
		reading->address = (u64 *)first;
		reading->argument = 0;
		reading->words = 2;
		reading->result = read((u64)reading->value, 0);
		return reading->result == 0;
	default:
		read = (function)agent_clocks[2];
		if (!read)
			return 0;
		reading->address = (u64 *)first;
		reading->argument = 0;
		reading->words = first != 0;
		reading->result = read((u64)reading->value, 0);
		return reading->result != SYS_time;
	}
}
