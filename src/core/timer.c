/*
 * timer.c - a pairing heap over one libevent timer. Source: Fredman, Sedgewick,
 * Sleator, Tarjan, "The pairing heap", 1986.
 *
 * Each timer is due no earlier than the one whose child it is.
 */
#include "core/timer.h"

#include "base/clock.h"

#include <errno.h>
#include <event2/event.h>

static struct {
	struct timer *first; /* due first, or NULL */
	size_t count;
	struct event *ev;
	int64_t armed_ms; /* what ev waits for, -1: nothing */
} tm;

static void
detach(struct timer *timer)
{
	*timer->link = timer->next;
	if (timer->next != NULL)
		timer->next->link = timer->link;
	timer->next = NULL;
}

/* Of two heaps one: the one that is due later becomes the other's child. */
static struct timer *
merge(struct timer *a, struct timer *b)
{
	struct timer *other;

	if (a == NULL || b == NULL)
		return a != NULL ? a : b;
	if (b->due_ms < a->due_ms) {
		other = a;
		a = b;
		b = other;
	}
	b->next = a->child;
	if (b->next != NULL)
		b->next->link = &b->next;
	b->link = &a->child;
	a->child = b;
	return a;
}

/* Of all children of a timer one heap: in pairs, then the pairs from behind. */
static struct timer *
merge_children(struct timer *parent)
{
	struct timer *pairs = NULL, *heap = NULL, *a, *b;

	while ((a = parent->child) != NULL) {
		detach(a);
		b = parent->child;
		if (b != NULL)
			detach(b);
		a = merge(a, b);
		a->next = pairs;
		pairs = a;
	}
	while ((a = pairs) != NULL) {
		pairs = a->next;
		a->next = NULL;
		heap = merge(heap, a);
	}
	return heap;
}

static void
set_first(struct timer *heap)
{
	tm.first = heap;
	if (heap != NULL)
		heap->link = &tm.first;
}

void
timer_arm(struct timer *timer, int64_t in_ms)
{
	timer_disarm(timer);
	timer->due_ms = clock_now_ms() + (in_ms > 0 ? in_ms : 0);
	timer->child = NULL;
	timer->next = NULL;
	set_first(merge(tm.first, timer));
	tm.count++;
}

void
timer_disarm(struct timer *timer)
{
	if (timer->link == NULL)
		return;
	detach(timer);
	timer->link = NULL;
	set_first(merge(tm.first, merge_children(timer)));
	tm.count--;
}

bool
timer_is_running(const struct timer *timer)
{
	return timer->link != NULL;
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
timer_init(struct event_base *base)
{
	tm.armed_ms = -1;
	tm.ev = event_new(base, -1, 0, on_due, NULL);
	return tm.ev != NULL ? 0 : -ENOMEM;
}

void
timer_fini(void)
{
	event_free(tm.ev);
	tm.ev = NULL;
	tm.first = NULL;
	tm.count = 0;
}

void
timer_next(void)
{
	int64_t in_ms;
	struct timeval tv;

	if (tm.first == NULL) {
		if (tm.armed_ms >= 0)
			(void)event_del(tm.ev);
		tm.armed_ms = -1;
		return;
	}
	if (tm.armed_ms == tm.first->due_ms)
		return;
	in_ms = tm.first->due_ms - clock_now_ms();
	if (in_ms < 0)
		in_ms = 0;
	tv.tv_sec = in_ms / 1000;
	tv.tv_usec = in_ms % 1000 * 1000;
	(void)event_add(tm.ev, &tv);
	tm.armed_ms = tm.first->due_ms;
}

void
timer_run_due(void)
{
	int64_t now_ms = clock_now_ms();

	/* Timers that a timer starts for "now" fire in the next turn. */
	for (size_t n = tm.count; n > 0 && tm.first != NULL; n--) {
		struct timer *timer = tm.first;

		if (timer->due_ms > now_ms)
			return;
		timer_disarm(timer);
		timer->fire(timer);
	}
}
