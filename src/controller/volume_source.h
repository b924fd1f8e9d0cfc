/*
 * volume_source.h - what a new volume is to be a copy of: the snapshot or the
 * volume that CreateVolume names as its volume_content_source; and the volume
 * of which CreateSnapshot makes a snapshot.
 *
 * The rule that holds it together: whether a volume that exists was made from
 * a source is told by the journal, where rbd-csi has written it down, else by
 * the image's parents, and where neither tells it was not.
 */
#ifndef CONTROLLER_VOLUME_SOURCE_H
#define CONTROLLER_VOLUME_SOURCE_H

#include "ceph/snapshot.h"
#include "controller/volume.h"

enum volume_source_state {
	SOURCE_START = 0,
	SOURCE_FOUND,       /* its entry and its image are known */
	SOURCE_META_READ,   /* and so are the image's metadata */
	SOURCE_LISTED,      /* which snapshots the image has */
	SOURCE_HELPER_READ, /* of which image the copy's parent is a clone */
	SOURCE_END,
};

struct volume_source {
	struct op op;
	enum volume_source_state state;
	struct csi_rpc *rpc;
	/* compare: what exists, and what its header says */
	struct ceph_pool *copy_pool;
	const char *copy_image;
	const struct image_info *copy;
	struct volume_lookup found;
	struct image_meta_list list;
	struct snapshot_list snaps;
	struct image_lookup helper;

	/* the answer */
	bool is_snapshot;
	bool is_origin; /* compare: the copy was made from it */
	uint64_t size_bytes;
	struct cls_parent parent; /* is_snapshot: what is cloned */
	struct cls_meta *meta;    /* what a copy inherits, in the arena */
	size_t nmeta;
};

/*
 * Looks up the source of a CreateVolume that has one, or of a CreateSnapshot,
 * and what a copy of it needs to know. NOT_FOUND: there is no such snapshot or
 * volume (any more). INVALID_ARGUMENT: it is encrypted and the new volume is
 * not to be, or the other way.
 * volume_source_fini() in any case.
 *
 * With a copy (else NULLs) also whether that image, whose journal does not
 * tell, was made of it. That is told by its parent; of a copy of a volume by
 * that of its helper, but for one that was flattened.
 */
void volume_source_start(struct volume_source *source, struct csi_rpc *rpc,
    struct ceph_pool *pool, const char *image, const struct image_info *copy,
    struct wake *waiter);

void volume_source_fini(struct volume_source *source);

/* A snapshot of an image as what a clone is made of. */
void volume_parent_of(struct cls_parent *parent, const struct ceph_pool *pool,
    const char *image_id, uint64_t snap);

/* Is the source's image this parent? */
bool volume_source_is_of(
    const struct volume_source *source, const struct cls_parent *parent);

#endif
