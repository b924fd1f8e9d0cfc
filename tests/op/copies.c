/*
 * copies.c - the await sweep of CreateVolume from a snapshot and from a
 * volume, and of CreateSnapshot: whatever fails or dies, nothing is left or
 * the next call completes it.
 */
#include "tests/op/controller_run.h"

#include "base/log.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "tests/definition.h"
#include "tests/tap.h"

#include <errno.h>
#include <sys/wait.h>

#define CLUSTER_ID "0001-0001-c-0000000000000001-"
#define SNAP_UUID "5aa05aa0-0000-4000-8000-000000000001"
#define SNAP_ID CLUSTER_ID SNAP_UUID
#define SNAP_IMAGE "csi-snap-" SNAP_UUID
#define VOL_UUID "70170170-0000-4000-8000-000000000002"
#define VOL_ID CLUSTER_ID VOL_UUID
#define VOL_IMAGE "csi-vol-" VOL_UUID
#define OTHER_UUID "07e807e8-0000-4000-8000-000000000003"
#define OTHER_ID CLUSTER_ID OTHER_UUID
#define OTHER_IMAGE "csi-vol-" OTHER_UUID
#define STEPS_MAX 40

/* ---- calls ---- */

static void
call(const char *method, const char *json)
{
	auto_json json_t *in = json_loads(json, 0, NULL);
	struct arena *arena = csi_arena_new();
	const struct csi_definition *def = definition_of(method);
	struct err err = ERR_INIT;
	const void *request = def == NULL
	    ? NULL
	    : json_pb_read(def->request, in, arena, &err);

	if (request == NULL) {
		diag("%s: %s", json, err.text);
		abort();
	}
	run(method, request);
	arena_free(arena);
}

#define KEYS "\"secrets\":{\"userID\":\"csi\",\"userKey\":\"k\"}"
#define SNAPSHOT "{\"snapshot\":{\"snapshotId\":\"" SNAP_ID "\"}}"
#define VOLUME "{\"volume\":{\"volumeId\":\"" VOL_ID "\"}}"

/* `more`: further fields, each with a comma before it. */
static void
create_with(const char *more)
{
	auto_free char *json = str_fmt(
	    "{\"name\":\"copy\",\"volumeCapabilities\":[{\"block\":{},"
	    "\"accessMode\":{\"mode\":\"SINGLE_NODE_WRITER\"}}],"
	    "\"parameters\":{\"clusterID\":\"c\",\"pool\":\"rbd\"}," KEYS "%s}",
	    more);

	call("CreateVolume", json);
}

#define OF                                                                     \
	",\"capacityRange\":{\"requiredBytes\":1048576},"                      \
	"\"volumeContentSource\":"

static void
snapshot_of(const char *volume_id)
{
	auto_free char *json = str_fmt(
	    "{\"name\":\"copy\",\"sourceVolumeId\":\"%s\"," KEYS "}",
	    volume_id);

	call("CreateSnapshot", json);
}

/* NULL: not a copy, but a snapshot of the volume. */
static void
create_of(const char *source)
{
	auto_free char *more = str_fmt(OF "%s", source);

	if (source == NULL)
		snapshot_of(VOL_ID);
	else
		create_with(more);
}

static bool is_snapshot; /* what was created is one */

static void delete (const char *id)
{
	auto_free char *json = str_fmt("{\"%s\":\"%s\"," KEYS "}",
	    is_snapshot ? "snapshotId" : "volumeId", id);

	call(is_snapshot ? "DeleteSnapshot" : "DeleteVolume", json);
}

/* ---- a store with a snapshot and a volume ---- */

static char *prepared;

static void
put_item(
    const char *item, const char *name_key, const char *name, const char *image)
{
	fake_put_image(image);
	fake_put_key(item, name_key, name);
	fake_put_key(item, "csi.imagename", image);
	fake_put_key(item, "csi.imageid", fake_image_id(image));
}

