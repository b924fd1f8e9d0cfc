/*
 * wire.h - judges what a server sends: whole frames, in an order that HTTP/2
 * allows. Contents are of no interest here.
 */
#ifndef TESTS_FUZZ_WIRE_H
#define TESTS_FUZZ_WIRE_H

#include "base/str.h"

#define WIRE_STREAMS 1024 /* those with a higher number are not followed */

struct wire {
	unsigned char head[9]; /* of the frame that arrives */
	size_t head_len;
	uint32_t left;      /* bytes of its payload still to come */
	bool greeted;       /* SETTINGS has come */
	bool gone;          /* GOAWAY has */
	uint32_t continues; /* stream whose header list goes on, or 0 */
	unsigned messages;  /* DATA frames that were not empty */
	unsigned char stream[WIRE_STREAMS]; /* WIRE_... by number / 2 */
};

void wire_init(struct wire *wire);
void wire_feed(struct wire *wire, const unsigned char *bytes, size_t len);

#endif
