/*
 * metrics.c - the series of the metrics, and their text.
 */
#include "obs/metrics.h"

#include "base/clock.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OTHER "other"

struct metric_series {
	const struct metric *metric;
	STAILQ_ENTRY(metric_series) link;
	char *value_of[METRIC_LABELS_MAX]; /* of the labels */
	double value;                      /* a histogram's sum */
	uint64_t in_bucket[];              /* a histogram's, the last is +Inf */
};

struct metric_reading {
	const struct metric *metric;
	struct buf *out;
	unsigned told;
	int rc;
};

static STAILQ_HEAD(, metric) all = STAILQ_HEAD_INITIALIZER(all);

static bool
name_is_good(const char *name)
{
	if (*name == '\0' || isdigit((unsigned char)*name))
		return false;
	for (; *name != '\0'; name++)
		if (!isalnum((unsigned char)*name) && *name != '_')
			return false;
	return true;
}

void
metrics_add(struct metric *metric)
{
	const struct metric *other;

	assert(name_is_good(metric->name));
	assert(metric->kind != METRIC_HISTOGRAM ||
	    (metric->bound_count > 0 && metric->read == NULL));
	STAILQ_FOREACH (other, &all, link)
		assert(!str_eq(other->name, metric->name));
	STAILQ_INIT(&metric->series);
	metric->count = 0;
	STAILQ_INSERT_TAIL(&all, metric, link);
}

/* ---- series -------------------------------------------------------------- */

static unsigned
label_count(const struct metric *metric)
{
	unsigned n = 0;

	while (n < METRIC_LABELS_MAX && metric->label[n] != NULL)
		n++;
	return n;
}

static unsigned
max_of(const struct metric *metric)
{
	return metric->max > 0 ? metric->max : 1;
}

static bool
series_has(const struct metric_series *series, const char *const *values)
{
	unsigned n = label_count(series->metric);

	for (unsigned i = 0; i < n; i++)
		if (!str_eq(series->value_of[i], values[i]))
			return false;
	return true;
}

static struct metric_series *
series_find(const struct metric *metric, const char *const *values)
{
	struct metric_series *series;

	STAILQ_FOREACH (series, &metric->series, link)
		if (series_has(series, values))
			return series;
	return NULL;
}

struct metric_series *
metric_series(struct metric *metric, const char *const *values)
{
	static const char *const other[METRIC_LABELS_MAX] = { OTHER, OTHER };
	struct metric_series *series = series_find(metric, values);
	size_t buckets = metric->kind == METRIC_HISTOGRAM
	    ? metric->bound_count + 1
	    : 0;

	if (series != NULL)
		return series;
	/* The last place is kept for all that find none. */
	if (metric->count + 1 >= max_of(metric) && label_count(metric) > 0) {
		values = other;
		series = series_find(metric, values);
		if (series != NULL)
			return series;
	}
	series = mem_new(
	    sizeof(*series) + buckets * sizeof(series->in_bucket[0]));
	series->metric = metric;
	for (unsigned i = 0; i < label_count(metric); i++)
		series->value_of[i] = str_dup(values[i]);
	STAILQ_INSERT_TAIL(&metric->series, series, link);
	metric->count++;
	return series;
}

void
metric_add(struct metric_series *series, double n)
{
	assert(series->metric->kind == METRIC_COUNTER && n >= 0);
	series->value += n;
}

void
metric_set(struct metric_series *series, double value)
{
	assert(series->metric->kind == METRIC_GAUGE);
	series->value = value;
}

void
metric_observe(struct metric_series *series, double value)
{
	const struct metric *metric = series->metric;
	unsigned i = 0;

	assert(metric->kind == METRIC_HISTOGRAM);
	while (i < metric->bound_count && value > metric->bound[i])
		i++;
	series->in_bucket[i]++;
	series->value += value;
}

void
metrics_fini(void)
{
	struct metric_series *series;
	struct metric *metric;

	while ((metric = STAILQ_FIRST(&all)) != NULL) {
		STAILQ_REMOVE_HEAD(&all, link);
		while ((series = STAILQ_FIRST(&metric->series)) != NULL) {
			STAILQ_REMOVE_HEAD(&metric->series, link);
			for (unsigned i = 0; i < METRIC_LABELS_MAX; i++)
				free(series->value_of[i]);
			free(series);
		}
	}
}

/* ---- text ---------------------------------------------------------------- */

