/*
 * path.c - see path.h.
 */
#include "node/path.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define LINKS_MAX 16

/* ---- resolving ------------------------------------------------------------ */

struct walk {
	char rest[PATH_MAX]; /* what is still to be walked */
	char *out;           /* what has been, without links */
	bool roots_own;      /* only root could change anything so far */
	int links;
};

static void
look_at_directory(struct walk *w, const struct stat *st)
{
	if (st->st_uid != 0 || (st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		w->roots_own = false;
}

static int
append(struct walk *w, const char *name, struct err *err)
{
	size_t len = strlen(w->out);

	if (str_put(w->out + len, PATH_MAX - len, "/%s", name) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%.128s...: the path is too long", w->out);
	return 0;
}

static void
step_up(struct walk *w)
{
	char *slash = strrchr(w->out, '/');

	if (slash != NULL)
		*slash = '\0';
}

/* w->out is a link: what it says takes its place. */
static int
follow(struct walk *w, const char *rest, struct err *err)
{
	char to[PATH_MAX], all[PATH_MAX];
	ssize_t n = readlink(w->out, to, sizeof(to) - 1);

	if (n < 0)
		return err_set_rc(err, -errno, "read link %s", w->out);
	to[n] = '\0';
	if (!w->roots_own || ++w->links > LINKS_MAX)
		return err_refuse(err,
		    "%s is a symbolic link, which is not followed", w->out);
	if (str_put(all, sizeof(all), "%s/%s", to, rest) < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%.128s...: the path is too long", w->out);
	if (to[0] == '/')
		*w->out = '\0';
	else
		step_up(w);
	memcpy(w->rest, all, sizeof(all));
	return 0;
}

/* One component that is not the last; *missing: it does not exist. */
static int
walk_parent(struct walk *w, const char *name, const char *rest, bool *missing,
    struct err *err)
{
	struct stat st;
	int rc = append(w, name, err);

	if (rc < 0)
		return rc;
	if (lstat(w->out, &st) < 0) {
		*missing = errno == ENOENT;
		return *missing ? 0
				: err_set_rc(err, -errno, "look at %s", w->out);
	}
	if (S_ISLNK(st.st_mode))
		return follow(w, rest, err);
	if (!S_ISDIR(st.st_mode))
		return err_refuse(err, "%s is not a directory", w->out);
	look_at_directory(w, &st);
	memmove(w->rest, rest, strlen(rest) + 1);
	return 0;
}

int
path_resolve(const char *path, char out[PATH_MAX], struct err *err)
{
	struct walk w = { .out = out, .roots_own = true };
	struct stat st;
	bool missing = false;
	int rc = str_put(w.rest, sizeof(w.rest), "%s", path);

	*out = '\0';
	if (rc < 0 || stat("/", &st) < 0)
		return err_set_rc(err, rc < 0 ? rc : -errno, "path %s", path);
	look_at_directory(&w, &st);
	for (;;) {
		char *name = w.rest + strspn(w.rest, "/");
		char *end = name + strcspn(name, "/");
		const char *rest = end + strspn(end, "/");

		if (*rest == '\0' || missing) {
			char *last = name + strlen(name);

			while (last > name && last[-1] == '/')
				*--last = '\0';
			return *name == '\0' ? 0 : append(&w, name, err);
		}
		*end = '\0';
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
			if (name[1] == '.')
				step_up(&w);
			memmove(w.rest, rest, strlen(rest) + 1);
			continue;
		}
		rc = walk_parent(&w, name, rest, &missing, err);
		if (rc < 0)
			return rc;
		if (missing)
			memmove(w.rest, rest, strlen(rest) + 1);
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
			return 0;
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
