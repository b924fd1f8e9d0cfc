/*
 * image.h - RBD images on class calls of our own: names, look-up, creation,
 * metadata, and who has one open.
 *
 * The rule that holds it together: what librbd and krbd find afterwards is
 * what librbd would have made, byte for byte, and a process that is killed
 * between any two writes leaves something that the same call completes.
 */
#ifndef CEPH_IMAGE_H
#define CEPH_IMAGE_H

#include "ceph/image_header.h"
#include "ceph/rados.h"

/* "image NAME in pool POOL: WHAT", by a code or by what went wrong. */
#define image_fail(o, s, code, name, what)                                     \
	op_fail(o, s, code, "image %s in %s: " what, name,                     \
	    ceph_pool_label((o)->pool))
#define image_fail_rc(o, s, rc, name, what)                                    \
	op_fail_rc(o, s, rc, "image %s in %s: " what, name,                    \
	    ceph_pool_label((o)->pool))

/* UNIMPLEMENTED: librbd in a lane has to do it. */
#define image_fail_obstacle(o, s, name)                                        \
	op_fail(o, s, ERR_UNIMPLEMENTED,                                       \
	    "image %s in %s: not to be done natively, %s", name,               \
	    ceph_pool_label((o)->pool), image_obstacle_text((o)->obstacle))

/*
 * A fresh image id: 14 hex digits, of our client instance and of random, as
 * librbd makes them; always 14, so that no id is a prefix of another.
 */
void image_id_generate(
    const struct ceph_connection *conn, char id[RBD_ID_SIZE]);

/*
 * The id of the image of a fresh journal entry, from the entry's UUID, which is
 * random: 14 hex digits, too. So whoever completes the image knows its id,
 * whichever part of it is there.
 */
void image_id_of(const char *uuid, char id[RBD_ID_SIZE]);

/* An image's object: one of the RBD_..._PREFIXes, and its name or id. */
void image_object(
    char buf[RBD_OBJECT_SIZE], const char *prefix, const char *rest);

/* The object map of one of its snapshots. */
void image_map_object(char buf[RBD_OBJECT_SIZE], const char *id, uint64_t snap);

/*
 * Removes rbd_id.NAME if it holds `id`. -ENOENT: it is gone; -ECANCELED: it
 * holds another id, and stays.
 */
void image_id_remove_start(struct ceph_pool *pool, const char *name,
    const char *id, struct wake *waiter);

/*
 * Adds name and id to the directory, or takes them from it; these wait for each
 * other (rados_write_together_start()). -EEXIST: the name is there, -EBADF: the
 * id has another name; -ENOENT: no such RADOS namespace, or no such pair.
 */
void image_list_start(struct ceph_pool *pool, const char *name, const char *id,
    struct wake *waiter);
void image_unlist_start(struct ceph_pool *pool, const char *name,
    const char *id, struct wake *waiter);

/*
 * Reads the object map of an image, or of its snapshot (RBD_NOSNAP: none), with
 * which *info goes, if by that it has a valid one; NULL, and nobody is woken:
 * it has not. The caller frees the read.
 */
struct rados_read *image_map_read_start(struct ceph_pool *pool,
    const struct image_info *info, uint64_t snap, struct wake *waiter);
/*
 * Removes that object map if it has no object at all: -ECANCELED: it has.
 * False, and nobody is woken: there is no valid one, or it is too large.
 */
bool image_map_drop_start(struct ceph_pool *pool, const struct image_info *info,
    struct wake *waiter) must_check;
/*
 * What was read, while the read lives; false: not to be relied on. Writers
 * mark an object in the map before they write to it, so one that a valid map
 * does not have is not there.
 */
bool image_map_take(const struct rados_read *read,
    const struct image_info *info, struct cls_object_map *map);

/*
 * Look-up. By id: one read. By name (id NULL): rbd_id.NAME first, two reads.
 * With check_mirror one more, of rbd_mirroring, if there are snapshots: an
 * image that is mirrored by its journal has that feature, and one that is
 * mirrored by snapshots has at least one.
 *
 * NOT_FOUND: no such name, or no header; `id` in info tells the two apart.
 */
struct image_meta_list;

enum image_lookup_state {
	LOOKUP_START = 0,
	LOOKUP_ID_READ,     /* rbd_id.NAME has answered */
	LOOKUP_HEADER_READ, /* the header has answered */
	LOOKUP_META_READ,   /* so have all metadata that are wanted */
	LOOKUP_MIRROR_READ, /* rbd_mirroring has answered */
	LOOKUP_END,
};

