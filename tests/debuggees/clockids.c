// Every clock, by every way to ask for it, many times: by the C library, by plain system calls, and into memory that is
// not there.
#include "check.h"
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#ifndef PR_GET_TSC
#define PR_GET_TSC 25
#endif

static void show(const char *what, long id, const struct timespec *at) {
    printf("%s %ld %ld.%09ld\n", what, id, (long)at->tv_sec, at->tv_nsec);
}

static void all_clocks(void) {
    static const clockid_t rising[] = {CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_MONOTONIC_COARSE, CLOCK_BOOTTIME};
    for (unsigned index = 0; index < sizeof rising / sizeof *rising; index++) {
        struct timespec before = {0}, now;
        for (int i = 0; i < 500; i++) {
            CHECK(clock_gettime(rising[index], &now) == 0);
            CHECK(now.tv_sec > before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec >= before.tv_nsec));
            before = now;
        }
        show("rising", rising[index], &now);
    }
    for (int i = 0; i < 20; i++)
        for (clockid_t id = -3; id < 30; id++) {
            struct timespec library = {-1, -1}, kernel = {-1, -1};
            int result = clock_gettime(id, &library);
            CHECK(syscall(SYS_clock_gettime, id, &kernel) == result);
            printf("%d ", result);
            show("library", id, &library);
            show("kernel", id, &kernel);
        }
}

static void other_ways(void) {
    for (int i = 0; i < 100; i++) {
        struct timeval day = {0};
        struct timezone zone = {-1, -1};
        time_t seconds = 0;
        CHECK(gettimeofday(&day, NULL) == 0);
        printf("%ld.%06ld\n", (long)day.tv_sec, (long)day.tv_usec);
        CHECK(syscall(SYS_gettimeofday, &day, &zone) == 0 && syscall(SYS_gettimeofday, NULL, &zone) == 0);
        printf("%ld.%06ld %d\n", (long)day.tv_sec, (long)day.tv_usec, zone.tz_minuteswest);
        CHECK(time(&seconds) == seconds && time(NULL) >= seconds);
        printf("%ld %ld\n", (long)seconds, (long)syscall(SYS_time, NULL));
    }
}

static void wrong_addresses(void) {
    char *pages = malloc(4);
    struct timespec now;
    for (int i = 0; i < 20; i++) {
        errno = 0;
        CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, 8L) == -1 && errno == EFAULT);
        errno = 0;
        CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, NULL) == -1 && errno == EFAULT);
        errno = 0;
        CHECK(syscall(SYS_gettimeofday, -1L, NULL) == -1 && errno == EFAULT);
        errno = 0;
        CHECK(syscall(SYS_time, 16L) == -1 && errno == EFAULT);
        CHECK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now) == 0);
        show("after", i, &now);
    }
    free(pages);
}

int main(void) {
    all_clocks();
    other_ways();
    wrong_addresses();
    int mode = 0;
    CHECK(prctl(PR_GET_TSC, &mode) == 0 && mode == 1);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        all_clocks();
        fflush(stdout);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    return 0;
}
