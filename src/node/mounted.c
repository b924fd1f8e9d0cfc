/*
 * mounted.c - see mounted.h.
 */
#include "node/mounted.h"
#include "node/loopdev.h"
#include "node/staging.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define STACK_MAX 16 /* mounts one above the other at one path */
#define LAYER_MS 5000

int
mounted_identify(const struct device_spec *spec, const struct mapper *mapper,
    const struct mount_point *point, struct device *dev,
    const struct mapper **owner, struct err *err)
{
	int rc = device_identify(spec, mapper, point->source, dev, owner, err);

	return rc == 0 && point->dead ? -ESTALE : rc;
}

/* ---- by a staging path ---------------------------------------------------- */

/* Reads the stash beside "<staging>/<volume_id>", if it is this volume's. */
static bool
staging_stash(const char *point, const char *volume_id, struct stash *stash)
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
	dev_t devno;
	struct stash stash;
	bool found;
};

static bool
on_staged(const struct mount_entry *entry, void *arg)
{
	struct staged_search *search = arg;
	struct device_spec spec = { .volume_id = search->volume_id };
	struct device dev;
	int rc;

	if (!staging_stash(entry->point, search->volume_id, &search->stash))
		return true;
	staging_spec_of(&search->stash, &spec);
	rc = mount_entry_source(entry) == search->devno
	    ? 0
	    : device_identify(&spec, NULL, search->devno, &dev, NULL, NULL);
	search->found = rc == 0 || rc == -ESTALE;
	return !search->found;
}

/*
 * For devices that no mapper of ours knows (an encrypted volume's and rbd-nbd's,
 * staged by ceph-csi), and images whose name tells nothing of the volume.
 */
static int
check_staged(const char *volume_id, dev_t devno, struct err *err)
{
	auto_free struct staged_search *search = mem_new(sizeof(*search));
	struct err why = ERR_INIT;
	int rc;

	search->volume_id = volume_id;
	search->devno = devno;
	rc = devno == 0 ? 0 : mount_each(on_staged, search, &why);
	if (rc < 0 && err != NULL)
		*err = why;
	return rc < 0 ? rc : search->found ? 0 : -ENODEV;
}

/* ---- taking away ---------------------------------------------------------- */

static int
prove(const char *path, const struct device_spec *spec,
    const struct mapper *mapper, const struct mount_point *point, bool *dead,
    struct err *err)
{
	struct device dev;
	struct err why = ERR_INIT;
	int rc = mounted_identify(spec, mapper, point, &dev, NULL, &why);

	*dead = rc == -ESTALE;
	if (rc == 0 || rc == -ESTALE)
		return 0;
	if (rc == -ENODEV)
		rc = check_staged(spec->volume_id, point->source, &why);
	if (rc == 0) {
		*dead = point->dead;
		return 0;
	}
	err_prefix(&why, "%s is a mount of something else than volume %s", path,
	    spec->volume_id);
	if (err != NULL)
		*err = why;
	return rc == -ENODEV ? -EBUSY : rc;
}

int
mounted_take_away(const char *path, const struct device_spec *spec,
    const struct mapper *mapper, struct err *err)
{
	for (int i = 0; i < STACK_MAX; i++) {
		char file[LOOPDEV_FILE_MAX];
		struct mount_point point;
		dev_t below;
		bool dead, layer;
		int rc = mount_look(path, &point, NULL, err);

		if (rc < 0 || !point.mounted)
			return rc;
		rc = prove(path, spec, mapper, &point, &dead, err);
		if (rc < 0)
			return rc;
		layer = S_ISBLK(point.mode) &&
		    loopdev_below(point.source, &below, file);
		rc = mount_umount(path, dead, err);
		if (rc < 0)
			return rc;
		/* One that stays is freed when the volume is unstaged. */
		if (layer)
			(void)!loopdev_clear(
			    (int)minor(point.source), file, LAYER_MS, NULL);
	}
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "unmount %s: more than %d mounts there", path, STACK_MAX);
}

/* ---- looking for others --------------------------------------------------- */

struct search {
	const struct device_spec *spec;
	const struct mapper *mapper;
	dev_t devno, last; /* one device has often many mounts in a row */
	bool last_is;
	const char *except;
	bool alive;
	struct stash *stash; /* room for one */
	struct mounted_elsewhere *out;
};

static bool
shows(struct search *search, dev_t devno)
{
	struct device dev;
	int rc;

	if (devno == search->devno)
		return true;
	if (devno == search->last)
		return search->last_is;
	search->last = devno;
	rc = device_identify(
	    search->spec, search->mapper, devno, &dev, NULL, NULL);
	/* What is gone was anybody's, and is not kept by letting it be. */
	search->last_is = rc == 0 ||
	    (rc == -ESTALE && !search->alive && !device_is_gone(devno));
	return search->last_is;
}

static bool
on_mount(const struct mount_entry *entry, void *arg)
{
	struct search *search = arg;
	dev_t devno = mount_entry_source(entry);
	char *to;

	if (devno == 0 || str_eq(entry->point, search->except) ||
	    !shows(search, devno))
		return true;
	to = staging_stash(entry->point, search->spec->volume_id, search->stash)
	    ? search->out->staging
	    : search->out->target;
	if (to[0] == '\0')
		(void)!str_put(to, PATH_MAX, "%s", entry->point);
	return true;
}

int
mounted_find(const struct device_spec *spec, const struct mapper *mapper,
    dev_t devno, const char *except, bool alive, struct mounted_elsewhere *out,
    struct err *err)
{
	auto_free struct stash *stash = mem_new(sizeof(*stash));
	struct search search = { .spec = spec,
		.mapper = mapper,
		.devno = devno,
		.except = except,
		.alive = alive,
		.stash = stash,
		.out = out };

	memset(out, 0, sizeof(*out));
	return mount_each(on_mount, &search, err);
}

/* ---- read-only layers ----------------------------------------------------- */

static bool
on_layer(int id, const char *file, void *arg)
{
	const struct search *search = arg;
	dev_t devno = makedev(LOOP_MAJOR, (unsigned)id), below;
	struct device dev;

	if (loopdev_below(devno, &below, NULL) && loopdev_was_read_only(id) &&
	    device_identify(
		search->spec, search->mapper, devno, &dev, NULL, NULL) == 0)
		(void)!loopdev_clear(id, file, LAYER_MS, NULL);
	return true;
}

void
mounted_free_layers(const struct device_spec *spec, const struct mapper *mapper)
{
	struct search search = { .spec = spec, .mapper = mapper };

	loopdev_each("/dev/", on_layer, &search);
}
