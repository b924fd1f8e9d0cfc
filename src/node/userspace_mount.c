/*
 * userspace_mount.c - see userspace_mount.h.
 */
#include "node/userspace_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define MOUNT_MS 10000
#define UNMOUNT_MS 30000
#define MOUNTS_MAX 16 /* on top of each other, from earlier accidents */

int
userspace_fuse_open(void)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? -errno : fd;
}

static int
mount_child(const void *args, void *result, struct err *err)
{
	const struct userspace_mount *m = args;
	auto_free char *mnt = str_fmt("%s/mnt", m->dir);
	auto_free char *options = str_fmt(
	    "fd=%d,rootmode=40000,user_id=0,group_id=0,max_read=%d", m->fuse_fd,
	    1 << 20);

	(void)result;
	if (mkdir(mnt, 0700) < 0 && errno != EEXIST)
		return err_set_rc(err, -errno, "mkdir %s", mnt);
	if (mount("rbd-attachd", mnt, "fuse.rbd-attachd",
		MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, options) < 0)
		return err_set_rc(err, -errno, "mount FUSE at %s", mnt);
	return 0;
}

static int
unmount_child(const void *args, void *result, struct err *err)
{
	const struct userspace_mount *m = args;
	auto_free char *mnt = str_fmt("%s/mnt", m->dir);
	auto_free char *sock = str_fmt("%s/sock", m->dir);

	(void)result;
	for (int i = 0; i < MOUNTS_MAX; i++)
		if (umount2(mnt, UMOUNT_NOFOLLOW) < 0 &&
		    (errno != EBUSY ||
			umount2(mnt, MNT_DETACH | UMOUNT_NOFOLLOW) < 0))
			break;
	(void)unlink(sock);
	if (rmdir(mnt) < 0 && errno != ENOENT)
		return err_set_rc(err, -errno, "rmdir %s", mnt);
	if (rmdir(m->dir) < 0 && errno != ENOENT)
		return err_set_rc(err, -errno, "rmdir %s", m->dir);
	return 0;
}

void
userspace_mount_start(struct userspace_mount *m, const char *dir, int fuse_fd,
    struct wake *waiter)
{
	(void)snprintf(m->dir, sizeof(m->dir), "%s", dir);
	m->fuse_fd = m->off.keep_fd[0] = fuse_fd;
	offload_start(
	    &m->off, "mount FUSE", mount_child, m, NULL, 0, MOUNT_MS, waiter);
}

void
userspace_unmount_start(
    struct userspace_mount *m, const char *dir, struct wake *waiter)
{
	(void)snprintf(m->dir, sizeof(m->dir), "%s", dir);
	m->off.keep_fd[0] = 0;
	offload_start(&m->off, "unmount FUSE", unmount_child, m, NULL, 0,
	    UNMOUNT_MS, waiter);
}

bool
userspace_is_mounted(const char *dir)
{
	auto_free char *mnt = str_fmt("%s/mnt", dir);
	const int how = AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT;
	struct statx above, root;

	return statx(AT_FDCWD, dir, how, 0, &above) == 0 &&
	    statx(AT_FDCWD, mnt, how, 0, &root) == 0 &&
	    (above.stx_dev_major != root.stx_dev_major ||
		above.stx_dev_minor != root.stx_dev_minor);
}

void
userspace_abort(const char *dir)
{
	auto_free char *mnt = str_fmt("%s/mnt", dir);

	/* Busy or not: the connection is aborted first. */
	(void)umount2(mnt, MNT_FORCE | UMOUNT_NOFOLLOW);
}

bool
userspace_fuse_has_ended(int fuse_fd)
{
	struct pollfd p = { .fd = fuse_fd };

	return poll(&p, 1, 0) > 0 && (p.revents & POLLERR) != 0;
}
