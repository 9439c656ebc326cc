// A thousand short threads, and some that do nothing but yield.
#include "check.h"
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

enum { THREADS = 4, SHORT = 1000 };

static atomic_int ended;
static void *brief(void *argument) {
    ended++;
    return argument;
}
static void short_threads(void) {
    pthread_attr_t small;
    CHECK(pthread_attr_init(&small) == 0 && pthread_attr_setstacksize(&small, 65536) == 0);
    CHECK(pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED) == 0);
    for (int i = 0; i < SHORT; i++) {
        pthread_t thread;
        while (pthread_create(&thread, &small, brief, NULL) != 0)
            sched_yield();
        if (i % 50 == 49)
            while (ended <= i)
                sched_yield();
    }
    CHECK(ended == SHORT);
    GOOD("short threads");
}

static void *yields(void *argument) {
    for (int i = 0; i < 400; i++)
        sched_yield();
    return argument;
}
static void storm(void) {
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, yields, NULL) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    GOOD("storm");
}

int main(void) {
    short_threads();
    storm();
    return 0;
}
