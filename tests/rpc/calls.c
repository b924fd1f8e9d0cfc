/*
 * calls.c - a call's life: messages in pieces, answers, deadlines, callers who
 * go away, limits, and the orderly end of a connection.
 */
#include "config.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "rpc/grpc.h"
#include "tests/rpc/peer.h"
#include "tests/rpc/service.h"
#include "tests/tap.h"

#define NOW_MS 1000000

static struct server *server;
static struct h2peer peer;

static void
start(const struct server_limits *limits)
{
	clock_fake(NOW_MS);
	memset(service_gone, 0, sizeof(service_gone));
	service_last_words = NULL;
	server = server_new(&service_router, limits);
	peer_open(&peer, server);
	peer_run(&peer);
}

static void
end(void)
{
	peer_close(&peer);
	server_free(server);
	is_int(service_waiting, 0, "... and no call is left");
}

static bool
reply_is(const struct exchange *x, const void *bytes, size_t len)
{
	const unsigned char *message;

	return x->closed && x->reset == 0 && x->code == 0 &&
	    exchange_message(x, &message) == (long)len &&
	    memcmp(message, bytes, len) == 0;
}

static const struct field fields[] = {
	{ ":method", "POST" },
	{ ":scheme", "http" },
	{ ":path", "/test.T/Echo" },
	{ "content-type", "application/grpc" },
	{ "te", "trailers" },
};

/* ---- messages and answers ---- */

static void
pieces_make_a_message(void)
{
	static const unsigned char body[] = "\0\0\0\0\011012345678";
	bool all = true;

	start(NULL);
	for (size_t piece = 1; piece < sizeof(body); piece++) {
		struct exchange *x = peer_send(
		    &peer, fields, countof(fields), body, sizeof(body) - 1);

		x->piece = piece;
		peer_run(&peer);
		all &= reply_is(x, "012345678", 9);
	}
	ok(all, "a message in DATA frames of any size is put together");
	end();
}

static void
end_may_come_on_an_empty_frame(void)
{
	static const unsigned char body[] = "\0\0\0\0\1x";
	struct exchange *x;

	start(NULL);
	x = peer_send(&peer, fields, countof(fields), body, 6);
	x->stay_open = true;
	peer_run(&peer);
	ok(!x->closed, "no answer before the client has ended its half");
	x->stay_open = false;
	(void)nghttp2_session_resume_data(peer.session, x->id);
	peer_run(&peer);
	ok(reply_is(x, "x", 1), "END_STREAM may come on an empty frame");
	end();
}

/* Sends a second header list on an open stream. */
static void
send_trailers(struct exchange *x, const char *name, bool end_stream)
{
	const nghttp2_nv nv = {
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t) "1",
		.valuelen = 1,
	};

	if (nghttp2_submit_headers(peer.session,
		end_stream ? NGHTTP2_FLAG_END_STREAM : NGHTTP2_FLAG_NONE, x->id,
		NULL, &nv, 1, NULL) < 0)
		abort();
}

static void
trailers_may_end_a_request(void)
{
	static const struct {
		const char *name, *field;
		bool end_stream;
		int code;
		uint32_t reset;
	} rows[] = {
		{ "trailers", "x-checksum", true, 0, 0 },
		{ "trailers that do not end the stream", "x-checksum", false,
		    -1, NGHTTP2_PROTOCOL_ERROR },
		{ "a pseudo-header in trailers", ":path", true, -1,
		    NGHTTP2_PROTOCOL_ERROR },
		{ "a connection header in trailers", "upgrade", true, -1,
		    NGHTTP2_PROTOCOL_ERROR },
	};

	start(NULL);
	for (size_t i = 0; i < countof(rows); i++) {
		struct exchange *x = peer_send(
		    &peer, fields, countof(fields), "\0\0\0\0\1x", 6);

		x->stay_open = true;
		peer_run(&peer);
		send_trailers(x, rows[i].field, rows[i].end_stream);
		peer_run(&peer);
		ok(x->closed && x->code == rows[i].code &&
			x->reset == rows[i].reset,
		    "%s: %s", rows[i].name,
		    rows[i].code == 0 ? "answered" : "malformed");
	}
	end();
}

