/*
 * snapshot_reap.c - freeing snapshots in the trash of their images, in the
 * background.
 *
 * The rule that holds it together: the record goes last, so that what was cut
 * off is found again; nobody can make a clone of a snapshot in the trash, so
 * one that has none stays so.
 */
#include "ceph/snapshot.h"

#include "base/log.h"
#include "base/map.h"

#include <errno.h>
#include <string.h>

enum reap_state {
	REAP_START = 0,
	REAP_LOOKED_UP,    /* the header has answered */
	REAP_LISTED,       /* which snapshots there are */
	REAP_MAP_NEXT,     /* the next one's object map is to go */
	REAP_MAP_READ,     /* it has answered */
	REAP_MAP_MERGED,   /* the next newer one has what it knew */
	REAP_IDS_RETURNED, /* the OSDs free the data of all of them */
	REAP_RECORD_NEXT,  /* the next one's record is to go */
	REAP_RECORD_GONE,
	REAP_NOTIFIED,   /* whoever has the image open knows */
	REAP_ENTRY_READ, /* it was the last one: is the image to go? */
	REAP_END,
};

struct reap_waiters {
	struct wake **waiter; /* NULLs among them: nobody waits */
	size_t n;
};

struct snapshot_reaper {
	struct op op;
	enum reap_state state;
	struct ceph_pool *pool, *data_pool;
	char *image_id, *key;
	struct reap_waiters now;   /* who has asked for this one … */
	struct reap_waiters again; /* … and while it ran, for one more */
	size_t at, n;
	uint64_t *id;    /* those that go; the newest first */
	uint64_t *newer; /* of each the next newer one that stays */
	struct rados_read *read;
	struct rados_notified notified;
	struct image_lookup lookup;
	struct snapshot_list list;
};

static struct map reapers; /* key -> struct snapshot_reaper */
static void (*when_orphaned)(
    struct ceph_pool *pool, const char *image_id, const char *image);

/* Those in the trash without a clone, and which one comes after each. */
static void
choose(struct snapshot_reaper *r)
{
	uint64_t newer = RBD_NOSNAP;

	r->id = mem_new((r->list.n + 1) * sizeof(*r->id));
	r->newer = mem_new((r->list.n + 1) * sizeof(*r->newer));
	for (size_t i = 0; i < r->list.n; i++) {
		const struct cls_snapshot *snap = &r->list.snap[i];

		if (snap->kind != SNAP_TRASH || snap->children > 0) {
			newer = snap->id;
			continue;
		}
		r->newer[r->n] = newer;
		r->id[r->n++] = snap->id;
	}
}

static void
map_of(
    const struct snapshot_reaper *r, uint64_t snap, char buf[RBD_OBJECT_SIZE])
{
	if (snap == RBD_NOSNAP)
		image_object(buf, RBD_OBJECT_MAP_PREFIX, r->image_id);
	else
		image_map_object(buf, r->image_id, snap);
}

/* Without the map, or with one that the class cannot read, nobody goes by it. */
static bool
map_is_void(int rc)
{
	return rc == -ENOENT || rc == -EINVAL;
}

/*
 * What has changed up to a snapshot that goes has changed up to the one after
 * it: its map goes only when that one has been told, or who compares the two
 * later (fast-diff) would miss it. To say so of an object of which it is not
 * true does no harm, so nobody's lock is needed.
 */
static enum op_verdict
reap_map_step(struct snapshot_reaper *r)
{
	struct op *op = &r->op;
	char object[RBD_OBJECT_SIZE];
	struct dec map;
	int rc = op->rc;

	switch ((int)r->state) {
	case REAP_MAP_NEXT:
		/* Its record leads to it: as long as it is there, that stays. */
		if (op->rc < 0 && op->rc != -ENOENT)
			return image_fail_rc(r, REAP_END, op->rc, r->image_id,
			    "remove a snapshot's object map");
		if (!(r->lookup.info.features & RBD_OBJECT_MAP) ||
		    r->at == r->n) {
			r->at = 0;
			rados_snap_ids_return_start(
			    r->data_pool, r->id, r->n, &op->wake);
			return op_await(r, REAP_IDS_RETURNED);
		}
		map_of(r, r->id[r->at], object);
		r->read = rados_ask_start(
		    r->pool, object, cls_call("object_map_load"), &op->wake);
		return op_await(r, REAP_MAP_READ);

	case REAP_MAP_READ:
		if (rc == 0)
			rc = rados_read_result(r->read, 0, &map);
		if (rc < 0) {
			rados_read_drop(&r->read);
			op->rc = rc;
			return op_goto(r, REAP_MAP_MERGED);
		}
		map_of(r, r->newer[r->at], object);
		rados_tell_start(r->pool, object, RADOS_EXISTS,
		    cls_object_map_snap_remove(&map), &op->wake);
		rados_read_drop(&r->read);
		return op_await(r, REAP_MAP_MERGED);

	case REAP_MAP_MERGED:
		if (rc < 0 && !map_is_void(rc))
			return image_fail_rc(r, REAP_END, rc, r->image_id,
			    "keep what a snapshot's object map knows");
		map_of(r, r->id[r->at++], object);
		rados_remove_start(r->pool, object, &op->wake);
		return op_await(r, REAP_MAP_NEXT);

	default:
		return OP_DONE;
	}
}

static void
wake_waiters(struct snapshot_reaper *r)
{
	for (size_t i = 0; i < r->now.n; i++)
		wake_up(r->now.waiter[i], 0);
	r->now.n = 0;
	free(take_ptr(&r->now.waiter));
}

