/*
 * killed_support.c - see killed_support.h.
 */
#include "tests/integration/killed_support.h"

#include "base/clock.h"
#include "csi/rpc.h"
#include "ctl/json_pb.h"
#include "tests/integration/worker_hooked.h"

#include <rados/librados.h>
#include <rbd/librbd.h>
#include <signal.h>
#include <sys/wait.h>

#define WRITES_MAX 80
#define ACTS_MAX (2 * WRITES_MAX)
#define FLATTENED_MS 60000
#define STOPPED_MS 120000
#define MAKER "t-killed-maker"

const char *killed_fsid;
struct ceph_pool *killed_pool, *killed_other;

static struct ceph_connection *conn;
static struct dump before;
static struct talk whole; /* the worker that lives */
static char *maker_key;
static const char *only; /* this sweep, or NULL */

/* ---- workers ---- */

enum fate {
	FATE_LIVED = 0,
	FATE_ALONE,  /* killed, and nothing was sent beside that write */
	FATE_BESIDE, /* killed, and other writes were */
};

static void
start(struct talk *t, const struct sweep *sweep, const struct act *act)
{
	auto_free char *at = str_fmt("%u", act != NULL ? act->n : 0);

	(void)setenv("RBD_CSI_TEST_KILL_AT", at, 1);
	if (act != NULL && act->beside)
		(void)setenv("RBD_CSI_TEST_KILL_BESIDE", "1", 1);
	else
		(void)unsetenv("RBD_CSI_TEST_KILL_BESIDE");
	talk_start(t,
	    talk_program(act != NULL ? "tests/integration/worker_hooked"
				     : "ceph-worker"),
	    &(struct talk_hello){
		.user = MAKER,
		.key = maker_key,
		.depth_soft = act != NULL ? sweep->soft : 0,
	    });
	if (!t->ready) {
		printf("Bail out! a worker does not start: %s\n", t->text);
		exit(1);
	}
}

static enum fate
end(struct talk *t)
{
	(void)talk_end(t);
	if (WIFSIGNALED(t->status) && WTERMSIG(t->status) == SIGKILL)
		return FATE_ALONE;
	return WIFEXITED(t->status) && WEXITSTATUS(t->status) == KILLED_BESIDE
	    ? FATE_BESIDE
	    : FATE_LIVED;
}

static const struct csi_definition *
definition(const char *method)
{
	auto_free char *path = *method == '/'
	    ? str_dup(method)
	    : str_fmt("/csi.v1.Controller/%s", method);

	return csi_definition_find(path);
}

uint64_t
killed_send(struct talk *t, const char *method, const char *request)
{
	auto_json json_t *json = json_loads(request, 0, NULL);
	struct arena *arena = csi_arena_new();
	ProtobufCMessage *message;
	struct err err = ERR_INIT;
	uint64_t id;

	(void)json_object_set_new(json, "secrets",
	    json_pack("{s:s,s:s}", "userID", MAKER, "userKey", maker_key));
	message = json_pb_read(definition(method)->request, json, arena, &err);
	if (message == NULL) {
		printf("Bail out! %s: %s\n", err.text, request);
		exit(1);
	}
	id = talk_send(t, method, message, "");
	arena_free(arena);
	return id;
}

json_t *
killed_answer(struct talk *t, const char *method, uint64_t id)
{
	const struct talk_reply *reply = talk_wait(t, id);
	ProtobufCMessage *message;
	struct err err = ERR_INIT;
	json_t *answer = NULL;

	if (reply == NULL) {
		diag("%s: no answer", method);
		return NULL;
	}
	if (reply->code != 0) {
		diag("%s: %u %s", method, reply->code, reply->text);
		return NULL;
	}
	message = protobuf_c_message_unpack(
	    definition(method)->reply, NULL, reply->len, reply->body);
	if (message != NULL)
		answer = json_pb_write(message, &err);
	req_free(message);
	return answer;
}

static json_t *
call(struct talk *t, const char *method, const char *request)
{
	return killed_answer(t, method, killed_send(t, method, request));
}

bool
killed_ok(bool good, const char *name)
{
	return ok(good, "%s", name);
}

struct talk *
killed_talk(void)
{
	return &whole;
}

void
killed_start(struct talk *other)
{
	start(other, NULL, NULL);
}

void
killed_start_failing(struct talk *other, unsigned fail_at, unsigned again,
    unsigned kill_at, bool stop)
{
	static const struct sweep none = { .what = "" };
	auto_free char *at = str_fmt("%u", fail_at);
	auto_free char *more = str_fmt("%u", again);
	struct act act = { .n = kill_at };

	(void)setenv("RBD_CSI_TEST_FAIL_AT", at, 1);
	(void)setenv("RBD_CSI_TEST_FAIL_AGAIN", more, 1);
	if (stop)
		(void)setenv("RBD_CSI_TEST_STOP", "1", 1);
	start(other, &none, &act);
	(void)unsetenv("RBD_CSI_TEST_FAIL_AT");
	(void)unsetenv("RBD_CSI_TEST_FAIL_AGAIN");
	(void)unsetenv("RBD_CSI_TEST_STOP");
}

