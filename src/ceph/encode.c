/*
 * encode.c - reading and writing Ceph's wire encoding.
 */
#include "ceph/encode.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

void
enc_init(struct enc *e)
{
	buf_init(&e->buf, ENC_MAX);
	e->failed = false;
}

void
enc_fini(struct enc *e)
{
	buf_fini(&e->buf);
}

void
enc_raw(struct enc *e, const void *bytes, size_t len)
{
	if (e->failed || len == 0)
		return;
	if (buf_append(&e->buf, bytes, len) < 0)
		e->failed = true;
}

void
enc_uint(struct enc *e, uint64_t v, size_t bytes)
{
	v = htole64(v);
	enc_raw(e, &v, bytes);
}

void
enc_bytes(struct enc *e, const void *bytes, size_t len)
{
	if (len > ENC_MAX) {
		e->failed = true;
		return;
	}
	enc_u32(e, (uint32_t)len);
	enc_raw(e, bytes, len);
}

void
enc_str(struct enc *e, const char *s)
{
	enc_bytes(e, s, strlen(s));
}

size_t
enc_begin(struct enc *e, uint8_t version, uint8_t compat)
{
	enc_u8(e, version);
	enc_u8(e, compat);
	enc_u32(e, 0);
	return e->buf.len;
}

void
enc_end(struct enc *e, size_t begin)
{
	uint32_t len;

	if (e->failed)
		return;
	len = htole32((uint32_t)(e->buf.len - begin));
	memcpy(e->buf.data + begin - sizeof(len), &len, sizeof(len));
}

void
dec_init(struct dec *d, const void *bytes, size_t len)
{
	d->at = bytes;
	d->end = len > 0 ? d->at + len : d->at;
	d->failed = false;
}

size_t
dec_left(const struct dec *d)
{
	return (size_t)(d->end - d->at);
}

/* The next `len` bytes, or NULL; len 0 gives NULL as well. */
static const unsigned char *
dec_raw(struct dec *d, size_t len)
{
	const unsigned char *at = d->at;

	if (d->failed || len > dec_left(d)) {
		d->failed = true;
		return NULL;
	}
	if (len == 0)
		return NULL;
	d->at += len;
	return at;
}

uint64_t
dec_uint(struct dec *d, size_t bytes)
{
	const unsigned char *at = dec_raw(d, bytes);
	uint64_t v = 0;

	if (at != NULL)
		memcpy(&v, at, bytes);
	return le64toh(v);
}

struct dec_bytes
dec_bytes(struct dec *d)
{
	uint32_t len = dec_u32(d);
	const unsigned char *at = dec_raw(d, len);

	if (at == NULL)
		return (struct dec_bytes){ .at = "", .len = 0 };
	return (struct dec_bytes){ .at = (const char *)at, .len = len };
}

void
dec_str(struct dec *d, char *buf, size_t size)
{
	struct dec_bytes s = dec_bytes(d);

	if (s.len >= size || memchr(s.at, '\0', s.len) != NULL) {
		d->failed = true;
		s.len = 0;
	}
	memcpy(buf, s.at, s.len);
	buf[s.len] = '\0';
}

uint32_t
dec_count(struct dec *d, size_t min_bytes)
{
	uint32_t n = dec_u32(d);

	if (n > dec_left(d) / min_bytes) {
		d->failed = true;
		return 0;
	}
	return n;
}

struct dec
dec_struct(struct dec *d, uint8_t known, uint8_t *version)
{
	struct dec inner = { .at = NULL };
	uint8_t v = dec_u8(d);
	uint8_t compat = dec_u8(d);
	struct dec_bytes body = dec_bytes(d);

	if (version != NULL)
		*version = v;
	if (compat > known)
		d->failed = true;
	dec_init(&inner, body.at, body.len);
	inner.failed = d->failed;
	return inner;
}

void
dec_join(struct dec *d, const struct dec *inner)
{
	d->failed = d->failed || inner->failed;
}

int
dec_end(const struct dec *d)
{
	return d->failed ? -EBADMSG : 0;
}
