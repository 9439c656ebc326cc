// A hot loop with a place for a conditional breakpoint; it is reached a hundred million times.
#include <stdint.h>
#include <stdio.h>

static uint64_t state = 1;
static volatile int64_t visits;

__attribute__((noinline)) static void step(int64_t number) {
    state = state * 6364136223846793005u + (uint64_t)number;
    visits++; // the breakpoint
}

int main(void) {
    for (int64_t i = 0; i < 100000000; i++)
        step(i);
    printf("%lu\n", state);
    return 0;
}
