/*
 * bench_about.c - what one has to know to judge the figures of a benchmark.
 */
#include "ctl/bench_about.h"

#include "base/clock.h"
#include "ctl/bench_html.h"
#include "ctl/ctl.h"

#include <config.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>

#define FORMAT 1 /* of the document */

/* The processor's name, by /proc/cpuinfo; "" where it has none. */
static void
cpu_model(char *model, size_t size)
{
	static const char label[] = "model name";
	char line[256];
	FILE *f = fopen("/proc/cpuinfo", "re");

	model[0] = '\0';
	while (f != NULL && model[0] == '\0' &&
	    fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, label, sizeof(label) - 1) == 0) {
			line[strcspn(line, "\n")] = '\0';
			(void)snprintf(
			    model, size, "%s", strchr(line, ':') + 2);
		}
	if (f != NULL)
		(void)fclose(f);
}

static json_t *
host_json(void)
{
	struct utsname uts = { .sysname = "" };
	struct sysinfo info = { .uptime = 0 };
	double load[3] = { 0, 0, 0 };
	char model[128];

	(void)uname(&uts);
	(void)sysinfo(&info);
	(void)getloadavg(load, 3);
	cpu_model(model, sizeof(model));
	return json_pack("{s:s, s:s++, s:s, s:i, s:s, s:I, s:[f,f,f]}", "name",
	    uts.nodename, "kernel", uts.sysname, " ", uts.release, "machine",
	    uts.machine, "processors", (int)sysconf(_SC_NPROCESSORS_ONLN),
	    "processor", model, "memory",
	    (json_int_t)info.totalram * (json_int_t)info.mem_unit, "load",
	    load[0], load[1], load[2]);
}

/* What was typed, apart from what is secret or differs by itself. */
static json_t *
options_json(const struct ctl_args *args)
{
	json_t *options = json_object();

	for (enum ctl_flag flag = 0; flag < CTL_FLAGS; flag++) {
		if (!args->given[flag] || flag == CTL_SECRETS ||
		    flag == CTL_HEADER)
			continue;
		(void)json_object_set_new(options, ctl_flags[flag].name,
		    args->text[flag] != NULL ? json_string(args->text[flag])
					     : json_true());
	}
	return options;
}

json_t *
bench_document(const struct bench_plan *plan, const char *run)
{
	int64_t now_ms = clock_wall_ms();
	time_t now = (time_t)(now_ms / 1000);
	char began[32];
	struct tm tm;

	(void)strftime(
	    began, sizeof(began), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
	return json_pack(
	    "{s:i, s:s, s:s*, s:s, s:s, s:I, s:o, s:O*, s:o, s:O*, s:[]}",
	    "format", FORMAT, "tool", "rbd-csictl " BUILT_VERSION, "run", run,
	    "kind", plan->args->command->name + strlen("bench "), "began",
	    began, "began_ms", (json_int_t)now_ms, "host", host_json(),
	    "driver", plan->driver.told, "options", options_json(plan->args),
	    "parameters", plan->parameters, "phases");
}

bool
bench_document_end(const struct bench_plan *plan, json_t *document)
{
	const char *page = plan->args->text[CTL_HTML];
	json_int_t began_ms = json_integer_value(
	    json_object_get(document, "began_ms"));
	struct err err = ERR_INIT;

	(void)json_object_del(document, "began_ms");
	(void)json_object_set_new(document, "seconds",
	    json_real((double)(clock_wall_ms() - began_ms) / 1000));
	(void)json_object_set_new(
	    document, "interrupted", json_boolean(bench_interrupts.count > 0));
	bench_print_end(plan->format, document);
	if (page == NULL || bench_html_write(page, document, &err) == 0)
		return true;
	ctl_print_err(&err);
	return false;
}
