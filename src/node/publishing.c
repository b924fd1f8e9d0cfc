/*
 * publishing.c - see publishing.h. Everything here runs in offload children.
 */
#include "node/publishing.h"
#include "node/mount.h"
#include "node/staging.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

/* Where the staged volume is, and what was found there. */
struct source {
	char *path; /* <staging>/<volume_id> */
	int fd;     /* O_PATH of what was looked at */
	struct mount_point point;
	struct device device;
	struct stash stash;
	bool had_stash;
};

static void
source_fini(struct source *source)
{
	if (source->fd >= 0)
		(void)close(source->fd);
	free(source->path);
}

static bool
differs(const char *asked, const char *found)
{
	return !str_is_empty(asked) && !str_eq(asked, found);
}

/* Is a device this image? By the stash, and by the request too; as verify. */
static int
prove_image(const struct publishing_args *args, const struct source *source,
    dev_t devno, struct device *dev, struct err *err)
{
	struct device_spec spec = args->spec;
	const struct mapper *mapper;
	int rc = -ENODEV;

	if (source->had_stash) {
		if (source->stash.encrypted ||
		    differs(spec.pool, source->stash.pool) ||
		    differs(spec.image, source->stash.image))
			return err_set(err, ERR_FAILED_PRECONDITION,
			    "image %s/%s is staged at %s, not volume %s",
			    source->stash.pool, source->stash.image,
			    args->staging, spec.volume_id);
		staging_spec_of(&source->stash, &spec);
		mapper = staging_mapper_of(&source->stash, err);
		return mapper == NULL ? -EBUSY
				      : mapper->verify(&spec, devno, dev, err);
	}
	for (size_t i = 0;
	     rc == -ENODEV && (mapper = device_mapper_at(i)) != NULL; i++)
		rc = mapper->verify(&spec, devno, dev, err);
	return rc;
}

static int
check_source(
    const struct publishing_args *args, struct source *source, struct err *err)
{
	const struct mount_point *point = &source->point;
	int rc = stash_read(args->staging, &source->stash, err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	source->had_stash = rc == 0;
	rc = mount_look(source->path, &source->point, &source->fd, err);
	if (rc < 0)
		return rc;
	if (!point->mounted)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "volume %s is not "
		    "staged: %s is not a mount point",
		    args->spec.volume_id, source->path);
	if (!point->dead)
		rc = prove_image(
		    args, source, point->source, &source->device, err);
	if (point->dead || rc == -ESTALE)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "the device below the staging path is gone, stage it "
		    "again: volume %s at %s",
		    args->spec.volume_id, source->path);
	if (S_ISBLK(point->mode) != args->block)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "volume %s is "
		    "staged as a %s",
		    args->spec.volume_id,
		    args->block ? "file system" : "block device");
	if (rc < 0) {
		err_prefix(err, "volume %s is not what is mounted at %s",
		    args->spec.volume_id, source->path);
		return rc;
	}
	if (!args->block && point->read_only && !args->read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "volume %s is "
		    "staged read-only",
		    args->spec.volume_id);
	return 0;
}

/*
 * What is at the target already. *done: it is published as asked. A mount
 * whose device is gone is taken away.
 */
static int
check_target(const struct publishing_args *args, const struct source *source,
    bool *done, struct err *err)
{
	struct mount_point at;
	struct device dev;
	struct err ignored = ERR_INIT;
	int rc = mount_look(args->target, &at, NULL, err);

	*done = false;
	if (rc < 0 || !at.mounted)
		return rc;
	if (at.dead ||
	    (at.source != source->point.source &&
		prove_image(args, source, at.source, &dev, &ignored) ==
		    -ESTALE))
		return mount_umount(args->target, true, err);
	if (at.source != source->point.source ||
	    S_ISBLK(at.mode) != args->block)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s is a mount of something else than volume %s",
		    args->target, args->spec.volume_id);
	if (at.read_only != args->read_only)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s is "
		    "published at %s %s",
		    args->spec.volume_id, args->target,
		    at.read_only ? "read-only" : "writable");
	*done = true;
	return 0;
}

/*
 * SINGLE_NODE_SINGLE_WRITER: the stash names the one target. It counts as
 * long as the volume is mounted there.
 */
