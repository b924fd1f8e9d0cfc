/*
 * metadata.c - custom metadata and status details: what a handler sees of a
 * request's headers in all their spellings, and what it sends, frame by frame.
 */
#include "base/log.h"
#include "core/loop.h"
#include "rpc/call.h"
#include "rpc/grpc.h"
#include "tests/rpc/script.h"
#include "tests/rpc/wire.h"
#include "tests/tap.h"

#include <errno.h>

#define BYTES_MAX 16
#define DUMP_MAX 4096

/* ---- the handlers ---- */

/* "TEXT|N BYTES IN HEX", or "(none)" and the errno. */
static void
show(struct call *call)
{
	const char *text = call_header(call, "x-text");
	unsigned char bytes[BYTES_MAX];
	long n = call_header_bytes(call, "x-data-bin", bytes, sizeof(bytes));
	char reply[1024];
	int at = snprintf(
	    reply, sizeof(reply), "%s|%ld", text != NULL ? text : "(none)", n);

	for (long i = 0; i < n; i++)
		at += snprintf(reply + at, sizeof(reply) - (size_t)at, "%s%02x",
		    i == 0 ? " " : "", bytes[i]);
	call_reply(call, reply, (size_t)at);
}

static void
add(struct call *call)
{
	if (call_add_header(call, "x-one", "a b", 3) < 0 ||
	    call_add_header(call, "x-two-bin", "\0\1", 2) < 0 ||
	    call_add_header(call, "x-two-bin", "", 0) < 0 ||
	    call_add_trailer(call, "x-three", "", 0) < 0 ||
	    call_add_trailer(call, "x-four-bin", "\xff", 1) < 0)
		abort();
}

static void
answer(struct call *call)
{
	add(call);
	call_reply(call, "", 0);
}

static void
stream(struct call *call)
{
	add(call);
	if (stream_send(call, "", 0) < 0)
		abort();
	if (call_add_header(call, "x-late", "1", 1) != -EALREADY ||
	    call_add_trailer(call, "x-late", "1", 1) < 0)
		abort();
	stream_end(call);
}

static void
fail(struct call *call)
{
	add(call);
	call_fail(call, ERR_NOT_FOUND, "no");
}

static void
fail_with_details(struct call *call)
{
	const struct call_details details = {
		.type = "t.T",
		.bytes = call->request,
		.len = call->request_len,
	};
	struct err err = ERR_INIT;

	(void)err_set(&err, ERR_ABORTED, "a%%");
	call_fail_details(call, &err, &details);
}

static const struct rpc_method methods[] = {
	{ .name = "Show", .start = show },
	{ .name = "Answer", .start = answer },
	{ .name = "Stream", .start = stream },
	{ .name = "Fail", .start = fail },
	{ .name = "Details", .start = fail_with_details },
};
static const struct rpc_service service = {
	.name = "m.M",
	.methods = methods,
	.method_count = countof(methods),
};
static const struct rpc_service *const services[] = { &service };
static const struct router router = {
	.services = services,
	.service_count = countof(services),
};

/* ---- what comes back, as text ---- */

static char dump[DUMP_MAX];

static void
put(const char *fmt, ...)
{
	size_t at = strlen(dump);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(dump + at, sizeof(dump) - at, fmt, ap);
	va_end(ap);
}

static void
dump_fields(nghttp2_hd_inflater *inflater, unsigned char *at, size_t left)
{
	nghttp2_nv nv;
	int flags;
	ssize_t n;

	do {
		flags = 0;
		n = nghttp2_hd_inflate_hd2(inflater, &nv, &flags, at, left, 1);
		if (n < 0)
			abort();
		at += n;
		left -= (size_t)n;
		if (flags & NGHTTP2_HD_INFLATE_EMIT)
			put(" %.*s=%.*s", (int)nv.namelen,
			    (const char *)nv.name, (int)nv.valuelen,
			    (const char *)nv.value);
	} while ((flags & NGHTTP2_HD_INFLATE_FINAL) == 0);
	(void)nghttp2_hd_inflate_end_headers(inflater);
}

