/*
 * streams.c - calls with many messages: in and out, in pieces, with a reader
 * or a sender that is slow, and every way in which they end.
 */
#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "rpc/call.h"
#include "rpc/grpc.h"
#include "tests/rpc/peer.h"
#include "tests/tap.h"

#include <errno.h>
#include <stdio.h>

#define NOW_MS 1000000
#define WINDOW 65535

static struct server *server;
static struct h2peer peer;

/* ---- the service; one call of each method at a time ---- */

static struct {
	struct call *open;      /* the newest call that has not ended */
	unsigned gone[3];       /* by enum call_gone */
	unsigned messages;      /* read */
	size_t bytes;           /* of them */
	bool ended;             /* the client has sent its last one */
	unsigned sent, to_send; /* of Count */
	size_t size;
	unsigned refusals; /* of stream_send */
	bool held;         /* Hold does not read */
} t;

static void
on_gone(struct call *call, enum call_gone why)
{
	(void)call;
	t.gone[why]++;
	t.open = NULL;
}

static void
count_on(struct call *call)
{
	auto_free char *bytes = mem_new(t.size + 1);
	int rc = 0;

	memset(bytes, 'x', t.size);
	while (t.sent < t.to_send && rc == 0) {
		rc = stream_send(call, bytes, t.size);
		if (rc == 0)
			t.sent++;
		else
			t.refusals++;
	}
	if (rc < 0)
		return;
	stream_end(call);
	t.open = NULL;
}

static void
count(struct call *call)
{
	char text[32];

	(void)snprintf(text, sizeof(text), "%.*s", (int)call->request_len,
	    (const char *)call->request);
	(void)sscanf(text, "%u %zu", &t.to_send, &t.size);
	t.open = call;
	call->gone = on_gone;
	call->writable = count_on;
	count_on(call);
}

static void
on_message(struct call *call, const void *bytes, size_t len)
{
	t.ended = bytes == NULL;
	t.messages += !t.ended;
	t.bytes += len;
	if (!t.ended)
		stream_read(call);
}

static void
sum_message(struct call *call, const void *bytes, size_t len)
{
	char text[48];

	on_message(call, bytes, len);
	if (!t.ended)
		return;
	(void)snprintf(text, sizeof(text), "%u %zu", t.messages, t.bytes);
	call_reply(call, text, strlen(text));
	t.open = NULL;
}

static void
start_reading(
    struct call *call, void (*message)(struct call *, const void *, size_t))
{
	t.open = call;
	call->gone = on_gone;
	call->message = message;
	if (!t.held)
		stream_read(call);
}

static void
sum(struct call *call)
{
	start_reading(call, sum_message);
}

/* What cannot be sent yet is read again later: the client has to wait. */
static void
echo_message(struct call *call, const void *bytes, size_t len)
{
	if (bytes == NULL) {
		t.open = NULL;
		stream_end(call);
	} else if (stream_send(call, bytes, len) == 0) {
		t.messages++;
		stream_read(call);
	} else {
		t.refusals++;
		t.open = NULL;
		call_fail(call, ERR_ABORTED, "client does not read");
	}
}

static void
echo(struct call *call)
{
	start_reading(call, echo_message);
}

static void
first_only_message(struct call *call, const void *bytes, size_t len)
{
	(void)bytes;
	(void)len;
	t.open = NULL;
	if (stream_send(call, "one", 3) == 0)
		call_fail(call, ERR_FAILED_PRECONDITION, "enough");
}

static void
first_only(struct call *call)
{
	start_reading(call, first_only_message);
}

static void
on_leaving(struct call *call)
{
	t.open = NULL;
	call_fail(call, ERR_UNAVAILABLE, "leaving");
}

static void
patient(struct call *call)
{
	call->leaving = on_leaving;
	start_reading(call, on_message);
}

