// Ten million writes to a variable, a microsecond apart, and no system call; the last lies a millisecond before the end.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

volatile long written;
static volatile unsigned long sink;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec * 1e-9;
}

static void spin(long turns) {
    unsigned long state = 1;
    for (long turn = 0; turn < turns; turn++)
        state = state * 6364136223846793005u + 1442695040888963407u;
    sink = state;
}

int main(int count, char **arguments) {
    double seconds = count > 1 ? atof(arguments[1]) : 10;
    double begun = now();
    spin(10000000);
    double turns_per_second = 1e7 / (now() - begun);
    long writes = 1000000 * seconds, turns = turns_per_second * 0.97e-6;
    for (long write = 1; write <= writes; write++) {
        written = write;
        spin(turns);
    }
    spin(turns_per_second / 1000);
    printf("%ld\n", written);
    return 0;
}
