// What the recorder refuses fails as on a kernel that lacks it; bare it may work. Only sanity is printed.
#include "check.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

int main(void) {
    struct io_uring_params parameters = {0};
    long ring = syscall(SYS_io_uring_setup, 4, &parameters);
    CHECK(ring >= 0 || errno == ENOSYS || errno == EPERM);
    static char area[32] __attribute__((aligned(32)));
    long rseq = syscall(SYS_rseq, area, sizeof area, 0, 0x53053053);
    CHECK(rseq == 0 || errno == ENOSYS || errno == EBUSY || errno == EINVAL || errno == EPERM);
    long faults = syscall(SYS_userfaultfd, 0);
    CHECK(faults >= 0 || errno == ENOSYS || errno == EPERM);
    char *pages = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(pages != MAP_FAILED);
    pages[0] = 1, pages[4096] = 2;
    int turned = remap_file_pages(pages, 4096, 0, 1, 0);
    CHECK(pages[0] == (turned == 0 ? 2 : 1) && (turned == 0 || errno == ENOSYS));
    if (getenv("RECORDED"))
        CHECK(turned < 0 && ring < 0 && rseq < 0 && faults < 0);
    GOOD("refused");
    return 0;
}
