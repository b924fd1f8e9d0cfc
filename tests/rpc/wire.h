/*
 * wire.h - the other end of a connection as plain bytes, which lives in the
 * test's process and on its loop. All fake ends are built on it: peer.h speaks
 * through nghttp2, script.h frame by frame, rawserver.h is a server.
 *
 * And a judge of what a server sent: are its frames in an order that HTTP/2 and
 * gRPC allow, and what did it answer? It does not use nghttp2's session, which
 * would hide what is wrong.
 */
#ifndef TESTS_RPC_WIRE_H
#define TESTS_RPC_WIRE_H

#include "base/buf.h"
#include "rpc/server.h"
#include "tests/rpc/frame.h"

struct wire {
	int fd;        /* -1: closed by us */
	bool eof;      /* the other end has closed */
	struct buf in; /* what it has sent */
	size_t at;     /* of that, taken as frames by wire_frame_wait() */
};

/* Takes over a socket that is connected. */
void wire_begin(struct wire *wire, int fd);

/* One end of a socketpair, the other one is the server's. */
void wire_open(struct wire *wire, struct server *server);

/* Closes our end. What was read is still there, until wire_fini(). */
void wire_close(struct wire *wire);
void wire_fini(struct wire *wire);

/*
 * Sends all of it, in turns of the loop if need be, unless the other end takes
 * nothing for a long while.
 */
void wire_put(struct wire *wire, const void *bytes, size_t len);

/* Reads what is there; true: something was. */
bool wire_read(struct wire *wire);

/* Turns of the loop until nothing comes any more. */
void wire_settle(struct wire *wire);

#define WIRE_STREAMS_MAX 16

#define WIRE_ANSWERS_MAX 2048

/*
 * Judges all that the server has sent. Returns NULL, or what is wrong. `cut`:
 * the last frame may be there in part. answers[WIRE_ANSWERS_MAX], which may be
 * NULL, gets a line for each stream that has any answer: its fields, messages,
 * and how it ended.
 */
const char *wire_judge(const struct wire *wire, bool cut, char *answers);

/* Has stream `id` a frame that begins at byte `from` or later? */
bool wire_has_frame(const struct wire *wire, size_t from, int32_t id);

#endif
