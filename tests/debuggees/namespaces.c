// Namespaces, other roots, other users: as far as the kernel lets whoever runs this make them.
#include "check.h"
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>

static int ended(pid_t child) {
    int status;
    pid_t waited = waitpid(child, &status, 0);
    CHECK(waited == child || (child == -1 && waited > 0));
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
static void write_file(const char *path, const char *text) {
    int fd = open(path, O_WRONLY);
    if (fd >= 0) {
        CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text) || errno == EPERM);
        close(fd);
    }
}
static pid_t clone_with(uint64_t flags) {
    struct clone_args arguments = {.flags = flags, .exit_signal = SIGCHLD};
    return syscall(SYS_clone3, &arguments, sizeof arguments);
}

static volatile int word;
static void *adds(void *argument) {
    for (int i = 0; i < 100; i++) {
        word++;
        sched_yield();
    }
    return argument;
}

// In a namespace of processes: numbers of its own, threads, children, signals, orphans, programs.
static int first_process(void) {
    CHECK(getpid() == 1 && getppid() == 0 && syscall(SYS_gettid) == 1);
    pid_t child = fork();
    if (child == 0) {
        CHECK(getpid() == 2 && getppid() == 1);
        if (fork() == 0) {
            CHECK(getpid() == 3);
            usleep(5000);
            // Its parent has gone: the first process is its parent now.
            CHECK(getppid() == 1);
            _exit(0);
        }
        _exit(5);
    }
    CHECK(child == 2 && ended(child) == 5 && ended(-1) == 0);
    return 0;
}
static int with_threads(void) {
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        CHECK(pthread_create(&threads[i], NULL, adds, NULL) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(word == 300);
    pid_t child = fork();
    if (child == 0) {
        while (word != 77)
            usleep(500);
        _exit(word);
    }
    int value = 77;
    struct iovec here = {&value, sizeof value}, there = {(void *)&word, sizeof word};
    CHECK(process_vm_writev(child, &here, 1, &there, 1, 0) == sizeof value && ended(child) == 77);
    child = fork();
    if (child == 0)
        for (;;)
            pause();
    CHECK(kill(child, SIGTERM) == 0 && ended(child) == 128 + SIGTERM);
    child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "namespaces", "inside", NULL);
        _exit(99);
    }
    CHECK(ended(child) == 6);
    // The others die with the first process.
    for (int i = 0; i < 3; i++)
        if (fork() == 0)
            for (;;)
                pause();
    return 0;
}
static void of_processes(void) {
    int (*parts[])(void) = {first_process, with_threads};
    for (int i = 0; i < 2; i++) {
        pid_t child = clone_with(CLONE_NEWUSER | CLONE_NEWPID);
        if (child == 0)
            _exit(parts[i]());
        CHECK(child > 0 ? ended(child) == 0 : errno == EPERM || errno == ENOSPC);
        child = fork();
        if (child == 0) {
            if (unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0)
                _exit(errno != EPERM);
            child = fork();
            if (child == 0)
                _exit(parts[i]());
            _exit(ended(child));
        }
        CHECK(ended(child) == 0);
    }
    GOOD("of processes");
}

static void of_users(void) {
    pid_t child = fork();
    if (child == 0) {
        char map[64];
        int user = geteuid(), group = getegid();
        if (unshare(CLONE_NEWUSER) != 0)
            _exit(errno != EPERM);
        write_file("/proc/self/setgroups", "deny");
        snprintf(map, sizeof map, "0 %d 1", user);
        write_file("/proc/self/uid_map", map);
        snprintf(map, sizeof map, "0 %d 1", group);
        write_file("/proc/self/gid_map", map);
        CHECK(geteuid() == 0 || geteuid() == 65534);
        // It may do now what needs privileges, in namespaces of its own.
        if (unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET) == 0) {
            struct utsname name;
            CHECK(sethostname("inside", 6) == 0 && uname(&name) == 0 && !strcmp(name.nodename, "inside"));
            if (mount("none", "/tmp", "tmpfs", 0, NULL) == 0) {
                int fd = open("/tmp/only-here", O_RDWR | O_CREAT | O_TRUNC, 0600);
                char text[8] = "";
                CHECK(fd >= 0 && write(fd, "here", 4) == 4 && pread(fd, text, 4, 0) == 4 && !strcmp(text, "here"));
            }
        }
        pid_t other = fork();
        if (other == 0) {
            execl("/proc/self/exe", "namespaces", "inside", NULL);
            _exit(99);
        }
        _exit(ended(other) != 6);
    }
    CHECK(ended(child) == 0);
    struct utsname name;
    CHECK(uname(&name) == 0 && strcmp(name.nodename, "inside"));
    int own = open("/proc/self/ns/uts", O_RDONLY);
    CHECK(own >= 0 && (setns(own, CLONE_NEWUTS) == 0 || errno == EPERM));
    GOOD("of users");
}