struct image_lookup {
	struct op op;
	enum image_lookup_state state;
	struct ceph_pool *pool;
	const char *name; /* the caller's, until the end */
	bool check_mirror;
	struct image_meta_list *list; /* NULL: no metadata are wanted */
	struct image_info info;       /* the answer */
	struct rados_read *read;
};

void image_lookup_start(struct image_lookup *lookup, struct ceph_pool *pool,
    const char *name, const char *id, bool check_mirror, struct wake *waiter);
/*
 * And, with the header, all metadata: `list` is as after image_meta_list_start()
 * if this succeeds; image_meta_list_fini() in any case. NULL: none.
 */
void image_lookup_with_start(struct image_lookup *lookup,
    struct ceph_pool *pool, const char *name, const char *id, bool check_mirror,
    struct image_meta_list *list, struct wake *waiter);

/* The pool of an image's data. NOT_FOUND: it is gone. */
int image_data_pool_open(struct ceph_pool *pool, const struct image_info *info,
    struct ceph_pool **data_pool, struct err *err) must_check;

/*
 * Where an image stands: do the name and the id that a journal entry, a note
 * or a trash move goes by still belong together? Whatever destroys an image,
 * or forgets it, asks first: an administrator may have renamed it, made
 * another one under its name, or put it into the trash.
 */
enum image_standing {
	IMAGE_STANDS = 0, /* the name has this id, and the id this name */
	IMAGE_IN_TRASH,   /* no image has the name, the trash has both */
	IMAGE_GONE,       /* neither name nor id, trash entry nor header */
	IMAGE_ELSEWHERE,  /* they do not belong together; `why` says how */
};

enum image_place_state {
	PLACE_START = 0,
	PLACE_ID_READ,     /* rbd_id.NAME was asked first */
	PLACE_DIR_READ,    /* the directory has answered for name and id */
	PLACE_NAME_READ,   /* rbd_id.NAME has answered */
	PLACE_TRASH_READ,  /* the trash has answered for the id */
	PLACE_HEADER_READ, /* the header is there, or is not */
	PLACE_END,
};

struct image_place {
	struct op op;
	enum image_place_state state;
	struct ceph_pool *pool;
	const char *name; /* the caller's, until the end */
	bool by_name;     /* rbd_id.NAME is asked first */
	bool guessed;     /* the id was found by the name */
	char dir_id[RBD_ID_SIZE], dir_name[RBD_NAME_SIZE];
	struct rados_read *read;
	unsigned step; /* the first of its own of a read of the directory */
	STAILQ_ENTRY(image_place) link; /* of those who ask for one */

	/* the answer */
	enum image_standing standing;
	char id[RBD_ID_SIZE];          /* "": not known and not found */
	char helper_id[RBD_ID_SIZE];   /* of the image NAME-temp, or "" */
	struct cls_trash_entry trash;  /* IMAGE_IN_TRASH */
	char why[RBD_NAME_SIZE + 192]; /* IMAGE_ELSEWHERE: names both */
};

/* ceph-csi's helper image between a volume and the clone made of it. */
#define IMAGE_HELPER_SUFFIX "-temp"

/*
 * One read of the directory where all is well. `id` NULL: it is what the name
 * leads to. Fails only if the cluster does not answer.
 */
void image_place_start(struct image_place *place, struct ceph_pool *pool,
    const char *name, const char *id, struct wake *waiter);

/*
 * The same for who needs no helper: one read of rbd_id.NAME where all is well,
 * which waits for no write to the directory. The directory is asked if that has
 * not this id: a rename takes the old name's away.
 */
void image_place_named_start(struct image_place *place, struct ceph_pool *pool,
    const char *name, const char *id, struct wake *waiter);

/*
 * ---- Who has it open ----
 *
 * A HeaderUpdate to an image that nobody has open comes back at once with no
 * answers. An open client (librbd, krbd) answers when it has read the header
 * anew; a dead one is waited for until the time-out, and until the OSD drops
 * its watch (30 s) it counts as one that has the image open.
 */
#define WATCH_NOTIFY_TIMEOUT_MS 5000 /* what librbd gives its peers */

enum watch_verdict {
	WATCH_NONE = 0, /* nobody has the image open */
	WATCH_ALIVE,    /* somebody has and answered */
	WATCH_SILENT,   /* somebody has, or had a moment ago */
};

/*
 * Sends HeaderUpdate to image `id`. The waiter is woken with 0 or -ETIMEDOUT
 * when the answer is in *result, -ENOENT when there is no such image, or
 * another failure; watch_judge() makes sense of the two.
 */
void watch_header_update_start(struct ceph_pool *pool, const char *id,
    struct rados_notified *result, struct wake *waiter);

