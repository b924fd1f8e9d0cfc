/*
 * worker.c - ceph-worker over its channel against a real cluster: how it
 * starts and fails to, what its RPCs answer, and every byte that they leave in
 * the journal and in image metadata, read back without any of our own code.
 */
#include "base/clock.h"
#include "core/loop.h"
#include "tests/integration/worker_support.h"
#include "tests/tap.h"

#include <errno.h>
#include <rados/librados.h>
#include <rbd/librbd.h>
#include <signal.h>
#include <sys/wait.h>

#define WRITER CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER
#define ONE_WRITES                                                             \
	CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_SINGLE_WRITER
#define ALL_READ                                                               \
	CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_READER_ONLY
#define MANY                                                                   \
	CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_MULTI_WRITER
#define MIB (INT64_C(1) << 20)
#define GIB (INT64_C(1) << 30)

enum {
	OK = 0,
	CANCELLED = 1,
	INVALID_ARGUMENT = 3,
	NOT_FOUND = 5,
	ALREADY_EXISTS = 6,
	FAILED_PRECONDITION = 9,
	UNIMPLEMENTED = 12,
	UNAVAILABLE = 14,
	UNAUTHENTICATED = 16
};

static rados_t cluster;
static rados_ioctx_t io;
static const char *fsid;
static struct talk worker;
static int64_t rbd_pool;

/* ---- reading back, by librados and librbd only ---- */

static void
connect_admin(void)
{
	if (rados_create(&cluster, "admin") < 0 ||
	    rados_conf_read_file(cluster, getenv("CEPH_CONF")) < 0 ||
	    rados_connect(cluster) < 0 ||
	    rados_ioctx_create(cluster, "rbd", &io) < 0) {
		printf("Bail out! no connection as client.admin\n");
		exit(1);
	}
	rbd_pool = rados_ioctx_get_id(io);
}

/* All omap entries of an object as "key=value\n"; "-" if there is none. */
static char *
omap(const char *object)
{
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t iter;
	unsigned char more;
	char *out = str_dup(""), *key, *value, *longer;
	size_t len;
	int rc, rval = 0;

	rados_read_op_omap_get_vals2(op, "", "", 1000, &iter, &more, &rval);
	rc = rados_read_op_operate(op, io, object, 0);
	if (rc < 0) {
		rados_omap_get_end(iter);
		rados_release_read_op(op);
		free(out);
		return str_dup("-");
	}
	while (
	    rados_omap_get_next(iter, &key, &value, &len) == 0 && key != NULL) {
		longer = str_fmt("%s%s=%.*s\n", out, key, (int)len, value);
		free(out);
		out = longer;
	}
	rados_omap_get_end(iter);
	rados_release_read_op(op);
	return out;
}

static char *
omap_value(const char *object, const char *key)
{
	auto_free char *all = omap(object);
	auto_free char *want = str_fmt("%s=", key);
	char *line = all;

	while (*line != '\0') {
		char *end = strchr(line, '\n');

		*end = '\0';
		if (str_starts(line, want))
			return str_dup(line + strlen(want));
		line = end + 1;
	}
	return NULL;
}

/* All metadata of an image as "key=value\n". */
static char *
metadata(const char *image_name)
{
	char keys[8192], values[8192], *key = keys, *value = values;
	size_t klen = sizeof(keys), vlen = sizeof(values);
	char *out = str_dup(""), *longer;
	rbd_image_t image;
	int rc = rbd_open_read_only(io, image_name, &image, NULL);

	if (rc < 0)
		return out;
	rc = rbd_metadata_list(image, "", 100, keys, &klen, values, &vlen);
	while (rc == 0 && key < keys + klen && *key != '\0') {
		longer = str_fmt("%s%s=%s\n", out, key, value);
		free(out);
		out = longer;
		key += strlen(key) + 1;
		value += strlen(value) + 1;
	}
	(void)rbd_close(image);
	return out;
}

/* ---- answers ---- */

static const char *
context_of(const Csi__V1__Volume *v, const char *key)
{
	for (size_t i = 0; i < v->n_volume_context; i++)
		if (str_eq(v->volume_context[i]->key, key))
			return v->volume_context[i]->value;
	return NULL;
}

static bool
failed(const struct talk_reply *reply, uint32_t code, const char *part)
{
	bool good = reply != NULL && reply->code == code &&
	    strstr(reply->text, part) != NULL;

	if (!good)
		diag("got %u: %s", reply != NULL ? reply->code : 999,
		    reply != NULL ? reply->text : "no reply");
	return good;
}

static const struct talk_reply *
call(const char *method, void *request)
{
	const struct talk_reply *reply = talk_call(
	    &worker, method, request, "");

	req_free(request);
	return reply;
}

static bool
succeeded(const struct talk_reply *reply)
{
	return failed(reply, OK, "");
}

/* Creates a volume of 1 GiB and returns its ID. */
static char *
make(const char *name, const char *const *params)
{
	const struct talk_reply *reply;
	Csi__V1__CreateVolumeResponse *r = talk_create(
	    &worker, req_create(name, fsid, "rbd", GIB, params), "", &reply);
	char *id;

	if (r == NULL) {
		diag("CreateVolume %s: %s", name,
		    reply != NULL ? reply->text : "no reply");
		return str_dup("");
	}
	id = str_dup(r->volume->volume_id);
	req_free(r);
	return id;
}

/* ---- tests ---- */

static void
start_fails(const struct talk_hello *hello, uint32_t code, const char *step,
    const char *what)
{
	struct talk t;
	int64_t start = clock_now_ms();

	talk_start(&t, talk_program("ceph-worker"), hello);
	ok(t.failed && t.code == code && str_eq(t.step, step) &&
		t.text[0] != '\0',
	    "%s: FAILED names the step and why", what);
	diag("%u, %s: %s, after %d ms", t.code, t.step, t.text,
	    (int)(clock_now_ms() - start));
	ok(talk_end(&t) && WIFEXITED(t.status) && WEXITSTATUS(t.status) == 1,
	    "%s: and the process ends", what);
}

