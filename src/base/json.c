/*
 * json.c - JSON files.
 */
#include "base/json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

static int
read_all(int fd, char *text, size_t size, size_t *len)
{
	for (*len = 0; *len < size;) {
		ssize_t n = read(fd, text + *len, size - *len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0;
		*len += (size_t)n;
	}
	return -EFBIG;
}

json_t *
json_read_file(const char *path, size_t max, bool lenient, struct err *err)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	auto_free char *text = NULL;
	json_error_t where;
	json_t *json;
	size_t len;
	int rc;

	if (fd < 0) {
		(void)err_set_rc(err, -errno, "open %s", path);
		return NULL;
	}
	text = mem_new(max + 1);
	rc = read_all(fd, text, max + 1, &len);
	if (rc < 0) {
		(void)err_set_rc(err, rc, "read %s", path);
		return NULL;
	}
	json = json_loadb(text, len,
	    lenient ? JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL
		    : JSON_REJECT_DUPLICATES,
	    &where);
	if (json == NULL)
		(void)err_set(err, ERR_INVALID_ARGUMENT,
		    "%s is not JSON: line %d, column %d", path, where.line,
		    where.column);
	return json;
}

static int
write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

int
json_write_file(
    const char *path, const json_t *json, unsigned mode, struct err *err)
{
	auto_free char *text = json_dumps(json, JSON_COMPACT);
	auto_free char *tmp = str_fmt("%s" JSON_TMP, path);
	auto_close int fd = -1;
	int rc;

	if (text == NULL)
		return err_set(err, ERR_INTERNAL, "encode %s", path);
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	if (fd < 0)
		return err_set_rc(err, -errno, "create %s", tmp);
	rc = write_all(fd, text, strlen(text));
	if (rc == 0 && rename(tmp, path) < 0)
		rc = -errno;
	if (rc < 0) {
		(void)unlink(tmp);
		return err_set_rc(err, rc, "write %s", path);
	}
	return 0;
}

const json_t *
json_member(const json_t *object, const char *name)
{
	const json_t *found = NULL;

	for (void *at = json_object_iter((json_t *)(uintptr_t)object);
	     at != NULL;
	     at = json_object_iter_next((json_t *)(uintptr_t)object, at))
		if (strcasecmp(json_object_iter_key(at), name) == 0 &&
		    !json_is_null(json_object_iter_value(at)))
			found = json_object_iter_value(at);
	return found;
}

const char *
json_get_string(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}
