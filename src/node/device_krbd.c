/*
 * device_krbd.c - the kernel's own rbd driver, straight through /sys/bus/rbd.
 *
 * The rule that holds it together: sysfs is the truth, the index is a cache.
 * The index (image -> rbd id) is built once at the start and kept by note();
 * a child verifies what it says by the device's attributes, and before and
 * after mapping anew looks at devices that the index does not know: that
 * lists a directory of ids but reads the attributes of strangers only. So an
 * image that somebody else has mapped (ceph-csi, a child of a predecessor
 * that was killed) is found too, and nothing is mapped twice.
 *
 * The key goes into the process keyring of the child that maps, which dies
 * with it; it is in no file, option, or other process's reach.
 */
#include "node/device.h"
#include "node/krbd_line.h"
#include "node/mount.h"

#include "base/cephx_key.h"
#include "base/log.h"
#include "base/map.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <time.h>

#define BUS "/sys/bus/rbd"
#define ATTR_MAX 4096
#define BUSY_TRIES 50 /* 5 s: somebody still closes the device */
#define BUSY_WAIT_MS 100
#define KEY_BYTES_MAX 512
#define SHOWN_MAX 16 /* numbers that are passed over */

/* One mapping that we know of. */
struct entry {
	int id;
	char *fsid, *monitors, *pool, *rados_namespace, *image;
	struct entry *next; /* same key, other pool or cluster */
};

static struct {
	struct map index;     /* volume_key() -> list of struct entry */
	unsigned char *known; /* by id: it is in the index */
	size_t known_size;
} krbd;

/* ---- reading sysfs -------------------------------------------------------- */

/* Reads a device's attribute without its newline; missing ones are "". */
static int
attr_read(int id, const char *name, char *out, size_t size)
{
	char path[128];
	auto_close int fd = -1;
	ssize_t n;

	out[0] = '\0';
	(void)snprintf(path, sizeof(path), BUS "/devices/%d/%s", id, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, out, size - 1);
	if (n < 0)
		return -errno;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return 0;
}

static int
attr_devno(int id, dev_t *devno)
{
	char text[32];
	uint64_t maj, min;
	int rc = attr_read(id, "major", text, sizeof(text));

	if (rc == 0)
		rc = str_to_u64(text, &maj);
	if (rc == 0)
		rc = attr_read(id, "minor", text, sizeof(text));
	if (rc == 0)
		rc = str_to_u64(text, &min);
	if (rc == 0)
		*devno = makedev((unsigned)maj, (unsigned)min);
	return rc;
}

/* The monitors that a device was mapped with; "" if that cannot be read. */
static void
attr_monitors(int id, char *out, size_t size)
{
	(void)attr_read(id, "config_info", out, size);
	out[strcspn(out, " ")] = '\0';
}

/* ---- which image is it? --------------------------------------------------- */

/*
 * What volume handle and image name have in common: the UUID at the end of a
 * dynamic volume's, all of a static one's.
 */
static const char *
volume_key(const char *name)
{
	size_t len = strlen(name);
	const char *tail;

	if (len < 36)
		return name;
	tail = name + len - 36;
	for (int i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;

		if (dash ? tail[i] != '-'
			 : strchr("0123456789abcdefABCDEF", tail[i]) == NULL)
			return name;
	}
	return tail;
}

static const char *
spec_key(const struct device_spec *spec)
{
	return volume_key(spec->image != NULL ? spec->image : spec->volume_id);
}

static const char *
text_of(const char *s)
{
	return s != NULL ? s : "";
}

/*
 * Same cluster by fsid where both are known, else by a common monitor. A
 * stash of ceph-csi tells neither: pool, namespace and name then have to do.
 */
static bool
same_cluster(
    const struct device_spec *spec, const char *fsid, const char *monitors)
{
	if (!str_is_empty(spec->fsid) && !str_is_empty(fsid))
		return str_eq(spec->fsid, fsid);
	if (str_is_empty(spec->monitors) || str_is_empty(monitors))
		return true;
	return krbd_monitors_meet(spec->monitors, monitors);
}

