/*
 * faults.c - what ends a connection: time that is over, floods, broken HTTP/2,
 * greed. Each is told to the peer by GOAWAY, logged, and counted; and what
 * well-behaved clients do is never taken for it.
 */
#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "rpc/grpc.h"
#include "tests/rpc/peer.h"
#include "tests/rpc/script.h"
#include "tests/rpc/service.h"
#include "tests/rpc/wire.h"
#include "tests/tap.h"

#include <sys/socket.h>

#define NOW_MS 1000000
#define SECOND ((int64_t)1000)

static struct server *server;
static char last_fault[256]; /* the log line */

static void
keep_fault(enum log_level level, const char *line)
{
	const char *at = strstr(line, "rpc.peer_fault");

	if (level == LOG_LEVEL_WARN && at != NULL)
		(void)snprintf(last_fault, sizeof(last_fault), "%s", at);
}

static void
start(const struct server_limits *limits)
{
	clock_fake(NOW_MS);
	last_fault[0] = '\0';
	server = server_new(&service_router, limits);
}

static void
end(void)
{
	service_answer();
	server_free(server);
}

static void
at(int64_t ms)
{
	clock_fake(NOW_MS + ms);
	for (int i = 0; i < 8; i++)
		loop_turn(false);
}

/* The error code of the last GOAWAY that came, or -1. */
static int64_t
goaway_code(const struct wire *wire)
{
	const unsigned char *p = wire->in.data;
	size_t left = wire->in.len;
	int64_t code = -1;

	while (left >= 9) {
		size_t len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];

		if (left < 9 + len)
			break;
		if (p[3] == NGHTTP2_GOAWAY)
			code = (int64_t)p[13] << 24 | (int64_t)p[14] << 16 |
			    (int64_t)p[15] << 8 | p[16];
		p += 9 + len;
		left -= 9 + len;
	}
	return code;
}

/* The fault was logged and counted once, and the peer told. */
static void
is_fault(
    struct wire *wire, enum server_fault fault, uint32_t code, const char *name)
{
	char reason[64];

	wire_settle(wire);
	(void)snprintf(
	    reason, sizeof(reason), "reason=%s ", server_fault_name[fault]);
	ok(wire->eof, "%s: the connection is ended", name);
	is_int(goaway_code(wire), code, "... with GOAWAY %s",
	    nghttp2_http2_strerror(code));
	is_int(server_counters(server)->faults[fault], 1, "... counted");
	ok(strstr(last_fault, reason) != NULL, "... and logged: %s",
	    last_fault);
	is_int(server_counters(server)->connections, 0, "... nothing is left");
}

static void
hello(struct wire *wire)
{
	struct script script;

	wire_open(wire, server);
	script_init(&script, "hello", 0, 0);
	wire_put(wire, script.bytes.data, script.bytes.len);
	script_fini(&script);
	wire_settle(wire);
}

/* A stream with what a message begins with, and `left` bytes missing. */
static void
begin_call(struct script *script, int32_t id, unsigned have, unsigned left)
{
	auto_free unsigned char *data = mem_new(GRPC_PREFIX_BYTES + have);

	script_post(script, id, "/test.T/Echo", NULL, 0);
	grpc_prefix_put(data, have + left);
	script_data(script, id, data, GRPC_PREFIX_BYTES + have, false);
}

/* ---- time ---- */

static void
a_handshake_has_a_time(void)
{
	static const char *const told[] = { "", "PRI * HTTP/2.0\r\n\r\nSM",
		NGHTTP2_CLIENT_MAGIC };
	struct wire wire;

	for (size_t i = 0; i < countof(told); i++) {
		start(NULL);
		wire_open(&wire, server);
		wire_put(&wire, told[i], strlen(told[i]));
		at(9 * SECOND);
		wire_settle(&wire);
		ok(!wire.eof, "a client may say %zu bytes for 9 s",
		    strlen(told[i]));
		at(10 * SECOND);
		is_fault(&wire, SERVER_FAULT_HANDSHAKE,
		    NGHTTP2_SETTINGS_TIMEOUT, "... but not for 10 s");
		wire_fini(&wire);
		end();
	}
}

static void
a_first_call_has_a_time(void)
{
	struct wire wire;

	start(NULL);
	hello(&wire);
	at(299 * SECOND);
	wire_settle(&wire);
	ok(!wire.eof, "a connection may be silent for a while");
	at(300 * SECOND);
	is_fault(&wire, SERVER_FAULT_FIRST_CALL, NGHTTP2_NO_ERROR,
	    "one that never makes a call");
	wire_fini(&wire);
	end();
}

