/*
 * node_mounts.c - the Node RPCs with their children, over a table of mounts
 * and devices in memory: what is bound, unmounted, unmapped, formatted and
 * removed, and above all what is not.
 */
#include "base/log.h"
#include "core/child.h"
#include "core/offload.h"
#include "node/attachment.h"
#include "node/loopdev.h"
#include "node/node.h"
#include "node/stash.h"
#include "tests/definition.h"
#include "tests/fake/mounts.h"
#include "tests/tap.h"
#include "tests/waited.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MODE(name) CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__##name
#define DEVICE_BYTES (1 << 20)
#define ID(n)                                                                  \
	"0001-0004-test-0000000000000001-00000000-0000-4000-8000-00000000000" n
#define IMAGE(n) "csi-vol-00000000-0000-4000-8000-00000000000" n

/* ---- images, and a mapper for them ---------------------------------------- */

static struct image {
	const char *name;
	dev_t devno;
	bool mapped, read_only, dead;
	bool locked; /* by a client that has died */
	bool proven; /* the cluster says that it holds nothing */
	int in_use;  /* what an unmap fails with */
	unsigned char bytes[DEVICE_BYTES];
} images[2];

static unsigned unmaps, begins, tools, grows;

static bool
image_is(const struct image *image, const struct device_spec *spec)
{
	return spec->image != NULL
	    ? str_eq(spec->image, image->name)
	    : device_is_named(spec->volume_id, image->name);
}

static struct image *
image_of(const struct device_spec *spec)
{
	for (size_t i = 0; i < countof(images); i++)
		if (image_is(&images[i], spec))
			return &images[i];
	return NULL;
}

static void
describe(const struct image *image, struct device *dev)
{
	char path[PATH_MAX];

	fake_device_path(image->devno, path);
	*dev = (struct device){ .id = (int)minor(image->devno),
		.devno = image->devno,
		.size_bytes = DEVICE_BYTES,
		.read_only = image->read_only };
	(void)!str_put(dev->path, sizeof(dev->path), "%s", path);
	(void)!str_put(dev->client, sizeof(dev->client), "10.0.0.1:0/5");
}

static int
fake_map(const struct device_spec *spec, struct device *dev, struct err *err)
{
	struct image *image = image_of(spec);

	if (image == NULL)
		return err_set(err, ERR_NOT_FOUND, "no image %s", spec->image);
	if (image->locked)
		return err_set(err, ERR_ABORTED, "%s is locked", image->name);
	if (!image->mapped)
		fake_device_add(image->devno, image->bytes, DEVICE_BYTES);
	image->mapped = true;
	image->read_only = spec->read_only;
	describe(image, dev);
	return 0;
}

static int
fake_unmap(
    const struct device_spec *spec, const struct device *shown, struct err *err)
{
	struct image *image = image_of(spec);

	(void)shown;
	if (image == NULL || !image->mapped)
		return 0;
	if (image->in_use != 0)
		return err_set_rc(err, image->in_use, "unmap %s", image->name);
	unmaps++;
	image->mapped = image->dead = false;
	fake_device_drop(image->devno);
	return 0;
}

static int
fake_verify(const struct device_spec *spec, dev_t devno, struct device *dev,
    struct err *err)
{
	struct image *image = image_of(spec);

	if (image == NULL || !image->mapped || image->devno != devno) {
		(void)err_set(err, ERR_FAILED_PRECONDITION,
		    "device %u:%u is another", major(devno), minor(devno));
		return -ENODEV;
	}
	describe(image, dev);
	return image->dead ? -ESTALE : 0;
}

static int
fake_init(const struct mapper_setup *setup, struct err *err)
{
	(void)setup;
	(void)err;
	return 0;
}

static bool
fake_usable(struct err *why)
{
	(void)why;
	return true;
}

static int
fake_grow(const struct device_spec *spec, struct device *dev, struct err *err)
{
	(void)err;
	grows++;
	describe(image_of(spec), dev);
	return 0;
}

static const struct mapper_child fake_child = { .name = "krbd",
	.map = fake_map,
	.unmap = fake_unmap,
	.verify = fake_verify,
	.grow = fake_grow };

static const struct mapper fake = { .name = "krbd",
	.mounter = "rbd",
	.child = &fake_child,
	.init = fake_init,
	.usable = fake_usable };

/* ---- what else the RPCs ask: children run at once -------------------------- */

void
offload_start(struct offload *off, const char *what, offload_fn fn,
    const void *args, void *result, size_t result_size, int64_t timeout_ms,
    struct wake *waiter)
{
	(void)what;
	(void)timeout_ms;
	off->err = (struct err)ERR_INIT;
	if (result != NULL)
		memset(result, 0, result_size);
	wake_up(waiter, fn(args, result, &off->err));
}

/* An ext4 of 1 MiB, as the probe sees it; `mounts` so often. */
static void
make_ext4(unsigned char *bytes, unsigned mounts)
{
	unsigned char *super = bytes + 1024;

	memset(bytes, 0, DEVICE_BYTES);
	super[0x05] = 4; /* blocks of 1 KiB: 1024 */
	super[0x34] = (unsigned char)mounts;
	super[0x38] = 0x53;
	super[0x39] = 0xef;
	super[0x3a] = 1;    /* clean */
	super[0x4c] = 1;    /* revision */
	super[0x5c] = 4;    /* a journal */
	super[0x60] = 0x40; /* extents */
	super[0x68] = 1;    /* UUID */
}

void
tool_start(struct tool *tool, const char *const argv[], int64_t timeout_ms,
    struct wake *waiter)
{
	const char *device = "";

	(void)timeout_ms;
	memset(tool, 0, sizeof(*tool));
	tools++;
	for (size_t i = 0; argv[i] != NULL; i++)
		device = argv[i];
	for (size_t i = 0; i < countof(images); i++) {
		char path[PATH_MAX];

		fake_device_path(images[i].devno, path);
		if (!str_eq(path, device))
			continue;
		make_ext4(images[i].bytes, 0);
		fake_device_add(images[i].devno, images[i].bytes, DEVICE_BYTES);
	}
	wake_up(waiter, 0);
}

static const char *cluster_limits = ""; /* of images now */
static char recorded[256];              /* the last one */
static bool lends;                      /* a key, to ask for them */

