/*
 * image_size.c - see image_size.h.
 *
 * librbd reads an image's header again before the first request after it was
 * told of a change; but a request that lies beyond the size that it knows is
 * refused before that, so that one alone would be refused for ever. So nobody
 * may see a larger file before librbd has been through a request that has no
 * place, a flush, and reads the last bytes.
 */
#include "attach/image_size.h"

#include "ceph/cls_rbd.h"

#include <errno.h>
#include <stdio.h>

#define TRIES_MAX 3

static bool
is_served(const struct image_size *s)
{
	return s->io->ready && s->io->rbd != NULL && s->slot->ino == s->ino;
}

static enum op_verdict
size_step(struct op *op)
{
	struct image_size *s = (struct image_size *)op;
	struct table_slot *slot = s->slot;
	char object[RBD_OBJECT_SIZE];
	struct dec dec;
	uint8_t order;
	int rc = op->rc;

	if (s->state != SIZE_START && s->state != SIZE_END && !is_served(s))
		return op_fail(s, SIZE_END, ERR_CANCELLED,
		    "its size: it is not served any more");
	switch (s->state) {
	case SIZE_START:
		image_object(object, RBD_HEADER_PREFIX, slot->image_id);
		s->read = rados_ask_start(s->pool, object,
		    cls_call_u64("get_size", RBD_NOSNAP), &op->wake);
		return op_await(s, SIZE_READ);

	case SIZE_READ:
		if (rc == 0)
			rc = rados_read_result(s->read, 0, &dec);
		if (rc == 0)
			rc = cls_parse_size(dec, &order, &s->size_bytes);
		if (rc < 0)
			return op_fail_rc(
			    s, SIZE_END, rc, "size of image %s", slot->image);
		return s->size_bytes <= atomic_load(&slot->size_bytes)
		    ? op_goto(s, SIZE_END)
		    : op_goto(s, SIZE_FLUSH);

	case SIZE_FLUSH:
		image_io_flush_start(s->io, &op->wake);
		return op_await(s, SIZE_FLUSHED);

	case SIZE_FLUSHED:
		if (rc < 0)
			return op_fail_rc(s, SIZE_END, rc,
			    "flush image %s for its new size", slot->image);
		image_io_read_start(s->io, s->size_bytes - IMAGE_SIZE_PROBE,
		    s->last, sizeof(s->last), &op->wake);
		return op_await(s, SIZE_PROBED);

	case SIZE_PROBED:
		/* What else may be wrong the I/O of its user is told. */
		if (rc != -EINVAL)
			return op_goto(s, SIZE_END);
		if (++s->tries > TRIES_MAX)
			return op_fail(s, SIZE_END, ERR_UNAVAILABLE,
			    "image %s: librbd does not take over its size of %llu bytes",
			    slot->image, (unsigned long long)s->size_bytes);
		/* It hears of it later, or who has changed it did not tell. */
		watch_header_update_start(
		    s->pool, slot->image_id, &s->notified, &op->wake);
		return op_await(s, SIZE_TOLD);

	case SIZE_TOLD:
		return op_goto(s, SIZE_FLUSH);

	case SIZE_END:
		return OP_DONE;
	}
	abort();
}

static void
size_end(struct op *op)
{
	rados_read_free(((struct image_size *)op)->read);
}

static const struct op_class size_class = {
	.name = "image.size",
	.step = size_step,
	.end = size_end,
};

void
image_size_start(struct image_size *size, struct image_io *io,
    struct table_slot *slot, struct ceph_pool *pool, struct wake *waiter)
{
	size->io = io;
	size->slot = slot;
	size->ino = slot->ino;
	size->pool = pool;
	op_start(&size->op, &size_class, waiter);
}
