// Handlers that repair what failed and go on, as virtual machines do: registers, memory and code; state of the vector unit kept.
#include "check.h"
#include <immintrin.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

#define PAGE 4096

static volatile int repaired, polls, traps;
static char *guarded, *polled, valid[64];
static sigjmp_buf back;

static void on_fault(int number, siginfo_t *info, void *context) {
    ucontext_t *at = context;
    greg_t *registers = at->uc_mcontext.gregs;
    char *address = info->si_addr;
    (void)number;
    if (address == NULL || (uintptr_t)address < PAGE) {
        // A null pointer: the access goes to something valid instead.
        CHECK(registers[REG_RBX] == 0);
        registers[REG_RBX] = (greg_t)(uintptr_t)valid;
        repaired++;
    } else if (address >= polled && address < polled + PAGE) {
        // A safe point: the page is opened, and closed again by the next who wants to stop.
        polls++;
        mprotect(polled, PAGE, PROT_READ);
    } else if (address >= guarded && address < guarded + 16 * PAGE) {
        mprotect((char *)((uintptr_t)address & -PAGE), PAGE, PROT_READ | PROT_WRITE);
        repaired++;
    } else {
        siglongjmp(back, 1);
    }
}

static void nulls(void) {
    for (int i = 0; i < 50; i++) {
        valid[8] = (char)i;
        long value;
        __asm__ volatile("xor %%ebx, %%ebx\n movsbq 8(%%rbx), %0" : "=r"(value) : : "rbx", "memory");
        CHECK(value == i);
    }
    CHECK(repaired == 50);
    GOOD("nulls");
}

static void barriers(void) {
    unsigned long sum = 0;
    for (int round = 0; round < 10; round++) {
        CHECK(mprotect(guarded, 16 * PAGE, PROT_READ) == 0 && mprotect(polled, PAGE, PROT_NONE) == 0);
        for (int i = 0; i < 16 * PAGE; i += 512) {
            guarded[i]++;
            sum += (unsigned char)guarded[i] + *(volatile char *)polled;
        }
    }
    CHECK(repaired == 50 + 160 && polls == 10 * 1);
    printf("%lx\n", sum);
    GOOD("barriers");
}

// Instructions whose memory operands span pages, repeated ones, vector ones.
static void within_instructions(void) {
    char *from = valid;
    memset(valid, 'v', sizeof valid);
    CHECK(mprotect(guarded, 16 * PAGE, PROT_NONE) == 0);
    unsigned long left = 16 * PAGE;
    char *to = guarded;
    __asm__ volatile("rep stosb" : "+D"(to), "+c"(left) : "a"(7) : "memory");
    CHECK(to == guarded + 16 * PAGE && left == 0 && guarded[16 * PAGE - 1] == 7);
    CHECK(mprotect(guarded, 16 * PAGE, PROT_NONE) == 0);
    left = 3 * PAGE;
    to = guarded + 5 * PAGE + 100;
    from = guarded + 100;
    __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(left) : : "memory");
    CHECK(left == 0 && guarded[8 * PAGE] == 7);
    CHECK(mprotect(guarded, 16 * PAGE, PROT_NONE) == 0);
    __asm__ volatile("movdqu %0, %%xmm1\n movdqu %%xmm1, (%1)" : : "m"(valid[3]), "r"(guarded + PAGE - 5) : "xmm1", "memory");
    CHECK(guarded[PAGE - 5] == 'v' && guarded[PAGE + 10] == 'v');
    long pushed = 0;
    __asm__ volatile("mov %%rsp, %%r12\n lea 8(%1), %%rsp\n push $77\n pop %0\n mov %%r12, %%rsp"
                     : "=r"(pushed) : "r"(guarded + 3 * PAGE) : "r12", "memory");
    CHECK(pushed == 77);
    if (sigsetjmp(back, 1) == 0)
        *(volatile char *)0x7000000000 = 1;
    GOOD("within instructions");
}

