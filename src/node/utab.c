/*
 * utab.c - see utab.h.
 */
#include "node/utab.h"

#include "node/device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#define BYTES_MAX ((off_t)16 << 20) /* of a file that is ours to rewrite */

/* A path as it stands in the file. */
static char *
escaped(const char *path)
{
	char *text = mem_new(4 * strlen(path) + 1), *to = text;

	for (; *path != '\0'; path++) {
		if (strchr(" \t\n\\", *path) == NULL) {
			*to++ = *path;
			continue;
		}
		*to++ = '\\'; /* and three octal digits */
		*to++ = (char)('0' + *path / 64);
		*to++ = (char)('0' + *path / 8 % 8);
		*to++ = (char)('0' + *path % 8);
	}
	return text;
}

/* The lock, a descriptor; negative if there is none. */
static int
lock(void)
{
	auto_free char *path = str_fmt("%s.lock", node_paths.utab);
	char *name = strrchr(path, '/');
	int fd;

	*name = '\0';
	(void)mkdir(path, 0755);
	*name = '/';
	fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0644);
	while (fd >= 0 && flock(fd, LOCK_EX) < 0)
		if (errno != EINTR) {
			(void)close(fd);
			return -1;
		}
	return fd;
}

/* The file's text, with room for a line of `more` bytes; NULL if it cannot be read. */
static char *
utab_text(size_t more, size_t *len)
{
	auto_close int fd = open(node_paths.utab, O_RDONLY | O_CLOEXEC);
	struct stat st = { 0 };
	char *text;

	if (fd < 0 ? errno != ENOENT : fstat(fd, &st) < 0)
		return NULL;
	if (st.st_size > BYTES_MAX)
		return NULL;
	*len = (size_t)st.st_size;
	text = mem_new(*len + more + 2);
	if (fd < 0 || pread(fd, text, *len, 0) == st.st_size)
		return text;
	free(text);
	return NULL;
}

/* Takes the lines with this word out of the text; returns whether there were. */
static bool
drop_lines(char *text, size_t *len, const char *word)
{
	size_t size = strlen(word);
	char *at = text, *line, *next;
	bool dropped = false;

	while ((at = strstr(at, word)) != NULL) {
		if ((at > text && !strchr(" \n", at[-1])) ||
		    !strchr(" \n", at[size])) {
			at += size;
			continue;
		}
		for (line = at; line > text && line[-1] != '\n'; line--)
			;
		next = strchrnul(at, '\n');
		next += *next == '\n';
		memmove(line, next, (size_t)(text + *len - next) + 1);
		*len -= (size_t)(next - line);
		at = line;
		dropped = true;
	}
	return dropped;
}

/* Who reads it sees the old file or the new one. */
static void
utab_put(const char *text, size_t len)
{
	auto_free char *path = str_fmt("%s.rbd-csi", node_paths.utab);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	bool good = fd >= 0 && fchmod(fd, 0644) == 0 &&
	    write(fd, text, len) == (ssize_t)len;

	if (fd >= 0)
		(void)close(fd);
	if (!good || rename(path, node_paths.utab) < 0)
		(void)unlink(path);
}

/* Instead of the lines of a target there is `line`, or none. */
static void
replace(const char *target, const char *line)
{
	auto_free char *word = str_fmt("TARGET=%s", target);
	auto_close int held = lock();
	auto_free char *text = NULL;
	size_t more = strlen(line), len;

	if (held >= 0)
		text = utab_text(more, &len);
	if (text == NULL || (!drop_lines(text, &len, word) && more == 0))
		return;
	if (more > 0 && len > 0 && text[len - 1] != '\n')
		text[len++] = '\n';
	memcpy(text + len, line, more);
	utab_put(text, len + more);
}

void
utab_add(const char *device, const char *target)
{
	auto_free char *source = escaped(device);
	auto_free char *at = escaped(target);
	auto_free char *line = str_fmt(
	    "SRC=%s TARGET=%s ROOT=/ OPTS=_netdev\n", source, at);

	replace(at, line);
}

void
utab_remove(const char *target)
{
	auto_free char *at = escaped(target);

	replace(at, "");
}
