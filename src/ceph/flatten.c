/*
 * flatten.c - copying what a clone shows of its parents, some objects at a
 * time.
 */
#include "ceph/flatten.h"

#include "base/clock.h"
#include "core/timer.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 4096 /* zeros of this size are not copied */

/* One above the clone; what is not in it may be in the next. */
struct flatten_level {
	struct cls_parent spec;
	struct ceph_pool *pool;
	struct ceph_pool *data; /* at the snapshot; ours */
	uint64_t overlap;       /* bytes of it that the clone shows */
	char prefix[RBD_PREFIX_SIZE];
};

/* An object on its way. */
struct flatten_copy {
	struct wake wake;
	struct flatten_work *w;
	uint64_t object;
	bool own;                /* it is looked for in the clone, first */
	unsigned level;          /* where it is looked for then */
	struct rados_read *read; /* NULL: there is nothing to copy */
};

struct flatten_work {
	struct image_flatten *f;
	struct image_lookup clone, above;
	struct ceph_pool *data_pool;
	struct snapshot_list snapshots; /* of the clone */
	struct flatten_level level[FLATTEN_CHAIN_MAX];
	unsigned nlevels;
	struct cls_parent next; /* the one above those, and its overlap */
	uint64_t overlap;
	int64_t until_ms;
	struct timer again;
	unsigned purge_ms; /* so long it seems to be purged */

	struct rados_read *read;
	struct rados_notified notified;
	struct rados_read *map_read; /* has `map` */
	struct cls_object_map map;
	bool has_map;
	uint64_t map_version; /* of the clone's object map; ours alone */

	struct flatten_copy copy[FLATTEN_IN_FLIGHT_MAX];
	unsigned ncopies, busy;
	unsigned marking; /* the copy from which on objects are to be marked */
	size_t marked;    /* in how many maps that is done */
	int rc;           /* the first failure */
};

static void
work_free(struct flatten_work *w)
{
	for (unsigned i = 0; i < w->nlevels; i++)
		ceph_pool_close_snapshot(w->level[i].data);
	for (unsigned i = 0; i < w->ncopies; i++)
		rados_read_drop(&w->copy[i].read);
	rados_read_drop(&w->read);
	rados_read_drop(&w->map_read);
	snapshot_list_fini(&w->snapshots);
	free(w);
}

/* ---- what it shows ---- */

/* How much the image and each of its snapshots show of a parent. */
static void
overlaps_ask(struct image_flatten *f, struct ceph_pool *pool, const char *id,
    const uint64_t *snap, size_t n)
{
	struct rados_read *r = f->work->read = rados_read_new();
	char object[RBD_OBJECT_SIZE];

	for (size_t i = 0; i < n; i++)
		(void)rados_read_call(
		    r, cls_call_u64("parent_overlap_get", snap[i]));
	image_object(object, RBD_HEADER_PREFIX, id);
	rados_read_start(r, pool, object, &f->op.wake);
}

static int
overlap_take(struct flatten_work *w, unsigned step, uint64_t *overlap)
{
	struct dec d;
	int rc = rados_read_result(w->read, step, &d);

	return rc < 0 ? rc : cls_parse_overlap(d, overlap);
}

/*
 * Not for us to do. librbd frees the parent's snapshot at once, whoever may
 * read it through clones of the image: so there must be none.
 */
