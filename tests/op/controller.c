/*
 * controller.c - the await sweep of the Controller RPCs: every wait of every
 * one fails once, loses its caller once and is the last one of its process
 * once, on a store that remembers.
 */
#include "tests/op/controller_run.h"

#include "admin.pb-c.h"
#include "base/log.h"
#include "ceph/auth.h"
#include "ceph/image.h"
#include "controller/controller.h"
#include "controller/purge.h"
#include "csi.pb-c.h"
#include "tests/definition.h"
#include "tests/tap.h"
#include "tests/waited.h"
#include "worker.pb-c.h"

#include <errno.h>
#include <sys/wait.h>

#define UUID_LEN 36
#define NAME "pvc-1"
#define STEPS_MAX 40

static void
create_of(int64_t bytes)
{
	Csi__V1__CreateVolumeRequest r = CSI__V1__CREATE_VOLUME_REQUEST__INIT;
	Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
	Csi__V1__VolumeCapability cap = CSI__V1__VOLUME_CAPABILITY__INIT;
	Csi__V1__VolumeCapability *caps[1] = { &cap };
	Csi__V1__VolumeCapability__AccessMode mode =
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__INIT;
	Csi__V1__VolumeCapability__BlockVolume block =
	    CSI__V1__VOLUME_CAPABILITY__BLOCK_VOLUME__INIT;
	Csi__V1__CreateVolumeRequest__ParametersEntry param[2] = {
		CSI__V1__CREATE_VOLUME_REQUEST__PARAMETERS_ENTRY__INIT,
		CSI__V1__CREATE_VOLUME_REQUEST__PARAMETERS_ENTRY__INIT,
	}, *params[2] = { &param[0], &param[1] };
	Csi__V1__CreateVolumeRequest__SecretsEntry secret[2] = {
		CSI__V1__CREATE_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
		CSI__V1__CREATE_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
	}, *secrets[2] = { &secret[0], &secret[1] };
	char text[8][16] = { "clusterID", "c", "pool", "rbd", "userID", "csi",
		"userKey", "k" };

	r.name = (char[]){ NAME };
	range.required_bytes = bytes;
	r.capacity_range = &range;
	mode.mode =
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER;
	cap.access_mode = &mode;
	cap.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK;
	cap.block = &block;
	r.volume_capabilities = caps;
	r.n_volume_capabilities = 1;
	for (int i = 0; i < 2; i++) {
		param[i].key = text[2 * i];
		param[i].value = text[2 * i + 1];
		secret[i].key = text[4 + 2 * i];
		secret[i].value = text[5 + 2 * i];
	}
	r.parameters = params;
	r.n_parameters = 2;
	r.secrets = secrets;
	r.n_secrets = 2;
	run("CreateVolume", &r);
}

static void
create(void)
{
	create_of(1 << 20);
}

static void delete (const char *volume_id)
{
	Csi__V1__DeleteVolumeRequest r = CSI__V1__DELETE_VOLUME_REQUEST__INIT;
	Csi__V1__DeleteVolumeRequest__SecretsEntry secret[2] = {
		CSI__V1__DELETE_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
		CSI__V1__DELETE_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
	}, *secrets[2] = { &secret[0], &secret[1] };
	char text[4][16] = { "userID", "csi", "userKey", "k" };
	auto_free char *id = str_dup(volume_id);

	r.volume_id = id;
	for (int i = 0; i < 2; i++) {
		secret[i].key = text[2 * i];
		secret[i].value = text[2 * i + 1];
	}
	r.secrets = secrets;
	r.n_secrets = 2;
	run("DeleteVolume", &r);
}

static void
create_step(const char *unused)
{
	(void)unused;
	create();
}

/* ---- what is to be left ---- */

#define EMPTY "csi.volumes.default"

static bool
is_empty(void)
{
	return str_eq(fake_store(), "") || str_eq(fake_store(), EMPTY);
}

/* The one volume, its entry complete, and nothing else. */
static bool
is_whole(void)
{
	const char *uuid = out.volume_id + strlen(out.volume_id) - UUID_LEN;
	auto_free char *item = NULL, *image = NULL, *key = NULL;
	const char *text = fake_store();

	if (strlen(out.volume_id) < UUID_LEN)
		return false;
	key = str_fmt("csi.volumes.default:csi.volume." NAME "=%s ", uuid);
	item = str_fmt("csi.volume.%s:csi.imagename=csi-vol-%s ", uuid, uuid);
	image = str_fmt("image:csi-vol-%s", uuid);
	/*
	 * Item object, its three attributes, directory, its key, image; a
	 * purge note would stand behind it.
	 */
	return strstr(text, key) != NULL && strstr(text, item) != NULL &&
	    strstr(text, ":csi.imageid=") != NULL &&
	    strstr(text, ":csi.volname=" NAME) != NULL &&
	    str_ends(text, image) && strstr(text, "(trash)") == NULL &&
	    strchr(strstr(text, "image:"), ' ') == NULL;
}

/* ---- CreateVolume ---- */

static const char fresh[] = "write-dir create write-item swap-dir";
static const char exists[] = "read-dir read-item lookup";

static void
test_create(void)
{
	char first[sizeof(out.volume_id)];

	fake_clear();
	begin();
	create();
	is_str(fake_log(), fresh, "a fresh volume takes these calls");
	ok(!err_is_set(&out.err) && is_whole(), "and is whole then");
	(void)snprintf(first, sizeof(first), "%s", out.volume_id);
	fake_script(FAKE_NONE, 0, 0);
	create();
	is_str(fake_log(), exists, "one that exists takes these");
	ok(!err_is_set(&out.err) && str_eq(out.volume_id, first),
	    "and has the same answer");
	create_of(2 << 20);
	ok(out.err.code == ERR_ALREADY_EXISTS && strstr(out.err.text, NAME),
	    "a larger size is ALREADY_EXISTS");
	end("create", 0);
	begin();
	create();
	is_str(fake_log(), "write-dir read-dir read-item lookup",
	    "a process that has not heard of it tries to reserve it first");
	ok(!err_is_set(&out.err) && str_eq(out.volume_id, first),
	    "and has the same answer, too");
	end("create", 0);
}

/* Another process deletes it between our reads of directory and entry. */
static void
test_create_against(void)
{
	char first[sizeof(out.volume_id)];

	fake_clear();
	begin();
	create();
	(void)snprintf(first, sizeof(first), "%s", out.volume_id);
	end("create", 0);
	begin();
	fake_before(3, fake_clear);
	create();
	is_str(fake_log(),
	    "write-dir read-dir read-item read-dir write-dir create write-item "
	    "swap-dir",
	    "an entry that is gone: the directory is read again");
	ok(is_whole() && !str_eq(out.volume_id, first),
	    "and what was deleted is made anew, under another UUID");
	end("create", 0);
}

/*
 * What a failure of the n-th wait makes of it. The store has done nothing of
 * the call that failed.
 */
static void
test_create_fails(void)
{
	static const char *const want[] = {
		"write-dir drop-dir",
		/* the mark goes beside the item */
		"write-dir create write-dir write-item remove-item drop-dir",
		"write-dir create write-item write-item swap-dir",
		"write-dir create write-item swap-dir write-dir move purge "
		"remove-item drop-dir",
	};
	/* It was committed: the mark is refused, and nothing is undone. */
	static const char stays[] = "write-dir create write-item swap-dir "
				    "write-dir";

	for (unsigned done = 0; done < 2; done++) {
		for (unsigned n = 1; n <= countof(want); n++) {
			fake_clear();
			begin();
			fake_script(done ? FAKE_FAIL_DONE : FAKE_FAIL, n, -EIO);
			create();
			is_str(fake_log(), done && n == 4 ? stays : want[n - 1],
			    "wait %u fails%s: these calls", n,
			    done ? " though it was done" : "");
			/* the third one is tried once more */
			ok(n == 3 ? !err_is_set(&out.err) && is_whole()
				  : out.err.code == ERR_INTERNAL &&
				    is_empty() != (done && n == 4),
			    "wait %u fails%s: nothing is left, or all is made",
			    n, done ? " though it was done" : "");
			fake_script(FAKE_NONE, 0, 0);
			create();
			ok(!err_is_set(&out.err) && is_whole(),
			    "wait %u fails%s: the next call makes it", n,
			    done ? " though it was done" : "");
			end("create", n);
		}
	}
}

