// Large reads and writes, vectors of buffers, pipes, descriptors passed over a socket.
#include "check.h"
#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define LARGE (9 << 20)

static char *out, *in;
static int temporary(void) {
    char name[] = "/tmp/e2e-bulk-XXXXXX";
    int fd = mkstemp(name);
    CHECK(fd >= 0);
    unlink(name);
    return fd;
}

static void large(void) {
    int fd = temporary();
    CHECK(write(fd, out, LARGE) == LARGE);
    CHECK(pread(fd, in, LARGE, 0) == LARGE && !memcmp(in, out, LARGE));
    CHECK(pread(fd, in, LARGE, LARGE - 10) == 10);
    CHECK(pread(fd, in, LARGE, 2 * LARGE) == 0);
    struct iovec pieces[5];
    for (int i = 0; i < 5; i++)
        pieces[i] = (struct iovec){in + (4 - i) * (LARGE / 5), LARGE / 5};
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && readv(fd, pieces, 5) == LARGE / 5 * 5);
    CHECK(!memcmp(in, out + 4 * (LARGE / 5), LARGE / 5));
    struct iovec small[3] = {{"one ", 4}, {"", 0}, {"two\n", 4}};
    CHECK(lseek(fd, 0, SEEK_SET) == 0 && writev(fd, small, 3) == 8);
    CHECK(preadv(fd, pieces, 2, 0) > 0 && !memcmp(pieces[0].iov_base, "one two\n", 8));
    int other = temporary();
    off_t from = 0;
    CHECK(sendfile(other, fd, &from, 100000) == 100000 && from == 100000);
    loff_t start = 0;
    CHECK(copy_file_range(fd, &start, other, NULL, 5000, 0) == 5000 && start == 5000);
    close(fd), close(other);
    GOOD("large");
}

static void through_a_pipe(void) {
    int ends[2], status;
    CHECK(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        CHECK(write(ends[1], out, LARGE) == LARGE);
        _exit(0);
    }
    close(ends[1]);
    size_t got = 0;
    ssize_t now;
    while ((now = read(ends[0], in + got, LARGE - got)) > 0)
        got += now;
    CHECK(now == 0 && got == LARGE && !memcmp(in, out, LARGE));
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(ends[0]);
    CHECK(pipe2(ends, O_NONBLOCK) == 0);
    CHECK(read(ends[0], in, 1) == -1 && errno == EAGAIN);
    while (write(ends[1], out, 4096) > 0) {
    }
    CHECK(errno == EAGAIN);
    CHECK(splice(ends[0], NULL, open("/dev/null", O_WRONLY), NULL, 4096, 0) > 0);
    GOOD("through a pipe");
}

static void pass_descriptors(void) {
    int pair[2], ends[2], got[2], status;
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(ends) == 0);
    pid_t child = fork();
    char space[CMSG_SPACE(2 * sizeof(int))] = {0};
    struct iovec text = {in, 100};
    struct msghdr message = {.msg_iov = &text, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    if (child == 0) {
        CHECK(recvmsg(pair[1], &message, 0) == 5);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        CHECK(head && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(2 * sizeof(int)));
        memcpy(got, CMSG_DATA(head), sizeof got);
        CHECK(write(got[1], "passed", 6) == 6);
        _exit(0);
    }
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){CMSG_LEN(2 * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(head), ends, sizeof ends);
    text = (struct iovec){"hello", 5};
    CHECK(sendmsg(pair[0], &message, 0) == 5);
    CHECK(read(ends[0], in, 6) == 6 && !memcmp(in, "passed", 6));
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    char peer[110];
    socklen_t len = sizeof peer;
    CHECK(getsockname(pair[0], (struct sockaddr *)peer, &len) == 0);
    struct ucred credentials;
    len = sizeof credentials;
    CHECK(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &credentials, &len) == 0 && credentials.pid == getpid());
    CHECK(send(pair[0], out, 1000, 0) == 1000 && recv(pair[1], in, 1000, MSG_PEEK) == 1000);
    CHECK(recv(pair[1], in, 2000, 0) == 1000 && !memcmp(in, out, 1000));
    GOOD("pass descriptors");
}

int main(void) {
    out = malloc(LARGE), in = malloc(LARGE);
    for (int i = 0; i < LARGE; i++)
        out[i] = (char)(i * 2654435761u >> 13);
    large();
    through_a_pipe();
    pass_descriptors();
    // Output in pieces, by vectors, and past stdio.
    struct iovec pieces[3] = {{"a vector ", 9}, {"of ", 3}, {"pieces\n", 7}};
    CHECK(writev(1, pieces, 3) == 19);
    CHECK(write(2, "to standard error\n", 18) == 18);
    int copy = dup(1);
    CHECK(write(copy, "through a copy\n", 15) == 15);
    for (int i = 0; i < 2000; i++)
        printf("line %d\n", i);
    return 0;
}