static void
idle_connections_stay(void)
{
	const struct server_limits limits = { .idle_ms = 60 * SECOND };
	struct exchange *x;
	struct h2peer peer;

	start(NULL);
	peer_open(&peer, server);
	x = peer_call(&peer, "/test.T/Echo", "x", 1, NULL);
	peer_run(&peer);
	at(30 * 24 * 3600 * SECOND);
	peer_run(&peer);
	ok(!peer.wire.eof,
	    "a connection that was used may be idle for a month");
	x = peer_call(&peer, "/test.T/Echo", "x", 1, NULL);
	peer_run(&peer);
	is_int(x->code, 0, "... and is used again");
	peer_close(&peer);
	end();

	start(&limits);
	peer_open(&peer, server);
	x = peer_call(&peer, "/test.T/Wait", "x", 1, NULL);
	peer_run(&peer);
	at(120 * SECOND);
	peer_run(&peer);
	ok(!peer.wire.eof, "with a limit, a call may take longer than that");
	service_answer();
	peer_run(&peer);
	is_int(x->code, 0, "... and is answered");
	at(179 * SECOND);
	peer_run(&peer);
	ok(!peer.wire.eof, "... from then on it counts");
	at(180 * SECOND);
	peer_run(&peer);
	ok(peer.wire.eof, "... and ends the connection");
	is_int(server_counters(server)->faults[SERVER_FAULT_IDLE], 1,
	    "... for that reason");
	peer_close(&peer);
	end();
}

static void
a_request_has_a_time(void)
{
	struct script script;
	struct wire wire;

	start(NULL);
	wire_open(&wire, server);
	script_init(&script, "slow", 0, 0);
	begin_call(&script, 1, 3, 5);
	script_post(&script, 3, "/test.T/Echo", NULL, 0);
	script_message(&script, 3, "x", true);
	wire_put(&wire, script.bytes.data, script.bytes.len);
	wire_settle(&wire);
	at(29 * SECOND);
	wire_settle(&wire);
	is_int(server_counters(server)->refusals[SERVER_REFUSED_SLOW], 0,
	    "a request may take a while to arrive");
	at(31 * SECOND);
	wire_settle(&wire);
	is_int(server_counters(server)->refusals[SERVER_REFUSED_SLOW], 1,
	    "... but not 30 s");
	ok(!wire.eof && wire_judge(&wire, false, NULL) == NULL,
	    "... its connection goes on");
	is_int(server_counters(server)->buffered_bytes, 0,
	    "... its bytes are gone");
	wire_fini(&wire);
	script_fini(&script);
	end();
}

static void
a_header_list_has_a_time(void)
{
	/* HEADERS of stream 1 without END_HEADERS: nothing else may come. */
	static const unsigned char half[] = { 0, 0, 1, 1, 0, 0, 0, 0, 1, 0x83 };
	struct wire wire;

	start(NULL);
	hello(&wire);
	wire_put(&wire, half, sizeof(half));
	wire_settle(&wire);
	at(29 * SECOND);
	wire_settle(&wire);
	ok(!wire.eof, "a header list may take a while to arrive");
	at(31 * SECOND);
	is_fault(&wire, SERVER_FAULT_STALLED, NGHTTP2_ENHANCE_YOUR_CALM,
	    "one that never ends");
	wire_fini(&wire);
	end();
}

/* ---- readers that do not read ---- */

static void
answers_have_to_be_taken(void)
{
	struct exchange *x;
	struct h2peer peer;

	start(NULL);
	peer_open(&peer, server);
	/* Larger than the window, which nobody opens. */
	x = peer_call(&peer, "/test.T/Big", "100000", 6, NULL);
	nghttp2_session_set_user_data(peer.session, &peer);
	peer_run_deaf(&peer);
	at(59 * SECOND);
	ok(server_counters(server)->connections == 1, "an answer may wait");
	at(61 * SECOND);
	is_int(server_counters(server)->connections, 0, "... but not for 60 s");
	is_int(server_counters(server)->faults[SERVER_FAULT_SLOW_READER], 1,
	    "... the reason is told");
	ok(!x->closed, "(it was never read)");
	peer_close(&peer);
	end();
}

