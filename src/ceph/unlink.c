/*
 * unlink.c - an image in the trash lets go of others, if none holds it.
 */
#include "ceph/unlink.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/*
 * The snapshot that ceph-csi makes of an image that is nothing but a snapshot,
 * or the helper of a clone: it has the image's name, or the clone's.
 */
static bool
is_own(const struct image_unlink *u, const struct cls_snapshot *snap)
{
	size_t len = strlen(snap->name);

	return snap->kind == SNAP_USER && snap->children == 0 &&
	    u->name != NULL && str_starts(u->name, snap->name) &&
	    (u->name[len] == '\0' ||
		str_eq(u->name + len, IMAGE_HELPER_SUFFIX));
}

/* The object maps of its snapshots, one after the other. */
static bool
next_map(void *arg, char *buf, size_t size)
{
	struct image_unlink *u = arg;

	(void)size; /* of any object of an image */
	if (u->maps == u->list.n)
		return false;
	image_map_object(buf, u->info->id, u->list.snap[u->maps++].id);
	return true;
}

static void
maps_remove_start(struct image_unlink *u)
{
	struct rados_remove_many many = {
		.pool = u->pool,
		.until_ms = INT64_MAX,
		.next = next_map,
		.arg = u,
	};

	u->maps = u->info->features & RBD_OBJECT_MAP ? 0 : u->list.n;
	rados_remove_many_start(&many, &u->op.wake);
}

static void held_by(struct image_unlink *u, const char *fmt, ...)
    printf_like(2, 3);

static void
held_by(struct image_unlink *u, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(u->held_by, sizeof(u->held_by), fmt, ap);
	va_end(ap);
	op_set_error(&u->op, ERR_FAILED_PRECONDITION,
	    "image id %s in %s: %s has to go before it", u->info->id,
	    ceph_pool_label(u->pool), u->held_by);
}

/* The first clone of a snapshot. */
static int
take_clone(struct image_unlink *u)
{
	struct err err = ERR_INIT;
	struct cls_parent clone;
	struct dec d;
	int rc = rados_read_result(u->read, 0, &d);

	if (rc == 0)
		rc = cls_parse_first_child(d, &clone);
	if (rc < 0)
		return rc;
	memcpy(u->clone_id, clone.id, sizeof(u->clone_id));
	return parent_pool_open(u->pool->conn, &clone, &u->clone_pool, &err);
}

enum hold { HOLD_NONE, HOLD_CLONE, HOLD_SNAPSHOT, HOLD_OWN };

/* What holds it: a snapshot with a clone, one that is somebody's, or its own. */
static enum hold
hold_of(const struct image_unlink *u, const struct cls_snapshot **by)
{
	const struct cls_snapshot *snap;
	enum hold hold = HOLD_NONE;

	for (size_t i = 0; i < u->list.n; i++) {
		snap = &u->list.snap[i];
		if (snap->children == 0 && snap->kind == SNAP_TRASH)
			continue;
		*by = snap;
		if (snap->children > 0)
			return HOLD_CLONE;
		if (!is_own(u, snap))
			return HOLD_SNAPSHOT;
		hold = HOLD_OWN;
	}
	return hold;
}