static const struct rpc_method methods[] = {
	{ .name = "Count", .start = count },
	{ .name = "Sum", .start = sum, .client_streams = true },
	{ .name = "Echo", .start = echo, .client_streams = true },
	{ .name = "First", .start = first_only, .client_streams = true },
	{ .name = "Patient", .start = patient, .client_streams = true },
};
static const struct rpc_service service = { "t.S", methods, countof(methods) };
static const struct rpc_service *const services[] = { &service };
static const struct router router = {
	.services = services,
	.service_count = countof(services),
};

static void
start(const struct server_limits *limits)
{
	clock_fake(NOW_MS);
	memset(&t, 0, sizeof(t));
	server = server_new(&router, limits);
	peer_open(&peer, server);
	peer_run(&peer);
}

static void
end(void)
{
	peer_close(&peer);
	server_free(server);
	ok(t.open == NULL, "... and no call is left");
}

/* A stream whose client has sent `body` and not ended. */
static struct exchange *
open_stream(const char *method, const char *timeout, const char *length,
    const void *body, size_t len)
{
	struct field fields[] = {
		{ ":method", "POST" }, { ":scheme", "http" },
		{ ":path", method }, { "content-type", "application/grpc" },
		{ "te", "trailers" }, { NULL, NULL }, /* one of the two */
	};
	size_t n = countof(fields) - 1;
	struct exchange *x;

	if (timeout != NULL)
		fields[n++] = (struct field){ "grpc-timeout", timeout };
	else if (length != NULL)
		fields[n++] = (struct field){ "content-length", length };
	x = peer_send(&peer, fields, n, body, len);
	x->stay_open = true;
	return x;
}

/* Messages of `size` bytes, one behind the other, as DATA payload. */
static void
messages_put(struct buf *body, unsigned n, size_t size)
{
	auto_free unsigned char *m = mem_new(GRPC_PREFIX_BYTES + size);

	grpc_prefix_put(m, (uint32_t)size);
	buf_init(body, (size_t)64 << 20);
	for (unsigned i = 0; i < n; i++)
		if (buf_append(body, m, GRPC_PREFIX_BYTES + size) < 0)
			abort();
}

/* How many whole messages came back; -1 if something else is between. */
static int
reply_count(const struct exchange *x)
{
	const unsigned char *at = x->reply.data;
	size_t left = x->reply.len;
	struct grpc_reader reader;
	int n = 0;

	grpc_reader_init(&reader, (size_t)64 << 20);
	while (left > 0 &&
	    grpc_reader_feed(&reader, &at, &left) == GRPC_READ_MESSAGE) {
		grpc_reader_next(&reader);
		n++;
	}
	if (reader.prefix_len > 0)
		n = -1;
	buf_fini(&reader.message);
	return n;
}

static bool
text_is(const struct exchange *x, const char *text)
{
	const unsigned char *message;

	return x->closed && x->code == 0 &&
	    exchange_message(x, &message) == (long)strlen(text) &&
	    memcmp(message, text, strlen(text)) == 0;
}

/* ---- messages ---- */

static void
servers_stream(void)
{
	struct exchange *x;

	start(NULL);
	x = peer_call(&peer, "/t.S/Count", "5 3", 3, NULL);
	peer_run(&peer);
	is_int(reply_count(x), 5, "a server sends five messages");
	ok(x->closed && x->code == 0 && x->reset == 0, "... and then OK");
	memset(&t, 0, sizeof(t));
	x = peer_call(&peer, "/t.S/Count", "0 3", 3, NULL);
	peer_run(&peer);
	ok(x->closed && x->code == 0 && x->reply.len == 0,
	    "... or OK without a message");
	memset(&t, 0, sizeof(t));
	x = peer_call(&peer, "/t.S/Count", "3 0", 3, NULL);
	peer_run(&peer);
	is_int(reply_count(x), 3, "... or empty ones");
	end();
}

