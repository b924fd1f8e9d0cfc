/*
 * client_odd.c - answers that no gRPC server should give, and what the client
 * makes of them. The rules: grpc/grpc doc/PROTOCOL-HTTP2.md, statuscodes.md,
 * http-grpc-status-mapping.md.
 */
#include "rpc/client_impl.h"
#include "tests/rpc/caller.h"
#include "tests/rpc/rawserver.h"
#include "tests/tap.h"

#define OK_HEAD RAW_OK_HEAD
#define OK_TAIL RAW_OK_TAIL
#define X "\0\0\0\0\1x" /* a message */
#define REPLY_MAX ((size_t)100000)

/* What the server sends; kind 0 ends the list. */
struct part {
	enum { END = 0, HEAD, HEAD_LAST, DATA, DATA_LAST, RESET, RAW } kind;
	const char *text;
	size_t n; /* bytes of DATA and RAW; RESET: the code */
};

#define DATA_OF(bytes) DATA, bytes, sizeof(bytes) - 1

struct odd {
	const char *name;
	enum err_code code;
	const char *text; /* part of the message, or NULL */
	struct part parts[5];
};

static void
send_part(struct wire *raw, int32_t stream, const struct part *part)
{
	unsigned last = NGHTTP2_FLAG_END_STREAM;

	switch (part->kind) {
	case END:
		return;
	case HEAD:
		last = 0;
		/* fallthrough */
	case HEAD_LAST:
		raw_headers(raw, last, stream, part->text);
		return;
	case DATA:
		last = 0;
		/* fallthrough */
	case DATA_LAST:
		raw_frame(raw, NGHTTP2_DATA, last, stream, part->text, part->n);
		return;
	case RESET:
		raw_reset(raw, stream, (uint32_t)part->n);
		return;
	case RAW:
		wire_put(raw, part->text, part->n);
		return;
	}
}

static void
judge(const struct odd *odd)
{
	struct client *client = client_new(caller_endpoint);
	struct frame frame;
	struct wire raw;
	struct one o;

	client->reply_bytes = REPLY_MAX;
	one_start(&o, client, "/test.T/Echo", "hello", 10000);
	if (!raw_accept(&raw))
		diag("no connection");
	raw_settings(&raw, 0, 0);
	if (!raw_wait(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, &frame))
		diag("no request");
	for (const struct part *p = odd->parts; p->kind != END; p++)
		send_part(&raw, frame.id, p);
	for (int i = 0; i < 1000 && !o.done; i++)
		turn(1);
	ok(o.done && o.call.code == odd->code &&
		(odd->code == ERR_OK) == o.call.has_message &&
		(odd->text == NULL ||
		    (o.call.text != NULL &&
			strstr(o.call.text, odd->text) != NULL)),
	    "%s is %s: %s", odd->name, err_code_name(o.call.code),
	    o.call.text != NULL ? o.call.text : "");
	if (!o.done)
		client_call_cancel(&o.call);
	finish_all();
	client_call_fini(&o.call);
	client_free(client);
	wire_fini(&raw);
}

/* ---- messages ---- */

static const struct odd messages[] = {
	{ "an answer", ERR_OK, NULL,
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF(X) },
		{ HEAD_LAST, OK_TAIL, 0 } } },
	{ "an answer in small pieces", ERR_OK, NULL,
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF("\0\0") }, { DATA_OF("") },
		{ DATA_OF("\0\0\1x") }, { HEAD_LAST, OK_TAIL, 0 } } },
	{ "an answer of another content subtype", ERR_OK, NULL,
	    { { HEAD,
		  ":status: 200\n"
		  "content-type: application/grpc+proto\n",
		  0 },
		{ DATA_OF(X) }, { HEAD_LAST, OK_TAIL, 0 } } },
	{ "\"100 Continue\" before the answer", ERR_OK, NULL,
	    { { HEAD, ":status: 100\nx: y\n", 0 }, { HEAD, OK_HEAD, 0 },
		{ DATA_OF(X) }, { HEAD_LAST, OK_TAIL, 0 } } },
	{ "OK without a message", ERR_UNIMPLEMENTED, "no message",
	    { { HEAD, OK_HEAD, 0 }, { HEAD_LAST, OK_TAIL, 0 } } },
	{ "OK and nothing else", ERR_UNIMPLEMENTED, "no message",
	    { { HEAD_LAST, OK_HEAD OK_TAIL, 0 } } },
	{ "two messages", ERR_UNIMPLEMENTED, "two messages",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF(X X) },
		{ HEAD_LAST, OK_TAIL, 0 } } },
	{ "a compressed message", ERR_INTERNAL, "compressed",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF("\1\0\0\0\1x") },
		{ HEAD_LAST, OK_TAIL, 0 } } },
	{ "a compressed message, announced", ERR_INTERNAL, "compressed",
	    { { HEAD, OK_HEAD "grpc-encoding: gzip\n", 0 },
		{ DATA_OF("\1\0\0\0\1x") }, { HEAD_LAST, OK_TAIL, 0 } } },
	{ "a flag of 2", ERR_INTERNAL, "garbled",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF("\2\0\0\0\1x") },
		{ HEAD_LAST, OK_TAIL, 0 } } },
	{ "half a message", ERR_INTERNAL, "inside a message",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF("\0\0\0\0\2x") },
		{ HEAD_LAST, OK_TAIL, 0 } } },
	{ "half a prefix", ERR_INTERNAL, "inside a message",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF("\0\0\0") },
		{ HEAD_LAST, OK_TAIL, 0 } } },
	{ "a message over the limit, which is not waited for",
	    ERR_RESOURCE_EXHAUSTED, "too large",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF("\0\0\2\0\0x") } } },
	{ "a failure after a message", ERR_DATA_LOSS, "gone",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF(X) },
		{ HEAD_LAST, "grpc-status: 15\ngrpc-message: gone\n", 0 } } },
};

