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

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define FRAME_HEAD 9
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

static void
receive(struct raw *raw)
{
	unsigned char bytes[16384];
	ssize_t n;

	buf_consume(&raw->in, raw->at);
	raw->at = 0;
	while ((n = recv(raw->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		if (buf_append(&raw->in, bytes, (size_t)n) < 0)
			abort();
	raw->eof = raw->eof || n == 0 || errno == ECONNRESET;
}

bool
raw_accept(struct raw *raw)
{
	const size_t len = strlen(PREFACE);

	*raw = (struct raw){ .fd = -1 };
	buf_init(&raw->in, IN_MAX);
	if (!raw_has_caller())
		return false;
	raw->fd = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
	for (int i = 0; i < TURNS && raw->in.len < len && !raw->eof; i++) {
		turn(1);
		receive(raw);
	}
	raw->at = len;
	return raw->in.len >= len && memcmp(raw->in.data, PREFACE, len) == 0;
}

void
raw_close(struct raw *raw)
{
	if (raw->fd >= 0)
		(void)close(raw->fd);
	raw->fd = -1;
	buf_fini(&raw->in);
}

/* Whole: the client reads while the rest waits. */
void
raw_send(struct raw *raw, const void *bytes, size_t len)
{
	const char *at = bytes;
	ssize_t n;

	for (int i = 0; i < TURNS && len > 0 && !raw->eof; i++) {
		n = send(raw->fd, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return;
		at += n > 0 ? n : 0;
		len -= n > 0 ? (size_t)n : 0;
		if (len > 0)
			turn(1);
	}
}

void
raw_frame(struct raw *raw, enum raw_type type, unsigned flags, uint32_t stream,
    const void *payload, size_t len)
{
	const unsigned char head[FRAME_HEAD] = {
		(unsigned char)(len >> 16),
		(unsigned char)(len >> 8),
		(unsigned char)len,
		(unsigned char)type,
		(unsigned char)flags,
		(unsigned char)(stream >> 24),
		(unsigned char)(stream >> 16),
		(unsigned char)(stream >> 8),
		(unsigned char)stream,
	};

	raw_send(raw, head, sizeof(head));
	raw_send(raw, payload, len);
}

static void
put_u32(unsigned char *to, uint32_t n)
{
	to[0] = (unsigned char)(n >> 24);
	to[1] = (unsigned char)(n >> 16);
	to[2] = (unsigned char)(n >> 8);
	to[3] = (unsigned char)n;
}

void
raw_settings(struct raw *raw, unsigned id, uint32_t value)
{
	unsigned char payload[6] = { (unsigned char)(id >> 8),
		(unsigned char)id };

	put_u32(payload + 2, value);
	raw_frame(
	    raw, RAW_SETTINGS, 0, 0, payload, id != 0 ? sizeof(payload) : 0);
	raw_frame(raw, RAW_SETTINGS, RAW_ACK, 0, NULL, 0);
}

void
raw_reset(struct raw *raw, uint32_t stream, uint32_t code)
{
	unsigned char payload[4];

	put_u32(payload, code);
	raw_frame(raw, RAW_RST_STREAM, 0, stream, payload, sizeof(payload));
}

void
raw_goaway(struct raw *raw, uint32_t last_stream, uint32_t code)
{
	unsigned char payload[8];

	put_u32(payload, last_stream);
	put_u32(payload + 4, code);
	raw_frame(raw, RAW_GOAWAY, 0, 0, payload, sizeof(payload));
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
raw_headers(struct raw *raw, unsigned flags, uint32_t stream, const char *lines)
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
	raw_frame(raw, RAW_HEADERS, flags | RAW_END_HEADERS, stream, block.data,
	    block.len);
	buf_fini(&block);
}

static bool
next(struct raw *raw, struct raw_frame *frame)
{
	const unsigned char *p = raw->in.data + raw->at;
	size_t have = raw->in.len - raw->at;

	if (have < FRAME_HEAD)
		return false;
	*frame = (struct raw_frame){
		.len = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2],
		.type = p[3],
		.flags = p[4],
		.stream = ((uint32_t)p[5] & 127) << 24 | (uint32_t)p[6] << 16 |
		    (uint32_t)p[7] << 8 | p[8],
		.payload = p + FRAME_HEAD,
	};
	if (have < FRAME_HEAD + frame->len)
		return false;
	raw->at += FRAME_HEAD + frame->len;
	return true;
}

bool
raw_wait(struct raw *raw, enum raw_type type, unsigned flags,
    struct raw_frame *frame)
{
	for (int i = 0; i < TURNS; i++) {
		while (next(raw, frame))
			if (frame->type == type &&
			    (frame->flags & flags) == flags)
				return true;
		if (raw->eof)
			return false;
		turn(1);
		receive(raw);
	}
	return false;
}

bool
raw_wait_eof(struct raw *raw)
{
	for (int i = 0; i < TURNS && !raw->eof; i++) {
		turn(1);
		receive(raw);
	}
	return raw->eof;
}

void
raw_greet(struct raw *raw, unsigned id, uint32_t value)
{
	if (!raw_accept(raw))
		diag("no connection");
	raw_settings(raw, id, value);
}

uint32_t
raw_request(struct raw *raw)
{
	struct raw_frame frame;

	return raw_wait(raw, RAW_DATA, RAW_END_STREAM, &frame) ? frame.stream
							       : 0;
}

void
raw_answer(struct raw *raw, uint32_t stream)
{
	raw_headers(raw, 0, stream, RAW_OK_HEAD);
	raw_frame(raw, RAW_DATA, 0, stream, "\0\0\0\0\1x", 6);
	raw_headers(raw, RAW_END_STREAM, stream, RAW_OK_TAIL);
}