/* The n-th wait fails, and the process dies in the undo of it. */
static void
test_create_undo_killed(void)
{
	for (unsigned n = 1; n <= 4; n++) {
		unsigned total;

		fake_clear();
		begin();
		fake_script(FAKE_FAIL, n, -EIO);
		create();
		total = fake_calls();
		end("create", n);
		for (unsigned m = n + 1; m <= total; m++) {
			int status;
			pid_t pid;

			fake_clear();
			pid = fork();
			if (pid == 0) {
				begin();
				fake_script(FAKE_FAIL, n, -EIO);
				fake_kill_at(m);
				create();
				_exit(0);
			}
			if (waitpid(pid, &status, 0) != pid)
				abort();
			begin();
			create();
			ok(!err_is_set(&out.err) && is_whole(),
			    "wait %u "
			    "fails, killed before call %u: the next call "
			    "makes it",
			    n, m);
			if (!is_whole())
				diag("%s: %s", out.err.text, fake_store());
			end("create", m);
		}
	}
}

static void
test_create_dropped(void)
{
	for (unsigned n = 1; n <= 4; n++) {
		bool stopped;

		fake_clear();
		begin();
		fake_script(FAKE_DROP, n, 0);
		create();
		stopped = out.err.code == ERR_CANCELLED;
		ok(stopped ? is_empty() && n == 1 : is_whole(),
		    "the caller leaves at wait %u: %s", n,
		    stopped ? "it stops, nothing is made"
			    : "it goes on to its end");
		end("create", n);
	}
}

static void
test_create_killed(enum fake_fault fault)
{
	const char *when = fault == FAKE_KILL ? "before" : "after";
	unsigned n;

	for (n = 1; n < STEPS_MAX; n++) {
		bool killed, good;

		fake_clear();
		killed = in_child(create_step, NULL, fault, n);
		begin();
		create();
		good = !err_is_set(&out.err) && is_whole();
		ok(good, "killed %s call %u: the next call makes it", when, n);
		if (!good)
			diag("%s: %s", out.err.text, fake_store());
		end("create", n);
		if (!killed)
			break;
	}
	is_int(n, 5, "a creation has 4 calls to be killed at");
}

/* What ceph-csi leaves when it is killed, and races with it. */
static void
test_create_repairs(void)
{
	static const char uuid[] = "11111111-2222-4333-8444-555555555555";
	static const char item[] =
	    "csi.volume.11111111-2222-4333-8444-555555555555";

	fake_clear();
	begin();
	fake_put_key("csi.volumes.default", "csi.volume." NAME, uuid);
	create();
	ok(is_whole() && str_ends(out.volume_id, uuid),
	    "a key without entry is completed with its UUID");
	end("repair", 0);

	fake_clear();
	begin();
	fake_put_key("csi.volumes.default", "csi.volume." NAME, uuid);
	fake_put_object(item);
	create();
	ok(is_whole() && str_ends(out.volume_id, uuid), "so is an empty entry");
	end("repair", 0);

	fake_clear();
	begin();
	fake_put_key("csi.volumes.default", "csi.volume." NAME, uuid);
	fake_put_key(item, "csi.volname", NAME);
	fake_put_key(item, "csi.imagename",
	    "csi-vol-11111111-2222-4333-8444-555555555555");
	fake_put_key(item, "csi.imageid", "gone");
	create();
	ok(is_whole() && !str_ends(out.volume_id, uuid),
	    "an entry whose image is gone is replaced");
	end("repair", 0);

	fake_clear();
	begin();
	fake_put_key("csi.volumes.default", "csi.volume." NAME, uuid);
	fake_put_key(item, "csi.volname", "pvc-2");
	create();
	ok(out.err.code == ERR_INTERNAL && strstr(out.err.text, "pvc-2"),
	    "an entry of another name is refused");
	end("repair", 0);

	fake_clear();
	begin();
	fake_put_key("csi.volumes.default", "csi.volume." NAME,
	    "0000000000000063/11111111-2222-4333-8444-555555555555");
	create();
	ok(is_whole(), "a key that points to a pool that is gone is dropped");
	end("repair", 0);
}

/* ---- DeleteVolume ---- */

static char volume[160];

/* A store with one volume; its ID is in `volume`. */
static void
prepare(void)
{
	fake_clear();
	begin();
	create();
	(void)snprintf(volume, sizeof(volume), "%s", out.volume_id);
	end("prepare", 0);
}

static void
test_delete(void)
{
	prepare();
	begin();
	delete (volume);
	is_str(fake_log(), "read-item move drop-dir remove-item purge",
	    "a deletion takes these calls");
	ok(!err_is_set(&out.err) && out.readied && is_empty(),
	    "and leaves nothing");
	fake_script(FAKE_NONE, 0, 0);
	delete (volume);
	is_str(fake_log(), "read-item lookup", "the second one takes these");
	ok(!err_is_set(&out.err) && out.readied, "and succeeds, too");
	delete ("no-volume-at-all");
	ok(!err_is_set(&out.err) && out.readied,
	    "an ID that is none is deleted");
	end("delete", 0);
}

static void
test_delete_fails(void)
{
	static const char *const want[] = {
		"read-item",
		"read-item move",
		"read-item move drop-dir drop-dir remove-item purge",
		"read-item move drop-dir remove-item",
	};

	for (unsigned done = 0; done < 2; done++) {
		for (unsigned n = 1; n <= countof(want); n++) {
			prepare();
			begin();
			fake_script(done ? FAKE_FAIL_DONE : FAKE_FAIL, n, -EIO);
			delete (volume);
			is_str(fake_log(), want[n - 1],
			    "deletion, wait %u fails%s: these calls", n,
			    done ? " though it was done" : "");
			is_int(out.err.code, n == 3 ? ERR_OK : ERR_INTERNAL,
			    "deletion, wait %u fails%s: so does the call, unless it is tried again",
			    n, done ? " though it was done" : "");
			end("delete", n);
			begin(); /* notes are taken up at a start */
			delete (volume);
			ok(!err_is_set(&out.err) && is_empty(),
			    "deletion, wait %u fails%s: the next call does "
			    "it",
			    n, done ? " though it was done" : "");
			if (!is_empty())
				diag("%s", fake_store());
			end("delete", n);
		}
	}
}

static void
test_delete_dropped(void)
{
	for (unsigned n = 1; n <= 4; n++) {
		bool stopped;

		prepare();
		begin();
		fake_script(FAKE_DROP, n, 0);
		delete (volume);
		stopped = out.err.code == ERR_CANCELLED;
		(void)snprintf(
		    out.volume_id, sizeof(out.volume_id), "%s", volume);
		ok(stopped ? is_whole() && n == 1 : is_empty(),
		    "deletion, the caller leaves at wait %u: %s", n,
		    stopped ? "it stops, nothing is done"
			    : "it goes on to its end");
		end("delete", n);
	}
}

static void
test_delete_killed(enum fake_fault fault)
{
	const char *when = fault == FAKE_KILL ? "before" : "after";
	unsigned n;

	for (n = 1; n < STEPS_MAX; n++) {
		bool killed;

		prepare();
		killed = in_child(delete, volume, fault, n);
		begin();
		delete (volume);
		ok(!err_is_set(&out.err) && is_empty(),
		    "deletion, killed %s "
		    "call %u: the next call does it",
		    when, n);
		if (!is_empty())
			diag("%s", fake_store());
		end("delete", n);
		if (!killed)
			break;
	}
	is_int(n, 6, "a deletion has 5 calls to be killed at");
}

