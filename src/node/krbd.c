/*
 * krbd.c - the kernel's own rbd driver, straight through /sys/bus/rbd (Linux:
 * Documentation/ABI/testing/sysfs-bus-rbd).
 *
 * The rule that holds it together: sysfs is the truth, and nothing of it is
 * remembered but names (krbd_names.h). Each child looks at the devices that
 * are there, by name first: so an image that somebody else has mapped
 * (ceph-csi, a child of a predecessor that was killed) is found too, and
 * nothing is mapped twice.
 *
 * The key goes into the process keyring of the child that maps, which dies
 * with it; it is in no file, option, or other process's reach.
 */
#include "node/krbd_names.h"
#include "node/mapper.h"
#include "node/mount.h"

#include "base/buf.h"
#include "base/cephx_key.h"
#include "base/log.h"
#include "base/rules.h"
#include "core/offload.h"
#include "core/signal.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#define LINE_MAX_BYTES 4096 /* one page, with the closing NUL */
#define ATTR_MAX 4096
#define BUSY_TRIES 50 /* 5 s: somebody still closes the device */
#define BUSY_WAIT_MS 100
#define FORCE_MS 600000
#define KEY_BYTES_MAX 512
#define SHOWN_MAX 16   /* numbers that are passed over */
#define MAPPED_TWICE 8 /* by somebody else */
#define PORT_MSGR1 6789
#define PORT_MSGR2 3300

/* ---- the monitors' addresses ----------------------------------------------
 * They come as "a:6789", "host", "[::1]", "v1:a:6789/0" or
 * "[v2:a:3300/0,v1:a:6789/0]"; the kernel wants numeric ones of one protocol.
 */

/* One address of a list. */
struct mon {
	bool msgr1, msgr2; /* protocols that it may speak */
	char text[256];
	char *host;    /* in `text`, without brackets */
	unsigned port; /* 0: not given */
};

/*
 * Takes the next address from *list, moving it on. 1: got one, 0: the end,
 * -EINVAL: not an address.
 */
static int
mon_next(const char **list, struct mon *mon)
{
	const char *p = *list;
	uint64_t port = 0;
	char *end;
	size_t len;

	while (strchr(", ;", *p) != NULL && *p != '\0')
		p++;
	while (str_starts(p, "[v1:") || str_starts(p, "[v2:"))
		p++; /* a group of addresses */
	len = strcspn(p, ", ;");
	*list = p + len;
	if (len == 0)
		return 0;
	mon->msgr1 = !str_starts(p, "v2:");
	mon->msgr2 = !str_starts(p, "v1:");
	if (str_put(mon->text, sizeof(mon->text), "%.*s", (int)len, p) < 0)
		return -EINVAL;
	mon->text[strcspn(mon->text, "/")] = '\0'; /* the nonce */
	mon->host = mon->text + (mon->msgr1 && mon->msgr2 ? 0 : 3);
	end = strchr(mon->host, '\0');
	if (end > mon->host && end[-1] == ']' &&
	    (*mon->host != '[' || strchr(mon->host, ']') != end - 1))
		end[-1] = '\0';  /* of a group */
	if (*mon->host == '[') { /* "[v6]:port" */
		mon->host++;
		end = strchr(mon->host, ']');
		if (end == NULL)
			return -EINVAL;
		*end++ = '\0';
	} else { /* "host:port", or a bare IPv6 address */
		end = strchr(mon->host, ':');
		if (end == NULL || strchr(end + 1, ':') != NULL)
			end = strchr(mon->host, '\0');
	}
	if (*end == ':') {
		*end++ = '\0';
		if (str_to_u64(end, &port) < 0 || port > 65535)
			return -EINVAL;
	} else if (*end != '\0') {
		return -EINVAL;
	}
	mon->port = (unsigned)port;
	if (mon->msgr1 && mon->msgr2 && port == PORT_MSGR1)
		mon->msgr2 = false;
	else if (mon->msgr1 && mon->msgr2 && port == PORT_MSGR2)
		mon->msgr1 = false;
	return *mon->host != '\0' ? 1 : -EINVAL;
}

/*
 * Have two lists an address in common? `a` is as in config.json, `b` as the
 * kernel shows it. Compares text, resolves nothing.
 */
