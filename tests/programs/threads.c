#include <pthread.h>
#include <stdio.h>
#include <time.h>

static void *compute(void *p) {
    long s = 0;
    for (long i = 0; i < 100000000; i++)
        s += i ^ (long)p ^ s >> 3;
    return (void *)s;
}

int main(void) {
    pthread_t threads[8];
    struct timespec t;
    for (int i = 0; i < 1000; i++)
        clock_gettime(CLOCK_MONOTONIC, &t);
    for (long i = 0; i < 8; i++)
        pthread_create(&threads[i], 0, compute, (void *)i);
    long s = 0;
    for (int i = 0; i < 8; i++) {
        void *r;
        pthread_join(threads[i], &r);
        s += (long)r;
    }
    printf("%ld\n", s);
}