static void
test_delete_refused(void)
{
	auto_free char *image = NULL;

	prepare();
	begin();
	image = str_fmt("csi-vol-%s", volume + strlen(volume) - UUID_LEN);
	fake_watch(image, "10.1.2.3:0/42");
	delete (volume);
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		strstr(out.err.text, "10.1.2.3:0/42") != NULL,
	    "a volume in use is refused, naming by whom");
	is_str(fake_log(), "read-item move lane-watchers",
	    "after a lane was asked");
	fake_script(FAKE_FAIL, 3, -EPIPE);
	delete (volume);
	is_int(out.err.code, ERR_FAILED_PRECONDITION,
	    "also if the lane cannot tell");
	fake_watch(image, NULL);
	end("delete", 0);

	prepare();
	begin();
	free(take_ptr(&image));
	image = str_fmt("csi-vol-%s", volume + strlen(volume) - UUID_LEN);
	fake_watch(image, "leaving");
	fake_script(FAKE_NONE, 0, 0);
	delete (volume);
	is_str(fake_log(),
	    "read-item move lane-watchers move drop-dir remove-item purge",
	    "whoever is gone when the lane asks is in nobody's way");
	ok(!err_is_set(&out.err) && is_empty(), "and it is deleted");
	end("delete", 0);

	prepare();
	begin();
	free(take_ptr(&image));
	image = str_fmt("csi-vol-%s", volume + strlen(volume) - UUID_LEN);
	fake_set_obstacle(image, IMAGE_JOURNALED);
	fake_script(FAKE_NONE, 0, 0);
	fake_watch(image, "10.1.2.3:0/42");
	delete (volume);
	is_int(out.err.code, ERR_FAILED_PRECONDITION,
	    "one for librbd is refused in use, too");
	fake_watch(image, NULL);
	fake_script(FAKE_NONE, 0, 0);
	delete (volume);
	is_str(fake_log(),
	    "read-item move lane-watchers lane-move "
	    "write-notes drop-dir remove-item purge lane-remove drop-notes",
	    "librbd deletes what we cannot");
	ok(!err_is_set(&out.err) && is_empty(), "and leaves nothing");
	end("delete", 0);
}

static const char *
image_of(const char *volume_id)
{
	static char text[96];

	(void)snprintf(text, sizeof(text), "csi-vol-%s",
	    volume_id + strlen(volume_id) - UUID_LEN);
	return text;
}

/* The key of its purge note. */
static const char *
note_of(const char *volume_id)
{
	static char text[96];
	const char *uuid = volume_id + strlen(volume_id) - UUID_LEN;

	(void)snprintf(text, sizeof(text), "csi.purge.default/%s%.2s",
	    uuid + UUID_LEN - 12, uuid);
	return text;
}

/* Name and id of the image disagree: nothing is destroyed or forgotten. */
static void
test_elsewhere(void)
{
	auto_free char *before = NULL;

	prepare();
	begin();
	fake_rename(image_of(volume), "kept");
	before = str_dup(fake_store());
	fake_script(FAKE_NONE, 0, 0);
	delete (volume);
	is_str(fake_log(), "read-item move", "a renamed image: deleted is");
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		strstr(out.err.text, "kept") && str_eq(fake_store(), before),
	    "nothing");
	create();
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		strstr(out.err.text, "kept") && str_eq(fake_store(), before),
	    "nor is it made anew");
	fake_put_image(image_of(volume));
	free(take_ptr(&before));
	before = str_dup(fake_store());
	delete (volume);
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		str_eq(fake_store(), before),
	    "nor when another image has its name");
	create();
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		str_eq(fake_store(), before),
	    "which is not taken for it");
	end("elsewhere", 0);

	prepare();
	begin();
	fake_trash(image_of(volume));
	free(take_ptr(&before));
	before = str_dup(fake_store());
	create();
	ok(out.err.code == ERR_FAILED_PRECONDITION &&
		str_eq(fake_store(), before),
	    "one that somebody put into the trash is not made anew");
	fake_put_key("rbd_trash", note_of(volume), image_of(volume));
	create();
	(void)fake_store();
	ok(!err_is_set(&out.err) && !str_eq(out.volume_id, volume),
	    "one whose deletion was cut off is");
	end("elsewhere", 0);

	prepare();
	begin();
	fake_trash(image_of(volume));
	delete (volume);
	ok(!err_is_set(&out.err) && is_empty(),
	    "one in the trash under its name and id is deleted");
	end("elsewhere", 0);
}

/* ceph-csi's helper goes with the clone, unless it is none. */
static void
test_helper(void)
{
	auto_free char *helper = NULL;

	prepare();
	begin();
	helper = str_fmt("%s-temp", image_of(volume));
	fake_put_image(helper);
	(void)fake_snapshot(helper, image_of(volume));
	fake_script(FAKE_NONE, 0, 0);
	delete (volume);
	is_str(fake_log(),
	    "read-item move drop-dir snaps unsnap move remove-item purge purge",
	    "a clone of ceph-csi's takes these calls");
	ok(!err_is_set(&out.err) && is_empty(), "and leaves nothing");
	end("helper", 0);

	prepare();
	begin();
	free(take_ptr(&helper));
	helper = str_fmt("%s-temp", image_of(volume));
	fake_put_image(helper);
	delete (volume);
	ok(!err_is_set(&out.err) && fake_has_image(helper, NULL) &&
		!fake_has_image(image_of(volume), NULL),
	    "a copy under the helper's name is not one");
	end("helper", 0);

	for (unsigned n = 1; n <= 8; n++) {
		prepare();
		free(take_ptr(&helper));
		helper = str_fmt("%s-temp", image_of(volume));
		fake_put_image(helper);
		fake_set_clone_of(image_of(volume), helper,
		    fake_snapshot(helper, image_of(volume)));
		(void)in_child(delete, volume, FAKE_KILL_DONE, n);
		begin();
		delete (volume);
		ok(!err_is_set(&out.err) && is_empty(),
		    "killed after call %u the next one takes it along", n);
		end("helper", n);
	}
}

/* Another process is at the same name and takes the reservation away. */
static void
test_overtaken(void)
{
	static const char uuid[] = "11111111-2222-4333-8444-555555555555";
	static const char image[] =
	    "csi-vol-11111111-2222-4333-8444-555555555555";

	fake_clear();
	begin();
	fake_put_key("csi.volumes.default", "csi.reserve." NAME, image);
	create();
	ok(is_whole() && str_ends(out.volume_id, uuid),
	    "a reservation is completed with its UUID");
	end("overtaken", 0);

	fake_clear();
	begin();
	fake_put_key("csi.volumes.default", "csi.reserve." NAME, "nonsense");
	create();
	is_int(out.err.code, ERR_DATA_LOSS, "one without a UUID is refused");
	end("overtaken", 0);
}

/* A purge that fails keeps its note for the next worker. */
static void
test_purge_later(void)
{
	prepare();
	begin();
	fake_script(FAKE_FAIL, 5, -EBUSY);
	delete (volume);
	ok(!err_is_set(&out.err) &&
		strstr(fake_store(), note_of(volume)) != NULL &&
		strstr(fake_store(), "image:(trash)") != NULL,
	    "a purge that fails does not fail the deletion");
	is_int(purge_running(), 0, "and waits for its next try");
	end("purge", 0);
	begin();
	ok(is_empty(), "the next worker takes it up by itself");
	end("purge", 0);
}

/* ---- ControllerPublishVolume, ControllerUnpublishVolume ---- */

static const char *node;
static bool own_user; /* cephxPerVolume */

