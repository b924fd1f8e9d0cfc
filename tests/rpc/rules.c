/*
 * rules.c - rules of HTTP/2 and gRPC that no well-behaved client library lets
 * one try: frames on streams that are over, metadata in all its spellings.
 * Each row is a conversation byte by byte, with a good call at its end where
 * the connection has to be well.
 */
#include "base/log.h"
#include "core/loop.h"
#include "tests/rpc/ledger.h"
#include "tests/rpc/script.h"
#include "tests/rpc/wire.h"
#include "tests/tap.h"

#define CLOSED_ID 1
#define GOOD_ID 31
#define FLOOD_FRAMES 5000

static char answers[WIRE_ANSWERS_MAX];

/* Does the line of stream `id` contain `text`? */
static bool
answer_has(int32_t id, const char *text)
{
	char start[16];
	const char *at = answers, *end;

	(void)snprintf(start, sizeof(start), "%d: ", id);
	for (; *at != '\0'; at = end + 1) {
		end = strchr(at, '\n');
		if (end == NULL)
			return false;
		if (strncmp(at, start, strlen(start)) == 0)
			return memmem(at, (size_t)(end - at), text,
				   strlen(text)) != NULL;
	}
	return false;
}

/* The error of the last GOAWAY, or NGHTTP2_NO_ERROR. */
static uint32_t
goaway_error(const struct wire *wire)
{
	const unsigned char *p = wire->in.data;
	uint32_t error = NGHTTP2_NO_ERROR;
	size_t len;

	for (size_t at = 0; wire->in.len - at >= 9; at += 9 + len) {
		len = (size_t)p[at] << 16 | (size_t)p[at + 1] << 8 | p[at + 2];
		if (p[at + 3] == NGHTTP2_GOAWAY && len >= 8)
			error = (uint32_t)p[at + 15] << 8 | p[at + 16];
	}
	return error;
}

/* ---- streams that are over ---- */

static void
call(struct script *s, int32_t id)
{
	script_post(s, id, "/s.S/Unary", NULL, 0);
	script_message(s, id, "hello", true);
}

static void
headers_again(struct script *s)
{
	call(s, CLOSED_ID);
	call(s, CLOSED_ID);
}

static void
trailers_too_late(struct script *s)
{
	const struct field last[] = { { "x-checksum", "00ff" } };

	call(s, CLOSED_ID);
	script_headers(s, CLOSED_ID, last, countof(last), true, false);
}

static void
data_too_late(struct script *s)
{
	call(s, CLOSED_ID);
	script_data(s, CLOSED_ID, "x", 1, true);
}

static void
data_behind_a_reset(struct script *s)
{
	script_post(s, CLOSED_ID, "/s.S/Unary", NULL, 0);
	script_word(s, NGHTTP2_RST_STREAM, CLOSED_ID, NGHTTP2_CANCEL);
	script_data(s, CLOSED_ID, "x", 1, true);
}

static void
headers_behind_a_reset(struct script *s)
{
	script_post(s, CLOSED_ID, "/s.S/Unary", NULL, 0);
	script_word(s, NGHTTP2_RST_STREAM, CLOSED_ID, NGHTTP2_CANCEL);
	call(s, CLOSED_ID);
}

static void
a_lower_number(struct script *s)
{
	call(s, 5);
	call(s, 3);
}

static void
priority_of_nothing(struct script *s)
{
	script_frame(s, NGHTTP2_PRIORITY, 0, 0, "\0\0\0\0\20", 5);
}

static void
harmless_frames(struct script *s)
{
	call(s, CLOSED_ID);
	script_word(s, NGHTTP2_WINDOW_UPDATE, CLOSED_ID, 100);
	script_word(s, NGHTTP2_RST_STREAM, CLOSED_ID, NGHTTP2_CANCEL);
	script_frame(s, NGHTTP2_PRIORITY, 0, CLOSED_ID, "\0\0\0\0\20", 5);
}

/* The client does not know yet that the server has reset its stream. */
static void
more_of_a_malformed_one(struct script *s)
{
	const struct field connection[] = { { "connection", "close" } };

	script_post(s, CLOSED_ID, "/s.S/Unary", connection, 1);
	script_message(s, CLOSED_ID, "hello", false);
	script_data(s, CLOSED_ID, "", 0, true);
}

static void
more_of_a_refused_one(struct script *s)
{
	script_post(s, 1, "/s.S/Sum", NULL, 0);
	script_post(s, 3, "/s.S/Sum", NULL, 0);
	script_post(s, 5, "/s.S/Sum", NULL, 0);
	script_message(s, 5, "hello", false);
	script_data(s, 5, "", 0, true);
	script_data(s, 1, "", 0, true);
	script_data(s, 3, "", 0, true);
}

static void
more_of_an_answered_one(struct script *s)
{
	script_post(s, CLOSED_ID, "/s.S/Early", NULL, 0);
	script_message(s, CLOSED_ID, "hello", false);
	script_message(s, CLOSED_ID, "hello", true);
}

