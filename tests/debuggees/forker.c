// Forks without end, as far as it is let: then says how far that was, and whether it still works.
#include "check.h"
#include <errno.h>
#include <signal.h>
#include <sys/wait.h>

int main(void) {
    pid_t children[4096];
    int count = 0;
    int ends[2];
    CHECK(pipe(ends) == 0);
    while (count < 4096) {
        pid_t child = fork();
        if (child < 0)
            break;
        if (child == 0) {
            char byte;
            close(ends[1]);
            // Until the parent ends or closes its end.
            _exit(read(ends[0], &byte, 1) == 0 ? 0 : 1);
        }
        children[count++] = child;
    }
    CHECK(errno == EAGAIN);
    printf("%d children\n", count);
    close(ends[1]);
    for (int i = 0; i < count; i++) {
        int status;
        CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
    }
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        _exit(7);
    int status;
    CHECK(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
    printf("forks again\n");
}