static enum op_verdict
reap_step(struct op *op)
{
	struct snapshot_reaper *r = (struct snapshot_reaper *)op;
	struct cls_trash_entry entry;
	char object[RBD_OBJECT_SIZE];
	struct err err = ERR_INIT;
	struct dec d;

	switch (r->state) {
	case REAP_START:
		image_lookup_start(
		    &r->lookup, r->pool, NULL, r->image_id, false, &op->wake);
		return op_await(r, REAP_LOOKED_UP);

	case REAP_LOOKED_UP:
		if (op->rc == -ENOENT)
			return op_goto(r, REAP_END);
		if (op->rc < 0)
			return op_fail_as(r, REAP_END, lookup.op);
		if (r->lookup.info.snaps == 0 ||
		    image_obstacle(&r->lookup.info) != IMAGE_PLAIN)
			return op_goto(r, REAP_END);
		if (image_data_pool_open(
			r->pool, &r->lookup.info, &r->data_pool, &err) < 0)
			return op_fail_err(r, REAP_END, &err);
		snapshot_list_start(&r->list, r->pool, r->image_id, &op->wake);
		return op_await(r, REAP_LISTED);

	case REAP_LISTED:
		if (op->rc == -ENOENT)
			return op_goto(r, REAP_END);
		if (op->rc < 0)
			return op_fail_as(r, REAP_END, list.op);
		choose(r);
		return r->n > 0 ? op_goto(r, REAP_MAP_NEXT)
				: op_goto(r, REAP_END);

	case REAP_MAP_NEXT:
	case REAP_MAP_READ:
	case REAP_MAP_MERGED:
		return reap_map_step(r);

	case REAP_IDS_RETURNED:
		if (op->rc < 0)
			return op_fail_rc(r, REAP_END, op->rc,
			    "give snapshot ids of %s back",
			    ceph_pool_label(r->data_pool));
		return op_goto(r, REAP_RECORD_NEXT);

	case REAP_RECORD_NEXT:
		image_object(object, RBD_HEADER_PREFIX, r->image_id);
		rados_tell_start(r->pool, object, RADOS_EXISTS,
		    cls_call_u64("snapshot_remove", r->id[r->at++]), &op->wake);
		return op_await(r, REAP_RECORD_GONE);

	case REAP_RECORD_GONE:
		if (op->rc < 0 && op->rc != -ENOENT)
			return image_fail_rc(r, REAP_END, op->rc, r->image_id,
			    "remove a snapshot's record");
		if (r->at < r->n)
			return op_goto(r, REAP_RECORD_NEXT);
		wake_waiters(r); /* the rest is for those who have it open */
		watch_header_update_start(
		    r->pool, r->image_id, &r->notified, &op->wake);
		return op_await(r, REAP_NOTIFIED);

	case REAP_NOTIFIED:
		/* Who does not know of it writes what nobody keeps. */
		if (r->n < r->list.n || when_orphaned == NULL)
			return op_goto(r, REAP_END);
		r->read = rados_ask_start(r->pool, RBD_TRASH,
		    cls_call_str("trash_get", r->image_id), &op->wake);
		return op_await(r, REAP_ENTRY_READ);

	case REAP_ENTRY_READ:
		if (op->rc == 0 && rados_read_result(r->read, 0, &d) == 0 &&
		    cls_parse_trash(d, &entry) == 0 &&
		    entry.source == TRASH_SOURCE_USER_PARENT &&
		    entry.state == TRASH_NORMAL)
			when_orphaned(r->pool, r->image_id, entry.name);
		return op_goto(r, REAP_END);

	case REAP_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class reap_class;

/* Takes over the waiters. */
static void
reap(struct ceph_pool *pool, const char *image_id, struct reap_waiters *now)
{
	struct snapshot_reaper *r = mem_new(sizeof(*r));

	r->pool = pool;
	r->image_id = str_dup(image_id);
	r->key = ceph_pool_key(pool, image_id);
	r->now = *now;
	r->op.subject = r->image_id;
	(void)map_set(&reapers, r->key, r);
	op_start(&r->op, &reap_class, NULL);
}

static void
reap_ended(struct op *op)
{
	struct snapshot_reaper *r = (struct snapshot_reaper *)op;
	char text[ERR_TEXT_MAX + 16];

	if (err_is_set(&op->err))
		log_warn("snapshot.reap", "pool=%s image=%s why=%s",
		    ceph_pool_name(r->pool), r->image_id,
		    log_quote(text, sizeof(text), op->err.text));
	(void)map_remove(&reapers, r->key);
	wake_waiters(r);
	if (r->again.n > 0)
		reap(r->pool, r->image_id, &r->again);
	rados_read_drop(&r->read);
	snapshot_list_fini(&r->list);
	free(r->id);
	free(r->newer);
	free(r->image_id);
	free(r->key);
	free(r);
}

static const struct op_class reap_class = {
	.name = "snapshot.reap",
	.step = reap_step,
	.end = reap_ended,
};

void
snapshot_reap_start(
    struct ceph_pool *pool, const char *image_id, struct wake *waiter)
{
	auto_free char *key = ceph_pool_key(pool, image_id);
	struct snapshot_reaper *r = map_get(&reapers, key);
	struct reap_waiters first = { .waiter = NULL };
	struct reap_waiters *waiters = r != NULL ? &r->again : &first;

	waiters->waiter = mem_grow(
	    waiters->waiter, (waiters->n + 1) * sizeof(struct wake *));
	waiters->waiter[waiters->n++] = waiter;
	if (r == NULL)
		reap(pool, image_id, &first);
}

unsigned
snapshot_reaping(void)
{
	return (unsigned)map_count(&reapers);
}

void
snapshot_when_orphaned(void (*orphaned)(
    struct ceph_pool *pool, const char *image_id, const char *image))
{
	when_orphaned = orphaned;
}