static void
fake_format(struct node_format *ask, struct wake *waiter)
{
	const struct image *image = image_of(ask->spec);
	int rc = 0;

	begins += ask->step == NODE_FORMAT_BEGIN;
	if (ask->step == NODE_FORMAT_RECORD)
		(void)snprintf(recorded, sizeof(recorded), "%s %s %s%s",
		    ask->node_id, ask->address, ask->spec->image,
		    ask->address_only ? "" : " as this user");
	(void)!str_put(ask->image_id, sizeof(ask->image_id), "12");
	(void)!str_put(ask->io_max, sizeof(ask->io_max), "%s", cluster_limits);
	if (ask->step == NODE_FORMAT_BEGIN && !image->proven)
		rc = err_set(&ask->err, ERR_FAILED_PRECONDITION,
		    "image %s holds data", image->name);
	if (ask->step == NODE_FORMAT_POOL)
		rc = err_set(&ask->err, ERR_NOT_FOUND, "no such pool");
	wake_up(waiter, rc);
}

static int
find_cluster(const char *id, int64_t pool_id, struct arena *arena,
    struct node_cluster *cluster, struct err *err)
{
	(void)pool_id;
	(void)id;
	(void)arena;
	(void)err;
	*cluster = (struct node_cluster){ .monitors = "a:1" };
	return 0;
}

static bool
lend_key(const struct device_spec *spec, const char **user, const char **key)
{
	(void)spec;
	*user = "u";
	*key = "AAAA";
	return lends;
}

static struct node_config config = { .state_dir = "/nonexistent",
	.node_id = "n",
	.credentials = lend_key,
	.find_cluster = find_cluster,
	.format_start = fake_format };

/* ---- calls ---------------------------------------------------------------- */

static struct volume {
	char id[80], image[80], fstype[8];
	char staging[PATH_MAX], staged[PATH_MAX], target[PATH_MAX];
	char flag[16];      /* a mount flag, or "" */
	const char *io_max; /* of publish_context */
	bool block, reader, is_static;
	int mode;
} one, two;

static struct err said;
static bool abnormal;    /* what the statistics say */
static char reason[32];  /* of the health */
static int64_t expanded; /* the capacity that NodeExpandVolume tells */

static void
run(const struct csi_impl *impl, const ProtobufCMessage *request)
{
	size_t len = protobuf_c_message_get_packed_size(request);
	auto_free unsigned char *body = mem_new(len + 1);
	struct waited done = WAITED_INIT;
	struct csi_request in;
	struct csi_rpc *rpc;

	said = (struct err)ERR_INIT;
	(void)protobuf_c_message_pack(request, body);
	if (csi_request_read(
		&in, definition_taking(request), body, len, &said) < 0)
		return;
	rpc = csi_rpc_new(impl, &in, NULL);
	csi_rpc_start(rpc, &done.wake);
	(void)waited_for(&done);
	said = rpc->op.err;
	if (impl == &node_stats_impl && rpc->reply != NULL)
		abnormal = ((Csi__V1__NodeGetVolumeStatsResponse *)rpc->reply)
			       ->volume_condition->abnormal;
	if (impl == &node_expand_impl && rpc->reply != NULL)
		expanded = ((Csi__V1__NodeExpandVolumeResponse *)rpc->reply)
			       ->capacity_bytes;
	if (impl == &node_health_impl) {
		const Csi__V1__NodeGetVolumeHealthResponse *r = rpc->reply;

		(void)!str_put(reason, sizeof(reason), "%s",
		    r == NULL ? "no answer"
			: r->volume_health->n_health_statuses > 0
			? r->volume_health->health_statuses[0]->reason
			: "");
	}
	csi_request_fini(&in);
}

/* The messages' maps have entries of types of their own, all alike. */
#define ENTRY(Type, name, k, v)                                                \
	Csi__V1__##Type name = { .base.descriptor = NULL,                      \
		.key = (char *)(uintptr_t)(k),                                 \
		.value = (char *)(uintptr_t)(v) }

static Csi__V1__VolumeCapability *
capability(const struct volume *v)
{
	static Csi__V1__VolumeCapability cap;
	static Csi__V1__VolumeCapability__MountVolume mount;
	static Csi__V1__VolumeCapability__BlockVolume block;
	static Csi__V1__VolumeCapability__AccessMode mode;
	static char *flags[1], fstype[8], flag[16];

	csi__v1__volume_capability__init(&cap);
	csi__v1__volume_capability__mount_volume__init(&mount);
	csi__v1__volume_capability__block_volume__init(&block);
	csi__v1__volume_capability__access_mode__init(&mode);
	mode.mode = (Csi__V1__VolumeCapability__AccessMode__Mode)v->mode;
	cap.access_mode = &mode;
	(void)!str_put(fstype, sizeof(fstype), "%s", v->fstype);
	(void)!str_put(flag, sizeof(flag), "%s", v->flag);
	flags[0] = flag;
	mount.fs_type = fstype;
	mount.mount_flags = flags;
	mount.n_mount_flags = flag[0] != '\0';
	cap.access_type_case = v->block
	    ? CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK
	    : CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT;
	if (v->block)
		cap.block = &block;
	else
		cap.mount = &mount;
	return &cap;
}

static int
stage(struct volume *v)
{
	ENTRY(NodeStageVolumeRequest__SecretsEntry, user, "userID", "u");
	ENTRY(NodeStageVolumeRequest__SecretsEntry, key, "userKey", "AAAA");
	ENTRY(NodeStageVolumeRequest__PublishContextEntry, pool, "pool", "p");
	ENTRY(NodeStageVolumeRequest__PublishContextEntry, image, "image",
	    v->image);
	ENTRY(NodeStageVolumeRequest__VolumeContextEntry, is_static,
	    "staticVolume", "true");
	Csi__V1__NodeStageVolumeRequest__SecretsEntry *secrets[] = { &user,
		&key };
	Csi__V1__NodeStageVolumeRequest__PublishContextEntry *publish[] = {
		&pool, &image
	};
	Csi__V1__NodeStageVolumeRequest__VolumeContextEntry *context[] = {
		&is_static
	};
	Csi__V1__NodeStageVolumeRequest r =
	    CSI__V1__NODE_STAGE_VOLUME_REQUEST__INIT;

	user.base.descriptor = key.base.descriptor =
	    &csi__v1__node_stage_volume_request__secrets_entry__descriptor;
	pool.base.descriptor = image.base.descriptor =
	    &csi__v1__node_stage_volume_request__publish_context_entry__descriptor;
	is_static.base.descriptor =
	    &csi__v1__node_stage_volume_request__volume_context_entry__descriptor;
	r.volume_id = v->id;
	r.staging_target_path = v->staging;
	r.volume_capability = capability(v);
	r.secrets = secrets;
	r.n_secrets = 2;
	r.publish_context = publish;
	r.n_publish_context = 2;
	r.volume_context = context;
	r.n_volume_context = v->is_static;
	run(&node_stage_impl, &r.base);
	return (int)said.code;
}

