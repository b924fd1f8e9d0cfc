/*
 * loop_mapper.c - see loop_mapper.h. It remembers nothing: each look-up reads
 * sysfs, as if the daemon had just been restarted.
 */
#include "tests/fake/loop_mapper.h"
#include "node/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

const char *loop_mapper_dir;
int loop_mapper_die;

/* The file behind a loop device, "" if it is free. */
static void
backing(int id, char *out, size_t size)
{
	char path[96];
	auto_close int fd = -1;
	ssize_t n;

	(void)snprintf(
	    path, sizeof(path), "/sys/block/loop%d/loop/backing_file", id);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, out, size - 1);
	out[n > 0 ? n : 0] = '\0';
	out[strcspn(out, "\n")] = '\0';
}

static bool
matches(const struct device_spec *spec, int id)
{
	char file[1024];
	auto_free char *want = NULL;

	backing(id, file, sizeof(file));
	if (!str_starts(file, loop_mapper_dir))
		return false;
	if (spec->image == NULL) /* by the UUID at the end */
		return str_ends(
		    file, spec->volume_id + strlen(spec->volume_id) - 36);
	want = str_fmt("%s/%s/%s", loop_mapper_dir, spec->pool, spec->image);
	return str_eq(file, want);
}

/* The first loop device that `spec` (NULL: any of ours) is mapped by. */
static int
search(const struct device_spec *spec, int *count)
{
	DIR *dir = opendir("/sys/block");
	const struct dirent *d;
	int found = -1;

	while (dir != NULL && (d = readdir(dir)) != NULL) {
		char file[1024];
		int id;

		if (sscanf(d->d_name, "loop%d", &id) != 1)
			continue;
		if (spec != NULL && found < 0 && matches(spec, id))
			found = id;
		backing(id, file, sizeof(file));
		if (count != NULL && str_starts(file, loop_mapper_dir))
			++*count;
	}
	if (dir != NULL)
		(void)closedir(dir);
	return found;
}

int
loop_mapper_count(void)
{
	int count = 0;

	(void)search(NULL, &count);
	return count;
}

static int
lm_init(const struct mapper_setup *setup, struct err *err)
{
	(void)setup;
	(void)err;
	return 0;
}

static bool
lm_usable(struct err *why)
{
	(void)why;
	return true;
}

static int
fill(int id, struct device *dev)
{
	struct stat st;

	memset(dev, 0, sizeof(*dev));
	dev->id = id;
	if (str_put(dev->path, sizeof(dev->path), "/dev/loop%d", id) < 0 ||
	    stat(dev->path, &st) < 0)
		return -errno;
	dev->devno = st.st_rdev;
	return sysfs_size(dev->devno, &dev->size_bytes, &dev->read_only);
}

static int
configure(const struct device_spec *spec, int *id, struct err *err)
{
	auto_free char *file = str_fmt(
	    "%s/%s/%s", loop_mapper_dir, spec->pool, spec->image);
	auto_close int image = open(file, O_RDWR | O_CLOEXEC);
	auto_close int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	struct loop_config config = {
		.info.lo_flags = spec->read_only ? LO_FLAGS_READ_ONLY : 0
	};

	if (image < 0)
		return err_set_rc(err, -errno, "map %s", file);
	config.fd = (unsigned)image;
	for (int i = 0; i < 100; i++) {
		auto_close int loop = -1;
		char path[32];

		*id = ioctl(control, LOOP_CTL_GET_FREE);
		(void)snprintf(path, sizeof(path), "/dev/loop%d", *id);
		loop = open(path, O_RDWR | O_CLOEXEC);
		if (loop >= 0 && ioctl(loop, LOOP_CONFIGURE, &config) == 0)
			return 0;
		if (errno != EBUSY) /* somebody else took it */
			break;
	}
	return err_set_rc(err, -errno, "loop device for %s", file);
}

static int
lm_unmap(
    const struct device_spec *spec, const struct device *shown, struct err *err)
{
	int id = search(spec, NULL);
	char path[32];

	(void)shown;
	if (id < 0)
		return 0;
	(void)snprintf(path, sizeof(path), "/dev/loop%d", id);
	for (int i = 0; i < 100; i++) {
		auto_close int fd = open(path, O_RDWR | O_CLOEXEC | O_EXCL);

		if (fd >= 0 && ioctl(fd, LOOP_CLR_FD) == 0)
			return 0;
		if (errno == ENXIO)
			return 0;
		(void)usleep(20 * 1000);
	}
	return err_set_rc(err, -EBUSY, "unmap %s", path);
}

static int
lm_map(const struct device_spec *spec, struct device *dev, struct err *err)
{
	int id = search(spec, NULL), rc;

	if (loop_mapper_die == 1)
		_exit(9);
	if (id >= 0) {
		rc = fill(id, dev);
		if (rc < 0 || dev->read_only == spec->read_only)
			return rc;
		rc = lm_unmap(spec, NULL, err);
		if (rc < 0)
			return rc;
	}
	rc = configure(spec, &id, err);
	if (loop_mapper_die == 2)
		_exit(9);
	return rc < 0 ? rc : fill(id, dev);
}

static int
lm_verify(const struct device_spec *spec, dev_t devno, struct device *dev,
    struct err *err)
{
	int id = (int)minor(devno);

	if (major(devno) != 7 || !matches(spec, id)) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "device %u:%u is not a mapping of the image", major(devno),
		    minor(devno));
		return -ENODEV;
	}
	return fill(id, dev);
}

static int
lm_grow(const struct device_spec *spec, struct device *dev, struct err *err)
{
	auto_close int fd = open(dev->path, O_RDONLY | O_CLOEXEC);

	(void)spec;
	if (fd < 0 || ioctl(fd, LOOP_SET_CAPACITY, 0) < 0)
		return err_set_rc(err, -errno, "size of %s", dev->path);
	return fill(dev->id, dev);
}

static const struct mapper_child loop_mapper_child = {
	.name = "krbd",
	.map = lm_map,
	.unmap = lm_unmap,
	.verify = lm_verify,
	.grow = lm_grow,
};

const struct mapper loop_mapper = {
	.name = "krbd",
	.mounter = "rbd",
	.child = &loop_mapper_child,
	.init = lm_init,
	.usable = lm_usable,
};
