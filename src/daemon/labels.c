/*
 * labels.c - see labels.h.
 */
#include "daemon/labels.h"

#include "base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define FILE_MAX_BYTES ((size_t)256 << 10) /* Kubernetes has 256 KiB at most */

struct labels {
	char *path;
	struct buf text; /* the lines of the file, each ends with a newline */
};

struct labels *
labels_read(const char *path, struct err *err)
{
	struct labels *labels = mem_new(sizeof(*labels));
	char bytes[4096];
	ssize_t n = 0;
	int fd = -1, rc = 0;

	labels->path = str_dup(path);
	buf_init(&labels->text, FILE_MAX_BYTES);
	if (!str_is_empty(path)) {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		rc = fd < 0 ? -errno : 0;
	}
	while (fd >= 0 && rc == 0 && (n = read(fd, bytes, sizeof(bytes))) > 0)
		rc = buf_append(&labels->text, bytes, (size_t)n);
	if (fd >= 0)
		(void)close(fd);
	if (rc == 0 && n < 0)
		rc = -errno;
	if (rc == 0)
		rc = buf_append(&labels->text, "\n", 1);
	if (rc == 0)
		return labels;
	(void)err_refuse(err, "node labels of %s: %s", path, strerror(-rc));
	labels_free(labels);
	return NULL;
}

void
labels_free(struct labels *labels)
{
	if (labels == NULL)
		return;
	buf_fini(&labels->text);
	free(labels->path);
	free(labels);
}

/* The value of a label, or NULL. */
static const char *
label_value(const struct labels *labels, const char *name, struct arena *arena)
{
	const char *at = (const char *)labels->text.data;
	const char *end = at + labels->text.len;
	size_t len = strlen(name), n;

	for (; at < end; at += n + 1) {
		const char *value = at + len + 1;

		n = (size_t)((const char *)memchr(
				 at, '\n', (size_t)(end - at)) -
		    at);
		if (n <= len || memcmp(at, name, len) != 0 || at[len] != '=')
			continue;
		value += *value == '"';
		return arena_fmt(
		    arena, "%.*s", (int)strcspn(value, "\"\r\n"), value);
	}
	return NULL;
}

/* The next name of a comma list, moving it on; NULL: the end. */
static const char *
next_name(const char **names, struct arena *arena)
{
	size_t n;

	*names += strspn(*names, ", ");
	n = strcspn(*names, ", ");
	*names += n;
	return n == 0 ? NULL : arena_fmt(arena, "%.*s", (int)n, *names - n);
}

/* Without the prefix that Kubernetes' names of labels may have. */
static const char *
name_last(const char *name)
{
	const char *slash = strchr(name, '/');

	return slash != NULL ? slash + 1 : name;
}

int
labels_topology(const struct labels *labels, const char *names,
    const char *driver, struct arena *arena,
    void (*tell)(void *arg, const char *key, const char *value), void *arg,
    struct err *err)
{
	const char *name, *value;

	while ((name = next_name(&names, arena)) != NULL) {
		value = label_value(labels, name, arena);
		if (value == NULL)
			return err_refuse(err,
			    "domainlabels: this node has no label %s in \"%s\" (--node-labels-file)",
			    name, labels->path);
		tell(arg,
		    arena_fmt(arena, "topology.%s/%s", driver, name_last(name)),
		    value);
	}
	return 0;
}

const char *
labels_crush_location(
    const struct labels *labels, const char *names, struct arena *arena)
{
	const char *name, *value, *all = "";

	while ((name = next_name(&names, arena)) != NULL) {
		const char *type = name_last(name);
		char *dashed;

		value = label_value(labels, name, arena);
		if (str_is_empty(value))
			continue;
		dashed = arena_strdup(arena, value);
		for (char *p = dashed; *p != '\0'; p++)
			if (*p == '.')
				*p = '-';
		all = arena_fmt(arena, "%s%s%s:%s", all,
		    *all != '\0' ? "|" : "",
		    str_eq(type, "hostname") ? "host" : type, dashed);
	}
	return all;
}
