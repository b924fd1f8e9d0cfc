/*
 * client_server.c - servers that leave, refuse, limit and ask: what the
 * client does with its connections. goaway, ping and max_streams are cases of
 * grpc/grpc doc/negative-http2-interop-test-descriptions.md.
 */
#include "base/clock.h"
#include "rpc/client_impl.h"
#include "tests/rpc/caller.h"
#include "tests/rpc/rawserver.h"
#include "tests/tap.h"

#define MAX_CONCURRENT_STREAMS 3
#define INITIAL_WINDOW_SIZE 4
#define LAST_ID INT32_MAX

enum {
	NO_ERROR = 0,
	FLOW_CONTROL_ERROR = 3,
	REFUSED_STREAM = 7,
	CANCEL = 8,
	CALM = 11
};

static struct client *client;

static void
begin(struct one *o)
{
	one_start(o, client, "/test.T/Echo", "hello", 10000);
}

static bool
is_answered(struct one *o)
{
	for (int i = 0; i < 1000 && !o->done; i++)
		turn(1);
	return o->done && o->call.code == ERR_OK && reply_is(&o->call, "x");
}

static bool
ended_with(struct one *o, enum err_code code)
{
	for (int i = 0; i < 1000 && !o->done; i++)
		turn(1);
	return o->done && o->call.code == code;
}

/* The interop case: the next call goes to another connection. */
static void
goaway_moves_new_calls(void)
{
	struct wire old, young;
	struct one o, p;
	int32_t stream;

	begin(&o);
	raw_greet(&old, 0, 0);
	stream = raw_request(&old);
	raw_goaway(&old, stream, NO_ERROR);
	turn(5);
	begin(&p);
	raw_greet(&young, 0, 0);
	raw_answer(&young, raw_request(&young));
	ok(is_answered(&p), "goaway: the next call goes elsewhere");
	ok(!o.done, "... the one under way is waited for");
	raw_answer(&old, stream);
	ok(is_answered(&o), "... and answered");
	ok(raw_wait_eof(&old), "... and then the connection is closed");
	is_int(caller_connections(client), 1, "... which leaves one");
	client_call_fini(&o.call);
	client_call_fini(&p.call);
	wire_fini(&old);
	wire_fini(&young);
	turn(5);
	is_int(caller_connections(client), 0,
	    "a connection that the server ends is gone");
}

static void
goaway_retries_what_was_not_looked_at(void)
{
	struct wire old, young;
	struct one o[3];
	int32_t first;

	for (int i = 0; i < 3; i++)
		begin(&o[i]);
	raw_greet(&old, 0, 0);
	first = raw_request(&old);
	(void)raw_request(&old);
	(void)raw_request(&old);
	raw_goaway(&old, LAST_ID, NO_ERROR);
	turn(5);
	ok(!raw_has_caller(), "a GOAWAY that only warns moves no call");
	raw_goaway(&old, first, NO_ERROR);
	raw_greet(&young, 0, 0);
	raw_answer(&young, raw_request(&young));
	raw_answer(&young, raw_request(&young));
	ok(is_answered(&o[1]) && is_answered(&o[2]),
	    "calls that a leaving server did not look at go elsewhere");
	raw_answer(&old, first);
	ok(is_answered(&o[0]), "... and the one that it did is answered");
	for (int i = 0; i < 3; i++)
		client_call_fini(&o[i].call);
	wire_fini(&old);
	wire_fini(&young);
	turn(5);
}

static void
goaway_says_why(void)
{
	struct wire raw;
	struct one o;

	begin(&o);
	raw_greet(&raw, 0, 0);
	raw_goaway(&raw, raw_request(&raw), CALM);
	turn(5);
	wire_fini(&raw);
	finish_all();
	ok(o.call.code == ERR_UNAVAILABLE &&
		strstr(o.call.text, "ENHANCE_YOUR_CALM") != NULL,
	    "the reason of a GOAWAY is told: %s", o.call.text);
	client_call_fini(&o.call);
}

