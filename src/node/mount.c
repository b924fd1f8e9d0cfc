/*
 * mount.c - mount system calls, with libmount for what options mean, for
 * mounting a file system and for the record that the system's shutdown reads
 * (utab: _netdev says that a mount needs the network).
 */
#include "node/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <time.h>

#define BUSY_TRIES 40 /* 1 s */
#define BUSY_WAIT_MS 25
#define STACK_MAX 16 /* mounts one above the other at one path */
#define NETDEV "_netdev"

/* What stat says of a mount whose device or server is gone. */
static bool
is_dead(int error)
{
	return error == EIO || error == ENOTCONN || error == ESTALE ||
	    error == ENODEV || error == EHOSTDOWN || error == ESHUTDOWN;
}

/*
 * The device below a btrfs, whose st_dev is a made-up number. One device
 * only: more cannot come from one image.
 */
static int
btrfs_source(int fd, dev_t *source)
{
	struct btrfs_ioctl_fs_info_args fs = { 0 };
	struct btrfs_ioctl_dev_info_args dev;
	auto_close int dir = openat(
	    fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (dir < 0 || ioctl(dir, BTRFS_IOC_FS_INFO, &fs) < 0)
		return -errno;
	if (fs.num_devices != 1)
		return 0;
	for (uint64_t id = 1; id <= fs.max_id; id++) {
		memset(&dev, 0, sizeof(dev));
		dev.devid = id;
		if (ioctl(dir, BTRFS_IOC_DEV_INFO, &dev) < 0) {
			if (errno == ENODEV)
				continue;
			return -errno;
		}
		if (stat((const char *)dev.path, &st) < 0)
			return -errno;
		if (S_ISBLK(st.st_mode))
			*source = st.st_rdev;
		return 0;
	}
	return 0;
}

static int
look_deeper(int fd, const struct statx *stx, struct mount_point *point)
{
	struct statfs fs;

	if (S_ISBLK(stx->stx_mode)) {
		point->source = makedev(
		    stx->stx_rdev_major, stx->stx_rdev_minor);
	} else if (stx->stx_dev_major != 0) {
		point->source = makedev(stx->stx_dev_major, stx->stx_dev_minor);
	}
	if (!point->mounted)
		return 0;
	if (fstatfs(fd, &fs) < 0)
		return -errno;
	point->read_only = (fs.f_flags & ST_RDONLY) != 0;
	if (fs.f_type == BTRFS_SUPER_MAGIC && S_ISDIR(stx->stx_mode))
		return btrfs_source(fd, &point->source);
	return 0;
}

int
mount_look(
    const char *path, struct mount_point *point, int *fd_out, struct err *err)
{
	auto_close int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	struct statx stx = { 0 };
	int rc = 0;

	memset(point, 0, sizeof(*point));
	if (fd_out != NULL)
		*fd_out = -1;
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0 ||
	    statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		STATX_TYPE | STATX_MODE, &stx) < 0)
		rc = -errno;
	if (rc == 0) {
		if ((stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0)
			return err_set(err, ERR_UNIMPLEMENTED,
			    "this kernel "
			    "cannot tell mount points: Linux 5.12 is needed");
		point->exists = true;
		point->mode = stx.stx_mode;
		point->mounted = (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) !=
		    0;
		rc = look_deeper(fd, &stx, point);
	}
	if (rc < 0 && is_dead(-rc)) {
		point->exists = point->mounted = point->dead = true;
		rc = 0;
	}
	if (rc < 0)
		return err_set_rc(err, rc, "look at %s", path);
	if (fd_out != NULL)
		*fd_out = take_fd(&fd);
	return 0;
}

int
mount_check_options(const char *options, struct err *err)
{
	static const char *const refused[] = { "loop", "offset", "sizelimit",
		"encryption", "helper", "uhelper", "fstab", "user", "users",
		"owner", "group" };
	unsigned long flags = 0;
	char *value;
	size_t len;

	if (str_is_empty(options))
		return 0;
	if (mnt_optstr_get_flags(
		options, &flags, mnt_get_builtin_optmap(MNT_LINUX_MAP)) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "mount flags \"%s\" cannot be read", options);
	if ((flags &
		(MS_BIND | MS_MOVE | MS_REMOUNT | MS_SHARED | MS_PRIVATE |
		    MS_SLAVE | MS_UNBINDABLE)) != 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "mount flags \"%s\" "
		    "change other mounts than the volume's",
		    options);
	for (size_t i = 0; i < countof(refused); i++)
		if (mnt_optstr_get_option(options, refused[i], &value, &len) ==
		    0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "mount flag %s is not possible for a volume",
			    refused[i]);
	return 0;
}

/* "a,b" + "c"; the caller frees. */
static char *
join(const char *a, const char *b)
{
	return str_is_empty(a) ? str_dup(b) : str_fmt("%s,%s", a, b);
}

static int
context_mount(struct libmnt_context *cxt, const char *source,
    const char *target, const char *fstype, const char *options)
{
	int rc = mnt_context_disable_helpers(cxt, 1);

	if (rc == 0)
		rc = mnt_context_disable_canonicalize(cxt, 1);
	if (rc == 0)
		rc = mnt_context_set_source(cxt, source);
	if (rc == 0)
		rc = mnt_context_set_target(cxt, target);
	if (rc == 0)
		rc = mnt_context_set_fstype(cxt, fstype);
	if (rc == 0)
		rc = mnt_context_set_options(cxt, options);
	if (rc == 0)
		rc = mnt_context_mount(cxt);
	return rc;
}