static void
prepare(void)
{
	fake_clear();
	put_item("csi.snap." SNAP_UUID, "csi.snapname", "snap", SNAP_IMAGE);
	(void)fake_snapshot(SNAP_IMAGE, SNAP_IMAGE);
	put_item("csi.volume." VOL_UUID, "csi.volname", "source", VOL_IMAGE);
	fake_put_key("csi.volumes.default", "csi.volume.source", VOL_UUID);
	put_item("csi.volume." OTHER_UUID, "csi.volname", "other", OTHER_IMAGE);
	fake_put_object("csi.purge.default");
	fake_put_object("csi.snaps.default");
	free(prepared);
	prepared = str_fmt(" %s ", fake_store());
}

/* What the store holds beside what prepare() has put there. */
static const char *
beside(void)
{
	static char text[8192];
	auto_free char *now = str_dup(fake_store());
	char *word, *rest = now;
	size_t used = 0;

	text[0] = '\0';
	while ((word = strsep(&rest, " ")) != NULL) {
		auto_free char *whole = str_fmt(" %s ", word);

		if (strstr(prepared, whole) == NULL)
			used += (size_t)snprintf(text + used,
			    sizeof(text) - used, "%s%s", used > 0 ? " " : "",
			    word);
	}
	return text;
}

/* All that was there is as it was, and there is nothing else. */
static bool
is_untouched(void)
{
	auto_free char *now = str_fmt(" %s ", fake_store());
	bool good = str_eq(now, prepared);

	if (!good)
		diag("%s\n# not %s", now, prepared);
	return good;
}

static bool
is_beside(const char *want)
{
	bool good = str_eq(beside(), want);

	if (!good)
		diag("%s\n# not %s", beside(), want);
	return good;
}

static const char *
snap_id(const char *uuid)
{
	auto_free char *image = str_fmt("csi-snap-%s", uuid);

	return fake_image_id(image);
}

/* The one volume, made from this source, and its helper if that is a volume. */
static bool
is_whole(const char *source_id)
{
	const char *uuid = out.volume_id + strlen(out.volume_id) - 36;
	auto_free char *want = NULL, *image = NULL, *helper = NULL;

	if (err_is_set(&out.err) || strlen(out.volume_id) < 36) {
		diag("%s", out.err.text);
		return false;
	}
	image = str_fmt("csi-vol-%s", uuid);
	if (is_snapshot) {
		want = str_fmt("csi.snap.%s csi.snap.%s:csi.imageid=%s "
			       "csi.snap.%s:csi.imagename=csi-snap-%s "
			       "csi.snap.%s:csi.snapname=copy "
			       "csi.snap.%s:csi.source=" VOL_IMAGE " "
			       "csi.snaps.default:csi.snap.copy=%s "
			       "image:csi-snap-%s@csi-snap-%s",
		    uuid, uuid, snap_id(uuid), uuid, uuid, uuid, uuid, uuid,
		    uuid, uuid);
		return is_beside(want);
	}
	helper = str_eq(source_id, VOL_ID)
	    ? str_fmt(" image:%s-temp@%s", image, image)
	    : str_dup("");
	want = str_fmt("csi.volume.%s csi.volume.%s:csi.imageid=%s "
		       "csi.volume.%s:csi.imagename=%s "
		       "csi.volume.%s:csi.source=%s "
		       "csi.volume.%s:csi.volname=copy "
		       "csi.volumes.default:csi.volume.copy=%s image:%s%s",
	    uuid, uuid, fake_image_id(image), uuid, image, uuid, source_id,
	    uuid, uuid, image, helper);
	return is_beside(want);
}

/* ---- each source in turn ---- */

