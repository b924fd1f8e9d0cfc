/*
 * staging.c - see staging.h. Everything here runs in offload children.
 */
#include "node/staging.h"
#include "node/attachment.h"
#include "node/path.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LOCK_TRIES 50
#define WAIT_MS 100
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
		device_pause_ms(WAIT_MS);
	}
	return err_set(err, ERR_ABORTED,
	    "an earlier operation still works at %s", staging);
}

int
staging_refuse_turned(const char *volume_id, struct err *err)
{
	return err_refuse(err,
	    "the kernel has made the file system of volume %s read-only after errors: unstage it, then staging checks and repairs it",
	    volume_id);
}

/* ---- stage ---------------------------------------------------------------- */

/*
 * Something is mounted at the target. Ours: done. A mount whose device is
 * gone: taken away. Anything else is not touched. `stash` is NULL where there
 * is none.
 */
static int
stage_mounted(const struct staging_args *args, const char *target,
    const struct mount_point *point, const struct stash *stash,
    struct staging_result *res, struct err *err)
{
	struct device_claim claim = { .spec = args->spec };
	bool block = S_ISBLK(point->mode), read_only;
	struct attachment at;
	struct stash fresh;
	int rc;

	if (stash != NULL) {
		claim.mapper = mapper_child_by_name(stash_mapper(stash));
		if (claim.mapper == NULL)
			return stash_claim(stash, &claim, err);
		/* The pool was found by its id then, and may be renamed. */
		if (claim.spec.pool_id > 0)
			claim.spec.pool = stash->pool;
	}
	rc = attachment_find(&claim, point, &at, err);
	if (rc == -ESTALE) {
		*err = (struct err)ERR_INIT;
		return attachment_unmount(target, &claim, err);
	}
	if (rc < 0) {
		err_prefix(err, "%s is a mount of something else", target);
		return -EBUSY;
	}
	res->progress = STAGING_FOUND;
	res->device = at.device;
	(void)!str_put(res->mapper, sizeof(res->mapper), "%s", at.mapper->name);
	read_only = block ? at.device.read_only : point->read_only;
	if (!block && !args->read_only && mount_is_turned(target, point))
		return staging_refuse_turned(args->spec.volume_id, err);
	if (block != args->block || read_only != args->read_only)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s is staged at %s as a %s%s", args->spec.volume_id,
		    args->staging, read_only ? "read-only " : "",
		    block ? "block device" : "file system");
	if (stash != NULL)
		return 0;
	rc = stash_fill(&fresh, &args->spec, at.mapper->name, err);
	return rc < 0 ? rc : stash_write(args->staging, &fresh, err);
}

static int
stage_block(const char *target, const struct device *dev, struct err *err)
{
	struct mount_point point;
	auto_close int fd = -1;
	int rc = mount_look(dev->path, &point, &fd, err);

	if (rc == 0 && point.source != dev->devno)
		rc = err_set(err, ERR_INTERNAL, "%s is not device %u:%u",
		    dev->path, major(dev->devno), minor(dev->devno));
	if (rc == 0)
		rc = path_make_point(target, true, 0600, err);
	if (rc == 0)
		rc = mount_bind(fd, NULL, target, NULL, false, err);
	return rc;
}

/*
 * What to do with what the probe has found: STAGING_STAGED, to be mounted, or
 * what must happen before. *busy: some program has the device for itself.
 */
static int
judge_probe(const struct staging_args *args,
    const struct filesystem_probe *probe, const char *path,
    enum staging_progress *next, bool *busy, struct err *err)
{
	bool empty = probe->fstype[0] == '\0' || probe->unfinished;
	auto_close int alone = -1;

	if (probe->fstype[0] == '\0' && probe->partitioned)
		return err_refuse(err,
		    "%s holds a partition table and no file system: it is not formatted",
		    path);
	if (empty && args->read_only)
		return err_refuse(err,
		    "%s holds no file system, and cannot be formatted read-only",
		    path);
	if (empty && args->formatted)
		return err_set(err, ERR_INTERNAL,
		    "%s holds no file system after mkfs", path);
	if (!empty && !str_is_empty(args->fstype) &&
	    !filesystem_is_same(args->fstype, probe->fstype))
		return err_refuse(err, "%s holds %s, but %s is asked for", path,
		    probe->fstype, args->fstype);
	*next = STAGING_STAGED;
	if (empty)
		*next = STAGING_EMPTY;
	/* Before it has data, the cluster must know that it is whole. */
	else if (probe->young && !args->read_only && !args->marked)
		*next = STAGING_YOUNG;
	else if (probe->errors && !args->read_only && !args->checked)
		*next = STAGING_DAMAGED;
	if (*next != STAGING_EMPTY && *next != STAGING_DAMAGED)
		return 0;
	/* mkfs and fsck must be the only ones at the device. */
	alone = open(path, O_RDONLY | O_EXCL | O_CLOEXEC);
	*busy = alone < 0 && errno == EBUSY;
	return alone < 0 ? err_set_rc(err, -errno, "open %s alone", path) : 0;
}

