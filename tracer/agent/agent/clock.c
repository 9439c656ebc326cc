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

/* A function of the vDSO, or 0 where there is none for this call. */
static function function_of(u64 number)
{
	switch (number) {
	case SYS_clock_gettime:
		return (function)agent_clocks[0];
	case SYS_gettimeofday:
		return (function)agent_clocks[1];
	default:
		return (function)agent_clocks[2];
	}
}

int agent_read_clock(u64 number, u64 first, u64 second, struct reading *reading)
{
	function read = function_of(number);
	if (!read)
		return 0;
	switch (number) {
	case SYS_clock_gettime:
		reading->address = second;
		reading->words = 2;
		reading->result = read(first, reading->value);
		return second && reading->result == 0;
	case SYS_gettimeofday:
		/* Nobody asks for the time zone any more. */
		if (!first || second)
			return 0;
		reading->address = first;
		reading->words = 2;
		reading->result = read((u64)reading->value, 0);
		return reading->result == 0;
	default:
		reading->address = first;
		reading->words = first != 0;
		reading->result = read((u64)reading->value, 0);
		return 1;
	}
}

void agent_store_reading(const struct reading *reading)
{
	volatile u64 *to = (volatile u64 *)reading->address;
	for (u64 n = 0; n < reading->words; n++)
		to[n] = reading->value[n];
}