static bool
monitors_meet(const char *a, const char *b)
{
	struct mon one, two;

	while (a != NULL && mon_next(&a, &one) == 1) {
		const char *rest = b;

		while (rest != NULL && mon_next(&rest, &two) == 1)
			if (str_eq(one.host, two.host) &&
			    (one.port == two.port || one.port == 0 ||
				two.port == 0))
				return true;
	}
	return false;
}

/* All numeric addresses of the monitors that speak this protocol. */
static int
line_add_monitors(
    struct buf *line, const char *monitors, bool msgr2, struct err *err)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list;
	char host[INET6_ADDRSTRLEN];
	struct mon mon;
	int rc;

	while ((rc = mon_next(&monitors, &mon)) == 1) {
		unsigned port = mon.port != 0 ? mon.port
		    : msgr2                   ? PORT_MSGR2
					      : PORT_MSGR1;

		if (!(msgr2 ? mon.msgr2 : mon.msgr1))
			continue;
		rc = getaddrinfo(mon.host, NULL, &hints, &list);
		if (rc != 0)
			return err_set(err, ERR_UNAVAILABLE,
			    "resolve monitor %s: %s", mon.host,
			    gai_strerror(rc));
		for (struct addrinfo *ai = list; ai != NULL && rc == 0;
		     ai = ai->ai_next) {
			if (getnameinfo(ai->ai_addr, ai->ai_addrlen, host,
				sizeof(host), NULL, 0, NI_NUMERICHOST) != 0)
				continue;
			rc = buf_printf(line,
			    strchr(host, ':') != NULL ? "%s[%s]:%u" : "%s%s:%u",
			    line->len > 0 ? "," : "", host, port);
		}
		freeaddrinfo(list);
		if (rc < 0)
			return err_set(err, ERR_INVALID_ARGUMENT,
			    "too many monitor addresses");
	}
	return rc < 0 ? err_set(err, ERR_INVALID_ARGUMENT,
			    "monitors: an entry is no address")
		      : 0;
}

/* ---- the line that maps an image ------------------------------------------ */

static int
line_check(const struct device_spec *spec, struct err *err)
{
	int rc = rules_name("pool", spec->pool, RULES_POOL, err);

	if (rc == 0)
		rc = rules_name("image", spec->image, RULES_IMAGE, err);
	if (rc == 0)
		rc = rules_name("userID", spec->user, RULES_USER, err);
	if (rc == 0 && str_is_empty(spec->monitors))
		rc = err_set(err, ERR_INVALID_ARGUMENT, "monitors: missing");
	if (rc == 0 &&
	    spec->monitors[strcspn(spec->monitors, "\f\n\r\t\v")] != '\0')
		rc = err_set(err, ERR_INVALID_ARGUMENT,
		    "monitors: \"%s\" cannot be given to the kernel",
		    spec->monitors);
	if (rc == 0 && !str_is_empty(spec->rados_namespace))
		rc = rules_name("radosNamespace", spec->rados_namespace,
		    RULES_NAMESPACE, err);
	if (rc == 0)
		rc = rules_krbd_options("mapOptions", spec->map_options, err);
	return rc;
}

/* Each option but those that only the command line tool knows. */
static int
line_add_options(struct buf *line, const char *options)
{
	int rc = 0;

	while (rc == 0 && options != NULL && *options != '\0') {
		size_t n = strcspn(options, ",");
		bool tool = (n == 4 && strncmp(options, "udev", n) == 0) ||
		    (n == 6 && strncmp(options, "noudev", n) == 0);

		if (n > 0 && !tool)
			rc = buf_printf(line, ",%.*s", (int)n, options);
		options += n + (options[n] == ',');
	}
	return rc;
}

/*
 * "MONS name=USER,key=client.USER[,OPTIONS][,ro][,_pool_ns=NS] POOL IMAGE -".
 * The key itself is not in it: it is in the keyring as "client.USER". Options
 * for rbd's command line tool (noudev) are left out; a cluster that speaks
 * msgr2 only gets ms_mode=prefer-crc unless the options name another.
 * INVALID_ARGUMENT for what cannot be said in such a line, FAILED_PRECONDITION
 * when no monitor address suits ms_mode.
 */
