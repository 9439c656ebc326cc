// Computes in a loop that calls a function, with a write now and then.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

uint64_t state = 1;
uint64_t counter;
static unsigned char table[512];

__attribute__((noipa)) void mix(uint64_t value) {
    state = state * 6364136223846793005u + value;
    table[state >> 55] ^= (unsigned char)value;
}
__attribute__((noipa)) void milestone(int number) {
    counter += number;
    char copy[512];
    memcpy(copy, table, sizeof copy); // rep movs or vectors
    memset(table, copy[number % 512], 16);
    getppid();
}

int main(void) {
    for (int round = 0; round < 40; round++) {
        for (uint64_t i = 0; i < 30000; i++)
            mix(i ^ round);
        milestone(round);
    }
    printf("%lu %lu\n", state, counter);
    return 0;
}
