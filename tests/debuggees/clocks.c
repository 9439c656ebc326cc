// Every way to read a clock. The values are printed, so a replay must repeat them.
#include "check.h"
#include <sys/time.h>
#include <sys/times.h>
#include <time.h>
#include <x86intrin.h>

int main(void) {
    struct timespec before = {0}, now;
    struct timeval day;
    for (int i = 0; i < 200; i++) {
        CHECK(clock_gettime(CLOCK_MONOTONIC, &now) == 0);
        CHECK(now.tv_sec > before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec >= before.tv_nsec));
        before = now;
        printf("%ld.%09ld\n", (long)now.tv_sec, now.tv_nsec);
    }
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0 && gettimeofday(&day, NULL) == 0);
    time_t seconds = time(NULL);
    CHECK(seconds >= now.tv_sec && seconds - now.tv_sec < 10);
    printf("%ld %ld %ld %ld\n", (long)now.tv_sec, now.tv_nsec, (long)day.tv_sec, (long)day.tv_usec);
    unsigned long ticks = 0;
    unsigned core;
    for (int i = 0; i < 200; i++) {
        unsigned long next = i % 2 ? __rdtsc() : __rdtscp(&core);
        CHECK(next > ticks);
        ticks = next;
        printf("%lu\n", next);
    }
    for (int id = CLOCK_REALTIME; id <= CLOCK_BOOTTIME; id++)
        if (clock_gettime(id, &now) == 0)
            printf("clock %d %ld %ld\n", id, (long)now.tv_sec, now.tv_nsec);
    struct tms times_now;
    printf("%ld %ld\n", (long)times(&times_now), (long)clock());
    struct timespec brief = {0, 2000000};
    CHECK(nanosleep(&brief, NULL) == 0);
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &brief, NULL) == 0);
    struct tm broken;
    CHECK(localtime_r(&seconds, &broken));
    printf("%d\n", broken.tm_year);
    return 0;
}
