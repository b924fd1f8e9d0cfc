/*
 * metadata.h - custom metadata of calls: what applications send in headers
 * and trailers. Source: grpc/grpc doc/PROTOCOL-HTTP2.md, "Custom-Metadata".
 *
 * Values of names that end in "-bin" are bytes, and go over the wire in
 * base64; all others are printable ASCII.
 */
#ifndef RPC_METADATA_H
#define RPC_METADATA_H

#include "base/buf.h"

/* More than so many fields are not sent. */
#define METADATA_FIELDS_MAX 16

/* A row of fields as they go over the wire; zeroed: none. */
struct metadata {
	struct buf bytes; /* "name\0value\0" each */
	size_t count;
};

void metadata_fini(struct metadata *md); /* may be used again */

/*
 * Adds a field as it came if an application may care for it: not those of
 * HTTP and gRPC themselves. The caller has bounded the list; -EMSGSIZE: there
 * is no memory for it.
 */
int metadata_note(struct metadata *md, const char *name, size_t name_len,
    const char *value, size_t value_len) must_check;

/*
 * Adds a field to send. -EINVAL: a name with capitals or of HTTP's or gRPC's
 * own, or text that is not printable ASCII; -EMSGSIZE: too many or too large.
 */
int metadata_add(struct metadata *md, const char *name, const void *bytes,
    size_t len) must_check;

/* The next field from *at on, which is 0 at first; false: there is none. */
bool metadata_next(const struct metadata *md, size_t *at, const char **name,
    const char **value);

/*
 * The bytes of a "-bin" value, with padding or without: their number, or
 * -EINVAL: no base64, or more than `max`.
 */
long metadata_decode(void *out, size_t max, const char *value, size_t len);

#endif