static void
publish(const char *volume_id)
{
	Csi__V1__ControllerPublishVolumeRequest__VolumeContextEntry entry =
	    CSI__V1__CONTROLLER_PUBLISH_VOLUME_REQUEST__VOLUME_CONTEXT_ENTRY__INIT;
	Csi__V1__ControllerPublishVolumeRequest__VolumeContextEntry
	    *entries[] = { &entry };

	Csi__V1__ControllerPublishVolumeRequest r =
	    CSI__V1__CONTROLLER_PUBLISH_VOLUME_REQUEST__INIT;
	Csi__V1__VolumeCapability cap = CSI__V1__VOLUME_CAPABILITY__INIT;
	Csi__V1__VolumeCapability__AccessMode mode =
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__INIT;
	Csi__V1__VolumeCapability__BlockVolume block =
	    CSI__V1__VOLUME_CAPABILITY__BLOCK_VOLUME__INIT;
	auto_free char *id = str_dup(volume_id), *to = str_dup(node);

	mode.mode =
	    CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_WRITER;
	cap.access_mode = &mode;
	cap.access_type_case = CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK;
	cap.block = &block;
	r.volume_id = id;
	r.node_id = to;
	r.volume_capability = &cap;
	entry.key = (char[]){ "cephxPerVolume" };
	entry.value = (char[]){ "true" };
	r.volume_context = entries;
	r.n_volume_context = own_user ? 1 : 0;
	run("ControllerPublishVolume", &r);
}

static void
unpublish(const char *volume_id)
{
	Csi__V1__ControllerUnpublishVolumeRequest r =
	    CSI__V1__CONTROLLER_UNPUBLISH_VOLUME_REQUEST__INIT;
	auto_free char *id = str_dup(volume_id), *from = str_dup(node);

	r.volume_id = id;
	r.node_id = from;
	run("ControllerUnpublishVolume", &r);
}

/* Whether another node may have it: nobody's record is left. */
static bool
is_free(void)
{
	bool good;

	node = "node-b";
	publish(volume);
	good = !err_is_set(&out.err);
	unpublish(volume);
	good = good && !err_is_set(&out.err);
	node = "node-a";
	return good;
}

static void
test_publish(void)
{
	prepare();
	begin();
	node = "node-a";
	publish(volume);
	is_str(fake_log(), "read-item lookup meta-list meta-set",
	    "publishing takes these calls");
	ok(!err_is_set(&out.err) && out.readied, "and succeeds");
	fake_script(FAKE_NONE, 0, 0);
	publish(volume);
	is_str(fake_log(), "read-item lookup meta-list",
	    "the second one takes these");
	ok(!err_is_set(&out.err) && out.readied, "and succeeds, too");
	ok(!is_free() && out.readied, "no other node gets it meanwhile");
	fake_script(FAKE_NONE, 0, 0);
	unpublish(volume);
	is_str(fake_log(), "read-item meta-remove",
	    "unpublishing takes these calls");
	ok(is_free(), "another node gets it then");
	end("publish", 0);
}

/* The volume_context may not tell: a hand-written PV. */
static void
test_publish_encrypted(void)
{
	static const char *const keys[] = { "rbd.csi.ceph.com/encrypted",
		".rbd.csi.ceph.com/encrypted" };

	for (size_t i = 0; i < countof(keys); i++) {
		auto_free char *name = NULL;

		prepare();
		begin();
		name = str_fmt(
		    "csi-vol-%s", volume + strlen(volume) - UUID_LEN);
		fake_set_meta(name, keys[i], "encrypted");
		node = "node-a";
		publish(volume);
		ok(out.err.code == ERR_FAILED_PRECONDITION &&
			strstr(out.err.text, "encrypted") != NULL,
		    "an image that is encrypted is not published as a plain one");
		is_str(fake_log(), "read-item lookup meta-list",
		    "and nothing recorded");
		end("publish", 0);
	}
}

static void
test_publish_faults(void)
{
	static const enum fake_fault faults[] = {
		FAKE_FAIL,
		FAKE_FAIL_DONE,
		FAKE_DROP,
	};

	for (size_t i = 0; i < countof(faults); i++) {
		for (unsigned n = 1; n <= 4; n++) {
			prepare();
			begin();
			node = "node-a";
			fake_script(faults[i], n, -EIO);
			publish(volume);
			ok(faults[i] == FAKE_DROP ||
				(fake_calls() == n &&
				    out.err.code == ERR_INTERNAL),
			    "publishing, fault %zu at wait %u ends it there", i,
			    n);
			fake_script(FAKE_NONE, 0, 0);
			publish(volume);
			ok(!err_is_set(&out.err), "the next one succeeds");
			if (n <= 3) {
				fake_script(faults[i], n, -EIO);
				unpublish(volume);
				fake_script(FAKE_NONE, 0, 0);
			}
			unpublish(volume);
			ok(!err_is_set(&out.err) && is_free(),
			    "so does unpublishing, whatever went before");
			end("publish", n);
		}
	}
}

static void
test_publish_killed(void)
{
	node = "node-a";
	for (unsigned n = 1; n <= 4; n++) {
		bool good;

		prepare();
		(void)in_child(publish, volume, FAKE_KILL_DONE, n);
		begin();
		publish(volume);
		good = !err_is_set(&out.err);
		end("publish", n);
		(void)in_child(unpublish, volume, FAKE_KILL_DONE, n);
		begin();
		unpublish(volume);
		ok(good && !err_is_set(&out.err) && is_free(),
		    "publishing and unpublishing killed after call %u: the "
		    "next calls do it",
		    n);
		end("publish", n);
	}
}

/* ---- ControllerExpandVolume ---- */

static int64_t expand_to = 5 << 20, expand_limit;

static void
expand(const char *volume_id)
{
	Csi__V1__ControllerExpandVolumeRequest r =
	    CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__INIT;
	Csi__V1__CapacityRange range = CSI__V1__CAPACITY_RANGE__INIT;
	Csi__V1__ControllerExpandVolumeRequest__SecretsEntry
	    secret[2] = {
		    CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
		    CSI__V1__CONTROLLER_EXPAND_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
	    },
	    *secrets[2] = { &secret[0], &secret[1] };
	auto_free char *id = str_dup(volume_id);
	char text[4][16] = { "userID", "csi", "userKey", "k" };

	r.volume_id = id;
	range.required_bytes = expand_to;
	range.limit_bytes = expand_limit;
	r.capacity_range = &range;
	for (int i = 0; i < 2; i++) {
		secret[i].key = text[2 * i];
		secret[i].value = text[2 * i + 1];
	}
	r.secrets = secrets;
	r.n_secrets = 2;
	run("ControllerExpandVolume", &r);
}

/* Asked for once more there is nothing to be done but to tell of it. */
static bool
is_expanded(void)
{
	fake_script(FAKE_NONE, 0, 0);
	expand(volume);
	return !err_is_set(&out.err) && out.bytes == expand_to &&
	    out.needs_node && str_eq(fake_log(), "read-item lookup grow");
}

static void
test_expand(void)
{
	static const enum fake_fault faults[] = {
		FAKE_FAIL,
		FAKE_FAIL_DONE,
		FAKE_DROP,
	};

	prepare();
	begin();
	expand(volume);
	is_str(fake_log(), "read-item lookup meta-list grow",
	    "expanding takes these calls");
	ok(is_expanded(), "the second one finds it large enough");
	expand_to = 2 << 20;
	expand(volume);
	is_int(out.bytes, 5 << 20, "it does not shrink");
	expand_limit = 4 << 20;
	expand(volume);
	is_int(out.err.code, ERR_OUT_OF_RANGE, "nor may it be too large: %s",
	    out.err.text);
	expand_limit = 0;
	expand_to = 5 << 20;
	end("expand", 0);

	for (size_t i = 0; i < countof(faults); i++) {
		for (unsigned n = 1; n <= 4; n++) {
			prepare();
			begin();
			fake_script(faults[i], n, -EIO);
			expand(volume);
			ok(faults[i] == FAKE_DROP ||
				(fake_calls() == n &&
				    out.err.code == ERR_INTERNAL),
			    "expanding, fault %zu at wait %u", i, n);
			fake_script(FAKE_NONE, 0, 0);
			expand(volume);
			ok(!err_is_set(&out.err) && is_expanded(),
			    "the next one succeeds");
			end("expand", n);
		}
	}
	for (unsigned n = 1; n <= 4; n++) {
		prepare();
		(void)in_child(expand, volume, FAKE_KILL_DONE, n);
		begin();
		expand(volume);
		ok(!err_is_set(&out.err) && is_expanded(),
		    "expanding killed after call %u: the next call does it", n);
		end("expand", n);
	}
}

