/*
 * bench_cmd.c - the commands `rbd-csictl bench ...`.
 */
#include "core/signal.h"
#include "ctl/bench.h"
#include "ctl/commands.h"

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

enum ctl_status
ctl_bench(const struct ctl_args *args)
{
	const char *kind = args->command->name + strlen("bench ");
	enum ctl_status status = CTL_USAGE;
	struct bench_plan plan;

	if (bench_plan_read(&plan, args)) {
		signal_watch(SIGINT, on_bench_interrupt);
		signal_watch(SIGTERM, on_bench_interrupt);
		if (str_eq(kind, "calls"))
			status = bench_calls(&plan);
		else if (str_eq(kind, "connections"))
			status = bench_connections(&plan);
		else
			status = bench_volumes(&plan, args->client);
		signal_fini();
	}
	bench_plan_fini(&plan);
	return status == CTL_OK && bench_interrupts.count > 0 ? CTL_FAILED
							      : status;
}
