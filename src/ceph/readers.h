/*
 * readers.h - whether anybody may be reading an image, or anything that was
 * made of it: its clones, their clones and so on.
 *
 * The rule that holds it together: a client knows of the images above the one
 * that it has opened what they were when it opened it, for it watches that one
 * only. So what such a client may read of them has to stay until it has closed.
 */
#ifndef CEPH_READERS_H
#define CEPH_READERS_H

#include "ceph/snapshot.h"

enum readers_state {
	READERS_START = 0,
	READERS_NOTIFIED,     /* whether the next image is watched */
	READERS_RECORDS_READ, /* whether its metadata say that it is in use */
	READERS_LISTED,       /* which snapshots it has */
	READERS_CLONES_ASK,  /* the next snapshots are to be asked for clones */
	READERS_CLONES_READ, /* they have told them */
	READERS_FOUND,       /* an image is in use */
	READERS_NAMED,       /* what the image that is in use is called */
	READERS_END,
};

struct readers_image {
	struct ceph_pool *pool;
	char id[RBD_ID_SIZE];
};

struct readers_find {
	struct op op;
	enum readers_state state;

	/* what the caller sets; all else is zeroed */
	struct ceph_pool *pool;
	const char *image_id;
	/*
	 * Metadata keys that begin with this, the image's id and '/' say that
	 * somebody has it: who has opened an image for reading does not watch it.
	 */
	const char *record;

	/* the answer: POOL/NAME of one that is in use; "": none is */
	char reader[2 * RBD_NAME_SIZE];

	/* private */
	struct readers_image at, *left; /* to be looked at; the last one next */
	size_t nleft;
	struct rados_read *read;
	struct rados_notified notified;
	struct snapshot_list snaps;
	size_t asked;
	unsigned answers;
};

/*
 * Looks at the image and at all that hangs on it, whether in the trash or not,
 * until it finds one that somebody watches or has. Each is told that its header
 * has changed. Images and pools that are gone are passed over.
 */
void readers_find_start(struct readers_find *find, struct wake *waiter);

#endif
