// Clocks are read all the time while a timer interrupts, whose handler reads clocks too.
#include "check.h"
#include <signal.h>
#include <sys/time.h>
#include <time.h>

#define TICKS 40

static volatile sig_atomic_t ticks;
static struct timespec seen;

static void on_tick(int signal) {
    (void)signal;
    clock_gettime(CLOCK_MONOTONIC, &seen);
    ticks++;
}

int main(void) {
    CHECK(signal(SIGALRM, on_tick) != SIG_ERR);
    struct itimerval period = {{0, 2000}, {0, 2000}};
    CHECK(setitimer(ITIMER_REAL, &period, NULL) == 0);
    struct timespec before = {0}, now;
    unsigned long reads = 0, sum = 0;
    int shown = 0;
    while (ticks < TICKS) {
        CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
        CHECK(now.tv_sec > before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec >= before.tv_nsec));
        before = now;
        sum = sum * 31 + now.tv_nsec;
        reads++;
        if (ticks != shown) {
            shown = ticks;
            printf("%d %lu %lx %ld %ld.%09ld\n", shown, reads, sum, (long)time(NULL), (long)seen.tv_sec, seen.tv_nsec);
        }
    }
    printf("%lu %lx\n", reads, sum);
    return 0;
}