static void
test_start(void)
{
	/*
	 * With a bare address and a port that is not one of Ceph's own
	 * librados tries both protocols, and a refusal by the one ends in a
	 * time-out of the other.
	 */
	auto_free char *mons = str_fmt("v1:%s", getenv("RBD_CSI_MONITORS"));

	start_fails(&(struct talk_hello){ .monitors = mons,
			.key = "AQBBBBBBBBBBBBAAcccccccccccccccccccccA==" },
	    UNAUTHENTICATED, "authenticate", "a wrong key");
	start_fails(&(struct talk_hello){ .key = "no key at all" },
	    INVALID_ARGUMENT, "key", "a key that is none");
	start_fails(&(struct talk_hello){ .monitors = mons, .user = "nobody" },
	    UNAUTHENTICATED, "authenticate", "an unknown user");
	start_fails(&(struct talk_hello){ .monitors = "127.0.0.1:9",
			.connect_timeout_ms = 2000 },
	    UNAVAILABLE, "connect", "unreachable monitors");
	start_fails(&(struct talk_hello){ .monitors = "no.such.host.invalid",
			.connect_timeout_ms = 2000 },
	    UNAVAILABLE, "resolve", "monitors that have no address");
	talk_start(&worker, talk_program("ceph-worker"),
	    &(struct talk_hello){ .lane_idle_ms = 2000 });
	ok(worker.ready, "a good Hello is answered by READY");
	is_str(worker.fsid, fsid, "READY has the cluster's fsid");
	ok(strchr(worker.address, '/') != NULL, "READY has our address");
}

static void
test_no_key_to_be_seen(void)
{
	char path[64], text[4096] = "";
	FILE *f;
	size_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/cmdline",
	    (int)peer_pid(&worker.peer));
	f = fopen(path, "re");
	n = f != NULL ? fread(text, 1, sizeof(text) - 1, f) : 0;
	ok(n > 0 && strlen(text) + 1 == n,
	    "the worker has no argument but its name");
	if (f != NULL)
		(void)fclose(f);
	(void)snprintf(path, sizeof(path), "/proc/%d/environ",
	    (int)peer_pid(&worker.peer));
	f = fopen(path, "re");
	n = f != NULL ? fread(text, 1, sizeof(text) - 1, f) : 0;
	ok(f == NULL || memmem(text, n, "AQ", 2) == NULL,
	    "no key is in its environment");
	if (f != NULL)
		(void)fclose(f);
}

static void
test_create(void)
{
	static const char *const params[] = {
		"csi.storage.k8s.io/pvc/name",
		"claim",
		"csi.storage.k8s.io/pvc/namespace",
		"team",
		"csi.storage.k8s.io/pv/name",
		"pvc-1",
		"csi.storage.k8s.io/fstype",
		"ext4",
		"imageFeatures",
		"layering",
		"mapOptions",
		"noshare",
		NULL,
	};
	const struct talk_reply *reply;
	Csi__V1__CreateVolumeResponse *r = talk_create(&worker,
					  req_create("pvc-1", fsid, "rbd",
					      1500 * MIB, params),
					  "", &reply),
				      *again;
	auto_free char *prefix = str_fmt(
	    "0001-0024-%s-%016llx-", fsid, (unsigned long long)rbd_pool);
	auto_free char *uuid = NULL, *image = NULL, *item = NULL;
	auto_free char *got = NULL, *want = NULL, *id_object = NULL;
	auto_free char *meta = NULL, *dir_entry = NULL;
	char id[64] = "";
	rbd_image_t open;
	uint64_t features = 0;

	ok(r != NULL, "a fresh volume is created");
	if (r == NULL) {
		diag("%s", reply != NULL ? reply->text : "no reply");
		return;
	}
	is_int(r->volume->capacity_bytes, 2 * GIB,
	    "its size is rounded up to whole GiB");
	ok(str_starts(r->volume->volume_id, prefix),
	    "its ID has version, cluster and pool as ceph-csi's");
	uuid = str_dup(r->volume->volume_id + strlen(prefix));
	image = str_fmt("csi-vol-%s", uuid);
	item = str_fmt("csi.volume.%s", uuid);
	is_int(strlen(uuid), 36, "and ends with a UUID");

	dir_entry = omap_value("csi.volumes.default", "csi.volume.pvc-1");
	is_str(dir_entry, uuid, "the directory key holds the UUID");
	ok(rbd_open_read_only(io, image, &open, NULL) == 0,
	    "librbd opens the image by its name");
	(void)rbd_get_id(open, id, sizeof(id));
	(void)rbd_get_features(open, &features);
	(void)rbd_close(open);
	is_int(features, 1, "it has the features asked for");
	got = omap(item);
	want = str_fmt("csi.imageid=%s\ncsi.imagename=%s\n"
		       "csi.volname=pvc-1\ncsi.volume.owner=team\n",
	    id, image);
	is_str(got, want, "the entry has ceph-csi's keys and nothing else");
	meta = metadata(image);
	is_str(meta,
	    "csi.ceph.com/cluster/name=k8s-1\n"
	    "csi.ceph.com/mounter=rbd\n"
	    "csi.storage.k8s.io/pv/name=pvc-1\n"
	    "csi.storage.k8s.io/pvc/name=claim\n"
	    "csi.storage.k8s.io/pvc/namespace=team\n",
	    "the image has ceph-csi's metadata and nothing else");

	is_str(context_of(r->volume, "pool"), "rbd", "context: pool");
	is_str(context_of(r->volume, "journalPool"), "rbd",
	    "context: journalPool");
	is_str(context_of(r->volume, "imageName"), image, "context: imageName");
	is_str(context_of(r->volume, "clusterID"), fsid, "context: clusterID");
	is_str(context_of(r->volume, "mapOptions"), "noshare",
	    "context: parameters are handed on");
	ok(context_of(r->volume, "radosNamespace") == NULL &&
		context_of(r->volume, "dataPool") == NULL,
	    "context: what is not there is not named");
	is_int(r->volume->n_volume_context, 6,
	    "context: parameters of the sidecars are left out");

	again = talk_create(&worker,
	    req_create("pvc-1", fsid, "rbd", 1500 * MIB, params), "", &reply);
	ok(again != NULL &&
		str_eq(again->volume->volume_id, r->volume->volume_id) &&
		again->volume->capacity_bytes == 2 * GIB &&
		again->volume->n_volume_context == 6,
	    "the same request again gets the same answer");
	req_free(again);
	reply = call(
	    "CreateVolume", req_create("pvc-1", fsid, "rbd", 3 * GIB, params));
	ok(failed(reply, ALREADY_EXISTS, "pvc-1"),
	    "a larger size for the same name is ALREADY_EXISTS");
	ok(succeeded(call("DeleteVolume", req_delete(r->volume->volume_id))),
	    "it is deleted");
	ok(succeeded(call("DeleteVolume", req_delete(r->volume->volume_id))),
	    "twice, too");
	req_free(r);
	free(take_ptr(&got));
	got = omap(item);
	is_str(got, "-", "its entry is gone");
	ok(omap_value("csi.volumes.default", "csi.volume.pvc-1") == NULL,
	    "so is its key");
	ok(talk_purged(&worker), "its purge ends");
	free(take_ptr(&got));
	got = omap("rbd_trash");
	is_str(got, "", "and leaves no note");
	id_object = str_fmt("rbd_header.%s", id);
	free(take_ptr(&got));
	got = omap(id_object);
	is_str(got, "-", "nor the image's header");
}

