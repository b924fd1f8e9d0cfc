/*
 * worker_copies.c - volumes from snapshots and from volumes on a real cluster:
 * that they have the data, whatever becomes of what they were made of; every
 * byte that they leave in journal and metadata; and what ceph-csi has left half
 * made. Snapshots and half-made volumes are laid out here by librbd and
 * librados as ceph-csi does it.
 */
#include "tests/integration/ceph_support.h"
#include "tests/integration/worker_support.h"

#include <rados/librados.h>

#include <errno.h>

#define MIB (INT64_C(1) << 20)
#define SIZE (16 * MIB)
#define UUID_LEN 36

static const char *fsid;
static struct ceph_pool *main_pool, *other_pool;
static struct talk worker;

/* ---- images, by librbd ---- */

/* Each object gets a part that is written, beginning with this number. */
static void
fill(struct ceph_pool *pool, const char *name, unsigned char seed)
{
	rbd_image_t image = image_open(pool, name);
	unsigned char bytes[8192];

	for (int64_t at = 0; at < SIZE; at += 3 * MIB) {
		memset(bytes, seed++, sizeof(bytes));
		must((int)rbd_write(image, (uint64_t)(at + 5000), sizeof(bytes),
			 (char *)bytes),
		    "write");
	}
	must(rbd_close(image), "close");
}

/* FNV-1a over the image's first SIZE bytes; what is behind them is zeros. */
static uint64_t
sum(struct ceph_pool *pool, const char *name, uint64_t *size)
{
	static char bytes[MIB];
	rbd_image_t image = image_open(pool, name);
	uint64_t hash = UINT64_C(0xcbf29ce484222325), end;

	must(rbd_get_size(image, &end), "size");
	for (uint64_t at = 0; at < end; at += MIB) {
		must((int)rbd_read(image, at, MIB, bytes), "read");
		for (int64_t i = 0; i < MIB; i++)
			if (at < SIZE)
				hash = (hash ^ (unsigned char)bytes[i]) *
				    UINT64_C(0x100000001b3);
			else if (bytes[i] != 0)
				hash = 0;
	}
	must(rbd_close(image), "close");
	if (size != NULL)
		*size = end;
	return hash;
}

/* All metadata as "key=value ", in the order of keys. */
static char *
metadata(struct ceph_pool *pool, const char *name)
{
	char keys[8192], values[8192], *key = keys, *value = values;
	size_t klen = sizeof(keys), vlen = sizeof(values);
	rbd_image_t image = image_open(pool, name);
	char *out = str_dup("");

	must(rbd_metadata_list(image, "", 100, keys, &klen, values, &vlen),
	    "list metadata");
	while (key < keys + klen && *key != '\0') {
		auto_free char *shorter = out;

		out = str_fmt("%s%s=%s ", shorter, key, value);
		key += strlen(key) + 1;
		value += strlen(value) + 1;
	}
	must(rbd_close(image), "close");
	return out;
}

static void
set_metadata(struct ceph_pool *pool, const char *name, const char *key,
    const char *value)
{
	rbd_image_t image = image_open(pool, name);

	must(rbd_metadata_set(image, key, value), "set metadata");
	must(rbd_close(image), "close");
}

static void
image_id(struct ceph_pool *pool, const char *name, char id[RBD_ID_SIZE])
{
	rbd_image_t image = image_open(pool, name);

	must(rbd_get_id(image, id, RBD_ID_SIZE), "id");
	must(rbd_close(image), "close");
}

static void
snapshot(struct ceph_pool *pool, const char *name, const char *snap)
{
	rbd_image_t image = image_open(pool, name);

	must(rbd_snap_create(image, snap), "snapshot");
	must(rbd_close(image), "close");
}

static void
unsnapshot(struct ceph_pool *pool, const char *name, const char *snap)
{
	rbd_image_t image = image_open(pool, name);

	must(rbd_snap_remove(image, snap), "remove snapshot");
	must(rbd_close(image), "close");
}

