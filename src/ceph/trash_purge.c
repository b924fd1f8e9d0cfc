/*
 * trash_purge.c - removing an image's objects, its trash entry last.
 */
#include "ceph/trash.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static void
state_set_start(
    struct trash_purge *p, enum trash_state to, enum trash_state from)
{
	struct rados_write *w = rados_write_new();

	rados_write_call(w, cls_trash_state_set(p->id, to, from));
	rados_write_full_try(w);
	rados_write_start(w, p->pool, RBD_TRASH, &p->op);
}

static enum op_verdict
marked(struct trash_purge *p)
{
	switch (p->op.rc) {
	case 0:
		image_lookup_start(
		    &p->lookup, p->pool, NULL, p->id, true, &p->op);
		return op_await(p, PURGE_LOOKED_UP);
	case -ENOENT:
		return op_goto(p, PURGE_END);
	case -ESTALE:
		p->read = rados_read_new();
		(void)rados_read_call(p->read, cls_trash_get(p->id));
		rados_read_start(p->read, p->pool, RBD_TRASH, &p->op);
		return op_await(p, PURGE_ENTRY_READ);
	default:
		return op_fail_rc(p, PURGE_END, p->op.rc,
		    "image %s in %s: mark its trash entry", p->id,
		    ceph_pool_label(p->pool));
	}
}

static enum op_verdict
entry_read(struct trash_purge *p)
{
	struct cls_trash_entry entry = { .state = TRASH_NORMAL };
	struct dec d;
	int rc = rados_read_result(p->read, 0, &d);

	if (rc == 0)
		rc = cls_parse_trash(d, &entry);
	rados_read_free(p->read);
	p->read = NULL;
	if (rc == -ENOENT)
		return op_goto(p, PURGE_END);
	if (rc < 0)
		return op_fail_rc(p, PURGE_END, rc,
		    "image %s in %s: read its trash entry", p->id,
		    ceph_pool_label(p->pool));
	return op_fail(p, PURGE_END, ERR_FAILED_PRECONDITION,
	    "image %s in %s: is being %s the trash", p->id,
	    ceph_pool_label(p->pool),
	    entry.state == TRASH_MOVING ? "moved to" : "restored from");
}

/* Nothing is lost yet: whoever may purge it finds it as it was. */
static enum op_verdict
restore(struct trash_purge *p)
{
	state_set_start(p, TRASH_NORMAL, TRASH_REMOVING);
	return op_await(p, PURGE_RESTORED);
}

static enum op_verdict
header_remove(struct trash_purge *p)
{
	char object[RBD_OBJECT_SIZE];

	image_header_object(object, p->id);
	rados_remove_start(p->pool, object, &p->op);
	return op_await(p, PURGE_HEADER_REMOVED);
}

static enum op_verdict
looked_up(struct trash_purge *p)
{
	if (p->op.rc == -ENOENT) /* a purge that got that far */
		return header_remove(p);
	if (p->op.rc < 0)
		return op_fail_err(p, PURGE_END, &p->lookup.op.err);
	p->obstacle = image_obstacle(&p->lookup.info, true);
	if (p->obstacle != IMAGE_PLAIN) {
		op_set_error(&p->op, ERR_UNIMPLEMENTED,
		    "image %s in %s: not to be purged natively, %s", p->id,
		    ceph_pool_label(p->pool), image_obstacle_text(p->obstacle));
		return restore(p);
	}
	watch_header_update_start(p->pool, p->id, &p->notified, &p->op);
	return op_await(p, PURGE_WATCH_CHECKED);
}

/* Counts what it names: that is what has to be removed. */
static bool
data_name(void *arg, uint64_t i, char *buf, size_t size)
{
	struct trash_purge *p = arg;

	if (p->has_map && !cls_object_map_has(&p->map, i))
		return false;
	p->objects++;
	(void)snprintf(buf, size, "%s.%016llx", p->lookup.info.prefix,
	    (unsigned long long)i);
	return true;
}

static enum op_verdict
data_remove(struct trash_purge *p)
{
	const struct image_info *info = &p->lookup.info;
	struct rados_remove_many many = {
		.pool = p->pool,
		.count = layout_objects(&info->layout, info->size_bytes),
		.in_flight = p->in_flight,
		.name = data_name,
		.arg = p,
	};
	struct err err = ERR_INIT;

	if (info->data_pool >= 0 &&
	    ceph_pool_open_id(ceph_pool_connection(p->pool), info->data_pool,
		ceph_pool_namespace(p->pool), &many.pool, &err) < 0) {
		if (err.code == ERR_NOT_FOUND) /* and so are the data */
			return header_remove(p);
		return op_fail_err(p, PURGE_END, &err);
	}
	rados_remove_many_start(&many, &p->op);
	return op_await(p, PURGE_DATA_REMOVED);
}

