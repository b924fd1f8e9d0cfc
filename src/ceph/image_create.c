/*
 * image_create.c - creating an image natively: directory, rbd_id, header with
 * metadata, object map, side by side if nobody can have begun before, else
 * one by one in librbd's order; then, of a clone, the two links between it and
 * its parent; and before that, once for each pool, making sure that it can
 * hold images' data.
 *
 * The rule that holds it together: a name and an id are ours to go on with if
 * the directory and rbd_id.NAME both say so, and an existing header is if it
 * says what we would write. Only what this call has made is undone.
 */
#include "ceph/journal.h"
#include "ceph/parent.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* ---- the data pool ---- */

/*
 * Contents of the object rbd_info, by which librbd (since Nautilus) remembers
 * that a pool takes self-managed snapshots, and overwrites.
 */
#define INFO_FIRST "validate"
#define INFO_FINAL "overwrite validated"

static void
info_write_start(struct pool_validate *v, const char *text)
{
	struct rados_write *w = rados_write_new(RADOS_CREATE);

	rados_write_data(w, 0, text, strlen(text));
	rados_write_start(w, v->pool, RBD_INFO, &v->op.wake);
}

static bool
says(const struct dec *d, const char *text)
{
	return dec_left(d) == strlen(text) &&
	    memcmp(d->at, text, dec_left(d)) == 0;
}

