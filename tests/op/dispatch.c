/*
 * Dispatch: joining, waiting, deadlines, detaching and the order of the
 * queue, with scripted calls, Node operations and sessions.
 */
#include "admin.pb-c.h"
#include "base/pb.h"
#include "core/loop.h"
#include "csi.pb-c.h"
#include "tests/op/fake_rpc.h"
#include "tests/tap.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static void
finish(int rc)
{
	fake_wake(rc);
	fake_turn();
}

static void
session_answer(enum err_code code, const char *reply)
{
	fake_session_answer(code, reply);
	fake_turn();
}

static void
test_join(void)
{
	struct fake_call *call[5];

	fake_start(true, true, NULL);
	for (int i = 0; i < 5; i++) {
		call[i] = fake_unstage("/s", 10 * SECOND_MS);
		fake_turn();
	}
	is_int(fake_started, 1, "five identical calls are one execution");
	finish(0);
	for (int i = 0; i < 5; i++)
		ok(call[i]->ended && call[i]->code == ERR_OK &&
			call[i]->reply_len == call[0]->reply_len,
		    "call %d has the answer", i);
	for (int i = 0; i < 5; i++)
		fake_free(call[i]);
	call[0] = fake_unstage("/s", 10 * SECOND_MS);
	fake_turn();
	is_int(fake_started, 2, "the next one after the end runs anew");
	ok(strstr(call[0]->note, "joined") == NULL && !call[0]->ended,
	    "and has its own answer");
	finish(-EBUSY);
	ok(call[0]->code != ERR_OK && strstr(call[0]->text, "unmap") != NULL,
	    "an error has its text: %s", call[0]->text);
	ok(strstr(call[0]->note, "states=FAKE_WOKEN") != NULL,
	    "the log tells the states: %s", call[0]->note);
	fake_free(call[0]);
	ok(fake_stop(), "join: nothing runs any more");
}

/* "REASON DOMAIN key=value ..." of the ErrorInfo that a call ended with. */
static const char *
info_of(const struct fake_call *fake)
{
	static char text[512];
	struct pb pb = { .at = fake->details, .len = fake->details_len };
	struct pb_field field;
	size_t at = 0;

	text[0] = '\0';
	if (!str_eq(fake->details_type, "google.rpc.ErrorInfo"))
		return "none";
	while (pb_next(&pb, &field) == 1) {
		struct pb key = field.bytes, value = { .len = 0 };

		if (field.number == 3) {
			key = pb_get(field.bytes, 1);
			value = pb_get(field.bytes, 2);
		}
		at += (size_t)snprintf(text + at, sizeof(text) - at,
		    field.number == 3 ? "%s%.*s=%.*s" : "%s%.*s%.*s",
		    at > 0 ? " " : "", (int)key.len, (const char *)key.at,
		    (int)value.len, (const char *)value.at);
	}
	return text;
}

static void
test_wait(void)
{
	struct fake_call *a, *b, *c;
	struct requests_stats stats;

	fake_start(true, true, NULL);
	a = fake_unstage("/a", 60 * SECOND_MS);
	fake_turn();
	b = fake_unstage("/b", 12 * SECOND_MS);
	c = fake_unstage("/c", 60 * SECOND_MS);
	fake_turn();
	is_int(fake_started, 1, "different requests wait for the volume");
	stats = requests_stats();
	ok(stats.running == 3 && stats.waiting == 2 && stats.waits == 2 &&
		stats.waited_ms == 0,
	    "and are counted");
	fake_pass(12 * SECOND_MS);
	ok(b->ended && b->code == ERR_ABORTED, "until their own deadline");
	is_str(b->text,
	    "operation NodeUnstageVolume on volume " FAKE_ID
	    " running for 12 s (in state FAKE_WOKEN for 12 s)",
	    "and then ABORTED names what is in the way, and its age");
	is_str(info_of(b),
	    "VOLUME_LOCKED rbd.csi.ceph.com operation=NodeUnstageVolume "
	    "subject=" FAKE_ID " state=FAKE_WOKEN age_ms=12000",
	    "for programs, too");
	ok(!a->ended && !c->ended, "the others go on");
	fake_free(b);
	b = fake_unstage("/c", 60 * SECOND_MS);
	finish(0);
	ok(a->ended && a->code == ERR_OK, "the first one ends");
	is_int(fake_started, 2, "the next in the queue runs");
	finish(0);
	ok(c->ended && b->ended && b->code == ERR_OK,
	    "and who joined it while it waited has its answer too");
	is_int(fake_started, 2, "in one execution");
	stats = requests_stats();
	is_int(stats.waited_ms, 24 * SECOND_MS,
	    "how long both waited for the lock is known");
	fake_free(a);
	fake_free(b);
	fake_free(c);
	ok(fake_stop(), "wait: nothing runs any more");
}

