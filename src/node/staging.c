/*
 * staging.c - see staging.h. Everything here runs in offload children.
 */
#include "node/staging.h"
#include "node/crypt.h"
#include "node/filesystem.h"
#include "node/mounted.h"
#include "node/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>

#define LOCK_TRIES 50
#define LOCK_WAIT_MS 100
#define BUSY_TRIES 100 /* 10 s */

/* ---- the staging directory ------------------------------------------------ */

int
staging_resolve(const char *staging, const char *volume_id, char out[PATH_MAX],
    struct err *err)
{
	auto_free char *target = str_fmt("%s/%s", staging, volume_id);
	int rc = path_resolve(target, out, err);

	if (rc == 0)
		*strrchr(out, '/') = '\0';
	return rc;
}

int
staging_lock(const char *staging, int *fd_out, struct err *err)
{
	const struct timespec pause = { .tv_nsec = LOCK_WAIT_MS * 1000000L };
	auto_close int fd = path_open(staging, O_RDONLY | O_DIRECTORY);

	*fd_out = -1;
	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_set_rc(err, fd, "open %s", staging);
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
			*fd_out = take_fd(&fd);
			return 0;
		}
		if (errno != EWOULDBLOCK)
			return err_set_rc(err, -errno, "lock %s", staging);
		(void)nanosleep(&pause, NULL);
	}
	return err_set(err, ERR_ABORTED,
	    "an earlier operation still works at "
	    "%s",
	    staging);
}

int
staging_refuse_turned(const char *volume_id, struct err *err)
{
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "the kernel has made the file system of volume %s read-only after "
	    "errors: unstage it, then staging checks and repairs it",
	    volume_id);
}

/* ---- stash and image ------------------------------------------------------ */

void
staging_spec_of(const struct stash *stash, struct device_spec *spec)
{
	spec->pool = stash->pool;
	spec->rados_namespace = stash->rados_namespace;
	spec->image = stash->image;
	spec->unmap_options = stash->unmap_options;
	if (stash->fsid[0] != '\0')
		spec->fsid = stash->fsid;
	if (stash->cluster_id[0] != '\0')
		spec->cluster_id = stash->cluster_id;
	if (stash->image_id[0] != '\0')
		spec->image_id = stash->image_id;
}

const struct mapper *
staging_mapper_of(const struct stash *stash, struct err *err)
{
	const char *name = stash->mapper;
	const struct mapper *mapper;

	if (name[0] == '\0')
		name = stash->nbd ? "nbd" : device_krbd.name;
	mapper = device_mapper(name);
	if (mapper == NULL)
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s is "
		    "staged through mapper %s, which this driver does not have",
		    stash->image, name);
	return mapper;
}

static int
put(char *out, size_t size, const char *value, const char *what,
    struct err *err)
{
	if (value != NULL && str_put(out, size, "%s", value) < 0)
		return err_set(
		    err, ERR_INVALID_ARGUMENT, "%s is too long", what);
	return 0;
}

static int
stash_fill(struct stash *stash, const struct device_spec *spec,
    const struct mapper *mapper, struct err *err)
{
	int rc;

	memset(stash, 0, sizeof(*stash));
	if ((rc = put(stash->volume_id, sizeof(stash->volume_id),
		 spec->volume_id, "volume_id", err)) < 0 ||
	    (rc = put(stash->pool, sizeof(stash->pool), spec->pool, "pool",
		 err)) < 0 ||
	    (rc = put(stash->rados_namespace, sizeof(stash->rados_namespace),
		 spec->rados_namespace, "radosNamespace", err)) < 0 ||
	    (rc = put(stash->image, sizeof(stash->image), spec->image, "image",
		 err)) < 0 ||
	    (rc = put(stash->unmap_options, sizeof(stash->unmap_options),
		 spec->unmap_options, "unmapOptions", err)) < 0 ||
	    (rc = put(stash->fsid, sizeof(stash->fsid), spec->fsid,
		 "clusterFsid", err)) < 0 ||
	    (rc = put(stash->cluster_id, sizeof(stash->cluster_id),
		 spec->cluster_id, "clusterID", err)) < 0 ||
	    (rc = put(stash->image_id, sizeof(stash->image_id), spec->image_id,
		 "imageId", err)) < 0)
		return rc;
	return put(
	    stash->mapper, sizeof(stash->mapper), mapper->name, "mapper", err);
}

