/*
 * image_lookup.c - reading all that an image's header says in one operation.
 */
#include "ceph/image.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/* With the largest stripe count the bytes of a set still fit into 64 bits. */
#define ORDER_SANE 31

/* Steps of the read of the header, in the order in which they are added. */
enum header_step {
	HEADER_SIZE = 0,
	HEADER_FEATURES,
	HEADER_PREFIX,
	HEADER_DATA_POOL,
	HEADER_FLAGS,
	HEADER_SNAPCONTEXT,
	HEADER_OP_FEATURES,
	HEADER_PARENT,
	HEADER_GROUP,
	HEADER_LOCK,
	HEADER_STRIPE,
	HEADER_STEPS,
};

static void
read_id_start(struct image_lookup *l)
{
	char object[RBD_OBJECT_SIZE];

	image_id_object(object, l->name);
	l->read = rados_read_new();
	(void)rados_read_call(l->read, cls_get_id());
	rados_read_start(l->read, l->pool, object, &l->op.wake);
}

static void
read_header_start(struct image_lookup *l)
{
	char object[RBD_OBJECT_SIZE];
	struct rados_read *r = l->read = rados_read_new();
	unsigned last;

	(void)rados_read_call(r, cls_get_size(RBD_NOSNAP));
	(void)rados_read_call(r, cls_get_features(RBD_NOSNAP, true));
	(void)rados_read_call(r, cls_get_object_prefix());
	(void)rados_read_call(r, cls_get_data_pool());
	(void)rados_read_call(r, cls_get_flags(RBD_NOSNAP));
	(void)rados_read_call(r, cls_get_snapcontext());
	(void)rados_read_call(r, cls_op_features_get());
	(void)rados_read_call(r, cls_parent_get());
	(void)rados_read_call(r, cls_image_group_get());
	(void)rados_read_call(r, cls_lock_get_info(RBD_LOCK_NAME));
	/* refused by the class unless the image has the feature */
	last = rados_read_call(r, cls_get_stripe_unit_count());
	rados_read_may_fail(r);
	assert(last == HEADER_STRIPE);
	image_header_object(object, l->info.id);
	rados_read_start(r, l->pool, object, &l->op.wake);
}

static void
read_mirror_start(struct image_lookup *l)
{
	l->read = rados_read_new();
	(void)rados_read_call(l->read, cls_mirror_image_get(l->info.id));
	rados_read_start(l->read, l->pool, RBD_MIRRORING, &l->op.wake);
}

/* Until a striped image's striping is stored it has the default one. */
static int
parse_striping(struct image_info *info, int rc, struct dec d)
{
	struct layout *layout = &info->layout;

	if (layout->order > ORDER_SANE) /* not to be shifted by */
		return -EBADMSG;
	layout->stripe_unit = 1ull << layout->order;
	layout->stripe_count = 1;
	if (!(info->features & RBD_STRIPINGV2))
		return 0;
	if (rc < 0)
		return rc;
	rc = cls_parse_stripe(d, &layout->stripe_unit, &layout->stripe_count);
	if (rc == 0 &&
	    (layout->stripe_unit == 0 ||
		layout->stripe_unit > 1ull << layout->order ||
		layout->stripe_count == 0 || layout->stripe_count > UINT32_MAX))
		return -EBADMSG;
	return rc;
}

