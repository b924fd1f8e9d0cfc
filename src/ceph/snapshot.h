/*
 * snapshot.h - snapshots of an image: list, add, remove.
 *
 * The rules that hold it together: a snapshot is made when its record is in
 * the header, and ready when everybody who has the image open has read that.
 * It is removed when it is in the trash of its image: what frees its data
 * comes afterwards, in the background, once it has no clone any more, and can
 * be repeated by anybody at any time.
 */
#ifndef CEPH_SNAPSHOT_H
#define CEPH_SNAPSHOT_H

#include "ceph/image.h"
#include "ceph/snap_ids.h"

/* ---- list ---- */

enum snapshot_list_state {
	SNAPLIST_START = 0,
	SNAPLIST_IDS_READ,  /* which there are */
	SNAPLIST_PAGE_READ, /* what some of them are */
	SNAPLIST_END,
};

struct snapshot_list {
	struct op op;
	enum snapshot_list_state state;
	struct ceph_pool *pool;
	char image_id[RBD_ID_SIZE];
	struct rados_read *read;
	uint64_t *id;
	size_t nids, asked;

	struct cls_snapshot *snap; /* the answer: all, the newest first */
	size_t n;
};

/* NOT_FOUND: no such image. snapshot_list_fini() in any case. */
void snapshot_list_start(struct snapshot_list *list, struct ceph_pool *pool,
    const char *image_id, struct wake *waiter);
void snapshot_list_fini(struct snapshot_list *list);

/* The user's snapshot of this name, or NULL. */
const struct cls_snapshot *snapshot_named(
    const struct snapshot_list *list, const char *name);

/* ---- add ---- */

enum snapshot_add_state {
	SNAPADD_START = 0,
	SNAPADD_LOOKED_UP,  /* the header has answered */
	SNAPADD_JUDGED,     /* it is for us to do */
	SNAPADD_MAP_READ,   /* the object map of now */
	SNAPADD_ID_TAKEN,   /* it has a number */
	SNAPADD_WRITTEN,    /* the header has its record, or refuses it */
	SNAPADD_LISTED,     /* one of this name is there */
	SNAPADD_TELL,       /* those who have the image open are to know */
	SNAPADD_NOTIFIED,   /* they do, or have not answered */
	SNAPADD_SEEN,       /* whether the header has changed since */
	SNAPADD_MAP_COPIED, /* the snapshot has its object map */
	SNAPADD_MAP_MARKED, /* the image's says what has not changed since */
	SNAPADD_END,
};

struct snapshot_add {
	struct op op;
	enum snapshot_add_state state;

	/* what the caller sets; all else is zeroed */
	struct ceph_pool *pool;
	const char *image_id, *name; /* of the image, of the snapshot */
	/*
	 * What is known of the image, with `mirrored`; NULL: it is looked up.
	 * If it has changed since, it is looked up anew.
	 */
	const struct image_info *info;
	bool unopened; /* the image is new: nobody has it open */

	/* the answer */
	uint64_t id;
	bool existed; /* one of this name was there */
	enum image_obstacle obstacle;

	/* private */
	unsigned tries, silent;
	uint64_t version;              /* of the header with the snapshot */
	struct rados_read *read, *map; /* `map`: the object map's bytes */
	struct rados_notified notified;
	struct snap_id_take take;
	struct image_lookup lookup;
	struct snapshot_list list;
};

/*
 * Makes a snapshot; one of the same name that is there is success. Ends when
 * everybody who has the image open knows of it: all that they write from then
 * on is not in the snapshot. If one of them does not answer, the end is
 * UNAVAILABLE, and the same call goes on with what is there.
 *
 * Of an image with an exclusive lock only while nobody holds that: the header's
 * version tells whether anybody has. Its object map is copied for the snapshot
 * only if that cannot have missed a change; without it the snapshot's counts
 * as invalid, and is read as if there were none.
 *
 * UNIMPLEMENTED, with `obstacle` set: librbd in a lane has to do it. NOT_FOUND:
 * no such image.
 */
void snapshot_add_start(struct snapshot_add *add, struct wake *waiter);

/* ---- remove ---- */

enum snapshot_remove_state {
	SNAPREM_START = 0,
	SNAPREM_LOOKED_UP, /* the header has answered */
	SNAPREM_LISTED,    /* which snapshot it is */
	SNAPREM_TRASHED,   /* it is in the trash */
	SNAPREM_END,
};

struct snapshot_remove {
	struct op op;
	enum snapshot_remove_state state;

	/* what the caller sets; all else is zeroed */
	struct ceph_pool *pool;
	const char *image_id, *name;
	const struct image_info *info; /* as snapshot_add has it, or NULL */
	uint64_t snap;                 /* its id; 0: looked up by its name */
	bool cloned; /* it has a clone, so that nothing is freed now */

	/* the answer */
	bool found;
	enum image_obstacle obstacle;

	/* private */
	struct image_lookup lookup;
	struct snapshot_list list;
};

/*
 * Removes a user's snapshot; one that is not there is success, and so is an
 * image that is not. It goes to the trash of its image, where one that has
 * clones stays until the last of them is gone; one that has none is freed in
 * the background. UNIMPLEMENTED, with `obstacle` set: librbd has to do it.
 */
void snapshot_remove_start(struct snapshot_remove *rem, struct wake *waiter);

/* ---- reap ---- */

/*
 * Frees all snapshots in the trash of an image that have no clones: their
 * object maps, their numbers, which lets the OSDs free the data, their
 * records. Whatever fails is logged and left for the next time: the wake has
 * always 0. An image that is not there is fine. Many that are asked for at
 * once are one. `waiter` may be NULL: in the background.
 */
void snapshot_reap_start(
    struct ceph_pool *pool, const char *image_id, struct wake *waiter);

/* How many images that works on. */
unsigned snapshot_reaping(void);

/*
 * Who purges an image whose last snapshot was reaped, and that was to go with
 * its last clone (TRASH_SOURCE_USER_PARENT). NULL: it stays.
 */
void snapshot_when_orphaned(void (*orphaned)(
    struct ceph_pool *pool, const char *image_id, const char *image));

#endif
