/*
 * Dispatch: joining, waiting, deadlines, detaching and the order of the
 * queue, with scripted calls, Node operations and sessions.
 */
#include "daemon/dispatch.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "csi.pb-c.h"
#include "daemon/sessions.h"
#include "tests/tap.h"

#include <errno.h>
#include <stdlib.h>

#define SECOND_MS 1000
#define ID "0001-0001-a-0000000000000002-11111111-2222-3333-4444-555555555555"

static int64_t now_ms = 1000000;

static void
turn(void)
{
	for (int i = 0; i < 6; i++)
		loop_turn(false);
}

static void
pass(int64_t ms)
{
	now_ms += ms;
	clock_fake(now_ms);
	turn();
}

/* ---- calls, in place of src/rpc ------------------------------------------ */

struct fake_call {
	struct call call; /* first member */
	unsigned char body[512];
	bool ended;
	enum err_code code;
	char text[ERR_TEXT_MAX];
	unsigned char reply[256];
	size_t reply_len;
	char note[600];
};

static void
end(struct call *call, enum err_code code, const char *text)
{
	struct fake_call *fake = (struct fake_call *)call;

	if (fake->ended)
		abort();
	fake->ended = true;
	fake->code = code;
	(void)snprintf(fake->text, sizeof(fake->text), "%s", text);
	(void)snprintf(fake->note, sizeof(fake->note), "%s",
	    call->note != NULL ? call->note : "");
	timer_stop(&call->timer);
	arena_free(call->arena);
	call->arena = NULL;
}

void
call_reply(struct call *call, const void *bytes, size_t len)
{
	struct fake_call *fake = (struct fake_call *)call;

	if (len > sizeof(fake->reply))
		abort();
	if (len > 0)
		memcpy(fake->reply, bytes, len);
	fake->reply_len = len;
	end(call, ERR_OK, "");
}

void
call_fail(struct call *call, enum err_code code, const char *text)
{
	end(call, code, text);
}

void
call_fail_err(struct call *call, const struct err *err)
{
	end(call, err->code, err->text);
}

struct arena *
call_arena(struct call *call)
{
	if (call->arena == NULL)
		call->arena = arena_new(1 << 20);
	return call->arena;
}

static void
on_deadline(struct timer *timer)
{
	struct call *call = container_of(timer, struct call, timer);

	call->gone(call, CALL_DEADLINE);
}

void
call_default_timeout(struct call *call, int64_t ms)
{
	if (call->deadline_ms == 0)
		call->deadline_ms = clock_now_ms() + ms;
	call->timer.fire = on_deadline;
	timer_start(&call->timer, call->deadline_ms - clock_now_ms());
}

/* Sends a packed message to `method`; the caller frees. */
static struct fake_call *
ask(const char *method, const void *message, int64_t timeout_ms)
{
	struct fake_call *fake = mem_new(sizeof(*fake));
	const struct csi_method *m = csi_method_by_name(method);

	fake->call.path = m != NULL ? m->path : method;
	if (message != NULL)
		fake->call.request_len = protobuf_c_message_pack(
		    message, fake->body);
	fake->call.request = fake->body;
	if (timeout_ms > 0)
		fake->call.deadline_ms = clock_now_ms() + timeout_ms;
	dispatch_call(&fake->call);
	return fake;
}

static void
leave(struct fake_call *fake)
{
	fake->call.gone(&fake->call, CALL_CANCELLED);
	timer_stop(&fake->call.timer);
	arena_free(fake->call.arena);
	fake->call.arena = NULL;
}

/* ---- Node operations ----------------------------------------------------- */

enum fake_state { FAKE_NEW = 0, FAKE_WOKEN };

struct fake_op {
	struct csi_rpc rpc;
	enum fake_state state;
};

#define REQUESTS_MAX 6

static struct fake_op *running[8]; /* in the order of their start */
static unsigned nrunning, nstarted;

static enum op_verdict
fake_step(struct op *op)
{
	struct fake_op *f = (struct fake_op *)op;

	switch (f->state) {
	case FAKE_NEW:
		nstarted++;
		running[nrunning++] = f;
		return op_await(f, FAKE_WOKEN);
	case FAKE_WOKEN:
		if (op->detached)
			op_set_error(op, ERR_CANCELLED, "stopped early");
		else if (op->rc < 0)
			op_set_error_rc(op, op->rc, "unmap");
		else
			f->rpc.reply = csi_new(
			    f->rpc.method->reply, f->rpc.arena);
		return OP_DONE;
	}
	abort();
}