static void on_trap(int number, siginfo_t *info, void *context) {
    (void)info;
    ucontext_t *at = context;
    traps++;
    if (number == SIGILL)
        at->uc_mcontext.gregs[REG_RIP] += 2;
    if (number == SIGTRAP && traps % 3 == 0)
        siglongjmp(back, traps);
}
static void own_traps(void) {
    signal(SIGTRAP, SIG_DFL);
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK(sigaction(SIGTRAP, &action, NULL) == 0 && sigaction(SIGILL, &action, NULL) == 0);
    for (volatile int i = 0; i < 30; i++) {
        if (sigsetjmp(back, 1) == 0) {
            __asm__ volatile("int3");
            __asm__ volatile("ud2");
            __asm__ volatile(".byte 0xcd, 0x03");
        }
    }
    CHECK(traps > 60);
    printf("%d traps\n", traps);
    GOOD("own traps");
}

// Code that is generated, run, changed and run again; traps in it too.
static void own_code(void) {
    unsigned char *code = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(code != MAP_FAILED);
    int before = traps, sum = 0;
    for (int i = 0; i < 60; i++) {
        unsigned char text[] = {0xb8, (unsigned char)i, 0, 0, 0, i % 7 == 0 ? 0xcc : 0x90, 0xc3};
        CHECK(mprotect(code, PAGE, PROT_READ | PROT_WRITE) == 0);
        memcpy(code + i % 3, text, sizeof text);
        CHECK(mprotect(code, PAGE, PROT_READ | PROT_EXEC) == 0);
        if (sigsetjmp(back, 1) == 0)
            sum += ((int (*)(void))(code + i % 3))();
    }
    printf("%d %d\n", sum, traps - before);
    GOOD("own code");
}

static volatile int ticks;
__attribute__((target("avx512f"))) static void spoil512(void) {
    __asm__ volatile("vpternlogd $0xff, %%zmm0, %%zmm0, %%zmm0\n vmovdqa64 %%zmm0, %%zmm5\n vmovdqa64 %%zmm0, %%zmm17\n"
                     "vmovdqa64 %%zmm0, %%zmm31\n kxnorw %%k1, %%k1, %%k1\n kmovw %%k1, %%k5" ::
                         : "xmm0", "xmm5", "xmm17", "xmm31", "k1", "k5");
}
static void on_alarm(int number) {
    (void)number;
    ticks++;
    if (__builtin_cpu_supports("avx512f"))
        spoil512();
}
__attribute__((target("avx512f"), noipa)) static uint64_t churn512(long rounds) {
    __m512i a = _mm512_set1_epi64(3), b = _mm512_set1_epi64(5), c = _mm512_setr_epi64(1, 2, 3, 4, 5, 6, 7, 8);
    __mmask8 mask = 0x5a;
    for (long i = 0; i < rounds; i++) {
        a = _mm512_mask_add_epi64(a, mask, a, c);
        b = _mm512_xor_epi64(_mm512_rol_epi64(b, 7), a);
        c = _mm512_add_epi64(c, _mm512_srli_epi64(b, 3));
        mask = (__mmask8)(_mm512_cmpgt_epu64_mask(a, b) ^ mask);
    }
    uint64_t words[8], sum = mask;
    _mm512_storeu_si512(words, _mm512_xor_epi64(a, _mm512_xor_epi64(b, c)));
    for (int i = 0; i < 8; i++)
        sum = sum * 31 + words[i];
    return sum;
}
static void wide_state(void) {
    if (__builtin_cpu_supports("avx512f")) {
        signal(SIGALRM, on_alarm);
        uint64_t quiet = churn512(2000000);
        struct itimerval timer = {{0, 3000}, {0, 3000}}, off = {0};
        CHECK(setitimer(ITIMER_REAL, &timer, NULL) == 0);
        for (int i = 0; i < 200 && ticks < 12; i++)
            CHECK(churn512(2000000) == quiet);
        CHECK(setitimer(ITIMER_REAL, &off, NULL) == 0 && ticks > 0);
    }
    GOOD("wide state");
}

int main(void) {
    static char stack[65536];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};
    CHECK(sigaltstack(&alternate, NULL) == 0);
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    CHECK(sigaction(SIGSEGV, &action, NULL) == 0);
    guarded = mmap(NULL, 16 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    polled = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(guarded != MAP_FAILED && polled != MAP_FAILED);
    nulls();
    barriers();
    within_instructions();
    own_traps();
    own_code();
    wide_state();
    return 0;
}
