/*
 * journal.h - which volume (or snapshot, or group) a request name stands for,
 * kept in omaps of the pool in ceph-csi's format (journal_fmt.h).
 *
 * The rule that holds it together: a name is reserved by a key of our own,
 * set by compare-and-set, so of any number of processes that make a volume of
 * the same name all get the same UUID; what a killed process leaves is
 * completed by the next call under that UUID. The key that ceph-csi knows is
 * set last, by compare-and-set, too, and takes the reservation's place in the
 * same operation: it never leads to anything but a whole volume
 * (docs/JOURNAL.md has each window).
 *
 * Strings in results come from the arena given; strings given live until the
 * end. The RADOS namespace is part of the ceph_pool.
 */
#ifndef CEPH_JOURNAL_H
#define CEPH_JOURNAL_H

#include "ceph/journal_fmt.h"
#include "ceph/rados.h"

/* A directory. */
struct journal {
	const struct journal_kind *kind;
	struct ceph_pool *pool;
	const char *instance_id;
};

/* ---- by UUID ---- */

struct journal_read {
	struct ceph_pool *pool; /* of item and image */
	const char *uuid;

	/* the answer */
	struct journal_item item;
	struct err err; /* when the wake has a failure */

	/* private */
	const struct journal_kind *kind;
	unsigned needs;
	struct arena *arena;
	struct rados_read *read;
	struct wake wake;
	struct wake *waiter;
};

/*
 * One read. NOT_FOUND: no such item. DATA_LOSS: one of the attributes in
 * `needs` (JOURNAL_BIT()s) is damaged; all others do not matter.
 */
void journal_read_start(struct journal_read *read,
    const struct journal_kind *kind, struct ceph_pool *pool, const char *uuid,
    unsigned needs, struct arena *arena, struct wake *waiter);

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
	struct journal journal;
	const char *name;
	struct arena *arena;
	struct rados_read *read;
	struct journal_read entry;
	bool is_sure; /* the item is missing, and the key was read after that */

	/* the answer */
	bool found; /* the directory has the name */
	struct journal_ref ref;
	const char *value; /* of the key, as it is */
	/* Else it may be reserved; with a key only the UUID tells, or is "". */
	bool is_reserved;
	struct journal_reservation reserved;
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
void journal_find_start(struct journal_find *find,
    const struct journal *journal, const char *name, struct arena *arena,
    struct wake *waiter);

/*
 * May this process know that the name is reserved or a volume? Only a hint,
 * that saves a read where a name is new: journal_reserve_start() tells.
 */
bool journal_may_know(const struct journal *journal, const char *name);
void journal_forget(void); /* all of them */

/* The result of a look-up that has found nothing, without any. */
void journal_find_none(struct journal_find *find, const struct journal *journal,
    const char *name, struct arena *arena);

/* ---- reserving, and committing ---- */

struct journal_reserve {
	struct journal journal;
	const char *key;         /* of the name in the directory */
	const char *reserve_key; /* and of its reservation */
	const char *value;       /* of the latter */
	const char *key_value;   /* ceph-csi's key leads here: half a volume of
				    it; NULL: no */

	/* the answer */
	struct ceph_pool *item_pool;
	const char *item_object;
	char uuid[JOURNAL_UUID_LEN + 1];
	struct journal_item item; /* for the caller to set: JOURNAL_IMAGEID,
				     and what else the entry is to say */
	struct err err;           /* when the wake has a failure */
	bool fresh;               /* the UUID is of this call */
	bool marked; /* nobody makes it any more: it may be undone */

	/* private */
	struct journal_reservation reservation;
	struct arena *arena;
	bool refused;              /* journal_mark_start() has failed */
	char written[RBD_ID_SIZE]; /* the item has this image id; "": is not
				      written */
	struct wake wake;
	struct wake *waiter;
	struct wake item_wake; /* goes on beside what may have to be marked */
	struct wake *item_waiter;
};

/*
 * Reserves `name` with image name `prefix` + UUID. `find` is the look-up that
 * did not find it, found it reserved, or found half a volume under it: in the
 * latter two cases the UUID stays; of a reservation nothing is written but that
 * it is shared from now on, or nothing at all if it is being undone (`marked`).
 * `owner` may be NULL, and `source`, the id of the image that it is to be a
 * copy of.
 * -EAGAIN: another process is at the same name, look up again.
 */
