// Locks that have owners: contended, inherited priorities, left behind by threads and processes that end.
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

enum { THREADS = 4, ROUNDS = 100 };

static pthread_mutex_t mutex;
static long guarded;

static void make(pthread_mutex_t *new, int type, int protocol, int robust, int shared) {
    pthread_mutexattr_t kind;
    CHECK(pthread_mutexattr_init(&kind) == 0 && pthread_mutexattr_settype(&kind, type) == 0);
    CHECK(pthread_mutexattr_setprotocol(&kind, protocol) == 0);
    CHECK(pthread_mutexattr_setrobust(&kind, robust) == 0);
    CHECK(pthread_mutexattr_setpshared(&kind, shared) == 0);
    CHECK(pthread_mutex_init(new, &kind) == 0);
}

static void work(void) {
    for (volatile int i = 0; i < 300; i++)
        ;
}
static void *contends(void *argument) {
    for (int i = 0; i < ROUNDS; i++) {
        CHECK(pthread_mutex_lock(&mutex) == 0);
        long seen = guarded;
        if (i % 16 == 0)
            sched_yield();
        if (i % 64 == 0)
            usleep(100);
        work();
        guarded = seen + 1;
        CHECK(pthread_mutex_unlock(&mutex) == 0);
    }
    return argument;
}
static void contended(int type, int protocol, const char *how) {
    pthread_t threads[THREADS];
    make(&mutex, type, protocol, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
    guarded = 0;
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, contends, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK(guarded == THREADS * ROUNDS && pthread_mutex_destroy(&mutex) == 0);
    GOOD(how);
}

static volatile int held;
static void *leaves(void *argument) {
    CHECK(pthread_mutex_lock(&mutex) == 0);
    held = 1;
    usleep(2000);
    return argument;
}
// The owner's thread ends: while another waits, and before.
static void left_by_threads(int protocol, const char *how) {
    for (int round = 0; round < 6; round++) {
        make(&mutex, PTHREAD_MUTEX_NORMAL, protocol, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_PRIVATE);
        held = 0;
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, leaves, NULL) == 0);
        while (!held)
            usleep(100);
        if (round % 2)
            pthread_join(thread, NULL);
        CHECK(pthread_mutex_lock(&mutex) == EOWNERDEAD);
        CHECK(pthread_mutex_trylock(&mutex) != 0 && pthread_mutex_consistent(&mutex) == 0);
        CHECK(pthread_mutex_unlock(&mutex) == 0 && pthread_mutex_lock(&mutex) == 0);
        CHECK(pthread_mutex_unlock(&mutex) == 0);
        if (round % 2 == 0)
            pthread_join(thread, NULL);
        CHECK(pthread_mutex_destroy(&mutex) == 0);
    }
    GOOD(how);
}

struct common {
    pthread_mutex_t mutex, second;
    pthread_cond_t changed;
    pthread_barrier_t barrier;
    atomic_int ready;
    int value;
};
static void left_by_processes(int protocol, const char *how) {
    struct common *common =
        mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(common != MAP_FAILED);
    for (int round = 0; round < 4; round++) {
        make(&common->mutex, PTHREAD_MUTEX_NORMAL, protocol, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_SHARED);
        make(&common->second, PTHREAD_MUTEX_NORMAL, protocol, PTHREAD_MUTEX_ROBUST, PTHREAD_PROCESS_SHARED);
        common->ready = 0;
        pid_t child = fork();
        if (child == 0) {
            CHECK(pthread_mutex_lock(&common->mutex) == 0 && pthread_mutex_lock(&common->second) == 0);
            common->ready = 1;
            if (round % 2)
                pause();
            usleep(3000);
            _exit(0);
        }
        while (!common->ready)
            usleep(100);
        if (round % 2)
            CHECK(kill(child, SIGKILL) == 0);
        if (round >= 2)
            CHECK(waitpid(child, NULL, 0) == child);
        // What the kernel has put there decides without a call.
        CHECK(pthread_mutex_lock(&common->mutex) == EOWNERDEAD && pthread_mutex_consistent(&common->mutex) == 0);
        CHECK(pthread_mutex_lock(&common->second) == EOWNERDEAD);
        CHECK(pthread_mutex_unlock(&common->second) == 0 && pthread_mutex_unlock(&common->mutex) == 0);
        CHECK(pthread_mutex_lock(&common->second) == ENOTRECOVERABLE);
        if (round < 2)
            CHECK(waitpid(child, NULL, 0) == child);
    }
    GOOD(how);
}

