// A program that would trace others: refused, as in a container without ptrace, and told so.
#include "check.h"
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

int main(void) {
    pid_t child = fork();
    if (child == 0) {
        int done = ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0;
        if (done)
            raise(SIGSTOP);
        _exit(done ? 7 : errno == EPERM ? 8 : 9);
    }
    int status;
    CHECK(waitpid(child, &status, WUNTRACED) == child);
    if (WIFSTOPPED(status)) {
        // It is allowed, without a recorder.
        CHECK(ptrace(PTRACE_CONT, child, NULL, NULL) == 0 && waitpid(child, &status, 0) == child);
        CHECK(WEXITSTATUS(status) == 7);
    } else {
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 8);
    }
    child = fork();
    if (child == 0)
        for (;;)
            pause();
    if (ptrace(PTRACE_SEIZE, child, NULL, NULL) != 0) {
        CHECK(errno == EPERM && ptrace(PTRACE_ATTACH, child, NULL, NULL) == -1 && errno == EPERM);
        CHECK(ptrace(PTRACE_CONT, child, NULL, NULL) == -1 && errno == ESRCH);
    }
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL);
    GOOD("traced");
    return 0;
}
