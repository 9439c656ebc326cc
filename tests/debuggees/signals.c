// Signals of every kind: handlers on other stacks, nested, left by a jump, raised by instructions, blocked, waited for.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>

static volatile sig_atomic_t calls, depth, depth_max;
static volatile siginfo_t last;
static char alternate[65536];
static sigjmp_buf back;

static void handle(int number, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_sigaction = handler, .sa_flags = flags | SA_SIGINFO};
    CHECK(sigaction(number, &action, NULL) == 0);
}
static void note(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    calls++;
    last = *info;
}

static void on_stack(int number, siginfo_t *info, void *context) {
    char here;
    CHECK(&here >= alternate && &here < alternate + sizeof alternate);
    note(number, info, context);
}
static void altstack(void) {
    stack_t stack = {.ss_sp = alternate, .ss_size = sizeof alternate};
    CHECK(sigaltstack(&stack, NULL) == 0);
    handle(SIGUSR1, on_stack, SA_ONSTACK);
    calls = 0;
    raise(SIGUSR1);
    CHECK(calls == 1 && last.si_pid == getpid() && last.si_code == SI_TKILL);
    union sigval value = {.sival_int = 4711};
    CHECK(sigqueue(getpid(), SIGUSR1, value) == 0);
    CHECK(calls == 2 && last.si_value.sival_int == 4711 && last.si_code == SI_QUEUE);
    GOOD("altstack");
}

static void nest(int number, siginfo_t *info, void *context) {
    depth++;
    if (depth > depth_max)
        depth_max = depth;
    if (depth < 5)
        kill(getpid(), SIGUSR2);
    note(number, info, context);
    depth--;
}
static void nested(void) {
    handle(SIGUSR2, nest, SA_NODEFER);
    calls = 0;
    kill(getpid(), SIGUSR2);
    CHECK(depth_max == 5 && calls == 5);
    GOOD("nested");
}

static void jump(int number, siginfo_t *info, void *context) {
    note(number, info, context);
    siglongjmp(back, number);
}
static void jump_out(void) {
    handle(SIGSEGV, jump, 0);
    char *page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 20; i++) {
        if (sigsetjmp(back, 1) == 0) {
            page[i * 8] = 1;
            CHECK(!"unreachable");
        }
        CHECK(last.si_addr == page + i * 8 && last.si_code == SEGV_ACCERR);
    }
    munmap(page, 4096);
    if (sigsetjmp(back, 1) == 0)
        ((void (*)(void))page)();
    CHECK(last.si_addr == page && last.si_code == SEGV_MAPERR);
    GOOD("jump out");
}

static void skip(int number, siginfo_t *info, void *context) {
    note(number, info, context);
    ucontext_t *interrupted = context;
    int length = number == SIGFPE ? 3 : number == SIGILL ? 2 : 0;
    interrupted->uc_mcontext.gregs[REG_RIP] += length;
}
static void by_instructions(void) {
    handle(SIGFPE, skip, 0);
    handle(SIGILL, skip, 0);
    handle(SIGTRAP, skip, 0);
    calls = 0;
    for (int i = 0; i < 10; i++) {
        __asm__ volatile("xor %%edx, %%edx\n mov $1, %%eax\n xor %%r8d, %%r8d\n div %%r8d" ::: "rax", "rdx", "r8");
        CHECK(last.si_signo == SIGFPE && last.si_code == FPE_INTDIV);
        __asm__ volatile("ud2");
        CHECK(last.si_signo == SIGILL);
        __asm__ volatile("int3");
        CHECK(last.si_signo == SIGTRAP);
    }
    CHECK(calls == 30);
    GOOD("by instructions");
}

static void blocked(void) {
    sigset_t set, old, pending;
    handle(SIGUSR1, note, 0);
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0);
    calls = 0;
    kill(getpid(), SIGUSR1);
    kill(getpid(), SIGUSR1);
    CHECK(calls == 0 && sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1));
    sigset_t none = old;
    sigdelset(&none, SIGUSR1);
    CHECK(sigsuspend(&none) == -1 && errno == EINTR && calls == 1);
    kill(getpid(), SIGUSR1);
    siginfo_t info;
    CHECK(sigwaitinfo(&set, &info) == SIGUSR1 && info.si_pid == getpid());
    struct timespec brief = {0, 1000000};
    CHECK(sigtimedwait(&set, &info, &brief) == -1 && errno == EAGAIN);
    kill(getpid(), SIGUSR1);
    CHECK(sigprocmask(SIG_SETMASK, &old, NULL) == 0);
    CHECK(calls == 2);
    GOOD("blocked");
}

