/*
 * image_empty.c - proving that an image holds nothing. Whatever is in doubt
 * counts as data: the next step is mkfs.
 */
#include "ceph/image.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define IN_FLIGHT 64
/* Zeros that were written, as by blkdiscard -z, are read up to this. */
#define READ_MAX_BYTES ((uint64_t)256 << 20)

static void
drop_read(struct image_empty *e)
{
	rados_read_free(e->read);
	e->read = NULL;
}

static enum op_verdict
holds(struct image_empty *e, const char *why)
{
	(void)!str_put(e->why, sizeof(e->why), "%s", why);
	return op_goto(e, EMPTY_END);
}

/* Why there is no use in looking at the objects; NULL: there is. */
static const char *
obstacle_of(const struct image_info *info)
{
	struct image_info plain = *info;
	enum image_obstacle obstacle;

	/* The journal is looked at; neither of these hides data. */
	plain.features &= ~RBD_JOURNALING;
	plain.mirrored = false;
	plain.group.pool = -1;
	plain.snaps = 0;
	obstacle = image_obstacle(&plain, true);
	return obstacle == IMAGE_PLAIN ? NULL : image_obstacle_text(obstacle);
}

static int
open_pool(struct image_empty *e, int64_t id, struct err *err)
{
	e->search.pool = e->pool;
	if (id < 0)
		return 0;
	return ceph_pool_open_id(ceph_pool_connection(e->pool), id,
	    ceph_pool_namespace(e->pool), &e->search.pool, err);
}

/* ---- data ---- */

static bool
data_name(void *arg, uint64_t i, char *buf, size_t size)
{
	struct image_empty *e = arg;

	if (e->has_map && !cls_object_map_has(&e->map, i))
		return false;
	(void)snprintf(buf, size, "%s.%016" PRIx64, e->info->prefix, i);
	return true;
}

static enum op_verdict
search(struct image_empty *e)
{
	const struct image_info *info = e->info;
	struct err err = ERR_INIT;

	if (open_pool(e, info->data_pool, &err) < 0)
		return op_fail_err(e, EMPTY_END, &err);
	e->search.count = layout_objects(&info->layout, info->size_bytes);
	e->search.in_flight = IN_FLIGHT;
	e->search.name = data_name;
	e->search.arg = e;
	e->search.read_max = READ_MAX_BYTES;
	rados_search_start(&e->search, &e->op.wake);
	return op_await(e, EMPTY_SEARCHED);
}

static enum op_verdict
searched(struct image_empty *e)
{
	if (e->op.rc < 0)
		return op_fail_rc(e, EMPTY_END, e->op.rc,
		    "image %s in %s: look for data in it", e->info->id,
		    ceph_pool_label(e->pool));
	if (e->search.found)
		(void)!str_put(e->why, sizeof(e->why),
		    e->search.unread
			? "there is too much to read in it (object %" PRIu64 ")"
			: "there is data in it (object %" PRIu64 ")",
		    e->search.object);
	return op_goto(e, EMPTY_END);
}

/*
 * Writers mark an object in the map before they write to it, so one that a
 * valid map does not have is not there. A map that is too short is not valid,
 * whatever the flags say.
 */
static enum op_verdict
map_read(struct image_empty *e)
{
	const struct image_info *info = e->info;
	struct dec d;

	e->has_map = e->op.rc == 0 && rados_read_result(e->read, 0, &d) == 0 &&
	    cls_parse_object_map(d, &e->map) == 0 &&
	    e->map.objects >= layout_objects(&info->layout, info->size_bytes);
	return search(e);
}

static enum op_verdict
map_read_start(struct image_empty *e)
{
	char object[RBD_OBJECT_SIZE];

	if (!(e->info->features & RBD_OBJECT_MAP) ||
	    (e->info->flags & RBD_FLAG_OBJECT_MAP_INVALID))
		return search(e);
	image_map_object(object, e->info->id);
	e->read = rados_read_new();
	(void)rados_read_call(e->read, cls_object_map_load());
	rados_read_start(e->read, e->pool, object, &e->op.wake);
	return op_await(e, EMPTY_MAP_READ);
}

