/*
 * snapshot.c - listing, adding and removing the snapshots of an image.
 */
#include "ceph/snapshot.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- list ---- */

static int
take_ids(struct snapshot_list *l)
{
	struct cls_snapcontext snapc = { .seq = 0 };
	struct dec d;
	int rc = rados_read_result(l->read, 0, &d);

	if (rc == 0)
		rc = cls_parse_snapcontext(d, &snapc);
	if (rc < 0)
		return rc;
	l->id = mem_new((snapc.count + 1) * sizeof(*l->id));
	l->snap = mem_new((snapc.count + 1) * sizeof(*l->snap));
	for (; l->nids < snapc.count; l->nids++)
		l->id[l->nids] = dec_u64(&snapc.ids);
	return dec_end(&snapc.ids);
}

/* Asks for as many as one read takes. */
static void
page_ask(struct snapshot_list *l)
{
	char object[RBD_OBJECT_SIZE];

	l->read = rados_read_new();
	rados_read_assert_exists(l->read);
	for (unsigned i = 0; i < RADOS_READ_STEPS && l->asked < l->nids; i++) {
		(void)rados_read_call(
		    l->read, cls_call_u64("snapshot_get", l->id[l->asked++]));
		rados_read_may_fail(l->read);
	}
	image_object(object, RBD_HEADER_PREFIX, l->image_id);
	rados_read_start(l->read, l->pool, object, &l->op.wake);
}

static int
take_snapshots(struct snapshot_list *l)
{
	size_t asked = (l->asked - 1) % RADOS_READ_STEPS + 1;
	struct dec d;
	int rc;

	for (unsigned i = 0; i < asked; i++) {
		rc = rados_read_result(l->read, i, &d);
		if (rc == -ENOENT) /* removed meanwhile */
			continue;
		if (rc == 0)
			rc = cls_parse_snapshot(d, &l->snap[l->n]);
		if (rc < 0)
			return rc;
		l->n++;
	}
	return 0;
}

static enum op_verdict
snapshot_list_step(struct op *op)
{
	struct snapshot_list *l = (struct snapshot_list *)op;
	char object[RBD_OBJECT_SIZE];
	int rc = op->rc;

	switch (l->state) {
	case SNAPLIST_START:
		image_object(object, RBD_HEADER_PREFIX, l->image_id);
		l->read = rados_ask_start(
		    l->pool, object, cls_call("get_snapcontext"), &op->wake);
		return op_await(l, SNAPLIST_IDS_READ);

	case SNAPLIST_IDS_READ:
		if (rc == 0)
			rc = take_ids(l);
		break;

	case SNAPLIST_PAGE_READ:
		if (rc == 0)
			rc = take_snapshots(l);
		break;

	case SNAPLIST_END:
		return OP_DONE;
	}
	rados_read_drop(&l->read);
	if (rc < 0)
		return image_fail_rc(
		    l, SNAPLIST_END, rc, l->image_id, "list its snapshots");
	if (l->asked == l->nids)
		return op_goto(l, SNAPLIST_END);
	page_ask(l);
	return op_await(l, SNAPLIST_PAGE_READ);
}

static const struct op_class snapshot_list_class = {
	.name = "snapshot.list",
	.step = snapshot_list_step,
};

void
snapshot_list_start(struct snapshot_list *l, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter)
{
	memset(l, 0, sizeof(*l));
	l->pool = pool;
	if (str_put(l->image_id, sizeof(l->image_id), "%s", image_id) < 0)
		l->image_id[0] = '\0';
	op_start(&l->op, &snapshot_list_class, waiter);
}

void
snapshot_list_fini(struct snapshot_list *l)
{
	rados_read_drop(&l->read);
	free(l->id);
	free(l->snap);
	l->id = NULL;
	l->snap = NULL;
	l->n = l->nids = l->asked = 0;
}

const struct cls_snapshot *
snapshot_named(const struct snapshot_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (l->snap[i].kind == SNAP_USER &&
		    str_eq(l->snap[i].name, name))
			return &l->snap[i];
	return NULL;
}

/* ---- add ---- */

/* An image that changes each time that we look is somebody's. */
#define TRIES_MAX 5
/* A dead client's watch ends after 30 s, 6 time-outs of a notification. */
#define SILENT_MAX 8

/* Looked up by the caller, or by us. */
static const struct image_info *
info_of(const struct snapshot_add *a)
{
	return a->info != NULL ? a->info : &a->lookup.info;
}

static void
record_add_start(struct snapshot_add *a)
{
	struct rados_write *w = rados_write_new(RADOS_EXISTS);
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_HEADER_PREFIX, a->image_id);
	if (image_is_guarded(info_of(a)))
		rados_write_version_expect(w, info_of(a)->version);
	rados_write_version_tell(w, &a->version);
	rados_write_call(w, cls_snapshot_add(a->name, a->take.id));
	rados_write_start(w, a->pool, object, &a->op.wake);
}