static void
clone_image(struct ceph_pool *pool, const char *name, const char *snap,
    const char *clone)
{
	rbd_image_options_t options;

	rbd_image_options_create(&options);
	must(rbd_image_options_set_uint64(
		 options, RBD_IMAGE_OPTION_CLONE_FORMAT, 2),
	    "option");
	must(rbd_image_options_set_uint64(options, RBD_IMAGE_OPTION_FEATURES,
		 RBD_LAYERING | RBD_DEEP_FLATTEN),
	    "option");
	must(rbd_clone3(pool->io, name, snap, pool->io, clone, options),
	    "clone");
	rbd_image_options_destroy(options);
}

static bool
has_image(struct ceph_pool *pool, const char *name)
{
	rbd_image_t image;

	if (rbd_open_read_only(pool->io, name, &image, NULL) < 0)
		return false;
	must(rbd_close(image), "close");
	return true;
}

/* ---- the journal, by librados ---- */

static void
put_omap(struct ceph_pool *pool, const char *object, const char *key,
    const char *value)
{
	rados_write_op_t op = rados_create_write_op();
	size_t len = strlen(value);

	rados_write_op_omap_set(op, &key, &value, &len, 1);
	must(rados_write_op_operate(op, pool->io, object, NULL, 0), object);
	rados_release_write_op(op);
}

/* All entries as "key=value ". */
static char *
omap(struct ceph_pool *pool, const char *object)
{
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t iter;
	unsigned char more;
	char *out = str_dup(""), *key, *value;
	size_t len;
	int rval = 0;

	rados_read_op_omap_get_vals2(op, "", "", 100, &iter, &more, &rval);
	must(rados_read_op_operate(op, pool->io, object, 0), object);
	while (
	    rados_omap_get_next(iter, &key, &value, &len) == 0 && key != NULL) {
		auto_free char *shorter = out;

		out = str_fmt("%s%s=%.*s ", shorter, key, (int)len, value);
	}
	rados_omap_get_end(iter);
	rados_release_read_op(op);
	return out;
}

/* ---- calls ---- */

static char *
csi_id(const struct ceph_pool *pool, const char *uuid)
{
	return str_fmt("0001-%04zx-%s-%016llx-%s", strlen(fsid), fsid,
	    (unsigned long long)pool->id, uuid);
}

static const char *
uuid_of(const char *id)
{
	return id + strlen(id) - UUID_LEN;
}

static char *
image_of(const char *volume)
{
	return str_fmt("csi-vol-%s", uuid_of(volume));
}

/* What is made, and of what: `id` NULL: of nothing. */
struct ask {
	const char *name;
	bool is_snapshot;
	const char *id;
	struct ceph_pool *pool; /* NULL: main_pool */
	int64_t size;           /* 0: SIZE */
	const char *features;   /* NULL: "layering" */
	const char *data_pool;  /* or NULL */
};

/* The volume's ID, or NULL; the caller frees it. */
static char *
create(const struct ask *ask)
{
	const char *params[] = { "csi.storage.k8s.io/pvc/name", "claim",
		"imageFeatures",
		ask->features != NULL ? ask->features : "layering",
		ask->data_pool != NULL ? "dataPool" : NULL, ask->data_pool,
		NULL };
	const struct ceph_pool *pool = ask->pool != NULL ? ask->pool
							 : main_pool;
	Csi__V1__CreateVolumeRequest *r = req_create(ask->name, fsid,
	    ceph_pool_name(pool), ask->size != 0 ? ask->size : SIZE, params);
	const struct talk_reply *reply;
	Csi__V1__CreateVolumeResponse *answer;
	char *id = NULL;

	if (ask->id != NULL)
		r->volume_content_source = req_source(
		    ask->is_snapshot, ask->id);
	answer = talk_create(&worker, r, pool->rados_namespace, &reply);
	if (answer == NULL) {
		diag("CreateVolume %s: %s", ask->name,
		    reply != NULL ? reply->text : "no answer");
		return NULL;
	}
	if ((ask->id != NULL) == (answer->volume->content_source != NULL))
		id = str_dup(answer->volume->volume_id);
	req_free(answer);
	return id;
}