static int
publish(struct volume *v)
{
	ENTRY(NodePublishVolumeRequest__PublishContextEntry, pool, "pool", "p");
	ENTRY(NodePublishVolumeRequest__PublishContextEntry, image, "image",
	    v->image);
	ENTRY(NodePublishVolumeRequest__PublishContextEntry, io_max, "ioMax",
	    v->io_max);
	Csi__V1__NodePublishVolumeRequest__PublishContextEntry *context[] = {
		&pool, &image, &io_max
	};
	Csi__V1__NodePublishVolumeRequest r =
	    CSI__V1__NODE_PUBLISH_VOLUME_REQUEST__INIT;

	pool.base.descriptor = image.base.descriptor = io_max.base.descriptor =
	    &csi__v1__node_publish_volume_request__publish_context_entry__descriptor;
	r.volume_id = v->id;
	r.staging_target_path = v->staging;
	r.target_path = v->target;
	r.volume_capability = capability(v);
	r.readonly = v->reader;
	r.publish_context = context;
	r.n_publish_context = v->io_max != NULL ? 3 : 2;
	run(&node_publish_impl, &r.base);
	return (int)said.code;
}

static int
unpublish(struct volume *v)
{
	Csi__V1__NodeUnpublishVolumeRequest r =
	    CSI__V1__NODE_UNPUBLISH_VOLUME_REQUEST__INIT;

	r.volume_id = v->id;
	r.target_path = v->target;
	run(&node_unpublish_impl, &r.base);
	return (int)said.code;
}

static int
unstage(struct volume *v)
{
	Csi__V1__NodeUnstageVolumeRequest r =
	    CSI__V1__NODE_UNSTAGE_VOLUME_REQUEST__INIT;

	r.volume_id = v->id;
	r.staging_target_path = v->staging;
	run(&node_unstage_impl, &r.base);
	return (int)said.code;
}

static int
statistics(struct volume *v)
{
	Csi__V1__NodeGetVolumeStatsRequest r =
	    CSI__V1__NODE_GET_VOLUME_STATS_REQUEST__INIT;

	r.volume_id = v->id;
	r.volume_path = v->target;
	r.staging_target_path = v->staging;
	abnormal = false;
	run(&node_stats_impl, &r.base);
	return (int)said.code;
}

/* The reason that NodeGetVolumeHealth tells, "" for a healthy volume. */
static const char *
health_of(struct volume *v, char *target, char *staging)
{
	Csi__V1__NodeGetVolumeHealthRequest r =
	    CSI__V1__NODE_GET_VOLUME_HEALTH_REQUEST__INIT;

	r.volume_id = v->id;
	r.volume_publish_path = target;
	r.staging_target_path = staging;
	run(&node_health_impl, &r.base);
	return reason;
}

/* `path`: volume_path; `bytes`: required_bytes, 0: no capacity_range. */
static int
expand(struct volume *v, char *path, char *staging, int64_t bytes)
{
	Csi__V1__NodeExpandVolumeRequest r =
	    CSI__V1__NODE_EXPAND_VOLUME_REQUEST__INIT;
	Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;

	range.required_bytes = bytes;
	r.volume_id = v->id;
	r.volume_path = path;
	r.staging_target_path = staging;
	r.capacity_range = bytes != 0 ? &range : NULL;
	grows = 0;
	expanded = 0;
	run(&node_expand_impl, &r.base);
	return (int)said.code;
}

/* ---- the scene ------------------------------------------------------------ */

static const char *
below(const char *dir, const char *name)
{
	static char path[4][PATH_MAX];
	static unsigned n;
	char *to = path[n++ % 4];

	(void)!str_put(to, PATH_MAX, "%s/%s", dir, name);
	return to;
}

static bool
exists(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0;
}

static void
volume_init(struct volume *v, const char *id, const char *image, int n)
{
	memset(v, 0, sizeof(*v));
	v->mode = MODE(SINGLE_NODE_WRITER);
	(void)!str_put(v->id, sizeof(v->id), "%s", id);
	(void)!str_put(v->image, sizeof(v->image), "%s", image);
	(void)!str_put(v->staging, sizeof(v->staging), "%s/staging-%d",
	    fake_mounts.top, n);
	(void)!str_put(v->staged, sizeof(v->staged), "%s/%s", v->staging, id);
	(void)!str_put(v->target, sizeof(v->target), "%s/pods/%d/mount",
	    fake_mounts.top, n);
	if (mkdir(v->staging, 0700) < 0)
		abort();
}

/* Two volumes with an ext4 that was mounted before, and nothing else. */
static void
scene(void)
{
	if (fake_mounts.top[0] != '\0')
		fake_mounts_fini();
	fake_mounts_init();
	for (unsigned i = 0; i < countof(images); i++) {
		images[i] = (struct image){ .name = i == 0 ? IMAGE("1")
							   : IMAGE("2"),
			.devno = makedev(MOUNTS_MAJOR, i + 1) };
		make_ext4(images[i].bytes, 1);
	}
	volume_init(&one, ID("1"), IMAGE("1"), 1);
	volume_init(&two, ID("2"), IMAGE("2"), 2);
	unmaps = begins = tools = 0;
}

/* A foreign disk that somebody else has mounted at `point`. */
#define FOREIGN makedev(MOUNTS_MAJOR, 9)

static void
mount_foreign(const char *point)
{
	fake_device_add(FOREIGN, "x", 1);
	fake_mount_add(point, FOREIGN, false);
}

static bool
is_staged(const struct volume *v, const struct image *image)
{
	const struct fake_mount *m = fake_mount_at(v->staged);

	return m != NULL && m->source == image->devno && image->mapped &&
	    exists(below(v->staging, "image-meta.json"));
}

static bool
is_gone(const struct volume *v, const struct image *image)
{
	return fake_mount_at(v->staged) == NULL && !exists(v->staged) &&
	    !image->mapped && !exists(below(v->staging, "image-meta.json"));
}

/* ---- stage ---------------------------------------------------------------- */

static void
test_stage(void)
{
	scene();
	is_int(stage(&one), 0, "a volume is staged: %s", said.text);
	ok(is_staged(&one, &images[0]), "mapped, mounted, and noted");
	is_int(stage(&one), 0, "and staged again");
	ok(fake_mounts.count == 1 && tools == 0, "which does nothing");

	one.flag[0] = 'r';
	one.flag[1] = 'o';
	is_int(stage(&one), ERR_ALREADY_EXISTS, "not otherwise than it is");
	ok(is_staged(&one, &images[0]), "it stays: %s", said.text);
	one.flag[0] = '\0';
	one.block = true;
	is_int(stage(&one), ERR_ALREADY_EXISTS, "nor as a block device");
	ok(is_staged(&one, &images[0]), "it stays");
	one.block = false;

	fake_mount_at(one.staged)->turned = true;
	is_int(stage(&one), ERR_FAILED_PRECONDITION,
	    "one that the kernel has made read-only is told");
	ok(is_staged(&one, &images[0]), "it stays");
	fake_mount_at(one.staged)->turned = false;

	images[0].dead = true;
	is_int(stage(&one), 0, "one whose device is dead is staged anew");
	ok(is_staged(&one, &images[0]) && fake_mounts.lazy == 1,
	    "the dead mount is out of sight");
}