/*
 * From op->rc and *result: 0 and *verdict, or the failure. A time-out is not
 * a failure but WATCH_SILENT.
 */
int watch_judge(int rc, const struct rados_notified *result,
    enum watch_verdict *verdict) must_check;

/*
 * ---- Metadata, by image id ----
 *
 * One operation each; -ENOENT: no such image. Nobody is notified: that is
 * needed for keys that start with "conf_" only, which librbd reads anew.
 */
/*
 * With `was` only if the first key has this value, "": is not there; else
 * -ECANCELED. NULL: in any case.
 */
void image_meta_set_start(struct ceph_pool *pool, const char *id,
    const struct cls_meta *meta, size_t n, const char *was,
    struct wake *waiter);

/* Keys that are not there are no error. */
void image_meta_remove_start(struct ceph_pool *pool, const char *id,
    const char *const *keys, size_t n, struct wake *waiter);

/* All metadata of an image, in pages of CLS_METADATA_PAGE. */
struct image_meta_list {
	struct ceph_pool *pool;
	const char *id;
	struct rados_read *read;
	struct wake wake;
	struct wake *waiter;

	struct cls_meta *meta; /* the answer, in the order of keys; values
				   have a NUL behind their len bytes */
	size_t n, room;
	uint64_t snap;
	struct cls_snapshot snapshot; /* what that is; id 0: not there */
	struct arena *arena;          /* keys and values */
	struct err err;               /* when the wake has a failure */
};

/* NOT_FOUND: no such image. RESOURCE_EXHAUSTED: above IMAGE_META_MAX keys. */
#define IMAGE_META_MAX 16384
/* And, in the same read, what snapshot `snap` is; 0: none is asked for. */
void image_meta_list_start(struct image_meta_list *list, struct ceph_pool *pool,
    const char *id, uint64_t snap, struct wake *waiter);
void image_meta_list_fini(struct image_meta_list *list);

/* ---- Creation ---- */

enum pool_validate_state {
	VALIDATE_START = 0,
	VALIDATE_READ,         /* rbd_info has answered */
	VALIDATE_SNAP_MADE,    /* a self-managed snapshot id was allocated */
	VALIDATE_WRITTEN,      /* rbd_info says "validate" */
	VALIDATE_SNAP_REMOVED, /* the snapshot id was given back */
	VALIDATE_OVERWRITTEN,  /* rbd_info says "overwrite validated" */
	VALIDATE_END,
};

/*
 * Once for each pool: makes sure that it can hold images' data, and records
 * that in rbd_info as librbd does.
 */
struct pool_validate {
	struct op op;
	enum pool_validate_state state;
	struct ceph_pool *pool; /* the data's, in its default namespace */
	struct rados_read *read;
	uint64_t snap;
};

/* All pointers are the caller's and live until the end. */
struct image_spec {
	const char *name;
	const char *id; /* from image_id_generate() or an
					   earlier try of the same creation */
	uint64_t size_bytes;
	uint64_t features;           /* within features_created() */
	struct layout layout;        /* zeroes: defaults */
	struct ceph_pool *data_pool; /* NULL: all in one pool; has the same
					   RADOS namespace as the pool */
	const struct cls_meta *meta; /* written with the header; what is to be
					set `once` stands last */
	size_t nmeta;
	/*
	 * A clone of this snapshot, which is a user's (pool -1 and zeroes:
	 * none), and how much of it shows: the snapshot's size at most.
	 */
	const struct cls_parent *parent;
	uint64_t overlap;
	bool fresh; /* name and id have just been made up by the caller, who
		       will call again with both if this one is killed: all
		       parts are made side by side */
	/*
	 * Whose image it is to be, marked before what was made is undone; a
	 * failure: it stays, for another process may have adopted it. NULL:
	 * nobody does.
	 */
	struct journal_reserve *reserve;
};

