// Many small system calls.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(void) {
    int zero = open("/dev/zero", O_RDONLY);
    long sum = 0;
    for (int i = 0; i < 2000000; i++) {
        char byte;
        sum += read(zero, &byte, 1);
    }
    printf("%ld\n", sum);
    return 0;
}
