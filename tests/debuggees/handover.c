// Threads and processes that wait for each other in every way, while signals come to those who wait: the turn goes from
// one to the other where the recorder does not see it.
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

enum { THREADS = 6, ROUNDS = 300 };

static int pipes[THREADS][2];
static atomic_int signals, interrupted;
static pthread_t threads[THREADS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int turn, arrived;

static void count(int signal) { (void)signal; signals++; }

// A ring: each thread waits for a byte from the one before, some by read, some by poll or epoll.
static void *member(void *argument) {
    long me = (long)argument;
    int in = pipes[me][0], out = pipes[(me + 1) % THREADS][1];
    int epoll = epoll_create1(0);
    struct epoll_event event = { .events = EPOLLIN };
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, in, &event) == 0);
    for (int n = 0; n < ROUNDS;) {
        char byte;
        struct pollfd wait = { in, POLLIN, 0 };
        int ready = me % 3 == 1 ? poll(&wait, 1, -1) : me % 3 == 2 ? epoll_wait(epoll, &event, 1, -1) : 1;
        ssize_t got = ready == 1 ? read(in, &byte, 1) : -1;
        if (got < 0) {
            CHECK(errno == EINTR);
            interrupted++;
            continue;
        }
        byte++;
        CHECK(write(out, &byte, 1) == 1);
        n++;
    }
    close(epoll);
    return NULL;
}

static void ring(void) {
    for (int n = 0; n < THREADS; n++)
        CHECK(pipe(pipes[n]) == 0);
    for (long n = 0; n < THREADS; n++)
        CHECK(pthread_create(&threads[n], NULL, member, (void *)n) == 0);
    char byte = 0;
    CHECK(write(pipes[0][1], &byte, 1) == 1);
    // Signals to threads that wait: with and without SA_RESTART.
    for (int n = 0; n < 200; n++) {
        pthread_kill(threads[n % THREADS], n & 1 ? SIGUSR1 : SIGUSR2);
        if (n % 10 == 0)
            usleep(100);
    }
    for (int n = 0; n < THREADS; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    // The last byte is still on its way.
    CHECK(read(pipes[0][0], &byte, 1) == 1);
    CHECK(byte == (char)(THREADS * ROUNDS));
    for (int n = 0; n < THREADS; n++)
        close(pipes[n][0]), close(pipes[n][1]);
}

static void *in_turn(void *argument) {
    long me = (long)argument;
    for (int n = 0; n < ROUNDS; n++) {
        pthread_mutex_lock(&mutex);
        while (turn != me) {
            struct timespec limit;
            clock_gettime(CLOCK_REALTIME, &limit);
            limit.tv_sec += 10;
            if (me & 1)
                CHECK(pthread_cond_timedwait(&changed, &mutex, &limit) == 0);
            else
                pthread_cond_wait(&changed, &mutex);
        }
        turn = (turn + 1) % THREADS;
        arrived++;
        pthread_cond_broadcast(&changed);
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static void conditions(void) {
    for (long n = 0; n < THREADS; n++)
        CHECK(pthread_create(&threads[n], NULL, in_turn, (void *)n) == 0);
    for (int n = 0; n < 50; n++)
        pthread_kill(threads[n % THREADS], SIGUSR1);
    for (int n = 0; n < THREADS; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
    CHECK(arrived == THREADS * ROUNDS);
}

static void *blocked(void *argument) {
    char byte;
    CHECK(read(*(int *)argument, &byte, 1) >= 0);
    return NULL;
}

static void *busy(void *argument) {
    atomic_int *stop = argument;
    unsigned long sum = 0;
    while (!*stop)
        sum++;
    return (void *)(sum & 1);
}

// One computes, another sleeps and wakes: neither is kept from running.
static void sleepers(void) {
    atomic_int stop = 0;
    CHECK(pthread_create(&threads[0], NULL, busy, &stop) == 0);
    for (int n = 0; n < 5; n++) {
        struct timespec brief = { 0, 2000000 };
        while (nanosleep(&brief, &brief) != 0)
            CHECK(errno == EINTR);
    }
    stop = 1;
    CHECK(pthread_join(threads[0], NULL) == 0);
}

// Processes: sockets, locks, stops; and a fork while other threads wait.
static void processes(void) {
    int idle[2], pair[2];
    CHECK(pipe(idle) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    for (int n = 0; n < 3; n++)
        CHECK(pthread_create(&threads[n], NULL, blocked, &idle[0]) == 0);
    int lock = fileno(tmpfile());
    int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t child = fork();
    if (child == 0) {
        for (int n = 0; n < ROUNDS; n++) {
            char byte;
            CHECK(recv(pair[1], &byte, 1, 0) == 1);
            CHECK(flock(lock, LOCK_EX) == 0);
            ++*shared;
            CHECK(flock(lock, LOCK_UN) == 0);
            CHECK(send(pair[1], &byte, 1, 0) == 1);
        }
        // Until the parent kills it.
        for (;;)
            pause();
    }
    for (int n = 0; n < ROUNDS; n++) {
        char byte = n;
        CHECK(send(pair[0], &byte, 1, 0) == 1);
        if (n % 100 == 50) {
            int status;
            CHECK(kill(child, SIGSTOP) == 0 && waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
            CHECK(kill(child, SIGCONT) == 0);
        }
        CHECK(flock(lock, LOCK_EX) == 0);
        ++*shared;
        CHECK(flock(lock, LOCK_UN) == 0);
        CHECK(recv(pair[0], &byte, 1, 0) == 1 && byte == (char)n);
    }
    CHECK(*shared == 2 * ROUNDS);
    int status;
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WIFSIGNALED(status));
    CHECK(write(idle[1], "abc", 3) == 3);
    for (int n = 0; n < 3; n++)
        CHECK(pthread_join(threads[n], NULL) == 0);
}

static void *pong(void *argument) {
    int *events = argument;
    uint64_t value;
    for (int n = 0; n < ROUNDS; n++) {
        CHECK(read(events[0], &value, 8) == 8);
        CHECK(write(events[1], &value, 8) == 8);
    }
    return NULL;
}

static void events_and_semaphores(void) {
    int events[2] = { eventfd(0, 0), eventfd(0, 0) };
    uint64_t value = 1, sum = 0;
    CHECK(pthread_create(&threads[0], NULL, pong, events) == 0);
    for (int n = 0; n < ROUNDS; n++) {
        CHECK(write(events[0], &value, 8) == 8 && read(events[1], &value, 8) == 8);
        sum += value;
    }
    CHECK(pthread_join(threads[0], NULL) == 0 && sum == ROUNDS);
}

int main(int count_of_arguments, char **arguments) {
    struct sigaction action = { .sa_handler = count };
    sigaction(SIGUSR1, &action, NULL);
    action.sa_flags = SA_RESTART;
    sigaction(SIGUSR2, &action, NULL);
    signal(SIGURG, SIG_IGN);
    struct itimerval often = { { 0, 3000 }, { 0, 3000 } };
    action.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    ring();
    conditions();
    sleepers();
    struct itimerval never = { 0 };
    setitimer(ITIMER_REAL, &never, NULL);
    events_and_semaphores();
    processes();
    printf("all have been waited for\n");
    fflush(stdout);
    // The end comes while others wait; or another program.
    int idle[2];
    CHECK(pipe(idle) == 0);
    for (int n = 0; n < 3; n++)
        CHECK(pthread_create(&threads[n], NULL, blocked, &idle[0]) == 0);
    usleep(1000);
    if (count_of_arguments > 1)
        execlp("echo", "echo", "the other program", (char *)NULL);
    _exit(arguments[0] == NULL);
}