static enum op_verdict
pool_validate_step(struct op *op)
{
	struct pool_validate *v = (struct pool_validate *)op;
	const char *label = ceph_pool_label(v->pool);
	struct err err = ERR_INIT;
	bool first, final;
	struct dec d;
	int rc;

	switch (v->state) {
	case VALIDATE_START:
		if (ceph_pool_open_id(
			v->pool->conn, v->pool->id, NULL, &v->pool, &err) < 0)
			return op_fail_err(v, VALIDATE_END, &err);
		if (v->pool->validated)
			return op_goto(v, VALIDATE_END);
		v->read = rados_read_new();
		(void)rados_read_data(v->read, 0, strlen(INFO_FINAL) + 1);
		rados_read_start(v->read, v->pool, RBD_INFO, &op->wake);
		return op_await(v, VALIDATE_READ);

	case VALIDATE_READ:
		rc = rados_read_result(v->read, 0, &d);
		final = rc == 0 && says(&d, INFO_FINAL);
		first = rc == 0 && says(&d, INFO_FIRST);
		rados_read_drop(&v->read);
		if (rc < 0 && rc != -ENOENT)
			return op_fail_rc(v, VALIDATE_END, rc,
			    "read " RBD_INFO " in %s", label);
		if (final) {
			v->pool->validated = true;
			return op_goto(v, VALIDATE_END);
		}
		if (first) { /* killed before the last step */
			info_write_start(v, INFO_FINAL);
			return op_await(v, VALIDATE_OVERWRITTEN);
		}
		rados_snap_id_start(v->pool, &v->snap, false, &op->wake);
		return op_await(v, VALIDATE_SNAP_MADE);

	case VALIDATE_SNAP_MADE:
		if (op->rc == -EINVAL)
			return op_fail(v, VALIDATE_END, ERR_FAILED_PRECONDITION,
			    "%s has snapshots of the whole pool and cannot hold images",
			    label);
		if (op->rc < 0)
			return op_fail_rc(v, VALIDATE_END, op->rc,
			    "allocate a snapshot id in %s", label);
		info_write_start(v, INFO_FIRST);
		return op_await(v, VALIDATE_WRITTEN);

	case VALIDATE_WRITTEN:
		if (op->rc < 0)
			return op_fail_rc(v, VALIDATE_END, op->rc,
			    "write " RBD_INFO " in %s", label);
		rados_snap_id_start(v->pool, &v->snap, true, &op->wake);
		return op_await(v, VALIDATE_SNAP_REMOVED);

	case VALIDATE_SNAP_REMOVED:
		/* an id that stays is one more unused number */
		info_write_start(v, INFO_FINAL);
		return op_await(v, VALIDATE_OVERWRITTEN);

	case VALIDATE_OVERWRITTEN:
		if (op->rc == -EOPNOTSUPP)
			return op_fail(v, VALIDATE_END, ERR_FAILED_PRECONDITION,
			    "%s is erasure coded and does not allow overwrites",
			    label);
		if (op->rc < 0)
			return op_fail_rc(v, VALIDATE_END, op->rc,
			    "overwrite " RBD_INFO " in %s", label);
		v->pool->validated = true;
		return op_goto(v, VALIDATE_END);

	case VALIDATE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class pool_validate_class = {
	.name = "pool.validate",
	.step = pool_validate_step,
};

/* ---- writes ---- */

static int
prepare(struct image_create *c, struct err *err)
{
	const struct image_spec *spec = c->spec;

	c->layout = spec->layout;
	c->features = spec->features;
	if (layout_check(&c->layout, spec->size_bytes, &c->features, err) < 0)
		return err->rc;
	if (strlen(spec->name) >= RBD_NAME_SIZE ||
	    str_put(c->id, sizeof(c->id), "%s", spec->id) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "image %s: the name or the id is too long", spec->name);
	c->data_pool = c->pool;
	if (spec->data_pool != NULL && spec->data_pool->id != c->pool->id) {
		c->data_pool = spec->data_pool;
		c->features |= RBD_DATA_POOL;
	}
	c->validate.pool = c->data_pool;
	return spec->parent != NULL ? parent_pool_open(c->pool->conn,
					  spec->parent, &c->parent_pool, err)
				    : 0;
}

static void
id_set_start(struct image_create *c, struct wake *waiter)
{
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_ID_PREFIX, c->spec->name);
	rados_tell_start(c->pool, object, RADOS_CREATE_NEW,
	    cls_call_str("set_id", c->id), waiter);
}

/* The prefix carries the metadata pool's id when the data are elsewhere. */
static void
header_make_start(struct image_create *c, struct wake *waiter)
{
	const struct image_spec *spec = c->spec;
	struct rados_write *w = rados_write_new(RADOS_CREATE_NEW);
	char object[RBD_OBJECT_SIZE];
	bool elsewhere = c->features & RBD_DATA_POOL;

	if (elsewhere)
		(void)snprintf(c->prefix, sizeof(c->prefix),
		    RBD_DATA_PREFIX "%lld.%s", (long long)c->pool->id, c->id);
	else
		(void)snprintf(
		    c->prefix, sizeof(c->prefix), RBD_DATA_PREFIX "%s", c->id);
	image_object(object, RBD_HEADER_PREFIX, c->id);
	rados_write_call(w,
	    cls_create(spec->size_bytes, c->layout.order, c->features,
		c->prefix, elsewhere ? c->data_pool->id : -1));
	if (spec->nmeta > 0)
		rados_write_call(w, cls_metadata_set(spec->meta, spec->nmeta));
	rados_write_start(w, c->pool, object, waiter);
}

/* Never touches a map that exists: it may know of data by now. */
static void
map_make_start(struct image_create *c, struct wake *waiter)
{
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_OBJECT_MAP_PREFIX, c->id);
	rados_tell_start(c->pool, object, RADOS_CREATE_NEW,
	    cls_object_map_resize(
		layout_objects(&c->layout, c->spec->size_bytes)),
	    waiter);
}

/* `part`s of `waits`. */
enum { PART_DIR = 0, PART_ID, PART_HEADER, PART_MAP };

static void
stripe_start(struct image_create *c)
{
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_HEADER_PREFIX, c->id);
	rados_tell_start(c->pool, object, RADOS_EXISTS,
	    cls_set_stripe_unit_count(
		c->layout.stripe_unit, c->layout.stripe_count),
	    &c->op.wake);
}

