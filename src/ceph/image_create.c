/*
 * image_create.c - creating an image natively, in librbd's order of writes:
 * directory, rbd_id, header with metadata, striping, object map.
 *
 * The rule that holds it together: a name and an id are ours to go on with if
 * the directory and rbd_id.NAME both say so, and an existing header is if it
 * says what we would write. Only what this call has made is undone.
 */
#include "ceph/image.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static enum op_verdict
begin(struct image_create *c)
{
	struct err err = ERR_INIT;

	c->layout = c->spec->layout;
	c->features = c->spec->features;
	if (layout_check(&c->layout, c->spec->size_bytes, &c->features, &err) <
	    0)
		return op_fail_err(c, CREATE_END, &err);
	if (strlen(c->spec->name) >= RBD_NAME_SIZE ||
	    str_put(c->id, sizeof(c->id), "%s", c->spec->id) < 0)
		return op_fail(c, CREATE_END, ERR_INVALID_ARGUMENT,
		    "image %s: the name or the id is too long", c->spec->name);
	c->data_pool = c->spec->data_pool;
	if (c->data_pool == NULL ||
	    ceph_pool_id(c->data_pool) == ceph_pool_id(c->pool))
		c->data_pool = c->pool;
	else
		c->features |= RBD_DATA_POOL;
	pool_validate_start(&c->validate, c->data_pool, &c->op.wake);
	return op_await(c, CREATE_POOL_VALIDATED);
}

static void
dir_add_start(struct image_create *c)
{
	struct rados_write *w = rados_write_new();

	if (ceph_pool_namespace(c->pool)[0] != '\0')
		rados_write_call(w, cls_dir_state_assert_ready());
	rados_write_call(w, cls_dir_add_image(c->spec->name, c->id));
	rados_write_start(w, c->pool, RBD_DIRECTORY, &c->op.wake);
}

static void
dir_read_start(struct image_create *c)
{
	c->read = rados_read_new();
	(void)rados_read_call(c->read, cls_dir_get_id(c->spec->name));
	rados_read_start(c->read, c->pool, RBD_DIRECTORY, &c->op.wake);
}

static void
id_set_start(struct image_create *c)
{
	struct rados_write *w = rados_write_new();
	char object[RBD_OBJECT_SIZE];

	image_id_object(object, c->spec->name);
	rados_write_create(w, true);
	rados_write_call(w, cls_set_id(c->id));
	rados_write_start(w, c->pool, object, &c->op.wake);
}

static void
id_read_start(struct image_create *c)
{
	char object[RBD_OBJECT_SIZE];

	image_id_object(object, c->spec->name);
	c->read = rados_read_new();
	(void)rados_read_call(c->read, cls_get_id());
	rados_read_start(c->read, c->pool, object, &c->op.wake);
}

/* The prefix carries the metadata pool's id when the data are elsewhere. */
static void
header_make_start(struct image_create *c)
{
	struct rados_write *w = rados_write_new();
	char object[RBD_OBJECT_SIZE];
	bool elsewhere = c->features & RBD_DATA_POOL;

	if (elsewhere)
		(void)snprintf(c->prefix, sizeof(c->prefix),
		    RBD_DATA_PREFIX "%lld.%s", (long long)ceph_pool_id(c->pool),
		    c->id);
	else
		(void)snprintf(
		    c->prefix, sizeof(c->prefix), RBD_DATA_PREFIX "%s", c->id);
	image_header_object(object, c->id);
	rados_write_create(w, true);
	rados_write_call(w,
	    cls_create(c->spec->size_bytes, c->layout.order, c->features,
		c->prefix, elsewhere ? ceph_pool_id(c->data_pool) : -1));
	if (c->spec->nmeta > 0)
		rados_write_call(
		    w, cls_metadata_set(c->spec->meta, c->spec->nmeta));
	rados_write_start(w, c->pool, object, &c->op.wake);
}

