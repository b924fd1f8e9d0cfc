/*
 * sysfs.h - what the kernel tells of block devices in /sys: files of one line,
 * directories of names. Nothing here opens a device, so nothing waits for one.
 */
#ifndef NODE_SYSFS_H
#define NODE_SYSFS_H

#include "base/str.h"

#include <dirent.h>
#include <sys/types.h>

/* Where the kernel's files are; tests have a tree of their own. */
struct node_paths {
	const char *sys, *dev, *mountinfo;
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

#endif