/* ---- journal: writes that are in no data object yet ---- */

static const char *const journal_keys[] = { "minimum_set", "pool_id",
	"splay_width" };

static enum op_verdict
journal_read_start(struct image_empty *e)
{
	char object[RBD_OBJECT_SIZE];

	(void)snprintf(object, sizeof(object), "journal.%s", e->info->id);
	e->read = rados_read_new();
	(void)rados_read_omap_keys(
	    e->read, journal_keys, countof(journal_keys));
	rados_read_start(e->read, e->pool, object, &e->op.wake);
	return op_await(e, EMPTY_JOURNAL_READ);
}

static bool
journal_name(void *arg, uint64_t i, char *buf, size_t size)
{
	struct image_empty *e = arg;

	(void)snprintf(buf, size, "journal_data.%" PRId64 ".%s.%" PRIu64,
	    ceph_pool_id(e->pool), e->info->id, i);
	return true;
}

/* Its objects are numbered through; the first set has splay_width of them. */
static enum op_verdict
journal_read(struct image_empty *e)
{
	struct err err = ERR_INIT;
	uint64_t minimum = 0, splay = 0;
	int64_t pool = -1;

	for (size_t i = 0;
	     e->op.rc == 0 && i < rados_read_omap_count(e->read, 0); i++) {
		const struct rados_omap_entry *entry = rados_read_omap_entry(
		    e->read, 0, i);
		struct dec d;

		dec_init(&d, entry->value, entry->len);
		if (str_eq(entry->key, "minimum_set"))
			minimum = dec_u64(&d);
		else if (str_eq(entry->key, "pool_id"))
			pool = (int64_t)dec_u64(&d);
		else
			splay = dec_u8(&d);
		if (dec_end(&d) < 0)
			e->op.rc = -EBADMSG;
	}
	drop_read(e);
	if (e->op.rc < 0)
		return op_fail_rc(e, EMPTY_END, e->op.rc,
		    "image %s in %s: read its journal's header", e->info->id,
		    ceph_pool_label(e->pool));
	if (minimum > 0 || splay == 0)
		return holds(e, "its journal has entries");
	if (open_pool(e, pool, &err) < 0)
		return op_fail_err(e, EMPTY_END, &err);
	e->search.count = splay;
	e->search.in_flight = IN_FLIGHT;
	e->search.name = journal_name;
	e->search.arg = e;
	rados_search_start(&e->search, &e->op.wake);
	return op_await(e, EMPTY_JOURNAL_SEARCHED);
}

static enum op_verdict
journal_searched(struct image_empty *e)
{
	if (e->op.rc < 0)
		return op_fail_rc(e, EMPTY_END, e->op.rc,
		    "image %s in %s: look into its journal", e->info->id,
		    ceph_pool_label(e->pool));
	if (e->search.found)
		return holds(e, "its journal has entries");
	return map_read_start(e);
}

/* ---- the operation ---- */

static enum op_verdict
image_empty_step(struct op *op)
{
	struct image_empty *e = (struct image_empty *)op;
	const char *obstacle;

	switch (e->state) {
	case EMPTY_START:
		obstacle = obstacle_of(e->info);
		if (obstacle != NULL)
			return holds(e, obstacle);
		return e->info->features & RBD_JOURNALING
		    ? journal_read_start(e)
		    : map_read_start(e);
	case EMPTY_JOURNAL_READ:
		return journal_read(e);
	case EMPTY_JOURNAL_SEARCHED:
		return journal_searched(e);
	case EMPTY_MAP_READ:
		return map_read(e);
	case EMPTY_SEARCHED:
		return searched(e);
	case EMPTY_END:
		drop_read(e);
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
	op_start(&e->op, &image_empty_class, waiter);
}