static void
clients_stream(void)
{
	static const unsigned char body[] = "\0\0\0\0\1a\0\0\0\0\0\0\0\0\0\2bc";
	bool all = true;
	struct exchange *x;

	start(NULL);
	for (size_t piece = 1; piece < sizeof(body); piece++) {
		memset(&t, 0, sizeof(t));
		x = open_stream("/t.S/Sum", NULL, NULL, body, sizeof(body) - 1);
		x->piece = piece;
		peer_finish(&peer, x);
		peer_run(&peer);
		all &= text_is(x, "3 3");
	}
	ok(all, "three messages in DATA frames of any size are read");
	memset(&t, 0, sizeof(t));
	x = open_stream("/t.S/Sum", NULL, NULL, "", 0);
	peer_run(&peer);
	ok(t.open != NULL, "a handler is called before the first message");
	peer_finish(&peer, x);
	peer_run(&peer);
	ok(text_is(x, "0 0"), "... and none may come");
	end();
}

static void
both_stream(void)
{
	struct exchange *x;
	bool all = true;

	start(NULL);
	x = open_stream("/t.S/Echo", NULL, NULL, "", 0);
	for (int i = 1; i <= 10; i++) {
		peer_more(&peer, x, "\0\0\0\0\2hi", 7);
		peer_run(&peer);
		all &= reply_count(x) == i;
	}
	ok(all, "each message is answered before the next is sent");
	ok(!x->closed, "... the stream stays open");
	peer_finish(&peer, x);
	peer_run(&peer);
	ok(x->closed && x->code == 0, "... until the client ends it");
	x = open_stream("/t.S/Echo", NULL, NULL, "", 0);
	peer_finish(&peer, x);
	peer_run(&peer);
	ok(x->closed && x->code == 0 && x->reply.len == 0,
	    "a stream may be empty in both directions");
	end();
}

static void
large_messages_pass_the_window(void)
{
	struct exchange *x;
	struct buf body;

	start(NULL);
	messages_put(&body, 3, (size_t)3 << 20);
	x = open_stream("/t.S/Sum", NULL, NULL, body.data, body.len);
	peer_finish(&peer, x);
	peer_run(&peer);
	ok(text_is(x, "3 9437184"), "messages may be larger than the window");
	buf_fini(&body);
	memset(&t, 0, sizeof(t));
	x = peer_call(&peer, "/t.S/Count", "3 3000000", 9, NULL);
	peer_run(&peer);
	is_int(reply_count(x), 3, "... in the other direction, too");
	is_int(x->code, 0, "... to the end");
	end();
}

/* ---- who is slow is waited for ---- */

static void
slow_readers_are_waited_for(void)
{
	struct exchange *x;
	unsigned refusals;

	start(NULL);
	x = peer_call(&peer, "/t.S/Count", "10000 1000", 10, NULL);
	peer_run_deaf(&peer);
	ok(t.refusals > 0 && t.sent <= 2 * WINDOW / 1000 + 2,
	    "a client that does not read is sent %u messages of 10000", t.sent);
	peer_run_deaf(&peer);
	refusals = t.refusals;
	peer_run_deaf(&peer);
	is_int(t.refusals, refusals, "... and the handler is left alone");
	peer_run(&peer);
	is_int(reply_count(x), 10000, "... it gets all of them when it reads");
	is_int(x->code, 0, "... and the status");

	memset(&t, 0, sizeof(t));
	x = peer_call(&peer, "/t.S/Count", "10000 1000", 10, "1S");
	peer_run_deaf(&peer);
	clock_fake(NOW_MS + 1000);
	peer_run_deaf(&peer);
	is_int(t.gone[CALL_DEADLINE], 1, "its deadline ends the call");
	peer_run(&peer);
	ok(x->closed && x->code == ERR_DEADLINE_EXCEEDED &&
		reply_count(x) == (int)t.sent,
	    "... behind the messages that were queued");
	end();
}

static void
slow_handlers_are_waited_for(void)
{
	struct exchange *x, *y;
	struct buf body;
	struct call *held;

	start(NULL);
	t.held = true;
	messages_put(&body, 10000, 100);
	x = open_stream("/t.S/Sum", NULL, NULL, body.data, body.len);
	peer_finish(&peer, x);
	peer_run(&peer);
	ok(x->body_at <= WINDOW && t.messages == 0,
	    "a client may send %zu bytes ahead of a handler", x->body_at);
	held = t.open;
	t.held = false;
	y = open_stream("/t.S/Echo", NULL, NULL, "\0\0\0\0\1y", 6);
	peer_finish(&peer, y);
	peer_run(&peer);
	ok(y->closed && reply_count(y) == 1,
	    "... other streams of the connection go on");
	t.messages = 0;
	t.open = held;
	stream_read(held);
	is_int(t.messages, 0, "a message never comes inside stream_read()");
	peer_run(&peer);
	ok(text_is(x, "10000 1000000"), "... then all of them come");
	buf_fini(&body);
	end();
}

