/*
 * pace.h - work in the background that gives way: one budget for all of it, of
 * operations that are under way at once.
 *
 * The rule that holds it together: while a call runs, or has just ended, a few
 * operations at once, then a rest of a multiple of their time. So the background
 * has a fixed small share of whatever serves both, and most calls meet nothing of
 * it. When nobody calls, as many as are served without waiting long for each other.
 */
#ifndef CORE_PACE_H
#define CORE_PACE_H

#include "base/str.h"

#include <sys/queue.h>

#define PACE_MAX 64 /* at once */

/* What is to be done next; embed it and set `go`; the rest is zeroed. */
struct pace_turn {
	void (*go)(struct pace_turn *turn);

	/* private */
	bool waits;
	int64_t begun_us;
	STAILQ_ENTRY(pace_turn) link;
};

/*
 * Calls go() from the loop when the operation may be started, in the order of
 * asking. It is under way from there to pace_done(), which tells how many
 * operations after one another it was.
 */
void pace_ask(struct pace_turn *turn);
void pace_done(struct pace_turn *turn, unsigned operations);
/* There was nothing to be done. */
void pace_pass(struct pace_turn *turn);

/* A call that the background gives way to begins, and ends. */
void pace_call_began(void);
void pace_call_ended(void);

/* How many operations may be under way at the moment. */
unsigned pace_limit(void);

#endif
