/*
 * trash_purge.c - removing an image's objects, its trash entry last.
 *
 * The rule that holds it together: progress counts only while the entry is
 * REMOVING, from which nobody can restore the image and write to it anew.
 */
#include "ceph/trash.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Images with fewer objects are removed object by object without asking. */
#define LIST_FROM 4096
/* To remove an object that is not there costs as much as to list so many. */
#define LIST_WORTH 20
/* Objects of the pool in one slice. */
#define LIST_SLICE 4096
#define LIST_SLICES_MAX 65536

static void
entry_read_start(struct trash_purge *p)
{
	p->read = rados_read_new();
	(void)rados_read_call(p->read, cls_trash_get(p->id));
	rados_read_start(p->read, p->pool, RBD_TRASH, &p->op.wake);
}

static void
state_set_start(
    struct trash_purge *p, enum trash_state to, enum trash_state from)
{
	struct rados_write *w = rados_write_new();

	rados_write_call(w, cls_trash_state_set(p->id, to, from));
	rados_write_start(w, p->pool, RBD_TRASH, &p->op.wake);
}

static enum op_verdict
marked(struct trash_purge *p)
{
	switch (p->op.rc) {
	case 0:
		image_lookup_start(
		    &p->lookup, p->pool, NULL, p->id, true, &p->op.wake);
		return op_await(p, PURGE_LOOKED_UP);
	case -ENOENT:
		return op_goto(p, PURGE_END);
	case -ESTALE:
		entry_read_start(p);
		return op_await(p, PURGE_ENTRY_READ);
	default:
		return op_fail_rc(p, PURGE_END, p->op.rc,
		    "image %s in %s: mark its trash entry", p->id,
		    ceph_pool_label(p->pool));
	}
}

static int
take_entry(struct trash_purge *p, struct cls_trash_entry *entry)
{
	struct dec d;
	int rc = rados_read_result(p->read, 0, &d);

	if (rc == 0)
		rc = cls_parse_trash(d, entry);
	rados_read_free(p->read);
	p->read = NULL;
	if (rc < 0 && rc != -ENOENT)
		op_set_error_rc(&p->op, rc,
		    "image %s in %s: read its trash entry", p->id,
		    ceph_pool_label(p->pool));
	return rc;
}

/* The image went to the trash some time ago: is that what lies there now? */
static enum op_verdict
entry_checked(struct trash_purge *p)
{
	struct cls_trash_entry entry = { .state = TRASH_NORMAL };

	if (take_entry(p, &entry) < 0)
		return op_goto(p, PURGE_END);
	if (!str_eq(entry.name, p->name)) {
		p->foreign = true;
		return op_goto(p, PURGE_END);
	}
	if (trash_is_deferred(&entry))
		return op_fail(p, PURGE_END, ERR_FAILED_PRECONDITION,
		    "image %s in %s: the trash keeps it until %lld s since "
		    "1970, as somebody has asked",
		    p->id, ceph_pool_label(p->pool),
		    (long long)entry.deferred_until.tv_sec);
	if (entry.state != TRASH_REMOVING)
		p->at = (struct trash_progress){ 0 };
	state_set_start(p, TRASH_REMOVING, TRASH_NORMAL);
	return op_await(p, PURGE_MARKED);
}

static enum op_verdict
entry_read(struct trash_purge *p)
{
	struct cls_trash_entry entry = { .state = TRASH_NORMAL };

	if (take_entry(p, &entry) < 0)
		return op_goto(p, PURGE_END);
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
	rados_remove_start(p->pool, object, &p->op.wake);
	return op_await(p, PURGE_HEADER_REMOVED);
}

/*
 * A clone's parent has to be told, which librbd does; but it would remove each
 * object that there can be. So a large one is emptied before.
 */
static bool
is_emptied(const struct trash_purge *p)
{
	return p->obstacle == IMAGE_HAS_PARENT && p->list != NULL &&
	    p->count > LIST_FROM && !(p->lookup.info.features & RBD_OBJECT_MAP);
}

static enum op_verdict
data_end(struct trash_purge *p)
{
	char object[RBD_OBJECT_SIZE];
	struct rados_write *w;

	if (p->obstacle == IMAGE_PLAIN)
		return header_remove(p);
	image_header_object(object, p->id);
	w = rados_write_new();
	rados_write_assert_exists(w);
	rados_write_call(w, cls_set_size(0));
	rados_write_start(w, p->pool, object, &p->op.wake);
	return op_await(p, PURGE_EMPTIED);
}

