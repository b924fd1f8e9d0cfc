/*
 * bench.h - load on a driver, timed from outside: what was asked for, and what
 * all kinds of benchmarks share.
 */
#ifndef CTL_BENCH_H
#define CTL_BENCH_H

#include "ctl/bench_driver.h"
#include "ctl/bench_load.h"
#include "ctl/bench_print.h"
#include "ctl/bench_result.h"
#include "ctl/command.h"

/* What was typed, read. */
struct bench_plan {
	const struct ctl_args *args;
	enum bench_format format;
	struct load_plan load;
	size_t count;                  /* volumes, calls or connections */
	size_t callers[CTL_SWEEP_MAX]; /* one run each; 0: no limit */
	size_t runs;
	size_t connections;  /* that the calls share; 0: one for each call */
	const char *dir;     /* for staging and target paths; NULL: none */
	const char *fstype;  /* or "block" */
	const char *node_id; /* NULL: the driver tells */
	uint64_t size_bytes;
	int64_t timeout_ms; /* of a call; 0: none; negative: not told */
	int64_t retry_ns;   /* what fails is tried again so long */
	json_t *parameters, *secrets; /* objects of strings, or NULL */
	struct bench_driver driver;
};

/* False: it has told on standard error what is wrong. */
bool bench_plan_read(struct bench_plan *plan, const struct ctl_args *args);
void bench_plan_fini(struct bench_plan *plan);

/*
 * Each runs on the loop and prints its results; the first errors are on
 * standard error. CTL_FAILED: something failed, was left behind, or
 * interrupted. After a failure or an interrupt what was made is taken away
 * again.
 *
 * bench_clean() takes away what runs have left that were killed, or the run
 * that is its operand. bench_connections() holds its connections until there is a line on standard
 * input, or its end.
 */
enum ctl_status bench_volumes(const struct bench_plan *plan);
enum ctl_status bench_calls(const struct bench_plan *plan);
enum ctl_status bench_clean(const struct bench_plan *plan);
enum ctl_status bench_connections(const struct bench_plan *plan);

/* When a call is given up that is not said to be given up earlier. */
#define BENCH_TIMEOUT_MS (INT64_C(5) * 60 * 1000)

#define BENCH_TOLD_MAX 5 /* failures that are told one by one */

/* Interrupts (SIGINT, SIGTERM) that have come. */
extern struct bench_interrupts {
	unsigned count;
	void (*told)(void *arg); /* on the loop, of each that comes, or NULL */
	void *arg;
} bench_interrupts;

#endif