static bool
same_image(const struct device_spec *spec, const char *pool,
    const char *rados_namespace, const char *image)
{
	if (spec->image == NULL)
		return device_is_named(spec->volume_id, image);
	return str_eq(spec->image, image) &&
	    str_eq(text_of(spec->pool), pool) &&
	    str_eq(text_of(spec->rados_namespace), rados_namespace);
}

/*
 * A name that is the volume's no more: was a pool renamed, or made anew, it is
 * another one's. Where both ids are known they decide: 1 the same pool, 0
 * another one, -1 unknown.
 */
static int
same_pool_id(const struct device_spec *spec, int id)
{
	char text[32];
	uint64_t pool_id;

	if (spec->pool_id <= 0 ||
	    attr_read(id, "pool_id", text, sizeof(text)) < 0 ||
	    str_to_u64(text, &pool_id) < 0)
		return -1;
	return pool_id == (uint64_t)spec->pool_id;
}

/* Does device `id` map this image (not a snapshot of it)? */
static bool
id_matches(const struct device_spec *spec, int id)
{
	char image[ATTR_MAX], pool[ATTR_MAX], ns[ATTR_MAX], text[ATTR_MAX];
	char fsid[64];
	int same;

	if (attr_read(id, "name", image, sizeof(image)) < 0 ||
	    attr_read(id, "pool", pool, sizeof(pool)) < 0)
		return false;
	(void)attr_read(id, "pool_ns", ns, sizeof(ns));
	same = same_pool_id(spec, id);
	if (same == 0 ||
	    !same_image(spec, same > 0 ? text_of(spec->pool) : pool, ns, image))
		return false;
	if (attr_read(id, "current_snap", text, sizeof(text)) < 0 ||
	    strcmp(text, "-") != 0)
		return false;
	/* An image of that name that was deleted and made anew. */
	if (!str_is_empty(spec->image_id) &&
	    attr_read(id, "image_id", text, sizeof(text)) == 0 &&
	    text[0] != '\0' && strcmp(text, spec->image_id) != 0)
		return false;
	(void)attr_read(id, "cluster_fsid", fsid, sizeof(fsid));
	attr_monitors(id, text, sizeof(text));
	return same_cluster(spec, fsid, text);
}

/* ---- the index (daemon; children have a copy) ----------------------------- */

static bool
is_known(int id)
{
	return (size_t)id < krbd.known_size && krbd.known[id] != 0;
}

static void
set_known(int id, bool known)
{
	size_t size = krbd.known_size;

	if ((size_t)id >= size) {
		krbd.known_size = (size_t)id + 64;
		krbd.known = mem_grow(krbd.known, krbd.known_size);
		memset(krbd.known + size, 0, krbd.known_size - size);
	}
	krbd.known[id] = known;
}

static bool
entry_matches(const struct entry *e, const struct device_spec *spec)
{
	return same_image(spec, e->pool, e->rados_namespace, e->image) &&
	    same_cluster(spec, e->fsid, e->monitors);
}

static void
entry_free(struct entry *e)
{
	free(e->fsid);
	free(e->monitors);
	free(e->pool);
	free(e->rados_namespace);
	free(e->image);
	free(e);
}

static void
index_add(int id, const char *fsid, const char *monitors, const char *pool,
    const char *rados_namespace, const char *image)
{
	struct entry *e = mem_new(sizeof(*e));

	*e = (struct entry){ .id = id,
		.fsid = str_dup(text_of(fsid)),
		.monitors = str_dup(text_of(monitors)),
		.pool = str_dup(text_of(pool)),
		.rados_namespace = str_dup(text_of(rados_namespace)),
		.image = str_dup(text_of(image)) };
	e->next = map_get(&krbd.index, volume_key(image));
	(void)map_set(&krbd.index, volume_key(image), e);
	set_known(id, true);
}

