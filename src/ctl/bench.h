/*
 * bench.h - load on a driver, timed from outside.
 */
#ifndef CTL_BENCH_H
#define CTL_BENCH_H

#include "base/json.h"
#include "ctl/histogram.h"

struct client;

struct bench_options {
	/*
	 * "calls": NodeGetCapabilities; "connections": opens them, makes a call
	 * on each, holds them; "volumes": create, create again, delete;
	 * "controller": that, and expand, snapshot, restore, clone;
	 * "attach": stage and publish, unformatted and formatted, and the way
	 * back; "hold": attach and leave attached; "release": detach and
	 * delete what `hold` left.
	 */
	const char *kind;
	const char *endpoint;
	size_t count;       /* volumes, calls or connections */
	size_t callers;     /* how many at once */
	const char *prefix; /* of the volumes' names */
	const char *dir;    /* for staging and target paths; NULL: none */
	const char *fstype; /* or "block" */
	const char *node_id;
	uint64_t size_bytes;
	int64_t timeout_ms;           /* of a call; 0: none */
	json_t *parameters, *secrets; /* objects of strings, or NULL */
	bool json; /* one object a figure instead of a line */
};

/*
 * Each runs on the loop, prints its figures, and returns how many volumes or
 * calls failed or were left behind; their errors are on standard error. What
 * failed is counted by its code, and is in no rate. After a failure or an
 * interrupt what was made is taken away again.
 *
 * bench_volumes() is for all kinds but the first two.
 * bench_connections() connects by itself, and holds the connections until
 * there is a line on standard input, or its end.
 */
size_t bench_volumes(const struct bench_options *opt, struct client *client);
size_t bench_calls(const struct bench_options *opt, struct client *client);
size_t bench_connections(const struct bench_options *opt);

#define BENCH_TOLD_MAX 5 /* failures that are told one by one */

/* Prints one figure: a line, or a JSON object. */
void bench_figure(const struct bench_options *opt, const char *phase,
    const char *what, double value, const char *unit);

/*
 * Those of a histogram, in `unit`, which is `per_unit` of its numbers: the
 * percentiles, least, mean and greatest, as "RPC.p50" and so on.
 */
void bench_times(const struct bench_options *opt, const char *phase,
    const char *rpc, const struct histogram *h, double per_unit,
    const char *unit);

/* Those of failures, if there are any: all, and of each enum err_code. */
void bench_failed_figures(const struct bench_options *opt, const char *phase,
    size_t failed, const size_t *by_code, const char *unit);

/* Interrupts (SIGINT, SIGTERM) that have come. */
extern struct bench_interrupts {
	unsigned count;
	void (*told)(void *arg); /* on the loop, of each that comes, or NULL */
	void *arg;
} bench_interrupts;

#endif
