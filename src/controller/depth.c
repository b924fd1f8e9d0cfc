/*
 * depth.c - the limits, and whom to flatten.
 */
#include "controller/depth.h"

#include "ceph/image.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * How much deeper than the image that is looked at a copy gets: the clone of a
 * snapshot by one, what is made of a volume by up to three.
 */
#define DEEPER_SNAPSHOT 1
#define DEEPER_VOLUME 3

/* So many clones are begun to be flattened in advance for one copy. */
#define ADVANCE_MAX 16

/* As ceph-csi has it: only a limit that is above three is lowered by three. */
static unsigned
limit_for(const struct depth_check *c, unsigned limit)
{
	if (c->is_snapshot)
		return limit > 0 ? limit - DEEPER_SNAPSHOT : 0;
	return limit > DEEPER_VOLUME ? limit - DEEPER_VOLUME : limit;
}

static void
aim(struct depth_check *c, struct ceph_pool *pool, const char *id,
    const char *image)
{
	c->target = (struct flatten_target){ .pool = pool,
		.instance_id = c->env->instance_id,
		.image_id = arena_strdup(c->arena, id),
		.image = image };
}

/* Asks what an image is called; -ENOENT: it is in the trash, or gone. */
static void
name_read_start(struct depth_check *c, struct ceph_pool *pool, const char *id)
{
	rados_read_drop(&c->read);
	c->target.pool = pool;
	c->read = rados_ask_start(
	    pool, RBD_DIRECTORY, cls_call_str("dir_get_name", id), &c->op.wake);
}

/* Chooses the one whose name was read. */
static void
aim_named(struct depth_check *c, const char *id)
{
	char name[RBD_NAME_SIZE];

	(void)rados_read_str(c->read, 0, name, sizeof(name));
	aim(c, c->target.pool, id, arena_strdup(c->arena, name));
}

/*
 * Asks which clones the next snapshots have, the oldest first, of those that
 * are there for a clone only: of others clones are being made, or are a user's.
 * False: there are no more.
 */
static bool
page_ask(struct depth_check *c)
{
	char object[RBD_OBJECT_SIZE];

	rados_read_drop(&c->page);
	c->page = rados_read_new();
	c->answers = c->answer = 0;
	for (; c->at > 0 && c->answers < RADOS_READ_STEPS; c->at--) {
		const struct cls_snapshot *snap = &c->snaps.snap[c->at - 1];

		if (snap->kind != SNAP_TRASH || snap->children == 0)
			continue;
		(void)rados_read_call(
		    c->page, cls_call_u64("children_list", snap->id));
		rados_read_may_fail(c->page); /* it has gone meanwhile */
		c->answers++;
	}
	if (c->answers == 0)
		return false;
	image_object(object, RBD_HEADER_PREFIX, c->info->id);
	rados_read_start(c->page, c->pool, object, &c->op.wake);
	return true;
}

/* The next clone that the page has, in c->child; false: no more. */
static bool
next_child(struct depth_check *c)
{
	for (;;) {
		while (c->left == 0) {
			if (c->answer == c->answers)
				return false;
			if (rados_read_result(
				c->page, c->answer++, &c->children) < 0 ||
			    cls_parse_children(&c->children, &c->left) < 0)
				c->left = 0;
		}
		c->left--;
		if (cls_parse_child(&c->children, &c->child) == 0)
			return true;
		c->left = 0;
	}
}