static const struct op_class fake_class = {
	.name = "fake",
	.step = fake_step,
	.free = csi_rpc_free,
};

static const struct csi_impl impls[] = {
	{ "NodeUnstageVolume", &fake_class, sizeof(struct fake_op) },
	{ "NodeUnpublishVolume", &fake_class, sizeof(struct fake_op) },
};

/* Ends the oldest running operation. */
static void
finish(int rc)
{
	struct fake_op *f = running[0];

	memmove(running, running + 1, --nrunning * sizeof(running[0]));
	op_wake(&f->rpc.op, rc);
	turn();
}

/* ---- sessions ------------------------------------------------------------ */

static struct session_call *open_call;
static unsigned ncancelled, ncalls;

void
sessions_call_start(
    struct session_call *call, const struct session_key *key, struct op *waiter)
{
	ncalls++;
	ok(str_eq(key->cluster_id, "a") && str_eq(key->monitors, "m:1") &&
		str_eq(key->user, "u") && str_eq(key->key->text, "k"),
	    "the session is that of the cluster, the user and the key");
	call->session = (struct session *)1;
	call->waiter = waiter;
	call->sent = true;
	open_call = call;
}

void
sessions_call_cancel(struct session_call *call)
{
	(void)call;
	ncancelled++;
}

void
sessions_call_where(const struct session_call *call, char *buf, size_t size)
{
	(void)call;
	(void)snprintf(buf, size, "in state FAR_AWAY for 3 s");
}

static void
session_answer(enum err_code code, const char *reply)
{
	struct session_call *call = open_call;

	if (code != ERR_OK) {
		(void)err_set(&call->err, code, "%s", reply);
	} else {
		call->reply = (unsigned char *)str_dup(reply);
		call->reply_len = strlen(reply);
	}
	call->session = NULL;
	open_call = NULL;
	op_wake(call->waiter, call->err.rc);
	turn();
}

/* ---- requests ------------------------------------------------------------ */

static struct fake_call *
unstage(const char *path, int64_t timeout_ms)
{
	Csi__V1__NodeUnstageVolumeRequest m =
	    CSI__V1__NODE_UNSTAGE_VOLUME_REQUEST__INIT;
	static char id[] = ID;

	m.volume_id = id;
	m.staging_target_path = (char *)(uintptr_t)path;
	return ask("NodeUnstageVolume", &m, timeout_ms);
}

static char user_key[] = "userID", user[] = "u", key_key[] = "userKey",
	    key[] = "k";

static struct fake_call *
delete_volume(const char *id, bool secrets, int64_t timeout_ms)
{
	Csi__V1__DeleteVolumeRequest m = CSI__V1__DELETE_VOLUME_REQUEST__INIT;
	Csi__V1__DeleteVolumeRequest__SecretsEntry
	    e[2] = { CSI__V1__DELETE_VOLUME_REQUEST__SECRETS_ENTRY__INIT,
		    CSI__V1__DELETE_VOLUME_REQUEST__SECRETS_ENTRY__INIT },
	    *list[2] = { &e[0], &e[1] };

	e[0].key = user_key;
	e[0].value = user;
	e[1].key = key_key;
	e[1].value = key;
	m.volume_id = (char *)(uintptr_t)id;
	m.secrets = list;
	m.n_secrets = secrets ? 2 : 1;
	return ask("DeleteVolume", &m, timeout_ms);
}

static void
start(bool controller, bool node, const struct config *config)
{
	const struct dispatch_setup setup = {
		.identity = { .driver_name = "rbd.csi.ceph.com",
		    .node_id = "node-1",
		    .controller = controller,
		    .node = node },
		.requests = { .config = config,
		    .node = impls,
		    .node_count = countof(impls),
		    .slow_ms = 20 * SECOND_MS,
		    .max = REQUESTS_MAX },
	};

	dispatch_init(&setup);
	nrunning = nstarted = ncalls = ncancelled = 0;
}

static void
stop(const char *what)
{
	turn();
	is_int(requests_running(), 0, "%s: nothing runs any more", what);
	dispatch_fini();
}

/* ---- tests --------------------------------------------------------------- */