static bool delete (const char *volume)
{
	Csi__V1__DeleteVolumeRequest *r = req_delete(volume);
	const struct talk_reply *reply = talk_call(
	    &worker, "DeleteVolume", r, "");

	req_free(r);
	if (reply != NULL && reply->code != 0)
		diag("DeleteVolume: %s", reply->text);
	return reply != NULL && reply->code == 0;
}

/* While a purge has the parents of a copy open they are in use. */
static bool
delete_soon(const char *volume)
{
	for (int i = 0; i < 20; i++) {
		if (delete (volume))
			return true;
		talk_turn(500);
	}
	return false;
}

/* As ceph-csi's CreateSnapshot lays it out; its ID. */
static char *
make_snapshot(struct ceph_pool *pool, const char *volume, const char *uuid)
{
	auto_free char *source = image_of(volume);
	auto_free char *image = str_fmt("csi-snap-%s", uuid);
	auto_free char *item = str_fmt("csi.snap.%s", uuid);
	auto_free char *key = str_fmt("csi.snap.name-%s", uuid);
	auto_free char *name = str_fmt("name-%s", uuid);
	char id[RBD_ID_SIZE];

	put_omap(pool, "csi.snaps.default", key, uuid);
	snapshot(pool, source, image);
	clone_image(pool, source, image, image);
	unsnapshot(pool, source, image);
	snapshot(pool, image, image);
	image_id(pool, image, id);
	set_metadata(pool, image, "csi.storage.k8s.io/volumesnapshot/name",
	    "the-snapshot");
	put_omap(pool, item, "csi.snapname", name);
	put_omap(pool, item, "csi.imagename", image);
	put_omap(pool, item, "csi.imageid", id);
	put_omap(pool, item, "csi.source", source);
	return csi_id(pool, uuid);
}

static void
drop_snapshot(struct ceph_pool *pool, const char *snapshot_id)
{
	const char *uuid = uuid_of(snapshot_id);
	auto_free char *image = str_fmt("csi-snap-%s", uuid);
	auto_free char *item = str_fmt("csi.snap.%s", uuid);

	unsnapshot(pool, image, image);
	must(
	    support_sh(true, "rbd trash mv %s/%s", ceph_pool_name(pool), image),
	    "trash");
	must(rados_remove(pool->io, item), "entry");
}

#define SNAP_UUID "5aa05aa0-0000-4000-8000-000000000001"

/* ---- the same data, in pools, sizes and with features of all kinds ---- */

static void
check_copy(const char *what, const struct ask *ask, uint64_t want)
{
	struct ceph_pool *pool = ask->pool != NULL ? ask->pool : main_pool;
	auto_free char *volume = create(ask), *again = NULL, *image = NULL;
	auto_free char *meta = NULL, *item = NULL, *entry = NULL;
	auto_free char *want_entry = NULL;
	char id[RBD_ID_SIZE] = "";
	uint64_t size = 0;

	if (!ok(volume != NULL, "%s: it is made", what))
		return;
	image = image_of(volume);
	ok(sum(pool, image, &size) == want &&
		size == (uint64_t)(ask->size != 0 ? ask->size : SIZE),
	    "%s: it has the data, and its size", what);
	meta = metadata(pool, image);
	is_str(meta,
	    "conf_rbd_qos_iops_limit=500 csi.ceph.com/cluster/name=k8s-1 "
	    "csi.ceph.com/mounter=rbd csi.storage.k8s.io/pvc/name=claim ",
	    "%s: its metadata are its own, and what it inherits", what);
	image_id(pool, image, id);
	item = str_fmt("csi.volume.%s", uuid_of(volume));
	entry = omap(pool, item);
	want_entry = str_fmt("csi.imageid=%s csi.imagename=%s csi.source=%s "
			     "csi.volname=%s ",
	    id, image, ask->id, ask->name);
	is_str(entry, want_entry, "%s: its journal entry is as it has to be",
	    what);
	again = create(ask);
	ok(str_eq(again, volume), "%s: the same call has the same answer",
	    what);
	ok(delete (volume), "%s: it is deleted", what);
}