static enum op_verdict
depth_check_step(struct op *op)
{
	struct depth_check *c = (struct depth_check *)op;
	const struct cls_parent *parent = &c->info->parent;
	unsigned depth = c->above.depth + (c->is_snapshot ? 1 : 0);
	unsigned max = c->env->snapshots_max, min = c->env->snapshots_min;
	struct ceph_pool *pool;
	struct err err = ERR_INIT;

	switch (c->state) {
	case DEPTHCHECK_START:
		if (parent->pool < 0)
			return op_goto(c, DEPTHCHECK_COUNT);
		if (parent_pool_open(
			c->pool->conn, parent, &c->parent_pool, &err) < 0)
			return op_fail_err(c, DEPTHCHECK_END, &err);
		parent_depth_start(
		    &c->above, c->parent_pool, parent->id, &op->wake);
		return op_await(c, DEPTHCHECK_KNOWN);

	case DEPTHCHECK_KNOWN:
		if (op->rc < 0)
			return op_fail_as(c, DEPTHCHECK_END, above.op);
		if (depth < limit_for(c, c->env->depth_hard) &&
		    depth < limit_for(c, c->env->depth_soft))
			return op_goto(c, DEPTHCHECK_COUNT);
		if (c->is_snapshot)
			return op_goto(c, DEPTHCHECK_NAMED);
		name_read_start(c, c->parent_pool, parent->id);
		return op_await(c, DEPTHCHECK_NAMED);

	case DEPTHCHECK_NAMED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(c, DEPTHCHECK_END, op->rc,
			    "look for the name of the parent of image %s in %s",
			    c->image, ceph_pool_label(c->pool));
		/*
		 * A CSI snapshot is flattened itself; for a volume, which may
		 * be in use, its parent. A parent in the trash is there only
		 * for what hangs on it, and goes when the volume is flattened;
		 * but one that is in use and has clones cannot be.
		 */
		if (!c->is_snapshot && op->rc == 0)
			aim_named(c, parent->id);
		else if (!c->is_snapshot && c->info->snaps > 0)
			aim(c, c->parent_pool, parent->id,
			    arena_strdup(c->arena, parent->id));
		else
			aim(c, c->pool, c->info->id, c->image);
		op->rc = 0;
		if (depth < limit_for(c, c->env->depth_hard)) {
			flatten_submit(&c->target);
			return op_goto(c, DEPTHCHECK_COUNT);
		}
		flatten_wait_start(&c->wait, &c->target, false, &op->wake);
		return op_await(c, DEPTHCHECK_COUNT);

	case DEPTHCHECK_COUNT:
		if (op->rc < 0)
			return op_fail_as(c, DEPTHCHECK_END, wait);
		if (c->is_snapshot || c->info->snaps <= min)
			return op_goto(c, DEPTHCHECK_END);
		c->wanted = c->info->snaps - min;
		if (c->wanted > ADVANCE_MAX)
			c->wanted = ADVANCE_MAX;
		if (c->info->snaps > max)
			c->needed = c->info->snaps - max;
		if (c->wanted < c->needed)
			c->wanted = c->needed;
		snapshot_list_start(&c->snaps, c->pool, c->info->id, &op->wake);
		return op_await(c, DEPTHCHECK_LISTED);

	case DEPTHCHECK_LISTED:
		if (op->rc < 0)
			return op_fail_as(c, DEPTHCHECK_END, snaps.op);
		c->at = c->snaps.n;
		return op_goto(c, DEPTHCHECK_NEXT);

	case DEPTHCHECK_NEXT:
		if (!page_ask(c))
			return op_goto(c, DEPTHCHECK_CHOSEN);
		return op_await(c, DEPTHCHECK_LOOKED_AT);

	case DEPTHCHECK_LOOKED_AT:
		if (op->rc < 0)
			return op_fail_rc(c, DEPTHCHECK_END, op->rc,
			    "list the clones of image %s in %s", c->image,
			    ceph_pool_label(c->pool));
		return op_goto(c, DEPTHCHECK_CHILD);

	case DEPTHCHECK_CHILD:
		if (c->chosen == c->wanted)
			return op_goto(c, DEPTHCHECK_CHOSEN);
		if (!next_child(c))
			return op_goto(c, DEPTHCHECK_NEXT);
		/* The clones of a pool that is gone are gone with it. */
		if (ceph_pool_open_id(c->pool->conn, c->child.pool,
			c->child.rados_namespace, &pool, &err) < 0)
			return op_goto(c, DEPTHCHECK_CHILD);
		name_read_start(c, pool, c->child.id);
		return op_await(c, DEPTHCHECK_CHILD_NAMED);

	case DEPTHCHECK_CHILD_NAMED:
		/* Only clones of it need it still; or it is done, and in use. */
		if (op->rc == -ENOENT ||
		    flatten_is_held(c->target.pool, c->child.id))
			return op_goto(c, DEPTHCHECK_CHILD);
		if (op->rc < 0)
			return op_fail_rc(c, DEPTHCHECK_END, op->rc,
			    "look for the names of clones of image %s in %s",
			    c->image, ceph_pool_label(c->pool));
		aim_named(c, c->child.id);
		if (++c->chosen == c->needed) {
			flatten_wait_start(
			    &c->wait, &c->target, true, &op->wake);
			return op_await(c, DEPTHCHECK_FREED);
		}
		flatten_submit(&c->target);
		return op_goto(c, DEPTHCHECK_CHILD);

	case DEPTHCHECK_CHOSEN:
		if (c->chosen < c->needed)
			return op_fail(c, DEPTHCHECK_END,
			    ERR_RESOURCE_EXHAUSTED,
			    "image %s in %s: has %u snapshots, more than the %u of --maxsnapshotsonimage, and clones of only %u can be flattened, those in use left out",
			    c->image, ceph_pool_label(c->pool), c->info->snaps,
			    max, c->chosen);
		return op_goto(c, DEPTHCHECK_END);

	case DEPTHCHECK_FREED:
		/* In use: another one may not be. */
		if (c->wait.err.code == ERR_FAILED_PRECONDITION)
			c->chosen--;
		else if (op->rc < 0)
			return op_fail_as(c, DEPTHCHECK_END, wait);
		return op_goto(c, DEPTHCHECK_CHILD);

	case DEPTHCHECK_END:
		rados_read_drop(&c->read);
		rados_read_drop(&c->page);
		snapshot_list_fini(&c->snaps);
		return OP_DONE;
	}
	abort();
}

static const struct op_class depth_check_class = {
	.name = "depth",
	.step = depth_check_step,
};

void
depth_check_start(struct depth_check *check, struct wake *waiter)
{
	op_start(&check->op, &depth_check_class, waiter);
}
