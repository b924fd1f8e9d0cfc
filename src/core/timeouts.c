/*
 * timeouts.c - a queue and one timer for its head. The timer is left running
 * when the head goes, since it is mostly succeeded by one that is due soon
 * after; so it may find nothing to do.
 */
#include "core/timeouts.h"

#include "base/clock.h"

#include <assert.h>

static void
arm(struct timeouts *list, int64_t now_ms)
{
	const struct timeout *first = TAILQ_FIRST(&list->waiting);

	if (first != NULL && !timer_is_running(&list->timer))
		timer_arm(&list->timer, first->due_ms - now_ms);
}

static void
on_timer(struct timer *timer)
{
	struct timeouts *list = container_of(timer, struct timeouts, timer);
	int64_t now_ms = clock_now_ms();
	struct timeout *first;

	while ((first = TAILQ_FIRST(&list->waiting)) != NULL &&
	    first->due_ms <= now_ms) {
		timeout_disarm(first);
		list->expired(first);
	}
	arm(list, now_ms);
}

void
timeouts_init(struct timeouts *list, int64_t after_ms,
    void (*expired)(struct timeout *timeout))
{
	*list = (struct timeouts){ .after_ms = after_ms, .expired = expired };
	TAILQ_INIT(&list->waiting);
	list->timer.fire = on_timer;
}

void
timeouts_fini(struct timeouts *list)
{
	assert(TAILQ_EMPTY(&list->waiting));
	timer_disarm(&list->timer);
}

void
timeout_arm(struct timeout *timeout, struct timeouts *list)
{
	int64_t now_ms = clock_now_ms();

	timeout_disarm(timeout);
	timeout->list = list;
	timeout->due_ms = now_ms + list->after_ms;
	TAILQ_INSERT_TAIL(&list->waiting, timeout, link);
	list->count++;
	if (list->after_ms > 0)
		arm(list, now_ms);
}

void
timeout_disarm(struct timeout *timeout)
{
	if (timeout->list == NULL)
		return;
	TAILQ_REMOVE(&timeout->list->waiting, timeout, link);
	timeout->list->count--;
	timeout->list = NULL;
}

struct timeout *
timeouts_oldest(const struct timeouts *list)
{
	return TAILQ_FIRST(&list->waiting);
}
