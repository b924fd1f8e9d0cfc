/*
 * filesystem.h - what differs between file systems: how each is made,
 * checked and grown. Knows command lines and ioctls, starts nothing itself.
 */
#ifndef NODE_FILESYSTEM_H
#define NODE_FILESYSTEM_H

#include "base/arena.h"
#include "base/err.h"

#define FILESYSTEM_DEFAULT "ext4"

/* Does `found` on a device serve a request for `wanted`? */
bool filesystem_is_same(const char *wanted, const char *found);

/* How mkfs is to be called. */
enum filesystem_mkfs {
	FILESYSTEM_MKFS_FRESH = 0, /* an image nobody has written to */
	FILESYSTEM_MKFS_UNKNOWN,   /* blocks may hold something: or a mkfs
					 * that cannot take them for zeroes */
};

/*
 * The command line, in the arena, NULL terminated. `options` is the
 * StorageClass's mkfsOptions, blank separated, which replace the defaults;
 * NULL or "" for these. `force`: overwrite an interrupted mkfs. NULL when the
 * file system is not known or there are too many options.
 */
const char **filesystem_mkfs_argv(struct arena *arena, const char *fstype,
    const char *options, const char *device, enum filesystem_mkfs how,
    bool force, struct err *err);

/*
 * Did mkfs fail only because it is older than FILESYSTEM_MKFS_FRESH's
 * options? Then FILESYSTEM_MKFS_UNKNOWN is worth a try.
 */
bool filesystem_mkfs_is_old(const char *fstype, int status, const char *output);

/*
 * Why a tool failed, from what it has printed: the lines of the reason joined
 * by "; ", without its banner and usage, cut to FILESYSTEM_REASON_SIZE.
 */
#define FILESYSTEM_REASON_SIZE 150
void filesystem_reason(const char *output, char reason[FILESYSTEM_REASON_SIZE]);

/*
 * The command line of the check that repairs what is safe to repair, or NULL
 * when this kind is repaired by mounting it or by a person only.
 */
const char **filesystem_fsck_argv(
    struct arena *arena, const char *fstype, const char *device);

/* Judges fsck's exit status: 0 when the file system may be mounted. */
int filesystem_fsck_judge(int status, const char *output, const char *device,
    struct err *err) must_check;

/*
 * Grows the file system mounted at `target` to `size_bytes`, the size of its
 * device, if it is smaller; *grown tells. May block: runs in a child.
 */
int filesystem_grow(const char *fstype, const char *target, const char *device,
    uint64_t size_bytes, bool *grown, struct err *err) must_check;

#endif