/* Takes out what stands for `spec` or for the same id. */
static void
index_drop(const struct device_spec *spec, int id)
{
	struct entry *head = map_get(&krbd.index, spec_key(spec));
	struct entry **at = &head, *e;

	while ((e = *at) != NULL) {
		if (e->id != id && !entry_matches(e, spec)) {
			at = &e->next;
			continue;
		}
		*at = e->next;
		set_known(e->id, false);
		entry_free(e);
	}
	if (head != NULL)
		(void)map_set(&krbd.index, spec_key(spec), head);
	else
		(void)map_remove(&krbd.index, spec_key(spec));
}

static void
krbd_find(const struct device_spec *spec, struct device_ref *ref)
{
	const struct entry *e = map_get(&krbd.index, spec_key(spec));

	*ref = (struct device_ref)DEVICE_REF_INIT;
	for (; e != NULL; e = e->next)
		if (entry_matches(e, spec)) {
			ref->id = e->id;
			return;
		}
}

static void
krbd_note(const struct device_spec *spec, const struct device_ref *ref)
{
	index_drop(spec, ref != NULL ? ref->id : -1);
	if (ref != NULL && ref->id >= 0 && spec->image != NULL)
		index_add(ref->id, spec->fsid, spec->monitors, spec->pool,
		    spec->rados_namespace, spec->image);
}

/* ---- start ---------------------------------------------------------------- */

static void
index_device(int id)
{
	char fsid[64], mons[ATTR_MAX], pool[ATTR_MAX], ns[ATTR_MAX];
	char image[ATTR_MAX], snap[ATTR_MAX];

	if (attr_read(id, "name", image, sizeof(image)) < 0 ||
	    attr_read(id, "pool", pool, sizeof(pool)) < 0 ||
	    attr_read(id, "current_snap", snap, sizeof(snap)) < 0 ||
	    strcmp(snap, "-") != 0)
		return;
	(void)attr_read(id, "pool_ns", ns, sizeof(ns));
	(void)attr_read(id, "cluster_fsid", fsid, sizeof(fsid));
	attr_monitors(id, mons, sizeof(mons));
	index_add(id, fsid, mons, pool, ns, image);
}

/* Calls visit for each id in sysfs until it returns true: that id, or -1. */
static int
each_id(bool (*visit)(int id, const void *arg), const void *arg)
{
	DIR *dir = opendir(BUS "/devices");
	const struct dirent *d;
	uint64_t id;
	int found = -1;

	if (dir == NULL)
		return -1;
	while (found < 0 && (d = readdir(dir)) != NULL)
		if (str_to_u64(d->d_name, &id) == 0 && id < 1u << 20 &&
		    visit((int)id, arg))
			found = (int)id;
	(void)closedir(dir);
	return found;
}

static bool
visit_to_index(int id, const void *arg)
{
	(void)arg;
	index_device(id);
	return false;
}

static int
krbd_init(const char *state_dir, struct err *err)
{
	(void)state_dir;
	(void)err;
	if (access(BUS, F_OK) < 0)
		device_load_module("rbd");
	(void)each_id(visit_to_index, NULL);
	return 0;
}

static const char *
bus_file(const char *single_major, const char *plain)
{
	return access(single_major, W_OK) == 0 ? single_major : plain;
}

static bool
krbd_usable(struct err *why)
{
	if (access(BUS "/add_single_major", W_OK) == 0 ||
	    access(BUS "/add", W_OK) == 0)
		return true;
	(void)err_set_rc(
	    why, -errno, "the kernel's rbd driver cannot be used: " BUS "/add");
	return false;
}

/* ---- in a child: unmap ---------------------------------------------------- */

static int
bus_write(const char *path, const char *line)
{
	auto_close int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, line, strlen(line)) < 0)
		return -errno;
	return 0;
}

/* Whether a mount shows the node of device `id`: 1 and its path, 0, -errno. */
static int
is_shown(int id, char path[PATH_MAX], struct err *err)
{
	dev_t devno = 0;

	return attr_devno(id, &devno) < 0 ? 0
					  : mount_find_node(devno, path, err);
}

