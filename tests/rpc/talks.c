/*
 * talks.c - what clients say. Kept short: tests cut them at every byte.
 */
#include "tests/rpc/talks.h"

#include "rpc/grpc.h"

#include <string.h>

#define LARGE_BYTES 60000 /* less than the server's window: no waiting */
#define PIECE_BYTES 16384

static void
unary(struct script *s)
{
	script_post(s, 1, "/s.S/Unary", NULL, 0);
	script_message(s, 1, "hello", true);
}

static void
metadata(struct script *s)
{
	const struct field fields[] = {
		{ ":method", "POST" },
		{ ":scheme", "http" },
		{ ":path", "/s.S/Meta" },
		{ "host", "localhost" },
		{ "content-type", "application/grpc+proto" },
		{ "te", "trailers" },
		{ "user-agent", "grpc-sweep/1.0" },
		{ "x-request-id", "0123456789abcdef" },
		{ "x-trace-bin", "AAEC" },
		{ "x-trace-bin", "AwQF" },
	};
	static const unsigned char padded[] = "\3\0\0\0\0\2hi\0\0\0";

	script_headers(s, 1, fields, countof(fields), false, true);
	script_frame(s, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 1, padded,
	    sizeof(padded) - 1);
	script_data(s, 1, "", 0, true);
}

static void
large(struct script *s)
{
	unsigned char *body = mem_new(GRPC_PREFIX_BYTES + LARGE_BYTES);
	size_t len = GRPC_PREFIX_BYTES + LARGE_BYTES;

	grpc_prefix_put(body, LARGE_BYTES);
	for (size_t i = GRPC_PREFIX_BYTES; i < len; i++)
		body[i] = (unsigned char)(i * 7);
	script_word(s, NGHTTP2_WINDOW_UPDATE, 0, 1 << 20);
	script_post(s, 1, "/s.S/Unary", NULL, 0);
	for (size_t at = 0; at < len; at += PIECE_BYTES) {
		size_t n = len - at < PIECE_BYTES ? len - at : PIECE_BYTES;

		script_data(s, 1, body + at, n, at + n == len);
	}
	free(body);
}

static void
failure(struct script *s)
{
	script_post(s, 1, "/s.S/Fail", NULL, 0);
	script_message(s, 1, " no: 100 % ", true);
	script_post(s, 3, "/s.S/Details", NULL, 0);
	script_message(s, 3, "why", true);
}

static void
refused(struct script *s)
{
	const struct field get[] = {
		{ ":method", "GET" },
		{ ":scheme", "http" },
		{ ":path", "/s.S/Unary" },
		{ "content-type", "application/grpc" },
	};

	script_post(s, 1, "/s.S/Nothing", NULL, 0);
	script_message(s, 1, "hello", true);
	script_headers(s, 3, get, countof(get), true, false);
	script_post(s, 5, "/s.S/Unary", NULL, 0);
	script_message(s, 5, "one", false);
	script_message(s, 5, "two", true);
	script_post(s, 7, "/s.S/Unary", NULL, 0);
	script_data(s, 7, "\0\0\0\0\5hal", 8, true);
}

static void
malformed(struct script *s)
{
	const struct field connection[] = { { "connection", "close" } };
	const struct field more[] = { { "content-length", "7" } };
	const struct field less[] = { { "content-length", "20" } };

	script_post(s, 1, "/s.S/Unary", connection, 1);
	script_message(s, 1, "hello", true);
	script_post(s, 3, "/s.S/Unary", more, 1);
	script_message(s, 3, "hello", true);
	script_post(s, 5, "/s.S/Sum", less, 1);
	script_message(s, 5, "hello", true);
}

static void
trailers(struct script *s)
{
	const struct field last[] = { { "x-checksum", "00ff" } };

	script_post(s, 1, "/s.S/Unary", NULL, 0);
	script_message(s, 1, "hello", false);
	script_headers(s, 1, last, 1, true, false);
	script_post(s, 3, "/s.S/Sum", NULL, 0);
	script_message(s, 3, "hello", false);
	script_headers(s, 3, last, 1, true, true);
}

