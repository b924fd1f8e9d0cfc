/*
 * address.c - see address.h.
 */
#include "attach/address.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Hidden: not taken for a session's directory. */
#define BURIED ".dead-"

int
address_write(const char *dir, const char *address)
{
	auto_free char *path = str_fmt("%s/address", dir);
	auto_free char *new = str_fmt("%s/address.new", dir);
	auto_close int fd = open(
	    new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, address, strlen(address));
	if (n < 0)
		return -errno;
	if ((size_t)n != strlen(address))
		return -ENOSPC;
	return rename(new, path) < 0 ? -errno : 0;
}

void
address_remove(const char *dir)
{
	auto_free char *path = str_fmt("%s/address", dir);
	auto_free char *new = str_fmt("%s/address.new", dir);

	(void)unlink(path);
	(void)unlink(new);
}

void
address_bury(const char *dir)
{
	const char *name = strrchr(dir, '/') + 1;
	auto_free char *path = str_fmt("%s/address", dir);
	auto_free char *to = str_fmt(
	    "%.*s" BURIED "%s", (int)(name - dir), dir, name);

	(void)!rename(path, to);
	address_remove(dir);
}

char *
address_dug_up(const char *dir, char address[ADDRESS_MAX])
{
	const char *name = strrchr(dir, '/') + 1;
	auto_free char *root = str_fmt("%.*s", (int)(name - dir), dir);
	const char *dash = strrchr(name, '-');
	/* With the dash, without N. */
	auto_free char *prefix = str_fmt(BURIED "%.*s",
	    dash != NULL ? (int)(dash - name + 1) : INT_MAX, name);
	DIR *all = opendir(root);
	const struct dirent *entry;
	char *path = NULL;
	ssize_t n = -1;
	int fd;

	while (all != NULL && path == NULL && (entry = readdir(all)) != NULL)
		if (str_starts(entry->d_name, prefix))
			path = str_fmt("%s%s", root, entry->d_name);
	if (all != NULL)
		(void)closedir(all);
	fd = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	if (fd >= 0) {
		n = read(fd, address, ADDRESS_MAX - 1);
		(void)close(fd);
	}
	address[n > 0 ? n : 0] = '\0';
	return path;
}
