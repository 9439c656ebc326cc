// Children that ask not to be traced, as LeakSanitizer's do: they are recorded all the same, and see the flag as they gave it.
#include "check.h"
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#ifndef CLONE_UNTRACED
#define CLONE_UNTRACED 0x00800000
#endif

static char stack[65536];
static volatile int seen;

static int child(void *argument) {
    seen = (int)(long)argument + (getppid() > 1);
    return 3;
}

static void check_end(pid_t pid, int code) {
    int status = 0;
    CHECK(pid > 0);
    CHECK(waitpid(pid, &status, __WALL) == pid);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

int main(void) {
    check_end(clone(child, stack + sizeof stack, CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_UNTRACED, (void *)4), 3);
    CHECK(seen == 5);
    check_end(clone(child, stack + sizeof stack, CLONE_UNTRACED | SIGCHLD, (void *)7), 3);
    CHECK(seen == 5);
    struct clone_args arguments = { .flags = CLONE_UNTRACED, .exit_signal = SIGCHLD };
    pid_t pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    CHECK(arguments.flags == CLONE_UNTRACED);
    if (pid == 0)
        _exit(6);
    check_end(pid, 6);
    arguments.exit_signal = 1000;
    CHECK(syscall(SYS_clone3, &arguments, sizeof arguments) == -1 && arguments.flags == CLONE_UNTRACED);
    puts("recorded all the same");
}
