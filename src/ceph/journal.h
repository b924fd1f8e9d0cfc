/*
 * journal.h - which volume a request name stands for, kept in omaps of the
 * pool in ceph-csi's format (journal_fmt.h), as operations.
 *
 * The rule that holds it together: the directory key is claimed first and by
 * compare-and-set, so of any number of processes that make a volume of the
 * same name all get the same UUID; what a killed process leaves is completed
 * by the next call under that UUID (docs/JOURNAL.md has each window).
 *
 * Every operation here is a child that its parent embeds. Strings in results
 * come from the arena given; strings given live until the end. The RADOS
 * namespace is part of the ceph_pool.
 */
#ifndef CEPH_JOURNAL_H
#define CEPH_JOURNAL_H

#include "ceph/journal_fmt.h"
#include "ceph/rados_aio.h"

/* ---- by request name ---- */

enum journal_find_state {
	FIND_START = 0,
	FIND_KEY_READ,    /* the directory has answered */
	FIND_KEY_DROPPED, /* it pointed to a pool that is gone */
	FIND_ITEM_READ,   /* the item has answered */
	FIND_END,
};

struct journal_find {
	struct op op;
	enum journal_find_state state;
	struct ceph_pool *pool; /* of the directory */
	const char *instance_id, *name;
	struct arena *arena;
	struct rados_read *read;
	unsigned step;

	/* the answer */
	bool found; /* the directory has the name */
	struct journal_ref ref;
	struct ceph_pool *item_pool; /* pool of item and image */
	/*
	 * What the item says; nothing at all if it is missing. Incomplete
	 * (journal_item_is_complete): a half-written reservation.
	 */
	struct journal_item item;
};

/*
 * Looks a request name up: one read, a second one if it is there. A key that
 * points to a pool which no longer exists is removed and not found. INTERNAL:
 * the item belongs to another name.
 */
void journal_find_start(struct journal_find *find, struct ceph_pool *pool,
    const char *instance_id, const char *name, struct arena *arena,
    struct op *waiter);

/* ---- reserving ---- */

enum journal_reserve_state {
	RESERVE_START = 0,
	RESERVE_CLAIMED,      /* the directory key is ours, or another's */
	RESERVE_ITEM_WRITTEN, /* the item names request, image and owner */
	/* undo ladder */
	RESERVE_UNDO_ITEM,
	RESERVE_UNDO_KEY,
	RESERVE_END,
};

struct journal_reserve {
	struct op op;
	enum journal_reserve_state state;
	struct ceph_pool *pool;
	const char *instance_id;
	struct arena *arena;
	bool fresh; /* the key was not there before */

	/* the answer */
	struct ceph_pool *item_pool;
	char uuid[JOURNAL_UUID_LEN + 1];
	struct journal_item item;
};

/*
 * Reserves `name` with image name `prefix` + UUID. `find` is the look-up that
 * did not find it, or found it half-written: then the UUID stays. `owner` may
 * be NULL. -EAGAIN: another process is at the same name, look up again.
 */
void journal_reserve_start(struct journal_reserve *reserve,
    const struct journal_find *find, const char *prefix, const char *owner,
    struct op *waiter);

/* ---- by UUID ---- */

enum journal_read_state {
	READ_START = 0,
	READ_ITEM_READ, /* the item has answered */
	READ_END,
};

struct journal_read {
	struct op op;
	enum journal_read_state state;
	struct ceph_pool *pool; /* of item and image */
	const char *uuid;
	unsigned needs;
	struct arena *arena;
	struct rados_read *read;
	unsigned step;

	/* the answer */
	struct journal_item item;
};

/*
 * One read. NOT_FOUND: no such item. DATA_LOSS: one of the attributes in
 * `needs` (JOURNAL_BIT()s) is damaged; all others do not matter.
 */
void journal_read_start(struct journal_read *read, struct ceph_pool *pool,
    const char *uuid, unsigned needs, struct arena *arena, struct op *waiter);

/*
 * Stores the image id: the volume is complete from now on. -ENOENT: the item
 * is gone.
 */
void journal_set_image_id_start(struct ceph_pool *item_pool, const char *uuid,
    const char *image_id, struct op *waiter);

/* ---- giving a name back ---- */

enum journal_release_order {
	JOURNAL_KEY_FIRST = 0, /* deletion: it is repeated by UUID */
	JOURNAL_ITEM_FIRST,    /* failed creation: it is repeated by name */
};

enum journal_release_state {
	RELEASE_START = 0,
	RELEASE_FIRST_GONE,
	RELEASE_SECOND_GONE,
	RELEASE_END,
};

struct journal_release {
	struct op op;
	enum journal_release_state state;
	enum journal_release_order order;
	struct ceph_pool *pool; /* of the directory */
	struct ceph_pool *item_pool;
	const char *instance_id, *uuid;
	const char *name; /* NULL: not known, only the item goes */
};

/*
 * Removes item and directory key. The key goes only while it points to this
 * UUID; what is gone already is success.
 */
void journal_release_start(struct journal_release *release, struct op *waiter);

/* ---- purge notes: images in the trash that are for us to remove ---- */

/* All entries are read in pages of this size. */
#define JOURNAL_PURGE_PAGE 256

void journal_purge_note_start(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, const char *image, struct op *waiter);
void journal_purge_done_start(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, struct op *waiter); /* -ENOENT: is gone */

/*
 * Reads a page of notes after image id `after` ("" : from the start) as step
 * *step of the read returned, which the caller frees. -ENOENT: no notes.
 */
struct rados_read *journal_purge_list_start(struct ceph_pool *pool,
    const char *instance_id, const char *after, unsigned *step,
    struct op *waiter);

#endif
