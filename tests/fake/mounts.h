/*
 * mounts.h - a table of mounts, block devices and loop devices in memory, in
 * place of node/mount.c and node/loopdev.c. Directories and the devices' nodes
 * (plain files) are real, below a directory of the test's.
 *
 * The rule that holds it together: nothing here refuses what the node code must
 * refuse by itself; what it does is left in the table.
 */
#ifndef FAKE_MOUNTS_H
#define FAKE_MOUNTS_H

#include "node/mount.h"

#define MOUNTS_MAX_COUNT 32
#define MOUNTS_MAJOR 240 /* of the devices; loop devices have LOOP_MAJOR */
#define MOUNTS_DM_MAJOR 253

struct fake_mount {
	char point[PATH_MAX];
	dev_t source;
	bool node; /* a device node is bound, not a file system mounted */
	bool read_only, dead;
	bool hidden; /* the path does not lead to it */
	bool turned; /* the kernel has made it read-only */
};

struct fake_loop {
	char file[PATH_MAX]; /* "": free */
	bool read_only;
	unsigned grown; /* so often */
};

extern struct fake_mounts {
	char top[64];
	struct fake_mount mount[MOUNTS_MAX_COUNT]; /* later ones on top */
	size_t count;
	struct fake_loop loop[4];
	unsigned umounts, lazy; /* that were done */
	int fail_mount;         /* of the next mount or bind: an errno */
} fake_mounts;

/* Makes the directory of the test, and nothing is mounted. */
void fake_mounts_init(void);
void fake_mounts_fini(void);

/* A block device of `bytes` that /dev and /sys show, or does no more. */
void fake_device_add(dev_t devno, const void *content, size_t bytes);
void fake_device_drop(dev_t devno);
/* A device-mapper device upon another one. */
void fake_dm_add(unsigned id, const char *name, const char *uuid, dev_t below);
void fake_dm_drop(unsigned id);

void fake_device_path(dev_t devno, char path[PATH_MAX]);

struct fake_mount *fake_mount_add(const char *point, dev_t source, bool node);
/* The topmost one at a path, or NULL. */
struct fake_mount *fake_mount_at(const char *point);

void fake_write(const char *path, const void *bytes, size_t len);

#endif
