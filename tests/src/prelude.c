#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define must(condition) ((condition) ? (void)0 : failed(#condition, __LINE__))

// Everything that is observed goes in here. A thread's observations come in the order of its turns, which is part of
// what a replay must repeat.
static atomic_ulong checksum = 88172645463325252ul;
static atomic_ulong handled;
static char folder[] = "/tmp/e2e-gen-XXXXXX";
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static unsigned long announced, guarded;
static volatile unsigned long racy;

static void failed(const char *what, int line) {
    fprintf(stderr, "line %d: %s, errno %d\n", line, what, errno);
    _exit(99);
}
static void observe(unsigned long value) {
    unsigned long now = atomic_load(&checksum), next;
    do
        next = (now ^ value) * 6364136223846793005ul + 1442695040888963407ul;
    while (!atomic_compare_exchange_weak(&checksum, &now, next));
}
static void observe_bytes(const void *bytes, size_t len) {
    unsigned long sum = len;
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + ((const unsigned char *)bytes)[i];
    observe(sum);
}
static void on_signal(int number, siginfo_t *info, void *context) {
    int saved = errno;
    (void)info, (void)context;
    atomic_fetch_add(&handled, 1);
    observe(number);
    struct timespec now;
    if (atomic_load(&handled) % 4 == 0 && clock_gettime(CLOCK_MONOTONIC, &now) == 0)
        observe(now.tv_nsec);
    errno = saved;
}
static void begin(void) {
    must(mkdtemp(folder));
    struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_RESTART};
    for (int i = 0; i < 3; i++)
        must(sigaction((int[]){SIGUSR1, SIGUSR2, SIGALRM}[i], &action, NULL) == 0);
}
static void start_timer(int usec) {
    struct itimerval timer = {{0, usec}, {0, usec}};
    must(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}
static void path_of(char *path, int number) { sprintf(path, "%s/file-%d", folder, number); }
static int end(void) {
    struct itimerval off = {0};
    must(setitimer(ITIMER_REAL, &off, NULL) == 0);
    char path[64];
    for (int i = 0; i < 64; i++) {
        path_of(path, i);
        unlink(path);
    }
    rmdir(folder);
    printf("%lx %lu %lu\n", atomic_load(&checksum), atomic_load(&handled), racy);
    return 0;
}
static void reap(pid_t child) {
    int status;
    pid_t got;
    do
        got = waitpid(child, &status, 0);
    while (got == -1 && errno == EINTR);
    must(got == child && WIFEXITED(status));
    observe(status);
}

static void write_file(int number, int len) {
    char path[64], bytes[5001];
    path_of(path, number);
    int fd = open(path, O_RDWR | O_CREAT | (len & 1 ? O_TRUNC : O_APPEND), 0600);
    must(fd >= 0);
    for (int i = 0; i < len; i++)
        bytes[i] = (char)(i * number + len);
    observe(write(fd, bytes, len));
    struct stat meta;
    must(fstat(fd, &meta) == 0);
    observe(meta.st_size), observe(meta.st_ino), observe(meta.st_mtim.tv_nsec);
    close(fd);
}
static void read_file(int number, int len) {
    char path[64], bytes[5001];
    path_of(path, number);
    int fd = open(path, O_RDONLY);
    observe(fd < 0);
    if (fd < 0)
        return;
    ssize_t got = read(fd, bytes, len);
    must(got >= 0);
    observe_bytes(bytes, got);
    struct iovec pieces[2] = {{bytes, 100}, {bytes + 200, 300}};
    got = preadv(fd, pieces, 2, 3);
    observe(got);
    observe_bytes(bytes, 500 < got ? 500 : 0);
    close(fd);
}
static void through_pipe(int len) {
    int ends[2];
    char bytes[5001] = {0};
    must(pipe(ends) == 0);
    memset(bytes, len, len);
    observe(write(ends[1], bytes, len));
    memset(bytes, 0, len);
    observe(read(ends[0], bytes, sizeof bytes));
    observe_bytes(bytes, len);
    close(ends[0]), close(ends[1]);
}
static void look_at_clocks(void) {
    struct timespec now;
    struct timeval day;
    for (int i = 0; i < 5; i++) {
        must(clock_gettime(i % 2 ? CLOCK_MONOTONIC : CLOCK_REALTIME, &now) == 0);
        observe(now.tv_nsec);
    }
    must(gettimeofday(&day, NULL) == 0);
    observe(day.tv_usec), observe(time(NULL));
    observe(__builtin_ia32_rdtsc());
}
static void random_bytes(int len) {
    char bytes[400];
    observe(getrandom(bytes, len, 0));
    observe_bytes(bytes, len);
}
static char *map(size_t len) {
    char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    must(at != MAP_FAILED);
    return at;
}
static void map_and_unmap(int pages, int number) {
    size_t len = pages * 4096ul;
    char *at = map(len);
    observe((unsigned long)at);
    for (size_t i = 0; i < len; i += 512)
        at[i] = (char)(i + number);
    observe_bytes(at, len);
    if (pages > 2) {
        must(madvise(at + 4096, 4096, MADV_DONTNEED) == 0);
        must(munmap(at + 8192, 4096) == 0);
        observe_bytes(at, 8192);
        if (pages > 3)
            observe_bytes(at + 3 * 4096, len - 3 * 4096);
    }
    must(munmap(at, len) == 0);
    char path[64];
    path_of(path, number);
    int fd = open(path, O_RDWR);
    struct stat meta;
    if (fd >= 0 && fstat(fd, &meta) == 0 && meta.st_size > 0) {
        at = mmap(NULL, meta.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
        must(at != MAP_FAILED);
        observe((unsigned char)at[0]);
        at[0]++;
        munmap(at, meta.st_size);
    }
    if (fd >= 0)
        close(fd);
}
static void remap(int from, int to) {
    char *at = map(from * 4096ul);
    at[0] = 1, at[from * 4096 - 1] = 2;
    at = mremap(at, from * 4096ul, to * 4096ul, MREMAP_MAYMOVE);
    must(at != MAP_FAILED);
    observe((unsigned long)at);
    at[to * 4096 - 1] += 3;
    observe_bytes(at, to * 4096);
    munmap(at, to * 4096ul);
}
static void heap(int len) {
    char *blocks[8];
    for (int i = 0; i < 8; i++) {
        blocks[i] = malloc(len * (i + 1));
        memset(blocks[i], i, len * (i + 1));
        observe((unsigned long)blocks[i]);
    }
    for (int i = 0; i < 8; i++) {
        int k = (i * 5) % 8;
        observe_bytes(blocks[k], 64 < len ? 64 : len);
        free(blocks[k]);
    }
}
static void grow_break(int pages) {
    char *end = sbrk(pages * 4096);
    must(end != (char *)-1);
    observe((unsigned long)end);
    for (int i = 0; i < pages; i++)
        end[i * 4096] = (char)i;
}
static void compute(long rounds) {
    unsigned long x = rounds;
    for (long i = 0; i < rounds; i++)
        x = x * 6364136223846793005ul + i;
    racy += x & 7;
    observe(x);
}
static void counted(int rounds) {
    for (int i = 0; i < rounds % 500; i++) {
        pthread_mutex_lock(&mutex);
        guarded++;
        racy++;
        pthread_mutex_unlock(&mutex);
    }
    observe(guarded);
}
static void announce(void) {
    pthread_mutex_lock(&mutex);
    announced++;
    pthread_cond_broadcast(&condition);
    pthread_mutex_unlock(&mutex);
}
static void wait_a_little(int msec) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (msec % 10 + 1) * 1000000l;
    if (until.tv_nsec >= 1000000000)
        until.tv_nsec -= 1000000000, until.tv_sec++;
    pthread_mutex_lock(&mutex);
    unsigned long before = announced;
    int result = 0;
    while (announced == before && result == 0)
        result = pthread_cond_timedwait(&condition, &mutex, &until);
    observe(result), observe(announced);
    pthread_mutex_unlock(&mutex);
}
static void atomics(int rounds) {
    static atomic_long values[4];
    for (int i = 0; i < rounds; i++)
        racy += atomic_fetch_add(&values[i % 4], i) & 1;
    observe(atomic_load(&values[rounds % 4]));
}
static void to_self(int number) {
    union sigval value = {.sival_int = number};
    if (number % 2)
        observe(pthread_kill(pthread_self(), SIGUSR2));
    else
        observe(sigqueue(getpid(), SIGUSR2, value) != 0);
}
static void blocked_signal(int number) {
    sigset_t set, old, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    must(pthread_sigmask(SIG_BLOCK, &set, &old) == 0);
    pthread_kill(pthread_self(), SIGUSR2);
    must(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR2));
    if (number % 2) {
        siginfo_t info;
        int got;
        do
            got = sigwaitinfo(&set, &info);
        while (got == -1 && errno == EINTR);
        observe(got), observe(info.si_pid);
    }
    must(pthread_sigmask(SIG_SETMASK, &old, NULL) == 0);
    observe(atomic_load(&handled));
}
static void forked(int value) {
    int ends[2];
    must(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        long values[2] = {getpid(), value * 3};
        _exit(write(ends[1], values, sizeof values) == sizeof values ? value & 31 : 98);
    }
    must(child > 0);
    long values[2];
    ssize_t got;
    do
        got = read(ends[0], values, sizeof values);
    while (got == -1 && errno == EINTR);
    must(got == sizeof values && values[0] == child && values[1] == value * 3);
    observe(child);
    reap(child);
    close(ends[0]), close(ends[1]);
}
static void spawned(void) {
    extern char **environ;
    char *arguments[] = {"true", NULL};
    pid_t child;
    must(posix_spawn(&child, "/bin/true", NULL, NULL, arguments, environ) == 0);
    reap(child);
}
static sigjmp_buf back;
static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    observe((unsigned long)info->si_addr);
    siglongjmp(back, number);
}
static void protected(int pages) {
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;
    must(sigaction(SIGSEGV, &action, &old) == 0);
    char *at = map(pages * 4096ul);
    must(mprotect(at, pages * 4096ul, pages & 1 ? PROT_READ : PROT_NONE) == 0);
    volatile int faults = 0;
    for (volatile int i = 0; i < pages; i++)
        if (sigsetjmp(back, 1) == 0)
            at[i * 4096 + i] = 1;
        else
            faults++;
    must(faults == pages);
    munmap(at, pages * 4096ul);
    must(sigaction(SIGSEGV, &old, NULL) == 0);
}
static void time_out(int msec) {
    int ends[2];
    must(pipe(ends) == 0);
    struct pollfd descriptor = {.fd = ends[0], .events = POLLIN};
    observe(poll(&descriptor, 1, msec));
    observe(descriptor.revents);
    close(ends[0]), close(ends[1]);
}
static void names(int number) {
    char path[64], other[64], text[256];
    path_of(path, number);
    path_of(other, (number + 1) % 64);
    observe(rename(path, other));
    observe(access(other, R_OK));
    ssize_t got = readlink("/proc/self/exe", text, sizeof text);
    observe_bytes(text, got > 0 ? got : 0);
    must(getcwd(text, sizeof text));
    observe_bytes(text, strlen(text));
    observe(getpid()), observe(getppid() > 0), observe(syscall(SYS_gettid));
}
static void vectors(int rounds) {
    double sum = 0, product = 1.0;
    for (int i = 1; i < rounds; i++) {
        sum += 1.0 / i;
        product = product * 1.0001 + sum;
    }
    long double wide = (long double)sum * 3 + product;
    char text[100];
    observe_bytes(text, snprintf(text, sizeof text, "%.17g %.17g %Lg", sum, product, wide));
}
static void shared_with_child(int pages) {
    size_t len = pages * 4096ul;
    unsigned char *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    must(at != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        for (size_t i = 0; i < len; i += 64)
            at[i] = (unsigned char)(i / 64 + pages);
        _exit(5);
    }
    must(child > 0);
    reap(child);
    observe_bytes(at, len);
    munmap(at, len);
}

// Not every program uses every step.
__attribute__((used)) static void *const steps[] = {
    start_timer, write_file, read_file,  through_pipe, look_at_clocks, random_bytes,   map_and_unmap, remap,
    heap,        grow_break, compute,    counted,      announce,       wait_a_little,  atomics,       to_self,
    blocked_signal, forked,  spawned,    protected,    time_out,       names,          vectors,       shared_with_child,
    reap,
};