static enum op_verdict
flatten_refuse_step(struct image_flatten *f)
{
	struct flatten_work *w = f->work;
	const char *why = image_obstacle_text(f->obstacle);

	switch ((int)f->state) {
	case FLATTEN_REFUSE:
		if (w->clone.info.snaps == 0)
			return image_fail_obstacle(f, FLATTEN_END, f->image_id);
		snapshot_list_fini(&w->snapshots);
		snapshot_list_start(
		    &w->snapshots, f->pool, f->image_id, &f->op.wake);
		return op_await(f, FLATTEN_CLONES_LISTED);

	default:
		if (f->op.rc < 0) {
			f->obstacle = IMAGE_PLAIN;
			return op_fail_as(f, FLATTEN_END, work->snapshots.op);
		}
		for (size_t i = 0; i < w->snapshots.n; i++) {
			if (w->snapshots.snap[i].children == 0)
				continue;
			f->obstacle = IMAGE_PLAIN;
			return op_fail(f, FLATTEN_END, ERR_FAILED_PRECONDITION,
			    "image %s in %s: only librbd can flatten it, %s, and its clones would lose what they show of its parent",
			    f->image_id, ceph_pool_label(f->pool), why);
		}
		return image_fail_obstacle(f, FLATTEN_END, f->image_id);
	}
}

/* Its data are read as they were at the snapshot. */
static int
level_open(struct flatten_work *w, struct err *err)
{
	struct flatten_level *level = &w->level[w->nlevels];
	const struct image_info *info = &w->above.info;
	struct ceph_pool *data;
	int rc = image_data_pool_open(level->pool, info, &data, err);

	if (rc == 0)
		rc = ceph_pool_open_snapshot(
		    data, level->spec.snap, &level->data, err);
	memcpy(level->prefix, info->prefix, sizeof(level->prefix));
	if (rc == 0)
		w->nlevels++;
	return rc;
}

/* Its slice of time is over, and there is more to do. */
static bool
is_over(struct image_flatten *f)
{
	f->more = f->at < f->count && clock_now_ms() >= f->work->until_ms;
	return f->more;
}

/* ---- is it being purged? ---- */

#define AGAIN_MS 200

static void
on_again(struct timer *timer)
{
	wake_up(
	    &container_of(timer, struct flatten_work, again)->f->op.wake, 0);
}

static void
parent_ask(struct image_flatten *f)
{
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_HEADER_PREFIX, f->image_id);
	f->work->read = rados_ask_start(
	    f->pool, object, cls_call("parent_get"), &f->op.wake);
}

static bool
next_doubt(void *arg, char *buf, size_t size)
{
	struct flatten_doubt *d = arg;

	if (d->n == 0)
		return false;
	(void)snprintf(
	    buf, size, "%s.%016" PRIx64, d->prefix, d->object[--d->n]);
	return true;
}

/*
 * Before anything is copied, and after each copy: a purge marks the trash entry
 * before it removes the first object. If there is no such mark, and then the
 * header is still there, all that was copied is there for a later one to
 * remove. Else it may have come behind a purge, which shows when the header is
 * gone; until then it may not be removed, for the purge may be refused, and
 * somebody else may have relied on what was copied.
 */
