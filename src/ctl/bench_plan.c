/*
 * bench_plan.c - what was typed for a benchmark, as numbers.
 */
#include "base/units.h"
#include "ctl/bench.h"
#include "ctl/ctl.h"

#include <string.h>

#define FILE_MAX_BYTES 65536
#define RUN_ID_MAX 24
#define MS_NS INT64_C(1000000)

static bool
read_pairs(const char *path, json_t **pairs)
{
	struct err err = ERR_INIT;

	*pairs = path != NULL
	    ? json_read_file(path, FILE_MAX_BYTES, false, &err)
	    : NULL;
	if (err_is_set(&err))
		ctl_print_err(&err);
	return !err_is_set(&err);
}

/* "1,8,64": a run with so many callers each. */
static bool
read_sweep(struct bench_plan *plan, const char *text)
{
	auto_free char *list = str_dup(text);
	char *rest = NULL;

	for (char *word = strtok_r(list, ",", &rest); word != NULL;
	     word = strtok_r(NULL, ",", &rest)) {
		uint64_t n;

		if (str_to_u64(word, &n) < 0 || n == 0 || n > INT32_MAX ||
		    plan->runs == CTL_SWEEP_MAX) {
			(void)fprintf(stderr,
			    "rbd-csictl: --sweep %s: has to be up to %d numbers above 0 such as 1,8,64\n",
			    text, CTL_SWEEP_MAX);
			return false;
		}
		plan->callers[plan->runs++] = (size_t)n;
	}
	return plan->runs > 0;
}

/* It becomes part of names of volumes, directories and files. */
static bool
is_run_id(const char *text)
{
	if (text == NULL ||
	    (strlen(text) <= RUN_ID_MAX && *text != '\0' &&
		text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-")] ==
		    '\0' &&
		*text != '-'))
		return true;
	(void)fprintf(stderr,
	    "rbd-csictl: --run %s: has to be up to %d of a-z, 0-9 and -\n",
	    text, RUN_ID_MAX);
	return false;
}

bool
bench_plan_read(struct bench_plan *plan, const struct ctl_args *args)
{
	bool open_loop = args->given[CTL_RATE];

	*plan = (struct bench_plan){
		.args = args,
		.format = args->given[CTL_JSON]
		    ? BENCH_JSON
		    : bench_format_of(args->text[CTL_BENCH_OUTPUT]),
		.load = {
			.rate = open_loop ? (double)args->number[CTL_RATE] : 0,
			.length_ns = args->number[CTL_DURATION] * MS_NS,
			.ramp_ns = args->number[CTL_RAMP] * MS_NS,
			.warm_up_ns = args->number[CTL_WARM_UP] * MS_NS,
		},
		.connections = args->given[CTL_CONNECT_PER_CALL]
		    ? 0
		    : (size_t)args->number[CTL_CONNECTIONS],
		.dir = args->text[CTL_DIR],
		.fstype = args->text[CTL_FSTYPE],
		.node_id = args->text[CTL_NODE],
		.size_bytes = (uint64_t)args->number[CTL_SIZE],
		.timeout_ms = args->number[CTL_TIMEOUT],
		.retry_ns = args->number[CTL_RETRY_FOR] * MS_NS,
	};
	/* With --duration a --count is one more end, but none is needed. */
	if (!args->given[CTL_DURATION] || args->given[CTL_COUNT])
		plan->count = (size_t)args->number[CTL_COUNT];
	plan->load.count = plan->count;
	if (args->given[CTL_SWEEP]) {
		if (!read_sweep(plan, args->text[CTL_SWEEP]))
			return false;
	} else {
		plan->runs = 1;
		plan->callers[0] = open_loop && !args->given[CTL_CALLERS]
		    ? 0
		    : (size_t)args->number[CTL_CALLERS];
	}
	return is_run_id(args->text[CTL_RUN]) &&
	    read_pairs(args->text[CTL_PARAMETERS], &plan->parameters) &&
	    read_pairs(args->text[CTL_SECRETS], &plan->secrets);
}

void
bench_plan_fini(struct bench_plan *plan)
{
	json_decref(plan->parameters);
	json_decref(plan->secrets);
	bench_driver_fini(&plan->driver);
}