static void
held_bytes_are_limited_in_all(void)
{
	const struct server_limits limits = { .buffered_bytes = 100000 };
	struct exchange *x, *y;
	struct buf body;

	start(&limits);
	t.held = true;
	messages_put(&body, 1, 60000);
	x = open_stream("/t.S/Echo", NULL, NULL, body.data, body.len);
	peer_run(&peer);
	y = open_stream("/t.S/Echo", NULL, NULL, body.data, body.len);
	peer_run(&peer);
	ok(!x->closed && y->closed && y->code == ERR_UNAVAILABLE,
	    "a stream that holds a byte too many is ended");
	is_int(t.gone[CALL_CANCELLED], 1, "... and its handler told");
	peer_cancel(&peer, x);
	peer_run(&peer);
	is_int(t.gone[CALL_CANCELLED], 2, "... the other one goes on");
	t.held = false;
	x = open_stream("/t.S/Echo", NULL, NULL, body.data, body.len);
	peer_finish(&peer, x);
	peer_run(&peer);
	ok(x->closed && reply_count(x) == 1, "... and gives its bytes back");
	buf_fini(&body);
	end();
}

/* ---- the ways in which streams end ---- */

static void
broken_streams_are_ended(void)
{
	static const struct {
		const char *name, *body, *length;
		size_t len;
		bool finish;
		int code;
	} rows[] = {
		{ "a compressed message", "\1\0\0\0\1x", NULL, 6, false,
		    ERR_INTERNAL },
		{ "a bad flag", "\2\0\0\0\1x", NULL, 6, false, ERR_INTERNAL },
		{ "half a message", "\0\0\0\0\2x", NULL, 6, true,
		    ERR_INTERNAL },
		{ "half a prefix", "\0\0\0", NULL, 3, true, ERR_INTERNAL },
		{ "a message over the limit", "\0\0\0\0\145x", NULL, 6, false,
		    ERR_RESOURCE_EXHAUSTED },
		{ "less than content-length", "\0\0\0\0\1x", "7", 6, true, -1 },
		{ "more than content-length", "\0\0\0\0\1x", "5", 6, false,
		    -1 },
	};
	const struct server_limits limits = { .request_bytes = 100 };

	for (size_t i = 0; i < countof(rows); i++) {
		struct exchange *x;

		start(&limits);
		x = open_stream("/t.S/Sum", NULL, NULL, "\0\0\0\0\1a", 6);
		if (rows[i].length != NULL) {
			peer_cancel(&peer, x);
			x = open_stream(
			    "/t.S/Sum", NULL, rows[i].length, "", 0);
		}
		peer_run(&peer);
		memset(t.gone, 0, sizeof(t.gone));
		peer_more(&peer, x, rows[i].body, rows[i].len);
		if (rows[i].finish)
			peer_finish(&peer, x);
		peer_run(&peer);
		is_int(x->closed ? x->code : -2, rows[i].code, "%s ends it",
		    rows[i].name);
		is_int(x->reset, rows[i].code < 0 ? NGHTTP2_PROTOCOL_ERROR : 0,
		    "... with this reset");
		is_int(t.gone[CALL_CANCELLED], 1, "... its handler is told");
		end();
	}
}

