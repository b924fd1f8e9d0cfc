/*
 * filesystem.c - ext3/4, xfs, btrfs: what is on a device, by libblkid's
 * low-level probing and the few superblock fields that it does not tell; how
 * each is made, checked and grown. Defaults of mkfs are ceph-csi's, so that
 * volumes of both drivers are alike; btrfs is told not to discard either,
 * because a fresh image holds nothing to discard.
 */
#include "node/filesystem.h"

#include "base/rules.h"

#include <blkid.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/btrfs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* ---- probing -------------------------------------------------------------- */

/* ext2/3/4, from its documented on-disk format; little endian. */
#define EXT_SUPER 1024
#define EXT_MOUNT_TIME (EXT_SUPER + 0x2c)
#define EXT_MOUNT_COUNT (EXT_SUPER + 0x34)
#define EXT_STATE (EXT_SUPER + 0x3a)
#define EXT_STATE_CLEAN 0x1
#define EXT_STATE_ERRORS 0x2
#define EXT_COMPAT (EXT_SUPER + 0x5c)
#define EXT_COMPAT_JOURNAL 0x4

/* xfs, from its documented on-disk format; big endian, so no field() is. */
#define XFS_VERSION 100
#define XFS_IN_PROGRESS 126
#define XFS_INCOMPAT 216
#define XFS_INCOMPAT_NEEDSREPAIR 0x10 /* of its last byte */
#define XFS_LSN 240                   /* written by the kernel only */

/* btrfs, from its documented on-disk format; little endian. */
#define BTRFS_SUPER (64 << 10)
#define BTRFS_LOG_ROOT (BTRFS_SUPER + 0x60)   /* 0: nothing to replay */
#define BTRFS_UUID_TREE (BTRFS_SUPER + 0x233) /* set by the first mount */

/*
 * Superblocks are here. As much as libblkid reads, 10 kinds of them in pieces
 * of a page: at once it is one request or two to the cluster instead of 20.
 */
#define START_BYTES 262144
#define END_BYTES 524288
#define PIECE_BYTES 32768

/* A number of a superblock, of `bytes` bytes, little endian. */
static uint64_t
field(const unsigned char *at, int bytes)
{
	uint64_t v = 0;

	while (bytes-- > 0)
		v = v << 8 | at[bytes];
	return v;
}

void
probe_superblock(
    const unsigned char *head, size_t len, struct filesystem_probe *probe)
{
	if (len < PROBE_HEAD_BYTES)
		return;
	if (str_starts(probe->fstype, "ext")) {
		uint64_t state = field(head + EXT_STATE, 2);
		bool journal = (field(head + EXT_COMPAT, 4) &
				   EXT_COMPAT_JOURNAL) != 0;

		probe->young = field(head + EXT_MOUNT_TIME, 4) == 0 &&
		    field(head + EXT_MOUNT_COUNT, 2) == 0;
		/* Without a journal there is nothing for mount to replay. */
		if ((state & EXT_STATE_ERRORS) != 0 ||
		    (!journal && (state & EXT_STATE_CLEAN) == 0))
			probe->errors = true;
	} else if (str_eq(probe->fstype, "xfs")) {
		unsigned version = head[XFS_VERSION + 1] & 0xf;

		probe->unfinished = head[XFS_IN_PROGRESS] != 0;
		/* Older versions have no such field: always young. */
		probe->young = version < 5 || field(head + XFS_LSN, 8) == 0;
		if (version == 5 &&
		    (head[XFS_INCOMPAT + 3] & XFS_INCOMPAT_NEEDSREPAIR) != 0)
			probe->errors = true;
	} else if (str_eq(probe->fstype, "btrfs")) {
		probe->young = field(head + BTRFS_UUID_TREE, 8) == 0;
		probe->unclean = field(head + BTRFS_LOG_ROOT, 8) != 0;
	}
}

static int
read_range(int fd, off_t at, off_t end)
{
	char piece[PIECE_BYTES];
	ssize_t n;

	for (; at < end; at += n) {
		n = pread(fd, piece,
		    (size_t)(end - at < PIECE_BYTES ? end - at : PIECE_BYTES),
		    at);
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
	}
	return 0;
}

/*
 * Reads the start and the end of the device, both at once into the page cache:
 * libblkid takes what it cannot read for nothing, and nothing would be
 * formatted. In small pieces, as pages that a child has not had yet cost more
 * than to read them once more.
 */
