/*
 * stack.c - src/rpc and the daemon's requests together: callers that share
 * an execution, wait for a lock or are refused, cut off at every byte of
 * what they send, while the operations end before, at the same time or after.
 * Nobody is answered twice, and neither side keeps anything.
 */
#include "core/loop.h"
#include "csi.pb-c.h"
#include "rpc/server.h"
#include "tests/op/fake_rpc.h"
#include "tests/rpc/script.h"
#include "tests/rpc/wire.h"
#include "tests/tap.h"

#include <stdlib.h>

enum event {
	EVENT_CLOSE = 0,
	EVENT_RESET,
	EVENT_TIME, /* all deadlines, and then the time of an orphan */
	EVENT_DRAIN,
	EVENT_FREE,
	EVENT_NONE,
	EVENT_COUNT,
};

static const char *const event_name[EVENT_COUNT] = { "the client closes",
	"the client cancels", "deadlines pass", "the server drains",
	"the server ends", "all goes well" };

enum wake_when {
	WAKE_AFTER = 0, /* the operations end when all has settled */
	WAKE_BEFORE,    /* ... in the turn of the event, before it */
	WAKE_LATER,     /* ... in the same turn, behind it */
	WAKE_COUNT,
};

struct trial {
	const struct script *script;
	size_t at;
	enum event event;
	enum wake_when wake;
};

static const struct router router = {
	.fallback = { .start = dispatch_call },
};
static struct server *server;
static struct wire wire;
static bool drained;
static const char *wrong;

static void
expect(bool good, const char *what)
{
	if (!good && wrong == NULL)
		wrong = what;
}

static void
on_idle(void)
{
}

/* ---- the conversation ---- */

static void
put_call(struct script *script, int32_t id, const char *path)
{
	const struct field time[] = { { "grpc-timeout", "30S" } };
	Csi__V1__NodeUnstageVolumeRequest m =
	    CSI__V1__NODE_UNSTAGE_VOLUME_REQUEST__INIT;
	static char volume[] = FAKE_ID;
	unsigned char body[512] = { 0 };
	size_t len;

	if (path != NULL) { /* NULL: nothing in it, which is refused */
		m.volume_id = volume;
		m.staging_target_path = (char *)(uintptr_t)path;
	}
	len = csi__v1__node_unstage_volume_request__pack(&m, body + 5);
	body[4] = (unsigned char)len;
	script_post(script, id, "/csi.v1.Node/NodeUnstageVolume", time, 1);
	script_data(script, id, body, 5 + len, true);
}

static void
script_make(struct script *script)
{
	script_init(script, "calls", 0, 0);
	put_call(script, 1, "/a");
	put_call(script, 3, "/a"); /* joins it */
	put_call(script, 5, "/b"); /* waits for the lock */
	put_call(script, 7, NULL);
	put_call(script, 9, "/b");
}

static void
put_resets(const struct trial *t)
{
	for (size_t i = 0; i < t->script->frames; i++) {
		unsigned char frame[13] = { 0, 0, 4, NGHTTP2_RST_STREAM };

		frame[8] = (unsigned char)t->script->frame[i].opens;
		frame[12] = NGHTTP2_CANCEL;
		if (t->script->frame[i].end <= t->at && frame[8] != 0)
			wire_put(&wire, frame, sizeof(frame));
	}
}

/* ---- one trial ---- */

static void
wake_all(void)
{
	while (fake_running > 0)
		fake_wake(0);
}

static void
happen(const struct trial *t)
{
	switch (t->event) {
	case EVENT_CLOSE:
		wire_close(&wire);
		return;
	case EVENT_RESET:
		put_resets(t);
		return;
	case EVENT_DRAIN:
		requests_when_idle(on_idle);
		drain_server(server, &drained);
		return;
	case EVENT_FREE:
		server_free(server);
		server = NULL;
		return;
	case EVENT_TIME:
		fake_pass(30 * SECOND_MS);
		fake_pass(31 * SECOND_MS);
		return;
	case EVENT_NONE:
	case EVENT_COUNT:
		return;
	}
}

static void
let_end(void)
{
	for (int i = 0; i < 10; i++) {
		wire_settle(&wire);
		wake_all();
	}
	wire_settle(&wire);
	expect(requests_running() == 0, "a request has no end");
	expect(op_count() == 0, "an operation is left");
}

/* Four calls with an answer, and one that is refused. */
static void
expect_answers(const char *answers)
{
	static const char *const want[] = { "1: http=200 messages=1",
		"3: http=200 messages=1", "5: http=200 messages=1",
		"7: http=200 messages=0", "9: http=200 messages=1" };

	for (size_t i = 0; i < countof(want); i++)
		expect(strstr(answers, want[i]) != NULL, "no answer");
}

static const char *
run(const struct trial *t)
{
	char answers[WIRE_ANSWERS_MAX];
	bool goes_on = t->event == EVENT_NONE || t->event == EVENT_DRAIN;
	const char *fault;

	wrong = NULL;
	drained = false;
	fake_start(false, true, NULL);
	server = server_new(&router, NULL);
	wire_open(&wire, server);
	wire_put(&wire, t->script->bytes.data, t->at);
	wire_settle(&wire);
	if (t->wake == WAKE_BEFORE)
		wake_all();
	happen(t);
	if (t->wake == WAKE_LATER)
		wake_all();
	if (goes_on)
		wire_put(&wire, t->script->bytes.data + t->at,
		    t->script->bytes.len - t->at);
	let_end();
	if (t->event == EVENT_DRAIN) {
		fake_pass(2 * SECOND_MS);
		expect(drained, "the drain has no end");
	}
	fault = wire_judge(&wire, false, answers);
	expect(fault == NULL, fault);
	if (goes_on)
		expect_answers(answers);
	expect(server == NULL || server_counters(server)->calls == 0,
	    "a call is open");
	wire_fini(&wire);
	fake_turn();
	if (server != NULL)
		server_free(server);
	expect(fake_stop(), "a request is left");
	return wrong;
}

static bool
is_border(const struct script *script, size_t at)
{
	for (size_t i = 1; i < script->frames; i++)
		if (script->frame[i].end == at)
			return true;
	return false;
}

static void
sweep(struct trial t)
{
	unsigned trials = 0, failed = 0;

	for (t.at = 0; t.at <= t.script->bytes.len; t.at++) {
		const char *fault;

		if (t.event == EVENT_RESET && !is_border(t.script, t.at))
			continue;
		trials++;
		fault = run(&t);
		if (fault != NULL && failed++ < 3)
			diag("at %zu: %s", t.at, fault);
	}
	ok(failed == 0 && trials > 5, "%s, %u places, operations end %s",
	    event_name[t.event], trials,
	    t.wake == WAKE_AFTER        ? "afterwards"
		: t.wake == WAKE_BEFORE ? "just before"
					: "just then");
}

int
main(void)
{
	struct script script;
	struct trial t = { .script = &script };

	fake_init();
	script_make(&script);
	for (t.event = 0; t.event < EVENT_COUNT; t.event++)
		for (t.wake = 0; t.wake < WAKE_COUNT; t.wake++)
			sweep(t);
	script_fini(&script);
	loop_fini();
	return tap_end();
}