static enum op_verdict
flatten_purge_step(struct image_flatten *f)
{
	struct flatten_work *w = f->work;
	struct cls_trash_entry entry = { .state = TRASH_NORMAL };
	struct rados_remove_many many;
	struct dec d;
	int rc;

	switch ((int)f->state) {
	case FLATTEN_TRASH_ASK:
		w->read = rados_ask_start(f->pool, RBD_TRASH,
		    cls_call_str("trash_get", f->image_id), &f->op.wake);
		return op_await(f, FLATTEN_TRASH_READ);

	case FLATTEN_TRASH_READ:
		rc = rados_read_result(w->read, 0, &d);
		if (rc == 0)
			rc = cls_parse_trash(d, &entry);
		rados_read_drop(&w->read);
		if (rc < 0 && rc != -ENOENT)
			return image_fail_rc(f, FLATTEN_END, rc, f->image_id,
			    "look for it in the trash");
		if (entry.state == TRASH_REMOVING &&
		    w->purge_ms >= FLATTEN_PURGE_MS)
			return image_fail(f, FLATTEN_END, ERR_ABORTED,
			    f->image_id, "it is being purged");
		if (entry.state == TRASH_REMOVING) {
			w->purge_ms += AGAIN_MS;
			w->again.fire = on_again;
			timer_arm(&w->again, AGAIN_MS);
			return op_await(f, FLATTEN_TRASH_ASK);
		}
		w->purge_ms = 0;
		if (w->nlevels > 0) {
			parent_ask(f);
			return op_await(f, FLATTEN_STANDS);
		}
		image_lookup_start(
		    &w->clone, f->pool, NULL, f->image_id, true, &f->op.wake);
		return op_await(f, FLATTEN_LOOKED_UP);

	case FLATTEN_STANDS:
		rados_read_drop(&w->read);
		if (f->op.rc == -ENOENT)
			return op_goto(f, FLATTEN_TAKE_BACK);
		if (f->op.rc < 0)
			return image_fail_rc(f, FLATTEN_END, f->op.rc,
			    f->image_id, "look whether it is there still");
		f->doubt.n = 0;
		return is_over(f) ? op_goto(f, FLATTEN_END)
				  : op_goto(f, FLATTEN_COPY);

	case FLATTEN_TAKE_BACK:
		/* The header is gone: nothing leads to the last copies. */
		many = (struct rados_remove_many){
			.pool = f->doubt.data_pool,
			.until_ms = INT64_MAX,
			.next = next_doubt,
			.arg = &f->doubt,
		};
		if (f->doubt.n == 0)
			return op_goto(f, FLATTEN_TAKEN_BACK);
		rados_remove_many_start(&many, &f->op.wake);
		return op_await(f, FLATTEN_TAKEN_BACK);

	case FLATTEN_TAKEN_BACK:
		if (f->op.rc < 0 && f->op.rc != -ENOENT)
			return image_fail_rc(f, FLATTEN_END, f->op.rc,
			    f->image_id, "remove what was copied into it");
		return image_fail_rc(
		    f, FLATTEN_END, -ENOENT, f->image_id, "flatten it");

	default:
		return OP_DONE;
	}
}

