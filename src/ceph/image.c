/*
 * image.c - names and ids of images, and what stands in the way of changing
 * one natively.
 */
#include "ceph/image.h"

#include <stdio.h>
#include <sys/random.h>

#define KNOWN_OP_FEATURES                                                      \
	(RBD_OP_CLONE_PARENT | RBD_OP_CLONE_CHILD | RBD_OP_GROUP |             \
	    RBD_OP_SNAP_TRASH)

/*
 * librbd writes the instance id and the random part in hex without padding
 * and keeps the last 14 digits, which is all that the class's object prefix
 * has room for. With padding the two are as unique and the length is fixed.
 */
void
image_id_generate(const struct ceph_connection *conn, char id[RBD_ID_SIZE])
{
	uint32_t extra;

	if (getrandom(&extra, sizeof(extra), 0) != sizeof(extra))
		abort(); /* cannot fail for so few bytes */
	(void)snprintf(id, RBD_ID_SIZE, "%06llx%08x",
	    (unsigned long long)(ceph_connection_instance(conn) & 0xffffff),
	    extra);
}

void
image_id_object(char *buf, const char *name)
{
	(void)snprintf(buf, RBD_OBJECT_SIZE, RBD_ID_PREFIX "%s", name);
}

void
image_header_object(char *buf, const char *id)
{
	(void)snprintf(buf, RBD_OBJECT_SIZE, RBD_HEADER_PREFIX "%s", id);
}

void
image_map_object(char *buf, const char *id)
{
	(void)snprintf(buf, RBD_OBJECT_SIZE, RBD_OBJECT_MAP_PREFIX "%s", id);
}

void
image_id_remove_start(struct ceph_pool *pool, const char *name, const char *id,
    struct wake *waiter)
{
	struct rados_write *w = rados_write_new();
	char object[RBD_OBJECT_SIZE];
	struct enc content;

	image_id_object(object, name);
	enc_init(&content);
	cls_id_object(&content, id);
	rados_write_assert_exists(w);
	rados_write_data_expect(w, 0, content.buf.data, content.buf.len);
	rados_write_remove(w);
	rados_write_start(w, pool, object, waiter);
	enc_fini(&content);
}

const char *
image_obstacle_text(enum image_obstacle obstacle)
{
	switch (obstacle) {
	case IMAGE_PLAIN:
		return "nothing";
	case IMAGE_JOURNALED:
		return "it has a journal";
	case IMAGE_MIGRATING:
		return "it is being migrated";
	case IMAGE_MIRRORED:
		return "it is mirrored";
	case IMAGE_GROUPED:
		return "it is in a group";
	case IMAGE_UNKNOWN:
		return "it has a feature that is not known here";
	case IMAGE_HAS_SNAPSHOTS:
		return "it has snapshots";
	case IMAGE_HAS_PARENT:
		return "it is a clone";
	}
	return "?";
}

enum image_obstacle
image_obstacle(const struct image_info *info, bool purge)
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
	if (purge && info->snaps > 0)
		return IMAGE_HAS_SNAPSHOTS;
	if (purge && info->parent.pool >= 0)
		return IMAGE_HAS_PARENT;
	return IMAGE_PLAIN;
}
