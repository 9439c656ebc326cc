// main returns while threads run, wait and spin.
#include "check.h"
#include <pthread.h>

static void *spin(void *argument) {
    for (volatile unsigned long i = 0;; i++) {
    }
    return argument;
}
static void *wait(void *argument) {
    for (;;)
        pause();
    return argument;
}

int main(void) {
    pthread_t thread;
    for (int i = 0; i < 2; i++) {
        CHECK(pthread_create(&thread, NULL, spin, NULL) == 0);
        CHECK(pthread_create(&thread, NULL, wait, NULL) == 0);
    }
    usleep(50000);
    GOOD("leaving");
    return 3;
}
