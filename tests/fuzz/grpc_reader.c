/*
 * grpc_reader.c - fuzz target: messages out of pieces. The first byte says how
 * long the pieces are; where they are cut must not matter.
 */
#include "rpc/grpc.h"
#include "tests/fuzz/fuzz.h"

#include <string.h>

#define MESSAGE_MAX 300

/* What was read: each verdict, then the message. */
static void
read_all(struct fuzz_input in, size_t piece, struct buf *log)
{
	struct grpc_reader reader;
	enum grpc_read verdict = GRPC_READ_MORE;

	grpc_reader_init(&reader, MESSAGE_MAX);
	while (in.len > 0 && verdict == GRPC_READ_MORE) {
		struct fuzz_input part = fuzz_take(&in, piece);

		while (part.len > 0 && verdict == GRPC_READ_MORE) {
			verdict = grpc_reader_feed(
			    &reader, &part.at, &part.len);
			fuzz_check(reader.message.room <= 2 * MESSAGE_MAX);
			fuzz_check(verdict != GRPC_READ_MORE || part.len == 0);
			if (verdict != GRPC_READ_MESSAGE)
				continue;
			fuzz_check(reader.message.len == reader.want);
			if (buf_append(log, reader.message.data, reader.want) <
			    0)
				abort();
			buf_printf(log, "|");
			grpc_reader_next(&reader);
			fuzz_check(reader.prefix_len == 0);
			verdict = GRPC_READ_MORE;
		}
	}
	buf_printf(log, "%d%d", verdict, reader.prefix_len > 0);
	buf_fini(&reader.message);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	size_t piece = fuzz_byte(&in) + 1;
	struct buf whole, pieces;

	buf_init(&whole, 4 * size + 64);
	buf_init(&pieces, 4 * size + 64);
	read_all(in, size + 1, &whole);
	read_all(in, piece, &pieces);
	fuzz_check(whole.len == pieces.len &&
	    memcmp(whole.data, pieces.data, whole.len) == 0);
	buf_fini(&whole);
	buf_fini(&pieces);
	return 0;
}