static void
test_join(void)
{
	struct fake_call *call[5];

	start(true, true, NULL);
	for (int i = 0; i < 5; i++) {
		call[i] = unstage("/s", 10 * SECOND_MS);
		turn();
	}
	is_int(nstarted, 1, "five identical calls are one execution");
	finish(0);
	for (int i = 0; i < 5; i++)
		ok(call[i]->ended && call[i]->code == ERR_OK &&
			call[i]->reply_len == call[0]->reply_len,
		    "call %d has the answer", i);
	for (int i = 0; i < 5; i++)
		free(call[i]);
	call[0] = unstage("/s", 10 * SECOND_MS);
	turn();
	is_int(nstarted, 2, "the next one after the end runs anew");
	ok(strstr(call[0]->note, "joined") == NULL && !call[0]->ended,
	    "and has its own answer");
	finish(-EBUSY);
	ok(call[0]->code != ERR_OK && strstr(call[0]->text, "unmap") != NULL,
	    "an error has its text: %s", call[0]->text);
	ok(strstr(call[0]->note, "states=FAKE_WOKEN") != NULL,
	    "the log tells the states: %s", call[0]->note);
	free(call[0]);
	stop("join");
}

static void
test_wait(void)
{
	struct fake_call *a, *b, *c;

	start(true, true, NULL);
	a = unstage("/a", 60 * SECOND_MS);
	turn();
	b = unstage("/b", 12 * SECOND_MS);
	c = unstage("/c", 60 * SECOND_MS);
	turn();
	is_int(nstarted, 1, "different requests wait for the volume");
	pass(12 * SECOND_MS);
	ok(b->ended && b->code == ERR_ABORTED, "until their own deadline");
	is_str(b->text,
	    "operation NodeUnstageVolume on volume " ID
	    " running for 12 s (in state FAKE_WOKEN for 12 s)",
	    "and then ABORTED names what is in the way, and its age");
	ok(!a->ended && !c->ended, "the others go on");
	free(b);
	b = unstage("/c", 60 * SECOND_MS);
	finish(0);
	ok(a->ended && a->code == ERR_OK, "the first one ends");
	is_int(nstarted, 2, "the next in the queue runs");
	finish(0);
	ok(c->ended && b->ended && b->code == ERR_OK,
	    "and who joined it while it waited has its answer too");
	is_int(nstarted, 2, "in one execution");
	free(a);
	free(b);
	free(c);
	stop("wait");
}

static struct fake_call *
unpublish(const char *path)
{
	Csi__V1__NodeUnpublishVolumeRequest m =
	    CSI__V1__NODE_UNPUBLISH_VOLUME_REQUEST__INIT;
	static char id[] = ID;

	m.volume_id = id;
	m.target_path = (char *)(uintptr_t)path;
	return ask("NodeUnpublishVolume", &m, 60 * SECOND_MS);
}

/* As a client does that resets each stream as soon as it is open. */
static void
test_limit(void)
{
	static const char *const path[REQUESTS_MAX] = { "/0", "/1", "/2", "/3",
		"/4", "/5" };
	struct fake_call *call, *joined;

	start(true, true, NULL);
	for (int i = 0; i < REQUESTS_MAX; i++) {
		call = unpublish(path[i]);
		turn();
		leave(call);
		free(call);
	}
	is_int(requests_running(), REQUESTS_MAX,
	    "executions go on though their callers have gone");
	call = unpublish("/one-more");
	turn();
	ok(call->ended && call->code == ERR_UNAVAILABLE,
	    "one more than the limit is refused: %s", call->text);
	is_str(call->text, "6 requests are running, which is the limit",
	    "and told why");
	free(call);
	is_int(nstarted, REQUESTS_MAX, "and starts nothing");
	joined = unpublish(path[0]);
	turn();
	ok(!joined->ended, "a retry joins what runs, limit or not");
	finish(0);
	ok(joined->ended && joined->code == ERR_OK, "and has its answer");
	free(joined);
	call = unpublish("/one-more");
	turn();
	ok(!call->ended, "there is room again when one has ended");
	while (nrunning > 0)
		finish(0);
	ok(call->ended && call->code == ERR_OK, "and it runs to its end");
	free(call);
	stop("limit");
}

static void
test_order(void)
{
	static const char *const path[] = { "/0", "/1", "/2", "/3" };
	struct fake_call *call[4];

	start(true, true, NULL);
	for (int i = 0; i < 4; i++)
		call[i] = unstage(path[i], 60 * SECOND_MS);
	for (int i = 0; i < 4; i++) {
		turn();
		is_int(nrunning, 1, "one at a time");
		ok(!call[i]->ended && (i == 0 || call[i - 1]->ended),
		    "number %d is next", i);
		finish(0);
	}
	for (int i = 0; i < 4; i++)
		free(call[i]);
	stop("order");
}

