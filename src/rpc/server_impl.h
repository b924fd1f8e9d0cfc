/*
 * server_impl.h - what the files of the server side share: the server, its
 * connections, and their streams. server.c has the limits, server_conn.c the
 * connections, server_stream.c requests as they arrive, call.c the answers.
 *
 * The rule that holds it together: nghttp2's callbacks note what has happened
 * to a stream; it is acted on afterwards, stream by stream, by the connection's
 * settle(), the one place where streams are freed while a connection lives.
 */
#ifndef RPC_SERVER_IMPL_H
#define RPC_SERVER_IMPL_H

#include "core/timeouts.h"
#include "rpc/call.h"
#include "rpc/h2io.h"
#include "rpc/server.h"
#include "rpc/server_head.h"

/* ---- the server: limits, what is counted against them, who waits ---- */

struct server {
	const struct router *router;
	struct server_limits limits;     /* filled in */
	struct server_counters counters; /* bytes: of connections that ended */
	struct server_counters told;     /* server_counters() makes them */
	LIST_HEAD(, server_conn) conns;  /* the youngest first */
	size_t stream_count;

	/* Connections that wait for their peer. */
	struct timeouts handshake;  /* for its preface and SETTINGS */
	struct timeouts first_call; /* for its first call */
	struct timeouts idle;       /* for its next call */
	struct timeouts stuck;      /* for it to read from the socket */
	/* Streams that do. */
	struct timeouts arriving; /* for the rest of a request */
	struct timeouts unread;   /* for it to take the answer */

	struct job relief; /* of who holds most bytes */
	nghttp2_session_callbacks *callbacks;
	nghttp2_option *option;

	/* The listening socket. */
	struct io io;
	struct unix_socket file;
	struct timer accept_timer; /* paused: to try again */
	bool paused;               /* there is no room, or no descriptor */
	bool starved;              /* out of descriptors is logged once */
	bool told_full;            /* and so is that there is no room */

	/* Giving memory back: the most there was since it was last done. */
	struct timer trim_timer;
	size_t conn_peak;
	size_t buffered_peak;

	/* The orderly end. */
	bool draining;     /* new connections are told to go, too */
	bool goodbye_said; /* GOAWAY's second step, to all */
	struct timer drain_timer;
	struct wake *drained; /* who waits for the last connection's end */
};

/*
 * May a connection hold more bytes? If too many are held in all, the one that
 * holds most may not, and is ended soon if somebody else needs room.
 */
bool server_has_room(struct server *server, const struct server_conn *conn);

/* A connection has ended or become idle. */
void server_conn_left(struct server *server);

/* ---- connections ---- */

struct server_conn {
	struct h2io h2;
	struct server *server;
	LIST_HEAD(, server_stream) streams;
	STAILQ_HEAD(, server_stream) touched;
	LIST_ENTRY(server_conn) link;
	struct timeout wait;   /* for the handshake, the first call, the next */
	struct timeout stuck;  /* something is not read by the peer ... */
	uint64_t stuck_bytes;  /* ... since so many were sent */
	size_t buffered_bytes; /* its part of counters.buffered_bytes */
	size_t call_count;     /* ... and of counters.calls */
	int budget;            /* frames that the peer may still waste */
	int64_t budget_ms;     /* when it was filled up last */
	int32_t opened_id;     /* the highest stream that the peer has opened */
	int32_t reset_id;      /* ... that we have reset */
	uint32_t violation;    /* what the peer's last frame broke */
	bool greeted;          /* its SETTINGS have come */
	bool called;           /* has made a call */
	bool to_go;            /* the server drains */
	bool told;             /* GOAWAY, step one, and a ping behind it */
	bool go_known;         /* the peer has answered that, or had time to */
	bool closing;          /* GOAWAY, step two */
	bool peer_went;        /* its GOAWAY is no valid one, but a good-bye */
	bool blamed;           /* a fault is counted and logged */
};

/* What a request costs of the budget that has to be refused or reset. */
#define SERVER_CONN_MISTAKE 10

/*
 * Counts and logs a fault, sends GOAWAY with `error` if the socket takes it,
 * and ends the connection. Not inside nghttp2 or h2io_ops.
 */
void server_conn_end(
    struct server_conn *conn, enum server_fault fault, uint32_t error);

/* The first step of an orderly end; the second follows `go_known`. */
void server_conn_tell_to_go(struct server_conn *conn);

/* nghttp2's callbacks of the server side. */
void server_conn_callbacks(nghttp2_session_callbacks *callbacks);

