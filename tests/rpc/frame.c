/*
 * frame.c - frames by hand.
 */
#include "tests/rpc/frame.h"

void
frame_put_u32(unsigned char *to, uint32_t n)
{
	to[0] = (unsigned char)(n >> 24);
	to[1] = (unsigned char)(n >> 16);
	to[2] = (unsigned char)(n >> 8);
	to[3] = (unsigned char)n;
}

uint32_t
frame_u32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 |
	    (uint32_t)p[2] << 8 | p[3];
}

void
frame_put(struct buf *out, uint8_t type, uint8_t flags, int32_t id,
    const void *payload, size_t len)
{
	unsigned char head[FRAME_HEAD_BYTES];

	frame_put_u32(head, (uint32_t)len << 8 | type);
	head[4] = flags;
	frame_put_u32(head + 5, (uint32_t)id);
	if (buf_append(out, head, sizeof(head)) < 0 ||
	    buf_append(out, payload, len) < 0)
		abort();
}

bool
frame_next(const struct buf *in, size_t *at, struct frame *frame)
{
	const unsigned char *p = in->data + *at;

	if (in->len - *at < FRAME_HEAD_BYTES)
		return false;
	*frame = (struct frame){
		.len = frame_u32(p) >> 8,
		.type = p[3],
		.flags = p[4],
		.id = (int32_t)(frame_u32(p + 5) & INT32_MAX),
		.payload = p + FRAME_HEAD_BYTES,
	};
	if (in->len - *at - FRAME_HEAD_BYTES < frame->len)
		return false;
	*at += FRAME_HEAD_BYTES + frame->len;
	return true;
}
