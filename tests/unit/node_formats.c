/*
 * node_formats.c - what the node writes and reads: the stash, command lines
 * of mkfs and fsck, superblock flags, mount flags.
 */
#include "node/filesystem.h"

#include "base/rules.h"
#include "node/mount.h"
#include "node/stash.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

/* ---- stash ---------------------------------------------------------------- */

static char dir[] = "/tmp/rbd-csi-stash.XXXXXX";
static char path[64];

static void
write_file(const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		diag("write %s: %s", path, strerror(errno));
	close(fd);
}

static const char *
read_file(void)
{
	static char text[1024];
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, text, sizeof(text) - 1);

	close(fd);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

/* As ceph-csi 3.17 leaves it for a krbd volume. */
static const char from_ceph_csi[] =
    "{\"Version\":3,\"pool\":\"replicapool\",\"radosNamespace\":\"ns1\","
    "\"image\":\"csi-vol-1\",\"unmapOptions\":\"force\",\"accessType\":false,"
    "\"encrypted\":false,\"device\":\"\",\"logDir\":\"/var/log/ceph\","
    "\"logFileStrategy\":\"remove\"}";

static void
test_stash(void)
{
	struct stash s, again;
	struct err err = ERR_INIT;
	struct stat st;

	is_int(stash_read(dir, &s, &err), -ENOENT, "no stash: -ENOENT");
	ok(!err_is_set(&err), "which is no error");
	write_file(from_ceph_csi);
	is_int(stash_read(dir, &s, &err), 0, "ceph-csi's stash is read");
	is_str(s.pool, "replicapool", "pool");
	is_str(s.rados_namespace, "ns1", "radosNamespace");
	is_str(s.image, "csi-vol-1", "image");
	is_str(s.unmap_options, "force", "unmapOptions");
	is_str(s.log_dir, "/var/log/ceph", "logDir");
	is_str(s.log_strategy, "remove", "logFileStrategy");
	ok(!s.nbd && !s.encrypted, "accessType and encrypted");
	is_str(s.mapper, "", "no mapper: ceph-csi has written it");

	is_int(stash_write(dir, &s, &err), 0, "it is written");
	ok(str_starts(read_file(),
	       "{\"Version\":3,\"pool\":\"replicapool\","
	       "\"radosNamespace\":\"ns1\",\"image\":\"csi-vol-1\","
	       "\"unmapOptions\":\"force\",\"accessType\":false,"
	       "\"encrypted\":false,\"device\":\"\","
	       "\"logDir\":\"/var/log/ceph\",\"logFileStrategy\":\"remove\","
	       "\"rbd-csi\":{"),
	    "with ceph-csi's keys in ceph-csi's order");
	ok(stat(path, &st) == 0 && (st.st_mode & 07777) == 0600, "mode 0600");

	s.nbd = s.encrypted = true;
	(void)!str_put(s.mapper, sizeof(s.mapper), "userspace");
	(void)!str_put(s.single_target, sizeof(s.single_target), "/a/\"b\"");
	is_int(stash_write(dir, &s, &err), 0, "all fields are written");
	is_int(stash_read(dir, &again, &err), 0, "and read");
	ok(memcmp(&s, &again, sizeof(s)) == 0, "and are the same");

	write_file("{\"Version\":3,\"po");
	is_int(stash_read(dir, &s, &err), -ENOENT, "cut off: as if missing");
	write_file("");
	is_int(stash_read(dir, &s, &err), -ENOENT, "empty: as if missing");
	write_file("[]");
	is_int(stash_read(dir, &s, &err), -ENOENT, "not an object: missing");
	is_int(stash_remove(dir, &err), 0, "removed");
	is_int(stash_remove(dir, &err), 0, "removed again");
}

/* ---- command lines -------------------------------------------------------- */

static const char *
joined(const char **argv)
{
	static char text[512];

	text[0] = '\0';
	for (size_t i = 0; argv != NULL && argv[i] != NULL; i++) {
		size_t used = strlen(text);

		(void)!str_put(text + used, sizeof(text) - used, "%s%s",
		    i > 0 ? "|" : "", argv[i]);
	}
	return text;
}

