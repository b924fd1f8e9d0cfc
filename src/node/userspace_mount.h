/*
 * userspace_mount.h - mount and unmount of a session's FUSE directory, in
 * offload children.
 */
#ifndef NODE_USERSPACE_MOUNT_H
#define NODE_USERSPACE_MOUNT_H

#include "core/op.h"

/*
 * Makes dir/mnt and mounts FUSE on it, whose requests go to fuse_fd. `dir`
 * exists and is copied; `done` is called as op_start()'s, with the failure in
 * op->err.
 */
void userspace_mount_begin(const char *dir, int fuse_fd,
    void (*done)(struct op *op, void *arg), void *arg);

/*
 * Unmounts, lazily if loop devices still hold files of the directory, and
 * removes it. Nobody serves the files any more.
 */
void userspace_unmount_begin(
    const char *dir, void (*done)(struct op *op, void *arg), void *arg);

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
