/*
 * rawserver.h - a server of raw bytes, which answers as wrongly as a test
 * likes: it knows frames, and nothing of HTTP/2's rules.
 */
#ifndef TESTS_RPC_RAWSERVER_H
#define TESTS_RPC_RAWSERVER_H

#include "tests/rpc/wire.h"

void raw_listen(void);
void raw_unlisten(void);
bool raw_has_caller(void); /* one waits to be accepted */

/* Takes a connection, reads its preface; false: none came. */
bool raw_accept(struct wire *wire);

void raw_frame(struct wire *wire, uint8_t type, unsigned flags, int32_t id,
    const void *payload, size_t len);

/* SETTINGS of one value (id 0: of none), and an ACK to the client's. */
void raw_settings(struct wire *wire, unsigned id, uint32_t value);

/* HEADERS of lines "name: value\n", or of bytes that are no such thing. */
void raw_headers(
    struct wire *wire, unsigned flags, int32_t id, const char *lines);
void raw_reset(struct wire *wire, int32_t id, uint32_t code);
void raw_goaway(struct wire *wire, int32_t last_id, uint32_t code);

/*
 * The next frame of that type with these flags; others are skipped. False:
 * none came, or the client has hung up. It stays until the next raw_x().
 */
bool raw_wait(
    struct wire *wire, uint8_t type, unsigned flags, struct frame *frame);

/* Takes a connection and sends SETTINGS; diag() if there is none. */
void raw_greet(struct wire *wire, unsigned id, uint32_t value);

/* Waits for the next whole request: its stream, 0 if none comes. */
int32_t raw_request(struct wire *wire);

#define RAW_OK_HEAD ":status: 200\ncontent-type: application/grpc\n"
#define RAW_OK_TAIL "grpc-status: 0\n"

/* The message "x" and OK. */
void raw_answer(struct wire *wire, int32_t id);

/* Until the client has hung up, with a bound. */
bool raw_wait_eof(struct wire *wire);

#endif