static enum op_verdict
flatten_look_step(struct image_flatten *f)
{
	struct flatten_work *w = f->work;
	struct flatten_level *level;
	uint64_t overlap = 0, other;
	enum watch_verdict verdict;
	struct err err = ERR_INIT;
	int rc;

	switch ((int)f->state) {
	case FLATTEN_LOOKED_UP:
		if (f->op.rc == -ENOENT)
			return op_goto(f, FLATTEN_TAKE_BACK);
		if (f->op.rc < 0)
			return op_fail_as(f, FLATTEN_END, work->clone.op);
		f->doubt.n = 0;
		if (w->clone.info.parent.pool < 0)
			return op_goto(f, FLATTEN_END);
		f->was = w->clone.info.parent;
		f->obstacle = image_obstacle_in_place(&w->clone.info);
		if (f->obstacle == IMAGE_PLAIN &&
		    ((w->clone.info.snaps > 0 &&
			 !(w->clone.info.features & RBD_DEEP_FLATTEN)) ||
			w->clone.info.snaps > RADOS_READ_STEPS - 1))
			f->obstacle = IMAGE_HAS_SNAPSHOTS;
		if (f->obstacle != IMAGE_PLAIN)
			return op_goto(f, FLATTEN_REFUSE);
		if (image_data_pool_open(
			f->pool, &w->clone.info, &w->data_pool, &err) < 0)
			return op_fail_err(f, FLATTEN_END, &err);
		watch_header_update_start(
		    f->pool, f->image_id, &w->notified, &f->op.wake);
		return op_await(f, FLATTEN_UNWATCHED);

	case FLATTEN_UNWATCHED:
		rc = watch_judge(f->op.rc, &w->notified, &verdict);
		if (rc < 0)
			return image_fail_rc(f, FLATTEN_END, rc, f->image_id,
			    "ask who has it open");
		if (verdict != WATCH_NONE) {
			f->obstacle = IMAGE_WATCHED;
			return op_goto(f, FLATTEN_REFUSE);
		}
		snapshot_list_start(
		    &w->snapshots, f->pool, f->image_id, &f->op.wake);
		return op_await(f, FLATTEN_LISTED);

	case FLATTEN_LISTED: {
		uint64_t snaps[RADOS_READ_STEPS] = { RBD_NOSNAP };

		if (f->op.rc < 0)
			return op_fail_as(f, FLATTEN_END, work->snapshots.op);
		for (size_t i = 0; i < w->snapshots.n; i++)
			snaps[i + 1] = w->snapshots.snap[i].id;
		overlaps_ask(
		    f, f->pool, f->image_id, snaps, w->snapshots.n + 1);
		return op_await(f, FLATTEN_SHOWN);
	}

	case FLATTEN_SHOWN:
		rc = overlap_take(w, 0, &overlap);
		for (unsigned i = 1; rc == 0 && i <= w->snapshots.n; i++) {
			rc = overlap_take(w, i, &other);
			if (rc == 0 && other != overlap)
				f->obstacle = IMAGE_HAS_SNAPSHOTS;
		}
		rados_read_drop(&w->read);
		if (rc < 0)
			return image_fail_rc(f, FLATTEN_END, rc, f->image_id,
			    "read what it shows of its parent");
		if (f->obstacle != IMAGE_PLAIN)
			return op_goto(f, FLATTEN_REFUSE);
		f->count = layout_objects(&w->clone.info.layout, overlap);
		w->next = w->clone.info.parent;
		w->overlap = overlap;
		return op_goto(f, FLATTEN_CLIMB);

	case FLATTEN_CLIMB:
		if (w->nlevels == FLATTEN_CHAIN_MAX) {
			f->obstacle = IMAGE_UNLIKE;
			return op_goto(f, FLATTEN_REFUSE);
		}
		level = &w->level[w->nlevels];
		level->spec = w->next;
		level->overlap = w->overlap;
		if (parent_pool_open(
			f->pool->conn, &level->spec, &level->pool, &err) < 0)
			return op_fail_err(f, FLATTEN_END, &err);
		image_lookup_start(&w->above, level->pool, NULL, level->spec.id,
		    false, &f->op.wake);
		return op_await(f, FLATTEN_UP);

	case FLATTEN_UP:
		if (f->op.rc < 0)
			return op_fail_as(f, FLATTEN_END, work->above.op);
		if (w->above.info.layout.order != w->clone.info.layout.order ||
		    layout_is_striped(&w->above.info.layout) ||
		    layout_is_striped(&w->clone.info.layout)) {
			f->obstacle = IMAGE_UNLIKE;
			return op_goto(f, FLATTEN_REFUSE);
		}
		level = &w->level[w->nlevels];
		if (level_open(w, &err) < 0)
			return op_fail_err(f, FLATTEN_END, &err);
		if (w->above.info.parent.pool < 0)
			return op_goto(f, FLATTEN_TOP);
		overlaps_ask(
		    f, level->pool, level->spec.id, &level->spec.snap, 1);
		return op_await(f, FLATTEN_UP_SHOWN);

	case FLATTEN_UP_SHOWN:
		rc = overlap_take(w, 0, &overlap);
		rados_read_drop(&w->read);
		level = &w->level[w->nlevels - 1];
		if (rc < 0)
			return image_fail_rc(f, FLATTEN_END, rc, level->spec.id,
			    "read what it shows of its parent");
		if (overlap > level->overlap)
			overlap = level->overlap;
		w->next = w->above.info.parent;
		w->overlap = overlap;
		return overlap > 0 ? op_goto(f, FLATTEN_CLIMB)
				   : op_goto(f, FLATTEN_TOP);

	default:
		return OP_DONE;
	}
}

/* ---- copying ---- */

static void
copy_end(struct flatten_copy *c, int rc)
{
	struct flatten_work *w = c->w;

	if (rc < 0 && w->rc == 0)
		w->rc = rc;
	if (--w->busy == 0)
		wake_up(&w->f->op.wake, w->rc);
}

