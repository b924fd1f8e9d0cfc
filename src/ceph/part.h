/*
 * part.h - a clone into which everything was copied that it shows of its parent
 * parts from that.
 *
 * The rule that holds it together: the clone forgets its parent first, so that
 * whoever opens it, or a clone of it, from then on does not look at the parent
 * any more. The parent keeps its snapshot until nobody is left who has opened
 * one of them before: such a client goes by the object maps that it has loaded
 * then, and looks in the parent for what has been copied since.
 */
#ifndef CEPH_PART_H
#define CEPH_PART_H

#include "ceph/parent.h"
#include "ceph/readers.h"

enum image_part_state {
	PART_START = 0,
	PART_CHILD_LEFT,  /* it does not know its parent any more */
	PART_SEARCHED,    /* whether anybody may still read the parent */
	PART_PARENT_LEFT, /* the parent does not know it any more */
	PART_REAPED,      /* and has no snapshot for it alone any more */
	PART_END,
};

struct image_part {
	struct op op;
	enum image_part_state state;

	/* what the caller sets; all else is zeroed */
	struct ceph_pool *pool;
	const char *image_id;
	const struct cls_parent *parent; /* that it had: image_flatten's */
	const char *record;              /* readers_find's */

	/* the answer */
	bool left; /* it is no clone any more, whether this fails or not */

	/* private; readers.reader is also an answer */
	struct ceph_pool *parent_pool;
	struct readers_find readers;
};

/*
 * Success: nothing is left of the bond, nor of a snapshot that was there for it
 * alone. FAILED_PRECONDITION with readers.reader set: that image is in use; the
 * same call is to be made again later. It may be done again in any case, also
 * when the image, or its parent, is gone.
 */
void image_part_start(struct image_part *part, struct wake *waiter);

#endif
