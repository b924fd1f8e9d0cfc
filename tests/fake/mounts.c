/*
 * mounts.c - see mounts.h.
 */
#include "tests/fake/mounts.h"
#include "node/loopdev.h"
#include "node/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

struct fake_mounts fake_mounts;

/* ---- the test's side ------------------------------------------------------ */

void
fake_write(const char *path, const void *bytes, size_t len)
{
	auto_free char *dir = str_dup(path);
	auto_close int fd = -1;

	for (char *p = dir + 1; (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		(void)mkdir(dir, 0700);
		*p = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		abort();
}

void
fake_mounts_init(void)
{
	static char sys[80], dev[80];

	memset(&fake_mounts, 0, sizeof(fake_mounts));
	(void)!str_put(fake_mounts.top, sizeof(fake_mounts.top),
	    "/tmp/rbd-csi-mounts.XXXXXX");
	if (mkdtemp(fake_mounts.top) == NULL)
		abort();
	(void)!str_put(sys, sizeof(sys), "%s/sys", fake_mounts.top);
	(void)!str_put(dev, sizeof(dev), "%s/dev", fake_mounts.top);
	node_paths = (struct node_paths){
		.sys = sys, .dev = dev, .mountinfo = "/nonexistent"
	};
	if (mkdir(sys, 0700) < 0 || mkdir(dev, 0700) < 0)
		abort();
}

void
fake_mounts_fini(void)
{
	auto_free char *line = str_fmt("rm -rf %s", fake_mounts.top);

	if (system(line) != 0)
		abort();
}

void
fake_device_path(dev_t devno, char path[PATH_MAX])
{
	(void)!str_put(path, PATH_MAX, "%s/%s%u", node_paths.dev,
	    major(devno) == LOOP_MAJOR            ? "loop"
		: major(devno) == MOUNTS_DM_MAJOR ? "dm-"
						  : "fake",
	    minor(devno));
}

void
fake_device_add(dev_t devno, const void *content, size_t bytes)
{
	auto_free char *dir = str_fmt(
	    "%s/dev/block/%u:%u", node_paths.sys, major(devno), minor(devno));
	auto_free char *size = str_fmt("%s/size", dir);
	auto_free char *ro = str_fmt("%s/ro", dir);
	auto_free char *sectors = str_fmt("%zu\n", bytes / 512);
	auto_free char *number = NULL, *dev = NULL;
	char path[PATH_MAX];

	fake_write(size, sectors, strlen(sectors));
	fake_write(ro, "0\n", 2);
	fake_device_path(devno, path);
	fake_write(path, content, bytes);
	number = str_fmt("%u:%u\n", major(devno), minor(devno));
	dev = str_fmt(
	    "%s/class/block%s/dev", node_paths.sys, strrchr(path, '/'));
	fake_write(dev, number, strlen(number));
}

void
fake_dm_add(unsigned id, const char *name, const char *uuid, dev_t below)
{
	const dev_t devno = makedev(MOUNTS_DM_MAJOR, id);
	char path[PATH_MAX];
	const char *sys = node_paths.sys;
	auto_free char *by_number = str_fmt(
	    "%s/dev/block/%u:%u/dm/uuid", sys, MOUNTS_DM_MAJOR, id);
	auto_free char *by_name = str_fmt(
	    "%s/class/block/dm-%u/dm/name", sys, id);
	auto_free char *holder = str_fmt("%s/dev/block/%u:%u/holders/dm-%u",
	    sys, major(below), minor(below), id);
	auto_free char *slave = NULL, *control = NULL;

	fake_device_add(devno, "", 0);
	fake_device_path(below, path);
	slave = str_fmt("%s/dev/block/%u:%u/slaves%s", sys, MOUNTS_DM_MAJOR, id,
	    strrchr(path, '/'));
	control = str_fmt("%s/mapper/control", node_paths.dev);
	fake_write(by_number, uuid, strlen(uuid));
	fake_write(by_name, name, strlen(name));
	fake_write(holder, "", 0);
	fake_write(slave, "", 0);
	fake_write(control, "", 0);
}

void
fake_dm_drop(unsigned id)
{
	auto_free char *line = str_fmt(
	    "rm -rf %s/dev/block/%u:%u %s/class/block/dm-%u %s/dev/block/*/holders/dm-%u",
	    node_paths.sys, MOUNTS_DM_MAJOR, id, node_paths.sys, id,
	    node_paths.sys, id);

	if (system(line) != 0)
		abort();
}

void
fake_device_drop(dev_t devno)
{
	auto_free char *line = str_fmt("rm -rf %s/dev/block/%u:%u",
	    node_paths.sys, major(devno), minor(devno));

	if (system(line) != 0)
		abort();
}

struct fake_mount *
fake_mount_add(const char *point, dev_t source, bool node)
{
	struct fake_mount *m = &fake_mounts.mount[fake_mounts.count++];

	if (fake_mounts.count > MOUNTS_MAX_COUNT)
		abort();
	*m = (struct fake_mount){ .source = source, .node = node };
	(void)!str_put(m->point, sizeof(m->point), "%s", point);
	return m;
}

struct fake_mount *
fake_mount_at(const char *point)
{
	for (size_t i = fake_mounts.count; i-- > 0;)
		if (str_eq(fake_mounts.mount[i].point, point))
			return &fake_mounts.mount[i];
	return NULL;
}

/* The device whose node is at a path; 0: none. */
static dev_t
device_of(const char *path)
{
	const char *name = path + strlen(node_paths.dev) + 1;

	if (!str_starts(path, node_paths.dev))
		return 0;
	return makedev(str_starts(name, "loop") ? LOOP_MAJOR : MOUNTS_MAJOR,
	    (unsigned)atoi(name + 4));
}

/* ---- node/mount.h --------------------------------------------------------- */

int
mount_look(
    const char *path, struct mount_point *point, int *fd_out, struct err *err)
{
	const struct fake_mount *m = fake_mount_at(path);
	auto_close int fd = path_open(path, O_PATH | O_NOFOLLOW);
	struct stat st;

	memset(point, 0, sizeof(*point));
	if (fd_out != NULL)
		*fd_out = -1;
	if (fd == -ENOENT)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_rc(
		    err, fd < 0 ? fd : -errno, "look at %s", path);
	point->exists = true;
	point->mode = st.st_mode;
	point->source = device_of(path);
	if (point->source != 0)
		point->mode = S_IFBLK | 0600;
	if (m != NULL && !m->hidden) {
		point->mounted = true;
		point->source = m->source;
		point->read_only = m->read_only;
		point->dead = m->dead;
		point->mode = m->node ? S_IFBLK | 0600 : S_IFDIR | 0755;
	}
	if (fd_out != NULL)
		*fd_out = take_fd(&fd);
	return 0;
}

bool
mount_options_read_only(const char *options)
{
	return str_list_has(options != NULL ? options : "", "ro");
}

bool
mount_is_turned(const char *path, const struct mount_point *point)
{
	const struct fake_mount *m = fake_mount_at(path);

	(void)point;
	return m != NULL && m->turned;
}

static int
fails(struct err *err)
{
	int error = fake_mounts.fail_mount;

	fake_mounts.fail_mount = 0;
	return error == 0 ? 0 : err_set_rc(err, -error, "as the test wants it");
}

int
mount_filesystem(const char *source, const char *target, const char *fstype,
    const char *options, bool read_only, struct err *err)
{
	int rc = fails(err);

	(void)fstype;
	if (rc < 0)
		return rc;
	fake_mount_add(target, device_of(source), false)->read_only =
	    read_only || mount_options_read_only(options);
	return 0;
}

int
mount_replay(const char *source, const char *fstype, struct err *err)
{
	(void)source;
	(void)fstype;
	return fails(err);
}

int
mount_bind(int fd, const char *device, const char *target, const char *options,
    bool read_only, struct err *err)
{
	auto_free char *link = str_fmt("/proc/self/fd/%d", fd);
	char path[PATH_MAX];
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	const struct fake_mount *m;
	int rc = fails(err);

	(void)device;
	(void)options;
	if (rc < 0)
		return rc;
	path[n < 0 ? 0 : n] = '\0';
	m = fake_mount_at(path);
	fake_mount_add(target, m != NULL ? m->source : device_of(path),
	    m != NULL ? m->node : true)
	    ->read_only = read_only;
	return 0;
}

int
mount_umount(const char *target, bool lazy, struct err *err)
{
	struct fake_mount *m = fake_mount_at(target);
	size_t i = (size_t)(m - fake_mounts.mount);

	if (m == NULL)
		return err_set_rc(err, -EINVAL, "unmount %s", target);
	for (int fd = 3; fd < 64 && !lazy; fd++) {
		auto_free char *link = str_fmt("/proc/self/fd/%d", fd);
		char path[PATH_MAX];
		ssize_t n = readlink(link, path, sizeof(path) - 1);

		path[n < 0 ? 0 : n] = '\0';
		if (str_eq(path, target)) /* a descriptor keeps it */
			return err_set_rc(err, -EBUSY, "unmount %s", target);
	}
	fake_mounts.umounts++;
	fake_mounts.lazy += lazy;
	memmove(m, m + 1, (--fake_mounts.count - i) * sizeof(*m));
	return 0;
}

static size_t list_at;

int
mount_list_open(struct mount_list *list, struct err *err)
{
	(void)err;
	memset(list, 0, sizeof(*list));
	list_at = 0;
	return 0;
}

const struct mount_entry *
mount_list_next(struct mount_list *list)
{
	const struct fake_mount *m = &fake_mounts.mount[list_at];

	if (list_at >= fake_mounts.count)
		return NULL;
	list->entry = (struct mount_entry){ .id = list_at++,
		.point = m->point };
	return &list->entry;
}

void
mount_list_close(struct mount_list *list)
{
	(void)list;
}

dev_t
mount_entry_source(const struct mount_entry *entry)
{
	return fake_mounts.mount[entry->id].source;
}

bool
mount_entry_shows(
    const struct mount_entry *entry, dev_t devno, const char *disk)
{
	(void)disk;
	return mount_entry_source(entry) == devno;
}

int
mount_find_at(const char *path, dev_t *source, struct err *err)
{
	const struct fake_mount *m = fake_mount_at(path);

	(void)err;
	*source = m != NULL ? m->source : 0;
	return m != NULL;
}

int
mount_find_writable(dev_t devno, char path[PATH_MAX], struct err *err)
{
	(void)err;
	for (size_t i = 0; i < fake_mounts.count; i++) {
		const struct fake_mount *m = &fake_mounts.mount[i];

		if (m->source == devno && !m->node && !m->read_only) {
			(void)!str_put(path, PATH_MAX, "%s", m->point);
			return 1;
		}
	}
	return 0;
}

/* ---- node/loopdev.h ------------------------------------------------------- */

void
loopdev_path(int id, char path[DEVICE_PATH_MAX])
{
	(void)!str_put(path, DEVICE_PATH_MAX, "%s/loop%d", node_paths.dev, id);
}

int
loopdev_file(int id, char *file)
{
	*file = '\0';
	if ((size_t)id < countof(fake_mounts.loop))
		(void)!str_put(
		    file, LOOPDEV_FILE_MAX, "%s", fake_mounts.loop[id].file);
	return *file == '\0' ? -ENXIO : 0;
}

bool
loopdev_below(dev_t devno, dev_t *below)
{
	char file[LOOPDEV_FILE_MAX];

	if (major(devno) != LOOP_MAJOR ||
	    loopdev_file((int)minor(devno), file) < 0)
		return false;
	*below = device_of(file);
	return *below != 0;
}

bool
loopdev_was_read_only(int id)
{
	return fake_mounts.loop[id].read_only;
}

int
loopdev_next(DIR *dir, const char *prefix, char *file)
{
	static int at;

	(void)dir;
	(void)prefix;
	for (; (size_t)at < countof(fake_mounts.loop); at++)
		if (loopdev_file(at, file) == 0)
			return at++;
	at = 0;
	return -ENOENT;
}

int
loopdev_attach(const char *file, bool read_only, struct err *err)
{
	(void)err;
	for (unsigned i = 0; i < countof(fake_mounts.loop); i++) {
		struct fake_loop *loop = &fake_mounts.loop[i];

		if (loop->file[0] != '\0')
			continue;
		(void)!str_put(loop->file, sizeof(loop->file), "%s", file);
		loop->read_only = read_only;
		fake_device_add(makedev(LOOP_MAJOR, i), "", 0);
		return (int)i;
	}
	return -ENOENT;
}

int
loopdev_grow(int id, const char *file, struct err *err)
{
	(void)err;
	if (str_eq(fake_mounts.loop[id].file, file))
		fake_mounts.loop[id].grown++;
	return 0;
}

int
loopdev_clear(int id, const char *file, int64_t timeout_ms, struct err *err)
{
	(void)timeout_ms;
	for (size_t i = 0; i < fake_mounts.count; i++)
		if (fake_mounts.mount[i].source ==
		    makedev(LOOP_MAJOR, (unsigned)id))
			return err_set_rc(err, -EBUSY, "loop%d is shown", id);
	if (str_eq(fake_mounts.loop[id].file, file))
		fake_mounts.loop[id].file[0] = '\0';
	return 0;
}
