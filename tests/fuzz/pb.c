/*
 * pb.c - fuzz target: protobuf's wire format. Fields point into the input and
 * are as long as they say; what is read and written again is read the same.
 */
#include "tests/fuzz/fuzz.h"
#include "tests/rpc/pb_put.h"

#include <errno.h>
#include <string.h>

/* A field again, in the shortest form. */
static void
put(struct buf *out, const struct pb_field *field)
{
	int rc = field->has_bytes
	    ? pb_put(out, field->number, field->bytes.at, field->bytes.len)
	    : pb_put_varint(out, field->number, field->value);

	fuzz_check(rc == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pb all = { data, size }, pb = all, copy;
	struct pb_field field, again;
	struct buf out;
	int rc;

	buf_init(&out, 16 * size + 1024);
	while ((rc = pb_next(&pb, &field)) > 0) {
		fuzz_check(pb.at > data && pb.at + pb.len == data + size);
		fuzz_check(field.number > 0 && field.number < 1u << 29);
		fuzz_check(!field.has_bytes ||
		    field.bytes.at + field.bytes.len == pb.at);
		put(&out, &field);
	}
	fuzz_check(rc == 0 || rc == -EBADMSG);
	copy = (struct pb){ out.data, out.len };
	for (pb = all; copy.len > 0;) {
		fuzz_check(pb_next(&pb, &field) == 1);
		fuzz_check(pb_next(&copy, &again) == 1);
		fuzz_check(field.number == again.number &&
		    field.has_bytes == again.has_bytes &&
		    field.value == again.value &&
		    field.bytes.len == again.bytes.len);
		if (field.has_bytes)
			(void)pb_get(pb_get(all, field.number), 1);
		(void)pb_get_varint(all, field.number);
	}
	buf_fini(&out);
	return 0;
}