static void
test_defaults(void)
{
	auto_free char *volume = make("pvc-61", NULL), *image = NULL;
	uint64_t features = 0;
	rbd_image_t open;

	image = str_fmt("csi-vol-%s", volume + strlen(volume) - 36);
	if (rbd_open_read_only(io, image, &open, NULL) == 0) {
		(void)rbd_get_features(open, &features);
		(void)rbd_close(open);
	}
	is_int(features, 61, "without imageFeatures an image has librbd's");
	ok(succeeded(call("DeleteVolume", req_delete(volume))),
	    "and is deleted");
}

static void
test_lane_volume(void)
{
	static const char *const params[] = {
		"imageFeatures",
		"layering,exclusive-lock,journaling",
		"mounter",
		"rbd-nbd",
		"csi.storage.k8s.io/pvc/name",
		"claim",
		NULL,
	};
	auto_free char *volume = make("pvc-journaled", params);
	auto_free char *again = make("pvc-journaled", params);
	auto_free char *image = NULL, *meta = NULL, *notes = NULL;
	uint64_t features = 0;
	rbd_image_t open;

	ok(*volume != '\0', "an image with journaling is made by a lane");
	is_str(again, volume, "and found by the same request again");
	image = str_fmt("csi-vol-%s", volume + strlen(volume) - 36);
	if (rbd_open_read_only(io, image, &open, NULL) == 0) {
		(void)rbd_get_features(open, &features);
		(void)rbd_close(open);
	}
	is_int(features, 1 | 4 | 64, "it has these features");
	meta = metadata(image);
	is_str(meta,
	    "csi.ceph.com/cluster/name=k8s-1\n"
	    "csi.ceph.com/mounter=rbd-nbd\n"
	    "csi.storage.k8s.io/pvc/name=claim\n",
	    "and its metadata");
	ok(succeeded(call("DeleteVolume", req_delete(volume))),
	    "a lane deletes it");
	ok(talk_purged(&worker), "and purges it");
	notes = omap("rbd_trash");
	is_str(notes, "", "with no note left");
}

static void
test_refused(void)
{
	static const char *const missing[] = { "dataPool", "nopool", NULL };
	Csi__V1__CreateVolumeRequest *r;

	ok(failed(call("CreateVolume",
		      req_create("pvc-x", fsid, "nopool", GIB, NULL)),
	       INVALID_ARGUMENT, "nopool"),
	    "a missing pool is INVALID_ARGUMENT and named");
	ok(failed(call("CreateVolume",
		      req_create("pvc-x", fsid, "rbd", GIB, missing)),
	       INVALID_ARGUMENT, "parameters.dataPool"),
	    "so is a missing data pool");
	ok(omap_value("csi.volumes.default", "csi.volume.pvc-x") == NULL,
	    "which leaves no key behind");
	ok(failed(
	       talk_call(&worker, "CreateVolume",
		   r = req_create("pvc-x", fsid, "rbd", GIB, NULL), "nospace"),
	       NOT_FOUND, "nospace"),
	    "a missing RADOS namespace is named");
	req_free(r);
	ok(failed(call("GetMetadataDelta", req_delete("x")), UNIMPLEMENTED,
	       "GetMetadataDelta"),
	    "a method that it has not is UNIMPLEMENTED");
	ok(failed(call("CreateVolume", req_create("", fsid, "rbd", GIB, NULL)),
	       INVALID_ARGUMENT, "name"),
	    "a request is validated here, too");
	ok(succeeded(call("DeleteVolume", req_delete("no-such-volume"))),
	    "deleting an undecodable ID is success");
	ok(succeeded(call("DeleteVolume",
	       req_delete(
		   "0001-0001-c-"
		   "00000000000003e7-5e0a1a7c-1f8b-4e2d-9a43-0c1d2e3f4a5b"))),
	    "so is one whose pool is gone");
}

static const struct talk_reply *
publish(const char *volume, const char *node, bool read_only, int mode)
{
	return call("ControllerPublishVolume",
	    req_publish(volume, node, read_only, mode));
}

