/*
 * h2scan.h - where frames begin in a stream of bytes. nghttp2 tells nobody of
 * frames that it ignores, and a peer that sends only such shall be noticed.
 * Source: RFC 9113 4.1.
 */
#ifndef RPC_H2SCAN_H
#define RPC_H2SCAN_H

#include "base/str.h"

#include <nghttp2/nghttp2.h>

#define H2SCAN_HEAD_BYTES 9

/* Embed it; zeroed: a frame begins. */
struct h2scan {
	size_t left; /* bytes until the next frame begins */
	unsigned char head[H2SCAN_HEAD_BYTES];
	size_t have; /* of head */
};

/*
 * How many of the `len` bytes, more than 0, belong together: no frame begins
 * behind the first of them. True in *begins: the head of a frame is complete
 * with these, and in *hd.
 */
size_t h2scan_next(struct h2scan *scan, const unsigned char *bytes, size_t len,
    nghttp2_frame_hd *hd, bool *begins);

#endif
