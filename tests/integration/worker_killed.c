/*
 * worker_killed.c - ceph-worker killed by SIGKILL at each state change of
 * CreateVolume, also from a volume, and of DeleteVolume with its purge: the next identical call
 * succeeds, the volume works, and in the end the pool holds exactly what it
 * held before.
 */
#include "tests/integration/ceph_support.h"
#include "tests/integration/worker_support.h"

#include <rados/librados.h>
#include <rbd/librbd.h>
#include <signal.h>
#include <sys/wait.h>

#define MIB (INT64_C(1) << 20)
#define STATES_MAX 200

static const char *fsid;
static struct ceph_pool *pool;
static struct dump before;

static void
start(struct talk *t, unsigned kill_at)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", kill_at);
	if (kill_at > 0)
		(void)setenv("RBD_CSI_TEST_KILL_AT", text, 1);
	else
		(void)unsetenv("RBD_CSI_TEST_KILL_AT");
	talk_start(t,
	    talk_program(kill_at > 0 ? "tests/integration/worker_hooked"
				     : "ceph-worker"),
	    &(struct talk_hello){ .lane_idle_ms = 0 });
	if (!t->ready) {
		printf("Bail out! a worker does not start\n");
		exit(1);
	}
}

static bool
was_killed(struct talk *t)
{
	bool killed;

	(void)talk_end(t);
	killed = WIFSIGNALED(t->status) && WTERMSIG(t->status) == SIGKILL;
	return killed;
}

static char *
create_from(struct talk *t, const char *name, const char *source,
    const struct talk_reply **reply)
{
	static const char *const params[] = {
		"csi.storage.k8s.io/pvc/name",
		"claim",
		NULL,
	};
	Csi__V1__CreateVolumeRequest *req = req_create(
	    name, fsid, "rbd", 16 * MIB, params);
	Csi__V1__CreateVolumeResponse *r;
	char *id = NULL;

	if (source != NULL)
		req->volume_content_source = req_source(false, source);
	r = talk_create(t, req, "", reply);
	if (r != NULL)
		id = str_dup(r->volume->volume_id);
	req_free(r);
	return id;
}

static char *
create(struct talk *t, const char *name, const struct talk_reply **reply)
{
	return create_from(t, name, NULL, reply);
}

static bool delete (struct talk *t, const char *volume)
{
	Csi__V1__DeleteVolumeRequest *r = req_delete(volume);
	const struct talk_reply *reply = talk_call(t, "DeleteVolume", r, "");

	req_free(r);
	if (reply != NULL && reply->code != 0)
		diag("DeleteVolume: %u %s", reply->code, reply->text);
	return reply != NULL && reply->code == 0;
}

/* Opens it as a client does, writes, and looks at the object map's flags. */
static bool
works(const char *volume)
{
	auto_free char *image = str_fmt(
	    "csi-vol-%s", volume + strlen(volume) - 36);
	uint64_t flags = 1;
	rbd_image_t open;
	int rc = rbd_open(pool->io, image, &open, NULL);

	if (rc < 0) {
		diag("open %s: %s", image, strerror(-rc));
		return false;
	}
	rc = (int)rbd_write(open, 5 * MIB, 3, "abc");
	if (rc == 3)
		rc = rbd_flush(open);
	(void)rbd_get_flags(open, &flags);
	(void)rbd_close(open);
	if (rc < 0 || flags != 0)
		diag("write to %s: %d, flags %d", image, rc, (int)flags);
	return rc >= 0 && flags == 0;
}

/* What works() has written to its source. */
static bool
has_data(const char *volume)
{
	auto_free char *image = str_fmt(
	    "csi-vol-%s", volume + strlen(volume) - 36);
	char got[4] = "";
	rbd_image_t open;

	if (rbd_open_read_only(pool->io, image, &open, NULL) < 0)
		return false;
	(void)rbd_read(open, 5 * MIB, 3, got);
	(void)rbd_close(open);
	return str_eq(got, "abc");
}

static bool
nothing_left(void)
{
	struct dump now, diff;
	bool same;

	dump_pool(pool, &now);
	dump_diff(&before, &now, &diff);
	same = diff.n == 0;
	for (size_t i = 0; i < diff.n && i < 20; i++)
		diag("%s", diff.line[i]);
	dump_free(&diff);
	dump_free(&now);
	return same;
}

/* ---- what ceph-csi would make of it, if it came now ---- */