enum image_create_state {
	CREATE_START = 0,
	CREATE_POOL_VALIDATED, /* the data pool is fit for images */
	CREATE_AT_ONCE,        /* all parts of a fresh one were tried */
	CREATE_ONE_BY_ONE,     /* some parts may be there */
	CREATE_DIR_ADDED,      /* rbd_directory has (or had) the name */
	CREATE_DIR_READ,       /* it had: which id it gives to the name */
	CREATE_ID_SET,         /* rbd_id.NAME exists (or did already) */
	CREATE_ID_READ,        /* it did: which id it holds */
	CREATE_HEADER_MADE,    /* the header exists (or did already) */
	CREATE_TRASH_READ,     /* it did though the name was new: the id is that
				  of an image in the trash (the directory knows
				  all the others), or another process makes the
				  same image and has overtaken us */
	CREATE_HEADER_READ,    /* it did: what it says */
	CREATE_META_SET,       /* its metadata are there, too */
	CREATE_STRIPED,        /* stripe unit and count stored */
	CREATE_MAP_MADE,       /* the object map exists (or did already) */
	/* a clone; the parent first, for what a parent does not know is lost */
	CREATE_CLONE_KNOWN,  /* the parent's snapshot knows it */
	CREATE_PARENT_KNOWN, /* it knows its parent, or knew one before */
	CREATE_PARENT_READ,  /* which one */
	CREATE_PARENT_OTHER, /* another one than that; this one forgets it */
	/*
	 * Undo ladder: removes what this call made, each rung if it was made.
	 * It is not tried on a cluster that does not answer, where each rung
	 * would wait again: what is left is as after a kill, and the next call
	 * completes it.
	 */
	CREATE_UNDO,
	CREATE_UNDO_ALLOWED, /* nobody makes it whole: the parent forgets it */
	CREATE_UNDO_MAP,
	CREATE_UNDO_HEADER,
	CREATE_UNDO_ID,
	CREATE_UNDO_DIR,
	CREATE_UNDONE,
	CREATE_END,
};

struct image_create {
	struct op op;
	enum image_create_state state;
	struct ceph_pool *pool;
	const struct image_spec *spec;
	struct ceph_pool *data_pool, *parent_pool;
	char id[RBD_ID_SIZE]; /* the answer: spec->id, or the id of a half
				   made image of this name that was completed */
	bool adopted;         /* another call had begun, by a process that was
				   killed or still works on it: what this one
				   adds is not only its own, and stays */
	bool left;            /* after a failure: not all that this call had
				 made could be undone */
	struct layout layout; /* defaults filled in */
	uint64_t features;    /* as stored */
	char prefix[RBD_PREFIX_SIZE];
	/* also what an OSD gave no answer to: it may be there all the same */
	bool made_dir, made_id, made_header, made_map, made_clone;
	struct rados_read *read;
	struct pool_validate validate;
	struct image_lookup lookup;
	struct wakes waits;
};

/*
 * Creates an image, or completes one of the same name that a killed process
 * has left half made. An image that is there already and has these parameters
 * is success (its metadata are written once more); with others it is
 * ALREADY_EXISTS, naming the difference. A failure removes what this call has
 * made. Other errors: INVALID_ARGUMENT (parameters), NOT_FOUND (the RADOS
 * namespace, or the parent's snapshot: it may be in its trash), ABORTED (the id is in use: try with another one),
 * RESOURCE_EXHAUSTED, PERMISSION_DENIED, FAILED_PRECONDITION (an erasure
 * coded data pool without overwrites).
 */
void image_create_start(struct image_create *create, struct ceph_pool *pool,
    const struct image_spec *spec, struct wake *waiter);

/*
 * Is there nothing in the image, for sure? It has no journal with entries and
 * no data object that holds something but zeros; nor has what a clone shows of
 * its parent's snapshot, of that one's parent, and so on. The image's own
 * snapshots do not matter: they keep what they have. By the object map where
 * that is valid, else by asking for each object.
 */
enum image_empty_state {
	EMPTY_START = 0,        /* of the image, or of one above it */
	EMPTY_JOURNAL_READ,     /* where the journal's entries would be */
	EMPTY_JOURNAL_SEARCHED, /* whether there are any */
	EMPTY_MAP_READ,         /* the object map has answered */
	EMPTY_SEARCHED,         /* the data objects have answered */
	EMPTY_SHOWN,            /* how much it shows of its parent */
	EMPTY_PARENT_FOUND,     /* the parent's header has answered */
	EMPTY_PARENT_KNOWN,     /* and what its snapshot is like */
	EMPTY_END,
};

struct image_empty {
	struct op op;
	enum image_empty_state state;
	/* what is looked at: the image, or what shows of one above it */
	struct ceph_pool *pool;
	const struct image_info *info;
	uint64_t snap;
	unsigned depth;
	uint64_t overlap;           /* bytes that show of the next one above */
	struct ceph_pool *data;     /* of its objects, at the snapshot; ours */
	struct image_lookup parent; /* above the image it has `info` */
	struct rados_read *read;
	struct cls_object_map map; /* valid if has_map */
	bool has_map;
	struct rados_search search;
	char why[96]; /* the answer: why it is not empty, "" : it is */
};

/* *info is the caller's, as looked up just now, and lives until the end. */
void image_empty_start(struct image_empty *empty, struct ceph_pool *pool,
    const struct image_info *info, struct wake *waiter);

#endif
