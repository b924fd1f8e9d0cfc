/*
 * userspace_mount.h - mount and unmount of a session's FUSE directory: for
 * offload children.
 */
#ifndef NODE_USERSPACE_MOUNT_H
#define NODE_USERSPACE_MOUNT_H

#include "base/err.h"

struct userspace_mount {
	char dir[96];	/* of the session; exists */
	int fuse_fd;	/* mount only: open in the child too */
};

/* offload_fn: makes dir/mnt and mounts on it. No result. */
int userspace_mount_child(const void *args, void *result, struct err *err);

/*
 * offload_fn: frees the loop devices over its files, unmounts, lazily if it
 * must, and removes the directory. Nobody serves the files any more.
 */
int userspace_unmount_child(const void *args, void *result, struct err *err);

#endif
