/*
 * histogram.c - buckets on a logarithmic scale: each power of two has 64, and
 * what is below 64 has a bucket for each number.
 */
#include "ctl/histogram.h"

#define STEP_BITS 6
#define STEPS (1U << STEP_BITS)

static unsigned
bucket_of(uint64_t value)
{
	unsigned shift;

	if (value < STEPS)
		return (unsigned)value;
	shift = 63U - (unsigned)__builtin_clzll(value) - STEP_BITS;
	return (shift + 1) * STEPS + ((unsigned)(value >> shift) & (STEPS - 1));
}

uint64_t
histogram_middle(unsigned bucket)
{
	unsigned shift = bucket / STEPS;

	if (shift == 0)
		return bucket;
	shift--;
	return ((uint64_t)(STEPS + bucket % STEPS) << shift) +
	    (UINT64_C(1) << shift) / 2;
}

void
histogram_add(struct histogram *h, uint64_t value)
{
	h->buckets[bucket_of(value)]++;
	h->sum += value;
	h->least = h->count == 0 || value < h->least ? value : h->least;
	h->greatest = value > h->greatest ? value : h->greatest;
	h->count++;
}

double
histogram_mean(const struct histogram *h)
{
	return h->count > 0 ? (double)h->sum / (double)h->count : 0;
}

uint64_t
histogram_percentile(const struct histogram *h, double percent)
{
	double exact = (double)h->count * percent / 100;
	uint64_t rank = (uint64_t)exact, seen = 0, middle;
	unsigned i;

	if (h->count == 0)
		return 0;
	if ((double)rank < exact || rank == 0)
		rank++;
	for (i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		seen += h->buckets[i];
		if (seen >= rank)
			break;
	}
	middle = histogram_middle(i);
	return middle > h->greatest ? h->greatest
	    : middle < h->least     ? h->least
				    : middle;
}
