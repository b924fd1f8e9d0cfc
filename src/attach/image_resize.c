/*
 * image_resize.c - see image_resize.h.
 */
#include "attach/image_resize.h"

#include "base/log.h"
#include "ceph/rados.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

enum resize_state {
	RESIZE_START = 0,
	RESIZE_READ,
};

struct image_resize {
	struct op op;
	enum resize_state state;
	struct image *image;
	struct ceph_connection *conn;
	void (*resized)(const struct image *image);
	uint64_t ino; /* the slot may be another image's by then */
	struct rados_read *read;
	unsigned step;
};

static enum op_verdict
resize_start(struct image_resize *r)
{
	struct table_slot *slot = r->image->slot;
	char object[RBD_OBJECT_SIZE];
	struct ceph_pool *pool;
	struct err err = ERR_INIT;

	/* It is open: no wait. */
	if (image_pool_open(r->conn, slot, &pool, &err) < 0) {
		op_set_err(&r->op, &err);
		return OP_DONE;
	}
	(void)snprintf(
	    object, sizeof(object), RBD_HEADER_PREFIX "%s", slot->image_id);
	r->read = rados_read_new();
	r->step = rados_read_call(
	    r->read, cls_call_u64("get_size", RBD_NOSNAP));
	rados_read_start(r->read, pool, object, &r->op.wake);
	return op_await(r, RESIZE_READ);
}

static enum op_verdict
resize_read(struct image_resize *r)
{
	struct table_slot *slot = r->image->slot;
	uint64_t size = 0, old = atomic_load(&slot->size_bytes);
	uint8_t order;
	struct dec dec;
	int rc = r->op.rc;

	if (rc == 0)
		rc = rados_read_result(r->read, r->step, &dec);
	if (rc == 0)
		rc = cls_parse_size(dec, &order, &size);
	if (rc < 0) {
		op_set_error_rc(&r->op, rc, "size of image %s", slot->image);
		return OP_DONE;
	}
	if (r->image->state != IMAGE_SERVED || slot->ino != r->ino ||
	    size == old)
		return OP_DONE;
	atomic_store(&slot->size_bytes, size);
	log_info("image.resized", "image=%s from=%" PRIu64 " to=%" PRIu64,
	    slot->image, old, size);
	r->resized(r->image);
	return OP_DONE;
}

static enum op_verdict
resize_step(struct op *op)
{
	struct image_resize *r = (struct image_resize *)op;

	switch (r->state) {
	case RESIZE_START:
		return resize_start(r);
	case RESIZE_READ:
		return resize_read(r);
	}
	abort();
}

static void
resize_end(struct op *op)
{
	struct image_resize *r = (struct image_resize *)op;
	struct image *image = r->image;

	if (op->err.rc < 0)
		log_warn("image.resize", "image=%s text=\"%s\"",
		    image->slot->image, op->err.text);
	image->resizing = false;
	if (image->state == IMAGE_SERVED && image->slot->ino == r->ino)
		image_note_refusal(image, op->err.rc);
	if (image->resize_again && image->state == IMAGE_SERVED)
		image_resize_begin(image, r->conn, r->resized);
	rados_read_free(r->read);
	free(r);
}

static const struct op_class resize_class = {
	.name = "attach.resize",
	.step = resize_step,
	.end = resize_end,
};

void
image_resize_begin(struct image *image, struct ceph_connection *conn,
    void (*resized)(const struct image *image))
{
	struct image_resize *r;

	image->resize_again = image->resizing;
	if (image->resizing)
		return;
	image->resizing = true;
	r = mem_new(sizeof(*r));
	r->image = image;
	r->conn = conn;
	r->resized = resized;
	r->ino = image->slot->ino;
	r->op.subject = image->slot->image;
	op_start(&r->op, &resize_class, NULL);
}
