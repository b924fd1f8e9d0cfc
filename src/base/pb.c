/*
 * pb.c - protobuf's wire format.
 */
#include "base/pb.h"

#include <errno.h>
#include <string.h>

#define VARINT_MAX_BYTES 10

enum wire_type {
	WIRE_VARINT = 0,
	WIRE_64 = 1,
	WIRE_BYTES = 2,
	WIRE_32 = 5,
};

static int
varint_read(struct pb *pb, uint64_t *value)
{
	*value = 0;
	for (unsigned i = 0; i < VARINT_MAX_BYTES && i < pb->len; i++) {
		*value |= (uint64_t)(pb->at[i] & 0x7f) << (7 * i);
		if (pb->at[i] & 0x80)
			continue;
		pb->at += i + 1;
		pb->len -= i + 1;
		return 0;
	}
	return -EBADMSG;
}

static int
fixed_read(struct pb *pb, unsigned bytes, uint64_t *value)
{
	if (pb->len < bytes)
		return -EBADMSG;
	*value = 0;
	for (unsigned i = 0; i < bytes; i++)
		*value |= (uint64_t)pb->at[i] << (8 * i);
	pb->at += bytes;
	pb->len -= bytes;
	return 0;
}

int
pb_next(struct pb *pb, struct pb_field *field)
{
	uint64_t tag, len;
	int rc = -EBADMSG;

	if (pb->len == 0)
		return 0;
	*field = (struct pb_field){ 0 };
	if (varint_read(pb, &tag) < 0 || tag >> 3 == 0 || tag > UINT32_MAX)
		return -EBADMSG;
	field->number = (unsigned)(tag >> 3);
	switch (tag & 7) {
	case WIRE_VARINT:
		rc = varint_read(pb, &field->value);
		break;
	case WIRE_64:
		rc = fixed_read(pb, 8, &field->value);
		break;
	case WIRE_BYTES:
		field->has_bytes = true;
		if (varint_read(pb, &len) < 0 || len > pb->len)
			break;
		field->bytes = (struct pb){ pb->at, (size_t)len };
		pb->at += len;
		pb->len -= (size_t)len;
		rc = 0;
		break;
	case WIRE_32:
		rc = fixed_read(pb, 4, &field->value);
		break;
	default:
		break;
	}
	return rc < 0 ? rc : 1;
}

struct pb
pb_get(struct pb message, unsigned number)
{
	struct pb found = { message.at, 0 };
	struct pb_field field;

	while (pb_next(&message, &field) > 0)
		if (field.number == number && field.has_bytes)
			found = field.bytes;
	return found;
}

uint64_t
pb_get_varint(struct pb message, unsigned number)
{
	struct pb_field field;
	uint64_t found = 0;

	while (pb_next(&message, &field) > 0)
		if (field.number == number && !field.has_bytes)
			found = field.value;
	return found;
}

bool
pb_is(struct pb bytes, const char *text)
{
	return bytes.len == strlen(text) &&
	    (bytes.len == 0 || memcmp(bytes.at, text, bytes.len) == 0);
}
