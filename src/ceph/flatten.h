/*
 * flatten.h - what a clone shows of its parents is copied into it, so that it
 * can part from them (part.h).
 *
 * The rule that holds it together: an object is copied only where there is
 * none, below all of the clone's snapshots, in one operation of the OSD; so it
 * does not matter who else copies or writes it, and what has been copied may
 * be copied again.
 */
#ifndef CEPH_FLATTEN_H
#define CEPH_FLATTEN_H

#include "ceph/parent.h"

enum image_flatten_state {
	FLATTEN_START = 0,
	FLATTEN_TRASH_ASK,
	FLATTEN_TRASH_READ, /* whether it is being purged */
	FLATTEN_LOOKED_UP,  /* the clone's header has answered */
	FLATTEN_UNWATCHED,  /* whether anybody has it open */
	FLATTEN_LISTED,     /* its snapshots */
	FLATTEN_SHOWN,      /* how much it and they show of the parent */
	FLATTEN_CLIMB,      /* the next one up is known by its id */
	FLATTEN_UP,         /* the next image above has answered */
	FLATTEN_UP_SHOWN,   /* and how much that shows of its parent */
	FLATTEN_TOP,        /* all above are known */
	FLATTEN_MAP_READ,   /* the clone's object map has answered */
	FLATTEN_COPY,       /* the next objects are to be copied */
	FLATTEN_READ,       /* what the parents have of them is known */
	FLATTEN_CONFIRMED,  /* the image has its parent still */
	FLATTEN_MARKED,     /* the object maps have them, or some */
	FLATTEN_COPIED,     /* they are there */
	FLATTEN_STANDS,     /* and so is the image, or not any more */
	FLATTEN_TAKE_BACK,  /* what was copied into one that is gone */
	FLATTEN_TAKEN_BACK,
	FLATTEN_REFUSE,        /* it is not for us to do */
	FLATTEN_CLONES_LISTED, /* its snapshots, which may have clones */
	FLATTEN_END,
};

#define FLATTEN_IN_FLIGHT_MAX 16
#define FLATTEN_PURGE_MS 2000 /* in which a purge may be refused */
#define FLATTEN_CHAIN_MAX 16  /* images above it that are read natively */

struct flatten_work;

/*
 * What was copied last, while it is not known whether a purge had been there
 * before: then nobody else removes it.
 */
struct flatten_doubt {
	uint64_t object[FLATTEN_IN_FLIGHT_MAX];
	unsigned n;
	struct ceph_pool *data_pool;
	char prefix[RBD_PREFIX_SIZE];
};

struct image_flatten {
	struct op op;
	enum image_flatten_state state;

	/* what the caller sets; all else is zeroed */
	struct ceph_pool *pool;
	const char *image_id;
	unsigned in_flight; /* objects at a time, each twice in memory */
	int64_t slice_ms;   /* after this time no more are begun */
	uint64_t at;        /* in and out: the next object */
	struct flatten_doubt doubt; /* in and out: of the last try */

	/* the answer */
	uint64_t count; /* objects that it shows of its parent, when known */
	bool more;      /* the time is over: go on another time, from `at` */
	struct cls_parent parent; /* all is copied, to part from this one;
				     pool -1: there is nothing to part from */
	struct cls_parent was;    /* that it had at first; id "": none */
	enum image_obstacle obstacle;

	/* private */
	struct flatten_work *work;
};

/*
 * Copies into a clone that nobody has open. One that has no parent (any more) is
 * success.
 * Success with `more` set: it is not done yet. Beginning at 0 again is always
 * right, and takes longer.
 *
 * UNIMPLEMENTED, with `obstacle` set: librbd in a lane has to do it, and parts
 * the two as well: the image is open, its objects do not lie as its parent's
 * do, or the usual reasons. FAILED_PRECONDITION: the same, but it has clones,
 * which may read the parent. NOT_FOUND: no such image, and nothing is left that
 * was copied into it. ABORTED: it is being purged; what was copied last is in
 * `doubt`, for the next try to judge.
 */
void image_flatten_start(struct image_flatten *flatten, struct wake *waiter);

#endif