static void
all_make_start(struct image_create *c)
{
	struct wakes *waits = &c->waits;

	wakes_init(waits, &c->op.wake);
	image_list_start(c->pool, c->spec->name, c->id, wakes_add(waits));
	id_set_start(c, wakes_add(waits));
	header_make_start(c, wakes_add(waits));
	if (c->features & RBD_OBJECT_MAP)
		map_make_start(c, wakes_add(waits));
}

static void
parent_set_start(struct image_create *c)
{
	struct rados_write *w = rados_write_new(RADOS_EXISTS);
	char object[RBD_OBJECT_SIZE];

	image_object(object, RBD_HEADER_PREFIX, c->id);
	rados_write_call(
	    w, cls_parent_attach(c->spec->parent, c->spec->overlap));
	rados_write_call(
	    w, cls_op_features_set(RBD_OP_CLONE_CHILD, RBD_OP_CLONE_CHILD));
	rados_write_start(w, c->pool, object, &c->op.wake);
}

/* ---- answers ---- */

static int
dir_add_check(const struct image_create *c, int rc, struct err *err)
{
	const char *name = c->spec->name, *label = ceph_pool_label(c->pool);

	if (rc == -EBADF)
		return err_set(err, ERR_ABORTED,
		    "image %s in %s: id %s has another name already", name,
		    label, c->id);
	if (rc == -ENOENT) /* the namespace's: the call creates */
		return err_set(
		    err, ERR_NOT_FOUND, "%s: no such RADOS namespace", label);
	if (rc < 0)
		return err_set_rc(err, rc,
		    "image %s in %s: add it to the directory", name, label);
	return 0;
}

static void
header_look_start(struct image_create *c)
{
	image_lookup_start(
	    &c->lookup, c->pool, c->spec->name, c->id, false, &c->op.wake);
}

/* What another call has begun is not only ours. */
static void
adopt(struct image_create *c)
{
	c->adopted = true;
	c->made_dir = c->made_id = c->made_header = false;
}

/*
 * All parts of a fresh image have been tried. What is there now is this call's,
 * also what an OSD gave no answer to; unless something was there before: then
 * another process is at the same image (`adopted`), or its id is another
 * image's, and only what an exclusive creation has proven is this call's.
 */
static int
judge_parts(struct image_create *c, struct err *err)
{
	static const char *const what[] = { "", "id", "header", "object map" };
	const struct wakes_part *part = c->waits.part;
	unsigned n = c->features & RBD_OBJECT_MAP ? PART_MAP + 1 : PART_MAP;
	int dir_rc = part[PART_DIR].rc;
	bool *const made[] = { &c->made_dir, &c->made_id, &c->made_header,
		&c->made_map };

	for (unsigned i = 0; i < n; i++)
		c->adopted = c->adopted || part[i].rc == -EEXIST;
	for (unsigned i = 0; i < n; i++)
		*made[i] = dir_rc == -EBADF
		    ? part[i].rc == 0
		    : !c->adopted && part[i].rc != -ENOENT;
	if (dir_rc == -EBADF)
		c->adopted = false;
	if (dir_rc != -EEXIST && dir_add_check(c, dir_rc, err) < 0)
		return err->rc;
	for (unsigned i = PART_ID; i < n; i++)
		if (part[i].rc < 0 && part[i].rc != -EEXIST)
			return err_set_rc(err, part[i].rc,
			    "image %s in %s: write its %s", c->spec->name,
			    ceph_pool_label(c->pool), what[i]);
	return 0;
}

