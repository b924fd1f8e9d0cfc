/*
 * cls_rbd.h - the methods of the OSD's object classes "rbd" and "lock" that
 * we call: how their input is encoded and their output decoded. Pure: no
 * cluster, no event.
 *
 * The formats are those of Ceph 16.2 (Pacific), unchanged up to 20.2 as far
 * as is known; struct versions let newer releases append fields.
 *
 * A `struct cls_call` is a method and its encoded input in one, so that the
 * two cannot be mixed up. rados_write_call() and rados_read_call() take it.
 */
#ifndef CEPH_CLS_RBD_H
#define CEPH_CLS_RBD_H

#include "base/features.h"
#include "ceph/encode.h"

#include <string.h>
#include <time.h>

/*
 * Object names of an image and of a pool, or of a RADOS namespace in it (Ceph:
 * src/include/rbd_types.h).
 */
#define RBD_DIRECTORY "rbd_directory"
#define RBD_TRASH "rbd_trash"
#define RBD_INFO "rbd_info" /* the pool's default namespace only */
#define RBD_MIRRORING "rbd_mirroring"
#define RBD_ID_PREFIX "rbd_id."         /* + image name */
#define RBD_HEADER_PREFIX "rbd_header." /* + image id */
#define RBD_DATA_PREFIX "rbd_data." /* [+ metadata pool id + .] + image id */
#define RBD_OBJECT_MAP_PREFIX "rbd_object_map." /* + image id */

#define RBD_LOCK_NAME "rbd_lock" /* the exclusive lock on the header */

#define RBD_NOSNAP ((uint64_t)-2) /* the image itself, no snapshot */

/* Room for ids, names and prefixes with their closing NUL. */
#define RBD_ID_SIZE 64
#define RBD_NAME_SIZE 256
#define RBD_PREFIX_SIZE 128
#define RBD_OBJECT_SIZE 320 /* any object name of an image */
#define RBD_ADDR_SIZE 80

/* Operation features (Ceph: src/include/rbd/features.h). */
#define RBD_OP_CLONE_PARENT (1ull << 0)
#define RBD_OP_CLONE_CHILD (1ull << 1)
#define RBD_OP_GROUP (1ull << 2)
#define RBD_OP_SNAP_TRASH (1ull << 3)

/* Image flags (Ceph: src/include/rbd/librbd.h). */
#define RBD_FLAG_OBJECT_MAP_INVALID (1ull << 0)
#define RBD_FLAG_FAST_DIFF_INVALID (1ull << 1)

/* Ceph: src/cls/rbd/cls_rbd_types.h, TrashImageSource and TrashImageState. */
enum trash_source {
	TRASH_SOURCE_USER = 0, /* `rbd trash mv` and we */
	TRASH_SOURCE_MIRRORING,
	TRASH_SOURCE_MIGRATION,
	TRASH_SOURCE_REMOVING,    /* `rbd rm` on its way */
	TRASH_SOURCE_USER_PARENT, /* goes with its last clone */
};

enum trash_state {
	TRASH_NORMAL = 0, /* in the trash, may be restored */
	TRASH_MOVING,     /* on the way in: the name may still exist */
	TRASH_REMOVING,   /* being purged, never comes back */
	TRASH_RESTORING,  /* on the way out */
};

struct cls_call {
	const char *cls, *method; /* string constants */
	struct enc in;
};

/*
 * A call of class rbd without input, or with strings or a number as input.
 *
 * on rbd_directory
 *	dir_add_image(name, id)	-EEXIST: name known (also with this id);
 *				-EBADF: id has another name
 *	dir_remove_image(name, id)	-ENOENT: no such pair
 *	dir_get_id(name) -> string, dir_get_name(id) -> string
 * on rbd_id.NAME, which is that string and nothing else
 *	set_id(id)		after create in one operation; -EEXIST
 *	get_id() -> string
 * on rbd_header.ID
 *	set_size(size)
 *	get_size(snap) -> u8 order, u64 size
 *	get_object_prefix() -> string, get_data_pool() -> s64 (-1: none)
 *	get_stripe_unit_count() -> u64, u64
 *	get_flags(snap) -> u64, op_features_get() -> u64
 *	get_create_timestamp() -> time
 *	get_snapcontext(), parent_get(), image_group_get()
 *	metadata_remove(key)	0 also if it is absent
 *	metadata_get(key) -> bytes; -ENOENT
 *	snapshot_get(snap); -ENOENT
 *	snapshot_trash_add(snap)	a name of its own, kind SNAP_TRASH;
 *				-EEXIST: is there already, -ENOENT
 *	snapshot_remove(snap)	-EBUSY: has children, -ENOENT
 *	children_list(snap); -ENOENT: it has none
 *	parent_overlap_get(snap) -> optional u64
 *	parent_detach()		-ENOENT: has no parent
 * on rbd_object_map.ID, or .ID.%016x of a snapshot
 *	object_map_load()
 *	object_map_snap_add()	all that is there is as in the snapshot now
 * on rbd_trash
 *	trash_get(id), trash_remove(id)	-ENOENT
 * on rbd_mirroring
 *	mirror_image_get(id)	-ENOENT: is not
 */