static const struct talk_reply *
unpublish(const char *volume, const char *node)
{
	return call("ControllerUnpublishVolume", req_unpublish(volume, node));
}

static const char *
published(const Csi__V1__ControllerPublishVolumeResponse *r, const char *key)
{
	for (size_t i = 0; i < r->n_publish_context; i++)
		if (str_eq(r->publish_context[i]->key, key))
			return r->publish_context[i]->value;
	return NULL;
}

static void
test_publish(void)
{
	auto_free char *volume = make("pvc-2", NULL);
	auto_free char *image = str_fmt(
	    "csi-vol-%s", volume + strlen(volume) - 36);
	auto_free char *meta = NULL, *want = NULL, *image_id = NULL;
	const struct talk_reply *reply = publish(
	    volume, "node-a", false, WRITER);
	Csi__V1__ControllerPublishVolumeResponse *r;

	if (!ok(succeeded(reply), "a volume is published to a node"))
		return;
	r = csi__v1__controller_publish_volume_response__unpack(
	    NULL, reply->len, reply->body);
	is_str(published(r, "pool"), "rbd", "publish context: pool");
	is_str(published(r, "image"), image, "publish context: image");
	is_str(published(r, "userID"), getenv("RBD_CSI_USER"),
	    "publish context: userID");
	is_str(
	    published(r, "clusterFsid"), fsid, "publish context: clusterFsid");
	is_str(published(r, "monitors"), getenv("RBD_CSI_MONITORS"),
	    "publish context: monitors");
	ok(published(r, "imageId") != NULL &&
		published(r, "radosNamespace") == NULL,
	    "publish context: imageId, and no empty values");
	image_id = str_dup(published(r, "imageId"));
	req_free(r);
	meta = metadata(image);
	want = str_fmt(".rbd.csi.ceph.com/published/%s/node-a=rw\n"
		       ".rbd.csi.ceph.com/userid/%s/node-a=csi-rbd\n",
	    image_id, volume);
	ok(str_starts(meta, want), "the node is recorded as ceph-csi does");

	ok(succeeded(publish(volume, "node-a", false, WRITER)),
	    "the same again is fine");
	ok(failed(publish(volume, "node-a", true, WRITER), ALREADY_EXISTS,
	       "node-a"),
	    "read-only for the same node is not the same");
	ok(failed(publish(volume, "node-b", false, WRITER), FAILED_PRECONDITION,
	       "node-a"),
	    "another node is refused, and the holder is named");
	ok(succeeded(publish(volume, "node-b", false, MANY)),
	    "but not for several writers");
	ok(succeeded(unpublish(volume, "node-b")), "that one is taken back");
	ok(succeeded(unpublish(volume, "node-a")), "and the first one");
	ok(succeeded(unpublish(volume, "node-a")), "twice, too");
	ok(succeeded(publish(volume, "node-b", false, WRITER)),
	    "now the other node gets it");
	ok(succeeded(unpublish(volume, "")),
	    "no node: it is taken from all of them");
	free(take_ptr(&meta));
	meta = metadata(image);
	is_str(meta,
	    "csi.ceph.com/cluster/name=k8s-1\n"
	    "csi.ceph.com/mounter=rbd\n",
	    "no record is left");
	ok(succeeded(call("DeleteVolume", req_delete(volume))),
	    "it is deleted");
	ok(failed(publish(volume, "node-a", false, WRITER), NOT_FOUND, volume),
	    "a deleted volume is not published");
	ok(succeeded(unpublish(volume, "node-a")), "but unpublished it may be");
	ok(succeeded(unpublish("no-such-volume", "node-a")),
	    "as any unknown one");
}

/* One writer, and who only reads; or readers only. */
static void
test_publish_modes(void)
{
	auto_free char *volume = make("pvc-modes", NULL);
	auto_free char *image = str_fmt(
	    "csi-vol-%s", volume + strlen(volume) - 36);
	auto_free char *meta = NULL, *key = NULL;
	const struct talk_reply *reply;
	Csi__V1__ControllerPublishVolumeResponse *r;
	rbd_image_t open;
	char id[64];

	ok(succeeded(publish(volume, "node-a", false, ONE_WRITES)),
	    "one of several nodes writes");
	ok(failed(publish(volume, "node-b", false, ONE_WRITES),
	       FAILED_PRECONDITION, "node-a"),
	    "a second one may not, and the first one is named");
	reply = publish(volume, "node-b", true, ONE_WRITES);
	if (!ok(succeeded(reply), "it may read"))
		return;
	r = csi__v1__controller_publish_volume_response__unpack(
	    NULL, reply->len, reply->body);
	is_str(published(r, "readOnly"), "true", "and is told so");
	req_free(r);
	ok(failed(publish(volume, "node-c", false, MANY), FAILED_PRECONDITION,
	       "node-a"),
	    "nor may one that knows of several writers");
	ok(failed(publish(volume, "node-c", true, ALL_READ),
	       FAILED_PRECONDITION, "node-a"),
	    "one that wants readers only is refused");
	ok(succeeded(publish(volume, "node-a", false, ONE_WRITES)) &&
		succeeded(publish(volume, "node-b", true, ONE_WRITES)),
	    "the same again is fine");
	ok(failed(publish(volume, "node-b", false, ONE_WRITES),
	       FAILED_PRECONDITION, "node-a"),
	    "the reader does not become a writer");
	meta = metadata(image);
	ok(strstr(meta, "/node-a=rw MULTI_NODE_SINGLE_WRITER\n") != NULL &&
		strstr(meta, "/node-b=ro MULTI_NODE_SINGLE_WRITER\n") != NULL,
	    "the records keep the mode");
	ok(succeeded(unpublish(volume, "node-a")), "the writer goes");
	ok(succeeded(publish(volume, "node-c", false, ONE_WRITES)),
	    "another one may write");
	ok(succeeded(unpublish(volume, "")), "all go");

	ok(succeeded(publish(volume, "node-a", true, ALL_READ)) &&
		succeeded(publish(volume, "node-b", false, ALL_READ)),
	    "several nodes read");
	ok(failed(publish(volume, "node-c", false, MANY), FAILED_PRECONDITION,
	       "node-"),
	    "a writer is refused");
	ok(succeeded(unpublish(volume, "")), "all go");

	if (rbd_open(io, image, &open, NULL) < 0)
		return;
	(void)rbd_get_id(open, id, sizeof(id));
	key = str_fmt(".rbd.csi.ceph.com/published/%s/node-a", id);
	(void)rbd_metadata_set(open, key, "rw");
	(void)rbd_metadata_set(
	    open, ".rbd.csi.ceph.com/published/of-the-parent/node-z", "rw");
	(void)rbd_close(open);
	ok(failed(publish(volume, "node-b", false, ONE_WRITES),
	       FAILED_PRECONDITION, "node-a"),
	    "a record without a mode counts as a writer");
	ok(succeeded(publish(volume, "node-b", false, MANY)),
	    "which many writers bear, as ever");
	ok(failed(publish(volume, "node-a", false, WRITER), FAILED_PRECONDITION,
	       "node-b"),
	    "and one node for itself does not");
	ok(succeeded(unpublish(volume, "")), "all go");
	ok(succeeded(call("DeleteVolume", req_delete(volume))), "deleted");
}

