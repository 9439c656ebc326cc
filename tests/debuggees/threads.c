// Threads that end before main, that main leaves behind, that wait for each other in several ways.
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>

static void *nothing(void *argument) { return argument; }

static void create_and_join(void) {
    for (intptr_t i = 0; i < 50; i++) {
        pthread_t thread;
        void *result;
        CHECK(pthread_create(&thread, NULL, nothing, (void *)i) == 0);
        CHECK(pthread_join(thread, &result) == 0 && (intptr_t)result == i);
    }
    GOOD("create and join");
}

static atomic_int flag;
static void *spinner(void *argument) {
    while (!atomic_load(&flag)) {
    }
    return argument;
}

// The spinner makes no system call: only the end of its slice lets main go on.
static void spin_on_a_flag(void) {
    for (int i = 0; i < 5; i++) {
        pthread_t thread;
        atomic_store(&flag, 0);
        CHECK(pthread_create(&thread, NULL, spinner, NULL) == 0);
        volatile long work = 0;
        for (long k = 0; k < 3000000; k++)
            work += k;
        atomic_store(&flag, 1);
        CHECK(pthread_join(thread, NULL) == 0);
    }
    GOOD("spin");
}

static atomic_long turns;
static void *turn_taker(void *argument) {
    long mine = (intptr_t)argument;
    for (int i = 0; i < 30; i++) {
        while (atomic_load(&turns) % 3 != mine)
            sched_yield();
        atomic_fetch_add(&turns, 1);
    }
    return NULL;
}

static void take_turns(void) {
    pthread_t threads[3];
    for (intptr_t i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, turn_taker, (void *)i) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    CHECK(turns == 90);
    GOOD("turns");
}

static sem_t ready;
static pthread_barrier_t barrier;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static long guarded;
static void *meets(void *argument) {
    sem_post(&ready);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 200; i++) {
        pthread_rwlock_wrlock(&lock);
        guarded++;
        pthread_rwlock_unlock(&lock);
        pthread_rwlock_rdlock(&lock);
        CHECK(guarded > 0);
        pthread_rwlock_unlock(&lock);
    }
    return argument;
}

static void meet(void) {
    pthread_t threads[4];
    sem_init(&ready, 0, 0);
    pthread_barrier_init(&barrier, NULL, 5);
    for (int i = 0; i < 4; i++)
        CHECK(pthread_create(&threads[i], NULL, meets, NULL) == 0);
    for (int i = 0; i < 4; i++)
        sem_wait(&ready);
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK(guarded == 800);
    GOOD("barrier");
}

static pthread_key_t key;
static atomic_int destroyed;
static void destroy(void *value) { destroyed += (int)(intptr_t)value; }
static void *cancelled(void *argument) {
    pthread_setspecific(key, (void *)7);
    sem_post(&ready);
    for (;;)
        pause();
    return argument;
}

static void cancel(void) {
    pthread_t thread;
    void *result;
    pthread_key_create(&key, destroy);
    CHECK(pthread_create(&thread, NULL, cancelled, NULL) == 0);
    sem_wait(&ready);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    CHECK(destroyed == 7);
    GOOD("cancel");
}

static void *goes_on(void *argument) {
    usleep(20000);
    GOOD("the last thread ends the process");
    exit(6);
    return argument;
}

int main(void) {
    create_and_join();
    spin_on_a_flag();
    take_turns();
    meet();
    cancel();
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, goes_on, NULL) == 0);
    pthread_exit(NULL);
}