static bool
is_stopped(const struct talk *t)
{
	auto_free char *path = str_fmt(
	    "/proc/%d/stat", (int)peer_pid(&t->peer));
	FILE *f = fopen(path, "re");
	char state = '?';

	if (f == NULL)
		return false;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	(void)fclose(f);
	return state == 'T';
}

bool
killed_stopped(struct talk *other, uint64_t id)
{
	int64_t until = clock_now_ms() + STOPPED_MS;

	while (!is_stopped(other) && !other->gone && clock_now_ms() < until) {
		talk_turn(20);
		if (talk_answered(other, id) != NULL)
			return false;
	}
	return is_stopped(other);
}

void
killed_go_on(const struct talk *other)
{
	(void)kill(peer_pid(&other->peer), SIGCONT);
}

bool
killed_died(struct talk *other)
{
	return end(other) == FATE_ALONE;
}

json_t *
killed_call(const char *method, const char *request)
{
	return call(&whole, method, request);
}

bool
killed_succeeds(const char *method, char *request)
{
	auto_json json_t *reply = killed_call(method, request);

	free(request);
	return reply != NULL;
}

char *
killed_id(const json_t *reply, const char *of, const char *member)
{
	const char *id = json_get_string(json_object_get(reply, of), member);

	return id != NULL ? str_dup(id) : NULL;
}

/* ---- volumes ---- */

char *
killed_volume_request(const char *name, const char *more)
{
	return str_fmt(
	    "{\"name\":\"%s\",\"capacityRange\":{\"requiredBytes\":\"%lld\"},"
	    "\"volumeCapabilities\":[{\"mount\":{},\"accessMode\":{\"mode\":"
	    "\"SINGLE_NODE_WRITER\"}}],\"parameters\":{\"clusterID\":\"%s\","
	    "\"pool\":\"" KILLED_POOL "\","
	    "\"csi.storage.k8s.io/pvc/name\":\"claim\"%s}",
	    name, (long long)(8 * KILLED_MIB), killed_fsid, more);
}

char *
killed_volume(const char *name, const char *more)
{
	auto_free char *request = killed_volume_request(name, more);
	auto_json json_t *reply = killed_call("CreateVolume", request);
	char *id = killed_id(reply, "volume", "volumeId");

	if (id != NULL && !killed_works(killed_pool, id))
		free(take_ptr(&id));
	return id;
}

bool
killed_delete_volume(const char *id)
{
	return id != NULL &&
	    killed_succeeds(
		"DeleteVolume", str_fmt("{\"volumeId\":\"%s\"}", id));
}

static char *
image_of(const char *volume)
{
	return str_fmt("csi-vol-%s", volume + strlen(volume) - 36);
}

bool
killed_works(struct ceph_pool *pool, const char *volume)
{
	auto_free char *image = image_of(volume);
	uint64_t flags = 1;
	rbd_image_t open;
	int rc = rbd_open(pool->io, image, &open, NULL);

	if (rc < 0) {
		diag("open %s: %s", image, strerror(-rc));
		return false;
	}
	rc = (int)rbd_write(open, 5 * KILLED_MIB, 3, "abc");
	if (rc == 3)
		rc = rbd_flush(open);
	(void)rbd_get_flags(open, &flags);
	(void)rbd_close(open);
	if (rc < 0 || flags != 0)
		diag("write to %s: %d, flags %d", image, rc, (int)flags);
	return rc >= 0 && flags == 0;
}