/* The value of a key, or NULL. */
static char *
omap_value(const char *object, const char *key)
{
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t iter = NULL;
	char *found, *value, *copy = NULL;
	size_t len;
	int rval;

	rados_read_op_omap_get_vals_by_keys(op, &key, 1, &iter, &rval);
	if (rados_read_op_operate(op, pool->io, object, 0) == 0 &&
	    rados_omap_get_next(iter, &found, &value, &len) == 0 &&
	    found != NULL)
		copy = str_fmt("%.*s", (int)len, value);
	rados_omap_get_end(iter);
	rados_release_read_op(op);
	return copy;
}

/*
 * ceph-csi's CheckReservation: without a key the name is free. A key that
 * leads to an entry of another name, or of none, is an error for ever; one
 * whose image it cannot open is given up, and what there is of it leaks.
 */
static bool
ceph_csi_can_create(const char *name)
{
	auto_free char *key = str_fmt("csi.volume.%s", name);
	auto_free char *uuid = omap_value("csi.volumes.default", key);
	auto_free char *item = NULL, *volname = NULL, *image = NULL;
	auto_free char *want = NULL, *got = NULL;
	char id[RBD_ID_SIZE] = "";
	rbd_image_t open;

	if (uuid == NULL)
		return true;
	item = str_fmt("csi.volume.%s", uuid);
	volname = omap_value(item, "csi.volname");
	image = omap_value(item, "csi.imagename");
	want = omap_value(item, "csi.imageid");
	if (!str_eq(volname, name) || image == NULL ||
	    rbd_open_read_only(pool->io, image, &open, NULL) < 0) {
		diag("key %s, entry of %s, image %s", key,
		    volname != NULL ? volname : "-",
		    image != NULL ? image : "-");
		return false;
	}
	(void)rbd_get_id(open, id, sizeof(id));
	(void)rbd_close(open);
	return str_eq(want, id);
}

/* The state of the trash entry, or -1: there is none. */
static int
trash_state(const char *id)
{
	struct cls_call call = cls_call_str("trash_get", id);
	struct cls_trash_entry entry;
	char reply[1024];
	struct dec d;
	int rc = rados_exec(pool->io, RBD_TRASH, call.cls, call.method,
	    (char *)call.in.buf.data, call.in.buf.len, reply, sizeof(reply));

	enc_fini(&call.in);
	if (rc < 0)
		return -1;
	dec_init(&d, reply, (size_t)rc);
	return cls_parse_trash(d, &entry) == 0 ? (int)entry.state : -1;
}

/*
 * ceph-csi's DeleteVolume: the image is opened by its name, or looked for in
 * the trash and given to the manager, whose task fails for ever while the
 * entry is MOVING.
 */
static bool
ceph_csi_can_delete(const char *volume)
{
	auto_free char *item = str_fmt(
	    "csi.volume.%s", volume + strlen(volume) - 36);
	auto_free char *image = omap_value(item, "csi.imagename");
	auto_free char *id = omap_value(item, "csi.imageid");
	rbd_image_t open;
	int state;

	if (image == NULL)
		return true; /* no entry: deleted */
	if (rbd_open_read_only(pool->io, image, &open, NULL) == 0) {
		(void)rbd_close(open);
		return true;
	}
	state = trash_state(id);
	if (state == TRASH_MOVING || state == TRASH_RESTORING)
		diag("image %s, trash entry in state %d", image, state);
	return state != TRASH_MOVING && state != TRASH_RESTORING;
}

/* Deletes by a fresh worker, which also takes up what is noted. */
static bool
clean_up(const char *volume)
{
	struct talk t;
	bool good;

	start(&t, 0);
	good = delete (&t, volume);
	return talk_end(&t) && good; /* it ends after its purges */
}

/*
 * Kills a clone of a volume at the n-th state, and `whole` does the rest. There
 * are many, so they go all at once, in the end. False: it was over before.
 */
static bool
kill_clone(struct talk *whole, const char *source, unsigned n, char **volume)
{
	auto_free char *name = str_fmt("pvc-clone-%u", n);
	auto_free char *first = NULL;
	const struct talk_reply *reply;
	struct talk t;
	bool killed;

	start(&t, n);
	first = create_from(&t, name, source, &reply);
	killed = was_killed(&t);
	*volume = create_from(whole, name, source, &reply);
	if (*volume == NULL)
		diag("CreateVolume: %s", reply != NULL ? reply->text : "-");
	ok(*volume != NULL && (first == NULL || str_eq(first, *volume)) &&
		has_data(*volume) && ceph_csi_can_create(name),
	    "clone: %s state %u, made by the next call, with the data",
	    killed ? "killed at" : "over after", n);
	return killed;
}