/* Names the first difference between what is there and what we would make. */
static bool
header_differs(const struct image_create *c, char *text, size_t size)
{
	const struct image_info *info = &c->lookup.info;
	const struct layout *layout = &c->layout;
	uint64_t features = info->features & ~RBD_OPERATIONS;
	int64_t pool = c->features & RBD_DATA_POOL ? c->data_pool->id : -1;

	if (info->size_bytes != c->spec->size_bytes)
		(void)snprintf(text, size, "size %llu, not %llu",
		    (unsigned long long)info->size_bytes,
		    (unsigned long long)c->spec->size_bytes);
	else if (features != c->features)
		(void)snprintf(text, size, "features 0x%llx, not 0x%llx",
		    (unsigned long long)features,
		    (unsigned long long)c->features);
	else if (info->layout.order != layout->order)
		(void)snprintf(text, size, "object size 2^%u, not 2^%u",
		    info->layout.order, layout->order);
	else if (info->data_pool != pool)
		(void)snprintf(text, size, "data pool %lld, not %lld",
		    (long long)info->data_pool, (long long)pool);
	else if (c->spec->parent == NULL && info->parent.pool >= 0)
		(void)snprintf(text, size, "a parent");
	else if (layout_is_striped(&info->layout) &&
	    (info->layout.stripe_unit != layout->stripe_unit ||
		info->layout.stripe_count != layout->stripe_count))
		(void)snprintf(text, size, "striping %llu x %llu",
		    (unsigned long long)info->layout.stripe_unit,
		    (unsigned long long)info->layout.stripe_count);
	else
		return false;
	return true;
}

/* ---- the undo ladder: see CREATE_UNDO ---- */

/*
 * Whether what was to go is gone. If not, nothing more is undone: the directory
 * leads to what is left.
 */
static bool
is_undone(struct image_create *c, const char *what)
{
	if (c->op.rc >= 0 || c->op.rc == -ENOENT)
		return true;
	op_set_error_rc(&c->op, c->op.rc, "image %s in %s: undo %s",
	    c->spec->name, ceph_pool_label(c->pool), what);
	return false;
}

static enum op_verdict
image_undo_step(struct image_create *c)
{
	char object[RBD_OBJECT_SIZE];
	struct op *op = &c->op;

	switch ((int)c->state) {
	case CREATE_UNDO:
		c->left = true;
		if (op->err.rc == -ETIME)
			return op_goto(c, CREATE_END);
		op->rc = 0;
		if (c->spec->reserve == NULL)
			return op_goto(c, CREATE_UNDO_ALLOWED);
		journal_mark_start(c->spec->reserve, &op->wake);
		return op_await(c, CREATE_UNDO_ALLOWED);

	case CREATE_UNDO_ALLOWED:
		if (op->rc < 0)
			return op_goto(c, CREATE_END);
		if (!c->made_clone)
			return op_goto(c, CREATE_UNDO_MAP);
		parent_detach_start(
		    c->parent_pool, c->spec->parent, c->pool, c->id, &op->wake);
		return op_await(c, CREATE_UNDO_MAP);

	case CREATE_UNDO_MAP:
		if (c->made_clone) {
			if (!is_undone(c, "its parent's link"))
				return op_goto(c, CREATE_END);
			/* it may have been all that held the snapshot */
			snapshot_reap_start(
			    c->parent_pool, c->spec->parent->id, NULL);
		}
		op->rc = 0;
		if (!c->made_map)
			return op_goto(c, CREATE_UNDO_HEADER);
		image_object(object, RBD_OBJECT_MAP_PREFIX, c->id);
		rados_remove_start(c->pool, object, &op->wake);
		return op_await(c, CREATE_UNDO_HEADER);

	case CREATE_UNDO_HEADER:
		if (!is_undone(c, "the object map"))
			return op_goto(c, CREATE_END);
		if (!c->made_header)
			return op_goto(c, CREATE_UNDO_ID);
		image_object(object, RBD_HEADER_PREFIX, c->id);
		rados_remove_start(c->pool, object, &op->wake);
		return op_await(c, CREATE_UNDO_ID);

	case CREATE_UNDO_ID:
		if (!is_undone(c, "the header"))
			return op_goto(c, CREATE_END);
		if (!c->made_id)
			return op_goto(c, CREATE_UNDO_DIR);
		image_id_remove_start(c->pool, c->spec->name, c->id, &op->wake);
		return op_await(c, CREATE_UNDO_DIR);

	case CREATE_UNDO_DIR:
		/* Of another image of the name: it stays. */
		if (op->rc != -ECANCELED && !is_undone(c, RBD_ID_PREFIX))
			return op_goto(c, CREATE_END);
		op->rc = 0;
		if (!c->made_dir)
			return op_goto(c, CREATE_UNDONE);
		image_unlist_start(c->pool, c->spec->name, c->id, &op->wake);
		return op_await(c, CREATE_UNDONE);

	case CREATE_UNDONE:
		c->left = !is_undone(c, RBD_DIRECTORY);
		return op_goto(c, CREATE_END);

	default:
		return OP_DONE;
	}
}

