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

/* Why there is no use in looking at the objects, or IMAGE_PLAIN: there is. */
static enum image_obstacle
obstacle_of(const struct image_info *info)
{
	struct image_info plain = *info;

	/* The journal is looked at; neither of these hides data. */
	plain.features &= ~RBD_JOURNALING;
	plain.mirrored = false;
	plain.group.pool = -1;
	return info->parent.pool >= 0 ? IMAGE_HAS_PARENT
				      : image_obstacle(&plain);
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

/* `pool` -1: that of the image. Fails if it cannot be opened. */
static int
search_begin(struct image_empty *e, int64_t pool, uint64_t count,
    bool (*name)(void *arg, uint64_t i, char *buf, size_t size),
    struct err *err)
{
	e->search = (struct rados_search){
		.pool = e->pool,
		.count = count,
		.in_flight = IN_FLIGHT,
		.name = name,
		.arg = e,
		.read_max = name == data_name ? READ_MAX_BYTES : 0,
	};
	if (pool >= 0 &&
	    ceph_pool_open_id(e->pool->conn, pool, e->pool->rados_namespace,
		&e->search.pool, err) < 0)
		return err->rc;
	rados_search_start(&e->search, &e->op.wake);
	return 0;
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

static void
put_why(struct image_empty *e, const char *why)
{
	(void)!str_put(e->why, sizeof(e->why), "%s", why);
}

static enum op_verdict
image_empty_step(struct op *op)
{
	struct image_empty *e = (struct image_empty *)op;
	const struct image_info *info = e->info;
	enum image_obstacle obstacle;
	char object[RBD_OBJECT_SIZE];
	struct journal_place place = { .pool = -1 };
	struct err err = ERR_INIT;
	int rc = op->rc;

	switch (e->state) {
	case EMPTY_START:
		obstacle = obstacle_of(info);
		if (obstacle != IMAGE_PLAIN) {
			put_why(e, image_obstacle_text(obstacle));
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
			put_why(e, "its journal has entries");
			return op_goto(e, EMPTY_END);
		}
		/* The first set. */
		if (search_begin(
			e, place.pool, place.splay, journal_name, &err) < 0)
			return op_fail_err(e, EMPTY_END, &err);
		return op_await(e, EMPTY_JOURNAL_SEARCHED);

	case EMPTY_JOURNAL_SEARCHED:
		if (rc < 0)
			return image_fail_rc(e, EMPTY_END, rc, info->id,
			    "look into its journal");
		if (e->search.found) {
			put_why(e, "its journal has entries");
			return op_goto(e, EMPTY_END);
		}
		e->read = image_map_read_start(e->pool, info, &op->wake);
		return e->read != NULL ? op_await(e, EMPTY_MAP_READ)
				       : op_goto(e, EMPTY_MAP_READ);

	case EMPTY_MAP_READ:
		e->has_map = e->read != NULL &&
		    image_map_take(e->read, info, &e->map);
		if (search_begin(e, info->data_pool,
			layout_objects(&info->layout, info->size_bytes),
			data_name, &err) < 0)
			return op_fail_err(e, EMPTY_END, &err);
		return op_await(e, EMPTY_SEARCHED);

	case EMPTY_SEARCHED:
		if (rc < 0)
			return image_fail_rc(
			    e, EMPTY_END, rc, info->id, "look for data in it");
		if (e->search.found)
			(void)!str_put(e->why, sizeof(e->why),
			    e->search.unread
				? "there is too much to read in it (object %" PRIu64
				  ")"
				: "there is data in it (object %" PRIu64 ")",
			    e->search.object);
		return op_goto(e, EMPTY_END);

	case EMPTY_END:
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
	op_start(&e->op, &image_empty_class, waiter);
}
