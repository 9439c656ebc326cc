// A parent and three children that share a page and pass values through pipes.
#include <stdint.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

uint64_t counter;
__attribute__((noipa)) void milestone(int number) { counter += number; }

int main(void) {
    volatile uint64_t *common = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int child = 1; child <= 3; child++) {
        int ends[2];
        pipe(ends);
        pid_t pid = fork();
        if (pid == 0) {
            for (int i = 0; i < 5; i++) {
                common[child] += i * child;
                milestone(child);
                write(ends[1], &i, sizeof i);
            }
            _exit(counter != 5u * child);
        }
        int value;
        for (int i = 0; i < 5; i++) {
            if (read(ends[0], &value, sizeof value) != sizeof value || value != i)
                return 1;
            milestone(0);
        }
        int status;
        if (waitpid(pid, &status, 0) != pid || status != 0)
            return 2;
    }
    return common[1] + common[2] + common[3] != 60;
}