/* ---- a clone ---- */

static bool
is_same_parent(const struct cls_parent *a, const struct cls_parent *b)
{
	return a->pool == b->pool &&
	    str_eq(a->rados_namespace, b->rados_namespace) &&
	    str_eq(a->id, b->id) && a->snap == b->snap;
}

/*
 * The parent's snapshot gets to know its clone before that shows anything of
 * it: a parent that does not know its clone may be removed under it, while one
 * that knows of a clone that is not there only stays.
 */
static enum op_verdict
image_clone_step(struct image_create *c)
{
	const char *name = c->spec->name;
	struct op *op = &c->op;

	switch ((int)c->state) {
	case CREATE_MAP_MADE:
		/* -EEXIST: made by an earlier call, or by one that is faster */
		if (c->features & RBD_OBJECT_MAP) {
			c->made_map = c->made_header && op->rc != -EEXIST;
			if (op->rc < 0 && op->rc != -EEXIST)
				return image_fail_rc(c, CREATE_UNDO, op->rc,
				    name, "make its object map");
		}
		if (c->spec->parent == NULL)
			return op_goto(c, CREATE_END);
		parent_attach_start(
		    c->parent_pool, c->spec->parent, c->pool, c->id, &op->wake);
		return op_await(c, CREATE_CLONE_KNOWN);

	case CREATE_CLONE_KNOWN:
		c->made_clone = c->made_header && op->rc != -EEXIST &&
		    op->rc != -ENOENT;
		if (op->rc == -ENOENT)
			return op_fail(c, CREATE_UNDO, ERR_NOT_FOUND,
			    "image %s in %s: the snapshot that it is to be a clone of, of image id %s in %s, is gone",
			    name, ceph_pool_label(c->pool), c->spec->parent->id,
			    ceph_pool_label(c->parent_pool));
		if (op->rc < 0 && op->rc != -EEXIST)
			return image_fail_rc(c, CREATE_UNDO, op->rc, name,
			    "tell its parent of it");
		parent_set_start(c);
		return op_await(c, CREATE_PARENT_KNOWN);

	case CREATE_PARENT_KNOWN:
		if (op->rc == -EEXIST) {
			header_look_start(c);
			return op_await(c, CREATE_PARENT_READ);
		}
		if (op->rc < 0)
			return image_fail_rc(
			    c, CREATE_UNDO, op->rc, name, "set its parent");
		return op_goto(c, CREATE_END);

	case CREATE_PARENT_READ:
		if (op->rc < 0)
			return op_fail_as(c, CREATE_UNDO, lookup.op);
		if (is_same_parent(&c->lookup.info.parent, c->spec->parent))
			return op_goto(c, CREATE_END);
		/* It was told of a clone that it has not: nobody else would. */
		parent_detach_start(
		    c->parent_pool, c->spec->parent, c->pool, c->id, &op->wake);
		return op_await(c, CREATE_PARENT_OTHER);

	case CREATE_PARENT_OTHER:
		return image_fail(c, CREATE_UNDO, ERR_ALREADY_EXISTS, name,
		    "exists as a clone of something else");

	default:
		return OP_DONE;
	}
}

