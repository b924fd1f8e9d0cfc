/*
 * h2stream.c - streams of the server side.
 */
#include "rpc/h2stream.h"

#include "base/clock.h"
#include "rpc/h2conn.h"

#include <errno.h>
#include <string.h>

#define SPARE_STREAMS 256       /* kept for reuse, by all connections */
#define SPARE_BUFFER_BYTES 4096 /* a larger buffer is not kept with it */

/* What a peer may send on a stream before we read: HTTP/2's default. */
#define WINDOW_BYTES ((size_t)NGHTTP2_INITIAL_WINDOW_SIZE)
/* What stream_send() queues; a single message may be larger. */
#define QUEUE_BYTES ((size_t)64 << 10)

static struct h2stream *
stream_of(struct call *call)
{
	return container_of(call, struct h2stream, call);
}

/* ---- coming and going ---- */

static void
buf_slim(struct buf *buf)
{
	if (buf->room > SPARE_BUFFER_BYTES)
		buf_fini(buf);
	else
		buf_clear(buf);
}

/* Drops what was used from the front when that is worth the move. */
static void
buf_advance(struct buf *buf, size_t *at)
{
	if (*at == buf->len) {
		buf_slim(buf);
		*at = 0;
	} else if (*at >= buf->len / 2) {
		buf_consume(buf, *at);
		*at = 0;
	}
}

/* Keeps the sum of what all streams hold; after each change. */
static void
recount(struct h2stream *s)
{
	size_t now = s->reader.message.len + s->inbox.len + s->reply.len;

	s->conn->host->buffered_bytes += now - s->counted;
	s->counted = now;
}

static bool
host_is_full(const struct h2stream *s)
{
	const struct h2host *host = s->conn->host;

	return host->buffered_bytes > host->limits.buffered_bytes;
}

struct h2stream *
h2stream_new(struct h2conn *conn, int32_t id)
{
	struct h2host *host = conn->host;
	struct h2stream *s = STAILQ_FIRST(&host->spare);
	struct grpc_reader reader;
	struct buf inbox, reply;

	if (s != NULL) {
		STAILQ_REMOVE_HEAD(&host->spare, touch_link);
		host->spare_count--;
		reader = s->reader;
		inbox = s->inbox;
		reply = s->reply;
	} else {
		s = mem_new(sizeof(*s));
		grpc_reader_init(&reader, host->limits.request_bytes);
		/* Used bytes stay in front up to half of a buffer. */
		buf_init(&inbox, 2 * WINDOW_BYTES);
		buf_init(&reply,
		    host->limits.reply_bytes + GRPC_PREFIX_BYTES +
			2 * QUEUE_BYTES);
	}
	*s = (struct h2stream){
		.conn = conn,
		.id = id,
		.reader = reader,
		.inbox = inbox,
		.reply = reply,
	};
	head_init(&s->head);
	s->call.path = s->head.path;
	s->call.started_us = clock_now_us();
	LIST_INSERT_HEAD(&conn->streams, s, link);
	return s;
}

static void
stream_free(struct h2stream *s)
{
	struct h2host *host = s->conn->host;

	LIST_REMOVE(s, link);
	host->buffered_bytes -= s->counted;
	status_fini(&s->status);
	if (host->spare_count < SPARE_STREAMS) {
		grpc_reader_next(&s->reader);
		buf_slim(&s->reader.message);
		buf_slim(&s->inbox);
		buf_slim(&s->reply);
		STAILQ_INSERT_HEAD(&host->spare, s, touch_link);
		host->spare_count++;
		return;
	}
	h2stream_release(s);
}

void
h2stream_release(struct h2stream *s)
{
	grpc_reader_fini(&s->reader);
	buf_fini(&s->inbox);
	buf_fini(&s->reply);
	free(s);
}

/* ---- what arrives; called inside nghttp2, so only noted ---- */

