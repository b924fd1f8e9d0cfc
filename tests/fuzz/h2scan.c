/*
 * h2scan.c - fuzz target: where frames begin. Pieces of any length lead to the
 * same frames, as long as one begins behind the other.
 */
#include "rpc/h2io.h"
#include "tests/fuzz/fuzz.h"

/* A sum over all heads that are found; pieces of `piece` bytes. */
static uint64_t
scan_all(struct fuzz_input in, size_t piece)
{
	struct h2scan scan = { .left = 0 };
	nghttp2_frame_hd hd;
	uint64_t sum = 0;
	size_t behind = 0; /* bytes of the frame that are still to come */
	bool begins;

	while (in.len > 0) {
		struct fuzz_input part = fuzz_take(&in, piece);

		while (part.len > 0) {
			size_t n = h2scan_next(
			    &scan, part.at, part.len, &hd, &begins);

			fuzz_check(n > 0 && n <= part.len);
			fuzz_check(!begins || behind == 0);
			if (begins) {
				fuzz_check(hd.length < 1u << 24);
				fuzz_check(hd.stream_id >= 0);
				sum = sum * 31 + hd.length + hd.type;
				sum = sum * 31 + hd.flags +
				    (uint64_t)hd.stream_id;
			}
			behind = scan.left;
			part.at += n;
			part.len -= n;
		}
	}
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = { data, size };
	size_t piece = fuzz_byte(&in) + 1;

	fuzz_check(scan_all(in, size + 1) == scan_all(in, piece));
	return 0;
}
