/*
 * bench.h - load on a driver, timed from outside.
 */
#ifndef CTL_BENCH_H
#define CTL_BENCH_H

#include "base/str.h"

struct client;

/* A string map. */
struct bench_pairs {
	char **key, **value;
	size_t count;
};

void bench_pairs_add(
    struct bench_pairs *pairs, const char *key, const char *value);
void bench_pairs_fini(struct bench_pairs *pairs);

struct bench_options {
	/*
	 * "calls": NodeGetCapabilities; "volumes": create, create again,
	 * delete; "attach": stage and publish, unformatted and formatted, and
	 * the way back; "hold": attach and leave attached; "release": detach
	 * and delete what `hold` left.
	 */
	const char *kind;
	size_t count;       /* volumes, or calls */
	size_t callers;     /* how many at once */
	const char *prefix; /* of the volumes' names */
	const char *dir;    /* for staging and target paths; NULL: none */
	const char *fstype; /* or "block" */
	char *node_id;
	uint64_t size_bytes;
	struct bench_pairs parameters, secrets;
	bool json; /* one object a figure instead of a line */
};

/*
 * Runs a benchmark on the loop and prints its figures. Returns how many
 * volumes failed (their errors are on standard error), SIZE_MAX for an
 * unknown kind.
 */
size_t bench_run(const struct bench_options *opt, struct client *client);

#endif
