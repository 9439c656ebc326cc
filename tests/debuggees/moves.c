// Data that goes from one descriptor to another inside the kernel, asynchronous reading and writing, and what falls back.
#include "check.h"
#include <aio.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#define BLOCK 50000

static char block[BLOCK], back[BLOCK];

static int file(void) {
    char name[] = "/tmp/e2e-moves-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0 && unlink(name) == 0);
    return fd;
}
static void fill(int seed) {
    for (int i = 0; i < BLOCK; i++)
        block[i] = (char)(i * seed + i / 256);
}
static void same(int fd, size_t len) {
    memset(back, 0, sizeof back);
    CHECK(pread(fd, back, BLOCK, 0) == (ssize_t)len && !memcmp(back, block, len));
}

static void spliced(void) {
    int from = file(), to = file(), ends[2], second[2];
    fill(3);
    CHECK(write(from, block, BLOCK) == BLOCK && pipe(ends) == 0 && pipe(second) == 0);
    loff_t at = 0, there = 0;
    while (at < BLOCK) {
        ssize_t got = splice(from, &at, ends[1], NULL, 16384, SPLICE_F_MOVE);
        CHECK(got > 0 && tee(ends[0], second[1], got, 0) == got);
        CHECK(splice(ends[0], NULL, to, &there, got, 0) == got);
        CHECK(read(second[0], back + at - got, got) == got);
    }
    CHECK(!memcmp(back, block, BLOCK) && there == BLOCK);
    same(to, BLOCK);
    // Pages of the program's own.
    struct iovec parts[2] = {{block, 3000}, {block + 4000, 96}};
    CHECK(vmsplice(ends[1], parts, 2, 0) == 3096 && read(ends[0], back, 4000) == 3096);
    CHECK(!memcmp(back, block, 3000) && !memcmp(back + 3000, block + 4000, 96));
    CHECK(write(ends[1], "to the program", 14) == 14);
    parts[0] = (struct iovec){back, 14};
    CHECK(vmsplice(ends[0], parts, 1, 0) == 14 && !memcmp(back, "to the program", 14));
    off_t offset = 100;
    CHECK(lseek(to, 0, SEEK_SET) == 0 && ftruncate(to, 0) == 0);
    CHECK(sendfile(to, from, &offset, 1000) == 1000 && offset == 1100);
    CHECK(pread(to, back, 1000, 0) == 1000 && !memcmp(back, block + 100, 1000));
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && sendfile(pair[0], from, NULL, 10) == 0);
    CHECK(lseek(from, 0, SEEK_SET) == 0 && sendfile(pair[0], from, NULL, 500) == 500);
    CHECK(recv(pair[1], back, 500, MSG_WAITALL) == 500 && !memcmp(back, block, 500));
    at = 0, there = 0;
    CHECK(copy_file_range(from, &at, to, &there, BLOCK, 0) == BLOCK && at == BLOCK);
    same(to, BLOCK);
    close(from), close(to), close(ends[0]), close(ends[1]), close(second[0]), close(second[1]);
    close(pair[0]), close(pair[1]);
    GOOD("spliced");
}

// Into a file that is mapped: the mapping shows it.
static void into_a_mapping(void) {
    int from = file(), to = file();
    fill(5);
    CHECK(write(from, block, BLOCK) == BLOCK && ftruncate(to, BLOCK) == 0);
    char *at = mmap(NULL, BLOCK, PROT_READ | PROT_WRITE, MAP_SHARED, to, 0);
    CHECK(at != MAP_FAILED);
    loff_t zero = 0, there = 0;
    CHECK(copy_file_range(from, &zero, to, &there, BLOCK, 0) == BLOCK && !memcmp(at, block, BLOCK));
    CHECK(pwrite(to, "in the middle", 13, 20000) == 13 && !memcmp(at + 20000, "in the middle", 13));
    struct iovec parts[2] = {{block, 5}, {block + 100, 5}};
    CHECK(pwritev(to, parts, 2, 30000) == 10 && !memcmp(at + 30005, block + 100, 5));
    CHECK(lseek(to, 40000, SEEK_SET) == 40000 && writev(to, parts, 2) == 10 && !memcmp(at + 40005, block + 100, 5));
    CHECK(fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 8192) == 0 || errno == EOPNOTSUPP);
    unsigned long sum = 0;
    for (int i = 0; i < BLOCK; i++)
        sum = sum * 31 + (unsigned char)at[i];
    printf("%lx\n", sum);
    // A child that has not mapped it writes to it.
    pid_t child = fork();
    if (child == 0) {
        munmap(at, BLOCK);
        _exit(pwrite(to, "by the child", 12, 100) != 12);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0 && !memcmp(at + 100, "by the child", 12));
    CHECK(munmap(at, BLOCK) == 0);
    close(from), close(to);
    GOOD("into a mapping");
}