static int
line_build(const struct device_spec *spec, struct buf *line, struct err *err)
{
	const char *mode = "", *ns = spec->rados_namespace;
	bool chosen = rules_option_find(spec->map_options, "ms_mode", &mode);
	bool msgr2 = chosen && !str_starts(mode, "legacy");
	int rc = line_check(spec, err);

	if (rc == 0)
		rc = line_add_monitors(line, spec->monitors, msgr2, err);
	if (rc == 0 && line->len == 0 && !chosen) {
		msgr2 = true;
		rc = line_add_monitors(line, spec->monitors, msgr2, err);
	}
	if (rc < 0)
		return rc;
	if (line->len == 0)
		return err_refuse(err,
		    "none of the monitors %s speaks the protocol of ms_mode",
		    spec->monitors);
	rc = buf_printf(line, " name=%s,key=client.%s%s", spec->user,
	    spec->user, msgr2 && !chosen ? ",ms_mode=prefer-crc" : "");
	if (rc == 0)
		rc = line_add_options(line, spec->map_options);
	if (rc == 0 && !str_is_empty(spec->crush_location) &&
	    !rules_option_find(spec->map_options, "read_from_replica", &mode) &&
	    !rules_option_find(spec->map_options, "crush_location", &mode))
		rc = buf_printf(line,
		    ",read_from_replica=localize,crush_location=%s",
		    spec->crush_location);
	if (rc == 0)
		rc = buf_printf(line, "%s%s%s %s %s -",
		    spec->read_only ? ",ro" : "",
		    str_is_empty(ns) ? "" : ",_pool_ns=",
		    str_is_empty(ns) ? "" : ns, spec->pool, spec->image);
	return rc < 0
	    ? err_set(err, ERR_INVALID_ARGUMENT,
		  "monitors and map options are too long for the kernel")
	    : 0;
}

/* ---- reading sysfs -------------------------------------------------------- */

/* Reads a device's attribute; missing ones are "". */
static int
attr_read(int id, const char *name, char *out, size_t size)
{
	return sysfs_read(out, size, KRBD_DEVICES "/%d/%s", id, name);
}

static int
attr_devno(int id, dev_t *devno)
{
	uint64_t maj, min;
	int rc = sysfs_u64(&maj, KRBD_DEVICES "/%d/major", id);

	if (rc == 0)
		rc = sysfs_u64(&min, KRBD_DEVICES "/%d/minor", id);
	if (rc == 0)
		*devno = makedev((unsigned)maj, (unsigned)min);
	return rc;
}

/* The next id in `dir`, the directory of devices, and its inode number; or -1. */
static int
id_next(DIR *dir, uint64_t *ino)
{
	const struct dirent *entry;
	uint64_t id;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		if (str_to_u64(entry->d_name, &id) == 0 && id < KRBD_ID_MAX) {
			*ino = entry->d_ino;
			return (int)id;
		}
	return -1;
}

/* ---- which image is it? --------------------------------------------------- */

static bool
is_name_of(const struct device_spec *spec, const char *image)
{
	return spec->image != NULL ? str_eq(spec->image, image)
				   : device_is_named(spec->volume_id, image);
}

/* Does device `id` map this image (not a snapshot of it)? */
static bool
id_matches(int id, const struct device_spec *spec)
{
	const char *ns = spec->rados_namespace != NULL ? spec->rados_namespace
						       : "";
	char image[ATTR_MAX], text[ATTR_MAX];
	bool by_id, has_name = spec->image != NULL;
	uint64_t pool_id;

	if (attr_read(id, "name", image, sizeof(image)) < 0 ||
	    !is_name_of(spec, image))
		return false;
	/*
	 * Was a pool renamed, or made anew, its name is another one's. Where
	 * both ids are known they decide.
	 */
	by_id = spec->pool_id > 0 &&
	    sysfs_u64(&pool_id, KRBD_DEVICES "/%d/pool_id", id) == 0;
	if (by_id && pool_id != (uint64_t)spec->pool_id)
		return false;
	if (has_name && !by_id &&
	    (attr_read(id, "pool", text, sizeof(text)) < 0 ||
		!str_eq(spec->pool != NULL ? spec->pool : "", text)))
		return false;
	(void)attr_read(id, "pool_ns", text, sizeof(text));
	if (has_name && !str_eq(ns, text))
		return false;
	if (attr_read(id, "current_snap", text, sizeof(text)) < 0 ||
	    !str_eq(text, "-"))
		return false;
	/* An image of that name that was deleted and made anew. */
	if (!str_is_empty(spec->image_id) &&
	    attr_read(id, "image_id", text, sizeof(text)) == 0 &&
	    text[0] != '\0' && !str_eq(text, spec->image_id))
		return false;
	/*
	 * Same cluster by fsid where both are known, else by a common monitor. A
	 * stash of ceph-csi tells neither: pool, namespace and name have to do.
	 */
	(void)attr_read(id, "cluster_fsid", text, sizeof(text));
	if (!str_is_empty(spec->fsid) && text[0] != '\0')
		return str_eq(spec->fsid, text);
	/* What it was mapped with begins with the monitors. */
	(void)attr_read(id, "config_info", text, sizeof(text));
	text[strcspn(text, " ")] = '\0';
	return str_is_empty(spec->monitors) || text[0] == '\0' ||
	    monitors_meet(spec->monitors, text);
}

