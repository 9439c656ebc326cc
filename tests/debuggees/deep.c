// Recursion: many frames, many returns.
#include "check.h"

static unsigned long ackermann(unsigned long m, unsigned long n) {
    if (m == 0)
        return n + 1;
    return ackermann(m - 1, n == 0 ? 1 : ackermann(m, n - 1));
}
static unsigned long deep(unsigned long n) {
    volatile unsigned long here = n;
    return n == 0 ? 0 : deep(n - 1) + here;
}

int main(void) {
    printf("%lu\n", ackermann(2, 300));
    printf("%lu\n", ackermann(3, 7));
    printf("%lu\n", deep(60000));
    return 0;
}