static void
put_piece(struct metric_reading *reading, const char *text)
{
	if (reading->rc == 0)
		reading->rc = buf_append(reading->out, text, strlen(text));
}

/* Escaped as a label's value is, or as a help text, which keeps quotes. */
static void
put_escaped(struct metric_reading *reading, const char *text, bool quotes)
{
	char one[2] = "";

	for (; *text != '\0'; text++) {
		one[0] = *text;
		if (*text == '\n')
			put_piece(reading, "\\n");
		else if (*text == '\\')
			put_piece(reading, "\\\\");
		else if (*text == '"' && quotes)
			put_piece(reading, "\\\"");
		else
			put_piece(reading, one);
	}
}

/* The shortest text that is read as the same number. */
static void
put_double(struct metric_reading *reading, double value)
{
	char text[40];

	if (isnan(value))
		put_piece(reading, "NaN");
	else if (isinf(value))
		put_piece(reading, value > 0 ? "+Inf" : "-Inf");
	else if (str_put(text, sizeof(text), "%.15g", value) == 0 &&
	    (strtod(text, NULL) == value ||
		str_put(text, sizeof(text), "%.17g", value) == 0))
		put_piece(reading, text);
}

/* NAME[SUFFIX]{labels} value, with `le` (may be NULL) as one more label. */
static void
put_sample(struct metric_reading *reading, const char *suffix,
    const char *const *values, const double *le, double value)
{
	const struct metric *metric = reading->metric;
	unsigned n = label_count(metric);

	assert(n == 0 || values != NULL);
	put_piece(reading, metric->name);
	put_piece(reading, suffix);
	for (unsigned i = 0; i < n; i++) {
		put_piece(reading, i == 0 ? "{" : ",");
		put_piece(reading, metric->label[i]);
		put_piece(reading, "=\"");
		put_escaped(reading, values[i], true);
		put_piece(reading, "\"");
	}
	if (le != NULL) {
		put_piece(reading, n == 0 ? "{le=\"" : ",le=\"");
		put_double(reading, *le);
		put_piece(reading, "\"");
	}
	put_piece(reading, n > 0 || le != NULL ? "} " : " ");
	put_double(reading, value);
	put_piece(reading, "\n");
}

void
metric_tell(
    struct metric_reading *reading, double value, const char *const *values)
{
	if (reading->told++ < max_of(reading->metric))
		put_sample(reading, "", values, NULL, value);
}

static void
put_histogram(
    struct metric_reading *reading, const struct metric_series *series)
{
	const struct metric *metric = series->metric;
	const char *const *values = (const char *const *)series->value_of;
	const double infinite = INFINITY;
	uint64_t sum = 0;

	for (unsigned i = 0; i <= metric->bound_count; i++) {
		sum += series->in_bucket[i];
		put_sample(reading, "_bucket", values,
		    i < metric->bound_count ? &metric->bound[i] : &infinite,
		    (double)sum);
	}
	put_sample(reading, "_sum", values, NULL, series->value);
	put_sample(reading, "_count", values, NULL, (double)sum);
}

static void
put_metric(struct metric_reading *reading)
{
	static const char *const kind_name[] = { "counter", "gauge",
		"histogram" };
	const struct metric *metric = reading->metric;
	const struct metric_series *series;

	put_piece(reading, "# HELP ");
	put_piece(reading, metric->name);
	put_piece(reading, " ");
	put_escaped(reading, metric->help, false);
	put_piece(reading, "\n# TYPE ");
	put_piece(reading, metric->name);
	put_piece(reading, " ");
	put_piece(reading, kind_name[metric->kind]);
	put_piece(reading, "\n");
	if (metric->read != NULL)
		metric->read(reading);
	STAILQ_FOREACH (series, &metric->series, link)
		if (metric->kind == METRIC_HISTOGRAM)
			put_histogram(reading, series);
		else
			put_sample(reading, "",
			    (const char *const *)series->value_of, NULL,
			    series->value);
}

int
metrics_text(struct buf *out)
{
	struct metric_reading reading = { .out = out };
	const struct metric *metric;

	STAILQ_FOREACH (metric, &all, link) {
		reading.metric = metric;
		reading.told = 0;
		put_metric(&reading);
	}
	return reading.rc;
}

int
metrics_get(struct buf *body)
{
	if (metrics_text(body) == 0)
		return 200;
	buf_clear(body);
	return 500;
}

/* ---- the process: by the names that Prometheus' clients use ---------------- */

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
