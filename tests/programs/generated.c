// System calls from code that is written just before it runs, in pages that stay writable: the same bytes made anew for
// another call each time, code that changes an instruction behind its own system call, and code in a second mapping.

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

typedef long (*Call)(long, long, long);

// mov eax, number; syscall; add rax, 0; ret
static Call make(unsigned char *at, int number) {
    const unsigned char code[] = {0xb8, 0, 0, 0, 0, 0x0f, 0x05, 0x48, 0x83, 0xc0, 0x00, 0xc3};
    memcpy(at, code, sizeof code);
    memcpy(at + 1, &number, sizeof number);
    return (Call)at;
}

static void check(int good, const char *what) {
    if (!good) {
        printf("bad: %s\n", what);
        exit(1);
    }
}

int main(void) {
    int protection = PROT_READ | PROT_WRITE | PROT_EXEC;
    unsigned char *page = mmap(0, 65536, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(page != MAP_FAILED, "mmap");
    int pipes[2];
    check(pipe(pipes) == 0, "pipe");
    long sum = 0;
    for (int round = 0; round < 5000; round++) {
        // The place moves by odd amounts, so that jumps over several bytes would meet other code.
        unsigned char *at = page + round * 13 % 4000;
        check(make(at, SYS_getpid)(0, 0, 0) == getpid(), "getpid");
        int value = round, back = 0;
        check(make(at, SYS_write)(pipes[1], (long)&value, sizeof value) == sizeof value, "write");
        check(make(at, SYS_read)(pipes[0], (long)&back, sizeof back) == sizeof back, "read");
        check(back == value, "what was read");
        // The instruction right behind the system call is another one each time.
        Call call = make(at, SYS_getuid);
        at[10] = round % 100;
        sum += call(0, 0, 0) - getuid();
    }
    // The child goes on with its own copy of the code, and changes it.
    pid_t child = fork();
    if (child == 0)
        make(page + 1, SYS_exit_group)(7, 0, 0);
    int status;
    check(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7, "the child");
    // One mapping to write, another to execute.
    int file = memfd_create("code", 0);
    check(ftruncate(file, 4096) == 0, "ftruncate");
    unsigned char *write_side = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    unsigned char *run_side = mmap(0, 4096, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
    for (int round = 0; round < 1000; round++) {
        make(write_side + round % 100, round & 1 ? SYS_getpid : SYS_getppid);
        long id = ((Call)(run_side + round % 100))(0, 0, 0);
        check(id == (round & 1 ? getpid() : getppid()), "the second mapping");
    }
    printf("%ld\n", sum);
}