/*
 * A line for each frame of stream 1: its kind, '.' if it ends the stream; the
 * fields, or the message without its prefix, which must be an uncompressed one.
 */
static void
dump_stream(struct wire *wire)
{
	nghttp2_hd_inflater *inflater;
	unsigned char *p = wire->in.data;
	size_t len;

	if (nghttp2_hd_inflate_new(&inflater) < 0)
		abort();
	dump[0] = '\0';
	for (; p < wire->in.data + wire->in.len; p += 9 + len) {
		len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
		if (p[8] != 1)
			continue;
		put("%s%s",
		    p[3] == NGHTTP2_HEADERS    ? "HEADERS"
			: p[3] == NGHTTP2_DATA ? "DATA"
					       : "?",
		    (p[4] & NGHTTP2_FLAG_END_STREAM) != 0 ? "." : "");
		if (p[3] == NGHTTP2_HEADERS)
			dump_fields(inflater, p + 9, len);
		else if (p[3] == NGHTTP2_DATA && len >= 5)
			put(" %d %.*s", p[9], (int)len - 5, p + 14);
		put("\n");
	}
	nghttp2_hd_inflate_del(inflater);
}

static const char *
call_with(const char *path, const struct field *fields, size_t count,
    const char *message)
{
	struct server *server = server_new(&router, NULL);
	struct script script;
	struct wire wire;
	const char *wrong;

	script_init(&script, path, 0, 0);
	script_post(&script, 1, path, fields, count);
	script_message(&script, 1, message, true);
	wire_open(&wire, server);
	wire_put(&wire, script.bytes.data, script.bytes.len);
	wire_settle(&wire);
	wrong = wire_judge(&wire, false, NULL);
	dump_stream(&wire);
	if (server_counters(server)->calls != 0)
		wrong = "a call is left";
	if (wrong != NULL)
		put("! %s\n", wrong);
	server_free(server);
	wire_fini(&wire);
	script_fini(&script);
	return dump;
}

/* ---- what a handler sees ---- */

static const struct seen {
	const char *name, *reply;
	struct field fields[5]; /* up to the first NULL */
} seen[] = {
	{ "nothing", "(none)|-2", { { NULL, NULL } } },
	{ "text", "a b|-2", { { "x-text", "a b" } } },
	{ "text that is empty", "|-2", { { "x-text", "" } } },
	{ "text in two headers", "a,b|-2",
	    { { "x-text", "a" }, { "x-other", "-" }, { "x-text", "b" } } },
	{ "text with a comma and another", "a,b,c|-2",
	    { { "x-text", "a,b" }, { "x-text", "c" } } },
	{ "text in Latin", "\xe4|-2", { { "x-text", "\xe4" } } },
	{ "bytes without padding", "(none)|2 0001",
	    { { "x-data-bin", "AAE" } } },
	{ "bytes with padding", "(none)|2 0001", { { "x-data-bin", "AAE=" } } },
	{ "one byte", "(none)|1 ff", { { "x-data-bin", "/w" } } },
	{ "one byte with padding", "(none)|1 ff",
	    { { "x-data-bin", "/w==" } } },
	{ "three bytes", "(none)|3 fbefbe", { { "x-data-bin", "++++" } } },
	{ "no bytes", "(none)|0", { { "x-data-bin", "" } } },
	{ "a list: the first of it", "(none)|2 0001",
	    { { "x-data-bin", "AAE,AAI=" } } },
	{ "two headers: the first", "(none)|2 0001",
	    { { "x-data-bin", "AAE=" }, { "x-data-bin", "AAI" } } },
	{ "bytes up to the handler's limit",
	    "(none)|16 "
	    "00000000000000000000000000000000",
	    { { "x-data-bin", "AAAAAAAAAAAAAAAAAAAAAA" } } },
	{ "bytes beyond it", "(none)|-22",
	    { { "x-data-bin", "AAAAAAAAAAAAAAAAAAAAAAA" } } },
	{ "bytes that are no base64", "(none)|-22",
	    { { "x-data-bin", "A*E" } } },
	{ "base64 for URLs", "(none)|-22", { { "x-data-bin", "-_-_" } } },
	{ "bytes that are cut off", "(none)|-22", { { "x-data-bin", "A" } } },
	{ "padding inside", "(none)|-22", { { "x-data-bin", "A=AA" } } },
};

