/*
 * clock.c - the monotonic and the wall clock.
 */
#include "base/clock.h"

#include <time.h>

static int64_t fake_ms = -1;

static int64_t
read_us(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t
clock_now_us(void)
{
	return fake_ms >= 0 ? fake_ms * 1000 : read_us(CLOCK_MONOTONIC);
}

int64_t
clock_now_ms(void)
{
	return clock_now_us() / 1000;
}

int64_t
clock_wall_ms(void)
{
	return read_us(CLOCK_REALTIME) / 1000;
}

void
clock_fake(int64_t now_ms)
{
	fake_ms = now_ms;
}
