/*
 * attachment.c - see attachment.h.
 */
#include "node/attachment.h"
#include "node/crypt.h"
#include "node/loopdev.h"
#include "node/luks.h"
#include "node/stash.h"

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

/*
 * The kernel has no such device any more, or a loop device over nothing: where
 * a mount shows it, nothing can be read or written.
 */
static bool
is_gone(dev_t devno)
{
	char file[LOOPDEV_FILE_MAX];
	uint64_t size;
	bool read_only;

	return sysfs_size(devno, &size, &read_only) == -ENODEV ||
	    (major(devno) == LOOP_MAJOR &&
		loopdev_file((int)minor(devno), file) < 0);
}

int
attachment_find(const struct device_claim *claim,
    const struct mount_point *point, struct attachment *out, struct err *err)
{
	const struct mapper_child *mapper = claim->mapper;
	dev_t devno = point->source;
	struct err why = ERR_INIT;
	int rc = -ENODEV;

	memset(out, 0, sizeof(*out));
	if (devno == 0)
		return err_refuse_as(
		    err, -ENODEV, "no block device is mounted there");
	if (is_gone(devno)) {
		return err_refuse_as(err, -ESTALE, "device %u:%u is gone",
		    major(devno), minor(devno));
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

/*
 * Whether a mounted staging path of the volume shows the device: for devices
 * that no mapper of ours knows (an encrypted volume's and rbd-nbd's, staged by
 * ceph-csi), and for images whose name tells nothing of the volume.
 */
int
attachment_find_staged(const char *volume_id, dev_t devno, struct err *err)
{
	const struct mount_point shown = { .source = devno };
	const struct mount_entry *entry;
	struct mount_list list;
	struct stash stash;
	int found = -ENODEV,
	    rc = devno == 0 ? -ENODEV : mount_list_open(&list, err);

	if (rc < 0)
		return rc;
	while (found < 0 && (entry = mount_list_next(&list)) != NULL) {
		struct device_claim claim = { .spec.volume_id = volume_id };
		struct attachment at;

		if (!read_stash_beside(entry->point, volume_id, &stash))
			continue;
		(void)stash_claim(&stash, &claim, NULL);
		claim.mapper = NULL;
		rc = mount_entry_source(entry) == devno
		    ? 0
		    : attachment_find(&claim, &shown, &at, NULL);
		if (rc == 0 || rc == -ESTALE)
			found = 0;
	}
	mount_list_close(&list);
	return found;
}

/* ---- taking away ---------------------------------------------------------- */

/*
 * Is this mount to go? By the device, or by a staging path. *layer: its
 * read-only layer, or 0.
 */
static int
prove_mount(const char *path, const struct device_claim *claim,
    const struct mount_point *point, bool *dead, dev_t *layer, struct err *err)
{
	struct err why = ERR_INIT, failed = ERR_INIT;
	struct attachment at;
	int rc = attachment_find(claim, point, &at, &why);

	*layer = S_ISBLK(point->mode) ? at.layer[LAYER_READ_ONLY] : 0;
	*dead = rc == -ESTALE || point->dead;
	if (rc == -ENODEV) {
		rc = attachment_find_staged(
		    claim->spec.volume_id, point->source, &failed);
		if (err_is_set(&failed))
			why = failed;
	}
	if (rc == 0 || rc == -ESTALE)
		return 0;
	err_prefix(&why, "%s is a mount of something else than volume %s", path,
	    claim->spec.volume_id);
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
	return err_refuse(
	    err, "unmount %s: more than %d mounts there", path, STACK_MAX);
}

/* ---- looking for others --------------------------------------------------- */

int
attachment_find_places(const struct device_claim *claim,
    const struct attachment *known, bool plain, const char *except, bool alive,
    struct attachment_places *out, struct err *err)
{
	const char *volume_id = claim->spec.volume_id;
	const struct mount_entry *entry;
	const dev_t devno[] = { known != NULL ? known->device.devno : 0,
		known != NULL ? known->layer[LAYER_CRYPT] : 0 };
	char disk[countof(devno)][DISK_NAME_MAX];
	struct mount_list list;
	struct stash stash;
	dev_t last = 0; /* one device has often many mounts in a row */
	bool last_is = false;
	int rc = mount_list_open(&list, err);

	memset(out, 0, sizeof(*out));
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < countof(devno); i++)
		sysfs_disk(devno[i], disk[i]);
	while ((entry = mount_list_next(&list)) != NULL) {
		struct mount_point shown = { .exists = true };
		struct attachment at;
		char *to;

		if (str_eq(entry->point, except))
			continue;
		if (!plain)
			shown.source = mount_entry_source(entry);
		for (size_t i = 0; i < countof(devno) && plain; i++)
			if (devno[i] != 0 &&
			    mount_entry_shows(entry, devno[i], disk[i]))
				shown.source = devno[i];
		if (shown.source == 0)
			continue;
		if (shown.source != last) {
			last = shown.source;
			rc = attachment_find(claim, &shown, &at, NULL);
			/* What is gone was anybody's, and nothing keeps it. */
			last_is = rc == 0 ||
			    (rc == -ESTALE && !alive && !is_gone(last));
		}
		if (!last_is && shown.source != devno[0])
			continue;
		to = read_stash_beside(entry->point, volume_id, &stash)
		    ? out->staging
		    : out->target;
		if (*to == '\0')
			(void)!str_put(to, PATH_MAX, "%s", entry->point);
	}
	mount_list_close(&list);
	return 0;
}

/* ---- layers --------------------------------------------------------------- */

int
attachment_check_holders(
    const struct device *dev, const char *volume_id, struct err *err)
{
	auto_dir DIR *dir = sysfs_dir(
	    "dev/block/%u:%u/holders", major(dev->devno), minor(dev->devno));
	const char *disk;

	while ((disk = sysfs_next(dir)) != NULL)
		if (!crypt_is_of(disk, volume_id))
			return err_refuse(err,
			    "volume %s: its device %s is held by /dev/%s",
			    volume_id, dev->path, disk);
	return 0;
}

/* The next read-only layer over the image's device, or -ENOENT. */
static int
layer_next(DIR *dir, const struct device_claim *claim, char *file)
{
	int id;

	while ((id = loopdev_next(dir, node_paths.dev, file)) >= 0) {
		const struct mount_point shown = { .source = makedev(LOOP_MAJOR,
						       (unsigned)id) };
		struct attachment at;

		if (loopdev_was_read_only(id) &&
		    attachment_find(claim, &shown, &at, NULL) == 0 &&
		    at.layer[LAYER_READ_ONLY] != 0)
			break;
	}
	return id;
}

void
attachment_free_layers(const struct device_claim *claim)
{
	auto_dir DIR *dir = sysfs_dir("block");
	char file[LOOPDEV_FILE_MAX];
	int id;

	while ((id = layer_next(dir, claim, file)) >= 0)
		(void)!loopdev_clear(id, file, LAYER_MS, NULL);
}

int
attachment_grow(const struct device_claim *claim, struct attachment *at,
    bool block, struct err *err)
{
	auto_dir DIR *dir = block ? sysfs_dir("block") : NULL;
	char file[LOOPDEV_FILE_MAX];
	int id, rc;

	rc = at->mapper->grow(&claim->spec, &at->device, err);
	if (rc == 0 && at->layer[LAYER_CRYPT] != 0) {
		auto_free char *name = str_fmt(
		    CRYPT_PREFIX "%s", claim->spec.volume_id);

		rc = luks_grow(name, err);
	}
	while (rc == 0 && (id = layer_next(dir, claim, file)) >= 0)
		rc = loopdev_grow(id, file, err);
	return rc;
}

int
attachment_top(const struct attachment *at, struct device *top, struct err *err)
{
	dev_t devno = at->layer[LAYER_CRYPT];
	char disk[DISK_NAME_MAX];
	int rc;

	*top = at->device;
	if (devno == 0)
		return 0;
	sysfs_disk(devno, disk);
	if (str_put(top->path, sizeof(top->path), "%s/%s", node_paths.dev,
		disk) < 0)
		return err_set(err, ERR_INTERNAL, "device %s: too long", disk);
	top->devno = devno;
	rc = sysfs_size(devno, &top->size_bytes, &top->read_only);
	return rc < 0 ? err_set_rc(err, rc, "look at device %s", top->path)
		      : device_node_ensure(top->path, devno, err);
}

static int
find_mapping(const struct device_claim *claim, const char *suffix,
    struct attachment *at, struct err *err)
{
	const char *volume_id = claim->spec.volume_id;
	const struct mount_point point = {
		.source = crypt_find(volume_id, suffix),
	};
	int rc;

	if (point.source == 0)
		return -ENOENT;
	rc = attachment_find(claim, &point, at, err);
	if (rc < 0)
		err_prefix(
		    err, "the mapping " CRYPT_PREFIX "%s%s", volume_id, suffix);
	return rc;
}

int
attachment_find_crypt(
    const struct device_claim *claim, struct attachment *at, struct err *err)
{
	return find_mapping(claim, "", at, err);
}

static int
close_mapping(
    const struct device_claim *claim, const char *suffix, struct err *err)
{
	const char *volume_id = claim->spec.volume_id;
	struct attachment at;
	int rc = find_mapping(claim, suffix, &at, err);

	if (rc == -ENOENT)
		return 0;
	if (rc < 0 && rc != -ESTALE)
		return rc;
	if (rc == -ESTALE && err != NULL)
		*err = (struct err)ERR_INIT;
	rc = crypt_close(volume_id, suffix, err);
	if (rc == 0 && crypt_find(volume_id, suffix) != 0)
		rc = err_set(err, ERR_INTERNAL,
		    "the mapping " CRYPT_PREFIX "%s%s is there again",
		    volume_id, suffix);
	return rc;
}

int
attachment_close_crypt(const struct device_claim *claim, struct err *err)
{
	int rc = close_mapping(claim, "", err);

	return rc == 0 ? close_mapping(claim, CRYPT_WIPE, err) : rc;
}
