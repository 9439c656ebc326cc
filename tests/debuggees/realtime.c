// All signals, standard and real-time, in all ways they are sent; queued in order; on stacks of their own; timers of all kinds.
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>

static volatile int calls[65], order[64], count;
static volatile siginfo_t last;

static void note(int number, siginfo_t *info, void *context) {
    (void)context;
    calls[number]++;
    last = *info;
    if (count < 64)
        order[count++] = number;
}
static void handle(int number, int flags) {
    struct sigaction action = {.sa_sigaction = note, .sa_flags = flags | SA_SIGINFO};
    sigfillset(&action.sa_mask);
    CHECK(sigaction(number, &action, NULL) == 0);
}
static int can_be_handled(int number) {
    return number != SIGKILL && number != SIGSTOP && (number < 32 || number >= SIGRTMIN);
}

static void all(void) {
    int total = 0;
    for (int number = 1; number <= SIGRTMAX; number++) {
        if (!can_be_handled(number))
            continue;
        handle(number, 0);
        union sigval value = {.sival_int = 1000 + number};
        CHECK(raise(number) == 0 && calls[number] == 1 && last.si_code == SI_TKILL);
        CHECK(kill(getpid(), number) == 0 && calls[number] == 2 && last.si_code == SI_USER);
        CHECK(sigqueue(getpid(), number, value) == 0 && calls[number] == 3);
        CHECK(last.si_code == SI_QUEUE && last.si_value.sival_int == 1000 + number);
        CHECK(pthread_kill(pthread_self(), number) == 0 && calls[number] == 4);
        CHECK(kill(getpid(), 0) == 0);
        total += calls[number];
    }
    CHECK(kill(getpid(), 65) == -1 && errno == EINVAL);
    printf("%d\n", total);
    GOOD("all");
}

// Those that wait come by number, the same one in the order in which it was sent.
static void queued(void) {
    sigset_t all, old;
    sigfillset(&all);
    CHECK(sigprocmask(SIG_SETMASK, &all, &old) == 0);
    count = 0;
    for (int i = 0; i < 3; i++)
        for (int number = SIGRTMIN + 2; number >= SIGRTMIN; number--)
            CHECK(sigqueue(getpid(), number, (union sigval){.sival_int = i}) == 0);
    CHECK(kill(getpid(), SIGUSR2) == 0 && kill(getpid(), SIGUSR2) == 0 && kill(getpid(), SIGUSR1) == 0);
    siginfo_t info;
    sigset_t one;
    sigemptyset(&one);
    sigaddset(&one, SIGRTMIN + 1);
    CHECK(sigwaitinfo(&one, &info) == SIGRTMIN + 1 && info.si_value.sival_int == 0);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK(count == 10);
    // Each handler masks all others: the frames pile up, and the last one made runs first, or one after the other.
    for (int i = 0; i < count; i++)
        printf("%d ", order[i]);
    printf("\n");
    GOOD("queued");
}

static void *catches(void *argument) {
    sigset_t *set = argument;
    int number, sum = 0;
    for (int i = 0; i < 5; i++) {
        CHECK(sigwait(set, &number) == 0);
        sum += number;
    }
    return (void *)(intptr_t)sum;
}
static void directed(void) {
    sigset_t set, old;
    sigemptyset(&set);
    for (int i = 0; i < 5; i++)
        sigaddset(&set, SIGRTMIN + i);
    CHECK(pthread_sigmask(SIG_BLOCK, &set, &old) == 0);
    pthread_t thread;
    void *sum;
    CHECK(pthread_create(&thread, NULL, catches, &set) == 0);
    for (int i = 0; i < 5; i++) {
        CHECK(pthread_sigqueue(thread, SIGRTMIN + i, (union sigval){.sival_int = i}) == 0);
        usleep(i * 300);
    }
    CHECK(pthread_join(thread, &sum) == 0 && (intptr_t)sum == 5 * SIGRTMIN + 10);
    CHECK(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    GOOD("directed");
}

static volatile int expired;
static void notified(union sigval value) {
    expired += value.sival_int;
}
static void timers(void) {
    // To a thread, by a new thread, and none at all.
    timer_t timer;
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGRTMIN + 4, .sigev_value.sival_int = 5};
    event._sigev_un._tid = syscall(SYS_gettid);
    struct itimerspec period = {{0, 2000000}, {0, 2000000}}, left;
    handle(SIGRTMIN + 4, SA_RESTART);
    int before = calls[SIGRTMIN + 4];
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 && timer_settime(timer, 0, &period, NULL) == 0);
    while (calls[SIGRTMIN + 4] < before + 3)
        pause();
    CHECK(last.si_code == SI_TIMER && last.si_value.sival_int == 5 && timer_getoverrun(timer) >= 0);
    CHECK(timer_delete(timer) == 0);
    event = (struct sigevent){.sigev_notify = SIGEV_THREAD, .sigev_notify_function = notified, .sigev_value.sival_int = 1};
    CHECK(timer_create(CLOCK_REALTIME, &event, &timer) == 0 && timer_settime(timer, 0, &period, NULL) == 0);
    while (expired < 3)
        usleep(500);
    CHECK(timer_delete(timer) == 0);
    event = (struct sigevent){.sigev_notify = SIGEV_NONE};
    period = (struct itimerspec){{0, 0}, {1000, 0}};
    CHECK(timer_create(CLOCK_BOOTTIME, &event, &timer) == 0 && timer_settime(timer, 0, &period, NULL) == 0);
    CHECK(timer_gettime(timer, &left) == 0 && left.it_value.tv_sec > 990 && timer_delete(timer) == 0);
    // By processor time.
    event = (struct sigevent){.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 5};
    handle(SIGRTMIN + 5, 0);
    before = calls[SIGRTMIN + 5];
    period = (struct itimerspec){{0, 5000000}, {0, 5000000}};
    CHECK(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0 && timer_settime(timer, 0, &period, NULL) == 0);
    volatile unsigned long work = 0;
    while (calls[SIGRTMIN + 5] < before + 3)
        work++;
    CHECK(timer_delete(timer) == 0);
    GOOD("timers");
}

