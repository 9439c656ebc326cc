/* Passing the turn between threads without the recorder.
 *
 * One thread at a time executes the program's instructions: the one whose area CONTROL->turn names. A thread whose call
 * may wait for others gives the turn up before the call and takes it again behind it. Who takes it while another has made
 * its call without the turn writes into the log that the other has entered its call: so the trace has the order in which
 * the program's instructions were executed.
 *
 * All threads, and the recorder, run on one core, but each may be preempted anywhere in here. The recorder may find a
 * thread stopped anywhere in here; `record/inside.rs` of the tracer says what it does then.
 */

#include "agent.h"

#define SYS_prctl 157
#define PR_SET_TSC 26
#define PR_TSC_SIGSEGV 2
#define SYS_futex 202
#define FUTEX_WAIT 0
#define FUTEX_WAKE 1

/* The thread that has waited longest for the turn. */
static volatile struct area *longest_queued(void)
{
	volatile struct area *found = 0;
	if (!CONTROL->queued)
		return 0;
	for (u32 n = 0; n < CONTROL->areas_used; n++) {
		volatile struct area *area = area_at(n);
		if (area->state == STATE_QUEUED && !area->stopped && (!found || area->ticket < found->ticket))
			found = area;
	}
	return found;
}

static int swap_turn(volatile struct area *from, volatile struct area *to)
{
	struct area *expected = (struct area *)from;
	return __atomic_compare_exchange_n(&CONTROL->turn, &expected, (struct area *)to, 0, __ATOMIC_SEQ_CST,
		__ATOMIC_SEQ_CST);
}

/* Gives the turn to who has waited longest, or to nobody. */
void give_up_turn(volatile struct area *area)
{
	CONTROL->left = (struct area *)area;
	area->state = STATE_LEAVING;
	for (;;) {
		volatile struct area *next = longest_queued();
		__atomic_store_n(&CONTROL->turn, (struct area *)next, __ATOMIC_SEQ_CST);
		if (next) {
			next->wake = 1;
			agent_plain_call(SYS_futex, (u64)&next->wake, FUTEX_WAKE, 1);
			break;
		}
		/* One that came to wait just now has seen the turn taken. */
		if (!longest_queued() || !swap_turn(0, area))
			break;
	}
	area->state = STATE_OUT;
}

static int is_mine(volatile struct area *area)
{
	return CONTROL->turn == area || swap_turn(0, area);
}

/* Waits for the turn, and writes into the log who has entered a call meanwhile. */
void take_turn(volatile struct area *area)
{
	if (!is_mine(area)) {
		area->ticket = __atomic_fetch_add(&CONTROL->tickets, 1, __ATOMIC_SEQ_CST);
		/* Killed in between, it would be counted for ever, which costs time only. */
		__atomic_fetch_add(&CONTROL->queued, 1, __ATOMIC_SEQ_CST);
		__atomic_store_n(&area->state, STATE_QUEUED, __ATOMIC_SEQ_CST);
		for (;;) {
			__atomic_store_n(&area->wake, 0, __ATOMIC_SEQ_CST);
			if (is_mine(area))
				break;
			agent_plain_call(SYS_futex, (u64)&area->wake, FUTEX_WAIT, 0);
		}
		area->state = STATE_HELD;
		__atomic_fetch_sub(&CONTROL->queued, 1, __ATOMIC_SEQ_CST);
	}
	area->state = STATE_HELD;
	CONTROL->turns++;
	if (area->trap_counter) {
		agent_plain_call(SYS_prctl, PR_SET_TSC, PR_TSC_SIGSEGV, 0);
		area->trap_counter = 0;
	}
	volatile struct area *left = CONTROL->left;
	if (left && left != area)
		log_entry(left);
	CONTROL->left = 0;
}
