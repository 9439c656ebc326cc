/* Runs until SIGTERM: threads that wait for each other, sleep, compute and read clocks, a timer, memory of all kinds. Checks
 * at the end that nothing was lost. */
#include "check.h"
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <x86intrin.h>

static atomic_int over, ticks;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static long handed, counted[2];

static void on_term(int signal) { (void)signal; over = 1; }
static void on_alarm(int signal) { (void)signal; ticks++; }

static void *hand(void *arg)
{
	long me = (long)arg;
	for (;;) {
		pthread_mutex_lock(&lock);
		while (handed % 2 != me && !over)
			pthread_cond_wait(&turn, &lock);
		if (handed % 2 == me) {
			handed++;
			counted[me]++;
		}
		pthread_cond_signal(&turn);
		pthread_mutex_unlock(&lock);
		if (over)
			return 0;
		usleep(300);
	}
}

static void *sleep_long(void *arg)
{
	/* In one call all the time. */
	int fd = timerfd_create(CLOCK_MONOTONIC, 0), set = epoll_create1(0);
	struct itimerspec never = { { 0, 0 }, { 3600, 0 } };
	CHECK(timerfd_settime(fd, 0, &never, 0) == 0);
	struct epoll_event event = { .events = EPOLLIN };
	CHECK(epoll_ctl(set, EPOLL_CTL_ADD, fd, &event) == 0);
	while (!over) {
		int got = epoll_wait(set, &event, 1, 200);
		CHECK(got == 0 || (got < 0 && errno == EINTR));
	}
	return arg;
}

static void *compute(void *arg)
{
	unsigned long long last = 0, x = 1;
	while (!over) {
		for (int n = 0; n < 20000; n++)
			x = x * 6364136223846793005u + 1442695040888963407u;
		unsigned long long now = __rdtsc();
		CHECK(now >= last);
		last = now;
		*(volatile unsigned long long *)arg = x;
		usleep(500);
	}
	return 0;
}

int main(void)
{
	struct sigaction term = { .sa_handler = on_term }, alarm = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	CHECK(sigaction(SIGTERM, &term, 0) == 0 && sigaction(SIGALRM, &alarm, 0) == 0);
	long *shared = mmap(0, 1 << 16, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long long *private = mmap(0, 1 << 22, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(shared != MAP_FAILED && private != MAP_FAILED);
	pthread_t threads[4];
	for (long n = 0; n < 2; n++)
		pthread_create(&threads[n], 0, hand, (void *)n);
	pthread_create(&threads[2], 0, sleep_long, 0);
	pthread_create(&threads[3], 0, compute, private);
	struct itimerval often = { { 0, 5000 }, { 0, 5000 } };
	setitimer(ITIMER_REAL, &often, 0);
	puts("ready");
	fflush(stdout);
	struct timespec before, now;
	clock_gettime(CLOCK_MONOTONIC, &before);
	long children = 0;
	for (long round = 0; !over; round++) {
		clock_gettime(CLOCK_MONOTONIC, &now);
		CHECK(now.tv_sec > before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec >= before.tv_nsec));
		before = now;
		private[512 * (round % 1000) + 1] = round;
		if (round % 20 == 0) {
			pid_t child = fork();
			if (child == 0) {
				shared[0]++;
				_exit(7);
			}
			int status = 0;
			while (waitpid(child, &status, 0) < 0)
				CHECK(errno == EINTR);
			CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
			children++;
		}
		usleep(1000);
	}
	pthread_cond_broadcast(&turn);
	for (int n = 0; n < 4; n++)
		pthread_join(threads[n], 0);
	CHECK(shared[0] == children && counted[0] + counted[1] == handed && ticks > 0);
	puts("all is well");
	return 0;
}
