// Two threads hand a ball to and fro with a mutex and a condition variable.
#include "check.h"
#include <pthread.h>

#define ROUNDS 5000

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int side;
static long hits[2];

static void *play(void *argument) {
    int mine = (int)(intptr_t)argument;
    for (int i = 0; i < ROUNDS; i++) {
        pthread_mutex_lock(&mutex);
        while (side != mine)
            pthread_cond_wait(&changed, &mutex);
        hits[mine]++;
        side = !mine;
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

int main(void) {
    pthread_t other;
    CHECK(pthread_create(&other, NULL, play, (void *)1) == 0);
    play((void *)0);
    pthread_join(other, NULL);
    CHECK(hits[0] == ROUNDS && hits[1] == ROUNDS);
    GOOD("ping pong");
    return 0;
}
