/*
 * staging.c - see staging.h. Everything here runs in offload children.
 */
#include "node/staging.h"
#include "node/crypt.h"
#include "node/path.h"

#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define LOCK_TRIES 50
#define WAIT_MS 100
#define BUSY_TRIES 100 /* 10 s */

/* ---- the staging directory ------------------------------------------------ */

static int
staged_lock(struct staged *s, struct err *err)
{
	int fd = path_open(s->dir, O_RDONLY | O_DIRECTORY);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return err_set_rc(err, fd, "open %s", s->dir);
	s->lock = fd;
	for (int i = 0; i < LOCK_TRIES; i++) {
		if (flock(fd, LOCK_EX | LOCK_NB) == 0)
			return 0;
		if (errno != EWOULDBLOCK)
			return err_set_rc(err, -errno, "lock %s", s->dir);
		device_pause_ms(WAIT_MS);
	}
	return err_set(
	    err, ERR_ABORTED, "an earlier operation still works at %s", s->dir);
}

/* Links at the end of the staging path count: it is a parent of the mount. */
int
staged_open(struct staged *s, const char *staging,
    const struct device_spec *spec, bool to_bind, struct err *err)
{
	auto_free char *path = str_fmt("%s/%s", staging, spec->volume_id);
	int rc;

	memset(s, 0, sizeof(*s));
	s->lock = s->fd = -1;
	s->claim.spec = *spec;
	rc = path_resolve(path, s->path, err);
	if (rc < 0)
		return rc;
	memcpy(s->dir, s->path, sizeof(s->dir));
	*strrchr(s->dir, '/') = '\0';
	rc = staged_lock(s, err);
	if (rc == 0)
		rc = stash_read(s->dir, &s->stash, err);
	s->had_stash = rc == 0;
	s->is_others = rc == 0 && !stash_is_of(&s->stash, spec->volume_id);
	if (rc == 0 || rc == -ENOENT)
		rc = mount_look(
		    s->path, &s->point, to_bind ? &s->fd : NULL, err);
	return rc;
}

void
staged_close(struct staged *s)
{
	if (s->fd >= 0)
		(void)close(s->fd);
	if (s->lock >= 0)
		(void)close(s->lock);
}

int
staging_refuse_turned(const char *volume_id, struct err *err)
{
	return err_refuse(err,
	    "the kernel has made the file system of volume %s read-only after errors: unstage it, then staging checks and repairs it",
	    volume_id);
}

int
staging_grow(const char *volume_id, const char *fstype, const char *path,
    const struct device *dev, struct err *err)
{
	bool grown;
	int rc = filesystem_grow(
	    fstype, path, dev->path, dev->size_bytes, &grown, err);

	if (grown)
		log_info("filesystem.grown", "volume=%s device=%s bytes=%llu",
		    volume_id, dev->path, (unsigned long long)dev->size_bytes);
	return rc;
}

/* ---- stage ---------------------------------------------------------------- */

/*
 * Something is mounted at the staging path. Ours: done. A mount whose device
 * is gone: taken away. Anything else is not touched.
 */
static int
stage_mounted(const struct staging_args *args, struct staged *s,
    struct staging_result *res, struct err *err)
{
	const struct mount_point *point = &s->point;
	bool block = S_ISBLK(point->mode), read_only;
	struct stash fresh;
	int rc;