static const struct source {
	const char *json, *id;
	const char *calls; /* of a copy that is made */
	const char *again; /* of one that exists */
	unsigned reserved; /* the call that reserves the name */
} sources[] = {
	{ SNAPSHOT, SNAP_ID,
	    "read-item lookup meta-list write-dir clone "
	    "write-item swap-dir",
	    "read-dir read-item lookup", 4 },
	{ VOLUME, VOL_ID,
	    "read-item lookup write-dir snap clone unsnap lookup "
	    "snap clone write-item swap-dir",
	    "read-dir read-item lookup", 3 },
	{ NULL, VOL_ID,
	    "read-item lookup read-dir write-dir snap clone unsnap "
	    "lookup snap write-item swap-dir",
	    "read-item lookup read-dir read-item lookup snaps", 4 },
};

static void
test_made(const struct source *s)
{
	char first[sizeof(out.volume_id)];

	prepare();
	begin();
	fake_script(FAKE_NONE, 0, 0);
	create_of(s->json);
	is_str(fake_log(), s->calls, "a copy takes these calls");
	ok(is_whole(s->id), "and is whole then");
	(void)snprintf(first, sizeof(first), "%s", out.volume_id);
	fake_script(FAKE_NONE, 0, 0);
	create_of(s->json);
	is_str(fake_log(), s->again, "one that exists takes these");
	ok(is_whole(s->id) && str_eq(out.volume_id, first),
	    "and has the same answer");
	if (s->json != NULL) {
		create_of(s == sources ? VOLUME : SNAPSHOT);
		ok(out.err.code == ERR_ALREADY_EXISTS &&
			strstr(out.err.text, s->id),
		    "of another source is ALREADY_EXISTS");
		create_with("");
		ok(out.err.code == ERR_ALREADY_EXISTS &&
			strstr(out.err.text, s->id),
		    "of none, too");
	} else {
		snapshot_of(OTHER_ID);
		ok(out.err.code == ERR_ALREADY_EXISTS &&
			strstr(out.err.text, VOL_IMAGE),
		    "of another volume is ALREADY_EXISTS: %s", out.err.text);
	}
	delete (first);
	ok(!err_is_set(&out.err) && is_untouched(),
	    "it is deleted without a trace");
	end("made", 0);
}

/* The n-th wait fails; the store may have done it all the same. */
static void
test_fails(const struct source *s, enum fake_fault fault)
{
	const char *done = fault == FAKE_FAIL ? "" : " though it was done";
	unsigned n, calls;

	for (n = 1;; n++) {
		prepare();
		begin();
		fake_script(fault, n, -EIO);
		create_of(s->json);
		calls = fake_calls();
		if (calls < n) {
			end("fails", n);
			break;
		}
		/*
		 * An entry that was tried beside the image is written again;
		 * what was committed all the same stays.
		 */
		ok(err_is_set(&out.err)
			? out.err.code == ERR_INTERNAL &&
			    is_untouched() !=
				str_ends(fake_log(), "swap-dir write-dir")
			: strstr(fake_log(), "write-item write-item") != NULL,
		    "wait %u fails%s: nothing is left (%s)", n, done,
		    fake_log());
		fake_script(FAKE_NONE, 0, 0);
		create_of(s->json);
		ok(is_whole(s->id), "wait %u fails%s: the next call makes it",
		    n, done);
		end("fails", n);
	}
	ok(n > s->reserved + 3, "all %u waits have failed", n - 1);
}

static void
create_step(const char *json)
{
	create_of(json);
}

static void
test_killed(const struct source *s, enum fake_fault fault)
{
	const char *when = fault == FAKE_KILL ? "before" : "after";
	bool killed = true;
	unsigned n;

	for (n = 1; n < STEPS_MAX && killed; n++) {
		prepare();
		killed = in_child(create_step, s->json, fault, n);
		begin();
		create_of(s->json);
		ok(is_whole(s->id), "killed %s call %u: the next call makes it",
		    when, n);
		delete (out.volume_id);
		ok(!err_is_set(&out.err) && is_untouched(),
		    "and it is deleted without a trace");
		end("killed", n);
	}
	ok(n > s->reserved + 4 && n < STEPS_MAX, "%u calls to be killed at",
	    n - 2);
}