static void
sockets_have_to_be_read(void)
{
	static unsigned char pings[17 * 900];
	struct wire wire;
	int small = 4096;

	start(NULL);
	wire_open(&wire, server);
	(void)setsockopt(wire.fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	wire_put(&wire, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
	wire_put(&wire, "\0\0\0\4\0\0\0\0\0", 9);
	for (size_t i = 0; i < sizeof(pings); i += 17) {
		pings[i + 2] = 8;
		pings[i + 3] = NGHTTP2_PING;
	}
	/* Until the server has more to say than the socket takes. */
	for (int i = 0; i < 200 && server_counters(server)->connections == 1;
	     i++) {
		clock_fake(NOW_MS + i * 10 * SECOND);
		(void)send(wire.fd, pings, sizeof(pings), MSG_NOSIGNAL);
		for (int turn = 0; turn < 4; turn++)
			loop_turn(false);
	}
	is_int(server_counters(server)->connections, 0,
	    "a client that never reads is not kept");
	is_int(server_counters(server)->faults[SERVER_FAULT_SLOW_READER] +
		server_counters(server)->faults[SERVER_FAULT_FLOOD],
	    1, "... and counted");
	wire_fini(&wire);
	end();
}

/* ---- greed ---- */

static void
who_holds_most_makes_room(void)
{
	const struct server_limits limits = { .buffered_bytes = 10000 };
	struct script greedy;
	struct exchange *x;
	struct wire wire;
	struct h2peer peer;
	char bytes[3000] = { 0 };

	start(&limits);
	wire_open(&wire, server);
	script_init(&greedy, "greedy", 0, 0);
	for (int32_t id = 1; id < 8; id += 2)
		begin_call(&greedy, id, 2900, 100);
	wire_put(&wire, greedy.bytes.data, greedy.bytes.len);
	wire_settle(&wire);
	ok(!wire.eof, "one that holds too much is refused requests");
	is_int(server_counters(server)->refusals[SERVER_REFUSED_MEMORY], 1,
	    "... for that reason");
	ok(server_counters(server)->buffered_bytes < 10000,
	    "... and the limit holds");

	peer_open(&peer, server);
	x = peer_call(&peer, "/test.T/Echo", bytes, sizeof(bytes), NULL);
	peer_run(&peer);
	is_int(x->code, 0, "another is served nevertheless");
	ok(!wire.eof, "... and if it is quick, nobody minds");
	x = peer_call(&peer, "/test.T/Wait", bytes, sizeof(bytes), NULL);
	peer_run(&peer);
	is_int(service_waiting, 1, "one that takes longer is served, too");
	service_answer();
	peer_run(&peer);
	is_int(x->code, 0, "... to its end");
	is_int(server_counters(server)->connections, 1,
	    "... and the greedy ended");
	wire_settle(&wire);
	is_int(goaway_code(&wire), NGHTTP2_ENHANCE_YOUR_CALM, "... and told");
	is_int(server_counters(server)->faults[SERVER_FAULT_MEMORY], 1,
	    "... and counted");
	peer_close(&peer);
	wire_fini(&wire);
	script_fini(&greedy);
	end();
}

static void
headers_count_as_well(void)
{
	const struct server_limits limits = { .buffered_bytes = 10000 };
	char value[1001];
	const struct field fields[] = { { ":method", "POST" },
		{ ":scheme", "http" }, { ":path", "/test.T/Echo" },
		{ "content-type", "application/grpc" }, { "x-long", value } };
	struct exchange *x[12];
	struct h2peer peer;
	unsigned refused = 0;

	memset(value, 'v', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	start(&limits);
	peer_open(&peer, server);
	for (int i = 0; i < 12; i++) {
		x[i] = peer_send(&peer, fields, countof(fields), "", 0);
		x[i]->stay_open = true;
	}
	peer_run(&peer);
	for (int i = 0; i < 12; i++)
		refused += x[i]->code == ERR_UNAVAILABLE;
	is_int(refused, 3, "headers of requests that only begin are bounded");
	ok(server_counters(server)->buffered_bytes <= 11000,
	    "... at the limit: %zu", server_counters(server)->buffered_bytes);
	peer_close(&peer);
	loop_turn(false);
	is_int(
	    server_counters(server)->buffered_bytes, 0, "... and given back");
	end();
}

static void
answers_count_as_well(void)
{
	const struct server_limits limits = { .buffered_bytes = 300000 };
	struct exchange *x[8];
	unsigned good = 0, late = 0;
	struct h2peer peer;

	start(&limits);
	peer_open(&peer, server);
	for (int i = 0; i < 8; i++)
		x[i] = peer_call(&peer, "/test.T/Big", "100000", 6, NULL);
	peer_run_deaf(&peer);
	ok(server_counters(server)->buffered_bytes <= 500000,
	    "answers that nobody reads are bounded: %zu bytes",
	    server_counters(server)->buffered_bytes);
	peer_open_windows(&peer);
	peer_run(&peer);
	for (int i = 0; i < 8; i++) {
		good += x[i]->code == 0;
		late += x[i]->code == ERR_UNAVAILABLE;
	}
	ok(good >= 3 && good + late == 8,
	    "... %u were given, %u are to be asked for again", good, late);
	peer_close(&peer);
	end();
}

static void
streams_are_limited_in_all(void)
{
	const struct server_limits limits = { .calls = 2 };
	struct script script;
	struct exchange *x;
	struct wire wire;
	struct h2peer peer;

	start(&limits);
	wire_open(&wire, server);
	script_init(&script, "half", 0, 0);
	for (int32_t id = 1; id < 14; id += 2)
		begin_call(&script, id, 1, 1);
	wire_put(&wire, script.bytes.data, script.bytes.len);
	wire_settle(&wire);
	is_int(server_counters(server)->streams_refused, 3,
	    "of 7 requests that only begin, 4 may wait");
	ok(!wire.eof && wire_judge(&wire, false, NULL) == NULL,
	    "... the others are reset, and nobody is blamed");
	peer_open(&peer, server);
	x = peer_call(&peer, "/test.T/Echo", "x", 1, NULL);
	peer_run(&peer);
	is_int(x->code, 0, "... another connection gets in");
	wire_fini(&wire);
	peer_run(&peer);
	x = peer_call(&peer, "/test.T/Echo", "x", 1, NULL);
	peer_run(&peer);
	is_int(x->code, 0, "... and all is well when they have gone");
	peer_close(&peer);
	script_fini(&script);
	end();
}

/* ---- floods ---- */

static void
floods_end_connections(void)
{
	static const struct {
		const char *name;
		unsigned char frame[24];
		size_t len;
	} rows[] = {
		{ "PING", { 0, 0, 8, 6 }, 17 },
		{ "PING ACK", { 0, 0, 8, 6, 1 }, 17 },
		{ "SETTINGS", { 0, 0, 0, 4 }, 9 },
		{ "WINDOW_UPDATE", { 0, 0, 4, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1 },
		    13 },
		{ "PRIORITY", { 0, 0, 5, 2, 0, 0, 0, 0, 9, 0, 0, 0, 3, 1 },
		    14 },
		{ "frames of no known type", { 0, 0, 3, 0x77 }, 12 },
		{ "empty DATA", { 0, 0, 0, 0, 0, 0, 0, 0, 1 }, 9 },
		{ "DATA byte by byte", { 0, 0, 1, 0, 0, 0, 0, 0, 1, 0 }, 10 },
		{ "padding",
		    { 0, 0, 8, 0, 8, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0 }, 17 },
	};
	struct script script;
	struct wire wire;

	for (size_t i = 0; i < countof(rows); i++) {
		start(NULL);
		hello(&wire);
		script_init(&script, "open", 0, 0);
		script.bytes.len = 0;
		script_post(&script, 1, "/test.T/Echo", NULL, 0);
		/* A message that is long enough for the flood. */
		script_data(&script, 1, "\0\0\0\xff\xff", 5, false);
		wire_put(&wire, script.bytes.data, script.bytes.len);
		wire_settle(&wire);
		for (int n = 0; n < 900; n++)
			wire_put(&wire, rows[i].frame, rows[i].len);
		wire_settle(&wire);
		ok(!wire.eof, "%s: 900 at once are borne", rows[i].name);
		for (int n = 0; n < 200; n++)
			wire_put(&wire, rows[i].frame, rows[i].len);
		is_fault(&wire, SERVER_FAULT_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM,
		    "... 1,100 are not");
		wire_fini(&wire);
		script_fini(&script);
		end();
	}
}

static void
slow_floods_are_borne(void)
{
	static const unsigned char ping[17] = { 0, 0, 8, 6 };
	struct wire wire;

	start(NULL);
	hello(&wire);
	for (int second = 1; second <= 100; second++) {
		for (int n = 0; n < 90; n++)
			wire_put(&wire, ping, sizeof(ping));
		at(second * SECOND);
		wire_settle(&wire);
	}
	ok(!wire.eof, "90 pings a second are borne for ever");
	wire_fini(&wire);
	end();
}

static void
resets_end_connections(void)
{
	struct script script;
	struct wire wire;
	int rounds = 0;

	start(NULL);
	hello(&wire);
	for (int32_t id = 1; id < 4000 && !wire.eof; id += 2, rounds++) {
		script_init(&script, "reset", 0, 0);
		script.bytes.len = 0;
		script_post(&script, id, "/test.T/Wait", NULL, 0);
		script_word(&script, NGHTTP2_RST_STREAM, id, NGHTTP2_CANCEL);
		wire_put(&wire, script.bytes.data, script.bytes.len);
		wire_settle(&wire);
		script_fini(&script);
	}
	ok(rounds > 500 && rounds < 1200, "rapid reset: %d were borne", rounds);
	is_fault(&wire, SERVER_FAULT_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM,
	    "... no more");
	is_int(server_counters(server)->calls, 0, "... no call is left");
	wire_fini(&wire);
	end();
}

static void
mistakes_add_up(void)
{
	static const struct field bad = { "connection", "close" };
	struct script script;
	struct wire wire;
	int rounds = 0;

	start(NULL);
	hello(&wire);
	for (int32_t id = 1; id < 4000 && !wire.eof; id += 2, rounds++) {
		script_init(&script, "bad", 0, 0);
		script.bytes.len = 0;
		script_post(&script, id, "/test.T/Echo", &bad, 1);
		wire_put(&wire, script.bytes.data, script.bytes.len);
		wire_settle(&wire);
		script_fini(&script);
	}
	ok(rounds > 50 && rounds < 200, "malformed requests: %d were borne",
	    rounds);
	is_fault(&wire, SERVER_FAULT_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM,
	    "... no more");
	wire_fini(&wire);
	end();
}

/* A client may not have read yet how many streams it may open. */
static void
streams_too_many_are_no_flood(void)
{
	const struct server_limits limits = { .streams = 50 };
	struct script script;
	struct wire wire;

	start(&limits);
	wire_open(&wire, server);
	wire_put(&wire, NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
	wire_put(&wire, "\0\0\0\4\0\0\0\0\0", 9);
	for (int32_t id = 1; id < 800; id += 2) {
		script_init(&script, "many", 0, 0);
		script.bytes.len = 0;
		script_post(&script, id, "/test.T/Wait", NULL, 0);
		script_message(&script, id, "0123456789", true);
		wire_put(&wire, script.bytes.data, script.bytes.len);
		script_fini(&script);
	}
	wire_settle(&wire);
	ok(!wire.eof, "400 streams at once, where 50 may be, are no fault");
	is_int(service_waiting, 50, "... 50 are served");
	is_str(last_fault, "", "... and nobody is blamed");
	wire_fini(&wire);
	end();
}

/* grpc-go pings to measure the bandwidth, and opens windows as it reads. */
static void
honest_work_is_no_flood(void)
{
	static const uint8_t bdp[8] = { 2, 4, 16, 16, 9, 14, 7, 7 };
	struct exchange *x = NULL;
	struct h2peer peer;
	unsigned good = 0;

	start(NULL);
	peer_open(&peer, server);
	for (int i = 0; i < 5000; i++) {
		x = peer_call(&peer, "/test.T/Echo", "x", 1, NULL);
		if (nghttp2_submit_ping(peer.session, 0, bdp) < 0 ||
		    nghttp2_submit_window_update(peer.session, 0, 0, 10) < 0)
			abort();
		peer_run(&peer);
		good += x->code == 0;
	}
	is_int(good, 5000, "5,000 calls, each with a ping and a window update");
	peer_close(&peer);
	end();
}

/* ---- broken HTTP/2 ---- */

static void
broken_http2_is_told(void)
{
	static const struct {
		const char *name;
		const char *bytes;
		size_t len;
		uint32_t code;
	} rows[] = {
		{ "a frame that is too large", "\1\0\0\0\0\0\0\0\1", 9,
		    NGHTTP2_FRAME_SIZE_ERROR },
		{ "DATA on stream 0", "\0\0\1\0\0\0\0\0\0x", 10,
		    NGHTTP2_PROTOCOL_ERROR },
		{ "PRIORITY on stream 0", "\0\0\5\2\0\0\0\0\0\0\0\0\3\1", 14,
		    NGHTTP2_PROTOCOL_ERROR },
		{ "an even stream", "\0\0\1\1\5\0\0\0\2\x83", 10,
		    NGHTTP2_PROTOCOL_ERROR },
		{ "bad HPACK", "\0\0\1\1\5\0\0\0\1\xff", 10,
		    NGHTTP2_COMPRESSION_ERROR },
	};
	struct wire wire;

	for (size_t i = 0; i < countof(rows); i++) {
		start(NULL);
		hello(&wire);
		wire_put(&wire, rows[i].bytes, rows[i].len);
		is_fault(
		    &wire, SERVER_FAULT_PROTOCOL, rows[i].code, rows[i].name);
		wire_fini(&wire);
		end();
	}
	start(NULL);
	wire_open(&wire, server);
	wire_put(&wire, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27);
	is_fault(
	    &wire, SERVER_FAULT_PROTOCOL, NGHTTP2_PROTOCOL_ERROR, "HTTP/1.1");
	wire_fini(&wire);
	end();
}

static void
closed_streams_stay_closed(void)
{
	static const struct {
		const char *name;
		uint8_t type;
	} rows[] = { { "DATA", NGHTTP2_DATA }, { "HEADERS", NGHTTP2_HEADERS } };
	struct script script;
	struct wire wire;

	for (size_t i = 0; i < countof(rows); i++) {
		start(NULL);
		wire_open(&wire, server);
		script_init(&script, "closed", 0, 0);
		script_post(&script, 3, "/test.T/Echo", NULL, 0);
		script_message(&script, 3, "x", true);
		wire_put(&wire, script.bytes.data, script.bytes.len);
		wire_settle(&wire);
		script.bytes.len = 0;
		if (rows[i].type == NGHTTP2_DATA)
			script_data(&script, 3, "x", 1, true);
		else
			script_post(&script, 1, "/test.T/Echo", NULL, 0);
		wire_put(&wire, script.bytes.data, script.bytes.len);
		is_fault(&wire, SERVER_FAULT_PROTOCOL, NGHTTP2_STREAM_CLOSED,
		    rows[i].name);
		wire_fini(&wire);
		script_fini(&script);
		end();
	}
}

/* The client cannot know yet that its stream is reset. */
static void
what_we_reset_may_be_under_way(void)
{
	static const struct field bad = { "connection", "close" };
	struct script script;
	struct wire wire;

	start(NULL);
	wire_open(&wire, server);
	script_init(&script, "late", 0, 0);
	script_post(&script, 1, "/test.T/Echo", &bad, 1);
	wire_put(&wire, script.bytes.data, script.bytes.len);
	wire_settle(&wire);
	script.bytes.len = 0;
	script_data(&script, 1, "12345678", 8, true);
	script_post(&script, 3, "/test.T/Echo", NULL, 0);
	script_message(&script, 3, "x", true);
	wire_put(&wire, script.bytes.data, script.bytes.len);
	wire_settle(&wire);
	ok(!wire.eof && wire_judge(&wire, false, NULL) == NULL,
	    "what comes on a stream that we have reset is no fault");
	is_int(server_counters(server)->calls_ended, 1,
	    "... the next call is served");
	wire_fini(&wire);
	script_fini(&script);
	end();
}

int
main(void)
{
	log_init("faults", LOG_LEVEL_WARN, LOG_FORMAT_TEXT);
	log_set_sink(keep_fault);
	if (loop_init() < 0)
		return 1;
	a_handshake_has_a_time();
	a_first_call_has_a_time();
	idle_connections_stay();
	a_request_has_a_time();
	a_header_list_has_a_time();
	answers_have_to_be_taken();
	sockets_have_to_be_read();
	who_holds_most_makes_room();
	headers_count_as_well();
	answers_count_as_well();
	streams_are_limited_in_all();
	floods_end_connections();
	slow_floods_are_borne();
	resets_end_connections();
	mistakes_add_up();
	streams_too_many_are_no_flood();
	honest_work_is_no_flood();
	broken_http2_is_told();
	closed_streams_stay_closed();
	what_we_reset_may_be_under_way();
	loop_fini();
	return tap_end();
}