/* ---- stage ---------------------------------------------------------------- */

/*
 * Something is mounted at the target. Ours: done. A mount whose device is
 * gone: taken away. Anything else is not touched.
 */
static int
stage_mounted(const struct staging_args *args, const char *target,
    const struct mount_point *point, bool had_stash, struct staging_result *res,
    struct err *err)
{
	struct device_spec spec = args->spec;
	const struct mapper *mapper = NULL;
	bool block = S_ISBLK(point->mode), read_only;
	int rc;

	/* The pool was found by its id then, and may have been renamed. */
	if (had_stash && spec.pool_id > 0 &&
	    stash_is_of(&res->stash, spec.volume_id))
		spec.pool = res->stash.pool;
	if (had_stash) {
		mapper = staging_mapper_of(&res->stash, err);
		if (mapper == NULL)
			return -EBUSY;
	}
	rc = mounted_identify(&spec, mapper, point, &res->device, &mapper, err);
	if (rc == -ESTALE) {
		*err = (struct err)ERR_INIT;
		return mounted_take_away(target, &spec, mapper, err);
	}
	if (rc < 0) {
		err_prefix(err, "%s is a mount of something else", target);
		return -EBUSY;
	}
	res->mapped = res->already = true;
	read_only = block ? res->device.read_only : point->read_only;
	if (!block && !args->read_only && mount_is_turned(target, point))
		return staging_refuse_turned(args->spec.volume_id, err);
	if (block != args->block || read_only != args->read_only)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s is staged "
		    "at %s as a %s%s",
		    args->spec.volume_id, args->staging,
		    read_only ? "read-only " : "",
		    block ? "block device" : "file system");
	if (had_stash)
		return 0;
	rc = stash_fill(&res->stash, &args->spec, mapper, err);
	return rc < 0 ? rc : stash_write(args->staging, &res->stash, err);
}

static int
stage_block(
    const char *target, const struct staging_result *res, struct err *err)
{
	struct mount_point point;
	auto_close int fd = -1;
	int rc = mount_look(res->device.path, &point, &fd, err);

	if (rc == 0 && point.source != res->device.devno)
		rc = err_set(err, ERR_INTERNAL, "%s is not device %u:%u",
		    res->device.path, major(res->device.devno),
		    minor(res->device.devno));
	if (rc == 0)
		rc = path_make_point(target, true, 0600, err);
	if (rc == 0)
		rc = mount_bind(fd, NULL, target, NULL, false, err);
	return rc;
}

/* mkfs and fsck must be the only ones at the device. */
static int
check_unused(struct staging_result *res, struct err *err)
{
	const char *path = res->device.path;
	auto_close int fd = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);

	if (fd >= 0)
		return 0;
	res->busy = errno == EBUSY;
	return err_set_rc(err, -errno, "open %s alone", path);
}

/* What to do with what the probe has found; sets res->need. */
static int
judge_probe(const struct staging_args *args, struct staging_result *res,
    struct err *err)
{
	const struct probe *probe = &res->probe;
	const char *path = res->device.path;
	bool empty = probe->fstype[0] == '\0' || probe->unfinished;

	if (probe->fstype[0] == '\0' && probe->partitioned)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s holds a "
		    "partition table and no file system: it is not formatted",
		    path);
	if (empty && args->read_only)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s holds no file "
		    "system, and cannot be formatted read-only",
		    path);
	if (empty && args->formatted)
		return err_set(err, ERR_INTERNAL,
		    "%s holds no file system after mkfs", path);
	if (empty) {
		res->need = STAGING_NEEDS_MKFS;
		return check_unused(res, err);
	}
	if (!str_is_empty(args->fstype) &&
	    !filesystem_is_same(args->fstype, probe->fstype))
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s holds %s, but "
		    "%s is asked for",
		    path, probe->fstype, args->fstype);
	/* Before it has data, the cluster must know that it is whole. */
	if (probe->young && !args->read_only && !args->marked) {
		res->need = STAGING_NEEDS_MARK;
		return 0;
	}
	if (probe->errors && !args->read_only && !args->checked) {
		res->need = STAGING_NEEDS_FSCK;
		return check_unused(res, err);
	}
	return 0;
}

