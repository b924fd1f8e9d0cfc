/*
 * mount.c - mount system calls, with libmount for what options mean and for
 * mounting a file system.
 */
#include "node/mount.h"
#include "node/crypt.h"
#include "node/device.h"
#include "node/path.h"
#include "node/utab.h"

#include <errno.h>
#include <fcntl.h>
#include <libmount.h>
#include <linux/btrfs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

/* What the kernel says ENOSPC for. */
#define NO_MOUNTS                                                              \
	"there are as many mounts as sysctl fs.mount-max allows in this mount namespace"
#define BUSY_TRIES 40 /* 1 s */
#define BUSY_WAIT_MS 25
#define NODE_NAME_MAX 192 /* of a device's file in /dev */
#define NETDEV "_netdev"
#define LIST_MAX_BYTES ((size_t)1 << 30)
#define DELETED "//deleted"

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

/* ---- all mounts of this mount namespace ----------------------------------- */

/* mountinfo's \040 and the like, in place. */
static void
unescape(char *text)
{
	char *to = text;

	for (const char *from = text; *from != '\0';) {
		if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' &&
		    from[2] >= '0' && from[2] <= '7' && from[3] >= '0' &&
		    from[3] <= '7') {
			*to++ = (char)((from[1] - '0') << 6 |
			    (from[2] - '0') << 3 | (from[3] - '0'));
			from += 4;
		} else {
			*to++ = *from++;
		}
	}
	*to = '\0';
}

/*
 * "36 35 98:0 ROOT POINT options tags - TYPE SOURCE options": cuts the line
 * into what is wanted, or false.
 */
static bool
line_parse(char *line, struct mount_entry *entry)
{
	char *field[6], *tail = strstr(line, " - "), *save;
	unsigned maj, min;

	if (tail == NULL)
		return false;
	*tail = '\0';
	for (size_t i = 0; i < countof(field); i++) {
		field[i] = strtok_r(i == 0 ? line : NULL, " ", &save);
		if (field[i] == NULL)
			return false;
	}
	if (sscanf(field[2], "%u:%u", &maj, &min) != 2)
		return false;
	entry->devno = makedev(maj, min);
	entry->id = strtoull(field[0], NULL, 10);
	entry->root = field[3];
	entry->point = field[4];
	entry->options = field[5];
	entry->fstype = strtok_r(tail + 3, " ", &save);
	entry->source = strtok_r(NULL, " \n", &save);
	entry->fs_options = strtok_r(NULL, " \n", &save);
	if (entry->fstype == NULL || entry->source == NULL)
		return false;
	if (entry->fs_options == NULL)
		entry->fs_options = "";
	unescape(field[3]);
	unescape(field[4]);
	unescape((char *)(uintptr_t)entry->source);
	return true;
}

/*
 * The kernel gives a page of the list for each read. To have it copied into
 * memory takes one system call, however long it is.
 */
int
mount_list_open(struct mount_list *list, struct err *err)
{
	auto_close int fd = open(node_paths.mountinfo, O_RDONLY | O_CLOEXEC);
	auto_close int copy = memfd_create("mounts", MFD_CLOEXEC);
	ssize_t n = fd < 0 || copy < 0 ? -1 : 1;
	size_t len = 0;

	memset(list, 0, sizeof(*list));
	for (; n > 0; len += (size_t)n)
		n = sendfile(copy, fd, NULL, LIST_MAX_BYTES);
	if (n == 0) {
		list->text = mem_new(len + 1);
		n = pread(copy, list->text, len, 0);
	}
	if (n < 0 || (size_t)n < len) {
		n = n < 0 ? -errno : -EIO;
		mount_list_close(list);
		return err_set_rc(err, (int)n, "read %s", node_paths.mountinfo);
	}
	list->next = list->text;
	return 0;
}

const struct mount_entry *
mount_list_next(struct mount_list *list)
{
	char *line;

	while ((line = strsep(&list->next, "\n")) != NULL)
		if (line_parse(line, &list->entry))
			return &list->entry;
	return NULL;
}

void
mount_list_close(struct mount_list *list)
{
	free(list->text);
	list->text = NULL;
}

/*
 * The name of a mapper's device node from the root of its bind mount, or
 * false. What was removed meanwhile has "//deleted" behind its name.
 */