/* Killed at the m-th call of the undo of a failure of the n-th. */
static void
test_undo_killed(const struct source *s)
{
	for (unsigned n = s->reserved; n < s->reserved + 8; n++) {
		unsigned total;

		prepare();
		begin();
		fake_script(FAKE_FAIL_DONE, n, -EIO);
		create_of(s->json);
		total = fake_calls();
		end("undo", n);
		for (unsigned m = n + 1; m <= total; m++) {
			int status;
			pid_t pid;

			prepare();
			pid = fork();
			if (pid == 0) {
				begin();
				fake_script(FAKE_FAIL_DONE, n, -EIO);
				fake_kill_at(m);
				create_of(s->json);
				_exit(0);
			}
			if (waitpid(pid, &status, 0) != pid)
				abort();
			begin();
			create_of(s->json);
			ok(is_whole(s->id),
			    "wait %u fails, killed before call %u: the next call makes it",
			    n, m);
			end("undo", m);
		}
	}
}

static void
test_dropped(const struct source *s)
{
	for (unsigned n = 1; n <= s->reserved + 5; n++) {
		bool stopped;

		prepare();
		begin();
		fake_script(FAKE_DROP, n, 0);
		create_of(s->json);
		stopped = out.err.code == ERR_CANCELLED;
		ok(stopped ? n < s->reserved && is_untouched()
			   : n >= s->reserved && is_whole(s->id),
		    "the caller leaves at wait %u: %s", n,
		    stopped ? "it stops, nothing is made"
			    : "it goes on to its end");
		end("dropped", n);
	}
}

/* ---- what is refused ---- */

static void
test_refused(void)
{
	static const struct {
		const char *what, *more;
		enum err_code code;
		const char *text;
	} refused[] = {
		{ "a snapshot that is none",
		    OF "{\"snapshot\":{\"snapshotId\":\"none\"}}",
		    ERR_NOT_FOUND, "volume_content_source: snapshot none" },
		{ "one that is not there",
		    OF "{\"snapshot\":{\"snapshotId\":\"" CLUSTER_ID
		       "5aa05aa0-0000-4000-8000-000000000009\"}}",
		    ERR_NOT_FOUND, "no journal entry" },
		{ "one that is a volume",
		    OF "{\"snapshot\":{\"snapshotId\":\"" VOL_ID "\"}}",
		    ERR_NOT_FOUND, "no journal entry" },
		{ "a volume that is not there",
		    OF "{\"volume\":{\"volumeId\":\"" CLUSTER_ID
		       "70170170-0000-4000-8000-000000000009\"}}",
		    ERR_NOT_FOUND, "no journal entry" },
		{ "a size below the snapshot's",
		    ",\"capacityRange\":{\"requiredBytes\":1048576}"
		    ",\"volumeContentSource\":" SNAPSHOT,
		    ERR_OUT_OF_RANGE, "fewer than the 2097152" },
		{ "a limit below the volume's",
		    ",\"capacityRange\":{\"limitBytes\":1048576}"
		    ",\"volumeContentSource\":" VOLUME,
		    ERR_OUT_OF_RANGE, "below the 2097152" },
	};

	for (size_t i = 0; i < countof(refused); i++) {
		prepare();
		begin();
		if (refused[i].code == ERR_OUT_OF_RANGE) {
			fake_resize(SNAP_IMAGE, 2 << 20);
			fake_resize(VOL_IMAGE, 2 << 20);
		}
		create_with(refused[i].more);
		ok(out.err.code == refused[i].code &&
			strstr(out.err.text, refused[i].text) && is_untouched(),
		    "%s: %s", refused[i].what, out.err.text);
		end("refused", 0);
	}

	prepare();
	begin();
	fake_set_meta(VOL_IMAGE, "rbd.csi.ceph.com/encrypted", "encrypted");
	create_of(VOLUME);
	ok(out.err.code == ERR_INVALID_ARGUMENT &&
		strstr(out.err.text, "it is encrypted") && is_untouched(),
	    "an encrypted volume: %s", out.err.text);
	fake_put_key("csi.snap." SNAP_UUID, "csi.volume.encryptKMS", "vault");
	create_of(SNAPSHOT);
	ok(out.err.code == ERR_INVALID_ARGUMENT &&
		strstr(out.err.text, "it is encrypted"),
	    "an encrypted snapshot: %s", out.err.text);
	end("refused", 0);

	prepare();
	begin();
	fake_unsnapshot(SNAP_IMAGE, SNAP_IMAGE);
	create_of(SNAPSHOT);
	ok(out.err.code == ERR_NOT_FOUND &&
		strstr(out.err.text, "has no snapshot of this name"),
	    "a snapshot that is being deleted: %s", out.err.text);
	end("refused", 0);
}

