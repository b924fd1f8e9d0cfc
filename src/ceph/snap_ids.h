/*
 * snap_ids.h - the numbers by which a pool knows its snapshots. Monitors give
 * them out, which takes tens of milliseconds up to a second, however many are
 * asked for at the same time. So each pool has a stock of them.
 *
 * The rule that holds it together: a number is of use as long as no snapshot of
 * its image has a higher one, and one that is never used costs nothing. So the
 * stock may be thrown away at any time, and is at the end of the process.
 */
#ifndef CEPH_SNAP_IDS_H
#define CEPH_SNAP_IDS_H

#include "ceph/rados.h"

/* Embed it; `above` and `pool` are the caller's. */
struct snap_id_take {
	struct ceph_pool
	    *pool;      /* of the image's data, in any RADOS namespace */
	uint64_t above; /* the image's latest */
	uint64_t id;    /* the answer */

	/* private */
	struct wake *waiter;
	STAILQ_ENTRY(snap_id_take) link;
};

/*
 * Takes a number above `above` from the pool's stock, which is refilled in the
 * background; waits for the monitors only if it has none. Wakes with 0 or what
 * the monitors have answered. A pool of which nobody takes has no stock.
 */
void snap_id_take_start(struct snap_id_take *take, struct wake *waiter);

#define SNAP_IDS_MAX 64 /* of one pool's stock */

/* How many the stock of a pool has now. */
unsigned snap_ids_in_stock(const struct ceph_pool *pool);

#endif
