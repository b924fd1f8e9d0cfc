/*
 * trash.h - deleting an image in two halves: into the trash, which frees its
 * name and is quick, and the purge, which removes its objects and may take
 * long.
 *
 * The rule that holds it together: each half can be killed anywhere and be
 * called again, and the trash entry stays until nothing else of the image is
 * left. Both refuse an image that somebody has open.
 */
#ifndef CEPH_TRASH_H
#define CEPH_TRASH_H

#include "ceph/image.h"
#include "ceph/watch.h"

enum trash_move_state {
	MOVE_START = 0,
	MOVE_LOOKED_UP,     /* the header has answered */
	MOVE_WATCH_CHECKED, /* the notification has come back */
	MOVE_ADDED,         /* rbd_trash has (or had) an entry, MOVING */
	MOVE_ENTRY_READ,    /* it had one: what it says */
	MOVE_NAME_REMOVED,  /* rbd_id.NAME is gone */
	MOVE_DIR_REMOVED,   /* so is the directory's entry */
	MOVE_SETTLED,       /* the trash entry is NORMAL */
	MOVE_END,
};

struct trash_move {
	struct op op;
	enum trash_move_state state;
	struct ceph_pool *pool;
	const char *name, *id;        /* the caller's, until the end */
	enum image_obstacle obstacle; /* why a lane has to do it, or PLAIN */
	bool watched;                 /* refused: somebody has it open */
	bool had_header;              /* false: half made or purged already */
	bool moving;                  /* our entry has to be made NORMAL */
	struct rados_read *read;
	struct rados_notified notified;
	struct image_lookup lookup;
};

/*
 * Moves an image to the trash: entry MOVING, then rbd_id.NAME, then the
 * directory's entry, then the entry NORMAL; the order of librbd, so that
 * `rbd trash mv` completes what we have left and the other way round.
 *
 * An image without a header (a creation that was killed, or a purge that has
 * got that far) just loses its name. Whatever is gone already is success.
 *
 * FAILED_PRECONDITION, with `watched` set: somebody has the image open.
 * UNIMPLEMENTED, with `obstacle` set: librbd in a lane has to do it. In both
 * cases nothing has been changed.
 */
void trash_move_start(struct trash_move *move, struct ceph_pool *pool,
    const char *name, const char *id, struct op *waiter);

enum trash_purge_state {
	PURGE_START = 0,
	PURGE_MARKED,        /* the trash entry is REMOVING, or refused */
	PURGE_ENTRY_READ,    /* refused: what the entry says */
	PURGE_LOOKED_UP,     /* the header has answered */
	PURGE_WATCH_CHECKED, /* the notification has come back */
	PURGE_MAP_READ,      /* the object map has answered */
	PURGE_DATA_REMOVED,  /* all data objects are gone */
	PURGE_HEADER_REMOVED,
	PURGE_MAP_REMOVED,
	PURGE_ENTRY_REMOVED, /* nothing is left */
	PURGE_RESTORED,      /* refused: the entry is NORMAL again */
	PURGE_END,
};

struct trash_purge {
	struct op op;
	enum trash_purge_state state;
	struct ceph_pool *pool;
	const char *id; /* the caller's, until the end */
	unsigned in_flight;
	enum image_obstacle obstacle; /* why a lane has to do it, or PLAIN */
	bool watched;                 /* refused: somebody has it open */
	uint64_t objects;          /* removals of data objects that it took */
	struct cls_object_map map; /* in `read`, if has_map */
	bool has_map;
	struct rados_read *read;
	struct rados_notified notified;
	struct image_lookup lookup;
};

#define TRASH_PURGE_IN_FLIGHT 16

/*
 * Removes an image that is in the trash, for ever: entry REMOVING, watcher
 * check, data objects (at most `in_flight` at a time; those that a valid
 * object map says do not exist are left out), header, object map, entry. No entry in the trash is success: nothing is left of it.
 *
 * FAILED_PRECONDITION: somebody has it open (`watched`), or the entry is
 * being moved or restored. UNIMPLEMENTED, with `obstacle` set: librbd in a
 * lane has to do it. The entry is NORMAL again then and no data are lost.
 */
void trash_purge_start(struct trash_purge *purge, struct ceph_pool *pool,
    const char *id, unsigned in_flight, struct op *waiter);

#endif
