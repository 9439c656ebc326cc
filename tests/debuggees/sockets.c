// Sockets of every family on this machine alone: streams, datagrams, descriptors and credentials passed on, many messages
// at once, errors told later, without copying.
#include "check.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/errqueue.h>
#include <linux/if_alg.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

union address {
    struct sockaddr any;
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    struct sockaddr_un un;
};

static socklen_t local(int family, union address *address) {
    memset(address, 0, sizeof *address);
    address->any.sa_family = family;
    if (family == AF_INET) {
        address->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return sizeof address->in;
    }
    if (family == AF_INET6) {
        address->in6.sin6_addr = in6addr_loopback;
        return sizeof address->in6;
    }
    // Without a name the kernel gives it one that no file has.
    return sizeof(sa_family_t);
}

static void *echoes(void *argument) {
    int listener = *(int *)argument, calls = 0;
    union address peer;
    socklen_t len = sizeof peer;
    int fd = accept4(listener, &peer.any, &len, SOCK_CLOEXEC);
    CHECK(fd >= 0 && peer.any.sa_family != 0);
    char buffer[1000];
    ssize_t got;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    while ((got = recv(fd, buffer, sizeof buffer, 0)) > 0) {
        for (ssize_t sent = 0; sent < got;) {
            ssize_t done = send(fd, buffer + sent, got - sent, MSG_NOSIGNAL);
            CHECK(done > 0);
            sent += done;
        }
        calls++;
    }
    CHECK(got == 0 && calls > 0 && close(fd) == 0);
    return NULL;
}

static void stream(int family, const char *name) {
    union address address, own;
    socklen_t len = local(family, &address);
    int listener = socket(family, SOCK_STREAM, 0), client = socket(family, SOCK_STREAM, 0);
    if (listener < 0 || bind(listener, &address.any, len) != 0) {
        // No such family here.
        CHECK(errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
        GOOD(name);
        return;
    }
    len = sizeof address;
    CHECK(listen(listener, 5) == 0 && getsockname(listener, &address.any, &len) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, echoes, &listener) == 0);
    CHECK(connect(client, &address.any, len) == 0);
    if (family != AF_UNIX) {
        int one = 1, value = 0;
        socklen_t size = sizeof value;
        CHECK(setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
        CHECK(getsockopt(client, IPPROTO_TCP, TCP_NODELAY, &value, &size) == 0 && value != 0 && size == sizeof value);
        struct tcp_info state;
        size = sizeof state;
        CHECK(getsockopt(client, IPPROTO_TCP, TCP_INFO, &state, &size) == 0 && state.tcpi_state == 1);
    }
    len = sizeof own;
    CHECK(getpeername(client, &own.any, &len) == 0);
    char out[3000], in[3000];
    unsigned long sum = 0;
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 3000; i++)
            out[i] = (char)(round * 7 + i);
        struct iovec parts[3] = {{out, 10}, {out + 10, 1000}, {out + 1010, 1990}};
        CHECK(writev(client, parts, 3) == 3000);
        CHECK(recv(client, in, 10, MSG_PEEK | MSG_WAITALL) == 10 && !memcmp(in, out, 10));
        CHECK(recv(client, in, 3000, MSG_WAITALL) == 3000 && !memcmp(in, out, 3000));
        sum = sum * 31 + (unsigned char)in[round];
    }
    printf("%lx\n", sum);
    CHECK(shutdown(client, SHUT_WR) == 0 && recv(client, in, 1, 0) == 0);
    CHECK(pthread_join(thread, NULL) == 0);
    close(client), close(listener);
    GOOD(name);
}

static void datagrams(int family, const char *name) {
    enum { MESSAGES = 20 };
    union address address, from;
    socklen_t len = local(family, &address);
    int in = socket(family, SOCK_DGRAM, 0), out = socket(family, SOCK_DGRAM, 0);
    if (in < 0 || bind(in, &address.any, len) != 0) {
        CHECK(errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL);
        GOOD(name);
        return;
    }
    len = sizeof address;
    CHECK(getsockname(in, &address.any, &len) == 0 && connect(out, &address.any, len) == 0);
    char texts[MESSAGES][40], got[MESSAGES][40];
    struct mmsghdr send_to[MESSAGES] = {0}, receive[MESSAGES] = {0};
    struct iovec to[MESSAGES], into[MESSAGES];
    union address sources[MESSAGES];
    int total = 0;
    for (int round = 0; round < 3; round++) {
        int some = 5;
        for (int i = 0; i < some; i++) {
            to[i] = (struct iovec){texts[i], snprintf(texts[i], 40, "message %d of %d", i, round) + 1};
            into[i] = (struct iovec){got[i], 40};
            send_to[i].msg_hdr = (struct msghdr){.msg_iov = &to[i], .msg_iovlen = 1};
            receive[i].msg_hdr = (struct msghdr){
                .msg_iov = &into[i], .msg_iovlen = 1, .msg_name = &sources[i], .msg_namelen = sizeof sources[i]};
        }
        CHECK(sendmmsg(out, send_to, some, 0) == some && send_to[1].msg_len == strlen(texts[1]) + 1);
        struct timespec limit = {5, 0};
        int received = recvmmsg(in, receive, some, MSG_WAITFORONE, &limit);
        CHECK(received == some);
        for (int i = 0; i < some; i++)
            CHECK(receive[i].msg_len == strlen(texts[i]) + 1 && !strcmp(got[i], texts[i]));
        total += received;
    }
    // One that is too long for its buffer.
    CHECK(send(out, "a long message", 14, 0) == 14);
    len = sizeof from;
    CHECK(recvfrom(in, got[0], 6, MSG_TRUNC, &from.any, &len) == 14 && !memcmp(got[0], "a long", 6));
    int waiting = 77;
    CHECK(send(out, "four", 4, 0) == 4 && ioctl(in, FIONREAD, &waiting) == 0 && waiting >= 4);
    CHECK(recv(in, got[0], 40, MSG_DONTWAIT) == 4 && recv(in, got[0], 40, MSG_DONTWAIT) == -1 && errno == EAGAIN);
    printf("%d\n", total);
    close(in), close(out);
    GOOD(name);
}