static void
touch(struct h2stream *s)
{
	if (s->touched)
		return;
	s->touched = true;
	STAILQ_INSERT_TAIL(&s->conn->touched, s, touch_link);
}

/* A fault is noted in `head`: a handler that was called hears of it, too. */
static void
spoil(struct h2stream *s)
{
	if (s->state != STREAM_CALLED)
		s->state = STREAM_FAULTY;
	touch(s);
}

/* Answered with a status, once we are outside of nghttp2. */
static void
refuse(struct h2stream *s, enum err_code code, const char *text)
{
	head_refuse(&s->head, 200, code, text);
	spoil(s);
}

/* Answered with RST_STREAM PROTOCOL_ERROR. */
static void
malformed(struct h2stream *s, const char *text)
{
	head_malformed(&s->head, text);
	spoil(s);
}

/* The request still arrives, and nothing was wrong with it. */
static bool
takes_input(const struct h2stream *s)
{
	return s->state == STREAM_BODY || s->state == STREAM_WHOLE ||
	    s->state == STREAM_CALLED;
}

void
h2stream_on_headers(struct h2stream *s, bool ends_input)
{
	if (s->trailers && !ends_input)
		head_malformed(&s->head, "trailers that do not end the stream");
	if (s->state == STREAM_HEAD) {
		head_end(&s->head);
		s->state = STREAM_BODY;
	}
	if (!takes_input(s))
		return;
	if (s->head.fault != HEAD_FINE) {
		spoil(s);
	} else if (s->state == STREAM_BODY && s->method == NULL) {
		s->method = router_find(
		    s->conn->host->router, s->head.path, NULL);
		if (s->method != NULL && !s->method->client_streams)
			return;
		s->state = STREAM_WHOLE;
		touch(s);
	}
}

/* What is wrong with a message, or NULL. */
static const char *
read_fault(enum grpc_read verdict, enum err_code *code)
{
	*code = ERR_INTERNAL;
	switch (verdict) {
	case GRPC_READ_MORE:
	case GRPC_READ_MESSAGE:
		return NULL;
	case GRPC_READ_TOO_LARGE:
		*code = ERR_RESOURCE_EXHAUSTED;
		return "message is larger than the server takes";
	case GRPC_READ_COMPRESSED:
		return "compressed message without grpc-encoding";
	case GRPC_READ_BAD_FLAG:
		return "bad compression flag before a message";
	}
	return NULL;
}

/* DATA of a unary call. */
static void
take_bytes(struct h2stream *s, const uint8_t *bytes, size_t len)
{
	enum grpc_read verdict = GRPC_READ_MORE;
	enum err_code code;
	const char *fault;

	if (!s->has_message)
		verdict = grpc_reader_feed(&s->reader, &bytes, &len);
	if (verdict == GRPC_READ_MESSAGE)
		s->has_message = true;
	fault = read_fault(verdict, &code);
	if (fault != NULL)
		refuse(s, code, fault);
	else if (len > 0)
		refuse(s, ERR_UNIMPLEMENTED,
		    "more than one message in a unary call");
}

void
h2stream_on_data(struct h2stream *s, const uint8_t *bytes, size_t len)
{
	bool streams = s->method != NULL && s->method->client_streams;

	s->body_bytes += (int64_t)len;
	if (!takes_input(s) || !streams)
		(void)nghttp2_session_consume_stream(
		    s->conn->h2.session, s->id, len);
	if (!takes_input(s) || len == 0)
		return;
	if (s->head.content_length >= 0 &&
	    s->body_bytes > s->head.content_length)
		malformed(s, "more data than content-length");
	else if (!streams)
		take_bytes(s, bytes, len);
	else if (buf_append(&s->inbox, bytes, len) < 0)
		refuse(s, ERR_RESOURCE_EXHAUSTED, "more data than the window");
	else
		touch(s);
	recount(s);
	if (host_is_full(s) && takes_input(s))
		refuse(s, ERR_UNAVAILABLE,
		    "server holds too many bytes of other calls");
}

