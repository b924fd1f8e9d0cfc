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

#include "ceph/unlink.h"
#include "core/pace.h"

/* What else a move does, and whom the image belongs to from then on. */
struct trash_plan {
	/*
	 * Whose purge note comes with the trash entry; NULL: nobody's. Without
	 * a note stays a clone that is not to be kept: what it hangs on is told
	 * by its header, and is to be looked after before.
	 */
	const char *instance_id;
	int64_t keep_s; /* the trash keeps it for so long */
	/* Goes on beside the removal of the name; NULL: nothing. */
	void (*beside)(struct trash_plan *plan, struct wake *waiter);
};

enum trash_move_state {
	MOVE_START = 0,
	MOVE_PLACED,     /* which id the name leads to is known */
	MOVE_ASKED,      /* where it stands, header, watchers: all answered */
	MOVE_ADDED,      /* rbd_trash has (or had) an entry */
	MOVE_ENTRY_READ, /* it had one: what it says, and the note */
	MOVE_LISTED,     /* the trash has it, or it has no header */
	MOVE_UNNAMED,    /* rbd_id.NAME and the directory's entry are gone */
	MOVE_UNLISTED,   /* and the id has no other name in the directory */
	MOVE_SETTLED,    /* the trash entry is NORMAL */
	MOVE_TAKE_BACK,  /* the entry is to go again */
	MOVE_TAKEN_BACK, /* refused late: the entry is gone again */
	MOVE_END,
};

struct trash_move {
	struct op op;
	enum trash_move_state state;
	struct ceph_pool *pool;
	const char *name, *id;        /* the caller's, until the end */
	struct trash_plan *plan;      /* NULL: none */
	enum image_obstacle obstacle; /* why a lane has to do it, or PLAIN */
	bool watched;                 /* refused: somebody has it open */
	bool had_header;              /* false: half made or purged already */
	bool noted;                   /* the plan's note is there */
	uint64_t kept_until_s;        /* since 1970, or 0 */
	bool fresh;  /* the trash entry is of this call, and REMOVING: the purge
		       may go on from `lookup` */
	bool added;  /* the trash entry is of this call */
	bool moving; /* it has to be made NORMAL */
	struct rados_read *read;
	struct rados_notified notified;
	struct image_place place; /* place.id: the image's id, or "" */
	struct image_lookup lookup;
	struct wakes waits;
	bool looked; /* by trash_look_start() */
};

/*
 * Finds out what a move of the image has to know before it writes, for who is
 * not sure yet that it is to be moved. trash_move_looked_start() goes on from
 * there, and judges it, failures included; `id` is not NULL. The directory is
 * not asked where rbd_id.NAME has this id, so place.helper_id is not known.
 */
void trash_look_start(struct trash_move *move, struct ceph_pool *pool,
    const char *name, const char *id, struct wake *waiter);
void trash_move_looked_start(
    struct trash_move *move, struct trash_plan *plan, struct wake *waiter);

/*
 * Moves an image to the trash if its name and its id belong together: trash
 * entry and note, then rbd_id.NAME and the directory's entry. librbd's entry is
 * MOVING meanwhile and NORMAL at the end. Ours is REMOVING from the start if
 * the plan has a note, nothing is in the way of a native purge and nothing is
 * to be kept; else NORMAL. As long as the name is there ceph-csi and
 * `rbd trash mv` go by the name and complete it, and from then on the
 * manager's task takes the entry, which it never does while it is MOVING. A
 * MOVING entry of another hand is made NORMAL. `id` NULL: the id is what the
 * name leads to.
 *
 * An image without a header (a creation that was killed, or a purge that has
 * got that far) just loses its name. Whatever is gone already is success; so
 * is an image that is in the trash under this name and id.
 *
 * FAILED_PRECONDITION: name and id do not belong together (renamed, made
 * anew: the text names both), the trash keeps it for a while though it has no
 * note, or gives it back, or, with `watched` set, somebody has the image open.
 * UNIMPLEMENTED, with `obstacle` set: librbd in a lane has to do it. In all
 * these cases nothing has been changed.
 */
void trash_move_start(struct trash_move *move, struct ceph_pool *pool,
    const char *name, const char *id, struct trash_plan *plan,
    struct wake *waiter);

/*
 * Changes the state of a trash entry. -ESTALE: it is neither `from` nor `to`;
 * -ENOENT. From MOVING to NORMAL is the last step of a move: the image has to
 * be out of the directory.
 */
void trash_state_start(struct ceph_pool *pool, const char *id,
    enum trash_state from, enum trash_state to, struct wake *waiter);

/*
 * How far the removal of an image's data objects has got: `done` objects, or
 * `done` of `slices` slices of the pool's listing.
 */
struct trash_progress {
	uint32_t slices; /* 0: object by object */
	uint64_t done;
};

/*
 * Which objects of a prefix a slice of a pool's listing has. Listing blocks,
 * so a lane does it, which this layer does not know: `start` is the caller's.
 */
struct trash_list {
	void (*start)(struct trash_list *list, struct wake *waiter);
	struct ceph_pool *pool;
	const char *prefix;
	uint32_t slice, slices; /* slices 0: only pool_objects is wanted */

