/*
 * device.h - images and block devices: which image is meant, which device is
 * there, and what the kernel tells of it in /sys, by files of one line and
 * directories of names: no device is opened for that, so nothing waits.
 */
#ifndef NODE_DEVICE_H
#define NODE_DEVICE_H

#include "base/err.h"
#include "base/secret.h"

#include <dirent.h>
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
	const char
	    *crush_location;      /* "host:a|zone:b": read from what is near */
	const char *user;         /* without "client." */
	const struct secret *key; /* base64 text; attach only */
	const char *pool;
	int64_t pool_id;             /* of the handle; 0: unknown */
	const char *rados_namespace; /* "" is the default namespace */
	const char *image;           /* name */
	const char *image_id;        /* may be unknown */
	const char *map_options;     /* this mapper's part, "a,b=c" */
	const char *unmap_options;
	bool read_only;
	bool shared; /* other nodes may write at the same time */
};

#define DEVICE_PATH_MAX 64
#define DEVICE_FILE_MAX 160 /* of rbd-attachd, below a loop device */

/* A block device that is there. */
#define DEVICE_CLIENT_MAX 80 /* of a Ceph client's address */

struct device {
	int id;                     /* its mapper's number: of rbd or loop */
	char path[DEVICE_PATH_MAX]; /* "/dev/rbd0" */
	dev_t devno;
	uint64_t size_bytes;
	bool read_only;
	char client[DEVICE_CLIENT_MAX]; /* "10.0.0.1:0/123"; "": not known */
};

/*
 * Whether an image's name is that of a volume: the same (a static volume), or
 * with the UUID at its end in the volume's ID (a dynamic one, and one that was
 * migrated from the in-tree driver).
 */
bool device_is_named(const char *volume_id, const char *image);

/* The UUID that a name ends with, or NULL. */
const char *device_uuid_of(const char *name);

/* ---- /sys ---------------------------------------------------------------- */

/* Where the kernel's files are; tests have a tree of their own. */
struct node_paths {
	const char *sys, *dev, *mountinfo, *utab;
};

extern struct node_paths node_paths;

/*
 * The first line of a file of /sys into text[size], without its end; `fmt` is
 * the path below /sys. 0 or a negative errno, and "" then.
 */
int sysfs_read(char *text, size_t size, const char *fmt, ...) printf_like(3, 4);

/* The number in such a file. 0 or a negative errno. */
int sysfs_u64(uint64_t *value, const char *fmt, ...)
    printf_like(2, 3) must_check;

/* The number of the block device "dm-0"; 0: there is none. */
dev_t sysfs_devno(const char *disk);

#define DISK_NAME_MAX 64

/* The kernel's name of a block device; "": there is none. */
void sysfs_disk(dev_t devno, char name[DISK_NAME_MAX]);

/*
 * auto_dir DIR *dir = sysfs_dir("block");	closed when the scope ends
 * while ((name = sysfs_next(dir)) != NULL)	each name in it; none if NULL
 */
DIR *sysfs_dir(const char *fmt, ...) printf_like(1, 2);
const char *sysfs_next(DIR *dir);

static inline void
sysfs_auto_close(DIR **dir)
{
	if (*dir != NULL)
		(void)closedir(*dir);
}

#define auto_dir __attribute__((cleanup(sysfs_auto_close)))

/*
 * Size in bytes and read-only flag of a block device. 0; -ENODEV: the kernel
 * has no such device; another negative errno.
 */
int sysfs_size(dev_t devno, uint64_t *size_bytes, bool *read_only) must_check;

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
