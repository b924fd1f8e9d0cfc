/*
 * timer.c - a binary heap ordered by due time over one libevent timer.
 */
#include "core/timer.h"

#include "base/clock.h"
#include "core/loop.h"

#include <errno.h>
#include <event2/event.h>

static struct {
	struct timer **heap; /* heap[1] is due first; heap[0] unused */
	size_t used, room;
	struct event *ev;
	int64_t armed_ms; /* what ev waits for, -1: nothing */
} tm;

static void
place(size_t i, struct timer *timer)
{
	tm.heap[i] = timer;
	timer->place = i;
}

static void
sift(size_t i)
{
	struct timer *timer = tm.heap[i];
	size_t child;

	while (i > 1 && tm.heap[i / 2]->due_ms > timer->due_ms) {
		place(i, tm.heap[i / 2]);
		i /= 2;
	}
	while ((child = i * 2) <= tm.used) {
		if (child < tm.used &&
		    tm.heap[child + 1]->due_ms < tm.heap[child]->due_ms)
			child++;
		if (tm.heap[child]->due_ms >= timer->due_ms)
			break;
		place(i, tm.heap[child]);
		i = child;
	}
	place(i, timer);
}

void
timer_start(struct timer *timer, int64_t in_ms)
{
	timer->due_ms = clock_now_ms() + (in_ms > 0 ? in_ms : 0);
	if (timer->place == 0) {
		if (tm.used + 2 > tm.room) {
			tm.room = tm.room > 0 ? tm.room * 2 : 64;
			tm.heap = mem_grow(tm.heap, tm.room * sizeof(*tm.heap));
		}
		place(++tm.used, timer);
	}
	sift(timer->place);
}

void
timer_stop(struct timer *timer)
{
	size_t i = timer->place;

	if (i == 0)
		return;
	timer->place = 0;
	if (i == tm.used--)
		return;
	place(i, tm.heap[tm.used + 1]);
	sift(i);
}

bool
timer_is_running(const struct timer *timer)
{
	return timer->place != 0;
}

static void
on_due(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	tm.armed_ms = -1; /* timer_run_due() does the work after the poll */
}

int
timer_init(void)
{
	tm.armed_ms = -1;
	tm.ev = event_new(loop_base(), -1, 0, on_due, NULL);
	return tm.ev != NULL ? 0 : -ENOMEM;
}

void
timer_fini(void)
{
	event_free(tm.ev);
	tm.ev = NULL;
	free(tm.heap);
	tm.heap = NULL;
	tm.used = tm.room = 0;
}

void
timer_arm(void)
{
	int64_t in_ms;
	struct timeval tv;

	if (tm.used == 0) {
		if (tm.armed_ms >= 0)
			(void)event_del(tm.ev);
		tm.armed_ms = -1;
		return;
	}
	if (tm.armed_ms == tm.heap[1]->due_ms)
		return;
	in_ms = tm.heap[1]->due_ms - clock_now_ms();
	if (in_ms < 0)
		in_ms = 0;
	tv.tv_sec = in_ms / 1000;
	tv.tv_usec = in_ms % 1000 * 1000;
	(void)event_add(tm.ev, &tv);
	tm.armed_ms = tm.heap[1]->due_ms;
}

void
timer_run_due(void)
{
	int64_t now_ms = clock_now_ms();

	/* Timers that a timer starts for "now" fire in the next turn. */
	for (size_t n = tm.used; n > 0 && tm.used > 0; n--) {
		struct timer *timer = tm.heap[1];

		if (timer->due_ms > now_ms)
			return;
		timer_stop(timer);
		timer->fire(timer);
	}
}
