// Sessions and groups, orphans and daemons, stops, limits, personalities, and what prctl(2) offers.
#include "check.h"
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

static int status_of(pid_t child, int flags) {
    int status;
    CHECK(waitpid(child, &status, flags) == child);
    return status;
}
static int ended(pid_t child) {
    int status = status_of(child, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
static volatile int signals;
static void count(int number) { (void)number, signals++; }

static void groups(void) {
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        pid_t session = setsid();
        CHECK(session == getpid() && getsid(0) == session && getpgrp() == session && setsid() == -1);
        signal(SIGUSR1, count);
        // A group of two gets a signal.
        pid_t members[2];
        for (int i = 0; i < 2; i++)
            if ((members[i] = fork()) == 0) {
                CHECK(setpgid(0, 0) == 0 || errno == EPERM);
                if (i == 1)
                    CHECK(setpgid(0, session) == 0);
                signals = 0;
                CHECK(write(ends[1], "x", 1) == 1);
                while (!signals)
                    usleep(1000);
                _exit(i);
            }
        CHECK(read(ends[0], &byte, 1) == 1 && read(ends[0], &byte, 1) == 1);
        CHECK(kill(0, SIGUSR1) == 0 && signals == 1);
        int status;
        CHECK(wait(&status) > 0 && WEXITSTATUS(status) == 1);
        // The other has a group of its own; tcsetpgrp and such need a terminal.
        siginfo_t info = {0};
        CHECK(waitid(P_ALL, 0, &info, WEXITED | WNOHANG) == 0 && info.si_pid == 0);
        CHECK(kill(-getpgid(0), 0) == 0 && waitid(P_PGID, getpgrp(), &info, WEXITED) == -1 && errno == ECHILD);
        CHECK(getpgid(members[0]) == members[0] && killpg(members[0], SIGUSR1) == 0 && ended(members[0]) == 0);
        _exit(0);
    }
    CHECK(ended(child) == 0);
    close(ends[0]), close(ends[1]);
    GOOD("groups");
}

static void daemons(void) {
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(setsid() > 0);
        if (fork() == 0) {
            // A daemon: two forks away from who started it, in a session of its own.
            umask(027);
            CHECK(chdir("/") == 0);
            usleep(3000);
            _exit(getppid() == getsid(0) ? 1 : 3);
        }
        _exit(2);
    }
    CHECK(ended(child) == 2);
    int status;
    CHECK(wait(&status) > 0 && WEXITSTATUS(status) == 3);
    int on = 0;
    CHECK(prctl(PR_GET_CHILD_SUBREAPER, &on) == 0 && on == 1 && prctl(PR_SET_CHILD_SUBREAPER, 0) == 0);
    // A child that wants to die with its parent.
    child = fork();
    if (child == 0) {
        pid_t parent = getpid();
        if (fork() == 0) {
            CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
            if (getppid() != parent)
                _exit(0);
            for (;;)
                pause();
        }
        usleep(3000);
        _exit(0);
    }
    CHECK(ended(child) == 0);
    GOOD("daemons");
}

static volatile int is_over;
static void over(int number) { (void)number, is_over = 1; }
static void *sleeps(void *argument) {
    while (!is_over) {
        struct timespec left = {0, 20000000};
        while (nanosleep(&left, &left) != 0)
            CHECK(errno == EINTR);
    }
    return argument;
}
// Stopped and continued: while it sleeps (and the sleep goes on), computes, has threads, waits for a child.
static void stops(void) {
    int ends[2];
    char byte;
    CHECK(pipe(ends) == 0);
    for (int round = 0; round < 4; round++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t thread;
            signal(SIGCONT, round % 2 ? count : SIG_DFL);
            signal(SIGUSR2, over);
            if (round >= 2)
                CHECK(pthread_create(&thread, NULL, sleeps, NULL) == 0);
            CHECK(write(ends[1], "x", 1) == 1);
            if (round == 1)
                while (!is_over)
                    ;
            else
                sleeps(NULL);
            if (round >= 2)
                CHECK(pthread_join(thread, NULL) == 0);
            _exit(10 + round);
        }
        CHECK(read(ends[0], &byte, 1) == 1);
        usleep(2000);
        for (int i = 0; i < 3; i++) {
            CHECK(kill(child, i ? SIGSTOP : SIGTSTP) == 0);
            int status = status_of(child, WUNTRACED);
            CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == (i ? SIGSTOP : SIGTSTP));
            CHECK(kill(child, SIGCONT) == 0 && WIFCONTINUED(status_of(child, WCONTINUED)));
        }
        CHECK(kill(child, SIGUSR2) == 0 && ended(child) == 10 + round);
    }
    // Killed while it is stopped, and one that stops itself.
    pid_t child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        _exit(6);
    }
    CHECK(WIFSTOPPED(status_of(child, WUNTRACED)) && kill(child, SIGCONT) == 0 && ended(child) == 6);
    child = fork();
    if (child == 0) {
        raise(SIGSTOP);
        _exit(6);
    }
    CHECK(WIFSTOPPED(status_of(child, WUNTRACED)) && kill(child, SIGKILL) == 0 && ended(child) == 128 + SIGKILL);
    GOOD("stops");
}