static void alarm_in(int usec) {
    struct itimerval timer = {{0, 0}, {0, usec}};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
}
static void interrupted_calls(void) {
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    handle(SIGALRM, note, 0);
    calls = 0;
    alarm_in(20000);
    CHECK(read(ends[0], &byte, 1) == -1 && errno == EINTR && calls == 1);
    alarm_in(20000);
    struct pollfd descriptor = {.fd = ends[0], .events = POLLIN};
    CHECK(poll(&descriptor, 1, 5000) == -1 && errno == EINTR && calls == 2);
    struct timespec long_time = {5, 0}, left;
    alarm_in(20000);
    CHECK(nanosleep(&long_time, &left) == -1 && errno == EINTR && left.tv_sec == 4 && calls == 3);
    // With SA_RESTART the read goes on until there is something.
    handle(SIGALRM, note, SA_RESTART);
    pid_t child = fork();
    if (child == 0) {
        usleep(80000);
        CHECK(write(ends[1], "x", 1) == 1);
        _exit(0);
    }
    alarm_in(20000);
    CHECK(read(ends[0], &byte, 1) == 1 && byte == 'x' && calls == 4);
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    close(ends[0]), close(ends[1]);
    GOOD("interrupted calls");
}

static volatile sig_atomic_t children;
static void reap(int number, siginfo_t *info, void *context) {
    (void)number, (void)info, (void)context;
    int status, saved = errno;
    while (waitpid(-1, &status, WNOHANG) > 0)
        children++;
    errno = saved;
}
static void of_children(void) {
    handle(SIGCHLD, reap, 0);
    sigset_t set, old;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &old);
    for (int i = 0; i < 5; i++)
        if (fork() == 0)
            _exit(i);
    while (children < 5)
        sigsuspend(&old);
    sigprocmask(SIG_SETMASK, &old, NULL);
    signal(SIGCHLD, SIG_DFL);
    GOOD("of children");
}

static volatile unsigned long work;
static void while_computing(void) {
    handle(SIGALRM, note, 0);
    handle(SIGVTALRM, note, 0);
    handle(SIGPROF, note, 0);
    calls = 0;
    struct itimerval timer = {{0, 5000}, {0, 5000}}, off = {0};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    CHECK(setitimer(ITIMER_VIRTUAL, &timer, NULL) == 0);
    CHECK(setitimer(ITIMER_PROF, &timer, NULL) == 0);
    while (calls < 30)
        work = work * 31 + 1;
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    CHECK(setitimer(ITIMER_VIRTUAL, &off, NULL) == 0);
    CHECK(setitimer(ITIMER_PROF, &off, NULL) == 0);
    GOOD("while computing");
}

static void *target(void *argument) {
    while (calls < 5)
        work++;
    return argument;
}
static void to_a_thread(void) {
    pthread_t thread;
    handle(SIGUSR1, note, 0);
    calls = 0;
    CHECK(pthread_create(&thread, NULL, target, NULL) == 0);
    for (int i = 1; i <= 5; i++) {
        CHECK(pthread_kill(thread, SIGUSR1) == 0);
        while (calls < i)
            usleep(1000);
    }
    pthread_join(thread, NULL);
    GOOD("to a thread");
}

static void posix_timer(void) {
    handle(SIGRTMIN, note, 0);
    calls = 0;
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN, .sigev_value.sival_int = 99};
    timer_t timer;
    CHECK(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec period = {{0, 5000000}, {0, 5000000}};
    CHECK(timer_settime(timer, 0, &period, NULL) == 0);
    while (calls < 5)
        work++;
    CHECK(timer_delete(timer) == 0 && last.si_code == SI_TIMER && last.si_value.sival_int == 99);
    GOOD("posix timer");
}

static void own_mask(int number, siginfo_t *info, void *context) {
    note(number, info, context);
    sigset_t now;
    sigprocmask(SIG_SETMASK, NULL, &now);
    CHECK(sigismember(&now, SIGUSR1) && sigismember(&now, SIGHUP) && !sigismember(&now, SIGTERM));
}
static void masks(void) {
    struct sigaction action = {.sa_sigaction = own_mask, .sa_flags = SA_SIGINFO | SA_RESETHAND}, old;
    sigaddset(&action.sa_mask, SIGHUP);
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0);
    calls = 0;
    raise(SIGUSR1);
    CHECK(calls == 1 && sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
    signal(SIGUSR1, SIG_IGN);
    raise(SIGUSR1);
    GOOD("masks");
}

int main(void) {
    altstack();
    nested();
    jump_out();
    by_instructions();
    blocked();
    interrupted_calls();
    of_children();
    while_computing();
    to_a_thread();
    posix_timer();
    masks();
    return 0;
}
