// Makes many system calls of the kinds that are logged inside the process, computes a little between them, and is
// interrupted by a timer wherever it is. Some calls fail in ways that leave it open what was written.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

volatile uint64_t counter;
static volatile int alarms;

static void on_alarm(int signal) {
    (void)signal;
    alarms++;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
}

__attribute__((noipa)) void milestone(uint64_t value) { counter += value; }

__attribute__((noipa)) uint64_t mix(uint64_t value) {
    for (int i = 0; i < 40; i++) {
        value = value * 6364136223846793005u + 1442695040888963407u;
    }
    return value;
}

// A system call with a label right behind it.
__attribute__((noipa)) static long own_getpid(void) {
    long result;
    __asm__ volatile("syscall\n.globl behind\nbehind: .byte 0x0f, 0x1f, 0x44, 0, 0"
                     : "=a"(result)
                     : "0"(SYS_getpid)
                     : "rcx", "r11", "memory");
    return result;
}

static void check(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

int main(void) {
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    check(sigaction(SIGALRM, &action, NULL) == 0, "sigaction");
    struct itimerval timer = {{0, 3000}, {0, 3000}};
    check(setitimer(ITIMER_REAL, &timer, NULL) == 0, "setitimer");
    int zero = open("/dev/zero", O_RDONLY), ends[2];
    check(zero >= 0 && pipe(ends) == 0, "open");
    // A page that cannot be written, behind one that can.
    char *pages = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(pages != MAP_FAILED && mprotect(pages + 4096, 4096, PROT_NONE) == 0, "mmap");
    uint64_t sum = 1;
    for (uint64_t round = 0; round < 1500; round++) {
        char bytes[16];
        struct timespec now;
        struct stat status;
        check(read(zero, bytes, 1 + round % 16) == (ssize_t)(1 + round % 16), "read");
        check(write(ends[1], &sum, 8) == 8 && read(ends[0], bytes, 8) == 8, "pipe");
        check(clock_gettime(CLOCK_MONOTONIC, &now) == 0, "clock_gettime");
        check(own_getpid() == getpid(), "getpid");
        sum = mix(sum + now.tv_nsec + bytes[0]);
        if (round % 50 == 0) {
            milestone(round + 1);
            check(fstat(zero, &status) == 0 && stat("/nowhere", &status) == -1, "stat");
        }
        if (round % 300 == 7) {
            ssize_t some = read(zero, pages + 4090, 100);
            check(some == 6 || (some == -1 && errno == EFAULT), "read at the edge");
            check(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, pages + 4096) == -1 && errno == EFAULT, "bad pointer");
        }
    }
    printf("%d\n", alarms > 0);
    return sum == 0;
}
