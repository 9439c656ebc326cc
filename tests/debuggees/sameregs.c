// A SIGALRM handler interrupts a loop that counts in memory, so that its registers are the same in every turn: where a
// signal came cannot be told by them. The counts differ from run to run; a replay must repeat them.
#include "check.h"
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#define TICKS 40

static volatile int ticks;
volatile unsigned long turns;
static volatile unsigned long seen;

extern char behind_the_loop[];

static void on_alarm(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    ucontext_t *interrupted = context;
    seen = seen * 31 + turns;
    if (++ticks == TICKS)
        interrupted->uc_mcontext.gregs[REG_RIP] = (greg_t)behind_the_loop;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval timer = {{0, 5000}, {0, 5000}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    // Signals come at the long jump behind the addition; a stub fits there too, and not before, where the unused jump
    // would enter it through its middle.
    __asm__ volatile("jmp 1f\n jmp 2f\n1: incq (%0)\n2: .byte 0xe9\n .long 1b - . - 4\n"
                     ".globl behind_the_loop\nbehind_the_loop:"
                     :
                     : "r"(&turns)
                     : "cc", "memory");
    struct itimerval off = {0};
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    printf("%lu %lu\n", turns, seen);
    return 0;
}