void journal_reserve_start(struct journal_reserve *reserve,
    const struct journal_find *find, const char *prefix, const char *owner,
    const char *source, struct wake *waiter);

enum journal_commit_state {
	COMMIT_START = 0,
	COMMIT_ITEM_WRITTEN, /* the item has all its attributes */
	COMMIT_KEY_SET,      /* the key stands in for the reservation */
	COMMIT_END,
};

struct journal_commit {
	struct op op;
	enum journal_commit_state state;
	struct journal_reserve *reserve;
};

/*
 * Makes a volume of a reservation whose image is whole: writes the item with
 * the image id, then the directory key; half a volume's key has to be there
 * still. -EAGAIN: the reservation or that key is gone, or another volume has
 * the name: look up again.
 */
void journal_commit_start(struct journal_commit *commit,
    struct journal_reserve *reserve, struct wake *waiter);

/*
 * Before that, beside the making of an image whose id is known: writes the
 * item. The commit writes it again if that failed, or if JOURNAL_IMAGEID is
 * another one by then. The reservation may be marked meanwhile.
 */
void journal_item_start(struct journal_reserve *reserve, struct wake *waiter);

/*
 * Before anything is undone: marks the reservation, so that from now on nobody
 * goes on with it or commits it. -EBUSY: it was not begun by this call. -ECANCELED
 * or -ENOENT: others share it by now, or it is not there any more, for it was
 * committed, perhaps by this call, with a write whose answer was lost. After a
 * failure all stays as it is, and it is not tried again.
 */
void journal_mark_start(struct journal_reserve *reserve, struct wake *waiter);

/* Is the UUID that of the key, or of the reservation, that was found? */
bool journal_find_has(const struct journal_find *find, const char *uuid);

/* ---- giving a name back ---- */

enum journal_release_state {
	RELEASE_START = 0,
	RELEASE_FIRST_GONE,
	RELEASE_SECOND_GONE,
	RELEASE_END,
};

struct journal_release {
	struct op op;
	enum journal_release_state state;
	struct journal journal;
	struct ceph_pool *item_pool;
	const char *uuid;
	const char *name;     /* NULL: not known, only the item goes */
	const char *reserved; /* the reservation's value: it goes, too */

	/* private */
	bool key_gone;
	struct wake wake;
	struct wake *waiter; /* of journal_release_key_start() */
};

/*
 * Removes directory key and item, in this order, so that the key never leads
 * to nothing; or item and reservation, in this order, so that the reservation
 * leads to what is left. Key and reservation go only while they are of this
 * UUID; what is gone already is success.
 */
void journal_release_start(
    struct journal_release *release, struct wake *waiter);

/*
 * Before that, for who has something else to do meanwhile: removes the key.
 * Wakes with 0; after a failure journal_release_start() tries again.
 */
void journal_release_key_start(
    struct journal_release *release, struct wake *waiter);

/* ---- one change of a directory, or of an entry ---- */

/* A key and its values before and after; NULL: it is not there. */
struct journal_change {
	const char *key, *was, *now;
};

/*
 * Makes all changes at once, or none: -ECANCELED when a key does not have the
 * value that it was to have, -ENOENT without the object unless `create`.
 */
void journal_change_start(struct ceph_pool *pool, const char *object,
    bool create, const struct journal_change *change, size_t n,
    struct wake *waiter);

/* ---- purge notes: images in the trash that are for us to remove ---- */

/* All entries are read in pages of this size. */
#define JOURNAL_PURGE_PAGE 256

/*
 * Goes into a write on RBD_TRASH: the note is written, or with `purge` NULL it
 * goes.
 */
void journal_purge_note(struct rados_write *w, const char *instance_id,
    const char *image_id, const struct journal_purge *purge);

/* A write of nothing else; -ENOENT: there is no trash to take it from. */
void journal_purge_note_start(struct ceph_pool *pool, const char *instance_id,
    const char *image_id, const struct journal_purge *purge,
    struct wake *waiter);

/*
 * Reads the note of one image (no entries: it has none), or with image_id
 * NULL a page of notes after key `after` ("": from the start), as step 0
 * of the read returned, which the caller frees. -ENOENT: no notes. Keys are
 * for journal_purge_id().
 */
struct rados_read *journal_purge_read_start(struct ceph_pool *pool,
    const char *instance_id, const char *image_id, const char *after,
    struct wake *waiter);

#endif