static bool
node_name(const char *root, char *name, size_t size)
{
	const char *end = root + strlen(root), *base;
	size_t stem;

	if (str_ends(root, DELETED))
		end -= strlen(DELETED);
	for (base = end; base > root && base[-1] != '/'; base--)
		;
	if (str_put(name, size, "%.*s", (int)(end - base), base) < 0)
		return false;
	if (str_starts(name, CRYPT_PREFIX))
		return true;
	stem = str_starts(name, "loop")                          ? 4
	    : str_starts(name, "rbd") || str_starts(name, "dm-") ? 3
								 : 0;
	return stem > 0 && name[stem] != '\0' &&
	    name[stem + strspn(name + stem, "0123456789")] == '\0';
}

/*
 * By the name of what is bound first: a look at each file that is bound
 * anywhere may wait for a dead server.
 */
dev_t
mount_entry_node(const struct mount_entry *entry)
{
	char name[NODE_NAME_MAX];
	auto_close int fd = -1;
	struct stat st;

	if (!node_name(entry->root, name, sizeof(name)))
		return 0;
	fd = path_open(entry->point, O_PATH | O_NOFOLLOW);
	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISBLK(st.st_mode))
		return st.st_rdev;
	/* It is below another mount. */
	return sysfs_devno(name);
}

dev_t
mount_entry_source(const struct mount_entry *entry)
{
	struct stat st;

	if (major(entry->devno) != 0)
		return entry->devno;
	if (str_eq(entry->fstype, "btrfs"))
		return entry->source[0] == '/' &&
			stat(entry->source, &st) == 0 && S_ISBLK(st.st_mode)
		    ? st.st_rdev
		    : 0;
	return mount_entry_node(entry);
}

/* May the bound node be this disk's, by its name? */
static bool
has_node_of(const struct mount_entry *entry, const char *disk)
{
	char name[NODE_NAME_MAX];

	return node_name(entry->root, name, sizeof(name)) &&
	    (*disk == '\0' || str_eq(name, disk) ||
		str_starts(name, CRYPT_PREFIX));
}

bool
mount_entry_shows(
    const struct mount_entry *entry, dev_t devno, const char *disk)
{
	char name[NODE_NAME_MAX];

	if (major(entry->devno) != 0)
		return entry->devno == devno;
	/* Of a device without a name of this kind nothing is known yet. */
	if (str_eq(entry->fstype, "btrfs"))
		return (*disk == '\0' ||
			   !node_name(entry->source, name, sizeof(name)) ||
			   str_eq(name, disk)) &&
		    mount_entry_source(entry) == devno;
	return has_node_of(entry, disk) && mount_entry_node(entry) == devno;
}

int
mount_find_node(dev_t devno, char path[PATH_MAX], struct err *err)
{
	const struct mount_entry *entry;
	char disk[DISK_NAME_MAX];
	struct mount_list list;
	bool found = false;
	int rc = mount_list_open(&list, err);

	if (rc < 0)
		return rc;
	sysfs_disk(devno, disk);
	while (!found && (entry = mount_list_next(&list)) != NULL) {
		found = has_node_of(entry, disk) &&
		    mount_entry_node(entry) == devno;
		if (found)
			(void)!str_put(path, PATH_MAX, "%s", entry->point);
	}
	mount_list_close(&list);
	return found;
}

int
mount_find_at(const char *path, dev_t *source, struct err *err)
{
	const struct mount_entry *entry;
	struct mount_list list;
	bool found = false;
	int rc = mount_list_open(&list, err);

	if (rc < 0)
		return rc;
	while ((entry = mount_list_next(&list)) != NULL)
		if (str_eq(entry->point, path)) {
			found = true; /* the last one is the topmost */
			*source = mount_entry_source(entry);
		}
	mount_list_close(&list);
	return found;
}

/* ---- one path ------------------------------------------------------------- */

int
mount_look(
    const char *path, struct mount_point *point, int *fd_out, struct err *err)
{
	auto_close int fd = path_open(path, O_PATH | O_NOFOLLOW);
	struct statx stx = { 0 };
	int rc = fd < 0 ? fd : 0;

	memset(point, 0, sizeof(*point));
	if (fd_out != NULL)
		*fd_out = -1;
	if (rc == -ENOENT)
		return 0;
	if (rc == 0 &&
	    statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		STATX_TYPE | STATX_MODE, &stx) < 0)
		rc = -errno;
	if (rc == 0) {
		if ((stx.stx_attributes_mask & STATX_ATTR_MOUNT_ROOT) == 0)
			return err_set(err, ERR_UNIMPLEMENTED,
			    "this kernel cannot tell mount points: Linux 5.12 is needed");
		point->exists = true;
		point->mode = stx.stx_mode;
		point->mounted = (stx.stx_attributes & STATX_ATTR_MOUNT_ROOT) !=
		    0;
		rc = look_deeper(fd, &stx, point);
	}
	/* What stat says of a mount whose device or server is gone. */
	if (rc == -EIO || rc == -ENOTCONN || rc == -ESTALE || rc == -ENODEV ||
	    rc == -EHOSTDOWN || rc == -ESHUTDOWN) {
		point->exists = point->mounted = point->dead = true;
		rc = mount_find_at(
		    path, &point->source, NULL); /* no stat tells */
	}
	if (rc < 0)
		return err_set_rc(err, rc, "look at %s", path);
	if (fd_out != NULL)
		*fd_out = take_fd(&fd);
	return 0;
}