static int
parse_header(struct image_lookup *l)
{
	struct image_info *info = &l->info;
	struct cls_snapcontext snapc = { .seq = 0 };
	struct dec d[HEADER_STEPS];
	uint64_t pool = 0, incompatible;
	int rc[HEADER_STEPS];

	for (unsigned i = 0; i < HEADER_STEPS; i++) {
		rc[i] = rados_read_result(l->read, i, &d[i]);
		if (rc[i] < 0 && i != HEADER_STRIPE)
			return rc[i];
	}
	if (cls_parse_size(
		d[HEADER_SIZE], &info->layout.order, &info->size_bytes) < 0 ||
	    cls_parse_features(
		d[HEADER_FEATURES], &info->features, &incompatible) < 0 ||
	    cls_parse_str(
		d[HEADER_PREFIX], info->prefix, sizeof(info->prefix)) < 0 ||
	    cls_parse_u64(d[HEADER_DATA_POOL], &pool) < 0 ||
	    cls_parse_u64(d[HEADER_FLAGS], &info->flags) < 0 ||
	    cls_parse_snapcontext(d[HEADER_SNAPCONTEXT], &snapc) < 0 ||
	    cls_parse_u64(d[HEADER_OP_FEATURES], &info->op_features) < 0 ||
	    cls_parse_parent(d[HEADER_PARENT], &info->parent) < 0 ||
	    cls_parse_group(d[HEADER_GROUP], &info->group) < 0 ||
	    cls_parse_lock_info(d[HEADER_LOCK], &info->lock) < 0)
		return -EBADMSG;
	info->data_pool = (int64_t)pool;
	info->snap_seq = snapc.seq;
	info->snaps = snapc.count;
	return parse_striping(info, rc[HEADER_STRIPE], d[HEADER_STRIPE]);
}

static void
drop_read(struct image_lookup *l)
{
	rados_read_free(l->read);
	l->read = NULL;
}

static enum op_verdict
id_read(struct image_lookup *l)
{
	struct dec d;
	int rc = l->op.rc;

	if (rc == 0)
		rc = rados_read_result(l->read, 0, &d);
	if (rc == 0)
		rc = cls_parse_str(d, l->info.id, sizeof(l->info.id));
	drop_read(l);
	if (rc == -ENOENT)
		return op_fail(l, LOOKUP_END, ERR_NOT_FOUND,
		    "image %s in %s: no such image", l->name,
		    ceph_pool_label(l->pool));
	if (rc < 0)
		return op_fail_rc(l, LOOKUP_END, rc,
		    "image %s in %s: read its id", l->name,
		    ceph_pool_label(l->pool));
	read_header_start(l);
	return op_await(l, LOOKUP_HEADER_READ);
}

static enum op_verdict
header_read(struct image_lookup *l)
{
	int rc = l->op.rc;

	if (rc == 0)
		rc = parse_header(l);
	drop_read(l);
	if (rc == -ENOENT)
		return op_fail(l, LOOKUP_END, ERR_NOT_FOUND,
		    "image %s in %s: it has no header", l->info.id,
		    ceph_pool_label(l->pool));
	if (rc < 0)
		return op_fail_rc(l, LOOKUP_END, rc,
		    "image %s in %s: read its header", l->info.id,
		    ceph_pool_label(l->pool));
	if (!l->check_mirror)
		return op_goto(l, LOOKUP_END);
	read_mirror_start(l);
	return op_await(l, LOOKUP_MIRROR_READ);
}

static enum op_verdict
image_lookup_step(struct op *op)
{
	struct image_lookup *l = (struct image_lookup *)op;

	switch (l->state) {
	case LOOKUP_START:
		if (l->info.id[0] == '\0') {
			read_id_start(l);
			return op_await(l, LOOKUP_ID_READ);
		}
		read_header_start(l);
		return op_await(l, LOOKUP_HEADER_READ);

	case LOOKUP_ID_READ:
		return id_read(l);

	case LOOKUP_HEADER_READ:
		return header_read(l);

	case LOOKUP_MIRROR_READ:
		drop_read(l);
		if (op->rc < 0 && op->rc != -ENOENT)
			return op_fail_rc(l, LOOKUP_END, op->rc,
			    "image %s in %s: ask whether it is mirrored",
			    l->info.id, ceph_pool_label(l->pool));
		l->info.mirrored = op->rc == 0;
		return op_goto(l, LOOKUP_END);

	case LOOKUP_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_lookup_class = {
	.name = "image.lookup",
	.step = image_lookup_step,
};

void
image_lookup_start(struct image_lookup *l, struct ceph_pool *pool,
    const char *name, const char *id, bool check_mirror, struct wake *waiter)
{
	memset(l, 0, sizeof(*l));
	l->pool = pool;
	l->name = name;
	l->check_mirror = check_mirror;
	if (id != NULL && str_put(l->info.id, sizeof(l->info.id), "%s", id) < 0)
		l->info.id[0] = '\0';
	op_start(&l->op, &image_lookup_class, waiter);
}
