/*
 * image_empty.c - proving that an image holds nothing. Whatever is in doubt
 * counts as data: the next step is mkfs.
 */
#include "ceph/parent.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IN_FLIGHT 64
/* Zeros that were written, as by blkdiscard -z, are read up to this. */
#define READ_MAX_BYTES ((uint64_t)256 << 20)

/* Why there is no use in looking at the objects, or IMAGE_PLAIN: there is. */
static enum image_obstacle
obstacle_of(const struct image_info *info)
{
	struct image_info plain = *info;

	/* The journal is looked at; neither of these hides data. */
	plain.features &= ~RBD_JOURNALING;
	plain.mirrored = false;
	plain.group.pool = -1;
	return image_obstacle(&plain);
}

static bool
data_name(void *arg, uint64_t i, char *buf, size_t size)
{
	struct image_empty *e = arg;

	if (e->has_map && !cls_object_map_has(&e->map, i))
		return false;
	(void)snprintf(buf, size, "%s.%016" PRIx64, e->info->prefix, i);
	return true;
}

static bool
journal_name(void *arg, uint64_t i, char *buf, size_t size)
{
	struct image_empty *e = arg;

	(void)snprintf(buf, size, "journal_data.%" PRId64 ".%s.%" PRIu64,
	    e->pool->id, e->info->id, i);
	return true;
}

static void
search_begin(struct image_empty *e, struct ceph_pool *pool, uint64_t count,
    bool (*name)(void *arg, uint64_t i, char *buf, size_t size))
{
	e->search = (struct rados_search){
		.pool = pool,
		.count = count,
		.in_flight = IN_FLIGHT,
		.name = name,
		.arg = e,
		.read_max = name == data_name ? READ_MAX_BYTES : 0,
	};
	rados_search_start(&e->search, &e->op.wake);
}

/* The pool of the data objects, as they were at the snapshot. */
static int
data_open(struct image_empty *e, struct err *err)
{
	struct ceph_pool *pool;
	int rc = image_data_pool_open(e->pool, e->info, &pool, err);

	ceph_pool_close_snapshot(take_ptr(&e->data));
	return rc < 0 ? rc
		      : ceph_pool_open_snapshot(pool, e->snap, &e->data, err);
}

/*
 * Where librbd's journal is, by the omap of its header (Ceph:
 * src/cls/journal/cls_journal.cc).
 */
struct journal_place {
	uint64_t minimum; /* the first set of objects that is in use */
	uint64_t splay;   /* objects in a set; they are numbered through */
	int64_t pool;     /* -1: that of the image */
};

static const char *const journal_keys[] = { "minimum_set", "pool_id",
	"splay_width" };

static int
take_journal(const struct rados_read *read, struct journal_place *place)
{
	const struct rados_omap *omap = rados_read_omap(read);

	for (size_t i = 0; i < omap->n; i++) {
		const struct rados_omap_entry *entry = &omap->entry[i];
		struct dec d;

		dec_init(&d, entry->value, entry->len);
		if (str_eq(entry->key, "minimum_set"))
			place->minimum = dec_u64(&d);
		else if (str_eq(entry->key, "pool_id"))
			place->pool = (int64_t)dec_u64(&d);
		else
			place->splay = dec_u8(&d);
		if (dec_end(&d) < 0)
			return -EBADMSG;
	}
	return 0;
}

/* "it is …", "there is data in it", of the image or of one above. */
static void
not_empty(struct image_empty *e, const char *why)
{
	(void)!str_put(e->why, sizeof(e->why), "%s%s", why,
	    e->depth > 0 ? ", what it is a clone of" : "");
}

/* What a clone shows of its parent, and what that is like at its snapshot. */
static enum op_verdict
image_empty_parent_step(struct image_empty *e)
{
	const struct cls_parent spec = e->info->parent;
	struct image_info *info = &e->parent.info;
	char object[RBD_OBJECT_SIZE];
	struct err err = ERR_INIT;
	struct dec d, flags;
	int rc = e->op.rc;

	switch ((int)e->state) {
	case EMPTY_SHOWN:
		rc = rados_read_result(e->read, 0, &d);
		if (rc == 0)
			rc = cls_parse_overlap(d, &e->overlap);
		rados_read_drop(&e->read);
		if (rc < 0)
			return image_fail_rc(e, EMPTY_END, rc, e->info->id,
			    "read what it shows of its parent");
		if (e->overlap > e->info->size_bytes)
			e->overlap = e->info->size_bytes;
		if (e->overlap == 0)
			return op_goto(e, EMPTY_END);
		if (++e->depth > PARENT_DEPTH_MAX) {
			not_empty(e, "there are too many above");
			return op_goto(e, EMPTY_END);
		}
		if (parent_pool_open(e->pool->conn, &spec, &e->pool, &err) < 0)
			return op_fail_err(e, EMPTY_END, &err);
		e->snap = spec.snap;
		image_lookup_start(
		    &e->parent, e->pool, NULL, spec.id, false, &e->op.wake);
		return op_await(e, EMPTY_PARENT_FOUND);

	case EMPTY_PARENT_FOUND:
		if (rc < 0)
			return op_fail_as(e, EMPTY_END, parent.op);
		e->info = info;
		image_object(object, RBD_HEADER_PREFIX, info->id);
		e->read = rados_read_new();
		(void)rados_read_call(
		    e->read, cls_call_u64("get_flags", e->snap));
		rados_read_start(e->read, e->pool, object, &e->op.wake);
		return op_await(e, EMPTY_PARENT_KNOWN);

	default:
		rc = rados_read_result(e->read, 0, &flags);
		if (rc == 0) {
			info->flags = dec_u64(&flags);
			rc = dec_end(&flags);
		}
		rados_read_drop(&e->read);
		if (rc < 0)
			return image_fail_rc(e, EMPTY_END, rc, info->id,
			    "read the flags of its snapshot");
		info->size_bytes = e->overlap;
		return op_goto(e, EMPTY_START);
	}
}

