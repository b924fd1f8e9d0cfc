/*
 * wake.h - the end of one wait: whoever waits embeds a struct wake and hands
 * it to a function whose name ends in "_start"; that function wakes it once.
 *
 * The rule that holds it together: the function of a wake runs from the loop,
 * never inside the call that started the wait, also when that fails at once.
 */
#ifndef CORE_WAKE_H
#define CORE_WAKE_H

#include "core/loop.h"

/* Embed it and set `fn`; everything else is zeroed. One open wait at a time. */
struct wake {
	void (*fn)(struct wake *wake, int rc); /* rc: 0 or a negative errno */

	/* private */
	int rc;
	struct job job;
};

/* NULL: nobody waits. */
void wake_up(struct wake *wake, int rc);        /* on the loop's thread */
void wake_up_remote(struct wake *wake, int rc); /* from any other thread */

/*
 * Waits that go on side by side and are one wait for their waiter:
 *
 *	wakes_init(&m->waits, &op->wake);
 *	first_start(..., wakes_add(&m->waits));
 *	second_start(..., wakes_add(&m->waits));
 *	return op_await(m, BOTH_DONE);
 *
 * The waiter is woken when the last one is in, with the first failure in the
 * order in which they were added, or 0. The struct lives until then.
 */
#define WAKES_MAX 6

struct wakes {
	struct wakes_part {
		struct wake wake;
		struct wakes *all;
		int rc; /* the answer */
	} part[WAKES_MAX];
	unsigned n, left;
	struct wake *waiter;
};

void wakes_init(struct wakes *wakes, struct wake *waiter);
struct wake *wakes_add(struct wakes *wakes);

#endif
