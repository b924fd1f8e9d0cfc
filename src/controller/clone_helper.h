/*
 * clone_helper.h - the image that stands between a volume and a clone of it,
 * and the one that is a CSI snapshot of the volume: they are made alike.
 *
 * A clone IMAGE of a volume is a clone of a helper, IMAGE-temp, which is a clone
 * of the volume, as with ceph-csi (internal/rbd/clone.go); a snapshot SNAP is
 * such an image, too, of which clones are made later:
 *
 *	volume @IMAGE-temp -> IMAGE-temp @IMAGE -> IMAGE
 *	volume @SNAP -> SNAP @SNAP
 *
 * The rule that holds it together: the volume's snapshot goes to the trash as
 * soon as the helper is whole, so that the volume can be resized, cloned and
 * deleted as if there was no clone; the helper and its snapshot stay as long as
 * the clone, and go with it. The helper's snapshot is made last, so a helper
 * that has it is whole.
 */
#ifndef CONTROLLER_CLONE_HELPER_H
#define CONTROLLER_CLONE_HELPER_H

#include "ceph/trash.h"
#include "controller/image_jobs.h"
#include "controller/volume_source.h"

/* What it needs, so that it can be flattened; ceph-csi's has them, too. */
#define HELPER_FEATURES (RBD_LAYERING | RBD_DEEP_FLATTEN)

/* ---- make ---- */

enum helper_make_state {
	HELPMAKE_START = 0,
	HELPMAKE_LOOKED_UP,     /* an earlier try's was looked for */
	HELPMAKE_LISTED,        /* and which snapshots it has */
	HELPMAKE_SOURCE_LISTED, /* and which ones the volume has */
	HELPMAKE_SEARCHED,      /* whether there is anything in it */
	HELPMAKE_SNAP,          /* the volume has no snapshot for it yet */
	HELPMAKE_SNAPPED,       /* it has */
	HELPMAKE_CLONED,        /* it is made */
	HELPMAKE_AGAIN, /* not made, nor is the volume's snapshot left */
	HELPMAKE_FREED, /* the volume's snapshot is in the trash, and it was
				   looked up */
	HELPMAKE_WHOLE, /* all of that, or it was so already */
	HELPMAKE_DONE,  /* it has its snapshot */
	HELPMAKE_END,
};

struct helper_make {
	struct op op;
	enum helper_make_state state;

	/* what the caller sets; all else is zeroed */
	const struct volume_source *source; /* a volume */
	struct ceph_pool *pool;
	/* Its name, features, layout, data pool and metadata. */
	const struct image_spec *like;
	const char *snapshot; /* what its own is called */
	bool is_resumed;      /* an earlier try may have left some of it */

	/* the answer */
	struct cls_parent parent;   /* what is to be cloned */
	uint64_t size_bytes;        /* of that */
	char id[RBD_ID_SIZE];       /* of the helper; "": none was made */
	bool adopted;               /* not only this call has made it */
	bool left;                  /* a failure: some of it may be there */
	struct image_lookup lookup; /* it, by lookup.info */

	/* private */
	char own_id[RBD_ID_SIZE];
	struct cls_parent of; /* the volume's snapshot */
	unsigned tries;
	struct image_spec spec;
	struct wakes parts;
	bool made; /* and looked up since */
	struct snapshot_list list;
	struct image_empty empty;
	struct image_job job;
};

/*
 * Makes the helper for a clone, or completes what a killed process has left of
 * it, ceph-csi too. ALREADY_EXISTS: the one that is there is of another volume.
 * FAILED_PRECONDITION: the one that is there has lost what it is a clone of.
 */
void helper_make_start(struct helper_make *make, struct wake *waiter);

/* ---- undo ---- */

enum clone_forget_state {
	FORGET_START = 0,
	FORGET_LISTED, /* the image's snapshots */
	FORGET_NEXT,   /* the next one of the name is to forget it */
	FORGET_END,
};

/*
 * An image forgets a clone that was made of a snapshot of this name, which that
 * may not know itself: then its purge would not see to it.
 */
struct clone_forget {
	struct op op;
	enum clone_forget_state state;
	struct ceph_pool *pool, *clone_pool;
	const char *id, *snapshot, *clone_id;
	struct snapshot_list list;
	size_t at;
};

enum helper_undo_state {
	HELPUNDO_START = 0,
	HELPUNDO_LOOKED_UP,    /* the helper's id is known */
	HELPUNDO_ALONE,        /* the volume knows of none that is in part */
	HELPUNDO_SOURCE_FREED, /* the volume's snapshot is in the trash */
	HELPUNDO_CHILDLESS,    /* nor does the helper of a clone in part */
	HELPUNDO_FREED,        /* the helper's is */
	HELPUNDO_NOTED,        /* a note says that it is to be purged */
	HELPUNDO_MOVED,        /* the helper is in the trash */
	HELPUNDO_END,
};

struct helper_undo {
	struct op op;
	enum helper_undo_state state;
	const struct helper_make *make;
	const char *instance_id;
	const char *clone_id;
	struct image_place place; /* of one that was made in part */
	char id[RBD_ID_SIZE];
	struct clone_forget forget;
	struct image_job job;
	struct trash_move move;
};

/*
 * Takes away what helper_make_start() has made. A failure leaves the rest to
 * the next call that makes it. `clone_id`: the id of the clone if some of that
 * may have been left when it was undone, else NULL.
 */
void helper_undo_start(struct helper_undo *undo, const struct helper_make *make,
    const char *clone_id, const char *instance_id, struct wake *waiter);

/* ---- free ---- */

enum helper_free_state {
	HELPFREE_START = 0,
	HELPFREE_LISTED,    /* its snapshots are known */
	HELPFREE_LOOKED_UP, /* it has none: whether it is a clone */
	HELPFREE_FREED,     /* its snapshot is in the trash */
	HELPFREE_END,
};

struct helper_free {
	struct op op;
	enum helper_free_state state;
	struct ceph_pool *pool;
	const char *id;    /* of the helper */
	const char *clone; /* the name of what was cloned of it */
	struct snapshot_list list;
	struct image_lookup lookup;
	struct image_job job;
};

/*
 * Removes the helper's snapshot, so that the helper can go. A helper that is
 * not there is success. -ENOLINK: an image of that name that has neither such a
 * snapshot, nor is a clone without snapshots, is somebody's copy.
 */
void helper_free_start(struct helper_free *free, struct ceph_pool *pool,
    const char *id, const char *clone, struct wake *waiter);

#endif
