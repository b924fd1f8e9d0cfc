/*
 * device.c - see device.h.
 */
#include "node/device.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>

#define UUID_LEN 36

extern char **environ;

const char *
device_uuid_of(const char *name)
{
	size_t len = strlen(name);
	const char *tail;

	if (len < UUID_LEN)
		return NULL;
	tail = name + len - UUID_LEN;
	for (int i = 0; i < UUID_LEN; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? tail[i] != '-'
			 : strchr("0123456789abcdefABCDEF", tail[i]) == NULL)
			return NULL;
	}
	return tail;
}

bool
device_is_named(const char *volume_id, const char *image)
{
	const char *uuid = device_uuid_of(image);

	return str_eq(image, volume_id) ||
	    (uuid != NULL && strstr(volume_id, uuid) != NULL);
}

/* ---- /sys ---------------------------------------------------------------- */

struct node_paths node_paths = {
	.sys = "/sys",
	.dev = "/dev",
	.mountinfo = "/proc/self/mountinfo",
	.utab = "/run/mount/utab",
};

static void
path_put(char path[PATH_MAX], const char *fmt, va_list ap)
{
	int n = snprintf(path, PATH_MAX, "%s/", node_paths.sys);

	(void)vsnprintf(path + n, PATH_MAX - (size_t)n, fmt, ap);
}

int
sysfs_read(char *text, size_t size, const char *fmt, ...)
{
	char path[PATH_MAX];
	auto_close int fd = -1;
	ssize_t n;
	va_list ap;

	va_start(ap, fmt);
	path_put(path, fmt, ap);
	va_end(ap);
	*text = '\0';
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

int
sysfs_u64(uint64_t *value, const char *fmt, ...)
{
	char path[PATH_MAX], text[32];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	(void)vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	rc = sysfs_read(text, sizeof(text), "%s", path);
	return rc < 0 ? rc : str_to_u64(text, value);
}

void
sysfs_disk(dev_t devno, char name[DISK_NAME_MAX])
{
	auto_free char *path = str_fmt(
	    "%s/dev/block/%u:%u", node_paths.sys, major(devno), minor(devno));
	char link[PATH_MAX], *slash;
	ssize_t n = readlink(path, link, sizeof(link) - 1);

	link[n < 0 ? 0 : n] = '\0';
	slash = strrchr(link, '/');
	if (slash == NULL || str_put(name, DISK_NAME_MAX, "%s", slash + 1) < 0)
		name[0] = '\0';
}

dev_t
sysfs_devno(const char *disk)
{
	char text[32];
	unsigned maj, min;

	return sysfs_read(text, sizeof(text), "class/block/%s/dev", disk) ==
		    0 &&
		sscanf(text, "%u:%u", &maj, &min) == 2
	    ? makedev(maj, min)
	    : 0;
}

DIR *
sysfs_dir(const char *fmt, ...)
{
	char path[PATH_MAX];
	va_list ap;

	va_start(ap, fmt);
	path_put(path, fmt, ap);
	va_end(ap);
	return opendir(path);
}

const char *
sysfs_next(DIR *dir)
{
	const struct dirent *d;

	while (dir != NULL && (d = readdir(dir)) != NULL)
		if (d->d_name[0] != '.')
			return d->d_name;
	return NULL;
}

int
sysfs_size(dev_t devno, uint64_t *size_bytes, bool *read_only)
{
	uint64_t sectors = 0, ro = 0;
	int rc = sysfs_u64(
	    &sectors, "dev/block/%u:%u/size", major(devno), minor(devno));

	if (rc == 0)
		rc = sysfs_u64(
		    &ro, "dev/block/%u:%u/ro", major(devno), minor(devno));
	if (rc == 0) {
		*size_bytes = sectors * 512; /* whatever its block size is */
		*read_only = ro != 0;
	}
	return rc == -ENOENT ? -ENODEV : rc;
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
				    "remove %s, which is another device", path);
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

void
device_pause_ms(int64_t ms)
{
	const struct timespec pause = { .tv_sec = ms / 1000,
		.tv_nsec = (ms % 1000) * 1000000 };

	(void)nanosleep(&pause, NULL);
}
