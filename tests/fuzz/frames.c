/*
 * frames.c - frames of a client, or a server.
 */
#include "tests/fuzz/frames.h"

#include "rpc/grpc.h"
#include "tests/rpc/frame.h"

#include <string.h>

#define LIST_MAX ((size_t)8 << 10)

enum {
	DATA = 0,
	HEADERS = 1,
	PRIORITY = 2,
	RST_STREAM = 3,
	SETTINGS = 4,
	PING = 6,
	GOAWAY = 7,
	WINDOW_UPDATE = 8,
	CONTINUATION = 9,
	END_STREAM = 1,
	ACK = 1,
	END_HEADERS = 4,
	PADDED = 8,
};

/* Names and values that mean something to a server. */
static const char *const words[] = { ":method", ":scheme", ":path",
	":authority", ":status", "host", "te", "content-type", "content-length",
	"grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "user-agent",
	"x-trace", "x-trace-bin", "connection", "grpc-status", "Bad", "POST",
	"GET", "http", "/f.S/Echo", "application/grpc", "application/json",
	"trailers", "gzip", "identity", "10m", "1S", "0n", "5", "12", "AAEC",
	"AAE=", "not*base64", "a,b", "", "grpc-message", "not%20found%",
	"grpc-status-details-bin", "CAkSAXg", "0", "17", "200", "103" };

static void
put(struct buf *out, const void *bytes, size_t len)
{
	if (buf_append(out, bytes, len) < 0)
		abort();
}

void
frames_hello(struct buf *out)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

	put(out, preface, strlen(preface));
	frame_put(out, SETTINGS, 0, 0, NULL, 0);
}

/* ---- header lists ---- */

/* HPACK, RFC 7541 5.1: an integer behind a prefix of 7 bits. */
static void
put_length(struct buf *out, size_t n)
{
	unsigned char byte = n < 127 ? (unsigned char)n : 127;

	put(out, &byte, 1);
	if (n < 127)
		return;
	for (n -= 127; n >= 128; n /= 128) {
		byte = (unsigned char)(n % 128 + 128);
		put(out, &byte, 1);
	}
	byte = (unsigned char)n;
	put(out, &byte, 1);
}

/* RFC 7541 6.2: a literal with a new name, kept in the table or not. */
static void
put_field(
    struct buf *out, bool keep, struct fuzz_input name, struct fuzz_input value)
{
	unsigned char kind = keep ? 0x40 : 0;

	put(out, &kind, 1);
	put_length(out, name.len);
	put(out, name.at, name.len);
	put_length(out, value.len);
	put(out, value.at, value.len);
}

static struct fuzz_input
text(const char *s)
{
	return (struct fuzz_input){ (const uint8_t *)s, strlen(s) };
}

/* One of the words, or bytes of the input. */
static struct fuzz_input
word(struct fuzz_input *in)
{
	unsigned n = fuzz_byte(in);

	return n < 128 ? text(words[n % countof(words)])
		       : fuzz_take(in, n - 128);
}

/* Fields of the input; some come from HPACK's table of what was sent. */
static void
put_fields(struct buf *out, struct fuzz_input *in, unsigned count)
{
	while (count-- > 0) {
		unsigned kind = fuzz_byte(in);
		unsigned char indexed = (unsigned char)(0x80 | kind);
		struct fuzz_input name, value;

		if (kind >= 0xc0) {
			indexed &= 0xbf; /* 1 to 63: the fixed part, mostly */
			put(out, &indexed, 1);
			continue;
		}
		name = word(in);
		value = word(in);
		put_field(out, (kind & 1) != 0, name, value);
	}
}

/* One HEADERS frame, or several pieces of the list. */
static void
put_list(struct buf *out, uint32_t id, const struct buf *list, unsigned pieces,
    unsigned flags)
{
	size_t piece = list->len / (pieces + 1) + 1;
	size_t at = 0;
	unsigned type = HEADERS;

	do {
		size_t n = list->len - at < piece ? list->len - at : piece;
		unsigned last = at + n == list->len ? END_HEADERS : 0;

		frame_put(out, type, (type == HEADERS ? flags : 0) | last, id,
		    list->data + at, n);
		type = CONTINUATION;
		at += n;
	} while (at < list->len);
}

void
frames_request(
    struct buf *out, struct fuzz_input *in, uint32_t id, const char *path)
{
	/*
	 * Bits: END_STREAM, no te, no type, a timeout, a short one, a
	 * content-length, metadata; then pieces and fields of the input.
	 */
	unsigned how = fuzz_byte(in), more = fuzz_byte(in);
	struct buf list;

	buf_init(&list, LIST_MAX);
	put(&list, "\x83\x86", 2); /* :method POST, :scheme http */
	put_field(&list, true, text(":path"), text(path));
	if ((how & 2) == 0)
		put_field(&list, true, text("te"), text("trailers"));
	if ((how & 4) == 0)
		put_field(&list, true, text("content-type"),
		    text("application/grpc"));
	if (how & 8)
		put_field(&list, false, text("grpc-timeout"),
		    (how & 16) != 0 ? text("50m") : text("1S"));
	if (how & 32)
		put_field(&list, false, text("content-length"), text("10"));
	for (int i = 0; i < 2 && (how & 64) != 0; i++) {
		put_field(&list, true, text("x-trace"), text("abc"));
		put_field(&list, true, text("x-trace-bin"), text("AAEC"));
	}
	put_fields(&list, in, more % 16);
	put_list(out, id, &list, more / 16, how & END_STREAM);
	buf_fini(&list);
}

