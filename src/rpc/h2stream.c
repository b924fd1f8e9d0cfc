/*
 * h2stream.c - streams of the server side.
 */
#include "rpc/h2stream.h"

#include "base/clock.h"
#include "rpc/h2conn.h"

#include <errno.h>
#include <string.h>

#define SPARE_BUFFER_BYTES 4096 /* a larger buffer is not kept with it */

#define STREAMS_PER_CALL 2 /* open in all, for each call that may run */

/* What a peer may send on a stream before we read: HTTP/2's default. */
#define WINDOW_BYTES ((size_t)NGHTTP2_INITIAL_WINDOW_SIZE)

/* ---- coming and going ---- */

static void
buf_slim(struct buf *buf)
{
	if (buf->room > SPARE_BUFFER_BYTES)
		buf_fini(buf);
	else
		buf_clear(buf);
}

void
h2stream_advance(struct buf *buf, size_t *at)
{
	if (*at == buf->len) {
		buf_slim(buf);
		*at = 0;
	} else if (*at >= buf->len / 2) {
		buf_consume(buf, *at);
		*at = 0;
	}
}

void
h2stream_recount(struct h2stream *s)
{
	size_t now = s->metadata.bytes.len + s->reader.message.len +
	    s->inbox.len + s->reply.len;
	struct h2host *host = s->conn->host;

	s->conn->buffered_bytes += now - s->counted;
	host->buffered_bytes += now - s->counted;
	if (host->buffered_bytes > host->buffered_peak)
		host->buffered_peak = host->buffered_bytes;
	s->counted = now;
}

/*
 * More than so many requests arrive, run, or wait for their reader. But who
 * has none gets in, whatever others do.
 */
static bool
are_too_many(const struct h2conn *conn)
{
	const struct h2host *host = conn->host;

	return host->stream_count / STREAMS_PER_CALL >= host->limits.calls &&
	    !LIST_EMPTY(&conn->streams);
}

struct h2stream *
h2stream_new(struct h2conn *conn, int32_t id)
{
	struct h2host *host = conn->host;
	struct h2stream *s;

	if (are_too_many(conn) || (s = calloc(1, sizeof(*s))) == NULL)
		return NULL;
	s->conn = conn;
	s->id = id;
	grpc_reader_init(&s->reader, host->limits.request_bytes);
	/* Used bytes stay in front up to half of a buffer. */
	buf_init(&s->inbox, 2 * WINDOW_BYTES);
	buf_init(&s->reply,
	    host->limits.reply_bytes + GRPC_PREFIX_BYTES +
		2 * H2STREAM_QUEUE_BYTES);
	head_init(&s->head);
	s->call.path = s->head.path;
	s->call.started_us = clock_now_us();
	s->refusal = SERVER_REFUSED_OTHER;
	timeout_arm(&s->wait, &host->arriving);
	LIST_INSERT_HEAD(&conn->streams, s, link);
	host->stream_count++;
	return s;
}

static void
stream_free(struct h2stream *s)
{
	struct h2conn *conn = s->conn;
	struct h2host *host = conn->host;

	LIST_REMOVE(s, link);
	host->stream_count--;
	conn->buffered_bytes -= s->counted;
	host->buffered_bytes -= s->counted;
	timeout_disarm(&s->wait);
	metadata_fini(&s->metadata);
	metadata_fini(&s->headers);
	metadata_fini(&s->trailers);
	status_fini(&s->status);
	if (LIST_EMPTY(&conn->streams))
		h2conn_has_no_stream(conn);
	grpc_reader_fini(&s->reader);
	buf_fini(&s->inbox);
	buf_fini(&s->reply);
	free(s);
}

/* ---- what nghttp2 tells of its end ---- */

void
h2stream_touch(struct h2stream *s)
{
	if (s->touched)
		return;
	s->touched = true;
	STAILQ_INSERT_TAIL(&s->conn->touched, s, touch_link);
}

void
h2stream_on_output_end(struct h2stream *s)
{
	s->output_ended = true;
	h2stream_touch(s);
}

void
h2stream_on_close(struct h2stream *s)
{
	s->state = STREAM_CLOSED;
	h2stream_touch(s);
}

/* ---- what follows from what has arrived ---- */

/* Answers a request that no handler gets. */
static void
stream_refuse(
    struct h2stream *s, int http_status, enum err_code code, const char *text)
{
	s->conn->host->counters.refusals[s->refusal]++;
	call_refused(&s->call, code, text);
	h2stream_refuse(s, http_status, code, text);
}

/* Answers one that is not as HTTP/2, gRPC or our limits want it. */
static void
settle_faulty(struct h2stream *s)
{
	const struct head *head = &s->head;

	if (head->fault == HEAD_MALFORMED)
		s->refusal = SERVER_REFUSED_MALFORMED;
	else if (head->http_status == 431)
		s->refusal = SERVER_REFUSED_HEADERS;
	if (head->fault != HEAD_MALFORMED) {
		stream_refuse(s, head->http_status, head->code, head->text);
		return;
	}
	s->conn->host->counters.refusals[s->refusal]++;
	call_refused(&s->call, head->code, head->text);
	s->state = STREAM_ANSWERED;
	h2stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
}