/*
 * The snapshot's object map is that of the image, if from the moment at which
 * it was read until all know of the snapshot nobody has had the lock, and so
 * has changed anything: the header has the version that our record gave it.
 */
static enum op_verdict
add_map_step(struct snapshot_add *a)
{
	struct op *op = &a->op;
	char object[RBD_OBJECT_SIZE];
	struct rados_write *w;
	struct dec map;

	switch ((int)a->state) {
	case SNAPADD_SEEN:
		if (op->rc < 0 || rados_read_version(a->read) != a->version ||
		    rados_read_result(a->map, 0, &map) < 0)
			return op_goto(a, SNAPADD_END);
		image_map_object(object, a->image_id, a->id);
		w = rados_write_new(RADOS_CREATE_NEW);
		rados_write_data_whole(w, map.at, dec_left(&map));
		rados_write_start(w, a->pool, object, &op->wake);
		return op_await(a, SNAPADD_MAP_COPIED);

	case SNAPADD_MAP_COPIED:
		if (op->rc < 0) /* it is read as if it had none */
			return op_goto(a, SNAPADD_END);
		image_object(object, RBD_OBJECT_MAP_PREFIX, a->image_id);
		w = rados_write_new(RADOS_EXISTS);
		rados_write_version_expect(w, rados_read_version(a->map));
		rados_write_call(w, cls_call("object_map_snap_add"));
		rados_write_start(w, a->pool, object, &op->wake);
		return op_await(a, SNAPADD_MAP_MARKED);

	case SNAPADD_MAP_MARKED:
		/* Without that more seems to have changed later than has. */
		return op_goto(a, SNAPADD_END);

	default:
		rados_read_drop(&a->read);
		rados_read_drop(&a->map);
		snapshot_list_fini(&a->list);
		return OP_DONE;
	}
}

static enum op_verdict
snapshot_add_step(struct op *op)
{
	struct snapshot_add *a = (struct snapshot_add *)op;
	const struct image_info *info;
	const struct cls_snapshot *there;
	char object[RBD_OBJECT_SIZE];
	struct err err = ERR_INIT;
	uint64_t objects;

	switch (a->state) {
	case SNAPADD_START:
		if (strlen(a->name) >= RBD_NAME_SIZE)
			return op_fail(a, SNAPADD_END, ERR_INVALID_ARGUMENT,
			    "snapshot %s: the name is too long", a->name);
		if (a->info != NULL)
			return op_goto(a, SNAPADD_JUDGED);
		rados_read_drop(&a->map);
		image_lookup_start(
		    &a->lookup, a->pool, NULL, a->image_id, true, &op->wake);
		return op_await(a, SNAPADD_LOOKED_UP);

	case SNAPADD_LOOKED_UP:
		if (op->rc < 0)
			return op_fail_as(a, SNAPADD_END, lookup.op);
		return op_goto(a, SNAPADD_JUDGED);

	case SNAPADD_JUDGED:
		info = info_of(a);
		a->obstacle = image_obstacle_in_place(info);
		if (++a->tries > TRIES_MAX)
			a->obstacle = IMAGE_LOCKED;
		if (a->obstacle != IMAGE_PLAIN)
			return image_fail_obstacle(a, SNAPADD_END, a->image_id);
		if (image_data_pool_open(a->pool, info, &a->take.pool, &err) <
		    0)
			return op_fail_err(a, SNAPADD_END, &err);
		if (!image_has_valid_map(info))
			return op_goto(a, SNAPADD_MAP_READ);
		/* As it lies there, two bits an object and checksums. */
		objects = layout_objects(&info->layout, info->size_bytes);
		image_object(object, RBD_OBJECT_MAP_PREFIX, info->id);
		a->map = rados_read_new();
		(void)rados_read_data(
		    a->map, 0, objects / 4 + objects / 1024 + 4096);
		rados_read_start(a->map, a->pool, object, &op->wake);
		return op_await(a, SNAPADD_MAP_READ);

	case SNAPADD_MAP_READ:
		/* A map that cannot be read is none. */
		a->take.above = info_of(a)->snap_seq;
		if (a->take.id > a->take.above) {
			record_add_start(a);
			return op_await(a, SNAPADD_WRITTEN);
		}
		snap_id_take_start(&a->take, &op->wake);
		return op_await(a, SNAPADD_ID_TAKEN);

	case SNAPADD_ID_TAKEN:
		if (op->rc < 0)
			return op_fail_rc(a, SNAPADD_END, op->rc,
			    "allocate a snapshot id in %s",
			    ceph_pool_label(a->take.pool));
		record_add_start(a);
		return op_await(a, SNAPADD_WRITTEN);

	case SNAPADD_WRITTEN:
		switch (op->rc) {
		case 0:
			a->id = a->take.id;
			return op_goto(a, SNAPADD_TELL);
		case -ESTALE:    /* somebody has made a later one */
		case -ECANCELED: /* somebody has changed the header */
			a->info = NULL;
			return op_goto(a, SNAPADD_START);
		case -EEXIST:
			snapshot_list_start(
			    &a->list, a->pool, a->image_id, &op->wake);
			return op_await(a, SNAPADD_LISTED);
		default:
			return image_fail_rc(a, SNAPADD_END, op->rc,
			    a->image_id, "add a snapshot");
		}

	case SNAPADD_LISTED:
		if (op->rc < 0)
			return op_fail_as(a, SNAPADD_END, list.op);
		there = snapshot_named(&a->list, a->name);
		if (there == NULL) {
			snapshot_list_fini(&a->list);
			a->info = NULL;
			return op_goto(a, SNAPADD_START);
		}
		a->existed = true;
		a->id = there->id;
		return op_goto(a, SNAPADD_TELL);

	case SNAPADD_TELL:
		if (a->unopened)
			return op_goto(a, SNAPADD_NOTIFIED);
		watch_header_update_start(
		    a->pool, a->image_id, &a->notified, &op->wake);
		return op_await(a, SNAPADD_NOTIFIED);

	case SNAPADD_NOTIFIED:
		if (op->rc == -ETIMEDOUT && ++a->silent < SILENT_MAX)
			return op_goto(a, SNAPADD_TELL);
		if (op->rc == -ETIMEDOUT)
			return image_fail(a, SNAPADD_END, ERR_UNAVAILABLE,
			    a->image_id,
			    "somebody who has it open does not answer, and may not know of the snapshot");
		if (op->rc < 0)
			return image_fail_rc(a, SNAPADD_END, op->rc,
			    a->image_id, "tell of a snapshot");
		if (a->existed || a->map == NULL)
			return op_goto(a, SNAPADD_END);
		image_object(object, RBD_HEADER_PREFIX, a->image_id);
		a->read = rados_read_new();
		rados_read_assert_exists(a->read);
		rados_read_start(a->read, a->pool, object, &op->wake);
		return op_await(a, SNAPADD_SEEN);

	case SNAPADD_SEEN:
	case SNAPADD_MAP_COPIED:
	case SNAPADD_MAP_MARKED:
	case SNAPADD_END:
		return add_map_step(a);
	}
	abort();
}