/*
 * The first device of this image that is not in `known` (may be NULL), or -1.
 * Names tell most others without a look at them.
 */
static int
id_find(const struct device_spec *spec, const unsigned char *known)
{
	auto_dir DIR *dir = sysfs_dir(KRBD_DEVICES);
	const char *name;
	uint64_t ino;
	int id;

	while ((id = id_next(dir, &ino)) >= 0) {
		name = krbd_names_get(id, ino);
		if ((known == NULL || known[id] == 0) &&
		    (name == NULL || is_name_of(spec, name)) &&
		    id_matches(id, spec))
			break;
	}
	return id;
}

/* ---- in the daemon -------------------------------------------------------- */

static int
krbd_init(const struct mapper_setup *setup, struct err *err)
{
	auto_free char *bus = str_fmt("%s/bus/rbd", node_paths.sys);
	auto_dir DIR *dir = NULL;
	uint64_t ino;
	int id;

	(void)setup;
	(void)err;
	if (access(bus, F_OK) < 0)
		device_load_module("rbd");
	dir = sysfs_dir(KRBD_DEVICES);
	while ((id = id_next(dir, &ino)) >= 0)
		krbd_names_look(id);
	return 0;
}

static void
krbd_note(const struct device_spec *spec, int id)
{
	(void)spec;
	krbd_names_look(id);
}

/* The file of the bus for `verb`: that of single_major where it is there. */
static char *
bus_file(const char *verb)
{
	char *file = str_fmt(
	    "%s/bus/rbd/%s_single_major", node_paths.sys, verb);

	if (access(file, W_OK) < 0) {
		free(file);
		file = str_fmt("%s/bus/rbd/%s", node_paths.sys, verb);
	}
	return file;
}

static bool
krbd_usable(struct err *why)
{
	auto_free char *file = bus_file("add");

	if (access(file, W_OK) == 0)
		return true;
	(void)err_set_rc(
	    why, -errno, "the kernel's rbd driver cannot be used: %s", file);
	return false;
}

/* ---- in a child: unmap ---------------------------------------------------- */

static int
bus_write(const char *verb, const char *line)
{
	auto_free char *file = bus_file(verb);
	auto_close int fd = open(file, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, line, strlen(line)) < 0 ? -errno : 0;
}

/* Whether a mount shows the node of device `id`: 1 and its path, 0, -errno. */
static int
id_is_shown(int id, char path[PATH_MAX], struct err *err)
{
	dev_t devno = 0;

	return attr_devno(id, &devno) < 0 ? 0
					  : mount_find_node(devno, path, err);
}

static int
id_remove(int id, const char *options, struct err *err)
{
	bool force = options != NULL && strstr(options, "force") != NULL;
	char line[32], shown[PATH_MAX];
	int rc = id_is_shown(id, shown, err);

	if (rc > 0) { /* with its number they would get the next image */
		return err_refuse_as(
		    err, -EBUSY, "/dev/rbd%d is still shown at %s", id, shown);
	}
	if (rc < 0)
		return rc;
	(void)snprintf(line, sizeof(line), "%d%s", id, force ? " force" : "");
	for (int i = 0; i < BUSY_TRIES; i++) {
		rc = bus_write("remove", line);
		if (rc != -EBUSY)
			break;
		device_pause_ms(BUSY_WAIT_MS);
	}
	if (rc < 0 && rc != -ENOENT)
		return err_set_rc(err, rc, "unmap /dev/rbd%d", id);
	return 0;
}

