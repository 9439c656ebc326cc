// Variables of one page, written often, seldom, to and fro, and with the value they have, by two threads that compute
// for long between system calls, and by a handler that a timer calls.
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>
#include <unistd.h>

volatile uint64_t often, seldom, toggled, unchanged, ticks;
static volatile uint64_t sink;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

__attribute__((noipa)) void milestone(void) {
    getppid();
}

__attribute__((noipa)) void wrote(uint64_t value) {
    seldom = value;
}

static void tick(int signal) {
    (void)signal;
    ticks++;
}

__attribute__((noipa)) static void spin(uint64_t turns) {
    uint64_t state = turns;
    for (uint64_t turn = 0; turn < turns; turn++)
        state = state * 6364136223846793005u + 1442695040888963407u;
    sink = state;
}

static void *work(void *argument) {
    uint64_t which = (uintptr_t)argument;
    for (uint64_t round = 1; round <= 6; round++) {
        pthread_mutex_lock(&lock);
        for (uint64_t turn = 1; turn <= 300; turn++) {
            often++;
            unchanged = 7;
            if (turn % 10 == 0)
                toggled ^= which;
            spin(20000);
        }
        wrote(round * 2 + which);
        pthread_mutex_unlock(&lock);
        milestone();
    }
    return NULL;
}

int main(void) {
    struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    struct itimerval period = {{0, 7000}, {0, 7000}};
    setitimer(ITIMER_REAL, &period, NULL);
    pthread_t threads[2];
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, work, (void *)(i + 1));
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    // Waits for ticks, and changes nothing meanwhile.
    for (uint64_t last = ticks + 10; ticks < last;)
        __asm__ volatile(".globl waiting\nwaiting: nopl 0(%rax)");
    struct itimerval none = {0};
    setitimer(ITIMER_REAL, &none, NULL);
    // A long stretch with neither calls nor signals.
    for (uint64_t turn = 1; turn <= 3000; turn++) {
        often++;
        if (turn % 100 == 0)
            toggled ^= 1;
        if (turn % 1000 == 0)
            wrote(turn);
        spin(20000);
    }
    spin(2000000);
    printf("%lu %lu %lu %lu %lu\n", often, seldom, toggled, unchanged, ticks);
    return 0;
}