static struct fake_call *
unpublish(const char *path)
{
	Csi__V1__NodeUnpublishVolumeRequest m =
	    CSI__V1__NODE_UNPUBLISH_VOLUME_REQUEST__INIT;
	static char id[] = FAKE_ID;

	m.volume_id = id;
	m.target_path = (char *)(uintptr_t)path;
	return fake_ask("NodeUnpublishVolume", &m, 60 * SECOND_MS);
}

/* As a client does that resets each stream as soon as it is open. */
static void
test_limit(void)
{
	static const char *const path[FAKE_REQUESTS_MAX] = { "/0", "/1", "/2",
		"/3", "/4", "/5" };
	struct fake_call *call, *joined;
	struct requests_stats stats;

	fake_start(true, true, NULL);
	stats = requests_stats();
	ok(stats.running == 0 && stats.oldest_ms == 0 && stats.started == 0,
	    "before the first request there is nothing to tell");
	for (int i = 0; i < FAKE_REQUESTS_MAX; i++) {
		call = unpublish(path[i]);
		fake_turn();
		fake_leave(call, CALL_CANCELLED);
		fake_free(call);
	}
	is_int(requests_running(), FAKE_REQUESTS_MAX,
	    "executions go on though their callers have gone");
	call = unpublish("/one-more");
	fake_turn();
	ok(call->ended && call->code == ERR_UNAVAILABLE,
	    "one more than the limit is refused: %s", call->text);
	is_str(call->text, "6 requests are running, which is the limit",
	    "and told why");
	fake_free(call);
	is_int(fake_started, FAKE_REQUESTS_MAX, "and starts nothing");
	joined = unpublish(path[0]);
	fake_turn();
	ok(!joined->ended, "a retry joins what runs, limit or not");
	finish(0);
	ok(joined->ended && joined->code == ERR_OK, "and has its answer");
	fake_free(joined);
	fake_pass(2 * SECOND_MS);
	stats = requests_stats();
	ok(stats.running == FAKE_REQUESTS_MAX - 1 &&
		stats.orphaned == FAKE_REQUESTS_MAX - 1 && stats.waiting == 0 &&
		stats.oldest_ms == 2 * SECOND_MS,
	    "metrics tell who is left, without a caller, for how long");
	ok(stats.started == FAKE_REQUESTS_MAX && stats.joined == 1 &&
		stats.refused == 1 && stats.waits == 0,
	    "and how many were started, joined and refused");
	call = unpublish("/one-more");
	fake_turn();
	ok(!call->ended, "there is room again when one has ended");
	while (fake_running > 0)
		finish(0);
	ok(call->ended && call->code == ERR_OK, "and it runs to its end");
	fake_free(call);
	ok(fake_stop(), "limit: nothing runs any more");
}

#define LARGE_BYTES ((size_t)4 << 20) /* the largest request there is */

/* NodeUnpublishVolume, filled up to LARGE_BYTES with a field of no meaning. */
static struct fake_call *
unpublish_large(const char *path)
{
	Csi__V1__NodeUnpublishVolumeRequest m =
	    CSI__V1__NODE_UNPUBLISH_VOLUME_REQUEST__INIT;
	static char id[] = FAKE_ID;
	unsigned char *bytes = mem_new(LARGE_BYTES);
	struct fake_call *call;
	size_t at, n;

	m.volume_id = id;
	m.target_path = (char *)(uintptr_t)path;
	at = csi__v1__node_unpublish_volume_request__pack(&m, bytes);
	n = LARGE_BYTES - at - 6; /* tag 2047 and four bytes of length */
	memcpy(bytes + at, "\xfa\x7f", 2);
	for (int i = 0; i < 4; i++)
		bytes[at + 2 + (size_t)i] =
		    (unsigned char)((n >> (7 * i) & 0x7f) | (i < 3 ? 0x80 : 0));
	call = fake_ask_bytes(
	    "NodeUnpublishVolume", bytes, LARGE_BYTES, 60 * SECOND_MS);
	free(bytes);
	return call;
}