static void
servers_stream(struct script *s)
{
	script_post(s, 1, "/s.S/Count", NULL, 0);
	script_message(s, 1, "6 50", true);
	script_post(s, 3, "/s.S/Count", NULL, 0);
	script_message(s, 3, "0 0", true);
}

static void
clients_stream(struct script *s)
{
	script_post(s, 1, "/s.S/Sum", NULL, 0);
	script_data(s, 1, "\0\0\0\0\3on", 7, false);
	script_data(s, 1, "e\0\0\0\0\3two\0\0", 11, false);
	script_data(s, 1, "\0\0\0\0\0\0\0\4last", 12, false);
	script_data(s, 1, "", 0, true);
}

static void
both_stream(struct script *s)
{
	script_post(s, 1, "/s.S/Echo", NULL, 0);
	script_message(s, 1, "one", false);
	script_data(s, 1, "\0\0\0\0\3two\0\0\0", 11, false);
	script_data(s, 1, "\0\0", 2, true);
	script_post(s, 3, "/s.S/Eager", NULL, 0);
	script_message(s, 3, "hello", true);
}

static void
early(struct script *s)
{
	script_post(s, 1, "/s.S/Early", NULL, 0);
	script_message(s, 1, "one", false);
	script_message(s, 1, "two", false);
	script_data(s, 1, "", 0, true);
}

/* The server may send only a few bytes at a time. */
static void
small_windows(struct script *s)
{
	script_post(s, 1, "/s.S/Count", NULL, 0);
	script_message(s, 1, "3 20", true);
	script_post(s, 3, "/s.S/Unary", NULL, 0);
	script_message(s, 3, "twenty bytes and more", true);
	for (int i = 0; i < 8; i++)
		script_word(s, NGHTTP2_WINDOW_UPDATE, i % 2 ? 3 : 1, 17);
	script_word(s, NGHTTP2_WINDOW_UPDATE, 1, 100);
}

static void
interleaved(struct script *s)
{
	script_post(s, 1, "/s.S/Sum", NULL, 0);
	script_post(s, 3, "/s.S/Echo", NULL, 0);
	script_message(s, 3, "three", false);
	script_post(s, 5, "/s.S/Unary", NULL, 0);
	script_frame(s, NGHTTP2_PING, 0, 0, "12345678", 8);
	script_message(s, 1, "one", false);
	script_message(s, 5, "five", true);
	script_post(s, 7, "/s.S/Count", NULL, 0);
	script_word(s, NGHTTP2_WINDOW_UPDATE, 3, 1000);
	script_message(s, 3, "again", true);
	script_message(s, 7, "2 9", true);
	script_frame(s, NGHTTP2_SETTINGS, 0, 0, "\0\4\0\1\0\0", 6);
	script_message(s, 1, "two", true);
}

static void
timed(struct script *s)
{
	const struct field time[] = { { "grpc-timeout", "5S" } };

	script_post(s, 1, "/s.S/Unary", time, 1);
	script_message(s, 1, "hello", true);
	script_post(s, 3, "/s.S/Echo", time, 1);
	script_message(s, 3, "hello", true);
	script_post(s, 5, "/s.S/Count", time, 1);
	script_message(s, 5, "4 10", true);
}

/* The client takes calls back at every stage, and says good-bye. */
static void
resets(struct script *s)
{
	script_post(s, 1, "/s.S/Unary", NULL, 0);
	script_word(s, NGHTTP2_RST_STREAM, 1, NGHTTP2_CANCEL);
	script_post(s, 3, "/s.S/Unary", NULL, 0);
	script_data(s, 3, "\0\0\0\0\5he", 7, false);
	script_word(s, NGHTTP2_RST_STREAM, 3, NGHTTP2_CANCEL);
	script_post(s, 5, "/s.S/Echo", NULL, 0);
	script_message(s, 5, "hello", false);
	script_word(s, NGHTTP2_RST_STREAM, 5, NGHTTP2_CANCEL);
	script_post(s, 7, "/s.S/Unary", NULL, 0);
	script_message(s, 7, "hello", true);
}

