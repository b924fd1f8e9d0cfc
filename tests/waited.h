/*
 * waited.h - the end of one wait, for tests: hand out &w.wake, turn the loop.
 */
#ifndef TESTS_WAITED_H
#define TESTS_WAITED_H

#include "core/wake.h"

struct waited {
	struct wake wake;
	bool done;
	int rc;
};

static inline void
waited_woken(struct wake *wake, int rc)
{
	struct waited *w = container_of(wake, struct waited, wake);

	w->done = true;
	w->rc = rc;
}

#define WAITED_INIT                                                            \
	(struct waited)                                                        \
	{                                                                      \
		.wake = {.fn = waited_woken }                                  \
	}

/* Turns the loop until the wake has come; its rc. */
static inline int
waited_for(struct waited *w)
{
	while (!w->done)
		loop_turn(true);
	return w->rc;
}

#endif