struct cls_call cls_call(const char *method);
struct cls_call cls_call_str(const char *method, const char *s);
struct cls_call cls_call_str2(const char *method, const char *a, const char *b);
struct cls_call cls_call_u64(const char *method, uint64_t v);

/*
 * Fails unless the RADOS namespace is alive; goes into the write operation
 * that adds an image in a namespace.
 */
struct cls_call cls_dir_state_assert_ready(void);

/* -EEXIST; `data_pool` is -1 unless RBD_DATA_POOL is in `features`. */
struct cls_call cls_create(uint64_t size_bytes, uint8_t order,
    uint64_t features, const char *prefix, int64_t data_pool);
/*
 * Needs RBD_STRIPINGV2 stored before: an operation of its own after create,
 * because a method does not see what another one in the same operation wrote.
 */
struct cls_call cls_set_stripe_unit_count(uint64_t unit, uint64_t count);
/* Of the image itself -> u64 features, u64 incompatible ones. */
struct cls_call cls_get_features(void);

/* An image-meta key and its value, which may be any bytes. */
struct cls_meta {
	const char *key;
	const void *value;
	size_t len;
	/* Of an image that is to be made: stays as an earlier try has set it. */
	bool once;
};

#define cls_meta_text(k, v)                                                    \
	((struct cls_meta){ .key = (k), .value = (v), .len = strlen(v) })

/*
 * Creates a missing header: always put assert_exists before it, or create.
 * Existing keys are replaced.
 */
struct cls_call cls_metadata_set(const struct cls_meta *meta, size_t n);
#define CLS_METADATA_PAGE 64
struct cls_call cls_metadata_list(const char *after, uint64_t max);

/* Creates or resizes; new objects are in state 0, "does not exist". */
struct cls_call cls_object_map_resize(uint64_t objects);
/*
 * Objects `from` to `to` - 1 exist; with `clean` as they do in the snapshot
 * before.
 */
struct cls_call cls_object_map_exist(uint64_t from, uint64_t to, bool clean);
/* `map` is the removed snapshot's, as object_map_load() has given it. */
struct cls_call cls_object_map_snap_remove(const struct dec *map);

/* What a snapshot is for. */
enum cls_snap_kind {
	SNAP_USER = 0,
	SNAP_GROUP,
	SNAP_TRASH, /* removed, but for the clones of it */
	SNAP_MIRROR,
};

/* -EEXIST: name or id known; -ESTALE: the id is below an earlier one's. */
struct cls_call cls_snapshot_add(const char *name, uint64_t snap);

/* A clone as its parent knows it. */
struct cls_child {
	int64_t pool;
	const char *rados_namespace, *id;
};

/*
 * "child_attach": -EEXIST: is there, -ENOENT: no such snapshot, or in the
 * trash. "child_detach": -ENOENT.
 */
struct cls_call cls_child(
    const char *method, uint64_t snap, const struct cls_child *child);

struct cls_parent;

/* -EEXIST: has one. The first `overlap` bytes are the parent's. */
struct cls_call cls_parent_attach(
    const struct cls_parent *parent, uint64_t overlap);
struct cls_call cls_op_features_set(uint64_t value, uint64_t mask);

/* Bytes of a data object: `len` of the whole `bytes` from `offset` on. */
struct cls_extent {
	uint64_t offset, len;
};

/* Writes them if the object does not exist; `bytes` is the whole object's. */
struct cls_call cls_sparse_copyup(
    const struct cls_extent *extents, size_t n, const char *bytes);

struct cls_trash_entry {
	enum trash_source source;
	enum trash_state state;
	char name[RBD_NAME_SIZE]; /* the image's last name */
	struct timespec deleted, deferred_until;
};