int
mount_filesystem(const char *source, const char *target, const char *fstype,
    const char *options, bool read_only, struct err *err)
{
	auto_free char *all = join(options, read_only ? NETDEV ",ro" : NETDEV);
	struct libmnt_context *cxt = mnt_new_context();
	int rc;

	if (cxt == NULL)
		return err_set_rc(err, -ENOMEM, "mount %s", source);
	rc = context_mount(cxt, source, target, fstype, all);
	if (mnt_context_syscall_called(cxt)) {
		rc = -mnt_context_get_syscall_errno(cxt);
		if (rc > 0)
			rc = -EIO;
	} else if (rc > 0) {
		rc = -EINVAL;
	}
	mnt_free_context(cxt);
	if (rc == 0)
		return 0;
	/* What the kernel refuses is the volume's or the flags' state. */
	(void)err_set(err, ERR_FAILED_PRECONDITION,
	    "mount %s at %s as %s "
	    "with \"%s\": %s",
	    source, target, fstype, all, strerror(-rc));
	return rc;
}

/* Adds to or (fs NULL) removes from utab; only a record, never a failure. */
static void
record(struct libmnt_fs *fs, unsigned long flags, const char *target)
{
	struct libmnt_update *update = mnt_new_update();

	if (update == NULL)
		return;
	if (mnt_update_set_fs(update, flags, target, fs) == 0)
		(void)mnt_update_table(update, NULL);
	mnt_free_update(update);
}

/*
 * As the kernel will show the mount: from the device, with its root. (With
 * MS_BIND libmount would read all of mountinfo to find these out.)
 */
static void
record_bind(const char *device, const char *target)
{
	struct libmnt_fs *fs = mnt_new_fs();

	if (fs == NULL)
		return;
	if (mnt_fs_set_source(fs, device) == 0 &&
	    mnt_fs_set_target(fs, target) == 0 &&
	    mnt_fs_set_options(fs, NETDEV) == 0)
		record(fs, 0, NULL);
	mnt_unref_fs(fs);
}

/* The attributes of a mount that MS_ flags stand for. */
static void
attributes_of(unsigned long flags, struct mount_attr *attr)
{
	static const struct {
		unsigned long flag;
		uint64_t attr;
	} table[] = {
		{ MS_RDONLY, MOUNT_ATTR_RDONLY },
		{ MS_NOSUID, MOUNT_ATTR_NOSUID },
		{ MS_NODEV, MOUNT_ATTR_NODEV },
		{ MS_NOEXEC, MOUNT_ATTR_NOEXEC },
		{ MS_NODIRATIME, MOUNT_ATTR_NODIRATIME },
	};

	for (size_t i = 0; i < countof(table); i++)
		if ((flags & table[i].flag) != 0)
			attr->attr_set |= table[i].attr;
	if ((flags & (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)) == 0)
		return;
	attr->attr_clr |= MOUNT_ATTR__ATIME;
	if ((flags & MS_NOATIME) != 0)
		attr->attr_set |= MOUNT_ATTR_NOATIME;
	else if ((flags & MS_STRICTATIME) != 0)
		attr->attr_set |= MOUNT_ATTR_STRICTATIME;
}

/*
 * The clone is made, gets its attributes, and only then appears at the
 * target: no moment in which a read-only volume is writable there.
 */
int
mount_bind(int fd, const char *device, const char *target, const char *options,
    bool read_only, struct err *err)
{
	auto_close int tree = open_tree(
	    fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct mount_attr attr = { 0 };
	unsigned long flags = 0;

	if (tree < 0)
		return err_set_rc(
		    err, -errno, "clone the mount for %s", target);
	if (!str_is_empty(options))
		(void)mnt_optstr_get_flags(
		    options, &flags, mnt_get_builtin_optmap(MNT_LINUX_MAP));
	if (read_only)
		flags |= MS_RDONLY;
	attributes_of(flags, &attr);
	if ((attr.attr_set != 0 || attr.attr_clr != 0) &&
	    mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set_rc(err, -errno, "set mount flags of %s", target);
	if (move_mount(tree, "", AT_FDCWD, target, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return err_set_rc(err, -errno, "bind mount at %s", target);
	if (device != NULL)
		record_bind(device, target);
	return 0;
}

/*
 * One unmount. Whoever just looks at the mount (statistics of the volume)
 * makes it busy for a moment: that is waited for, a user is not.
 */
static int
umount_one(const char *target, bool lazy)
{
	const struct timespec pause = { .tv_nsec = BUSY_WAIT_MS * 1000000L };

	for (int i = 0;; i++) {
		if (umount2(target, UMOUNT_NOFOLLOW) == 0)
			return 0;
		if (errno == EBUSY && lazy &&
		    umount2(target, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
			return 0;
		if (errno != EBUSY || i >= BUSY_TRIES)
			return -errno;
		(void)nanosleep(&pause, NULL);
	}
}

int
mount_umount(const char *target, bool lazy, struct err *err)
{
	for (int i = 0; i < STACK_MAX; i++) {
		int rc = umount_one(target, lazy);

		if (rc == 0)
			continue;
		/* EINVAL: not, or no longer, a mount point. */
		if (rc != -EINVAL && rc != -ENOENT)
			return err_set_rc(err, rc, "unmount %s", target);
		if (i > 0)
			record(NULL, 0, target);
		return 0;
	}
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "unmount %s: more than %d mounts there", target, STACK_MAX);
}
