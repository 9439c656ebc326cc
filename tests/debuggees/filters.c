// Seccomp filters of the program's own: errors, traps, notifications, deaths; inherited, and stacked.
#include "check.h"
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>

// Answers one call in this way, and allows all others.
static int filter(int call, uint32_t answer, unsigned flags) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, answer),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {4, code};
    CHECK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
    return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

static int in_child(void (*act)(void)) {
    pid_t child = fork();
    if (child == 0) {
        act();
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static volatile int traps;
static volatile siginfo_t last;
static void on_sys(int number, siginfo_t *info, void *context) {
    ucontext_t *interrupted = context;
    (void)number;
    last = *info;
    traps++;
    interrupted->uc_mcontext.gregs[REG_RAX] = 4711;
}

static void errors(void) {
    CHECK(filter(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, 0) == 0);
    CHECK(syscall(SYS_getppid) == -1 && errno == EXDEV);
    CHECK(prctl(PR_GET_SECCOMP) == 2 && prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
    // It holds for children and for other programs, and a second one on top of it.
    CHECK(filter(SYS_getpgid, SECCOMP_RET_ERRNO | EILSEQ, 0) == 0);
    CHECK(in_child((void (*)(void))getppid) == 0);
    CHECK(syscall(SYS_getpgid, 0) == -1 && errno == EILSEQ && syscall(SYS_getppid) == -1 && errno == EXDEV);
    execl("/proc/self/exe", "filters", "again", NULL);
}
static void traced_without_tracer(void) {
    CHECK(filter(SYS_getppid, SECCOMP_RET_TRACE | 5, 0) == 0);
    CHECK(syscall(SYS_getppid) == -1 && errno == ENOSYS);
    CHECK(syscall(SYS_getpid) > 0);
    CHECK(filter(SYS_getpgid, SECCOMP_RET_TRACE, 0) == 0);
    CHECK(syscall(SYS_getpgid, 0) == -1 && errno == ENOSYS);
}
static void trapped(void) {
    struct sigaction action = {.sa_sigaction = on_sys, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSYS, &action, NULL) == 0);
    CHECK(filter(SYS_getppid, SECCOMP_RET_TRAP | 33, 0) == 0);
    for (int i = 1; i <= 5; i++) {
        CHECK(syscall(SYS_getppid) == 4711 && traps == i);
        CHECK(last.si_signo == SIGSYS && last.si_code == 1 && last.si_syscall == SYS_getppid && last.si_errno == 33);
    }
    printf("%d traps\n", traps);
    fflush(stdout);
}
static void killed(void) {
    CHECK(filter(SYS_getppid, SECCOMP_RET_KILL_PROCESS, 0) == 0);
    syscall(SYS_getppid);
}
static void strict(void) {
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    CHECK(write(1, "strict\n", 7) == 7);
    syscall(SYS_getppid);
}
static void strict_to_the_end(void) {
    CHECK(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) == 0);
    syscall(SYS_exit, 0);
}
static void default_of_trap(void) {
    CHECK(filter(SYS_getppid, SECCOMP_RET_TRAP, 0) == 0);
    syscall(SYS_getppid);
}

static void *other(void *argument) {
    usleep(5000);
    return (void *)(intptr_t)(syscall(SYS_getppid) == -1 && errno == EXDEV ? 1 : 0);
}
static void of_all_threads(void) {
    pthread_t thread;
    void *sees;
    CHECK(pthread_create(&thread, NULL, other, NULL) == 0);
    CHECK(filter(SYS_getppid, SECCOMP_RET_ERRNO | EXDEV, SECCOMP_FILTER_FLAG_TSYNC) == 0);
    CHECK(pthread_join(thread, &sees) == 0 && sees == (void *)1);
}

// One process answers the calls of another.
static void notified(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    int listener = filter(SYS_getpgid, SECCOMP_RET_USER_NOTIF, SECCOMP_FILTER_FLAG_NEW_LISTENER);
    CHECK(listener >= 0);
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 3; i++)
            CHECK(syscall(SYS_getpgid, i) == 100 + i);
        CHECK(syscall(SYS_getpgid, 3) == -1 && errno == ENOTTY);
        _exit(0);
    }
    for (int i = 0; i < 4; i++) {
        struct seccomp_notif call = {0};
        CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call) == 0);
        CHECK(call.data.nr == SYS_getpgid && call.data.args[0] == i && call.pid == child);
        CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &call.id) == 0);
        struct seccomp_notif_resp answer = {call.id, 100 + i, i == 3 ? -ENOTTY : 0, 0};
        if (i == 3)
            answer.val = 0;
        CHECK(ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) == 0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

int main(int count, char **arguments) {
    if (count > 1) {
        CHECK(syscall(SYS_getpgid, 0) == -1 && errno == EILSEQ && syscall(SYS_getppid) == -1 && errno == EXDEV);
        CHECK(prctl(PR_GET_SECCOMP) == 2);
        GOOD(arguments[1]);
        return 0;
    }
    CHECK(prctl(PR_GET_SECCOMP) == 0);
    CHECK(in_child(errors) == 0);
    GOOD("errors");
    CHECK(in_child(traced_without_tracer) == 0);
    GOOD("traced without a tracer");
    CHECK(in_child(trapped) == 0);
    GOOD("trapped");
    CHECK(WTERMSIG(in_child(default_of_trap)) == SIGSYS);
    CHECK(WTERMSIG(in_child(killed)) == SIGSYS);
    CHECK(WTERMSIG(in_child(strict)) == SIGKILL && in_child(strict_to_the_end) == 0);
    GOOD("killed");
    CHECK(in_child(of_all_threads) == 0);
    GOOD("of all threads");
    CHECK(in_child(notified) == 0);
    GOOD("notified");
    return 0;
}
