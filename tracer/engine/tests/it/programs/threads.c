// Threads with a mutex, a condition, a spin on a flag and a counter that nothing guards.
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

volatile uint64_t counter;
static volatile int flag;
static uint64_t guarded;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int side;

__attribute__((noipa)) void milestone(int number) { guarded += number; }

static void *work(void *argument) {
    long mine = (long)argument;
    while (!flag)
        sched_yield();
    for (int i = 0; i < 2000000; i++)
        counter++;
    for (int i = 0; i < 40; i++) {
        pthread_mutex_lock(&mutex);
        while (side != mine)
            pthread_cond_wait(&changed, &mutex);
        milestone(i);
        side = (side + 1) % 3;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&mutex);
    }
    return argument;
}

int main(void) {
    pthread_t threads[3];
    for (long i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, work, (void *)i);
    usleep(1000);
    flag = 1;
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    printf("%lu %lu\n", (unsigned long)counter, (unsigned long)guarded);
    return guarded != 3 * 780;
}
