/*
 * loopdev.c - loop devices over a tree of files that stands in for /sys and
 * /dev, with a driver that is played: what is not freed, and which number is
 * not taken.
 */
#include "node/loopdev.h"
#include "node/userspace_index.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/loop.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

static char top[64], file[96];

/* The driver. */
static struct {
	int free, added; /* numbers that it gives next */
	int taken;       /* a free one that somebody else is faster with */
	int made;        /* one whose node is there before its disk */
	int users;       /* who have the device open when it is to be freed */
	unsigned configures, clears;
	struct loop_config config; /* the last one */
	off_t size;                /* what the file's server tells */
} driver;

static void
put_file(const char *name, const char *text)
{
	auto_free char *path = str_fmt("%s/%s", top, name);
	int fd;

	for (char *p = path + strlen(top) + 1; (p = strchr(p, '/')) != NULL;
	     p++) {
		*p = '\0';
		(void)mkdir(path, 0700);
		*p = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		diag("make %s: %s", path, strerror(errno));
	close(fd);
}

static void
bind_loop(int id, const char *to)
{
	char name[64];

	snprintf(name, sizeof(name), "sys/block/loop%d/loop/backing_file", id);
	put_file(name, to);
	snprintf(name, sizeof(name), "sys/class/block/loop%d/dev", id);
	auto_free char *number = str_fmt("7:%d", id);
	put_file(name, number);
}

/* A bind mount of /dev/loopID at /target; below 0: none. */
static void
mount_node(int id)
{
	char line[128] = "";

	if (id >= 0)
		snprintf(line, sizeof(line),
		    "36 35 0:5 /loop%d /target rw - devtmpfs udev rw\n", id);
	put_file("mountinfo", line);
}

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_mknod(const char *path, mode_t mode, dev_t devno);
int __wrap_nanosleep(const struct timespec *time, struct timespec *rest);

int
__wrap_ioctl(int fd, unsigned long request, ...)
{
	auto_free char *link = str_fmt("/proc/self/fd/%d", fd);
	char path[PATH_MAX];
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	va_list ap;
	void *arg;
	int id;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	path[n < 0 ? 0 : n] = '\0';
	id = atoi(strrchr(path, '/') + strlen("/loop"));
	switch (request) {
	case LOOP_CTL_GET_FREE:
		errno = ENOSPC;
		return driver.free;
	case LOOP_CTL_ADD:
		return (int)(long)arg < 0 ? driver.added : (int)(long)arg;
	case LOOP_CONFIGURE:
		if (id == driver.taken) {
			errno = EBUSY;
			return -1;
		}
		driver.configures++;
		driver.config = *(struct loop_config *)arg;
		bind_loop(id, file);
		return 0;
	case LOOP_SET_CAPACITY:
		return truncate(path, driver.size);
	case LOOP_CLR_FD:
		driver.clears++;
		if (driver.users == 0)
			bind_loop(id, "");
		else
			driver.users--;
		return 0;
	default:
		errno = EINVAL;
		return -1;
	}
}

int
__wrap_mknod(const char *path, mode_t mode, dev_t devno)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int fd, rc = 0;

	/* Nobody can open() a socket: ENXIO, as without a disk. */
	if (driver.made > 0 && minor(devno) == (unsigned)driver.made) {
		fd = socket(AF_UNIX, SOCK_STREAM, 0);
		snprintf(at.sun_path, sizeof(at.sun_path), "%s", path);
		rc = bind(fd, (struct sockaddr *)&at, sizeof(at));
	} else {
		fd = open(path, O_WRONLY | O_CREAT, mode & 0600);
	}
	close(fd);
	return fd < 0 ? -1 : rc;
}

int
__wrap_nanosleep(const struct timespec *time, struct timespec *rest)
{
	(void)time;
	(void)rest;
	return 0;
}

