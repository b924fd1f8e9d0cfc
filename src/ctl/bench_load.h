/*
 * bench_load.h - when the next thing of a load begins.
 *
 * Closed loop: so many callers, each of which begins again when it is done; a
 * server that stands still is asked no more, so what would have waited is
 * never seen. Open loop: a fixed rate, whatever the server does; each thing has
 * the time at which it was meant to begin, and its latency is counted from
 * there, so that a stall shows in everything that it held up ("coordinated
 * omission": Gil Tene, "How NOT to measure latency").
 */
#ifndef CTL_BENCH_LOAD_H
#define CTL_BENCH_LOAD_H

#include "core/io.h"
#include "ctl/histogram.h"

struct load_plan {
	size_t callers;     /* at once; of an open loop at most, 0: no limit */
	double rate;        /* of an open loop, 1/s; 0: it is a closed one */
	size_t count;       /* things that are counted; 0: no limit */
	int64_t length_ns;  /* nothing is meant to begin later; 0: no limit */
	int64_t ramp_ns;    /* until all callers or the whole rate are there */
	int64_t warm_up_ns; /* what was meant to begin earlier is not counted */
};

/* One thing that begins. */
struct load_turn {
	size_t index;
	int64_t meant_ns; /* load_now_ns() when it was meant to begin */
	bool counted;     /* it is none of the warm-up */
};

struct load {
	struct load_plan plan;
	/* Begins one; load_done() once it has ended, later. */
	void (*begin)(struct load *load, const struct load_turn *turn);
	void *arg; /* for begin() */

	size_t begun, counted, running;
	size_t missed;           /* had their time when all callers were busy */
	int64_t start_ns;        /* of what is counted ... */
	int64_t end_ns;          /* ... and its end */
	struct histogram lag_ns; /* how late begin() was called */

	/* Private to bench_load.c. */
	int64_t zero_ns;
	size_t scheduled; /* begun by the clock, not by one that was done */
	bool stopped;
	struct io timer;
};

int64_t load_now_ns(void); /* monotonic */

/*
 * Turns the loop until all that was begun is done and nothing more begins. All
 * but plan, begin and arg is zeroed.
 */
void load_run(struct load *load);

/* One that begin() has begun has ended. */
void load_done(struct load *load);

/* Nothing more begins. */
void load_stop(struct load *load);

#endif
