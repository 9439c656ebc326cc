/* Computes for long without a call; a timer interrupts it once. */
#include <signal.h>
#include <stdio.h>
#include <sys/time.h>

static volatile sig_atomic_t ticks;
static volatile unsigned long table[512];

static void on_alarm(int signal)
{
	(void)signal;
	ticks++;
}

int main(void)
{
	struct itimerval once = { { 0, 0 }, { 0, 200000 } };
	unsigned long x = 1;
	signal(SIGALRM, on_alarm);
	setitimer(ITIMER_REAL, &once, 0);
	for (unsigned long n = 0; n < 100000000 || !ticks; n++) {
		x = x * 6364136223846793005UL + 1442695040888963407UL;
		table[x >> 55] = x;
	}
	printf("%lx\n", x);
	return 0;
}
