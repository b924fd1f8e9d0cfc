/*
 * metrics.h - what the process counts, in Prometheus' text format 0.0.4.
 *
 * The rule that holds it together: a metric has as many series as its owner
 * allows. Whoever is one too many is counted in a series whose labels are all
 * "other", so that no peer makes our memory or the text grow.
 */
#ifndef OBS_METRICS_H
#define OBS_METRICS_H

#include "base/buf.h"
#include "base/map.h"

#include <sys/queue.h>

enum metric_kind {
	METRIC_COUNTER = 0, /* only grows */
	METRIC_GAUGE,       /* goes up and down */
	METRIC_HISTOGRAM,   /* how many were how large */
	METRIC_SUMMARY,     /* how many there were, and their sum */
};

#define METRIC_LABELS_MAX 3

struct metric_series;
struct metric_reading;

/* Static and owned by whoever counts; what is not private is constant. */
struct metric {
	const char *name; /* "rbd_csi_grpc_calls_total" */
	const char *help; /* one sentence */
	enum metric_kind kind;
	const char *label[METRIC_LABELS_MAX]; /* names, filled from the front */
	unsigned max; /* series, the last is kept for "other"; 0: one */

	/* Of a histogram: upper bounds, ascending; +Inf is added. */
	const double *bound;
	unsigned bound_count;

	/*
	 * Tells the values when somebody looks, by metric_tell() or
	 * metric_tell_histogram(), instead of keeping them.
	 */
	void (*read)(struct metric_reading *reading);

	/* private */
	STAILQ_HEAD(, metric_series) series;
	struct map by_labels; /* the same */
	unsigned count;
	STAILQ_ENTRY(metric) link;
};

/* Adds it to the text. Names are unique. */
void metrics_add(struct metric *metric);

/*
 * The series with these values of the labels, copied: made when it is not
 * there, or the one of "other" when there are too many. Valid until
 * metrics_fini(): who counts often keeps it.
 */
struct metric_series *metric_series(
    struct metric *metric, const char *const *values);

void metric_add(struct metric_series *series, double n);     /* a counter */
void metric_set(struct metric_series *series, double value); /* a gauge */
void metric_observe(struct metric_series *series, double value);

/*
 * How many were observed, and the bound that this part of them does not
 * exceed: of 0.5 the median's. INFINITY beyond the last one.
 */
uint64_t metric_quantile(
    const struct metric_series *series, double part, double *bound);

/* In read(): one series; what goes beyond `max` is left out. */
void metric_tell(
    struct metric_reading *reading, double value, const char *const *values);

/*
 * The same for a histogram: how many are in each bucket, the last is that of
 * +Inf, and their sum.
 */
void metric_tell_histogram(struct metric_reading *reading,
    const uint64_t *in_bucket, double sum, const char *const *values);

/* All of them: 0, or -EMSGSIZE when it does not fit. */
int metrics_text(struct buf *out) must_check;

/* The same for an http_route: 200 or 500. */
int metrics_get(struct buf *body);
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* Frees all series and forgets all metrics. */
void metrics_fini(void);

#endif
