/*
 * utab.c - the record of mounts that need the network: what is written, that
 * libmount reads it, what stays of others' lines, and many writers at once.
 */
#include "node/utab.h"
#include "node/device.h"
#include "tests/tap.h"

#include <fcntl.h>
#include <libmount.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define WRITERS 8
#define EACH 25

static char top[80], file[128];

static char *
content(void)
{
	static char text[65536];
	auto_close int fd = open(file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static void
put(const char *text)
{
	auto_close int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0644);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
}

static ino_t
inode(void)
{
	struct stat st;

	return stat(file, &st) < 0 ? 0 : st.st_ino;
}

static void
test_lines(void)
{
	static const char others[] =
	    "SRC=/dev/sdb1 TARGET=/srv ROOT=/ OPTS=x-a\n"
	    "SRC=/dev/loop2 TARGET=/pods/a/target ROOT=/ OPTS=_netdev\n";
	ino_t before;

	utab_add("/dev/loop1", "/pods/a");
	is_str(content(), "SRC=/dev/loop1 TARGET=/pods/a ROOT=/ OPTS=_netdev\n",
	    "the first line, in a directory that was not there");
	put(others);
	utab_add("/dev/loop1", "/pods/a");
	ok(str_starts(content(), others), "others' lines stay as they are");
	utab_add("/dev/loop3", "/pods/a");
	is_str(strstr(content(), "SRC=/dev/loop3"),
	    "SRC=/dev/loop3 TARGET=/pods/a ROOT=/ OPTS=_netdev\n",
	    "another device at the same target");
	ok(strstr(content(), "loop1") == NULL, "takes the first one's place");
	utab_remove("/pods/a");
	is_str(content(), others, "only the line of that target goes");
	before = inode();
	utab_remove("/pods");
	utab_remove("/pods/a/target/b");
	is_str(content(), others, "nothing is said of these");
	is_int(inode(), before, "so nothing is written");
	put("SRC=/dev/sdb1 TARGET=/srv");
	utab_add("/dev/loop1", "/pods/a");
	is_str(content(),
	    "SRC=/dev/sdb1 TARGET=/srv\n"
	    "SRC=/dev/loop1 TARGET=/pods/a ROOT=/ OPTS=_netdev\n",
	    "a last line without an end stays whole");
	utab_remove("/srv");
	utab_remove("/pods/a");
	is_str(content(), "", "nothing is left");
}

/* What libmount does to the record when a device is mounted or, NULL, unmounted. */
static void
by_libmount(const char *device, const char *target)
{
	struct libmnt_update *update = mnt_new_update();
	struct libmnt_fs *fs = device == NULL ? NULL : mnt_new_fs();

	if (fs != NULL &&
	    (mnt_fs_set_source(fs, device) < 0 ||
		mnt_fs_set_target(fs, target) < 0 ||
		mnt_fs_set_options(fs, "_netdev") < 0))
		abort();
	is_int(mnt_update_set_fs(update, 0, fs == NULL ? target : NULL, fs), 0,
	    "libmount has something to do");
	is_int(mnt_update_table(update, NULL), 0, "and does it");
	mnt_free_update(update);
	mnt_unref_fs(fs);
}

static void
test_libmount(void)
{
	static const char odd[] = "/pods/a b\\c\td\ne/target";
	auto_free char *ours = NULL;

	put("");
	utab_add("/dev/loop1", odd);
	ours = str_dup(content());
	by_libmount(NULL, odd);
	is_str(content(), "", "it finds our line");
	by_libmount("/dev/loop1", odd);
	is_str(content(), ours, "it writes what we write");
	utab_remove(odd);
	is_str(content(), "", "and we find its line");
}

static void
test_writers(void)
{
	char target[64];
	int lines = 0, status, failed = 0;

	put("");
	for (int i = 0; i < WRITERS; i++) {
		if (fork() != 0)
			continue;
		for (int k = 0; k < EACH; k++) {
			(void)snprintf(
			    target, sizeof(target), "/pods/%d/%d", i, k);
			utab_add("/dev/loop1", target);
			utab_add("/dev/loop1", "/pods/shared");
			utab_remove("/pods/shared");
		}
		_exit(0);
	}
	for (int i = 0; i < WRITERS; i++)
		failed += wait(&status) < 0 || status != 0;
	is_int(failed, 0, "many write at once");
	for (const char *at = content(); (at = strchr(at, '\n')); at++)
		lines++;
	is_int(lines, WRITERS * EACH, "no line is lost, none is too many");
}

int
main(void)
{
	auto_free char *clean = NULL;

	(void)snprintf(top, sizeof(top), "/tmp/rbd-csi-utab.XXXXXX");
	if (mkdtemp(top) == NULL)
		return 1;
	(void)snprintf(file, sizeof(file), "%s/mount/utab", top);
	node_paths.utab = file;
	setenv("LIBMOUNT_UTAB", file, 1);
	test_lines();
	test_libmount();
	test_writers();
	clean = str_fmt("rm -rf %s", top);
	return system(clean) != 0 ? 1 : tap_end();
}