/* ---- creating ---- */

static enum op_verdict
image_begin_step(struct image_create *c)
{
	struct err err = ERR_INIT;
	struct op *op = &c->op;

	switch ((int)c->state) {
	case CREATE_START:
		if (prepare(c, &err) < 0)
			return op_fail_err(c, CREATE_END, &err);
		op_start(&c->validate.op, &pool_validate_class, &op->wake);
		return op_await(c, CREATE_POOL_VALIDATED);

	case CREATE_POOL_VALIDATED:
		if (op->rc < 0)
			return op_fail_as(c, CREATE_END, validate.op);
		if (!c->spec->fresh || layout_is_striped(&c->layout))
			return op_goto(c, CREATE_ONE_BY_ONE);
		all_make_start(c);
		return op_await(c, CREATE_AT_ONCE);

	case CREATE_AT_ONCE:
		if (judge_parts(c, &err) < 0)
			return op_fail_err(c, CREATE_UNDO, &err);
		return c->adopted ? op_goto(c, CREATE_ONE_BY_ONE)
				  : op_goto(c, CREATE_MAP_MADE);

	case CREATE_ONE_BY_ONE:
		image_list_start(c->pool, c->spec->name, c->id, &op->wake);
		return op_await(c, CREATE_DIR_ADDED);

	default:
		return OP_DONE;
	}
}

