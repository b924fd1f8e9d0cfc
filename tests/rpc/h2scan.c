/*
 * h2scan.c - heads of frames are found however the bytes come in pieces.
 */
#include "rpc/h2io.h"

#include "tests/tap.h"

/* A frame each of 3, 0 and 20 bytes, behind 4 bytes of something else. */
static const unsigned char bytes[] = {
	'P',
	'R',
	'I',
	' ', /* before the first frame */
	0,
	0,
	3,
	0,
	1,
	0,
	0,
	0,
	5,
	'a',
	'b',
	'c', /* DATA of stream 5 */
	0,
	0,
	0,
	4,
	1,
	0,
	0,
	0,
	0, /* SETTINGS ACK */
	0,
	0,
	20,
	0x77,
	9,
	0xff,
	0xff,
	0xff,
	0xff, /* unknown */
	0,
	0,
	1,
	2,
	3,
	4,
	5,
	6,
	7,
	8,
	9,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
	0,
};

/* What was found: "length type flags stream;" for each. */
static void
scan_in_pieces(size_t piece, char *text, size_t size)
{
	struct h2scan scan = { .left = 4 };
	size_t at = 0, n = 0;

	text[0] = '\0';
	while (at < sizeof(bytes)) {
		size_t len = sizeof(bytes) - at < piece ? sizeof(bytes) - at
							: piece;
		nghttp2_frame_hd hd;
		bool begins;
		size_t used = h2scan_next(&scan, bytes + at, len, &hd, &begins);

		if (used == 0 || used > len)
			abort();
		at += used;
		if (begins)
			n += (size_t)snprintf(text + n, size - n,
			    "%zu %u %u %d;", hd.length, hd.type, hd.flags,
			    hd.stream_id);
	}
	if (scan.left != 0 || scan.have != 0)
		(void)snprintf(text + n, size - n, "not at a border");
}

int
main(void)
{
	const char *want = "3 0 1 5;0 4 1 0;20 119 9 2147483647;";
	char text[200];

	for (size_t piece = 1; piece <= sizeof(bytes); piece++) {
		scan_in_pieces(piece, text, sizeof(text));
		is_str(text, want, "in pieces of %zu bytes", piece);
	}
	return tap_end();
}
