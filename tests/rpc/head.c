/*
 * head.c - which requests are taken and how the others are refused, on the
 * wire: each row is one HEADERS frame (with an empty message behind it).
 */
#include "base/log.h"
#include "core/loop.h"
#include "tests/rpc/peer.h"
#include "tests/rpc/service.h"
#include "tests/tap.h"

#define OK_ROW 200, 0, 0
#define MALFORMED 0, -1, NGHTTP2_PROTOCOL_ERROR

struct row {
	const char *name;
	int http_status;                 /* 0: none comes */
	int code;                        /* grpc-status, -1: none comes */
	uint32_t reset;                  /* how the stream is closed */
	struct field fields[FIELDS_MAX]; /* up to the first NULL */
};

#define METHOD                                                                 \
	{                                                                      \
		":method", "POST"                                              \
	}
#define SCHEME                                                                 \
	{                                                                      \
		":scheme", "http"                                              \
	}
#define PATH                                                                   \
	{                                                                      \
		":path", "/test.T/Echo"                                        \
	}
#define TYPE                                                                   \
	{                                                                      \
		"content-type", "application/grpc"                             \
	}
#define TE                                                                     \
	{                                                                      \
		"te", "trailers"                                               \
	}
#define PSEUDO                                                                 \
	METHOD, SCHEME, PATH,                                                  \
	{                                                                      \
		":authority", "localhost"                                      \
	}
#define REGULAR TYPE, TE