static const struct op_class snapshot_add_class = {
	.name = "snapshot.add",
	.step = snapshot_add_step,
};

void
snapshot_add_start(struct snapshot_add *add, struct wake *waiter)
{
	op_start(&add->op, &snapshot_add_class, waiter);
}

/* ---- remove ---- */

static enum op_verdict
snapshot_remove_step(struct op *op)
{
	struct snapshot_remove *r = (struct snapshot_remove *)op;
	const struct cls_snapshot *there;
	char object[RBD_OBJECT_SIZE];

	switch (r->state) {
	case SNAPREM_START:
		if (r->info != NULL)
			return op_goto(r, SNAPREM_LOOKED_UP);
		image_lookup_start(
		    &r->lookup, r->pool, NULL, r->image_id, true, &op->wake);
		return op_await(r, SNAPREM_LOOKED_UP);

	case SNAPREM_LOOKED_UP:
		if (op->rc == -ENOENT)
			return op_goto(r, SNAPREM_END);
		if (op->rc < 0)
			return op_fail_as(r, SNAPREM_END, lookup.op);
		r->obstacle = image_obstacle_in_place(
		    r->info != NULL ? r->info : &r->lookup.info);
		if (r->obstacle != IMAGE_PLAIN)
			return image_fail_obstacle(r, SNAPREM_END, r->image_id);
		if (r->snap != 0)
			return op_goto(r, SNAPREM_LISTED);
		snapshot_list_start(&r->list, r->pool, r->image_id, &op->wake);
		return op_await(r, SNAPREM_LISTED);

	case SNAPREM_LISTED:
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_as(r, SNAPREM_END, list.op);
		there = snapshot_named(&r->list, r->name);
		if (there != NULL)
			r->snap = there->id;
		if (r->snap == 0)
			return op_goto(r, SNAPREM_END);
		image_object(object, RBD_HEADER_PREFIX, r->image_id);
		rados_tell_start(r->pool, object, RADOS_EXISTS,
		    cls_call_u64("snapshot_trash_add", r->snap), &op->wake);
		return op_await(r, SNAPREM_TRASHED);

	case SNAPREM_TRASHED:
		if (op->rc < 0 && op->rc != -EEXIST && op->rc != -ENOENT)
			return image_fail_rc(r, SNAPREM_END, op->rc,
			    r->image_id, "move a snapshot to its trash");
		r->found = op->rc == 0;
		if (!r->cloned && op->rc != -ENOENT)
			snapshot_reap_start(r->pool, r->image_id, NULL);
		return op_goto(r, SNAPREM_END);

	case SNAPREM_END:
		snapshot_list_fini(&r->list);
		return OP_DONE;
	}
	abort();
}

static const struct op_class snapshot_remove_class = {
	.name = "snapshot.remove",
	.step = snapshot_remove_step,
};

void
snapshot_remove_start(struct snapshot_remove *rem, struct wake *waiter)
{
	op_start(&rem->op, &snapshot_remove_class, waiter);
}