/* ceph-csi's record alone counts only while somebody has the image open. */
static void
test_records_of_ceph_csi(void)
{
	auto_free char *volume = make("pvc-3", NULL);
	auto_free char *image = str_fmt(
	    "csi-vol-%s", volume + strlen(volume) - 36);
	auto_free char *key = str_fmt(
	    ".rbd.csi.ceph.com/userid/%s/node-c", volume);
	rbd_image_t open;
	int64_t start;

	if (rbd_open(io, image, &open, NULL) < 0)
		return;
	(void)rbd_metadata_set(open, key, "csi-rbd");
	ok(failed(publish(volume, "node-a", false, WRITER), FAILED_PRECONDITION,
	       "node-c"),
	    "a node that staged it with ceph-csi and uses it holds it");
	start = clock_now_ms();
	ok(failed(call("DeleteVolume", req_delete(volume)), FAILED_PRECONDITION,
	       "127.0.0.1"),
	    "a volume in use is not deleted, and the address is told");
	diag("%s", worker.reply[(worker.nreplies - 1) % TALK_REPLIES].text);
	diag("after %d ms", (int)(clock_now_ms() - start));
	(void)rbd_close(open);
	ok(succeeded(publish(volume, "node-a", false, WRITER)),
	    "a record that was left behind does not hold it");
	ok(succeeded(call("DeleteVolume", req_delete(volume))),
	    "and it can be deleted");
}

static void
test_validate(void)
{
	auto_free char *volume = make("pvc-4", NULL);
	const struct talk_reply *reply = call(
	    "ValidateVolumeCapabilities", req_validate(volume, WRITER, false));
	Csi__V1__ValidateVolumeCapabilitiesResponse *r;

	ok(succeeded(reply), "capabilities are looked at");
	r = csi__v1__validate_volume_capabilities_response__unpack(
	    NULL, reply->len, reply->body);
	ok(r->confirmed != NULL && r->confirmed->n_volume_capabilities == 1,
	    "one writer is confirmed");
	req_free(r);
	reply = call(
	    "ValidateVolumeCapabilities", req_validate(volume, MANY, false));
	r = csi__v1__validate_volume_capabilities_response__unpack(
	    NULL, reply->len, reply->body);
	ok(r != NULL && r->confirmed == NULL && *r->message != '\0',
	    "a file system for many writers is not, and the reason is told");
	req_free(r);
	ok(succeeded(call("DeleteVolume", req_delete(volume))),
	    "the volume is deleted");
	ok(failed(call("ValidateVolumeCapabilities",
		      req_validate(volume, WRITER, false)),
	       NOT_FOUND, volume),
	    "a volume that is not there is NOT_FOUND");
}

static void
test_namespace(void)
{
	const struct talk_reply *reply;
	Csi__V1__CreateVolumeResponse *r = talk_create(&worker,
	    req_create("pvc-ns", fsid, "rbd", GIB, NULL), "ns1", &reply);
	Csi__V1__DeleteVolumeRequest *d;
	auto_free char *entry = NULL;

	if (!ok(r != NULL, "a volume is made in a RADOS namespace"))
		return;
	is_str(context_of(r->volume, "radosNamespace"), "ns1",
	    "context: radosNamespace");
	rados_ioctx_set_namespace(io, "ns1");
	entry = omap_value("csi.volumes.default", "csi.volume.pvc-ns");
	ok(entry != NULL, "its journal is there, too");
	rados_ioctx_set_namespace(io, "");
	d = req_delete(r->volume->volume_id);
	ok(succeeded(talk_call(&worker, "DeleteVolume", d, "ns1")),
	    "and it is deleted there");
	req_free(d);
	req_free(r);
}

/* ---- lists ---- */

#define HOLDERS 6000 /* nodes that have one volume */

