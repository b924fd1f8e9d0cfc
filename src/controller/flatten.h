/*
 * flatten.h - clones that are made independent of their parents in the
 * background: a bounded number at once, taken up again by the next worker from
 * notes in the pool, tried again later when something is in the way.
 */
#ifndef CONTROLLER_FLATTEN_H
#define CONTROLLER_FLATTEN_H

#include "ceph/connection.h"
#include "core/op.h"

#define FLATTENS_MAX 2 /* at once */

/* An image that is to be flattened; strings are the caller's for the call. */
struct flatten_target {
	struct ceph_pool *pool;
	const char *instance_id;
	const char *image_id, *image; /* the name is for people */
};

/* Has it flattened; one that is queued or running already is not taken twice. */
void flatten_submit(const struct flatten_target *target);

/* Embed it; zeroed is valid. */
struct flatten_wait {
	struct err err; /* when the wake has a failure */

	/* private */
	bool freed; /* waits until the parent has no snapshot for it any more */
	struct wake *waiter;
	LIST_ENTRY(flatten_wait) link;
};

/*
 * The same, and waits for it: until the image is no clone any more or, if
 * `freed`, until its parent has no snapshot for it either; FAILED_PRECONDITION:
 * that is kept for somebody who has the image, or a clone of it, open. A failure
 * is that of one try: it is tried again all the same, and who asks again waits
 * for the next try.
 */
void flatten_wait_start(struct flatten_wait *wait,
    const struct flatten_target *target, bool freed, struct wake *waiter);

/* Is it flattened, and its parent kept for somebody? */
bool flatten_is_held(const struct ceph_pool *pool, const char *image_id);

/*
 * Takes up the notes that an earlier worker has left in the pool; only the
 * first call for a pool and instance does anything.
 */
void flatten_resume(struct ceph_pool *pool, const char *instance_id);

struct flatten_counts {
	unsigned running;      /* or queued */
	unsigned waiting;      /* for another try, or until nobody reads */
	uint64_t done, failed; /* tries, since the worker has started */
};

void flatten_count(struct flatten_counts *counts);

/* Forgets what is queued. No operation may run. */
void flatten_fini(void);

#endif
