// Processes that reach into each other: process_vm_readv and _writev, /proc/PID/mem, descriptors taken by pidfd, and memory
// shared in every way.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

static char buffer[3 * 4096] __attribute__((aligned(4096)));
static volatile int word = 1;

static void reap(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void reached(void) {
    int ends[2];
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        strcpy(buffer, "of the child");
        kill(getppid(), SIGUSR1);
        // While it waits here it is written to.
        CHECK(read(ends[0], &byte, 1) == 1);
        CHECK(!strcmp(buffer + 4090, "written across pages") && word == 4711);
        printf("%s\n", buffer + 4090);
        fflush(stdout);
        // And while it computes.
        kill(getppid(), SIGUSR1);
        while (word != 4712)
            ;
        kill(getppid(), SIGUSR1);
        while (word != 4713)
            ;
        _exit(0);
    }
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    int signal;
    CHECK(sigwait(&set, &signal) == 0);
    char got[32] = "";
    struct iovec here[2] = {{got, 6}, {got + 6, 26}}, there = {buffer, 32};
    CHECK(process_vm_readv(child, here, 2, &there, 1, 0) == 32 && !strcmp(got, "of the child"));
    char text[] = "written across pages";
    struct iovec from = {text, sizeof text}, to[2] = {{buffer + 4090, 10}, {buffer + 4100, sizeof text - 10}};
    CHECK(process_vm_writev(child, &from, 1, to, 2, 0) == sizeof text);
    int value = 4711;
    struct iovec of_value = {&value, sizeof value}, of_word = {(void *)&word, sizeof word};
    CHECK(process_vm_writev(child, &of_value, 1, &of_word, 1, 0) == sizeof value);
    struct iovec nowhere = {(void *)8, 4};
    CHECK(process_vm_writev(child, &of_value, 1, &nowhere, 1, 0) == -1 && errno == EFAULT);
    CHECK(process_vm_readv(child, &of_value, 1, &nowhere, 1, 0) == -1 && errno == EFAULT);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(sigwait(&set, &signal) == 0);
    value = 4712;
    CHECK(process_vm_writev(child, &of_value, 1, &of_word, 1, 0) == sizeof value);
    CHECK(sigwait(&set, &signal) == 0);
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", child);
    int memory = open(path, O_RDWR);
    CHECK(memory >= 0);
    value = 0;
    CHECK(pread(memory, &value, sizeof value, (off_t)(uintptr_t)&word) == sizeof value && value == 4712);
    value = 4713;
    CHECK(pwrite(memory, &value, sizeof value, (off_t)(uintptr_t)&word) == sizeof value);
    close(memory);
    reap(child);
    // Itself.
    value = 99;
    CHECK(process_vm_writev(getpid(), &of_value, 1, &of_word, 1, 0) == sizeof value && word == 99);
    GOOD("reached");
}

static void by_pidfd(void) {
    int ends[2], back[2];
    CHECK(pipe(ends) == 0 && pipe(back) == 0);
    pid_t child = fork();
    if (child == 0) {
        int fd = memfd_create("of the child", 0), ready = 1;
        CHECK(write(fd, "secret", 6) == 6 && write(back[1], &fd, sizeof fd) == sizeof fd);
        CHECK(read(ends[0], &ready, 1) == 1);
        pause();
        _exit(1);
    }
    int fd, pidfd = syscall(SYS_pidfd_open, child, 0);
    CHECK(pidfd >= 0 && read(back[0], &fd, sizeof fd) == sizeof fd);
    int taken = syscall(SYS_pidfd_getfd, pidfd, fd, 0);
    char text[8] = "";
    CHECK(taken >= 0 && pread(taken, text, 6, 0) == 6 && !strcmp(text, "secret"));
    struct pollfd polled = {.fd = pidfd, .events = POLLIN};
    CHECK(poll(&polled, 1, 0) == 0 && write(ends[1], "x", 1) == 1);
    CHECK(syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) == 0);
    CHECK(poll(&polled, 1, -1) == 1);
    siginfo_t info;
    CHECK(waitid(P_PIDFD, pidfd, &info, WEXITED) == 0 && info.si_code == CLD_KILLED && info.si_status == SIGTERM);
    close(pidfd);
    GOOD("by pidfd");
}

struct common {
    sem_t first, second;
    atomic_int turns;
    char text[64];
};

