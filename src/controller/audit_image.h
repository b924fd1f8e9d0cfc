/*
 * audit_image.h - an image that an entry leads to, as an audit sees it: what
 * copies have left on it, and whether it says who has another one.
 */
#ifndef CONTROLLER_AUDIT_IMAGE_H
#define CONTROLLER_AUDIT_IMAGE_H

#include "ceph/snapshot.h"
#include "controller/volume.h"

/*
 * What stands behind the UUID in the name of an image of this kind; NULL: it
 * is none, else `uuid` is set.
 */
const char *audit_image_rest(const struct journal_kind *kind, const char *image,
    char uuid[JOURNAL_UUID_LEN + 1]);

enum image_check_state {
	IMAGECHECK_START = 0,
	IMAGECHECK_LISTED,  /* its snapshots */
	IMAGECHECK_REAPED,  /* those that nobody needs are gone */
	IMAGECHECK_RECORDS, /* nothing more is to be done about snapshots */
	IMAGECHECK_READ,    /* its metadata */
	IMAGECHECK_MENDED,  /* what is of another image is gone */
	IMAGECHECK_END,
};

struct image_check {
	struct op op;
	enum image_check_state state;
	struct snapshot_list snaps;
	struct image_meta_list meta;

	/* what the caller sets; all else is zeroed */
	struct arena *arena;
	struct ceph_pool *pool;
	const char *image, *uuid, *id;
	bool repair;

	/* the answer */
	struct image_finding {
		const char *kind, *text;
		bool repaired;
	} found[3];
	size_t n;
};

void image_check_start(struct image_check *check, struct wake *waiter);

#endif
