// What /proc says about the program must not give the recorder away.
#include "check.h"

int main(void) {
    char line[256];
    FILE *status = fopen("/proc/self/status", "r");
    CHECK(status);
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, "Cpus_allowed", 12) || !strncmp(line, "Seccomp:", 8) || !strncmp(line, "TracerPid", 9))
            fputs(line, stdout);
    fclose(status);
    return 0;
}
