/*
 * bench_live.h - a line on a terminal that tells how a load goes. Where standard
 * error is none there is no line.
 */
#ifndef CTL_BENCH_LIVE_H
#define CTL_BENCH_LIVE_H

#include "core/timer.h"
#include "ctl/bench_result.h"

struct bench_live {
	const char *name;
	const struct load *load;
	const struct result *result;
	struct timer timer;
	size_t last; /* passed when the line was written last */
	int64_t last_ns;
};

/* From now on, while the load runs; `result` is what it fills. */
void bench_live_begin(struct bench_live *live, const char *name,
    const struct load *load, const struct result *result);
void bench_live_end(struct bench_live *live);

/* Takes the line away before something else is told. */
void bench_live_clear(void);

#endif
