// fork, vfork, clone3, execve and exit in several orders.
#include "check.h"
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

static int ended(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static void fork_tree(void) {
    // The child ends before, after, and without being waited for by its parent.
    pid_t child = fork();
    if (child == 0) {
        pid_t grandchild = fork();
        if (grandchild == 0)
            _exit(3);
        _exit(WEXITSTATUS(ended(grandchild)) + 1);
    }
    CHECK(WEXITSTATUS(ended(child)) == 4);
    child = fork();
    if (child == 0) {
        if (fork() == 0) { // an orphan
            usleep(20000);
            GOOD("orphan");
            _exit(0);
        }
        _exit(0);
    }
    CHECK(ended(child) == 0);
    usleep(200000);
    GOOD("fork");
}

static void many_children(void) {
    pid_t children[12];
    for (int i = 0; i < 12; i++) {
        children[i] = fork();
        if (children[i] == 0) {
            volatile long sum = 0;
            for (long k = 0; k < 100000 * i; k++)
                sum += k;
            _exit(i);
        }
    }
    int total = 0;
    for (int i = 11; i >= 0; i--)
        total += WEXITSTATUS(ended(children[i]));
    CHECK(total == 66);
    GOOD("many children");
}

static void vfork_exec(void) {
    char *arguments[] = {"/proc/self/exe", "child", "vfork", NULL};
    volatile int shared = 1;
    pid_t child = vfork();
    if (child == 0) {
        shared = 2;
        execve(arguments[0], arguments, environ);
        _exit(127);
    }
    CHECK(shared == 2);
    CHECK(WEXITSTATUS(ended(child)) == 7);
    child = vfork();
    if (child == 0) {
        shared = 5;
        _exit(9);
    }
    CHECK(shared == 5 && WEXITSTATUS(ended(child)) == 9);
    child = vfork();
    if (child == 0) {
        execve("/there/is/no/such/file", arguments, environ);
        _exit(11);
    }
    CHECK(WEXITSTATUS(ended(child)) == 11);
    GOOD("vfork");
}

static void spawned(void) {
    char *arguments[] = {"/proc/self/exe", "child", "spawn", NULL};
    pid_t child;
    CHECK(posix_spawn(&child, arguments[0], NULL, NULL, arguments, environ) == 0);
    CHECK(WEXITSTATUS(ended(child)) == 7);
    FILE *stream = popen("echo one; echo two", "r");
    char line[64];
    CHECK(fgets(line, sizeof line, stream) && !strcmp(line, "one\n"));
    CHECK(fgets(line, sizeof line, stream) && !strcmp(line, "two\n"));
    CHECK(pclose(stream) == 0);
    CHECK(system("exit 5") == 5 << 8);
    GOOD("spawn");
}

static void cloned(void) {
    int pidfd = -1;
    pid_t parent_tid = 0;
    struct clone_args arguments = {
        .flags = CLONE_PIDFD | CLONE_PARENT_SETTID,
        .pidfd = (uint64_t)(uintptr_t)&pidfd,
        .parent_tid = (uint64_t)(uintptr_t)&parent_tid,
        .exit_signal = SIGCHLD,
    };
    pid_t child = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (child == 0)
        _exit(21);
    CHECK(child > 0 && pidfd >= 0 && parent_tid == child);
    siginfo_t info = {0};
    CHECK(waitid(P_PIDFD, pidfd, &info, WEXITED) == 0);
    CHECK(info.si_pid == child && info.si_status == 21);
    close(pidfd);
    GOOD("clone3");
}

static void pipes_between(void) {
    int down[2], up[2];
    CHECK(pipe(down) == 0 && pipe(up) == 0);
    pid_t child = fork();
    if (child == 0) {
        int value;
        close(down[1]);
        while (read(down[0], &value, sizeof value) == sizeof value) {
            value *= 2;
            CHECK(write(up[1], &value, sizeof value) == sizeof value);
        }
        _exit(0);
    }
    close(down[0]);
    for (int i = 0; i < 200; i++) {
        int value = i;
        CHECK(write(down[1], &value, sizeof value) == sizeof value);
        CHECK(read(up[0], &value, sizeof value) == sizeof value && value == 2 * i);
    }
    close(down[1]);
    CHECK(ended(child) == 0);
    GOOD("pipes");
}

static void deaths(void) {
    pid_t child = fork();
    if (child == 0)
        abort();
    CHECK(WTERMSIG(ended(child)) == SIGABRT);
    child = fork();
    if (child == 0) {
        *(volatile int *)0 = 1;
        _exit(0);
    }
    CHECK(WTERMSIG(ended(child)) == SIGSEGV);
    child = fork();
    if (child == 0) {
        pause();
        _exit(0);
    }
    usleep(10000);
    CHECK(kill(child, SIGTERM) == 0);
    CHECK(WTERMSIG(ended(child)) == SIGTERM);
    // Stopped, continued, killed.
    child = fork();
    if (child == 0) {
        for (;;)
            pause();
    }
    int status;
    usleep(10000);
    kill(child, SIGSTOP);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    kill(child, SIGCONT);
    CHECK(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
    kill(child, SIGKILL);
    CHECK(WTERMSIG(ended(child)) == SIGKILL);
    GOOD("deaths");
}

int main(int count, char **arguments) {
    if (count > 2 && !strcmp(arguments[1], "child")) {
        printf("child of %s\n", arguments[2]);
        return 7;
    }
    if (count > 1) {
        GOOD("last");
        return 0;
    }
    fork_tree();
    many_children();
    vfork_exec();
    spawned();
    cloned();
    pipes_between();
    deaths();
    // At last the program replaces itself.
    char *last[] = {arguments[0], "last", NULL};
    execv("/proc/self/exe", last);
    return 1;
}
