/*
 * mount.h - mounting, bind mounting, unmounting, and what is at a path. Owner
 * of libmount.
 *
 * The rule that holds it together: everything here may block and runs in an
 * offload child. Paths have been resolved (path.h). Each step that changes
 * something is one system call, so that a child that is killed leaves no
 * half-made mount. What is at a path is told by the path; all mounts are read
 * (mount_list) only where a device number is taken or given back. Needs Linux
 * 5.12 (mount_setattr).
 */
#ifndef NODE_MOUNT_H
#define NODE_MOUNT_H

#include "base/err.h"
#include "base/str.h"

#include <limits.h>
#include <sys/types.h>

/* What is at a path. */
struct mount_point {
	bool exists;
	bool mounted;   /* it is the root of a mount */
	bool dead;      /* mounted, and what is mounted does not answer */
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
 * followed: one at the end is told by the mode, another is -ELOOP. With `fd` not NULL also gives an O_PATH descriptor of what was
 * looked at (-1 if it does not exist), which the caller closes.
 */
int mount_look(const char *path, struct mount_point *point, int *fd,
    struct err *err) must_check;

/* Do these options (checked) ask for a read-only file system? */
bool mount_options_read_only(const char *options);

/*
 * Has the kernel made the file system that is mounted at `path` (and was
 * looked at) read-only, for errors, though it was mounted writable? The list
 * of all mounts tells; it is read only if there is a reason to suspect it.
 */
bool mount_is_turned(const char *path, const struct mount_point *point);

/*
 * Mounts block device `source` at the directory `target`. `options` is a
 * comma list (maybe NULL); starts no helper program.
 */
int mount_filesystem(const char *source, const char *target, const char *fstype,
    const char *options, bool read_only, struct err *err) must_check;

/*
 * Lets the kernel replay the journal of the file system on `source`, a device
 * that is writable: it is mounted read-only for a moment, at no path. A mount
 * is all that it takes, and it is undone when the caller dies.
 */
int mount_replay(
    const char *source, const char *fstype, struct err *err) must_check;

/*
 * Bind mounts exactly what `fd` (from mount_look) stands for at `target`.
 * Of `options` those that a bind mount can have are applied, the others left
 * out. `device` is the path of the file system's device, for the records;
 * NULL when a device node is bound.
 */
int mount_bind(int fd, const char *device, const char *target,
    const char *options, bool read_only, struct err *err) must_check;

/*
 * Unmounts the topmost mount at `target`. What is in use is waited for, for
 * a second: whoever just looks at the mount (statistics of the volume) makes
 * it busy for a moment. Then it is -EBUSY, or with `lazy` (for a device that
 * is dead) it goes out of sight now, and away with its last user.
 */
int mount_umount(const char *target, bool lazy, struct err *err) must_check;

/* ---- all mounts ------------------------------------------------------------ */

/* One line of /proc/self/mountinfo. */
struct mount_entry {
	uint64_t id;       /* as statx has it */
	dev_t devno;       /* of the file system, made up for many kinds */
	const char *root;  /* what of the file system is mounted ... */
	const char *point; /* ... and where */
	const char *fstype, *source;
	const char *options, *fs_options; /* of the mount; of its file system */
};

/*
 * All mounts of this mount namespace, one after the other: open, next until
 * NULL (an entry lives until the following call), close. What other namespaces
 * have is not seen (docs/NODE.md).
 */
struct mount_list {
	char *text, *next;
	struct mount_entry entry;
};

int mount_list_open(struct mount_list *list, struct err *err) must_check;
const struct mount_entry *mount_list_next(struct mount_list *list);
void mount_list_close(struct mount_list *list);

/*
 * The block device that a mount shows: its file system's, or the bound device
 * node's; 0: none. mount_entry_node: bound device nodes of mappers only.
 */
dev_t mount_entry_source(const struct mount_entry *entry);
dev_t mount_entry_node(const struct mount_entry *entry);

/*
 * Whether a mount shows block device `devno`, or its node, as the former tell,
 * but without a system call where the name of what is mounted is another
 * device's: however many mounts there are. `name` is sysfs_disk()'s.
 */
bool mount_entry_shows(
    const struct mount_entry *entry, dev_t devno, const char *name);

/*
 * Whether the file system upon a device is mounted for writing anywhere: 1 and
 * where, 0, or a negative errno.
 */
int mount_find_writable(
    dev_t devno, char path[PATH_MAX], struct err *err) must_check;

/*
 * Whether a mount shows the node of block device `devno`: 1 and its path, 0,
 * or a negative errno. Such a mount does not keep the device, so the number
 * must neither be given back nor taken while it is there.
 */
int mount_find_node(
    dev_t devno, char path[PATH_MAX], struct err *err) must_check;

/*
 * Whether the list has a mount at `path`, also one that the path does not lead
 * to, because its parent is gone or below another mount: 1 and the source of
 * the topmost one, 0, or a negative errno.
 */
int mount_find_at(const char *path, dev_t *source, struct err *err) must_check;

#endif