static enum op_verdict
looked_up(struct trash_purge *p)
{
	if (p->op.rc == -ENOENT) /* a purge that got that far */
		return header_remove(p);
	if (p->op.rc < 0)
		return op_fail_err(p, PURGE_END, &p->lookup.op.err);
	p->obstacle = image_obstacle(&p->lookup.info, true);
	p->count = layout_objects(
	    &p->lookup.info.layout, p->lookup.info.size_bytes);
	if (p->obstacle != IMAGE_PLAIN && !is_emptied(p)) {
		op_set_error(&p->op, ERR_UNIMPLEMENTED,
		    "image %s in %s: not to be purged natively, %s", p->id,
		    ceph_pool_label(p->pool), image_obstacle_text(p->obstacle));
		return restore(p);
	}
	watch_header_update_start(p->pool, p->id, &p->notified, &p->op.wake);
	return op_await(p, PURGE_WATCH_CHECKED);
}

/* ---- data objects ---- */

/* The next one by its number: all there can be, or those of the map. */
static bool
next_by_number(void *arg, char *buf, size_t size)
{
	struct trash_purge *p = arg;

	if (p->has_map)
		p->at.done = cls_object_map_next(&p->map, p->at.done);
	if (p->at.done >= p->count)
		return false;
	p->objects++;
	(void)snprintf(
	    buf, size, "%s.%016" PRIx64, p->lookup.info.prefix, p->at.done++);
	return true;
}

static bool
next_listed(void *arg, char *buf, size_t size)
{
	struct trash_purge *p = arg;

	if (p->taken == p->list->n)
		return false;
	p->objects++;
	(void)snprintf(buf, size, "%s.%016" PRIx64, p->lookup.info.prefix,
	    p->list->object[p->taken++]);
	return true;
}

static enum op_verdict
data_remove(struct trash_purge *p)
{
	struct rados_remove_many many = {
		.pool = p->data_pool,
		.in_flight = p->in_flight,
		.until_ms = p->until_ms,
		.next = p->at.slices > 0 ? next_listed : next_by_number,
		.arg = p,
	};

	p->taken = 0;
	rados_remove_many_start(&many, &p->op.wake);
	return op_await(p, PURGE_DATA_REMOVED);
}

static void
list_drop(struct trash_purge *p)
{
	if (p->list == NULL)
		return;
	free(p->list->object);
	p->list->object = NULL;
	p->list->n = 0;
}

static enum op_verdict
list_start(struct trash_purge *p, enum trash_purge_state next)
{
	p->list->pool = p->data_pool;
	p->list->prefix = p->lookup.info.prefix;
	p->list->slice = (uint32_t)p->at.done;
	p->list->slices = p->at.slices;
	list_drop(p);
	p->list->start(p->list, &p->op.wake);
	return op_await(p, next);
}

static enum op_verdict
data_begin(struct trash_purge *p)
{
	const struct image_info *info = &p->lookup.info;
	struct err err = ERR_INIT;

	p->until_ms = clock_now_ms() + p->slice_ms;
	p->data_pool = p->pool;
	if (info->data_pool >= 0 &&
	    ceph_pool_open_id(ceph_pool_connection(p->pool), info->data_pool,
		ceph_pool_namespace(p->pool), &p->data_pool, &err) < 0) {
		if (err.code == ERR_NOT_FOUND) /* and so are the data */
			return data_end(p);
		return op_fail_err(p, PURGE_END, &err);
	}
	if (p->has_map || p->list == NULL || p->count <= LIST_FROM) {
		if (p->at.slices > 0) /* it was listed when there was no map */
			p->at = (struct trash_progress){ 0 };
		return data_remove(p);
	}
	if (p->at.slices > 0)
		return list_start(p, PURGE_LISTED);
	return p->at.done > 0 ? data_remove(p)
			      : list_start(p, PURGE_POOL_ASKED);
}

static enum op_verdict
pool_asked(struct trash_purge *p)
{
	uint64_t there = p->list->pool_objects;

	if (p->op.rc < 0) /* it is only that it takes longer */
		there = UINT64_MAX;
	if (there / LIST_WORTH >= p->count)
		return data_remove(p);
	there = there / LIST_SLICE + 1;
	p->at.slices = there < LIST_SLICES_MAX ? (uint32_t)there
					       : LIST_SLICES_MAX;
	return list_start(p, PURGE_LISTED);
}

