// A SIGALRM handler interrupts a loop of two instructions. It ends the loop by moving rip behind it, once; a late tick
// may find the program elsewhere. How many rounds were run does not show in the output.
#include "check.h"
#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>

#define TICKS 40

static volatile int ticks;
static volatile uint64_t seen[TICKS];

extern char behind_the_loop[];

static void on_alarm(int number, siginfo_t *info, void *context) {
    (void)number, (void)info;
    ucontext_t *interrupted = context;
    if (ticks < TICKS)
        seen[ticks] = interrupted->uc_mcontext.gregs[REG_RAX];
    if (++ticks == TICKS)
        interrupted->uc_mcontext.gregs[REG_RIP] = (greg_t)behind_the_loop;
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval timer = {{0, 10000}, {0, 10000}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    uint64_t rounds = 0;
    __asm__ volatile("1: inc %0\n jmp 1b\n.globl behind_the_loop\nbehind_the_loop:" : "+a"(rounds) : : "cc", "memory");
    struct itimerval off = {0};
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    for (int i = 1; i < TICKS; i++)
        CHECK(seen[i] >= seen[i - 1]); // a tick may come right behind the last one
    CHECK(rounds >= seen[TICKS - 1]);
    GOOD("tight loop");
    return 0;
}
