/*
 * process.c - see process.h.
 */
#include "obs/process.h"

#include "base/clock.h"
#include "obs/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static FILE *
proc_open(pid_t pid, const char *what)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, what);
	return fopen(path, "re");
}

static uint64_t
count_descriptors(pid_t pid)
{
	char path[64];
	DIR *dir;
	uint64_t n = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	if (dir == NULL)
		return 0;
	while (readdir(dir) != NULL)
		n++;
	(void)closedir(dir);
	return n - 2 - (pid == getpid()); /* ".", ".." and what we read it by */
}

/* The second number of statm is that of resident pages. */
void
process_use_add(struct process_use *use, pid_t pid)
{
	FILE *file = proc_open(pid, "statm");
	unsigned long long total, pages;

	if (file == NULL)
		return;
	if (fscanf(file, "%llu %llu", &total, &pages) == 2) {
		use->processes++;
		use->resident_bytes += pages * (uint64_t)sysconf(_SC_PAGESIZE);
	}
	(void)fclose(file);
	use->descriptors += count_descriptors(pid);
}

void
process_each_child(pid_t pid, void (*each)(pid_t child, void *arg), void *arg)
{
	char path[64];
	FILE *file;
	int child;

	(void)snprintf(path, sizeof(path), "task/%d/children", (int)pid);
	file = proc_open(pid, path);
	if (file == NULL)
		return;
	while (fscanf(file, "%d", &child) == 1)
		each(child, arg);
	(void)fclose(file);
}

/* ---- this one: by the names that Prometheus' clients use ------------------- */

static int64_t started_ms; /* of the wall clock */

static void
read_resident(struct metric_reading *reading)
{
	struct process_use use = { .processes = 0 };

	process_use_add(&use, getpid());
	metric_tell(reading, (double)use.resident_bytes, NULL);
}

static void
read_descriptors(struct metric_reading *reading)
{
	metric_tell(reading, (double)count_descriptors(getpid()), NULL);
}

static void
read_descriptors_max(struct metric_reading *reading)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) == 0)
		metric_tell(reading, (double)files.rlim_cur, NULL);
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
	{ .name = "process_open_fds",
	    .help = "Descriptors that are open.",
	    .kind = METRIC_GAUGE,
	    .read = read_descriptors },
	{ .name = "process_max_fds",
	    .help = "Descriptors that may be open.",
	    .kind = METRIC_GAUGE,
	    .read = read_descriptors_max },
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
