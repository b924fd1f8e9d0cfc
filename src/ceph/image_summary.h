/*
 * image_summary.h - what lists tell of an image, in one read of its header.
 */
#ifndef CEPH_IMAGE_SUMMARY_H
#define CEPH_IMAGE_SUMMARY_H

#include "base/arena.h"
#include "ceph/image.h"

/* Embed it; zeroed is valid. */
struct image_summary {
	/* the answer */
	uint64_t size_bytes;
	/* of a volume */
	int64_t data_pool;                  /* -1: the pool that it is in */
	const char *key[CLS_METADATA_PAGE]; /* metadata keys with the prefix */
	size_t nkeys;
	bool more; /* there may be others */
	/* of a snapshot's image */
	struct timespec created; /* 0: not known */
	uint32_t snaps;
	struct err err; /* when the wake has a failure */

	/* private */
	struct ceph_pool *pool;
	const char *id, *prefix;
	struct arena *arena;
	struct rados_read *read;
	struct wake wake;
	struct wake *waiter;
};

/*
 * Reads the header of image `id`. With `prefix` it is a volume's, and which of
 * its metadata keys start so is told, in the arena; NULL: a snapshot's.
 * NOT_FOUND: no header. DATA_LOSS: one that makes no sense.
 */
void image_summary_start(struct image_summary *summary, struct ceph_pool *pool,
    const char *id, const char *prefix, struct arena *arena,
    struct wake *waiter);

#endif