int
mount_find_writable(dev_t devno, char path[PATH_MAX], struct err *err)
{
	const struct mount_entry *entry;
	struct mount_point point;
	struct mount_list list;
	bool found = false;
	int rc = mount_list_open(&list, err);

	if (rc < 0)
		return rc;
	while (!found && (entry = mount_list_next(&list)) != NULL) {
		if (!str_starts(entry->options, "rw") ||
		    !str_starts(entry->fs_options, "rw") ||
		    mount_entry_source(entry) != devno)
			continue;
		/* It may lie below another mount. */
		found = mount_look(entry->point, &point, NULL, NULL) == 0 &&
		    point.mounted && S_ISDIR(point.mode) &&
		    point.source == devno && !point.read_only;
		if (found)
			(void)!str_put(path, PATH_MAX, "%s", entry->point);
	}
	mount_list_close(&list);
	return found;
}

bool
mount_options_read_only(const char *options)
{
	char *rest = (char *)(uintptr_t)options, *name, *value;
	size_t len, value_len;
	bool is = false;

	/* "ro=recursive" and the like are "ro", too. */
	while (rest != NULL &&
	    mnt_optstr_next_option(&rest, &name, &len, &value, &value_len) == 0)
		if (len == 2 && memcmp(name, "ro", len) == 0)
			is = true;
		else if (len == 2 && memcmp(name, "rw", len) == 0)
			is = false;
	return is;
}

/* ext4 from Linux 6.15 on turns without a flag that statfs would show. */
static bool
ext4_had_errors(dev_t source)
{
	auto_free char *link = str_fmt(
	    "%s/dev/block/%u:%u", node_paths.sys, major(source), minor(source));
	char disk[PATH_MAX];
	uint64_t count;
	ssize_t n = readlink(link, disk, sizeof(disk) - 1);

	disk[n < 0 ? 0 : n] = '\0';
	return n > 0 &&
	    sysfs_u64(&count, "fs/ext4/%s/errors_count", basename(disk)) == 0 &&
	    count > 0;
}

bool
mount_is_turned(const char *path, const struct mount_point *point)
{
	const struct mount_entry *entry;
	struct mount_list list;
	struct statx stx = { 0 };
	bool is = false;

	if (!point->read_only && !ext4_had_errors(point->source))
		return false;
	if (statx(AT_FDCWD, path,
		AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_STATX_DONT_SYNC,
		STATX_MNT_ID, &stx) < 0 ||
	    (stx.stx_mask & STATX_MNT_ID) == 0 ||
	    mount_list_open(&list, NULL) < 0)
		return false;
	while ((entry = mount_list_next(&list)) != NULL)
		if (entry->id == stx.stx_mnt_id)
			is = str_starts(entry->options, "rw") &&
			    (str_starts(entry->fs_options, "ro") ||
				strstr(entry->fs_options, ",emergency_ro") !=
				    NULL);
	mount_list_close(&list);
	return is;
}