static void
servers_may_end_first(void)
{
	struct exchange *x;
	struct buf body;

	start(NULL);
	messages_put(&body, 3000, 100);
	x = open_stream("/t.S/First", NULL, NULL, body.data, body.len);
	peer_run(&peer);
	ok(x->closed && reply_count(x) == 1 &&
		x->code == ERR_FAILED_PRECONDITION &&
		x->reset == NGHTTP2_NO_ERROR,
	    "a client that still sends gets message, status, NO_ERROR");
	is_str(x->text, "enough", "... and the text");
	x = open_stream("/t.S/None", NULL, NULL, "", 0);
	peer_run(&peer);
	ok(x->closed && x->code == ERR_UNIMPLEMENTED,
	    "an unknown method is refused before its first message");
	buf_fini(&body);
	end();
}

static void
deadlines_and_cancels_end_streams(void)
{
	struct exchange *x;

	start(NULL);
	x = open_stream("/t.S/Echo", "10S", NULL, "\0\0\0\0\1a", 6);
	peer_run(&peer);
	clock_fake(NOW_MS + 9900);
	peer_run(&peer);
	ok(x->closed && x->code == ERR_DEADLINE_EXCEEDED && reply_count(x) == 1,
	    "a deadline ends a stream, behind what was sent");
	is_int(t.gone[CALL_DEADLINE], 1, "... and its handler is told");

	x = open_stream("/t.S/Echo", NULL, NULL, "\0\0\0\0\1a", 6);
	peer_run(&peer);
	peer_cancel(&peer, x);
	peer_run(&peer);
	is_int(t.gone[CALL_CANCELLED], 1, "so does a cancel");
	is_int(server_counters(server)->calls, 0, "... no call is open");

	(void)open_stream("/t.S/Echo", NULL, NULL, "\0\0\0\0\1a", 6);
	(void)peer_call(&peer, "/t.S/Count", "1000 1000", 9, NULL);
	peer_run_deaf(&peer);
	is_int(server_counters(server)->calls, 2, "two streams are open");
	peer_close(&peer);
	for (int i = 0; i < 4; i++)
		loop_turn(false);
	is_int(t.gone[CALL_DISCONNECTED], 2, "a lost connection ends both");
	is_int(server_counters(server)->calls, 0, "... no call is open");
	server_free(server);
}

static bool drained;

static void
drain_ends_patient_streams(void)
{
	struct exchange *x, *y, *z;

	start(NULL);
	drained = false;
	x = open_stream("/t.S/Patient", NULL, NULL, "", 0);
	y = open_stream("/t.S/Echo", NULL, NULL, "", 0);
	peer_run(&peer);
	drain_server(server, &drained);
	loop_turn(false);
	z = open_stream("/t.S/Patient", NULL, NULL, "", 0);
	peer_run(&peer);
	ok(x->closed && x->code == ERR_UNAVAILABLE,
	    "a drain ends a stream that asked to be told");
	ok(z->closed && z->code == ERR_UNAVAILABLE,
	    "... also one that is opened meanwhile");
	ok(!y->closed && !drained, "... and waits for the others");
	peer_finish(&peer, y);
	peer_run(&peer);
	ok(y->closed && y->code == 0 && drained, "... until they end");
	end();
}

/* Two endless streams and a good client: nobody starves. */
static void
fast_streams_share_the_loop(void)
{
	struct exchange *good;
	struct h2peer other;

	start(NULL);
	peer_open(&other, server);
	peer_open_windows(&peer);
	(void)peer_call(&peer, "/t.S/Count", "4000000000 100", 14, NULL);
	peer_run_deaf(&peer);
	good = peer_call(&other, "/t.S/Sum", "x", 1, NULL);
	peer_run(&other);
	ok(text_is(good, "1 1"), "a stream without end holds up nobody");
	ok(t.sent < 100000, "... and fills no more than the socket: %u",
	    t.sent);
	peer_close(&other);
	peer_close(&peer);
	server_free(server);
}

int
main(void)
{
	log_init("streams", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	servers_stream();
	clients_stream();
	both_stream();
	large_messages_pass_the_window();
	slow_readers_are_waited_for();
	slow_handlers_are_waited_for();
	held_bytes_are_limited_in_all();
	broken_streams_are_ended();
	servers_may_end_first();
	deadlines_and_cancels_end_streams();
	drain_ends_patient_streams();
	fast_streams_share_the_loop();
	loop_fini();
	return tap_end();
}