static int
read_edges(int fd, unsigned char *head, const char *path, struct err *err)
{
	off_t size = lseek(fd, 0, SEEK_END);
	off_t start = size < START_BYTES ? size : START_BYTES;
	off_t tail = size < END_BYTES ? size : END_BYTES;
	int rc;

	if (size < 0)
		return err_set_rc(err, -errno, "size of %s", path);
	if (size < PROBE_HEAD_BYTES)
		return err_refuse(err,
		    "%s has %lld bytes, too few for a file system", path,
		    (long long)size);
	(void)posix_fadvise(fd, 0, start, POSIX_FADV_WILLNEED);
	(void)posix_fadvise(fd, size - tail, tail, POSIX_FADV_WILLNEED);
	rc = read_range(fd, 0, start);
	if (rc == 0 && pread(fd, head, PROBE_HEAD_BYTES, 0) != PROBE_HEAD_BYTES)
		rc = -EIO;
	if (rc < 0)
		return err_set_rc(err, rc, "read the start of %s", path);
	rc = read_range(fd, size - tail, size);
	return rc < 0 ? err_set_rc(err, rc, "read the end of %s", path) : 0;
}

static int
probe_fd(
    int fd, const char *path, struct filesystem_probe *probe, struct err *err)
{
	blkid_probe pr = blkid_new_probe();
	const char *type;
	int rc = -ENOMEM;

	if (pr == NULL || blkid_probe_set_device(pr, fd, 0, 0) < 0 ||
	    blkid_probe_enable_superblocks(pr, 1) < 0 ||
	    blkid_probe_set_superblocks_flags(
		pr, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_BADCSUM) < 0 ||
	    blkid_probe_enable_partitions(pr, 1) < 0) {
		blkid_free_probe(pr);
		return err_set(err, ERR_INTERNAL, "prepare to probe %s", path);
	}
	errno = 0;
	rc = blkid_do_safeprobe(pr); /* 1: nothing is there */
	if (rc == -2)
		rc = err_refuse(
		    err, "%s holds more than one kind of data", path);
	else if (rc < 0)
		rc = err_set_rc(
		    err, errno != 0 ? -errno : -EIO, "probe %s", path);
	if (rc == 0) {
		if (blkid_probe_lookup_value(pr, "TYPE", &type, NULL) == 0 &&
		    str_put(probe->fstype, sizeof(probe->fstype), "%s", type) <
			0)
			rc = err_refuse(err,
			    "%s holds a file system of unknown kind %s", path,
			    type);
		probe->partitioned = blkid_probe_has_value(pr, "PTTYPE") != 0;
		probe->errors = blkid_probe_has_value(pr, "SBBADCSUM") != 0;
	}
	blkid_free_probe(pr);
	return rc < 0 ? rc : 0;
}

int
probe_device(const char *path, struct filesystem_probe *probe, struct err *err)
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

/* ---- making and checking -------------------------------------------------- */

/* mkfs, what is added to its options, and those. */
#define WORDS_MAX (RULES_MKFS_OPTIONS_MAX + 8)

static const struct filesystem_kind {
	const char *fstype, *mkfs;
	const char *fresh, *unknown; /* default options */
	const char *extra;           /* always, unless options name `unless` */
	const char *unless;
	const char *force;
	const char *fsck;
} kinds[] = {
	{ "ext4", "mkfs.ext4", "-m0 -Enodiscard,assume_storage_prezeroed=1",
	    "-m0 -Enodiscard,lazy_itable_init=1,lazy_journal_init=1", NULL,
	    NULL, "-F", "fsck.ext4" },
	{ "ext3", "mkfs.ext3", "-m0 -Enodiscard,assume_storage_prezeroed=1",
	    "-m0 -Enodiscard,lazy_itable_init=1,lazy_journal_init=1", NULL,
	    NULL, "-F", "fsck.ext3" },
	{ "xfs", "mkfs.xfs", "-K", "-K", "-m reflink=0", "reflink=", "-f",
	    NULL },
	{ "btrfs", "mkfs.btrfs", "-K", "-K", NULL, NULL, "-f", NULL },
};

static const struct filesystem_kind *
kind_of(const char *fstype)
{
	for (size_t i = 0; i < countof(kinds); i++)
		if (str_eq(kinds[i].fstype, fstype))
			return &kinds[i];
	return NULL;
}

/* Linux serves the whole ext family by one driver, and mkfs options blur it. */
bool
filesystem_is_same(const char *wanted, const char *found)
{
	if (str_starts(wanted, "ext") && str_starts(found, "ext"))
		return true;
	return str_eq(wanted, found);
}