static int
try_filesystem(const struct staging_args *args, const char *target,
    struct staging_result *res, struct err *err)
{
	auto_free char *options = NULL;
	const char *fstype = res->probe.fstype;
	bool xfs;
	int rc = probe_device(res->device.path, &res->probe, err);

	if (rc == 0)
		rc = judge_probe(args, res, err);
	if (rc < 0 || res->need != STAGING_NEEDS_NOTHING)
		return rc;
	rc = path_make_point(target, false, 0750, err);
	if (rc < 0)
		return rc;
	/* A clone has its source's UUID, and both may be on this node. */
	xfs = str_eq(fstype, "xfs");
	options = str_fmt("%s%s%s", xfs ? "nouuid" : "",
	    xfs && !str_is_empty(args->options) ? "," : "",
	    str_is_empty(args->options) ? "" : args->options);
	rc = mount_filesystem(
	    res->device.path, target, fstype, options, args->read_only, err);
	res->busy = rc == -EBUSY;
	if (rc == 0 && !args->read_only)
		rc = filesystem_grow(fstype, target, res->device.path,
		    res->device.size_bytes, &res->grown, err);
	return rc;
}

/*
 * A mkfs or fsck that a predecessor started lives on when that is killed: it
 * is waited for, and what it leaves is looked at anew.
 */
static int
stage_filesystem(const struct staging_args *args, const char *target,
    struct staging_result *res, struct err *err)
{
	const struct timespec pause = { .tv_nsec = LOCK_WAIT_MS * 1000000L };

	for (int i = 0;; i++) {
		int rc = try_filesystem(args, target, res, err);

		if (!res->busy || i >= BUSY_TRIES)
			return rc;
		res->busy = false;
		res->need = STAGING_NEEDS_NOTHING;
		*err = (struct err)ERR_INIT;
		(void)nanosleep(&pause, NULL);
	}
}

static int
stage_from_stash(const struct staging_args *args, const char *target,
    bool had_stash, struct staging_result *res, struct err *err)
{
	struct stash stash;
	int rc;

	if (had_stash && res->stash.encrypted)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "volume %s was "
		    "staged encrypted, which this driver does not do",
		    args->spec.volume_id);
	if (!args->settled && had_stash && res->stash.mapper[0] != '\0' &&
	    !str_eq(res->stash.mapper, args->mapper->name) &&
	    device_mapper(res->stash.mapper) != NULL) {
		res->need = STAGING_NEEDS_MAPPER;
		return 0;
	}
	rc = stash_fill(&stash, &args->spec, args->mapper, err);
	if (rc == 0 && memcmp(&stash, &res->stash, sizeof(stash)) != 0)
		rc = stash_write(args->staging, &stash, err);
	if (rc < 0)
		return rc;
	res->stash = stash;
	res->touched = true;
	if (args->mapper->open_start != NULL && !args->opened) {
		res->need = STAGING_NEEDS_OPEN;
		return 0;
	}
	rc = args->mapper->map(&args->spec, &args->ref, &res->device, err);
	if (rc < 0)
		return rc;
	res->mapped = true;
	return args->block ? stage_block(target, res, err)
			   : stage_filesystem(args, target, res, err);
}

/*
 * A stash of another volume is left over, unless something is mounted in the
 * directory that it lies in.
 */
static int
check_unstaged(const char *staging, const struct stash *stash, struct err *err)
{
	int fd = path_open(staging, O_RDONLY | O_DIRECTORY);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *d;
	int rc = 0;

	if (dir == NULL)
		return err_set_rc(
		    err, fd < 0 ? fd : -errno, "read %s", staging);
	while (rc == 0 && (d = readdir(dir)) != NULL) {
		auto_free char *path = str_fmt("%s/%s", staging, d->d_name);
		struct mount_point point;

		if (str_eq(d->d_name, ".") || str_eq(d->d_name, ".."))
			continue;
		rc = mount_look(path, &point, NULL, err);
		if (rc == 0 && point.mounted)
			rc = err_set(err, ERR_FAILED_PRECONDITION,
			    "image %s/%s is staged at %s, and mounted at %s",
			    stash->pool, stash->image, staging, path);
	}
	(void)closedir(dir);
	return rc;
}