static void
test_mkfs(void)
{
	static const struct {
		const char *fstype, *options;
		enum filesystem_mkfs how;
		bool force;
		const char *want;
	} table[] = {
		{ "ext4", NULL, FILESYSTEM_MKFS_FRESH, false,
		    "mkfs.ext4|-m0|-Enodiscard,assume_storage_prezeroed=1|/d" },
		{ "ext4", "", FILESYSTEM_MKFS_UNKNOWN, false,
		    "mkfs.ext4|-m0|-Enodiscard,lazy_itable_init=1,"
		    "lazy_journal_init=1|/d" },
		{ "ext4", "-b 4096  -I 256", FILESYSTEM_MKFS_FRESH, false,
		    "mkfs.ext4|-b|4096|-I|256|/d" },
		{ "ext3", NULL, FILESYSTEM_MKFS_FRESH, true,
		    "mkfs.ext3|-F|-m0|-Enodiscard,assume_storage_prezeroed=1|"
		    "/d" },
		{ "xfs", NULL, FILESYSTEM_MKFS_FRESH, false,
		    "mkfs.xfs|-K|-m|reflink=0|/d" },
		{ "xfs", "-i size=512", FILESYSTEM_MKFS_FRESH, true,
		    "mkfs.xfs|-f|-i|size=512|-m|reflink=0|/d" },
		{ "xfs", "-m reflink=1", FILESYSTEM_MKFS_FRESH, false,
		    "mkfs.xfs|-m|reflink=1|/d" },
		{ "btrfs", NULL, FILESYSTEM_MKFS_UNKNOWN, false,
		    "mkfs.btrfs|-K|/d" },
	};
	struct arena *arena = arena_new(1 << 20);
	struct err err = ERR_INIT;
	char many[200];

	for (size_t i = 0; i < countof(table); i++)
		is_str(joined(filesystem_mkfs_argv(arena, table[i].fstype,
			   table[i].options, "/d", table[i].how, table[i].force,
			   &err)),
		    table[i].want, "mkfs %s %s", table[i].fstype,
		    table[i].options != NULL ? table[i].options : "");
	ok(filesystem_mkfs_argv(arena, "zfs", NULL, "/d", FILESYSTEM_MKFS_FRESH,
	       false, &err) == NULL &&
		err.code == ERR_INVALID_ARGUMENT,
	    "an unknown kind is refused");
	for (size_t i = 0; i < sizeof(many) - 1; i++)
		many[i] = i % 2 == 0 ? 'x' : ' ';
	many[sizeof(many) - 1] = '\0';
	ok(filesystem_mkfs_argv(arena, "ext4", many, "/d",
	       FILESYSTEM_MKFS_FRESH, false, &err) == NULL,
	    "too many options");
	ok(filesystem_mkfs_is_old("ext4", 1, "\nBad option(s) specified: x"),
	    "an old mkfs.ext4 is recognised");
	ok(!filesystem_mkfs_is_old("ext4", 1, "no space"), "only by its text");
	is_str(joined(filesystem_fsck_argv(arena, "ext2", "/d")),
	    "fsck.ext4|-p|/d", "fsck of the ext family");
	ok(filesystem_fsck_argv(arena, "xfs", "/d") == NULL,
	    "none for xfs: mount repairs it");
	ok(filesystem_is_same("ext4", "ext2") &&
		filesystem_is_same("xfs", "xfs") &&
		!filesystem_is_same("ext4", "xfs"),
	    "what serves a request for a kind");
	is_int(filesystem_fsck_judge(1, "", "/d", &err), 0, "fsck: repaired");
	ok(filesystem_fsck_judge(4, "bad\nx", "/d", &err) < 0 &&
		err.code == ERR_FAILED_PRECONDITION,
	    "fsck: errors left");
	ok(filesystem_fsck_judge(8, "", "/d", &err) < 0 &&
		err.code == ERR_INTERNAL,
	    "fsck: failed");
	arena_free(arena);
}

/* ---- superblocks and flags ------------------------------------------------ */

static struct filesystem_probe
flags_of(const char *fstype, size_t at, unsigned char value)
{
	unsigned char head[PROBE_HEAD_BYTES] = { 0 };
	struct filesystem_probe probe = { 0 };

	head[1024 + 0x3a] = 1; /* ext: clean */
	head[1024 + 0x5c] = 4; /* ext: has a journal */
	head[101] = 5;         /* xfs: version */
	head[at] = value;
	(void)!str_put(probe.fstype, sizeof(probe.fstype), "%s", fstype);
	probe_superblock(head, sizeof(head), &probe);
	return probe;
}

static void
test_superblock(void)
{
	ok(!flags_of("ext4", 0, 0).errors, "ext4: clean");
	ok(!flags_of("ext4", 1024 + 0x3a, 0).errors,
	    "ext4: not unmounted, the journal repairs it");
	ok(flags_of("ext4", 1024 + 0x3a, 3).errors, "ext4: errors recorded");
	ok(!flags_of("ext2", 1024 + 0x5c, 0).errors, "ext2: clean");
	ok(!flags_of("xfs", 0, 0).errors, "xfs: clean");
	ok(flags_of("xfs", 219, 0x10).errors, "xfs: needs repair");
	ok(flags_of("xfs", 126, 1).unfinished, "xfs: mkfs was interrupted");
	ok(!flags_of("btrfs", 126, 1).unfinished, "btrfs: no such flag");
	ok(flags_of("ext3", 0, 0).young, "ext: nobody has mounted it");
	ok(!flags_of("ext4", 1024 + 0x2c, 1).young, "ext: a time of mounting");
	ok(!flags_of("ext4", 1024 + 0x34, 1).young, "ext: a count of mounts");
	ok(flags_of("xfs", 0, 0).young, "xfs: nobody has mounted it");
	ok(!flags_of("xfs", 247, 1).young, "xfs: the kernel has written");
	ok(flags_of("btrfs", 0, 0).young, "btrfs: nobody has mounted it");
	ok(!flags_of("btrfs", 65536 + 563, 7).young, "btrfs: somebody has");
	ok(!flags_of("btrfs", 0, 0).unclean &&
		flags_of("btrfs", 65536 + 96, 7).unclean,
	    "btrfs: it has a log to be replayed");
	ok(!flags_of("vfat", 0, 0).young, "another one is never told young");
}

