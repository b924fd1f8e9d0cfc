/*
 * userspace_mount.h - mount and unmount of a session's FUSE directory, in
 * offload children, and what its kernel side tells.
 */
#ifndef NODE_USERSPACE_MOUNT_H
#define NODE_USERSPACE_MOUNT_H

#include "core/offload.h"

#define SESSION_DIR_MAX 96

/* Embed it; zeroed is valid. One at a time; off.err tells why it failed. */
struct userspace_mount {
	struct offload off;
	char dir[SESSION_DIR_MAX]; /* of the session; exists */
	int fuse_fd;
};

int userspace_fuse_open(void); /* /dev/fuse: the descriptor or -errno */

/* Makes dir/mnt and mounts FUSE on it, whose requests go to fuse_fd. */
void userspace_mount_start(struct userspace_mount *m, const char *dir,
    int fuse_fd, struct wake *waiter);

/*
 * Unmounts, lazily if loop devices still hold files of the directory, and
 * removes it. Nobody serves the files any more.
 */
void userspace_unmount_start(
    struct userspace_mount *m, const char *dir, struct wake *waiter);

/*
 * Whether files of dir/mnt can be reached by path: not after `umount -l`, or
 * in another mount namespace. Does not wait for who serves them.
 */
bool userspace_is_mounted(const char *dir);

/* All I/O of its files fails from now on. Does not wait. */
void userspace_abort(const char *dir);

/*
 * Whether FUSE answers nobody any more, though it was mounted: `umount -f`,
 * or an abort by fusectl.
 */
bool userspace_fuse_has_ended(int fuse_fd);

#endif
