/*
 * part.c - a flattened clone and its parent part.
 */
#include "ceph/part.h"

#include <errno.h>
#include <string.h>

static enum op_verdict
image_part_step(struct op *op)
{
	struct image_part *p = (struct image_part *)op;
	char object[RBD_OBJECT_SIZE];
	struct err err = ERR_INIT;
	int rc;

	switch (p->state) {
	case PART_START:
		image_object(object, RBD_HEADER_PREFIX, p->image_id);
		rados_tell_start(p->pool, object, RADOS_EXISTS,
		    cls_call("parent_detach"), &op->wake);
		return op_await(p, PART_CHILD_LEFT);

	case PART_CHILD_LEFT:
		if (op->rc < 0 && op->rc != -ENOENT)
			return image_fail_rc(p, PART_END, op->rc, p->image_id,
			    "let it forget its parent");
		p->left = true;
		p->readers.pool = p->pool;
		p->readers.image_id = p->image_id;
		p->readers.record = p->record;
		readers_find_start(&p->readers, &op->wake);
		return op_await(p, PART_SEARCHED);

	case PART_SEARCHED:
		if (op->rc < 0)
			return op_fail_as(p, PART_END, readers.op);
		if (p->readers.reader[0] != '\0')
			return op_fail(p, PART_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: its parent is kept while %s is in use",
			    p->image_id, ceph_pool_label(p->pool),
			    p->readers.reader);
		rc = parent_pool_open(
		    p->pool->conn, p->parent, &p->parent_pool, &err);
		if (rc == -ENOENT)
			return op_goto(p, PART_END);
		if (rc < 0)
			return op_fail_err(p, PART_END, &err);
		parent_detach_start(
		    p->parent_pool, p->parent, p->pool, p->image_id, &op->wake);
		return op_await(p, PART_PARENT_LEFT);

	case PART_PARENT_LEFT:
		if (op->rc < 0 && op->rc != -ENOENT)
			return image_fail_rc(p, PART_END, op->rc, p->image_id,
			    "let its parent forget it");
		snapshot_reap_start(p->parent_pool, p->parent->id, &op->wake);
		return op_await(p, PART_REAPED);

	case PART_REAPED:
		return op_goto(p, PART_END);

	case PART_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_part_class = {
	.name = "image.part",
	.step = image_part_step,
};

void
image_part_start(struct image_part *part, struct wake *waiter)
{
	op_start(&part->op, &image_part_class, waiter);
}