/* What executions keep of their requests is bounded, too. */
static void
test_large(void)
{
	static const char *const path[] = { "/0", "/1", "/2", "/3" };
	struct fake_call *call;

	fake_start(true, true, NULL);
	for (size_t i = 0; i < countof(path); i++) {
		call = unpublish_large(path[i]);
		fake_turn();
		ok(!call->ended, "large request %zu runs", i + 1);
		fake_leave(call, CALL_CANCELLED);
		fake_free(call);
	}
	call = unpublish_large("/one-more");
	fake_turn();
	ok(call->ended && call->code == ERR_UNAVAILABLE,
	    "one more is refused: %s", call->text);
	fake_free(call);
	call = unpublish_large(path[0]);
	fake_turn();
	ok(!call->ended, "one that is the same joins");
	fake_leave(call, CALL_CANCELLED);
	fake_free(call);
	call = unpublish("/small");
	fake_turn();
	ok(!call->ended, "one of the usual size runs");
	finish(0);
	fake_leave(call, CALL_CANCELLED);
	fake_free(call);
	call = unpublish_large("/one-more");
	fake_turn();
	ok(!call->ended, "there is room again when one has ended");
	while (fake_running > 0)
		finish(0);
	ok(call->ended && call->code == ERR_OK, "and it runs to its end");
	fake_free(call);
	ok(fake_stop(), "large: nothing runs any more");
}

static void
test_order(void)
{
	static const char *const path[] = { "/0", "/1", "/2", "/3" };
	struct fake_call *call[4];

	fake_start(true, true, NULL);
	for (int i = 0; i < 4; i++)
		call[i] = fake_unstage(path[i], 60 * SECOND_MS);
	for (int i = 0; i < 4; i++) {
		fake_turn();
		is_int(fake_running, 1, "one at a time");
		ok(!call[i]->ended && (i == 0 || call[i - 1]->ended),
		    "number %d is next", i);
		finish(0);
	}
	for (int i = 0; i < 4; i++)
		fake_free(call[i]);
	ok(fake_stop(), "order: nothing runs any more");
}

static void
test_detach(void)
{
	struct fake_call *a, *b;

	fake_start(true, true, NULL);
	a = fake_unstage("/s", 10 * SECOND_MS);
	fake_turn();
	fake_pass(10 * SECOND_MS);
	ok(a->ended && a->code == ERR_DEADLINE_EXCEEDED,
	    "a caller gets its deadline while the operation runs");
	ok(strstr(a->text,
	       "NodeUnstageVolume on volume " FAKE_ID
	       " running for 10 s: in state FAKE_WOKEN for 10 s") != NULL,
	    "with state and age: %s", a->text);
	is_str(info_of(a),
	    "OPERATION_RUNNING rbd.csi.ceph.com operation=NodeUnstageVolume "
	    "subject=" FAKE_ID " state=FAKE_WOKEN age_ms=10000",
	    "for programs, too");
	fake_free(a);
	a = fake_unstage("/other", 5 * SECOND_MS);
	b = fake_unstage("/s", 30 * SECOND_MS);
	fake_turn();
	fake_pass(5 * SECOND_MS);
	is_int(a->code, ERR_ABORTED, "the lock stays with it");
	fake_free(a);
	is_int(fake_started, 1, "a retry joins it");
	finish(0);
	ok(b->ended && b->code == ERR_OK, "and gets its answer");
	fake_free(b);

	/* Nobody asks again: told to stop, then somebody asks all the same. */
	a = fake_unstage("/s", 10 * SECOND_MS);
	fake_turn();
	fake_leave(a, CALL_CANCELLED);
	fake_free(a);
	fake_pass(29 * SECOND_MS);
	ok(!fake_is_detached(), "it goes on unasked for a while");
	fake_pass(2 * SECOND_MS);
	ok(fake_is_detached(), "and is told then");
	a = fake_unstage("/s", 10 * SECOND_MS);
	fake_turn();
	finish(0);
	is_int(
	    fake_running, 1, "stopped early and wanted again: it runs again");
	ok(!a->ended, "for the caller that came late");
	finish(0);
	ok(a->ended && a->code == ERR_OK, "which gets a real answer");
	fake_free(a);

	/* Nobody comes back. */
	a = fake_unstage("/s", 10 * SECOND_MS);
	fake_turn();
	fake_leave(a, CALL_CANCELLED);
	fake_free(a);
	fake_pass(31 * SECOND_MS);
	finish(0);
	ok(fake_stop(), "detach: nothing runs any more");
}

