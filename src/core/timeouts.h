/*
 * timeouts.h - many things that wait equally long for something to happen.
 *
 * The rule that holds it together: all members of a list wait for the same
 * time, so the list is in order of its dues by itself, and to start or stop a
 * timeout costs no more than a link.
 */
#ifndef CORE_TIMEOUTS_H
#define CORE_TIMEOUTS_H

#include "core/timer.h"

#include <sys/queue.h>

struct timeouts;

/* Embed it; zeroed is a valid, stopped timeout. */
struct timeout {
	struct timeouts *list; /* NULL: stopped */
	int64_t due_ms;
	TAILQ_ENTRY(timeout) link;
};

struct timeouts {
	int64_t after_ms; /* 0: never */
	/* Its time is over; it is stopped. May free it and others. */
	void (*expired)(struct timeout *timeout);
	TAILQ_HEAD(, timeout) waiting;
	size_t count;
	struct timer timer;
};

void timeouts_init(struct timeouts *list, int64_t after_ms,
    void (*expired)(struct timeout *timeout));
void timeouts_fini(struct timeouts *list); /* nothing may wait any more */

/* Starts, or starts anew; a timeout of another list leaves that. */
void timeout_arm(struct timeout *timeout, struct timeouts *list);
void timeout_disarm(struct timeout *timeout); /* no effect if stopped */

/* The one that has waited longest, or NULL. */
struct timeout *timeouts_oldest(const struct timeouts *list);

#endif
