/*
 * mount.h - mounting, bind mounting, unmounting, and what is at a path. Owner
 * of libmount.
 *
 * The rule that holds it together: everything here may block and runs in an
 * offload child; nothing reads /proc/mounts, the cost of a call does not
 * depend on how much is mounted. Each step that changes something is one
 * system call, so that a child that is killed leaves no half-made mount.
 * Needs Linux 5.12 (mount_setattr).
 */
#ifndef NODE_MOUNT_H
#define NODE_MOUNT_H

#include "base/err.h"
#include "base/str.h"

#include <sys/types.h>

/* What is at a path. */
struct mount_point {
	bool exists;
	bool mounted;   /* it is the root of a mount */
	bool dead;      /* mounted, and its device is gone or broken */
	bool read_only; /* of the mount, or of its file system */
	mode_t mode;
	/*
	 * The block device: of the file system mounted there, or the block
	 * device file itself; 0:0 where there is none (tmpfs).
	 */
	dev_t source;
};

/*
 * Looks at a path; a missing one is no error. Symbolic links are not
 * followed. With `fd` not NULL also gives an O_PATH descriptor of what was
 * looked at (-1 if it does not exist), which the caller closes.
 */
int mount_look(const char *path, struct mount_point *point, int *fd,
    struct err *err) must_check;

/*
 * Refuses options that would make mount do something else than mount: bind,
 * move, remount, loop and the like. `options` is a comma list or NULL.
 */
int mount_check_options(const char *options, struct err *err) must_check;

/*
 * Mounts block device `source` at the directory `target`. `options` is a
 * comma list (maybe NULL); starts no helper program.
 */
int mount_filesystem(const char *source, const char *target, const char *fstype,
    const char *options, bool read_only, struct err *err) must_check;

/*
 * Bind mounts exactly what `fd` (from mount_look) stands for at `target`.
 * Of `options` those that a bind mount can have are applied, the others left
 * out. `device` is the path of the file system's device, for the records;
 * NULL when a device node is bound.
 */
int mount_bind(int fd, const char *device, const char *target,
    const char *options, bool read_only, struct err *err) must_check;

/*
 * Unmounts all that is mounted at `target`, one above the other; nothing
 * mounted there is success. What is in use is -EBUSY, or with `lazy` (for a
 * device that is dead) it goes out of sight now, and away with its last user.
 */
int mount_umount(const char *target, bool lazy, struct err *err) must_check;

#endif
