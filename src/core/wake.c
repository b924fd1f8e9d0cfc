/*
 * wake.c - see wake.h.
 */
#include "core/wake.h"

#include <assert.h>

static void
wake_run(struct job *job)
{
	struct wake *wake = container_of(job, struct wake, job);

	wake->fn(wake, wake->rc);
}

void
wake_up(struct wake *wake, int rc)
{
	if (wake == NULL)
		return;
	wake->rc = rc;
	wake->job.run = wake_run;
	loop_post(&wake->job);
}

void
wake_up_remote(struct wake *wake, int rc)
{
	wake->rc = rc;
	wake->job.run = wake_run;
	loop_post_remote(&wake->job);
}

static void
on_part(struct wake *wake, int rc)
{
	struct wakes_part *part = container_of(wake, struct wakes_part, wake);
	struct wakes *all = part->all;
	int first = 0;

	part->rc = rc;
	if (--all->left > 0)
		return;
	for (unsigned i = 0; i < all->n && first == 0; i++)
		first = all->part[i].rc;
	wake_up(all->waiter, first);
}

void
wakes_init(struct wakes *wakes, struct wake *waiter)
{
	wakes->n = wakes->left = 0;
	wakes->waiter = waiter;
}

struct wake *
wakes_add(struct wakes *wakes)
{
	struct wakes_part *part = &wakes->part[wakes->n++];

	assert(wakes->n <= WAKES_MAX);
	wakes->left++;
	*part = (struct wakes_part){ .wake.fn = on_part, .all = wakes };
	return &part->wake;
}
