// Files that are watched and locked, terminals of the program's own, and waiting for several things with time-outs.
#include "check.h"
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/fanotify.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>

static char directory[] = "/tmp/e2e-watched-XXXXXX", path[64], other[64];

static void reap(pid_t child) {
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}
static void touch(const char *name, const char *text) {
    int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && close(fd) == 0);
}

static void by_inotify(void) {
    int fd = inotify_init1(IN_CLOEXEC), events = 0, last = 0;
    uint32_t seen = 0;
    int watch = inotify_add_watch(fd, directory, IN_ALL_EVENTS);
    CHECK(fd >= 0 && watch >= 0);
    pid_t child = fork();
    if (child == 0) {
        touch(path, "some text");
        CHECK(rename(path, other) == 0 && chmod(other, 0644) == 0);
        int own = open(other, O_RDONLY);
        char text[16];
        CHECK(read(own, text, 16) == 9 && close(own) == 0 && unlink(other) == 0);
        _exit(0);
    }
    while (!last) {
        char buffer[4096];
        ssize_t got = read(fd, buffer, sizeof buffer);
        CHECK(got > 0);
        for (ssize_t at = 0; at < got;) {
            struct inotify_event *event = (void *)(buffer + at);
            seen |= event->mask, events++;
            last = (event->mask & IN_DELETE) != 0;
            at += sizeof *event + event->len;
        }
    }
    reap(child);
    CHECK((seen & (IN_CREATE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_ACCESS)) ==
          (IN_CREATE | IN_MODIFY | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_ACCESS));
    CHECK(inotify_rm_watch(fd, watch) == 0 && events >= 8 && close(fd) == 0);
    GOOD("by inotify");
}

static void by_fanotify(void) {
    int fd = fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC, O_RDONLY);
    if (fd < 0) {
        CHECK(errno == EPERM || errno == ENOSYS);
    } else if (fanotify_mark(fd, FAN_MARK_ADD, FAN_CLOSE_WRITE | FAN_EVENT_ON_CHILD, AT_FDCWD, directory) == 0) {
        pid_t child = fork();
        if (child == 0) {
            touch(path, "watched");
            _exit(0);
        }
        struct fanotify_event_metadata event;
        CHECK(read(fd, &event, sizeof event) == sizeof event && event.mask == FAN_CLOSE_WRITE && event.pid == child);
        // The event comes with a descriptor of the file.
        char text[16] = "";
        CHECK(event.fd >= 0 && pread(event.fd, text, 16, 0) == 7 && !strcmp(text, "watched") && close(event.fd) == 0);
        reap(child);
        unlink(path);
    }
    close(fd);
    GOOD("by fanotify");
}

static void locked(void) {
    int *counter = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    touch(path, "0123456789");
    for (int kind = 0; kind < 3; kind++) {
        *counter = 0;
        pid_t children[3];
        for (int n = 0; n < 3; n++) {
            if ((children[n] = fork()) != 0)
                continue;
            int fd = open(path, O_RDWR);
            CHECK(fd >= 0);
            for (int i = 0; i < 25; i++) {
                struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 3};
                if (kind == 0)
                    CHECK(flock(fd, LOCK_EX) == 0);
                else
                    CHECK(fcntl(fd, kind == 1 ? F_SETLKW : F_OFD_SETLKW, &lock) == 0);
                int before = *counter;
                if (i % 5 == 0)
                    usleep(200);
                *counter = before + 1;
                lock.l_type = F_UNLCK;
                if (kind == 0)
                    CHECK(flock(fd, LOCK_UN) == 0);
                else
                    CHECK(fcntl(fd, kind == 1 ? F_SETLK : F_OFD_SETLK, &lock) == 0);
            }
            _exit(0);
        }
        for (int n = 0; n < 3; n++)
            reap(children[n]);
        CHECK(*counter == 75);
    }
    int fd = open(path, O_RDWR);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 4, .l_len = 2};
    CHECK(fcntl(fd, F_SETLK, &lock) == 0);
    pid_t child = fork();
    if (child == 0) {
        struct flock found = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0};
        CHECK(fcntl(fd, F_GETLK, &found) == 0 && found.l_type == F_WRLCK && found.l_start == 4 && found.l_len == 2);
        CHECK(found.l_pid == getppid() && fcntl(fd, F_SETLK, &found) == -1 && (errno == EAGAIN || errno == EACCES));
        CHECK(lockf(fd, F_TEST, 0) == 0 || errno == EACCES || errno == EAGAIN);
        _exit(0);
    }
    reap(child);
    CHECK(fcntl(fd, F_SETLEASE, F_RDLCK) == -1 || fcntl(fd, F_GETLEASE) == F_RDLCK);
    CHECK(fcntl(fd, F_GETPIPE_SZ) == -1 && close(fd) == 0 && unlink(path) == 0);
    free(0), munmap(counter, 4096);
    GOOD("locked");
}

static volatile int resized;
static void on_resize(int number) { (void)number, resized++; }