/* The volume's name for people. */
static const char *
name_of(const struct device_spec *spec)
{
	return spec->image != NULL ? spec->image : spec->volume_id;
}

static int
krbd_unmap(
    const struct device_spec *spec, const struct device *shown, struct err *err)
{
	for (int i = 0; i < MAPPED_TWICE; i++) {
		int rc,
		    id = i == 0 && shown != NULL && id_matches(shown->id, spec)
		    ? shown->id
		    : id_find(spec, NULL);

		if (id < 0)
			return 0;
		rc = id_remove(id, spec->unmap_options, err);
		if (rc < 0)
			return rc;
	}
	return err_refuse(
	    err, "unmap image %s: it is mapped again and again", name_of(spec));
}

/* ---- in a child: map ------------------------------------------------------ */

static int
krbd_describe(int id, struct device *dev, struct err *err)
{
	char client[ATTR_MAX];
	int rc;

	*dev = (struct device){ .id = id };
	rc = attr_devno(id, &dev->devno);
	if (rc == 0)
		rc = sysfs_size(dev->devno, &dev->size_bytes, &dev->read_only);
	if (rc == 0)
		rc = str_put(dev->path, sizeof(dev->path), "%s/rbd%d",
		    node_paths.dev, id);
	if (rc < 0)
		return err_set_rc(
		    err, rc, "read %s/" KRBD_DEVICES "/%d", node_paths.sys, id);
	if (attr_read(id, "client_addr", client, sizeof(client)) == 0)
		(void)!str_put(dev->client, sizeof(dev->client), "%s", client);
	return device_node_ensure(dev->path, dev->devno, err);
}

/*
 * Puts the key into the keyring of this process only. The kernel does not know
 * every type of key: another mapper may then serve the image, so -ENXIO.
 */
