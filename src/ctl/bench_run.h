/*
 * bench_run.h - a run of a benchmark of volumes: its volumes, the parts of
 * their lives that the driver serves, what each phase has measured; and the
 * task that takes one volume through some of those parts.
 */
#ifndef CTL_BENCH_RUN_H
#define CTL_BENCH_RUN_H

#include "base/map.h"
#include "ctl/bench.h"
#include "ctl/bench_driver.h"
#include "ctl/bench_journal.h"
#include "ctl/bench_trace.h"
#include "ctl/bench_volume.h"

#define RUN_PARTS_MAX 16

struct bench_run {
	const struct bench_plan *plan;
	struct bench_settings settings;
	struct bench_journal journal;
	struct client *node, *controller;
	struct bench_volume_list volumes;
	size_t next_index; /* of a volume that is made */

	/* Of the life: what the driver serves. */
	const struct bench_part *parts[RUN_PARTS_MAX];
	size_t part_count;
	bool endless; /* volumes are made as they are needed */

	/* Of the load that runs: the parts that it takes a volume through. */
	struct load load;
	size_t from, to;
	bool cleaning; /* no parts, but what undoes what was tried */
	struct bench_volume *next; /* of those that there are */
	unsigned allow;            /* interrupts that do not end this load */
	struct result results[RUN_PARTS_MAX]; /* of a part: its phase's */
	struct bench_trace traces[2];         /* of node and controller */
	struct client *trace_clients[2];
	struct map subjects; /* IDs of what this run has made, to the run */
	size_t left;         /* volumes that stayed behind in the end */
};

/* Begins to take a volume through the parts; load_done() comes at the end. */
void bench_task_begin(struct bench_run *run, struct bench_volume *volume,
    const struct load_turn *turn);

/* Its call is cancelled, and no other one begins. */
void bench_task_cancel(struct bench_task *task);

/* The result that a part's phase has; NULL while cleaning. */
struct result *bench_run_result(struct bench_run *run, size_t part);

/* Is the run to end now? */
bool bench_run_is_ended(const struct bench_run *run);

/* What a trace tells; `arg` is the run. */
void bench_run_on_traced(void *arg, const json_t *ended);

#endif