static void terminal(void) {
    int master, slave;
    struct winsize size = {.ws_row = 24, .ws_col = 80}, got = {0};
    struct termios state;
    char name[64], text[256] = "";
    CHECK(openpty(&master, &slave, name, NULL, &size) == 0 && isatty(slave) && ttyname_r(slave, text, sizeof text) == 0);
    CHECK(!strcmp(name, text) && tcgetattr(slave, &state) == 0 && state.c_lflag & ECHO);
    CHECK(ioctl(slave, TIOCGWINSZ, &got) == 0 && got.ws_row == 24 && got.ws_col == 80);
    state.c_lflag &= ~(tcflag_t)(ECHO | ICANON);
    CHECK(tcsetattr(slave, TCSANOW, &state) == 0 && write(master, "raw", 3) == 3 && read(slave, text, 10) == 3);
    state.c_lflag |= ICANON | ECHO;
    CHECK(tcsetattr(slave, TCSADRAIN, &state) == 0);
    pid_t child = fork();
    if (child == 0) {
        signal(SIGWINCH, on_resize);
        signal(SIGINT, on_resize);
        CHECK(setsid() > 0 && ioctl(slave, TIOCSCTTY, 0) == 0 && tcgetpgrp(slave) == getpid());
        CHECK(tcgetsid(slave) == getpid() && write(slave, "ready\n", 6) == 6);
        char line[64];
        ssize_t len = read(slave, line, sizeof line);
        CHECK(len == 6 && !memcmp(line, "hello\n", 6));
        // The terminal's new size, and a key that interrupts.
        while (resized < 1)
            usleep(500);
        CHECK(ioctl(slave, TIOCGWINSZ, &got) == 0 && got.ws_row == 50 && write(slave, "sized\n", 6) == 6);
        while (resized < 2)
            usleep(500);
        CHECK(write(slave, "interrupted\n", 12) == 12);
        _exit(0);
    }
    size_t filled = 0;
    int step = 0;
    memset(text, 0, sizeof text);
    while (step < 3) {
        ssize_t len = read(master, text + filled, sizeof text - 1 - filled);
        CHECK(len > 0);
        filled += len;
        if (step == 0 && strstr(text, "ready")) {
            CHECK(write(master, "hello\n", 6) == 6);
            size.ws_row = 50, step++;
            usleep(2000);
            CHECK(ioctl(master, TIOCSWINSZ, &size) == 0);
        } else if (step == 1 && strstr(text, "sized")) {
            CHECK(write(master, "\003", 1) == 1);
            step++;
        } else if (step == 2 && strstr(text, "interrupted")) {
            step++;
        }
    }
    reap(child);
    int waiting, unlocked = 0;
    CHECK(ioctl(master, FIONREAD, &waiting) == 0 && ioctl(master, TIOCGPTN, &waiting) == 0);
    CHECK(ioctl(master, TIOCGPTLCK, &unlocked) == 0 && unlocked == 0 && ioctl(master, TIOCOUTQ, &waiting) == 0);
    CHECK(tcflush(slave, TCIOFLUSH) == 0 && tcsendbreak(slave, 0) == 0 && tcflow(slave, TCOON) == 0);
    CHECK(ioctl(slave, 0x5499, &waiting) == -1);
    close(master), close(slave);
    GOOD("terminal");
}

static void *posts(void *argument) {
    uint64_t value = 3;
    for (int i = 0; i < 5; i++) {
        usleep(1000);
        CHECK(write(*(int *)argument, &value, 8) == 8);
    }
    return NULL;
}
static void several(void) {
    int counter = eventfd(0, EFD_NONBLOCK), semaphore = eventfd(2, EFD_SEMAPHORE), sum = 0;
    int epoll = epoll_create1(0), outer = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.u32 = 1}, got[3];
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, counter, &event) == 0);
    event.events = EPOLLIN, event.data.u32 = 2;
    CHECK(epoll_ctl(outer, EPOLL_CTL_ADD, epoll, &event) == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, posts, &counter) == 0);
    uint64_t value;
    while (sum < 15) {
        struct timespec limit = {5, 0};
        CHECK(epoll_pwait2(outer, got, 3, &limit, NULL) == 1 && got[0].data.u32 == 2);
        CHECK(epoll_wait(epoll, got, 3, 0) == 1 && read(counter, &value, 8) == 8);
        sum += (int)value;
        event.events = EPOLLIN | EPOLLONESHOT, event.data.u32 = 1;
        CHECK(epoll_ctl(epoll, EPOLL_CTL_MOD, counter, &event) == 0);
    }
    pthread_join(thread, NULL);
    CHECK(read(semaphore, &value, 8) == 8 && value == 1 && read(semaphore, &value, 8) == 8 && value == 1);
    struct timespec brief = {0, 2000000};
    fd_set set;
    FD_ZERO(&set);
    FD_SET(semaphore, &set);
    CHECK(pselect(semaphore + 1, &set, NULL, NULL, &brief, NULL) == 0 && !FD_ISSET(semaphore, &set));
    struct pollfd polled[2] = {{semaphore, POLLIN, 0}, {-1, POLLIN, 7}};
    CHECK(ppoll(polled, 2, &brief, NULL) == 0 && polled[1].revents == 0 && poll(NULL, 0, 2) == 0);
    CHECK(epoll_wait(outer, got, 3, 2) == 0 && epoll_wait(outer, got, 3, 0) == 0);
    close(counter), close(semaphore), close(epoll), close(outer);
    GOOD("several");
}

int main(void) {
    CHECK(mkdtemp(directory));
    snprintf(path, sizeof path, "%s/file", directory);
    snprintf(other, sizeof other, "%s/other", directory);
    by_inotify();
    by_fanotify();
    locked();
    terminal();
    several();
    CHECK(rmdir(directory) == 0);
    return 0;
}
