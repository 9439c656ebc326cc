// Makes calls that the recorder's tables do not know, or not all of: what the kernel writes in them shows in the output.
#include "check.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned sum(const void *bytes, int len) {
    unsigned sum = 0;
    for (int i = 0; i < len; i++)
        sum = sum * 31 + ((const unsigned char *)bytes)[i];
    return sum;
}

int main(void) {
    static char memory[8192];
    memset(memory, 7, sizeof memory);
    // A number that no kernel knows.
    long result = syscall(600, memory, &memory[100], 3, 4, 5, 6);
    printf("600: %ld %d %x\n", result, errno, sum(memory, sizeof memory));
    // One that only the newest kernels know: file_getattr of Linux 6.17.
    result = syscall(468, AT_FDCWD, "/", memory, 24L, 0);
    printf("468: %ld %x\n", result, sum(memory, sizeof memory));
    // A structure with a pointer to what is written.
    int file = socket(AF_INET, SOCK_DGRAM, 0);
    CHECK(file >= 0);
    struct ethtool_drvinfo *info = calloc(1, sizeof *info);
    struct ifreq request = {.ifr_name = "lo"};
    request.ifr_data = (char *)info;
    info->cmd = ETHTOOL_GDRVINFO;
    result = ioctl(file, SIOCETHTOOL, &request);
    // The offset in random padding does not count.
    printf("ethtool: %ld %.32s %.32s\n", result, info->driver, info->version);
    struct ethtool_value link = {.cmd = ETHTOOL_GLINK, .data = 77};
    request.ifr_data = (char *)&link;
    for (int i = 0; i < 3; i++)
        result = ioctl(file, SIOCETHTOOL, &request);
    printf("link: %ld %u\n", result, link.data);
    // Commands that nobody knows.
    result = ioctl(file, 0x1234u, memory);
    printf("ioctl: %ld %d\n", result, errno);
    result = prctl(0x7654321, memory, memory, 0, 0);
    printf("prctl: %ld %d\n", result, errno);
    result = fcntl(file, 0x7654, memory);
    printf("fcntl: %ld %d\n", result, errno);
    socklen_t len = 64;
    result = getsockopt(file, SOL_SOCKET, 0x7654, memory, &len);
    printf("getsockopt: %ld %d\n", result, errno);
    // One that is known, with its whole length.
    len = 64;
    CHECK(getsockopt(file, SOL_SOCKET, SO_SNDBUF, memory, &len) == 0);
    printf("%d %u %x\n", *(int *)memory > 0, len, sum(&memory[4], 100));
}
