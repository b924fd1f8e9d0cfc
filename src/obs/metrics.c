/*
 * metrics.c - the series of the metrics, and their text.
 */
#include "obs/metrics.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

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
	assert(metric->kind != METRIC_HISTOGRAM || metric->bound_count > 0);
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

/* The values of the labels as one string. */
static const char *
labels_key(const struct metric *metric, const char *const *values)
{
	static char key[512];
	size_t at = 0;

	key[0] = '\0';
	for (unsigned i = 0; i < label_count(metric) && at < sizeof(key); i++)
		at += (size_t)snprintf(
		    key + at, sizeof(key) - at, "%s\n", values[i]);
	return key;
}

struct metric_series *
metric_series(struct metric *metric, const char *const *values)
{
	static const char *const other[METRIC_LABELS_MAX] = { OTHER, OTHER };
	struct metric_series *series = map_get(
	    &metric->by_labels, labels_key(metric, values));
	/* A summary has one. */
	size_t buckets = metric->kind >= METRIC_HISTOGRAM
	    ? metric->bound_count + 1
	    : 0;

	if (series != NULL)
		return series;
	/* The last place is kept for all that find none. */
	if (metric->count + 1 >= max_of(metric) && label_count(metric) > 0) {
		values = other;
		series = map_get(
		    &metric->by_labels, labels_key(metric, values));
		if (series != NULL)
			return series;
	}
	series = mem_new(
	    sizeof(*series) + buckets * sizeof(series->in_bucket[0]));
	series->metric = metric;
	for (unsigned i = 0; i < label_count(metric); i++)
		series->value_of[i] = str_dup(values[i]);
	STAILQ_INSERT_TAIL(&metric->series, series, link);
	(void)map_set(&metric->by_labels, labels_key(metric, values), series);
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

	assert(metric->kind >= METRIC_HISTOGRAM);
	while (i < metric->bound_count && value > metric->bound[i])
		i++;
	series->in_bucket[i]++;
	series->value += value;
}

uint64_t
metric_quantile(const struct metric_series *series, double part, double *bound)
{
	const struct metric *metric = series->metric;
	uint64_t count = 0, sum = 0;
	unsigned i = 0;

	for (unsigned j = 0; j <= metric->bound_count; j++)
		count += series->in_bucket[j];
	while (i < metric->bound_count &&
	    (double)(sum += series->in_bucket[i]) < part * (double)count)
		i++;
	*bound = i < metric->bound_count ? metric->bound[i] : INFINITY;
	return count;
}

void
metrics_fini(void)
{
	struct metric_series *series;
	struct metric *metric;

	while ((metric = STAILQ_FIRST(&all)) != NULL) {
		STAILQ_REMOVE_HEAD(&all, link);
		map_fini(&metric->by_labels);
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

void
metric_tell_histogram(struct metric_reading *reading, const uint64_t *in_bucket,
    double sum, const char *const *values)
{
	const struct metric *metric = reading->metric;
	const double infinite = INFINITY;
	uint64_t count = 0;

	if (reading->told++ >= max_of(metric))
		return;
	for (unsigned i = 0; i <= metric->bound_count; i++) {
		count += in_bucket[i];
		if (metric->kind == METRIC_HISTOGRAM)
			put_sample(reading, "_bucket", values,
			    i < metric->bound_count ? &metric->bound[i]
						    : &infinite,
			    (double)count);
	}
	put_sample(reading, "_sum", values, NULL, sum);
	put_sample(reading, "_count", values, NULL, (double)count);
}

static void
put_metric(struct metric_reading *reading)
{
	static const char *const kind_name[] = { "counter", "gauge",
		"histogram", "summary" };
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
	STAILQ_FOREACH (series, &metric->series, link) {
		const char *const *values = (const char *const *)
						series->value_of;

		if (metric->kind >= METRIC_HISTOGRAM)
			metric_tell_histogram(
			    reading, series->in_bucket, series->value, values);
		else
			put_sample(reading, "", values, NULL, series->value);
	}
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