/* Somebody has made another snapshot of a CSI snapshot's image. */
static void
test_snapped(void)
{
	prepare();
	begin();
	(void)fake_snapshot(SNAP_IMAGE, "somebody's");
	fake_script(FAKE_NONE, 0, 0);
	create_of(SNAPSHOT);
	is_str(fake_log(),
	    "read-item lookup meta-list snaps write-dir clone "
	    "write-item swap-dir",
	    "its own one is looked for");
	ok(!err_is_set(&out.err), "and cloned: %s", out.err.text);
	end("snapped", 0);
}

/* ---- what goes along, and how large it is ---- */

static void
test_fits(void)
{
	char image[64];
	uint64_t size = 0;

	for (size_t i = 0; i < countof(sources); i++) {
		auto_free char *more = str_fmt(",\"volumeContentSource\":%s",
		    sources[i].json != NULL ? sources[i].json : "");
		const char *of = i == 0 ? SNAP_IMAGE : VOL_IMAGE;

		is_snapshot = sources[i].json == NULL;
		prepare();
		begin();
		fake_resize(of, UINT64_C(3) << 30);
		fake_set_meta(of, "csi.storage.k8s.io/pvc/name", "claim");
		fake_set_meta(
		    of, "csi.storage.k8s.io/volumesnapshot/name", "snap");
		fake_set_meta(of, "csi.ceph.com/mounter", "rbd-nbd");
		fake_set_meta(of, ".rbd.csi.ceph.com/published/n", "rw");
		fake_set_meta(of, "conf_rbd_qos_iops_limit", "5");
		fake_set_meta(
		    of, ".rbd.csi.ceph.com/serviceaccount", "some-account");
		if (is_snapshot)
			snapshot_of(VOL_ID);
		else
			create_with(more);
		(void)snprintf(image, sizeof(image), "csi-%s-%.36s",
		    is_snapshot ? "snap" : "vol",
		    out.volume_id + strlen(out.volume_id) - 36);
		ok(!err_is_set(&out.err) && fake_has_image(image, &size) &&
			size == UINT64_C(3) << 30,
		    "a size that nobody asks for is the source's");
		ok(fake_meta(image, "csi.storage.k8s.io/pvc/name") == NULL &&
			fake_meta(image,
			    "csi.storage.k8s.io/volumesnapshot/name") == NULL &&
			fake_meta(image, ".rbd.csi.ceph.com/published/n") ==
			    NULL,
		    "what names the source does not go along");
		is_str(fake_meta(image, "csi.ceph.com/mounter"),
		    is_snapshot ? NULL : "rbd",
		    "the mounter is the StorageClass', a snapshot has none");
		is_str(fake_meta(image, "conf_rbd_qos_iops_limit"), "5",
		    "other metadata go along");
		is_str(fake_meta(image, ".rbd.csi.ceph.com/serviceaccount"),
		    "some-account", "so does who may use it");
		end("fits", 0);
	}
	is_snapshot = false;
}

/* ---- what ceph-csi leaves half made ---- */

#define NEW_UUID "11111111-2222-4333-8444-555555555555"
#define NEW_IMAGE "csi-vol-" NEW_UUID
#define NEW_HELPER NEW_IMAGE "-temp"

