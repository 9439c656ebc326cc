/* Programs that fail in an unlucky schedule only: a lost update, a deadlock of two locks, a lost wake-up. With the name of one,
 * it tries again until the failure shows, or ends with status 1 after a number of rounds. */
#include "check.h"
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>

enum { ROUNDS = 4000 };

static pthread_barrier_t start;
static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER, other = PTHREAD_MUTEX_INITIALIZER;
static volatile long balance;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static atomic_int flag, waiting;

static void spend(int turns)
{
	for (volatile int n = 0; n < turns; n++)
		;
}

/* The balance is read, looked at, and written back. */
static void *withdraw(void *arg)
{
	pthread_barrier_wait(&start);
	for (int n = 0; n < 100; n++) {
		long seen = balance;
		spend(20);
		balance = seen + 1;
	}
	return arg;
}

/* The same within microseconds, and without a call. */
static void *withdraw_briefly(void *arg)
{
	for (int n = 0; n < 500; n++)
		balance = balance + 1;
	return arg;
}

static void *lock_both(void *arg)
{
	pthread_mutex_t *first = arg ? &one : &other, *second = arg ? &other : &one;
	struct timespec end;
	pthread_barrier_wait(&start);
	for (int n = 0; n < 20; n++) {
		pthread_mutex_lock(first);
		spend(20);
		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_sec += 1;
		/* A time-out stands for the deadlock, so that the test ends. */
		if (pthread_mutex_timedlock(second, &end) == ETIMEDOUT) {
			pthread_mutex_unlock(first);
			return (void *)1;
		}
		pthread_mutex_unlock(second);
		pthread_mutex_unlock(first);
		spend(50);
	}
	return 0;
}

/* It says that it waits only after it has looked. */
static void *wait_for_flag(void *arg)
{
	struct timespec second = { 1, 0 };
	pthread_barrier_wait(&start);
	if (!atomic_load(&flag)) {
		spend(20);
		atomic_store(&waiting, 1);
		if (syscall(SYS_futex, &waiting, FUTEX_WAIT_PRIVATE, 1, &second, 0, 0) < 0 && errno == ETIMEDOUT)
			return (void *)1;
	}
	return arg;
}

static void *set_flag(void *arg)
{
	pthread_barrier_wait(&start);
	spend(400);
	atomic_store(&flag, 1);
	if (atomic_exchange(&waiting, 0))
		syscall(SYS_futex, &waiting, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
	return arg;
}

/* It looks, then waits, and whoever wakes it sleeps meanwhile: nobody else could run in between. */
static void *wait_for_sleeper(void *arg)
{
	struct timespec end;
	int result = 0;
	if (!atomic_load(&flag)) {
		pthread_mutex_lock(&one);
		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_sec += 1;
		result = pthread_cond_timedwait(&changed, &one, &end);
		pthread_mutex_unlock(&one);
	}
	return result == ETIMEDOUT ? (void *)1 : arg;
}

static void *sleep_and_wake(void *arg)
{
	struct timespec brief = { 0, 200000 };
	nanosleep(&brief, 0);
	atomic_store(&flag, 1);
	pthread_cond_signal(&changed);
	return arg;
}

/* One round: whether the failure showed. */
static int fails(void *(*first)(void *), void *(*second)(void *))
{
	pthread_t threads[2];
	void *results[2] = { 0, 0 };
	CHECK(pthread_create(&threads[0], 0, first, 0) == 0);
	CHECK(pthread_create(&threads[1], 0, second, second == lock_both ? &one : 0) == 0);
	for (int n = 0; n < 2; n++)
		pthread_join(threads[n], &results[n]);
	return results[0] || results[1];
}

int main(int argc, char **argv)
{
	CHECK(argc == 2);
	CHECK(pthread_barrier_init(&start, 0, 2) == 0);
	for (int round = 1; round <= ROUNDS; round++) {
		int shown = 0;
		balance = 0;
		flag = 0;
		waiting = 0;
		if (!strcmp(argv[1], "race")) {
			fails(withdraw, withdraw);
			shown = balance != 200;
		} else if (!strcmp(argv[1], "brief")) {
			fails(withdraw_briefly, withdraw_briefly);
			shown = balance != 1000;
		} else if (!strcmp(argv[1], "deadlock")) {
			shown = fails(lock_both, lock_both);
		} else if (!strcmp(argv[1], "late")) {
			shown = fails(sleep_and_wake, wait_for_sleeper);
		} else {
			shown = fails(wait_for_flag, set_flag);
		}
		if (shown) {
			printf("%s in round %d\n", argv[1], round);
			return 0;
		}
	}
	printf("no %s in %d rounds\n", argv[1], ROUNDS);
	return 1;
}