static void
test_kinds(void)
{
	static const char *const features[] = { "layering",
		"layering,exclusive-lock,object-map,fast-diff,deep-flatten" };

	for (size_t i = 0; i < countof(features); i++) {
		const char *f = features[i];
		auto_free char *source = create(
		    &(struct ask){ .name = "source", .features = f });
		auto_free char *image = image_of(source), *snap = NULL;
		uint64_t before;

		fill(main_pool, image, 1);
		set_metadata(
		    main_pool, image, "conf_rbd_qos_iops_limit", "500");
		set_metadata(main_pool, image,
		    ".rbd.csi.ceph.com/published/node-1", "rw");
		before = sum(main_pool, image, NULL);
		snap = make_snapshot(main_pool, source, SNAP_UUID);
		for (unsigned of = 0; of < 2; of++) {
			bool s = of == 0;
			const char *from = s ? "restored" : "cloned";
			const char *id = s ? snap : source;
			auto_free char *n = str_fmt(
			    "%s, features %zu", from, i);

			check_copy(n,
			    &(struct ask){ .name = "c1",
				.is_snapshot = s,
				.id = id,
				.features = f },
			    before);
			free(take_ptr(&n));
			n = str_fmt("%s larger into another pool, features %zu",
			    from, i);
			check_copy(n,
			    &(struct ask){ .name = "c2",
				.is_snapshot = s,
				.id = id,
				.pool = other_pool,
				.size = 40 * MIB,
				.features = f },
			    before);
			free(take_ptr(&n));
			n = str_fmt(
			    "%s with a data pool, features %zu", from, i);
			check_copy(n,
			    &(struct ask){ .name = "c3",
				.is_snapshot = s,
				.id = id,
				.features = f,
				.data_pool = "t-copies-2" },
			    before);
		}
		drop_snapshot(main_pool, snap);
		ok(delete (source), "their source is deleted");
	}
}

/* ---- what becomes of the source does not matter ---- */

