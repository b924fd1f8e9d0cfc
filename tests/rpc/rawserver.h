/*
 * rawserver.h - a server of raw bytes, which answers as wrongly as a test
 * likes: it knows frames, and nothing of HTTP/2's rules. It lives in the
 * test's process and on its loop.
 */
#ifndef TESTS_RPC_RAWSERVER_H
#define TESTS_RPC_RAWSERVER_H

#include "base/buf.h"

enum raw_type {
	RAW_DATA = 0,
	RAW_HEADERS = 1,
	RAW_RST_STREAM = 3,
	RAW_SETTINGS = 4,
	RAW_PUSH_PROMISE = 5,
	RAW_PING = 6,
	RAW_GOAWAY = 7,
	RAW_WINDOW_UPDATE = 8,
};

#define RAW_END_STREAM 1
#define RAW_ACK 1
#define RAW_END_HEADERS 4

/* One frame that came. */
struct raw_frame {
	unsigned char type, flags;
	uint32_t stream;
	size_t len;
	const unsigned char *payload; /* until the next call of raw_x() */
};

/* A connection. */
struct raw {
	int fd;
	struct buf in;
	size_t at;
	bool eof; /* the client has closed it */
};

void raw_listen(void);
void raw_unlisten(void);
bool raw_has_caller(void); /* one waits to be accepted */

/* Takes a connection, reads its preface; false: none came. */
bool raw_accept(struct raw *raw);
void raw_close(struct raw *raw);

void raw_send(struct raw *raw, const void *bytes, size_t len);
void raw_frame(struct raw *raw, enum raw_type type, unsigned flags,
    uint32_t stream, const void *payload, size_t len);

/* SETTINGS of one value (id 0: of none), and an ACK to the client's. */
void raw_settings(struct raw *raw, unsigned id, uint32_t value);

/* HEADERS of lines "name: value\n", or of bytes that are no such thing. */
void raw_headers(
    struct raw *raw, unsigned flags, uint32_t stream, const char *lines);
void raw_reset(struct raw *raw, uint32_t stream, uint32_t code);
void raw_goaway(struct raw *raw, uint32_t last_stream, uint32_t code);

/*
 * The next frame of that type with these flags; others are skipped. False:
 * none came, or the client has hung up.
 */
bool raw_wait(struct raw *raw, enum raw_type type, unsigned flags,
    struct raw_frame *frame);

/* Takes a connection and sends SETTINGS; diag() if there is none. */
void raw_greet(struct raw *raw, unsigned id, uint32_t value);

/* Waits for the next whole request: its stream, 0 if none comes. */
uint32_t raw_request(struct raw *raw);

#define RAW_OK_HEAD ":status: 200\ncontent-type: application/grpc\n"
#define RAW_OK_TAIL "grpc-status: 0\n"

/* The message "x" and OK. */
void raw_answer(struct raw *raw, uint32_t stream);

/* Until the client has hung up, with a bound. */
bool raw_wait_eof(struct raw *raw);

#endif
