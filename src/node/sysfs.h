/*
 * sysfs.h - what the kernel tells of block devices in /sys: files of one line,
 * directories of names. Nothing here opens a device, so nothing waits for one.
 */
#ifndef NODE_SYSFS_H
#define NODE_SYSFS_H

#include "base/str.h"

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

/* "MAJOR:MINOR" in such a file; 0: there is none. */
dev_t sysfs_devno(const char *fmt, ...) printf_like(1, 2);

/*
 * Calls `visit` for each name in a directory of /sys until it returns false;
 * for none if there is no such directory.
 */
void sysfs_each(
    const char *dir, bool (*visit)(const char *name, void *arg), void *arg);

/*
 * Size in bytes and read-only flag of a block device. 0; -ENODEV: the kernel
 * has no such device; another negative errno.
 */
int sysfs_size(dev_t devno, uint64_t *size_bytes, bool *read_only) must_check;

#endif
