// The time stamp counter, read by code that is there from the start and by code that is generated later, in one thread and
// in two, next to clocks.
#include "check.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <x86intrin.h>

typedef unsigned long (*reader)(void);

// rdtsc (or rdtscp); shl rdx, 32; or rax, rdx; ret
static const unsigned char rdtsc_code[] = {0x0f, 0x31, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3};
static const unsigned char rdtscp_code[] = {0x0f, 0x01, 0xf9, 0x48, 0xc1, 0xe2, 0x20, 0x48, 0x09, 0xd0, 0xc3};

static unsigned long own(void) { return __rdtsc(); }
static unsigned long own_with_core(void) {
    unsigned core;
    return __rdtscp(&core);
}

static void show(const char *who, reader read, int times) {
    unsigned long before = 0;
    for (int i = 0; i < times; i++) {
        struct timespec now;
        unsigned long ticks = read();
        CHECK(ticks > before);
        before = ticks;
        CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
        printf("%s %lu %ld.%09ld\n", who, ticks, (long)now.tv_sec, now.tv_nsec);
    }
}

static void *room(int protection) {
    void *page = mmap(NULL, 4096, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    return page;
}

// Memory that can be written and executed at once.
static reader open_code(void) {
    void *page = room(PROT_READ | PROT_WRITE | PROT_EXEC);
    memcpy(page, rdtsc_code, sizeof rdtsc_code);
    return (reader)page;
}

// Memory that is written first.
static reader sealed_code(void) {
    void *page = room(PROT_READ | PROT_WRITE);
    memcpy(page, rdtscp_code, sizeof rdtscp_code);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    return (reader)page;
}

static _Atomic reader given;
static atomic_int turn;

// It is there, and reads clocks, before there is generated code, and reads that without a call in between.
static void *other_thread(void *unused) {
    (void)unused;
    show("other", own, 20);
    turn = 1;
    reader read;
    while (!(read = given))
        ;
    unsigned long first = read(), second = read();
    CHECK(first < second);
    printf("generated, other %lu %lu\n", first, second);
    show("generated, other", read, 20);
    return NULL;
}

static void two_threads(void) {
    pthread_t other;
    CHECK(pthread_create(&other, NULL, other_thread, NULL) == 0);
    while (!turn)
        ;
    given = sealed_code();
    show("generated, main", given, 20);
    CHECK(pthread_join(other, NULL) == 0);
}

// It begins to run when there is generated code already.
static volatile int is_generated;
static void *new_thread(void *read) {
    while (!is_generated)
        ;
    show("new thread", (reader)read, 20);
    return NULL;
}

static void a_new_thread(void) {
    pthread_t other;
    void *page = room(PROT_READ | PROT_WRITE);
    memcpy(page, rdtsc_code, sizeof rdtsc_code);
    CHECK(pthread_create(&other, NULL, new_thread, page) == 0);
    CHECK(mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);
    is_generated = 1;
    CHECK(pthread_join(other, NULL) == 0);
}

static void in_child(void (*part)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        part();
        fflush(stdout);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    show("parent", own, 5);
}

static void one_thread(void) {
    show("generated", open_code(), 20);
    show("sealed", sealed_code(), 20);
    show("own", own_with_core, 20);
}

// A filter that lets everything through but prctl, and generated code behind it.
static void behind_a_filter(void) {
    struct sock_filter filter[] = {
        {0x20, 0, 0, 0},
        {0x15, 0, 1, 157},
        {0x06, 0, 0, SECCOMP_RET_KILL_PROCESS},
        {0x06, 0, 0, SECCOMP_RET_ALLOW},
    };
    struct sock_fprog program = {4, filter};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0);
    show("filtered", own, 20);
    show("filtered, generated", open_code(), 20);
}

// A program that is started from a clean space, and from one that is not.
static void again(void) { execl("/proc/self/exe", "timestamps", "again", NULL); }
static void again_unclean(void) {
    show("generated", open_code(), 3);
    fflush(stdout);
    again();
}

int main(int count, char **arguments) {
    (void)arguments;
    show("own", own, 50);
    show("own, with core", own_with_core, 50);
    if (count > 1)
        return 0;
    in_child(one_thread);
    in_child(two_threads);
    in_child(a_new_thread);
    in_child(behind_a_filter);
    in_child(again);
    in_child(again_unclean);
    one_thread();
    in_child(again);
    return 0;
}