static void
wrong_bodies_are_answered(void)
{
	static const struct {
		const char *name, *body;
		size_t len;
		int code;
	} rows[] = {
		{ "no message", "", 0, ERR_UNIMPLEMENTED },
		{ "two messages", "\0\0\0\0\1x\0\0\0\0\1y", 12,
		    ERR_UNIMPLEMENTED },
		{ "half a prefix", "\0\0\0", 3, ERR_INTERNAL },
		{ "half a message", "\0\0\0\0\2x", 6, ERR_INTERNAL },
		{ "a compressed message", "\1\0\0\0\1x", 6, ERR_INTERNAL },
		{ "a bad flag", "\7\0\0\0\1x", 6, ERR_INTERNAL },
		{ "a length of 4 GiB", "\0\xff\xff\xff\xff", 5,
		    ERR_RESOURCE_EXHAUSTED },
	};

	start(NULL);
	for (size_t i = 0; i < countof(rows); i++) {
		struct exchange *x = peer_send(
		    &peer, fields, countof(fields), rows[i].body, rows[i].len);

		x->piece = i % 2 == 0 ? 1 : 0;
		peer_run(&peer);
		is_int(x->closed ? x->code : -2, rows[i].code, "%s: %s",
		    rows[i].name, err_code_name((enum err_code)rows[i].code));
	}
	end();
}

static void
empty_messages_are_messages(void)
{
	struct exchange *x;

	start(NULL);
	x = peer_call(&peer, "/test.T/Echo", "", 0, NULL);
	peer_run(&peer);
	ok(reply_is(x, "", 0), "an empty message is answered by one");
	end();
}

static void
large_messages_pass(void)
{
	const size_t size = (size_t)3 << 20;
	auto_free char *bytes = mem_new(size);
	struct exchange *x, *y;

	start(NULL);
	memset(bytes, 'x', size);
	x = peer_call(&peer, "/test.T/Echo", bytes, size, NULL);
	y = peer_call(&peer, "/test.T/Big", "3145728", 7, NULL);
	peer_run(&peer);
	ok(reply_is(x, bytes, size), "3 MiB go in and out");
	ok(reply_is(y, bytes, size), "... of two streams at once");
	end();
}

static void
failures_have_code_and_text(void)
{
	static const char text[] = "volume v\xc3\xb6l is 100% gone\n";
	struct exchange *x;

	start(NULL);
	x = peer_call(&peer, "/test.T/Fail", text, strlen(text), NULL);
	peer_run(&peer);
	is_int(x->code, ERR_NOT_FOUND, "a failure has its code");
	is_str(x->text, "volume v%C3%B6l is 100%25 gone%0A",
	    "... and its text, percent-encoded");
	ok(x->reply.len == 0 && x->reset == 0,
	    "... in trailers only, and the stream ends well");
	end();
}

/* ---- time, and callers who go away ---- */

static void
deadlines_are_kept(void)
{
	struct exchange *x, *y;

	start(NULL);
	x = peer_call(&peer, "/test.T/Wait", "", 0, "10S");
	peer_run(&peer);
	is_int(service_deadline_ms, NOW_MS + 10000 - 100,
	    "a deadline leaves a margin for the answer");
	clock_fake(NOW_MS + 9899);
	peer_run(&peer);
	ok(!x->closed, "nothing happens before");
	clock_fake(NOW_MS + 9900);
	peer_run(&peer);
	is_int(x->code, ERR_DEADLINE_EXCEEDED, "then the call fails");
	is_int(service_gone[CALL_DEADLINE], 1, "... its handler was told");
	is_int(service_waiting, 0, "... and has let go");

	service_last_words = "operation runs for 12 s";
	y = peer_call(&peer, "/test.T/Wait", "", 0, "100m");
	peer_run(&peer);
	clock_fake(NOW_MS + 10000);
	peer_run(&peer);
	is_int(y->code, ERR_ABORTED, "a handler may choose the status");
	is_str(y->text, service_last_words, "... and the text");
	end();
}