static void
test_stage_refused(void)
{
	scene();
	mkdir(one.staged, 0700);
	mount_foreign(one.staged);
	is_int(stage(&one), ERR_FAILED_PRECONDITION,
	    "a foreign mount at the staging path: %s", said.text);
	ok(fake_mount_at(one.staged)->source == FOREIGN &&
		fake_mounts.umounts == 0 && !images[0].mapped,
	    "stays, and nothing is mapped");

	scene();
	is_int(stage(&two), 0, "another volume is staged");
	memcpy(one.staging, two.staging, sizeof(one.staging));
	is_int(stage(&one), ERR_FAILED_PRECONDITION,
	    "at its path no other is: %s", said.text);
	ok(is_staged(&two, &images[1]) && !images[0].mapped, "it stays");
	fake_mounts.count = 0;
	is_int(stage(&one), 0, "a stash that was left over is replaced");

	scene();
	fake_mounts.fail_mount = EINVAL;
	ok(stage(&one) != 0 && is_gone(&one, &images[0]),
	    "a stage whose mount fails leaves nothing: %s", said.text);

	scene();
	one.staging[0] = '\0';
	(void)!str_put(
	    one.staging, sizeof(one.staging), "%s/link", fake_mounts.top);
	if (symlink(two.staging, one.staging) < 0 ||
	    chmod(fake_mounts.top, 0777) < 0)
		abort();
	is_int(stage(&one), ERR_FAILED_PRECONDITION,
	    "a link that anybody could have made: %s", said.text);
	ok(!images[0].mapped, "is not followed");
}

/* What is formatted, and what is not. */
static void
test_format(void)
{
	static const struct {
		const char *name, *fstype;
		unsigned char bytes[512]; /* at the start */
		bool ext4, proven, is_static, reader;
		enum err_code code;
		bool asked, formatted;
	} table[] = {
		{ .name = "what is proven to hold nothing",
		    .proven = true,
		    .asked = true,
		    .formatted = true },
		{ .name = "what shows nothing, but is not proven",
		    .code = ERR_FAILED_PRECONDITION,
		    .asked = true },
		{ .name = "a static volume",
		    .proven = true,
		    .is_static = true,
		    .code = ERR_FAILED_PRECONDITION },
		{ .name = "what is to be read only",
		    .proven = true,
		    .reader = true,
		    .code = ERR_FAILED_PRECONDITION },
		{ .name = "another file system than is asked for",
		    .ext4 = true,
		    .proven = true,
		    .fstype = "xfs",
		    .code = ERR_FAILED_PRECONDITION },
		{ .name = "a partition table",
		    .bytes = { [446] = 0x80,
			[450] = 0x83,
			[454] = 1,
			[458] = 0xff,
			[510] = 0x55,
			[511] = 0xaa },
		    .proven = true,
		    .code = ERR_FAILED_PRECONDITION },
		{ .name = "LUKS",
		    .bytes = "LUKS\xba\xbe\0\1",
		    .proven = true,
		    .fstype = "ext4",
		    .code = ERR_FAILED_PRECONDITION },
	};

	for (size_t i = 0; i < countof(table); i++) {
		scene();
		if (!table[i].ext4) {
			memset(images[0].bytes, 0, DEVICE_BYTES);
			memcpy(images[0].bytes, table[i].bytes,
			    sizeof(table[i].bytes));
		}
		images[0].proven = table[i].proven;
		one.is_static = table[i].is_static;
		if (table[i].is_static) {
			(void)!str_put(
			    one.image, sizeof(one.image), "%s", one.id);
			images[0].name = one.id;
		}
		if (table[i].reader)
			(void)!str_put(one.flag, sizeof(one.flag), "ro");
		if (table[i].fstype != NULL)
			(void)!str_put(one.fstype, sizeof(one.fstype), "%s",
			    table[i].fstype);
		is_int(stage(&one), table[i].code, "%s: %s", table[i].name,
		    said.text);
		ok((tools == 1) == table[i].formatted &&
			(begins == 1) == table[i].asked,
		    "%s: %s", table[i].name,
		    table[i].formatted ? "is formatted" : "is not formatted");
		ok(table[i].formatted ? is_staged(&one, &images[0])
				      : is_gone(&one, &images[0]),
		    "%s: and %s", table[i].name,
		    table[i].formatted ? "staged" : "nothing is left");
	}
}

/* ---- publish -------------------------------------------------------------- */

static void
test_publish(void)
{
	struct volume reader;

	scene();
	is_int(stage(&one), 0, "a volume is staged");
	is_int(publish(&one), 0, "and published: %s", said.text);
	ok(fake_mount_at(one.target)->source == images[0].devno,
	    "the target shows its device");
	is_int(publish(&one), 0, "and published again");
	is_int((int)fake_mounts.count, 2, "which does nothing");
	is_int(statistics(&one), 0, "it has statistics: %s", said.text);
	ok(!abnormal, "and is well");
	one.reader = true;
	is_int(
	    publish(&one), ERR_ALREADY_EXISTS, "not otherwise: %s", said.text);
	one.reader = false;
	reader = one;
	reader.reader = true;
	(void)!str_put(reader.target, sizeof(reader.target), "%s/pods/9/mount",
	    fake_mounts.top);
	is_int(publish(&reader), 0, "at another target read-only");
	ok(fake_mount_at(reader.target)->read_only, "it is");

	images[0].dead = true;
	is_int(statistics(&one), 0, "a dead volume has statistics");
	ok(abnormal, "which say so");
	images[0].dead = false;

	is_int(unstage(&one), ERR_FAILED_PRECONDITION,
	    "it is not unstaged while it is published: %s", said.text);
	ok(is_staged(&one, &images[0]) && fake_mounts.umounts == 0,
	    "nothing is undone");
	is_int(unpublish(&one), 0, "unpublished");
	ok(fake_mount_at(one.target) == NULL && !exists(one.target),
	    "the target is gone");
	is_int(unpublish(&one), 0, "and again");
	is_int(unpublish(&reader), 0, "and the other one");
	is_int(unstage(&one), 0, "and unstaged: %s", said.text);
	ok(is_gone(&one, &images[0]), "nothing is left");
	is_int(unstage(&one), 0, "and again");
}