static void
refused_calls_are_tried_again(void)
{
	struct wire raw;
	struct one o, p;
	unsigned n = 0;
	int32_t stream;

	begin(&o);
	raw_greet(&raw, 0, 0);
	raw_reset(&raw, raw_request(&raw), REFUSED_STREAM);
	raw_answer(&raw, raw_request(&raw));
	ok(is_answered(&o), "a call that is refused once is tried again");
	begin(&p);
	for (; n < 10 && (stream = raw_request(&raw)) != 0; n++)
		raw_reset(&raw, stream, REFUSED_STREAM);
	is_int(n, 4, "... three times");
	finish_all();
	ok(ended_with(&p, ERR_UNAVAILABLE), "... then it is UNAVAILABLE: %s",
	    p.call.text);
	client_call_fini(&o.call);
	client_call_fini(&p.call);
	wire_fini(&raw);
	turn(5);
}

/* What the server has begun to answer is not sent twice. */
static void
answered_calls_are_not_tried_again(void)
{
	struct wire raw;
	struct one o;
	int32_t stream;

	begin(&o);
	raw_greet(&raw, 0, 0);
	stream = raw_request(&raw);
	raw_headers(&raw, 0, stream, RAW_OK_HEAD);
	raw_reset(&raw, stream, REFUSED_STREAM);
	ok(ended_with(&o, ERR_UNAVAILABLE),
	    "a call refused behind its headers is UNAVAILABLE");
	client_call_fini(&o.call);
	wire_fini(&raw);
	turn(5);
}

static void
pings_are_answered(void)
{
	static const char *const names[] = { "one....1", "two....2", "three..3",
		"four...4" };
	struct wire raw;
	struct frame frame;
	struct one o;
	int32_t stream;
	unsigned good = 0;

	begin(&o);
	raw_greet(&raw, 0, 0);
	stream = raw_request(&raw);
	raw_frame(&raw, NGHTTP2_PING, 0, 0, names[0], 8);
	raw_headers(&raw, 0, stream, RAW_OK_HEAD);
	raw_frame(&raw, NGHTTP2_PING, 0, 0, names[1], 8);
	raw_frame(&raw, NGHTTP2_DATA, 0, stream, "\0\0\0\0\1x", 6);
	raw_frame(&raw, NGHTTP2_PING, 0, 0, names[2], 8);
	raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, stream, RAW_OK_TAIL);
	raw_frame(&raw, NGHTTP2_PING, 0, 0, names[3], 8);
	ok(is_answered(&o), "ping: the call is answered");
	for (size_t i = 0; i < countof(names); i++)
		good += raw_wait(
			    &raw, NGHTTP2_PING, NGHTTP2_FLAG_ACK, &frame) &&
		    frame.len == 8 && memcmp(frame.payload, names[i], 8) == 0;
	is_int(good, countof(names), "... and so is each ping");
	client_call_fini(&o.call);
	wire_fini(&raw);
	turn(5);
}

static void
streams_are_not_too_many(void)
{
	struct wire raw;
	struct one first, o[10];
	int32_t stream, more = 0, good = 0;
	struct frame frame;

	begin(&first);
	raw_greet(&raw, MAX_CONCURRENT_STREAMS, 1);
	raw_answer(&raw, raw_request(&raw));
	ok(is_answered(&first), "max_streams: a first call");
	for (int i = 0; i < 10; i++)
		begin(&o[i]);
	for (int i = 0; i < 10; i++) {
		stream = raw_request(&raw);
		more += raw_wait(&raw, NGHTTP2_HEADERS, 0, &frame);
		raw_answer(&raw, stream);
		good += is_answered(&o[i]);
		client_call_fini(&o[i].call);
	}
	is_int(good, 10, "... and ten more, in their order");
	is_int(more, 0, "... never two at once");
	client_call_fini(&first.call);
	wire_fini(&raw);
	turn(5);
}

