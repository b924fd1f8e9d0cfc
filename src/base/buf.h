/*
 * buf.h - a byte buffer that grows up to a cap given at its birth. A peer
 * that sends more gets -EMSGSIZE, never our memory; and so does one whose
 * bytes there is no memory for. Requests have keys in them: what a buffer held
 * is overwritten as soon as it holds that no more.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/str.h"

struct buf {
	unsigned char *data;
	size_t len;  /* bytes in use */
	size_t room; /* bytes allocated */
	size_t max;  /* never more than this */
};

void buf_init(struct buf *buf, size_t max);
void buf_fini(struct buf *buf); /* frees; may be used again */

/*
 * Appends. Returns 0 or -EMSGSIZE (nothing is appended then).
 */
int buf_append(struct buf *buf, const void *bytes, size_t len) must_check;
int buf_printf(struct buf *buf, const char *fmt, ...) printf_like(2, 3);

/*
 * Makes room for `len` more bytes and returns where they go, NULL over the
 * cap or when memory cannot be had; buf->len is for the caller to raise.
 */
void *buf_reserve(struct buf *buf, size_t len);

void buf_consume(struct buf *buf, size_t len); /* drops from the front */
void buf_clear(struct buf *buf);               /* keeps the memory */

#endif