static int
claim_single(
    const struct publishing_args *args, struct source *source, struct err *err)
{
	char *noted = source->stash.single_target;
	struct mount_point other;
	int rc;

	if (!args->single_writer || !source->had_stash ||
	    str_eq(noted, args->target))
		return 0;
	if (noted[0] != '\0') {
		rc = mount_look(noted, &other, NULL, err);
		if (rc < 0)
			return rc;
		if (other.mounted && other.source == source->point.source)
			return err_set(err, ERR_FAILED_PRECONDITION,
			    "volume %s has a single writer and is published "
			    "at %s",
			    args->spec.volume_id, noted);
	}
	if (str_put(noted, sizeof(source->stash.single_target), "%s",
		args->target) < 0)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "target_path: too long");
	return stash_write(args->staging, &source->stash, err);
}

/* The target's parents, as mkdir -p does. */
static int
make_parents(const char *path, struct err *err)
{
	auto_free char *dir = str_dup(path);

	for (char *slash = dir + 1; (slash = strchr(slash, '/')) != NULL;
	     slash++) {
		*slash = '\0';
		if (mkdir(dir, 0750) < 0 && errno != EEXIST)
			return err_set_rc(
			    err, -errno, "make directory %s", dir);
		*slash = '/';
	}
	return 0;
}

static int
bind_target(const struct publishing_args *args, const struct source *source,
    struct err *err)
{
	struct err ignored = ERR_INIT;
	int rc = make_parents(args->target, err);

	if (rc == 0)
		rc = staging_make_point(args->target, args->block, 0750, err);
	if (rc < 0)
		return rc;
	rc = mount_bind(source->fd, args->block ? NULL : source->device.path,
	    args->target, args->options, args->read_only, err);
	if (rc < 0)
		(void)!staging_remove_point(args->target, &ignored);
	return rc;
}

int
publishing_publish(const void *p, void *none, struct err *err)
{
	const struct publishing_args *args = p;
	struct source source = { .fd = -1 };
	auto_close int lock = -1;
	bool done = false;
	int rc = staging_lock(args->staging, args->single_writer, &lock, err);

	(void)none;
	if (rc < 0)
		return rc;
	if (lock < 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "volume %s is not "
		    "staged: %s does not exist",
		    args->spec.volume_id, args->staging);
	source.path = str_fmt("%s/%s", args->staging, args->spec.volume_id);
	rc = check_source(args, &source, err);
	if (rc == 0)
		rc = check_target(args, &source, &done, err);
	if (rc == 0 && !done)
		rc = claim_single(args, &source, err);
	if (rc == 0 && !done)
		rc = bind_target(args, &source, err);
	source_fini(&source);
	return rc;
}

int
publishing_unpublish(const void *p, void *none, struct err *err)
{
	const char *target = p;
	struct mount_point point;
	int rc = mount_look(target, &point, NULL, err);

	(void)none;
	if (rc == 0 && point.mounted)
		rc = mount_umount(target, point.dead, err);
	if (rc == 0 && point.exists)
		rc = staging_remove_point(target, err);
	return rc;
}

static int
stats_of_filesystem(
    const char *path, struct publishing_stats *out, struct err *err)
{
	struct statvfs fs;
	uint64_t unit;

	if (statvfs(path, &fs) < 0)
		return err_set(err, ERR_INTERNAL, "volume at %s is dead: %s",
		    path, strerror(errno));
	unit = fs.f_frsize;
	out->total_bytes = fs.f_blocks * unit;
	out->available_bytes = fs.f_bavail * unit;
	out->used_bytes = (fs.f_blocks - fs.f_bfree) * unit;
	out->inodes = fs.f_files;
	out->free_inodes = fs.f_ffree;
	out->used_inodes = fs.f_files - fs.f_ffree;
	return 0;
}

int
publishing_stats(const void *p, void *result, struct err *err)
{
	const char *path = p;
	struct publishing_stats *out = result;
	struct mount_point point;
	bool read_only;
	int rc = mount_look(path, &point, NULL, err);

	if (rc < 0)
		return rc;
	if (point.dead)
		return err_set(err, ERR_INTERNAL,
		    "volume at %s is dead: its "
		    "device does not answer",
		    path);
	if (!point.exists || !point.mounted)
		return err_set(err, ERR_NOT_FOUND, "no volume at %s: %s", path,
		    point.exists ? "not a mount point" : "no such path");
	if (S_ISDIR(point.mode))
		return stats_of_filesystem(path, out, err);
	out->block = true;
	if (!S_ISBLK(point.mode))
		return err_set(err, ERR_NOT_FOUND,
		    "no volume at %s: neither "
		    "a directory nor a block device",
		    path);
	rc = device_sysfs_size(point.source, &out->total_bytes, &read_only);
	if (rc < 0)
		return err_set(err, ERR_INTERNAL,
		    "volume at %s is dead: its "
		    "device is gone",
		    path);
	return 0;
}