static void
stripe_start(struct image_create *c)
{
	struct rados_write *w = rados_write_new();
	char object[RBD_OBJECT_SIZE];

	image_header_object(object, c->id);
	rados_write_assert_exists(w);
	rados_write_call(w,
	    cls_set_stripe_unit_count(
		c->layout.stripe_unit, c->layout.stripe_count));
	rados_write_start(w, c->pool, object, &c->op.wake);
}

/* Never touches a map that exists: it may know of data by now. */
static void
map_make_start(struct image_create *c)
{
	struct rados_write *w = rados_write_new();
	char object[RBD_OBJECT_SIZE];

	image_map_object(object, c->id);
	rados_write_create(w, true);
	rados_write_call(w,
	    cls_object_map_resize(
		layout_objects(&c->layout, c->spec->size_bytes)));
	rados_write_start(w, c->pool, object, &c->op.wake);
}

static enum op_verdict
dir_added(struct image_create *c)
{
	const char *label = ceph_pool_label(c->pool);

	switch (c->op.rc) {
	case 0:
		c->made_dir = true;
		id_set_start(c);
		return op_await(c, CREATE_ID_SET);
	case -EEXIST:
		dir_read_start(c);
		return op_await(c, CREATE_DIR_READ);
	case -EBADF:
		return op_fail(c, CREATE_END, ERR_ABORTED,
		    "image %s in %s: id %s has another name already",
		    c->spec->name, label, c->id);
	case -ENOENT: /* of the namespace's state: the call creates */
		return op_fail(c, CREATE_END, ERR_NOT_FOUND,
		    "%s: no such RADOS namespace", label);
	default:
		return op_fail_rc(c, CREATE_END, c->op.rc,
		    "image %s in %s: add it to the directory", c->spec->name,
		    label);
	}
}

/*
 * The image was begun by another call: by one that was killed, or by another
 * process that still works on it. Whatever this call adds is not only its own.
 */
static void
adopt(struct image_create *c)
{
	c->adopted = true;
	c->made_dir = c->made_id = c->made_header = false;
}

/* A reply that is one id, in c->read. */
static int
take_id(struct image_create *c, char id[RBD_ID_SIZE])
{
	struct dec d;
	int rc = rados_read_result(c->read, 0, &d);

	if (rc == 0)
		rc = cls_parse_str(d, id, RBD_ID_SIZE);
	rados_read_free(c->read);
	c->read = NULL;
	return rc;
}

static enum op_verdict
dir_read(struct image_create *c)
{
	int rc = take_id(c, c->id);

	if (rc == -ENOENT) /* removed since we tried to add it */
		return op_fail(c, CREATE_END, ERR_ABORTED,
		    "image %s in %s: it is being removed", c->spec->name,
		    ceph_pool_label(c->pool));
	if (rc < 0)
		return op_fail_rc(c, CREATE_END, rc,
		    "image %s in %s: read its id in the directory",
		    c->spec->name, ceph_pool_label(c->pool));
	adopt(c);
	id_set_start(c);
	return op_await(c, CREATE_ID_SET);
}

static enum op_verdict
id_set(struct image_create *c)
{
	if (c->op.rc == -EEXIST) {
		id_read_start(c);
		return op_await(c, CREATE_ID_READ);
	}
	/* without an answer of the OSD it may be there all the same */
	c->made_id = !c->adopted && (c->op.rc == 0 || c->made_dir);
	if (c->op.rc < 0)
		return op_fail_rc(c, CREATE_UNDO_MAP, c->op.rc,
		    "image %s in %s: set its id", c->spec->name,
		    ceph_pool_label(c->pool));
	header_make_start(c);
	return op_await(c, CREATE_HEADER_MADE);
}

static enum op_verdict
id_read(struct image_create *c)
{
	char id[RBD_ID_SIZE] = "";
	int rc = take_id(c, id);

	if (rc < 0)
		return op_fail_rc(c, CREATE_UNDO_MAP, rc,
		    "image %s in %s: read its id", c->spec->name,
		    ceph_pool_label(c->pool));
	if (strcmp(id, c->id) != 0)
		return op_fail(c, CREATE_UNDO_MAP, ERR_ALREADY_EXISTS,
		    "image %s in %s: exists with id %s, not %s", c->spec->name,
		    ceph_pool_label(c->pool), id, c->id);
	adopt(c);
	header_make_start(c);
	return op_await(c, CREATE_HEADER_MADE);
}

