/*
 * pool_validate.h - once for each pool: makes sure that it can hold images'
 * data, and records that in rbd_info as librbd does.
 */
#ifndef CEPH_POOL_VALIDATE_H
#define CEPH_POOL_VALIDATE_H

#include "ceph/rados_aio.h"

enum pool_validate_state {
	VALIDATE_START = 0,
	VALIDATE_READ,         /* rbd_info has answered */
	VALIDATE_SNAP_MADE,    /* a self-managed snapshot id was allocated */
	VALIDATE_WRITTEN,      /* rbd_info says "validate" */
	VALIDATE_SNAP_REMOVED, /* the snapshot id was given back */
	VALIDATE_OVERWRITTEN,  /* rbd_info says "overwrite validated" */
	VALIDATE_END,
};

struct pool_validate {
	struct op op;
	enum pool_validate_state state;
	struct ceph_pool *pool;      /* where the data will be */
	struct ceph_pool *info_pool; /* its default namespace */
	struct rados_read *read;
	uint64_t snap;
};

/*
 * Returns at once (woken by the loop) for a pool known to be fit, after one
 * read for one that is marked, and after two writes and two rounds to the
 * monitors for a fresh one, which also switches the pool to self-managed
 * snapshots. FAILED_PRECONDITION: an erasure coded pool that does not allow
 * overwrites.
 */
void pool_validate_start(struct pool_validate *validate, struct ceph_pool *pool,
    struct wake *waiter);

#endif
