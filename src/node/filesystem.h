/*
 * filesystem.h - what differs between file systems: how each is recognised,
 * made, checked and grown. Knows superblocks, command lines and ioctls, starts
 * nothing itself. Owner of libblkid.
 *
 * The rule that holds it together: what is recognised here decides what to
 * mount. That nothing is recognised is no proof that nothing is there; whether
 * to format is asked elsewhere (node.h, node_format), and everything doubtful
 * is an error even before that.
 */
#ifndef NODE_FILESYSTEM_H
#define NODE_FILESYSTEM_H

#include "base/arena.h"
#include "base/err.h"

/* ---- probing ---- */

#define PROBE_FSTYPE_MAX 32

struct filesystem_probe {
	char fstype[PROBE_FSTYPE_MAX]; /* "" : none that is known */
	bool partitioned;              /* a partition table */
	bool unfinished; /* mkfs was interrupted: nothing in it yet */
	bool errors;     /* the superblock says that fsck is needed */
	bool young;      /* a file system that perhaps nobody has mounted yet */
	bool unclean;    /* btrfs: it has a log to be replayed */
};

/* Reads the device; may block. Runs in an offload child. */
int probe_device(const char *path, struct filesystem_probe *probe,
    struct err *err) must_check;

/*
 * The flags of a superblock in the first bytes of a device, for tests and
 * probe_device(): sets all flags but `partitioned` for probe->fstype.
 * `young` is true until the first mount for writing.
 */
void probe_superblock(
    const unsigned char *head, size_t len, struct filesystem_probe *probe);

#define PROBE_HEAD_BYTES (68 << 10) /* what probe_superblock() looks at */

/* ---- making, checking, growing ---- */

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
