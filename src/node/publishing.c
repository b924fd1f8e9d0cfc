/*
 * publishing.c - see publishing.h. Everything here runs in offload children.
 */
#include "node/publishing.h"
#include "node/loopdev.h"
#include "node/mounted.h"
#include "node/path.h"
#include "node/staging.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>

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

/*
 * What is to be proven to be the image: by the stash, and by the request too,
 * but for the pool's name, which may have changed since the volume was
 * attached. *mapper NULL: any.
 */
static int
spec_of(const struct publishing_args *args, const struct source *source,
    struct device_spec *spec, const struct mapper **mapper, struct err *err)
{
	*spec = args->spec;
	*mapper = NULL;
	if (!source->had_stash)
		return 0;
	if (source->stash.encrypted ||
	    !stash_is_of(&source->stash, spec->volume_id) ||
	    (spec->pool_id <= 0 && differs(spec->pool, source->stash.pool)) ||
	    differs(spec->image, source->stash.image))
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s/%s is staged at %s, not volume %s",
		    source->stash.pool, source->stash.image, args->staging,
		    spec->volume_id);
	staging_spec_of(&source->stash, spec);
	*mapper = staging_mapper_of(&source->stash, err);
	return *mapper == NULL ? -EBUSY : 0;
}

static int
check_source(const struct publishing_args *args, struct source *source,
    struct publishing_result *res, struct err *err)
{
	const struct mount_point *point = &source->point;
	const struct mapper *mapper;
	struct device_spec spec;
	int rc = stash_read(args->staging, &source->stash, err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	source->had_stash = rc == 0;
	rc = mount_look(source->path, &source->point, &source->fd, err);
	if (rc < 0)
		return rc;
	if (!point->mounted) {
		res->lost = source->had_stash;
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "volume %s is not "
		    "staged: %s is not a mount point",
		    args->spec.volume_id, source->path);
	}
	rc = spec_of(args, source, &spec, &mapper, err);
	if (rc == 0)
		rc = mounted_identify(
		    &spec, mapper, point, &source->device, NULL, err);
	if (rc == -ESTALE) {
		res->lost = true;
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "the device below the staging path is gone, stage it "
		    "again: volume %s at %s",
		    args->spec.volume_id, source->path);
	}
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
	if (args->read_only)
		return 0;
	if (!args->block && mount_is_turned(source->path, point))
		return staging_refuse_turned(args->spec.volume_id, err);
	if (args->block ? source->device.read_only : point->read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "volume %s is staged read-only", args->spec.volume_id);
	return 0;
}

/* The device that a mount shows, below a read-only layer. */
static dev_t
device_below(dev_t shown)
{
	(void)loopdev_below(shown, &shown, NULL);
	return shown;
}

/*
 * What is at the target already. *done: it is published as asked. A mount
 * whose device is gone is taken away.
 */
static int
check_target(const struct publishing_args *args, const struct source *source,
    bool *done, struct err *err)
{
	const struct mapper *mapper;
	struct device_spec spec;
	struct mount_point at;
	struct device dev;
	int rc = mount_look(args->target, &at, NULL, err);

	*done = false;
	if (rc == 0 && S_ISLNK(at.mode))
		rc = err_set(err, ERR_FAILED_PRECONDITION,
		    "target_path: %s is a symbolic link", args->target);
	if (rc < 0 || !at.mounted)
		return rc;
	if (at.dead || device_below(at.source) != source->point.source) {
		rc = spec_of(args, source, &spec, &mapper, err);
		if (rc < 0)
			return rc;
		if (mounted_identify(&spec, mapper, &at, &dev, NULL, NULL) ==
		    -ESTALE)
			return mounted_take_away(
			    args->target, &spec, mapper, err);
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s is a mount of something else than volume %s",
		    args->target, args->spec.volume_id);
	}
	if (S_ISBLK(at.mode) != args->block)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "volume %s is published at %s as a %s",
		    args->spec.volume_id, args->target,
		    args->block ? "file system" : "block device");
	if (at.read_only != args->read_only)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s is published at %s %s", args->spec.volume_id,
		    args->target, at.read_only ? "read-only" : "writable");
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
		if (other.mounted &&
		    device_below(other.source) == source->point.source)
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

/*
 * A bind mount that is read-only does not keep anybody from writing to the
 * device whose node it shows. So a target that must not write gets a node of
 * its own, of a read-only loop device upon the volume's. Gives its number and
 * an O_PATH descriptor of its node.
 */
static int
make_layer(const struct source *source, int *fd, struct err *err)
{
	const char *below = source->device.path;
	struct mount_point point;
	char path[DEVICE_PATH_MAX];
	int id = loopdev_attach(below, true, err), rc;

	if (id < 0)
		return id;
	(void)snprintf(path, sizeof(path), "/dev/loop%d", id);
	rc = mount_look(path, &point, fd, err);
	if (rc == 0 && point.source != makedev(LOOP_MAJOR, (unsigned)id))
		rc = err_set(
		    err, ERR_INTERNAL, "%s is not loop device %d", path, id);
	if (rc == 0)
		return id;
	(void)!loopdev_clear(id, below, 0, NULL);
	return rc;
}

static int
bind_target(const struct publishing_args *args, const struct source *source,
    struct err *err)
{
	auto_close int fd = -1;
	int layer = -1, rc = path_make_parents(args->target, err);