static int
remove_id(int id, const char *options, struct err *err)
{
	const char *file = bus_file(BUS "/remove_single_major", BUS "/remove");
	const struct timespec pause = { .tv_nsec = BUSY_WAIT_MS * 1000000L };
	bool force = options != NULL && strstr(options, "force") != NULL;
	char line[32], shown[PATH_MAX];
	int rc = is_shown(id, shown, err);

	if (rc > 0) { /* with its number they would get the next image */
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "/dev/rbd%d is still shown at %s", id, shown);
		return -EBUSY;
	}
	if (rc < 0)
		return rc;
	(void)snprintf(line, sizeof(line), "%d%s", id, force ? " force" : "");
	for (int i = 0; i < BUSY_TRIES; i++) {
		rc = bus_write(file, line);
		if (rc != -EBUSY)
			break;
		(void)nanosleep(&pause, NULL);
	}
	if (rc < 0 && rc != -ENOENT)
		return err_set_rc(err, rc, "unmap /dev/rbd%d", id);
	return 0;
}

/* Is it this image's, and not in the index? */
static bool
visit_stranger(int id, const void *arg)
{
	return !is_known(id) && id_matches(arg, id);
}

static bool
visit_any(int id, const void *arg)
{
	return id_matches(arg, id);
}

static int
locate(const struct device_spec *spec, const struct device_ref *ref)
{
	if (ref->id >= 0 && id_matches(spec, ref->id))
		return ref->id;
	return each_id(visit_stranger, spec);
}

static int
krbd_unmap(const struct device_spec *spec, const struct device_ref *ref,
    struct err *err)
{
	int id;

	/* More than one: a mapping that was made twice by somebody else. */
	for (int i = 0; i < 8; i++) {
		struct device_ref first = *ref;
		int rc;

		first.id = i == 0 ? ref->id : -1;
		id = locate(spec, &first);
		if (id < 0)
			return 0;
		rc = remove_id(id, spec->unmap_options, err);
		if (rc < 0)
			return rc;
	}
	return err_set(err, ERR_FAILED_PRECONDITION,
	    "unmap image %s: it is mapped again and again", spec_key(spec));
}

/* ---- in a child: map ------------------------------------------------------ */

static int
fill_device(int id, struct device *dev, struct err *err)
{
	int rc;

	memset(dev, 0, sizeof(*dev));
	dev->ref.id = id;
	rc = attr_devno(id, &dev->devno);
	if (rc == 0)
		rc = device_sysfs_size(
		    dev->devno, &dev->size_bytes, &dev->read_only);
	if (rc == 0)
		rc = str_put(dev->path, sizeof(dev->path), "/dev/rbd%d", id);
	if (rc < 0)
		return err_set_rc(err, rc, "read " BUS "/devices/%d", id);
	return device_node_ensure(dev->path, dev->devno, err);
}

/*
 * Takes the kernel's answer to a key apart: it does not know every type. Then
 * another mapper may serve the image, which -ENXIO says.
 */
static int
key_error(const struct device_spec *spec, int type, int rc, struct err *err)
{
	struct utsname kernel = { .release = "?" };
	char who[96];

	if (type == CEPHX_KEY_AES)
		return err_set_rc(
		    err, rc, "give the key of %s to the kernel", spec->user);
	(void)uname(&kernel);
	(void)snprintf(who, sizeof(who), "Linux %s", kernel.release);
	cephx_key_refuse(spec->user, type, who,
	    type == CEPHX_KEY_AES256K ? "Linux 7.0 or later" : "a newer kernel",
	    err);
	return -ENXIO;
}