/* ---- ControllerModifyVolume ---- */

static void
modify(const char *volume_id)
{
	Csi__V1__ControllerModifyVolumeRequest r =
	    CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__INIT;
	Csi__V1__ControllerModifyVolumeRequest__MutableParametersEntry limit =
	    CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__MUTABLE_PARAMETERS_ENTRY__INIT;
	Csi__V1__ControllerModifyVolumeRequest__MutableParametersEntry
	    *limits[] = { &limit };
	Csi__V1__ControllerModifyVolumeRequest__SecretsEntry
	    secret[2] = {
		    CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
		    CSI__V1__CONTROLLER_MODIFY_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
	    },
	    *secrets[2] = { &secret[0], &secret[1] };
	auto_free char *id = str_dup(volume_id);
	char text[6][16] = { "baseIops", "100", "userID", "csi", "userKey",
		"k" };

	r.volume_id = id;
	limit.key = text[0];
	limit.value = text[1];
	r.mutable_parameters = limits;
	r.n_mutable_parameters = 1;
	for (int i = 0; i < 2; i++) {
		secret[i].key = text[2 + 2 * i];
		secret[i].value = text[3 + 2 * i];
	}
	r.secrets = secrets;
	r.n_secrets = 2;
	run("ControllerModifyVolume", &r);
}

/* Asked for once more there is nothing to be done: all of it is stored. */
static bool
is_modified(void)
{
	fake_script(FAKE_NONE, 0, 0);
	modify(volume);
	return !err_is_set(&out.err) && out.readied &&
	    str_eq(fake_log(), "read-item lookup meta-list");
}

static void
test_modify(void)
{
	static const enum fake_fault faults[] = {
		FAKE_FAIL,
		FAKE_FAIL_DONE,
		FAKE_DROP,
	};

	prepare();
	begin();
	modify(volume);
	is_str(fake_log(), "read-item lookup meta-list meta-set notify",
	    "modifying takes these calls");
	ok(!err_is_set(&out.err) && out.readied, "and succeeds");
	ok(is_modified(), "the second one finds all as it is to be");
	end("modify", 0);

	for (size_t i = 0; i < countof(faults); i++) {
		for (unsigned n = 1; n <= 5; n++) {
			prepare();
			begin();
			fake_script(faults[i], n, -EIO);
			modify(volume);
			ok(faults[i] == FAKE_DROP ||
				(n == 5 ? !err_is_set(&out.err)
					: fake_calls() == n &&
					    out.err.code == ERR_INTERNAL),
			    "modifying, fault %zu at wait %u", i, n);
			fake_script(FAKE_NONE, 0, 0);
			modify(volume);
			ok(!err_is_set(&out.err) && is_modified(),
			    "the next one succeeds");
			end("modify", n);
		}
	}
	for (unsigned n = 1; n <= 5; n++) {
		prepare();
		(void)in_child(modify, volume, FAKE_KILL_DONE, n);
		begin();
		modify(volume);
		ok(!err_is_set(&out.err) && is_modified(),
		    "modifying killed after call %u: the next call does it", n);
		end("modify", n);
	}
}

/* ---- the same with cephxPerVolume ---- */

/* Of the node. */
static const char *
user_of_volume(void)
{
	static char name[AUTH_USER_SIZE + 16];
	char hash[AUTH_NODE_SIZE], user[AUTH_USER_SIZE];

	auth_node_fmt(hash, node);
	auth_user_fmt(user, volume + strlen(volume) - UUID_LEN, hash);
	(void)snprintf(name, sizeof(name), "client.%s", user);
	return name;
}

static void
test_users(void)
{
	char first[32], image[80];

	prepare();
	begin();
	own_user = true;
	node = "node-a";
	publish(volume);
	is_str(fake_log(), "read-item lookup meta-list meta-set write-item mon",
	    "publishing with a user of its own takes these calls");
	ok(!err_is_set(&out.err) && fake_user(user_of_volume()) != NULL,
	    "the user is there then");
	is_str(out.key, "key of it", "and the node gets its key");
	(void)snprintf(first, sizeof(first), "%s", fake_user(user_of_volume()));
	fake_script(FAKE_NONE, 0, 0);
	publish(volume);
	is_str(fake_log(), "read-item lookup meta-list mon",
	    "the second one takes these");
	is_str(out.key, "key of it", "and gives the same key");

	(void)snprintf(image, sizeof(image), "csi-vol-%s",
	    volume + strlen(volume) - UUID_LEN);
	fake_put_image("parent");
	fake_set_parent(image, true);
	fake_set_parent_of(image, "parent");
	fake_script(FAKE_NONE, 0, 0);
	publish(volume);
	is_str(fake_log(), "read-item lookup meta-list lookup mon mon mon",
	    "when it has got a parent these, with the caps set anew");
	ok(!err_is_set(&out.err) && !str_eq(fake_user(user_of_volume()), first),
	    "and the user may read the parent");
	fake_set_parent(image, false);
	publish(volume);
	ok(!err_is_set(&out.err) && str_eq(fake_user(user_of_volume()), first),
	    "and no more when it has none");

	fake_script(FAKE_NONE, 0, 0);
	unpublish(volume);
	is_str(fake_log(), "read-item mon drop-item meta-remove",
	    "unpublishing takes these");
	ok(!err_is_set(&out.err) && fake_user(user_of_volume()) == NULL,
	    "and the user is gone");
	own_user = false;
	fake_script(FAKE_NONE, 0, 0);
	unpublish(volume);
	is_str(fake_log(), "read-item meta-remove",
	    "again, where it has no user, no monitor is asked");
	end("users", 0);
}

/* Nodes a and b have a user each; somebody has taken the record of a away. */
static void
publish_to_both(void)
{
	auto_free char *image = str_fmt(
	    "csi-vol-%s", volume + strlen(volume) - UUID_LEN);
	auto_free char *key = str_fmt(
	    ".rbd.csi.ceph.com/published/%s/node-a", fake_image_id(image));

	own_user = true;
	node = "node-a";
	publish(volume);
	fake_set_meta(image, key, NULL);
	node = "node-b";
	publish(volume);
	own_user = false;
}

static void
test_users_of_nodes(void)
{
	bool a, b;

	prepare();
	begin();
	publish_to_both();
	b = fake_user(user_of_volume()) != NULL;
	node = "node-a";
	a = fake_user(user_of_volume()) != NULL;
	ok(a && b, "two nodes have two users");
	unpublish(volume);
	a = fake_user(user_of_volume()) != NULL;
	node = "node-b";
	ok(!a && fake_user(user_of_volume()) != NULL,
	    "unpublishing one removes its user only");
	node = "node-a";
	own_user = true;
	publish_to_both();
	node = "";
	unpublish(volume);
	node = "node-a";
	a = fake_user(user_of_volume()) != NULL;
	node = "node-b";
	ok(!err_is_set(&out.err) && !a && fake_user(user_of_volume()) == NULL,
	    "unpublishing without a node removes both");
	publish_to_both();
	delete (volume);
	ok(!err_is_set(&out.err) && is_empty(),
	    "deleting a volume removes the users that are left");
	fake_put_key("users", "client.other", "caps");
	node = "node-b";
	fake_put_key("users", user_of_volume(), "caps");
	fake_script(FAKE_NONE, 0, 0);
	unpublish(volume);
	is_str(fake_log(), "read-item mon",
	    "without an entry the monitors are asked to remove the user");
	ok(!err_is_set(&out.err) && fake_user(user_of_volume()) == NULL &&
		fake_user("client.other") != NULL,
	    "which they do, and no other one");
	fake_script(FAKE_FAIL, 2, -EACCES);
	unpublish(volume);
	ok(!err_is_set(&out.err), "who may not remove any has made none");
	end("users", 0);
}