static void
test_leave_queue(void)
{
	struct fake_call *a, *b;

	fake_start(true, true, NULL);
	a = fake_unstage("/a", 60 * SECOND_MS);
	b = fake_unstage("/b", 60 * SECOND_MS);
	fake_turn();
	fake_leave(b, CALL_CANCELLED);
	fake_free(b);
	fake_turn();
	is_int(requests_running(), 1,
	    "a request that waits for the lock goes with its last caller");
	finish(0);
	is_int(fake_started, 1, "and never runs");
	fake_free(a);
	ok(fake_stop(), "leave: nothing runs any more");
}

static void
test_refused(void)
{
	struct fake_call *a;

	fake_start(false, true, NULL);
	a = fake_ask("/csi.v1.Node/Frobnicate", NULL, 0);
	ok(a->code == ERR_UNIMPLEMENTED, "unknown method: %s", a->text);
	fake_free(a);
	a = fake_ask("ListVolumes", NULL, 0);
	ok(a->code == ERR_UNIMPLEMENTED, "known, not served: %s", a->text);
	fake_free(a);
	a = fake_ask("ControllerGetCapabilities", NULL, 0);
	is_str(a->text,
	    "ControllerGetCapabilities: this process does not "
	    "serve the Controller service",
	    "a service that is switched off");
	fake_free(a);
	a = fake_ask("Format", NULL, 0);
	ok(a->code == ERR_UNIMPLEMENTED, "no client's: %s", a->text);
	fake_free(a);
	a = fake_ask("NodeUnstageVolume", NULL, 0);
	ok(a->code == ERR_INVALID_ARGUMENT, "validation: %s", a->text);
	fake_free(a);
	ok(fake_stop(), "refused: nothing runs any more");

	fake_start(true, false, NULL);
	a = fake_ask("NodeGetInfo", NULL, 0);
	ok(a->code == ERR_UNIMPLEMENTED, "no Node service: %s", a->text);
	fake_free(a);
	a = fake_ask("NodeGetCapabilities", NULL, 0);
	ok(a->code == ERR_OK, "but its capabilities, for external-resizer");
	fake_free(a);
	ok(fake_stop(), "refused: nothing runs any more");
}

static void
test_instant(void)
{
	Csi__V1__GetPluginInfoResponse *info;
	Csi__V1__GetPluginCapabilitiesResponse *caps;
	Csi__V1__NodeGetInfoResponse *node;
	struct fake_call *a;

	fake_start(true, true, NULL);
	a = fake_ask("GetPluginInfo", NULL, 0);
	info = csi__v1__get_plugin_info_response__unpack(
	    NULL, a->reply_len, a->reply);
	is_str(info->name, "rbd.csi.ceph.com", "GetPluginInfo: the name");
	ok(*info->vendor_version != '\0', "GetPluginInfo: a version");
	csi__v1__get_plugin_info_response__free_unpacked(info, NULL);
	fake_free(a);
	a = fake_ask("GetPluginCapabilities", NULL, 0);
	caps = csi__v1__get_plugin_capabilities_response__unpack(
	    NULL, a->reply_len, a->reply);
	is_int(caps->n_capabilities, 3,
	    "two services and VolumeExpansion, and nothing else");
	csi__v1__get_plugin_capabilities_response__free_unpacked(caps, NULL);
	fake_free(a);
	a = fake_ask("NodeGetInfo", NULL, 0);
	node = csi__v1__node_get_info_response__unpack(
	    NULL, a->reply_len, a->reply);
	is_str(node->node_id, "node-1", "NodeGetInfo: the name of the node");
	csi__v1__node_get_info_response__free_unpacked(node, NULL);
	fake_free(a);
	a = fake_ask("Probe", NULL, 0);
	ok(a->code == ERR_OK && a->reply_len == 0, "Probe");
	fake_free(a);
	ok(fake_stop(), "instant: nothing runs any more");
}

