/*
 * image.h - RBD images on class calls of our own: look-up, creation and
 * metadata, each a child operation that its parent embeds.
 *
 * The rule that holds it together: what librbd and krbd find afterwards is
 * what librbd would have made, byte for byte, and a process that is killed
 * between any two writes leaves something that the same call completes.
 */
#ifndef CEPH_IMAGE_H
#define CEPH_IMAGE_H

#include "ceph/layout.h"
#include "ceph/pool_validate.h"
#include "ceph/rados_aio.h"

/*
 * A fresh image id: 14 hex digits, of our client instance and of random, as
 * librbd makes them; always 14, so that no id is a prefix of another.
 */
void image_id_generate(
    const struct ceph_connection *conn, char id[RBD_ID_SIZE]);

/* Names of an image's objects; buf has RBD_OBJECT_SIZE bytes. */
void image_id_object(char *buf, const char *name);
void image_header_object(char *buf, const char *id);
void image_map_object(char *buf, const char *id);

/*
 * Removes rbd_id.NAME if it holds `id`. -ENOENT: it is gone; -ECANCELED: it
 * holds another id, and stays.
 */
void image_id_remove_start(struct ceph_pool *pool, const char *name,
    const char *id, struct wake *waiter);

/* Everything that the header says, read in one operation. */
struct image_info {
	char id[RBD_ID_SIZE];
	uint64_t size_bytes;
	uint64_t features;
	uint64_t op_features;
	uint64_t flags;
	struct layout layout;
	char prefix[RBD_PREFIX_SIZE]; /* of its data objects, without '.' */
	int64_t data_pool;            /* -1: the pool that it is in */
	uint64_t snap_seq;
	uint32_t snaps;            /* including those in the trash */
	struct cls_parent parent;  /* pool -1: none */
	struct cls_group group;    /* pool -1: none */
	struct cls_lock_info lock; /* the exclusive lock */
	bool mirrored;             /* only if image_lookup asked for it */
};

/*
 * Whether librbd can serve an image with this header: it trusts what it reads
 * there, and dies of an object prefix that is too long or striping that cannot
 * be. DATA_LOSS names what is wrong.
 */
int image_header_check(
    const struct image_info *info, struct err *err) must_check;

/*
 * Why an image is not for us to change or remove natively; librbd in a lane
 * has to do it.
 */
enum image_obstacle {
	IMAGE_PLAIN = 0,     /* none */
	IMAGE_JOURNALED,     /* feature journaling */
	IMAGE_MIGRATING,     /* a live migration has not been committed */
	IMAGE_MIRRORED,      /* registered for mirroring, or non-primary */
	IMAGE_GROUPED,       /* member of a group */
	IMAGE_UNKNOWN,       /* a feature that we do not know */
	IMAGE_HAS_SNAPSHOTS, /* only in the way of a purge */
	IMAGE_HAS_PARENT,    /* only in the way of a purge */
};

const char *image_obstacle_text(enum image_obstacle obstacle);

/* The first one that is in the way of moving, or with `purge` of purging. */
enum image_obstacle image_obstacle(const struct image_info *info, bool purge);

/*
 * Look-up. By id: one read. By name (id NULL): rbd_id.NAME first, two reads.
 * With check_mirror one more, of rbd_mirroring.
 *
 * NOT_FOUND: no such name, or no header; `id` in info tells the two apart.
 */
enum image_lookup_state {
	LOOKUP_START = 0,
	LOOKUP_ID_READ,     /* rbd_id.NAME has answered */
	LOOKUP_HEADER_READ, /* the header has answered */
	LOOKUP_MIRROR_READ, /* rbd_mirroring has answered */
	LOOKUP_END,
};

struct image_lookup {
	struct op op;
	enum image_lookup_state state;
	struct ceph_pool *pool;
	const char *name; /* the caller's, until the end */
	bool check_mirror;
	struct image_info info; /* the answer */
	struct rados_read *read;
};

void image_lookup_start(struct image_lookup *lookup, struct ceph_pool *pool,
    const char *name, const char *id, bool check_mirror, struct wake *waiter);

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
	bool guessed;     /* the id was found by the name */
	char dir_id[RBD_ID_SIZE], dir_name[RBD_NAME_SIZE];
	struct rados_read *read;

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
 * Creation. All pointers are the caller's and live until the end.
 */
struct image_spec {
	const char *name;
	const char *id; /* from image_id_generate() or an
					   earlier try of the same creation */
	uint64_t size_bytes;
	uint64_t features;           /* within features_created() */
	struct layout layout;        /* zeroes: defaults */
	struct ceph_pool *data_pool; /* NULL: all in one pool; has the same
					   RADOS namespace as the pool */
	const struct cls_meta *meta; /* written with the header */
	size_t nmeta;
};