static int
add_key(const struct device_spec *spec, struct err *err)
{
	struct utsname kernel = { .release = "?" };
	unsigned char bytes[KEY_BYTES_MAX];
	char name[ATTR_MAX], who[96];
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
	if (rc == 0)
		return 0;
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

/* What the kernel's answer to a map means. */
static int
map_error(const struct device_spec *spec, int rc, struct err *err)
{
	bool has_ns = !str_is_empty(spec->rados_namespace);
	char what[ERR_TEXT_MAX / 2];

	(void)snprintf(what, sizeof(what), "map %s/%s%s%s as %s", spec->pool,
	    has_ns ? spec->rados_namespace : "", has_ns ? "/" : "", spec->image,
	    spec->user);
	switch (-rc) {
	case ENOENT:
		return err_set(err, ERR_NOT_FOUND,
		    "%s: the pool, the namespace or the image does not exist",
		    what);
	case ENXIO:
		(void)err_refuse(
		    err, "%s: the kernel lacks a feature of this image", what);
		return rc;
	case ETIMEDOUT:
		return err_set(err, ERR_UNAVAILABLE,
		    "%s: the monitors %s do not answer", what, spec->monitors);
	case ENOKEY:
	case EKEYREJECTED:
	case EKEYEXPIRED:
		return err_set(err, ERR_UNAUTHENTICATED,
		    "%s: the key was not accepted", what);
	case EPERM:
	case EACCES:
		return err_set(err, ERR_PERMISSION_DENIED,
		    "%s: the key is wrong, or it does not allow this", what);
	case EROFS:
	case EBUSY:
		return err_refuse(
		    err, "%s: a client elsewhere holds the image's lock", what);
	case ENOSPC:
		return err_set(err, ERR_RESOURCE_EXHAUSTED,
		    "%s: the kernel has no number left for an rbd device",
		    what);
	case EINVAL:
		return err_set(err, ERR_INVALID_ARGUMENT,
		    "%s: the kernel does not take the options \"%s\"%s%s", what,
		    spec->map_options != NULL ? spec->map_options : "",
		    str_is_empty(spec->crush_location)
			? ""
			: " or, for read affinity, crush_location=",
		    spec->crush_location != NULL ? spec->crush_location : "");
	default:
		return err_set_rc(err, rc, "%s", what);
	}
}

/*
 * One more mapping of the image: *id is a device that was not there before.
 *
 * The kernel maps by name. Is the device that it has made another image's, by
 * the ids of pool, image and cluster, it goes again: nothing was read from it.
 */
static int
map_once(
    const struct device_spec *spec, const char *line, int *id, struct err *err)
{
	auto_free unsigned char *known = mem_new(KRBD_ID_MAX);
	auto_dir DIR *dir = sysfs_dir(KRBD_DEVICES);
	struct device_spec by_name = *spec;
	struct err why = ERR_INIT;
	uint64_t ino;
	int rc;

	while ((*id = id_next(dir, &ino)) >= 0)
		known[*id] = 1;
	rc = bus_write("add", line);
	if (rc < 0)
		return map_error(spec, rc, err);
	*id = id_find(spec, known);
	if (*id >= 0)
		return 0;
	by_name.pool_id = 0;
	by_name.image_id = by_name.fsid = NULL;
	*id = id_find(&by_name, known);
	if (*id < 0)
		return err_set(err, ERR_INTERNAL,
		    "map image %s: mapped, but not in %s/" KRBD_DEVICES,
		    spec->image, node_paths.sys);
	if (id_remove(*id, spec->unmap_options, &why) < 0)
		log_warn("krbd.other", "id=%d text=\"%s\"", *id, why.text);
	return err_set(err, ERR_NOT_FOUND,
	    "map %s/%s: that is another image than volume %s; was it removed and made anew?",
	    spec->pool, spec->image, spec->volume_id);
}

/*
 * The kernel gives the lowest number that is free. One that a mount still
 * shows the node of, of an image that somebody unmapped by force, is held
 * while the image is mapped again, and then given back.
 */
static int
map_anew(const struct device_spec *spec, int *id, struct err *err)
{
	char shown[PATH_MAX], number[16];
	int held[SHOWN_MAX], n = 0, rc;
	struct buf line;

	buf_init(&line, LINE_MAX_BYTES);
	rc = line_build(spec, &line, err);
	if (rc == 0)
		rc = add_key(spec, err);
	if (rc == 0)
		rc = process_enter_netns(spec->net_namespace, err);
	if (rc == 0)
		rc = map_once(spec, (const char *)line.data, id, err);
	while (rc == 0 && (rc = id_is_shown(*id, shown, err)) > 0) {
		log_warn("krbd.shown", "id=%d path=%s", *id, shown);
		held[n++] = *id;
		rc = n < SHOWN_MAX
		    ? map_once(spec, (const char *)line.data, id, err)
		    : err_refuse(err,
			  "map image %s: /dev/rbd%d and %d others are free, but shown at %s",
			  spec->image, *id, n - 1, shown);
	}
	while (n > 0) {
		(void)snprintf(number, sizeof(number), "%d", held[--n]);
		(void)bus_write("remove", number);
	}
	buf_fini(&line);
	return rc;
}

static int
krbd_map(const struct device_spec *spec, struct device *dev, struct err *err)
{
	int id = id_find(spec, NULL), rc;

	if (id >= 0) {
		rc = krbd_describe(id, dev, err);
		if (rc < 0 || dev->read_only == spec->read_only)
			return rc;
		rc = id_remove(id, spec->unmap_options, err);
		if (rc < 0) {
			err_prefix(err, "image %s is mapped %s", spec->image,
			    dev->read_only ? "read-only" : "writable");
			return rc;
		}
	}
	rc = map_anew(spec, &id, err);
	return rc < 0 ? rc : krbd_describe(id, dev, err);
}

/* ---- in a child: verify --------------------------------------------------- */

/* The rbd id of a block device: its disk lies below the bus's device. */
static int
id_of(dev_t devno)
{
	auto_free char *path = str_fmt(
	    "%s/dev/block/%u:%u", node_paths.sys, major(devno), minor(devno));
	char link[ATTR_MAX], *at;
	ssize_t n = readlink(path, link, sizeof(link) - 1);
	uint64_t id;

	link[n < 0 ? 0 : n] = '\0';
	/* ../../devices/rbd/ID/block/rbdID */
	at = strstr(link, "/devices/rbd/");
	if (at == NULL)
		return -1;
	at += strlen("/devices/rbd/");
	at[strcspn(at, "/")] = '\0';
	return str_to_u64(at, &id) == 0 && id < KRBD_ID_MAX ? (int)id : -1;
}

static int
krbd_verify(const struct device_spec *spec, dev_t devno, struct device *dev,
    struct err *err)
{
	int id = id_of(devno);

	if (id >= 0 && id_matches(id, spec))
		return krbd_describe(id, dev, err);
	return id < 0
	    ? err_refuse_as(err, -ENODEV, "device %u:%u is no rbd device",
		  major(devno), minor(devno))
	    : err_refuse_as(err, -ENODEV,
		  "/dev/rbd%d is not a mapping of image %s", id, name_of(spec));
}

/* The kernel hears of a new size by itself, unless that message was lost. */
static int
krbd_grow(const struct device_spec *spec, struct device *dev, struct err *err)
{
	auto_free char *file = str_fmt(
	    "%s/" KRBD_DEVICES "/%d/refresh", node_paths.sys, dev->id);
	auto_close int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "1", 1) < 0)
		return err_set_rc(err, -errno,
		    "read the size of image %s again: %s", name_of(spec), file);
	return krbd_describe(dev->id, dev, err);
}

