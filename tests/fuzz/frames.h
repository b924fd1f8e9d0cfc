/*
 * frames.h - HTTP/2 frames of either side made from fuzz input. They are well-formed unless
 * the input wants them otherwise.
 */
#ifndef TESTS_FUZZ_FRAMES_H
#define TESTS_FUZZ_FRAMES_H

#include "base/buf.h"
#include "tests/fuzz/fuzz.h"

/* Each appends to `out`. */
void frames_hello(struct buf *out); /* preface and SETTINGS */

/* A request for `path`; the input adds fields and says how it is cut up. */
void frames_request(
    struct buf *out, struct fuzz_input *in, uint32_t id, const char *path);

/* The headers of an answer, and maybe its status; the input adds fields. */
void frames_response(struct buf *out, struct fuzz_input *in, uint32_t id);

/* A header list behind the body, which should have END_STREAM. */
void frames_trailers(struct buf *out, struct fuzz_input *in, uint32_t id);

/* DATA: whole messages, pieces of them, padding, or bytes of the input. */
void frames_data(struct buf *out, struct fuzz_input *in, uint32_t id);

/* SETTINGS, PING, WINDOW_UPDATE, RST_STREAM, GOAWAY, PRIORITY, any. */
void frames_control(struct buf *out, struct fuzz_input *in, uint32_t id);

/* Hundreds of frames that carry no work. */
void frames_flood(struct buf *out, struct fuzz_input *in, uint32_t id);

#endif