static void
test_controller(const struct config *config)
{
	struct fake_call *a, *b;

	fake_start(true, true, config);

	a = fake_delete("no-such-id", true, 0);
	fake_turn();
	ok(a->ended && a->code == ERR_OK,
	    "deleting what cannot be ours is success");
	fake_free(a);
	a = fake_delete(FAKE_ID, false, 0);
	fake_turn();
	ok(a->code == ERR_INVALID_ARGUMENT &&
		strstr(a->text, "userKey") != NULL,
	    "a missing key is named: %s", a->text);
	fake_free(a);
	a = fake_delete("0001-0001-b-0000000000000002-11111111-2222-3333-"
			"4444-555555555555",
	    true, 0);
	fake_turn();
	ok(a->code == ERR_FAILED_PRECONDITION &&
		strstr(a->text, "clusterID \"b\"") != NULL,
	    "an unknown cluster is named: %s", a->text);
	fake_free(a);
	is_int(fake_session_calls, 0, "no session was asked for any of these");

	a = fake_delete(FAKE_ID, true, 10 * SECOND_MS);
	fake_turn();
	b = fake_delete(FAKE_ID, true, 60 * SECOND_MS);
	fake_turn();
	is_int(fake_session_calls, 1,
	    "two identical calls are one request to the worker");
	fake_pass(10 * SECOND_MS);
	ok(a->code == ERR_DEADLINE_EXCEEDED &&
		strstr(a->text, "in state FAR_AWAY") != NULL,
	    "a deadline tells what the worker does: %s", a->text);
	is_str(info_of(a),
	    "OPERATION_RUNNING rbd.csi.ceph.com operation=DeleteVolume "
	    "subject=" FAKE_ID " state=FAR_AWAY age_ms=10000",
	    "for programs, too");
	fake_free(a);
	session_answer(ERR_FAILED_PRECONDITION, "image is watched");
	ok(b->code == ERR_FAILED_PRECONDITION &&
		str_eq(b->text, "image is watched"),
	    "the worker's words arrive");
	fake_free(b);

	a = fake_delete(FAKE_ID, true, 10 * SECOND_MS);
	fake_turn();
	session_answer(ERR_OK, "bytes");
	ok(a->code == ERR_OK && a->reply_len == 5 &&
		memcmp(a->reply, "bytes", 5) == 0,
	    "and its bytes as they are");
	fake_free(a);

	a = fake_delete(FAKE_ID, true, 10 * SECOND_MS);
	fake_turn();
	fake_leave(a, CALL_CANCELLED);
	fake_free(a);
	fake_pass(31 * SECOND_MS);
	is_int(fake_session_cancels, 1, "the worker is told that nobody waits");
	session_answer(ERR_CANCELLED, "stopped early");
	ok(fake_stop(), "controller: nothing runs any more");
}

static void
put_credential(const char *dir, const char *name, const char *value)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/a/%s", dir, name);
	f = fopen(path, "w");
	if (f == NULL || fputs(value, f) < 0 || fclose(f) != 0)
		abort();
}

/* "CLUSTER MAX TOKEN" of what a cluster is asked, or "nobody". */
static const char *
asked(void)
{
	static char text[64];
	Csi__V1__ListVolumesRequest *m;
	const void *body;
	size_t len;

	fake_turn();
	if (!fake_session_is_open())
		return "nobody";
	body = fake_session_body(&len);
	m = csi__v1__list_volumes_request__unpack(NULL, len, body);
	(void)snprintf(text, sizeof(text), "%s %d %s", fake_session_cluster,
	    m->max_entries, m->starting_token);
	csi__v1__list_volumes_request__free_unpacked(m, NULL);
	return text;
}

#define ENTRY(id) "\x0a\x05\x0a\x03\x12\x01" id

