/*
 * The text of metrics: its format, numbers, escapes, buckets, and that series
 * are bounded.
 */
#include "obs/metrics.h"

#include "tests/tap.h"

#include <errno.h>
#include <math.h>

static struct buf text;

/* All metrics as a string. */
static const char *
scrape(void)
{
	buf_clear(&text);
	if (metrics_text(&text) < 0 || buf_append(&text, "", 1) < 0)
		return "does not fit";
	return (const char *)text.data;
}

/* The value in the line that begins with `sample` and a blank. */
static const char *
value_of(const char *sample)
{
	static char value[64];
	const char *at = scrape();
	size_t len = strlen(sample);

	for (; at != NULL && *at != '\0'; at = strchr(at, '\n') + 1) {
		if (strncmp(at, sample, len) != 0 || at[len] != ' ')
			continue;
		(void)snprintf(value, sizeof(value), "%.*s",
		    (int)strcspn(at + len + 1, "\n"), at + len + 1);
		return value;
	}
	return "absent";
}

static void
counters_and_gauges(void)
{
	static struct metric requests = { .name = "requests_total",
		.help = "All of them.",
		.kind = METRIC_COUNTER };
	static struct metric open_files = {
		.name = "open_files", .help = "As of now.", .kind = METRIC_GAUGE
	};

	is_str(scrape(), "", "without metrics there is no text");
	metrics_add(&requests);
	is_str(scrape(),
	    "# HELP requests_total All of them.\n"
	    "# TYPE requests_total counter\n",
	    "a metric is told before it has a series");
	metrics_add(&open_files);
	metric_add(metric_series(&requests, NULL), 1);
	metric_add(metric_series(&requests, NULL), 2);
	metric_set(metric_series(&open_files, NULL), 7);
	metric_set(metric_series(&open_files, NULL), 5);
	is_str(scrape(),
	    "# HELP requests_total All of them.\n"
	    "# TYPE requests_total counter\n"
	    "requests_total 3\n"
	    "# HELP open_files As of now.\n"
	    "# TYPE open_files gauge\n"
	    "open_files 5\n",
	    "counters add up, gauges keep the last value");
	metrics_fini();
	is_str(scrape(), "", "and all can be forgotten");
}

static void
numbers(void)
{
	static struct metric gauge = {
		.name = "g", .help = "", .kind = METRIC_GAUGE
	};
	static const struct {
		double value;
		const char *text;
	} rows[] = { { 0, "0" }, { 1, "1" }, { -1.5, "-1.5" }, { 0.1, "0.1" },
		{ 0.0025, "0.0025" }, { 1.0 / 3, "0.33333333333333331" },
		{ 4294967296, "4294967296" },
		{ 123456789012345, "123456789012345" }, { 1e300, "1e+300" },
		{ INFINITY, "+Inf" }, { -INFINITY, "-Inf" }, { NAN, "NaN" } };

	metrics_add(&gauge);
	for (size_t i = 0; i < countof(rows); i++) {
		metric_set(metric_series(&gauge, NULL), rows[i].value);
		is_str(
		    value_of("g"), rows[i].text, "the number %s", rows[i].text);
	}
	metrics_fini();
}

static void
labels_and_escapes(void)
{
	static struct metric m = { .name = "m",
		.help = "A \"help\"\nof two lines and a \\.",
		.kind = METRIC_COUNTER,
		.label = { "a", "b" },
		.max = 8 };
	static const char *const plain[] = { "x", "y" };
	static const char *const odd[] = { "q\"b\\n\nz", "" };

	metrics_add(&m);
	metric_add(metric_series(&m, plain), 1);
	metric_add(metric_series(&m, odd), 2);
	ok(metric_series(&m, plain) != metric_series(&m, odd) &&
		metric_series(&m, plain) == metric_series(&m, plain),
	    "a series is found again by the values of its labels");
	is_str(scrape(),
	    "# HELP m A \"help\"\\nof two lines and a \\\\.\n"
	    "# TYPE m counter\n"
	    "m{a=\"x\",b=\"y\"} 1\n"
	    "m{a=\"q\\\"b\\\\n\\nz\",b=\"\"} 2\n",
	    "labels and help are escaped, each in its way");
	metrics_fini();
}