	/* the answer */
	uint64_t pool_objects; /* of all images, namespaces and kinds */
	uint64_t *object;      /* heap; their numbers in the image … */
	char **name;           /* … or their names (LANE_LIST_NAMES) */
	size_t n;
	bool more; /* there are others in this slice: list it again */
};

static inline void
trash_list_fini(struct trash_list *list)
{
	for (size_t i = 0; list->name != NULL && i < list->n; i++)
		free(list->name[i]);
	free(take_ptr(&list->name));
	free(take_ptr(&list->object));
	list->n = 0;
}

enum trash_purge_state {
	PURGE_START = 0,
	PURGE_TURN,          /* it may begin */
	PURGE_ENTRY_CHECKED, /* the trash has answered: is it still ours? */
	PURGE_NAME_CHECKED,  /* the directory has: has it a name? */
	PURGE_MARKED,        /* the trash entry is REMOVING, or refused */
	PURGE_ENTRY_READ,    /* refused: what the entry says */
	PURGE_LOOKED_UP,     /* the header has answered */
	PURGE_KNOWN,         /* what it says */
	PURGE_MAP_DROPPED,   /* the object map is gone if it was empty */
	PURGE_WATCH_CHECKED, /* the notification has come back */
	PURGE_FREE,          /* whether a clone or a snapshot holds it */
	/* the data objects */
	PURGE_MAP_READ,     /* the object map has answered, or there is none */
	PURGE_POOL_ASKED,   /* how many objects the pool has is known */
	PURGE_SLICE_NEXT,   /* which slice is to be listed next is known */
	PURGE_LISTED,       /* the objects in a slice are known */
	PURGE_DATA_REMOVED, /* some are gone: all of a slice, or of this time */
	/* the rest */
	PURGE_DATA_GONE,     /* all are gone */
	PURGE_TIES_CUT,      /* its snapshots' ids are free, its parent is */
	PURGE_UNTIED,        /* nothing but it needs it */
	PURGE_LAST_TURN,     /* it may go on */
	PURGE_REST_REMOVED,  /* header and object map, or they were not there */
	PURGE_FORGET,        /* entry and note are to go */
	PURGE_ENTRY_REMOVED, /* nothing is left */
	/* undo: whoever may purge it finds it as it was */
	PURGE_REFUSED,
	PURGE_RESTORED, /* the entry is NORMAL again */
	PURGE_END,
};

struct trash_purge {
	struct op op;
	enum trash_purge_state state;

	/* what the caller sets; all else is zeroed */
	struct ceph_pool *pool;
	const char *id;
	/*
	 * What the image was called when it went to the trash, if that was not
	 * just now: an entry of another name is not touched (`foreign`), nor
	 * one that somebody wants to be kept for a while.
	 */
	const char *name;
	/*
	 * Of a move that has just ended and was `fresh`: it is not read again;
	 * NULL: it is.
	 */
	const struct image_info *info;
	const char *instance_id; /* whose note goes with the entry, or NULL */
	int64_t slice_ms; /* no removal is started after this time of them */
	struct trash_progress at; /* in and out */
	struct trash_list *list;  /* NULL: nothing is ever listed */

	/* the answer */
	enum image_obstacle obstacle; /* why a lane has to do it, or PLAIN */
	bool watched;                 /* refused: somebody has it open */
	bool foreign;                 /* the trash has it under another name */
	bool unnoted;                 /* the note has gone, too */
	int64_t kept_until_s;         /* refused: the trash keeps it, or 0 */
	bool more;                    /* the time is over: go on another time */
	uint64_t objects; /* removals of data objects that it took */

	/* private */
	struct ceph_pool *data_pool;
	int64_t until_ms;
	uint64_t count;            /* data objects that there can be */
	size_t taken;              /* of those listed */
	struct cls_object_map map; /* in `read`, if has_map */
	bool has_map, map_gone;
	struct rados_read *read;
	struct rados_notified notified;
	struct image_lookup lookup;
	struct image_unlink ties; /* ties.held_by: refused, what holds it */
	struct wakes waits;
	struct pace_turn turn;
	bool in_turn;
	unsigned in_turn_ops; /* after one another since then */
};

/*
 * Removes an image that is in the trash, for ever, at the pace of the
 * background (core/pace.h): entry REMOVING, watcher check, data objects,
 * header and object map, entry and note. An image whose object map was valid and empty when it went
 * to the trash needs no second watcher check: there is nothing to lose. Which data objects: those that a valid object map says may exist; of
 * a large image without one those that a listing of the pool shows, if that is
 * less work; else all that there can be. No entry in the trash is success:
 * nothing is left of it. Success with `more` set: the time was over before the
 * data objects were; `at` is where to go on.
 *
 * FAILED_PRECONDITION: somebody has it open (`watched`), the entry is being
 * moved or restored, or is kept for a while, or a clone or a user's snapshot
 * holds it (ties.held_by). UNIMPLEMENTED, with `obstacle` set: librbd in a lane
 * has to do it. The entry is NORMAL again then and no data are lost.
 */
void trash_purge_start(struct trash_purge *purge, struct wake *waiter);

#endif
