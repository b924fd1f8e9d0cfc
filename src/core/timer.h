/*
 * timer.h - one-shot timers in a heap, driven by base/clock, so that a test
 * moves time with clock_fake() and one turn of the loop. To start one takes no
 * memory, so it cannot fail.
 */
#ifndef CORE_TIMER_H
#define CORE_TIMER_H

#include "base/str.h"

struct event_base;

/* Embed it; zeroed is a valid, stopped timer. */
struct timer {
	void (*fire)(struct timer *timer);
	int64_t due_ms;

	/* Private to timer.c. */
	struct timer *child; /* the first of those that are due later */
	struct timer *next;  /* the next child of the same timer */
	struct timer **link; /* what points to this one; NULL: not running */
};

/* Starts or moves: fires once, `in_ms` from now (0 or less: next turn). */
void timer_arm(struct timer *timer, int64_t in_ms);
void timer_disarm(struct timer *timer); /* no effect if stopped */
bool timer_is_running(const struct timer *timer);

/* For the loop. */
int timer_init(struct event_base *base) must_check;
void timer_fini(void);
void timer_next(void);
void timer_run_due(void);

#endif
