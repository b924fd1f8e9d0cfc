/*
 * grpc.h - gRPC's own encodings on top of HTTP/2: length-prefixed messages,
 * timeouts, percent-encoded texts, content types, custom metadata. Pure
 * functions; source: grpc/grpc doc/PROTOCOL-HTTP2.md.
 */
#ifndef RPC_GRPC_H
#define RPC_GRPC_H

#include "base/buf.h"

#include <nghttp2/nghttp2.h>

#define GRPC_PREFIX_BYTES 5 /* compressed flag, length as 32 bits */

/*
 * Puts messages together from pieces that do not care for their borders.
 * buf_fini() of `message` frees it.
 */
struct grpc_reader {
	struct buf message; /* the message so far; its cap is the limit */
	unsigned char prefix[GRPC_PREFIX_BYTES];
	unsigned prefix_len; /* more than 0: a message has begun */
	uint32_t want;       /* length of the message, once prefix is whole */
};

enum grpc_read {
	GRPC_READ_MORE = 0,   /* all bytes taken, the message goes on */
	GRPC_READ_MESSAGE,    /* reader->message is whole */
	GRPC_READ_TOO_LARGE,  /* longer than the cap */
	GRPC_READ_NO_MEMORY,  /* there is none for it */
	GRPC_READ_COMPRESSED, /* compressed, which nobody offered */
	GRPC_READ_BAD_FLAG,   /* a compressed flag other than 0 and 1 */
};

void grpc_reader_init(struct grpc_reader *reader, size_t max);

/*
 * Takes bytes from *bytes up to the end of one message and moves *bytes and
 * *len behind them. After GRPC_READ_MESSAGE call grpc_reader_next() before
 * the next bytes; after an error the reader is of no more use.
 */
enum grpc_read grpc_reader_feed(
    struct grpc_reader *reader, const unsigned char **bytes, size_t *len);
void grpc_reader_next(struct grpc_reader *reader);

void grpc_prefix_put(unsigned char prefix[GRPC_PREFIX_BYTES], uint32_t len);

/* Appends a message with its prefix: 0, or -ENOMEM, also over the cap. */
int grpc_message_put(struct buf *out, const void *bytes, size_t len) must_check;

/*
 * The value of grpc-timeout: 1 to 8 digits and one of H M S m u n. Gives
 * milliseconds, rounded down; returns 0 or -EINVAL.
 */
int grpc_timeout_parse(const char *value, size_t len, int64_t *ms) must_check;

#define GRPC_TIMEOUT_MAX 12 /* room for grpc_timeout_fmt(), with its NUL */

/* The shortest exact unit that 8 digits hold; beyond that, rounded up. */
void grpc_timeout_fmt(char out[GRPC_TIMEOUT_MAX], int64_t ms);

/*
 * Percent-encodes a grpc-message: all but 0x20-0x7e, '%', and spaces at its
 * ends, which no header may have (RFC 9113 8.2.1). Returns the length; `out`
 * needs GRPC_PERCENT_ROOM(len). Decoding leaves what is no valid
 * escape as it is, as the specification wants; works in place.
 */
#define GRPC_PERCENT_ROOM(len) (3 * (len) + 1)
size_t grpc_percent_encode(char *out, const char *text, size_t len);
size_t grpc_percent_decode(char *out, const char *text, size_t len);

/* "application/grpc", "application/grpc+x", "application/grpc;x". */
bool grpc_content_type_is(const char *value, size_t len);

/* ---- fields ---- */

/*
 * A field for nghttp2, which takes names and values without const but does
 * not write to them. `flags`: NGHTTP2_NV_FLAG_...; constants need no copy,
 * other values may outlive their stream in a queue.
 */
nghttp2_nv grpc_field(const char *name, const char *value, unsigned flags);
#define GRPC_NAME_FIXED NGHTTP2_NV_FLAG_NO_COPY_NAME
#define GRPC_FIXED (GRPC_NAME_FIXED | NGHTTP2_NV_FLAG_NO_COPY_VALUE)
/* Too diverse for HPACK's table. */
#define GRPC_DIVERSE (GRPC_NAME_FIXED | NGHTTP2_NV_FLAG_NO_INDEX)

/*
 * Custom metadata of calls: what applications send in headers and trailers.
 * Values of names that end in "-bin" are bytes, and go over the wire in
 * base64 (str_unbase64() reads them); all others are printable ASCII.
 */

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

/* The first value of a name, or NULL. */
const char *metadata_find(const struct metadata *md, const char *name);

/* Fills nv[] with at most METADATA_FIELDS_MAX and returns how many. */
size_t metadata_fields(const struct metadata *md, nghttp2_nv *nv);

#endif