static void
kill_clones(void)
{
	char *volume[STATES_MAX] = { NULL };
	auto_free char *source = NULL;
	const struct talk_reply *reply;
	struct talk t;
	bool good = true;
	unsigned n;

	start(&t, 0);
	source = create(&t, "pvc-source", &reply);
	if (!ok(source != NULL && works(source), "a volume to be cloned"))
		return;
	for (n = 1; n < STATES_MAX && kill_clone(&t, source, n, &volume[n]);
	     n++)
		;
	ok(n > 60 && n < STATES_MAX, "a clone has %u states", n - 1);
	for (unsigned i = 1; i <= n && i < STATES_MAX; i++) {
		good = good && volume[i] != NULL && delete (&t, volume[i]);
		free(volume[i]);
	}
	good = good && delete (&t, source);
	good = talk_end(&t) && good; /* it ends after its purges */
	ok(good && nothing_left(), "all are deleted without a trace");
}

/* Kills a creation at the n-th state; false: it was over before. */
static bool
kill_create(unsigned n)
{
	auto_free char *name = str_fmt("pvc-kill-%u", n);
	auto_free char *first = NULL, *volume = NULL;
	const struct talk_reply *reply;
	struct talk t;
	bool good;

	start(&t, n);
	first = create(&t, name, &reply);
	if (!was_killed(&t)) {
		good = first != NULL && clean_up(first) && nothing_left();
		ok(good,
		    "create: after %u states it is over, and can be undone", n);
		return false;
	}
	good = ceph_csi_can_create(name);
	start(&t, 0);
	volume = create(&t, name, &reply);
	good = good && volume != NULL &&
	    (first == NULL || str_eq(first, volume)) && works(volume);
	if (volume == NULL)
		diag("CreateVolume: %s", reply != NULL ? reply->text : "-");
	(void)talk_end(&t);
	if (volume != NULL)
		good = clean_up(volume) && good;
	ok(nothing_left() && good,
	    "create: killed at state %u, ceph-csi is not stuck, made by the "
	    "next call, deleted without a trace",
	    n);
	return true;
}

static bool
kill_delete(unsigned n)
{
	auto_free char *name = str_fmt("pvc-gone-%u", n);
	auto_free char *volume = NULL;
	Csi__V1__DeleteVolumeRequest *r;
	const struct talk_reply *reply;
	struct talk t;
	bool killed, good;

	start(&t, 0);
	volume = create(&t, name, &reply);
	(void)talk_end(&t);
	if (volume == NULL || !works(volume)) {
		ok(false, "delete: a volume to delete is made");
		return false;
	}
	start(&t, n);
	r = req_delete(volume);
	(void)talk_send(&t, "DeleteVolume", r, "");
	req_free(r);
	/* It may die after its answer, in the purge, which delays its end. */
	(void)talk_wait(&t, t.peer.last_id);
	killed = was_killed(&t);
	good = ceph_csi_can_delete(volume);
	good = clean_up(volume) && good;
	ok(nothing_left() && good,
	    "delete: %s state %u, ceph-csi is not stuck, finished by the next "
	    "call without a trace",
	    killed ? "killed at" : "not killed by", n);
	return killed;
}

int
main(void)
{
	struct ceph_connection *conn;
	auto_free char *volume = NULL;
	const struct talk_reply *reply;
	struct talk t;
	unsigned n;

	conn = support_connect();
	pool = support_pool(conn, "rbd", "");
	fsid = conn->fsid;

	/* The first volume makes the objects that stay. */
	start(&t, 0);
	volume = create(&t, "pvc-first", &reply);
	(void)talk_end(&t);
	if (!ok(volume != NULL && clean_up(volume), "a volume comes and goes"))
		return tap_end();
	dump_pool(pool, &before);
	for (n = 1; n < STATES_MAX && kill_create(n); n++)
		;
	ok(n > 15 && n < STATES_MAX, "a creation has %u states", n - 1);
	for (n = 1; n < STATES_MAX && kill_delete(n); n++)
		;
	ok(n > 20 && n < STATES_MAX, "a deletion has %u states", n - 1);
	kill_clones();
	dump_free(&before);
	ceph_connection_close(conn);
	loop_fini();
	return tap_end();
}
