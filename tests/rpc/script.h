/*
 * script.h - what a client sends in a whole conversation, as a byte string
 * made frame by frame, with the places where the frames end. It needs no
 * server: what a client does not have to wait for, it may send at once.
 */
#ifndef TESTS_RPC_SCRIPT_H
#define TESTS_RPC_SCRIPT_H

#include "base/buf.h"
#include "tests/rpc/peer.h"

#define SCRIPT_FRAMES_MAX 64
#define SCRIPT_STREAMS_MAX 8

struct script_frame {
	size_t end;    /* the conversation up to here ends with this frame */
	int32_t opens; /* the stream whose header list is whole now, or 0 */
	bool splits;   /* a header list goes on: no other frame may follow */
};

struct script {
	const char *name;
	struct buf bytes;
	struct script_frame frame[SCRIPT_FRAMES_MAX];
	size_t frames;
	nghttp2_hd_deflater *deflater;
	int32_t headed[SCRIPT_STREAMS_MAX]; /* streams that are open */
};

/* Starts with the preface and SETTINGS, which has one entry unless id is 0. */
void script_init(
    struct script *script, const char *name, uint16_t id, uint32_t value);
void script_fini(struct script *script);

/* A frame as it is. */
void script_frame(struct script *script, uint8_t type, uint8_t flags,
    int32_t id, const void *payload, size_t len);

/* The header list of a stream, or its trailers. `cut`: in two frames. */
void script_headers(struct script *script, int32_t id,
    const struct field *fields, size_t count, bool ends, bool cut);

/* A POST to `path` with gRPC's usual fields and `count` others. */
void script_post(struct script *script, int32_t id, const char *path,
    const struct field *others, size_t count);

void script_data(struct script *script, int32_t id, const void *bytes,
    size_t len, bool ends);

/* One message with its prefix in one DATA frame. */
void script_message(
    struct script *script, int32_t id, const char *text, bool ends);

/* RST_STREAM, or WINDOW_UPDATE. */
void script_word(
    struct script *script, uint8_t type, int32_t id, uint32_t value);

#endif