enum image_create_state {
	CREATE_START = 0,
	CREATE_POOL_VALIDATED, /* the data pool is fit for images */
	CREATE_DIR_ADDED,      /* rbd_directory has (or had) the name */
	CREATE_DIR_READ,       /* it had: which id it gives to the name */
	CREATE_ID_SET,         /* rbd_id.NAME exists (or did already) */
	CREATE_ID_READ,        /* it did: which id it holds */
	CREATE_HEADER_MADE,    /* the header exists (or did already) */
	CREATE_TRASH_READ,     /* it did though the name was new: why */
	CREATE_HEADER_READ,    /* it did: what it says */
	CREATE_META_SET,       /* metadata written to a header that existed */
	CREATE_STRIPED,        /* stripe unit and count stored */
	CREATE_MAP_MADE,       /* the object map exists (or did already) */
	/* undo ladder: removes what this call made, each rung if it was made */
	CREATE_UNDO_MAP,
	CREATE_UNDO_HEADER,
	CREATE_UNDO_ID,
	CREATE_UNDO_DIR,
	CREATE_END,
};

struct image_create {
	struct op op;
	enum image_create_state state;
	struct ceph_pool *pool;
	const struct image_spec *spec;
	struct ceph_pool *data_pool;
	char id[RBD_ID_SIZE]; /* the answer: spec->id, or the id of a half
				   made image of this name that was completed */
	bool adopted;         /* another call had begun, nothing is undone */
	struct layout layout; /* defaults filled in */
	uint64_t features;    /* as stored */
	char prefix[RBD_PREFIX_SIZE];
	bool made_dir, made_id, made_header, made_map;
	struct rados_read *read;
	struct pool_validate validate;
	struct image_lookup lookup;
};

/*
 * Creates an image, or completes one of the same name that a killed process
 * has left half made. An image that is there already and has these parameters
 * is success (its metadata are written once more); with others it is
 * ALREADY_EXISTS, naming the difference. A failure removes what this call has
 * made. Other errors: INVALID_ARGUMENT (parameters), NOT_FOUND (the RADOS
 * namespace), ABORTED (the id is in use: try with another one),
 * RESOURCE_EXHAUSTED, PERMISSION_DENIED, FAILED_PRECONDITION (an erasure
 * coded data pool without overwrites).
 */
void image_create_start(struct image_create *create, struct ceph_pool *pool,
    const struct image_spec *spec, struct wake *waiter);

/*
 * Is there nothing in the image, for sure? It has no parent, no journal with
 * entries, and no data object that holds something but zeros. Snapshots do not
 * matter: they keep what they have. By the object map where that is valid,
 * else by asking for each object.
 */
enum image_empty_state {
	EMPTY_START = 0,
	EMPTY_JOURNAL_READ,     /* where the journal's entries would be */
	EMPTY_JOURNAL_SEARCHED, /* whether there are any */
	EMPTY_MAP_READ,         /* the object map has answered */
	EMPTY_SEARCHED,         /* the data objects have answered */
	EMPTY_END,
};

struct image_empty {
	struct op op;
	enum image_empty_state state;
	struct ceph_pool *pool;
	const struct image_info *info;
	struct rados_read *read;
	struct cls_object_map map; /* valid if has_map */
	bool has_map;
	struct rados_search search;
	char why[64]; /* the answer: why it is not empty, "" : it is */
};

/* *info is the caller's, as looked up just now, and lives until the end. */
void image_empty_start(struct image_empty *empty, struct ceph_pool *pool,
    const struct image_info *info, struct wake *waiter);

/*
 * ---- Metadata, by image id ----
 *
 * One operation each; -ENOENT: no such image. Nobody is notified: that is
 * needed for keys that start with "conf_" only, which librbd reads anew.
 */
void image_meta_set_start(struct ceph_pool *pool, const char *id,
    const struct cls_meta *meta, size_t n, struct wake *waiter);

/* Only if the key is not there: else -ECANCELED. */
void image_meta_add_start(struct ceph_pool *pool, const char *id,
    const struct cls_meta *meta, struct wake *waiter);

/* Keys that are not there are no error. */
void image_meta_remove_start(struct ceph_pool *pool, const char *id,
    const char *const *keys, size_t n, struct wake *waiter);

/*
 * Reads up to RADOS_READ_STEPS keys in one operation. Free *read in the end;
 * image_meta_value() gives -ENOENT for a key that is not there.
 */
struct rados_read *image_meta_get_start(struct ceph_pool *pool, const char *id,
    const char *const *keys, size_t n, struct wake *waiter);
int image_meta_value(const struct rados_read *read, unsigned i,
    struct dec_bytes *value) must_check;

/* All metadata of an image, in pages of CLS_METADATA_PAGE. */
enum image_meta_list_state {
	META_LIST_START = 0,
	META_LIST_READ, /* a page has come */
	META_LIST_END,
};

struct image_meta_list {
	struct op op;
	enum image_meta_list_state state;
	struct ceph_pool *pool;
	const char *id;
	struct rados_read *read;
	struct cls_meta *meta; /* the answer, in the order of keys; values
				   have a NUL behind their len bytes */
	size_t n, room;
	struct arena *arena; /* keys and values */
};

/* NOT_FOUND: no such image. RESOURCE_EXHAUSTED: above IMAGE_META_MAX keys. */
#define IMAGE_META_MAX 16384
void image_meta_list_start(struct image_meta_list *list, struct ceph_pool *pool,
    const char *id, struct wake *waiter);
void image_meta_list_fini(struct image_meta_list *list);

#endif
