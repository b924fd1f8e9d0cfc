/*
 * snap_ids.c - stocks of snapshot ids.
 */
#include "ceph/snap_ids.h"

#include <errno.h>
#include <string.h>

#define STOCK_FIRST 8 /* what a pool begins with: four snapshots of CSI */

/* One id on its way from the monitors. */
struct id_order {
	struct wake wake;
	struct id_stock *stock;
	uint64_t id;
};

struct id_stock {
	struct ceph_pool *pool;
	unsigned size;             /* how many it is to have */
	unsigned n;                /* how many it has … */
	unsigned ordered;          /* … and gets */
	uint64_t id[SNAP_IDS_MAX]; /* ascending */
	STAILQ_HEAD(, snap_id_take) waiting;
};

static void on_id(struct wake *wake, int rc);

/* As many as are waited for, and some more when few are left. */
static void
stock_order(struct id_stock *s)
{
	const struct snap_id_take *take;
	unsigned want = s->n + s->ordered < s->size / 2 + 1 ? s->size - s->n
							    : 0;

	STAILQ_FOREACH (take, &s->waiting, link)
		want++;
	while (s->ordered < want) {
		struct id_order *order = mem_new(sizeof(*order));

		order->stock = s;
		order->wake.fn = on_id;
		s->ordered++;
		rados_snap_id_start(s->pool, &order->id, false, &order->wake);
	}
}

static void
on_id(struct wake *wake, int rc)
{
	struct id_order *order = container_of(wake, struct id_order, wake);
	struct id_stock *s = order->stock;
	struct snap_id_take *take = STAILQ_FIRST(&s->waiting);
	unsigned at = s->n;

	s->ordered--;
	if (take != NULL && (rc < 0 || order->id > take->above)) {
		STAILQ_REMOVE_HEAD(&s->waiting, link);
		take->id = order->id;
		wake_up(take->waiter, rc);
	} else if (rc == 0 && s->n < SNAP_IDS_MAX) {
		/* Those that come together may come in any order. */
		for (; at > 0 && s->id[at - 1] > order->id; at--)
			s->id[at] = s->id[at - 1];
		s->id[at] = order->id;
		s->n++;
	}
	free(order);
	if (!STAILQ_EMPTY(&s->waiting))
		stock_order(s);
}

/* The stock is that of the pool, whatever the RADOS namespace. */
static int
stock_of(struct ceph_pool *pool, struct id_stock **stock)
{
	struct err err = ERR_INIT;
	int rc = ceph_pool_open_id(pool->conn, pool->id, NULL, &pool, &err);
	struct id_stock *s;

	if (rc < 0)
		return rc;
	if (pool->snap_ids == NULL) {
		pool->snap_ids = s = mem_new(sizeof(*s));
		s->pool = pool;
		s->size = STOCK_FIRST;
		STAILQ_INIT(&s->waiting);
	}
	*stock = pool->snap_ids;
	return 0;
}

unsigned
snap_ids_in_stock(const struct ceph_pool *pool)
{
	struct ceph_pool *plain;
	struct err err = ERR_INIT;
	const struct id_stock *s;

	if (ceph_pool_open_id(pool->conn, pool->id, NULL, &plain, &err) < 0)
		return 0;
	s = plain->snap_ids;
	return s != NULL ? s->n : 0;
}

void
snap_id_take_start(struct snap_id_take *take, struct wake *waiter)
{
	struct id_stock *s;
	unsigned old = 0;
	int rc = stock_of(take->pool, &s);

	take->waiter = waiter;
	if (rc < 0) {
		wake_up(waiter, rc);
		return;
	}
	/* What this image cannot have any more is too old to keep. */
	while (old < s->n && s->id[old] <= take->above)
		old++;
	if (old < s->n && STAILQ_EMPTY(&s->waiting)) {
		take->id = s->id[old++];
		wake_up(waiter, 0);
	} else {
		/* So many are needed at a time. */
		if (s->ordered > 0 && s->size < SNAP_IDS_MAX)
			s->size *= 2;
		STAILQ_INSERT_TAIL(&s->waiting, take, link);
	}
	s->n -= old;
	memmove(s->id, s->id + old, s->n * sizeof(s->id[0]));
	stock_order(s);
}
