// Instructions whose results are inputs: random numbers, the core's number, cpuid. What the processor lacks is left out.
#include "check.h"
#include <cpuid.h>
#include <immintrin.h>
#include <sched.h>
#include <sys/random.h>

__attribute__((target("rdrnd"))) static void random_numbers(void) {
    for (int i = 0; i < 50; i++) {
        unsigned long long wide = 0;
        unsigned narrow = 0;
        unsigned short small = 0;
        int good = _rdrand64_step(&wide) + _rdrand32_step(&narrow) + _rdrand16_step(&small);
        printf("%d %llx %x %x\n", good, wide, narrow, small);
    }
}
__attribute__((target("rdseed"))) static void seeds(void) {
    for (int i = 0; i < 20; i++) {
        unsigned long long wide = 0;
        int good = _rdseed64_step(&wide);
        printf("%d %llx\n", good, wide);
    }
}
static void core_number(void) {
    unsigned long number;
    for (int i = 0; i < 20; i++) {
        __asm__ volatile("rdpid %0" : "=r"(number));
        CHECK((number & 0xfff) < 4096);
        printf("%lx\n", number);
    }
}

int main(void) {
    unsigned a, b, c, d, b7, c7, d7;
    CHECK(__get_cpuid(1, &a, &b, &c, &d));
    printf("%x %x %x\n", a, c, d);
    CHECK(__get_cpuid_count(7, 0, &a, &b7, &c7, &d7));
    printf("%x %x\n", b7, d7);
    if (c & bit_RDRND)
        random_numbers();
    if (b7 & bit_RDSEED)
        seeds();
    if (c7 & (1 << 22))
        core_number();
    unsigned char bytes[64];
    for (int i = 0; i < 20; i++) {
        CHECK(getrandom(bytes, sizeof bytes, 0) == sizeof bytes);
        printf("%02x%02x\n", bytes[0], bytes[63]);
    }
    CHECK(getentropy(bytes, 32) == 0);
    printf("%02x %d %p\n", bytes[0], sched_getcpu() >= 0, (void *)bytes);
    return 0;
}