static void
handlers_see_metadata(void)
{
	char want[256];
	size_t count;

	for (size_t i = 0; i < countof(seen); i++) {
		for (count = 0; count < countof(seen[i].fields); count++)
			if (seen[i].fields[count].name == NULL)
				break;
		(void)snprintf(want, sizeof(want),
		    "HEADERS :status=200 content-type=application/grpc\n"
		    "DATA 0 %s\nHEADERS. grpc-status=0\n",
		    seen[i].reply);
		is_str(call_with("/m.M/Show", seen[i].fields, count, ""), want,
		    "a handler sees %s", seen[i].name);
	}
}

/* ---- what a handler sends ---- */

#define TOLD_FIRST                                                             \
	" :status=200 content-type=application/grpc"                           \
	" x-one=a b x-two-bin=AAE x-two-bin="
#define TOLD_LAST " x-three= x-four-bin=/w"

static void
handlers_send_metadata(void)
{
	const struct field gzip[] = { { "grpc-accept-encoding",
	    "identity,gzip" } };

	is_str(call_with("/m.M/Answer", NULL, 0, ""),
	    "HEADERS" TOLD_FIRST "\nDATA 0 \n"
	    "HEADERS. grpc-status=0" TOLD_LAST "\n",
	    "metadata goes before the message and behind it");
	is_str(call_with("/m.M/Stream", NULL, 0, ""),
	    "HEADERS" TOLD_FIRST "\nDATA 0 \n"
	    "HEADERS. grpc-status=0" TOLD_LAST " x-late=1\n",
	    "... of a stream, too");
	is_str(call_with("/m.M/Fail", NULL, 0, ""),
	    "HEADERS." TOLD_FIRST " grpc-status=5 grpc-message=no" TOLD_LAST
	    "\n",
	    "... and all of it with an error, in one list");
	is_str(call_with("/m.M/Show", gzip, countof(gzip), ""),
	    "HEADERS :status=200 content-type=application/grpc\n"
	    "DATA 0 (none)|-2\nHEADERS. grpc-status=0\n",
	    "a client that takes gzip is sent no compressed message");
}

/* google.rpc.Status: code (1), message (2), details (3): an Any. */
static void
details_are_a_status(void)
{
	static const unsigned char want[] =
	    "\x08\x0a\x12\x02"
	    "a%"
	    "\x1a\x1d\x0a\x17type.googleapis.com/t.T\x12\x02hi";
	unsigned char got[sizeof(want)];
	const char *path = "/m.M/Details", *at;
	static char long_text[8000];
	long n;

	at = strstr(call_with(path, NULL, 0, "hi"), "grpc-status-details-bin=");
	at = at != NULL ? strchr(at, '=') + 1 : "";
	n = str_unbase64(got, sizeof(got), at, strcspn(at, " \n"));
	ok(n == (long)sizeof(want) - 1 && memcmp(got, want, (size_t)n) == 0,
	    "details are a google.rpc.Status with the same code and text");
	ok(strstr(dump, "HEADERS. ") != NULL &&
		strstr(dump, " grpc-status=10 grpc-message=a%25 ") != NULL,
	    "... beside them");
	if (!ok(strchr(at, '=') == NULL, "... without padding"))
		diag("%s", dump);
	memset(long_text, 'x', sizeof(long_text) - 1);
	(void)call_with(path, NULL, 0, long_text);
	ok(strstr(dump, "grpc-status=10 ") != NULL &&
		strstr(dump, "details") == NULL,
	    "details that no peer would take are left out");
}

