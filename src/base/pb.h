/*
 * pb.h - reading protobuf's wire format: for what protobuf-c does not tell of
 * messages, or would have to copy. Source: protobuf.dev, "Encoding".
 */
#ifndef BASE_PB_H
#define BASE_PB_H

#include "base/buf.h"

/* What is still to be read of a message. */
struct pb {
	const unsigned char *at;
	size_t len;
};

struct pb_field {
	unsigned number;
	bool has_bytes;  /* length-delimited: strings, bytes, messages */
	struct pb bytes; /* ... what they are */
	uint64_t value;  /* else: varint, or little-endian of 4 or 8 bytes */
};

/*
 * The next field: 1, or 0 at the end, or -EBADMSG for what is no message.
 * Groups are of the latter kind; nobody has sent them since proto3.
 */
int pb_next(struct pb *pb, struct pb_field *field) must_check;

/* The last length-delimited field of that number; empty if there is none. */
struct pb pb_get(struct pb message, unsigned number);
uint64_t pb_get_varint(struct pb message, unsigned number);

bool pb_is(struct pb bytes, const char *text);

#endif