/* All of the kernel's: whose they are is not known without asking. */
static unsigned
krbd_attached(void)
{
	auto_free char *path = str_fmt("%s/" KRBD_DEVICES, node_paths.sys);
	DIR *dir = opendir(path);
	const struct dirent *entry;
	unsigned n = 0;

	if (dir == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	(void)closedir(dir);
	return n;
}

/* ---- by force ------------------------------------------------------------- */

struct force {
	struct wake wake, *waiter;
	struct device_open *open;
	struct offload off;
};

/*
 * The kernel waits for requests that are under way, and then for the cluster
 * to hear that the image is closed, for ever if the map line has set no bound.
 * What was not written is lost; the log tells of how much that is.
 */
static int
force_child(const void *args, void *result, struct err *err)
{
	const struct device_spec *spec =
	    ((const struct force *)args)->open->spec;
	char options[ATTR_MAX], requests[64], name[ATTR_MAX], shown[PATH_MAX];
	int id = id_find(spec, NULL), rc;

	(void)result;
	if (id < 0)
		return err_set(err, ERR_NOT_FOUND,
		    "volume %s has no device on this node whose I/O can be ended",
		    spec->volume_id);
	(void)attr_read(id, "config_info", options, sizeof(options));
	if (strstr(options, "osd_request_timeout=") == NULL)
		return err_refuse_as(err, -EPERM,
		    "/dev/rbd%d is mapped without osd_request_timeout (mapOptions), so the kernel waits for its cluster for ever",
		    id);
	rc = id_is_shown(id, shown, err);
	if (rc > 0) /* as id_remove(), but nothing has ended */
		return err_refuse_as(err, -EPERM,
		    "/dev/rbd%d is shown at %s, which must be unpublished first",
		    id, shown);
	if (rc < 0)
		return rc;
	(void)attr_read(id, "name", name, sizeof(name));
	(void)sysfs_read(
	    requests, sizeof(requests), "block/rbd%d/inflight", id);
	log_warn("krbd.force",
	    "volume=%s id=%d image=%.128s requests=\"%s\" text=\"unmapped by force: what is not written is lost\"",
	    spec->volume_id, id, name, requests);
	return id_remove(id, "force", err);
}

static void
on_forced(struct wake *wake, int rc)
{
	struct force *f = container_of(wake, struct force, wake);

	f->open->err = f->off.err;
	wake_up(f->waiter, rc);
	free(f);
}

static void
krbd_abort_start(struct device_open *open, struct wake *waiter)
{
	struct force *f = mem_new(sizeof(*f));

	f->wake.fn = on_forced;
	f->waiter = waiter;
	f->open = open;
	offload_start(&f->off, "unmap by force", force_child, f, NULL, 0,
	    FORCE_MS, &f->wake);
}

static const struct mapper_child krbd_child = {
	.name = "krbd",
	.map = krbd_map,
	.unmap = krbd_unmap,
	.verify = krbd_verify,
	.grow = krbd_grow,
};

const struct mapper krbd_mapper = {
	.name = "krbd",
	.mounter = "rbd",
	.child = &krbd_child,
	.init = krbd_init,
	.usable = krbd_usable,
	.note = krbd_note,
	.attached = krbd_attached,
	.abort_start = krbd_abort_start,
};
