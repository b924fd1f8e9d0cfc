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
#include "base/err.h"
#include "core/io.h"
#include "core/loop.h"

#include <nghttp2/nghttp2.h>
#include <sys/un.h>

/*
 * The path in "unix:///path", "unix:/path", "unix:relative" or "/path" as an
 * address. Returns 0 or ERR_INVALID_ARGUMENT.
 */
int endpoint_parse(const char *endpoint, struct sockaddr_un *address,
    struct err *err) must_check;

/* ---- where frames begin ---- */

#define H2SCAN_HEAD_BYTES 9

/*
 * Where frames begin in a stream of bytes. nghttp2 tells nobody of frames that
 * it ignores, and a peer that sends only such shall be noticed. Zeroed: a
 * frame begins. Source: RFC 9113 4.1.
 */
struct h2scan {
	size_t left; /* bytes until the next frame begins */
	unsigned char head[H2SCAN_HEAD_BYTES];
	size_t have; /* of head */
};

/*
 * How many of the `len` bytes, more than 0, belong together: no frame begins
 * behind the first of them. True in *begins: the head of a frame is complete
 * with these, and in *hd.
 */
size_t h2scan_next(struct h2scan *scan, const unsigned char *bytes, size_t len,
    nghttp2_frame_hd *hd, bool *begins);

/* ---- connections ---- */

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

/* Embed it. */
struct h2io {
	nghttp2_session *session;
	const struct h2io_ops *ops;
	struct io io;
	struct job flush;
	struct buf unsent; /* what the socket did not take */
	size_t unsent_at;
	uint64_t bytes_in, bytes_out;
	struct h2scan scan; /* of what comes in */
	bool is_client;
	bool fresh; /* a server's, and nothing was tried to be read */
};

/*
 * Takes over `session` and the connected, non-blocking socket `fd`. Returns 0,
 * or -ENOMEM and has taken nothing.
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