/* However it ends, unpublishing and deleting leave no user. */
static void
test_users_swept(void)
{
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_FAIL_DONE,
		FAKE_DROP, FAKE_KILL, FAKE_KILL_DONE };

	for (size_t i = 0; i < countof(faults); i++) {
		for (unsigned n = 1; n <= 6; n++) {
			bool killed = faults[i] >= FAKE_KILL, good;

			prepare();
			node = "node-a";
			own_user = true;
			if (killed)
				(void)in_child(publish, volume, faults[i], n);
			begin();
			fake_script(killed ? FAKE_NONE : faults[i], n, -EIO);
			publish(volume);
			good = killed || faults[i] == FAKE_DROP ||
			    out.err.code == ERR_INTERNAL;
			own_user = false;
			end("users", n);
			if (killed)
				(void)in_child(unpublish, volume, faults[i], n);
			begin();
			fake_script(killed ? FAKE_NONE : faults[i], n, -EIO);
			unpublish(volume);
			fake_script(FAKE_NONE, 0, 0);
			unpublish(volume);
			good = good && !err_is_set(&out.err) &&
			    fake_user(user_of_volume()) == NULL && is_free();
			publish_to_both();
			fake_script(killed ? FAKE_NONE : faults[i], n, -EIO);
			end("users", n);
			if (killed)
				(void)in_child(delete, volume, faults[i], n);
			begin();
			fake_script(killed ? FAKE_NONE : faults[i], n, -EIO);
			delete (volume);
			fake_script(FAKE_NONE, 0, 0);
			delete (volume);
			ok(good && !err_is_set(&out.err) && is_empty(),
			    "users, fault %zu at wait %u: none is left", i, n);
			end("users", n);
		}
	}
}

/* ---- a node that is out of service ---- */

static void
test_fence(void)
{
	static const char inherited[] =
	    ".rbd.csi.ceph.com/client/parent/node-a";
	char image[80], client[80], *ip;

	prepare();
	begin();
	(void)snprintf(image, sizeof(image), "csi-vol-%s",
	    volume + strlen(volume) - UUID_LEN);
	(void)snprintf(client, sizeof(client),
	    ".rbd.csi.ceph.com/client/%s/node-a", fake_image_id(image));
	ip = str_fmt(".rbd.csi.ceph.com/clientaddress/%s/node-a", volume);
	node = "node-a";
	publish(volume);
	fake_set_meta(image, inherited, "10.0.0.1:0/4");
	env.out_of_service = true;
	fake_script(FAKE_NONE, 0, 0);
	unpublish(volume);
	is_str(fake_log(), "read-item meta-list meta-remove",
	    "who has not staged it is not shut out, also if a parent's record is inherited");
	publish(volume);
	fake_set_meta(image, client, "10.0.0.1:0/5");
	fake_set_meta(image, ip, "10.0.0.1");
	fake_script(FAKE_FAIL, 3, -EIO);
	unpublish(volume);
	ok(err_is_set(&out.err) && fake_meta(image, client) != NULL &&
		!is_free(),
	    "without the fence the volume is not released");
	fake_script(FAKE_NONE, 0, 0);
	unpublish(volume);
	is_str(fake_log(), "read-item meta-list mon meta-remove",
	    "the fence goes before the records");
	is_str(fake_fenced("10.0.0.1:0/5"), "client",
	    "the client that was recorded is shut out");
	ok(fake_fenced("10.0.0.1/32") == NULL, "and nobody else of its node");
	env.out_of_service = false;
	ok(fake_meta(image, client) == NULL && fake_meta(image, ip) == NULL &&
		is_free(),
	    "and the volume is free");
	env.out_of_service = true;
	publish(volume);
	fake_set_meta(image, ip, "fd00::1");
	unpublish(volume);
	is_str(fake_fenced("fd00::1/128"), "range",
	    "by ceph-csi's record the IP address is");
	env.out_of_service = false;
	free(ip);
	end("fence", 0);
}

/* ---- Format: what nodes ask before and after mkfs ---- */

#define MARK ".rbd.csi.ceph.com/filesystem"

static char image_name[80]; /* of `volume` */

static void
format_step(bool begins)
{
	Worker__FormatRequest r = WORKER__FORMAT_REQUEST__INIT;
	char rbd[] = "rbd", ext4[] = "ext4";

	r.step = begins ? WORKER__FORMAT_REQUEST__STEP__BEGIN
			: WORKER__FORMAT_REQUEST__STEP__END;
	r.volume_id = volume;
	r.pool = rbd;
	r.image = image_name;
	r.fstype = ext4;
	run("Format", &r);
}

static void
format_begin(void)
{
	fake_script(FAKE_NONE, 0, 0);
	format_step(true);
}

static void
format_end(void)
{
	fake_script(FAKE_NONE, 0, 0);
	format_step(false);
}

/* BEGIN with the fault that the test has set. */
static void
format_cut_off(const char *unused)
{
	(void)unused;
	format_step(true);
}

/* A new volume, which a node has mapped. */
static void
prepare_format(void)
{
	prepare();
	(void)snprintf(image_name, sizeof(image_name), "csi-vol-%s",
	    volume + strlen(volume) - UUID_LEN);
	fake_watch(image_name, "a");
	begin();
}

static bool
is_refused(const char *words)
{
	bool good = out.err.code == ERR_FAILED_PRECONDITION &&
	    strstr(out.err.text, image_name) != NULL &&
	    strstr(out.err.text, words) != NULL;

	if (!good)
		diag("%s", out.err.text);
	return good;
}

/* The mark of an mkfs that has begun. */
static const char *
begun(void)
{
	static char mark[64];

	(void)snprintf(
	    mark, sizeof(mark), "unfinished %s", fake_image_id(image_name));
	return mark;
}

static void
test_format(void)
{
	prepare_format();
	format_begin();
	is_str(fake_log(), "lookup meta-list empty notify meta-add",
	    "BEGIN takes these calls");
	ok(!err_is_set(&out.err) && !out.again, "a fresh image is formatted");
	is_str(fake_meta(image_name, MARK), begun(), "it is marked");
	fake_fill(image_name, "there is data in it (object 0)");
	format_begin();
	is_str(fake_log(), "lookup meta-list notify",
	    "BEGIN after an mkfs that was cut off does not look at data");
	ok(!err_is_set(&out.err) && out.again, "it is formatted again");
	format_end();
	is_str(fake_log(), "lookup meta-set", "END takes these calls");
	is_str(fake_meta(image_name, MARK), "ext4", "it is marked");
	fake_fill(image_name, "");
	format_begin();
	ok(is_refused("ext4") && strstr(out.err.text, MARK " to \"unfinished "),
	    "an image that had a file system is refused, also when nothing "
	    "is in it, and the text says what a person can do");
	is_str(fake_meta(image_name, MARK), "ext4", "the mark stays");
	fake_set_meta(image_name, MARK, begun());
	format_begin();
	ok(!err_is_set(&out.err) && out.again, "and that works");
	end("format", 0);

	prepare_format();
	fake_fill(image_name, "there is data in it (object 33)");
	format_begin();
	ok(is_refused("object 33") && strstr(out.err.text, MARK),
	    "an image with data is refused, and how to format it is told");
	ok(fake_meta(image_name, MARK) == NULL, "it gets no mark");
	fake_fill(image_name, "");
	fake_watch(image_name, "a,b");
	format_begin();
	ok(is_refused("2 clients"), "one that two clients have open, too");
	fake_watch(image_name, "a");
	fake_set_parent(image_name, true);
	fake_set_meta(image_name, MARK, "unfinished 1234");
	fake_fill(image_name, "there is data in it (object 1)");
	format_begin();
	ok(is_refused("object 1"),
	    "a clone with its source's mark is looked into all the same");
	fake_fill(image_name, "");
	format_begin();
	ok(!err_is_set(&out.err) && !out.again &&
		str_eq(fake_meta(image_name, MARK), begun()),
	    "and formatted if it is empty: the mark becomes its own");
	fake_set_meta(image_name, MARK, NULL);
	fake_set_parent(image_name, false);
	fake_set_meta(
	    image_name, "rbd.csi.ceph.com/encrypted", "encryptionPrepared");
	format_begin();
	ok(is_refused("encrypted"), "one that ceph-csi is about to encrypt");
	end("format", 0);

	/* Another node was faster, between the proof and the mark. */
	prepare_format();
	fake_script(FAKE_FAIL, 5, -ECANCELED);
	format_step(true);
	is_int(out.err.code, ERR_ABORTED, "somebody else marks it meanwhile");
	end("format", 0);
}

