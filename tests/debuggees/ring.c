/* Reads more random bytes than a ring keeps; in the middle a child crashes. */
#include "check.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

static char buffer[1 << 14];

int main(void)
{
	int fd = open("/dev/urandom", O_RDONLY);
	unsigned long sum = 0;
	CHECK(fd >= 0);
	for (int round = 0; round < 1500; round++) {
		CHECK(read(fd, buffer, sizeof buffer) == sizeof buffer);
		for (unsigned n = 0; n < sizeof buffer; n++)
			sum = sum * 31 + buffer[n];
		if (round == 1000) {
			int status;
			pid_t child = fork();
			if (child == 0)
				raise(SIGSEGV);
			CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
		}
	}
	printf("%lx\n", sum);
	return 0;
}
