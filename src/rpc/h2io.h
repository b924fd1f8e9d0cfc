/*
 * h2io.h - one nghttp2 session on one socket: bytes in, bytes out, the end.
 * Server connections and client connections are both built on it.
 *
 * The rule that holds it together: nghttp2's callbacks only collect. What was
 * collected is acted on in settle(), outside of nghttp2, and what is to be
 * sent leaves in one flush per turn of the loop.
 */
#ifndef RPC_H2IO_H
#define RPC_H2IO_H

#include "base/buf.h"
#include "core/io.h"
#include "core/loop.h"

#include <nghttp2/nghttp2.h>

struct h2io;

struct h2io_ops {
	/* Bytes went in or out, or a flush was asked for: act on what was
	 * noted. Must not end the connection. */
	void (*settle)(struct h2io *h2);
	/* The connection is over, session and socket are gone; `why` is NULL
	 * for a normal end. Frees the object that embeds `h2`. */
	void (*ended)(struct h2io *h2, const char *why);
};

/* Embed it. */
struct h2io {
	nghttp2_session *session;
	const struct h2io_ops *ops;
	struct io io;
	struct job flush;
	struct buf unsent; /* what the socket did not take */
	size_t unsent_at;
};

/* Takes over `session` and the connected, non-blocking socket `fd`. */
void h2io_init(struct h2io *h2, nghttp2_session *session, int fd,
    const struct h2io_ops *ops);

/* Sends what nghttp2 has queued, once the running batch of work is done. */
void h2io_flush_soon(struct h2io *h2);

/* Ends the connection at once and calls ended(). */
void h2io_end(struct h2io *h2, const char *why);

#endif
