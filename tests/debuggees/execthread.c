// A thread that is not the first replaces the program while others wait and spin.
#include "check.h"
#include <pthread.h>

static void *spin(void *argument) {
    for (volatile unsigned long i = 0;; i++) {
    }
    return argument;
}
static void *replace(void *argument) {
    char *arguments[] = {"execthread", "again", NULL};
    usleep(20000);
    execv("/proc/self/exe", arguments);
    return argument;
}

int main(int count, char **arguments) {
    (void)arguments;
    if (count > 1) {
        CHECK(getpid() == (pid_t)atoi(getenv("OLD_PID")));
        GOOD("replaced");
        return 4;
    }
    char pid[32];
    snprintf(pid, sizeof pid, "%d", getpid());
    setenv("OLD_PID", pid, 1);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, spin, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, replace, NULL) == 0);
    pthread_join(thread, NULL);
    return 1;
}
