/*
 * device.h - images and block devices: which image is meant, which device is
 * there, and what all who make devices need.
 */
#ifndef NODE_DEVICE_H
#define NODE_DEVICE_H

#include "base/err.h"
#include "base/secret.h"

#include <sys/types.h>

/*
 * Which image, and how to reach it. All strings are borrowed and live as long
 * as the operation; NULL or "" where unknown. A volume whose stash is lost is
 * known by volume_id only (image is NULL then).
 */
struct device_spec {
	const char *volume_id;
	const char *cluster_id;    /* clusterID of config.json */
	const char *fsid;          /* of the Ceph cluster; may be unknown */
	const char *monitors;      /* "a:6789,b:6789", as in config.json */
	const char *net_namespace; /* file to enter for the map, or NULL */
	const char *user;          /* without "client." */
	const struct secret *key;  /* base64 text; attach only */
	const char *pool;
	int64_t pool_id;             /* of the handle; 0: unknown */
	const char *rados_namespace; /* "" is the default namespace */
	const char *image;           /* name */
	const char *image_id;        /* may be unknown */
	const char *map_options;     /* this mapper's part, "a,b=c" */
	const char *unmap_options;
	bool read_only;
};

#define DEVICE_PATH_MAX 64
#define DEVICE_FILE_MAX 160 /* of rbd-attachd, below a loop device */

/* A block device that is there. */
struct device {
	int id;                     /* its mapper's number: of rbd or loop */
	char path[DEVICE_PATH_MAX]; /* "/dev/rbd0" */
	dev_t devno;
	uint64_t size_bytes;
	bool read_only;
};

/*
 * Whether an image's name is that of a volume: the same (a static volume), or
 * with the UUID at its end in the volume's ID (a dynamic one, and one that was
 * migrated from the in-tree driver).
 */
bool device_is_named(const char *volume_id, const char *image);

/* The UUID that a name ends with, or NULL. */
const char *device_uuid_of(const char *name);

/*
 * The kernel has no such device any more, or a loop device over nothing: where
 * a mount shows it, nothing can be read or written.
 */
bool device_is_gone(dev_t devno);

/* ---- in children ----------------------------------------------------------- */

/*
 * Checks that `path` is block device `devno`. The kernel has made the node
 * before a map returns where /dev is a devtmpfs; elsewhere (a container's own
 * /dev) it is made here.
 */
int device_node_ensure(
    const char *path, dev_t devno, struct err *err) must_check;

/* Blocks; a kernel without the module is told by what is tried next. */
void device_load_module(const char *name);

void device_pause_ms(int64_t ms);

#endif