static const struct row rows[] = {
	/* demand.md E.6: what clients in the field send */
	{ ":authority localhost", OK_ROW, { PSEUDO, REGULAR } },
	{ ":authority that is a socket path", OK_ROW,
	    { METHOD, SCHEME, PATH,
		{ ":authority", "/var/lib/kubelet/plugins/x/csi.sock" },
		REGULAR } },
	{ ":authority unix:/path", OK_ROW,
	    { METHOD, SCHEME, PATH, { ":authority", "unix:/csi/csi.sock" },
		REGULAR } },
	{ ":authority percent-encoded", OK_ROW,
	    { METHOD, SCHEME, PATH, { ":authority", "%2Fvar%2Flib%2Fcsi.sock" },
		REGULAR } },
	{ ":authority empty", OK_ROW,
	    { METHOD, SCHEME, PATH, { ":authority", "" }, REGULAR } },
	{ "no :authority and no host", OK_ROW,
	    { METHOD, SCHEME, PATH, REGULAR } },
	{ "no :authority but host", OK_ROW,
	    { METHOD, SCHEME, PATH, REGULAR, { "host", "localhost" } } },
	{ ":authority and another host", OK_ROW,
	    { PSEUDO, REGULAR, { "host", "elsewhere" } } },
	{ "two hosts", 400, ERR_INTERNAL, 0,
	    { METHOD, SCHEME, PATH, REGULAR, { "host", "a" },
		{ "host", "b" } } },
	{ "two :authority", 400, ERR_INTERNAL, 0,
	    { PSEUDO, { ":authority", "b" }, REGULAR } },

	/* RFC 9113 8.2 and 8.3 */
	{ "no :method", MALFORMED, { SCHEME, PATH, REGULAR } },
	{ "no :scheme", MALFORMED, { METHOD, PATH, REGULAR } },
	{ "no :path", MALFORMED, { METHOD, SCHEME, REGULAR } },
	{ "empty :path", MALFORMED,
	    { METHOD, SCHEME, { ":path", "" }, REGULAR } },
	{ "two :method", MALFORMED, { METHOD, PSEUDO, REGULAR } },
	{ "two :path", MALFORMED, { PATH, PSEUDO, REGULAR } },
	{ "two :scheme", MALFORMED, { SCHEME, PSEUDO, REGULAR } },
	{ "an unknown pseudo-header", MALFORMED,
	    { PSEUDO, { ":protocol", "websocket" }, REGULAR } },
	{ "a response's pseudo-header", MALFORMED,
	    { PSEUDO, { ":status", "200" }, REGULAR } },
	{ "a pseudo-header after a regular one", MALFORMED,
	    { METHOD, SCHEME, TYPE, PATH, TE } },
	{ "a name with capitals", MALFORMED,
	    { PSEUDO, REGULAR, { "X-Trace", "1" } } },
	{ "a name with a blank", MALFORMED,
	    { PSEUDO, REGULAR, { "x trace", "1" } } },
	{ "a name with a colon inside", MALFORMED,
	    { PSEUDO, REGULAR, { "x:trace", "1" } } },
	{ "a value with a line break", MALFORMED,
	    { PSEUDO, REGULAR, { "x-trace", "1\r\nte: 2" } } },
	{ "a value that begins with a blank", MALFORMED,
	    { PSEUDO, REGULAR, { "x-trace", " 1" } } },
	{ "connection", MALFORMED,
	    { PSEUDO, REGULAR, { "connection", "close" } } },
	{ "keep-alive", MALFORMED, { PSEUDO, REGULAR, { "keep-alive", "5" } } },
	{ "proxy-connection", MALFORMED,
	    { PSEUDO, REGULAR, { "proxy-connection", "close" } } },
	{ "transfer-encoding", MALFORMED,
	    { PSEUDO, REGULAR, { "transfer-encoding", "chunked" } } },
	{ "upgrade", MALFORMED, { PSEUDO, REGULAR, { "upgrade", "h2c" } } },
	{ "te gzip", MALFORMED, { PSEUDO, TYPE, { "te", "gzip" } } },
	{ "no te", OK_ROW, { PSEUDO, TYPE } },
	{ "content-length that fits", OK_ROW,
	    { PSEUDO, REGULAR, { "content-length", "5" } } },
	{ "content-length twice, the same", OK_ROW,
	    { PSEUDO, REGULAR, { "content-length", "5" },
		{ "content-length", "5" } } },
	{ "content-length twice, not the same", MALFORMED,
	    { PSEUDO, REGULAR, { "content-length", "5" },
		{ "content-length", "6" } } },
	{ "content-length too small", MALFORMED,
	    { PSEUDO, REGULAR, { "content-length", "4" } } },
	{ "content-length too large", MALFORMED,
	    { PSEUDO, REGULAR, { "content-length", "6" } } },
	{ "content-length that is no number", MALFORMED,
	    { PSEUDO, REGULAR, { "content-length", "5x" } } },
	{ "content-length empty", MALFORMED,
	    { PSEUDO, REGULAR, { "content-length", "" } } },
	{ "content-length of 30 digits", MALFORMED,
	    { PSEUDO, REGULAR,
		{ "content-length", "100000000000000000000000000005" } } },

	/* gRPC */
	{ "unknown headers", OK_ROW,
	    { PSEUDO, REGULAR, { "user-agent", "x" }, { "x-bin", "AAE" },
		{ "grpc-accept-encoding", "gzip,deflate" } } },
	{ "GET", 405, ERR_INTERNAL, 0,
	    { { ":method", "GET" }, SCHEME, PATH, REGULAR } },
	{ "content-type of JSON", 415, ERR_INVALID_ARGUMENT, 0,
	    { PSEUDO, { "content-type", "application/json" }, TE } },
	{ "content-type with +proto", OK_ROW,
	    { PSEUDO, { "content-type", "application/grpc+proto" }, TE } },
	{ "no content-type", 415, ERR_INVALID_ARGUMENT, 0, { PSEUDO, TE } },
	{ "content-type twice", 415, ERR_INVALID_ARGUMENT, 0,
	    { PSEUDO, REGULAR, TYPE } },
	{ "grpc-timeout", OK_ROW,
	    { PSEUDO, REGULAR, { "grpc-timeout", "10S" } } },
	{ "a malformed grpc-timeout", 400, ERR_INTERNAL, 0,
	    { PSEUDO, REGULAR, { "grpc-timeout", "10" } } },
	{ "grpc-timeout twice", 400, ERR_INTERNAL, 0,
	    { PSEUDO, REGULAR, { "grpc-timeout", "1S" },
		{ "grpc-timeout", "2S" } } },
	{ "grpc-encoding identity", OK_ROW,
	    { PSEUDO, REGULAR, { "grpc-encoding", "identity" } } },
	{ "grpc-encoding gzip", 200, ERR_UNIMPLEMENTED, 0,
	    { PSEUDO, REGULAR, { "grpc-encoding", "gzip" } } },
	{ "an unknown service", 200, ERR_UNIMPLEMENTED, 0,
	    { METHOD, SCHEME, { ":path", "/test.U/Echo" }, REGULAR } },
	{ "an unknown method", 200, ERR_UNIMPLEMENTED, 0,
	    { METHOD, SCHEME, { ":path", "/test.T/Ech" }, REGULAR } },
	{ "a path without leading slash", 200, ERR_UNIMPLEMENTED, 0,
	    { METHOD, SCHEME, { ":path", "test.T/Echo" }, REGULAR } },
	{ "a path of *", 200, ERR_UNIMPLEMENTED, 0,
	    { METHOD, SCHEME, { ":path", "*" }, REGULAR } },
	{ "a path with a blank", 200, ERR_UNIMPLEMENTED, 0,
	    { METHOD, SCHEME, { ":path", "/test.T/Echo x" }, REGULAR } },
};

