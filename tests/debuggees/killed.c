// A parent kills its child while that burns CPU.
#include "check.h"
#include <signal.h>
#include <sys/wait.h>

int main(void) {
    for (int round = 0; round < 5; round++) {
        pid_t child = fork();
        if (child == 0) {
            volatile unsigned long sum = 0;
            for (;;)
                sum += sum * 3 + 1;
        }
        usleep(20000);
        CHECK(kill(child, SIGKILL) == 0);
        int status;
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    GOOD("killed");
    return 0;
}