static void
deadlines_that_are_over_end_calls_at_once(void)
{
	struct exchange *x;

	start(NULL);
	x = peer_call(&peer, "/test.T/Wait", "", 0, "1n");
	peer_run(&peer);
	is_int(x->code, ERR_DEADLINE_EXCEEDED,
	    "a deadline of 1 ns is over on arrival");
	is_int(service_gone[CALL_DEADLINE], 0, "... no handler is bothered");
	end();
}

static void
calls_without_deadline_wait(void)
{
	struct exchange *x;

	start(NULL);
	x = peer_call(&peer, "/test.T/Wait", "", 0, NULL);
	peer_run(&peer);
	clock_fake(NOW_MS + 24 * 3600 * 1000);
	peer_run(&peer);
	ok(!x->closed && service_deadline_ms == 0,
	    "a call without deadline waits for a day");
	service_answer();
	peer_run(&peer);
	ok(reply_is(x, "done", 4), "... and is answered then");
	end();
}

static void
cancelled_calls_are_forgotten(void)
{
	struct exchange *x, *y;

	start(NULL);
	x = peer_call(&peer, "/test.T/Wait", "", 0, "10S");
	y = peer_call(&peer, "/test.T/Wait", "", 0, NULL);
	peer_run(&peer);
	peer_cancel(&peer, x);
	peer_run(&peer);
	is_int(service_gone[CALL_CANCELLED], 1,
	    "a reset stream's handler is told");
	is_int(service_waiting, 1, "... the other call stays");
	ok(x->status[0] == '\0', "... nothing is sent on the dead stream");
	clock_fake(NOW_MS + 20000);
	peer_run(&peer);
	is_int(service_gone[CALL_DEADLINE], 0, "... its deadline is off");
	service_answer();
	peer_run(&peer);
	ok(reply_is(y, "done", 4), "... the other one is answered");
	end();
}

static void
requests_cancelled_in_the_middle_are_dropped(void)
{
	struct exchange *x;

	start(NULL);
	x = peer_send(&peer, fields, countof(fields), "\0\0\0\0\2x", 6);
	x->stay_open = true;
	peer_run(&peer);
	peer_cancel(&peer, x);
	peer_run(&peer);
	ok(x->status[0] == '\0' && server_counters(server)->calls == 0,
	    "half a request that is reset never becomes a call");
	end();
}

static void
lost_connections_end_their_calls(void)
{
	start(NULL);
	for (int i = 0; i < 3; i++)
		(void)peer_call(&peer, "/test.T/Wait", "", 0, "10S");
	peer_run(&peer);
	is_int(server_counters(server)->calls, 3, "three calls are open");
	peer_close(&peer);
	loop_turn(false);
	loop_turn(false);
	is_int(service_gone[CALL_DISCONNECTED], 3,
	    "a lost connection tells all its handlers");
	is_int(server_counters(server)->connections, 0, "... and is forgotten");
	is_int(server_counters(server)->calls, 0, "... with its calls");
	server_free(server);
}

static void
answers_to_the_dead_are_dropped(void)
{
	static const uint8_t *bytes;
	ssize_t n;

	/* Cancelled and answered in one turn of the loop. */
	start(NULL);
	peer_cancel(&peer, peer_call(&peer, "/test.T/Wait", "", 0, NULL));
	n = nghttp2_session_mem_send(peer.session, &bytes);
	ok(n >= 0, "a call is cancelled before it was sent");
	peer_run(&peer);
	is_int(server_counters(server)->calls, 0, "... and leaves nothing");
	end();
}

static void
answers_may_cross_a_cancel(void)
{
	struct exchange *x, *y;

	start(NULL);
	x = peer_call(&peer, "/test.T/Wait", "", 0, NULL);
	peer_run(&peer);
	service_answer(); /* queued, and before it is sent ... */
	peer_cancel(&peer, x);
	peer_run(&peer); /* ... the client's RST_STREAM is read */
	ok(x->closed && x->code == -1, "an answer may cross a cancel");
	y = peer_call(&peer, "/test.T/Echo", "y", 1, NULL);
	peer_run(&peer);
	ok(reply_is(y, "y", 1), "... and the connection is well");
	end();
}

