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

/* Largest input of one class call; the OSD takes up to 90 MB at once. */
#define ENC_MAX ((size_t)1 << 20)

struct enc {
	struct buf buf;
	bool failed; /* a field did not fit; buf is incomplete */
};

void enc_init(struct enc *e);
void enc_fini(struct enc *e);
void enc_u8(struct enc *e, uint8_t v);
void enc_u32(struct enc *e, uint32_t v);
void enc_u64(struct enc *e, uint64_t v);
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
uint8_t dec_u8(struct dec *d); /* 0 once failed, as the others */
uint16_t dec_u16(struct dec *d);
uint32_t dec_u32(struct dec *d);
uint64_t dec_u64(struct dec *d);
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
