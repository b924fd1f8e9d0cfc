/*
 * bench_compare.c - confidence intervals by the bootstrap (Efron, "Bootstrap
 * Methods: Another Look at the Jackknife", 1979): what was measured is drawn
 * again, with replacement, RESAMPLES times, and the middle 95 % of the ratios
 * are the interval.
 *
 * Times are drawn as counts of the buckets of their histogram, each by Poisson
 * with its own count as the mean, which is the same for large numbers and
 * takes no longer for more calls. A rate is drawn from the pieces of its time
 * line. Both take the values for independent; a drift or a burst within a run
 * makes the true interval wider, which only more runs can show.
 */
#include "ctl/bench_compare.h"

#include <math.h>
#include <string.h>

#define RESAMPLES 1000
#define VALUES_MIN 20 /* less tells nothing of a spread */
#define PIECES_MIN 8
#define TAU 6.283185307179586

static const struct {
	const char *name;
	double part; /* negative: the mean */
} figures[] = { { "mean", -1 }, { "p50", 0.5 }, { "p90", 0.9 },
	{ "p99", 0.99 } };

/* ---- numbers by chance ------------------------------------------------------- */

/* xorshift64*: the same ones each time, so that a comparison can be repeated. */
static double
draw(uint64_t *state)
{
	*state ^= *state >> 12;
	*state ^= *state << 25;
	*state ^= *state >> 27;
	return ((double)((*state * UINT64_C(0x2545f4914f6cdd1d)) >> 11) + 0.5) /
	    9007199254740992.0;
}

/* Knuth's way for a small mean, else the normal distribution. */
static double
draw_poisson(uint64_t *state, double mean)
{
	double limit = exp(-mean), product = draw(state), n = 0;

	if (mean > 30)
		return fmax(0,
		    round(mean +
			sqrt(mean) * sqrt(-2 * log(draw(state))) *
			    cos(TAU * draw(state))));
	for (; product > limit; n++)
		product *= draw(state);
	return n;
}

/* ---- figures ----------------------------------------------------------------- */

struct sample {
	size_t count;
	double *value, *weight; /* of a histogram, values ascending */
};

static struct sample
sample_of(const json_t *buckets)
{
	struct sample s = { .count = json_array_size(buckets) };
	size_t i;
	json_t *bucket;

	s.value = mem_new((s.count + 1) * sizeof(double));
	s.weight = mem_new((s.count + 1) * sizeof(double));
	json_array_foreach ((json_t *)(uintptr_t)buckets, i, bucket) {
		s.value[i] = json_number_value(json_array_get(bucket, 0));
		s.weight[i] = json_number_value(json_array_get(bucket, 1));
	}
	return s;
}

static void
sample_free(struct sample *s)
{
	free(s->value);
	free(s->weight);
}

/* Of the values with these weights; 0 if there are none. */
static double
figure_of(const struct sample *s, const double *weight, double part)
{
	double all = 0, sum = 0, seen = 0;
	size_t i;

	for (i = 0; i < s->count; i++) {
		all += weight[i];
		sum += weight[i] * s->value[i];
	}
	if (all <= 0)
		return 0;
	if (part < 0)
		return sum / all;
	for (i = 0; i + 1 < s->count; i++) {
		seen += weight[i];
		if (seen >= all * part)
			break;
	}
	return s->value[i];
}

/* Each figure of values drawn anew. */
static void
resample(const struct sample *s, uint64_t *state, double out[countof(figures)])
{
	auto_free double *weight = mem_new((s->count + 1) * sizeof(double));

	for (size_t i = 0; i < s->count; i++)
		weight[i] = draw_poisson(state, s->weight[i]);
	for (size_t i = 0; i < countof(figures); i++)
		out[i] = figure_of(s, weight, figures[i].part);
}

