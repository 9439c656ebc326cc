// A thread that chooses its cores is on one of them, whichever way it asks, and so are its children.
#include "check.h"
#include <cpuid.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <x86intrin.h>

static int has_rdpid;

static void expect(int core) {
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) == 1 && CPU_ISSET(core, &set));
    for (int i = 0; i < 10; i++) {
        unsigned seen = ~0u, node = ~0u, more = ~0u;
        CHECK(syscall(SYS_getcpu, &seen, &node, 0) == 0 && seen == (unsigned)core && node < 1024);
        CHECK(syscall(SYS_getcpu, 0, 0, 0) == 0 && sched_getcpu() == core);
        CHECK(__rdtscp(&more) && (more & 0xfff) == (unsigned)core && more >> 12 == node);
        unsigned long number = core;
        if (has_rdpid)
            __asm__ volatile("rdpid %0" : "=r"(number));
        CHECK((number & 0xfff) == (unsigned long)core);
    }
}

static void *in_thread(void *core) {
    expect((int)(long)core);
    return NULL;
}

static void inherited(int core) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, in_thread, (void *)(long)core) == 0 && pthread_join(thread, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        expect(core);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(void) {
    unsigned a, b, c = 0, d;
    has_rdpid = __get_cpuid_count(7, 0, &a, &b, &c, &d) && c & 1 << 22;
    cpu_set_t all, one;
    CHECK(sched_getaffinity(0, sizeof all, &all) == 0);
    CHECK(CPU_ISSET(sched_getcpu(), &all));
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (!CPU_ISSET(core, &all))
            continue;
        CPU_ZERO(&one);
        CPU_SET(core, &one);
        CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
        expect(core);
        inherited(core);
    }
    // Of cores that are not there nothing is left.
    memset(&one, 0xff, sizeof one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0 && sched_getaffinity(0, sizeof one, &one) == 0);
    CHECK(CPU_COUNT(&one) <= sysconf(_SC_NPROCESSORS_ONLN));
    CPU_ZERO(&one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == -1 && errno == EINVAL);
    CPU_SET(CPU_SETSIZE - 1, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == -1 && errno == EINVAL);
    GOOD("affinity");
    return 0;
}
