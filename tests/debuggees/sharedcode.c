// Code generated through one mapping and executed in another that cannot be written, and data read in such a mapping: what
// the tracer has to write there it cannot write the usual way.
#include "check.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PAGE 4096

static volatile int signals;
static void note(int signal) {
    (void)signal;
    signals++;
}

// add rax, rdx; imul rax, rax, 31; dec rcx; jnz back; ret
static const unsigned char turns[] = {0x48, 0x01, 0xd0, 0x48, 0x6b, 0xc0, 0x1f, 0x48, 0xff, 0xc9, 0x75, 0xf4, 0xc3};
// mov eax, getpid; syscall; ret
static const unsigned char call[] = {0xb8, SYS_getpid, 0, 0, 0, 0x0f, 0x05, 0xc3};
// rep stosb; ret
static const unsigned char fill[] = {0xf3, 0xaa, 0xc3};

static long run(const unsigned char *at, long rounds, long step) {
    long sum = 0;
    __asm__ volatile("call *%3" : "+a"(sum), "+c"(rounds) : "d"(step), "r"(at) : "cc", "memory");
    return sum;
}

static void run_fill(const unsigned char *at, char *start, size_t len, int value) {
    __asm__ volatile("call *%3" : "+D"(start), "+c"(len) : "a"(value), "r"(at) : "cc", "memory");
}

int main(void) {
    int file = memfd_create("code", 0);
    CHECK(file >= 0 && ftruncate(file, 2 * PAGE) == 0);
    unsigned char *to_write = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(to_write != MAP_FAILED);
    memcpy(to_write + PAGE, "what is there before", 20);
    // What this shows has changed since the file was mapped first.
    unsigned char *to_run = mmap(NULL, 2 * PAGE, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    CHECK(to_run != MAP_FAILED && !memcmp(to_run + PAGE, "what is there before", 20));
    CHECK(pwrite(file, "what is there now", 17, PAGE) == 17);
    CHECK(!memcmp(to_run + PAGE, "what is there now", 17));

    struct sigaction action = {.sa_handler = note};
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    struct itimerval often = {{0, 4000}, {0, 4000}}, never = {0};
    CHECK(setitimer(ITIMER_REAL, &often, NULL) == 0);
    unsigned long sum = 0;
    static char much[32 << 20];
    for (int round = 0; round < 40; round++) {
        int place = round * 64 + round % 7;
        memcpy(to_write + place, call, sizeof call);
        CHECK(run(to_run + place, 1, 0) == getpid());
        memcpy(to_write + place, fill, sizeof fill);
        run_fill(to_run + place, much, sizeof much / 16, round);
        CHECK(much[round] == round);
        memcpy(to_write + place, turns, sizeof turns);
        sum = sum * 31 + run(to_run + place, 3000000, round);
    }
    CHECK(setitimer(ITIMER_REAL, &never, NULL) == 0);
    CHECK(signals > 5);

    // A child has the same memory.
    pid_t child = fork();
    if (child == 0) {
        to_write[1] = 0x77;
        _exit(to_run[1] == 0x77 ? 0 : 1);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0 && to_run[1] == 0x77);
    printf("%lx\n", sum);
    return 0;
}