static int
stage(const struct staging_args *args, struct staging_result *res,
    struct err *err)
{
	auto_free char *target = str_fmt(
	    "%s/%s", args->staging, args->spec.volume_id);
	auto_close int lock = -1;
	struct mount_point point;
	bool had_stash;
	int rc = staging_lock(args->staging, &lock, err);

	if (rc < 0)
		return rc;
	if (lock < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "staging_target_path: %s does not exist", args->staging);
	rc = stash_read(args->staging, &res->stash, err);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	had_stash = rc == 0;
	if (had_stash && !stash_is_of(&res->stash, args->spec.volume_id)) {
		rc = check_unstaged(args->staging, &res->stash, err);
		if (rc < 0)
			return rc;
		memset(&res->stash, 0, sizeof(res->stash));
		had_stash = false;
	}
	rc = mount_look(target, &point, NULL, err);
	if (rc == 0 && point.mounted)
		rc = stage_mounted(args, target, &point, had_stash, res, err);
	if (rc < 0 || res->already)
		return rc;
	return stage_from_stash(args, target, had_stash, res, err);
}

int
staging_stage(const void *p, void *result, struct err *err)
{
	struct staging_args args = *(const struct staging_args *)p;
	char staging[PATH_MAX];
	int rc = staging_resolve(
	    args.staging, args.spec.volume_id, staging, err);

	args.staging = staging;
	return rc < 0 ? rc : stage(&args, result, err);
}

/* ---- unstage -------------------------------------------------------------- */

/* What unstage has found, before it undoes anything. */
struct staged {
	struct device_spec spec;     /* by the stash, else by the volume's ID */
	const struct mapper *mapper; /* by the stash, else NULL: any */
	struct mount_point point;
	struct device device; /* of what is mounted; devno 0: nothing is */
};

static int
unmap_by(
    const struct mapper *mapper, const struct staged *staged, struct err *err)
{
	struct device_ref ref = DEVICE_REF_INIT;
	struct device dev;
	dev_t source = staged->device.devno;

	if (source != 0 &&
	    mapper->verify(&staged->spec, source, &dev, NULL) == 0)
		ref = dev.ref;
	else
		mapper->find(&staged->spec, &ref);
	return mapper->unmap(&staged->spec, &ref, err);
}

static int
unmap(const struct staged *staged, struct err *err)
{
	const struct mapper *mapper;
	int rc = 0;

	if (!S_ISDIR(staged->point.mode)) /* a block device, or not known */
		mounted_free_layers(&staged->spec, staged->mapper);
	if (staged->mapper != NULL)
		return unmap_by(staged->mapper, staged, err);
	for (size_t i = 0; rc == 0 && (mapper = device_mapper_at(i)) != NULL;
	     i++)
		rc = unmap_by(mapper, staged, err);
	return rc;
}

/* What lies upon the device without being mounted: LVM, multipath. */
static int
check_holders(const struct device *dev, const char *volume_id, struct err *err)
{
	auto_free char *path = str_fmt("/sys/dev/block/%u:%u/holders",
	    major(dev->devno), minor(dev->devno));
	DIR *dir = opendir(path);
	const struct dirent *d;
	int rc = 0;

	while (dir != NULL && rc == 0 && (d = readdir(dir)) != NULL)
		if (d->d_name[0] != '.' && !crypt_is_of(d->d_name, volume_id))
			rc = err_set(err, ERR_FAILED_PRECONDITION,
			    "volume %s: its device %s is held by /dev/%s",
			    volume_id, dev->path, d->d_name);
	if (dir != NULL)
		(void)closedir(dir);
	return rc;
}

/*
 * May the volume be unstaged here? *kept: yes, but the image stays mapped.
 */