const char **
filesystem_mkfs_argv(struct arena *arena, const char *fstype,
    const char *options, const char *device, enum filesystem_mkfs how,
    bool force, struct err *err)
{
	const struct filesystem_kind *kind = kind_of(fstype);
	const char **argv, *words;
	size_t argc = 0, len;
	bool extra;

	if (kind == NULL) {
		(void)err_set(err, ERR_INVALID_ARGUMENT,
		    "file system %s is not supported", fstype);
		return NULL;
	}
	if (rules_mkfs_options("mkfsOptions", options, err) < 0)
		return NULL;
	if (str_is_empty(options))
		options = how == FILESYSTEM_MKFS_FRESH ? kind->fresh
						       : kind->unknown;
	extra = kind->extra != NULL && strstr(options, kind->unless) == NULL;
	words = arena_fmt(arena, "%s %s %s %s", kind->mkfs,
	    force ? kind->force : "", options, extra ? kind->extra : "");
	argv = arena_new_bytes(arena, (WORDS_MAX + 2) * sizeof(*argv));
	for (; *words != '\0'; words += len + (words[len] == ' ')) {
		len = strcspn(words, " ");
		if (len > 0 && argc < WORDS_MAX)
			argv[argc++] = arena_fmt(
			    arena, "%.*s", (int)len, words);
		else if (len > 0) {
			(void)err_set_rc(err, -E2BIG, "mkfs of %s", fstype);
			return NULL;
		}
	}
	argv[argc++] = arena_strdup(arena, device);
	return argv;
}

bool
filesystem_mkfs_is_old(const char *fstype, int status, const char *output)
{
	const struct filesystem_kind *kind = kind_of(fstype);

	return kind != NULL && status != 0 &&
	    strcmp(kind->fresh, kind->unknown) != 0 &&
	    strstr(output, "Bad option(s) specified") != NULL;
}

/* Lines that tell which version it is, or what it can do. */
static bool
is_banner(const char *line, size_t len)
{
	static const char *const banner[] = { "mke2fs 1.", "e2fsck 1.",
		"btrfs-progs v", "See http", " ", "\t" };

	if (len == 0)
		return true;
	for (size_t i = 0; i < countof(banner); i++)
		if (str_starts(line, banner[i]))
			return true;
	return false;
}

/*
 * What a tool says first is wrong with its arguments, what it says last is
 * why it gave up: if not all of it fits, both are kept.
 */
void
filesystem_reason(const char *output, char reason[FILESYSTEM_REASON_SIZE])
{
	const int half = FILESYSTEM_REASON_SIZE / 2;
	auto_free char *all = str_dup("");
	const char *last = "";
	int first = 0, last_len = 0;

	while (*output != '\0' && !str_starts(output, "Usage:")) {
		int len = (int)strcspn(output, "\n");

		if (!is_banner(output, (size_t)len)) {
			char *more = str_fmt("%s%s%.*s", all,
			    *all != '\0' ? "; " : "", len, output);

			free(all);
			all = more;
			last = output;
			last_len = len < half ? len : half;
		}
		output += len + (output[len] == '\n');
	}
	if (strlen(all) < FILESYSTEM_REASON_SIZE - 2) {
		(void)!str_put(reason, FILESYSTEM_REASON_SIZE, "%s",
		    *all != '\0' ? all : "it says nothing");
	} else {
		/* Whole lines of the start, and the last one. */
		for (int i = 0; i + last_len + 4 < FILESYSTEM_REASON_SIZE; i++)
			if (all[i] == ';' && all[i + 1] == ' ')
				first = i;
		(void)!str_put(reason, FILESYSTEM_REASON_SIZE, "%.*s%s%.*s",
		    first, all, first > 0 ? "; " : "", last_len, last);
	}
	for (char *p = reason; *p != '\0'; p++)
		if ((unsigned char)*p < ' ')
			*p = ' ';
}

const char **
filesystem_fsck_argv(
    struct arena *arena, const char *fstype, const char *device)
{
	const struct filesystem_kind *kind = kind_of(
	    str_starts(fstype, "ext") ? "ext4" : fstype);
	const char **argv;

	if (kind == NULL || kind->fsck == NULL)
		return NULL;
	argv = arena_new_bytes(arena, 4 * sizeof(*argv));
	argv[0] = arena_strdup(arena, kind->fsck);
	argv[1] = arena_strdup(arena, "-p");
	argv[2] = arena_strdup(arena, device);
	return argv;
}

/* fsck(8): bits of the exit status. */
int
filesystem_fsck_judge(
    int status, const char *output, const char *device, struct err *err)
{
	char reason[FILESYSTEM_REASON_SIZE];

	if (status <= 2) /* clean, repaired, repaired thoroughly */
		return 0;
	filesystem_reason(output, reason);
	if ((status & 4) != 0 && status < 128)
		return err_refuse(err,
		    "a person must repair the file system on %s with fsck: %s",
		    device, reason);
	return err_set(err, ERR_INTERNAL, "fsck of %s ended with %d: %s",
	    device, status, reason);
}

/* ---- growing --------------------------------------------------------------
 * Sizes are compared first: the ioctls of file systems that have their size
 * already may fail for reasons that then do not matter.
 */

#define EXT4_IOC_RESIZE_FS _IOW('f', 16, uint64_t)