static void
test_publish_refused(void)
{
	char file[PATH_MAX];

	scene();
	mkdir(one.staged, 0700);
	is_int(publish(&one), ERR_FAILED_PRECONDITION,
	    "a directory of the node's own disk: %s", said.text);
	ok(fake_mounts.count == 0 &&
		strstr(said.text, "nothing is mounted at") != NULL,
	    "is not bound");

	mount_foreign(one.staged);
	is_int(publish(&one), ERR_FAILED_PRECONDITION,
	    "a foreign mount at the staging path: %s", said.text);
	ok(fake_mounts.count == 1, "is not bound");

	scene();
	is_int(stage(&two), 0, "another volume is staged");
	memcpy(one.staging, two.staging, sizeof(one.staging));
	mkdir(below(one.staging, one.id), 0700);
	fake_mount_add(below(one.staging, one.id), images[1].devno, false);
	is_int(publish(&one), ERR_FAILED_PRECONDITION,
	    "another volume's device by this one's name: %s", said.text);
	ok(fake_mount_at(one.target) == NULL, "is not bound");

	scene();
	is_int(stage(&one), 0, "a volume is staged");
	(void)!str_put(file, sizeof(file), "%s/file", one.target);
	fake_write(file, "data", 4);
	mount_foreign(one.target);
	is_int(publish(&one), ERR_FAILED_PRECONDITION,
	    "a foreign mount at the target: %s", said.text);
	ok(fake_mount_at(one.target)->source == FOREIGN, "stays");
	is_int(unpublish(&one), ERR_FAILED_PRECONDITION,
	    "also when it is unpublished: %s", said.text);
	ok(fake_mount_at(one.target)->source == FOREIGN, "it stays");
	fake_mounts.count--;
	is_int(unpublish(&one), ERR_FAILED_PRECONDITION,
	    "a directory with something in it: %s", said.text);
	ok(exists(file), "stays");
	one.block = true;
	ok(publish(&one) != 0 && exists(file), "whatever is asked for: %s",
	    said.text);
	one.block = false;
	(void)unlink(file);
	(void)rmdir(one.target);
	if (symlink(two.staging, one.target) < 0)
		abort();
	is_int(publish(&one), ERR_FAILED_PRECONDITION,
	    "a link at the target: %s", said.text);
	is_int(
	    unpublish(&one), ERR_FAILED_PRECONDITION, "is not removed either");
	ok(exists(one.target) && fake_mounts.count == 1, "it stays");
	(void)unlink(one.target);

	fake_mounts.fail_mount = EPERM;
	ok(publish(&one) != 0 && !exists(one.target),
	    "a bind that fails leaves no mount point: %s", said.text);
	one.block = true;
	is_int(publish(&one), ERR_FAILED_PRECONDITION,
	    "a file system is no block device: %s", said.text);
	one.block = false;

	images[0].dead = true;
	is_int(publish(&one), ERR_FAILED_PRECONDITION,
	    "a dead volume without a key: %s", said.text);
	ok(fake_mount_at(one.target) == NULL, "is not bound");
}

static void
test_single_writer(void)
{
	struct volume other;

	scene();
	one.mode = MODE(SINGLE_NODE_SINGLE_WRITER);
	other = one;
	(void)!str_put(other.target, sizeof(other.target), "%s/pods/9/mount",
	    fake_mounts.top);
	is_int(stage(&one), 0, "a volume with a single writer is staged");
	is_int(publish(&one), 0, "published: %s", said.text);
	is_int(publish(&other), ERR_FAILED_PRECONDITION,
	    "but at no second target: %s", said.text);
	ok(fake_mount_at(other.target) == NULL, "nothing is bound there");
	is_int(unpublish(&one), 0, "after it is unpublished");
	is_int(publish(&other), 0, "it is");
}

/* A read-only target of a block volume has a device of its own. */
static void
test_block(void)
{
	struct volume reader;

	scene();
	one.block = true;
	is_int(stage(&one), 0, "a block volume is staged: %s", said.text);
	ok(fake_mount_at(one.staged)->node, "its node is bound");
	reader = one;
	reader.reader = true;
	(void)!str_put(reader.target, sizeof(reader.target), "%s/pods/9/dev",
	    fake_mounts.top);
	is_int(publish(&reader), 0, "published read-only: %s", said.text);
	ok(major(fake_mount_at(reader.target)->source) == LOOP_MAJOR &&
		fake_mounts.loop[0].read_only,
	    "by a read-only loop device");
	is_int(publish(&one), 0, "and writable elsewhere");
	ok(fake_mount_at(one.target)->source == images[0].devno,
	    "by the device itself");
	is_int(unpublish(&one), 0, "that goes");
	is_int(unstage(&one), ERR_FAILED_PRECONDITION,
	    "the reader keeps it staged: %s", said.text);
	is_int(unpublish(&reader), 0, "until it goes, too");
	ok(fake_mounts.loop[0].file[0] == '\0', "its loop device is free");
	is_int(loopdev_attach(below(node_paths.dev, "fake1"), true, NULL), 0,
	    "a child that was killed leaves one");
	is_int(unstage(&one), 0, "unstage: %s", said.text);
	ok(is_gone(&one, &images[0]) && fake_mounts.loop[0].file[0] == '\0',
	    "frees it, too");
}

/* ---- unpublish, unstage --------------------------------------------------- */

static void
test_stacks(void)
{
	scene();
	is_int(stage(&one) + publish(&one), 0, "a volume is published");
	fake_mount_add(one.target, images[0].devno, false);
	is_int(unpublish(&one), 0, "two mounts of it at the target");
	ok(fake_mount_at(one.target) == NULL, "are taken away both");

	is_int(publish(&one), 0, "published again");
	mount_foreign(one.target);
	is_int(unpublish(&one), ERR_FAILED_PRECONDITION,
	    "what is mounted above it: %s", said.text);
	is_int((int)fake_mounts.count, 3, "stays, and so does it");
	fake_mounts.count = 1;
	mount_foreign(one.target);
	fake_mount_add(one.target, images[0].devno, false);
	is_int(unpublish(&one), ERR_FAILED_PRECONDITION,
	    "what is mounted below it: %s", said.text);
	ok(fake_mount_at(one.target)->source == FOREIGN, "stays");

	fake_mounts.count = 1;
	fake_mount_add(one.target, images[0].devno, false);
	fake_mount_at(one.target)->hidden = true;
	is_int(unpublish(&one), ERR_FAILED_PRECONDITION,
	    "a mount that the path does not lead to: %s", said.text);

	fake_mounts.count = 1;
	mkdir(one.target, 0700);
	fake_mount_add(one.target, makedev(MOUNTS_MAJOR, 77), false);
	is_int(unpublish(&one), 0,
	    "a mount whose device the kernel has not: %s", said.text);
	is_int((int)fake_mounts.lazy, 1, "goes, out of sight at once");
}