static void
ceph_csi_reserves(void)
{
	fake_put_key("csi.volumes.default", "csi.volume.copy", NEW_UUID);
	fake_put_key("csi.volume." NEW_UUID, "csi.volname", "copy");
	fake_put_key("csi.volume." NEW_UUID, "csi.imagename", NEW_IMAGE);
}

static void
ceph_csi_clones(const char *of, const char *snapshot, const char *image)
{
	uint64_t snap = fake_snapshot(of, snapshot);

	fake_put_image(image);
	fake_set_clone_of(image, of, snap);
}

/* Goes on from what is there, and all of it can be deleted. */
static void
completed(const struct source *s, const char *what)
{
	create_of(s->json);
	ok(is_whole(s->id) && str_ends(out.volume_id, NEW_UUID), "%s: %s", what,
	    out.err.text);
	delete (out.volume_id);
	ok(!err_is_set(&out.err) && is_untouched(), "and is deleted");
	end("completed", 0);
}

static void
test_ceph_csi(void)
{
	const struct source *snapshot = &sources[0], *volume = &sources[1];

	prepare();
	begin();
	ceph_csi_reserves();
	completed(snapshot, "ceph-csi's reservation, no image of a snapshot");

	prepare();
	begin();
	ceph_csi_reserves();
	ceph_csi_clones(SNAP_IMAGE, SNAP_IMAGE, NEW_IMAGE);
	completed(snapshot, "ceph-csi's clone of a snapshot, no id");

	prepare();
	begin();
	ceph_csi_reserves();
	completed(volume, "ceph-csi's reservation, nothing of a volume");

	prepare();
	begin();
	ceph_csi_reserves();
	(void)fake_snapshot(VOL_IMAGE, NEW_HELPER);
	completed(volume, "ceph-csi's snapshot of a volume");

	prepare();
	begin();
	ceph_csi_reserves();
	ceph_csi_clones(VOL_IMAGE, NEW_HELPER, NEW_HELPER);
	completed(volume, "ceph-csi's helper, the volume's snapshot is there");

	prepare();
	begin();
	ceph_csi_reserves();
	ceph_csi_clones(VOL_IMAGE, NEW_HELPER, NEW_HELPER);
	fake_unsnapshot(VOL_IMAGE, NEW_HELPER);
	completed(volume, "ceph-csi's helper, without its snapshot");

	prepare();
	begin();
	ceph_csi_reserves();
	ceph_csi_clones(VOL_IMAGE, NEW_HELPER, NEW_HELPER);
	fake_unsnapshot(VOL_IMAGE, NEW_HELPER);
	(void)fake_snapshot(NEW_HELPER, NEW_IMAGE);
	completed(volume, "ceph-csi's helper, whole");

	prepare();
	begin();
	ceph_csi_reserves();
	fake_put_image(NEW_HELPER);
	fake_fill(NEW_HELPER, "it has data");
	create_of(VOLUME);
	ok(is_whole(VOL_ID) && str_ends(out.volume_id, NEW_UUID),
	    "ceph-csi's helper, flattened");
	ok(strstr(fake_log(), "unsnap") == NULL, "is not made of the volume");
	end("flattened", 0);

	prepare();
	begin();
	ceph_csi_reserves();
	ceph_csi_clones(VOL_IMAGE, NEW_HELPER, NEW_HELPER);
	fake_unsnapshot(VOL_IMAGE, NEW_HELPER);
	ceph_csi_clones(NEW_HELPER, NEW_IMAGE, NEW_IMAGE);
	completed(volume, "ceph-csi's clone of a volume, no id");

	prepare();
	begin();
	ceph_csi_reserves();
	ceph_csi_clones(SNAP_IMAGE, SNAP_IMAGE, NEW_HELPER);
	create_of(VOLUME);
	ok(out.err.code == ERR_ALREADY_EXISTS &&
		strstr(out.err.text, "is no clone of image " VOL_IMAGE),
	    "a helper of something else: %s", out.err.text);
	end("other", 0);

	prepare();
	begin();
	ceph_csi_reserves();
	fake_put_image(NEW_HELPER);
	fake_set_clone_of(NEW_HELPER, VOL_IMAGE, 99);
	create_of(VOLUME);
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		strstr(out.err.text, "that is gone"),
	    "a helper that has lost its parent: %s", out.err.text);
	end("lost", 0);
}

