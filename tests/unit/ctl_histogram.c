/*
 * The histogram of the benchmarks: percentiles against numbers that are known.
 */
#include "ctl/histogram.h"
#include "tests/tap.h"

static struct histogram h;

static bool
is_near(uint64_t got, uint64_t want)
{
	uint64_t most = want / 64 + 1;

	return got + most >= want && got <= want + most;
}

static void
test_small(void)
{
	h = (struct histogram){ .count = 0 };
	ok(histogram_percentile(&h, 99) == 0, "without values it is 0");
	for (uint64_t i = 1; i <= 50; i++)
		histogram_add(&h, i);
	ok(h.count == 50, "all are counted");
	ok(histogram_percentile(&h, 0) == 1, "the least is exact");
	ok(histogram_percentile(&h, 50) == 25, "so is the median");
	ok(histogram_percentile(&h, 99) == 50,
	    "of 50 values the 99th percentile is the last");
	ok(histogram_percentile(&h, 100) == 50, "the greatest is exact");
	ok(h.least == 1 && h.greatest == 50 && histogram_mean(&h) == 25.5,
	    "so are least, greatest and mean");
}

static void
test_wide(void)
{
	bool near = true;

	for (uint64_t value = 1; value < UINT64_MAX / 3;
	     value += value / 3 + 1) {
		h = (struct histogram){ .count = 0 };
		histogram_add(&h, value);
		if (!is_near(histogram_percentile(&h, 50), value))
			near = false;
	}
	ok(near, "a value of any size comes back to 1/64");
	histogram_add(&h, UINT64_MAX);
	ok(histogram_percentile(&h, 100) >= UINT64_MAX - UINT64_MAX / 64,
	    "the largest number has a bucket");
}

static void
test_tail(void)
{
	h = (struct histogram){ .count = 0 };
	for (int i = 0; i < 9800; i++)
		histogram_add(&h, 1000);
	for (int i = 0; i < 200; i++)
		histogram_add(&h, 90000);
	ok(is_near(histogram_percentile(&h, 50), 1000),
	    "the median is that of the many");
	ok(is_near(histogram_percentile(&h, 98), 1000),
	    "98 of 100 are below the tail");
	ok(is_near(histogram_percentile(&h, 99), 90000),
	    "the 99th percentile is in the tail");
	for (int i = 0; i < 11; i++)
		histogram_add(&h, 1000000);
	ok(is_near(histogram_percentile(&h, 99.8), 90000) &&
		is_near(histogram_percentile(&h, 99.9), 1000000),
	    "parts of a percent are told apart");
}

int
main(void)
{
	test_small();
	test_wide();
	test_tail();
	return tap_end();
}