/* The source, a copy by way of a snapshot, a copy of the volume itself. */
static void
test_orders(void)
{
	static const unsigned char order[6][3] = { { 0, 1, 2 }, { 0, 2, 1 },
		{ 1, 0, 2 }, { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };

	for (size_t i = 0; i < countof(order); i++) {
		char *v[3], *image[3];
		auto_free char *snap = NULL;
		uint64_t before;
		bool good = true;

		v[0] = create(&(struct ask){ .name = "source" });
		image[0] = image_of(v[0]);
		fill(main_pool, image[0], 1);
		before = sum(main_pool, image[0], NULL);
		snap = make_snapshot(main_pool, v[0], SNAP_UUID);
		v[1] = create(&(struct ask){
		    .name = "restored", .is_snapshot = true, .id = snap });
		v[2] = create(&(struct ask){ .name = "clone", .id = v[0] });
		image[1] = v[1] != NULL ? image_of(v[1]) : NULL;
		image[2] = v[2] != NULL ? image_of(v[2]) : NULL;
		if (v[1] == NULL || v[2] == NULL) {
			ok(false, "a restored one and a clone are made");
			return;
		}
		fill(main_pool, image[0], 100);
		drop_snapshot(main_pool, snap);
		for (size_t j = 0; j < 3; j++) {
			unsigned gone = order[i][j];

			good = delete_soon(v[gone]) && good;
			free(take_ptr(&v[gone]));
			for (unsigned k = 1; k < 3; k++)
				good = good &&
				    (v[k] == NULL ||
					sum(main_pool, image[k], NULL) ==
					    before);
			/* What is left has the data also when all is purged. */
			if (j == 1)
				good = good && talk_purged(&worker);
		}
		for (size_t j = 0; j < 3; j++)
			free(image[j]);
		ok(good,
		    "order %zu: copies keep their data when the source is overwritten, and when others are deleted",
		    i);
	}
}

/* ---- a source that is written to ---- */

static void
test_in_use(void)
{
	static const char *const features[] = { "layering",
		"layering,exclusive-lock,object-map,fast-diff,deep-flatten" };

	for (size_t i = 0; i < countof(features); i++) {
		auto_free char *source = create(
		    &(struct ask){ .name = "used", .features = features[i] });
		auto_free char *image = image_of(source), *copy = NULL;
		auto_free char *copied = NULL;
		rbd_image_t open = image_open(main_pool, image), other;
		char bytes[4096] = "before", got[4096];

		must((int)rbd_write(open, 0, sizeof(bytes), bytes), "write");
		copy = create(&(struct ask){ .name = "used-copy",
		    .id = source,
		    .features = features[i] });
		memset(bytes, 'x', sizeof(bytes));
		must((int)rbd_write(open, 0, sizeof(bytes), bytes), "write");
		must((int)rbd_write(open, 8 * MIB, sizeof(bytes), bytes),
		    "write");
		must(rbd_flush(open), "flush");
		if (!ok(copy != NULL, "a volume in use is cloned, features %zu",
			i))
			return;
		copied = image_of(copy);
		other = image_open(main_pool, copied);
		must((int)rbd_read(other, 0, sizeof(got), got), "read");
		ok(str_eq(got, "before"), "with what was written before");
		must((int)rbd_read(other, 8 * MIB, sizeof(got), got), "read");
		ok(got[0] == '\0', "and nothing of what was written after");
		must(rbd_close(other), "close");
		must((int)rbd_read(open, 0, sizeof(got), got), "read");
		ok(got[0] == 'x', "the source goes on");
		must(rbd_close(open), "close");
		ok(delete (source) && delete (copy), "both are deleted");
	}
}

/* ---- what it costs ---- */

enum cost { COST_RESTORE, COST_CLONE, COST_EXPAND, COST_SNAP, COST_UNSNAP };

static const struct {
	const char *what;
	unsigned most;
} costs[] = {
	[COST_RESTORE] = { "a volume from a snapshot", 12 },
	[COST_CLONE] = { "a volume from a volume", 22 },
	[COST_EXPAND] = { "an expansion", 6 },
	[COST_SNAP] = { "a snapshot", 16 },
	[COST_UNSNAP] = { "the deletion of a snapshot, with its purge,", 33 },
};

static uint64_t best[countof(costs)];

/* Since the last call of this function. */
static void
count(enum cost cost)
{
	static uint64_t before;
	uint64_t now = osd_ops();

	if (cost < countof(costs) &&
	    (best[cost] == 0 || now - before < best[cost]))
		best[cost] = now - before;
	before = now;
}

/* Calls and counts; false: it failed. */
static bool
cost_of(enum cost cost, const char *method, void *request, char **snapshot)
{
	const struct talk_reply *reply;
	Csi__V1__CreateSnapshotResponse *made;
	bool good;

	count(countof(costs));
	reply = talk_call(&worker, method, request, "");
	good = reply != NULL && reply->code == 0 && talk_purged(&worker);
	count(cost);
	if (reply != NULL && reply->code != 0)
		diag("%s: %s", method, reply->text);
	req_free(request);
	if (!good || snapshot == NULL)
		return good;
	made = csi__v1__create_snapshot_response__unpack(
	    NULL, reply->len, reply->body);
	if (made != NULL)
		*snapshot = str_dup(made->snapshot->snapshot_id);
	req_free(made);
	return *snapshot != NULL;
}

static void
test_cost(void)
{
	auto_free char *source = create(&(struct ask){ .name = "source" });
	bool good = source != NULL;

	for (int i = 0; i < 3 && good; i++) {
		auto_free char *name = str_fmt("cost-%d", i);
		auto_free char *snap = NULL, *restored = NULL, *clone = NULL;

		good = cost_of(COST_SNAP, "CreateSnapshot",
		    req_snapshot(name, source), &snap);
		count(countof(costs));
		restored = create(&(struct ask){
		    .name = name, .is_snapshot = true, .id = snap });
		count(COST_RESTORE);
		good = good && restored != NULL && delete (restored) &&
		    talk_purged(&worker);
		count(countof(costs));
		clone = create(&(struct ask){ .name = name, .id = source });
		count(COST_CLONE);
		good = good && clone != NULL &&
		    cost_of(COST_EXPAND, "ControllerExpandVolume",
			req_expand(clone, 2 * SIZE), NULL) &&
		    delete (clone) && talk_purged(&worker) &&
		    cost_of(COST_UNSNAP, "DeleteSnapshot", req_unsnapshot(snap),
			NULL);
	}
	ok(good, "copies, snapshots and an expansion go well");
	for (size_t i = 0; i < countof(costs); i++) {
		diag("operations at the OSDs: %s %d", costs[i].what,
		    (int)best[i]);
		ok(best[i] > 0 && best[i] <= costs[i].most,
		    "%s takes at most %u operations", costs[i].what,
		    costs[i].most);
	}
	ok(delete (source), "their source is deleted");
}

/* ---- what ceph-csi leaves half made ---- */

#define NEW_UUID "11111111-2222-4333-8444-555555555555"
#define NEW_IMAGE "csi-vol-" NEW_UUID
#define NEW_HELPER NEW_IMAGE "-temp"

/* How far its CreateVolume had got: each of them has all before it. */
enum far {
	FAR_KEY,     /* a key that leads to an empty entry */
	FAR_ENTRY,   /* the entry, without an image's id */
	FAR_SNAPPED, /* the source has the snapshot for the helper */
	FAR_HELPER,  /* the helper is there */
	FAR_FREED,   /* the source's snapshot is gone */
	FAR_HELD,    /* the helper has its snapshot */
	FAR_IMAGE,   /* the image is there */
	FAR_COUNT,
};

static void
leave(enum far far, bool is_snapshot, const char *source, const char *backing)
{
	put_omap(main_pool, "csi.volumes.default", "csi.volume.half", NEW_UUID);
	must(support_sh(true, "rados -p t-copies create csi.volume." NEW_UUID),
	    "create");
	if (far == FAR_KEY)
		return;
	put_omap(main_pool, "csi.volume." NEW_UUID, "csi.volname", "half");
	put_omap(main_pool, "csi.volume." NEW_UUID, "csi.imagename", NEW_IMAGE);
	if (is_snapshot) {
		if (far == FAR_IMAGE)
			clone_image(main_pool, backing, backing, NEW_IMAGE);
		return;
	}
	if (far >= FAR_SNAPPED)
		snapshot(main_pool, source, NEW_HELPER);
	if (far >= FAR_HELPER)
		clone_image(main_pool, source, NEW_HELPER, NEW_HELPER);
	if (far >= FAR_FREED)
		unsnapshot(main_pool, source, NEW_HELPER);
	if (far >= FAR_HELD)
		snapshot(main_pool, NEW_HELPER, NEW_IMAGE);
	if (far >= FAR_IMAGE)
		clone_image(main_pool, NEW_HELPER, NEW_IMAGE, NEW_IMAGE);
}

static void
check_half(const char *what, bool is_snapshot, const char *id, uint64_t want)
{
	auto_free char *volume = create(&(struct ask){ .name = "half",
	    .is_snapshot = is_snapshot,
	    .id = id,
	    .features = "layering,deep-flatten" });

	ok(volume != NULL && str_eq(uuid_of(volume), NEW_UUID) &&
		sum(main_pool, NEW_IMAGE, NULL) == want,
	    "%s: is completed under its UUID, with the data", what);
	ok(volume != NULL && delete (volume) &&
		!has_image(main_pool, NEW_IMAGE) &&
		!has_image(main_pool, NEW_HELPER),
	    "and is deleted");
}

/* But for the numbers of snapshots that the source has had. */
static void
dump_now(struct dump *dump)
{
	size_t n = 0;

	dump_pool(main_pool, dump);
	for (size_t i = 0; i < dump->n; i++)
		if (strstr(dump->line[i], "omap snap_seq") == NULL)
			dump->line[n++] = dump->line[i];
		else
			free(dump->line[i]);
	dump->n = n;
}

static void
test_half_made(void)
{
	static const char *const text[] = { "an empty entry",
		"an entry without an image", "the source's snapshot",
		"the helper, and the source's snapshot", "the helper",
		"the helper with its snapshot", "the image without its id" };
	auto_free char *source = create(&(struct ask){ .name = "source" });
	auto_free char *image = image_of(source), *snap = NULL;
	auto_free char *backing = NULL, *volume = NULL;
	uint64_t before;
	struct dump empty, now;

	fill(main_pool, image, 1);
	before = sum(main_pool, image, NULL);
	snap = make_snapshot(main_pool, source, SNAP_UUID);
	backing = str_fmt("csi-snap-" SNAP_UUID);
	ok(talk_purged(&worker), "nothing is being purged");
	dump_now(&empty);
	for (unsigned far = 0; far < FAR_COUNT; far++) {
		auto_free char *what = str_fmt(
		    "ceph-csi's clone of a volume, %s", text[far]);

		leave((enum far)far, false, image, backing);
		check_half(what, false, source, before);
		if (far > FAR_ENTRY && far < FAR_IMAGE)
			continue;
		free(take_ptr(&what));
		what = str_fmt("ceph-csi's restored volume, %s", text[far]);
		leave((enum far)far, true, image, backing);
		check_half(what, true, snap, before);
	}
	/* Nor does a clone of something become an empty volume. */
	leave(FAR_IMAGE, true, image, backing);
	volume = create(&(struct ask){
	    .name = "half", .features = "layering,deep-flatten" });
	ok(volume == NULL, "what is half made of a source is no empty volume");
	check_half("it is", true, snap, before);

	/* A helper that ceph-csi had flattened shows nothing of its source. */
	leave(FAR_FREED, false, image, backing);
	must(support_sh(true, "rbd flatten --no-progress t-copies/" NEW_HELPER),
	    "flatten");
	fill(main_pool, image, 200);
	check_half("ceph-csi's flattened helper", false, source, before);
	fill(main_pool, image, 1);

	ok(talk_purged(&worker), "all is purged");
	dump_now(&now);
	ok(dump_same(&now, &empty), "and nothing is left of any of them");
	dump_free(&now);
	dump_free(&empty);
	drop_snapshot(main_pool, snap);
	ok(delete (source), "their source is deleted");
}

int
main(void)
{
	struct ceph_connection *conn = support_connect();

	support_make_pool("t-copies");
	support_make_pool("t-copies-2");
	main_pool = support_pool(conn, "t-copies", "");
	other_pool = support_pool(conn, "t-copies-2", "");
	fsid = conn->fsid;
	talk_start(&worker, talk_program("ceph-worker"),
	    &(struct talk_hello){ .lane_idle_ms = 5000 });
	if (!worker.ready) {
		printf("Bail out! a worker does not start\n");
		return 1;
	}
	test_cost(); /* first: purges that wait are tried again with each one */
	test_kinds();
	test_orders();
	test_in_use();
	test_half_made();
	ok(talk_end(&worker), "the worker ends");
	(void)support_sh(false,
	    "for p in t-copies t-copies-2; do ceph osd pool rm $p $p "
	    "--yes-i-really-really-mean-it; done");
	ceph_connection_close(conn);
	loop_fini();
	return tap_end();
}