/* One waits for a stream, and neither deadline nor cancel need one. */
static void
waiting_calls_can_end(void)
{
	struct wire raw;
	struct one first, o, p, q;
	int64_t now_ms;
	int32_t stream;

	begin(&first);
	raw_greet(&raw, MAX_CONCURRENT_STREAMS, 1);
	stream = raw_request(&raw);
	/* not before nor far behind the real clock, which goes on below */
	now_ms = clock_now_ms();
	clock_fake(now_ms);
	begin(&o);
	one_start(&p, client, "/test.T/Echo", "", 100);
	one_start(&q, client, "/test.T/Echo", "", 0);
	turn(5);
	client_call_cancel(&o.call);
	ok(ended_with(&o, ERR_CANCELLED), "a call that waits is cancelled");
	clock_fake(now_ms + 100);
	ok(ended_with(&p, ERR_DEADLINE_EXCEEDED), "... or ends in time");
	clock_fake(-1);
	raw_answer(&raw, stream);
	ok(is_answered(&first), "... while the one before it goes on");
	raw_answer(&raw, raw_request(&raw));
	ok(is_answered(&q), "... and the one behind it");
	client_call_fini(&first.call);
	client_call_fini(&o.call);
	client_call_fini(&p.call);
	client_call_fini(&q.call);
	wire_fini(&raw);
	turn(5);
}

static void
stream_numbers_run_out(void)
{
	struct wire old, young;
	struct one o, p;
	int32_t stream;

	begin(&o);
	turn(1);
	raw_greet(&old, 0, 0);
	raw_answer(&old, raw_request(&old));
	ok(is_answered(&o), "a connection with plenty of numbers");
	client_call_fini(&o.call);
	(void)nghttp2_session_set_next_stream_id(
	    client->shared->h2.session, LAST_ID - 2);
	begin(&o);
	stream = raw_request(&old);
	is_int(stream, LAST_ID - 2, "... and its last one");
	begin(&p);
	raw_greet(&young, 0, 0);
	raw_answer(&young, raw_request(&young));
	ok(is_answered(&p), "... after which there is another connection");
	raw_answer(&old, stream);
	ok(is_answered(&o) && raw_wait_eof(&old),
	    "... and the old one ends with its last call");
	client_call_fini(&o.call);
	client_call_fini(&p.call);
	wire_fini(&old);
	wire_fini(&young);
	turn(5);
}

/* The server answers before it has all of the request. */
static void
early_answers_stop_the_request(void)
{
	static char body[200000];
	struct wire raw;
	struct frame frame;
	struct one o;
	size_t got = 0;

	memset(body, 'x', sizeof(body) - 1);
	one_start(&o, client, "/test.T/Echo", body, 10000);
	raw_greet(&raw, 0, 0);
	while (got < 65535 && raw_wait(&raw, NGHTTP2_DATA, 0, &frame))
		got += frame.len;
	is_int(got, 65535, "a request stops at the end of the window");
	raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, frame.id,
	    RAW_OK_HEAD "grpc-status: 8\ngrpc-message: too large\n");
	ok(ended_with(&o, ERR_RESOURCE_EXHAUSTED) &&
		str_eq(o.call.text, "too large"),
	    "... and the status that comes then counts");
	ok(raw_wait(&raw, NGHTTP2_RST_STREAM, 0, &frame) &&
		frame.payload[3] == NO_ERROR,
	    "... and the rest is taken back by RST_STREAM NO_ERROR");
	client_call_fini(&o.call);
	wire_fini(&raw);
	turn(5);
}

/* A server may close the window before it opens it. */
static void
windows_are_honoured(void)
{
	struct wire raw;
	struct frame frame;
	struct one o;

	begin(&o);
	raw_greet(&raw, INITIAL_WINDOW_SIZE, 3);
	ok(raw_wait(&raw, NGHTTP2_HEADERS, 0, &frame),
	    "a request's head comes");
	ok(raw_wait(&raw, NGHTTP2_DATA, 0, &frame) && frame.len <= 10,
	    "... and of its body what the window takes");
	raw_frame(&raw, NGHTTP2_WINDOW_UPDATE, 0, frame.id, "\0\0\0\x64", 4);
	while ((frame.flags & NGHTTP2_FLAG_END_STREAM) == 0 &&
	    raw_wait(&raw, NGHTTP2_DATA, 0, &frame))
		;
	ok((frame.flags & NGHTTP2_FLAG_END_STREAM) != 0,
	    "... and when that opens, the rest");
	raw_answer(&raw, frame.id);
	ok(is_answered(&o), "... and the answer");
	client_call_fini(&o.call);
	wire_fini(&raw);
	turn(5);
}

