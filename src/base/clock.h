/*
 * clock.h - time. Everything that waits asks here, so that tests can set the
 * clock instead of sleeping.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

int64_t clock_now_ms(void);  /* monotonic milliseconds */
int64_t clock_now_us(void);  /* monotonic microseconds */
int64_t clock_wall_ms(void); /* since 1970, UTC */

/*
 * For tests: from now on the monotonic clock stands at `now_ms` until it is
 * set again; a negative value gives the real clock back.
 */
void clock_fake(int64_t now_ms);

#endif