/* The rate of pieces of the time line, some of them twice, others never. */
static double
resample_rate(const json_t *slots, uint64_t *state)
{
	const json_t *passed = json_object_get(slots, "passed");
	size_t count = json_array_size(passed);
	double sum = 0;

	/* The last piece is not a whole one. */
	for (size_t i = 0; i + 1 < count; i++)
		sum += json_number_value(json_array_get(
		    passed, (size_t)(draw(state) * (double)(count - 1))));
	return sum;
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The row of a figure; ratios is sorted, or NULL: there is no interval. */
static json_t *
make_row(const json_t *phase, const char *name, const char *figure, double a,
    double b, bool more_is_better, double *ratios)
{
	json_t *row = json_pack("{s:O, s:O, s:s, s:s, s:f, s:f, s:f}",
	    "callers", json_object_get(phase, "callers"), "phase",
	    json_object_get(phase, "name"), "name", name, "figure", figure, "a",
	    a, "b", b, "ratio", a > 0 ? b / a : 0);
	double low, high;
	const char *verdict = "too little to tell";

	if (ratios != NULL) {
		qsort(ratios, RESAMPLES, sizeof(*ratios), by_size);
		low = ratios[RESAMPLES / 40];
		high = ratios[RESAMPLES - 1 - RESAMPLES / 40];
		if (low > 1)
			verdict = more_is_better ? "B is better" : "B is worse";
		else if (high < 1)
			verdict = more_is_better ? "B is worse" : "B is better";
		else
			verdict = "no difference shown";
		(void)json_object_set_new(row, "low", json_real(low));
		(void)json_object_set_new(row, "high", json_real(high));
	}
	(void)json_object_set_new(row, "verdict", json_string(verdict));
	return row;
}

static void
compare_rates(json_t *rows, const json_t *a, const json_t *b)
{
	const json_t *slots_a = json_object_get(a, "slots");
	const json_t *slots_b = json_object_get(b, "slots");
	double rate_a = json_number_value(json_object_get(a, "rate"));
	double rate_b = json_number_value(json_object_get(b, "rate"));
	auto_free double *ratios = mem_new(RESAMPLES * sizeof(double));
	double mean_a = 0, mean_b = 0;
	uint64_t state = 88172645463325252;
	bool enough = json_array_size(json_object_get(slots_a, "passed")) >=
		PIECES_MIN &&
	    json_array_size(json_object_get(slots_b, "passed")) >= PIECES_MIN;
	size_t i;
	json_t *n;

	/* Of the whole pieces, by which the drawn ones are measured. */
	json_array_foreach (json_object_get(slots_a, "passed"), i, n)
		if (i + 1 < json_array_size(json_object_get(slots_a, "passed")))
			mean_a += json_number_value(n);
	json_array_foreach (json_object_get(slots_b, "passed"), i, n)
		if (i + 1 < json_array_size(json_object_get(slots_b, "passed")))
			mean_b += json_number_value(n);
	enough = enough && mean_a > 0 && mean_b > 0;
	for (i = 0; i < RESAMPLES && enough; i++)
		ratios[i] = resample_rate(slots_b, &state) / mean_b * rate_b /
		    fmax(
			resample_rate(slots_a, &state) / mean_a * rate_a, 1e-9);
	(void)json_array_append_new(rows,
	    make_row(
		a, "", "rate", rate_a, rate_b, true, enough ? ratios : NULL));
}

static void
compare_times(
    json_t *rows, const json_t *phase, const json_t *a, const json_t *b)
{
	struct sample of_a = sample_of(json_object_get(a, "buckets"));
	struct sample of_b = sample_of(json_object_get(b, "buckets"));
	double fewest = fmin(json_number_value(json_object_get(a, "count")),
	    json_number_value(json_object_get(b, "count")));
	double drawn_a[countof(figures)], drawn_b[countof(figures)];
	double *ratios = mem_new(countof(figures) * RESAMPLES * sizeof(double));
	uint64_t state = 88172645463325252;

	for (size_t i = 0; i < RESAMPLES && fewest >= VALUES_MIN; i++) {
		resample(&of_a, &state, drawn_a);
		resample(&of_b, &state, drawn_b);
		for (size_t j = 0; j < countof(figures); j++)
			ratios[j * RESAMPLES + i] = drawn_a[j] > 0
			    ? drawn_b[j] / drawn_a[j]
			    : 1;
	}
	for (size_t j = 0; j < countof(figures); j++) {
		/* Above it there have to be some, or it is only the maximum. */
		bool enough = fewest >= VALUES_MIN &&
		    fewest * (1 - figures[j].part) >= 5;

		(void)json_array_append_new(rows,
		    make_row(phase, json_get_string(a, "name"), figures[j].name,
			json_number_value(json_object_get(a, figures[j].name)),
			json_number_value(json_object_get(b, figures[j].name)),
			false, enough ? ratios + j * RESAMPLES : NULL));
	}
	sample_free(&of_a);
	sample_free(&of_b);
	free(ratios);
}

/* The one with the same name, and if it has callers, as many. */
static json_t *
same_in(const json_t *list, const json_t *one)
{
	size_t i;
	json_t *each;

	json_array_foreach ((json_t *)(uintptr_t)list, i, each)
		if (str_eq(json_get_string(each, "name"),
			json_get_string(one, "name")) &&
		    json_number_value(json_object_get(each, "callers")) ==
			json_number_value(json_object_get(one, "callers")))
			return each;
	return NULL;
}

json_t *
bench_compare_rows(const json_t *a, const json_t *b)
{
	json_t *rows = json_array(), *phase, *times;
	size_t i, j;

	json_array_foreach (json_object_get(a, "phases"), i, phase) {
		const json_t *other = same_in(
		    json_object_get(b, "phases"), phase);

		if (other == NULL)
			continue;
		compare_rates(rows, phase, other);
		json_array_foreach (json_object_get(phase, "times"), j, times) {
			const json_t *others = same_in(
			    json_object_get(other, "times"), times);

			if (others != NULL &&
			    strchr(json_get_string(times, "name"), '/') == NULL)
				compare_times(rows, phase, times, others);
		}
	}
	return rows;
}

json_t *
bench_compare_circumstances(const json_t *a, const json_t *b)
{
	static const char *const parts[] = { "tool", "kind", "host", "driver",
		"options", "parameters", "left_out", "interrupted" };
	json_t *list = json_array();

	for (size_t i = 0; i < countof(parts); i++) {
		const json_t *of_a = json_object_get(a, parts[i]);
		const json_t *of_b = json_object_get(b, parts[i]);
		const char *key;
		json_t *value;

		if (!json_is_object(of_a) || !json_is_object(of_b)) {
			if (json_equal(of_a, of_b) == 0 && of_a != of_b)
				(void)json_array_append_new(
				    list, json_string(parts[i]));
			continue;
		}
		json_object_foreach ((json_t *)(uintptr_t)of_a, key, value)
			if (json_equal(value, json_object_get(of_b, key)) == 0)
				(void)json_array_append_new(
				    list, json_sprintf("%s.%s", parts[i], key));
		json_object_foreach ((json_t *)(uintptr_t)of_b, key, value)
			if (json_object_get(of_a, key) == NULL)
				(void)json_array_append_new(
				    list, json_sprintf("%s.%s", parts[i], key));
	}
	return list;
}