/* Looks for it in the clone, or on its level. */
static void
copy_look(struct flatten_copy *c)
{
	struct flatten_work *w = c->w;
	uint8_t order = w->clone.info.layout.order;
	uint64_t from = c->object << order, len = 1ull << order;
	const struct flatten_level *level = &w->level[c->level];
	char object[RBD_OBJECT_SIZE];

	if (c->own) {
		c->read = rados_read_new();
		(void)rados_read_data(c->read, 0, 1);
		(void)snprintf(object, sizeof(object), "%s.%016" PRIx64,
		    w->clone.info.prefix, c->object);
		rados_read_start(c->read, w->data_pool, object, &c->wake);
		return;
	}
	if (c->level == w->nlevels || from >= level->overlap) {
		copy_end(c, 0);
		return;
	}
	if (len > level->overlap - from)
		len = level->overlap - from;
	c->read = rados_read_new();
	(void)rados_read_data(c->read, 0, len);
	(void)snprintf(
	    object, sizeof(object), "%s.%016" PRIx64, level->prefix, c->object);
	rados_read_start(c->read, level->data, object, &c->wake);
}

static bool
is_zero(const unsigned char *bytes, size_t len)
{
	return len == 0 ||
	    (bytes[0] == 0 && memcmp(bytes, bytes + 1, len - 1) == 0);
}

static void
on_looked(struct wake *wake, int rc)
{
	struct flatten_copy *c = container_of(wake, struct flatten_copy, wake);
	const struct flatten_work *w = c->w;
	struct dec d;
	bool hides;

	/*
	 * Zeros that hide what is further up are copied, too: whoever still
	 * looks there when the parent's snapshot is gone finds them here.
	 */
	hides = c->level + 1 < w->nlevels &&
	    c->object << w->clone.info.layout.order <
		w->level[c->level + 1].overlap;
	dec_init(&d, "", 0);
	if (rc == 0 && !c->own)
		rc = rados_read_result(c->read, 0, &d);
	if (c->own || rc < 0 || (is_zero(d.at, dec_left(&d)) && !hides))
		rados_read_drop(&c->read);
	if (rc == -ENOENT) {
		if (c->own)
			c->own = false;
		else
			c->level++;
		copy_look(c);
		return;
	}
	copy_end(c, rc);
}

static void
on_copied(struct wake *wake, int rc)
{
	copy_end(container_of(wake, struct flatten_copy, wake), rc);
}

/* All but zeros; the last block in any case, for the object's size. */
static void
copy_write(struct flatten_copy *c)
{
	struct flatten_work *w = c->w;
	struct cls_extent *extent;
	char object[RBD_OBJECT_SIZE];
	size_t n = 0, len;
	struct dec d;

	(void)rados_read_result(c->read, 0, &d);
	len = dec_left(&d);
	extent = mem_new((len / BLOCK + 1) * sizeof(*extent));
	for (size_t at = 0; at < len; at += BLOCK) {
		size_t bytes = len - at < BLOCK ? len - at : BLOCK;

		if (at + bytes < len && is_zero(d.at + at, bytes))
			continue;
		if (n > 0 && extent[n - 1].offset + extent[n - 1].len == at)
			extent[n - 1].len += bytes;
		else
			extent[n++] = (struct cls_extent){ at, bytes };
	}
	(void)snprintf(object, sizeof(object), "%s.%016" PRIx64,
	    w->clone.info.prefix, c->object);
	c->wake.fn = on_copied;
	rados_tell_start(w->data_pool, object, RADOS_ANY,
	    cls_sparse_copyup(extent, n, (const char *)d.at), &c->wake);
	rados_read_drop(&c->read);
	free(extent);
}

/*
 * Takes the next ones; false: there are none. The object map has what was
 * written and also what somebody who was cut off was about to copy, so it only
 * tells where looking at the clone first pays.
 */
