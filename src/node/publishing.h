/*
 * publishing.h - what one offload child does for publish, unpublish and the
 * statistics of a published volume.
 *
 * The rule that holds it together: nothing is bind mounted before it is
 * proven to be the image: the staging path is a mount, its device is a
 * mapping of this image, and exactly what was looked at is what is bound. A
 * staging path that a reboot left behind is an empty directory on the node's
 * own disk; no pod may ever get that.
 */
#ifndef NODE_PUBLISHING_H
#define NODE_PUBLISHING_H

#include "node/device.h"

struct publishing_args {
	const char *staging;     /* staging_target_path */
	const char *target;      /* target_path */
	struct device_spec spec; /* of the request; the stash rules */
	bool block;
	bool read_only;
	bool single_writer;  /* at no other target of this node */
	const char *options; /* mount flags, comma list */
};

struct publishing_result {
	/* It was staged, and its device or its mount is gone: stage it anew. */
	bool lost;
};

struct unpublishing_args {
	const char *volume_id;
	const char *target; /* target_path */
};

/*
 * Offload functions; the second one has no result. Unpublish takes away mounts of this
 * volume only (mounted.h), and an empty file or directory; success means that
 * there is neither a mount nor anything else at the target.
 */
int publishing_publish(
    const void *publishing_args, void *publishing_result, struct err *err);
int publishing_unpublish(
    const void *unpublishing_args, void *none, struct err *err);

struct publishing_where {
	const char *path;      /* at which the volume is published or staged */
	const char *staging;   /* or "" */
	const char *volume_id; /* for where there is no stash */
};

struct publishing_stats {
	bool block;
	uint64_t total_bytes, used_bytes, available_bytes;
	uint64_t inodes, used_inodes, free_inodes; /* file system only */
	/* Nothing can be read or written there; "" : it is well. */
	char dead[160];
};

/*
 * NOT_FOUND when no volume is published there. That it is dead is no failure:
 * no number is set then. A volume that lives costs no I/O but a look at sysfs.
 */
int publishing_stats(
    const void *publishing_where, void *publishing_stats, struct err *err);

#endif