// Two processes take turns in memory that both have mapped.
static void take_turns(struct common *parents, struct common *(*attach)(void), const char *how) {
    memset(parents, 0, sizeof *parents);
    CHECK(sem_init(&parents->first, 1, 0) == 0 && sem_init(&parents->second, 1, 0) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct common *common = attach ? attach() : parents;
        for (int n = 0; n < 50; n++) {
            CHECK(sem_wait(&common->first) == 0 && common->turns == 2 * n + 1);
            common->turns++;
            CHECK(sem_post(&common->second) == 0);
        }
        strcpy(common->text, how);
        _exit(0);
    }
    for (int n = 0; n < 50; n++) {
        CHECK(parents->turns == 2 * n);
        parents->turns++;
        CHECK(sem_post(&parents->first) == 0 && sem_wait(&parents->second) == 0);
    }
    reap(child);
    CHECK(!strcmp(parents->text, how) && parents->turns == 100);
    GOOD(how);
}

static int segment, file;
static char name[64];
static struct common *attach_segment(void) { return shmat(segment, NULL, 0); }
static struct common *attach_name(void) {
    int fd = shm_open(name, O_RDWR, 0);
    CHECK(fd >= 0);
    void *at = mmap(NULL, sizeof(struct common), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    return at;
}
static struct common *attach_file(void) {
    void *at = mmap(NULL, sizeof(struct common), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(at != MAP_FAILED);
    return at;
}

static void shared_in_all_ways(void) {
    take_turns(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), NULL, "anonymous");
    segment = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    CHECK(segment >= 0);
    struct common *common = shmat(segment, NULL, 0);
    take_turns(common, attach_segment, "System V");
    struct shmid_ds state;
    CHECK(shmctl(segment, IPC_STAT, &state) == 0 && state.shm_nattch == 1 && shmctl(segment, IPC_RMID, NULL) == 0);
    CHECK(shmdt(common) == 0);
    snprintf(name, sizeof name, "/e2e-between-%d", getpid());
    file = shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600);
    CHECK(file >= 0 && ftruncate(file, 4096) == 0);
    take_turns(attach_file(), attach_name, "POSIX");
    CHECK(shm_unlink(name) == 0);
    file = memfd_create("between", 0);
    CHECK(file >= 0 && ftruncate(file, 4096) == 0);
    take_turns(attach_file(), attach_file, "memfd");
    char path[] = "/tmp/e2e-between-XXXXXX";
    file = mkstemp(path);
    CHECK(file >= 0 && ftruncate(file, 4096) == 0);
    take_turns(attach_file(), attach_file, "file");
    unlink(path);
}

static void queues_and_semaphores(void) {
    int queue = msgget(IPC_PRIVATE, IPC_CREAT | 0600), set = semget(IPC_PRIVATE, 3, IPC_CREAT | 0600);
    CHECK(queue >= 0 && set >= 0);
    unsigned short values[3] = {0, 5, 7};
    CHECK(semctl(set, 0, SETALL, values) == 0);
    pid_t child = fork();
    struct {
        long type;
        char text[32];
    } message = {3, "through the queue"};
    struct sembuf down = {0, -2, 0}, up = {0, 1, 0};
    if (child == 0) {
        CHECK(semop(set, &down, 1) == 0);
        CHECK(msgsnd(queue, &message, sizeof message.text, 0) == 0);
        _exit(0);
    }
    CHECK(semop(set, &up, 1) == 0 && semop(set, &up, 1) == 0);
    memset(&message, 0, sizeof message);
    CHECK(msgrcv(queue, &message, sizeof message.text, 3, 0) == 32 && !strcmp(message.text, "through the queue"));
    reap(child);
    memset(values, 0, sizeof values);
    CHECK(semctl(set, 0, GETALL, values) == 0 && values[0] == 0 && values[1] == 5 && values[2] == 7);
    struct msqid_ds state;
    CHECK(msgctl(queue, IPC_STAT, &state) == 0 && state.msg_qnum == 0);
    CHECK(msgctl(queue, IPC_RMID, NULL) == 0 && semctl(set, 0, IPC_RMID) == 0);
    GOOD("queues and semaphores");
}

int main(void) {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    reached();
    by_pidfd();
    shared_in_all_ways();
    queues_and_semaphores();
    return 0;
}