/* ---- what may be sent ---- */

static const struct sent {
	const char *name, *value;
	int rc;
} sent[] = {
	{ "x-a", "1", 0 },
	{ "x.a_b-9", "~ !", 0 },
	{ "x-empty", "", 0 },
	{ "x-any-bin", "\x01\xff\n", 0 },
	{ "", "1", -EINVAL },
	{ "X-a", "1", -EINVAL },
	{ "x a", "1", -EINVAL },
	{ "x:a", "1", -EINVAL },
	{ ":status", "200", -EINVAL },
	{ "grpc-status", "0", -EINVAL },
	{ "grpc-anything", "0", -EINVAL },
	{ "content-type", "text/html", -EINVAL },
	{ "content-length", "5", -EINVAL },
	{ "connection", "close", -EINVAL },
	{ "te", "trailers", -EINVAL },
	{ "host", "a", -EINVAL },
	{ "trailer", "a", -EINVAL },
	{ "x-a", "two\nlines", -EINVAL },
	{ "x-a", "\xc3\xa4", -EINVAL },
	{ "x-a", " blank", -EINVAL },
	{ "x-a", "blank ", -EINVAL },
};

static void
only_good_metadata_is_sent(void)
{
	static char large[9000];
	struct metadata md = { .count = 0 };
	int rc;

	for (size_t i = 0; i < countof(sent); i++) {
		rc = metadata_add(
		    &md, sent[i].name, sent[i].value, strlen(sent[i].value));
		is_int(rc, sent[i].rc, "%s: %s is %s", sent[i].name,
		    str_ends(sent[i].name, "-bin") ? "bytes" : "text",
		    sent[i].rc == 0 ? "taken" : "refused");
		metadata_fini(&md);
	}
	memset(large, 'x', sizeof(large));
	is_int(metadata_add(&md, "x-large", large, sizeof(large)), -EMSGSIZE,
	    "more than 8 KiB are refused");
	is_int(metadata_add(&md, "x-large-bin", large, 7000), -EMSGSIZE,
	    "... also if they are too large in base64 only");
	for (int i = 0; i < METADATA_FIELDS_MAX; i++)
		if (metadata_add(&md, "x-many", "1", 1) < 0)
			ok(false, "field %d is taken", i);
	is_int(metadata_add(&md, "x-many", "1", 1), -EMSGSIZE,
	    "more than %d fields are refused", METADATA_FIELDS_MAX);
	metadata_fini(&md);
}

/* What HTTP and gRPC use themselves is not the application's. */
static void
reserved_headers_are_not_noted(void)
{
	static const char *const names[] = { ":path", "te", "host",
		"user-agent", "content-type", "content-length", "grpc-timeout",
		"grpc-encoding", "grpc-accept-encoding", "x-kept" };
	struct metadata md = { .count = 0 };
	const char *name = "", *value = "";
	size_t at = 0;

	for (size_t i = 0; i < countof(names); i++)
		if (metadata_note(&md, names[i], strlen(names[i]), "v", 1) < 0)
			abort();
	ok(metadata_next(&md, &at, &name, &value) && str_eq(name, "x-kept") &&
		str_eq(value, "v"),
	    "a header of an application is kept");
	ok(!metadata_next(&md, &at, &name, &value), "... and no other one");
	metadata_fini(&md);
}

int
main(void)
{
	log_init("metadata", LOG_LEVEL_ERROR, LOG_FORMAT_TEXT);
	if (loop_init() < 0)
		return 1;
	handlers_see_metadata();
	handlers_send_metadata();
	details_are_a_status();
	only_good_metadata_is_sent();
	reserved_headers_are_not_noted();
	loop_fini();
	return tap_end();
}
