/*
 * image_jobs.h - what RPCs do with images that are there: snapshots, clones,
 * growth, flattening. Each is one operation, which tries it natively and, where
 * that is not for us to do, goes to a lane, in which librbd does it.
 *
 * The rule that holds it together: whichever way it went, the result is the
 * same, and doing it again is success.
 */
#ifndef CONTROLLER_IMAGE_JOBS_H
#define CONTROLLER_IMAGE_JOBS_H

#include "ceph/flatten.h"
#include "ceph/resize.h"
#include "controller/lane.h"

enum image_job_kind {
	/*
	 * Makes the user's snapshot `snapshot` of the image: snapshot_add of
	 * ceph/snapshot.h. Answer: `snap`.
	 */
	IMAGE_JOB_SNAPSHOT = 1,
	/* Removes it: snapshot_remove. Not there is success. */
	IMAGE_JOB_UNSNAPSHOT,
	/*
	 * Makes the image `spec` in `pool`, a clone if it has a parent:
	 * image_create of ceph/image.h. Answer: `made_id`, `adopted`.
	 */
	IMAGE_JOB_CLONE,
	/* Grows the image to `size_bytes`: image_grow. Answer: the size. */
	IMAGE_JOB_GROW,
	/*
	 * Copies what the image shows of its parent, for a slice of time:
	 * image_flatten. `at` and `doubt` in and out, `count`, `more`, `parent`. librbd does
	 * all of it at once and parts the two as well: `parent.pool` is -1 then.
	 */
	IMAGE_JOB_FLATTEN,
};

enum image_job_state {
	IMAGEJOB_START = 0,
	IMAGEJOB_NATIVE_DONE, /* natively, or not for us to do */
	IMAGEJOB_LANE_DONE,   /* by librbd */
	IMAGEJOB_END,
};

/* Embed it, zero it, set what the caller sets; strings are the caller's. */
struct image_job {
	struct op op;
	enum image_job_state state;

	/* what the caller sets */
	enum image_job_kind kind;
	struct ceph_pool *pool;
	const char *image_id;
	const char *snapshot;          /* its name */
	const struct image_info *info; /* with `mirrored`; NULL: looked up */
	uint64_t snap; /* UNSNAPSHOT: its id, if it is known; and an answer */
	bool unopened; /* SNAPSHOT: the image is new, nobody has it open */
	bool cloned;   /* UNSNAPSHOT: it has a clone: nothing is freed now */
	uint64_t size_bytes;           /* GROW; and an answer */
	const struct image_spec *spec; /* CLONE */
	uint64_t at;                   /* FLATTEN; and an answer */
	int64_t slice_ms;              /* FLATTEN */
	struct flatten_doubt doubt;    /* FLATTEN; and an answer */

	/* the answer */
	char made_id[RBD_ID_SIZE]; /* CLONE */
	bool adopted, left;        /* CLONE: as image_create has them */
	uint64_t count;            /* FLATTEN */
	bool more;                 /* FLATTEN */
	struct cls_parent parent;  /* FLATTEN */
	struct cls_parent was;     /* FLATTEN; as image_flatten has it */
	bool by_librbd;            /* it went to a lane */

	/* private */
	union {
		struct snapshot_add add;
		struct snapshot_remove remove;
		struct image_create create;
		struct image_grow resize;
		struct image_flatten flatten;
	};
	struct lane_job lane;
};

void image_job_start(struct image_job *job, struct wake *waiter);

#endif