static size_t
count_fields(const struct row *row)
{
	size_t n = 0;

	while (n < FIELDS_MAX && row->fields[n].name != NULL)
		n++;
	return n;
}

static void
check_row(struct server *server, const struct row *row)
{
	static const unsigned char empty_message[5];
	struct exchange *x, *good;
	struct h2peer peer;
	char want[8] = "";

	peer_open(&peer, server);
	x = peer_send(&peer, row->fields, count_fields(row), empty_message,
	    sizeof(empty_message));
	peer_run(&peer);
	good = peer_call(&peer, "/test.T/Echo", "x", 1, NULL);
	peer_run(&peer);
	if (row->http_status != 0)
		(void)snprintf(want, sizeof(want), "%d", row->http_status);
	if (!ok(x->closed && str_eq(x->status, want) && x->code == row->code &&
		    x->reset == row->reset && good->code == 0,
		"%s is %s", row->name,
		row->code == 0      ? "taken"
		    : row->code > 0 ? "answered"
				    : "refused as malformed"))
		diag("closed %d, status '%s', code %d, reset %u, next %d",
		    x->closed, x->status, x->code, x->reset, good->code);
	if (row->code >= 0 && !str_eq(x->content_type, "application/grpc"))
		ok(false, "its answer has gRPC's content-type");
	peer_close(&peer);
}

static void
long_header_lists_are_refused(struct server *server)
{
	static char value[9000];
	struct field fields[] = { PSEUDO, REGULAR, { "x-one", value },
		{ "x-two", value } };
	static const unsigned char empty_message[5];
	struct exchange *x, *good;
	struct h2peer peer;

	memset(value, 'v', sizeof(value) - 1);
	peer_open(&peer, server);
	x = peer_send(&peer, fields, countof(fields), empty_message,
	    sizeof(empty_message));
	good = peer_send(&peer, fields, countof(fields) - 1, empty_message,
	    sizeof(empty_message));
	peer_run(&peer);
	is_int(x->code, ERR_RESOURCE_EXHAUSTED,
	    "a header list over the limit is answered RESOURCE_EXHAUSTED");
	is_int(good->code, 0, "one of half the size is taken");
	peer_close(&peer);
}

static void
long_paths_are_refused(struct server *server)
{
	char path[300] = "/test.T/";
	struct exchange *x;
	struct h2peer peer;

	memset(path + strlen(path), 'p', sizeof(path) - strlen(path) - 1);
	path[sizeof(path) - 1] = '\0';
	peer_open(&peer, server);
	x = peer_call(&peer, path, "", 0, NULL);
	peer_run(&peer);
	is_int(x->code, ERR_UNIMPLEMENTED,
	    "a path longer than any method's is UNIMPLEMENTED");
	peer_close(&peer);
}

static void
compressed_is_told_what_is_accepted(struct server *server)
{
	struct field fields[] = { PSEUDO, REGULAR,
		{ "grpc-encoding", "deflate" } };
	struct exchange *x;
	struct h2peer peer;

	peer_open(&peer, server);
	x = peer_send(&peer, fields, countof(fields), "\1\0\0\0\1x", 6);
	peer_run(&peer);
	ok(x->code == ERR_UNIMPLEMENTED &&
		str_eq(x->accept_encoding, "identity"),
	    "compression is UNIMPLEMENTED with the encodings accepted");
	peer_close(&peer);
}

int
main(void)
{
	struct server *server;

	log_init("head", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	server = server_new(&service_router, NULL);
	for (size_t i = 0; i < countof(rows); i++)
		check_row(server, &rows[i]);
	long_header_lists_are_refused(server);
	long_paths_are_refused(server);
	compressed_is_told_what_is_accepted(server);
	is_int(server_counters(server)->calls, 0, "no call is left open");
	server_free(server);
	loop_fini();
	return tap_end();
}
