// Vector state lives through signals: a timer interrupts a loop that works in all AVX registers, and the handler
// overwrites them; x87 and MXCSR as well.
#include "check.h"
#include <immintrin.h>
#include <math.h>
#include <signal.h>
#include <sys/time.h>

static volatile int ticks;

__attribute__((target("avx2"))) static void spoil(void) {
    __asm__ volatile("vpcmpeqd %%ymm0, %%ymm0, %%ymm0\n vmovdqa %%ymm0, %%ymm1\n vmovdqa %%ymm0, %%ymm2\n"
                     "vmovdqa %%ymm0, %%ymm3\n vmovdqa %%ymm0, %%ymm15\n fldpi\n fstp %%st(0)" ::
                         : "ymm0", "ymm1", "ymm2", "ymm3", "ymm15");
}
static void on_alarm(int number) {
    (void)number;
    ticks++;
    spoil();
}

__attribute__((target("avx2"), noipa)) static uint64_t churn(uint64_t rounds) {
    __m256i a = _mm256_set_epi64x(1, 2, 3, 4), b = _mm256_set_epi64x(5, 6, 7, 8), c = a, d = b;
    for (uint64_t i = 0; i < rounds; i++) {
        a = _mm256_add_epi64(_mm256_slli_epi64(a, 1), b);
        b = _mm256_xor_si256(_mm256_srli_epi64(b, 3), c);
        c = _mm256_add_epi64(c, _mm256_permute4x64_epi64(d, 0x39));
        d = _mm256_sub_epi64(d, a);
    }
    uint64_t words[4];
    _mm256_storeu_si256((__m256i *)words, _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d)));
    return words[0] ^ words[1] ^ words[2] ^ words[3];
}
__attribute__((noipa)) static long double wave(int rounds) {
    long double x = 0.5L;
    for (int i = 0; i < rounds; i++)
        x = 3.7L * x * (1.0L - x);
    return x;
}

int main(void) {
    CHECK(__builtin_cpu_supports("avx2"));
    signal(SIGALRM, on_alarm);
    uint64_t quiet = churn(20000000);
    long double wave_quiet = wave(5000000);
    struct itimerval timer = {{0, 3000}, {0, 3000}}, off = {0};
    CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
    for (int i = 0; i < 8; i++) {
        CHECK(churn(20000000) == quiet);
        CHECK(wave(5000000) == wave_quiet);
    }
    CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0);
    CHECK(ticks > 0);
    printf("%lx %La\n", quiet, wave_quiet);
    return 0;
}