static void
histograms(void)
{
	static const double bound[] = { 0.001, 0.5, 600 };
	static struct metric h = { .name = "h",
		.help = "How long.",
		.kind = METRIC_HISTOGRAM,
		.label = { "m" },
		.max = 3,
		.bound = bound,
		.bound_count = countof(bound) };
	static const char *const a[] = { "a" };
	static const double value[] = { 1.0 / 2048, 0.25, 0.5, 0.75, 600,
		1000 };

	metrics_add(&h);
	for (size_t i = 0; i < countof(value); i++)
		metric_observe(metric_series(&h, a), value[i]);
	is_str(scrape(),
	    "# HELP h How long.\n"
	    "# TYPE h histogram\n"
	    "h_bucket{m=\"a\",le=\"0.001\"} 1\n"
	    "h_bucket{m=\"a\",le=\"0.5\"} 3\n"
	    "h_bucket{m=\"a\",le=\"600\"} 5\n"
	    "h_bucket{m=\"a\",le=\"+Inf\"} 6\n"
	    "h_sum{m=\"a\"} 1601.50048828125\n"
	    "h_count{m=\"a\"} 6\n",
	    "buckets add up, and a value at a bound is not above it");
	metrics_fini();

	h.label[0] = NULL;
	metrics_add(&h);
	metric_observe(metric_series(&h, NULL), 1);
	is_str(value_of("h_bucket{le=\"0.5\"}"), "0",
	    "without labels there is only that of the bound");
	is_str(value_of("h_count"), "1", "and none for the count");
	metrics_fini();
}

static void
series_are_bounded(void)
{
	static struct metric m = { .name = "m",
		.help = "",
		.kind = METRIC_COUNTER,
		.label = { "who", "what" },
		.max = 4 };
	char who[16];
	const char *const values[] = { who, "x" };
	size_t len = 0;

	metrics_add(&m);
	for (int i = 0; i < 1000; i++) {
		(void)snprintf(who, sizeof(who), "peer-%d", i);
		metric_add(metric_series(&m, values), 1);
		if (i == 100)
			len = strlen(scrape());
	}
	is_str(value_of("m{who=\"peer-2\",what=\"x\"}"), "1",
	    "the first ones have series");
	is_str(value_of("m{who=\"peer-3\",what=\"x\"}"), "absent",
	    "the last place is for all others");
	is_str(value_of("m{who=\"other\",what=\"other\"}"), "997",
	    "which are counted together");
	ok(strlen(scrape()) - len <= 2, "and the text does not grow");
	metrics_fini();
}

static void
read_two(struct metric_reading *reading)
{
	static const char *const a[] = { "a" }, *const b[] = { "b" },
				 *const c[] = { "c" };

	metric_tell(reading, 1, a);
	metric_tell(reading, 2, b);
	metric_tell(reading, 3, c);
}

static unsigned scrapes;

static void
read_scrapes(struct metric_reading *reading)
{
	metric_tell(reading, ++scrapes, NULL);
}

static void
read_when_asked(void)
{
	static struct metric two = { .name = "two",
		.help = "",
		.kind = METRIC_COUNTER,
		.label = { "l" },
		.max = 2,
		.read = read_two };
	static struct metric asked = { .name = "asked",
		.help = "",
		.kind = METRIC_GAUGE,
		.read = read_scrapes };

	metrics_add(&two);
	metrics_add(&asked);
	is_str(value_of("asked"), "1", "a value is read when somebody asks");
	is_str(value_of("asked"), "2", "each time");
	is_str(value_of("two{l=\"b\"}"), "2", "with labels");
	is_str(value_of("two{l=\"c\"}"), "absent", "and bounded all the same");
	metrics_fini();
}

static void
text_is_bounded(void)
{
	static struct metric m = {
		.name = "a_name", .help = "", .kind = METRIC_GAUGE
	};
	struct buf small;

	buf_init(&small, 40);
	metrics_add(&m);
	metric_set(metric_series(&m, NULL), 1);
	is_int(metrics_text(&small), -EMSGSIZE,
	    "a text that does not fit is an error");
	buf_fini(&small);
	metrics_fini();
}

int
main(void)
{
	buf_init(&text, 1 << 20);
	counters_and_gauges();
	numbers();
	labels_and_escapes();
	histograms();
	series_are_bounded();
	read_when_asked();
	text_is_bounded();
	buf_fini(&text);
	return tap_end();
}
