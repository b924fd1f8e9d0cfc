/*
 * sysfs.c - see sysfs.h.
 */
#include "node/sysfs.h"

#include <dirent.h>
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

static int
read_line(char *text, size_t size, const char *fmt, va_list ap)
{
	char path[PATH_MAX];
	auto_close int fd = -1;
	int n = snprintf(path, sizeof(path), "%s/", node_paths.sys);
	ssize_t got;

	*text = '\0';
	(void)vsnprintf(path + n, sizeof(path) - (size_t)n, fmt, ap);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	got = fd < 0 ? -1 : read(fd, text, size - 1);
	if (got < 0)
		return -errno;
	text[got] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return 0;
}

int
sysfs_read(char *text, size_t size, const char *fmt, ...)
{
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = read_line(text, size, fmt, ap);
	va_end(ap);
	return rc;
}

int
sysfs_u64(uint64_t *value, const char *fmt, ...)
{
	char text[32];
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = read_line(text, sizeof(text), fmt, ap);
	va_end(ap);
	return rc < 0 ? rc : str_to_u64(text, value);
}

dev_t
sysfs_devno(const char *fmt, ...)
{
	char text[32];
	unsigned maj, min;
	va_list ap;
	int rc;

	va_start(ap, fmt);
	rc = read_line(text, sizeof(text), fmt, ap);
	va_end(ap);
	return rc == 0 && sscanf(text, "%u:%u", &maj, &min) == 2
	    ? makedev(maj, min)
	    : 0;
}

void
sysfs_each(
    const char *dir, bool (*visit)(const char *name, void *arg), void *arg)
{
	auto_free char *path = str_fmt("%s/%s", node_paths.sys, dir);
	DIR *open = opendir(path);
	const struct dirent *d;

	while (open != NULL && (d = readdir(open)) != NULL)
		if (d->d_name[0] != '.' && !visit(d->d_name, arg))
			break;
	if (open != NULL)
		(void)closedir(open);
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