static void pass(int through, int fd, struct ucred *as) {
    char byte = 'x', control[CMSG_SPACE(sizeof fd) + CMSG_SPACE(sizeof *as)] = "";
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_RIGHTS, head->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    head = CMSG_NXTHDR(&message, head);
    head->cmsg_level = SOL_SOCKET, head->cmsg_type = SCM_CREDENTIALS, head->cmsg_len = CMSG_LEN(sizeof *as);
    memcpy(CMSG_DATA(head), as, sizeof *as);
    CHECK(sendmsg(through, &message, 0) == 1);
}
static int take(int through, struct ucred *from) {
    char byte, control[256] = "";
    int fd = -1;
    struct iovec part = {&byte, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    CHECK(recvmsg(through, &message, MSG_CMSG_CLOEXEC) == 1 && byte == 'x' && !(message.msg_flags & MSG_CTRUNC));
    for (struct cmsghdr *head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
        if (head->cmsg_type == SCM_RIGHTS)
            memcpy(&fd, CMSG_DATA(head), sizeof fd);
        else if (head->cmsg_type == SCM_CREDENTIALS)
            memcpy(from, CMSG_DATA(head), sizeof *from);
    }
    return fd;
}
static void passed_on(void) {
    int pair[2], ends[2], one = 1;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0 && pipe(ends) == 0);
    CHECK(setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, &one, sizeof one) == 0);
    pid_t child = fork();
    struct ucred who = {0};
    if (child == 0) {
        who = (struct ucred){getpid(), getuid(), getgid()};
        pass(pair[1], ends[1], &who);
        char text[4096];
        int own = open("/proc/self/exe", O_RDONLY);
        CHECK(own >= 0 && read(own, text, 4096) == 4096);
        pass(pair[1], own, &who);
        _exit(0);
    }
    int fd = take(pair[0], &who);
    char text[8] = "";
    CHECK(fd >= 0 && who.pid == child && who.uid == getuid());
    CHECK(write(fd, "passed", 6) == 6 && read(ends[0], text, 6) == 6 && !strcmp(text, "passed"));
    // What was a file of the child is one here, with its position.
    fd = take(pair[0], &who);
    CHECK(lseek(fd, 0, SEEK_CUR) == 4096 && pread(fd, text, 4, 0) == 4 && !memcmp(text, "\177ELF", 4));
    CHECK(read(fd, text, 4) == 4 && close(fd) == 0);
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    socklen_t len = sizeof who;
    CHECK(getsockopt(pair[0], SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 && who.pid == getpid());
    close(pair[0]), close(pair[1]), close(ends[0]), close(ends[1]);
    GOOD("passed on");
}

