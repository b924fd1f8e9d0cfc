/*
 * probe.c - libblkid's low-level probing, and the few superblock fields that
 * it does not tell.
 */
#include "node/probe.h"

#include <blkid.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* ext2/3/4, from its documented on-disk format; little endian. */
#define EXT_SUPER 1024
#define EXT_MOUNT_TIME (EXT_SUPER + 0x2c)
#define EXT_MOUNT_COUNT (EXT_SUPER + 0x34)
#define EXT_STATE (EXT_SUPER + 0x3a)
#define EXT_STATE_CLEAN 0x1
#define EXT_STATE_ERRORS 0x2
#define EXT_COMPAT (EXT_SUPER + 0x5c)
#define EXT_COMPAT_JOURNAL 0x4

/* xfs, from its documented on-disk format; big endian. */
#define XFS_VERSION 100
#define XFS_IN_PROGRESS 126
#define XFS_INCOMPAT 216
#define XFS_INCOMPAT_NEEDSREPAIR 0x10
#define XFS_LSN 240 /* written by the kernel only */

/* btrfs, from its documented on-disk format; little endian. */
#define BTRFS_SUPER (64 << 10)
#define BTRFS_UUID_TREE (BTRFS_SUPER + 0x233) /* set by the first mount */

#define START_BYTES 262144 /* superblocks are here … */
#define END_BYTES 65536    /* … or here */

static uint16_t
le16(const unsigned char *at)
{
	uint16_t v;

	memcpy(&v, at, sizeof(v));
	return le16toh(v);
}

static uint32_t
le32(const unsigned char *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return le32toh(v);
}

static uint64_t
le64(const unsigned char *at)
{
	return le32(at) | (uint64_t)le32(at + 4) << 32;
}

static uint32_t
be32(const unsigned char *at)
{
	uint32_t v;

	memcpy(&v, at, sizeof(v));
	return be32toh(v);
}

static void
look_at_ext(const unsigned char *head, struct probe *probe)
{
	uint16_t state = le16(head + EXT_STATE);
	bool journal = (le32(head + EXT_COMPAT) & EXT_COMPAT_JOURNAL) != 0;

	if ((state & EXT_STATE_ERRORS) != 0)
		probe->errors = true;
	probe->young = le32(head + EXT_MOUNT_TIME) == 0 &&
	    le16(head + EXT_MOUNT_COUNT) == 0;
	/* Without a journal there is nothing that mount could replay. */
	if (!journal && (state & EXT_STATE_CLEAN) == 0)
		probe->errors = true;
}

static void
look_at_xfs(const unsigned char *head, struct probe *probe)
{
	unsigned version = head[XFS_VERSION + 1] & 0xf;

	if (head[XFS_IN_PROGRESS] != 0)
		probe->unfinished = true;
	/* Older versions have no such field: always young. */
	probe->young = version < 5 || le64(head + XFS_LSN) == 0;
	if (version == 5 &&
	    (be32(head + XFS_INCOMPAT) & XFS_INCOMPAT_NEEDSREPAIR) != 0)
		probe->errors = true;
}

void
probe_superblock(const unsigned char *head, size_t len, struct probe *probe)
{
	if (len < PROBE_HEAD_BYTES)
		return;
	if (str_starts(probe->fstype, "ext"))
		look_at_ext(head, probe);
	else if (str_eq(probe->fstype, "xfs"))
		look_at_xfs(head, probe);
	else if (str_eq(probe->fstype, "btrfs"))
		probe->young = le64(head + BTRFS_UUID_TREE) == 0;
}

/*
 * Reads the start and the end of the device: libblkid takes what it cannot
 * read for nothing, and nothing would be formatted.
 */
static int
read_edges(int fd, unsigned char *head, const char *path, struct err *err)
{
	auto_free unsigned char *edge = mem_new(START_BYTES);
	off_t size = lseek(fd, 0, SEEK_END);
	off_t tail = END_BYTES;
	ssize_t n;

	if (size < 0)
		return err_set_rc(err, -errno, "size of %s", path);
	if (size < PROBE_HEAD_BYTES)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s has %lld bytes, too few for a file system", path,
		    (long long)size);
	n = pread(fd, edge, START_BYTES, 0);
	if (n < PROBE_HEAD_BYTES)
		return err_set_rc(
		    err, n < 0 ? -errno : -EIO, "read the start of %s", path);
	memcpy(head, edge, PROBE_HEAD_BYTES);
	if (tail > size)
		tail = size;
	n = pread(fd, edge, (size_t)tail, size - tail);
	if (n != tail)
		return err_set_rc(
		    err, n < 0 ? -errno : -EIO, "read the end of %s", path);
	return 0;
}

static int
read_result(
    blkid_probe pr, const char *path, struct probe *probe, struct err *err)
{
	const char *value;

	if (blkid_probe_lookup_value(pr, "TYPE", &value, NULL) == 0 &&
	    str_put(probe->fstype, sizeof(probe->fstype), "%s", value) < 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s holds a file system of unknown kind %s", path, value);
	if (blkid_probe_has_value(pr, "PTTYPE"))
		probe->partitioned = true;
	if (blkid_probe_has_value(pr, "SBBADCSUM"))
		probe->errors = true;
	return 0;
}

static int
probe_fd(int fd, const char *path, struct probe *probe, struct err *err)
{
	blkid_probe pr = blkid_new_probe();
	int rc = 0;

	if (pr == NULL)
		return err_set_rc(err, -ENOMEM, "probe %s", path);
	if (blkid_probe_set_device(pr, fd, 0, 0) < 0 ||
	    blkid_probe_enable_superblocks(pr, 1) < 0 ||
	    blkid_probe_set_superblocks_flags(
		pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_BADCSUM) < 0 ||
	    blkid_probe_enable_partitions(pr, 1) < 0)
		rc = err_set(err, ERR_INTERNAL, "prepare to probe %s", path);
	if (rc == 0) {
		errno = 0;
		switch (blkid_do_safeprobe(pr)) {
		case 0:
			rc = read_result(pr, path, probe, err);
			break;
		case 1: /* nothing there */
			break;
		case -2:
			rc = err_set(err, ERR_FAILED_PRECONDITION,
			    "%s holds "
			    "more than one kind of data",
			    path);
			break;
		default:
			rc = err_set_rc(
			    err, errno != 0 ? -errno : -EIO, "probe %s", path);
			break;
		}
	}
	blkid_free_probe(pr);
	return rc;
}

int
probe_device(const char *path, struct probe *probe, struct err *err)
{
	auto_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	unsigned char head[PROBE_HEAD_BYTES] = { 0 };
	int rc;

	memset(probe, 0, sizeof(*probe));
	if (fd < 0)
		return err_set_rc(err, -errno, "open %s", path);
	rc = read_edges(fd, head, path, err);
	if (rc == 0)
		rc = probe_fd(fd, path, probe, err);
	if (rc == 0)
		probe_superblock(head, sizeof(head), probe);
	return rc;
}
