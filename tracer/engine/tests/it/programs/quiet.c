// Writes a variable many times without a system call in between; where the write is seen, a breakpoint fits too.
#include <stdint.h>
#include <stdio.h>

volatile uint64_t counter;

__attribute__((noipa)) void bump(uint64_t value) {
    __asm__ volatile("nop; nop; nop\n addq %1, %0\n.globl written\nwritten: nop; nop; nop" : "+m"(counter) : "r"(value));
}

int main(void) {
    for (uint64_t round = 1; round <= 60; round++) {
        for (volatile int i = 0; i < 50; i++) {
        }
        bump(round);
    }
    printf("%lu\n", counter);
    return 0;
}
