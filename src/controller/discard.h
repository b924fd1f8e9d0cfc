/*
 * discard.h - an image of a volume goes into the trash, natively or by a lane.
 */
#ifndef CONTROLLER_DISCARD_H
#define CONTROLLER_DISCARD_H

#include "controller/lane.h"

enum discard_state {
	DISCARD_START = 0,
	DISCARD_MOVED,        /* the image is in the trash */
	DISCARD_IN_USE,       /* refused: a lane was asked by whom */
	DISCARD_LANE_CHECKED, /* a lane has listed the watchers */
	DISCARD_LANE_MOVED,   /* a lane has moved it to the trash */
	DISCARD_END,
};

struct discard {
	struct op op;
	enum discard_state state;
	struct ceph_pool *pool;
	const char *name, *wanted_id; /* the caller's, until the end */
	struct trash_move move; /* move.place, move.lookup: what was found */
	struct lane_job lane;

	/* the answer */
	const char *id; /* in `move`; "": there is none */
	bool moved;     /* it is in the trash, to be noted and purged */
};

/*
 * Moves the image to the trash; gone already is success.
 * `id` NULL: what the name leads to. FAILED_PRECONDITION: in use, naming the
 * address, or name and id do not belong together (trash_move_start()).
 */
void discard_start(struct discard *discard, struct ceph_pool *pool,
    const char *name, const char *id, struct wake *waiter);

#endif