static enum op_verdict
complete_map(struct image_create *c)
{
	if (!(c->features & RBD_OBJECT_MAP))
		return op_goto(c, CREATE_END);
	map_make_start(c);
	return op_await(c, CREATE_MAP_MADE);
}

static enum op_verdict
complete_striping(struct image_create *c)
{
	if (!layout_is_striped(&c->layout))
		return complete_map(c);
	stripe_start(c);
	return op_await(c, CREATE_STRIPED);
}

static enum op_verdict
header_read_start(struct image_create *c)
{
	image_lookup_start(
	    &c->lookup, c->pool, c->spec->name, c->id, false, &c->op.wake);
	return op_await(c, CREATE_HEADER_READ);
}

static enum op_verdict
header_made(struct image_create *c)
{
	if (c->op.rc == 0) {
		c->made_header = !c->adopted;
		return complete_striping(c);
	}
	if (c->op.rc == -EEXIST && c->made_id) {
		c->read = rados_read_new();
		(void)rados_read_call(c->read, cls_trash_get(c->id));
		rados_read_start(c->read, c->pool, RBD_TRASH, &c->op.wake);
		return op_await(c, CREATE_TRASH_READ);
	}
	if (c->op.rc == -EEXIST)
		return header_read_start(c);
	c->made_header = c->made_id;
	return op_fail_rc(c, CREATE_UNDO_MAP, c->op.rc,
	    "image %s in %s: write its header", c->spec->name,
	    ceph_pool_label(c->pool));
}

/*
 * The name is new and ours, but its header was there: either the id is that
 * of an image in the trash (the directory knows all the others), or another
 * process makes the same image and has overtaken us.
 */
static enum op_verdict
trash_read(struct image_create *c)
{
	rados_read_free(c->read);
	c->read = NULL;
	if (c->op.rc == 0)
		return op_fail(c, CREATE_UNDO_MAP, ERR_ABORTED,
		    "image %s in %s: id %s is in use", c->spec->name,
		    ceph_pool_label(c->pool), c->id);
	if (c->op.rc != -ENOENT)
		return op_fail_rc(c, CREATE_UNDO_MAP, c->op.rc,
		    "image %s in %s: look for id %s in the trash",
		    c->spec->name, ceph_pool_label(c->pool), c->id);
	adopt(c);
	return header_read_start(c);
}