	if (s->had_stash) {
		s->claim.mapper = mapper_child_by_name(stash_mapper(&s->stash));
		if (s->claim.mapper == NULL)
			return stash_claim(&s->stash, &s->claim, err);
		/* The pool was found by its id then, and may be renamed. */
		if (s->claim.spec.pool_id > 0)
			s->claim.spec.pool = s->stash.pool;
	}
	rc = attachment_find(&s->claim, point, &s->at, err);
	if (rc == -ESTALE) {
		*err = (struct err)ERR_INIT;
		return attachment_unmount(s->path, &s->claim, err);
	}
	if (rc < 0) {
		err_prefix(err, "what is mounted there is not volume %s",
		    args->spec.volume_id);
		return -EBUSY;
	}
	res->progress = STAGING_FOUND;
	res->device = s->at.device;
	(void)!str_put(
	    res->mapper, sizeof(res->mapper), "%s", s->at.mapper->name);
	read_only = block ? s->at.device.read_only : point->read_only;
	if (!block && !args->read_only && mount_is_turned(s->path, point))
		return staging_refuse_turned(args->spec.volume_id, err);
	if (block != args->block || read_only != args->read_only)
		return err_set(err, ERR_ALREADY_EXISTS,
		    "volume %s is staged at %s as a %s%s", args->spec.volume_id,
		    s->dir, read_only ? "read-only " : "",
		    block ? "block device" : "file system");
	if ((s->at.layer[LAYER_CRYPT] != 0) != args->luks)
		return err_refuse(err, "volume %s is staged at %s %sencrypted",
		    args->spec.volume_id, s->dir, args->luks ? "not " : "");
	res->recorded = s->stash.recorded;
	if (s->had_stash && (s->stash.recorded || !args->recorded))
		return 0;
	rc = 0;
	if (s->had_stash) {
		fresh = s->stash;
	} else {
		rc = stash_fill(&fresh, &args->spec, s->at.mapper->name, err);
		fresh.encrypted = args->luks;
	}
	fresh.recorded = args->recorded;
	return rc < 0 ? rc : stash_write(s->dir, &fresh, err);
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

/*
 * Another node may be replaying the journal. What was read of the device
 * before is forgotten, so that a mount that finds the replay done finds all
 * that it has written.
 */
static void
forget_cache(const char *device)
{
	auto_close int fd = open(device, O_RDONLY | O_CLOEXEC);

	(void)ioctl(fd, BLKFLSBUF, 0);
}

static int
stage_filesystem(const struct staging_args *args, const char *target,
    struct staging_result *res, bool *busy, struct err *err)
{
	const char *device = res->top.path;
	auto_free char *options = NULL;
	enum staging_progress next = STAGING_MAPPED;
	struct filesystem_probe probe;
	bool xfs;
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
	if (args->replay == STAGING_REPLAY_MAP) {
		res->progress = STAGING_WRITABLE;
		return 0;
	}
	if (args->replay == STAGING_REPLAY_DO) {
		rc = mount_replay(device, probe.fstype, err);
		if (rc == 0)
			res->progress = STAGING_REPLAYED;
		return rc;
	}
	rc = path_make_point(target, false, 0750, err);
	if (rc < 0)
		return rc;
	if (args->spec.read_only)
		forget_cache(device);
	/* A clone has its source's UUID, and both may be on this node. */
	xfs = str_eq(probe.fstype, "xfs");
	options = str_fmt("%s%s%s", xfs ? "nouuid" : "",
	    xfs && !str_is_empty(args->options) ? "," : "",
	    str_is_empty(args->options) ? "" : args->options);
	rc = mount_filesystem(
	    device, target, probe.fstype, options, args->read_only, err);
	*busy = rc == -EBUSY;
	if ((rc == -EROFS || (rc == -EIO && probe.unclean)) &&
	    args->replay == STAGING_REPLAY_ASK) {
		*err = (struct err)ERR_INIT;
		res->progress = STAGING_UNCLEAN;
		return 0;
	}
	return rc < 0 || args->read_only
	    ? rc
	    : staging_grow(
		  args->spec.volume_id, probe.fstype, target, &res->top, err);
}

/*
 * With the key that the image's metadata belong to. Their state is changed
 * after the device is a LUKS device and before anybody opens it: so where it
 * says that it is none yet, nobody has written to it, and a header that the
 * key opens is whole. Not with integrity: then the device may be half written.
 */
static int
open_luks(const struct staging_args *args, const struct staged *s,
    const char *name, struct staging_result *res, struct err *err)
{
	const char *device = res->device.path;
	struct err why = ERR_INIT;
	int rc = luks_open(device, args->is_luks ? name : NULL, args->luks_key,
	    args->spec.read_only, &why);

	if (rc == 0 && !args->is_luks && args->luks_options.integrity != NULL) {
		(void)err_refuse(&why,
		    "%s has a LUKS header, and was not written whole", device);
		rc = -EPERM;
	}
	if (!args->is_luks && !args->spec.read_only &&
	    (rc == -ENOENT || rc == -EPERM)) {
		auto_free char *wiping = str_fmt("%s" CRYPT_WIPE, name);

		if (!args->encrypts) {
			res->progress = STAGING_BLANK;
			return 0;
		}
		why = (struct err)ERR_INIT;
		rc = attachment_close_crypt(&s->claim, &why);
		if (rc == 0)
			rc = luks_format(device, wiping, args->luks_key,
			    &args->luks_options, &why);
	}
	if (rc < 0) {
		*err = why;
		return rc;
	}
	if (!args->is_luks)
		res->progress = STAGING_ENCRYPTED;
	return 0;
}

/* From the mapped device to what is on top of it. */
static int
stage_luks(const struct staging_args *args, struct staged *s,
    struct staging_result *res, struct err *err)
{
	auto_free char *name = str_fmt(CRYPT_PREFIX "%s", args->spec.volume_id);
	struct attachment at;
	int rc = attachment_find_crypt(&s->claim, &at, err);

