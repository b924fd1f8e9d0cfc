/*
 * parent.h - the way up from a clone: how many parents there are above it, and
 * letting go of one.
 *
 * The rule that holds it together: a parent knows its clones before they know
 * it, and as long as one of them needs it. So nothing that a clone reads can be
 * freed.
 */
#ifndef CEPH_PARENT_H
#define CEPH_PARENT_H

#include "ceph/snapshot.h"

#define PARENT_DEPTH_MAX 64 /* librbd cannot open what is deeper than that */

enum parent_depth_state {
	DEPTH_START = 0,
	DEPTH_READ, /* one has told its parent */
	DEPTH_END,
};

struct parent_depth {
	struct op op;
	enum parent_depth_state state;
	struct ceph_pool *pool; /* of the one that is asked */
	struct cls_parent at;
	struct rados_read *read;

	unsigned depth;           /* the answer: 0, it is no clone */
	struct cls_parent parent; /* the nearest; pool -1: none */
};

/*
 * How many parents are above an image, those in the trash included: a read for
 * each. NOT_FOUND: no such image, or one above it is gone.
 */
void parent_depth_start(struct parent_depth *depth, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter);

/* The pool of a parent, in its RADOS namespace. */
int parent_pool_open(struct ceph_connection *conn,
    const struct cls_parent *parent, struct ceph_pool **pool,
    struct err *err) must_check;

/*
 * A parent's snapshot gets, or loses, a clone. Attaching: -EEXIST: has it,
 * -ENOENT: no such snapshot, or one in the trash. Detaching: -ENOENT: has not.
 */
void parent_attach_start(struct ceph_pool *parent_pool,
    const struct cls_parent *parent, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter);
void parent_detach_start(struct ceph_pool *parent_pool,
    const struct cls_parent *parent, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter);

#endif
