// Code that is generated again and again, and interrupted while it runs: what tells one visit of an instruction from
// another is the page that the instruction itself lies in.
#include "check.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>

static volatile int signals;
static void note(int signal) {
    (void)signal;
    signals++;
}

// add rax, rdx; imul rax, rax, 31; dec rcx; jnz back; ret, and what it computes with.
static const unsigned char code[] = {0x48, 0x01, 0xd0, 0x48, 0x6b, 0xc0, 0x1f, 0x48, 0xff, 0xc9, 0x75, 0xf4, 0xc3};

static long run(const unsigned char *at, long rounds, long step) {
    long sum = 0;
    __asm__ volatile("call *%3" : "+a"(sum), "+c"(rounds) : "d"(step), "r"(at) : "cc", "memory");
    return sum;
}

int main(void) {
    unsigned char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    struct sigaction action = {.sa_handler = note};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 4000}, {0, 4000}}, never = {0};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    unsigned long sum = 0;
    for (int round = 0; round < 40; round++) {
        unsigned char *at = page + round * 64 + round % 7;
        memcpy(at, code, sizeof code);
        sum = sum * 31 + run(at, 4000000, round);
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(signals > 5);
    printf("%lx\n", sum);
    return 0;
}
