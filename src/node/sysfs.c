/*
 * sysfs.c - see sysfs.h.
 */
#include "node/sysfs.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

struct node_paths node_paths = {
	.sys = "/sys",
	.dev = "/dev",
	.mountinfo = "/proc/self/mountinfo",
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