static void
answer(const char *reply)
{
	fake_session_answer(ERR_OK, reply);
	fake_turn();
}

/* "ID ID ... TOKEN" */
static const char *
listed(const struct fake_call *call)
{
	static char text[200];
	Csi__V1__ListVolumesResponse *m =
	    csi__v1__list_volumes_response__unpack(
		NULL, call->reply_len, call->reply);
	size_t at = 0;

	text[0] = '\0';
	for (size_t i = 0; i < m->n_entries; i++)
		at += (size_t)snprintf(text + at, sizeof(text) - at, "%s ",
		    m->entries[i]->volume->volume_id);
	(void)snprintf(text + at, sizeof(text) - at, "%s", m->next_token);
	csi__v1__list_volumes_response__free_unpacked(m, NULL);
	return text;
}

static struct fake_call *
list(int32_t max, const char *token, int64_t timeout_ms)
{
	Csi__V1__ListVolumesRequest m = CSI__V1__LIST_VOLUMES_REQUEST__INIT;

	m.max_entries = max;
	m.starting_token = (char *)(uintptr_t)token;
	return fake_ask("ListVolumes", &m, timeout_ms);
}

/* A request to all clusters: one after the other, and one answer. */
static void
test_everywhere(const struct config *config)
{
	char dir[] = "/tmp/rbd-csi-credentials.XXXXXX", path[128];
	struct fake_call *a, *b;

	fake_start(true, true, config);
	a = list(0, "", 0);
	ok(a->code == ERR_UNIMPLEMENTED &&
		strstr(a->text, "--credentials-dir") != NULL,
	    "without credentials lists are not served: %s", a->text);
	fake_free(a);
	ok(fake_stop(), "everywhere: nothing runs");

	if (mkdtemp(dir) == NULL)
		abort();
	(void)snprintf(path, sizeof(path), "%s/a", dir);
	if (mkdir(path, 0700) < 0)
		abort();
	put_credential(dir, "userID", "u");
	put_credential(dir, "userKey", "k");
	(void)snprintf(path, sizeof(path), "ln -s a %s/c", dir);
	if (system(path) != 0)
		abort();
	fake_credentials_dir = dir;
	fake_start(true, true, config);

	a = list(0, "", 0);
	is_str(asked(), "a 200 ", "the first cluster in order is asked");
	answer(ENTRY("1") ENTRY("2"));
	is_str(asked(), "c 198 ", "and then the other one, for the rest");
	b = list(0, "", 0);
	fake_turn();
	answer(ENTRY("3"));
	is_str(listed(a), "1 2 3 ", "their answers are one");
	ok(b->ended && str_eq(listed(b), "1 2 3 "),
	    "also for who asks the same meanwhile");
	fake_free(a);
	fake_free(b);

	a = list(2, "", 0);
	is_str(asked(), "a 2 ", "a page");
	answer(ENTRY("1") ENTRY("2"));
	is_str(asked(), "nobody", "that the first cluster fills");
	is_str(listed(a), "1 2 v1.0.1.c.", "leads to the next one");
	fake_free(a);
	a = list(2, "", 0);
	(void)asked();
	answer(ENTRY("1") "\x12\x04more");
	is_str(listed(a), "1 more", "or on in this one");
	fake_free(a);
	a = list(2, "v1.2.1.c.pvc", 0);
	is_str(asked(), "c 2 v1.2.1.c.pvc", "a token goes to its cluster");
	answer("");
	is_str(listed(a), "", "and the last one ends the list");
	fake_free(a);
	a = list(2, "v1.2.1.b.pvc", 0);
	is_str(asked(), "c 2 ", "one of a cluster that has gone to the next");
	answer("");
	fake_free(a);
	a = list(2, "v1.2.1.d.pvc", 0);
	is_str(asked(), "nobody", "if there is one");
	is_str(listed(a), "", "else the list is at its end");
	fake_free(a);

	a = list(0, "", 10 * SECOND_MS);
	(void)asked();
	answer(ENTRY("1"));
	session_answer(ERR_UNAVAILABLE, "the cluster does not answer");
	is_int(
	    a->code, ERR_UNAVAILABLE, "a cluster that fails is not left out");
	is_str(
	    a->text, "cluster \"c\": the cluster does not answer", "but named");
	fake_free(a);
	a = list(0, "", 10 * SECOND_MS);
	(void)asked();
	answer(ENTRY("1"));
	fake_pass(10 * SECOND_MS);
	ok(a->code == ERR_DEADLINE_EXCEEDED &&
		strstr(a->text, "ListVolumes on cluster c running") != NULL,
	    "nor is one that hangs: %s", a->text);
	fake_free(a);
	a = list(0, "", 10 * SECOND_MS);
	fake_turn();
	ok(!a->ended, "who asks again waits for the same");
	answer(ENTRY("2"));
	is_str(listed(a), "1 2 ", "and gets the whole answer");
	fake_free(a);
	(void)snprintf(path, sizeof(path), "rm %s/c", dir);
	if (system(path) != 0)
		abort();
	a = list(0, "", 0);
	(void)asked();
	answer(ENTRY("1"));
	ok(a->code == ERR_FAILED_PRECONDITION &&
		strstr(a->text, "credentials of cluster \"c\"") != NULL,
	    "a cluster without credentials fails it, too: %s", a->text);
	fake_free(a);
	fake_credentials_dir = NULL;
	ok(fake_stop(), "everywhere: nothing runs any more");
	(void)snprintf(path, sizeof(path), "rm -r %s", dir);
	ok(system(path) == 0, "the files are gone");
}