static int
stage_filesystem(const struct staging_args *args, const char *target,
    struct staging_result *res, bool *busy, struct err *err)
{
	const char *device = res->device.path;
	auto_free char *options = NULL;
	enum staging_progress next = STAGING_MAPPED;
	struct filesystem_probe probe;
	bool xfs, grown = false;
	int rc = probe_device(device, &probe, err);

	if (rc == 0)
		rc = judge_probe(args, &probe, device, &next, busy, err);
	if (rc < 0)
		return rc;
	memcpy(res->fstype, probe.fstype, sizeof(res->fstype));
	if (next != STAGING_STAGED) {
		res->progress = next;
		return 0;
	}
	rc = path_make_point(target, false, 0750, err);
	if (rc < 0)
		return rc;
	/* A clone has its source's UUID, and both may be on this node. */
	xfs = str_eq(probe.fstype, "xfs");
	options = str_fmt("%s%s%s", xfs ? "nouuid" : "",
	    xfs && !str_is_empty(args->options) ? "," : "",
	    str_is_empty(args->options) ? "" : args->options);
	rc = mount_filesystem(
	    device, target, probe.fstype, options, args->read_only, err);
	*busy = rc == -EBUSY;
	if (rc == 0 && !args->read_only)
		rc = filesystem_grow(probe.fstype, target, device,
		    res->device.size_bytes, &grown, err);
	if (grown)
		log_info("stage.grown", "volume=%s device=%s bytes=%llu",
		    args->spec.volume_id, device,
		    (unsigned long long)res->device.size_bytes);
	return rc;
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
			rc = err_refuse(err,
			    "image %s/%s is staged at %s, and mounted at %s",
			    stash->pool, stash->image, staging, path);
	}
	(void)closedir(dir);
	return rc;
}

/* From what is there to STAGING_STAGED, or as far as a child can go. */
static int
stage_from(const struct staging_args *args, const char *target,
    struct staging_result *res, struct err *err)
{
	const struct mapper_child *earlier;
	struct stash stash, wanted;
	struct mount_point point;
	bool had_stash, busy = false;
	int rc = stash_read(args->staging, &stash, err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	had_stash = rc == 0;
	if (had_stash && !stash_is_of(&stash, args->spec.volume_id)) {
		rc = check_unstaged(args->staging, &stash, err);
		if (rc < 0)
			return rc;
		memset(&stash, 0, sizeof(stash));
		had_stash = false;
	}
	rc = mount_look(target, &point, NULL, err);
	if (rc == 0 && point.mounted)
		rc = stage_mounted(
		    args, target, &point, had_stash ? &stash : NULL, res, err);
	if (rc < 0 || res->progress == STAGING_FOUND)
		return rc;

	if (had_stash && stash.encrypted)
		return err_refuse(err,
		    "volume %s was staged encrypted, which this driver does not do",
		    args->spec.volume_id);
	earlier = had_stash ? mapper_child_by_name(stash.mapper) : NULL;
	if (!args->settled && earlier != NULL && earlier != args->mapper) {
		res->progress = STAGING_OTHER;
		memcpy(res->mapper, stash.mapper, sizeof(res->mapper));
		return 0;
	}
	rc = stash_fill(&wanted, &args->spec, args->mapper->name, err);
	if (rc == 0 && memcmp(&stash, &wanted, sizeof(stash)) != 0)
		rc = stash_write(args->staging, &wanted, err);
	if (rc < 0)
		return rc;
	res->progress = STAGING_NOTED;
	if (args->mapper->opens && !args->opened)
		return 0;

	rc = args->mapper->map(&args->spec, &res->device, err);
	if (rc < 0)
		return rc;
	res->progress = STAGING_MAPPED;
	if (args->block)
		rc = stage_block(target, &res->device, err);
	else
		rc = stage_filesystem(args, target, res, &busy, err);
	/*
	 * A mkfs or fsck that a predecessor started lives on when that is
	 * killed: it is waited for, and what it leaves is looked at anew.
	 */
	for (int i = 0; busy && i < BUSY_TRIES; i++) {
		*err = (struct err)ERR_INIT;
		busy = false;
		device_pause_ms(WAIT_MS);
		rc = stage_filesystem(args, target, res, &busy, err);
	}
	if (rc == 0 && res->progress == STAGING_MAPPED)
		res->progress = STAGING_STAGED;
	return rc;
}

int
staging_stage(const void *p, void *result, struct err *err)
{
	struct staging_args args = *(const struct staging_args *)p;
	auto_free char *target = NULL;
	auto_close int lock = -1;
	char staging[PATH_MAX];
	int rc = staging_resolve(
	    args.staging, args.spec.volume_id, staging, err);

	args.staging = staging;
	if (rc == 0)
		rc = staging_lock(staging, &lock, err);
	if (rc < 0)
		return rc;
	if (lock < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "staging_target_path: %s does not exist", staging);
	target = str_fmt("%s/%s", staging, args.spec.volume_id);
	return stage_from(&args, target, result, err);
}

/* ---- unstage -------------------------------------------------------------- */

/* What unstage has found, before it undoes anything. */
struct staged {
	struct device_claim claim; /* by the stash, else by the volume's ID */
	struct mount_point point;
	struct attachment at; /* devno 0: nothing is mounted that lives */
};

/* Looks, and changes nothing. */
static int
find_staged(const struct unstaging_args *args, const char *target,
    struct unstaging_result *res, struct staged *staged, struct err *err)
{
	int rc = stash_read(args->staging, &res->stash, err);

