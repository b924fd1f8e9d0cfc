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

/* Does the trash keep it for a time that is not over? */
bool trash_is_deferred(const struct cls_trash_entry *entry);

enum trash_move_state {
	MOVE_START = 0,
	MOVE_PLACED,        /* whether name and id belong together is known */
	MOVE_LOOKED_UP,     /* the header has answered */
	MOVE_WATCH_CHECKED, /* the notification has come back */
	MOVE_ADDED,         /* rbd_trash has (or had) an entry */
	MOVE_ENTRY_READ,    /* it had one: what it says */
	MOVE_NAME_REMOVED,  /* rbd_id.NAME is gone */
	MOVE_DIR_REMOVED,   /* so is the directory's entry */
	MOVE_SETTLED,       /* the trash entry is NORMAL */
	MOVE_TAKEN_BACK,    /* refused late: the entry is gone again */
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
	bool added;                   /* the trash entry is of this call */
	bool moving;                  /* it has to be made NORMAL */
	struct rados_read *read;
	struct rados_notified notified;
	struct image_place place; /* place.id: the image's id, or "" */
	struct image_lookup lookup;
};

/*
 * Moves an image to the trash if its name and its id belong together: trash
 * entry, then rbd_id.NAME, then the directory's entry. librbd's entry is
 * MOVING meanwhile and NORMAL at the end. Ours is NORMAL from the start: as
 * long as the name is there ceph-csi and `rbd trash mv` go by the name and
 * complete it, and from then on the manager's task takes the entry, which it
 * never does while it is MOVING. A MOVING entry of another hand is made
 * NORMAL. `id` NULL: the id is what the name leads to.
 *
 * An image without a header (a creation that was killed, or a purge that has
 * got that far) just loses its name. Whatever is gone already is success; so
 * is an image that is in the trash under this name and id.
 *
 * FAILED_PRECONDITION: name and id do not belong together (renamed, made
 * anew: the text names both), the trash keeps it for a while or gives it
 * back, or, with `watched` set, somebody has the image open. UNIMPLEMENTED,
 * with `obstacle` set: librbd in a lane has to do it. In all these cases
 * nothing has been changed.
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
