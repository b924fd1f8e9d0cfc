/*
 * encode.h - Ceph's wire encoding: little endian, strings and byte strings
 * with a u32 length in front, structs with version, compatible version and
 * u32 length in front.
 *
 * The rule that holds it together: failures stick. An encoder that outgrew
 * its cap and a decoder that was asked to read past the end stay failed, so
 * that a codec is a plain list of fields with one check at its end.
 */
#ifndef CEPH_ENCODE_H
#define CEPH_ENCODE_H

#include "base/buf.h"

/*
 * Largest input of one class call: the data of one of the largest objects. The
 * OSD takes up to 90 MB at once.
 */
#define ENC_MAX ((size_t)33 << 20)

struct enc {
	struct buf buf;
	bool failed; /* a field did not fit; buf is incomplete */
};

void enc_init(struct enc *e);
void enc_fini(struct enc *e);
/* A number of so many bytes, 1 to 8; v is cut to them. */
void enc_uint(struct enc *e, uint64_t v, size_t bytes);
#define enc_u8(e, v) enc_uint((e), (v), 1)
#define enc_u32(e, v) enc_uint((e), (v), 4)
#define enc_u64(e, v) enc_uint((e), (v), 8)
void enc_raw(struct enc *e, const void *bytes, size_t len); /* no length */
void enc_bytes(struct enc *e, const void *bytes, size_t len);
void enc_str(struct enc *e, const char *s);

/* A versioned struct: enc_begin() ... enc_end() with what enc_begin() gave. */
size_t enc_begin(struct enc *e, uint8_t version, uint8_t compat);
void enc_end(struct enc *e, size_t begin);

/* Reads from memory that it does not own; zeroed is an empty input. */
struct dec {
	const unsigned char *at, *end;
	bool failed; /* read past the end or met a wrong value */
};

/* A byte string inside the input, not NUL terminated. */
struct dec_bytes {
	const char *at;
	size_t len;
};

void dec_init(struct dec *d, const void *bytes, size_t len);
size_t dec_left(const struct dec *d);
/* 0 once failed. */
uint64_t dec_uint(struct dec *d, size_t bytes);
#define dec_u8(d) ((uint8_t)dec_uint((d), 1))
#define dec_u16(d) ((uint16_t)dec_uint((d), 2))
#define dec_u32(d) ((uint32_t)dec_uint((d), 4))
#define dec_u64(d) dec_uint((d), 8)
struct dec_bytes dec_bytes(struct dec *d);

/*
 * Copies a string into buf[size] with a closing NUL. Fails if it does not fit
 * or holds a NUL: names and ids never do.
 */
void dec_str(struct dec *d, char *buf, size_t size);

/*
 * The number of elements that follows. Fails if `d` has fewer than
 * `min_bytes` for each, so that a loop over it is bounded by the input.
 */
uint32_t dec_count(struct dec *d, size_t min_bytes);

/*
 * A versioned struct: gives a decoder for its body and moves `d` behind it,
 * so that fields which a newer release has appended are skipped. Fails when
 * its compatible version is above `known`. *version may be NULL.
 */
struct dec dec_struct(struct dec *d, uint8_t known, uint8_t *version);

/* Marks `d` as failed if `inner` is. */
void dec_join(struct dec *d, const struct dec *inner);

/* 0, or -EBADMSG when anything has failed. */
int dec_end(const struct dec *d) must_check;

#endif
