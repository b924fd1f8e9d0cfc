/*
 * h2stream.h - one HTTP/2 stream of a client: the request that arrives on it,
 * its call, and the answer.
 *
 * A stream's way: HEAD -> BODY -> WHOLE -> CALLED -> ANSWERED -> CLOSED. What
 * is wrong with a request makes it FAULTY instead, which is answered without
 * a handler. Inside nghttp2's callbacks a stream only gets as far as WHOLE,
 * FAULTY or CLOSED and is put on the connection's list `touched`;
 * h2stream_settle() does the rest.
 *
 * Where a client streams, WHOLE is reached with the header list, and what
 * arrives waits in `inbox` until the handler reads: only then does the
 * stream's window open again, so the inbox is never larger than the window.
 */
#ifndef RPC_H2STREAM_H
#define RPC_H2STREAM_H

#include "rpc/call.h"
#include "rpc/grpc.h"
#include "rpc/head.h"
#include "rpc/router.h"
#include "rpc/status.h"

#include <sys/queue.h>

struct h2conn;

enum h2stream_state {
	STREAM_HEAD = 0, /* header fields are arriving */
	STREAM_BODY,     /* the header list is fine, the message arrives */
	STREAM_WHOLE,    /* all that a handler needs is here; to be called */
	STREAM_FAULTY,   /* the request is wrong; to be refused */
	STREAM_CALLED,   /* a handler owes the answer, or the rest of it */
	STREAM_ANSWERED, /* the answer is complete; it may not be sent yet */
	STREAM_CLOSED,   /* nghttp2 is done with it; to be freed */
};

struct h2stream {
	struct call call;
	struct h2conn *conn;
	int32_t id;
	enum h2stream_state state;
	bool touched;       /* on conn->touched */
	bool trailers;      /* the header list that arrives is the second */
	bool input_ended;   /* the peer has sent END_STREAM */
	bool output_ended;  /* we have sent END_STREAM */
	bool has_message;   /* reader.message is whole */
	bool wants_message; /* stream_read() waits */
	bool responding;    /* response headers are given to nghttp2 */
	bool refused_send;  /* stream_send() did: writable() is owed */
	int64_t body_bytes; /* DATA so far, to check content-length */
	const struct rpc_method *method;
	struct head head;
	struct grpc_reader reader;
	struct buf inbox; /* of a client that streams: DATA not read yet */
	size_t inbox_at;
	struct buf reply; /* messages with their prefixes */
	size_t reply_at;
	size_t counted; /* of the three, in host->buffered_bytes */
	struct status status;
	STAILQ_ENTRY(h2stream)
	touch_link; /* in conn->touched or host->spare */
	LIST_ENTRY(h2stream)
	link; /* in conn->streams */
};

struct h2stream *h2stream_new(struct h2conn *conn, int32_t id);
void h2stream_release(struct h2stream *s); /* one kept for reuse */

/* For nghttp2's callbacks. */
void h2stream_on_headers(struct h2stream *s, bool ends_input);
void h2stream_on_data(struct h2stream *s, const uint8_t *bytes, size_t len);
void h2stream_on_input_end(struct h2stream *s);
void h2stream_on_output_end(struct h2stream *s);
void h2stream_on_close(struct h2stream *s);

/* Acts on what the callbacks noted; may free the stream. */
void h2stream_settle(struct h2stream *s);

/* The connection is lost: ends the call, frees the stream. */
void h2stream_lost(struct h2stream *s);

/*
 * For call.c: the answer. Copies; tells nobody if the stream is closed
 * already. h2stream_reply gives -EMSGSIZE for a message over the limit and
 * has sent nothing then.
 */
int h2stream_reply(struct call *call, const void *bytes, size_t len) must_check;
void h2stream_fail(struct call *call, enum err_code code, const char *text);

/* For stream.c; see there. */
int h2stream_send(struct call *call, const void *bytes, size_t len) must_check;
void h2stream_end(struct call *call);
void h2stream_read(struct call *call);

/* The server drains: tells the handler, if it wants to know. */
void h2stream_leave(struct h2stream *s);

/* Counts a call that opens or ends. */
void h2stream_count_call(struct call *call, int change);

#endif