/* ceph-csi's whole copies do not say in the journal what they are of. */
static void
test_compared(void)
{
	prepare();
	begin();
	ceph_csi_reserves();
	ceph_csi_clones(SNAP_IMAGE, SNAP_IMAGE, NEW_IMAGE);
	fake_put_key(
	    "csi.volume." NEW_UUID, "csi.imageid", fake_image_id(NEW_IMAGE));
	create_of(SNAPSHOT);
	ok(!err_is_set(&out.err) && str_ends(out.volume_id, NEW_UUID),
	    "ceph-csi's copy of a snapshot is known by its parent: %s",
	    out.err.text);
	create_of(VOLUME);
	is_int(out.err.code, ERR_ALREADY_EXISTS, "and is none of a volume");
	create_with("");
	is_int(out.err.code, ERR_ALREADY_EXISTS, "nor of nothing");
	end("compared", 0);

	prepare();
	begin();
	ceph_csi_reserves();
	ceph_csi_clones(VOL_IMAGE, NEW_HELPER, NEW_HELPER);
	ceph_csi_clones(NEW_HELPER, NEW_IMAGE, NEW_IMAGE);
	fake_put_key(
	    "csi.volume." NEW_UUID, "csi.imageid", fake_image_id(NEW_IMAGE));
	create_of(VOLUME);
	ok(!err_is_set(&out.err) && str_ends(out.volume_id, NEW_UUID),
	    "one of a volume by its parent's: %s", out.err.text);
	create_of(SNAPSHOT);
	is_int(out.err.code, ERR_ALREADY_EXISTS, "and is none of a snapshot");
	end("compared", 0);

	prepare();
	begin();
	ceph_csi_reserves();
	fake_put_image(NEW_IMAGE);
	fake_put_key(
	    "csi.volume." NEW_UUID, "csi.imageid", fake_image_id(NEW_IMAGE));
	create_of(SNAPSHOT);
	is_int(out.err.code, ERR_ALREADY_EXISTS,
	    "one without a parent is of no source");
	end("compared", 0);

	prepare();
	begin();
	fake_put_key("csi.volumes.default", "csi.reserve.copy", NEW_IMAGE);
	create_of(SNAPSHOT);
	ok(out.err.code == ERR_ALREADY_EXISTS &&
		strstr(out.err.text, "half made"),
	    "an empty volume that is half made does not become a copy");
	fake_put_key(
	    "csi.volumes.default", "csi.reserve.copy", "other/" NEW_IMAGE);
	create_with("");
	ok(out.err.code == ERR_ALREADY_EXISTS &&
		strstr(out.err.text, "half made"),
	    "nor a copy an empty one");
	end("compared", 0);
}

int
main(void)
{
	fake_init();
	if (loop_init() < 0)
		return 1;
	log_init("test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	for (size_t i = 0; i < countof(sources); i++) {
		const struct source *s = &sources[i];

		is_snapshot = s->json == NULL;
		test_made(s);
		test_fails(s, FAKE_FAIL);
		test_fails(s, FAKE_FAIL_DONE);
		test_killed(s, FAKE_KILL);
		test_killed(s, FAKE_KILL_DONE);
		test_undo_killed(s);
		test_dropped(s);
	}
	is_snapshot = false;
	test_refused();
	test_snapped();
	test_fits();
	test_ceph_csi();
	test_compared();
	free(take_ptr(&prepared));
	loop_fini();
	return tap_end();
}
