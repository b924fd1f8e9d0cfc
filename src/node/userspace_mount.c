/*
 * userspace_mount.c - see userspace_mount.h.
 */
#include "node/userspace_mount.h"

#include "base/log.h"
#include "base/str.h"
#include "node/loopdev.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define CLEAR_MS	1000
#define MOUNTS_MAX	16	/* on top of each other, from earlier accidents */

int
userspace_mount_child(const void *args, void *result, struct err *err)
{
	const struct userspace_mount *m = args;
	auto_free char *mnt = str_fmt("%s/mnt", m->dir);
	auto_free char *options = str_fmt("fd=%d,rootmode=40000,user_id=0,"
	    "group_id=0,max_read=%d", m->fuse_fd, 1 << 20);

	(void)result;
	if (mkdir(mnt, 0700) < 0 && errno != EEXIST)
		return err_set_rc(err, -errno, "mkdir %s", mnt);
	if (mount("rbd-attachd", mnt, "fuse.rbd-attachd",
	    MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME, options) < 0)
		return err_set_rc(err, -errno, "mount FUSE at %s", mnt);
	return 0;
}

static bool
on_loop(int id, const char *file, void *arg)
{
	struct err err = ERR_INIT;

	(void)arg;
	if (loopdev_clear(id, file, CLEAR_MS, &err) < 0)
		log_warn("userspace.loop", "loop=%d text=\"%s\"", id, err.text);
	return true;
}

int
userspace_unmount_child(const void *args, void *result, struct err *err)
{
	const struct userspace_mount *m = args;
	auto_free char *mnt = str_fmt("%s/mnt", m->dir);
	auto_free char *prefix = str_fmt("%s/mnt/", m->dir);
	auto_free char *sock = str_fmt("%s/sock", m->dir);

	(void)result;
	loopdev_each(prefix, on_loop, NULL);
	for (int i = 0; i < MOUNTS_MAX; i++)
		if (umount2(mnt, UMOUNT_NOFOLLOW) < 0 &&
		    (errno != EBUSY || umount2(mnt, MNT_DETACH |
		    UMOUNT_NOFOLLOW) < 0))
			break;
	(void)unlink(sock);
	if (rmdir(mnt) < 0 && errno != ENOENT)
		return err_set_rc(err, -errno, "rmdir %s", mnt);
	if (rmdir(m->dir) < 0 && errno != ENOENT)
		return err_set_rc(err, -errno, "rmdir %s", m->dir);
	return 0;
}
