/*
 * depth.h - how deep chains of clones may become, and how many snapshots an
 * image may have, before something is flattened (ceph-csi: flattenRbdImage,
 * flattenParentImage and flattenTemporaryClonedImages).
 *
 * The rule that holds it together: whoever makes a copy asks first. Below the
 * soft limits nothing happens; from there on a flatten is begun in the
 * background; from the hard ones on the copy waits for it.
 */
#ifndef CONTROLLER_DEPTH_H
#define CONTROLLER_DEPTH_H

#include "ceph/parent.h"
#include "controller/flatten.h"
#include "csi/rpc.h"

enum depth_state {
	DEPTHCHECK_START = 0,
	DEPTHCHECK_KNOWN, /* how many parents are above the image */
	DEPTHCHECK_NAMED, /* what the parent is called, unless it is in the
			     trash */
	DEPTHCHECK_COUNT, /* the chain is short enough, or was made so */
	/* the image has too many snapshots */
	DEPTHCHECK_LISTED,      /* which these are */
	DEPTHCHECK_NEXT,        /* some more are to be looked at */
	DEPTHCHECK_LOOKED_AT,   /* which clones these have */
	DEPTHCHECK_CHILD,       /* the next one of those */
	DEPTHCHECK_CHILD_NAMED, /* what it is called, as above */
	DEPTHCHECK_CHOSEN,      /* enough of them are being flattened */
	DEPTHCHECK_FREED,       /* the last one that was needed is */
	DEPTHCHECK_END,
};

/* Embed it, zero it, set what the caller sets. */
struct depth_check {
	struct op op;
	enum depth_state state;

	/* what the caller sets */
	const struct csi_env *env;
	struct arena *arena;
	struct ceph_pool *pool; /* of the image that is to be copied */
	const char *image;      /* its name */
	const struct image_info *info;
	/*
	 * It is a CSI snapshot, which is cloned itself; else a volume, which
	 * gets a snapshot, and its copy an image in between.
	 */
	bool is_snapshot;

	/* private */
	struct ceph_pool *parent_pool;
	struct parent_depth above;
	struct flatten_target target; /* whom to flatten */
	struct flatten_wait wait;
	struct rados_read *read; /* a name */
	struct snapshot_list snaps;
	size_t at;                 /* those below it are to be looked at */
	struct rados_read *page;   /* the clones of some of these */
	unsigned answers, answer;  /* in the page */
	struct dec children;       /* what is left of an answer */
	uint32_t left;             /* ... which is so many */
	struct cls_child_id child; /* the one that is looked at */
	unsigned chosen, wanted;   /* clones that are, are to be flattened */
	unsigned needed;           /* ... and have to be, first */
};

/*
 * Wakes when the copy may be made. RESOURCE_EXHAUSTED: the image has too many
 * snapshots, and not enough of them go when clones are flattened. Another
 * failure is that of a flatten; it is tried again in the background.
 */
void depth_check_start(struct depth_check *check, struct wake *waiter);

#endif
