// Threads that lose updates of an unguarded counter. The result differs from run to run; a replay must repeat it.
#include "check.h"
#include <pthread.h>

static volatile unsigned long counter;

static void *count(void *argument) {
    for (long i = 0; i < 20000000; i++)
        counter++;
    return argument;
}

int main(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, count, NULL) == 0);
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    CHECK(counter > 0 && counter <= 60000000);
    printf("%lu\n", counter);
    return 0;
}