static void across_processes(void) {
    struct common *common =
        mmap(NULL, sizeof *common, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(common != MAP_FAILED);
    make(&common->mutex, PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_INHERIT, PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_SHARED);
    pthread_condattr_t of_condition;
    pthread_barrierattr_t of_barrier;
    CHECK(pthread_condattr_init(&of_condition) == 0 && pthread_condattr_setpshared(&of_condition, 1) == 0);
    CHECK(pthread_barrierattr_init(&of_barrier) == 0 && pthread_barrierattr_setpshared(&of_barrier, 1) == 0);
    CHECK(pthread_cond_init(&common->changed, &of_condition) == 0);
    CHECK(pthread_barrier_init(&common->barrier, &of_barrier, 3) == 0);
    pid_t children[2];
    for (int n = 0; n < 3; n++) {
        if (n < 2 && (children[n] = fork()) != 0)
            continue;
        pthread_barrier_wait(&common->barrier);
        for (int i = 0; i < 100; i++) {
            CHECK(pthread_mutex_lock(&common->mutex) == 0);
            while (common->value % 3 != n)
                CHECK(pthread_cond_wait(&common->changed, &common->mutex) == 0);
            common->value++;
            CHECK(pthread_cond_broadcast(&common->changed) == 0 && pthread_mutex_unlock(&common->mutex) == 0);
        }
        if (n < 2)
            _exit(0);
    }
    int status;
    for (int n = 0; n < 2; n++)
        CHECK(waitpid(children[n], &status, 0) == children[n] && status == 0);
    CHECK(common->value == 300);
    GOOD("across processes");
}

static void *waits_too_long(void *argument) {
    struct timespec limit;
    clock_gettime(CLOCK_REALTIME, &limit);
    limit.tv_nsec += 3000000;
    limit.tv_sec += limit.tv_nsec / 1000000000, limit.tv_nsec %= 1000000000;
    CHECK(pthread_mutex_timedlock(&mutex, &limit) == ETIMEDOUT);
    return argument;
}
static void timed(void) {
    for (int protocol = 0; protocol < 2; protocol++) {
        make(&mutex, PTHREAD_MUTEX_NORMAL, protocol ? PTHREAD_PRIO_INHERIT : PTHREAD_PRIO_NONE,
             PTHREAD_MUTEX_STALLED, PTHREAD_PROCESS_PRIVATE);
        CHECK(pthread_mutex_lock(&mutex) == 0);
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, waits_too_long, NULL) == 0);
        CHECK(pthread_join(thread, NULL) == 0 && pthread_mutex_unlock(&mutex) == 0);
        CHECK(pthread_mutex_lock(&mutex) == 0 && pthread_mutex_unlock(&mutex) == 0);
    }
    GOOD("timed");
}

static atomic_int one, two, moved;
static void *requeued(void *argument) {
    while (syscall(SYS_futex, &one, FUTEX_WAIT_PRIVATE, 0, NULL) != 0)
        CHECK(errno == EINTR || errno == EAGAIN);
    moved++;
    return argument;
}
static void raw(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, requeued, NULL) == 0);
    usleep(5000);
    int woken = 0;
    while (woken < 3) {
        long done = syscall(SYS_futex, &one, FUTEX_CMP_REQUEUE_PRIVATE, 1, 10, &two, 0);
        CHECK(done >= 0);
        woken += syscall(SYS_futex, &two, FUTEX_WAKE_PRIVATE, 10) + (done > 0);
        usleep(500);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    // One call changes a word and wakes by what it was.
    two = 5;
    CHECK(syscall(SYS_futex, &one, FUTEX_WAKE_OP_PRIVATE, 1, 1, &two, FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 5)) == 0);
    CHECK(two == 8 && moved == 3);
    GOOD("raw");
}

int main(void) {
    contended(PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_NONE, "normal");
    contended(PTHREAD_MUTEX_RECURSIVE, PTHREAD_PRIO_NONE, "recursive");
    contended(PTHREAD_MUTEX_ERRORCHECK, PTHREAD_PRIO_NONE, "error-checking");
    contended(PTHREAD_MUTEX_ADAPTIVE_NP, PTHREAD_PRIO_NONE, "adaptive");
    contended(PTHREAD_MUTEX_NORMAL, PTHREAD_PRIO_INHERIT, "inherited priority");
    left_by_threads(PTHREAD_PRIO_NONE, "left by threads");
    left_by_threads(PTHREAD_PRIO_INHERIT, "left by threads, inherited priority");
    left_by_processes(PTHREAD_PRIO_NONE, "left by processes");
    left_by_processes(PTHREAD_PRIO_INHERIT, "left by processes, inherited priority");
    across_processes();
    timed();
    raw();
    return 0;
}