void
frames_response(struct buf *out, struct fuzz_input *in, uint32_t id)
{
	/* Bits: END_STREAM, an odd status, no type, a status; pieces, fields. */
	unsigned how = fuzz_byte(in), more = fuzz_byte(in);
	struct buf list;

	buf_init(&list, LIST_MAX);
	put(&list, how & 2 ? "\x8d" : "\x88", 1); /* :status 404 or 200 */
	if ((how & 4) == 0)
		put_field(&list, true, text("content-type"),
		    text("application/grpc"));
	if (how & 8)
		put_field(&list, true, text("grpc-status"),
		    text(how & 16 ? "5" : "0"));
	put_fields(&list, in, more % 16);
	put_list(out, id, &list, more / 16, how & END_STREAM);
	buf_fini(&list);
}

void
frames_trailers(struct buf *out, struct fuzz_input *in, uint32_t id)
{
	unsigned how = fuzz_byte(in);
	struct buf list;

	buf_init(&list, LIST_MAX);
	put_fields(&list, in, how / 16 + 1);
	put_list(out, id, &list, how / 4 % 4, how & END_STREAM);
	buf_fini(&list);
}

/* ---- the others ---- */

/* A message of `len` bytes with its prefix, or the middle of a longer one. */
static void
put_message(struct buf *payload, size_t len, unsigned flag, bool with_prefix)
{
	unsigned char prefix[GRPC_PREFIX_BYTES], *to;

	grpc_prefix_put(prefix, (uint32_t)len);
	prefix[0] = (unsigned char)flag;
	if (with_prefix)
		put(payload, prefix, sizeof(prefix));
	if (len > FRAME_MAX - payload->len)
		len = FRAME_MAX - payload->len;
	to = buf_reserve(payload, len);
	if (to == NULL)
		abort();
	if (len > 0)
		memset(to, 3, len);
	payload->len += len;
}

void
frames_data(struct buf *out, struct fuzz_input *in, uint32_t id)
{
	unsigned how = fuzz_byte(in), n = fuzz_byte(in);
	unsigned char pad = how & PADDED ? (unsigned char)n : 0;
	struct fuzz_input raw;
	struct buf payload;

	buf_init(&payload, FRAME_MAX + 256);
	if (how & PADDED)
		put(&payload, &pad, 1);
	switch (how >> 4) {
	case 0:
	case 1:
		put_message(&payload, n, 0, true);
		break;
	case 2:
		put_message(&payload, n * 128, 0, true);
		break;
	case 3:
		put_message(&payload, n * 128, 0, false);
		break;
	case 4:
		put_message(&payload, n, 0, true);
		put_message(&payload, n, 0, true);
		break;
	case 5:
		put_message(&payload, n, n, true);
		break;
	default:
		raw = fuzz_take(in, n);
		put(&payload, raw.at, raw.len);
		break;
	}
	frame_put(out, DATA, how & (END_STREAM | PADDED), id, payload.data,
	    payload.len);
	buf_fini(&payload);
}

static void
put_settings(struct buf *out, struct fuzz_input *in)
{
	unsigned count = fuzz_byte(in);
	unsigned char payload[6 * 8];

	count %= sizeof(payload) / 6;
	memset(payload, 0, sizeof(payload));
	for (unsigned i = 0; i < count; i++) {
		unsigned char *entry = payload + 6 * i;

		entry[1] = (unsigned char)(fuzz_byte(in) % 10);
		/* A larger frame than this is no concern of a server. */
		if (entry[1] == 5)
			entry[1] = 6;
		frame_put_u32(
		    entry + 2, fuzz_short(in) << (fuzz_byte(in) % 17));
	}
	frame_put(out, SETTINGS, count == 0 ? ACK : 0, 0, payload, 6 * count);
}

void
frames_flood(struct buf *out, struct fuzz_input *in, uint32_t id)
{
	unsigned kind = fuzz_byte(in), n = 8 * fuzz_byte(in);
	unsigned char one[8] = { [3] = 1 };

	while (n-- > 0)
		switch (kind % 4) {
		case 0:
			frame_put(out, PING, 0, 0, one, 8);
			break;
		case 1:
			frame_put(out, DATA, 0, id, NULL, 0);
			break;
		case 2:
			frame_put(out, WINDOW_UPDATE, 0, id, one, 4);
			break;
		default:
			frame_put(out, SETTINGS, 0, 0, NULL, 0);
			break;
		}
}

void
frames_control(struct buf *out, struct fuzz_input *in, uint32_t id)
{
	unsigned kind = fuzz_byte(in), n = fuzz_byte(in);
	unsigned char payload[8] = { 0 };
	struct fuzz_input raw;

	switch (kind % 8) {
	case 0:
		put_settings(out, in);
		break;
	case 1:
		frame_put(out, PING, n & ACK, 0,
		    n & 2 ? "drain\0\0\0" : "fuzzfuzz", 8);
		break;
	case 2:
	case 3:
		frame_put_u32(payload, n << (fuzz_byte(in) % 25));
		frame_put(out, WINDOW_UPDATE, 0, n & 1 ? id : 0, payload, 4);
		break;
	case 4:
		frame_put_u32(payload, n);
		frame_put(out, RST_STREAM, 0, id, payload, 4);
		break;
	case 5:
		frame_put_u32(payload + 4, n);
		frame_put(out, GOAWAY, 0, 0, payload, 8);
		break;
	case 6:
		frame_put_u32(payload, n);
		frame_put(out, PRIORITY, 0, id, payload, 5);
		break;
	default:
		raw = fuzz_take(in, fuzz_byte(in));
		frame_put(out, n, kind / 8, fuzz_byte(in) % 4 ? id : 0, raw.at,
		    raw.len);
		break;
	}
}
