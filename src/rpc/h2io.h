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
#include "rpc/h2scan.h"

#include <nghttp2/nghttp2.h>

struct h2io;

struct h2io_ops {
	/* Bytes went in or out, or a flush was asked for: act on what was
	 * noted. Must not end the connection. */
	void (*settle)(struct h2io *h2);
	/* A frame begins, also one that nghttp2 ignores. 0, or an error of
	 * nghttp2: no more of it. May be NULL. */
	int (*frame)(struct h2io *h2, const nghttp2_frame_hd *hd);
	/* No more is taken of what the peer sends, for this error of nghttp2 or
	 * frame(); may submit a GOAWAY. May be NULL. */
	void (*refused)(struct h2io *h2, int error);
	/* A turn's work is done, and the connection lives; h2->unsent.len is
	 * what the peer has not taken. May be NULL. */
	void (*rested)(struct h2io *h2);
	/* The connection is over, session and socket are gone; `why` is NULL
	 * for a normal end. Frees the object that embeds `h2`. */
	void (*ended)(struct h2io *h2, const char *why);
};

struct h2io_bytes {
	uint64_t in, out;
};

/* Embed it. */
struct h2io {
	nghttp2_session *session;
	const struct h2io_ops *ops;
	struct io io;
	struct job flush;
	struct buf unsent; /* what the socket did not take */
	size_t unsent_at;
	struct h2io_bytes bytes;
	struct h2scan scan; /* of what comes in */
	bool is_client;
	bool fresh; /* a server's, and nothing was tried to be read */
};

/* What a client says before its first frame: RFC 9113 3.4. */
#define H2IO_PREFACE_BYTES NGHTTP2_CLIENT_MAGIC_LEN

/*
 * Takes over `session` and the connected, non-blocking socket `fd`. Returns 0, or -ENOMEM and has taken nothing.
 */
int h2io_init(struct h2io *h2, nghttp2_session *session, int fd,
    const struct h2io_ops *ops) must_check;

/*
 * Sends what nghttp2 has queued, once the running batch of work is done. On a
 * server's new connection, what has come already is read and answered first:
 * so a client that connects for one call has all of it in one piece.
 */
void h2io_flush_soon(struct h2io *h2);

/*
 * The same at once, for those who know that nothing will join it. Not inside
 * nghttp2's callbacks; may end the connection.
 */
void h2io_flush_now(struct h2io *h2);

/* Sends what is queued as far as the socket takes it, then ends. */
void h2io_end_told(struct h2io *h2, const char *why);

/* Ends the connection at once and calls ended(). */
void h2io_end(struct h2io *h2, const char *why);

#endif