/* Records of so many nodes, as ControllerPublishVolume writes them. */
static bool
publish_to_many(const char *volume)
{
	auto_free char *item = str_fmt(
	    "csi.volume.%s", volume + strlen(volume) - 36);
	auto_free char *id = omap_value(item, "csi.imageid");
	auto_free char *header = str_fmt("rbd_header.%s", id != NULL ? id : "");
	auto_free const char **key = mem_new(HOLDERS * sizeof(*key));
	auto_free const char **value = mem_new(HOLDERS * sizeof(*value));
	auto_free size_t *len = mem_new(HOLDERS * sizeof(*len));
	rados_write_op_t op = rados_create_write_op();
	int rc;

	for (int i = 0; i < HOLDERS; i++) {
		key[i] = str_fmt(
		    "metadata_.rbd.csi.ceph.com/published/%s/%0120d", id, i);
		value[i] = "rw";
		len[i] = 2;
	}
	rados_write_op_assert_exists(op);
	rados_write_op_omap_set(op, key, value, len, HOLDERS);
	rc = rados_write_op_operate(op, io, header, NULL, 0);
	rados_release_write_op(op);
	for (int i = 0; i < HOLDERS; i++)
		free((char *)(uintptr_t)key[i]);
	return rc == 0;
}

/* gRPC's clients take no answer of more than 4 MiB. */
static void
test_large_list(void)
{
	char *volume[6];
	auto_free char *token = str_dup("");
	size_t found = 0, pages = 0, largest = 0, nodes = 0;
	bool good = true;

	for (size_t i = 0; i < countof(volume); i++) {
		auto_free char *name = str_fmt("pvc-large-%zu", i);

		volume[i] = make(name, NULL);
		good = good && *volume[i] != '\0' && publish_to_many(volume[i]);
	}
	ok(good, "six volumes that %d nodes have", HOLDERS);
	do {
		Csi__V1__ListVolumesRequest r =
		    CSI__V1__LIST_VOLUMES_REQUEST__INIT;
		Csi__V1__ListVolumesResponse *list;
		const struct talk_reply *reply;

		r.starting_token = token;
		reply = talk_call(&worker, "ListVolumes", &r, "");
		if (!succeeded(reply))
			break;
		pages++;
		if (reply->len > largest)
			largest = reply->len;
		list = csi__v1__list_volumes_response__unpack(
		    NULL, reply->len, reply->body);
		for (size_t i = 0; i < list->n_entries; i++)
			for (size_t j = 0; j < countof(volume); j++) {
				if (!str_eq(list->entries[i]->volume->volume_id,
					volume[j]))
					continue;
				found++;
				nodes += list->entries[i]
					     ->status->n_published_node_ids;
			}
		free(token);
		token = str_dup(list->next_token);
		req_free(list);
	} while (*token != '\0');
	is_int(found, countof(volume), "all of them are listed, once");
	is_int(nodes, countof(volume) * HOLDERS, "with all nodes");
	ok(pages > 1 && largest <= (4u << 20),
	    "on %zu pages, none of more than 4 MiB: %zu bytes", pages, largest);
	for (size_t i = 0; i < countof(volume); i++) {
		(void)call("DeleteVolume", req_delete(volume[i]));
		free(volume[i]);
	}
}

/* Half-written reservations, as ceph-csi leaves them when it is killed. */
static void
test_repair(void)
{
	static const char dir[] = "csi.volumes.default";
	static const char uuid[] = "11111111-2222-4333-8444-555555555555";
	static const char item[] =
	    "csi.volume.11111111-2222-4333-8444-555555555555";
	const char *key = "csi.volume.pvc-half", *value = uuid;
	size_t len = strlen(uuid);
	rados_write_op_t op;
	auto_free char *missing = NULL, *empty = NULL;

	op = rados_create_write_op();
	rados_write_op_omap_set(op, &key, &value, &len, 1);
	(void)rados_write_op_operate(op, io, dir, NULL, 0);
	rados_release_write_op(op);
	missing = make("pvc-half", NULL);
	ok(str_ends(missing, uuid),
	    "a key without an entry is completed with its UUID");
	ok(succeeded(call("DeleteVolume", req_delete(missing))),
	    "and the volume deleted");

	op = rados_create_write_op();
	rados_write_op_omap_set(op, &key, &value, &len, 1);
	(void)rados_write_op_operate(op, io, dir, NULL, 0);
	rados_release_write_op(op);
	(void)rados_write_full(io, item, "", 0);
	empty = make("pvc-half", NULL);
	ok(str_ends(empty, uuid), "an empty entry is completed, too");
	ok(talk_purged(&worker), "no purge is left");
	(void)rbd_trash_move(
	    io, "csi-vol-11111111-2222-4333-8444-555555555555", 0);
	ok(failed(call("CreateVolume",
		      req_create("pvc-half", fsid, "rbd", GIB, NULL)),
	       FAILED_PRECONDITION, "in the trash"),
	    "an image that went to the trash is not replaced");
	ok(succeeded(call("DeleteVolume", req_delete(empty))),
	    "but deleted it is");
	ok(talk_purged(&worker), "and purged");
}

/* The first line of a command's output. */
static char *
shell(const char *command)
{
	char text[512] = "";
	FILE *f = popen(command, "r");

	if (f != NULL && fgets(text, sizeof(text), f) == NULL)
		text[0] = '\0';
	if (f != NULL)
		(void)pclose(f);
	text[strcspn(text, "\n")] = '\0';
	return str_dup(text);
}

/* Refused everywhere, and neither image nor journal has changed. */
static void
test_refused_image(const char *volume, const char *part, const char *what)
{
	auto_free char *item = str_fmt(
	    "csi.volume.%s", volume + strlen(volume) - 36);
	auto_free char *entry = omap(item), *after = NULL, *key = NULL;
	auto_free char *images = shell("rbd -p rbd ls | sort | md5sum");
	auto_free char *still = NULL;

	ok(failed(call("DeleteVolume", req_delete(volume)), FAILED_PRECONDITION,
	       part),
	    "%s: it is not deleted", what);
	ok(failed(call("CreateVolume",
		      req_create("pvc-else", fsid, "rbd", GIB, NULL)),
	       FAILED_PRECONDITION, part),
	    "%s: nor made anew", what);
	ok(failed(publish(volume, "node-a", false, WRITER), FAILED_PRECONDITION,
	       part),
	    "%s: nor published", what);
	ok(failed(call("ValidateVolumeCapabilities",
		      req_validate(volume, WRITER, false)),
	       FAILED_PRECONDITION, part),
	    "%s: nor confirmed", what);
	after = omap(item);
	is_str(after, entry, "%s: its entry stays as it was", what);
	key = omap_value("csi.volumes.default", "csi.volume.pvc-else");
	ok(str_ends(volume, key != NULL ? key : "-"), "%s: so does its key",
	    what);
	still = shell("rbd -p rbd ls | sort | md5sum");
	is_str(still, images, "%s: and every image", what);
}