static void
start_call(struct h2stream *s)
{
	struct h2host *host = s->conn->host;
	const struct rpc_method *method = s->method;
	struct err err = ERR_INIT;

	if (method == NULL) {
		(void)router_find(host->router, s->head.path, &err);
	} else if (host->call_count >= host->limits.calls &&
	    s->conn->call_count > 0) {
		/* Who has none running gets in, whatever others do. */
		s->refusal = SERVER_REFUSED_CALLS;
		(void)err_set(&err, ERR_UNAVAILABLE,
		    "server runs %zu calls already", host->call_count);
	} else if (!h2host_has_room(host, s->conn)) {
		s->refusal = SERVER_REFUSED_MEMORY;
		(void)err_set(&err, ERR_UNAVAILABLE,
		    "server holds %zu bytes already", host->buffered_bytes);
	}
	if (method == NULL || err_is_set(&err)) {
		stream_refuse(s, 200, err.code, err.text);
		return;
	}
	s->state = STREAM_CALLED;
	s->call.request = s->reader.message.len > 0 ? s->reader.message.data
						    : (const void *)"";
	s->call.request_len = s->reader.message.len;
	call_open(&s->call, s->head.timeout_ms, method->start);
	if (host->draining)
		h2stream_leave(s);
}

void
h2stream_leave(struct h2stream *s)
{
	if (s->state == STREAM_CALLED && s->call.leaving != NULL)
		s->call.leaving(&s->call);
}

void
h2stream_read(struct call *call)
{
	struct h2stream *s = h2stream_of(call);

	if (s->state != STREAM_CALLED)
		return;
	if (s->has_message) {
		s->has_message = false;
		grpc_reader_next(&s->reader);
		buf_slim(&s->reader.message);
		h2stream_recount(s);
	}
	s->wants_message = true;
	h2stream_touch(s);
	h2io_flush_soon(&s->conn->h2);
}

/* Puts the next message together; the window opens by what was used. */
static enum grpc_read
read_inbox(struct h2stream *s)
{
	size_t left = s->inbox.len - s->inbox_at, before = left;
	const unsigned char *bytes;
	enum grpc_read verdict;

	if (left == 0)
		return GRPC_READ_MORE;
	bytes = s->inbox.data + s->inbox_at;
	verdict = grpc_reader_feed(&s->reader, &bytes, &left);
	(void)nghttp2_session_consume_stream(
	    s->conn->h2.session, s->id, before - left);
	s->inbox_at += before - left;
	h2stream_advance(&s->inbox, &s->inbox_at);
	h2stream_recount(s);
	return verdict;
}

/* Gives the handler the message it waits for, if it is there. */
static void
deliver(struct h2stream *s)
{
	enum grpc_read verdict = read_inbox(s);
	enum err_code code;
	const char *fault = h2stream_read_fault(verdict, &code);

	if (verdict == GRPC_READ_MORE && s->input_ended &&
	    grpc_reader_in_message(&s->reader))
		fault = "request ends inside a message";
	if (fault != NULL) {
		call_broken(&s->call, code, fault);
	} else if (verdict == GRPC_READ_MESSAGE) {
		s->has_message = true;
		s->wants_message = false;
		s->call.message(&s->call,
		    s->reader.message.len > 0 ? s->reader.message.data
					      : (const void *)"",
		    s->reader.message.len);
	} else if (s->input_ended) {
		s->wants_message = false;
		s->call.message(&s->call, NULL, 0);
	}
}

/* A handler is at work: tells it what it waits for. */
static void
settle_called(struct h2stream *s)
{
	if (s->head.fault == HEAD_MALFORMED) {
		s->state = STREAM_ANSWERED;
		h2stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
		call_lost(&s->call, CALL_CANCELLED);
		return;
	}
	if (s->head.fault == HEAD_REFUSED) {
		call_broken(&s->call, s->head.code, s->head.text);
		return;
	}
	if (s->refused_send && s->reply.len == 0) {
		s->refused_send = false;
		s->call.writable(&s->call);
	}
	if (s->state == STREAM_CALLED && s->wants_message)
		deliver(s);
}

void
h2stream_settle(struct h2stream *s)
{
	s->touched = false;
	switch (s->state) {
	case STREAM_HEAD:
	case STREAM_BODY:
		return;
	case STREAM_CALLED:
		settle_called(s);
		return;
	case STREAM_WHOLE:
		start_call(s);
		return;
	case STREAM_FAULTY:
		settle_faulty(s);
		return;
	case STREAM_ANSWERED:
		/* The answer is complete but the client still sends: stop it. */
		if (s->output_ended && !s->input_ended)
			h2stream_reset(s, NGHTTP2_NO_ERROR);
		return;
	case STREAM_CLOSED:
		if (s->call.open)
			call_lost(&s->call, CALL_CANCELLED);
		stream_free(s);
		return;
	}
}

void
h2stream_lost(struct h2stream *s)
{
	s->state = STREAM_CLOSED;
	if (s->call.open)
		call_lost(&s->call, CALL_DISCONNECTED);
	stream_free(s);
}

/* ---- counts ---- */

void
h2stream_call_opened(struct call *call)
{
	struct h2conn *conn = h2stream_of(call)->conn;
	struct h2host *host = conn->host;

	conn->call_count++;
	host->call_count++;
	host->counters.calls_started++;
}

void
h2stream_call_ended(struct call *call, enum err_code code, int64_t us)
{
	struct h2conn *conn = h2stream_of(call)->conn;
	struct h2host *host = conn->host;

	if (call->open) {
		conn->call_count--;
		host->call_count--;
		host->counters.calls_ended++;
	}
	if (host->router->ended != NULL)
		host->router->ended(call->path, code, us);
}

const struct metadata *
h2stream_metadata(struct call *call)
{
	return &h2stream_of(call)->metadata;
}