/*
 * Writers mark an object in the map before they write to it, so one that a
 * valid map does not have is not there. A map that is too short is not valid,
 * whatever the flags say.
 */
static enum op_verdict
map_read(struct trash_purge *p)
{
	const struct image_info *info = &p->lookup.info;
	struct dec d;

	p->has_map = p->op.rc == 0 && rados_read_result(p->read, 0, &d) == 0 &&
	    cls_parse_object_map(d, &p->map) == 0 &&
	    p->map.objects >= layout_objects(&info->layout, info->size_bytes);
	return data_remove(p);
}

static enum op_verdict
map_read_start(struct trash_purge *p)
{
	const struct image_info *info = &p->lookup.info;
	char object[RBD_OBJECT_SIZE];

	if (!(info->features & RBD_OBJECT_MAP) ||
	    (info->flags & RBD_FLAG_OBJECT_MAP_INVALID))
		return data_remove(p);
	image_map_object(object, p->id);
	p->read = rados_read_new();
	(void)rados_read_call(p->read, cls_object_map_load());
	rados_read_start(p->read, p->pool, object, &p->op);
	return op_await(p, PURGE_MAP_READ);
}

static enum op_verdict
watch_checked(struct trash_purge *p)
{
	enum watch_verdict verdict;
	int rc = watch_judge(p->op.rc, &p->notified, &verdict);

	if (rc < 0)
		return op_fail_rc(p, PURGE_END, rc,
		    "image %s in %s: ask who has it open", p->id,
		    ceph_pool_label(p->pool));
	if (verdict != WATCH_NONE) {
		p->watched = true;
		op_set_error(&p->op, ERR_FAILED_PRECONDITION,
		    "image %s in %s: is in use, open at %u client(s)", p->id,
		    ceph_pool_label(p->pool),
		    p->notified.acks + p->notified.timeouts);
		return restore(p);
	}
	return map_read_start(p);
}

/* Judges the removal of one object and names the step that failed. */
static bool
removed(struct trash_purge *p, const char *what)
{
	if (p->op.rc == 0 || p->op.rc == -ENOENT)
		return true;
	op_set_error_rc(&p->op, p->op.rc, "image %s in %s: remove its %s",
	    p->id, ceph_pool_label(p->pool), what);
	return false;
}

static enum op_verdict
trash_purge_step(struct op *op)
{
	struct trash_purge *p = (struct trash_purge *)op;
	char object[RBD_OBJECT_SIZE];
	struct rados_write *w;

	switch (p->state) {
	case PURGE_START:
		state_set_start(p, TRASH_REMOVING, TRASH_NORMAL);
		return op_await(p, PURGE_MARKED);

	case PURGE_MARKED:
		return marked(p);
	case PURGE_ENTRY_READ:
		return entry_read(p);
	case PURGE_LOOKED_UP:
		return looked_up(p);
	case PURGE_WATCH_CHECKED:
		return watch_checked(p);

	case PURGE_MAP_READ:
		return map_read(p);

	case PURGE_DATA_REMOVED:
		if (!removed(p, "data"))
			return op_goto(p, PURGE_END);
		return header_remove(p);

	case PURGE_HEADER_REMOVED:
		if (!removed(p, "header"))
			return op_goto(p, PURGE_END);
		image_map_object(object, p->id);
		rados_remove_start(p->pool, object, op);
		return op_await(p, PURGE_MAP_REMOVED);

	case PURGE_MAP_REMOVED:
		if (!removed(p, "object map"))
			return op_goto(p, PURGE_END);
		w = rados_write_new();
		rados_write_call(w, cls_trash_remove(p->id));
		rados_write_full_try(w);
		rados_write_start(w, p->pool, RBD_TRASH, op);
		return op_await(p, PURGE_ENTRY_REMOVED);

	case PURGE_ENTRY_REMOVED:
		(void)removed(p, "trash entry");
		return op_goto(p, PURGE_END);

	case PURGE_RESTORED:
		(void)removed(p, "mark in the trash");
		return op_goto(p, PURGE_END);

	case PURGE_END:
		rados_read_free(p->read);
		return OP_DONE;
	}
	abort();
}

static const struct op_class trash_purge_class = {
	.name = "trash.purge",
	.step = trash_purge_step,
};

void
trash_purge_start(struct trash_purge *p, struct ceph_pool *pool, const char *id,
    unsigned in_flight, struct op *waiter)
{
	memset(p, 0, sizeof(*p));
	p->pool = pool;
	p->id = id;
	p->in_flight = in_flight;
	op_start_child(&p->op, &trash_purge_class, waiter);
}