/* Detaching without secrets: by a session that works, or by the driver's own. */
static void
test_credentials(const struct config *config)
{
	char dir[] = "/tmp/rbd-csi-credentials.XXXXXX", path[128];
	struct fake_call *a;

	fake_start(true, true, config);
	a = fake_unpublish(FAKE_ID, false, 0);
	fake_turn();
	ok(a->code == ERR_OK && fake_session_calls == 0,
	    "without any credentials nobody is asked");
	fake_free(a);
	ok(fake_stop(), "credentials: nothing runs any more");

	if (mkdtemp(dir) == NULL)
		abort();
	fake_credentials_dir = dir;
	fake_start(true, true, config);
	a = fake_unpublish(FAKE_ID, false, 0);
	fake_turn();
	ok(a->code == ERR_OK && fake_session_calls == 0,
	    "nor with a directory that has none for the cluster");
	fake_free(a);
	(void)snprintf(path, sizeof(path), "%s/a", dir);
	if (mkdir(path, 0700) < 0)
		abort();
	put_credential(dir, "userID", "u");
	a = fake_unpublish(FAKE_ID, false, 0);
	fake_turn();
	ok(a->code == ERR_FAILED_PRECONDITION &&
		strstr(a->text, "/a: read userKey: No such file") != NULL,
	    "half of them is an error: %s", a->text);
	fake_free(a);
	put_credential(dir, "userKey", "k\n");
	a = fake_unpublish(FAKE_ID, false, 0);
	fake_turn();
	is_int(
	    fake_session_calls, 1, "all of them are used, without a restart");
	session_answer(ERR_PERMISSION_DENIED, "not yours");
	is_int(a->code, ERR_PERMISSION_DENIED,
	    "and what the cluster says to them is told");
	fake_free(a);
	fake_credentials_dir = NULL;
	ok(fake_stop(), "credentials of the driver: nothing runs any more");
	(void)snprintf(path, sizeof(path), "rm -r %s", dir);
	ok(system(path) == 0, "the files are gone");
}

/* "NAME SUBJECT STATE WORKER_STATE CALLERS detached" of each operation. */
static const char *
operations(void)
{
	static char text[1000];
	struct fake_call *a = fake_ask("ListOperations", NULL, 0);
	Rbdcsi__Admin__V1__ListOperationsResponse *reply;
	size_t used = 0;

	fake_turn();
	reply = rbdcsi__admin__v1__list_operations_response__unpack(
	    NULL, a->reply_len, a->reply);
	text[0] = '\0';
	for (size_t i = 0; reply != NULL && i < reply->n_operations; i++) {
		const Rbdcsi__Admin__V1__Operation *op = reply->operations[i];

		if (op->id == 0 || op->age_ms != 3 * SECOND_MS ||
		    op->state_ms > op->age_ms || op->failing)
			return "wrong numbers";
		used += (size_t)snprintf(text + used, sizeof(text) - used,
		    "%s%s %s %s %s %u%s", i > 0 ? "\n" : "", op->name,
		    op->subject, op->state, op->worker_state, op->callers,
		    op->detached ? " detached" : "");
	}
	rbdcsi__admin__v1__list_operations_response__free_unpacked(reply, NULL);
	fake_free(a);
	return text;
}