// One descriptor for signals, one for a timer, in an epoll instance, with a pipe.
static void by_descriptors(void) {
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0);
    signal(SIGCHLD, SIG_DFL);
    int signals = signalfd(-1, &set, SFD_NONBLOCK), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
    int epoll = epoll_create1(0), seen = 0;
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = signals}, got[4];
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, signals, &wanted) == 0);
    wanted.data.fd = timer;
    wanted.events = EPOLLIN | EPOLLET;
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, timer, &wanted) == 0);
    struct itimerspec once = {{0, 0}, {0, 3000000}};
    CHECK(timerfd_settime(timer, 0, &once, NULL) == 0);
    pid_t child = fork();
    if (child == 0)
        _exit(kill(getppid(), SIGUSR1));
    while (seen != 7) {
        int ready = epoll_wait(epoll, got, 4, 5000);
        CHECK(ready > 0);
        for (int i = 0; i < ready; i++) {
            struct signalfd_siginfo info;
            uint64_t ticks;
            if (got[i].data.fd == timer && read(timer, &ticks, 8) == 8)
                seen |= ticks == 1 ? 1 : 8;
            while (got[i].data.fd == signals && read(signals, &info, sizeof info) == sizeof info)
                seen |= info.ssi_signo == SIGUSR1 ? 2 : 4;
        }
    }
    CHECK(waitpid(child, NULL, 0) == child);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    close(signals), close(timer), close(epoll);
    GOOD("by descriptors");
}

static volatile int done;
static void *kicks(void *argument) {
    pthread_t target = *(pthread_t *)argument;
    while (!done) {
        usleep(1500);
        pthread_kill(target, SIGUSR2);
    }
    return NULL;
}
// Every kind of waiting call is interrupted, and begun again where it may be.
static void interrupted(void) {
    int ends[2], pair[2], failed = 0;
    char byte;
    CHECK(pipe(ends) == 0 && socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
    handle(SIGUSR2, 0);
    pthread_t self = pthread_self(), thread;
    CHECK(pthread_create(&thread, NULL, kicks, &self) == 0);
    struct pollfd polled = {.fd = ends[0], .events = POLLIN};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    struct timeval limit = {5, 0};
    struct timespec time = {5, 0};
    struct epoll_event event;
    int epoll = epoll_create1(0);
    CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR);
    failed++;
    CHECK(poll(&polled, 1, -1) == -1 && errno == EINTR);
    failed++;
    CHECK(select(ends[0] + 1, &set, NULL, NULL, &limit) == -1 && errno == EINTR);
    failed++;
    CHECK(recv(pair[0], &byte, 1, 0) == -1 && errno == EINTR);
    failed++;
    CHECK(epoll_wait(epoll, &event, 1, 5000) == -1 && errno == EINTR);
    failed++;
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL) == EINTR);
    failed++;
    CHECK(pause() == -1 && errno == EINTR);
    failed++;
    sigset_t usr1;
    sigemptyset(&usr1);
    sigaddset(&usr1, SIGUSR1);
    CHECK(sigtimedwait(&usr1, NULL, &time) == -1 && errno == EINTR);
    failed++;
    done = 1;
    pthread_join(thread, NULL);
    printf("%d\n", failed);
    close(ends[0]), close(ends[1]), close(pair[0]), close(pair[1]), close(epoll);
    GOOD("interrupted");
}

static void broken_pipe(void) {
    int ends[2];
    CHECK(pipe(ends) == 0 && close(ends[0]) == 0);
    int before = calls[SIGPIPE];
    CHECK(write(ends[1], "x", 1) == -1 && errno == EPIPE && calls[SIGPIPE] == before + 1);
    signal(SIGPIPE, SIG_IGN);
    CHECK(write(ends[1], "x", 1) == -1 && errno == EPIPE);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGPIPE, SIG_DFL);
        _exit(write(ends[1], "x", 1) != 99);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGPIPE);
    GOOD("broken pipe");
}

int main(void) {
    all();
    queued();
    directed();
    timers();
    by_descriptors();
    interrupted();
    broken_pipe();
    return 0;
}
