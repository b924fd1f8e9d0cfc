/*
 * resize.c - growing an image.
 */
#include "ceph/resize.h"

#include <errno.h>

#define TRIES_MAX 5 /* an image that changes each time is somebody's */

static enum op_verdict
image_grow_step(struct op *op)
{
	struct image_grow *r = (struct image_grow *)op;
	const struct image_info *info = r->info != NULL ? r->info
							: &r->lookup.info;
	uint64_t features = info->features;
	struct layout layout = info->layout;
	char object[RBD_OBJECT_SIZE];
	struct err err = ERR_INIT;
	struct rados_write *w;

	switch (r->state) {
	case RESIZE_START:
		if (r->info != NULL)
			return op_goto(r, RESIZE_JUDGED);
		image_lookup_start(
		    &r->lookup, r->pool, NULL, r->image_id, true, &op->wake);
		return op_await(r, RESIZE_LOOKED_UP);

	case RESIZE_LOOKED_UP:
		if (op->rc < 0)
			return op_fail_as(r, RESIZE_END, lookup.op);
		return op_goto(r, RESIZE_JUDGED);

	case RESIZE_JUDGED:
		r->actual_bytes = info->size_bytes;
		if (r->size_bytes <= info->size_bytes) {
			/* whoever was killed before may not have told */
			return op_goto(r, RESIZE_TELL);
		}
		r->obstacle = image_obstacle_in_place(info);
		if (++r->tries > TRIES_MAX)
			r->obstacle = IMAGE_LOCKED;
		if (r->obstacle != IMAGE_PLAIN)
			return image_fail_obstacle(r, RESIZE_END, r->image_id);
		features &= features_created();
		if (layout_check(&layout, r->size_bytes, &features, &err) < 0)
			return op_fail_err(r, RESIZE_END, &err);
		if (!(features & RBD_OBJECT_MAP))
			return op_goto(r, RESIZE_MAP_GROWN);
		image_object(object, RBD_OBJECT_MAP_PREFIX, r->image_id);
		rados_tell_start(r->pool, object, RADOS_EXISTS,
		    cls_object_map_resize(
			layout_objects(&layout, r->size_bytes)),
		    &op->wake);
		return op_await(r, RESIZE_MAP_GROWN);

	case RESIZE_MAP_GROWN:
		/* one that is lost is no map; it is invalid before and after */
		if (op->rc < 0 && op->rc != -ENOENT)
			return image_fail_rc(r, RESIZE_END, op->rc, r->image_id,
			    "grow its object map");
		image_object(object, RBD_HEADER_PREFIX, r->image_id);
		w = rados_write_new(RADOS_EXISTS);
		/* nobody may have shrunk it, or taken its lock, since */
		rados_write_version_expect(w, info->version);
		rados_write_call(w, cls_call_u64("set_size", r->size_bytes));
		rados_write_start(w, r->pool, object, &op->wake);
		return op_await(r, RESIZE_SET);

	case RESIZE_SET:
		if (op->rc == -ECANCELED) {
			r->info = NULL;
			return op_goto(r, RESIZE_START);
		}
		if (op->rc < 0)
			return image_fail_rc(
			    r, RESIZE_END, op->rc, r->image_id, "set its size");
		r->actual_bytes = r->size_bytes;
		r->grown = true;
		return op_goto(r, RESIZE_TELL);

	case RESIZE_TELL:
		watch_header_update_start(
		    r->pool, r->image_id, &r->notified, &op->wake);
		return op_await(r, RESIZE_NOTIFIED);

	case RESIZE_NOTIFIED:
		if (op->rc < 0 && op->rc != -ETIMEDOUT)
			return image_fail_rc(r, RESIZE_END, op->rc, r->image_id,
			    "tell of its new size");
		return op_goto(r, RESIZE_END);

	case RESIZE_END:
		return OP_DONE;
	}
	abort();
}

static const struct op_class image_grow_class = {
	.name = "image.grow",
	.step = image_grow_step,
};

void
image_grow_start(struct image_grow *resize, struct wake *waiter)
{
	op_start(&resize->op, &image_grow_class, waiter);
}
