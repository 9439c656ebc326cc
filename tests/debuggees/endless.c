// Never ends: calls, children, threads, until somebody kills it.
#include "check.h"
#include <pthread.h>
#include <sys/random.h>
#include <sys/wait.h>

static void *work(void *argument) {
    char bytes[64];
    for (;;) {
        CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
        for (volatile int i = 0; i < 1000; i++) {
        }
    }
    return argument;
}

int main(void) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
    for (unsigned long round = 0;; round++) {
        char text[64];
        int len = snprintf(text, sizeof text, "round %lu\n", round);
        CHECK(write(1, text, len) == len);
        if (round % 50 == 0) {
            pid_t child = fork();
            if (child == 0)
                _exit(0);
            CHECK(waitpid(child, NULL, 0) == child);
        }
    }
}