bool
killed_has_data(struct ceph_pool *pool, const char *volume)
{
	auto_free char *image = image_of(volume);
	char got[4] = "";
	rbd_image_t open;

	if (rbd_open_read_only(pool->io, image, &open, NULL) < 0)
		return false;
	(void)rbd_read(open, 5 * KILLED_MIB, 3, got);
	(void)rbd_close(open);
	return str_eq(got, "abc");
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
	if (rados_read_op_operate(op, killed_pool->io, object, 0) == 0 &&
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
bool
ceph_csi_can_create(const char *name)
{
	auto_free char *key = str_fmt("csi.volume.%s", name);
	auto_free char *uuid = omap_value("csi.volumes.default", key);
	auto_free char *item = NULL, *volname = NULL, *image = NULL;
	auto_free char *want = NULL;
	char id[RBD_ID_SIZE] = "";
	rbd_image_t open;

	if (uuid == NULL)
		return true;
	item = str_fmt("csi.volume.%s", uuid);
	volname = omap_value(item, "csi.volname");
	image = omap_value(item, "csi.imagename");
	want = omap_value(item, "csi.imageid");
	if (!str_eq(volname, name) || image == NULL ||
	    rbd_open_read_only(killed_pool->io, image, &open, NULL) < 0) {
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
	int rc = rados_exec(killed_pool->io, RBD_TRASH, call.cls, call.method,
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
bool
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
	if (rbd_open_read_only(killed_pool->io, image, &open, NULL) == 0) {
		(void)rbd_close(open);
		return true;
	}
	state = trash_state(id);
	if (state == TRASH_MOVING || state == TRASH_RESTORING)
		diag("image %s, trash entry in state %d", image, state);
	return state != TRASH_MOVING && state != TRASH_RESTORING;
}

/* ---- sweeps ---- */

/* Does a note say that an image is to be flattened? */
static bool
has_flattens(void)
{
	rados_read_op_t op = rados_create_read_op();
	rados_omap_iter_t iter = NULL;
	unsigned char more;
	bool has;
	int rval;

	rados_read_op_omap_get_vals2(op, "", "", 10, &iter, &more, &rval);
	has = rados_read_op_operate(
		  op, killed_pool->io, "csi.flatten.default", 0) == 0 &&
	    rados_omap_iter_size(iter) > 0;
	rados_omap_get_end(iter);
	rados_release_read_op(op);
	return has;
}

/* Waits for what the call has begun to be flattened, or for its worker's death. */
static void
wait_for_flattens(struct talk *t)
{
	int64_t until = clock_now_ms() + FLATTENED_MS;

	do {
		talk_turn(20);
	} while (has_flattens() && !t->gone && clock_now_ms() < until);
}

/* Whether an audit finds nothing. */
static bool
audit(const char *pool)
{
	auto_free char *token = str_dup("");
	json_t *finding;
	bool clean = true;
	size_t i;

	for (;;) {
		auto_free char *request = str_fmt(
		    "{\"clusterId\":\"%s\",\"pool\":\"%s\",\"token\":\"%s\"}",
		    killed_fsid, pool, token);
		auto_json json_t *reply = killed_call(
		    "/rbdcsi.admin.v1.Admin/Audit", request);
		const char *next = json_get_string(reply, "nextToken");

		if (reply == NULL)
			return false;
		json_array_foreach (
		    json_object_get(reply, "findings"), i, finding) {
			auto_free char *text = json_dumps(finding, 0);

			diag("audit: %.300s", text);
			clean = false;
		}
		free(token);
		token = str_dup(next != NULL ? next : "");
		if (*token == '\0')
			return clean;
	}
}

/* Kills one call, and does it again. */
static enum fate
kill_one(const struct sweep *s, struct act *act)
{
	auto_json json_t *first = NULL, *again = NULL;
	auto_free char *request = NULL;
	struct talk t;
	enum fate fate;
	bool good;

	act->name = str_fmt(
	    "%s %u%s", s->what, act->n, act->beside ? " beside" : "");
	if (s->prepare != NULL && !s->prepare(act)) {
		ok(false, "%s: what it needs is made", act->name);
		return FATE_LIVED;
	}
	request = s->request(act);
	/* What is purged when it ends is not left to the one that is killed. */
	if (s->purges)
		(void)talk_end(&whole);
	start(&t, s, act);
	first = call(&t, s->method, request);
	if (s->soft > 0)
		wait_for_flattens(&t);
	fate = end(&t);
	act->flattens = s->soft > 0 && (has_flattens() || fate == FATE_LIVED);
	if (s->purges)
		start(&whole, NULL, NULL);
	if (act->beside && fate == FATE_ALONE)
		fate = FATE_BESIDE; /* the others had landed before */
	good = s->goes_on == NULL || s->goes_on(act);
	again = killed_call(s->method, request);
	if (s->soft > 0) {
		wait_for_flattens(&whole);
		good = audit(KILLED_POOL) && good;
	}
	good = again != NULL && (s->check == NULL || s->check(act, again)) &&
	    good;
	ok(good && (first == NULL || json_equal(first, again)),
	    "%s: %s write %u%s, done by the next call", s->what,
	    fate == FATE_LIVED ? "over before" : "killed at", act->n,
	    act->beside ? " with those beside it" : "");
	return fate;
}

/* A fresh worker takes up what others have left. */
static void
restart(void)
{
	(void)talk_end(&whole); /* it ends after its purges */
	start(&whole, NULL, NULL);
}

bool
killed_audit(void)
{
	return audit(KILLED_POOL) && audit(KILLED_OTHER);
}

static void
dump_all(struct dump *dump)
{
	dump_pool(killed_pool, dump);
	dump_add_pool(killed_other, dump);
}

/* Directories that a first entry has made stay, empty. */
static bool
is_empty_directory(const char *line)
{
	static const char *const names[] = { "csi.volumes.default",
		"csi.snaps.default", "csi.flatten.default", "rbd_directory",
		"rbd_trash", "rbd_children" };

	for (size_t i = 0; i < countof(names); i++) {
		auto_free char *end = str_fmt("/%s data = ", names[i]);

		if (str_ends(line, end))
			return true;
	}
	return false;
}

static bool
nothing_is_left(void)
{
	struct dump now;
	size_t kept = 0;
	bool same;

	dump_all(&now);
	for (size_t i = 0; i < now.n; i++) {
		bool known = false;

		for (size_t j = 0; j < before.n && !known; j++)
			known = str_eq(now.line[i], before.line[j]);
		if (known || !is_empty_directory(now.line[i]))
			now.line[kept++] = now.line[i];
		else
			free(now.line[i]);
	}
	now.n = kept;
	same = dump_same(&now, &before);
	dump_free(&now);
	return same;
}

void
killed_sweep(const struct sweep *s)
{
	static struct act acts[ACTS_MAX];
	enum fate fate = FATE_ALONE;
	int64_t from = clock_now_ms();
	bool good = true;
	unsigned n = 0;
	size_t count = 0;

	if (only != NULL && !str_eq(only, s->what))
		return;
	memset(acts, 0, sizeof(acts));
	for (n = 1; n <= WRITES_MAX && fate != FATE_LIVED; n++) {
		acts[count].n = n;
		fate = kill_one(s, &acts[count++]);
		if (fate == FATE_BESIDE) {
			acts[count].n = n;
			acts[count].beside = true;
			(void)kill_one(s, &acts[count++]);
		}
	}
	ok(n - 2 >= s->writes && n <= WRITES_MAX, "%s: of %u writes", s->what,
	    n - 2);
	restart();
	ok(talk_purged(&whole) && killed_audit(), "%s: an audit finds nothing",
	    s->what);
	for (size_t i = 0; i < count; i++) {
		if (!s->clean(&acts[i])) {
			diag("%s is not deleted", acts[i].name);
			good = false;
		}
		free(acts[i].name);
		free(acts[i].id);
		free(acts[i].of);
	}
	ok(good, "%s: all of it is deleted", s->what);
	diag("%s: %zu kills in %.1f s", s->what, count,
	    (double)(clock_now_ms() - from) / 1000);
}

/* ---- begin and end ---- */

static void
make_pools(void)
{
	support_make_pool(KILLED_POOL);
	support_make_pool(KILLED_OTHER);
	killed_pool = support_pool(conn, KILLED_POOL, "");
	killed_other = support_pool(conn, KILLED_OTHER, "");
}

void
killed_begin(char **argv)
{
	auto_free char *first = NULL, *snapshot = NULL, *request = NULL;
	auto_json json_t *reply = NULL;

	only = argv[1];
	conn = support_connect();
	killed_fsid = conn->fsid;
	make_pools();
	maker_key = support_sh_line(
	    "ceph auth get-or-create-key client." MAKER
	    " mon 'profile rbd, allow command \"auth get-or-create\""
	    ", allow command \"auth caps\", allow command \"auth rm\"' "
	    "osd 'profile rbd' mgr 'profile rbd' 2>/dev/null");
	start(&whole, NULL, NULL);
	/* The first ones make the objects that stay. */
	first = killed_volume("first", "}");
	request = str_fmt(
	    "{\"name\":\"first\",\"sourceVolumeId\":\"%s\"}", first);
	reply = killed_call("CreateSnapshot", request);
	snapshot = killed_id(reply, "snapshot", "snapshotId");
	ok(killed_succeeds("DeleteSnapshot",
	       str_fmt("{\"snapshotId\":\"%s\"}", snapshot)) &&
		killed_delete_volume(first),
	    "a volume and a snapshot come and go");
	restart();
	(void)talk_purged(&whole);
	dump_all(&before);
}

int
killed_end(void)
{
	auto_free char *user = NULL;

	ok(talk_end(&whole), "the worker ends");
	ok(nothing_is_left(), "nothing is left in the pools");
	user = support_sh_line(
	    "ceph auth ls 2>/dev/null | grep ^client.rbd-csi.");
	is_str(user, "", "nor is a user");
	(void)support_sh(true,
	    "for p in " KILLED_POOL " " KILLED_OTHER "; do "
	    "ceph osd pool rm $p $p --yes-i-really-really-mean-it; done; "
	    "ceph auth rm client." MAKER);
	free(maker_key);
	dump_free(&before);
	ceph_connection_close(conn);
	loop_fini();
	return tap_end();
}
