/*
 * resize.h - an image grows, also while it is in use.
 *
 * The rule that holds it together: the object map grows first and everybody
 * who has the image open is told last, so that nobody ever sees a size that
 * its map is too short for. An image never shrinks.
 */
#ifndef CEPH_RESIZE_H
#define CEPH_RESIZE_H

#include "ceph/image.h"

enum image_grow_state {
	RESIZE_START = 0,
	RESIZE_LOOKED_UP, /* the header has answered */
	RESIZE_JUDGED,    /* it is for us to do */
	RESIZE_MAP_GROWN, /* its object map has room for it */
	RESIZE_SET,       /* the header has the size, or refuses it */
	RESIZE_TELL,      /* those who have the image open are to know */
	RESIZE_NOTIFIED,  /* they do, or have not answered */
	RESIZE_END,
};

struct image_grow {
	struct op op;
	enum image_grow_state state;

	/* what the caller sets; all else is zeroed */
	struct ceph_pool *pool;
	const char *image_id;
	uint64_t size_bytes;
	const struct image_info *info; /* as snapshot_add has it, or NULL */

	/* the answer */
	uint64_t actual_bytes; /* at least what was asked for */
	bool grown;
	enum image_obstacle obstacle;

	/* private */
	unsigned tries;
	struct rados_notified notified;
	struct image_lookup lookup;
};

/*
 * Grows an image to `size_bytes`; one that is as large or larger is success.
 * Whoever has it open and does not answer learns of it when he reads the header
 * next: that is no failure, as with librbd. Of an image with an exclusive lock
 * only while nobody holds that. UNIMPLEMENTED, with `obstacle` set: librbd in a
 * lane has to do it. NOT_FOUND: no such image. OUT_OF_RANGE: no image can be so
 * large.
 */
void image_grow_start(struct image_grow *resize, struct wake *waiter);

#endif
