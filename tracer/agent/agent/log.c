/* The log: writing records, and serving them at replay. */

#include "agent.h"

#define KINDS (1UL << HEAD_ENTRY_BIT | 1UL << HEAD_RETURN_BIT)

/* Nobody else reads or writes these while a record is written or served. */
static const struct area *steady(volatile struct area *area)
{
	return (const struct area *)area;
}

static inline u64 word_of(const struct area *area, int n)
{
	return n == 0 ? area->next : n == 1 ? (u64)area->result : area->saved[n - 2];
}

/* Writes a record's words; what the call wrote comes behind them. */
u64 *begin_record(volatile struct area *area, u64 kind)
{
	volatile struct control *control = CONTROL;
	u64 *to = (u64 *)(LOG_START + control->head) + 1;
	u64 mark = kind | ((u64)area - AREAS_START) / AREA_BYTES << HEAD_AREA_SHIFT;
	int all = control->head == 0 || (control->last_head | mark) & KINDS
		|| (control->last_head ^ mark) & 0xffUL << HEAD_AREA_SHIFT;
	u64 changed = 0, *last = (u64 *)control->last;
#pragma GCC unroll 17
	for (int n = 0; n < WORDS; n++) {
		u64 word = word_of(steady(area), n);
		if (word != last[n] || all) {
			last[n] = *to++ = word;
			changed |= 1UL << n;
		}
	}
	control->last_head = changed | mark;
	return to;
}

/* Makes the record whose end is at `to` part of the log. */
void end_record(u64 *to, u64 flags, u64 writes)
{
	volatile struct control *control = CONTROL;
	u64 at = (u64)to - LOG_START;
	*(u64 *)(LOG_START + control->head) = control->last_head | flags | writes << HEAD_WRITES_SHIFT
		| at - control->head << HEAD_BYTES_SHIFT;
	control->count++;
	control->head = at;
}

/* Another thread has entered its call. */
void log_entry(volatile struct area *area)
{
	end_record(begin_record(area, 1UL << HEAD_ENTRY_BIT), 0, 0);
	area->announced = 1;
}

/* At replay: gives the call what the log says. 0: it is not the next in the log, or nothing is left. */
long serve(volatile struct area *area)
{
	volatile struct control *control = CONTROL;
	u64 head = control->head;
	if (head >= control->end)
		return 0;
	const u64 *from = (const u64 *)(LOG_START + head);
	u64 record = *from++, *last = (u64 *)control->last;
#pragma GCC unroll 17
	for (int n = 0; n < WORDS; n++) {
		if (record >> n & 1)
			last[n] = *from++;
		if (n != 1 && last[n] != word_of(steady(area), n))
			return 0;
	}
	for (u64 n = record >> HEAD_WRITES_SHIFT & 7; n; n--) {
		u64 piece = *from++, bytes = piece >> PIECE_BYTES_SHIFT;
		copy_bytes((void *)area->saved[argument_places[piece & 7]], from, bytes);
		from += (bytes + 7) / 8;
	}
	area->result = control->last[1];
	control->count++;
	control->head = head + (record >> HEAD_BYTES_SHIFT);
	area->stage = STAGE_AFTER;
	if (control->head >= control->end)
		control->pause = 1;
	return 1;
}