	if (rc == -ENOENT && args->luks_key == NULL) {
		res->progress = STAGING_LOCKED;
		return 0;
	}
	if (rc == -ENOENT) {
		rc = open_luks(args, s, name, res, err);
		if (rc < 0 || res->progress != STAGING_MAPPED)
			return rc;
		rc = attachment_find_crypt(&s->claim, &at, err);
	}
	if (rc == 0 && at.device.devno != res->device.devno)
		rc = err_refuse(err, "the mapping %s lies on %s, not on %s",
		    name, at.device.path, res->device.path);
	return rc < 0 ? rc : attachment_top(&at, &res->top, err);
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
stage_from(const struct staging_args *args, struct staged *s,
    struct staging_result *res, struct err *err)
{
	const struct mapper_child *earlier;
	struct stash wanted;
	bool busy = false;
	int rc = 0;

	if (s->lock < 0)
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "staging_target_path: %s does not exist", s->dir);
	if (s->is_others) {
		rc = check_unstaged(s->dir, &s->stash, err);
		memset(&s->stash, 0, sizeof(s->stash));
		s->had_stash = false;
	}
	res->had_stash = s->had_stash;
	if (rc == 0 && s->point.mounted)
		rc = stage_mounted(args, s, res, err);
	if (rc < 0 || res->progress == STAGING_FOUND)
		return rc;
	if (!args->begun && (rc = path_check_point(s->path, err)) < 0)
		return rc;

	if (s->stash.encrypted && !args->luks)
		return err_refuse(err,
		    "volume %s was staged encrypted, and volume_context.encrypted is not true",
		    args->spec.volume_id);
	earlier = mapper_child_by_name(s->stash.mapper);
	if (!args->settled && earlier != NULL && earlier != args->mapper) {
		res->progress = STAGING_OTHER;
		memcpy(res->mapper, s->stash.mapper, sizeof(res->mapper));
		return 0;
	}
	rc = stash_fill(&wanted, &args->spec, args->mapper->name, err);
	/* Targets may still show the device of an earlier stage, dead now. */
	wanted.encrypted = args->luks;
	wanted.recorded = args->recorded;
	wanted.plain = !s->had_stash || (args->begun && s->stash.plain);
	if (rc == 0 && memcmp(&s->stash, &wanted, sizeof(wanted)) != 0)
		rc = stash_write(s->dir, &wanted, err);
	if (rc < 0)
		return rc;
	res->progress = STAGING_NOTED;
	if (args->mapper->opens && !args->opened)
		return 0;

