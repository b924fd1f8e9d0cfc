/*
 * attachment.c - see attachment.h.
 */
#include "node/attachment.h"
#include "node/crypt.h"
#include "node/loopdev.h"
#include "node/stash.h"
#include "node/sysfs.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define STACK_MAX 16 /* mounts one above the other at one path */
#define LAYER_MS 5000

/* What tells a layer: *below is the device that it lies on. */
static bool (*const layers[LAYER_KINDS])(dev_t devno, dev_t *below) = {
	[LAYER_READ_ONLY] = loopdev_below,
	[LAYER_CRYPT] = crypt_below,
};

int
attachment_find(const struct device_claim *claim,
    const struct mount_point *point, struct attachment *out, struct err *err)
{
	const struct mapper_child *mapper = claim->mapper;
	dev_t devno = point->source;
	struct err why = ERR_INIT;
	int rc = -ENODEV;

	memset(out, 0, sizeof(*out));
	if (devno == 0) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "no block device is mounted there");
		return -ENODEV;
	}
	if (device_is_gone(devno)) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "device %u:%u is gone", major(devno), minor(devno));
		return -ESTALE;
	}
	for (size_t i = 0; i < LAYER_KINDS; i++) {
		dev_t below;

		if (!layers[i](devno, &below))
			continue;
		out->layer[i] = devno;
		devno = below;
	}
	for (size_t i = 0; rc == -ENODEV; i++) {
		if (claim->mapper == NULL &&
		    (mapper = mapper_child_at(i)) == NULL)
			break;
		out->mapper = mapper;
		rc = mapper->verify(&claim->spec, devno, &out->device, &why);
		if (claim->mapper != NULL)
			break;
	}
	if (rc < 0 && err != NULL)
		*err = why;
	return rc == 0 && point->dead ? -ESTALE : rc;
}

/* ---- by a staging path ---------------------------------------------------- */

/* Reads the stash beside "<staging>/<volume_id>", if it is this volume's. */
static bool
read_stash_beside(const char *point, const char *volume_id, struct stash *stash)
{
	auto_free char *dir = NULL;
	size_t len = strlen(point), tail = strlen(volume_id);

	if (len < tail + 2 || point[len - tail - 1] != '/' ||
	    !str_ends(point, volume_id))
		return false;
	dir = str_fmt("%.*s", (int)(len - tail - 1), point);
	return stash_read(dir, stash, NULL) == 0 &&
	    stash_is_of(stash, volume_id);
}

struct staged_search {
	const char *volume_id;
	struct mount_point shown;
	struct stash stash;
	bool found;
};

static bool
on_staged(const struct mount_entry *entry, void *arg)
{
	struct staged_search *search = arg;
	struct device_claim claim = { .spec.volume_id = search->volume_id };
	struct attachment at;
	int rc = 0;

	if (!read_stash_beside(entry->point, search->volume_id, &search->stash))
		return true;
	(void)stash_claim(&search->stash, &claim, NULL);
	claim.mapper = NULL;
	if (mount_entry_source(entry) != search->shown.source)
		rc = attachment_find(&claim, &search->shown, &at, NULL);
	search->found = rc == 0 || rc == -ESTALE;
	return !search->found;
}

/* ---- taking away ---------------------------------------------------------- */

/*
 * Is this mount to go? By the device, or by a mounted staging path of the
 * volume that shows the same: for devices that no mapper of ours knows (an
 * encrypted volume's and rbd-nbd's, staged by ceph-csi), and for images whose
 * name tells nothing of the volume. *layer: its read-only layer, or 0.
 */
static int
prove_mount(const char *path, const struct device_claim *claim,
    const struct mount_point *point, bool *dead, dev_t *layer, struct err *err)
{
	const char *volume_id = claim->spec.volume_id;
	auto_free struct staged_search *search = NULL;
	struct err why = ERR_INIT, failed = ERR_INIT;
	struct attachment at;
	int rc = attachment_find(claim, point, &at, &why);

	*layer = S_ISBLK(point->mode) ? at.layer[LAYER_READ_ONLY] : 0;
	*dead = rc == -ESTALE;
	if (rc == -ENODEV && point->source != 0) {
		search = mem_new(sizeof(*search));
		search->volume_id = volume_id;
		search->shown.source = point->source;
		rc = mount_each(on_staged, search, &failed);
		if (rc < 0)
			why = failed;
		else
			rc = search->found ? 0 : -ENODEV;
		*dead = point->dead;
	}
	if (rc == 0 || rc == -ESTALE)
		return 0;
	err_prefix(&why, "%s is a mount of something else than volume %s", path,
	    volume_id);
	if (err != NULL)
		*err = why;
	return rc == -ENODEV ? -EBUSY : rc;
}