static enum op_verdict
image_unlink_step(struct op *op)
{
	struct image_unlink *u = (struct image_unlink *)op;
	struct cls_trash_entry entry;
	const struct cls_snapshot *snap = NULL;
	char name[RBD_NAME_SIZE], object[RBD_OBJECT_SIZE];
	struct err err = ERR_INIT;
	struct dec d;
	auto_free uint64_t *ids = NULL;
	int rc = op->rc;

	switch (u->state) {
	case UNLINK_START:
		if (u->info->snaps == 0)
			return op_goto(u, UNLINK_JUDGED);
		snapshot_list_start(&u->list, u->pool, u->info->id, &op->wake);
		return op_await(u, UNLINK_LISTED);

	case UNLINK_LISTED:
		if (rc < 0 && rc != -ENOENT)
			return op_fail_as(u, UNLINK_END, list.op);
		image_object(object, RBD_HEADER_PREFIX, u->info->id);
		switch (hold_of(u, &snap)) {
		case HOLD_NONE:
			return op_goto(u, UNLINK_JUDGED);
		case HOLD_CLONE:
			u->read = rados_ask_start(u->pool, object,
			    cls_call_u64("children_list", snap->id), &op->wake);
			return op_await(u, UNLINK_CLONE_READ);
		case HOLD_SNAPSHOT:
			held_by(u, "its snapshot %s", snap->name);
			return op_goto(u, UNLINK_END);
		case HOLD_OWN:
			/* from now on nobody can make a clone of it */
			rados_tell_start(u->pool, object, RADOS_EXISTS,
			    cls_call_u64("snapshot_trash_add", snap->id),
			    &op->wake);
			return op_await(u, UNLINK_OWN_TRASHED);
		}
		abort();

	case UNLINK_CLONE_READ:
		if (rc == 0)
			rc = take_clone(u);
		rados_read_drop(&u->read);
		if (rc < 0) {
			held_by(u, "its clone, of which nothing is known,");
			return op_goto(u, UNLINK_END);
		}
		u->read = rados_ask_start(u->clone_pool, RBD_DIRECTORY,
		    cls_call_str("dir_get_name", u->clone_id), &op->wake);
		return op_await(u, UNLINK_CLONE_NAMED);

	case UNLINK_CLONE_NAMED:
		rc = rados_read_str(u->read, 0, name, sizeof(name));
		rados_read_drop(&u->read);
		if (rc == 0) {
			held_by(u, "its clone %s/%s",
			    ceph_pool_name(u->clone_pool), name);
			return op_goto(u, UNLINK_END);
		}
		u->read = rados_ask_start(u->clone_pool, RBD_TRASH,
		    cls_call_str("trash_get", u->clone_id), &op->wake);
		return op_await(u, UNLINK_CLONE_TRASHED);

	case UNLINK_CLONE_TRASHED:
		rc = rados_read_result(u->read, 0, &d);
		if (rc == 0)
			rc = cls_parse_trash(d, &entry);
		held_by(u, "its clone %s/%s (%s)",
		    ceph_pool_name(u->clone_pool),
		    rc == 0 ? entry.name : u->clone_id,
		    rc == 0 ? "in the trash" : "an image id");
		return op_goto(u, UNLINK_END);

	case UNLINK_OWN_TRASHED:
		if (rc < 0 && rc != -EEXIST && rc != -ENOENT)
			return image_fail_rc(u, UNLINK_END, rc, u->info->id,
			    "move its own snapshot to its trash");
		/* it may have got a clone in between */
		snapshot_list_fini(&u->list);
		snapshot_list_start(&u->list, u->pool, u->info->id, &op->wake);
		return op_await(u, UNLINK_LISTED);

	case UNLINK_JUDGED:
		if (u->check)
			return op_goto(u, UNLINK_END);
		if (u->list.n == 0)
			return op_goto(u, UNLINK_IDS_RETURNED);
		rc = image_data_pool_open(
		    u->pool, u->info, &u->data_pool, &err);
		if (rc == -ENOENT) /* with all that it had */
			return op_goto(u, UNLINK_IDS_RETURNED);
		if (rc < 0)
			return op_fail_err(u, UNLINK_END, &err);
		ids = mem_new(u->list.n * sizeof(*ids));
		for (size_t i = 0; i < u->list.n; i++)
			ids[i] = u->list.snap[i].id;
		rados_snap_ids_return_start(
		    u->data_pool, ids, u->list.n, &op->wake);
		return op_await(u, UNLINK_IDS_RETURNED);

	case UNLINK_IDS_RETURNED:
		if (u->list.n > 0 && rc < 0 && rc != -ENOENT)
			return op_fail_rc(u, UNLINK_END, rc,
			    "give snapshot ids of %s back",
			    ceph_pool_label(u->pool));
		if (u->list.n == 0)
			return op_goto(u, UNLINK_MAPS_GONE);
		maps_remove_start(u);
		return op_await(u, UNLINK_MAPS_GONE);

	case UNLINK_MAPS_GONE:
		if (u->list.n > 0 && rc < 0)
			return image_fail_rc(u, UNLINK_END, rc, u->info->id,
			    "remove the object maps of its snapshots");
		if (u->info->parent.pool < 0)
			return op_goto(u, UNLINK_END);
		rc = parent_pool_open(
		    u->pool->conn, &u->info->parent, &u->parent_pool, &err);
		if (rc == -ENOENT)
			return op_goto(u, UNLINK_END);
		if (rc < 0)
			return op_fail_err(u, UNLINK_END, &err);
		parent_detach_start(u->parent_pool, &u->info->parent, u->pool,
		    u->info->id, &op->wake);
		return op_await(u, UNLINK_DETACHED);

	case UNLINK_DETACHED:
		if (rc < 0 && rc != -ENOENT)
			return image_fail_rc(u, UNLINK_END, rc, u->info->id,
			    "let its parent forget it");
		/* Waited for: once the clone is forgotten nothing leads there. */
		snapshot_reap_start(
		    u->parent_pool, u->info->parent.id, &op->wake);
		return op_await(u, UNLINK_PARENT_REAPED);

	case UNLINK_PARENT_REAPED:
		return op_goto(u, UNLINK_END);

	case UNLINK_END:
		rados_read_drop(&u->read);
		snapshot_list_fini(&u->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_unlink_class = {
	.name = "image.unlink",
	.step = image_unlink_step,
};

void
image_unlink_start(struct image_unlink *unlink, struct wake *waiter)
{
	op_start(&unlink->op, &image_unlink_class, waiter);
}