/* What a tool prints, and what of it is the reason. */
static void
test_reasons(void)
{
	static const struct {
		const char *output, *reason;
	} row[] = {
		{ "mke2fs 1.47.0 (5-Feb-2023)\n\nBad option(s) specified: what\n"
		  "\nExtended options are separated by commas, and may take an "
		  "argument which\n\tis set off by an equals ('=') sign.\n"
		  "\nValid extended options are:\n\tstride=<chunk in blocks>\n",
		    "Bad option(s) specified: what; Extended options are "
		    "separated by commas, and may take an argument which; "
		    "Valid extended options are:" },
		{ "mke2fs 1.47.0 (5-Feb-2023)\nInvalid filesystem option set: "
		  "nosuch\n",
		    "Invalid filesystem option set: nosuch" },
		{ "mkfs.ext4: bad num inodes - what\n",
		    "mkfs.ext4: bad num inodes - what" },
		{ "mke2fs 1.47.0 (5-Feb-2023)\nCreating filesystem with 262144 4k "
		  "blocks and 65536 inodes\nFilesystem UUID: 4e2cb0c8-1111\n"
		  "Superblock backups stored on blocks: \n\t32768, 98304\n\n"
		  "Allocating group tables: 0/8\b\b\b   \b\b\bdone\n"
		  "mkfs.ext4: Input/output error while writing out and closing "
		  "file system\n",
		    "Creating filesystem with 262144 4k blocks and 65536 inodes; "
		    "mkfs.ext4: Input/output error while writing out and "
		    "closing file system" },
		{ "mkfs.xfs: invalid option -- 'Z'\nunknown option -Z \nUsage: "
		  "mkfs.xfs\n/* blocksize */\t\t[-b size=num]\n",
		    "mkfs.xfs: invalid option -- 'Z'; unknown option -Z " },
		{ "ERROR: '/dev/rbd0' is too small to make a usable filesystem\n"
		  "btrfs-progs v6.2\nSee http://btrfs.wiki.kernel.org for more "
		  "information.\n\n",
		    "ERROR: '/dev/rbd0' is too small to make a usable filesystem" },
		{ "\033[31mred\r\n", " [31mred " },
		{ "", "it says nothing" },
		{ "mke2fs 1.47.0 (5-Feb-2023)\n", "it says nothing" },
	};
	char reason[FILESYSTEM_REASON_SIZE], longest[600];

	for (size_t i = 0; i < countof(row); i++) {
		filesystem_reason(row[i].output, reason);
		is_str(reason, row[i].reason, "reason %zu", i);
	}
	for (size_t len = 100; len < sizeof(longest); len++) {
		memset(longest, 'x', len);
		longest[len] = '\0';
		longest[len / 2] = '\n';
		filesystem_reason(longest, reason);
		if (strlen(reason) < 50 ||
		    strlen(reason) >= FILESYSTEM_REASON_SIZE)
			ok(false, "%zu bytes: a reason of %zu", len,
			    strlen(reason));
	}
}

static void
test_mount_flags(void)
{
	static const char *const good[] = { "", "noatime", "discard,nosuid",
		"context=\"system_u:object_r:container_file_t:s0:c1,c2\"",
		"data=ordered,errors=remount-ro" };
	static const char *const bad[] = { "bind", "ro,remount", "rbind",
		"loop", "noatime,shared", "offset=512", "uhelper=x",
		"X-mount.subdir=a", "context=\"a,b", "data=\"x\",loop" };
	static const struct {
		const char *flags;
		bool is;
	} modes[] = { { "", false }, { "ro", true }, { "ro,rw", false },
		{ "rw,noatime,ro", true }, { "ro=recursive", true },
		{ "ro=vfs,rw", false }, { "context=\"a,ro\"", false },
		{ "errors=remount-ro", false }, { "root,rows", false } };
	struct err err = ERR_INIT;

	for (size_t i = 0; i < countof(good); i++)
		is_int(rules_mount_flags("f", good[i], &err), 0, "taken: %s",
		    good[i]);
	for (size_t i = 0; i < countof(bad); i++)
		ok(rules_mount_flags("f", bad[i], &err) < 0, "refused: %s",
		    bad[i]);
	for (size_t i = 0; i < countof(modes); i++)
		is_int(mount_options_read_only(modes[i].flags), modes[i].is,
		    "\"%s\" is %s", modes[i].flags,
		    modes[i].is ? "read-only" : "writable");
}

int
main(void)
{
	if (mkdtemp(dir) == NULL ||
	    str_put(path, sizeof(path), "%s/image-meta.json", dir) < 0)
		return 1;
	test_stash();
	test_mkfs();
	test_superblock();
	test_reasons();
	test_mount_flags();
	(void)rmdir(dir);
	return tap_end();
}
