/*
 * volume.h - from the ID of a volume or a snapshot to its journal entry and its
 * image, and the names that a volume's image metadata have.
 */
#ifndef CONTROLLER_VOLUME_H
#define CONTROLLER_VOLUME_H

#include "ceph/image.h"
#include "ceph/journal.h"
#include "controller/meta.h"
#include "csi/params.h"
#include "csi/rpc.h"
#include "csi/volume_id.h"

/*
 * Opens the pool of the ID that was read in the request, in the namespace of
 * the request's cluster; `kind` and `id` are for people. NOT_FOUND: no ID of
 * ours, or its pool is gone.
 */
int volume_pool_open(const struct csi_rpc *rpc, const struct journal_kind *kind,
    const char *id, struct ceph_pool **pool, struct err *err) must_check;

/* The image of a journal entry; very old ones do not name it. */
const char *volume_image_name(const struct journal_kind *kind,
    const struct journal_item *item, const char *uuid, struct arena *arena);

/* The key of a node that has the volume; of all of them what keys begin with. */
const char *volume_meta_published(
    struct arena *arena, const char *image_id, const char *node);

/* The value of a key, or NULL. */
const char *volume_meta_get(
    const struct image_meta_list *list, const char *key);

/* "10.0.0.1" of "10.0.0.1:0/123", "::1" of "[::1]:0/123". */
const char *volume_ip_of(struct arena *arena, const char *address);

/* Is it encrypted, or prepared for that? */
bool volume_is_encrypted(const struct image_meta_list *list);

/* The state of encryption, "" for none, and the key that is kept, or NULL. */
const char *volume_encryption(const struct image_meta_list *list);
const char *volume_dek(const struct image_meta_list *list);

/* `a` with `b` behind it, which replaces what has its keys; in the arena. */
struct cls_meta *volume_meta_join(struct arena *arena, const struct cls_meta *a,
    size_t na, const struct cls_meta *b, size_t nb, size_t *n);

enum volume_lookup_state {
	VOLUME_START = 0,
	VOLUME_ITEM_READ,  /* the journal entry has been read */
	VOLUME_NAMED,      /* pool and image are known */
	VOLUME_IMAGE_READ, /* the image has been looked up by its name */
	VOLUME_PLACED,     /* no such image: where name and id are */
	VOLUME_END,
};

struct volume_lookup {
	struct op op;
	enum volume_lookup_state state;
	struct csi_rpc *rpc;
	const struct journal_kind *kind;
	const char *id;                /* for people */
	const struct csi_map *context; /* NULL: the request has none */
	struct image_lookup lookup;
	struct image_place place;

	bool is_source;
	struct image_meta_list *list; /* for the image's metadata, or NULL */

	/* the answer */
	bool is_static; /* no journal entry: the ID is the image's name */
	struct journal_read entry; /* entry.item, unless it is static */
	struct ceph_pool *pool;
	const char *image;
	const struct image_info *info;
};

/*
 * `context` is the request's volume_context, which lives as long as the
 * request; NULL if it has none such. NOT_FOUND, naming the volume: no entry,
 * or no image. FAILED_PRECONDITION: the image's name and id do not belong
 * together any more. INVALID_ARGUMENT: a static volume without its pool.
 */
void volume_lookup_start(struct volume_lookup *volume, struct csi_rpc *rpc,
    const char *volume_id, const struct csi_map *context, struct wake *waiter);

/*
 * The same for what is to be copied, the snapshot or the volume whose ID was
 * read in the request. info->mirrored is set of a volume. The image of a
 * snapshot is an image of its own, a clone of the volume's, with one snapshot
 * that has the image's name (docs/JOURNAL.md); that one tells whether it is
 * the image still, so it is found by its id alone. `list` as
 * image_lookup_with_start() has it, or NULL.
 */
void source_lookup_start(struct volume_lookup *source, struct csi_rpc *rpc,
    bool is_snapshot, struct image_meta_list *list, struct wake *waiter);

/*
 * The CSI ID of a volume or a snapshot of the request's cluster, in the arena.
 * NULL: the cluster's ID makes none, INVALID_ARGUMENT.
 */
char *volume_id_make(const struct csi_rpc *rpc, const struct ceph_pool *pool,
    const char *uuid, struct err *err);

/*
 * Adds an entry to the map<string,string> `field` of a message. Key and value
 * must live as long as the arena.
 */
void volume_map_put(struct arena *arena, void *message, const char *field,
    const char *key, const char *value);

#endif
