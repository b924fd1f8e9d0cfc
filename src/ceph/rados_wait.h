/*
 * rados_wait.h - one librados operation on its way, for the files that send
 * them: rados.c, rados_many.c.
 */
#ifndef CEPH_RADOS_WAIT_H
#define CEPH_RADOS_WAIT_H

#include "core/wake.h"

#include <rados/librados.h>

/* Lives until `finish` is called. */
struct rados_wait {
	struct job job;
	struct wake *waiter; /* NULL: nobody waits any more */
	int rc;
	uint64_t version;                        /* of the object */
	void (*finish)(struct rados_wait *wait); /* on the loop's thread */
};

/*
 * Gives the completion to submit the operation with, and counts it as one
 * under way. Every call is followed by one of rados_wait_submitted().
 */
rados_completion_t rados_wait_arm(
    struct rados_wait *wait, void (*finish)(struct rados_wait *wait));

/*
 * After submission with its result. A failure ends the wait like a failed
 * operation does, from the loop. `completion` NULL: the caller holds it.
 */
void rados_wait_submitted(
    struct rados_wait *wait, rados_completion_t completion, int rc);

#endif
