/*
 * credentials.c - reading userID and userKey.
 *
 * Kubernetes swaps a mounted Secret by renaming the symbolic link `..data` to
 * a directory with the new version, and then removes the old one. Both files
 * are opened in the directory that `..data` leads to at one moment, so that a
 * user never gets the key of another version; if that version is removed
 * meanwhile, the next one is read.
 */
#include "daemon/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define VALUE_MAX 4096
#define VERSIONS_MAX 4 /* that may go while they are read */

/* The value of a file, in buf[VALUE_MAX + 1], without blanks around it. */
static int
read_value(int dir, const char *name, char *buf, char **value, struct err *err)
{
	static const char blank[] = " \t\r\n";
	auto_close int fd = openat(
	    dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t len = fd >= 0 ? read(fd, buf, VALUE_MAX + 1) : -1;
	size_t n;

	if (len < 0)
		return err_set_rc(err, -errno, "read %s", name);
	if (len > VALUE_MAX)
		return err_refuse(
		    err, "%s has more than %d bytes", name, VALUE_MAX);
	buf[len] = '\0';
	*value = buf + strspn(buf, blank);
	n = strlen(*value);
	if (*value + n != buf + len)
		return err_refuse(err, "%s has a NUL in it", name);
	while (n > 0 && strchr(blank, (*value)[n - 1]) != NULL)
		(*value)[--n] = '\0';
	if (n == 0)
		return err_refuse(err, "%s is empty", name);
	return 0;
}

/* -ENOENT: a file is not there, or not any more. */
static int
read_version(int dir, struct credentials *credentials, struct err *err)
{
	char buf[VALUE_MAX + 1] = "", *value = buf;
	int rc = read_value(dir, "userID", buf, &value, err);

	if (rc < 0)
		return rc;
	credentials->user = str_dup(value);
	rc = read_value(dir, "userKey", buf, &value, err);
	if (rc == 0)
		secret_set(&credentials->key, value, strlen(value));
	else
		credentials_fini(credentials);
	secret_wipe(buf, sizeof(buf));
	return rc;
}

int
credentials_read(const char *dir, const char *cluster_id,
    struct credentials *credentials, struct err *err)
{
	auto_free char *path = str_fmt("%s/%s", dir, cluster_id);
	struct err why = ERR_INIT;
	int rc = -ENOENT;

	*credentials = (struct credentials){ .user = NULL };
	/* One component of a path, and neither ".." nor Kubernetes' "..data". */
	if (*cluster_id == '.' || strchr(cluster_id, '/') != NULL)
		return err_refuse(err,
		    "credentials of cluster \"%s\": no directory can have that name",
		    cluster_id);
	for (int i = 0; i < VERSIONS_MAX && rc == -ENOENT; i++) {
		auto_close int top = open(
		    path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		auto_close int data = -1;

		if (top < 0) {
			rc = err_set_rc(err, -errno,
			    "credentials of cluster \"%s\": open %s",
			    cluster_id, path);
			err->code = ERR_FAILED_PRECONDITION;
			return rc;
		}
		data = openat(
		    top, "..data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = read_version(data >= 0 ? data : top, credentials, &why);
		if (data < 0)
			break;
	}
	if (rc < 0)
		rc = err_refuse(err, "credentials of cluster \"%s\" in %s: %s",
		    cluster_id, path, why.text);
	return rc;
}

void
credentials_fini(struct credentials *credentials)
{
	free(credentials->user);
	secret_fini(&credentials->key);
	credentials->user = NULL;
}
