// A timer interrupts a repeated string instruction that takes most of the time: points fall into its middle.
#include "check.h"
#include <signal.h>
#include <sys/time.h>

#define TICKS 30

static volatile int ticks;
static char area[1 << 20];

static void on_alarm(int number) {
    (void)number;
    ticks++;
}

int main(void) {
    struct itimerval timer = {{0, 5000}, {0, 5000}}, off = {0};
    signal(SIGALRM, on_alarm);
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    int round = 0;
    while (ticks < TICKS) {
        void *to = area;
        unsigned long left = sizeof area;
        __asm__ volatile("rep stosb" : "+D"(to), "+c"(left) : "a"(++round) : "memory");
        CHECK(area[0] == (char)round && area[sizeof area - 1] == (char)round);
    }
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    GOOD("repeated");
    return 0;
}
