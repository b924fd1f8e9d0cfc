/*
 * bench_result.h - what a phase of a benchmark has measured, in constant
 * memory, and the JSON that all who print it read.
 *
 * What failed is counted by its code and is in no rate and no time.
 */
#ifndef CTL_BENCH_RESULT_H
#define CTL_BENCH_RESULT_H

#include "base/json.h"
#include "ctl/bench_load.h"

#include <sys/queue.h>

#define RESULT_CODES (ERR_UNAUTHENTICATED + 1) /* enum err_code */
#define RESULT_SLOTS 240
#define RESULT_SLOWEST 10

/* Times of one kind: of an RPC, of a state, of a volume in the phase. */
struct result_times {
	char *name;
	struct histogram ns;
	STAILQ_ENTRY(result_times) link;
};

/* One of the slowest. */
struct result_slow {
	char *name, *subject;
	int64_t began_ns, took_ns; /* began: after the start of the phase */
	json_t *states;            /* array of [name, ms]; NULL: not known */
};

/* What ended in a piece of the time that a phase took. */
struct result_slot {
	uint32_t passed, failed;
	int64_t slowest_ns;
};

struct result {
	const char *name;
	int64_t start_ns; /* load_now_ns() of time 0 */
	double seconds;
	size_t passed, failed, retried, missed;
	size_t failed_by[RESULT_CODES];
	STAILQ_HEAD(, result_times) times;
	struct histogram lag_ns;
	bool open_loop; /* lag_ns and missed say something */
	struct result_slot slots[RESULT_SLOTS];
	int64_t slot_ns;
	struct result_slow slowest[RESULT_SLOWEST]; /* the slowest first */
	size_t slow_count;
	int64_t began_ns, cpu_ns; /* with the warm-up; of this process */
	double cpu_percent;
};

/* `name` must live as long. Time 0 is now and a warm-up. */
void result_init(struct result *result, const char *name, int64_t warm_up_ns);
void result_fini(struct result *result);

/* The times of this name, which may be new and are empty then. */
struct histogram *result_times_of(struct result *result, const char *name);

/* One of those that the rate counts has ended now; it took so long. */
void result_pass(struct result *result, int64_t took_ns);
void result_fail(struct result *result, enum err_code code);

/* Keeps it if it is among the slowest. */
void result_note_slow(struct result *result, const char *name,
    const char *subject, int64_t began_ns, int64_t took_ns);

/* The states, [[name, ms]], of those of the slowest that have none. */
void result_note_states(struct result *result, const char *name,
    const char *subject, json_t *states);

/* The end, and what the load tells. */
void result_end(struct result *result, const struct load *load);

/*
 * All of it; times in ms: {"name", "seconds", "passed", "failed", "codes",
 * "retried", "missed", "rate", "generator_cpu", "lag", "times", "slots",
 * "slowest"}. The caller owns the reference.
 */
json_t *result_json(const struct result *result);

#endif