static void on_limit(int number) { (void)number, signals++; }
static void limits(void) {
    struct rlimit limit;
    pid_t child = fork();
    if (child == 0) {
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        limit.rlim_cur = 20;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        int fd;
        while ((fd = dup(0)) >= 0)
            CHECK(fd < 20);
        CHECK(errno == EMFILE);
        for (fd = 3; fd < 20; fd++)
            close(fd);
        // Files.
        char name[] = "/tmp/e2e-limit-XXXXXX";
        fd = mkstemp(name);
        CHECK(fd >= 0 && unlink(name) == 0);
        signal(SIGXFSZ, on_limit);
        limit = (struct rlimit){1000, RLIM_INFINITY};
        signals = 0;
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0 && pwrite(fd, "x", 1, 999) == 1);
        CHECK(pwrite(fd, "x", 1, 1000) == -1 && errno == EFBIG && signals == 1);
        // Memory.
        CHECK(getrlimit(RLIMIT_AS, &limit) == 0);
        limit.rlim_cur = 1 << 28;
        CHECK(setrlimit(RLIMIT_AS, &limit) == 0 && malloc(1 << 29) == NULL && errno == ENOMEM);
        // Processor time.
        signal(SIGXCPU, on_limit);
        struct rlimit other;
        CHECK(prlimit(getpid(), RLIMIT_CORE, &(struct rlimit){0, 0}, &other) == 0);
        CHECK(getrlimit(RLIMIT_CORE, &other) == 0 && other.rlim_max == 0);
        _exit(8);
    }
    CHECK(ended(child) == 8);
    child = fork();
    if (child == 0) {
        // A deep stack in a small limit.
        limit = (struct rlimit){1 << 20, 1 << 20};
        CHECK(setrlimit(RLIMIT_STACK, &limit) == 0 && setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) == 0);
        execl("/proc/self/exe", "lineage", "deep", NULL);
    }
    CHECK(ended(child) == 128 + SIGSEGV);
    CHECK(getpriority(PRIO_PROCESS, 0) <= 19 && nice(1) != -1 && setpriority(PRIO_PROCESS, 0, 5) == 0);
    GOOD("limits");
}

static void personalities(void) {
    pid_t child = fork();
    if (child == 0) {
        int before = personality(0xffffffff);
        CHECK(before >= 0 && personality(before | ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT) == before);
        CHECK(personality(0xffffffff) == (before | ADDR_NO_RANDOMIZE | ADDR_COMPAT_LAYOUT));
        execl("/proc/self/exe", "lineage", "fixed", NULL);
    }
    CHECK(ended(child) == 5);
    child = fork();
    if (child == 0) {
        CHECK(personality(READ_IMPLIES_EXEC) >= 0);
        execl("/proc/self/exe", "lineage", "readable", NULL);
    }
    CHECK(ended(child) == 5);
    GOOD("personalities");
}

static void *named(void *argument) {
    char name[16];
    CHECK(prctl(PR_SET_NAME, "a thread") == 0 && prctl(PR_GET_NAME, name) == 0 && !strcmp(name, "a thread"));
    return argument;
}
static void offers(void) {
    char name[16];
    pthread_t thread;
    CHECK(prctl(PR_SET_NAME, "lineage of many") == 0 && prctl(PR_GET_NAME, name) == 0 && !strcmp(name, "lineage of many"));
    CHECK(pthread_create(&thread, NULL, named, NULL) == 0 && pthread_join(thread, NULL) == 0);
    int value = -1;
    CHECK(prctl(PR_SET_DUMPABLE, 0) == 0 && prctl(PR_GET_DUMPABLE) == 0 && prctl(PR_SET_DUMPABLE, 1) == 0);
    CHECK(prctl(PR_SET_TIMERSLACK, 1000) == 0 && prctl(PR_GET_TIMERSLACK) == 1000);
    CHECK(prctl(PR_GET_TSC, &value) == 0 && value == PR_TSC_ENABLE);
    CHECK(prctl(PR_CAPBSET_READ, 0) >= 0 && prctl(PR_GET_KEEPCAPS) == 0 && prctl(PR_GET_SECUREBITS) >= 0);
    CHECK(prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0 && prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) == 1);
    CHECK(prctl(PR_MCE_KILL_GET, 0, 0, 0, 0) >= 0 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) >= 0);
    CHECK(prctl(123456, 0, 0, 0, 0) == -1 && errno == EINVAL);
    GOOD("offers");
}

static int deep(int depth) {
    volatile char frame[4096];
    frame[0] = (char)depth;
    return depth ? deep(depth - 1) + frame[0] : 0;
}

int main(int count_of_arguments, char **arguments) {
    if (count_of_arguments > 1 && !strcmp(arguments[1], "deep"))
        return deep(1000) * 0;
    if (count_of_arguments > 1)
        return 5;
    groups();
    daemons();
    stops();
    limits();
    personalities();
    offers();
    return 0;
}
