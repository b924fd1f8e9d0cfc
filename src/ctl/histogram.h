/*
 * histogram.h - how long things took, in constant memory: the buckets are 1/64
 * of their value wide, so percentiles are exact to 1.6 %.
 */
#ifndef CTL_HISTOGRAM_H
#define CTL_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 3776 /* of all 64-bit numbers */

/* Zeroed it is empty. */
struct histogram {
	uint64_t count, sum, least, greatest;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

void histogram_add(struct histogram *h, uint64_t value);

/*
 * The middle of the bucket up to which `percent` (0 to 100) of the values
 * lie, but no more than the greatest and no less than the least of them; 0
 * when there are none.
 */
uint64_t histogram_percentile(const struct histogram *h, double percent);
double histogram_mean(const struct histogram *h);

/* The number that stands for all in a bucket. */
uint64_t histogram_middle(unsigned bucket);

#endif
