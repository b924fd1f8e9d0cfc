/*
 * qos.c - from what was asked for to the image's metadata.
 *
 * The rule that holds it together: inputs and effective values are written in
 * one operation, so that they never disagree; a call that was cut off is
 * repeated.
 */
#include "controller/qos.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void
take_stored(const struct image_meta_list *list, struct csi_qos *stored)
{
	*stored = (struct csi_qos){ .given = { NULL } };
	for (size_t i = 0; i < list->n; i++)
		csi_qos_take(stored, list->meta[i].key, list->meta[i].value);
}

const char *
qos_io_max(const struct image_meta_list *list, struct arena *arena)
{
	struct csi_qos stored;

	take_stored(list, &stored);
	return csi_qos_io_max(&stored, arena);
}

/* Starts the write of what the image lacks; false: it lacks nothing. */
static bool
write_missing(struct qos_store *q)
{
	struct csi_qos stored;
	struct csi_qos_meta entry[CSI_QOS_KEYS];
	struct cls_meta meta[CSI_QOS_KEYS];
	size_t n;

	take_stored(&q->list, &stored);
	n = csi_qos_diff(&stored, q->asked, q->size_bytes, q->arena, entry);
	for (size_t i = 0; i < n; i++)
		meta[i] = cls_meta_text(entry[i].key, entry[i].value);
	if (n > 0)
		image_meta_set_start(
		    q->pool, q->id, meta, n, NULL, &q->op.wake);
	return n > 0;
}

static enum op_verdict
qos_store_step(struct op *op)
{
	struct qos_store *q = (struct qos_store *)op;

	switch (q->state) {
	case QOS_START:
		image_meta_list_start(&q->list, q->pool, q->id, 0, &op->wake);
		return op_await(q, QOS_META_READ);

	case QOS_META_READ:
		if (op->rc < 0)
			return op_fail_as(q, QOS_END, list);
		return write_missing(q) ? op_await(q, QOS_STORED)
					: op_goto(q, QOS_END);

	case QOS_STORED:
		if (op->rc < 0)
			return op_fail_rc(q, QOS_END, op->rc,
			    "store the limits of image id %s in %s", q->id,
			    ceph_pool_label(q->pool));
		watch_header_update_start(
		    q->pool, q->id, &q->notified, &op->wake);
		return op_await(q, QOS_NOTIFIED);

	case QOS_NOTIFIED:
		return op_goto(q, QOS_END);

	case QOS_END:
		image_meta_list_fini(&q->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class qos_store_class = {
	.name = "qos.store",
	.step = qos_store_step,
};

void
qos_store_start(struct qos_store *store, struct ceph_pool *pool, const char *id,
    const struct csi_qos *asked, uint64_t size_bytes, struct arena *arena,
    struct wake *waiter)
{
	memset(store, 0, sizeof(*store));
	store->pool = pool;
	store->id = id;
	store->asked = asked;
	store->size_bytes = size_bytes;
	store->arena = arena;
	op_start(&store->op, &qos_store_class, waiter);
}