static void
test_unstage_refused(void)
{
	struct volume again, other;
	auto_free char *holders = NULL;

	scene();
	is_int(stage(&one), 0, "a volume is staged");
	again = one;
	(void)!str_put(
	    again.staging, sizeof(again.staging), "%s/second", fake_mounts.top);
	(void)!str_put(again.staged, sizeof(again.staged), "%s/%s",
	    again.staging, again.id);
	mkdir(again.staging, 0700);
	is_int(unstage(&again), ERR_FAILED_PRECONDITION,
	    "where it is not staged, but elsewhere: %s", said.text);
	ok(is_staged(&one, &images[0]), "it stays");
	is_int(stage(&again), 0, "it is staged at a second path");
	is_int(unstage(&one), 0, "of which one goes");
	ok(is_staged(&again, &images[0]) && fake_mount_at(one.staged) == NULL,
	    "the mapping stays for the other");
	is_int(unstage(&again), 0, "and then that");
	ok(is_gone(&again, &images[0]), "nothing is left");

	scene();
	is_int(stage(&two), 0, "another volume is staged");
	other = one;
	memcpy(other.staging, two.staging, sizeof(other.staging));
	is_int(unstage(&other), ERR_FAILED_PRECONDITION,
	    "the stash is another's: %s", said.text);
	ok(is_staged(&two, &images[1]), "it stays");

	scene();
	is_int(stage(&one), 0, "a volume is staged");
	mount_foreign(one.staged);
	is_int(unstage(&one), ERR_FAILED_PRECONDITION,
	    "a foreign mount above it: %s", said.text);
	ok(fake_mounts.count == 2 && images[0].mapped, "nothing is undone");
	fake_mounts.count = 1;

	mount_foreign(below(fake_mounts.top, "elsewhere"));
	fake_mount_add(
	    below(fake_mounts.top, "elsewhere"), images[0].devno, false);
	is_int(unstage(&one), ERR_FAILED_PRECONDITION,
	    "somebody has mounted it elsewhere: %s", said.text);
	ok(is_staged(&one, &images[0]), "it stays");
	fake_mounts.count = 1;

	holders = str_fmt(
	    "%s/dev/block/%u:1/holders/dm-3/x", node_paths.sys, MOUNTS_MAJOR);
	fake_write(holders, "", 0);
	is_int(unstage(&one), ERR_FAILED_PRECONDITION,
	    "LVM holds its device: %s", said.text);
	ok(is_staged(&one, &images[0]), "it stays");
	fake_device_drop(images[0].devno);
	fake_device_add(images[0].devno, images[0].bytes, DEVICE_BYTES);

	images[0].in_use = -EBUSY;
	ok(unstage(&one) != 0 && images[0].mapped, "its device is in use: %s",
	    said.text);
	ok(exists(below(one.staging, "image-meta.json")),
	    "the stash stays, so that the next call knows of it");
	images[0].in_use = 0;
	is_int(unstage(&one), 0, "which unstages it: %s", said.text);
	ok(is_gone(&one, &images[0]), "nothing is left");
}

/* Files of somebody's at the mount point, and what a killed child leaves. */
static void
test_in_the_way(void)
{
	scene();
	is_int(stage(&one), 0, "a volume is staged");
	fake_write(below(one.staging, "image-meta.json.tmp"), "{", 1);
	is_int(unstage(&one), 0, "a child was killed as it wrote the stash");
	ok(rmdir(one.staging) == 0, "nothing is left in its directory");

	scene();
	is_int(stage(&one), 0, "a volume is staged");
	fake_write(below(one.staged, "file"), "data", 4);
	is_int(unstage(&one), ERR_FAILED_PRECONDITION,
	    "somebody's file is in the way: %s", said.text);
	ok(!images[0].mapped && fake_mount_at(one.staged) == NULL,
	    "the image goes all the same");
	ok(exists(below(one.staged, "file")), "the file stays");
	is_int(
	    unstage(&one), ERR_FAILED_PRECONDITION, "as long as it is there");
	is_int(stage(&one), ERR_FAILED_PRECONDITION,
	    "it is not hidden by a mount: %s", said.text);
	ok(!images[0].mapped, "nothing is mapped for that");
	(void)unlink(below(one.staged, "file"));
	is_int(unstage(&one), 0, "then it is unstaged: %s", said.text);
	ok(is_gone(&one, &images[0]), "nothing is left");

	is_int(stage(&one), 0, "staged once more");
	fake_write(below(one.target, "file"), "data", 4);
	is_int(publish(&one), ERR_FAILED_PRECONDITION,
	    "nor is one hidden at a target: %s", said.text);
	is_int(unpublish(&one), ERR_FAILED_PRECONDITION,
	    "from where it is not removed: %s", said.text);
	ok(exists(below(one.target, "file")), "it stays");
}

/* ---- what ceph-csi has encrypted ------------------------------------------- */

static int dm_error; /* of the removal of a mapping */

int __real_ioctl(int fd, unsigned long request, void *arg);
int __wrap_ioctl(int fd, unsigned long request, void *arg);
int __wrap_nanosleep(const struct timespec *time, struct timespec *rest);

int
__wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct dm_ioctl *dm = arg;

	if (request != DM_DEV_REMOVE && request != DM_DEV_STATUS)
		return __real_ioctl(fd, request, arg);
	for (unsigned id = 0; id < 8; id++) {
		char name[DM_NAME_LEN];

		(void)sysfs_read(
		    name, sizeof(name), "class/block/dm-%u/dm/name", id);
		if (!str_eq(name, dm->name))
			continue;
		if (request == DM_DEV_STATUS) {
			dm->dev = makedev(MOUNTS_DM_MAJOR, id);
			return 0;
		}
		errno = dm_error;
		if (dm_error != 0)
			return -1;
		fake_dm_drop(id);
		return 0;
	}
	errno = ENXIO;
	return -1;
}

int
__wrap_nanosleep(const struct timespec *time, struct timespec *rest)
{
	(void)time;
	(void)rest;
	return 0;
}

