/*
 * krbd.c - the krbd mapper over a tree of files that stands in for /sys, with
 * a kernel that is played by what the mapper writes to /sys/bus/rbd: the line
 * that maps, which device is an image's, and all that must not be unmapped.
 */
#include "node/mapper.h"
#include "node/mount.h"
#include "tests/tap.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#define MAJOR 252
#define UUID "00000000-0000-4000-8000-000000000001"

static char top[64];
static const struct mapper_setup setup = { .state_dir = "/nonexistent" };

/* ---- the tree ------------------------------------------------------------- */

static void
put_file(const char *name, const char *text)
{
	auto_free char *path = str_fmt("%s/%s", top, name);
	int fd;

	for (char *p = path + strlen(top) + 1; (p = strchr(p, '/')) != NULL;
	     p++) {
		*p = '\0';
		(void)mkdir(path, 0700);
		*p = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	if (fd < 0)
		diag("make %s: %s", path, strerror(errno));
	dprintf(fd, "%s\n", text);
	close(fd);
}

static void
drop(const char *name)
{
	auto_free char *line = str_fmt("rm -rf %s/%s", top, name);

	if (system(line) != 0)
		diag("%s", line);
}

/* What the kernel shows of one mapping; NULL: as that of the tests' image. */
struct shown {
	const char *pool, *ns, *image, *snap, *image_id, *fsid, *pool_id;
	const char *monitors;
	bool read_only;
};

/* The value, or (NULL) what the image of the tests has. */
static const char *
or_usual(const char *value, const char *usual)
{
	return value != NULL ? value : usual;
}

static void
show(int id, const struct shown *s)
{
	const struct {
		const char *name, *value;
	} attr[] = { { "name", or_usual(s->image, "i") },
		{ "pool", or_usual(s->pool, "p") },
		{ "pool_ns", or_usual(s->ns, "") },
		{ "current_snap", or_usual(s->snap, "-") },
		{ "image_id", or_usual(s->image_id, "1234") },
		{ "cluster_fsid", or_usual(s->fsid, "f") },
		{ "pool_id", or_usual(s->pool_id, "3") } };
	char name[96], text[512];
	auto_free char *link = str_fmt(
	    "%s/sys/dev/block/%d:%d", top, MAJOR, id);

	for (size_t i = 0; i < countof(attr); i++) {
		snprintf(name, sizeof(name), "sys/bus/rbd/devices/%d/%s", id,
		    attr[i].name);
		put_file(name, attr[i].value);
	}
	snprintf(name, sizeof(name), "sys/bus/rbd/devices/%d/config_info", id);
	snprintf(text, sizeof(text), "%s name=u,key=client.u p i -",
	    or_usual(s->monitors, "10.0.0.1:6789"));
	put_file(name, text);
	snprintf(name, sizeof(name), "sys/bus/rbd/devices/%d/major", id);
	snprintf(text, sizeof(text), "%d", MAJOR);
	put_file(name, text);
	snprintf(name, sizeof(name), "sys/bus/rbd/devices/%d/minor", id);
	snprintf(text, sizeof(text), "%d", id);
	put_file(name, text);
	snprintf(
	    name, sizeof(name), "sys/devices/rbd/%d/block/rbd%d/size", id, id);
	put_file(name, "2048");
	snprintf(
	    name, sizeof(name), "sys/devices/rbd/%d/block/rbd%d/ro", id, id);
	put_file(name, s->read_only ? "1" : "0");
	snprintf(name, sizeof(name), "sys/class/block/rbd%d/dev", id);
	snprintf(text, sizeof(text), "%d:%d", MAJOR, id);
	put_file(name, text);
	snprintf(
	    text, sizeof(text), "../../devices/rbd/%d/block/rbd%d", id, id);
	if (symlink(text, link) < 0)
		diag("link %s: %s", link, strerror(errno));
}

static void
hide(int id)
{
	char name[96];

	snprintf(name, sizeof(name), "sys/bus/rbd/devices/%d", id);
	drop(name);
	snprintf(name, sizeof(name), "sys/dev/block/%d:%d", MAJOR, id);
	drop(name);
	snprintf(name, sizeof(name), "sys/class/block/rbd%d", id);
	drop(name);
}

static bool
is_there(int id)
{
	auto_free char *path = str_fmt("%s/sys/bus/rbd/devices/%d", top, id);

	return access(path, F_OK) == 0;
}

/* A bind mount of /dev/rbdID at /target. */
static void
mount_node(int id)
{
	char line[128] = "";

	if (id >= 0)
		snprintf(line, sizeof(line),
		    "36 35 0:5 /rbd%d /target rw - devtmpfs udev rw", id);
	put_file("mountinfo", line);
}

/* ---- the kernel ----------------------------------------------------------- */

static struct {
	char line[4096]; /* the last one that mapped, or "" */
	unsigned adds, removes;
	int error;           /* of the next add */
	int busy;            /* so many removes find the device open */
	bool silent;         /* an add makes no device */
	const char *made_id; /* of the image that an add maps */
	bool key_refused;
} kernel;

ssize_t __real_write(int fd, const void *bytes, size_t len);
ssize_t __wrap_write(int fd, const void *bytes, size_t len);
long __real_syscall(long number, long a, long b, long c, long d);
long __wrap_syscall(long number, long a, long b, long c, long d);
int __wrap_mknod(const char *path, mode_t mode, dev_t devno);
int __wrap_nanosleep(const struct timespec *time, struct timespec *rest);

static int
kernel_add(const char *line)
{
	char copy[4096], *save, ns[64] = "";
	struct shown s = { .snap = "-" };
	const char *options, *at;
	int id = 0;

	kernel.adds++;
	snprintf(kernel.line, sizeof(kernel.line), "%s", line);
	if (kernel.error != 0)
		return kernel.error;
	if (kernel.silent)
		return 0;
	snprintf(copy, sizeof(copy), "%s", line);
	s.monitors = strtok_r(copy, " ", &save);
	options = strtok_r(NULL, " ", &save);
	s.pool = strtok_r(NULL, " ", &save);
	s.image = strtok_r(NULL, " ", &save);
	s.read_only = strstr(options, ",ro") != NULL;
	at = strstr(options, "_pool_ns=");
	if (at != NULL)
		snprintf(ns, sizeof(ns), "%s", at + 9);
	s.ns = ns;
	if (kernel.made_id != NULL)
		s.image_id = kernel.made_id;
	while (is_there(id))
		id++;
	show(id, &s);
	return 0;
}

ssize_t
__wrap_write(int fd, const void *bytes, size_t len)
{
	auto_free char *link = str_fmt("/proc/self/fd/%d", fd);
	char path[PATH_MAX], line[4096];
	ssize_t n = readlink(link, path, sizeof(path) - 1);
	int id, error = 0;

	path[n < 0 ? 0 : n] = '\0';
	snprintf(line, sizeof(line), "%.*s", (int)len, (const char *)bytes);
	if (str_ends(path, "/bus/rbd/add_single_major")) {
		error = kernel_add(line);
	} else if (str_ends(path, "/bus/rbd/remove_single_major")) {
		kernel.removes++;
		id = atoi(line);
		if (kernel.busy > 0) {
			kernel.busy--;
			error = EBUSY;
		} else if (!is_there(id)) {
			error = ENOENT;
		} else {
			hide(id);
		}
	} else {
		return __real_write(fd, bytes, len);
	}
	errno = error;
	return error != 0 ? -1 : (ssize_t)len;
}

long
__wrap_syscall(long number, long a, long b, long c, long d)
{
	if (number != SYS_add_key)
		return __real_syscall(number, a, b, c, d);
	errno = EINVAL;
	return kernel.key_refused ? -1 : 1;
}

int
__wrap_mknod(const char *path, mode_t mode, dev_t devno)
{
	int fd = open(path, O_WRONLY | O_CREAT, mode & 0600);

	(void)devno;
	close(fd);
	return fd < 0 ? -1 : 0;
}

int
__wrap_nanosleep(const struct timespec *time, struct timespec *rest)
{
	(void)time;
	(void)rest;
	return 0;
}

/* Nothing is mapped or mounted, and the kernel does as it is told. */
static void
fresh(void)
{
	drop("sys");
	memset(&kernel, 0, sizeof(kernel));
	put_file("sys/bus/rbd/add_single_major", "");
	put_file("sys/bus/rbd/remove_single_major", "");
	put_file("sys/bus/rbd/devices/.keep", "");
	put_file("sys/dev/block/.keep", "");
	put_file("dev/.keep", "");
	mount_node(-1);
}

/* ---- what is asked for ---------------------------------------------------- */

static struct secret key;
static struct device dev;
static struct err err;

static struct device_spec
spec_new(void)
{
	return (struct device_spec){ .volume_id = "v",
		.user = "u",
		.key = &key,
		.monitors = "10.0.0.1:6789",
		.pool = "p",
		.image = "i" };
}

static int
map(const struct device_spec *spec)
{
	err = (struct err)ERR_INIT;
	return krbd_mapper.child->map(spec, &dev, &err);
}

static int
unmap(const struct device_spec *spec)
{
	err = (struct err)ERR_INIT;
	return krbd_mapper.child->unmap(spec, NULL, &err);
}

static int
verify(const struct device_spec *spec, int id)
{
	err = (struct err)ERR_INIT;
	return krbd_mapper.child->verify(
	    spec, makedev(MAJOR, (unsigned)id), &dev, &err);
}

/* ---- tests ---------------------------------------------------------------- */

static void
test_line(void)
{
	static const struct {
		const char *name, *monitors, *options, *ns;
		bool read_only;
		const char *want; /* NULL: refused */
		const char *near; /* the node's place, by crush_location */
	} table[] = {
		{ "read affinity", "10.0.0.1", "", "ns", false,
		    "10.0.0.1:6789 name=u,key=client.u,"
		    "read_from_replica=localize,crush_location=host:a|zone:b,"
		    "_pool_ns=ns p i -",
		    "host:a|zone:b" },
		{ "read affinity by the options", "10.0.0.1",
		    "read_from_replica=balance", "", false,
		    "10.0.0.1:6789 name=u,key=client.u,"
		    "read_from_replica=balance p i -",
		    "host:a" },
		{ "plain", "10.0.0.1:6789,10.0.0.2:6789", "", "", false,
		    "10.0.0.1:6789,10.0.0.2:6789 name=u,key=client.u p i -" },
		{ "namespace, read-only", "10.0.0.1:6789", NULL, "ns", true,
		    "10.0.0.1:6789 name=u,key=client.u,ro,_pool_ns=ns p i -" },
		{ "options", "10.0.0.1", "lock_on_read,queue_depth=64", "",
		    false,
		    "10.0.0.1:6789 name=u,key=client.u,lock_on_read,"
		    "queue_depth=64 p i -" },
		{ "the tool's options go", "10.0.0.1", "noudev,,notrim,udev",
		    "", false,
		    "10.0.0.1:6789 name=u,key=client.u,notrim p i -" },
		{ "both protocols",
		    "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0],"
		    "[v2:10.0.0.2:3300/0,v1:10.0.0.2:6789/0]",
		    "", "", false,
		    "10.0.0.1:6789,10.0.0.2:6789 name=u,key=client.u p i -" },
		{ "ms_mode chooses msgr2",
		    "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0] 10.0.0.3",
		    "ms_mode=secure", "", false,
		    "10.0.0.1:3300,10.0.0.3:3300 "
		    "name=u,key=client.u,ms_mode=secure p i -" },
		{ "ms_mode=legacy does not", "v2:10.0.0.1:3300,10.0.0.2",
		    "ms_mode=legacy", "", false,
		    "10.0.0.2:6789 "
		    "name=u,key=client.u,ms_mode=legacy p i -" },
		{ "msgr2 only", "v2:10.0.0.1:3300/0", "", "", false,
		    "10.0.0.1:3300 name=u,key=client.u,ms_mode=prefer-crc "
		    "p i -" },
		{ "port 3300 is msgr2", "10.0.0.1:3300", "", "", false,
		    "10.0.0.1:3300 name=u,key=client.u,ms_mode=prefer-crc "
		    "p i -" },
		{ "IPv6", "[2001:db8::1]:6789;[v1:[2001:db8::2]:6790/0]", "",
		    "", false,
		    "[2001:db8::1]:6789,[2001:db8::2]:6790 "
		    "name=u,key=client.u p i -" },
		{ "bare IPv6", "2001:db8::1", "", "", false,
		    "[2001:db8::1]:6789 name=u,key=client.u p i -" },
		{ "ms_mode without an address for it", "10.0.0.1:6789",
		    "ms_mode=secure", "", false, NULL },
		{ "no monitors", "", "", "", false, NULL },
		{ "a port that is none", "10.0.0.1:x", "", "", false, NULL },
		{ "secret in the options", "10.0.0.1", "secret=x", "", false,
		    NULL },
		{ "key in the options", "10.0.0.1", "a,key=x", "", false,
		    NULL },
		{ "a blank in the options", "10.0.0.1", "a b", "", false,
		    NULL },
		{ "a comma in the namespace", "10.0.0.1", "", "a,b", false,
		    NULL },
	};

	for (size_t i = 0; i < countof(table); i++) {
		struct device_spec spec = spec_new();

		spec.monitors = table[i].monitors;
		spec.map_options = table[i].options;
		spec.rados_namespace = table[i].ns;
		spec.read_only = table[i].read_only;
		spec.crush_location = table[i].near;
		fresh();
		if (table[i].want == NULL) {
			ok(map(&spec) < 0 && err_is_set(&err) &&
				kernel.adds == 0,
			    "refused: %s", table[i].name);
			continue;
		}
		is_int(map(&spec), 0, "line: %s", table[i].name);
		is_str(kernel.line, table[i].want, "as it should be");
		if (err_is_set(&err))
			diag("%s", err.text);
	}
}

/* A cluster is the same if the lists of monitors have one in common. */
static void
test_monitors(void)
{
	static const struct {
		const char *name, *ours, *kernels;
		bool meet;
	} table[] = {
		{ "a common monitor", "10.0.0.1:6789,10.0.0.2:6789",
		    "10.0.0.2:6789,10.0.0.3:6789", true },
		{ "none", "10.0.0.1:6789", "10.0.0.11:6789", false },
		{ "different notations",
		    "[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]", "10.0.0.1:6789",
		    true },
		{ "without a port", "10.0.0.1", "10.0.0.1:6789", true },
		{ "two clusters on one host", "10.0.0.1:6789", "10.0.0.1:6790",
		    false },
		{ "what nobody knows", "", "10.0.0.1:6789", true },
	};

	for (size_t i = 0; i < countof(table); i++) {
		struct device_spec spec = spec_new();
		const struct shown s = { .monitors = table[i].kernels };

		spec.monitors = table[i].ours;
		fresh();
		show(4, &s);
		is_int(verify(&spec, 4), table[i].meet ? 0 : -ENODEV,
		    "monitors: %s", table[i].name);
	}
}

/* Which device is the image's? */
static void
test_identity(void)
{
	struct device_spec full = spec_new(),
			   by_id = { .volume_id = "a-" UUID };
	const struct {
		const char *name;
		struct shown shown;
		bool full, by_id;
	} table[] = {
		{ "it", { .snap = "-" }, true, false },
		{ "another pool", { .pool = "q", .pool_id = "" }, false,
		    false },
		{ "the pool under an earlier name", { .pool = "q" }, true,
		    false },
		{ "another pool of that name", { .pool_id = "4" }, false,
		    false },
		{ "another namespace", { .ns = "n" }, false, false },
		{ "another image", { .image = "j" }, false, false },
		{ "one made anew by that name", { .image_id = "99" }, false,
		    false },
		{ "another cluster", { .fsid = "g" }, false, false },
		{ "a snapshot", { .snap = "s" }, false, false },
		{ "a volume's image", { .image = "csi-vol-" UUID }, false,
		    true },
		{ "a snapshot of a volume's",
		    { .image = "csi-vol-" UUID, .snap = "s" }, false, false },
	};

	full.image_id = "1234";
	full.pool_id = 3;
	full.fsid = "f";
	for (size_t i = 0; i < countof(table); i++) {
		fresh();
		show(7, &table[i].shown);
		is_int(verify(&full, 7), table[i].full ? 0 : -ENODEV,
		    "by name and ids: %s", table[i].name);
		is_int(verify(&by_id, 7), table[i].by_id ? 0 : -ENODEV,
		    "by the volume's ID: %s", table[i].name);
		is_int(unmap(&full), 0, "unmap is well");
		ok(is_there(7) != table[i].full,
		    "and has unmapped what is the image's only");
	}
	is_int(verify(&full, 8), -ENODEV, "a number without a device");
	fresh();
	show(7, &(struct shown){ .snap = "-" });
	drop("sys/dev/block/252:7");
	is_int(verify(&full, 7), -ENODEV, "a device that is no rbd device");
}

static void
test_mapping(void)
{
	struct device_spec spec = spec_new();

	fresh();
	show(3, &(struct shown){ .snap = "-" });
	is_int(map(&spec), 0, "an image that somebody has mapped");
	ok(dev.id == 3 && kernel.adds == 0, "is not mapped again");
	ok(dev.size_bytes == 2048 * 512 && !dev.read_only, "its size is told");

	spec.read_only = true;
	is_int(map(&spec), 0, "read-only, it is mapped anew");
	ok(kernel.removes == 1 && kernel.adds == 1 && dev.read_only,
	    "and the other mapping is gone");
	spec.read_only = false;
	kernel.busy = 1000;
	is_int(map(&spec), -EBUSY, "not while it is in use");
	ok(is_there(dev.id) && kernel.adds == 1 &&
		strstr(err.text, "image i is mapped read-only") != NULL,
	    "it stays: %s", err.text);

	fresh();
	show(0, &(struct shown){ .image = "other" });
	kernel.busy = 0;
	is_int(map(&spec), 0, "a new mapping");
	is_int(dev.id, 1, "is told from what was there");

	fresh();
	kernel.made_id = "99";
	spec.image_id = "1234";
	ok(map(&spec) < 0 && err.code == ERR_NOT_FOUND,
	    "the kernel has mapped another image of that name: %s", err.text);
	ok(kernel.adds == 1 && kernel.removes == 1 && !is_there(0),
	    "which is unmapped again");

	fresh();
	kernel.silent = true;
	ok(map(&spec) < 0 && err.code == ERR_INTERNAL && kernel.removes == 0,
	    "a mapping that does not appear: %s", err.text);
}

static void
test_errors(void)
{
	static const struct {
		int error, rc;
		enum err_code code;
	} table[] = { { ENOENT, -ENOENT, ERR_NOT_FOUND },
		{ ENXIO, -ENXIO, ERR_FAILED_PRECONDITION },
		{ ETIMEDOUT, 0, ERR_UNAVAILABLE },
		{ EKEYREJECTED, 0, ERR_UNAUTHENTICATED },
		{ EPERM, 0, ERR_PERMISSION_DENIED },
		{ EBUSY, 0, ERR_FAILED_PRECONDITION },
		{ EINVAL, 0, ERR_INVALID_ARGUMENT },
		{ ENOSPC, 0, ERR_RESOURCE_EXHAUSTED },
		{ ENOMEM, -ENOMEM, ERR_RESOURCE_EXHAUSTED } };
	struct device_spec spec = spec_new();

	for (size_t i = 0; i < countof(table); i++) {
		int rc;

		fresh();
		kernel.error = table[i].error;
		rc = map(&spec);
		ok(rc < 0 && (table[i].rc == 0 || rc == table[i].rc),
		    "the kernel says %s", strerror(table[i].error));
		is_int(err.code, table[i].code, "told as: %s", err.text);
	}
	fresh();
	kernel.key_refused = true;
	ok(map(&spec) < 0 && kernel.adds == 0,
	    "nothing is mapped without the key: %s", err.text);
	ok(strstr(err.text, key.text) == NULL, "which is not told");
	fresh();
	spec.net_namespace = "/nonexistent";
	ok(map(&spec) < 0 && kernel.adds == 0,
	    "nor outside the network namespace: %s", err.text);
}

static void
test_unmapping(void)
{
	struct device_spec spec = spec_new();

	fresh();
	is_int(unmap(&spec), 0, "what is not mapped is unmapped");
	is_int(kernel.removes, 0, "and the kernel is not asked");

	show(2, &(struct shown){ .snap = "-" });
	show(5, &(struct shown){ .snap = "-" });
	show(6, &(struct shown){ .image = "other" });
	is_int(unmap(&spec), 0, "two mappings of it");
	ok(!is_there(2) && !is_there(5) && is_there(6),
	    "are both unmapped, and no other");

	show(2, &(struct shown){ .snap = "-" });
	kernel.busy = 3;
	is_int(unmap(&spec), 0, "a device that is being closed is waited for");
	ok(!is_there(2), "and then unmapped");
	show(2, &(struct shown){ .snap = "-" });
	kernel.busy = 1000;
	is_int(unmap(&spec), -EBUSY, "one that stays open stays: %s", err.text);
	ok(is_there(2), "it is there");

	kernel.busy = 0;
	kernel.removes = 0;
	mount_node(2);
	is_int(unmap(&spec), -EBUSY, "one that a mount shows: %s", err.text);
	ok(is_there(2) && kernel.removes == 0, "is not given back");
	ok(strstr(err.text, "/target") != NULL, "which names the mount");
	mount_node(6);
	is_int(unmap(&spec), 0, "a mount of another one does not matter");
	drop("mountinfo");
	show(2, &(struct shown){ .snap = "-" });
	ok(unmap(&spec) < 0 && is_there(2),
	    "without the list of mounts nothing is: %s", err.text);
}

/* Which lines of mountinfo show the node of /dev/rbd2? */
static void
test_mountinfo(void)
{
	static const struct {
		const char *line, *path; /* NULL: not this one */
	} table[] = {
		{ "36 35 0:5 /rbd2 /t rw - devtmpfs udev rw", "/t" },
		{ "36 35 0:5 /rbd2//deleted /t rw - devtmpfs udev rw", "/t" },
		{ "36 35 0:5 /dev/rbd2 /t rw,relatime shared:1 master:2 - tmpfs tmpfs rw,mode=755",
		    "/t" },
		{ "36 35 0:5 /rbd2 /a\\040b\\134 rw - devtmpfs udev rw",
		    "/a b\\" },
		{ "36 35 0:5 /rbd21 /t rw - devtmpfs udev rw", NULL },
		{ "36 35 0:5 /rbd2x /t rw - devtmpfs udev rw", NULL },
		{ "36 35 0:5 /file /t rw - devtmpfs udev rw", NULL },
		{ "36 35 252:2 / /t rw - ext4 /dev/rbd2 rw", NULL },
		{ "36 35 0:5 /rbd2 /t rw", NULL },
		{ "36 35 x /rbd2 /t rw - devtmpfs udev rw", NULL },
		{ "", NULL },
	};

	fresh();
	show(2, &(struct shown){ .snap = "-" });
	for (size_t i = 0; i < countof(table); i++) {
		char path[PATH_MAX] = "";

		put_file("mountinfo", table[i].line);
		is_int(mount_find_node(makedev(MAJOR, 2), path, &err),
		    table[i].path != NULL, "mountinfo: \"%s\"", table[i].line);
		if (table[i].path != NULL)
			is_str(path, table[i].path, "tells where");
	}
}

/* A number that a mount still shows is held, and not used. */
static void
test_shown_number(void)
{
	struct device_spec spec = spec_new();

	fresh();
	mount_node(0);
	is_int(map(&spec), 0, "number 0 is free, and shown by a mount");
	is_int(dev.id, 1, "the image gets the next one");
	ok(kernel.adds == 2 && kernel.removes == 1 && !is_there(0),
	    "and number 0 is given back");
}

/* In place of sysfs, whose entries have inode numbers that come once. */
static void
move_away(int id)
{
	auto_free char *from = str_fmt("%s/sys/bus/rbd/devices/%d", top, id);
	static int n;
	auto_free char *to = str_fmt("%s/away%d", top, n++);

	if (rename(from, to) < 0)
		diag("rename %s: %s", from, strerror(errno));
	hide(id);
}

static void
test_names(void)
{
	struct device_spec spec = spec_new();

	fresh();
	show(4, &(struct shown){ .image = "other" });
	show(500, &(struct shown){ .snap = "-" });
	krbd_mapper.note(&spec, 4);
	krbd_mapper.note(&spec, 500);
	krbd_mapper.note(&spec, -1);
	krbd_mapper.note(&spec, 7);
	put_file("sys/bus/rbd/devices/4/name", "i");
	is_int(map(&spec), 0, "with names that are known");
	is_int(dev.id, 500, "the image's is found");
	is_int(unmap(&spec), 0, "and unmapped");
	ok(is_there(4), "and no name that is known is read again");
	move_away(4);
	show(4, &(struct shown){ .snap = "-" });
	is_int(map(&spec), 0, "where the number has become another device");
	is_int(dev.id, 4, "its name is read");
	move_away(4);
	show(4, &(struct shown){ .image = "other" });
	is_int(krbd_mapper.init(&setup, &err), 0, "and at the start all are");
	put_file("sys/bus/rbd/devices/4/name", "i");
	is_int(unmap(&spec), 0, "so the image has no device");
	ok(is_there(4), "and this one stays");
}

int
main(void)
{
	static const unsigned char bytes[28] = { 1, 0, [10] = 16, [12] = 7 };
	static char sys[80], devices[80], mountinfo[80], text[64];

	snprintf(top, sizeof(top), "/tmp/rbd-csi-krbd.XXXXXX");
	if (mkdtemp(top) == NULL)
		return 1;
	str_base64(text, bytes, sizeof(bytes));
	secret_set(&key, text, strlen(text));
	snprintf(sys, sizeof(sys), "%s/sys", top);
	snprintf(devices, sizeof(devices), "%s/dev", top);
	snprintf(mountinfo, sizeof(mountinfo), "%s/mountinfo", top);
	node_paths = (struct node_paths){
		.sys = sys, .dev = devices, .mountinfo = mountinfo
	};
	fresh();
	is_int(krbd_mapper.init(&setup, &err), 0, "the mapper begins");
	ok(krbd_mapper.usable(&err), "it can be used");
	drop("sys/bus/rbd/add_single_major");
	ok(!krbd_mapper.usable(&err), "or not: %s", err.text);
	test_line();
	test_monitors();
	test_identity();
	test_mapping();
	test_errors();
	test_unmapping();
	test_mountinfo();
	test_shown_number();
	test_names();
	drop("");
	return tap_end();
}
