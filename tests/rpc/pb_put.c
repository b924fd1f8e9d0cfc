/*
 * pb_put.c - fields as they lie in a message.
 */
#include "tests/rpc/pb_put.h"

#define WIRE_VARINT 0
#define WIRE_BYTES 2
#define VARINT_MAX_BYTES 10

static int
varint_put(struct buf *out, uint64_t value)
{
	unsigned char bytes[VARINT_MAX_BYTES];
	size_t n = 0;

	do {
		bytes[n] = (unsigned char)((value & 0x7f) |
		    (value > 0x7f ? 0x80 : 0));
		value >>= 7;
		n++;
	} while (value > 0);
	return buf_append(out, bytes, n);
}

int
pb_put(struct buf *out, unsigned number, const void *bytes, size_t len)
{
	int rc = varint_put(out, (uint64_t)number << 3 | WIRE_BYTES);

	if (rc == 0)
		rc = varint_put(out, len);
	return rc < 0 ? rc : buf_append(out, bytes, len);
}

int
pb_put_varint(struct buf *out, unsigned number, uint64_t value)
{
	int rc = varint_put(out, (uint64_t)number << 3 | WIRE_VARINT);

	return rc < 0 ? rc : varint_put(out, value);
}