/* As ceph-csi leaves a LUKS volume: staged, and published at its target. */
static void
stage_encrypted(void)
{
	static const char stash[] =
	    "{\"Version\":3,\"pool\":\"p\",\"image\":\"" IMAGE(
		"1") "\","
		     "\"accessType\":false,\"encrypted\":true}";

	scene();
	is_int(stage(&one), 0, "an image is mapped");
	fake_write(below(one.staging, "image-meta.json"), stash, strlen(stash));
	fake_dm_add(0, "luks-rbd-" ID("1") "_dif", "CRYPT-INTEGRITY-1",
	    images[0].devno);
	fake_dm_add(1, "luks-rbd-" ID("1"), "CRYPT-LUKS2-1",
	    makedev(MOUNTS_DM_MAJOR, 0));
	fake_mounts.count = 0;
	fake_mount_add(one.staged, makedev(MOUNTS_DM_MAJOR, 1), false);
	fake_write(below(one.target, ".keep"), "", 0);
	(void)unlink(below(one.target, ".keep"));
	fake_mount_add(one.target, makedev(MOUNTS_DM_MAJOR, 1), false);
}

static void
test_encrypted(void)
{
	dm_error = 0;
	stage_encrypted();
	(void)stage(&one);
	ok(fake_mounts.count == 2 && images[0].mapped,
	    "a stage of it changes nothing: %s", said.text);
	is_int(publish(&one), 0, "a publish finds it: %s", said.text);
	is_int(unstage(&one), ERR_FAILED_PRECONDITION,
	    "nor unstaged while it is: %s", said.text);
	is_int(unpublish(&one), 0, "unpublished: %s", said.text);
	fake_dm_add(4, "vg-lv", "LVM-1", images[0].devno);
	is_int(unstage(&one), ERR_FAILED_PRECONDITION,
	    "what else lies on its device: %s", said.text);
	ok(fake_mount_at(one.staged) != NULL && images[0].mapped,
	    "nothing is undone");
	fake_dm_drop(4);
	dm_error = EBUSY;
	ok(unstage(&one) != 0 && images[0].mapped &&
		exists(below(one.staging, "image-meta.json")),
	    "a mapping that stays in use keeps the image: %s", said.text);
	dm_error = 0;
	is_int(unstage(&one), 0, "unstaged: %s", said.text);
	ok(is_gone(&one, &images[0]) && sysfs_devno("dm-0") == 0 &&
		sysfs_devno("dm-1") == 0,
	    "both mappings are closed");

	stage_encrypted();
	is_int(stage(&two), 0, "another image is mapped");
	fake_mounts.count = 0;
	fake_dm_drop(0);
	fake_dm_drop(1);
	fake_dm_add(1, "luks-rbd-" ID("1"), "CRYPT-LUKS2-1", images[1].devno);
	ok(unstage(&one) != 0 && images[0].mapped && images[1].mapped,
	    "a mapping of the volume's name upon another device: %s",
	    said.text);
	ok(sysfs_devno("dm-1") != 0, "stays open");
}

static void
test_health(void)
{
	char none[] = "";

	scene();
	is_str(health_of(&one, one.target, one.staging), "no answer",
	    "a volume that is not there");
	is_int((int)said.code, ERR_NOT_FOUND, "is not found: %s", said.text);
	is_int(stage(&one), 0, "a volume is staged");
	is_str(health_of(&one, none, one.staging), "", "it is well there");
	is_str(health_of(&one, none, none), "", "it is found without a path");
	is_str(health_of(&two, none, none), "no answer", "another one is not");
	is_int((int)said.code, ERR_NOT_FOUND, "for it is not there: %s",
	    said.text);
	is_int(publish(&one), 0, "and published");
	is_str(health_of(&one, one.target, none), "", "it is well there, too");
	is_str(health_of(&two, one.target, none), "no answer",
	    "another volume is not, where this one is mounted");
	is_int((int)said.code, ERR_NOT_FOUND, "not found: %s", said.text);
	mount_foreign(one.target);
	is_str(health_of(&one, one.target, one.staging), "no answer",
	    "nor is it where something else is mounted");
	is_int((int)said.code, ERR_NOT_FOUND, "not found: %s", said.text);
	ok(statistics(&one) < 0 || said.code == ERR_NOT_FOUND,
	    "which has no statistics");
	fake_mounts.count--;
	fake_mount_at(one.target)->turned = true;
	fake_mount_at(one.target)->read_only = true;
	is_str(health_of(&one, one.target, one.staging), "FilesystemReadOnly",
	    "a file system that the kernel has made read-only");
	ok(statistics(&one) == 0 && abnormal, "statistics say so");
	images[0].dead = true;
	is_str(health_of(&one, one.target, one.staging), "DeviceDead",
	    "a dead device");
	is_str(
	    health_of(&one, none, none), "DeviceDead", "which is found, too");
}

static void
test_expand(void)
{
	char none[] = "";

	scene();
	is_int(expand(&one, one.target, one.staging, 0), ERR_NOT_FOUND,
	    "what is not staged is not grown: %s", said.text);
	is_int(stage(&one) + publish(&one), 0, "a volume is published");
	is_int(expand(&one, one.target, one.staging, DEVICE_BYTES), 0,
	    "grown by its staging path: %s", said.text);
	ok(grows == 1 && expanded == DEVICE_BYTES, "the size is told");
	is_int(expand(&one, one.target, none, 0), 0, "by its target: %s",
	    said.text);
	is_int(expand(&one, one.staging, none, 0), 0,
	    "by a volume_path that is the staging path: %s", said.text);
	is_int(expand(&one, one.target, none, DEVICE_BYTES + 1),
	    ERR_OUT_OF_RANGE, "more than the image has: %s", said.text);
	is_int(expand(&two, one.target, none, 0), ERR_NOT_FOUND,
	    "another volume is not there: %s", said.text);
	is_int(expand(&two, one.target, one.staging, 0), ERR_NOT_FOUND,
	    "nor at its staging path: %s", said.text);
	is_int((int)grows, 0, "nothing was grown for it");
	images[0].dead = true;
	ok(expand(&one, one.target, one.staging, 0) != 0 && grows == 0,
	    "nor what is dead: %s", said.text);

	scene();
	one.block = one.reader = true;
	is_int(stage(&one) + publish(&one), 0, "a reader of a block device");
	is_int(expand(&one, one.target, one.staging, 0), 0, "block: %s",
	    said.text);
	is_int(
	    (int)fake_mounts.loop[0].grown, 1, "the read-only layer follows");
}

/* A volume without its stash is known by its ID. */
static void
test_lost_stash(void)
{
	scene();
	is_int(stage(&one) + stage(&two), 0, "two volumes are staged");
	(void)unlink(below(one.staging, "image-meta.json"));
	is_int(unstage(&one), 0, "one whose stash is lost: %s", said.text);
	ok(is_gone(&one, &images[0]) && is_staged(&two, &images[1]),
	    "is found by its ID, and no other");
	is_int((int)unmaps, 1, "one device is given back");
}