static void
test_format_faults(void)
{
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_FAIL_DONE,
		FAKE_DROP };
	bool killed;

	for (size_t i = 0; i < countof(faults); i++) {
		for (unsigned n = 1; n <= 5; n++) {
			prepare_format();
			fake_script(faults[i], n, -EIO);
			format_step(true);
			ok(faults[i] == FAKE_DROP ||
				(fake_calls() == n &&
				    out.err.code == ERR_INTERNAL),
			    "BEGIN, fault %zu at wait %u ends it there", i, n);
			format_begin();
			ok(!err_is_set(&out.err), "the next one succeeds");
			end("format", n);
		}
		for (unsigned n = 1; n <= 2; n++) {
			prepare_format();
			fake_script(faults[i], n, -EIO);
			format_step(false);
			format_end();
			ok(!err_is_set(&out.err) &&
				str_eq(fake_meta(image_name, MARK), "ext4"),
			    "END, fault %zu at wait %u: the next one marks", i,
			    n);
			end("format", n);
		}
	}
	for (unsigned n = 1; n <= 5; n++) {
		prepare_format();
		end("format", n);
		killed = in_child(format_cut_off, NULL, FAKE_KILL_DONE, n);
		begin();
		format_begin();
		ok(killed && !err_is_set(&out.err) &&
			str_eq(fake_meta(image_name, MARK), begun()),
		    "BEGIN is killed after call %u: the next one succeeds", n);
		end("format", n);
	}
}

/* ---- Audit ---- */

#define LONE_UUID "11111111-2222-4333-8444-555555555555"
#define LONE_KEY "csi.volumes.default", "csi.volume.lone"
#define RESERVED "csi.volumes.default", "csi.reserve.left"

static void
audit(bool repair, const char *token)
{
	Rbdcsi__Admin__V1__AuditRequest r =
	    RBDCSI__ADMIN__V1__AUDIT_REQUEST__INIT;
	Rbdcsi__Admin__V1__AuditRequest__SecretsEntry secret[2] = {
		RBDCSI__ADMIN__V1__AUDIT_REQUEST__SECRETS_ENTRY__INIT,
		RBDCSI__ADMIN__V1__AUDIT_REQUEST__SECRETS_ENTRY__INIT,
	}, *secrets[2] = { &secret[0], &secret[1] };
	char text[4][16] = { "userID", "csi", "userKey", "k" };
	auto_free char *start = str_dup(token);

	r.cluster_id = (char[]){ "c" };
	r.pool = (char[]){ "rbd" };
	r.repair = repair;
	r.token = start;
	for (int i = 0; i < 2; i++) {
		secret[i].key = text[2 * i];
		secret[i].value = text[2 * i + 1];
	}
	r.secrets = secrets;
	r.n_secrets = 2;
	run("Audit", &r);
}

static void
test_audit(void)
{
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_FAIL_DONE,
		FAKE_DROP };
	static const char *const tokens[] = { "", "1", "2", "3", "4", "5", "6",
		"6=0/1", "7" };
	auto_free char *whole = NULL, *before = NULL;
	unsigned calls;

	fake_clear();
	begin();
	create();
	whole = str_dup(fake_store());
	for (size_t i = 0; i < countof(tokens); i++) {
		audit(true, tokens[i]);
		ok(!err_is_set(&out.err) && out.findings == 0 &&
			str_eq(out.token,
			    i + 1 == countof(tokens) ? "" : tokens[i + 1]),
		    "a healthy volume: page \"%s\" has nothing", tokens[i]);
	}
	audit(true, "x");
	is_int(out.err.code, ERR_INVALID_ARGUMENT, "a token is none of ours");
	audit(true, "6=1/1");
	is_int(out.err.code, ERR_INVALID_ARGUMENT, "nor is a slice too many");

	fake_put_key(LONE_KEY, LONE_UUID);
	fake_put_key(RESERVED, "csi-vol-" LONE_UUID);
	before = str_dup(fake_store());
	audit(false, "");
	ok(out.findings == 2 && out.repaired == 0 &&
		str_eq(fake_store(), before),
	    "a key and a reservation that lead to nothing are only told");
	fake_script(FAKE_NONE, 0, 0);
	audit(true, "");
	calls = fake_calls();
	ok(out.findings == 2 && out.repaired == 2 &&
		str_eq(fake_store(), whole),
	    "repair removes both, and nothing else");
	fake_put_key("csi.volume." LONE_UUID, "csi.volname", "left");
	fake_put_key(RESERVED, "csi-vol-" LONE_UUID);
	audit(true, "");
	ok(out.repaired == 1 && str_eq(fake_store(), whole),
	    "a reservation goes with its entry");
	fake_put_image("csi-vol-" LONE_UUID);
	fake_put_key(RESERVED, "csi-vol-" LONE_UUID);
	free(before);
	before = str_dup(fake_store());
	audit(true, "");
	ok(out.findings == 1 && out.repaired == 0 &&
		str_eq(fake_store(), before),
	    "but not while its image is there");
	end("audit", 0);

	for (size_t i = 0; i < countof(faults); i++) {
		for (unsigned n = 1; n <= calls; n++) {
			fake_clear();
			begin();
			create();
			free(whole);
			whole = str_dup(fake_store());
			fake_put_key(LONE_KEY, LONE_UUID);
			fake_put_key(RESERVED, "csi-vol-" LONE_UUID);
			fake_script(faults[i], n, -EIO);
			audit(true, "");
			ok(faults[i] == FAKE_DROP || err_is_set(&out.err),
			    "fault %zu at wait %u is told", i, n);
			fake_script(FAKE_NONE, 0, 0);
			audit(true, "");
			ok(!err_is_set(&out.err) && str_eq(fake_store(), whole),
			    "and the next one repairs");
			end("audit", n);
		}
	}
}

#define LONE_ITEM "csi.volume." LONE_UUID
#define LONE_USER "client.rbd-csi." LONE_UUID ".0123456789abcdef"

/* Of an entry that nothing leads to, and of a user without a volume. */
static void
put_strays(void)
{
	fake_put_key(LONE_ITEM, "csi.volname", "lone");
	fake_put_key("csi.snap.not-a-uuid", "csi.snapname", "lone");
	fake_put_key("users", LONE_USER, "caps");
}

