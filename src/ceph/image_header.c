/*
 * image_header.c - object sizes, striping and features, of new images and of
 * those that are there.
 */
#include "ceph/image_header.h"

#include <assert.h>
#include <string.h>

/*
 * librbd makes an object's name in 96 bytes (RBD_MAX_OBJ_NAME_SIZE): prefix,
 * '.', 16 digits, NUL.
 */
#define DATA_PREFIX_MAX (96 - 18)
#define KNOWN_OP_FEATURES                                                      \
	(RBD_OP_CLONE_PARENT | RBD_OP_CLONE_CHILD | RBD_OP_GROUP |             \
	    RBD_OP_SNAP_TRASH)
/* librbd's largest object map, and so the largest image that may have one. */
#define OBJECT_MAP_MAX 256000000ull
#define STRIPE_UNIT_MIN 512

static int
check_features(uint64_t features, struct err *err)
{
	uint64_t foreign = features & ~features_created(), missing;
	const char *name = features_unmet(features, &missing);
	char needs[128];

	if (foreign != 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "image features 0x%llx are not for native creation",
		    (unsigned long long)foreign);
	if (name == NULL)
		return 0;
	features_fmt(missing, needs, sizeof(needs));
	return err_set(err, ERR_INVALID_ARGUMENT, "image feature %s needs %s",
	    name, needs);
}

/* What every image is bound to; `code` is that of a failure. */
static int
check_shape(const struct layout *layout, uint64_t size_bytes, bool object_map,
    enum err_code code, struct err *err)
{
	uint64_t object_bytes;

	if (layout->order < LAYOUT_ORDER_MIN ||
	    layout->order > LAYOUT_ORDER_MAX)
		return err_set(err, code,
		    "object size 2^%u is not within 2^%u and 2^%u",
		    layout->order, LAYOUT_ORDER_MIN, LAYOUT_ORDER_MAX);
	object_bytes = 1ull << layout->order;
	if (layout->stripe_unit < STRIPE_UNIT_MIN ||
	    layout->stripe_unit > object_bytes ||
	    object_bytes % layout->stripe_unit != 0)
		return err_set(err, code,
		    "stripe unit %llu does not divide the object size %llu",
		    (unsigned long long)layout->stripe_unit,
		    (unsigned long long)object_bytes);
	/* the width that librbd's own arithmetic has for it */
	if (layout->stripe_count == 0 || layout->stripe_count > UINT32_MAX)
		return err_set(err, code, "stripe count %llu cannot be",
		    (unsigned long long)layout->stripe_count);
	if (size_bytes > INT64_MAX)
		return err_set(err,
		    code == ERR_INVALID_ARGUMENT ? ERR_OUT_OF_RANGE : code,
		    "image size %llu", (unsigned long long)size_bytes);
	if (object_map && layout_objects(layout, size_bytes) > OBJECT_MAP_MAX)
		return err_set(err,
		    code == ERR_INVALID_ARGUMENT ? ERR_OUT_OF_RANGE : code,
		    "an image of %llu bytes has too many objects for an object map",
		    (unsigned long long)size_bytes);
	return 0;
}

int
layout_check(struct layout *layout, uint64_t size_bytes, uint64_t *features,
    struct err *err)
{
	int rc;

	if (layout->order == 0)
		layout->order = LAYOUT_ORDER_DEFAULT;
	if ((layout->stripe_unit == 0) != (layout->stripe_count == 0))
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "stripe unit and stripe count go together");
	if (layout->stripe_unit == 0 && layout->order <= LAYOUT_ORDER_MAX) {
		layout->stripe_unit = 1ull << layout->order;
		layout->stripe_count = 1;
	}
	if ((rc = check_features(*features, err)) < 0 ||
	    (rc = check_shape(layout, size_bytes,
		 (*features & RBD_OBJECT_MAP) != 0, ERR_INVALID_ARGUMENT,
		 err)) < 0)
		return rc;
	if (*features & RBD_OBJECT_MAP)
		*features |= RBD_FAST_DIFF;
	if (layout_is_striped(layout))
		*features |= RBD_STRIPINGV2;
	return 0;
}

bool
layout_is_striped(const struct layout *layout)
{
	return layout->stripe_count != 1 ||
	    layout->stripe_unit != 1ull << layout->order;
}

/*
 * Bytes go in units round robin over the objects of a set, and a set of
 * stripe_count objects is filled before the next one starts. Only the last
 * set can have objects that are never reached: when less than one unit for
 * each object is left for it.
 */
uint64_t
layout_objects(const struct layout *layout, uint64_t size_bytes)
{
	uint64_t unit = layout->stripe_unit, count = layout->stripe_count;
	uint64_t set_bytes = count << layout->order;
	uint64_t sets, rest, units;

	/* what layout_check() and image look-ups let through */
	assert(unit > 0 && set_bytes > 0);
	sets = size_bytes / set_bytes;
	rest = size_bytes % set_bytes;
	units = (rest + unit - 1) / unit;
	return sets * count + (units < count ? units : count);
}

int
image_header_check(const struct image_info *info, struct err *err)
{
	/* It is a format string for librbd. */
	size_t plain = strspn(info->prefix,
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	if (!str_starts(info->prefix, RBD_DATA_PREFIX) ||
	    info->prefix[plain] != '\0' || plain > DATA_PREFIX_MAX)
		return err_set(err, ERR_DATA_LOSS,
		    "header of image id %s: object prefix of %zu bytes",
		    info->id, strlen(info->prefix));
	if (check_shape(&info->layout, info->size_bytes,
		(info->features & RBD_OBJECT_MAP) != 0, ERR_DATA_LOSS,
		err) < 0) {
		err_prefix(err, "header of image id %s", info->id);
		return err->rc;
	}
	return 0;
}

const char *
image_obstacle_text(enum image_obstacle obstacle)
{
	static const char *const texts[] = {
		[IMAGE_PLAIN] = "nothing",
		[IMAGE_JOURNALED] = "it has a journal",
		[IMAGE_MIGRATING] = "it is being migrated",
		[IMAGE_MIRRORED] = "it is mirrored",
		[IMAGE_GROUPED] = "it is in a group",
		[IMAGE_UNKNOWN] = "it has a feature that is not known here",
		[IMAGE_HAS_SNAPSHOTS] = "it has snapshots",
		[IMAGE_LOCKED] = "somebody holds its exclusive lock",
		[IMAGE_WATCHED] = "somebody has it open",
		[IMAGE_UNLIKE] = "its objects are not those of its parent",
	};

	return texts[obstacle];
}

enum image_obstacle
image_obstacle(const struct image_info *info)
{
	if (info->features & RBD_JOURNALING)
		return IMAGE_JOURNALED;
	if (info->features & RBD_MIGRATING)
		return IMAGE_MIGRATING;
	if (info->mirrored || (info->features & RBD_NON_PRIMARY))
		return IMAGE_MIRRORED;
	if (info->group.pool >= 0)
		return IMAGE_GROUPED;
	if ((info->features & ~features_for(FEATURE_NATIVE)) != 0 ||
	    (info->op_features & ~KNOWN_OP_FEATURES) != 0)
		return IMAGE_UNKNOWN;
	return IMAGE_PLAIN;
}

enum image_obstacle
image_obstacle_in_place(const struct image_info *info)
{
	enum image_obstacle obstacle = image_obstacle(info);

	return obstacle == IMAGE_PLAIN && image_is_guarded(info) &&
		info->lock.lockers > 0
	    ? IMAGE_LOCKED
	    : obstacle;
}