/* What an administrator does to the image of a volume. */
static void
test_elsewhere(void)
{
	auto_free char *volume = make("pvc-else", NULL);
	auto_free char *image = str_fmt(
	    "csi-vol-%s", volume + strlen(volume) - 36);
	auto_free char *item = str_fmt(
	    "csi.volume.%s", volume + strlen(volume) - 36);
	auto_free char *id = omap_value(item, "csi.imageid");
	auto_free char *meta = NULL, *left = NULL;
	char other[64] = "";
	rbd_image_t open;
	int order = 0;

	(void)succeeded(publish(volume, "node-a", false, WRITER));
	(void)rbd_rename(io, image, "kept-by-admin");
	test_refused_image(volume, "kept-by-admin", "a renamed image");
	ok(succeeded(unpublish(volume, "node-a")),
	    "a renamed image: its node gives it back");
	meta = metadata("kept-by-admin");
	ok(strstr(meta, "published") == NULL,
	    "a renamed image: and its record goes");

	(void)rbd_create(io, image, 16 * MIB, &order);
	if (rbd_open_read_only(io, image, &open, NULL) == 0) {
		(void)rbd_get_id(open, other, sizeof(other));
		(void)rbd_close(open);
	}
	(void)rbd_remove(io, "kept-by-admin");
	test_refused_image(volume, other, "an image made anew");
	(void)rbd_remove(io, image);
	ok(succeeded(call("DeleteVolume", req_delete(volume))),
	    "an image that is nowhere is forgotten");
	left = omap(item);
	is_str(left, "-", "with its entry");

	/* the journal's entry is lost, but not the image */
	free(take_ptr(&volume));
	volume = make("pvc-lost", NULL);
	free(take_ptr(&item));
	item = str_fmt("csi.volume.%s", volume + strlen(volume) - 36);
	(void)rados_remove(io, item);
	ok(failed(call("DeleteVolume", req_delete(volume)), FAILED_PRECONDITION,
	       "csi-vol-"),
	    "without an entry a volume whose image is there is not deleted");
	free(take_ptr(&image));
	image = str_fmt("csi-vol-%s", volume + strlen(volume) - 36);
	(void)rbd_remove(io, image);
	ok(succeeded(call("DeleteVolume", req_delete(volume))),
	    "one whose image is gone is");
	free(take_ptr(&volume));
	volume = make("pvc-lost", NULL);
	ok(*volume != '\0' &&
		succeeded(call("DeleteVolume", req_delete(volume))),
	    "and its name can be used again");
}

enum cost { COST_CREATE, COST_EXISTS, COST_DELETE, COST_PLAIN, COSTS };

/* What each of one volume's calls costs. */
static void
measure(int i, uint64_t cost[COSTS])
{
	static const char *const plain[] = { "imageFeatures", "layering",
		NULL };
	auto_free char *name = str_fmt("pvc-cost-%d", i);
	auto_free char *other = str_fmt("pvc-plain-%d", i);
	auto_free char *volume = NULL, *again = NULL, *second = NULL;
	uint64_t at[6];

	at[0] = osd_ops();
	volume = make(name, NULL);
	at[1] = osd_ops();
	again = make(name, NULL);
	at[2] = osd_ops();
	(void)succeeded(call("DeleteVolume", req_delete(volume)));
	(void)talk_purged(&worker);
	at[3] = osd_ops();
	second = make(other, plain);
	at[4] = osd_ops();
	(void)succeeded(call("DeleteVolume", req_delete(second)));
	(void)talk_purged(&worker);
	cost[COST_CREATE] = at[1] - at[0];
	cost[COST_EXISTS] = at[2] - at[1];
	cost[COST_DELETE] = at[3] - at[2];
	cost[COST_PLAIN] = at[4] - at[3];
}

static void
costs_at_most(uint64_t cost, uint64_t most, const char *what)
{
	ok(cost > 0 && cost <= most, "%s takes at most %d operations", what,
	    (int)most);
}

static void
test_cost(void)
{
	uint64_t best[COSTS] = { 99, 99, 99, 99 };

	for (int i = 0; i < 3; i++) {
		uint64_t cost[COSTS];

		measure(i, cost);
		for (int j = 0; j < COSTS; j++)
			if (cost[j] < best[j])
				best[j] = cost[j];
	}
	diag("operations at the OSDs: create %d (layering only %d), exists %d, "
	     "delete with its purge %d",
	    (int)best[COST_CREATE], (int)best[COST_PLAIN],
	    (int)best[COST_EXISTS], (int)best[COST_DELETE]);
	costs_at_most(best[COST_CREATE], 7, "a fresh volume");
	costs_at_most(best[COST_PLAIN], 6, "one with layering only");
	costs_at_most(best[COST_EXISTS], 4, "one that exists");
	costs_at_most(best[COST_DELETE], 12, "a deletion, with its purge,");
}

/* ---- lanes and ends ---- */

/* The worker's children: its lanes. Kills them if told so. */
static unsigned
lanes(bool kill_them)
{
	char path[64], text[256] = "", *at = text;
	unsigned n = 0;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children",
	    (int)peer_pid(&worker.peer), (int)peer_pid(&worker.peer));
	f = fopen(path, "re");
	if (f == NULL)
		return 0;
	if (fgets(text, sizeof(text), f) == NULL)
		text[0] = '\0';
	(void)fclose(f);
	for (char *end = at; at[strspn(at, " ")] != '\0'; at = end, n++) {
		long pid = strtol(at, &end, 10);

		if (kill_them && pid > 1)
			(void)kill((pid_t)pid, SIGKILL);
	}
	return n;
}