static enum op_verdict
image_create_step(struct op *op)
{
	struct image_create *c = (struct image_create *)op;
	const char *name = c->spec->name, *label = ceph_pool_label(c->pool);
	char object[RBD_OBJECT_SIZE], id[RBD_ID_SIZE] = "", text[128];
	struct err err = ERR_INIT;
	size_t n;
	int rc;

	switch (c->state) {
	case CREATE_START:
	case CREATE_POOL_VALIDATED:
	case CREATE_AT_ONCE:
	case CREATE_ONE_BY_ONE:
		return image_begin_step(c);

	case CREATE_DIR_ADDED:
		if (op->rc == -EEXIST) {
			c->read = rados_ask_start(c->pool, RBD_DIRECTORY,
			    cls_call_str("dir_get_id", name), &op->wake);
			return op_await(c, CREATE_DIR_READ);
		}
		if (dir_add_check(c, op->rc, &err) < 0)
			return op_fail_err(c, CREATE_END, &err);
		c->made_dir = true;
		id_set_start(c, &op->wake);
		return op_await(c, CREATE_ID_SET);

	case CREATE_DIR_READ:
		rc = rados_read_str(c->read, 0, c->id, sizeof(c->id));
		rados_read_drop(&c->read);
		if (rc == -ENOENT) /* removed since we tried to add it */
			return image_fail(c, CREATE_END, ERR_ABORTED, name,
			    "it is being removed");
		if (rc < 0)
			return image_fail_rc(c, CREATE_END, rc, name,
			    "read its id in the directory");
		adopt(c);
		id_set_start(c, &op->wake);
		return op_await(c, CREATE_ID_SET);

	case CREATE_ID_SET:
		if (op->rc == -EEXIST) {
			image_object(object, RBD_ID_PREFIX, name);
			c->read = rados_ask_start(
			    c->pool, object, cls_call("get_id"), &op->wake);
			return op_await(c, CREATE_ID_READ);
		}
		c->made_id = !c->adopted && (op->rc == 0 || c->made_dir);
		if (op->rc < 0)
			return image_fail_rc(
			    c, CREATE_UNDO, op->rc, name, "set its id");
		header_make_start(c, &op->wake);
		return op_await(c, CREATE_HEADER_MADE);

	case CREATE_ID_READ:
		rc = rados_read_str(c->read, 0, id, sizeof(id));
		rados_read_drop(&c->read);
		if (rc < 0)
			return image_fail_rc(
			    c, CREATE_UNDO, rc, name, "read its id");
		if (strcmp(id, c->id) != 0)
			return op_fail(c, CREATE_UNDO, ERR_ALREADY_EXISTS,
			    "image %s in %s: exists with id %s, not %s", name,
			    label, id, c->id);
		adopt(c);
		header_make_start(c, &op->wake);
		return op_await(c, CREATE_HEADER_MADE);

	case CREATE_HEADER_MADE:
		if (op->rc == -EEXIST) {
			c->read = rados_ask_start(c->pool, RBD_TRASH,
			    cls_call_str("trash_get", c->id), &op->wake);
			return op_await(c, CREATE_TRASH_READ);
		}
		c->made_header = op->rc == 0 ? !c->adopted : c->made_id;
		if (op->rc < 0)
			return image_fail_rc(
			    c, CREATE_UNDO, op->rc, name, "write its header");
		return op_goto(c, CREATE_META_SET);

	case CREATE_TRASH_READ:
		rados_read_drop(&c->read);
		if (op->rc == 0)
			return op_fail(c, CREATE_UNDO, ERR_ABORTED,
			    "image %s in %s: id %s is in use", name, label,
			    c->id);
		if (op->rc != -ENOENT)
			return op_fail_rc(c, CREATE_UNDO, op->rc,
			    "image %s in %s: look for id %s in the trash", name,
			    label, c->id);
		adopt(c);
		header_look_start(c);
		return op_await(c, CREATE_HEADER_READ);

	case CREATE_HEADER_READ:
		if (op->rc < 0)
			return op_fail_as(c, CREATE_UNDO, lookup.op);
		if (header_differs(c, text, sizeof(text)))
			return op_fail(c, CREATE_UNDO, ERR_ALREADY_EXISTS,
			    "image %s in %s: exists with %s", name, label,
			    text);
		/* The header has come with all of them. */
		for (n = c->spec->nmeta; n > 0 && c->spec->meta[n - 1].once;
		     n--)
			;
		if (n == 0)
			return op_goto(c, CREATE_META_SET);
		image_meta_set_start(
		    c->pool, c->id, c->spec->meta, n, NULL, &op->wake);
		return op_await(c, CREATE_META_SET);

	case CREATE_META_SET:
		if (op->rc < 0)
			return image_fail_rc(
			    c, CREATE_UNDO, op->rc, name, "set its metadata");
		if (!layout_is_striped(&c->layout))
			return op_goto(c, CREATE_STRIPED);
		stripe_start(c);
		return op_await(c, CREATE_STRIPED);

	case CREATE_STRIPED:
		if (op->rc < 0)
			return image_fail_rc(
			    c, CREATE_UNDO, op->rc, name, "set its striping");
		if (!(c->features & RBD_OBJECT_MAP))
			return op_goto(c, CREATE_MAP_MADE);
		map_make_start(c, &op->wake);
		return op_await(c, CREATE_MAP_MADE);

	case CREATE_MAP_MADE:
	case CREATE_CLONE_KNOWN:
	case CREATE_PARENT_KNOWN:
	case CREATE_PARENT_READ:
	case CREATE_PARENT_OTHER:
		return image_clone_step(c);

	case CREATE_UNDO:
	case CREATE_UNDO_ALLOWED:
	case CREATE_UNDO_MAP:
	case CREATE_UNDO_HEADER:
	case CREATE_UNDO_ID:
	case CREATE_UNDO_DIR:
	case CREATE_UNDONE:
	case CREATE_END:
		return image_undo_step(c);
	}
	abort();
}

static const struct op_class image_create_class = {
	.name = "image.create",
	.step = image_create_step,
};

void
image_create_start(struct image_create *c, struct ceph_pool *pool,
    const struct image_spec *spec, struct wake *waiter)
{
	memset(c, 0, sizeof(*c));
	c->pool = pool;
	c->spec = spec;
	op_start(&c->op, &image_create_class, waiter);
}