/* The key, in the keyring of this process only. */
static int
add_key(const struct device_spec *spec, struct err *err)
{
	unsigned char bytes[KEY_BYTES_MAX];
	char name[ATTR_MAX];
	int type, rc;
	long len;

	type = cephx_key_type(spec->user, spec->key, err);
	if (type < 0)
		return type;
	len = str_unbase64(
	    bytes, sizeof(bytes), spec->key->text, spec->key->len);
	rc = str_put(name, sizeof(name), "client.%s", spec->user);
	if (rc == 0 &&
	    syscall(SYS_add_key, "ceph", name, bytes, (size_t)len,
		KEY_SPEC_PROCESS_KEYRING) < 0)
		rc = -errno;
	secret_wipe(bytes, sizeof(bytes));
	return rc < 0 ? key_error(spec, type, rc, err) : 0;
}

static int
enter_net_namespace(const char *file, struct err *err)
{
	auto_close int fd = -1;

	if (str_is_empty(file))
		return 0;
	fd = open(file, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return err_set_rc(
		    err, -errno, "enter network namespace %s", file);
	return 0;
}

/* What the kernel's answer to a map means. */
static int
map_error(const struct device_spec *spec, int rc, struct err *err)
{
	char what[ERR_TEXT_MAX / 2];

	(void)snprintf(what, sizeof(what), "map %s/%s%s%s as %s", spec->pool,
	    text_of(spec->rados_namespace),
	    str_is_empty(spec->rados_namespace) ? "" : "/", spec->image,
	    spec->user);
	switch (-rc) {
	case ENOENT:
		return err_set(err, ERR_NOT_FOUND,
		    "%s: the pool, the namespace "
		    "or the image does not exist",
		    what);
	case ENXIO:
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "%s: the kernel "
		    "lacks a feature of this image",
		    what);
		return rc;
	case ETIMEDOUT:
		return err_set(err, ERR_UNAVAILABLE,
		    "%s: the monitors %s do "
		    "not answer",
		    what, spec->monitors);
	case ENOKEY:
	case EKEYREJECTED:
	case EKEYEXPIRED:
		return err_set(err, ERR_UNAUTHENTICATED,
		    "%s: the key was not accepted", what);
	case EPERM:
	case EACCES:
		return err_set(err, ERR_PERMISSION_DENIED,
		    "%s: the key is "
		    "wrong, or it does not allow this",
		    what);
	case EROFS:
	case EBUSY:
		return err_set(err, ERR_FAILED_PRECONDITION,
		    "%s: a client elsewhere holds the image's lock", what);
	case EINVAL:
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%s: the kernel does "
		    "not take the options \"%s\"",
		    what, text_of(spec->map_options));
	default:
		return err_set_rc(err, rc, "%s", what);
	}
}

/* The devices that were there before a map. */
static int before[4096];
static size_t nbefore;

static bool
visit_before(int id, const void *arg)
{
	(void)arg;
	if (nbefore < countof(before))
		before[nbefore++] = id;
	return false;
}

static bool
visit_new(int id, const void *arg)
{
	for (size_t i = 0; i < nbefore; i++)
		if (before[i] == id)
			return false;
	return nbefore < countof(before) && id_matches(arg, id);
}

/*
 * The kernel maps by name. Is the device that it has made another image's, by
 * the ids of pool, image and cluster, it goes again: nothing was read from it.
 */
static int
refuse_other(const struct device_spec *spec, struct err *err)
{
	struct device_spec by_name = *spec;
	struct err why = ERR_INIT;
	int id;

	by_name.pool_id = 0;
	by_name.image_id = by_name.fsid = NULL;
	id = each_id(visit_new, &by_name);
	if (id < 0)
		return err_set(err, ERR_INTERNAL,
		    "map image %s: mapped, but not in " BUS "/devices",
		    spec->image);
	if (remove_id(id, spec->unmap_options, &why) < 0)
		log_warn("krbd.other", "id=%d text=\"%s\"", id, why.text);
	return err_set(err, ERR_NOT_FOUND,
	    "map %s/%s: that is another image than volume %s; was it removed "
	    "and made anew?",
	    spec->pool, spec->image, spec->volume_id);
}