static void
test_detach(void)
{
	struct fake_call *a, *b;

	start(true, true, NULL);
	a = unstage("/s", 10 * SECOND_MS);
	turn();
	pass(10 * SECOND_MS);
	ok(a->ended && a->code == ERR_DEADLINE_EXCEEDED,
	    "a caller gets its deadline while the operation runs");
	ok(strstr(a->text,
	       "NodeUnstageVolume on volume " ID
	       " running for 10 s: in state FAKE_WOKEN for 10 s") != NULL,
	    "with state and age: %s", a->text);
	free(a);
	a = unstage("/other", 5 * SECOND_MS);
	b = unstage("/s", 30 * SECOND_MS);
	turn();
	pass(5 * SECOND_MS);
	is_int(a->code, ERR_ABORTED, "the lock stays with it");
	free(a);
	is_int(nstarted, 1, "a retry joins it");
	finish(0);
	ok(b->ended && b->code == ERR_OK, "and gets its answer");
	free(b);

	/* Nobody asks again: told to stop, then somebody asks all the same. */
	a = unstage("/s", 10 * SECOND_MS);
	turn();
	leave(a);
	free(a);
	pass(29 * SECOND_MS);
	ok(!running[0]->rpc.op.detached, "it goes on unasked for a while");
	pass(2 * SECOND_MS);
	ok(running[0]->rpc.op.detached, "and is told then");
	a = unstage("/s", 10 * SECOND_MS);
	turn();
	finish(0);
	is_int(nrunning, 1, "stopped early and wanted again: it runs again");
	ok(!a->ended, "for the caller that came late");
	finish(0);
	ok(a->ended && a->code == ERR_OK, "which gets a real answer");
	free(a);

	/* Nobody comes back. */
	a = unstage("/s", 10 * SECOND_MS);
	turn();
	leave(a);
	free(a);
	pass(31 * SECOND_MS);
	finish(0);
	stop("detach");
}

static void
test_leave_queue(void)
{
	struct fake_call *a, *b;

	start(true, true, NULL);
	a = unstage("/a", 60 * SECOND_MS);
	b = unstage("/b", 60 * SECOND_MS);
	turn();
	leave(b);
	free(b);
	turn();
	is_int(requests_running(), 1,
	    "a request that waits for the lock goes with its last caller");
	finish(0);
	is_int(nstarted, 1, "and never runs");
	free(a);
	stop("leave");
}

static void
test_refused(void)
{
	struct fake_call *a;

	start(false, true, NULL);
	a = ask("/csi.v1.Node/Frobnicate", NULL, 0);
	ok(a->code == ERR_UNIMPLEMENTED, "unknown method: %s", a->text);
	free(a);
	a = ask("ListVolumes", NULL, 0);
	ok(a->code == ERR_UNIMPLEMENTED, "known, not served: %s", a->text);
	free(a);
	a = ask("ControllerGetCapabilities", NULL, 0);
	is_str(a->text,
	    "ControllerGetCapabilities: this process does not "
	    "serve the Controller service",
	    "a service that is switched off");
	free(a);
	a = ask("NodeStageVolume", NULL, 0);
	ok(a->code == ERR_UNIMPLEMENTED, "no implementation: %s", a->text);
	free(a);
	a = ask("NodeUnstageVolume", NULL, 0);
	ok(a->code == ERR_INVALID_ARGUMENT, "validation: %s", a->text);
	free(a);
	stop("refused");

	start(true, false, NULL);
	a = ask("NodeGetInfo", NULL, 0);
	ok(a->code == ERR_UNIMPLEMENTED, "no Node service: %s", a->text);
	free(a);
	a = ask("NodeGetCapabilities", NULL, 0);
	ok(a->code == ERR_OK, "but its capabilities, for external-resizer");
	free(a);
	stop("refused");
}

