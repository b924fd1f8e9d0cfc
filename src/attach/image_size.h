/*
 * image_size.h - how large a served image is, once librbd knows it too.
 */
#ifndef ATTACH_IMAGE_SIZE_H
#define ATTACH_IMAGE_SIZE_H

#include "attach/image_io.h"
#include "attach/table.h"
#include "ceph/image.h"

#define IMAGE_SIZE_PROBE 512

enum image_size_state {
	SIZE_START = 0, /* nothing is asked */
	SIZE_READ,      /* its header has been read */
	SIZE_FLUSH,     /* librbd is to look whether the header has changed */
	SIZE_FLUSHED,   /* it has, if it had been told of a change */
	SIZE_PROBED,    /* the last bytes have been read, or refused */
	SIZE_TOLD,      /* librbd has been told of a change */
	SIZE_END,
};

/* Embed it. */
struct image_size {
	struct op op;
	uint64_t size_bytes; /* the answer */

	/* private */
	enum image_size_state state;
	struct image_io *io;
	struct table_slot *slot;
	uint64_t ino; /* the slot may be another image's by then */
	struct ceph_pool *pool;
	struct rados_read *read;
	struct rados_notified notified;
	unsigned tries;
	char last[IMAGE_SIZE_PROBE];
};

/*
 * Reads the size of a served image from its header in `pool`. If it is more
 * than what its file has, librbd is made to take it over first. The waiter is
 * woken with 0 or a negative errno (op.err tells): -ECANCELED if the image is
 * not served any more.
 */
void image_size_start(struct image_size *size, struct image_io *io,
    struct table_slot *slot, struct ceph_pool *pool, struct wake *waiter);

#endif