static void
test_clear(void)
{
	struct err err = ERR_INIT;

	is_int(loopdev_clear(3, file, 0, &err), 0, "what is not bound is free");
	bind_loop(3, "/another");
	is_int(loopdev_clear(3, file, 0, &err), 0,
	    "what another file is bound to is not this file's");
	is_int((int)driver.clears, 0, "and stays");

	bind_loop(3, file);
	mount_node(3);
	is_int(loopdev_clear(3, file, 0, &err), -EBUSY,
	    "what a mount shows: %s", err.text);
	ok(driver.clears == 0 && loopdev_is(3, file), "is not given back");
	put_file("mountinfo", "");
	(void)unlink(node_paths.mountinfo);
	err = (struct err)ERR_INIT;
	ok(loopdev_clear(3, file, 0, &err) < 0 && driver.clears == 0,
	    "nor is anything without the list of mounts: %s", err.text);
	mount_node(4);
	driver.users = 1000;
	err = (struct err)ERR_INIT;
	is_int(loopdev_clear(3, file, 0, &err), -EBUSY,
	    "what somebody has open is told: %s", err.text);
	driver.users = 1;
	is_int(loopdev_clear(3, file, 1000, &err), 0,
	    "or waited for, until it is free");
	ok(!loopdev_is(3, file), "it is");
}

static void
test_attach(void)
{
	struct err err = ERR_INIT;
	int fd = open(file, O_RDWR | O_DIRECT), id;

	if (fd < 0) {
		ok(true, "no direct I/O in %s # SKIP", top);
		return;
	}
	close(fd);
	driver.free = 5;
	driver.added = 9;
	mount_node(-1);
	is_int(loopdev_attach(file, true, &err), 5, "a free number is taken");
	ok((driver.config.info.lo_flags &
	       (LO_FLAGS_READ_ONLY | LO_FLAGS_DIRECT_IO)) ==
		(LO_FLAGS_READ_ONLY | LO_FLAGS_DIRECT_IO),
	    "read-only, by direct I/O");
	is_int(loopdev_find(file), 5, "it is found by its file");
	bind_loop(5, "");
	put_file("sys/block/loop5/size", "0");
	driver.clears = 0;
	ok(loopdev_attach(file, false, &err) < 0 &&
		err.code == ERR_UNAVAILABLE && driver.clears == 1 &&
		!loopdev_is(5, file),
	    "one whose size nobody tells is given back: %s", err.text);
	put_file("sys/block/loop5/size", "8");
	put_file("dev/loop5", "");
	ok(loopdev_is_dead(5), "without a size it is dead");
	driver.size = 4096;
	ok(!loopdev_is_dead(5), "unless its server tells one");
	mount_node(5);
	is_int(loopdev_attach(file, false, &err), 9,
	    "one that a mount shows is passed over for a new one");
	ok((driver.config.info.lo_flags & LO_FLAGS_READ_ONLY) == 0 &&
		!loopdev_is(5, file),
	    "and not bound");
	mount_node(-1);
	driver.taken = 5;
	id = loopdev_attach(file, false, &err);
	ok(id > 5 && loopdev_is(id, file),
	    "another child was faster: not again the same number");
	driver.taken = 0;
	driver.made = 5;
	err = (struct err)ERR_INIT;
	id = loopdev_attach(file, false, &err);
	ok(id > 5 && loopdev_is(id, file) && !err_is_set(&err),
	    "nor one that another child just makes: %s", err.text);
	driver.made = 0;
	driver.taken = 5;
	driver.added = 90;
	for (id = 6; id < 90; id++)
		bind_loop(id, "/another");
	is_int(loopdev_attach(file, false, &err), 90,
	    "where all others near it are bound, too, a new one is taken");
	driver.free = -1;
	ok(loopdev_attach(file, false, &err) < 0 &&
		err.code == ERR_RESOURCE_EXHAUSTED,
	    "a driver that has no number any more: %s", err.text);
	driver.free = 5;
	(void)unlink(node_paths.mountinfo);
	driver.configures = 0;
	ok(loopdev_attach(file, false, &err) < 0 && driver.configures == 0,
	    "without the list of mounts none is taken: %s", err.text);
}