/*
 * After a boot: a directory and a stash are left. A publish that cannot stage
 * the volume yet leaves the stash, for only that tells the next one to try.
 */
static void
test_boot(void)
{
	scene();
	is_int(stage(&one), 0, "staged: %s", said.text);
	fake_mounts.count = 0;
	images[0].mapped = false;
	fake_device_drop(images[0].devno);
	images[0].locked = lends = true;
	is_int(publish(&one), ERR_ABORTED, "after a boot: %s", said.text);
	ok(access(below(one.staging, "image-meta.json"), F_OK) == 0,
	    "the stash stays");
	is_int(stage(&one), ERR_ABORTED, "nor is it staged: %s", said.text);
	ok(access(below(one.staging, "image-meta.json"), F_OK) == 0,
	    "the stash stays");
	images[0].locked = false;
	is_int(
	    publish(&one), 0, "then it is staged and published: %s", said.text);
	ok(is_staged(&one, &images[0]), "as it was");
	lends = false;
	is_int(unpublish(&one) + unstage(&one), 0, "all of it goes: %s",
	    said.text);
	ok(is_gone(&one, &images[0]), "also the stash");
	images[0].locked = true;
	ok(stage(&one) == ERR_ABORTED && is_gone(&one, &images[0]),
	    "a first stage that fails leaves none");
}

/* What the pod's cgroup has got. */
static const char *
io_max(const char *file)
{
	static char text[128];
	FILE *f = fopen(file, "r");

	if (f == NULL || fgets(text, sizeof(text), f) == NULL)
		text[0] = '\0';
	if (f != NULL)
		(void)fclose(f);
	return text;
}

/*
 * A pod's cgroup gets the limits that publish_context has, and later those that
 * the cluster has when statistics are asked for.
 */
static void
test_limits(void)
{
	static const char uid[] = "00000000-0000-4000-8000-0000000000aa";
	auto_free char *dir = NULL, *file = NULL, *command = NULL, *set = NULL;

	scene();
	dir = str_fmt("%s/fs/cgroup/kubepods/pod%s", node_paths.sys, uid);
	file = str_fmt("%s/io.max", dir);
	command = str_fmt("mkdir -p '%s' && : >'%s'", dir, file);
	set = str_fmt("%u:%u rbps=max wbps=max riops=7 wiops=7",
	    major(images[0].devno), minor(images[0].devno));
	(void)!str_put(one.target, sizeof(one.target), "%s/pods/%s/v/mount",
	    fake_mounts.top, uid);
	ok(system(command) == 0, "a pod has a cgroup");
	is_int(stage(&one), 0, "staged: %s", said.text);
	is_int(publish(&one), 0, "published without limits: %s", said.text);
	is_str(io_max(file), "", "nothing is set");
	one.io_max = "rbps=max wbps=max riops=7 wiops=7";
	is_int(publish(&one), 0, "published with limits: %s", said.text);
	is_str(io_max(file), set, "they are set for the device");

	cluster_limits = "rbps=9 wbps=9 riops=7 wiops=7";
	is_int(statistics(&one), 0, "statistics: %s", said.text);
	is_str(io_max(file), set, "nobody lends a key to ask for others");
	lends = true;
	is_int(statistics(&one), 0, "statistics: %s", said.text);
	ok(strstr(io_max(file), " rbps=9 wbps=9 riops=7 wiops=7") != NULL,
	    "with a key the limits of now are set: %s", io_max(file));
	is_int(
	    publish(&one), 0, "published once more, as before: %s", said.text);
	ok(strstr(io_max(file), " rbps=9 wbps=9 riops=7 wiops=7") != NULL,
	    "which does not bring the limits of before back: %s", io_max(file));
	cluster_limits = "";
	is_int(statistics(&one), 0, "statistics: %s", said.text);
	ok(strstr(io_max(file), LIMITS_NONE) != NULL, "or lifted: %s",
	    io_max(file));
	ok(unlink(file) == 0 && rmdir(dir) == 0, "the pod goes");
	is_int(statistics(&one), 0, "and is not asked for: %s", said.text);
	lends = false;
	one.io_max = NULL;
	is_int(unpublish(&one) + unstage(&one), 0, "all of it goes: %s",
	    said.text);
}

/* With --enable-fencing, which was not set when the volume was staged. */
static void
test_recorded_late(void)
{
	auto_free char *address_only = NULL, *with_user = NULL;

	scene();
	address_only = str_fmt("n 10.0.0.1:0/5 %s", images[0].name);
	with_user = str_fmt("%s as this user", address_only);
	is_int(stage(&one), 0, "staged: %s", said.text);
	is_int(publish(&one), 0, "published: %s", said.text);
	config.records = true;
	*recorded = '\0';
	is_int(statistics(&one), 0, "statistics: %s", said.text);
	is_str(recorded, "", "nobody lends a key to record by");
	lends = true;
	is_int(statistics(&one), 0, "statistics: %s", said.text);
	is_str(recorded, address_only,
	    "with a key it is recorded by which address it is open");
	*recorded = '\0';
	is_int(statistics(&one), 0, "statistics: %s", said.text);
	is_int(stage(&one), 0, "staged again: %s", said.text);
	is_str(recorded, "", "once");
	is_int(unpublish(&one) + unstage(&one), 0, "it goes: %s", said.text);
	config.records = false;
	is_int(stage(&one) + publish(&one), 0, "staged: %s", said.text);
	config.records = true;
	is_int(stage(&one), 0, "staged again: %s", said.text);
	is_str(recorded, with_user, "which records it, too");
	*recorded = '\0';
	is_int(statistics(&one), 0, "statistics: %s", said.text);
	is_str(recorded, "", "once");
	lends = config.records = false;
	is_int(unpublish(&one) + unstage(&one), 0, "all of it goes: %s",
	    said.text);
}

int
main(void)
{
	static const struct mapper *const mappers[] = { &fake, NULL };
	const struct mapper_setup setup = { .state_dir = "/nonexistent" };
	struct err err = ERR_INIT;

	log_init("op/node_mounts", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0 || mapper_init(mappers, &setup, &err) < 0)
		return 1;
	node_config = &config;
	test_stage();
	test_stage_refused();
	test_format();
	test_publish();
	test_publish_refused();
	test_single_writer();
	test_block();
	test_stacks();
	test_unstage_refused();
	test_in_the_way();
	test_lost_stash();
	test_encrypted();
	test_expand();
	test_health();
	test_limits();
	test_recorded_late();
	test_boot();
	fake_mounts_fini();
	loop_fini();
	return tap_end();
}
