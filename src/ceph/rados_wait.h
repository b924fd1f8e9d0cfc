/*
 * rados_wait.h - what the files of rados_aio.h share: one librados operation
 * on its way, from any thread's callback to a job on the loop.
 */
#ifndef CEPH_RADOS_WAIT_H
#define CEPH_RADOS_WAIT_H

#include "core/op.h"

#include <rados/librados.h>

/* Embed it; it lives until `finish` is called. */
struct rados_wait {
	struct job job;
	struct wake *waiter; /* NULL: nobody waits any more */
	int rc;
	void (*finish)(struct rados_wait *wait); /* on the loop's thread */
};

/*
 * Gives the completion to submit the operation with, and counts it as one
 * under way. Every call is followed by one of rados_wait_submitted().
 */
rados_completion_t rados_wait_arm(struct rados_wait *wait);

/*
 * After submission with its result. A failure ends the wait like a failed
 * operation does, from the loop.
 */
void rados_wait_submitted(
    struct rados_wait *wait, rados_completion_t completion, int rc);

/* The same where the caller goes on to hold the completion. */
void rados_wait_sent(struct rados_wait *wait, int rc);

/* Wakes the waiter, if there is one, with the wait's rc. */
void rados_wait_wake(const struct rados_wait *wait);

#endif
