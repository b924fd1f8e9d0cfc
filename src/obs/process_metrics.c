/*
 * process_metrics.c - read when somebody asks.
 */
#include "obs/process_metrics.h"

#include "base/clock.h"
#include "obs/metrics.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

static int64_t started_ms; /* of the wall clock */

/* The second number of statm is that of resident pages. */
static void
read_resident(struct metric_reading *reading)
{
	FILE *file = fopen("/proc/self/statm", "re");
	unsigned long long total, pages;

	if (file == NULL)
		return;
	if (fscanf(file, "%llu %llu", &total, &pages) == 2)
		metric_tell(reading,
		    (double)pages * (double)sysconf(_SC_PAGESIZE), NULL);
	(void)fclose(file);
}

static void
read_cpu(struct metric_reading *reading)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts) == 0)
		metric_tell(reading,
		    (double)ts.tv_sec + (double)ts.tv_nsec / 1e9, NULL);
}

static void
read_started(struct metric_reading *reading)
{
	metric_tell(reading, (double)started_ms / 1000, NULL);
}

static struct metric of_process[] = {
	{ .name = "process_cpu_seconds_total",
	    .help = "Time of the processor that the process has used.",
	    .kind = METRIC_COUNTER,
	    .read = read_cpu },
	{ .name = "process_resident_memory_bytes",
	    .help = "Memory that is resident.",
	    .kind = METRIC_GAUGE,
	    .read = read_resident },
	{ .name = "process_start_time_seconds",
	    .help = "When the process was started, since 1970.",
	    .kind = METRIC_GAUGE,
	    .read = read_started },
};

void
process_metrics_add(void)
{
	started_ms = clock_wall_ms();
	for (size_t i = 0; i < countof(of_process); i++)
		metrics_add(&of_process[i]);
}