static int
judge_elsewhere(const struct unstaging_args *args, const struct staged *staged,
    bool had_stash, bool *kept, struct err *err)
{
	auto_free char *target = str_fmt(
	    "%s/%s", args->staging, args->volume_id);
	auto_free struct mounted_elsewhere *other = mem_new(sizeof(*other));
	bool here = had_stash || staged->point.mounted;
	int rc = mounted_find(&staged->spec, staged->mapper,
	    staged->device.devno, target, args->undo, other, err);

	if (rc < 0)
		return rc;
	*kept = other->staging[0] != '\0' ||
	    (args->undo && other->target[0] != '\0');
	if (args->undo)
		return 0;
	if (other->target[0] != '\0' && (!*kept || !here))
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s still shows volume %s", other->target, args->volume_id);
	if (*kept && !here)
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s is where volume %s is staged", other->staging,
		    args->volume_id);
	if (*kept || staged->device.devno == 0)
		return 0;
	return check_holders(&staged->device, args->volume_id, err);
}

/* Looks, and changes nothing. */
static int
find_staged(const struct unstaging_args *args, struct unstaging_result *res,
    struct staged *staged, const char *target, struct err *err)
{
	int rc = stash_read(args->staging, &res->stash, err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	res->had_stash = rc == 0;
	staged->spec = *args->spec;
	if (res->had_stash && !stash_is_of(&res->stash, args->volume_id))
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "image %s/%s is staged at %s, not volume %s",
		    res->stash.pool, res->stash.image, args->staging,
		    args->volume_id);
	if (res->had_stash) {
		staging_spec_of(&res->stash, &staged->spec);
		staged->mapper = staging_mapper_of(&res->stash, err);
		if (staged->mapper == NULL)
			return -EBUSY;
	}
	rc = mount_look(target, &staged->point, NULL, err);
	if (rc < 0 || !staged->point.mounted)
		return rc;
	rc = mounted_identify(&staged->spec, staged->mapper, &staged->point,
	    &staged->device, NULL, err);
	if (rc == -ESTALE) {
		*err = (struct err)ERR_INIT;
		return 0;
	}
	if (rc < 0) {
		err_prefix(err,
		    "%s is a mount of something else than volume %s", target,
		    args->volume_id);
		return -EBUSY;
	}
	return 0;
}

/*
 * Closes what ceph-csi has opened upon the device. By the stash or, where that
 * is lost, by its name; only if it lies on this image.
 */
static int
close_crypt(const struct staged *staged, const struct unstaging_args *args,
    const struct unstaging_result *res, struct err *err)
{
	bool may_be = !res->had_stash || res->stash.encrypted;
	dev_t devno = may_be ? crypt_find(args->volume_id) : 0;
	struct device dev;
	int rc;

	if (devno == 0)
		return 0;
	rc = device_identify(
	    &staged->spec, staged->mapper, devno, &dev, NULL, err);
	if (rc < 0 && rc != -ESTALE) {
		err_prefix(
		    err, "the mapping " CRYPT_PREFIX "%s", args->volume_id);
		return rc;
	}
	rc = crypt_close(args->volume_id, err);
	if (rc == 0 && crypt_find(args->volume_id) != 0)
		rc = err_set(err, ERR_INTERNAL,
		    "the mapping " CRYPT_PREFIX "%s is there again",
		    args->volume_id);
	return rc;
}

static int
unstage(const struct unstaging_args *args, struct unstaging_result *res,
    struct err *err)
{
	auto_free char *target = str_fmt(
	    "%s/%s", args->staging, args->volume_id);
	struct staged staged = { .mapper = NULL };
	auto_close int lock = -1;
	int rc = staging_lock(args->staging, &lock, err);

	if (rc == 0)
		rc = find_staged(args, res, &staged, target, err);
	if (rc == 0)
		rc = judge_elsewhere(
		    args, &staged, res->had_stash, &res->kept, err);
	if (rc == 0)
		rc = mounted_take_away(
		    target, &staged.spec, staged.mapper, err);
	if (rc == 0)
		rc = path_remove_point(target, err);
	if (rc == 0 && !res->kept)
		rc = close_crypt(&staged, args, res, err);
	if (rc == 0 && !res->kept)
		rc = unmap(&staged, err);
	return rc < 0 ? rc : stash_remove(args->staging, err);
}

int
staging_unstage(const void *p, void *result, struct err *err)
{
	struct unstaging_args args = *(const struct unstaging_args *)p;
	char staging[PATH_MAX];
	int rc = staging_resolve(args.staging, args.volume_id, staging, err);

	args.staging = staging;
	return rc < 0 ? rc : unstage(&args, result, err);
}
