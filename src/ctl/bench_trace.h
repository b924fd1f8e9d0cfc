/*
 * bench_trace.h - what a driver tells of requests that have ended: the states
 * that they went through. Only rbd-csid does; of others nothing is known.
 */
#ifndef CTL_BENCH_TRACE_H
#define CTL_BENCH_TRACE_H

#include "base/json.h"
#include "core/wake.h"

struct client;

/* More than rbd-csid remembers. */
#define TRACE_SEEN 2048

struct bench_trace {
	struct client *client; /* NULL: nobody is asked */
	/* Each request once, as Admin's EndedRequest in JSON. */
	void (*each)(void *arg, const json_t *ended);
	void *arg;

	/* Private to bench_trace.c. */
	struct client_call *call; /* that runs */
	struct wake wake;
	size_t steps; /* since the last question */
	uint64_t seen[TRACE_SEEN];
	size_t seen_count;
};

/* One more step is done: both are asked again after so many. */
void bench_trace_ask(struct bench_trace traces[2], size_t every);

/* Asks both, and turns the loop until they have answered. */
void bench_trace_finish(struct bench_trace traces[2]);

#endif
