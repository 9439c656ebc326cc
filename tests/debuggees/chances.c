// What differs from run to run: random numbers, clocks, processors, and what the system says of itself.
#include "check.h"
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/auxv.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <time.h>
#include <x86intrin.h>

static unsigned long sum = 14695981039346656037UL;
static void fold(const void *bytes, size_t len) {
    for (size_t i = 0; i < len; i++)
        sum = (sum ^ ((const unsigned char *)bytes)[i]) * 1099511628211UL;
}
static void end(const char *what) {
    printf("%s %lx\n", what, sum);
    fflush(stdout);
}

static void numbers(void) {
    unsigned char bytes[300];
    CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
    fold(bytes, sizeof bytes);
    CHECK(getrandom(bytes, 10, GRND_NONBLOCK | GRND_INSECURE) == 10);
    fold(bytes, 10);
    CHECK(getentropy(bytes, 256) == 0);
    fold(bytes, 256);
    const char *names[] = {"/dev/urandom", "/dev/random", "/dev/zero", "/proc/sys/kernel/random/uuid"};
    for (int i = 0; i < 4; i++) {
        int fd = open(names[i], O_RDONLY);
        ssize_t got = read(fd, bytes, 64);
        CHECK(got > 0);
        fold(bytes, got);
        close(fd);
    }
    fold((void *)getauxval(AT_RANDOM), 16);
    char name[] = "/tmp/e2e-chances-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && unlink(name) == 0 && close(fd) == 0);
    fold(name, sizeof name);
    end("numbers");
}

static void clocks(void) {
    for (clockid_t clock = 0; clock < 12; clock++) {
        struct timespec time = {0};
        if (clock_gettime(clock, &time) == 0)
            fold(&time, sizeof time);
        if (clock_getres(clock, &time) == 0)
            fold(&time, sizeof time);
    }
    for (int i = 0; i < 1000; i++) {
        struct timespec time;
        struct timeval of_day;
        CHECK(clock_gettime(i % 2, &time) == 0 && gettimeofday(&of_day, NULL) == 0);
        fold(&time, sizeof time), fold(&of_day, sizeof of_day);
    }
    struct tms times_now;
    clock_t ticks = times(&times_now), used = clock();
    time_t seconds = time(NULL);
    fold(&ticks, sizeof ticks), fold(&used, sizeof used), fold(&seconds, sizeof seconds), fold(&times_now, sizeof times_now);
    struct rusage usage;
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
    fold(&usage, sizeof usage);
    struct timex adjust = {0};
    CHECK(adjtimex(&adjust) >= 0);
    fold(&adjust.time, sizeof adjust.time);
    end("clocks");
}

static void counters(void) {
    unsigned long before = 0;
    for (int i = 0; i < 300; i++) {
        unsigned processor;
        unsigned long now = i % 2 ? __rdtsc() : __rdtscp(&processor);
        CHECK(now > before);
        fold(&now, sizeof now);
        before = now;
        unsigned cpu, node;
        if (i % 10)
            continue;
        CHECK(getcpu(&cpu, &node) == 0);
        fold(&cpu, sizeof cpu);
    }
    int cpu = sched_getcpu();
    CHECK(cpu >= 0);
    fold(&cpu, sizeof cpu);
    end("counters");
}

static void read_all(const char *name) {
    char text[4096];
    int fd = open(name, O_RDONLY);
    if (fd < 0)
        return;
    ssize_t got;
    while ((got = read(fd, text, sizeof text)) > 0)
        fold(text, got);
    close(fd);
}
static void system_says(void) {
    const char *names[] = {"/proc/self/stat", "/proc/self/status", "/proc/self/maps", "/proc/self/smaps", "/proc/self/io",
                           "/proc/self/limits", "/proc/self/sched", "/proc/self/auxv", "/proc/self/environ", "/proc/self/mountinfo",
                           "/proc/stat", "/proc/meminfo", "/proc/uptime", "/proc/loadavg", "/proc/cpuinfo", "/proc/interrupts",
                           "/proc/self/task/self/stat", "/proc/thread-self/status", "/proc/sys/kernel/hostname", "/proc/vmstat",
                           "/sys/devices/system/cpu/online", "/sys/kernel/mm/transparent_hugepage/enabled", "/proc/net/dev",
                           "/sys/class/net/lo/statistics/rx_bytes", "/proc/self/cgroup", "/proc/self/pagemap_none"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        read_all(names[i]);
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));)
        fold(entry->d_name, strlen(entry->d_name));
    closedir(processes);
    struct sysinfo info;
    struct utsname name;
    struct statvfs space;
    CHECK(sysinfo(&info) == 0 && uname(&name) == 0 && statvfs("/tmp", &space) == 0);
    fold(&info, sizeof info), fold(&name, sizeof name), fold(&space.f_bfree, sizeof space.f_bfree);
    char target[256];
    ssize_t len = readlink("/proc/self/exe", target, sizeof target);
    CHECK(len > 0);
    fold(target, len);
    long pages = sysconf(_SC_AVPHYS_PAGES), cores = sysconf(_SC_NPROCESSORS_ONLN);
    fold(&pages, sizeof pages), fold(&cores, sizeof cores);
    end("system");
}

int main(void) {
    numbers();
    clocks();
    counters();
    system_says();
    return 0;
}
