/*
 * coverage.c - for --enable-coverage only: saves what gcc has counted where
 * that would be lost. Forked children and daemons end by _exit(), and the
 * tests kill daemons, so each process saves now and then, too: every turn of
 * a loop asks for the time.
 */
#include <stdatomic.h>
#include <stdint.h>
#include <stdnoreturn.h>
#include <time.h>

#define SAVE_EACH_MS 200

void __gcov_dump(void);
void __gcov_reset(void);
noreturn void __real__exit(int status);
noreturn void __wrap__exit(int status);
int64_t __real_clock_now_ms(void);
int64_t __wrap_clock_now_ms(void);

void
__wrap__exit(int status)
{
	__gcov_dump();
	__real__exit(status);
}

int64_t
__wrap_clock_now_ms(void)
{
	static atomic_flag busy = ATOMIC_FLAG_INIT;
	static int64_t saved_ms;
	struct timespec ts;
	int64_t now_ms;

	if (!atomic_flag_test_and_set(&busy)) {
		(void)clock_gettime(CLOCK_MONOTONIC, &ts);
		now_ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
		if (now_ms - saved_ms > SAVE_EACH_MS) {
			saved_ms = now_ms;
			__gcov_dump();
			__gcov_reset();
		}
		atomic_flag_clear(&busy);
	}
	return __real_clock_now_ms();
}
