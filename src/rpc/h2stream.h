/*
 * h2stream.h - one HTTP/2 stream of a client: the request that arrives on it,
 * its call, and the answer.
 *
 * A stream's way: HEAD -> BODY -> WHOLE -> CALLED -> ANSWERED -> CLOSED. What
 * is wrong with a request makes it FAULTY instead, which is answered without
 * a handler. Inside nghttp2's callbacks a stream only gets as far as WHOLE,
 * FAULTY or CLOSED and is put on the connection's list `touched`;
 * h2stream_settle() does the rest.
 */
#ifndef RPC_H2STREAM_H
#define RPC_H2STREAM_H

#include "rpc/call.h"
#include "rpc/grpc.h"
#include "rpc/head.h"
#include "rpc/status.h"

#include <sys/queue.h>

struct h2conn;

enum h2stream_state {
	STREAM_HEAD = 0, /* header fields are arriving */
	STREAM_BODY,     /* the header list is fine, the message arrives */
	STREAM_WHOLE,    /* the request is complete; to be called */
	STREAM_FAULTY,   /* the request is wrong; to be refused */
	STREAM_CALLED,   /* a handler owes the answer */
	STREAM_ANSWERED, /* the answer is given to nghttp2 */
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
	int64_t body_bytes; /* DATA so far, to check content-length */
	struct head head;
	struct grpc_reader reader;
	struct buf reply; /* prefix and message */
	size_t reply_at;
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

/* Counts a call that opens or ends. */
void h2stream_count_call(struct call *call, int change);

#endif
