/*
 * path.c - paths that a request names: where they lead, which links are
 * followed, and what is not removed. Who owns a directory is what the test
 * says (fstat of it is played).
 */
#include "node/path.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

static char top[PATH_MAX];
static bool others_may_write; /* in `top` */

int __real_lstat(const char *path, struct stat *st);
int __wrap_lstat(const char *path, struct stat *st);
int __real_stat(const char *path, struct stat *st);
int __wrap_stat(const char *path, struct stat *st);

static void
play_owner(const char *path, struct stat *st)
{
	st->st_uid = 0;
	st->st_mode &= ~(mode_t)(S_IWGRP | S_IWOTH);
	if (others_may_write && str_eq(path, top))
		st->st_mode |= S_IWOTH;
}

int
__wrap_lstat(const char *path, struct stat *st)
{
	int rc = __real_lstat(path, st);

	if (rc == 0)
		play_owner(path, st);
	return rc;
}

int
__wrap_stat(const char *path, struct stat *st)
{
	int rc = __real_stat(path, st);

	if (rc == 0)
		play_owner(path, st);
	return rc;
}

static const char *
at(const char *name)
{
	static char path[4][PATH_MAX];
	static unsigned n;
	char *to = path[n++ % 4];

	(void)!str_put(to, PATH_MAX, "%s/%s", top, name);
	return to;
}

static void
make_file(const char *name, const char *text)
{
	int fd = open(at(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		diag("make %s: %s", name, strerror(errno));
	close(fd);
}

static void
test_resolve(void)
{
	static const struct {
		const char *path, *want; /* NULL: refused */
		bool others;             /* may write where the link is */
	} table[] = {
		{ "dir/sub", "dir/sub", false },
		{ "dir//sub/", "dir/sub", false },
		{ "dir/./sub", "dir/sub", false },
		{ "dir/../dir/sub", "dir/sub", false },
		{ "missing/too", "missing/too", false },
		{ "link/sub", "dir/sub", false },
		{ "link/sub", NULL, true },
		{ "chain/sub", "dir/sub", false },
		{ "absolute/sub", "dir/sub", false },
		{ "loop/sub", NULL, false },
		{ "dir/link", "dir/link", true }, /* the last is left alone */
		{ "file/sub", NULL, false },
	};
	static const char *const roots[] = { "/", "//" };

	for (size_t i = 0; i < countof(table); i++) {
		char out[PATH_MAX];
		struct err err = ERR_INIT;
		int rc;

		others_may_write = table[i].others;
		rc = path_resolve(at(table[i].path), out, &err);
		if (table[i].want == NULL)
			ok(rc < 0 && err.code == ERR_FAILED_PRECONDITION,
			    "%s is refused: %s", table[i].path, err.text);
		else if (ok(rc == 0, "%s is resolved", table[i].path))
			is_str(out, at(table[i].want), "as it should be");
	}
	others_may_write = false;
	for (size_t i = 0; i < countof(roots); i++) {
		char out[PATH_MAX];
		struct err err = ERR_INIT;

		ok(path_resolve(roots[i], out, &err) < 0 &&
			err.code == ERR_INVALID_ARGUMENT,
		    "%s is no path of a volume: %s", roots[i], err.text);
	}
}

static void
test_open(void)
{
	int fd = path_open(at("dir/sub"), O_PATH);

	ok(fd >= 0, "a path without links is opened");
	close(fd);
	is_int(path_open(at("link/sub"), O_PATH), -ELOOP,
	    "one with a link is not");
	is_int(path_open(at("missing"), O_PATH), -ENOENT, "nor a missing one");
}

static void
test_remove(void)
{
	static const struct {
		const char *name;
		bool goes;
	} table[] = { { "empty", true }, { "emptydir", true },
		{ "missing", true }, { "missing/too", true }, { "file", false },
		{ "dir", false }, { "link", false }, { "fifo", false } };

	for (size_t i = 0; i < countof(table); i++) {
		struct err err = ERR_INIT;
		struct stat st;
		int rc = path_remove_point(at(table[i].name), &err);

		if (table[i].goes) {
			is_int(rc, 0, "%s is removed", table[i].name);
			ok(__real_lstat(at(table[i].name), &st) < 0,
			    "it is gone");
			continue;
		}
		ok(rc < 0 && err.code == ERR_FAILED_PRECONDITION,
		    "not removed: %s", err.text);
		ok(__real_lstat(at(table[i].name), &st) == 0, "it stays");
	}
}

/* A mount point of the other kind is replaced, if nothing is in it. */
static void
test_make(void)
{
	struct err err = ERR_INIT;
	struct stat st;

	is_int(path_make_parents(at("a/b/c"), &err), 0, "parents are made");
	is_int(path_make_point(at("a/b/c"), false, 0750, &err), 0,
	    "and a directory");
	is_int(path_make_point(at("a/b/c"), false, 0750, &err), 0, "or taken");
	ok(path_make_point(at("dir"), false, 0750, &err) < 0 &&
		err.code == ERR_FAILED_PRECONDITION,
	    "but none with something in it: %s", err.text);
	err = (struct err)ERR_INIT;
	is_int(path_make_point(at("a/b/c"), true, 0600, &err), 0,
	    "a file in place of an empty directory");
	ok(__real_lstat(at("a/b/c"), &st) == 0 && S_ISREG(st.st_mode),
	    "is one");
	make_file("a/b/c", "data");
	ok(path_make_point(at("a/b/c"), true, 0600, &err) < 0,
	    "not where data are: %s", err.text);
	ok(path_make_point(at("a/b/c"), false, 0600, &err) < 0 &&
		__real_lstat(at("a/b/c"), &st) == 0 && st.st_size == 4,
	    "nor a directory: they stay");
	ok(path_make_point(at("link/new"), false, 0750, &err) < 0,
	    "nor below a link: %s", err.text);
	ok(path_make_parents(at("link/x/y"), &err) < 0,
	    "below which no parents are made: %s", err.text);
	ok(__real_lstat(at("dir/x"), &st) < 0, "nothing is there");
}

int
main(void)
{
	auto_free char *line = NULL;
	char made[] = "/tmp/rbd-csi-path.XXXXXX";

	if (mkdtemp(made) == NULL || realpath(made, top) == NULL)
		return 1;
	mkdir(at("dir"), 0700);
	mkdir(at("dir/sub"), 0700);
	mkdir(at("emptydir"), 0700);
	make_file("empty", "");
	make_file("file", "data");
	if (mkfifo(at("fifo"), 0600) < 0 || symlink("dir", at("link")) < 0 ||
	    symlink("link", at("chain")) < 0 ||
	    symlink(at("dir"), at("absolute")) < 0 ||
	    symlink("loop", at("loop")) < 0 ||
	    symlink("sub", at("dir/link")) < 0)
		return 1;
	test_resolve();
	test_open();
	test_remove();
	test_make();
	line = str_fmt("rm -rf %s", top);
	return system(line) != 0 || tap_end() != 0;
}
