/*
 * rawserver.c - frames by hand.
 */
#include "tests/rpc/rawserver.h"

#include "core/loop.h"
#include "tests/rpc/caller.h"
#include "tests/tap.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#define IN_MAX ((size_t)16 << 20)
#define TURNS 2000 /* of waiting for something */

static int listening = -1;

void
raw_listen(void)
{
	listening = caller_listen(16);
}

void
raw_unlisten(void)
{
	(void)close(listening);
	(void)unlink(caller_path);
	listening = -1;
}

bool
raw_has_caller(void)
{
	struct pollfd pfd = { .fd = listening, .events = POLLIN };

	turn(20);
	return poll(&pfd, 1, 0) == 1;
}

/* One turn of the loop, and what comes in it. */
static void
take_turn(struct wire *wire)
{
	buf_consume(&wire->in, wire->at);
	wire->at = 0;
	turn(1);
	(void)wire_read(wire);
}

bool
raw_accept(struct wire *wire)
{
	const size_t len = NGHTTP2_CLIENT_MAGIC_LEN;

	wire_begin(wire, -1);
	if (!raw_has_caller())
		return false;
	wire_begin(wire, accept4(listening, NULL, NULL, SOCK_CLOEXEC));
	for (int i = 0; i < TURNS && wire->in.len < len && !wire->eof; i++)
		take_turn(wire);
	wire->at = len;
	return wire->in.len >= len &&
	    memcmp(wire->in.data, NGHTTP2_CLIENT_MAGIC, len) == 0;
}

void
raw_frame(struct wire *wire, uint8_t type, unsigned flags, int32_t id,
    const void *payload, size_t len)
{
	struct buf out;

	buf_init(&out, IN_MAX);
	frame_put(&out, type, (uint8_t)flags, id, payload, len);
	wire_put(wire, out.data, out.len);
	buf_fini(&out);
}

void
raw_settings(struct wire *wire, unsigned id, uint32_t value)
{
	unsigned char payload[6] = { (unsigned char)(id >> 8),
		(unsigned char)id };

	frame_put_u32(payload + 2, value);
	raw_frame(wire, NGHTTP2_SETTINGS, 0, 0, payload,
	    id != 0 ? sizeof(payload) : 0);
	raw_frame(wire, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0, NULL, 0);
}

void
raw_reset(struct wire *wire, int32_t id, uint32_t code)
{
	unsigned char payload[4];

	frame_put_u32(payload, code);
	raw_frame(wire, NGHTTP2_RST_STREAM, 0, id, payload, sizeof(payload));
}

void
raw_goaway(struct wire *wire, int32_t last_id, uint32_t code)
{
	unsigned char payload[8];

	frame_put_u32(payload, (uint32_t)last_id);
	frame_put_u32(payload + 4, code);
	raw_frame(wire, NGHTTP2_GOAWAY, 0, 0, payload, sizeof(payload));
}

/* A string of HPACK, neither Huffman-coded nor longer than 7 + 14 bits. */
static void
put_string(struct buf *out, const char *text, size_t len)
{
	unsigned char n[3] = { (unsigned char)len };
	size_t rest = len - 127;

	if (len >= 127) {
		n[0] = 127;
		n[1] = (unsigned char)((rest & 127) | 128);
		n[2] = (unsigned char)(rest >> 7);
	}
	if (buf_append(out, n, len >= 127 ? 3 : 1) < 0 ||
	    buf_append(out, text, len) < 0)
		abort();
}

void
raw_headers(struct wire *wire, unsigned flags, int32_t id, const char *lines)
{
	const char *colon, *end;
	struct buf block;

	buf_init(&block, IN_MAX);
	for (; *lines != '\0'; lines = end + 1) {
		colon = strstr(lines + 1, ": ");
		end = strchr(lines, '\n');
		/* A literal that is not put into the table. */
		if (buf_append(&block, "", 1) < 0)
			abort();
		put_string(&block, lines, (size_t)(colon - lines));
		put_string(&block, colon + 2, (size_t)(end - colon - 2));
	}
	raw_frame(wire, NGHTTP2_HEADERS, flags | NGHTTP2_FLAG_END_HEADERS, id,
	    block.data, block.len);
	buf_fini(&block);
}

bool
raw_wait(struct wire *wire, uint8_t type, unsigned flags, struct frame *frame)
{
	for (int i = 0; i < TURNS; i++) {
		while (frame_next(&wire->in, &wire->at, frame))
			if (frame->type == type &&
			    (frame->flags & flags) == flags)
				return true;
		if (wire->eof)
			return false;
		take_turn(wire);
	}
	return false;
}

bool
raw_wait_eof(struct wire *wire)
{
	for (int i = 0; i < TURNS && !wire->eof; i++)
		take_turn(wire);
	return wire->eof;
}

void
raw_greet(struct wire *wire, unsigned id, uint32_t value)
{
	if (!raw_accept(wire))
		diag("no connection");
	raw_settings(wire, id, value);
}

int32_t
raw_request(struct wire *wire)
{
	struct frame frame;

	return raw_wait(wire, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, &frame)
	    ? frame.id
	    : 0;
}

void
raw_answer(struct wire *wire, int32_t id)
{
	raw_headers(wire, 0, id, RAW_OK_HEAD);
	raw_frame(wire, NGHTTP2_DATA, 0, id, "\0\0\0\0\1x", 6);
	raw_headers(wire, NGHTTP2_FLAG_END_STREAM, id, RAW_OK_TAIL);
}
