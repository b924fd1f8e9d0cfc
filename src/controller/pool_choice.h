/*
 * pool_choice.h - in which pool a new volume is to be made.
 */
#ifndef CONTROLLER_POOL_CHOICE_H
#define CONTROLLER_POOL_CHOICE_H

#include "ceph/journal.h"
#include "csi/rpc.h"

enum pool_choice_state {
	CHOICE_START = 0,
	CHOICE_NEXT,   /* not there: the next pool that fits */
	CHOICE_LOOKED, /* whether a pool knows the name */
	CHOICE_CHOSEN,
	CHOICE_END,
};

struct pool_choice {
	struct op op;
	enum pool_choice_state state;
	struct csi_rpc *rpc;
	size_t at; /* which pool that fits */
	struct journal_find find;

	/* the answer */
	const char *pool_name, *data_pool_name; /* NULL: no data pool */
	struct ceph_pool *pool, *data_pool;     /* data_pool may be NULL */
	Csi__V1__Topology *topology; /* NULL: the pool does not go by it */
};

/*
 * Of a CreateVolume: the StorageClass' pool, or one that fits the request's topology: the one
 * that knows the name of the volume already, since an earlier try may have
 * found another order of preference; else the best. A copy of a snapshot that
 * goes by topology stays in the snapshot's pool, as in ceph-csi. What is not
 * looked at is a pool that does not fit (any more).
 *
 * INVALID_ARGUMENT: a pool is not there. RESOURCE_EXHAUSTED: the snapshot's
 * pool does not fit.
 */
void pool_choice_start(
    struct pool_choice *choice, struct csi_rpc *rpc, struct wake *waiter);

#endif
