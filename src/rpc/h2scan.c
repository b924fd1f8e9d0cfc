/*
 * h2scan.c - heads of frames.
 */
#include "rpc/h2scan.h"

#include <string.h>

static void
parse(const unsigned char *p, nghttp2_frame_hd *hd)
{
	*hd = (nghttp2_frame_hd){
		.length = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2],
		.type = p[3],
		.flags = p[4],
		.stream_id = (int32_t)((uint32_t)(p[5] & 0x7f) << 24 |
		    (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8]),
	};
}

size_t
h2scan_next(struct h2scan *scan, const unsigned char *bytes, size_t len,
    nghttp2_frame_hd *hd, bool *begins)
{
	size_t n = 0;

	*begins = false;
	if (scan->left == 0) {
		n = H2SCAN_HEAD_BYTES - scan->have;
		if (n > len)
			n = len;
		memcpy(scan->head + scan->have, bytes, n);
		scan->have += n;
		if (scan->have < H2SCAN_HEAD_BYTES)
			return n;
		parse(scan->head, hd);
		*begins = true;
		scan->have = 0;
		scan->left = hd->length;
	}
	if (scan->left < len - n)
		len = n + scan->left;
	scan->left -= len - n;
	return len;
}
