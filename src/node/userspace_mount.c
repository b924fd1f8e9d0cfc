/*
 * userspace_mount.c - see userspace_mount.h.
 */
#include "node/userspace_mount.h"

#include "core/offload.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define MOUNT_MS 10000
#define UNMOUNT_MS 30000
#define MOUNTS_MAX 16 /* on top of each other, from earlier accidents */

enum mount_state {
	MOUNT_START = 0,
	MOUNT_DONE,
};

struct mount_args {
	char dir[96]; /* of the session; exists */
	int fuse_fd;  /* -1: unmount */
};

struct mount_op {
	struct op op;
	enum mount_state state;
	struct offload off;
	struct mount_args args;
	char none;
	void (*done)(struct op *op, void *arg);
	void *arg;
};

static int
mount_child(const void *args, void *result, struct err *err)
{
	const struct mount_args *m = args;
	auto_free char *mnt = str_fmt("%s/mnt", m->dir);
	auto_free char *options = str_fmt("fd=%d,rootmode=40000,user_id=0,"
					  "group_id=0,max_read=%d",
	    m->fuse_fd, 1 << 20);

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
	const struct mount_args *m = args;
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

static enum op_verdict
mount_step(struct op *op)
{
	struct mount_op *m = (struct mount_op *)op;
	bool mounts = m->args.fuse_fd >= 0;

	switch (m->state) {
	case MOUNT_START:
		if (mounts)
			m->off.keep_fd[0] = m->args.fuse_fd;
		offload_start(&m->off, mounts ? "mount FUSE" : "unmount FUSE",
		    mounts ? mount_child : unmount_child, &m->args, &m->none,
		    sizeof(m->none), mounts ? MOUNT_MS : UNMOUNT_MS, &op->wake);
		return op_await(m, MOUNT_DONE);
	case MOUNT_DONE:
		if (op->rc < 0)
			op_set_err(op, &m->off.err);
		return OP_DONE;
	}
	abort();
}

static void
mount_end(struct op *op)
{
	struct mount_op *m = (struct mount_op *)op;

	m->done(op, m->arg);
	free(m);
}

static const struct op_class mount_class = {
	.name = "userspace.mount",
	.step = mount_step,
	.end = mount_end,
};

void
userspace_mount_begin(const char *dir, int fuse_fd,
    void (*done)(struct op *op, void *arg), void *arg)
{
	struct mount_op *m = mem_new(sizeof(*m));

	m->args.fuse_fd = fuse_fd;
	(void)snprintf(m->args.dir, sizeof(m->args.dir), "%s", dir);
	m->op.subject = m->args.dir;
	m->done = done;
	m->arg = arg;
	op_start(&m->op, &mount_class, NULL);
}

void
userspace_unmount_begin(
    const char *dir, void (*done)(struct op *op, void *arg), void *arg)
{
	userspace_mount_begin(dir, -1, done, arg);
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
