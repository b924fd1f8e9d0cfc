/*
 * image_header.h - what an image's header says: how its bytes lie on objects,
 * which parameters it may have, and what stands in the way of changing it
 * natively. Pure.
 */
#ifndef CEPH_IMAGE_HEADER_H
#define CEPH_IMAGE_HEADER_H

#include "base/err.h"
#include "ceph/cls_rbd.h"

#define LAYOUT_ORDER_MIN 12     /* 4 KiB objects */
#define LAYOUT_ORDER_MAX 25     /* 32 MiB objects */
#define LAYOUT_ORDER_DEFAULT 22 /* 4 MiB objects */

struct layout {
	uint8_t order;         /* object size is 1 << order */
	uint64_t stripe_unit;  /* bytes; object size when not striped */
	uint64_t stripe_count; /* objects a stripe goes over; 1: not striped */
};

/*
 * Checks what a creator asks for and fills in defaults as librbd does: order
 * 0 is the default one; unit and count 0 (both) are not striped. Gives the
 * features to store: STRIPINGV2 is added exactly when the striping is not the
 * default one, and fast-diff comes with object-map. INVALID_ARGUMENT names
 * what is wrong; fast-diff alone, which librbd drops without a word, is.
 */
int layout_check(struct layout *layout, uint64_t size_bytes, uint64_t *features,
    struct err *err) must_check;

bool layout_is_striped(const struct layout *layout);

/* Number of objects that an image of this size can have. */
uint64_t layout_objects(const struct layout *layout, uint64_t size_bytes);

/* Everything that the header says, read in one operation. */
struct image_info {
	char id[RBD_ID_SIZE];
	uint64_t version; /* of the header's object */
	uint64_t size_bytes;
	struct timespec created;
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
	IMAGE_HAS_SNAPSHOTS, /* only in the way of flattening */
	IMAGE_LOCKED,        /* somebody writes to it: his to change */
	IMAGE_WATCHED,       /* only in the way of flattening: it is open */
	IMAGE_UNLIKE,        /* its objects do not lie as its parent's do */
};

const char *image_obstacle_text(enum image_obstacle obstacle);

enum image_obstacle image_obstacle(const struct image_info *info);

/* The same for what is done to an image in place, which its writer does. */
enum image_obstacle image_obstacle_in_place(const struct image_info *info);

/*
 * Has an image that is not in the way to be guarded by its header's version?
 * With the feature exclusive-lock nobody has written to it while that stays.
 */
static inline bool
image_is_guarded(const struct image_info *info)
{
	return (info->features & RBD_EXCLUSIVE_LOCK) != 0;
}

static inline bool
image_has_valid_map(const struct image_info *info)
{
	return (info->features & RBD_OBJECT_MAP) != 0 &&
	    !(info->flags & RBD_FLAG_OBJECT_MAP_INVALID);
}

#endif
