// Waiting for descriptors, with and without time-outs.
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/select.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <pthread.h>

static void time_outs(int fd) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(fd, &set);
    struct timeval brief = {0, 5000};
    CHECK(select(fd + 1, &set, NULL, NULL, &brief) == 0 && !FD_ISSET(fd, &set) && brief.tv_usec == 0);
    struct timespec time = {0, 5000000};
    FD_SET(fd, &set);
    CHECK(pselect(fd + 1, &set, NULL, NULL, &time, NULL) == 0);
    struct pollfd polled = {.fd = fd, .events = POLLIN, .revents = 77};
    CHECK(poll(&polled, 1, 5) == 0 && polled.revents == 0);
    CHECK(ppoll(&polled, 1, &time, NULL) == 0);
    GOOD("time-outs");
}

static void polls(int ends[2]) {
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 0x1234567890abcdef}, got[4];
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, ends[0], &event) == 0);
    CHECK(epoll_wait(epoll, got, 4, 5) == 0);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(epoll_wait(epoll, got, 4, -1) == 1 && got[0].data.u64 == 0x1234567890abcdef);
    struct pollfd polled[2] = {{.fd = ends[0], .events = POLLIN}, {.fd = ends[1], .events = POLLOUT}};
    CHECK(poll(polled, 2, -1) == 2 && polled[0].revents == POLLIN && polled[1].revents == POLLOUT);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(ends[0], &set);
    CHECK(select(ends[0] + 1, &set, NULL, NULL, NULL) == 1 && FD_ISSET(ends[0], &set));
    char byte;
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x');
    close(epoll);
    GOOD("polls");
}

static void *adds(void *argument) {
    for (int i = 0; i < 20; i++) {
        usleep(500);
        uint64_t one = 1;
        CHECK(write((int)(intptr_t)argument, &one, 8) == 8);
    }
    return NULL;
}
static void events(void) {
    int fd = eventfd(0, 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, adds, (void *)(intptr_t)fd) == 0);
    uint64_t sum = 0, value;
    while (sum < 20) {
        CHECK(read(fd, &value, 8) == 8);
        sum += value;
    }
    pthread_join(thread, NULL);
    close(fd);
    GOOD("events");
}

static void timers(void) {
    int fd = timerfd_create(CLOCK_MONOTONIC, 0);
    struct itimerspec period = {{0, 3000000}, {0, 3000000}}, now;
    CHECK(timerfd_settime(fd, 0, &period, NULL) == 0);
    uint64_t ticks = 0, value;
    while (ticks < 5) {
        CHECK(read(fd, &value, 8) == 8 && value > 0);
        ticks += value;
    }
    CHECK(timerfd_gettime(fd, &now) == 0 && now.it_interval.tv_nsec == 3000000);
    close(fd);
    GOOD("timers");
}

static void signals(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGCHLD);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    int fd = signalfd(-1, &set, 0);
    struct signalfd_siginfo info;
    kill(getpid(), SIGUSR1);
    CHECK(read(fd, &info, sizeof info) == sizeof info && info.ssi_signo == SIGUSR1);
    pid_t child = fork();
    if (child == 0)
        _exit(3);
    CHECK(read(fd, &info, sizeof info) == sizeof info && info.ssi_signo == SIGCHLD && info.ssi_status == 3);
    CHECK(waitpid(child, NULL, 0) == child);
    close(fd);
    GOOD("signals");
}

static void files(void) {
    char name[] = "/tmp/e2e-waits-XXXXXX";
    CHECK(mkdtemp(name));
    int fd = inotify_init1(0);
    CHECK(inotify_add_watch(fd, name, IN_CREATE) >= 0);
    char path[64], buffer[512];
    snprintf(path, sizeof path, "%s/file", name);
    FILE *file = fopen(path, "w");
    CHECK(file);
    fclose(file);
    CHECK(read(fd, buffer, sizeof buffer) > 0);
    CHECK(!strcmp(((struct inotify_event *)buffer)->name, "file"));
    close(fd);
    unlink(path);
    rmdir(name);
    GOOD("files");
}

int main(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    time_outs(ends[0]);
    polls(ends);
    events();
    timers();
    signals();
    files();
    return 0;
}
