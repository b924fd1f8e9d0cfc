/*
 * bench_cmd.c - the commands `rbd-csictl bench ...`.
 */
#include "base/json.h"
#include "core/signal.h"
#include "ctl/bench.h"
#include "ctl/commands.h"
#include "ctl/ctl.h"
#include "rpc/client.h"

#include <signal.h>
#include <string.h>

#define FILE_MAX_BYTES 65536
#define TIMEOUT_MS (5 * 60 * 1000)

static bool
read_pairs(const char *path, json_t **pairs)
{
	struct err err = ERR_INIT;

	*pairs = path != NULL ? json_read_file(path, FILE_MAX_BYTES, &err)
			      : NULL;
	if (err_is_set(&err))
		ctl_print_err(&err);
	return !err_is_set(&err);
}

struct bench_interrupts bench_interrupts;

static void
on_bench_interrupt(int signo)
{
	(void)signo;
	bench_interrupts.count++;
	if (bench_interrupts.told != NULL)
		bench_interrupts.told(bench_interrupts.arg);
}

enum ctl_status
ctl_bench(const struct ctl_args *args)
{
	const char *kind = args->command->name + strlen("bench ");
	struct bench_options opt = {
		.kind = kind,
		.endpoint = args->text[CTL_ENDPOINT],
		.count = (size_t)args->number[CTL_COUNT],
		.callers = (size_t)args->number[CTL_CALLERS],
		.prefix = args->text[CTL_PREFIX],
		.dir = args->text[CTL_DIR],
		.fstype = args->text[CTL_FSTYPE],
		.node_id = args->text[CTL_NODE],
		.size_bytes = (uint64_t)args->number[CTL_SIZE],
		.timeout_ms = args->number[CTL_TIMEOUT] >= 0
		    ? args->number[CTL_TIMEOUT]
		    : TIMEOUT_MS,
		.json = args->json,
	};
	size_t failed = 0;
	bool good = read_pairs(args->text[CTL_PARAMETERS], &opt.parameters) &&
	    read_pairs(args->text[CTL_SECRETS], &opt.secrets);

	if (good) {
		signal_watch(SIGINT, on_bench_interrupt);
		signal_watch(SIGTERM, on_bench_interrupt);
		if (args->given[CTL_CONNECT_PER_CALL])
			client_connect_per_call(args->client);
		if (str_eq(kind, "calls"))
			failed = bench_calls(&opt, args->client);
		else if (str_eq(kind, "connections"))
			failed = bench_connections(&opt);
		else
			failed = bench_volumes(&opt, args->client);
		signal_fini();
	}
	json_decref(opt.parameters);
	json_decref(opt.secrets);
	if (!good)
		return CTL_USAGE;
	return failed == 0 && bench_interrupts.count == 0 ? CTL_OK : CTL_FAILED;
}