static enum op_verdict
image_empty_step(struct op *op)
{
	struct image_empty *e = (struct image_empty *)op;
	const struct image_info *info = e->info;
	enum image_obstacle obstacle;
	char object[RBD_OBJECT_SIZE], why[64];
	struct journal_place place = { .pool = -1 };
	struct ceph_pool *pool = e->pool;
	struct err err = ERR_INIT;
	int rc = op->rc;

	switch (e->state) {
	case EMPTY_START:
		obstacle = obstacle_of(info);
		if (obstacle != IMAGE_PLAIN) {
			not_empty(e, image_obstacle_text(obstacle));
			return op_goto(e, EMPTY_END);
		}
		if (!(info->features & RBD_JOURNALING))
			return op_goto(e, EMPTY_JOURNAL_SEARCHED);
		(void)snprintf(object, sizeof(object), "journal.%s", info->id);
		e->read = rados_read_new();
		(void)rados_read_omap_keys(
		    e->read, journal_keys, countof(journal_keys));
		rados_read_start(e->read, e->pool, object, &op->wake);
		return op_await(e, EMPTY_JOURNAL_READ);

	case EMPTY_JOURNAL_READ:
		if (rc == 0)
			rc = take_journal(e->read, &place);
		rados_read_drop(&e->read);
		if (rc < 0)
			return image_fail_rc(e, EMPTY_END, rc, info->id,
			    "read its journal's header");
		if (place.minimum > 0 || place.splay == 0) {
			not_empty(e, "its journal has entries");
			return op_goto(e, EMPTY_END);
		}
		if (place.pool >= 0 &&
		    ceph_pool_open_id(pool->conn, place.pool,
			pool->rados_namespace, &pool, &err) < 0)
			return op_fail_err(e, EMPTY_END, &err);
		/* The first set. */
		search_begin(e, pool, place.splay, journal_name);
		return op_await(e, EMPTY_JOURNAL_SEARCHED);

	case EMPTY_JOURNAL_SEARCHED:
		if (rc < 0)
			return image_fail_rc(e, EMPTY_END, rc, info->id,
			    "look into its journal");
		if (e->search.found) {
			not_empty(e, "its journal has entries");
			return op_goto(e, EMPTY_END);
		}
		e->read = image_map_read_start(
		    e->pool, info, e->snap, &op->wake);
		return e->read != NULL ? op_await(e, EMPTY_MAP_READ)
				       : op_goto(e, EMPTY_MAP_READ);

	case EMPTY_MAP_READ:
		e->has_map = e->read != NULL &&
		    image_map_take(e->read, info, &e->map);
		if (data_open(e, &err) < 0)
			return op_fail_err(e, EMPTY_END, &err);
		search_begin(e, e->data,
		    layout_objects(&info->layout, info->size_bytes), data_name);
		return op_await(e, EMPTY_SEARCHED);

	case EMPTY_SEARCHED:
		rados_read_drop(&e->read);
		if (rc < 0)
			return image_fail_rc(
			    e, EMPTY_END, rc, info->id, "look for data in it");
		if (e->search.found) {
			(void)snprintf(why, sizeof(why),
			    e->search.unread
				? "there is too much to read in it (object %" PRIu64
				  ")"
				: "there is data in it (object %" PRIu64 ")",
			    e->search.object);
			not_empty(e, why);
			return op_goto(e, EMPTY_END);
		}
		if (info->parent.pool < 0)
			return op_goto(e, EMPTY_END);
		image_object(object, RBD_HEADER_PREFIX, info->id);
		e->read = rados_read_new();
		(void)rados_read_call(
		    e->read, cls_call_u64("parent_overlap_get", e->snap));
		rados_read_start(e->read, e->pool, object, &op->wake);
		return op_await(e, EMPTY_SHOWN);

	case EMPTY_SHOWN:
	case EMPTY_PARENT_FOUND:
	case EMPTY_PARENT_KNOWN:
		return image_empty_parent_step(e);

	case EMPTY_END:
		ceph_pool_close_snapshot(take_ptr(&e->data));
		rados_read_drop(&e->read);
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_empty_class = {
	.name = "image.empty",
	.step = image_empty_step,
};

void
image_empty_start(struct image_empty *e, struct ceph_pool *pool,
    const struct image_info *info, struct wake *waiter)
{
	memset(e, 0, sizeof(*e));
	e->pool = pool;
	e->info = info;
	e->snap = RBD_NOSNAP;
	op_start(&e->op, &image_empty_class, waiter);
}