static void
test_lanes_die(void)
{
	static const char *const params[] = {
		"imageFeatures",
		"layering,exclusive-lock,journaling",
		"mounter",
		"rbd-nbd",
		NULL,
	};
	auto_free char *first = make("pvc-lane-1", params), *second = NULL;

	ok(lanes(true) > 0, "a lane is there after its work, and is killed");
	/* A job that goes to a lane whose end is not seen yet may fail. */
	for (int i = 0; i < 200 && lanes(false) > 0; i++)
		talk_turn(50);
	second = make("pvc-lane-2", params);
	ok(*first != '\0' && *second != '\0',
	    "the next job gets a lane of its own");
	ok(succeeded(call("DeleteVolume", req_delete(first))) &&
		succeeded(call("DeleteVolume", req_delete(second))) &&
		talk_purged(&worker),
	    "its volumes are deleted");
	for (int i = 0; i < 600 && lanes(false) > 0; i++)
		talk_turn(50);
	is_int(lanes(false), 0, "idle lanes end");
}

static void
test_cancel(void)
{
	Csi__V1__CreateVolumeRequest *r = req_create(
	    "pvc-cancel", fsid, "rbd", GIB, NULL);
	const struct talk_reply *reply;
	auto_free char *volume = NULL;
	uint64_t id = talk_send(&worker, "CreateVolume", r, "");

	req_free(r);
	talk_cancel(&worker, id);
	reply = talk_wait(&worker, id);
	ok(reply != NULL && (reply->code == OK || reply->code == CANCELLED),
	    "a cancelled request is answered when it has ended");
	volume = make("pvc-cancel", NULL);
	ok(succeeded(call("DeleteVolume", req_delete(volume))),
	    "the same request again goes well");
}

/* What runs when the daemon goes away is brought to its end. */
static void
test_orphan(void)
{
	Csi__V1__CreateVolumeRequest *r = req_create(
	    "pvc-orphan", fsid, "rbd", GIB, NULL);
	auto_free char *volume = NULL, *key = NULL;
	struct talk t;

	talk_start(&t, talk_program("ceph-worker"), &(struct talk_hello){ 0 });
	(void)talk_send(&t, "CreateVolume", r, "");
	req_free(r);
	talk_turn(5);
	ok(talk_end(&t) && WIFEXITED(t.status) && WEXITSTATUS(t.status) == 0,
	    "a worker whose daemon goes away ends by itself");
	key = omap_value("csi.volumes.default", "csi.volume.pvc-orphan");
	volume = make("pvc-orphan", NULL);
	ok(key == NULL || str_ends(volume, key),
	    "and its operation is as good as before");
	ok(succeeded(call("DeleteVolume", req_delete(volume))),
	    "the volume is deleted");
}

/*
 * After a restart of rbd-csid the old one's worker may still be at what the
 * new one is asked for again.
 */
static void
test_two_workers(void)
{
	unsigned same = 0, good = 0;
	struct talk other;

	talk_start(
	    &other, talk_program("ceph-worker"), &(struct talk_hello){ 0 });
	for (int i = 0; i < 30; i++) {
		auto_free char *name = str_fmt("pvc-race-%d", i);
		auto_free char *volume = NULL;
		Csi__V1__CreateVolumeRequest *r = req_create(
		    name, fsid, "rbd", GIB, NULL);
		uint64_t a = talk_send(&worker, "CreateVolume", r, "");
		uint64_t b = talk_send(&other, "CreateVolume", r, "");
		const struct talk_reply *one = talk_wait(&worker, a);
		const struct talk_reply *two = talk_wait(&other, b);

		req_free(r);
		if (succeeded(one) && succeeded(two)) {
			good++;
			same += one->len == two->len &&
			    memcmp(one->body, two->body, one->len) == 0;
		}
		volume = make(name, NULL);
		(void)succeeded(call("DeleteVolume", req_delete(volume)));
	}
	is_int(good, 30, "two workers at the same volume both succeed");
	is_int(same, 30, "and give the same answer");
	ok(talk_end(&other), "the other one ends");
	ok(talk_purged(&worker), "all is purged");
}

static void
test_end(void)
{
	uint64_t id = talk_send(&worker, "DeleteVolume",
	    &(Csi__V1__DeleteVolumeRequest)CSI__V1__DELETE_VOLUME_REQUEST__INIT,
	    "");

	ok(failed(talk_wait(&worker, id), INVALID_ARGUMENT, "volume_id"),
	    "an empty request names its missing field");
	ok(talk_end(&worker) && WIFEXITED(worker.status) &&
		WEXITSTATUS(worker.status) == 0,
	    "the end of the channel ends the worker, with status 0");
}

int
main(void)
{
	fsid = getenv("RBD_CSI_FSID");
	if (fsid == NULL || loop_init() < 0) {
		printf("Bail out! run it with the output of "
		       "scripts/dev-cluster env\n");
		return 1;
	}
	connect_admin();
	test_start();
	if (!worker.ready)
		return tap_end();
	test_no_key_to_be_seen();
	test_create();
	test_defaults();
	test_lane_volume();
	test_refused();
	test_publish();
	test_publish_modes();
	test_records_of_ceph_csi();
	test_validate();
	test_namespace();
	test_large_list();
	test_repair();
	test_elsewhere();
	test_cost();
	test_lanes_die();
	test_cancel();
	test_orphan();
	test_two_workers();
	test_end();
	rados_ioctx_destroy(io);
	rados_shutdown(cluster);
	loop_fini();
	return tap_end();
}
