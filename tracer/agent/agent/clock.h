/* Clocks that are read without a system call. */

#ifndef CLOCK_H
#define CLOCK_H

#include "agent.h"

/* What a clock said, and where the program wants it. */
struct reading {
	i64 result;
	u64 *address;
	u64 argument;	/* which one the address is */
	u64 words;
	u64 value[2];
};

/* Reads the clock that a call asks for. 0: it cannot be read here. Changes nothing of the program's. */
int agent_read_clock(u64 number, u64 first, u64 second, struct reading *reading);

/* Gives it to the program. */
static inline void agent_store_reading(const struct reading *reading)
{
	volatile u64 *to = reading->address;
	for (u64 n = 0; n < reading->words; n++)
		to[n] = reading->value[n];
}

#endif
