/*
 * bench_load.c - the clock of a load. Both loops are one: by the clock begin the
 * callers of a closed loop, and all things of an open one; whatever has ended
 * makes room for the next.
 */
#include "ctl/bench_load.h"

#include "core/loop.h"

#include <math.h>
#include <sys/prctl.h>
#include <sys/timerfd.h>
#include <time.h>

#define SECOND_NS 1e9
#define NEVER INT64_MAX

int64_t
load_now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* When the k-th one begins by the clock, after the start; NEVER: not at all. */
static int64_t
due_after_ns(const struct load_plan *plan, size_t k)
{
	double ramp = (double)plan->ramp_ns / SECOND_NS, in_ramp;

	if (plan->rate <= 0)
		return k < plan->callers
		    ? plan->ramp_ns / (int64_t)plan->callers * (int64_t)k
		    : NEVER;
	/* The rate grows evenly: after t seconds rate * t^2 / (2 ramp) began. */
	in_ramp = plan->rate * ramp / 2;
	if ((double)k < in_ramp)
		return (int64_t)(sqrt(2 * ramp * (double)k / plan->rate) *
		    SECOND_NS);
	return plan->ramp_ns +
	    (int64_t)(((double)k - in_ramp) / plan->rate * SECOND_NS);
}

/* Begins nothing any more that is meant to do so then? */
static bool
is_over(const struct load *load, int64_t after_ns)
{
	const struct load_plan *plan = &load->plan;
	int64_t end_ns = plan->warm_up_ns + plan->length_ns;

	return load->stopped || after_ns == NEVER ||
	    (plan->count > 0 && load->counted == plan->count) ||
	    (plan->length_ns > 0 && after_ns >= end_ns) ||
	    (plan->length_ns > 0 && plan->callers > 0 &&
		load_now_ns() >= load->zero_ns + end_ns);
}

static void
begin_one(struct load *load, int64_t after_ns)
{
	struct load_turn turn = {
		.index = load->begun++,
		.meant_ns = load->zero_ns + after_ns,
		.counted = after_ns >= load->plan.warm_up_ns,
	};
	int64_t late_ns = load_now_ns() - turn.meant_ns;

	if (turn.counted) {
		load->counted++;
		histogram_add(
		    &load->lag_ns, late_ns > 0 ? (uint64_t)late_ns : 0);
	}
	load->running++;
	load->begin(load, &turn);
}

/* Begins what is due, and asks to be woken for what is due next. */
static void
begin_due(struct load *load)
{
	const struct load_plan *plan = &load->plan;
	struct itimerspec at = { .it_value = { 0 } };
	int64_t after_ns = due_after_ns(plan, load->scheduled);
	int64_t due_ns;

	while (!is_over(load, after_ns) &&
	    (plan->callers == 0 || load->running < plan->callers)) {
		due_ns = load->zero_ns + after_ns;
		if (due_ns > load_now_ns()) {
			at.it_value.tv_sec = due_ns / INT64_C(1000000000);
			at.it_value.tv_nsec = due_ns % INT64_C(1000000000);
			break;
		}
		load->scheduled++;
		begin_one(load, after_ns);
		after_ns = due_after_ns(plan, load->scheduled);
	}
	(void)timerfd_settime(load->timer.fd, TFD_TIMER_ABSTIME, &at, NULL);
}

static void
on_load_timer(struct io *io, int what)
{
	struct load *load = container_of(io, struct load, timer);
	uint64_t times;

	(void)what;
	if (read(io->fd, &times, sizeof(times)) == (ssize_t)sizeof(times))
		begin_due(load);
}

void
load_done(struct load *load)
{
	int64_t after_ns = load_now_ns() - load->zero_ns;

	load->running--;
	if (load->plan.rate > 0)
		begin_due(load);
	else if (!is_over(load, after_ns))
		begin_one(load, after_ns);
}

void
load_stop(struct load *load)
{
	load->stopped = true;
}

/* Things that were meant to begin in time, but found all callers busy. */
static size_t
count_missed(const struct load *load)
{
	const struct load_plan *plan = &load->plan;
	size_t k = load->scheduled;

	if (load->stopped || plan->rate <= 0 || plan->length_ns == 0)
		return 0;
	while (due_after_ns(plan, k) < plan->warm_up_ns + plan->length_ns &&
	    (plan->count == 0 ||
		load->counted + k - load->scheduled < plan->count))
		k++;
	return k - load->scheduled;
}

void
load_run(struct load *load)
{
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

	if (fd < 0)
		abort(); /* out of memory or descriptors at the start */
	/* The kernel may wake us 50 us late otherwise. */
	(void)prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL);
	load->zero_ns = load_now_ns();
	load->start_ns = load->zero_ns + load->plan.warm_up_ns;
	io_watch(&load->timer, fd, IO_READ, on_load_timer);
	begin_due(load);
	while (load->running > 0 ||
	    !is_over(load, due_after_ns(&load->plan, load->scheduled)))
		loop_turn(true);
	io_close(&load->timer);
	load->missed = count_missed(load);
	load->end_ns = load_now_ns();
	if (load->end_ns < load->start_ns)
		load->start_ns = load->end_ns;
}