/* ---- the status ---- */

#define ANSWER(head, tail)                                                     \
	{                                                                      \
		{ HEAD, head, 0 }, { DATA_OF(X) },                             \
		{                                                              \
			HEAD_LAST, tail, 0                                     \
		}                                                              \
	}
#define ONLY(lines)                                                            \
	{                                                                      \
		{                                                              \
			HEAD_LAST, lines, 0                                    \
		}                                                              \
	}

static const struct odd statuses[] = {
	{ "a failure at once", ERR_NOT_FOUND, "no such volume",
	    ONLY(OK_HEAD "grpc-status: 5\ngrpc-message: no such volume\n") },
	{ "a text with escapes", ERR_ABORTED, "100% v\xc3\xb6lume %zz",
	    ONLY(OK_HEAD "grpc-status: 10\n"
			 "grpc-message: 100%25 v%C3%B6lume %zz\n") },
	{ "a failure without a text", ERR_ABORTED, "",
	    ONLY(OK_HEAD "grpc-status: 10\n") },
	{ "details that are no base64", ERR_ABORTED, "",
	    ONLY(OK_HEAD "grpc-status: 10\n"
			 "grpc-status-details-bin: !\n") },
	{ "no grpc-status", ERR_UNKNOWN, "no grpc-status",
	    ANSWER(OK_HEAD, "x: y\n") },
	{ "no trailers", ERR_UNKNOWN, "no grpc-status",
	    { { HEAD, OK_HEAD, 0 }, { DATA_LAST, X, 6 } } },
	{ "a status of 17", ERR_UNKNOWN, "malformed",
	    ANSWER(OK_HEAD, "grpc-status: 17\n") },
	{ "a status of 99", ERR_UNKNOWN, "grpc-status: why",
	    ANSWER(OK_HEAD, "grpc-status: 99\ngrpc-message: why\n") },
	{ "a status of 4294967296", ERR_UNKNOWN, "malformed",
	    ANSWER(OK_HEAD, "grpc-status: 4294967296\n") },
	{ "a status of 05", ERR_UNKNOWN, "malformed",
	    ANSWER(OK_HEAD, "grpc-status: 05\n") },
	{ "a status of -1", ERR_UNKNOWN, "malformed",
	    ANSWER(OK_HEAD, "grpc-status: -1\n") },
	{ "a status that is a word", ERR_UNKNOWN, "malformed",
	    ANSWER(OK_HEAD, "grpc-status: OK\n") },
	{ "an empty status", ERR_UNKNOWN, "malformed",
	    ANSWER(OK_HEAD, "grpc-status: \n") },
	{ "two statuses", ERR_UNKNOWN, "malformed",
	    ANSWER(OK_HEAD, "grpc-status: 0\ngrpc-status: 5\n") },
};

/* ---- HTTP ---- */

#define HTTP(number, meaning)                                                  \
	{                                                                      \
		"HTTP " #number, meaning, "HTTP status " #number,              \
		{                                                              \
			{ HEAD,                                                \
				":status: " #number                            \
				"\ncontent-type: text/html\n",                 \
				0 },                                           \
			{                                                      \
				DATA_LAST, "<html>", 6                         \
			}                                                      \
		}                                                              \
	}