/* Files of a directory that was unmounted are shown by their last name. */
static void
test_names(void)
{
	ok(loopdev_shows("/a/b", "/a/b"), "the same file");
	ok(loopdev_shows("/b", "/a/b"), "of a directory that is gone");
	ok(!loopdev_shows("/a/c", "/a/b") && !loopdev_shows("/a/b", "/b"),
	    "and no other");
}

#define VOLUME_UUID "1-12345678-1234-1234-1234-123456789012"
#define IMAGE "csi-vol-12345678-1234-1234-1234-123456789012"

/* Which loop devices of an image a driver looks into, and may free. */
static void
test_whose(void)
{
	static const struct device_spec spec = { .cluster_id = "c",
		.pool = "p",
		.rados_namespace = "",
		.image = IMAGE };
	static const struct device_spec by_volume = { .volume_id = VOLUME_UUID,
		.image = "" };
	static const struct device_spec other = { .cluster_id = "c",
		.pool = "p",
		.rados_namespace = "",
		.image = "csi-vol-2" };
	static const struct device_spec other_by_volume = { .volume_id = "2",
		.image = "" };
	auto_free char *own = str_fmt("%s/state", top);
	struct {
		const char *name;
		char *file;
		bool is_own;
	} rows[5] = { { "our own, of a session that is no more" },
		{ "one whose mount is gone" },
		{ "another driver's, dead or not" },
		{ "one of a directory whose name only begins like ours" },
		{ "our own of another image" } };
	struct err err = ERR_INIT;
	char tag[TABLE_TAG_MAX];

	table_tag(tag, "c", "p", "", IMAGE);
	rows[0].file = str_fmt("%s/attach/1-0/mnt/7-%s-" IMAGE, own, tag);
	rows[1].file = str_fmt("/7-%s-" IMAGE, tag);
	rows[2].file = str_fmt("%s/b/attach/1-0/mnt/7-%s-" IMAGE, top, tag);
	rows[3].file = str_fmt("%s2/attach/1-0/mnt/7-%s-" IMAGE, own, tag);
	rows[4].file = str_fmt(
	    "%s/attach/1-0/mnt/7-%.15s-csi-vol-2", own, "0123456789abcdef");
	rows[0].is_own = rows[1].is_own = true;
	put_file("state/x", "");
	bind_loop(20, rows[2].file);
	ok(userspace_index_init(own, "/nowhere/rbd-attachd", &err) == 0 &&
		!userspace_index_has_leftovers(&spec),
	    "another driver's loop devices are none of ours%s", err.text);
	bind_loop(21, rows[1].file);
	ok(userspace_index_init(own, "/nowhere/rbd-attachd", &err) == 0 &&
		userspace_index_has_leftovers(&spec) &&
		userspace_index_has_leftovers(&by_volume),
	    "those without a directory may be");
	ok(!userspace_index_has_leftovers(&other) &&
		!userspace_index_has_leftovers(&other_by_volume),
	    "for which only calls about their own image look");
	for (size_t i = 0; i < countof(rows); i++) {
		ok(userspace_index_is_leftover(&spec, rows[i].file) ==
			rows[i].is_own,
		    "%s: %s", rows[i].name,
		    rows[i].is_own ? "looked into" : "left alone");
		free(rows[i].file);
	}
}

int
main(void)
{
	static char sys[80], dev[80], mountinfo[80];
	auto_free char *line = NULL;

	snprintf(top, sizeof(top), "/tmp/rbd-csi-loop.XXXXXX");
	if (mkdtemp(top) == NULL)
		return 1;
	snprintf(sys, sizeof(sys), "%s/sys", top);
	snprintf(dev, sizeof(dev), "%s/dev", top);
	snprintf(mountinfo, sizeof(mountinfo), "%s/mountinfo", top);
	snprintf(file, sizeof(file), "%s/file", top);
	node_paths = (struct node_paths){
		.sys = sys, .dev = dev, .mountinfo = mountinfo
	};
	put_file("file", "");
	put_file("dev/loop-control", "");
	mount_node(-1);
	test_names();
	test_clear();
	test_attach();
	test_whose();
	line = str_fmt("rm -rf %s", top);
	return system(line) != 0 || tap_end() != 0;
}
