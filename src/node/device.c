/*
 * device.c - the list of mappers, the choice among them, and what they share.
 */
#include "node/device.h"
#include "node/crypt.h"
#include "node/loopdev.h"

#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define UUID_LEN 36

extern char **environ;

static const struct mapper *mappers[4];

int
device_register(
    const struct mapper *mapper, const char *state_dir, struct err *err)
{
	for (size_t i = 0; i < countof(mappers); i++)
		if (mappers[i] == NULL) {
			int rc = mapper->init(state_dir, err);

			if (rc == 0)
				mappers[i] = mapper;
			return rc;
		}
	return err_set(err, ERR_INTERNAL, "too many mappers");
}

const struct mapper *
device_mapper(const char *name)
{
	const struct mapper *mapper;

	for (size_t i = 0; (mapper = device_mapper_at(i)) != NULL; i++)
		if (str_eq(mapper->name, name))
			return mapper;
	return NULL;
}

const struct mapper *
device_mapper_at(size_t i)
{
	return i < countof(mappers) ? mappers[i] : NULL;
}

/* ceph-csi's values of `mounter`; a name that it does not know is krbd. */
static const char *
mapper_name(const char *mounter)
{
	if (str_eq(mounter, "rbd-nbd"))
		return "nbd";
	if (str_eq(mounter, "userspace"))
		return "userspace";
	return "krbd";
}

static const struct mapper *
usable(const char *name, struct err *why)
{
	const struct mapper *mapper = device_mapper(name);

	if (mapper == NULL)
		(void)err_set(why, ERR_FAILED_PRECONDITION,
		    "this driver has no mapper %s", name);
	else if (!mapper->usable(why))
		mapper = NULL;
	return mapper;
}

const struct mapper *
device_choose(const char *mounter, const char *fallback, struct err *err)
{
	const char *name = mapper_name(mounter);
	struct err why = ERR_INIT, also = ERR_INIT;
	const struct mapper *mapper = usable(name, &why);

	if (mapper != NULL)
		return mapper;
	if (!str_is_empty(fallback) && !str_eq(fallback, "none") &&
	    !str_eq(fallback, name)) {
		mapper = usable(fallback, &also);
		if (mapper == NULL)
			(void)err_set(err, ERR_FAILED_PRECONDITION,
			    "mounter %s: %s; mounter-fallback %s: %s", name,
			    why.text, fallback, also.text);
	} else {
		(void)err_set(err, ERR_FAILED_PRECONDITION, "mounter %s: %s",
		    name, why.text);
	}
	return mapper;
}

int
device_node_ensure(const char *path, dev_t devno, struct err *err)
{
	struct stat st;

	for (int i = 0; i < 3; i++) {
		if (stat(path, &st) == 0) {
			if (S_ISBLK(st.st_mode) && st.st_rdev == devno)
				return 0;
			/* Left over from an earlier device of that name. */
			if (unlink(path) < 0 && errno != ENOENT)
				return err_set_rc(err, -errno,
				    "remove %s, "
				    "which is another device",
				    path);
		} else if (errno != ENOENT) {
			return err_set_rc(err, -errno, "look at %s", path);
		}
		if (mknod(path, S_IFBLK | 0600, devno) == 0)
			return 0;
		if (errno != EEXIST)
			return err_set_rc(err, -errno, "make %s", path);
	}
	return err_set(err, ERR_INTERNAL, "%s is not the device %u:%u", path,
	    major(devno), minor(devno));
}

static int
sysfs_u64(dev_t devno, const char *name, uint64_t *value)
{
	char path[96], text[32];
	auto_close int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s",
	    major(devno), minor(devno), name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? -ENODEV : -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return str_to_u64(text, value);
}

int
device_sysfs_size(dev_t devno, uint64_t *size_bytes, bool *read_only)
{
	uint64_t sectors = 0, ro = 0;
	int rc = sysfs_u64(devno, "size", &sectors);

	if (rc == 0)
		rc = sysfs_u64(devno, "ro", &ro);
	if (rc == 0) {
		*size_bytes = sectors * 512;
		*read_only = ro != 0;
	}
	return rc;
}

void
device_load_module(const char *name)
{
	char *argv[] = { (char *)(uintptr_t) "modprobe",
		(char *)(uintptr_t) "-q", (char *)(uintptr_t)name, NULL };
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ) == 0)
		(void)waitpid(pid, &status, 0);
}

bool
device_is_gone(dev_t devno)
{
	char file[LOOPDEV_FILE_MAX];
	uint64_t size;
	bool read_only;

	return device_sysfs_size(devno, &size, &read_only) == -ENODEV ||
	    (major(devno) == LOOP_MAJOR &&
		loopdev_file((int)minor(devno), file) < 0);
}

bool
device_is_named(const char *volume_id, const char *image)
{
	size_t len = strlen(image);
	const char *tail;

	if (str_eq(image, volume_id))
		return true;
	if (len < UUID_LEN)
		return false;
	tail = image + len - UUID_LEN;
	for (int i = 0; i < UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? tail[i] != '-'
			 : strchr("0123456789abcdefABCDEF", tail[i]) == NULL)
			return false;
	}
	return strstr(volume_id, tail) != NULL;
}

int
device_identify(const struct device_spec *spec, const struct mapper *mapper,
    dev_t devno, struct device *dev, const struct mapper **owner,
    struct err *err)
{
	const struct mapper *each = mapper;
	struct err why = ERR_INIT;
	int rc = -ENODEV;

	if (devno == 0) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "no block device is mounted there");
		return -ENODEV;
	}
	if (device_is_gone(devno)) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "device %u:%u is gone", major(devno), minor(devno));
		return -ESTALE;
	}
	(void)loopdev_below(devno, &devno, NULL);
	(void)crypt_below(devno, &devno);
	for (size_t i = 0; rc == -ENODEV &&
	     (mapper != NULL ? i == 0 : (each = device_mapper_at(i)) != NULL);
	     i++) {
		rc = each->verify(spec, devno, dev, &why);
		if (owner != NULL)
			*owner = each;
	}
	if (rc < 0 && err != NULL)
		*err = why;
	return rc;
}
