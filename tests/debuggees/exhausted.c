// Has all the files open that it may, and goes on: threads, children, other programs, and memory that is full.
#include "check.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

static sigjmp_buf out;

static void on_bus(int signal) {
    siglongjmp(out, signal);
}

static void *work(void *argument) {
    return memset(malloc(1000), 1, 1000);
}

static void full_memory(void) {
    int file = open("/dev/shm/vdbg-exhausted", O_RDWR | O_CREAT, 0600);
    CHECK(file >= 0 && unlink("/dev/shm/vdbg-exhausted") == 0);
    CHECK(ftruncate(file, 1 << 20) == 0);
    char *bytes = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    CHECK(bytes != MAP_FAILED);
    signal(SIGBUS, on_bus);
    volatile int pages = 0;
    if (sigsetjmp(out, 1) == 0)
        for (; pages < 256; pages++)
            bytes[4096 * pages] = (char)pages;
    CHECK(bytes[4096] == 1);
    printf("%s\n", pages == 256 ? "memory enough" : "no more memory");
    char text[8192] = {0};
    printf("%s\n", pwrite(file, text, sizeof text, 1 << 20) < 0 && errno == ENOSPC ? "full" : "not full");
}

int main(int count, char **arguments) {
    if (count > 1 && strcmp(arguments[1], "memory") == 0) {
        full_memory();
        return 0;
    }
    if (count == 1) {
        // The hard limit stays where it is.
        struct rlimit limit;
        CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0);
        limit.rlim_cur = 16;
        CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
        int opened = 0;
        while (dup(1) >= 0)
            opened++;
        CHECK(errno == EMFILE && opened > 0);
        pid_t child = fork();
        if (child == 0) {
            execl("/proc/self/exe", "exhausted", "again", NULL);
            _exit(1);
        }
        int status;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
    CHECK(open("/dev/null", O_RDONLY) < 0 && errno == EMFILE);
    pthread_t thread;
    void *result;
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0 && pthread_join(thread, &result) == 0);
    CHECK(((char *)result)[999] == 1);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur == 16);
    for (int i = 0; i < 20; i++)
        CHECK(getppid() > 0);
    printf("%s\n", count == 1 ? "first" : "second");
}