static void other_root(void) {
    char directory[] = "/tmp/e2e-root-XXXXXX", path[64];
    CHECK(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/program", directory);
    int from = open("/proc/self/exe", O_RDONLY), to = open(path, O_WRONLY | O_CREAT, 0700);
    struct stat status;
    CHECK(from >= 0 && to >= 0 && fstat(from, &status) == 0);
    char block[4096];
    ssize_t got;
    while ((got = read(from, block, sizeof block)) > 0)
        CHECK(write(to, block, got) == got);
    close(from), close(to);
    pid_t child = fork();
    if (child == 0) {
        if (chroot(directory) != 0)
            _exit(errno != EPERM);
        CHECK(chdir("/") == 0 && access("/program", X_OK) == 0 && access("/bin/sh", F_OK) != 0);
        // Without a dynamic loader it cannot be run.
        CHECK(execl("/program", "program", "inside", NULL) == -1 && errno == ENOENT);
        int fd = open("/made", O_RDWR | O_CREAT | O_TRUNC, 0600);
        CHECK(fd >= 0 && write(fd, "text", 4) == 4);
        if (fork() == 0)
            _exit(access("/made", F_OK));
        CHECK(ended(-1) == 0 && unlink("/made") == 0);
        _exit(0);
    }
    CHECK(ended(child) == 0);
    child = fork();
    if (child == 0) {
        // A program that runs with the system as its root, from within another.
        if (chroot("/") != 0)
            _exit(errno == EPERM ? 6 : 1);
        execl("/proc/self/exe", "namespaces", "inside", NULL);
        _exit(99);
    }
    CHECK(ended(child) == 6);
    unlink(path);
    rmdir(directory);
    GOOD("other root");
}

// A program that runs as its owner: its identity depends on the file, not on who runs it.
static void set_user(void) {
    char path[] = "/tmp/e2e-owner-XXXXXX";
    int from = open("/proc/self/exe", O_RDONLY), to = mkstemp(path);
    CHECK(from >= 0 && to >= 0);
    char block[4096];
    ssize_t got;
    while ((got = read(from, block, sizeof block)) > 0)
        CHECK(write(to, block, got) == got);
    if (geteuid() == 0)
        CHECK(fchown(to, 65534, 65534) == 0);
    CHECK(fchmod(to, 06755) == 0 && close(to) == 0 && close(from) == 0);
    char owner[16];
    snprintf(owner, sizeof owner, "%d", geteuid() == 0 ? 65534 : (int)geteuid());
    pid_t child = fork();
    if (child == 0) {
        execl(path, "owner", "as", owner, NULL);
        _exit(99);
    }
    CHECK(ended(child) == 4);
    unlink(path);
    child = fork();
    if (child == 0) {
        if (geteuid() != 0)
            _exit(0);
        gid_t groups[] = {65534};
        CHECK(setgroups(1, groups) == 0 && setresgid(65534, 65534, 65534) == 0);
        CHECK(setresuid(65534, 65534, 65534) == 0 && getuid() == 65534 && setuid(0) == -1 && errno == EPERM);
        CHECK(open("/proc/1/mem", O_RDONLY) == -1);
        if (fork() == 0) {
            execl("/proc/self/exe", "namespaces", "inside", NULL);
            _exit(99);
        }
        int status;
        CHECK(wait(&status) > 0);
        // The program may lie where only its owner may go.
        _exit(WEXITSTATUS(status) != 6 && WEXITSTATUS(status) != 99);
    }
    CHECK(ended(child) == 0);
    GOOD("set user");
}

int main(int count, char **arguments) {
    if (count == 3) {
        CHECK(!strcmp(arguments[1], "as") && getuid() != (uid_t)-1 && (int)geteuid() == atoi(arguments[2]));
        return 4;
    }
    if (count > 1)
        return strcmp(arguments[1], "inside") ? 7 : 6;
    of_processes();
    of_users();
    other_root();
    set_user();
    return 0;
}