static const struct odd https[] = {
	HTTP(200, ERR_UNKNOWN),
	HTTP(302, ERR_UNKNOWN),
	HTTP(400, ERR_INTERNAL),
	HTTP(401, ERR_UNAUTHENTICATED),
	HTTP(403, ERR_PERMISSION_DENIED),
	HTTP(404, ERR_UNIMPLEMENTED),
	HTTP(429, ERR_UNAVAILABLE),
	HTTP(431, ERR_INTERNAL),
	HTTP(500, ERR_UNKNOWN),
	HTTP(502, ERR_UNAVAILABLE),
	HTTP(503, ERR_UNAVAILABLE),
	HTTP(504, ERR_UNAVAILABLE),
	{ "HTTP 503 as gRPC, without a status", ERR_UNAVAILABLE, NULL,
	    ANSWER(
		":status: 503\ncontent-type: application/grpc\n", "x: y\n") },
	{ "HTTP 503 with a status", ERR_NOT_FOUND, "so",
	    ONLY(":status: 503\ncontent-type: application/grpc\n"
		 "grpc-status: 5\ngrpc-message: so\n") },
	{ "HTTP 415 of a page, with a status", ERR_INVALID_ARGUMENT, "so",
	    ONLY(":status: 415\ncontent-type: text/plain\n"
		 "grpc-status: 3\ngrpc-message: so\n") },
	{ "OK with another content type", ERR_UNKNOWN, "text/html",
	    ANSWER(":status: 200\ncontent-type: text/html\n", OK_TAIL) },
	{ "OK without a content type", ERR_UNKNOWN, "content type \"\"",
	    ANSWER(":status: 200\n", OK_TAIL) },
	{ "gRPC-Web", ERR_UNKNOWN, "grpc-web",
	    ANSWER(":status: 200\ncontent-type: application/grpc-web\n",
		OK_TAIL) },
};

/* ---- HTTP/2 ---- */

#define RESET_BY(number, name, meaning)                                        \
	{                                                                      \
		"RST_STREAM " name, meaning, name,                             \
		{                                                              \
			{                                                      \
				RESET, NULL, number                            \
			}                                                      \
		}                                                              \
	}

static const struct odd resets[] = {
	RESET_BY(0, "NO_ERROR", ERR_INTERNAL),
	RESET_BY(1, "PROTOCOL_ERROR", ERR_INTERNAL),
	RESET_BY(2, "INTERNAL_ERROR", ERR_INTERNAL),
	RESET_BY(3, "FLOW_CONTROL_ERROR", ERR_INTERNAL),
	RESET_BY(4, "SETTINGS_TIMEOUT", ERR_INTERNAL),
	RESET_BY(5, "STREAM_CLOSED", ERR_INTERNAL),
	RESET_BY(6, "FRAME_SIZE_ERROR", ERR_INTERNAL),
	RESET_BY(8, "CANCEL", ERR_CANCELLED),
	RESET_BY(9, "COMPRESSION_ERROR", ERR_INTERNAL),
	RESET_BY(10, "CONNECT_ERROR", ERR_INTERNAL),
	RESET_BY(11, "ENHANCE_YOUR_CALM", ERR_RESOURCE_EXHAUSTED),
	RESET_BY(12, "INADEQUATE_SECURITY", ERR_PERMISSION_DENIED),
	RESET_BY(13, "HTTP_1_1_REQUIRED", ERR_INTERNAL),
	/* Three of gRPC's interoperability cases. */
	{ "rst_after_header", ERR_INTERNAL, "NO_ERROR",
	    { { HEAD, OK_HEAD, 0 }, { RESET, NULL, 0 } } },
	{ "rst_during_data", ERR_INTERNAL, "NO_ERROR",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF("\0\0\0\0\2x") },
		{ RESET, NULL, 0 } } },
	{ "rst_after_data", ERR_INTERNAL, "NO_ERROR",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF(X) }, { RESET, NULL, 0 } } },
	{ "RST_STREAM behind the status changes nothing", ERR_OK, NULL,
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF(X) }, { HEAD_LAST, OK_TAIL, 0 },
		{ RESET, NULL, 2 } } },
};