static void
servers_that_end_tell_handlers(void)
{
	start(NULL);
	(void)peer_call(&peer, "/test.T/Wait", "", 0, NULL);
	peer_run(&peer);
	server_free(server);
	is_int(service_gone[CALL_DISCONNECTED], 1,
	    "a server that is freed ends its calls");
	peer_run(&peer);
	ok(peer.wire.eof, "... and its connections");
	peer_close(&peer);
}

/* ---- limits ---- */

static void
sizes_are_limited(void)
{
	const struct server_limits limits = {
		.request_bytes = 100,
		.reply_bytes = 50,
	};
	char bytes[101] = { 0 };
	struct exchange *x;

	start(&limits);
	x = peer_call(&peer, "/test.T/Wait", bytes, 100, NULL);
	peer_run(&peer);
	is_int(service_waiting, 1, "a request at the limit is taken");
	service_answer();
	x = peer_call(&peer, "/test.T/Echo", bytes, 101, NULL);
	peer_run(&peer);
	is_int(x->code, ERR_RESOURCE_EXHAUSTED, "a larger one is refused");
	x = peer_call(&peer, "/test.T/Echo", bytes, 50, NULL);
	peer_run(&peer);
	is_int(x->code, 0, "an answer at the limit is sent");
	x = peer_call(&peer, "/test.T/Echo", bytes, 51, NULL);
	peer_run(&peer);
	is_int(x->code, ERR_RESOURCE_EXHAUSTED, "a larger one is not");
	end();
}

static void
refused_senders_are_stopped(void)
{
	const struct server_limits limits = { .request_bytes = 100 };
	static char bytes[200000];
	struct exchange *x, *good;

	start(&limits);
	x = peer_call(&peer, "/test.T/Echo", bytes, sizeof(bytes), NULL);
	x->stay_open = true;
	peer_run(&peer);
	ok(x->closed && x->code == ERR_RESOURCE_EXHAUSTED &&
		x->reset == NGHTTP2_NO_ERROR,
	    "a client that still sends gets the status, then NO_ERROR");
	good = peer_call(&peer, "/test.T/Echo", "x", 1, NULL);
	peer_run(&peer);
	is_int(good->code, 0, "... and its connection goes on");
	end();
}

static void
calls_and_bytes_are_limited_in_all(void)
{
	const struct server_limits limits = {
		.calls = 2,
		.buffered_bytes = 100,
	};
	char bytes[101] = { 0 };
	struct h2peer other;
	struct exchange *x;

	start(&limits);
	peer_open(&other, server);
	(void)peer_call(&peer, "/test.T/Wait", "", 0, NULL);
	(void)peer_call(&peer, "/test.T/Wait", bytes, 60, NULL);
	peer_run(&peer);
	x = peer_call(&peer, "/test.T/Wait", "", 0, NULL);
	peer_run(&peer);
	is_int(x->code, ERR_UNAVAILABLE, "a call too many is UNAVAILABLE");
	x = peer_call(&other, "/test.T/Echo", "x", 1, NULL);
	peer_run(&other);
	ok(reply_is(x, "x", 1), "... unless its connection has no other");
	x = peer_call(&peer, "/test.T/Echo", bytes, 60, NULL);
	peer_run(&peer);
	is_int(x->code, ERR_UNAVAILABLE, "so is a request too many bytes");
	service_answer();
	peer_run(&peer);
	x = peer_call(&peer, "/test.T/Echo", bytes, 60, NULL);
	peer_run(&peer);
	is_int(x->code, 0, "... until the others have ended");
	peer_close(&other);
	end();
}

