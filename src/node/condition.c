/*
 * condition.c - see condition.h.
 */
#include "node/condition.h"
#include "node/path.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define PAUSE_MS 100

/*
 * How many requests the device has under way and how many it has ended, by
 * Linux' Documentation/block/stat.rst and inflight of
 * Documentation/ABI/stable/sysfs-block. False: the kernel does not tell.
 */
static bool
count_requests(dev_t devno, unsigned *open, uint64_t *ended)
{
	uint64_t reads, writes, discards = 0, flushes = 0;
	unsigned in, out;
	char text[256];

	if (sysfs_read(text, sizeof(text), "dev/block/%u:%u/inflight",
		major(devno), minor(devno)) < 0 ||
	    sscanf(text, "%u %u", &in, &out) != 2 ||
	    sysfs_read(text, sizeof(text), "dev/block/%u:%u/stat", major(devno),
		minor(devno)) < 0 ||
	    sscanf(text,
		"%" SCNu64 " %*u %*u %*u %" SCNu64
		" %*u %*u %*u %*u %*u %*u %" SCNu64 " %*u %*u %*u %" SCNu64,
		&reads, &writes, &discards, &flushes) < 2)
		return false;
	*open = in + out;
	*ended = reads + writes + discards + flushes;
	return true;
}

/* Are requests under way of which none ends for so long? */
static bool
is_stuck(dev_t devno, int64_t wait_ms, unsigned *open)
{
	uint64_t before, now;

	if (wait_ms <= 0 || !count_requests(devno, open, &before))
		return false;
	for (; *open > 0 && wait_ms > 0; wait_ms -= PAUSE_MS) {
		device_pause_ms(PAUSE_MS);
		if (!count_requests(devno, open, &now) || now != before)
			return false;
	}
	return *open > 0;
}

static void condition_set(struct condition *c, enum condition_kind kind,
    const char *fmt, ...) printf_like(3, 4);

static void
condition_set(
    struct condition *c, enum condition_kind kind, const char *fmt, ...)
{
	va_list ap;

	c->kind = kind;
	va_start(ap, fmt);
	(void)vsnprintf(c->text, sizeof(c->text), fmt, ap);
	va_end(ap);
}

/* Where the volume is, if nobody says so: looks at all mounts. */
static int
find_anywhere(const char *volume_id, char path[PATH_MAX], struct err *err)
{
	const struct device_claim claim = { .spec.volume_id = volume_id };
	auto_free struct attachment_places *at = mem_new(sizeof(*at));
	int rc = attachment_find_places(
	    &claim, NULL, false, "", false, at, err);

	if (rc < 0)
		return rc;
	(void)!str_put(path, PATH_MAX, "%s",
	    at->staging[0] != '\0' ? at->staging : at->target);
	return *path != '\0' ? 0
			     : err_set(err, ERR_NOT_FOUND,
				   "volume %s is not on this node", volume_id);
}

int
condition_look(const char *volume_id, const char *path, const char *staging,
    int64_t wait_ms, struct condition *out, struct err *err)
{
	auto_free char *staged = str_fmt("%s/%s", staging, volume_id);
	char found[PATH_MAX];
	const char *asked = !str_is_empty(path) ? path
	    : !str_is_empty(staging)            ? staged
						: found;
	const struct mount_point *point = &out->point;
	struct device_claim claim = { .spec.volume_id = volume_id };
	struct err why = ERR_INIT;
	unsigned open = 0;
	uint64_t size;
	bool read_only;
	int rc = asked == found ? find_anywhere(volume_id, found, err) : 0;

	if (rc < 0)
		return rc;
	rc = path_resolve(asked, out->path, &why);
	if (rc < 0)
		return err_set(
		    err, ERR_NOT_FOUND, "no volume at %s: %s", asked, why.text);
	rc = mount_look(out->path, &out->point, NULL, &why);
	if (rc < 0) {
		if (rc == -ENAMETOOLONG)
			why.code = ERR_NOT_FOUND;
		*err = why;
		return rc;
	}
	if (!point->exists || !point->mounted ||
	    (!S_ISBLK(point->mode) && !S_ISDIR(point->mode) && !point->dead))
		return err_set(err, ERR_NOT_FOUND, "no volume at %s: %s",
		    out->path,
		    !point->exists ? "no such path"
			: !point->mounted
			? "not a mount point"
			: "neither a directory nor a block device");
	if (str_is_empty(staging) ||
	    stash_read(staging, &out->stash, NULL) < 0 ||
	    !stash_is_of(&out->stash, volume_id))
		memset(&out->stash, 0, sizeof(out->stash));
	if (out->stash.image[0] != '\0')
		(void)stash_claim(&out->stash, &claim, NULL);
	claim.mapper = NULL;
	rc = point->dead ? 0 : attachment_find(&claim, point, &out->at, &why);
	if (rc == -ENODEV && asked != found &&
	    attachment_find_staged(volume_id, point->source, NULL) == -ENODEV)
		return err_set(err, ERR_NOT_FOUND,
		    "what is mounted at %s is not volume %s: %s", out->path,
		    volume_id, why.text);
	/*
	 * A file system answers from memory when its device is dead: the mapper
	 * knows better. What no mapper knows is not judged.
	 */
	if (point->dead)
		condition_set(out, CONDITION_DEAD,
		    "the volume at %.90s is dead: its device does not answer",
		    out->path);
	else if (rc == -ESTALE)
		condition_set(out, CONDITION_DEAD,
		    "the volume at %.90s is dead: nobody serves its device any more",
		    out->path);
	else if (S_ISBLK(point->mode) &&
	    sysfs_size(point->source, &size, &read_only) < 0)
		condition_set(out, CONDITION_DEAD,
		    "the volume at %.90s is dead: its device is gone",
		    out->path);
	else if (is_stuck(point->source, wait_ms, &open))
		condition_set(out, CONDITION_STUCK,
		    "the volume at %.90s is stuck: %u requests wait for its cluster, and none has ended for %lld s",
		    out->path, open, (long long)(wait_ms / 1000));
	else if (S_ISDIR(point->mode) && mount_is_turned(out->path, point))
		condition_set(out, CONDITION_TURNED,
		    "the kernel has made the file system at %.90s read-only after errors",
		    out->path);
	return 0;
}
