/*
 * qos.h - limits of a VolumeAttributesClass on an image: csi/qos.h says what
 * they are, here is how an image gets them.
 */
#ifndef CONTROLLER_QOS_H
#define CONTROLLER_QOS_H

#include "ceph/image.h"
#include "csi/qos.h"

enum qos_store_state {
	QOS_START = 0,
	QOS_META_READ, /* what the image has */
	QOS_STORED,    /* what it is to have is in its metadata */
	QOS_NOTIFIED,  /* librbd, where the image is open, has read it anew */
	QOS_END,
};

struct qos_store {
	struct op op;
	enum qos_store_state state;
	struct ceph_pool *pool;
	const char *id;
	const struct csi_qos *asked;
	uint64_t size_bytes;
	struct arena *arena;
	struct image_meta_list list;
	struct rados_notified notified;
};

/*
 * Gives image `id` the limits that were asked for (NULL: only those that it
 * has from earlier, or from the image that it is a clone of), for this size:
 * what ControllerModifyVolume does, what an expansion does before it makes the
 * image larger, and what a clone needs. One read where there is nothing to
 * change. Who has the image open is told; that somebody does not answer is no
 * failure. NOT_FOUND: no such image. Pointers live until the end.
 */
void qos_store_start(struct qos_store *store, struct ceph_pool *pool,
    const char *id, const struct csi_qos *asked, uint64_t size_bytes,
    struct arena *arena, struct wake *waiter);

/* The limits that are stored, as csi_qos_io_max(). */
const char *qos_io_max(const struct image_meta_list *list, struct arena *arena);

#endif
