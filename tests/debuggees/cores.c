// Prints how many cores the program sees, in every way it may ask.
#include "check.h"
#include <sched.h>
#include <sys/sysinfo.h>

int main(void) {
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0);
    printf("%d %d %ld %ld\n", CPU_COUNT(&set), get_nprocs(), sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_NPROCESSORS_CONF));
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set))
            printf("%d\n", i);
    return 0;
}