static bool
copies_choose(struct image_flatten *f)
{
	struct flatten_work *w = f->work;

	w->ncopies = w->marking = 0;
	w->rc = 0;
	for (; w->ncopies < f->in_flight && f->at < f->count; f->at++)
		w->copy[w->ncopies++] = (struct flatten_copy){
			.wake.fn = on_looked,
			.w = w,
			.object = f->at,
			.own = w->has_map && cls_object_map_has(&w->map, f->at),
		};
	return w->ncopies > 0;
}

/*
 * The object maps have an object before it is there: that of the oldest
 * snapshot, of the others, in which it is as in that, and of the image. Nobody else may have written to the image's: whoever takes the lock
 * takes the map's as well.
 */
static bool
mark_more(struct image_flatten *f)
{
	struct flatten_work *w = f->work;
	size_t maps = w->snapshots.n + 1;
	unsigned from = w->marking, to;
	char object[RBD_OBJECT_SIZE];
	struct rados_write *write;

	while (from < w->ncopies && w->copy[from].read == NULL)
		from++;
	if (!w->has_map || from == w->ncopies)
		return false;
	for (to = from + 1; to < w->ncopies && w->copy[to].read != NULL &&
	     w->copy[to].object == w->copy[to - 1].object + 1;
	     to++)
		;
	write = rados_write_new(RADOS_EXISTS);
	rados_write_call(write,
	    cls_object_map_exist(w->copy[from].object,
		w->copy[to - 1].object + 1,
		w->marked > 0 && w->marked + 1 < maps));
	if (w->marked + 1 == maps) {
		image_object(object, RBD_OBJECT_MAP_PREFIX, f->image_id);
		rados_write_version_expect(write, w->map_version);
		rados_write_version_tell(write, &w->map_version);
		w->marking = to;
		w->marked = 0;
	} else {
		image_map_object(object, f->image_id,
		    w->snapshots.snap[maps - 2 - w->marked].id);
		w->marked++;
	}
	rados_write_start(write, f->pool, object, &f->op.wake);
	return true;
}

static bool
has_copies(const struct flatten_work *w)
{
	for (unsigned i = 0; i < w->ncopies; i++)
		if (w->copy[i].read != NULL)
			return true;
	return false;
}

/*
 * What was read of the parent counts only if the image has it still afterwards:
 * if another worker has flattened it, the parent's snapshot may have been freed.
 */