static int
context_mount(struct libmnt_context *cxt, const char *source,
    const char *target, const char *fstype, const char *options)
{
	int rc = mnt_context_disable_helpers(cxt, 1);

	if (rc == 0)
		rc = mnt_context_disable_canonicalize(cxt, 1);
	if (rc == 0) /* the record would have the descriptor's path */
		rc = mnt_context_disable_mtab(cxt, 1);
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
	auto_free char *all = str_fmt("%s%s%s%s",
	    options != NULL ? options : "", str_is_empty(options) ? "" : ",",
	    NETDEV, read_only ? ",ro" : "");
	auto_close int at = path_open(
	    target, O_PATH | O_NOFOLLOW | O_DIRECTORY);
	struct libmnt_context *cxt = mnt_new_context();
	char by_fd[40];
	int rc;

	if (cxt == NULL || at < 0) {
		mnt_free_context(cxt);
		return err_set_rc(err, at < 0 ? at : -ENOMEM, "mount %s at %s",
		    source, target);
	}
	/* move_mount(2), which newer libmounts use, follows no last link. */
	(void)snprintf(by_fd, sizeof(by_fd), "/proc/self/fd/%d/.", at);
	rc = context_mount(cxt, source, by_fd, fstype, all);
	if (mnt_context_syscall_called(cxt)) {
		rc = -mnt_context_get_syscall_errno(cxt);
		if (rc > 0)
			rc = -EIO;
	} else if (rc > 0) {
		rc = -EINVAL;
	}
	mnt_free_context(cxt);
	if (rc == 0) {
		utab_add(source, target);
		return 0;
	}
	/* What the kernel refuses is the volume's or the flags' state. */
	(void)err_refuse(err, "mount %s at %s as %s with \"%s\": %s%s", source,
	    target, fstype, all, strerror(-rc),
	    rc == -ENOSPC ? ", or " NO_MOUNTS : "");
	return rc;
}

int
mount_replay(const char *source, const char *fstype, struct err *err)
{
	auto_close int fs = fsopen(fstype, FSOPEN_CLOEXEC);

	if (fs < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "source", source, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    (str_eq(fstype, "xfs") &&
		fsconfig(fs, FSCONFIG_SET_FLAG, "nouuid", NULL, 0) < 0) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_refuse(err, "replay the journal of the %s on %s: %s",
		    fstype, source, strerror(errno));
	return 0;
}

/*
 * The clone is made, gets its attributes, and only then appears at the
 * target: no moment in which a read-only volume is writable there.
 */
int
mount_bind(int fd, const char *device, const char *target, const char *options,
    bool read_only, struct err *err)
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
		{ MS_NOATIME, MOUNT_ATTR_NOATIME },
		{ MS_STRICTATIME, MOUNT_ATTR_STRICTATIME },
	};
	auto_close int at = path_open(target, O_PATH | O_NOFOLLOW);
	auto_close int tree = -1;
	struct mount_attr attr = { 0 };
	unsigned long flags = 0;

	if (at < 0)
		return err_set_rc(err, at, "open %s", target);
	tree = open_tree(
	    fd, "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return err_set_rc(
		    err, -errno, "clone the mount for %s", target);
	if (!str_is_empty(options))
		(void)mnt_optstr_get_flags(
		    options, &flags, mnt_get_builtin_optmap(MNT_LINUX_MAP));
	if (read_only)
		flags |= MS_RDONLY;
	if ((flags & MS_NOATIME) != 0) /* one of these only */
		flags &= ~(unsigned long)MS_STRICTATIME;
	for (size_t i = 0; i < countof(table); i++)
		if ((flags & table[i].flag) != 0)
			attr.attr_set |= table[i].attr;
	if ((flags & (MS_NOATIME | MS_RELATIME | MS_STRICTATIME)) != 0)
		attr.attr_clr |= MOUNT_ATTR__ATIME;
	if ((attr.attr_set != 0 || attr.attr_clr != 0) &&
	    mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return err_set_rc(err, -errno, "set mount flags of %s", target);
	if (move_mount(tree, "", at, "",
		MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return errno == ENOSPC
		    ? err_set(err, ERR_RESOURCE_EXHAUSTED,
			  "bind mount at %s: " NO_MOUNTS, target)
		    : err_set_rc(err, -errno, "bind mount at %s", target);
	if (device != NULL)
		utab_add(device, target);
	return 0;
}

int
mount_umount(const char *target, bool lazy, struct err *err)
{
	const char *name;
	auto_close int dir = path_open_parent(target, &name);
	char path[NAME_MAX + 40];
	int rc = dir;

	if (rc >= 0)
		rc = str_put(
		    path, sizeof(path), "/proc/self/fd/%d/%s", dir, name);
	if (rc < 0)
		return err_set_rc(err, rc, "unmount %s", target);
	for (int i = 0;; i++) {
		if (umount2(path, UMOUNT_NOFOLLOW) == 0 ||
		    (errno == EBUSY && lazy &&
			umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)) {
			utab_remove(target);
			return 0;
		}
		if (errno != EBUSY || i >= BUSY_TRIES)
			return err_set_rc(err, -errno, "unmount %s", target);
		device_pause_ms(BUSY_WAIT_MS);
	}
}