/* One who watches is told when something has changed, and of how it is then. */
static void
test_watching(void)
{
	Rbdcsi__Admin__V1__ListOperationsRequest m =
	    RBDCSI__ADMIN__V1__LIST_OPERATIONS_REQUEST__INIT;
	struct fake_call *w, *d;

	m.watch = true;
	w = fake_ask("ListOperations", &m, 0);
	ok(!w->ended && w->sent == 1, "a watcher is sent the list at once");
	fake_pass(5 * SECOND_MS);
	is_int(w->sent, 1, "and nothing while nothing changes");
	d = fake_unstage("/d", 60 * SECOND_MS);
	fake_pass(SECOND_MS);
	is_int(w->sent, 2, "what has begun is told");
	w->busy = true;
	fake_leave(d, CALL_CANCELLED);
	fake_free(d);
	fake_pass(SECOND_MS);
	is_int(w->sent, 2, "nothing goes to who does not read");
	w->busy = false;
	w->call.writable(&w->call);
	is_int(w->sent, 3, "but as it is, when he does");
	fake_pass(5 * SECOND_MS);
	is_int(w->sent, 3, "once");
	fake_leave(w, CALL_CANCELLED);
	fake_free(w);
	w = fake_ask("ListOperations", &m, 0);
	w->call.leaving(&w->call);
	ok(w->ended && w->code == ERR_UNAVAILABLE,
	    "a watcher does not hold up the end of the server");
	fake_free(w);
}

static void
test_operations(const struct config *config)
{
	struct fake_call *a, *b, *c;

	fake_start(true, true, config);
	is_str(operations(), "", "nothing runs: the list is not in the list");
	a = fake_unstage("/a", 60 * SECOND_MS);
	fake_turn();
	b = fake_unstage("/b", 60 * SECOND_MS);
	fake_turn();
	c = fake_delete(FAKE_ID, true, 60 * SECOND_MS);
	fake_turn();
	fake_leave(c, CALL_CANCELLED);
	fake_free(c);
	fake_pass(3 * SECOND_MS);
	fake_session_flattens = true;
	is_str(operations(),
	    "DeleteVolume " FAKE_ID " REQUEST_ANSWERED FAR_AWAY 0 detached\n"
	    "NodeUnstageVolume " FAKE_ID " REQUEST_LOCKED  1\n"
	    "fake " FAKE_ID " FAKE_WOKEN  0\n"
	    "NodeUnstageVolume " FAKE_ID " REQUEST_RAN  1\n"
	    "flatten csi-snap-1 FLATTENING_DONE  0 detached",
	    "what runs here, what waits, and what a worker does");
	fake_session_flattens = false;
	test_watching();
	session_answer(ERR_OK, "");
	finish(0);
	finish(0);
	ok(a->ended && b->ended, "they go on as before");
	fake_free(a);
	fake_free(b);
	ok(fake_stop(), "operations: nothing runs any more");
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

	fake_start(true, true, NULL);
	a = fake_unstage("/s", 60 * SECOND_MS);
	fake_turn();
	requests_when_idle(on_idle);
	fake_turn();
	ok(!idle_told, "idle waits for what runs");
	finish(0);
	ok(idle_told, "and is told at its end");
	fake_free(a);
	idle_told = false;
	requests_when_idle(on_idle);
	fake_turn();
	ok(idle_told, "or at once");
	ok(fake_stop(), "idle: nothing runs any more");
}

int
main(void)
{
	struct config *config;

	fake_init();
	test_join();
	test_wait();
	test_limit();
	test_large();
	test_order();
	test_detach();
	test_leave_queue();
	test_refused();
	test_instant();
	config = fake_config();
	test_controller(config);
	test_credentials(config);
	test_everywhere(config);
	test_operations(config);
	fake_config_free(config);
	test_idle();
	loop_fini();
	return tap_end();
}
