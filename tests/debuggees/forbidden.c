// A program that forbids itself the time stamp counter: reading it is a SIGSEGV, in whatever code, also in its children.
#include "check.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <x86intrin.h>

static sigjmp_buf back;
static volatile int code;
static void faulted(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    code = info->si_code;
    siglongjmp(back, 1);
}

static int mode(void) {
    int mode = -1;
    CHECK(prctl(PR_GET_TSC, &mode) == 0);
    return mode;
}

__attribute__((noinline)) static int own_faults(void) {
    if (sigsetjmp(back, 1))
        return 1;
    return __rdtsc() == 0;
}
__attribute__((noinline)) static int other_faults(void) {
    unsigned core;
    if (sigsetjmp(back, 1))
        return 1;
    return __rdtscp(&core) == 0;
}
static int generated_faults(void) {
    static const unsigned char rdtsc[] = {0x0f, 0x31, 0xc3};
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    memcpy(page, rdtsc, sizeof rdtsc);
    if (sigsetjmp(back, 1))
        return 1;
    ((void (*)(void))page)();
    return 0;
}

static void expect(int wanted) {
    CHECK(mode() == (wanted ? PR_TSC_SIGSEGV : PR_TSC_ENABLE));
    for (int i = 0; i < 3; i++)
        CHECK(own_faults() == wanted && other_faults() == wanted);
    CHECK(generated_faults() == wanted && (!wanted || code == SI_KERNEL));
}

static void *free_thread(void *unused) {
    (void)unused;
    // It has it from the thread that made it, and may change it for itself.
    CHECK(mode() == PR_TSC_SIGSEGV && prctl(PR_SET_TSC, PR_TSC_ENABLE) == 0);
    unsigned long before = __rdtsc(), after = __rdtsc();
    CHECK(after > before && mode() == PR_TSC_ENABLE);
    return NULL;
}

static void in_child(void (*part)(void)) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        part();
        fflush(stdout);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void forbidden(void) { expect(1); }
static void allowed(void) {
    CHECK(prctl(PR_SET_TSC, PR_TSC_ENABLE) == 0);
    expect(0);
    execl("/proc/self/exe", "forbidden", "allowed", NULL);
}
// The next program may not either; the loader may be the first that tries.
static void again(void) {
    signal(SIGSEGV, SIG_DFL);
    pid_t child = fork();
    if (child == 0)
        execl("/proc/self/exe", "forbidden", "forbidden", "again", NULL);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    printf("again: %x\n", status);
}
static void dies(void) {
    signal(SIGSEGV, SIG_DFL);
    pid_t child = fork();
    if (child == 0) {
        __rdtsc();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

int main(int count, char **arguments) {
    (void)arguments;
    struct sigaction action = {.sa_sigaction = faulted, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    expect(count > 2);
    if (count > 1)
        return 0;
    CHECK(prctl(PR_SET_TSC, 3) == -1 && errno == EINVAL && prctl(PR_GET_TSC, 1L) == -1 && errno == EFAULT);
    CHECK(prctl(PR_SET_TSC, PR_TSC_SIGSEGV) == 0);
    expect(1);
    in_child(forbidden);
    in_child(allowed);
    in_child(dies);
    in_child(again);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, free_thread, NULL) == 0 && pthread_join(thread, NULL) == 0);
    expect(1);
    CHECK(prctl(PR_SET_TSC, PR_TSC_ENABLE) == 0);
    expect(0);
    GOOD("forbidden");
    return 0;
}