/* ---- streams ---- */

/*
 * A stream's way: HEAD -> BODY -> WHOLE -> CALLED -> ANSWERED -> CLOSED. What
 * is wrong with a request makes it FAULTY instead, which is answered without
 * a handler. Inside nghttp2's callbacks a stream only gets as far as WHOLE,
 * FAULTY or CLOSED and is put on the connection's list `touched`;
 * server_stream_settle() does the rest.
 *
 * Where a client streams, WHOLE is reached with the header list, and what
 * arrives waits in `inbox` until the handler reads: only then does the
 * stream's window open again, so the inbox is never larger than the window.
 */
enum server_stream_state {
	STREAM_HEAD = 0, /* header fields are arriving */
	STREAM_BODY,     /* the header list is fine, the message arrives */
	STREAM_WHOLE,    /* all that a handler needs is here; to be called */
	STREAM_FAULTY,   /* the request is wrong; to be refused */
	STREAM_CALLED,   /* a handler owes the answer, or the rest of it */
	STREAM_ANSWERED, /* the answer is complete; it may not be sent yet */
	STREAM_CLOSED,   /* nghttp2 is done with it; to be freed */
};

struct server_stream {
	struct call call;
	struct server_conn *conn;
	int32_t id;
	enum server_stream_state state;
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
	struct timeout wait; /* for the request, or for its reader */
	struct head head;
	struct metadata metadata; /* of the request */
	struct grpc_reader reader;
	struct buf inbox; /* of a client that streams: DATA not read yet */
	size_t inbox_at;
	struct buf reply; /* messages with their prefixes */
	size_t reply_at;
	size_t counted;                    /* of the four, in buffered_bytes */
	struct metadata headers, trailers; /* of the answer */
	struct status status;
	STAILQ_ENTRY(server_stream) touch_link; /* in conn->touched */
	LIST_ENTRY(server_stream) link;         /* in conn->streams */
};

static inline struct server_stream *
server_stream_of(struct call *call)
{
	return container_of(call, struct server_stream, call);
}

/* NULL: no memory, or too many; it is to be reset with REFUSED_STREAM. */
struct server_stream *server_stream_new(struct server_conn *conn, int32_t id);

/* For nghttp2's callbacks: a request as it arrives. */
void server_stream_on_field(struct server_stream *s, const char *name,
    size_t name_len, const char *value, size_t value_len);
void server_stream_on_headers(struct server_stream *s, bool ends_input);
void server_stream_on_data(
    struct server_stream *s, const uint8_t *bytes, size_t len);
void server_stream_on_input_end(struct server_stream *s);

/* Puts it on the connection's list. */
void server_stream_touch(struct server_stream *s);

/* Acts on what the callbacks noted; may free the stream. */
void server_stream_settle(struct server_stream *s);

/* The request was not whole in time; `timeout` is its `wait`. */
void server_stream_late(struct timeout *timeout);

/*
 * The server ends, and the request is still not whole: REFUSED_STREAM, so that
 * the client tries again elsewhere.
 */
void server_stream_turn_away(struct server_stream *s);

/* The stream or its connection is closed: ends the call, frees the stream. */
void server_stream_free(struct server_stream *s, enum call_gone why);

/* The server drains: tells the handler, if it wants to know. */
void server_stream_leave(struct server_stream *s);

void server_stream_reset(struct server_stream *s, uint32_t error_code);

/* Keeps the sum of what is held; after each change of a buffer. */
void server_stream_recount(struct server_stream *s);

/* Drops what was used from the front of a buffer when that is worth it. */
void server_stream_advance(struct buf *buf, size_t *at);

/* What stream_send() queues; a single message may be larger. */
#define SERVER_STREAM_QUEUE_BYTES ((size_t)64 << 10)

/* ---- calls ---- */

/*
 * Opens the call whose request is complete (timeout_ms: -1 none; `handler`
 * must end it or set `gone`); and ends it from outside. It is answered with
 * the code, unless that is CANCELLED: then nobody is there.
 */
void call_open(
    struct call *call, int64_t timeout_ms, void (*handler)(struct call *call));
void call_abort(struct call *call, enum call_gone why, enum err_code code,
    const char *text);

/*
 * Logs and counts the end of a call that never reached a handler; answers it
 * with trailers only, unless http_status is 0.
 */
void call_refuse(struct call *call, enum server_refusal why, int http_status,
    enum err_code code, const char *text);

#endif