struct cls_call cls_trash_add(
    const char *id, const struct cls_trash_entry *entry); /* -EEXIST */
/* 0 also when it is in `to` already, -ESTALE when in neither, -ENOENT. */
struct cls_call cls_trash_state_set(
    const char *id, enum trash_state to, enum trash_state from);

/* Class "lock": who holds RBD_LOCK_NAME. */
struct cls_call cls_lock_get_info(void);

/* ---- outputs; each 0 or -EBADMSG ---- */

int cls_parse_str(struct dec d, char *buf, size_t size) must_check;
/* `n` numbers. */
int cls_parse_u64(struct dec d, uint64_t *v, size_t n) must_check;
int cls_parse_size(struct dec d, uint8_t *order, uint64_t *size) must_check;
int cls_parse_time(struct dec d, struct timespec *t) must_check;

struct cls_snapcontext {
	uint64_t seq;
	uint32_t count;
	struct dec ids; /* `count` u64, newest first */
};

int cls_parse_snapcontext(
    struct dec d, struct cls_snapcontext *snapc) must_check;

struct cls_parent {
	int64_t pool; /* -1: the image has no parent */
	char rados_namespace[RBD_ID_SIZE];
	char id[RBD_ID_SIZE];
	uint64_t snap;
};

int cls_parse_parent(struct dec d, struct cls_parent *parent) must_check;

/* The first of what children_list tells; its `snap` is not set. */
int cls_parse_first_child(struct dec d, struct cls_parent *child) must_check;

struct cls_snapshot {
	uint64_t id;
	enum cls_snap_kind kind;
	char name[RBD_NAME_SIZE];     /* in the trash a random one */
	char original[RBD_NAME_SIZE]; /* SNAP_TRASH: what it was called */
	uint64_t size_bytes;
	struct timespec created;
	uint32_t children;
};

/*
 * A clone, as children_list(snap) of the parent has it: cls_parse_children()
 * once, then cls_parse_child() count times.
 */
struct cls_child_id {
	int64_t pool;
	char rados_namespace[RBD_ID_SIZE];
	char id[RBD_ID_SIZE];
};

int cls_parse_children(struct dec *d, uint32_t *count) must_check;
int cls_parse_child(struct dec *d, struct cls_child_id *child) must_check;

int cls_parse_snapshot(struct dec d, struct cls_snapshot *snap) must_check;
/* Of parent_overlap_get; 0: nothing of the parent shows. */
int cls_parse_overlap(struct dec d, uint64_t *overlap) must_check;

struct cls_group {
	int64_t pool; /* -1: in no group */
	char id[RBD_ID_SIZE];
};

int cls_parse_group(struct dec d, struct cls_group *group) must_check;
int cls_parse_trash(struct dec d, struct cls_trash_entry *entry) must_check;

/* A page of metadata: cls_parse_meta_page() once, then _next() count times. */
int cls_parse_meta_page(struct dec *d, uint32_t *count) must_check;
int cls_parse_meta_next(
    struct dec *d, struct dec_bytes *key, struct dec_bytes *value) must_check;

/* Which data objects of an image may exist; the bytes are the reply's. */
struct cls_object_map {
	uint64_t objects;
	const unsigned char *states; /* four objects a byte */
};

/*
 * How the object of a map begins in which no object exists: all of it but the
 * checksums at its end (Ceph: src/common/bit_vector.hpp).
 */
void cls_object_map_none(struct enc *e, uint64_t objects);
int cls_parse_object_map(struct dec d, struct cls_object_map *map) must_check;
/* False: it certainly does not exist, or is beyond the map. */
bool cls_object_map_has(const struct cls_object_map *map, uint64_t i);
/* The first one from i on that it has, or map->objects. */
uint64_t cls_object_map_next(const struct cls_object_map *map, uint64_t i);

/* Who holds a lock; `lockers` may be above 1 for shared locks. */
struct cls_lock_info {
	uint32_t lockers; /* 0: nobody, the rest is empty */
	uint64_t client;  /* the first one's global id */
	char cookie[RBD_ID_SIZE];
	char address[RBD_ADDR_SIZE]; /* "ip:port/nonce" */
	bool exclusive;
	char tag[RBD_ID_SIZE]; /* librbd and krbd: "internal" */
};

int cls_parse_lock_info(struct dec d, struct cls_lock_info *info) must_check;

/* ---- notifications on the header ---- */

/* Payload of HeaderUpdate: whoever has the image open reads it anew. */
void cls_notify_header_update(struct enc *e);

#endif
