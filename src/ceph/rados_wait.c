/*
 * rados_wait.c - the one callback that runs on librados' threads.
 */
#include "ceph/rados_wait.h"

#include "ceph/rados_aio.h"

#include <errno.h>

/* loop's thread only */
static size_t in_flight;
static void (*when_lost)(void);

size_t
rados_in_flight(void)
{
	return in_flight;
}

void
rados_when_lost(void (*lost)(void))
{
	when_lost = lost;
}

static void
on_loop(struct job *job)
{
	struct rados_wait *wait = container_of(job, struct rados_wait, job);

	void (*lost)(void) = when_lost;

	in_flight--;
	if (wait->rc == -ESHUTDOWN && lost != NULL) {
		when_lost = NULL;
		lost();
	}
	wait->finish(wait);
}

/* A thread of librados: the return value and the door, nothing else. */
static void
on_complete(rados_completion_t completion, void *arg)
{
	struct rados_wait *wait = arg;

	wait->rc = rados_aio_get_return_value(completion);
	loop_post_remote(&wait->job);
}

rados_completion_t
rados_wait_arm(struct rados_wait *wait)
{
	rados_completion_t completion = NULL;

	wait->job.run = on_loop;
	wait->rc = 0;
	in_flight++;
	if (rados_aio_create_completion2(wait, on_complete, &completion) < 0)
		abort(); /* only without memory */
	return completion;
}

void
rados_wait_sent(struct rados_wait *wait, int rc)
{
	if (rc < 0) {
		wait->rc = rc;
		loop_post(&wait->job);
	}
}

void
rados_wait_submitted(
    struct rados_wait *wait, rados_completion_t completion, int rc)
{
	/* librados keeps its own reference until the callback has returned */
	rados_aio_release(completion);
	rados_wait_sent(wait, rc);
}

int
rados_answer(int rc)
{
	switch (rc) {
	case -ENOSPC:
		return -EDQUOT;
	case -ETIMEDOUT:
		return -ETIME;
	default:
		return rc;
	}
}

void
rados_wait_wake(const struct rados_wait *wait)
{
	if (wait->waiter != NULL)
		wake_up(wait->waiter, wait->rc);
}
