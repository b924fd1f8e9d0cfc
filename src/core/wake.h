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

#endif