/* Names the first difference between what is there and what we would make. */
static bool
header_differs(const struct image_create *c, char *text, size_t size)
{
	const struct image_info *info = &c->lookup.info;
	const struct layout *layout = &c->layout;
	uint64_t features = info->features & ~RBD_OPERATIONS;
	int64_t pool = c->features & RBD_DATA_POOL ? ceph_pool_id(c->data_pool)
						   : -1;

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

static enum op_verdict
header_read(struct image_create *c)
{
	char text[128];

	if (c->op.rc < 0)
		return op_fail_err(c, CREATE_UNDO_MAP, &c->lookup.op.err);
	if (header_differs(c, text, sizeof(text)))
		return op_fail(c, CREATE_UNDO_MAP, ERR_ALREADY_EXISTS,
		    "image %s in %s: exists with %s", c->spec->name,
		    ceph_pool_label(c->pool), text);
	if (c->spec->nmeta == 0)
		return complete_striping(c);
	image_meta_set_start(
	    c->pool, c->id, c->spec->meta, c->spec->nmeta, &c->op.wake);
	return op_await(c, CREATE_META_SET);
}

static enum op_verdict
map_made(struct image_create *c)
{
	/* -EEXIST: made by an earlier call, or by one that is faster */
	if (c->op.rc == 0 || c->op.rc == -EEXIST)
		return op_goto(c, CREATE_END);
	c->made_map = c->made_header;
	return op_fail_rc(c, CREATE_UNDO_MAP, c->op.rc,
	    "image %s in %s: make its object map", c->spec->name,
	    ceph_pool_label(c->pool));
}

/*
 * ---- the undo ladder ----
 *
 * It is not tried on a cluster that does not answer: each rung would wait
 * again. What is left is as after a kill, and the next call completes it.
 */

static void
undo_note(struct image_create *c, const char *what)
{
	if (c->op.rc < 0 && c->op.rc != -ENOENT)
		op_set_error_rc(&c->op, c->op.rc, "image %s in %s: undo %s",
		    c->spec->name, ceph_pool_label(c->pool), what);
}

static enum op_verdict
undo_map(struct image_create *c)
{
	char object[RBD_OBJECT_SIZE];

	if (c->op.err.rc == -ETIME)
		return op_goto(c, CREATE_END);
	if (!c->made_map)
		return op_goto(c, CREATE_UNDO_HEADER);
	image_map_object(object, c->id);
	rados_remove_start(c->pool, object, &c->op.wake);
	return op_await(c, CREATE_UNDO_HEADER);
}

static enum op_verdict
undo_header(struct image_create *c)
{
	char object[RBD_OBJECT_SIZE];

	if (!c->made_header)
		return op_goto(c, CREATE_UNDO_ID);
	undo_note(c, "the object map");
	image_header_object(object, c->id);
	rados_remove_start(c->pool, object, &c->op.wake);
	return op_await(c, CREATE_UNDO_ID);
}

static enum op_verdict
undo_id(struct image_create *c)
{
	if (!c->made_id)
		return op_goto(c, CREATE_UNDO_DIR);
	undo_note(c, "the header");
	image_id_remove_start(c->pool, c->spec->name, c->id, &c->op.wake);
	return op_await(c, CREATE_UNDO_DIR);
}

static enum op_verdict
undo_dir(struct image_create *c)
{
	struct rados_write *w;

	if (!c->made_dir)
		return op_goto(c, CREATE_END);
	undo_note(c, RBD_ID_PREFIX);
	w = rados_write_new();
	rados_write_call(w, cls_dir_remove_image(c->spec->name, c->id));
	rados_write_start(w, c->pool, RBD_DIRECTORY, &c->op.wake);
	return op_await(c, CREATE_END);
}

static enum op_verdict
image_create_step(struct op *op)
{
	struct image_create *c = (struct image_create *)op;

	switch (c->state) {
	case CREATE_START:
		return begin(c);

	case CREATE_POOL_VALIDATED:
		if (op->rc < 0)
			return op_fail_err(c, CREATE_END, &c->validate.op.err);
		dir_add_start(c);
		return op_await(c, CREATE_DIR_ADDED);

	case CREATE_DIR_ADDED:
		return dir_added(c);
	case CREATE_DIR_READ:
		return dir_read(c);
	case CREATE_ID_SET:
		return id_set(c);
	case CREATE_ID_READ:
		return id_read(c);
	case CREATE_HEADER_MADE:
		return header_made(c);
	case CREATE_TRASH_READ:
		return trash_read(c);
	case CREATE_HEADER_READ:
		return header_read(c);

	case CREATE_META_SET:
		if (op->rc < 0)
			return op_fail_rc(c, CREATE_UNDO_MAP, op->rc,
			    "image %s in %s: set its metadata", c->spec->name,
			    ceph_pool_label(c->pool));
		return complete_striping(c);

	case CREATE_STRIPED:
		if (op->rc < 0)
			return op_fail_rc(c, CREATE_UNDO_MAP, op->rc,
			    "image %s in %s: set its striping", c->spec->name,
			    ceph_pool_label(c->pool));
		return complete_map(c);

	case CREATE_MAP_MADE:
		return map_made(c);

	case CREATE_UNDO_MAP:
		return undo_map(c);
	case CREATE_UNDO_HEADER:
		return undo_header(c);
	case CREATE_UNDO_ID:
		return undo_id(c);
	case CREATE_UNDO_DIR:
		return undo_dir(c);

	case CREATE_END:
		return OP_DONE;
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
