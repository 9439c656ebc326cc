// Threads that fold into one checksum, each in its turns, while a fast timer interrupts whichever runs: a turn that ends
// just when a signal comes must not be lost. The result differs from run to run; a replay must repeat it.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/time.h>

#define ROUNDS 30000000

static volatile unsigned long checksum = 1;
static volatile unsigned long ticks;

static void on_alarm(int number) {
    (void)number;
    ticks++;
    checksum = checksum * 31 + 7;
}

static void *fold(void *argument) {
    unsigned long own = (unsigned long)argument;
    for (long i = 0; i < ROUNDS; i++)
        checksum = checksum * 6364136223846793005ul + own;
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval timer = {{0, 700}, {0, 700}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    pthread_t threads[3];
    for (unsigned long i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, fold, (void *)(i + 1)) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    struct itimerval off = {0};
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    CHECK(ticks > 0);
    printf("%lx %lu\n", checksum, ticks);
    return 0;
}
