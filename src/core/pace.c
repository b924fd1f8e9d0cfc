/*
 * pace.c - see pace.h.
 *
 * How many are served at once without waiting long for each other depends on
 * the cluster and is found out: the limit grows with each operation that takes
 * less than SLOW times as long as the quickest one did, and shrinks with each
 * other one.
 */
#include "core/pace.h"

#include "base/clock.h"
#include "core/loop.h"
#include "core/timer.h"

#include <assert.h>

#define BURST 4    /* at once, beside calls */
#define REST 10    /* after a burst, times what it took */
#define CALM_MS 20 /* after the last call */
#define SLOW 4     /* times the quickest one */
#define FADE 256   /* the quickest one is forgotten over so many */
#define LEAST 16   /* at once, when nobody calls: what is slow may be noise */
#define UNIT 16    /* the limit is kept in parts of one */

static struct {
	unsigned calls, busy; /* calls, and operations under way */
	int64_t calm_ms;      /* nobody calls from then on */
	unsigned burst;       /* how many more may go now, beside calls */
	int64_t burst_us;     /* began then; 0: there is none */
	int64_t rest_us;      /* none begins until then */
	int64_t best_us;      /* the quickest one, about; 0: not known */
	unsigned limit;       /* in parts; 0: not known */
	STAILQ_HEAD(, pace_turn) queue;
	struct job job;
	struct timer rest;
} pace = { .queue = STAILQ_HEAD_INITIALIZER(pace.queue) };

static bool
gives_way(void)
{
	return pace.calls > 0 || clock_now_ms() < pace.calm_ms;
}

unsigned
pace_limit(void)
{
	if (gives_way())
		return BURST;
	return pace.limit < LEAST * UNIT ? LEAST : pace.limit / UNIT;
}

/* May one more go now? If not, then an end goes on, or the timer. */
static bool
may_go(void)
{
	int64_t wait_us = pace.rest_us - clock_now_us();

	if (!gives_way())
		return pace.busy < pace_limit();
	if (pace.burst_us == 0 && pace.busy > 0)
		return false; /* from before the call */
	if (pace.burst_us == 0 && wait_us > 0) {
		/* Nobody may call any more long before it is over. */
		if (wait_us > CALM_MS * 1000)
			wait_us = CALM_MS * 1000;
		timer_arm(&pace.rest, (wait_us + 999) / 1000);
		return false;
	}
	if (pace.burst_us == 0) {
		pace.burst_us = clock_now_us();
		pace.burst = BURST;
	}
	if (pace.burst == 0)
		return false;
	pace.burst--;
	return true;
}

static void
on_turns(struct job *job)
{
	struct pace_turn *turn;

	(void)job;
	while ((turn = STAILQ_FIRST(&pace.queue)) != NULL && may_go()) {
		STAILQ_REMOVE_HEAD(&pace.queue, link);
		turn->waits = false;
		turn->begun_us = clock_now_us();
		pace.busy++;
		turn->go(turn);
	}
}

static void
go_on(void)
{
	pace.job.run = on_turns;
	if (!pace.job.queued && !STAILQ_EMPTY(&pace.queue))
		loop_post(&pace.job);
}

static void
on_rested(struct timer *timer)
{
	(void)timer;
	go_on();
}

void
pace_ask(struct pace_turn *turn)
{
	assert(!turn->waits);
	turn->waits = true;
	STAILQ_INSERT_TAIL(&pace.queue, turn, link);
	pace.rest.fire = on_rested;
	go_on();
}

void
pace_pass(struct pace_turn *turn)
{
	int64_t now_us = clock_now_us();

	(void)turn;
	if (--pace.busy == 0 && pace.burst_us != 0) {
		pace.rest_us = now_us + REST * (now_us - pace.burst_us);
		pace.burst_us = 0;
	}
	go_on();
}

void
pace_done(struct pace_turn *turn, unsigned operations)
{
	int64_t now_us = clock_now_us(), took_us = now_us - turn->begun_us;

	if (operations == 0) {
		pace_pass(turn);
		return;
	}
	if (gives_way()) {
		pace.limit = LEAST * UNIT;
	} else {
		took_us /= operations;
		pace.best_us += pace.best_us / FADE + 1;
		if (took_us < pace.best_us || pace.limit == 0)
			pace.best_us = took_us;
		if (took_us <= SLOW * pace.best_us)
			pace.limit += UNIT / 4;
		else
			pace.limit -= pace.limit > LEAST * UNIT;
		if (pace.limit > PACE_MAX * UNIT)
			pace.limit = PACE_MAX * UNIT;
	}
	pace_pass(turn);
}

void
pace_call_began(void)
{
	pace.calls++;
}

void
pace_call_ended(void)
{
	pace.calls--;
	pace.calm_ms = clock_now_ms() + CALM_MS;
}
