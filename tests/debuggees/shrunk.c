// Files that are truncated under a mapping: what lies behind their end raises SIGBUS, until they grow again.
#include "check.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define PAGE 4096

static sigjmp_buf back;
static volatile siginfo_t last;
static volatile int faults;

static void on_bus(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    last = *info;
    faults++;
    siglongjmp(back, 1);
}

// Whether an access behind the end fails, as it has to.
static int fails(volatile char *at, int writes) {
    int before = faults;
    if (sigsetjmp(back, 1) == 0) {
        if (writes)
            *at = 1;
        else
            (void)*at;
    }
    if (faults != before)
        CHECK(last.si_addr == at && last.si_code == BUS_ADRERR);
    return faults != before;
}

static int file(void) {
    char name[] = "/tmp/e2e-shrunk-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && unlink(name) == 0);
    char block[4 * PAGE];
    memset(block, 'x', sizeof block);
    CHECK(write(fd, block, sizeof block) == sizeof block);
    return fd;
}

static void shared_mapping(int fd) {
    char *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED && at[3 * PAGE] == 'x');
    CHECK(ftruncate(fd, PAGE + 10) == 0);
    CHECK(!fails(at, 0) && !fails(at + PAGE + 5, 1) && at[PAGE + 5] == 1 && at[PAGE + 10] == 0);
    CHECK(fails(at + 2 * PAGE, 0) && fails(at + 3 * PAGE + 7, 1) && fails(at + 2 * PAGE, 1));
    CHECK(ftruncate(fd, 3 * PAGE) == 0);
    CHECK(!fails(at + 2 * PAGE, 0) && at[2 * PAGE] == 0 && at[PAGE + 10] == 0 && fails(at + 3 * PAGE, 0));
    // The kernel finds the same: EFAULT.
    int ends[2];
    CHECK(pipe(ends) == 0 && write(ends[1], at + 3 * PAGE, 1) == -1 && errno == EFAULT);
    CHECK(write(ends[1], at + 3 * PAGE - 1, 2) >= -1);
    CHECK(ftruncate(fd, 0) == 0 && fails(at, 0) && fails(at, 1));
    CHECK(ftruncate(fd, 4 * PAGE) == 0 && !fails(at + 3 * PAGE, 1) && at[3 * PAGE] == 1 && at[0] == 0);
    close(ends[0]), close(ends[1]);
    // A child truncates it.
    pid_t child = fork();
    if (child == 0)
        _exit(ftruncate(fd, 2 * PAGE) != 0 || !fails(at + 2 * PAGE, 1) || fails(at + PAGE, 1));
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(fails(at + 2 * PAGE, 1) && at[PAGE] == 1);
    CHECK(munmap(at, 4 * PAGE) == 0);
}

static void private_mapping(int fd) {
    CHECK(ftruncate(fd, 4 * PAGE) == 0);
    char *at = mmap(NULL, 4 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    CHECK(at != MAP_FAILED);
    at[1] = 'a', at[3 * PAGE + 1] = 'b';
    CHECK(ftruncate(fd, PAGE) == 0);
    // Also what was written is gone behind the end; what lies before it stays.
    CHECK(at[1] == 'a' && fails(at + PAGE, 0) && fails(at + 3 * PAGE + 1, 0));
    CHECK(ftruncate(fd, 4 * PAGE) == 0 && at[3 * PAGE + 1] == 0 && at[1] == 'a');
    CHECK(munmap(at, 4 * PAGE) == 0);
}

static void longer_than_the_file(int fd) {
    CHECK(ftruncate(fd, PAGE / 2) == 0);
    for (int shared = 0; shared < 2; shared++) {
        char *at = mmap(NULL, 3 * PAGE, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
        CHECK(at != MAP_FAILED && !fails(at, 1) && !fails(at + PAGE - 1, 1) && fails(at + PAGE, 1));
        CHECK(fails(at + 2 * PAGE, 0));
        CHECK(ftruncate(fd, 2 * PAGE) == 0 && !fails(at + PAGE, 1) && fails(at + 2 * PAGE, 1));
        CHECK(munmap(at, 3 * PAGE) == 0 && ftruncate(fd, PAGE / 2) == 0);
    }
    char *readable = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(readable != MAP_FAILED && fails(readable + PAGE, 0) && munmap(readable, 2 * PAGE) == 0);
}

// A file that grows by writes while it is mapped, as logs and databases do.
static void grows(int fd) {
    CHECK(ftruncate(fd, 0) == 0);
    char *at = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    unsigned long sum = 0;
    for (int n = 0; n < 8; n++) {
        CHECK(fails(at + n * PAGE, 0));
        CHECK(pwrite(fd, "grown", 5, n * PAGE) == 5 && !memcmp(at + n * PAGE, "grown", 5));
        for (int i = 0; i < (n + 1) * PAGE; i++)
            sum = sum * 31 + (unsigned char)at[i];
    }
    printf("%lx\n", sum);
    CHECK(munmap(at, 8 * PAGE) == 0);
    at = mmap(NULL, 8 * PAGE, PROT_READ, MAP_SHARED, fd, 2 * PAGE);
    CHECK(at != MAP_FAILED && !memcmp(at + 5 * PAGE, "grown", 5) && fails(at + 6 * PAGE, 0));
    CHECK(munmap(at, 8 * PAGE) == 0);
}

int main(void) {
    struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGBUS, &action, NULL) == 0);
    int fd = file();
    shared_mapping(fd);
    GOOD("shared mapping");
    private_mapping(fd);
    GOOD("private mapping");
    longer_than_the_file(fd);
    GOOD("longer than the file");
    grows(fd);
    GOOD("grows");
    int memory = memfd_create("shrunk", 0);
    CHECK(memory >= 0 && ftruncate(memory, 4 * PAGE) == 0 && pwrite(memory, "x", 1, 3 * PAGE) == 1);
    shared_mapping(memory);
    GOOD("memory file");
    printf("%d faults\n", faults);
    return 0;
}
