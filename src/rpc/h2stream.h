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

#include "core/timeouts.h"
#include "rpc/call.h"
#include "rpc/counters.h"
#include "rpc/grpc.h"
#include "rpc/head.h"
#include "rpc/router.h"
#include "rpc/status.h"

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
	bool in_trailers;   /* the header list that arrives is the second */
	bool input_ended;   /* the peer has sent END_STREAM */
	bool output_ended;  /* we have sent END_STREAM */
	bool has_message;   /* reader.message is whole */
	bool wants_message; /* stream_read() waits */
	bool responding;    /* response headers are given to nghttp2 */
	bool refused_send;  /* stream_send() did: writable() is owed */
	int64_t body_bytes; /* DATA so far, to check content-length */
	const struct rpc_method *method;
	struct timeout wait;         /* for the request, or for its reader */
	enum server_refusal refusal; /* why, if it is FAULTY */
	struct head head;
	struct metadata metadata; /* of the request */
	struct grpc_reader reader;
	struct buf inbox; /* of a client that streams: DATA not read yet */
	size_t inbox_at;
	struct buf reply; /* messages with their prefixes */
	size_t reply_at;
	size_t counted;                    /* of the three, in buffered_bytes */
	struct metadata headers, trailers; /* of the answer */
	struct status status;
	STAILQ_ENTRY(h2stream)
	touch_link; /* in conn->touched */
	LIST_ENTRY(h2stream)
	link; /* in conn->streams */
};

/* NULL: no memory, or too many; it is to be reset with REFUSED_STREAM. */
struct h2stream *h2stream_new(struct h2conn *conn, int32_t id);

/* For nghttp2's callbacks (the request: h2request.c). */
void h2stream_on_field(struct h2stream *s, const char *name, size_t name_len,
    const char *value, size_t value_len);
void h2stream_on_headers(struct h2stream *s, bool ends_input);
void h2stream_on_data(struct h2stream *s, const uint8_t *bytes, size_t len);
void h2stream_on_input_end(struct h2stream *s);
void h2stream_on_output_end(struct h2stream *s);
void h2stream_on_close(struct h2stream *s);

/* Acts on what the callbacks noted; may free the stream. */
void h2stream_settle(struct h2stream *s);

/* The request was not whole in time. */
void h2stream_late(struct h2stream *s);

/*
 * The server ends, and the request is still not whole: REFUSED_STREAM, so that
 * the client tries again elsewhere.
 */
void h2stream_turn_away(struct h2stream *s);

/* The connection is lost: ends the call, frees the stream. */
void h2stream_lost(struct h2stream *s);

/* The server drains: tells the handler, if it wants to know. */
void h2stream_leave(struct h2stream *s);

/* ---- for call.c and stream.h ---- */

/*
 * The answer. Copies; tells nobody if the stream is closed already.
 * h2stream_reply gives -EMSGSIZE for a message over the limit, -ENOBUFS when
 * the client holds up too many bytes, -ENOMEM, and has sent nothing then.
 * h2stream_fail sends trailers only, unless messages went before; `details`
 * may be NULL.
 */
int h2stream_reply(struct call *call, const void *bytes, size_t len) must_check;
void h2stream_fail(struct call *call, enum err_code code, const char *text,
    const struct call_details *details);

/* For stream.c; see there. */
int h2stream_send(struct call *call, const void *bytes, size_t len) must_check;
void h2stream_end(struct call *call);
void h2stream_read(struct call *call);

/* For call.h's functions on metadata. */
const struct metadata *h2stream_metadata(struct call *call);
struct metadata *h2stream_headers(struct call *call); /* NULL: too late */
struct metadata *h2stream_trailers(struct call *call);

/* Counts a call that a handler was given; and any call that ends. */
void h2stream_call_opened(struct call *call);
void h2stream_call_ended(struct call *call, enum err_code code, int64_t us);

/* ---- between h2request.c, h2stream.c and h2reply.c ---- */

/* What is wrong with a message, and its code; or NULL. */
const char *h2stream_read_fault(enum grpc_read verdict, enum err_code *code);

/* Puts it on the connection's list. */
void h2stream_touch(struct h2stream *s);
/* Keeps the sum of what is held; after each change of a buffer. */
void h2stream_recount(struct h2stream *s);
/* Drops what was used from the front of a buffer when that is worth it. */
void h2stream_advance(struct buf *buf, size_t *at);
void h2stream_reset(struct h2stream *s, uint32_t error_code);
/* h2stream_fail() for a request that reached no handler. */
void h2stream_refuse(
    struct h2stream *s, int http_status, enum err_code code, const char *text);

/* What stream_send() queues; a single message may be larger. */
#define H2STREAM_QUEUE_BYTES ((size_t)64 << 10)

static inline struct h2stream *
h2stream_of(struct call *call)
{
	return container_of(call, struct h2stream, call);
}

#endif