int
attachment_unmount(
    const char *path, const struct device_claim *claim, struct err *err)
{
	for (int i = 0; i < STACK_MAX; i++) {
		char file[LOOPDEV_FILE_MAX] = "";
		struct mount_point point;
		dev_t layer;
		bool dead;
		int rc = mount_look(path, &point, NULL, err);

		if (rc < 0 || !point.mounted)
			return rc;
		rc = prove_mount(path, claim, &point, &dead, &layer, err);
		if (rc < 0)
			return rc;
		if (layer != 0)
			(void)!loopdev_file((int)minor(layer), file);
		rc = mount_umount(path, dead, err);
		if (rc < 0)
			return rc;
		/* One that stays is freed when the volume is unstaged. */
		if (layer != 0)
			(void)!loopdev_clear(
			    (int)minor(layer), file, LAYER_MS, NULL);
	}
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "unmount %s: more than %d mounts there", path, STACK_MAX);
}

/* ---- looking for others --------------------------------------------------- */

struct places_search {
	const struct device_claim *claim;
	dev_t devno, last; /* one device has often many mounts in a row */
	bool last_is;
	const char *except;
	bool alive;
	struct stash stash; /* room for one */
	struct attachment_places *out;
};

static bool
is_shown_by(struct places_search *search, dev_t devno)
{
	const struct mount_point point = { .source = devno };
	struct attachment at;
	int rc;

	if (devno == search->devno)
		return true;
	if (devno == search->last)
		return search->last_is;
	search->last = devno;
	rc = attachment_find(search->claim, &point, &at, NULL);
	/* What is gone was anybody's, and is not kept by letting it be. */
	search->last_is = rc == 0 ||
	    (rc == -ESTALE && !search->alive && !device_is_gone(devno));
	return search->last_is;
}

static bool
on_place(const struct mount_entry *entry, void *arg)
{
	struct places_search *search = arg;
	const char *volume_id = search->claim->spec.volume_id;
	dev_t devno = mount_entry_source(entry);
	char *to;

	if (devno == 0 || str_eq(entry->point, search->except) ||
	    !is_shown_by(search, devno))
		return true;
	to = read_stash_beside(entry->point, volume_id, &search->stash)
	    ? search->out->staging
	    : search->out->target;
	if (to[0] == '\0')
		(void)!str_put(to, PATH_MAX, "%s", entry->point);
	return true;
}

int
attachment_find_places(const struct device_claim *claim, dev_t devno,
    const char *except, bool alive, struct attachment_places *out,
    struct err *err)
{
	auto_free struct places_search *search = mem_new(sizeof(*search));

	search->claim = claim;
	search->devno = devno;
	search->except = except;
	search->alive = alive;
	search->out = out;
	memset(out, 0, sizeof(*out));
	return mount_each(on_place, search, err);
}

/* ---- layers --------------------------------------------------------------- */

struct holder_search {
	const char *volume_id;
	char found[NAME_MAX + 1];
};

static bool
on_holder(const char *disk, void *arg)
{
	struct holder_search *search = arg;

	if (!crypt_is_of(disk, search->volume_id))
		(void)!str_put(
		    search->found, sizeof(search->found), "%s", disk);
	return search->found[0] == '\0';
}

int
attachment_check_holders(
    const struct device *dev, const char *volume_id, struct err *err)
{
	auto_free char *dir = str_fmt(
	    "dev/block/%u:%u/holders", major(dev->devno), minor(dev->devno));
	struct holder_search search = { .volume_id = volume_id };

	sysfs_each(dir, on_holder, &search);
	return search.found[0] == '\0'
	    ? 0
	    : err_set(err, ERR_FAILED_PRECONDITION,
		  "volume %s: its device %s is held by /dev/%s", volume_id,
		  dev->path, search.found);
}

static bool
on_layer(int id, const char *file, void *arg)
{
	const struct device_claim *claim = arg;
	const struct mount_point point = { .source = makedev(
					       LOOP_MAJOR, (unsigned)id) };
	struct attachment at;

	if (loopdev_was_read_only(id) &&
	    attachment_find(claim, &point, &at, NULL) == 0 &&
	    at.layer[LAYER_READ_ONLY] != 0)
		(void)!loopdev_clear(id, file, LAYER_MS, NULL);
	return true;
}

void
attachment_free_layers(const struct device_claim *claim)
{
	struct device_claim mine = *claim;

	loopdev_each("/dev/", on_layer, &mine);
}

int
attachment_close_crypt(const struct device_claim *claim, struct err *err)
{
	const char *volume_id = claim->spec.volume_id;
	const struct mount_point point = { .source = crypt_find(volume_id) };
	struct attachment at;
	int rc;

	if (point.source == 0)
		return 0;
	rc = attachment_find(claim, &point, &at, err);
	if (rc < 0 && rc != -ESTALE) {
		err_prefix(err, "the mapping " CRYPT_PREFIX "%s", volume_id);
		return rc;
	}
	if (rc == -ESTALE && err != NULL)
		*err = (struct err)ERR_INIT;
	rc = crypt_close(volume_id, err);
	if (rc == 0 && crypt_find(volume_id) != 0)
		rc = err_set(err, ERR_INTERNAL,
		    "the mapping " CRYPT_PREFIX "%s is there again", volume_id);
	return rc;
}
