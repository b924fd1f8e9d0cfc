/*
 * path.c - see path.h.
 */
#include "node/path.h"
#include "node/device.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define LINKS_MAX 16

/* ---- resolving ------------------------------------------------------------ */

/* Can only root have put there what is in this directory? */
static bool
is_roots_own(const struct stat *st)
{
	return st->st_uid == 0 && (st->st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static int
append(char out[PATH_MAX], const char *name, size_t n, struct err *err)
{
	size_t len = strlen(out);

	return str_put(out + len, PATH_MAX - len, "/%.*s", (int)n, name) < 0
	    ? err_set(err, ERR_INVALID_ARGUMENT,
		  "%.128s...: the path is too long", out)
	    : 0;
}

static void
step_up(char *out)
{
	char *slash = strrchr(out, '/');

	if (slash != NULL)
		*slash = '\0';
}

int
path_resolve(const char *path, char out[PATH_MAX], struct err *err)
{
	auto_free char *rest = str_dup(path); /* what is still to be walked */
	const char *at = rest;
	bool roots_own, missing = false;
	int links = 0, rc;
	struct stat st;

	*out = '\0';
	if (stat("/", &st) < 0)
		return err_set_rc(err, -errno, "path %s", path);
	roots_own = is_roots_own(&st);
	for (;;) {
		char to[PATH_MAX], *all;
		ssize_t len;
		size_t n;

		at += strspn(at, "/");
		n = strcspn(at, "/");
		if (missing || at[n + strspn(at + n, "/")] == '\0') {
			n = strlen(at); /* the last, or what is not there */
			while (n > 0 && at[n - 1] == '/')
				n--;
			if (n == 0 && *out == '\0')
				return err_set(err, ERR_INVALID_ARGUMENT,
				    "%s is the root directory", path);
			return n == 0 ? 0 : append(out, at, n, err);
		}
		if (strncmp(at, ".", n) == 0 || strncmp(at, "..", n) == 0) {
			if (n == 2)
				step_up(out);
			at += n;
			continue;
		}
		rc = append(out, at, n, err);
		if (rc < 0)
			return rc;
		at += n;
		if (lstat(out, &st) < 0) {
			if (errno != ENOENT)
				return err_set_rc(
				    err, -errno, "look at %s", out);
			missing = true;
			continue;
		}
		if (S_ISDIR(st.st_mode)) {
			roots_own = roots_own && is_roots_own(&st);
			continue;
		}
		if (!S_ISLNK(st.st_mode))
			return err_refuse(err, "%s is not a directory", out);
		/* What the link says takes its place. */
		len = readlink(out, to, sizeof(to) - 1);
		if (len < 0)
			return err_set_rc(err, -errno, "read link %s", out);
		to[len] = '\0';
		if (!roots_own || ++links > LINKS_MAX)
			return err_refuse(err,
			    "%s is a symbolic link, which is not followed",
			    out);
		all = str_fmt("%s/%s", to, at);
		free(rest);
		at = rest = all;
		if (to[0] == '/')
			*out = '\0';
		else
			step_up(out);
	}
}

/* ---- opening -------------------------------------------------------------- */

int
path_open(const char *path, int flags)
{
	struct open_how how = { .flags = (uint64_t)(flags | O_CLOEXEC),
		.resolve = RESOLVE_NO_SYMLINKS };
	long fd;

	/* With O_NOFOLLOW the link itself may be opened, which tells it. */
	fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));
	return fd < 0 ? -errno : (int)fd;
}

int
path_open_parent(const char *path, const char **name)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX];

	if (slash == NULL || slash[1] == '\0' ||
	    (size_t)(slash - path) >= sizeof(dir))
		return -EINVAL;
	memcpy(dir, path, (size_t)(slash - path));
	dir[slash - path] = '\0';
	*name = slash + 1;
	return path_open(*dir == '\0' ? "/" : dir, O_PATH | O_DIRECTORY);
}

/* ---- mount points --------------------------------------------------------- */

int
path_make_parents(const char *path, struct err *err)
{
	auto_free char *dir = str_dup(path);

	for (char *slash = dir + 1; (slash = strchr(slash, '/')) != NULL;
	     slash++) {
		const char *name;
		auto_close int at = -1;

		*slash = '\0';
		at = path_open_parent(dir, &name);
		if (at < 0)
			return err_set_rc(err, at, "make directory %s", dir);
		if (mkdirat(at, name, 0750) < 0 && errno != EEXIST)
			return err_set_rc(
			    err, -errno, "make directory %s", dir);
		*slash = '/';
	}
	return 0;
}

/* Is something in the directory? What cannot be read is not known to be empty. */
static bool
is_full(int parent, const char *name)
{
	int fd = openat(
	    parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	auto_dir DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d = NULL;

	if (dir == NULL)
		return true;
	while ((d = readdir(dir)) != NULL &&
	    (str_eq(d->d_name, ".") || str_eq(d->d_name, "..")))
		;
	return d != NULL;
}

int
path_check_point(const char *path, struct err *err)
{
	const char *name;
	auto_close int dir = path_open_parent(path, &name);
	struct stat st;

	if (dir < 0)
		return dir == -ENOENT
		    ? 0
		    : err_set_rc(err, dir, "look at %s", path);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode) && is_full(dir, name))
		return err_refuse(err,
		    "%s is a directory with something in it, which a mount would hide",
		    path);
	return 0;
}

int
path_make_point(const char *path, bool file, unsigned mode, struct err *err)
{
	const char *name;
	auto_close int dir = path_open_parent(path, &name);
	auto_close int fd = -1;
	struct stat st;
	int rc;

	if (dir < 0)
		return err_set_rc(err, dir, "make mount point %s", path);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		if (!file && S_ISDIR(st.st_mode))
			return path_check_point(path, err);
		if (file && S_ISREG(st.st_mode) && st.st_size == 0)
			return 0;
		/* Of the other access type, from a call that failed. */
		rc = path_remove_point(path, err);
		if (rc < 0)
			return rc;
	}
	if (!file)
		return mkdirat(dir, name, mode) == 0
		    ? 0
		    : err_set_rc(err, -errno, "make directory %s", path);
	fd = openat(dir, name,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	return fd >= 0 ? 0 : err_set_rc(err, -errno, "make file %s", path);
}

int
path_remove_point(const char *path, struct err *err)
{
	const char *name;
	auto_close int dir = path_open_parent(path, &name);
	bool is_dir;
	struct stat st;

	if (dir == -ENOENT)
		return 0;
	if (dir < 0)
		return err_set_rc(err, dir, "remove %s", path);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT
		    ? 0
		    : err_set_rc(err, -errno, "look at %s", path);
	is_dir = S_ISDIR(st.st_mode);
	if (!is_dir && (!S_ISREG(st.st_mode) || st.st_size > 0))
		return err_refuse(err, "%s is %s, which is not removed", path,
		    S_ISREG(st.st_mode)       ? "a file with something in it"
			: S_ISLNK(st.st_mode) ? "a symbolic link"
					      : "no file and no directory");
	if (unlinkat(dir, name, is_dir ? AT_REMOVEDIR : 0) < 0 &&
	    errno != ENOENT)
		return errno == ENOTEMPTY || errno == EEXIST
		    ? err_refuse(err,
			  "%s is a directory with something in it, which is not removed",
			  path)
		    : err_set_rc(err, -errno, "remove %s", path);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(err, ERR_ABORTED,
		    "%s is there again after it was removed", path);
	return 0;
}
