// A sieve and a qsort: computing without system calls, with calls through a pointer.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

int main(void) {
    enum { LIMIT = 40000000, COUNT = 3000000 };
    char *composite = calloc(LIMIT, 1);
    unsigned primes = 0;
    for (long i = 2; i < LIMIT; i++) {
        if (composite[i])
            continue;
        primes++;
        for (long j = i * i; j < LIMIT; j += i)
            composite[j] = 1;
    }
    unsigned *numbers = malloc(COUNT * sizeof *numbers), state = 1;
    for (int i = 0; i < COUNT; i++)
        numbers[i] = state = state * 1664525u + 1013904223u;
    qsort(numbers, COUNT, sizeof *numbers, compare);
    printf("%u %u\n", primes, numbers[COUNT / 2]);
    return 0;
}