static int
grow_ext(int fd, const char *device, uint64_t size_bytes, bool *grown)
{
	auto_close int dev = open(device, O_RDONLY | O_CLOEXEC);
	unsigned char super[1024];
	uint32_t log_block, low, high, incompat;
	uint64_t blocks, wanted;

	if (dev < 0)
		return -errno;
	if (pread(dev, super, sizeof(super), 1024) != sizeof(super))
		return -EIO;
	memcpy(&low, super + 0x4, 4);
	memcpy(&log_block, super + 0x18, 4);
	memcpy(&incompat, super + 0x60, 4);
	memcpy(&high, super + 0x150, 4);
	blocks = le32toh(low);
	if ((le32toh(incompat) & 0x80) != 0) /* 64bit */
		blocks |= (uint64_t)le32toh(high) << 32;
	if (le32toh(log_block) > 6)
		return -EBADMSG;
	wanted = size_bytes >> (10 + le32toh(log_block));
	if (wanted <= blocks)
		return 0;
	if (ioctl(fd, EXT4_IOC_RESIZE_FS, &wanted) < 0)
		return -errno;
	*grown = true;
	return 0;
}

/* From xfs_ioctl(2)'s manual pages; xfs has no header in linux/. */
struct xfs_geometry {
	uint32_t block_size, rt_extent_size, ag_blocks, ag_count, log_blocks;
	uint32_t sector_size, inode_size, imax_percent;
	uint64_t data_blocks, rt_blocks, rt_extents, log_start;
	unsigned char uuid[16];
	uint32_t stripe_unit, stripe_width;
	int32_t version;
	uint32_t flags, log_sector_size, rt_sector_size, dir_block_size;
};

struct xfs_grow {
	uint64_t blocks;
	uint32_t imax_percent;
};

#define XFS_IOC_FSGEOMETRY_V1 _IOR('X', 100, struct xfs_geometry)
#define XFS_IOC_FSGROWFSDATA _IOW('X', 110, struct xfs_grow)
#define XFS_MIN_AG_BLOCKS 64 /* a smaller last piece stays unused */

static int
grow_xfs(int fd, uint64_t size_bytes, bool *grown)
{
	struct xfs_geometry geo;
	struct xfs_grow grow;

	memset(&geo, 0, sizeof(geo));
	if (ioctl(fd, XFS_IOC_FSGEOMETRY_V1, &geo) < 0)
		return -errno;
	if (geo.block_size == 0)
		return -EBADMSG;
	grow = (struct xfs_grow){ .blocks = size_bytes / geo.block_size,
		.imax_percent = geo.imax_percent };
	if (grow.blocks < geo.data_blocks + XFS_MIN_AG_BLOCKS)
		return 0;
	if (ioctl(fd, XFS_IOC_FSGROWFSDATA, &grow) < 0)
		return -errno;
	*grown = true;
	return 0;
}

static int
grow_btrfs(int fd, uint64_t size_bytes, bool *grown)
{
	struct btrfs_ioctl_fs_info_args fs = { 0 };
	struct btrfs_ioctl_dev_info_args dev = { 0 };
	struct btrfs_ioctl_vol_args vol = { 0 };

	if (ioctl(fd, BTRFS_IOC_FS_INFO, &fs) < 0)
		return -errno;
	if (fs.num_devices != 1)
		return 0;
	dev.devid = fs.max_id;
	if (ioctl(fd, BTRFS_IOC_DEV_INFO, &dev) < 0)
		return -errno;
	if (size_bytes < dev.total_bytes + fs.sectorsize)
		return 0;
	if (str_put(vol.name, sizeof(vol.name), "%llu:max",
		(unsigned long long)fs.max_id) < 0 ||
	    ioctl(fd, BTRFS_IOC_RESIZE, &vol) < 0)
		return -errno;
	*grown = true;
	return 0;
}

int
filesystem_grow(const char *fstype, const char *target, const char *device,
    uint64_t size_bytes, bool *grown, struct err *err)
{
	auto_close int fd = open(target, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc = 0;

	*grown = false;
	if (fd < 0)
		return err_set_rc(err, -errno, "open %s", target);
	if (str_starts(fstype, "ext"))
		rc = grow_ext(fd, device, size_bytes, grown);
	else if (str_eq(fstype, "xfs"))
		rc = grow_xfs(fd, size_bytes, grown);
	else if (str_eq(fstype, "btrfs"))
		rc = grow_btrfs(fd, size_bytes, grown);
	if (rc == -EPERM)
		return err_refuse(err,
		    "grow the %s at %s: not permitted; it takes CAP_SYS_RESOURCE and a file system without errors",
		    fstype, target);
	if (rc < 0)
		return err_set_rc(err, rc, "grow the %s at %s to %llu bytes",
		    fstype, target, (unsigned long long)size_bytes);
	return 0;
}
