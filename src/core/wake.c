/*
 * wake.c - see wake.h.
 */
#include "core/wake.h"

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