void
h2stream_on_input_end(struct h2stream *s)
{
	s->input_ended = true;
	if (!takes_input(s))
		return;
	if (s->head.content_length >= 0 &&
	    s->body_bytes != s->head.content_length) {
		malformed(s, "less data than content-length");
	} else if (s->state != STREAM_BODY) {
		touch(s);
	} else if (s->has_message) {
		s->state = STREAM_WHOLE;
		touch(s);
	} else if (grpc_reader_in_message(&s->reader)) {
		refuse(s, ERR_INTERNAL, "request ends inside a message");
	} else {
		refuse(s, ERR_UNIMPLEMENTED, "no message in a unary call");
	}
}

void
h2stream_on_output_end(struct h2stream *s)
{
	s->output_ended = true;
	touch(s);
}

void
h2stream_on_close(struct h2stream *s)
{
	s->state = STREAM_CLOSED;
	touch(s);
}

/* ---- the answer ---- */

static void
reset(struct h2stream *s, uint32_t error_code)
{
	(void)nghttp2_submit_rst_stream(
	    s->conn->h2.session, NGHTTP2_FLAG_NONE, s->id, error_code);
	h2io_flush_soon(&s->conn->h2);
}

/* nghttp2 asks for the next piece; trailers come behind the last one. */
static ssize_t
on_reply_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room,
    uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
	struct h2stream *s = source->ptr;
	size_t n = s->reply.len - s->reply_at;
	nghttp2_nv nv[STATUS_NV_MAX];

	(void)user_data;
	if (n > room)
		n = room;
	if (n > 0)
		memcpy(out, s->reply.data + s->reply_at, n);
	s->reply_at += n;
	if (s->reply_at < s->reply.len)
		return (ssize_t)n;
	if (s->state == STREAM_ANSWERED) {
		*flags |= NGHTTP2_DATA_FLAG_EOF |
		    NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(
			session, id, nv, status_trailers(&s->status, nv)) < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		return (ssize_t)n;
	}
	buf_advance(&s->reply, &s->reply_at);
	recount(s);
	if (s->refused_send)
		touch(s);
	return n > 0 ? (ssize_t)n : NGHTTP2_ERR_DEFERRED;
}

/* Response headers at first; then tells nghttp2 that there is more. */
static void
respond(struct h2stream *s)
{
	nghttp2_session *session = s->conn->h2.session;
	nghttp2_data_provider data = {
		.source.ptr = s,
		.read_callback = on_reply_read,
	};
	nghttp2_nv nv[STATUS_NV_MAX];

	if (s->responding) {
		/* An error says that it has not run out: it will ask. */
		(void)nghttp2_session_resume_data(session, s->id);
	} else if (nghttp2_submit_response(
		       session, s->id, nv, status_headers(nv), &data) < 0) {
		reset(s, NGHTTP2_INTERNAL_ERROR);
	}
	s->responding = true;
	h2io_flush_soon(&s->conn->h2);
}

/* Queues a message; it fits. */
static int
queue_message(struct h2stream *s, const void *bytes, size_t len)
{
	unsigned char *to;

	buf_advance(&s->reply, &s->reply_at);
	to = buf_reserve(&s->reply, GRPC_PREFIX_BYTES + len);
	if (to == NULL)
		return -EMSGSIZE;
	grpc_prefix_put(to, (uint32_t)len);
	if (len > 0)
		memcpy(to + GRPC_PREFIX_BYTES, bytes, len);
	s->reply.len += GRPC_PREFIX_BYTES + len;
	recount(s);
	return 0;
}

int
h2stream_reply(struct call *call, const void *bytes, size_t len)
{
	struct h2stream *s = stream_of(call);

	if (len > s->conn->host->limits.reply_bytes)
		return -EMSGSIZE;
	if (s->state == STREAM_CLOSED)
		return 0;
	if (queue_message(s, bytes, len) < 0)
		return -EMSGSIZE;
	h2stream_end(call);
	return 0;
}