static const struct over {
	const char *name;
	void (*put)(struct script *script);
	uint32_t error;   /* of the GOAWAY that ends the connection */
	int32_t id;       /* else: of this stream ... */
	const char *sees; /* ... the answer has this */
} over[] = {
	{ "HEADERS on a closed stream", headers_again, NGHTTP2_STREAM_CLOSED,
	    CLOSED_ID, "code=0" },
	{ "trailers on a closed stream", trailers_too_late,
	    NGHTTP2_STREAM_CLOSED, CLOSED_ID, "code=0" },
	{ "DATA on a closed stream", data_too_late, NGHTTP2_STREAM_CLOSED,
	    CLOSED_ID, "code=0" },
	{ "DATA behind the client's RST_STREAM", data_behind_a_reset,
	    NGHTTP2_STREAM_CLOSED, 0, NULL },
	{ "HEADERS behind the client's RST_STREAM", headers_behind_a_reset,
	    NGHTTP2_STREAM_CLOSED, 0, NULL },
	{ "a stream with a lower number", a_lower_number, NGHTTP2_STREAM_CLOSED,
	    5, "code=0" },
	{ "PRIORITY of stream 0", priority_of_nothing, NGHTTP2_PROTOCOL_ERROR,
	    0, NULL },
	{ "WINDOW_UPDATE, RST_STREAM, PRIORITY on a closed stream",
	    harmless_frames, NGHTTP2_NO_ERROR, CLOSED_ID, "code=0" },
	{ "DATA of a request that was malformed", more_of_a_malformed_one,
	    NGHTTP2_NO_ERROR, CLOSED_ID, "end=3 error=1" },
	{ "DATA of a stream that was one too many", more_of_a_refused_one,
	    NGHTTP2_NO_ERROR, 5, "end=3 error=7" },
	{ "DATA of a request that was answered early", more_of_an_answered_one,
	    NGHTTP2_NO_ERROR, CLOSED_ID, "end=2" },
};

/*
 * Sends a conversation, so many bytes at once; then all that follows happens.
 * Without its ACK: the client has not heard yet how many streams it may open.
 */
static void
say(struct wire *wire, const struct script *script, size_t piece)
{
	const size_t ack = script->frame[1].end, behind = script->frame[2].end;

	wire_put(wire, script->bytes.data, ack);
	for (size_t at = behind, n; at < script->bytes.len && !wire->eof;
	     at += n) {
		n = script->bytes.len - at;
		if (n > piece)
			n = piece;
		wire_put(wire, script->bytes.data + at, n);
		wire_settle(wire);
	}
}

/* In one piece, the second thing comes before the first one is answered. */
static void
check_over(const struct over *o, size_t piece)
{
	static const struct server_limits limits = { .streams = 2 };
	struct server *server = server_new(&ledger_router, &limits);
	const struct server_counters *counters;
	struct script script;
	struct wire wire;
	const char *wrong, *books;
	bool ends = o->error != NGHTTP2_NO_ERROR;
	uint64_t faults;
	size_t said;

	ledger_start(LEDGER_NOW, LEDGER_FORGETS);
	script_init(&script, o->name, 0, 0);
	o->put(&script);
	wire_open(&wire, server);
	say(&wire, &script, piece);
	said = script.bytes.len;
	call(&script, GOOD_ID);
	wire_put(&wire, script.bytes.data + said, script.bytes.len - said);
	wire_settle(&wire);
	wrong = wire_judge(&wire, false, answers);
	counters = server_counters(server);
	faults = counters->faults[SERVER_FAULT_PROTOCOL];
	server_free(server);
	books = ledger_close();
	if (!ok(wrong == NULL && books == NULL && wire.eof == ends &&
		    faults == ends && goaway_error(&wire) == o->error &&
		    answer_has(GOOD_ID, "code=0") == !ends &&
		    (o->sees == NULL || piece > 1 ||
			answer_has(o->id, o->sees)),
		"%s %s, in pieces of %zu bytes", o->name,
		ends ? "ends the connection" : "is ignored", piece))
		diag("%s; books %s; eof %d; %d faults; GOAWAY %u; %s",
		    wrong != NULL ? wrong : "in order",
		    books != NULL ? books : "right", wire.eof, (int)faults,
		    goaway_error(&wire), answers);
	script_fini(&script);
	wire_fini(&wire);
}

/* What is ignored is not free. */
static void
check_flood(const char *name, uint8_t type, const char *payload, size_t len)
{
	struct server *server = server_new(&ledger_router, NULL);
	const struct server_counters *counters;
	struct script script, frame;
	struct wire wire;
	size_t start;

	ledger_start(LEDGER_NOW, LEDGER_FORGETS);
	script_init(&script, name, 0, 0);
	more_of_a_malformed_one(&script);
	script_init(&frame, name, 0, 0);
	start = frame.bytes.len;
	script_frame(&frame, type,
	    NGHTTP2_FLAG_END_HEADERS | NGHTTP2_FLAG_END_STREAM, CLOSED_ID,
	    payload, len);
	wire_open(&wire, server);
	say(&wire, &script, script.bytes.len);
	for (int i = 0; i < FLOOD_FRAMES && !wire.eof; i++) {
		wire_put(
		    &wire, frame.bytes.data + start, frame.bytes.len - start);
		if (i % 100 == 0)
			wire_settle(&wire);
	}
	wire_settle(&wire);
	counters = server_counters(server);
	ok(wire.eof && counters->faults[SERVER_FAULT_FLOOD] == 1 &&
		goaway_error(&wire) == NGHTTP2_ENHANCE_YOUR_CALM,
	    "%d %s on a stream that was reset are a flood", FLOOD_FRAMES, name);
	server_free(server);
	is_str(ledger_close(), NULL, "... and no call is left");
	script_fini(&script);
	script_fini(&frame);
	wire_fini(&wire);
}

int
main(void)
{
	log_init("rules", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	for (size_t i = 0; i < countof(over); i++) {
		check_over(&over[i], 1);
		check_over(&over[i], 10000);
	}
	check_flood("DATA", NGHTTP2_DATA, "x", 1);
	/* :method POST, :scheme http, :path / */
	check_flood("HEADERS", NGHTTP2_HEADERS, "\x83\x86\x84", 3);
	loop_fini();
	return tap_end();
}