	if (rc == 0)
		rc = path_make_point(args->target, args->block, 0750, err);
	if (rc == 0 && args->block && args->read_only &&
	    !source->device.read_only)
		rc = layer = make_layer(source, &fd, err);
	if (rc >= 0)
		rc = mount_bind(layer >= 0 ? fd : source->fd,
		    args->block ? NULL : source->device.path, args->target,
		    args->options, args->read_only, err);
	if (rc == 0)
		return 0;
	if (layer >= 0)
		(void)!loopdev_clear(layer, source->device.path, 0, NULL);
	(void)!path_remove_point(args->target, NULL);
	return rc;
}

static int
publish(const struct publishing_args *args, struct publishing_result *res,
    struct err *err)
{
	struct source source = { .fd = -1 };
	auto_close int lock = -1;
	bool done = false;
	int rc = staging_lock(args->staging, &lock, err);

	if (rc < 0)
		return rc;
	if (lock < 0)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "volume %s is not "
		    "staged: %s does not exist",
		    args->spec.volume_id, args->staging);
	source.path = str_fmt("%s/%s", args->staging, args->spec.volume_id);
	rc = check_source(args, &source, res, err);
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
publishing_publish(const void *p, void *result, struct err *err)
{
	struct publishing_args args = *(const struct publishing_args *)p;
	char staging[PATH_MAX], target[PATH_MAX];
	int rc = staging_resolve(
	    args.staging, args.spec.volume_id, staging, err);

	if (rc == 0)
		rc = path_resolve(args.target, target, err);
	args.staging = staging;
	args.target = target;
	return rc < 0 ? rc : publish(&args, result, err);
}

int
publishing_unpublish(const void *p, void *none, struct err *err)
{
	const struct unpublishing_args *args = p;
	const struct device_spec spec = { .volume_id = args->volume_id };
	char target[PATH_MAX];
	struct mount_point point = { .exists = false };
	int rc = path_resolve(args->target, target, err);

	(void)none;
	if (rc == 0)
		rc = mounted_take_away(target, &spec, NULL, err);
	if (rc == 0)
		rc = path_remove_point(target, err);
	if (rc == 0)
		rc = mount_look(target, &point, NULL, err);
	if (rc < 0)
		return rc;
	if (point.exists)
		return err_set(
		    err, ERR_ABORTED, "target_path: %s is there again", target);
	rc = mount_is_hidden(target, err);
	return rc > 0
	    ? err_set(err, ERR_FAILED_PRECONDITION,
		  "target_path: %s is mounted, but not to be reached", target)
	    : rc;
}

static int
say_dead(struct publishing_stats *out, const char *path, const char *why)
{
	*out = (struct publishing_stats){ .block = out->block };
	(void)snprintf(out->dead, sizeof(out->dead),
	    "the volume at %.90s is dead: %s", path, why);
	return 0;
}

static int
stats_of_filesystem(const char *path, struct publishing_stats *out)
{
	struct statvfs fs;
	uint64_t unit;

	if (statvfs(path, &fs) < 0)
		return say_dead(out, path, strerror(errno));
	unit = fs.f_frsize;
	out->total_bytes = fs.f_blocks * unit;
	out->available_bytes = fs.f_bavail * unit;
	out->used_bytes = (fs.f_blocks - fs.f_bfree) * unit;
	out->inodes = fs.f_files;
	out->free_inodes = fs.f_ffree;
	out->used_inodes = fs.f_files - fs.f_ffree;
	return 0;
}

/*
 * A file system answers from memory when its device is dead: the mapper knows
 * better. What no mapper knows is not judged.
 */
static bool
is_lost(const struct publishing_where *where, const struct mount_point *point)
{
	struct device_spec spec = { .volume_id = where->volume_id };
	struct stash stash;
	struct device dev;
	struct err ignored = ERR_INIT;

	if (!str_is_empty(where->staging) &&
	    stash_read(where->staging, &stash, &ignored) == 0)
		staging_spec_of(&stash, &spec);
	return mounted_identify(&spec, NULL, point, &dev, NULL, &ignored) ==
	    -ESTALE;
}

int
publishing_stats(const void *p, void *result, struct err *err)
{
	const struct publishing_where *where = p;
	struct publishing_stats *out = result;
	struct err why = ERR_INIT;
	struct mount_point point;
	char path[PATH_MAX];
	bool read_only;
	int rc = path_resolve(where->path, path, &why);

	if (rc < 0)
		return err_set(err, ERR_NOT_FOUND, "no volume at %s: %s",
		    where->path, why.text);
	rc = mount_look(path, &point, NULL, err);
	if (rc < 0)
		return rc;
	if (!point.exists || !point.mounted)
		return err_set(err, ERR_NOT_FOUND, "no volume at %s: %s", path,
		    point.exists ? "not a mount point" : "no such path");
	out->block = S_ISBLK(point.mode);
	if (point.dead)
		return say_dead(out, path, "its device does not answer");
	if (is_lost(where, &point))
		return say_dead(out, path, "nobody serves its device any more");
	if (S_ISDIR(point.mode))
		return stats_of_filesystem(path, out);
	if (!out->block)
		return err_set(err, ERR_NOT_FOUND,
		    "no volume at %s: neither "
		    "a directory nor a block device",
		    path);
	rc = device_sysfs_size(point.source, &out->total_bytes, &read_only);
	return rc < 0 ? say_dead(out, path, "its device is gone") : 0;
}