	if (rc < 0 && rc != -ENOENT)
		return rc;
	res->had_stash = rc == 0;
	staged->claim.spec = *args->spec;
	if (res->had_stash && !stash_is_of(&res->stash, args->spec->volume_id))
		return err_refuse(err,
		    "image %s/%s is staged at %s, not volume %s",
		    res->stash.pool, res->stash.image, args->staging,
		    args->spec->volume_id);
	if (res->had_stash) {
		rc = stash_claim(&res->stash, &staged->claim, err);
		if (rc < 0)
			return rc;
	}
	rc = mount_look(target, &staged->point, NULL, err);
	if (rc < 0 || !staged->point.mounted)
		return rc;
	rc = attachment_find(&staged->claim, &staged->point, &staged->at, err);
	if (rc == -ESTALE) {
		*err = (struct err)ERR_INIT;
		return 0;
	}
	if (rc < 0) {
		err_prefix(err,
		    "%s is a mount of something else than volume %s", target,
		    args->spec->volume_id);
		return -EBUSY;
	}
	return 0;
}

/*
 * May the volume be unstaged here? *kept: yes, but the image stays mapped.
 */
static int
judge_elsewhere(const struct unstaging_args *args, const char *target,
    const struct staged *staged, bool had_stash, bool *kept, struct err *err)
{
	auto_free struct attachment_places *other = mem_new(sizeof(*other));
	bool here = had_stash || staged->point.mounted;
	int rc = attachment_find_places(&staged->claim, staged->at.device.devno,
	    target, args->undo, other, err);

	if (rc < 0)
		return rc;
	*kept = other->staging[0] != '\0' ||
	    (args->undo && other->target[0] != '\0');
	if (args->undo)
		return 0;
	if (other->target[0] != '\0' && (!*kept || !here))
		return err_refuse(err, "%s still shows volume %s",
		    other->target, args->spec->volume_id);
	if (*kept && !here)
		return err_refuse(err, "%s is where volume %s is staged",
		    other->staging, args->spec->volume_id);
	if (*kept || staged->at.device.devno == 0)
		return 0;
	return attachment_check_holders(
	    &staged->at.device, args->spec->volume_id, err);
}

/* By the mapper of the stash, else by all. */
static int
unmap_staged(const struct staged *staged, struct err *err)
{
	const struct mapper_child *mapper = staged->claim.mapper;
	const struct attachment *at = &staged->at;
	int rc = 0;

	if (!S_ISDIR(staged->point.mode)) /* a block device, or not known */
		attachment_free_layers(&staged->claim);
	if (mapper != NULL)
		return mapper->unmap(&staged->claim.spec,
		    at->device.devno != 0 ? &at->device : NULL, err);
	for (size_t i = 0; rc == 0 && (mapper = mapper_child_at(i)) != NULL;
	     i++)
		rc = mapper->unmap(&staged->claim.spec,
		    at->device.devno != 0 && at->mapper == mapper ? &at->device
								  : NULL,
		    err);
	return rc;
}

int
staging_unstage(const void *p, void *result, struct err *err)
{
	struct unstaging_args args = *(const struct unstaging_args *)p;
	struct unstaging_result *res = result;
	struct staged staged = { .claim.mapper = NULL };
	auto_free char *target = NULL;
	auto_close int lock = -1;
	char staging[PATH_MAX];
	int rc = staging_resolve(
	    args.staging, args.spec->volume_id, staging, err);

	args.staging = staging;
	target = str_fmt("%s/%s", staging, args.spec->volume_id);
	if (rc == 0)
		rc = staging_lock(staging, &lock, err);
	if (rc == 0)
		rc = find_staged(&args, target, res, &staged, err);
	if (rc == 0)
		rc = judge_elsewhere(
		    &args, target, &staged, res->had_stash, &res->kept, err);
	if (rc == 0)
		rc = attachment_unmount(target, &staged.claim, err);
	if (rc == 0)
		rc = path_remove_point(target, err);
	if (rc == 0 && !res->kept && (!res->had_stash || res->stash.encrypted))
		rc = attachment_close_crypt(&staged.claim, err);
	if (rc == 0 && !res->kept)
		rc = unmap_staged(&staged, err);
	return rc < 0 ? rc : stash_remove(staging, err);
}
