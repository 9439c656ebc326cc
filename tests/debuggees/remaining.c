// Sleeps that a signal interrupts say what remains.
#include "check.h"
#include <poll.h>
#include <signal.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>

static void handler(int signal) {
    (void)signal;
}

static void alarm_soon(void) {
    struct itimerval soon = { { 0, 0 }, { 0, 5000 } };
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
}

int main(void) {
    CHECK(sigaction(SIGALRM, &(struct sigaction){ .sa_handler = handler }, NULL) == 0);
    struct timespec five = { 5, 0 }, rest = { 77, 77 };
    alarm_soon();
    CHECK(nanosleep(&five, &rest) == -1 && errno == EINTR);
    printf("nanosleep %ld.%09ld\n", (long)rest.tv_sec, rest.tv_nsec);
    CHECK(rest.tv_sec == 4);
    rest.tv_sec = 77;
    alarm_soon();
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &five, &rest) == EINTR && rest.tv_sec == 4);
    printf("clock_nanosleep %ld.%09ld\n", (long)rest.tv_sec, rest.tv_nsec);
    rest = five;
    alarm_soon();
    CHECK(nanosleep(&rest, &rest) == -1 && rest.tv_sec == 4);
    printf("same buffer %ld.%09ld\n", (long)rest.tv_sec, rest.tv_nsec);
    struct timeval left = { 5, 0 };
    alarm_soon();
    CHECK(select(0, NULL, NULL, NULL, &left) == -1 && left.tv_sec == 4);
    printf("select %ld.%06ld\n", (long)left.tv_sec, (long)left.tv_usec);
    rest = five;
    alarm_soon();
    CHECK(syscall(SYS_ppoll, NULL, 0, &rest, NULL, 0) == -1 && rest.tv_sec == 4);
    printf("ppoll %ld.%09ld\n", (long)rest.tv_sec, rest.tv_nsec);
    return 0;
}
