// Two threads or two processes that wait for each other: `condition`, `threads` or `processes`.
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 20000 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static long turn;

static int there[2], back[2];

static void *conditions(void *own) {
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < ROUNDS; i++) {
        while (turn % 2 != (own != NULL))
            pthread_cond_wait(&changed, &mutex);
        turn++;
        pthread_cond_signal(&changed);
    }
    pthread_mutex_unlock(&mutex);
    return NULL;
}

static void *answer(void *unused) {
    char byte;
    for (int i = 0; i < ROUNDS; i++)
        if (read(there[0], &byte, 1) != 1 || write(back[1], &byte, 1) != 1)
            _exit(1);
    return unused;
}

static void ask(void) {
    char byte = 1;
    for (int i = 0; i < ROUNDS; i++)
        if (write(there[1], &byte, 1) != 1 || read(back[0], &byte, 1) != 1)
            _exit(1);
}

int main(int count, char **arguments) {
    const char *mode = count > 1 ? arguments[1] : "";
    pthread_t thread;
    if (pipe(there) || pipe(back))
        return 1;
    if (!strcmp(mode, "condition")) {
        pthread_create(&thread, NULL, conditions, &turn);
        conditions(NULL);
        pthread_join(thread, NULL);
    } else if (!strcmp(mode, "threads")) {
        pthread_create(&thread, NULL, answer, NULL);
        ask();
        pthread_join(thread, NULL);
    } else if (!strcmp(mode, "processes")) {
        pid_t child = fork();
        if (child == 0) {
            answer(NULL);
            _exit(0);
        }
        ask();
        waitpid(child, NULL, 0);
    } else {
        fprintf(stderr, "usage: pingpong condition|threads|processes\n");
        return 2;
    }
    return 0;
}