static void
test_audit_strays(void)
{
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_FAIL_DONE,
		FAKE_DROP };
	static const char *const tokens[] = { "6=0/1", "7" };
	auto_free char *whole = NULL, *before = NULL;
	unsigned calls[2];

	fake_clear();
	begin();
	create();
	fake_put_key("csi.snap.not-a-uuid", "csi.snapname", "lone");
	fake_put_key("users", "client.other", "caps");
	whole = str_dup(fake_store());
	put_strays();
	for (size_t i = 0; i < countof(tokens); i++) {
		free(before);
		before = str_dup(fake_store());
		audit(false, tokens[i]);
		ok(out.findings == 1 && out.repaired == 0 &&
			str_eq(fake_store(), before),
		    "a stray of page %s is only told", tokens[i]);
		fake_script(FAKE_NONE, 0, 0);
		audit(true, tokens[i]);
		calls[i] = fake_calls();
		is_int(out.repaired, 1, "repair removes it");
	}
	is_str(fake_store(), whole, "and nothing else");
	fake_put_key(LONE_ITEM, "csi.volname", "lone");
	fake_put_key("csi.volumes.other", "csi.volume.lone", LONE_UUID);
	audit(true, "6");
	is_str(out.token, "6=0/1\nother", "another instance is found first");
	audit(true, out.token);
	ok(!err_is_set(&out.err) && out.findings == 0,
	    "whose entries are led to by its own directory");
	end("strays", 0);
	fake_clear();
	begin();
	fake_put_key(LONE_ITEM, "csi.volname", "lone");
	fake_put_key(
	    "csi.volumes.default", "csi.reserve.lone", "csi-vol-" LONE_UUID);
	audit(true, "6=0/1");
	is_int(out.findings, 0, "so is one of a creation that runs");
	end("strays", 0);
	fake_clear();
	begin();
	put_strays();
	fake_put_image("csi-vol-" LONE_UUID);
	free(before);
	before = str_dup(fake_store());
	audit(true, "6=0/1");
	ok(out.findings == 1 && out.repaired == 0,
	    "an entry whose image is there is told, and stays");
	fake_put_key(LONE_ITEM, "csi.volname", "lone");
	audit(true, "7");
	is_int(out.findings, 0, "a user whose volume has an entry is well");
	is_str(fake_store(), before, "nothing is changed");
	end("audit of strays", 0);

	for (size_t t = 0; t < countof(tokens); t++)
		for (size_t i = 0; i < countof(faults); i++)
			for (unsigned n = 1; n <= calls[t]; n++) {
				fake_clear();
				begin();
				create();
				if (t == 0)
					put_strays();
				else
					fake_put_key(
					    "users", LONE_USER, "caps");
				fake_script(faults[i], n, -EIO);
				audit(true, tokens[t]);
				ok(faults[i] == FAKE_DROP ||
					err_is_set(&out.err),
				    "page %s: fault %zu at wait %u is told",
				    tokens[t], i, n);
				fake_script(FAKE_NONE, 0, 0);
				audit(true, tokens[t]);
				audit(true, tokens[t]);
				ok(!err_is_set(&out.err) && out.findings == 0,
				    "and the next one repairs");
				end("audit of strays", n);
			}
}

/* ---- lists ---- */

#define SNAP_UUID "22222222-3333-4444-5555-666666666666"

static void
list_volumes(int32_t max, const char *token)
{
	Csi__V1__ListVolumesRequest r = CSI__V1__LIST_VOLUMES_REQUEST__INIT;

	r.max_entries = max;
	r.starting_token = (char *)(uintptr_t)token;
	run("ListVolumes", &r);
}

static void
list_health(void)
{
	Csi__V1__ControllerListVolumeHealthRequest r =
	    CSI__V1__CONTROLLER_LIST_VOLUME_HEALTH_REQUEST__INIT;

	run("ControllerListVolumeHealth", &r);
}

static void
list_snapshots(void)
{
	Csi__V1__ListSnapshotsRequest r = CSI__V1__LIST_SNAPSHOTS_REQUEST__INIT;

	run("ListSnapshots", &r);
}

/* A key, an entry and an image, as a volume or a snapshot has them. */
static void
put_item(const char *directory, const char *kind, const char *name,
    const char *uuid, const char *image)
{
	char object[96], key[96];

	(void)snprintf(object, sizeof(object), "%s.default", directory);
	(void)snprintf(key, sizeof(key), "%s.%s", kind, name);
	fake_put_key(object, key, uuid);
	(void)snprintf(object, sizeof(object), "%s.%s", kind, uuid);
	fake_put_key(object, "csi.imagename", image);
	if (str_eq(kind, "csi.snap"))
		fake_put_key(object, "csi.source", "csi-vol-" LONE_UUID);
	fake_put_image(image);
}

static void
test_lists(void)
{
	static void (*const lists[])(void) = { list_health, list_snapshots };
	static const enum fake_fault faults[] = { FAKE_FAIL, FAKE_DROP };
	char image[64], key[96];
	unsigned calls;

	fake_clear();
	begin();
	create();
	(void)snprintf(image, sizeof(image), "csi-vol-%s",
	    out.volume_id + strlen(out.volume_id) - UUID_LEN);
	put_item("csi.volumes", "csi.volume", "pvc-2", LONE_UUID, "img-2");
	put_item("csi.snaps", "csi.snap", "snap-1", SNAP_UUID, "img-s");
	fake_put_key("csi.volumes.default", "csi.reserve.pvc-0", "csi-vol-x");
	(void)snprintf(key, sizeof(key),
	    ".rbd.csi.ceph.com/published/%s/node-1", fake_image_id("img-2"));
	fake_set_meta("img-2", key, "rw");
	/* librbd copies those of an image to its clones */
	fake_set_meta(
	    "img-2", ".rbd.csi.ceph.com/published/parent/node-2", "rw");
	fake_script(FAKE_NONE, 0, 0);
	list_volumes(0, "");
	is_str(fake_log(), "read-dir read-item read-item summary place summary",
	    "a list reads a page, and of each volume entry and header");
	is_str(out.list, "pvc-1 1048576; " LONE_UUID " 1048576 node-1; ",
	    "and tells sizes and nodes, but nothing of reservations");
	list_volumes(1, "");
	is_str(out.list, "pvc-1 1048576; next v1.1.1.c.pvc-1",
	    "a short page has a token");
	list_volumes(1, "v1.1.1.c.pvc-1");
	is_str(
	    out.list, LONE_UUID " 1048576 node-1; ", "which leads to the rest");
	list_volumes(1, "v1.1.1.c.pvc-0-gone");
	is_str(out.list, "pvc-1 1048576; next v1.1.1.c.pvc-1",
	    "also when its volume is gone");
	list_volumes(9, "v1.2.1.c.x");
	is_str(out.list, "", "behind the last pool there is nothing");
	list_snapshots();
	is_str(out.list, SNAP_UUID " of " LONE_UUID " ready; ",
	    "a snapshot has its volume");
	fake_rename(image, "renamed");
	list_health();
	is_str(out.list, "pvc-1 ImageReplaced; " LONE_UUID "; ",
	    "health: whose image has another name");

	/* Each wait fails, or its caller leaves; nothing stays behind. */
	for (size_t l = 0; l < countof(lists); l++) {
		fake_script(FAKE_NONE, 0, 0);
		lists[l]();
		calls = fake_calls();
		ok(calls >= 3 && !err_is_set(&out.err), "list %zu", l);
		for (size_t i = 0; i < countof(faults); i++)
			for (unsigned n = 1; n <= calls; n++) {
				fake_script(faults[i], n, -EIO);
				lists[l]();
				ok(op_count() == 0 &&
					(faults[i] == FAKE_DROP ||
					    err_is_set(&out.err) || *out.list),
				    "list %zu: fault %zu at wait %u", l, i, n);
			}
	}
	end("lists", 0);
}

int
main(void)
{
	fake_init();
	if (loop_init() < 0)
		return 1;
	log_init("test", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	test_create();
	test_create_against();
	test_create_fails();
	test_create_undo_killed();
	test_create_dropped();
	test_create_killed(FAKE_KILL);
	test_create_killed(FAKE_KILL_DONE);
	test_create_repairs();
	test_delete();
	test_delete_fails();
	test_delete_dropped();
	test_delete_killed(FAKE_KILL);
	test_delete_killed(FAKE_KILL_DONE);
	test_delete_refused();
	test_elsewhere();
	test_helper();
	test_overtaken();
	test_purge_later();
	test_publish();
	test_publish_encrypted();
	test_publish_faults();
	test_publish_killed();
	test_expand();
	test_modify();
	test_users();
	test_users_of_nodes();
	test_users_swept();
	test_fence();
	test_format();
	test_format_faults();
	test_audit();
	test_audit_strays();
	test_lists();
	loop_fini();
	return tap_end();
}