static void
test_instant(void)
{
	Csi__V1__GetPluginInfoResponse *info;
	Csi__V1__GetPluginCapabilitiesResponse *caps;
	Csi__V1__NodeGetInfoResponse *node;
	struct fake_call *a;

	start(true, true, NULL);
	a = ask("GetPluginInfo", NULL, 0);
	info = csi__v1__get_plugin_info_response__unpack(
	    NULL, a->reply_len, a->reply);
	is_str(info->name, "rbd.csi.ceph.com", "GetPluginInfo: the name");
	ok(*info->vendor_version != '\0', "GetPluginInfo: a version");
	csi__v1__get_plugin_info_response__free_unpacked(info, NULL);
	free(a);
	a = ask("GetPluginCapabilities", NULL, 0);
	caps = csi__v1__get_plugin_capabilities_response__unpack(
	    NULL, a->reply_len, a->reply);
	is_int(caps->n_capabilities, 1, "CONTROLLER_SERVICE and nothing else");
	csi__v1__get_plugin_capabilities_response__free_unpacked(caps, NULL);
	free(a);
	a = ask("NodeGetInfo", NULL, 0);
	node = csi__v1__node_get_info_response__unpack(
	    NULL, a->reply_len, a->reply);
	is_str(node->node_id, "node-1", "NodeGetInfo: the name of the node");
	csi__v1__node_get_info_response__free_unpacked(node, NULL);
	free(a);
	a = ask("Probe", NULL, 0);
	ok(a->code == ERR_OK && a->reply_len == 0, "Probe");
	free(a);
	stop("instant");
}

static void
test_controller(void)
{
	char path[] = "/tmp/rbd-csi-dispatch.XXXXXX";
	int fd = mkstemp(path);
	struct config *config;
	struct fake_call *a, *b;

	if (dprintf(fd, "[{\"clusterID\":\"a\",\"monitors\":[\"m:1\"]}]") < 0)
		abort();
	(void)close(fd);
	config = config_new(path);
	start(true, true, config);

	a = delete_volume("no-such-id", true, 0);
	turn();
	ok(a->ended && a->code == ERR_OK,
	    "deleting what cannot be ours is success");
	free(a);
	a = delete_volume(ID, false, 0);
	turn();
	ok(a->code == ERR_INVALID_ARGUMENT &&
		strstr(a->text, "userKey") != NULL,
	    "a missing key is named: %s", a->text);
	free(a);
	a = delete_volume("0001-0001-b-0000000000000002-11111111-2222-3333-"
			  "4444-555555555555",
	    true, 0);
	turn();
	ok(a->code == ERR_FAILED_PRECONDITION &&
		strstr(a->text, "clusterID \"b\"") != NULL,
	    "an unknown cluster is named: %s", a->text);
	free(a);
	is_int(ncalls, 0, "no session was asked for any of these");

	a = delete_volume(ID, true, 10 * SECOND_MS);
	turn();
	b = delete_volume(ID, true, 60 * SECOND_MS);
	turn();
	is_int(ncalls, 1, "two identical calls are one request to the worker");
	pass(10 * SECOND_MS);
	ok(a->code == ERR_DEADLINE_EXCEEDED &&
		strstr(a->text, "in state FAR_AWAY") != NULL,
	    "a deadline tells what the worker does: %s", a->text);
	free(a);
	session_answer(ERR_FAILED_PRECONDITION, "image is watched");
	ok(b->code == ERR_FAILED_PRECONDITION &&
		str_eq(b->text, "image is watched"),
	    "the worker's words arrive");
	free(b);

	a = delete_volume(ID, true, 10 * SECOND_MS);
	turn();
	session_answer(ERR_OK, "bytes");
	ok(a->code == ERR_OK && a->reply_len == 5 &&
		memcmp(a->reply, "bytes", 5) == 0,
	    "and its bytes as they are");
	free(a);

	a = delete_volume(ID, true, 10 * SECOND_MS);
	turn();
	leave(a);
	free(a);
	pass(31 * SECOND_MS);
	is_int(ncancelled, 1, "the worker is told that nobody waits");
	session_answer(ERR_CANCELLED, "stopped early");
	stop("controller");
	config_free(config);
	(void)unlink(path);
}

static bool idle_told;

static void
on_idle(void)
{
	idle_told = true;
}

static void
test_idle(void)
{
	struct fake_call *a;

	start(true, true, NULL);
	a = unstage("/s", 60 * SECOND_MS);
	turn();
	requests_when_idle(on_idle);
	turn();
	ok(!idle_told, "idle waits for what runs");
	finish(0);
	ok(idle_told, "and is told at its end");
	free(a);
	idle_told = false;
	requests_when_idle(on_idle);
	turn();
	ok(idle_told, "or at once");
	stop("idle");
}

static void
no_log(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

int
main(void)
{
	log_set_sink(no_log);
	clock_fake(now_ms);
	if (loop_init() < 0)
		return 1;
	test_join();
	test_wait();
	test_limit();
	test_order();
	test_detach();
	test_leave_queue();
	test_refused();
	test_instant();
	test_controller();
	test_idle();
	loop_fini();
	return tap_end();
}
