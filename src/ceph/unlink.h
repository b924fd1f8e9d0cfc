/*
 * unlink.h - what ties an image in the trash to others, before it is purged:
 * clones of its snapshots hold it, and it holds its parent.
 */
#ifndef CEPH_UNLINK_H
#define CEPH_UNLINK_H

#include "ceph/parent.h"

enum image_unlink_state {
	UNLINK_START = 0,
	UNLINK_LISTED,        /* its snapshots are known */
	UNLINK_CLONE_READ,    /* one that has a clone: which */
	UNLINK_CLONE_NAMED,   /* its name, if it has one */
	UNLINK_CLONE_TRASHED, /* its name in the trash */
	UNLINK_OWN_TRASHED,   /* a snapshot of its own name is in its trash */
	UNLINK_JUDGED,        /* nothing holds it */
	UNLINK_IDS_RETURNED,  /* the data of its snapshots are freed */
	UNLINK_MAPS_GONE,     /* so are their object maps */
	UNLINK_DETACHED,      /* its parent does not know it any more */
	UNLINK_PARENT_REAPED, /* and has no snapshot for it alone any more */
	UNLINK_END,
};

struct image_unlink {
	struct op op;
	enum image_unlink_state state;

	/* what the caller sets; all else is zeroed */
	struct ceph_pool *pool;
	const struct image_info *info;
	const char *name; /* that it had, or NULL */
	bool check;       /* only whether something holds it */

	/* the answer */
	char held_by[2 * RBD_NAME_SIZE]; /* refused: a clone, or a snapshot */

	/* private */
	struct ceph_pool *data_pool, *parent_pool, *clone_pool;
	char clone_id[RBD_ID_SIZE];
	struct rados_read *read;
	struct snapshot_list list;
	size_t maps; /* of the snapshots in the list, removed */
};

/*
 * Gives back the ids of the image's snapshots, which are in its trash and have
 * no clones, lets its parent forget it, and has the snapshot reaped that it was
 * a clone of. The image must be REMOVING in the trash: it shows nothing any
 * more. It may be done again.
 *
 * A user's snapshot that has the image's own name and no clone is what ceph-csi
 * has left, and goes along. FAILED_PRECONDITION: a clone, or a user's snapshot,
 * holds the image; `held_by` names it, and nothing is changed.
 */
void image_unlink_start(struct image_unlink *unlink, struct wake *waiter);

#endif
