// Mappings: private, shared with a child, files, memfd, grown, moved, protected, punched, dropped.
#include "check.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGE 4096
static char *map(size_t pages, int flags, int fd) {
    char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, fd, 0);
    CHECK(at != MAP_FAILED);
    return at;
}
static unsigned long sum(const char *at, size_t len) {
    unsigned long total = 0;
    for (size_t i = 0; i < len; i++)
        total = total * 31 + (unsigned char)at[i];
    return total;
}
static void in_child(void (*act)(char *), char *at) {
    pid_t child = fork();
    if (child == 0) {
        act(at);
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void scribble(char *at) {
    for (int i = 0; i < 2 * PAGE; i++)
        at[i] = (char)(i * 7);
}
static void anonymous(void) {
    char *own = map(2, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    own[5] = 5;
    in_child(scribble, own);
    CHECK(own[5] == 5 && own[6] == 0);
    char *common = map(2, MAP_SHARED | MAP_ANONYMOUS, -1);
    in_child(scribble, common);
    CHECK(common[5] == 35 && common[2 * PAGE - 1] == (char)((2 * PAGE - 1) * 7));
    printf("%lx\n", sum(common, 2 * PAGE));
    munmap(own, 2 * PAGE);
    munmap(common, 2 * PAGE);
    // A device that gives the same.
    int zero = open("/dev/zero", O_RDWR);
    CHECK(zero >= 0);
    char *first = map(2, MAP_SHARED, zero), *second = map(2, MAP_SHARED, zero);
    close(zero);
    in_child(scribble, first);
    CHECK(first[5] == 35 && second[5] == 0);
    printf("%lx %lx\n", sum(first, 2 * PAGE), sum(second, 2 * PAGE));
    munmap(first, 2 * PAGE);
    munmap(second, 2 * PAGE);
    GOOD("anonymous");
}

static void files(void) {
    char name[] = "/tmp/e2e-mapped-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && ftruncate(fd, 3 * PAGE) == 0);
    unlink(name);
    CHECK(pwrite(fd, "hello", 5, 0) == 5);
    char *common = map(3, MAP_SHARED, fd);
    char *own = map(3, MAP_PRIVATE, fd);
    CHECK(!memcmp(common, "hello", 5) && !memcmp(own, "hello", 5));
    own[PAGE] = 9;
    in_child(scribble, common);
    CHECK(common[1] == 7);
    char back[8];
    CHECK(pread(fd, back, 8, 0) == 8 && back[1] == 7 && back[7] == 49);
    // What is written to the file shows in the mapping.
    CHECK(pwrite(fd, "again", 5, 2 * PAGE) == 5);
    CHECK(!memcmp(common + 2 * PAGE, "again", 5));
    CHECK(msync(common, 3 * PAGE, MS_SYNC) == 0);
    printf("%lx %d\n", sum(common, 3 * PAGE), own[PAGE]);
    munmap(own, 3 * PAGE);
    munmap(common, 3 * PAGE);
    close(fd);
    GOOD("files");
}

static void memory_files(void) {
    int fd = memfd_create("e2e", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, 2 * PAGE) == 0);
    char *first = map(2, MAP_SHARED, fd), *second = map(2, MAP_SHARED, fd);
    scribble(first);
    CHECK(!memcmp(first, second, 2 * PAGE) && first != second);
    second[100] = 1;
    CHECK(first[100] == 1);
    CHECK(ftruncate(fd, 4 * PAGE) == 0);
    second = mremap(second, 2 * PAGE, 4 * PAGE, MREMAP_MAYMOVE);
    CHECK(second != MAP_FAILED && second[3 * PAGE] == 0);
    munmap(first, 2 * PAGE);
    munmap(second, 4 * PAGE);
    close(fd);
    int id = shmget(IPC_PRIVATE, 2 * PAGE, IPC_CREAT | 0600);
    CHECK(id >= 0);
    char *segment = shmat(id, NULL, 0);
    CHECK(segment != (char *)-1);
    CHECK(shmctl(id, IPC_RMID, NULL) == 0);
    in_child(scribble, segment);
    CHECK(segment[3] == 21);
    CHECK(shmdt(segment) == 0);
    GOOD("memory files");
}

static void remap(void) {
    char *at = map(2, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    scribble(at);
    unsigned long before = sum(at, 2 * PAGE);
    for (int pages = 4; pages <= 64; pages *= 2) {
        at = mremap(at, pages / 2 * PAGE, pages * PAGE, MREMAP_MAYMOVE);
        CHECK(at != MAP_FAILED && sum(at, 2 * PAGE) == before);
        at[pages * PAGE - 1] = 1;
    }
    char *place = map(128, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    CHECK(mremap(at, 64 * PAGE, 64 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
    CHECK(sum(place, 2 * PAGE) == before);
    CHECK(mremap(place, 64 * PAGE, 1 * PAGE, 0) == place);
    munmap(place, 128 * PAGE);
    GOOD("remap");
}

static void heap(void) {
    char *end = sbrk(0);
    CHECK(sbrk(10 * PAGE) == end);
    scribble(end);
    CHECK(sbrk(-5 * PAGE) == end + 10 * PAGE);
    CHECK(sbrk(5 * PAGE) == end + 5 * PAGE);
    CHECK(end[7 * PAGE] == 0 && end[5] == 35);
    char *blocks[200];
    for (int i = 0; i < 200; i++) {
        blocks[i] = malloc(1000 * (i + 1));
        memset(blocks[i], i, 1000 * (i + 1));
    }
    for (int i = 0; i < 200; i += 2)
        free(blocks[i]);
    for (int i = 1; i < 200; i += 2) {
        CHECK(blocks[i][999] == (char)i);
        free(blocks[i]);
    }
    GOOD("heap");
}

static int grow(int depth) {
    volatile char frame[2000];
    frame[depth % 2000] = (char)depth;
    return depth == 0 ? 0 : grow(depth - 1) + frame[depth % 2000] - (char)depth + 1;
}
static void stack(void) {
    CHECK(grow(3000) == 3000);
    GOOD("stack");
}

static sigjmp_buf back;
static char *guarded;
static volatile int faults;
static void unprotect(int number, siginfo_t *info, void *context) {
    (void)number, (void)context;
    char *page = (char *)((uintptr_t)info->si_addr & ~(uintptr_t)(PAGE - 1));
    faults++;
    if (page < guarded || page >= guarded + 8 * PAGE)
        siglongjmp(back, 1);
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}
static void protect(void) {
    struct sigaction action = {.sa_sigaction = unprotect, .sa_flags = SA_SIGINFO};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    guarded = map(8, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    for (int i = 0; i < 8 * PAGE; i++)
        guarded[i] = (char)i;
    for (int round = 1; round <= 3; round++) {
        CHECK(mprotect(guarded, 8 * PAGE, PROT_READ) == 0);
        for (int i = 0; i < 8 * PAGE; i += 1024)
            guarded[i]++;
        CHECK(faults == 8 * round);
    }
    CHECK(munmap(guarded + 2 * PAGE, 2 * PAGE) == 0);
    if (sigsetjmp(back, 1) == 0) {
        guarded = guarded + 4 * PAGE;
        guarded[-PAGE] = 1;
        CHECK(!"unreachable");
    }
    CHECK(faults == 25 && guarded[1] == 1 && guarded[-3 * PAGE] == 3);
    signal(SIGSEGV, SIG_DFL);
    GOOD("protect");
}

static void drop(void) {
    char *at = map(4, MAP_PRIVATE | MAP_ANONYMOUS, -1);
    scribble(at);
    CHECK(madvise(at + PAGE, PAGE, MADV_DONTNEED) == 0);
    CHECK(at[PAGE + 1] == 0 && at[1] == 7);
    int own = open("/proc/self/exe", O_RDONLY);
    char *program = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, own, 0);
    CHECK(program != MAP_FAILED && !memcmp(program, "\177ELF", 4));
    program[1] = 'X';
    CHECK(madvise(program, PAGE, MADV_DONTNEED) == 0 && program[1] == 'E');
    close(own);
    // A fixed mapping replaces the middle.
    CHECK(mmap(at + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at + PAGE);
    CHECK(mmap(at, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED);
    CHECK(errno == EEXIST && at[1] == 7);
    // Code written at run time.
    char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    for (int i = 0; i < 20; i++) {
        char text[] = {(char)0xb8, (char)i, 0, 0, 0, (char)0xc3}; // mov $i, %eax; ret
        memcpy(code, text, sizeof text);
        CHECK(((int (*)(void))code)() == i);
    }
    GOOD("drop");
}

// What a file shows when it is mapped again: it was changed while nobody had it mapped.
static void again(void) {
    char path[] = "/tmp/again-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && ftruncate(fd, 2 * PAGE) == 0);
    char *at = map(2, MAP_SHARED, fd);
    scribble(at);
    CHECK(munmap(at, 2 * PAGE) == 0);
    CHECK(pwrite(fd, "changed", 7, 100) == 7);
    at = map(2, MAP_SHARED, fd);
    printf("%lx\n", sum(at, 2 * PAGE));
    CHECK(!memcmp(at + 100, "changed", 7) && munmap(at, 2 * PAGE) == 0);
    CHECK(ftruncate(fd, 0) == 0 && ftruncate(fd, 2 * PAGE) == 0);
    at = map(2, MAP_SHARED, fd);
    printf("%lx\n", sum(at, 2 * PAGE));
    CHECK(at[1] == 0 && munmap(at, 2 * PAGE) == 0);
    close(fd);
    unlink(path);
    fd = memfd_create("holes", 0);
    CHECK(fd >= 0 && ftruncate(fd, 2 * PAGE) == 0);
    at = map(2, MAP_SHARED, fd);
    scribble(at);
    CHECK(madvise(at + PAGE, PAGE, MADV_REMOVE) == 0);
    printf("%lx\n", sum(at, 2 * PAGE));
    CHECK(at[PAGE + 1] == 0 && at[1] == 7);
    close(fd);
    GOOD("again");
}

int main(void) {
    anonymous();
    files();
    memory_files();
    remap();
    heap();
    stack();
    protect();
    drop();
    again();
    return 0;
}
