/*
 * bench_steps.h - what a benchmark does with a volume: steps, each of which is
 * one RPC, and lives, which are steps in phases. Tables only; which of them a
 * driver gets is decided by what it can do.
 */
#ifndef CTL_BENCH_STEPS_H
#define CTL_BENCH_STEPS_H

#include "csi/definitions.h"

/* What a volume's life has made. */
enum bench_object {
	BENCH_VOLUME = 0,
	BENCH_SNAPSHOT,
	BENCH_RESTORED,
	BENCH_CLONE,
	BENCH_OBJECTS
};

extern const char *const bench_object_suffix[BENCH_OBJECTS];

/* In the order of a volume's life: each step undoes the one opposite. */
enum bench_step {
	BENCH_CREATE = 0,
	BENCH_CONTROLLER_PUBLISH,
	BENCH_STAGE,
	BENCH_PUBLISH,
	BENCH_TAKE_SNAPSHOT,
	BENCH_RESTORE,
	BENCH_COPY,
	BENCH_DELETE_COPY,
	BENCH_DELETE_RESTORED,
	BENCH_DELETE_SNAPSHOT,
	BENCH_UNPUBLISH,
	BENCH_UNSTAGE,
	BENCH_CONTROLLER_UNPUBLISH,
	BENCH_DELETE,
	BENCH_EXPAND, /* nothing undoes it */
	BENCH_STEPS,
};

struct bench_step_def {
	enum csi_id id;
	enum bench_object object; /* what it makes, takes away, or works on */
	const char *needs;        /* for bench_driver_can() */
	bool on_node;             /* kubelet does it, else a sidecar */
	int64_t timeout_ms;       /* that who does it gives it ... */
	int64_t retry_ms, retry_most_ms; /* ... and how long it waits then */
};

extern const struct bench_step_def bench_steps[BENCH_STEPS];

const struct csi_definition *bench_rpc(enum bench_step step);
bool bench_step_makes(enum bench_step step);  /* something to be undone */
bool bench_step_undoes(enum bench_step step); /* what one has made */
enum bench_step bench_step_opposite(enum bench_step step); /* of these two */

/* The steps that follow each other in the life of a kind of benchmark. */
struct bench_part {
	const char *phase; /* parts of one name that follow each other */
	enum bench_step step;
	bool quiet;  /* prepares or cleans up: told, but of less interest */
	bool usable; /* the volume is what its user wants, when it is done */
};

struct bench_life {
	const char *kind;
	const struct bench_part *parts;
	size_t count;
	bool keep; /* what it has made stays */
};

/* NULL: there is none of that name. */
const struct bench_life *bench_life_of(const char *kind);

#endif