static void *drains(void *argument) {
    char buffer[65536];
    unsigned long sum = 0;
    ssize_t got;
    int fd = accept(*(int *)argument, NULL, NULL);
    while ((got = read(fd, buffer, sizeof buffer)) > 0)
        for (ssize_t i = 0; i < got; i++)
            sum = sum * 31 + (unsigned char)buffer[i];
    close(fd);
    return (void *)sum;
}
// What is sent without being copied, and the word that it has been sent.
static void without_copying(void) {
    union address address;
    socklen_t len = local(AF_INET, &address);
    int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    CHECK(bind(listener, &address.any, len) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, &address.any, &len) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, drains, &listener) == 0 && connect(client, &address.any, len) == 0);
    CHECK(setsockopt(client, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof one) == 0);
    static char block[40000];
    unsigned long wanted = 0;
    for (int i = 0; i < 4; i++) {
        memset(block, 'a' + i, sizeof block);
        for (size_t sent = 0; sent < sizeof block;) {
            ssize_t done = send(client, block + sent, sizeof block - sent, MSG_ZEROCOPY);
            CHECK(done > 0);
            sent += done;
        }
        // Until the kernel says so the block must stay as it is.
        struct pollfd polled = {.fd = client};
        CHECK(poll(&polled, 1, 5000) == 1 && polled.revents & POLLERR);
        char control[128];
        struct msghdr message = {.msg_control = control, .msg_controllen = sizeof control};
        CHECK(recvmsg(client, &message, MSG_ERRQUEUE) == 0);
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        CHECK(head && head->cmsg_level == SOL_IP && head->cmsg_type == IP_RECVERR);
        struct sock_extended_err error;
        memcpy(&error, CMSG_DATA(head), sizeof error);
        CHECK(error.ee_origin == SO_EE_ORIGIN_ZEROCOPY && error.ee_errno == 0);
        for (size_t n = 0; n < sizeof block; n++)
            wanted = wanted * 31 + (unsigned char)block[n];
    }
    void *sum;
    CHECK(close(client) == 0 && pthread_join(thread, &sum) == 0 && (unsigned long)sum == wanted);
    close(listener);
    GOOD("without copying");
}

static void others(void) {
    // Routing tables by netlink.
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), links = 0, done = 0;
    struct {
        struct nlmsghdr head;
        struct rtgenmsg body;
    } request = {{NLMSG_LENGTH(sizeof(struct rtgenmsg)), RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0}, {AF_UNSPEC}};
    CHECK(fd >= 0 && send(fd, &request, request.head.nlmsg_len, 0) == request.head.nlmsg_len);
    while (!done) {
        char answer[16384];
        ssize_t got = recv(fd, answer, sizeof answer, 0);
        CHECK(got > 0);
        for (struct nlmsghdr *head = (void *)answer; NLMSG_OK(head, got); head = NLMSG_NEXT(head, got)) {
            links += head->nlmsg_type == RTM_NEWLINK;
            done |= head->nlmsg_type == NLMSG_DONE;
        }
    }
    CHECK(links > 0 && close(fd) == 0);
    // What is asked of interfaces.
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ifreq interface = {.ifr_name = "lo"};
    CHECK(ioctl(fd, SIOCGIFINDEX, &interface) == 0 && interface.ifr_ifindex >= 1);
    CHECK(ioctl(fd, SIOCGIFFLAGS, &interface) == 0 && interface.ifr_flags & IFF_LOOPBACK);
    char space[4096];
    struct ifconf all = {.ifc_len = sizeof space, .ifc_buf = space};
    CHECK(ioctl(fd, SIOCGIFCONF, &all) == 0 && all.ifc_len > 0 && if_nametoindex("lo") >= 1);
    close(fd);
    struct addrinfo *found, hints = {.ai_flags = AI_NUMERICHOST, .ai_family = AF_INET};
    CHECK(getaddrinfo("127.0.0.1", "80", &hints, &found) == 0);
    freeaddrinfo(found);
    // Those that need more than an ordinary user has, or a kernel with more in it, may be missing.
    fd = socket(AF_PACKET, SOCK_RAW, 0);
    CHECK(fd >= 0 || errno == EPERM || errno == EAFNOSUPPORT);
    close(fd);
    fd = socket(AF_ALG, SOCK_SEQPACKET, 0);
    struct sockaddr_alg hash = {.salg_family = AF_ALG, .salg_type = "hash", .salg_name = "sha256"};
    if (fd >= 0 && bind(fd, (struct sockaddr *)&hash, sizeof hash) == 0) {
        int operation = accept(fd, NULL, NULL);
        unsigned char digest[32] = "";
        CHECK(operation >= 0 && write(operation, "abc", 3) == 3 && read(operation, digest, 32) == 32 && digest[0] == 0xba);
        close(operation);
    }
    close(fd);
    // A connection that nobody takes, and a name that nobody has.
    union address nobody;
    socklen_t len = local(AF_INET, &nobody);
    fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    nobody.in.sin_port = htons(1);
    int error = 0;
    CHECK(connect(fd, &nobody.any, len) == -1 && (errno == EINPROGRESS || errno == ECONNREFUSED));
    len = sizeof error;
    CHECK(getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0);
    close(fd);
    strcpy(nobody.un.sun_path, "/tmp/e2e-no-such-socket");
    nobody.un.sun_family = AF_UNIX;
    fd = socket(AF_UNIX, SOCK_STREAM, 0);
    CHECK(connect(fd, &nobody.any, sizeof nobody.un) == -1 && errno == ENOENT);
    close(fd);
    GOOD("others");
}

int main(void) {
    stream(AF_INET, "TCP");
    stream(AF_INET6, "TCP over IPv6");
    stream(AF_UNIX, "UNIX streams");
    datagrams(AF_INET, "UDP");
    datagrams(AF_INET6, "UDP over IPv6");
    datagrams(AF_UNIX, "UNIX datagrams");
    passed_on();
    without_copying();
    others();
    return 0;
}
