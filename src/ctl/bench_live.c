/*
 * bench_live.c - rate, in flight, errors, and when it will be over.
 */
#include "ctl/bench_live.h"

#include <stdio.h>

#define PERIOD_MS 250
#define SECOND_NS INT64_C(1000000000)

/* In seconds; negative: nobody knows. */
static double
remaining(const struct bench_live *live)
{
	const struct load *load = live->load;
	const struct load_plan *plan = &load->plan;
	double left = -1, by_count, gone;
	int64_t now_ns = load_now_ns();

	if (plan->length_ns > 0)
		left = (double)(load->start_ns + plan->length_ns - now_ns) /
		    (double)SECOND_NS;
	gone = (double)(now_ns - load->start_ns) / (double)SECOND_NS;
	if (plan->count > 0 && live->result->passed > 0 && gone > 0) {
		by_count = gone *
		    ((double)plan->count / (double)live->result->passed - 1);
		if (left < 0 || by_count < left)
			left = by_count;
	}
	return left;
}

static void
write_line(struct bench_live *live)
{
	const struct result *result = live->result;
	int64_t now_ns = load_now_ns();
	double left = remaining(live);

	(void)fprintf(stderr,
	    "\r\033[K%s: %zu done, %.0f/s, %zu in flight, %zu failed",
	    live->name, result->passed,
	    (double)(result->passed - live->last) * (double)SECOND_NS /
		(double)(now_ns - live->last_ns),
	    live->load->running, result->failed);
	if (now_ns < live->load->start_ns)
		(void)fputs(", warming up", stderr);
	else if (left >= 0)
		(void)fprintf(stderr, ", %.0f s left", left);
	live->last = result->passed;
	live->last_ns = now_ns;
}

static void
on_live(struct timer *timer)
{
	struct bench_live *live = container_of(timer, struct bench_live, timer);

	write_line(live);
	timer_arm(timer, PERIOD_MS);
}

void
bench_live_begin(struct bench_live *live, const char *name,
    const struct load *load, const struct result *result)
{
	*live = (struct bench_live){
		.name = name,
		.load = load,
		.result = result,
		.timer.fire = on_live,
		.last_ns = load_now_ns(),
	};
	if (isatty(STDERR_FILENO))
		timer_arm(&live->timer, PERIOD_MS);
}

void
bench_live_end(struct bench_live *live)
{
	timer_disarm(&live->timer);
	bench_live_clear();
}

void
bench_live_clear(void)
{
	if (isatty(STDERR_FILENO))
		(void)fputs("\r\033[K", stderr);
}