static const struct odd frames[] = {
	{ "a second header list that is not the last", ERR_INTERNAL,
	    "breaks HTTP/2",
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF(X) }, { HEAD, OK_TAIL, 0 } } },
	{ "DATA before the headers", ERR_INTERNAL, "breaks HTTP/2",
	    { { DATA_OF(X) }, { HEAD, OK_HEAD, 0 } } },
	{ "an answer without :status", ERR_INTERNAL, "breaks HTTP/2",
	    { { HEAD_LAST, "content-type: application/grpc\n" OK_TAIL, 0 } } },
	{ "a header name in capitals", ERR_INTERNAL, "breaks HTTP/2",
	    { { HEAD_LAST, OK_HEAD "Grpc-Status: 0\n", 0 } } },
	{ "DATA behind the status changes nothing", ERR_OK, NULL,
	    { { HEAD, OK_HEAD, 0 }, { DATA_OF(X) }, { HEAD_LAST, OK_TAIL, 0 },
		{ DATA_OF(X) } } },
	{ "a frame of an unknown type is skipped", ERR_OK, NULL,
	    { { HEAD, OK_HEAD, 0 }, { RAW, "\0\0\1\xfa\0\0\0\0\1x", 10 },
		{ DATA_OF(X) }, { HEAD_LAST, OK_TAIL, 0 } } },
	{ "a frame over the size allowed", ERR_INTERNAL, "breaks HTTP/2",
	    { { HEAD, OK_HEAD, 0 },
		{ RAW, "\1\0\0\0\0\0\0\0\1xxxxxxxx", 17 } } },
	{ "a promise to push", ERR_INTERNAL, "breaks HTTP/2",
	    { { RAW, "\0\0\5\5\4\0\0\0\1\0\0\0\2\x82", 14 } } },
	{ "HPACK's nonsense", ERR_INTERNAL, "breaks HTTP/2",
	    { { RAW, "\0\0\1\1\4\0\0\0\1\xff", 10 } } },
};

static void
judge_all(const struct odd *odd, size_t count)
{
	for (size_t i = 0; i < count; i++)
		judge(&odd[i]);
}

/* ---- what does not fit into the table ---- */

/* Sends `bytes` where SETTINGS belong, and hangs up. */
static void
answer_with(const char *name, const char *bytes)
{
	struct client *client = client_new(caller_endpoint);
	struct wire raw;
	struct one o;

	one_start(&o, client, "/test.T/Echo", "hello", 10000);
	(void)raw_accept(&raw);
	wire_put(&raw, bytes, strlen(bytes));
	turn(5);
	wire_fini(&raw);
	finish_all();
	ok(o.done && o.call.code == ERR_UNAVAILABLE && o.call.connected,
	    "%s is UNAVAILABLE: %s", name, o.call.text);
	client_call_fini(&o.call);
	client_free(client);
}

static void
metadata_has_a_limit(void)
{
	static char lines[3 * 70000];
	struct client *client = client_new(caller_endpoint);
	struct frame frame;
	struct wire raw;
	struct one o;
	size_t n = 0;

	/* By HTTP/2's count each of these fields has 34 bytes. */
	n += (size_t)snprintf(lines, sizeof(lines), OK_HEAD);
	for (int i = 0; i < 2000; i++)
		n += (size_t)snprintf(lines + n, sizeof(lines) - n, "a: b\n");
	one_start(&o, client, "/test.T/Echo", "hello", 10000);
	(void)raw_accept(&raw);
	raw_settings(&raw, 0, 0);
	ok(raw_wait(&raw, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, &frame),
	    "a request comes");
	raw_headers(&raw, 0, frame.id, lines);
	finish_all();
	ok(o.done && o.call.code == ERR_RESOURCE_EXHAUSTED,
	    "... and 64 KiB of metadata are too much: %s", o.call.text);
	ok(raw_wait(&raw, NGHTTP2_RST_STREAM, 0, &frame) &&
		frame.payload[3] == 8,
	    "... which the server is told, by CANCEL");
	client_call_fini(&o.call);
	client_free(client);
	wire_fini(&raw);
}

int
main(void)
{
	caller_init("client_odd");
	raw_listen();
	judge_all(messages, countof(messages));
	judge_all(statuses, countof(statuses));
	judge_all(https, countof(https));
	judge_all(resets, countof(resets));
	judge_all(frames, countof(frames));
	answer_with("HTTP/1.1", "HTTP/1.1 400 Bad Request\r\n\r\n");
	answer_with("something else", "SSH-2.0-OpenSSH_9.2\r\n");
	answer_with("silence", "");
	metadata_has_a_limit();
	raw_unlisten();
	is_int(op_count(), 0, "no operation is left");
	caller_fini();
	return tap_end();
}