static void
good_bye(struct script *s)
{
	script_post(s, 1, "/s.S/Unary", NULL, 0);
	script_message(s, 1, "hello", true);
	script_frame(s, NGHTTP2_GOAWAY, 0, 0, "\0\0\0\0\0\0\0\0", 8);
}

/* With one call at a time, little memory, and small messages. */
static void
over_limits(struct script *s)
{
	static const unsigned char body[2000] = { 0, 0, 0, 7, 0xcb };
	static const unsigned char large[] = { 0, 0, 1, 0, 0 };

	script_post(s, 1, "/s.S/Echo", NULL, 0);
	script_post(s, 3, "/s.S/Unary", NULL, 0);
	script_data(s, 3, body, sizeof(body), true);
	script_post(s, 5, "/s.S/Sum", NULL, 0);
	script_data(s, 5, body, sizeof(body), false);
	script_data(s, 5, body, 100, true);
	script_data(s, 1, body, sizeof(body), true);
	script_post(s, 7, "/s.S/Unary", NULL, 0);
	script_data(s, 7, large, sizeof(large), true);
}

#define HEALTH "/grpc.health.v1.Health/"

/* Watch has no end but the client's. */
static void
health(struct script *s)
{
	script_post(s, 1, HEALTH "Watch", NULL, 0);
	script_message(s, 1, "", true);
	script_post(s, 3, HEALTH "Watch", NULL, 0);
	script_message(s, 3, "\n\3x.Y", true);
	script_post(s, 5, HEALTH "Check", NULL, 0);
	script_message(s, 5, "\n\3s.S", true);
	script_post(s, 7, HEALTH "List", NULL, 0);
	script_message(s, 7, "", true);
	script_word(s, NGHTTP2_RST_STREAM, 3, NGHTTP2_CANCEL);
	script_word(s, NGHTTP2_RST_STREAM, 1, NGHTTP2_CANCEL);
}

static void
reflection(struct script *s)
{
	script_post(s, 1,
	    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", NULL,
	    0);
	script_message(s, 1, ":\1*", false);
	script_message(s, 1, "\"\14csi.v1.Probe", false);
	script_message(s, 1, "\"\30grpc.health.v1.Health.x.", true);
}

const struct talk talks[] = {
	{ .name = "a unary call", .write = unary },
	{ .name = "one with metadata and padding", .write = metadata },
	{ .name = "a large one", .write = large },
	{ .name = "one that fails", .write = failure },
	{ .name = "refused ones", .write = refused },
	{ .name = "malformed ones", .write = malformed },
	{ .name = "calls with trailers", .write = trailers },
	{ .name = "server streaming", .write = servers_stream },
	{ .name = "client streaming", .write = clients_stream },
	{ .name = "bidirectional streaming", .write = both_stream },
	{ .name = "an answer before the request", .write = early },
	{ .name = "small windows", .write = small_windows },
	{ .name = "interleaved calls", .write = interleaved },
	{ .name = "calls with deadlines", .write = timed, .timed = true },
	{ .name = "calls that the client takes back",
	    .write = resets,
	    .races = true },
	{ .name = "calls over the limits",
	    .write = over_limits,
	    .varies = true,
	    .limits = { .calls = 1,
		.buffered_bytes = 3000,
		.request_bytes = 5000,
		.reply_bytes = 1000 } },
	{ .name = "health", .write = health, .races = true, .lasts = true },
	{ .name = "reflection", .write = reflection, .lasts = true },
	{ .name = "a client that says good-bye", .write = good_bye },
};
const size_t talk_count = countof(talks);

void
talk_script(const struct talk *talk, struct script *script)
{
	bool small = talk->write == small_windows;

	script_init(script, talk->name, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
	    small ? 10 : 1 << 20);
	talk->write(script);
}