/* The socket is full since the server does not read, but it answers. */
static void
full_sockets_are_read(void)
{
	static char body[2000000];
	struct wire raw;
	struct frame frame;
	struct one o;

	memset(body, 'x', sizeof(body) - 1);
	one_start(&o, client, "/test.T/Echo", body, 10000);
	raw_greet(&raw, INITIAL_WINDOW_SIZE, 4 << 20);
	raw_frame(&raw, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\x40\0\0", 4);
	ok(raw_wait(&raw, NGHTTP2_HEADERS, 0, &frame), "a large request comes");
	turn(50);
	ok(client->shared->h2.unsent.len > 0, "... until the socket is full");
	raw_headers(&raw, NGHTTP2_FLAG_END_STREAM, frame.id,
	    RAW_OK_HEAD "grpc-status: 8\ngrpc-message: no room\n");
	ok(ended_with(&o, ERR_RESOURCE_EXHAUSTED),
	    "... and the answer is read all the same");
	client_call_fini(&o.call);
	wire_fini(&raw);
	turn(5);
}

/* Nobody reads, and the server sends all the same. */
static void
windows_are_enforced(void)
{
	static char bytes[16384];
	struct client_call call;
	struct frame frame;
	struct wire raw;
	uint32_t code = 0;

	client_call_init(&call, client);
	client_call_open(&call, "/t.S/Count", 0);
	client_call_send_end(&call);
	raw_greet(&raw, 0, 0);
	ok(raw_wait(&raw, NGHTTP2_HEADERS, 0, &frame),
	    "a stream that is not read");
	raw_headers(&raw, 0, frame.id, RAW_OK_HEAD);
	for (int i = 0; i < 5; i++)
		raw_frame(
		    &raw, NGHTTP2_DATA, 0, frame.id, bytes, sizeof(bytes));
	if (raw_wait(&raw, NGHTTP2_RST_STREAM, 0, &frame))
		code = frame.payload[3];
	is_int(code, FLOW_CONTROL_ERROR, "... refuses what it has no room for");
	is_int(read_one(&call), err_rc_of(ERR_INTERNAL), "... and is INTERNAL");
	client_call_fini(&call);
	wire_fini(&raw);
	turn(5);
}

static void
cancel_reaches_the_server(void)
{
	struct wire raw;
	struct frame frame;
	struct one o;
	int32_t stream;

	begin(&o);
	raw_greet(&raw, 0, 0);
	stream = raw_request(&raw);
	client_call_cancel(&o.call);
	ok(ended_with(&o, ERR_CANCELLED), "a call that runs is cancelled");
	ok(raw_wait(&raw, NGHTTP2_RST_STREAM, 0, &frame) &&
		frame.id == stream && frame.payload[3] == CANCEL,
	    "... which the server is told");
	raw_answer(&raw, stream); /* too late */
	turn(5);
	client_call_fini(&o.call);
	begin(&o);
	raw_answer(&raw, raw_request(&raw));
	ok(is_answered(&o), "... and its late answer hurts nobody");
	client_call_fini(&o.call);
	wire_fini(&raw);
	turn(5);
}

int
main(void)
{
	caller_init("client_server");
	raw_listen();
	client = client_new(caller_endpoint);
	goaway_moves_new_calls();
	goaway_retries_what_was_not_looked_at();
	goaway_says_why();
	refused_calls_are_tried_again();
	answered_calls_are_not_tried_again();
	pings_are_answered();
	streams_are_not_too_many();
	waiting_calls_can_end();
	stream_numbers_run_out();
	early_answers_stop_the_request();
	windows_are_honoured();
	full_sockets_are_read();
	windows_are_enforced();
	cancel_reaches_the_server();
	client_free(client);
	raw_unlisten();
	is_int(op_count(), 0, "no operation is left");
	caller_fini();
	return tap_end();
}
