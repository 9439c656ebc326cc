// Two loops that a fast timer interrupts; the handler works on the same data.
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/time.h>

#define TICKS 60
volatile int counter;
uint64_t state = 1;

__attribute__((noipa)) void milestone(int number) { state ^= number; }
static void on_alarm(int number) {
    counter++;
    milestone(number);
}
__attribute__((noipa)) void mix(void) { state = state * 6364136223846793005u + 1; }

int main(void) {
    struct itimerval timer = {{0, 3000}, {0, 3000}}, off = {0};
    signal(SIGALRM, on_alarm);
    setitimer(ITIMER_REAL, &timer, NULL);
    while (counter < TICKS / 2)
        mix();
    while (counter < TICKS)
        __asm__ volatile("" ::: "memory");
    setitimer(ITIMER_REAL, &off, NULL);
    return state == 0;
}