// POSIX asynchronous calls, which the C library makes by threads.
static void by_threads(void) {
    int fd = file();
    fill(7);
    struct aiocb jobs[3], *list[3];
    memset(jobs, 0, sizeof jobs);
    for (int i = 0; i < 3; i++) {
        jobs[i] = (struct aiocb){.aio_fildes = fd, .aio_buf = block + i * 1000, .aio_nbytes = 1000, .aio_offset = i * 1000};
        jobs[i].aio_lio_opcode = LIO_WRITE;
        list[i] = &jobs[i];
    }
    CHECK(lio_listio(LIO_WAIT, list, 3, NULL) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(aio_error(&jobs[i]) == 0 && aio_return(&jobs[i]) == 1000);
    struct aiocb job = {.aio_fildes = fd, .aio_buf = back, .aio_nbytes = 3000};
    CHECK(aio_read(&job) == 0);
    const struct aiocb *one[] = {&job};
    while (aio_error(&job) == EINPROGRESS)
        CHECK(aio_suspend(one, 1, NULL) == 0 || errno == EINTR || errno == EAGAIN);
    CHECK(aio_return(&job) == 3000 && !memcmp(back, block, 3000));
    close(fd);
    GOOD("by threads");
}

// The kernel's own asynchronous calls: there or not, the same is read.
static void by_the_kernel(void) {
    int fd = file();
    fill(9);
    CHECK(write(fd, block, 4096) == 4096);
    aio_context_t context = 0;
    if (syscall(SYS_io_setup, 8, &context) == 0) {
        struct iocb job = {.aio_fildes = fd, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_buf = (uint64_t)(uintptr_t)back, .aio_nbytes = 4096}, *jobs[] = {&job};
        struct io_event event;
        CHECK(syscall(SYS_io_submit, context, 1, jobs) == 1);
        CHECK(syscall(SYS_io_getevents, context, 1, 1, &event, NULL) == 1 && event.res == 4096);
        CHECK(syscall(SYS_io_destroy, context) == 0);
    } else {
        CHECK(errno == ENOSYS && pread(fd, back, 4096, 0) == 4096);
    }
    CHECK(!memcmp(back, block, 4096));
    struct io_uring_params parameters = {0};
    long ring = syscall(SYS_io_uring_setup, 4, &parameters);
    CHECK(ring >= 0 || errno == ENOSYS || errno == EPERM);
    if (ring >= 0)
        close(ring);
    long faults = syscall(SYS_userfaultfd, O_CLOEXEC);
    CHECK(faults >= 0 || errno == ENOSYS || errno == EPERM);
    if (faults >= 0)
        close(faults);
    close(fd);
    GOOD("by the kernel");
}

static void in_vectors(void) {
    int fd = file();
    fill(11);
    struct iovec out[3] = {{block, 100}, {NULL, 0}, {block + 100, 900}}, in[2] = {{back, 500}, {back + 500, 1000}};
    CHECK(pwritev2(fd, out, 3, 0, 0) == 1000 && preadv2(fd, in, 2, 0, 0) == 1000 && !memcmp(back, block, 1000));
    CHECK(preadv(fd, in, 2, 900) == 100 && lseek(fd, 10, SEEK_SET) == 10 && readv(fd, in, 2) == 990);
    CHECK(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) == 0 && sync_file_range(fd, 0, 1000, SYNC_FILE_RANGE_WRITE) == 0);
    CHECK(readahead(fd, 0, 1000) == 0 && fdatasync(fd) == 0 && syncfs(fd) == 0);
    CHECK(lseek(fd, 0, SEEK_DATA) == 0 && lseek(fd, 0, SEEK_HOLE) == 1000);
    struct statx status;
    CHECK(statx(fd, "", AT_EMPTY_PATH, STATX_ALL, &status) == 0 && status.stx_size == 1000);
    char value[16] = "";
    if (fsetxattr(fd, "user.e2e", "value", 5, 0) == 0)
        CHECK(fgetxattr(fd, "user.e2e", value, 16) == 5 && !strcmp(value, "value") && flistxattr(fd, back, 4096) >= 9);
    close(fd);
    char directory[] = "/tmp/e2e-names-XXXXXX", path[64];
    CHECK(mkdtemp(directory));
    int count = 0;
    for (int i = 0; i < 20; i++) {
        snprintf(path, sizeof path, "%s/%d", directory, i);
        fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
        CHECK(fd >= 0 && close(fd) == 0);
    }
    DIR *open_directory = opendir(directory);
    for (struct dirent *entry; (entry = readdir(open_directory));) {
        if (entry->d_name[0] == '.')
            continue;
        CHECK(unlinkat(dirfd(open_directory), entry->d_name, 0) == 0);
        count++;
    }
    CHECK(count == 20 && closedir(open_directory) == 0 && rmdir(directory) == 0);
    GOOD("in vectors");
}

int main(void) {
    spliced();
    into_a_mapping();
    by_threads();
    by_the_kernel();
    in_vectors();
    return 0;
}