static enum op_verdict
flatten_copy_step(struct image_flatten *f)
{
	struct flatten_work *w = f->work;
	struct cls_parent parent = { .pool = -1 };
	struct op *op = &f->op;
	struct dec d;
	int rc;

	switch ((int)f->state) {
	case FLATTEN_TOP:
		w->map_read = image_map_read_start(
		    f->pool, &w->clone.info, RBD_NOSNAP, &op->wake);
		return w->map_read != NULL ? op_await(f, FLATTEN_MAP_READ)
					   : op_goto(f, FLATTEN_COPY);

	case FLATTEN_MAP_READ:
		w->has_map = image_map_take(
		    w->map_read, &w->clone.info, &w->map);
		w->map_version = rados_read_version(w->map_read);
		return op_goto(f, FLATTEN_COPY);

	case FLATTEN_COPY:
		if (!copies_choose(f)) {
			f->parent = w->level[0].spec;
			return op_goto(f, FLATTEN_END);
		}
		w->busy = w->ncopies + 1;
		for (unsigned i = 0; i < w->ncopies; i++)
			copy_look(&w->copy[i]);
		copy_end(&w->copy[0], 0);
		return op_await(f, FLATTEN_READ);

	case FLATTEN_READ:
		if (op->rc < 0)
			return image_fail_rc(f, FLATTEN_END, op->rc,
			    f->image_id, "read its parent");
		if (!has_copies(w))
			return is_over(f) ? op_goto(f, FLATTEN_END)
					  : op_goto(f, FLATTEN_COPY);
		parent_ask(f);
		return op_await(f, FLATTEN_CONFIRMED);

	case FLATTEN_CONFIRMED:
		rc = rados_read_result(w->read, 0, &d);
		if (rc == 0)
			rc = cls_parse_parent(d, &parent);
		rados_read_drop(&w->read);
		if (rc < 0)
			return image_fail_rc(f, FLATTEN_END, rc, f->image_id,
			    "look whether it is a clone still");
		if (parent.pool < 0)
			return op_goto(f, FLATTEN_END);
		return mark_more(f) ? op_await(f, FLATTEN_MARKED)
				    : op_goto(f, FLATTEN_MARKED);

	case FLATTEN_MARKED:
		if (op->rc == -ECANCELED) {
			f->obstacle = IMAGE_LOCKED;
			return op_goto(f, FLATTEN_REFUSE);
		}
		/* A snapshot may have no map. */
		if (op->rc < 0 && op->rc != -ENOENT)
			return image_fail_rc(f, FLATTEN_END, op->rc,
			    f->image_id, "mark what is copied");
		if (mark_more(f))
			return op_await(f, FLATTEN_MARKED);
		f->doubt.data_pool = w->data_pool;
		memcpy(f->doubt.prefix, w->clone.info.prefix,
		    sizeof(f->doubt.prefix));
		w->busy = 1;
		for (unsigned i = 0; i < w->ncopies; i++)
			if (w->copy[i].read != NULL) {
				w->busy++;
				f->doubt.object[f->doubt.n++] =
				    w->copy[i].object;
				copy_write(&w->copy[i]);
			}
		copy_end(&w->copy[0], 0);
		return op_await(f, FLATTEN_COPIED);

	case FLATTEN_COPIED:
		if (op->rc < 0)
			return image_fail_rc(f, FLATTEN_END, op->rc,
			    f->image_id, "copy from its parent");
		return op_goto(f, FLATTEN_TRASH_ASK);

	default:
		return OP_DONE;
	}
}

static enum op_verdict
image_flatten_step(struct op *op)
{
	struct image_flatten *f = (struct image_flatten *)op;

	switch (f->state) {
	case FLATTEN_START:
		assert(
		    f->in_flight >= 1 && f->in_flight <= FLATTEN_IN_FLIGHT_MAX);
		f->parent.pool = -1;
		f->work = mem_new(sizeof(*f->work));
		f->work->f = f;
		f->work->until_ms = clock_now_ms() + f->slice_ms;
		return op_goto(f, FLATTEN_TRASH_ASK);

	case FLATTEN_TRASH_ASK:
	case FLATTEN_TRASH_READ:
	case FLATTEN_STANDS:
	case FLATTEN_TAKE_BACK:
	case FLATTEN_TAKEN_BACK:
		return flatten_purge_step(f);

	case FLATTEN_LOOKED_UP:
	case FLATTEN_UNWATCHED:
	case FLATTEN_LISTED:
	case FLATTEN_SHOWN:
	case FLATTEN_CLIMB:
	case FLATTEN_UP:
	case FLATTEN_UP_SHOWN:
		return flatten_look_step(f);

	case FLATTEN_TOP:
	case FLATTEN_MAP_READ:
	case FLATTEN_COPY:
	case FLATTEN_READ:
	case FLATTEN_CONFIRMED:
	case FLATTEN_MARKED:
	case FLATTEN_COPIED:
		return flatten_copy_step(f);

	case FLATTEN_REFUSE:
	case FLATTEN_CLONES_LISTED:
		return flatten_refuse_step(f);

	case FLATTEN_END:
		work_free(f->work);
		f->work = NULL;
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_flatten_class = {
	.name = "image.flatten",
	.step = image_flatten_step,
};

void
image_flatten_start(struct image_flatten *flatten, struct wake *waiter)
{
	op_start(&flatten->op, &image_flatten_class, waiter);
}
