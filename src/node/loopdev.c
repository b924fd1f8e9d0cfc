/*
 * loopdev.c - see loopdev.h.
 */
#include "node/loopdev.h"

#include "base/clock.h"
#include "base/log.h"
#include "node/device.h"
#include "node/mount.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define FREE_TRIES 256
#define FREE_SPREAD 64 /* numbers among which children choose that raced */
#define FREE_NEAR 32   /* tries, then they take new ones */
#define READ_BYTES 4096

/*
 * A server holds the lock of the file for a whole discard: pieces of this
 * size let writes through in between.
 */
#define DISCARD_MAX 67108864
/* Bounds what one image can make its server hold: half of the default. */
#define REQUESTS_MAX 64

void
loopdev_path(int id, char path[DEVICE_PATH_MAX])
{
	(void)!str_put(path, DEVICE_PATH_MAX, "%s/loop%d", node_paths.dev, id);
}

static int
loop_open(int id, int flags, struct err *err)
{
	char path[DEVICE_PATH_MAX];
	int fd, rc;

	loopdev_path(id, path);
	rc = device_node_ensure(path, makedev(LOOP_MAJOR, (unsigned)id), err);
	if (rc < 0)
		return rc;
	fd = open(path, flags | O_CLOEXEC);
	return fd < 0 ? err_set_rc(err, -errno, "open %s", path) : fd;
}

/*
 * Lowers a limit of the queue if it is above `most`. A write freezes the queue
 * for milliseconds; the value outlives the loop device's file, so the next
 * user of the same number finds it as it should be.
 */
