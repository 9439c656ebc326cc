// What a program says about its memory: wiped or absent after fork, huge, locked, moved in all ways, large and empty.
#include "check.h"
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define PAGE 4096
#define SPARSE (4UL << 30)

static char *map(size_t pages, int flags) {
    char *at = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags | MAP_ANONYMOUS, -1, 0);
    CHECK(at != MAP_FAILED);
    return at;
}
static int in_child(int (*act)(char *), char *at) {
    pid_t child = fork();
    if (child == 0)
        _exit(act(at));
    int status;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int is_wiped(char *at) {
    int wiped = at[1] == 0 && at[PAGE + 1] == 0 && at[2 * PAGE + 1] == 'c';
    at[1] = 'z';
    return wiped ? in_child(is_wiped, at) + 1 : 0;
}
static int is_kept(char *at) { return at[1] == 'y'; }
static int is_absent(char *at) {
    unsigned char there;
    return mincore(at, PAGE, &there) == -1 && errno == ENOMEM && mincore(at + PAGE, PAGE, &there) == 0;
}
static void forked(void) {
    char *at = map(3, MAP_PRIVATE);
    at[1] = 'a', at[PAGE + 1] = 'b', at[2 * PAGE + 1] = 'c';
    CHECK(madvise(at, 2 * PAGE, MADV_WIPEONFORK) == 0);
    pid_t child = fork();
    if (child == 0) {
        CHECK(at[1] == 0 && at[PAGE + 1] == 0 && at[2 * PAGE + 1] == 'c');
        at[1] = 'x';
        // It stays so in its children.
        if (fork() == 0)
            _exit(at[1] != 0);
        int status;
        CHECK(wait(&status) > 0 && status == 0 && at[1] == 'x');
        _exit(0);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(at[1] == 'a' && at[PAGE + 1] == 'b');
    // Moved and grown, it is wiped at its new place.
    char *moved = mremap(at, PAGE, 2 * PAGE, MREMAP_MAYMOVE);
    CHECK(moved != MAP_FAILED && moved[1] == 'a');
    child = fork();
    if (child == 0)
        _exit(moved[1] != 0);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    CHECK(madvise(moved, 2 * PAGE, MADV_KEEPONFORK) == 0);
    moved[1] = 'y';
    CHECK(in_child(is_kept, moved) == 1);
    char *part = map(2, MAP_PRIVATE);
    part[0] = part[PAGE] = 1;
    CHECK(madvise(part, PAGE, MADV_DONTFORK) == 0 && in_child(is_absent, part) == 1);
    CHECK(madvise(part, PAGE, MADV_DOFORK) == 0 && in_child(is_absent, part) == 0);
    char *common = map(1, MAP_SHARED);
    CHECK(madvise(common, PAGE, MADV_WIPEONFORK) == -1 && errno == EINVAL);
    (void)is_wiped;
    GOOD("forked");
}

static void hints(void) {
    size_t pages = 1024;
    char *at = map(pages, MAP_PRIVATE);
    CHECK(madvise(at, pages * PAGE, MADV_HUGEPAGE) == 0 || errno == EINVAL);
    for (size_t i = 0; i < pages; i++)
        at[i * PAGE] = (char)i;
    CHECK(madvise(at, 16 * PAGE, MADV_FREE) == 0);
    at[5 * PAGE] = 55;
    CHECK(at[5 * PAGE] == 55 && madvise(at, 16 * PAGE, MADV_DONTNEED) == 0 && at[5 * PAGE] == 0);
    CHECK(madvise(at, pages * PAGE, MADV_NOHUGEPAGE) == 0 || errno == EINVAL);
    madvise(at, pages * PAGE, MADV_COLD), madvise(at, pages * PAGE, MADV_PAGEOUT);
    madvise(at, pages * PAGE, MADV_MERGEABLE), madvise(at, pages * PAGE, MADV_SEQUENTIAL);
    madvise(at, 16 * PAGE, 23 /* MADV_POPULATE_WRITE */);
    CHECK(madvise(at, PAGE, 9999) == -1 && errno == EINVAL);
    unsigned char there[16];
    CHECK(mlock(at, 4 * PAGE) == 0 && mincore(at, 16 * PAGE, there) == 0 && (there[0] & 1) && munlock(at, 4 * PAGE) == 0);
    unsigned long sum = 0;
    for (size_t i = 0; i < pages; i++)
        sum = sum * 31 + (unsigned char)at[i * PAGE];
    printf("%lx\n", sum);
    CHECK(munmap(at, pages * PAGE) == 0);
    GOOD("hints");
}

// Pages that fault however they are accessed, until that is taken back (Linux 6.13; older kernels know no such advice).
#define GUARD_INSTALL 102
#define GUARD_REMOVE 103
static sigjmp_buf back;
static void faulted(int number) {
    (void)number;
    siglongjmp(back, 1);
}
static int faults(volatile char *at) {
    if (sigsetjmp(back, 1))
        return 1;
    *at = 1;
    getppid();
    return 0;
}
static void in_guarded_child(char *own, char *wiped) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0)
        _exit(!(faults(own + PAGE) && !faults(own) && !faults(wiped) && wiped[PAGE] == 0));
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}
static void guards(void) {
    char *own = map(4, MAP_PRIVATE), *wiped = map(2, MAP_PRIVATE), *common = map(3, MAP_SHARED);
    own[0] = own[PAGE] = own[2 * PAGE] = common[PAGE] = common[2 * PAGE] = 5;
    signal(SIGSEGV, faulted);
    if (madvise(own + PAGE, PAGE, GUARD_INSTALL) == 0) {
        CHECK(faults(own + PAGE) && !faults(own) && !faults(own + 2 * PAGE));
        // Dropping contents, or changing rights, leaves a guard.
        CHECK(madvise(own, 4 * PAGE, MADV_DONTNEED) == 0 && faults(own + PAGE) && own[0] == 0);
        CHECK(mprotect(own, 4 * PAGE, PROT_READ) == 0 && mprotect(own, 4 * PAGE, PROT_READ | PROT_WRITE) == 0);
        CHECK(faults(own + PAGE));
        // A fork copies it, but for memory that is wiped.
        CHECK(madvise(wiped, PAGE, GUARD_INSTALL) == 0 && madvise(wiped, 2 * PAGE, MADV_WIPEONFORK) == 0);
        wiped[PAGE] = 6;
        in_guarded_child(own, wiped);
        CHECK(faults(wiped) && wiped[PAGE] == 6);
        // It moves with its page.
        char *place = map(4, MAP_PRIVATE);
        CHECK(mremap(own, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place) == place);
        CHECK(faults(place + PAGE) && !faults(place + 2 * PAGE));
        CHECK(madvise(place + PAGE, PAGE, GUARD_REMOVE) == 0 && !faults(place + PAGE));
        // What is mapped anew has none.
        CHECK(madvise(place, 4 * PAGE, GUARD_INSTALL) == 0 && faults(place + 3 * PAGE));
        CHECK(mmap(place, PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == place);
        CHECK(!faults(place) && faults(place + PAGE));
        // Where nothing is mapped the call fails, and the rest is done.
        CHECK(munmap(place + 2 * PAGE, PAGE) == 0);
        CHECK(madvise(place, 4 * PAGE, GUARD_REMOVE) == -1 && errno == ENOMEM);
        CHECK(!faults(place + PAGE) && !faults(place + 3 * PAGE));
    }
    // Of shared memory a guard hides the page, and leaves its contents (Linux 6.15).
    if (madvise(common + PAGE, PAGE, GUARD_INSTALL) == 0) {
        CHECK(faults(common + PAGE) && !faults(common) && madvise(common, 3 * PAGE, GUARD_REMOVE) == 0);
        CHECK(common[PAGE] == 5 && madvise(common + 2 * PAGE, PAGE, GUARD_INSTALL) == 0 && faults(common + 2 * PAGE));
    }
    signal(SIGSEGV, SIG_DFL);
    GOOD("guards");
}

// The same advice, dropped where a part of the range is not mapped, and for another process, which may be itself.
static void in_part(void) {
    char *at = map(3, MAP_PRIVATE);
    at[0] = at[2 * PAGE] = 1;
    CHECK(munmap(at + PAGE, PAGE) == 0 && madvise(at, 3 * PAGE, MADV_DONTNEED) == -1 && errno == ENOMEM);
    CHECK(at[0] == 0 && at[2 * PAGE] == 0);
    getppid();
    at[0] = 1;
    int self = syscall(SYS_pidfd_open, getpid(), 0);
    struct iovec page = {at, PAGE};
    if (self >= 0 && syscall(SYS_process_madvise, self, &page, 1L, MADV_DONTNEED, 0) == PAGE)
        CHECK(at[0] == 0 && getppid() > 0);
    GOOD("in part");
}

static void moved(void) {
    char *at = map(4, MAP_PRIVATE);
    memcpy(at, "first", 6), memcpy(at + 3 * PAGE, "last", 5);
    // What moves leaves an empty mapping behind.
    char *to = mremap(at, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, NULL);
    CHECK(to != MAP_FAILED && to != at && !strcmp(to, "first") && at[0] == 0);
    at[0] = 7;
    // The middle is taken out; the rest stays.
    char *place = map(8, MAP_PRIVATE);
    CHECK(mremap(to + PAGE, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, place + 2 * PAGE) == place + 2 * PAGE);
    CHECK(!strcmp(to, "first") && !strcmp(to + 3 * PAGE, "last") && mincore(to + PAGE, PAGE, (unsigned char[1]){0}) == -1);
    // It shrinks in place, and cannot grow where something else is.
    CHECK(mremap(place, 8 * PAGE, 4 * PAGE, 0) == place);
    CHECK(mremap(to, PAGE, 64 * PAGE, 0) == MAP_FAILED || !strcmp(to, "first"));
    CHECK(mremap((void *)0x1000, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED);
    // A second view of shared memory, with an old length of nothing.
    char *common = map(2, MAP_SHARED);
    char *again = mremap(common, 0, 2 * PAGE, MREMAP_MAYMOVE);
    CHECK(again != MAP_FAILED && again != common);
    strcpy(common + PAGE, "seen twice");
    CHECK(!strcmp(again + PAGE, "seen twice") && munmap(common, 2 * PAGE) == 0);
    strcpy(again, "still there");
    CHECK(!strcmp(again + PAGE, "seen twice") && !strcmp(again, "still there"));
    GOOD("moved");
}

static void grows_down(void) {
    char *room = map(64, MAP_PRIVATE);
    CHECK(munmap(room, 64 * PAGE) == 0);
    char *at = mmap(room + 60 * PAGE, 4 * PAGE, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(at == room + 60 * PAGE);
    for (int page = 63; page >= 40; page--)
        room[page * PAGE] = (char)page;
    int sum = 0;
    for (int page = 40; page < 64; page++)
        sum += room[page * PAGE];
    printf("%d\n", sum);
    CHECK(mprotect(room + 50 * PAGE, PAGE, PROT_READ) == 0 && room[50 * PAGE] == 50);
    CHECK(munmap(room + 40 * PAGE, 24 * PAGE) == 0);
    GOOD("grows down");
}

static void sparse(void) {
    char *at = mmap(NULL, SPARSE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(at != MAP_FAILED);
    for (size_t i = 0; i < SPARSE; i += SPARSE / 64)
        at[i] = (char)(i >> 26);
    int memory = memfd_create("sparse", 0);
    CHECK(memory >= 0 && ftruncate(memory, SPARSE) == 0);
    char *common = mmap(NULL, SPARSE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory, 0);
    CHECK(common != MAP_FAILED);
    for (size_t i = 0; i < SPARSE; i += SPARSE / 64)
        common[i] = at[i];
    unsigned long sum = 0;
    for (size_t i = 0; i < SPARSE; i += SPARSE / 64)
        sum = sum * 31 + (unsigned char)common[i];
    // What is written to the file shows, and costs no more than what is written.
    CHECK(pwrite(memory, "written", 7, SPARSE - 100) == 7 && !memcmp(common + SPARSE - 100, "written", 7));
    char *again = mmap(NULL, SPARSE, PROT_READ, MAP_SHARED | MAP_NORESERVE, memory, 0);
    CHECK(again != MAP_FAILED && !memcmp(again + SPARSE - 100, "written", 7));
    // A sparse file on a disk, mapped as it is.
    char name[] = "/tmp/e2e-sparse-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && unlink(name) == 0);
    if (ftruncate(fd, SPARSE) == 0) {
        CHECK(pwrite(fd, "far", 3, SPARSE / 2) == 3);
        char *file = mmap(NULL, SPARSE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        CHECK(file != MAP_FAILED && !memcmp(file + SPARSE / 2, "far", 3));
        file[SPARSE / 4] = 1;
    }
    char *heap = malloc(SPARSE);
    CHECK(heap);
    heap[SPARSE / 2] = 1;
    printf("%lx %d\n", sum, heap[SPARSE / 2]);
    free(heap);
    CHECK(munmap(at, SPARSE) == 0 && munmap(common, SPARSE) == 0 && munmap(again, SPARSE) == 0);
    GOOD("sparse");
}

int main(void) {
    forked();
    hints();
    guards();
    in_part();
    moved();
    grows_down();
    sparse();
    return 0;
}