/* One more mapping of the image: *id is the one that was not there before. */
static int
map_once(
    const struct device_spec *spec, const char *line, int *id, struct err *err)
{
	int rc;

	nbefore = 0;
	(void)each_id(visit_before, NULL);
	rc = bus_write(bus_file(BUS "/add_single_major", BUS "/add"), line);
	if (rc < 0)
		return map_error(spec, rc, err);
	*id = each_id(visit_stranger, spec);
	if (*id < 0) /* it got an id of which the index knows another use */
		*id = each_id(visit_any, spec);
	return *id < 0 ? refuse_other(spec, err) : 0;
}

/*
 * The kernel gives the lowest number that is free. One that a mount still
 * shows the node of, of an image that somebody unmapped by force, is held
 * while the image is mapped again, and then given back.
 */
static int
map_anew(const struct device_spec *spec, int *id, struct err *err)
{
	char line[KRBD_LINE_MAX], shown[PATH_MAX], number[16];
	int held[SHOWN_MAX], n = 0;
	int rc = krbd_line_fmt(spec, line, sizeof(line), err);

	if (rc == 0)
		rc = add_key(spec, err);
	if (rc == 0)
		rc = enter_net_namespace(spec->net_namespace, err);
	if (rc == 0)
		rc = map_once(spec, line, id, err);
	while (rc == 0 && (rc = is_shown(*id, shown, err)) > 0) {
		log_warn("krbd.shown", "id=%d path=%s", *id, shown);
		held[n++] = *id;
		set_known(*id, true);
		rc = n < SHOWN_MAX
		    ? map_once(spec, line, id, err)
		    : err_set(err, ERR_FAILED_PRECONDITION,
			  "map image %s: /dev/rbd%d and %d others are free, but shown at %s",
			  spec->image, *id, n - 1, shown);
	}
	while (n > 0) {
		(void)snprintf(number, sizeof(number), "%d", held[--n]);
		(void)!bus_write(
		    bus_file(BUS "/remove_single_major", BUS "/remove"),
		    number);
	}
	return rc;
}

static int
krbd_map(const struct device_spec *spec, const struct device_ref *ref,
    struct device *dev, struct err *err)
{
	int id = locate(spec, ref), rc;

	if (id >= 0) {
		rc = fill_device(id, dev, err);
		if (rc < 0 || dev->read_only == spec->read_only)
			return rc;
		rc = remove_id(id, spec->unmap_options, err);
		if (rc < 0) {
			err_prefix(err, "image %s is mapped %s", spec->image,
			    dev->read_only ? "read-only" : "writable");
			return rc;
		}
	}
	rc = map_anew(spec, &id, err);
	if (rc < 0)
		return rc;
	return fill_device(id, dev, err);
}

/* ---- in a child: verify --------------------------------------------------- */

/* The rbd id of a block device: its disk lies below the bus's device. */
static int
id_of(dev_t devno)
{
	char path[96], link[ATTR_MAX];
	const char *at;
	uint64_t id;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/sys/dev/block/%u:%u", major(devno),
	    minor(devno));
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		return -1;
	link[n] = '\0';
	/* ../../devices/rbd/ID/block/rbdID */
	at = strstr(link, "/devices/rbd/");
	if (at == NULL)
		return -1;
	at += strlen("/devices/rbd/");
	link[(size_t)(at - link) + strcspn(at, "/")] = '\0';
	return str_to_u64(at, &id) == 0 && id < 1u << 20 ? (int)id : -1;
}

static int
krbd_verify(const struct device_spec *spec, dev_t devno, struct device *dev,
    struct err *err)
{
	int id = id_of(devno);

	if (id < 0) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "device %u:%u is no rbd device", major(devno),
		    minor(devno));
		return -ENODEV;
	}
	if (!id_matches(spec, id)) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "/dev/rbd%d is not a mapping of image %s", id,
		    spec_key(spec));
		return -ENODEV;
	}
	return fill_device(id, dev, err);
}

const struct mapper device_krbd = {
	.name = "krbd",
	.init = krbd_init,
	.usable = krbd_usable,
	.find = krbd_find,
	.note = krbd_note,
	.map = krbd_map,
	.unmap = krbd_unmap,
	.verify = krbd_verify,
};
