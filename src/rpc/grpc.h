/*
 * grpc.h - gRPC's own encodings on top of HTTP/2: length-prefixed messages,
 * timeouts, percent-encoded texts, content types. Pure functions; source:
 * grpc/grpc doc/PROTOCOL-HTTP2.md.
 */
#ifndef RPC_GRPC_H
#define RPC_GRPC_H

#include "base/buf.h"

#define GRPC_PREFIX_BYTES 5 /* compressed flag, length as 32 bits */

/* Puts messages together from pieces that do not care for their borders. */
struct grpc_reader {
	struct buf message; /* the message so far; its cap is the limit */
	unsigned char prefix[GRPC_PREFIX_BYTES];
	unsigned prefix_len;
	uint32_t want; /* length of the message, once prefix is whole */
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
void grpc_reader_fini(struct grpc_reader *reader);

/*
 * Takes bytes from *bytes up to the end of one message and moves *bytes and
 * *len behind them. After GRPC_READ_MESSAGE call grpc_reader_next() before
 * the next bytes; after an error the reader is of no more use.
 */
enum grpc_read grpc_reader_feed(
    struct grpc_reader *reader, const unsigned char **bytes, size_t *len);
void grpc_reader_next(struct grpc_reader *reader);

/* A message has begun and is not whole. */
bool grpc_reader_in_message(const struct grpc_reader *reader);

void grpc_prefix_put(unsigned char prefix[GRPC_PREFIX_BYTES], uint32_t len);

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

#endif