static void
streams_are_limited(void)
{
	const struct server_limits limits = { .streams = 5 };
	struct exchange *x[8];
	unsigned open = 0;

	start(&limits);
	is_int(peer.max_streams, 5, "SETTINGS tell how many streams");
	for (int i = 0; i < 8; i++)
		x[i] = peer_call(&peer, "/test.T/Wait", "", 0, NULL);
	peer_run(&peer);
	is_int(service_waiting, 5, "so many are open at once");
	for (int i = 0; i < 2; i++) {
		service_answer();
		peer_run(&peer);
	}
	for (int i = 0; i < 8; i++)
		open += !reply_is(x[i], "done", 4);
	is_int(open, 0, "... and the others have their turn");
	end();
}

static void
rapid_resets_end_a_connection(void)
{
#ifdef HAVE_NGHTTP2_OPTION_SET_STREAM_RESET_RATE_LIMIT
	struct exchange *x[50], *good;
	struct h2peer other;
	unsigned reset = 0;

	start(NULL);
	peer_open(&other, server);
	while (reset < 2000 && !peer.wire.eof) {
		for (size_t i = 0; i < countof(x); i++)
			x[i] = peer_call(&peer, "/test.T/Wait", "", 0, NULL);
		peer_run(&peer);
		for (size_t i = 0; i < countof(x); i++)
			peer_cancel(&peer, x[i]);
		peer_run(&peer);
		reset += countof(x);
	}
	ok(peer.wire.eof && peer.goaway_code != NGHTTP2_NO_ERROR,
	    "a client that resets %u calls in a row is sent away", reset);
	good = peer_call(&other, "/test.T/Echo", "x", 1, NULL);
	peer_run(&other);
	ok(reply_is(good, "x", 1), "... the others do not notice");
	is_int(server_counters(server)->calls, 0, "... no call is left open");
	peer_close(&other);
	end();
#endif
}

static void
slow_readers_hold_nobody_up(void)
{
	const size_t size = (size_t)10 << 20;
	auto_free char *bytes = mem_new(size);
	struct exchange *x, *y, *z;
	struct h2peer other;

	start(NULL);
	memset(bytes, 'x', size);
	peer_open(&other, server);
	peer_open_windows(&peer);
	x = peer_call(&peer, "/test.T/Big", "10485760", 8, NULL);
	peer_run_deaf(&peer);
	y = peer_call(&peer, "/test.T/Echo", "y", 1, NULL);
	peer_run_deaf(&peer);
	z = peer_call(&other, "/test.T/Echo", "z", 1, NULL);
	peer_run(&other);
	ok(reply_is(z, "z", 1), "others are served beside a slow reader");
	peer_run(&peer);
	ok(reply_is(x, bytes, size) && reply_is(y, "y", 1),
	    "... and it gets all when it reads: %zu bytes", x->reply.len);

	x = peer_call(&peer, "/test.T/Big", "10485760", 8, NULL);
	peer_run_deaf(&peer);
	ok(!x->closed, "it may also stop reading for good");
	peer_close(&peer);
	peer_run(&other);
	is_int(server_counters(server)->connections, 1, "... and be forgotten");
	peer_close(&other);
	server_free(server);
}

static unsigned warnings;

static void
count_warnings(enum log_level level, const char *line)
{
	(void)line;
	warnings += level <= LOG_LEVEL_WARN;
}