static void
lower_limit(int id, const char *name, uint64_t most)
{
	auto_free char *path = NULL;
	auto_close int fd = -1;
	uint64_t is;
	char text[24];

	if (sysfs_u64(&is, "block/loop%d/%s", id, name) < 0 || is <= most)
		return;
	path = str_fmt("%s/block/loop%d/%s", node_paths.sys, id, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	(void)snprintf(text, sizeof(text), "%" PRIu64, most);
	if (fd >= 0)
		(void)!write(fd, text, strlen(text));
}

void
loopdev_limit(int id)
{
	lower_limit(id, "queue/discard_max_bytes", DISCARD_MAX);
	lower_limit(id, "queue/nr_requests", REQUESTS_MAX);
}

int
loopdev_file(int id, char *file)
{
	int rc = sysfs_read(
	    file, LOOPDEV_FILE_MAX, "block/loop%d/loop/backing_file", id);

	return rc < 0 || *file == '\0' ? -ENXIO : 0;
}

bool
loopdev_shows(const char *shown, const char *file)
{
	const char *last = strrchr(file, '/');

	return str_eq(shown, file) || (last != NULL && str_eq(shown, last));
}

bool
loopdev_is(int id, const char *file)
{
	char is[LOOPDEV_FILE_MAX];

	return id >= 0 && loopdev_file(id, is) == 0 && loopdev_shows(is, file);
}

bool
loopdev_below(dev_t devno, dev_t *below)
{
	char is[LOOPDEV_FILE_MAX];
	struct stat st;

	if (major(devno) != LOOP_MAJOR ||
	    loopdev_file((int)minor(devno), is) < 0 ||
	    !str_starts(is, node_paths.dev) || stat(is, &st) < 0 ||
	    !S_ISBLK(st.st_mode))
		return false;
	*below = st.st_rdev;
	return true;
}

bool
loopdev_was_read_only(int id)
{
	auto_close int fd = loop_open(id, O_RDONLY, NULL);
	struct loop_info64 info;

	return fd >= 0 && ioctl(fd, LOOP_GET_STATUS64, &info) == 0 &&
	    (info.lo_flags & LO_FLAGS_READ_ONLY) != 0;
}

bool
loopdev_is_dead(int id)
{
	struct err ignored = ERR_INIT;
	auto_close int fd = loop_open(id, O_RDONLY | O_DIRECT, &ignored);
	static _Alignas(READ_BYTES) char block[READ_BYTES];
	ssize_t n;

	if (fd < 0)
		return false;
	n = pread(fd, block, sizeof(block), 0);
	/*
	 * Bound or grown while its server died, it has no size. One that is
	 * served has it when the kernel asks again.
	 */
	if (n == 0) {
		if (ioctl(fd, LOOP_SET_CAPACITY, 0) < 0)
			return false;
		n = pread(fd, block, sizeof(block), 0);
	}
	return n == 0 || (n < 0 && errno == EIO);
}

int
loopdev_next(DIR *dir, const char *prefix, char *file)
{
	const char *name;
	uint64_t id;

	while ((name = sysfs_next(dir)) != NULL)
		if (str_starts(name, "loop") &&
		    str_to_u64(name + 4, &id) == 0 &&
		    loopdev_file((int)id, file) == 0 &&
		    str_starts(file, prefix))
			return (int)id;
	return -ENOENT;
}

int
loopdev_find(const char *file)
{
	auto_dir DIR *dir = sysfs_dir("block");
	char is[LOOPDEV_FILE_MAX];
	int id;

	while ((id = loopdev_next(dir, "/", is)) >= 0)
		if (loopdev_shows(is, file))
			break;
	return id;
}

/*
 * Returns 0, -EBUSY (somebody else has taken the device, or just makes it: its
 * number and its node are there before its disk), or another failure.
 */
static int
loop_configure(
    int id, int backing, const char *file, bool read_only, struct err *err)
{
	struct loop_config config = {
		.fd = (uint32_t)backing,
		.block_size = 512, /* as krbd's disks have it */
		.info.lo_flags = LO_FLAGS_DIRECT_IO |
		    (read_only ? LO_FLAGS_READ_ONLY : 0),
	};
	struct err why = ERR_INIT;
	auto_close int fd = loop_open(id, read_only ? O_RDONLY : O_RDWR, &why);
	uint64_t sectors;

	if (fd == -ENXIO)
		return -EBUSY;
	if (fd < 0) {
		if (err != NULL)
			*err = why;
		return fd;
	}
	(void)snprintf(
	    (char *)config.info.lo_file_name, LO_NAME_SIZE, "%s", file);
	if (ioctl(fd, LOOP_CONFIGURE, &config) < 0)
		return errno == EBUSY ? -EBUSY
				      : err_set_rc(err, -errno,
					    "loop device %d over %s", id, file);
	loopdev_limit(id);
	/* What the kernel cannot learn is no failure to it. */
	if (sysfs_u64(&sectors, "block/loop%d/size", id) == 0 && sectors == 0) {
		(void)ioctl(fd, LOOP_CLR_FD);
		return err_set(err, ERR_UNAVAILABLE,
		    "loop device %d over %s: nobody tells its size: what served it is gone",
		    id, file);
	}
	return 0;
}

/*
 * The kernel tells all who ask the same free number, the lowest, until it is
 * bound. Who was too late for it tries one further on, each child another,
 * then the lowest again. Where many are bound those are taken, too: a new one
 * is not.
 */
static int
loop_choose(int control, int try)
{
	int id = ioctl(control, LOOP_CTL_GET_FREE);

	if (id < 0 || try % 2 == 0)
		return id;
	if (try >= FREE_NEAR)
		return ioctl(control, LOOP_CTL_ADD, -1);
	id += 1 + (getpid() + try) % FREE_SPREAD;
	return ioctl(control, LOOP_CTL_ADD, id) < 0 && errno != EEXIST ? -1
								       : id;
}

int
loopdev_attach(const char *file, bool read_only, struct err *err)
{
	auto_free char *device = str_fmt("%s/loop-control", node_paths.dev);
	auto_close int control = open(device, O_RDWR | O_CLOEXEC);
	auto_close int backing = -1;
	int id, rc;

	if (control < 0) { /* krbd alone does not need the driver */
		device_load_module("loop");
		control = open(device, O_RDWR | O_CLOEXEC);
	}
	if (control < 0)
		return err_set_rc(err, -errno, "open %s", device);
	backing = open(
	    file, (read_only ? O_RDONLY : O_RDWR) | O_DIRECT | O_CLOEXEC);
	if (backing < 0)
		return err_set_rc(err, -errno, "open %s", file);
	for (int i = 0; i < FREE_TRIES; i++) {
		char shown[PATH_MAX], is[LOOPDEV_FILE_MAX];

		id = loop_choose(control, i);
		if (id < 0)
			return err_set_rc(err, -errno, "no free loop device");
		if (loopdev_file(id, is) == 0)
			continue;
		rc = mount_find_node(
		    makedev(LOOP_MAJOR, (unsigned)id), shown, err);
		if (rc > 0 && loopdev_file(id, is) == 0)
			continue; /* another child has bound it meanwhile */
		if (rc > 0) {     /* then one that never was */
			log_warn("loop.shown", "loop=%d path=%s", id, shown);
			id = ioctl(control, LOOP_CTL_ADD, -1);
			rc = id < 0
			    ? err_set_rc(err, -errno,
				  "no new loop device, and /dev/loop%d is still shown at %s",
				  id, shown)
			    : 0;
		}
		if (rc < 0)
			return rc;
		rc = loop_configure(id, backing, file, read_only, err);
		if (rc == 0)
			return id;
		if (rc != -EBUSY)
			return rc;
	}
	return err_set(err, ERR_UNAVAILABLE,
	    "no free loop device after %d tries", FREE_TRIES);
}

int
loopdev_clear(int id, const char *file, int64_t timeout_ms, struct err *err)
{
	int64_t until = clock_now_ms() + timeout_ms;
	char shown[PATH_MAX];
	long step = 1;
	int fd, rc;

	if (!loopdev_is(id, file))
		return 0;
	rc = mount_find_node(makedev(LOOP_MAJOR, (unsigned)id), shown, err);
	if (rc > 0)
		return err_refuse_as(
		    err, -EBUSY, "/dev/loop%d is still shown at %s", id, shown);
	if (rc < 0)
		return rc;
	/*
	 * With another opener the kernel only marks the device: it is free
	 * when they have closed it. So look until it really is.
	 */
	while (loopdev_is(id, file)) {
		fd = loop_open(id, O_RDONLY, err);
		if (fd < 0)
			return fd;
		rc = loopdev_is(id, file) && ioctl(fd, LOOP_CLR_FD) < 0 ? -errno
									: 0;
		(void)close(fd);
		if (rc < 0 && rc != -EBUSY && rc != -ENXIO)
			return err_set_rc(err, rc, "free loop device %d", id);
		if (!loopdev_is(id, file))
			break;
		if (clock_now_ms() >= until)
			return err_refuse_as(
			    err, -EBUSY, "/dev/loop%d is still in use", id);
		device_pause_ms(step);
		step = step < 100 ? step * 2 : step;
	}
	return 0;
}

int
loopdev_grow(int id, const char *file, struct err *err)
{
	auto_close int fd = -1;
	struct stat st;

	if (!loopdev_is(id, file))
		return err_set(
		    err, ERR_NOT_FOUND, "loop device %d has another file", id);
	/* Older kernels take the size that the last stat has seen. */
	if (stat(file, &st) < 0)
		return err_set_rc(err, -errno, "size of %s", file);
	fd = loop_open(id, O_RDONLY, err);
	if (fd < 0)
		return fd;
	if (ioctl(fd, LOOP_SET_CAPACITY, 0) < 0)
		return err_set_rc(err, -errno, "grow loop device %d", id);
	return 0;
}
