// A thread ends the whole process with a signal while the leader computes and waits for its turn, and others wait in calls:
// the leader is killed in a stop that it has not been let go from.
#include "check.h"
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void *wait_for_ever(void *unused) {
    for (;;)
        pause();
    return unused;
}

static void *kill_all(void *signal) {
    usleep(3000);
    // To this thread, so that no other takes it.
    syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), (int)(intptr_t)signal);
    return NULL;
}

static void child(int signal) {
    pthread_t thread;
    for (int n = 0; n < 4; n++)
        CHECK(pthread_create(&thread, NULL, wait_for_ever, NULL) == 0);
    CHECK(pthread_create(&thread, NULL, kill_all, (void *)(intptr_t)signal) == 0);
    for (volatile unsigned long n = 0;; n++)
        if (n % 100000 == 0)
            getppid();
}

int main(void) {
    static const int signals[] = {SIGTERM, SIGKILL, SIGUSR1, SIGALRM};
    for (int round = 0; round < 12; round++) {
        int signal = signals[round % 4];
        pid_t pid = fork();
        if (pid == 0)
            child(signal);
        int status;
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) && WTERMSIG(status) == signal);
    }
    puts("good");
    return 0;
}
