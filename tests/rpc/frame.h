/*
 * frame.h - frames of HTTP/2 as bytes, made and taken apart by hand: for the
 * other ends that tests and fuzz targets play. RFC 9113 4.1.
 */
#ifndef TESTS_RPC_FRAME_H
#define TESTS_RPC_FRAME_H

#include "base/buf.h"

#include <nghttp2/nghttp2.h>

#define FRAME_HEAD_BYTES 9
#define FRAME_MAX 16384 /* the largest payload that nobody needs to allow */

struct frame {
	uint8_t type, flags; /* NGHTTP2_x, NGHTTP2_FLAG_x */
	int32_t id;          /* of the stream */
	size_t len;
	const unsigned char *payload;
};

/* Appends a frame as it is. */
void frame_put(struct buf *out, uint8_t type, uint8_t flags, int32_t id,
    const void *payload, size_t len);

/*
 * The whole frame at *at, which is moved behind it; false: it is not all
 * there. It points into `in`.
 */
bool frame_next(const struct buf *in, size_t *at, struct frame *frame);

void frame_put_u32(unsigned char *to, uint32_t n);
uint32_t frame_u32(const unsigned char *p);

#endif
