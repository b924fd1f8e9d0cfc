/*
 * bench_cmd.c - the commands `rbd-csictl bench ...`.
 */
#include "core/signal.h"
#include "ctl/bench.h"
#include "ctl/bench_compare.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"

#include <signal.h>
#include <string.h>

struct bench_interrupts bench_interrupts;

static void
on_bench_interrupt(int signo)
{
	(void)signo;
	bench_interrupts.count++;
	if (bench_interrupts.told != NULL)
		bench_interrupts.told(bench_interrupts.arg);
}

/* ---- compare --------------------------------------------------------------- */

#define RESULT_MAX_BYTES ((size_t)256 << 20)

/* A document of `bench ... -o json`. NULL: it has told what is wrong. */
static json_t *
read_result(const char *path)
{
	struct err err = ERR_INIT;
	json_t *json = json_read_file(path, RESULT_MAX_BYTES, false, &err);

	if (json != NULL && !json_is_array(json_object_get(json, "phases"))) {
		(void)err_set(&err, ERR_INVALID_ARGUMENT,
		    "%s: is no result of `bench ... -o json`", path);
		json_decref(json);
		json = NULL;
	}
	if (json == NULL)
		ctl_print_err(&err);
	return json;
}

enum ctl_status
ctl_bench_compare(const struct ctl_args *args)
{
	auto_json json_t *a = read_result(args->operand[0]);
	auto_json json_t *b = a != NULL ? read_result(args->operand[1]) : NULL;
	auto_json json_t *rows = NULL;
	auto_json json_t *differ = NULL;

	if (b == NULL)
		return CTL_USAGE;
	rows = bench_compare_rows(a, b);
	differ = bench_compare_circumstances(a, b);
	bench_print_compared(args->given[CTL_JSON]
		? BENCH_JSON
		: bench_format_of(args->text[CTL_BENCH_OUTPUT]),
	    rows, differ);
	return CTL_OK;
}

enum ctl_status
ctl_bench(const struct ctl_args *args)
{
	const char *kind = args->command->name + strlen("bench ");
	enum ctl_status (*run)(const struct bench_plan *) = bench_volumes;
	enum ctl_status status = CTL_USAGE;
	struct err err = ERR_INIT;
	struct bench_plan plan;
	bool whole;

	if (str_eq(kind, "calls"))
		run = bench_calls;
	else if (str_eq(kind, "connections"))
		run = bench_connections;
	else if (str_eq(kind, "clean"))
		run = bench_clean;
	whole = run == bench_volumes;
	if (!bench_plan_read(&plan, args)) {
		/* it has told why */
	} else if (run != bench_clean && run != bench_connections &&
	    bench_driver_ask(&plan.driver, args, whole, &err) < 0 && whole) {
		ctl_print_err(&err);
		status = err.code == ERR_UNAVAILABLE ? CTL_NO_SERVER
						     : CTL_FAILED;
	} else {
		signal_watch(SIGINT, on_bench_interrupt);
		signal_watch(SIGTERM, on_bench_interrupt);
		status = run(&plan);
		signal_fini();
	}
	bench_plan_fini(&plan);
	return status == CTL_OK && bench_interrupts.count > 0 ? CTL_FAILED
							      : status;
}