	rc = args->mapper->map(&args->spec, &res->device, err);
	if (rc < 0)
		return rc;
	res->progress = args->unrecorded ? STAGING_UNRECORDED : STAGING_MAPPED;
	if (args->unrecorded)
		return 0;
	res->top = res->device;
	rc = args->luks ? stage_luks(args, s, res, err) : 0;
	if (rc < 0 || res->progress != STAGING_MAPPED)
		return rc;
	if (args->block)
		rc = stage_block(s->path, &res->top, err);
	else
		rc = stage_filesystem(args, s->path, res, &busy, err);
	/*
	 * A mkfs or fsck that a predecessor started lives on when that is
	 * killed: it is waited for, and what it leaves is looked at anew.
	 */
	for (int i = 0; busy && i < BUSY_TRIES; i++) {
		*err = (struct err)ERR_INIT;
		busy = false;
		device_pause_ms(WAIT_MS);
		rc = stage_filesystem(args, s->path, res, &busy, err);
	}
	if (rc == 0 && res->progress == STAGING_MAPPED)
		res->progress = STAGING_STAGED;
	return rc;
}

int
staging_stage(const void *p, void *result, struct err *err)
{
	const struct staging_args *args = p;
	struct staged s;
	int rc = staged_open(&s, args->staging, &args->spec, false, err);

	if (rc == 0)
		rc = stage_from(args, &s, result, err);
	staged_close(&s);
	return rc;
}

/* ---- unstage -------------------------------------------------------------- */

/* Whose is it? By the stash, else by the volume's ID. */
static int
unstage_prove(struct staged *s, struct err *err)
{
	const char *volume_id = s->claim.spec.volume_id;
	int rc = 0;

	if (s->is_others)
		return err_refuse(err,
		    "image %s/%s is staged at %s, not volume %s", s->stash.pool,
		    s->stash.image, s->dir, volume_id);
	if (s->had_stash)
		rc = stash_claim(&s->stash, &s->claim, err);
	if (rc < 0 || !s->point.mounted)
		return rc;
	rc = attachment_find(&s->claim, &s->point, &s->at, err);
	if (rc == -ESTALE) {
		*err = (struct err)ERR_INIT;
		return 0;
	}
	if (rc < 0) {
		err_prefix(
		    err, "what is mounted there is not volume %s", volume_id);
		return -EBUSY;
	}
	return 0;
}

/* Is it known that no layer but dm-crypt's lies above the device found? */
static bool
unstage_is_plain(const struct staged *s)
{
	return s->had_stash && s->stash.plain && s->at.device.devno != 0 &&
	    (!s->stash.encrypted || s->at.layer[LAYER_CRYPT] != 0);
}

/*
 * May the volume be unstaged here? *kept: yes, but the image stays mapped.
 */
static int
unstage_judge(const struct staged *s, bool undo, bool *kept, struct err *err)
{
	auto_free struct attachment_places *other = mem_new(sizeof(*other));
	const char *volume_id = s->claim.spec.volume_id;
	bool here = s->had_stash || s->point.mounted;
	int rc = attachment_find_places(
	    &s->claim, &s->at, unstage_is_plain(s), s->path, undo, other, err);

	if (rc < 0)
		return rc;
	*kept = other->staging[0] != '\0' || (undo && other->target[0] != '\0');
	if (undo)
		return 0;
	if (other->target[0] != '\0' && (!*kept || !here))
		return err_refuse(
		    err, "%s still shows volume %s", other->target, volume_id);
	if (*kept && !here)
		return err_refuse(err, "%s is where volume %s is staged",
		    other->staging, volume_id);
	if (*kept || s->at.device.devno == 0)
		return 0;
	return attachment_check_holders(&s->at.device, volume_id, err);
}

/* By the mapper of the stash, else by all. */
static int
unstage_unmap(const struct staged *s, struct err *err)
{
	const struct mapper_child *mapper = s->claim.mapper;
	const struct device *shown = &s->at.device;
	int rc = 0;

	/* A block device, or not known. */
	if (!S_ISDIR(s->point.mode) && !unstage_is_plain(s))
		attachment_free_layers(&s->claim);
	if (mapper != NULL)
		return mapper->unmap(
		    &s->claim.spec, shown->devno != 0 ? shown : NULL, err);
	for (size_t i = 0; rc == 0 && (mapper = mapper_child_at(i)) != NULL;
	     i++)
		rc = mapper->unmap(&s->claim.spec,
		    shown->devno != 0 && s->at.mapper == mapper ? shown : NULL,
		    err);
	return rc;
}

int
staging_unstage(const void *p, void *result, struct err *err)
{
	const struct unstaging_args *args = p;
	struct unstaging_result *res = result;
	struct staged s;
	int rc = staged_open(&s, args->staging, args->spec, false, err);

	res->had_stash = s.had_stash;
	res->stash = s.stash;
	if (rc == 0)
		rc = unstage_prove(&s, err);
	if (rc == 0)
		rc = unstage_judge(&s, args->undo, &res->kept, err);
	if (rc == 0)
		rc = attachment_unmount(s.path, &s.claim, err);
	/* What somebody has put there keeps the directory, not the image. */
	if (rc == 0 && (rc = path_remove_point(s.path, &res->left)) < 0) {
		if (res->left.code == ERR_FAILED_PRECONDITION)
			rc = 0;
		else
			*err = res->left;
	}
	if (rc == 0 && !res->kept && (!s.had_stash || s.stash.encrypted))
		rc = attachment_close_crypt(&s.claim, err);
	if (rc == 0 && !res->kept)
		rc = unstage_unmap(&s, err);
	if (rc == 0 && !args->keep_stash && !err_is_set(&res->left))
		rc = stash_remove(s.dir, err);
	staged_close(&s);
	return rc;
}