int
h2stream_send(struct call *call, const void *bytes, size_t len)
{
	struct h2stream *s = stream_of(call);
	size_t queued = s->reply.len - s->reply_at;

	if (len > s->conn->host->limits.reply_bytes)
		return -EMSGSIZE;
	if (s->state != STREAM_CALLED)
		return 0;
	if (queued > 0 &&
	    (queued + GRPC_PREFIX_BYTES + len > QUEUE_BYTES ||
		host_is_full(s))) {
		s->refused_send = true;
		return -EAGAIN;
	}
	if (queue_message(s, bytes, len) < 0)
		return -EMSGSIZE;
	respond(s);
	return 0;
}

void
h2stream_end(struct call *call)
{
	struct h2stream *s = stream_of(call);

	if (s->state == STREAM_CLOSED)
		return;
	status_set(&s->status, ERR_OK, NULL);
	s->state = STREAM_ANSWERED;
	respond(s);
}

/* In trailers only, unless messages went before. */
static void
fail(struct h2stream *s, int http_status, enum err_code code, const char *text)
{
	nghttp2_nv nv[STATUS_NV_MAX];

	if (s->state == STREAM_CLOSED)
		return;
	status_set(&s->status, code, text);
	s->state = STREAM_ANSWERED;
	if (s->responding) {
		respond(s);
		return;
	}
	if (nghttp2_submit_response(s->conn->h2.session, s->id, nv,
		status_trailers_only(&s->status, http_status, nv), NULL) < 0)
		reset(s, NGHTTP2_INTERNAL_ERROR);
	h2io_flush_soon(&s->conn->h2);
}

void
h2stream_fail(struct call *call, enum err_code code, const char *text)
{
	fail(stream_of(call), 200, code, text);
}

void
h2stream_count_call(struct call *call, int change)
{
	stream_of(call)->conn->host->call_count += (size_t)change;
}

/* ---- what follows from what has arrived ---- */

static void
start_call(struct h2stream *s)
{
	struct h2host *host = s->conn->host;
	const struct rpc_method *method = s->method;
	struct err err = ERR_INIT;

	if (method == NULL) {
		(void)router_find(host->router, s->head.path, &err);
	} else if (host->call_count >= host->limits.calls) {
		method = NULL;
		(void)err_set(&err, ERR_UNAVAILABLE,
		    "server runs %zu calls already", host->call_count);
	}
	if (method == NULL) {
		call_refused(&s->call, err.code, err.text);
		fail(s, 200, err.code, err.text);
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
	struct h2stream *s = stream_of(call);

	if (s->state != STREAM_CALLED)
		return;
	if (s->has_message) {
		s->has_message = false;
		grpc_reader_next(&s->reader);
		buf_slim(&s->reader.message);
		recount(s);
	}
	s->wants_message = true;
	touch(s);
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
	buf_advance(&s->inbox, &s->inbox_at);
	recount(s);
	return verdict;
}

/* Gives the handler the message it waits for, if it is there. */
static void
deliver(struct h2stream *s)
{
	enum grpc_read verdict = read_inbox(s);
	enum err_code code;
	const char *fault = read_fault(verdict, &code);

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
		reset(s, NGHTTP2_PROTOCOL_ERROR);
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
		call_refused(&s->call, s->head.code, s->head.text);
		if (s->head.fault == HEAD_MALFORMED)
			reset(s, NGHTTP2_PROTOCOL_ERROR);
		else
			fail(
			    s, s->head.http_status, s->head.code, s->head.text);
		return;
	case STREAM_ANSWERED:
		/* The answer is complete but the client still sends: stop it. */
		if (s->output_ended && !s->input_ended)
			reset(s, NGHTTP2_NO_ERROR);
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