/* Of these, or of this slice, all are gone, or the time is over. */
static enum op_verdict
data_removed(struct trash_purge *p)
{
	bool late = clock_now_ms() >= p->until_ms;

	if (p->at.slices == 0) {
		p->more = p->has_map
		    ? cls_object_map_next(&p->map, p->at.done) < p->count
		    : p->at.done < p->count;
	} else {
		if (p->taken == p->list->n && !p->list->more)
			p->at.done++;
		p->more = p->at.done < p->at.slices;
		if (p->more && !late)
			return list_start(p, PURGE_LISTED);
	}
	return p->more ? op_goto(p, PURGE_END) : data_end(p);
}

/*
 * Writers mark an object in the map before they write to it, so one that a
 * valid map does not have is not there. A map that is too short is not valid,
 * whatever the flags say.
 */
static enum op_verdict
map_read(struct trash_purge *p)
{
	struct dec d;

	p->has_map = p->op.rc == 0 && rados_read_result(p->read, 0, &d) == 0 &&
	    cls_parse_object_map(d, &p->map) == 0 && p->map.objects >= p->count;
	return data_begin(p);
}

static enum op_verdict
map_read_start(struct trash_purge *p)
{
	const struct image_info *info = &p->lookup.info;
	char object[RBD_OBJECT_SIZE];

	if (!(info->features & RBD_OBJECT_MAP) ||
	    (info->flags & RBD_FLAG_OBJECT_MAP_INVALID))
		return data_begin(p);
	image_map_object(object, p->id);
	p->read = rados_read_new();
	(void)rados_read_call(p->read, cls_object_map_load());
	rados_read_start(p->read, p->pool, object, &p->op.wake);
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
		if (p->name != NULL) {
			entry_read_start(p);
			return op_await(p, PURGE_ENTRY_CHECKED);
		}
		state_set_start(p, TRASH_REMOVING, TRASH_NORMAL);
		return op_await(p, PURGE_MARKED);

	case PURGE_ENTRY_CHECKED:
		return entry_checked(p);
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

	case PURGE_POOL_ASKED:
		return pool_asked(p);

	case PURGE_LISTED:
		if (op->rc < 0)
			return op_fail_rc(p, PURGE_END, op->rc,
			    "image %s in %s: list its data", p->id,
			    ceph_pool_label(p->pool));
		return data_remove(p);

	case PURGE_DATA_REMOVED:
		if (!removed(p, "data"))
			return op_goto(p, PURGE_END);
		return data_removed(p);

	case PURGE_EMPTIED:
		if (removed(p, "size"))
			op_set_error(op, ERR_UNIMPLEMENTED,
			    "image %s in %s: not to be purged natively, %s",
			    p->id, ceph_pool_label(p->pool),
			    image_obstacle_text(p->obstacle));
		return restore(p);

	case PURGE_HEADER_REMOVED:
		if (!removed(p, "header"))
			return op_goto(p, PURGE_END);
		image_map_object(object, p->id);
		rados_remove_start(p->pool, object, &op->wake);
		return op_await(p, PURGE_MAP_REMOVED);

	case PURGE_MAP_REMOVED:
		if (!removed(p, "object map"))
			return op_goto(p, PURGE_END);
		w = rados_write_new();
		rados_write_call(w, cls_trash_remove(p->id));
		rados_write_start(w, p->pool, RBD_TRASH, &op->wake);
		return op_await(p, PURGE_ENTRY_REMOVED);

	case PURGE_ENTRY_REMOVED:
		(void)removed(p, "trash entry");
		return op_goto(p, PURGE_END);

	case PURGE_RESTORED:
		(void)removed(p, "mark in the trash");
		return op_goto(p, PURGE_END);

	case PURGE_END:
		rados_read_free(p->read);
		p->read = NULL;
		list_drop(p);
		return OP_DONE;
	}
	abort();
}

static const struct op_class trash_purge_class = {
	.name = "trash.purge",
	.step = trash_purge_step,
};

void
trash_purge_start(struct trash_purge *p, const struct trash_purge_spec *spec,
    struct wake *waiter)
{
	memset(p, 0, sizeof(*p));
	p->pool = spec->pool;
	p->id = spec->id;
	p->name = spec->name;
	p->in_flight = spec->in_flight;
	p->slice_ms = spec->slice_ms;
	p->at = spec->at;
	p->list = spec->list;
	op_start(&p->op, &trash_purge_class, waiter);
}