static void
odd_good_byes_are_no_faults(void)
{
	struct h2peer odd;

	start(NULL);
	peer_open(&odd, server);
	log_init("calls", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	log_set_sink(count_warnings);
	warnings = 0;
	(void)peer_call(&odd, "/test.T/Echo", "x", 1, NULL);
	peer_run(&odd);
	/* nghttp2 does not send the odd number of grpc-go, so by hand. */
	(void)!write(odd.wire.fd, "\0\0\10\7\0\0\0\0\0\0\0\0\1\0\0\0\0", 17);
	for (int i = 0; i < 4; i++)
		loop_turn(false);
	is_int(server_counters(server)->connections, 1,
	    "a GOAWAY with the number of a client's stream ends it");
	is_int(warnings, 0, "... without a warning");
	peer_close(&odd);

	peer_open(&odd, server);
	peer_run(&odd);
	(void)!write(odd.wire.fd, "\0\0\1\0\0\0\0\0\0x", 10);
	for (int i = 0; i < 4; i++)
		loop_turn(false);
	is_int(server_counters(server)->connections, 1,
	    "DATA on stream 0 ends the connection");
	is_int(warnings, 1, "... with one");
	peer_close(&odd);
	log_set_sink(NULL);
	log_init("calls", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	end();
}

static void
no_preface_no_service(void)
{
	struct h2peer odd;

	start(NULL);
	peer_open(&odd, server);
	(void)!write(
	    odd.wire.fd, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", 36);
	for (int i = 0; i < 4; i++)
		loop_turn(false);
	is_int(server_counters(server)->connections, 1,
	    "a client that speaks HTTP/1 is disconnected");
	peer_close(&odd);
	end();
}

/* ---- the orderly end ---- */

static bool drained;

static void
drain_waits_for_calls(void)
{
	struct exchange *x, *y;

	start(NULL);
	drained = false;
	x = peer_call(&peer, "/test.T/Wait", "", 0, NULL);
	peer_run(&peer);
	drain_server(server, &drained);
	loop_turn(false);
	/* On its way before the client reads the GOAWAY. */
	y = peer_call(&peer, "/test.T/Wait", "", 0, NULL);
	peer_run(&peer);
	is_int(peer.goaway_count, 2, "the client is told twice to go");
	is_int(peer.goaway_last_id, y->id,
	    "... what was on its way meanwhile is still taken");
	ok(!drained && !peer.wire.eof, "... and waited for");
	service_answer();
	peer_run(&peer);
	ok(reply_is(x, "done", 4) && reply_is(y, "done", 4),
	    "its calls are answered");
	ok(drained && peer.wire.eof, "... then it is over");
	end();
}

static void
drain_does_not_wait_for_the_deaf(void)
{
	start(NULL);
	drained = false;
	drain_server(server, &drained);
	for (int i = 0; i < 4; i++)
		loop_turn(false);
	ok(!drained, "a client that does not answer is waited for ...");
	clock_fake(NOW_MS + 1000);
	for (int i = 0; i < 4; i++)
		loop_turn(false);
	ok(drained, "... for a second");
	end();
}

static void
drain_of_nothing_ends_at_once(void)
{
	drained = false;
	server = server_new(&service_router, NULL);
	drain_server(server, &drained);
	ok(!drained, "drain does not call back inside");
	loop_turn(false);
	ok(drained, "a server without connections is drained at once");
	server_free(server);
}

static void
default_timeouts_apply(void)
{
	struct call call = { .started_us = (int64_t)NOW_MS * 1000 };

	clock_fake(NOW_MS);
	call_default_timeout(&call, 1000);
	is_int(call.deadline_ms, NOW_MS + 950, "a default deadline is set");
	call_default_timeout(&call, 5000);
	is_int(call.deadline_ms, NOW_MS + 950, "... once");
	timer_disarm(&call.timer);
}

int
main(void)
{
	log_init("calls", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	pieces_make_a_message();
	end_may_come_on_an_empty_frame();
	trailers_may_end_a_request();
	wrong_bodies_are_answered();
	empty_messages_are_messages();
	large_messages_pass();
	failures_have_code_and_text();
	deadlines_are_kept();
	deadlines_that_are_over_end_calls_at_once();
	calls_without_deadline_wait();
	cancelled_calls_are_forgotten();
	requests_cancelled_in_the_middle_are_dropped();
	lost_connections_end_their_calls();
	answers_to_the_dead_are_dropped();
	answers_may_cross_a_cancel();
	servers_that_end_tell_handlers();
	sizes_are_limited();
	refused_senders_are_stopped();
	calls_and_bytes_are_limited_in_all();
	streams_are_limited();
	rapid_resets_end_a_connection();
	slow_readers_hold_nobody_up();
	odd_good_byes_are_no_faults();
	no_preface_no_service();
	drain_waits_for_calls();
	drain_does_not_wait_for_the_deaf();
	drain_of_nothing_ends_at_once();
	default_timeouts_apply();
	loop_fini();
	return tap_end();
}
