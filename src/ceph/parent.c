/*
 * parent.c - depth of a clone; a parent's list of its clones.
 */
#include "ceph/parent.h"

#include <errno.h>
#include <string.h>

int
parent_pool_open(struct ceph_connection *conn, const struct cls_parent *parent,
    struct ceph_pool **pool, struct err *err)
{
	return ceph_pool_open_id(
	    conn, parent->pool, parent->rados_namespace, pool, err);
}

/* ---- depth ---- */

static void
parent_ask(struct parent_depth *p)
{
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_HEADER_PREFIX, p->at.id);
	p->read = rados_ask_start(
	    p->pool, object, cls_call("parent_get"), &p->op.wake);
}

static enum op_verdict
parent_depth_step(struct op *op)
{
	struct parent_depth *p = (struct parent_depth *)op;
	struct err err = ERR_INIT;
	struct dec d;
	int rc;

	switch (p->state) {
	case DEPTH_START:
		parent_ask(p);
		return op_await(p, DEPTH_READ);

	case DEPTH_READ:
		rc = rados_read_result(p->read, 0, &d);
		if (rc < 0)
			return image_fail_rc(
			    p, DEPTH_END, rc, p->at.id, "read its parent");
		if (cls_parse_parent(d, &p->at) < 0)
			return image_fail_rc(p, DEPTH_END, -EBADMSG, p->at.id,
			    "read its parent");
		rados_read_drop(&p->read);
		if (p->depth == 0)
			p->parent = p->at;
		if (p->at.pool < 0)
			return op_goto(p, DEPTH_END);
		if (++p->depth == PARENT_DEPTH_MAX)
			return op_goto(p, DEPTH_END);
		if (parent_pool_open(p->pool->conn, &p->at, &p->pool, &err) < 0)
			return op_fail_err(p, DEPTH_END, &err);
		parent_ask(p);
		return op_await(p, DEPTH_READ);

	case DEPTH_END:
		rados_read_drop(&p->read);
		return OP_DONE;
	}
	abort();
}

static const struct op_class parent_depth_class = {
	.name = "parent.depth",
	.step = parent_depth_step,
};

void
parent_depth_start(struct parent_depth *p, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter)
{
	memset(p, 0, sizeof(*p));
	p->pool = pool;
	if (str_put(p->at.id, sizeof(p->at.id), "%s", image_id) < 0)
		p->at.id[0] = '\0';
	op_start(&p->op, &parent_depth_class, waiter);
}

/* ---- clones, as their parent knows them ---- */

static void
child_tell_start(const char *method, struct ceph_pool *parent_pool,
    const struct cls_parent *parent, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter)
{
	struct cls_child child = { pool->id, pool->rados_namespace, image_id };
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_HEADER_PREFIX, parent->id);
	rados_tell_start(parent_pool, object, RADOS_EXISTS,
	    cls_child(method, parent->snap, &child), waiter);
}

void
parent_attach_start(struct ceph_pool *parent_pool,
    const struct cls_parent *parent, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter)
{
	child_tell_start(
	    "child_attach", parent_pool, parent, pool, image_id, waiter);
}

void
parent_detach_start(struct ceph_pool *parent_pool,
    const struct cls_parent *parent, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter)
{
	child_tell_start(
	    "child_detach", parent_pool, parent, pool, image_id, waiter);
}
