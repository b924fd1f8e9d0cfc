/*
 * server_stream.c - one HTTP/2 stream of a client: the request that arrives on
 * it piece by piece, which is only noted; and what follows from that.
 */
#include "base/clock.h"
#include "rpc/server_impl.h"

#define SPARE_BUFFER_BYTES 4096 /* a larger buffer is not kept with it */

#define STREAMS_PER_CALL 2 /* open in all, for each call that may run */

/* What a peer may send on a stream before we read: HTTP/2's default. */
#define WINDOW_BYTES ((size_t)NGHTTP2_INITIAL_WINDOW_SIZE)

/* What a message without bytes is given as. */
static const char no_bytes[1];

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
server_stream_advance(struct buf *buf, size_t *at)
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
server_stream_recount(struct server_stream *s)
{
	size_t now = s->metadata.bytes.len + s->reader.message.len +
	    s->inbox.len + s->reply.len;
	struct server *server = s->conn->server;

	s->conn->buffered_bytes += now - s->counted;
	server->counters.buffered_bytes += now - s->counted;
	if (server->counters.buffered_bytes > server->buffered_peak)
		server->buffered_peak = server->counters.buffered_bytes;
	s->counted = now;
}

struct server_stream *
server_stream_new(struct server_conn *conn, int32_t id)
{
	struct server *server = conn->server;
	struct server_stream *s;

	/*
	 * Too many requests arrive, run, or wait for their readers. But each
	 * connection may have one, whatever the others do.
	 */
	if (server->stream_count / STREAMS_PER_CALL >= server->limits.calls &&
	    !LIST_EMPTY(&conn->streams))
		return NULL;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return NULL;
	s->conn = conn;
	s->id = id;
	grpc_reader_init(&s->reader, server->limits.request_bytes);
	/* Used bytes stay in front up to half of a buffer. */
	buf_init(&s->inbox, 2 * WINDOW_BYTES);
	buf_init(&s->reply,
	    server->limits.reply_bytes + GRPC_PREFIX_BYTES +
		2 * SERVER_STREAM_QUEUE_BYTES);
	head_init(&s->head);
	s->call.path = s->head.path;
	s->call.started_us = clock_now_us();
	timeout_arm(&s->wait, &server->arriving);
	LIST_INSERT_HEAD(&conn->streams, s, link);
	server->stream_count++;
	return s;
}

void
server_stream_free(struct server_stream *s, enum call_gone why)
{
	struct server_conn *conn = s->conn;
	struct server *server = conn->server;

	s->state = STREAM_CLOSED;
	if (s->call.open)
		call_abort(&s->call, why, ERR_CANCELLED,
		    why == CALL_DISCONNECTED ? "connection lost"
					     : "cancelled by the client");
	LIST_REMOVE(s, link);
	server->stream_count--;
	conn->buffered_bytes -= s->counted;
	server->counters.buffered_bytes -= s->counted;
	timeout_disarm(&s->wait);
	metadata_fini(&s->metadata);
	metadata_fini(&s->headers);
	metadata_fini(&s->trailers);
	status_fini(&s->status);
	buf_fini(&s->reader.message);
	buf_fini(&s->inbox);
	buf_fini(&s->reply);
	free(s);
	if (LIST_EMPTY(&conn->streams)) {
		if (server->limits.idle_ms > 0)
			timeout_arm(&conn->wait, &server->idle);
		server_conn_left(server);
	}
}

void
server_stream_touch(struct server_stream *s)
{
	if (s->touched)
		return;
	s->touched = true;
	STAILQ_INSERT_TAIL(&s->conn->touched, s, touch_link);
}

void
server_stream_reset(struct server_stream *s, uint32_t error_code)
{
	(void)nghttp2_submit_rst_stream(
	    s->conn->h2.session, NGHTTP2_FLAG_NONE, s->id, error_code);
	h2io_flush_soon(&s->conn->h2);
}

/* ---- a request as it arrives ---- */

/* The request has all that a handler needs. */
static void
complete(struct server_stream *s)
{
	timeout_disarm(&s->wait);
	s->state = STREAM_WHOLE;
	server_stream_touch(s);
}

/* A fault is noted in `head`: a handler that was called hears of it, too. */
static void
spoil(struct server_stream *s)
{
	if (s->head.fault == HEAD_MALFORMED || s->head.http_status == 431)
		s->conn->budget -= SERVER_CONN_MISTAKE;
	if (s->state != STREAM_CALLED) {
		timeout_disarm(&s->wait);
		s->state = STREAM_FAULTY;
	}
	server_stream_touch(s);
}

/* Answered with a status, once we are outside of nghttp2. */
static void
refuse_request(struct server_stream *s, enum err_code code, const char *text)
{
	head_refuse(&s->head, 200, code, text);
	spoil(s);
}

/* The request still arrives, and nothing was wrong with it. */
static bool
takes_input(const struct server_stream *s)
{
	return s->state == STREAM_BODY || s->state == STREAM_WHOLE ||
	    s->state == STREAM_CALLED;
}

void
server_stream_on_field(struct server_stream *s, const char *name,
    size_t name_len, const char *value, size_t value_len)
{
	size_t max = s->conn->server->limits.header_bytes;

	if (s->in_trailers)
		head_trailer_field(
		    &s->head, name, name_len, value, value_len, max);
	else if (head_field(&s->head, name, name_len, value, value_len, max) &&
	    metadata_note(&s->metadata, name, name_len, value, value_len) < 0)
		head_refuse(&s->head, 200, ERR_UNAVAILABLE,
		    "server has no memory for the headers");
	server_stream_recount(s);
}

void
server_stream_on_headers(struct server_stream *s, bool ends_input)
{
	if (s->in_trailers && !ends_input)
		head_malformed(&s->head, "trailers that do not end the stream");
	if (s->state == STREAM_HEAD) {
		head_end(&s->head);
		s->state = STREAM_BODY;
	}
	if (!takes_input(s))
		return;
	if (s->head.fault != HEAD_FINE) {
		spoil(s);
	} else if (s->metadata.bytes.len > 0 &&
	    !server_has_room(s->conn->server, s->conn)) {
		refuse_request(
		    s, ERR_UNAVAILABLE, "server holds too many bytes");
	} else if (s->state == STREAM_BODY && s->method == NULL) {
		s->method = router_find(
		    s->conn->server->router, s->head.path, NULL);
		if (s->method == NULL || s->method->client_streams)
			complete(s);
	}
}

/* What is wrong with a message, and its code; or NULL. */
static const char *
fault_of(enum grpc_read verdict, enum err_code *code)
{
	*code = ERR_INTERNAL;
	switch (verdict) {
	case GRPC_READ_MORE:
	case GRPC_READ_MESSAGE:
		return NULL;
	case GRPC_READ_TOO_LARGE:
		*code = ERR_RESOURCE_EXHAUSTED;
		return "message is larger than the server takes";
	case GRPC_READ_NO_MEMORY:
		*code = ERR_UNAVAILABLE;
		return "server has no memory for the message";
	case GRPC_READ_COMPRESSED:
		return "compressed message without grpc-encoding";
	case GRPC_READ_BAD_FLAG:
		return "bad compression flag before a message";
	}
	return NULL;
}

void
server_stream_on_data(struct server_stream *s, const uint8_t *bytes, size_t len)
{
	bool streams = s->method != NULL && s->method->client_streams;
	enum grpc_read verdict = GRPC_READ_MORE;
	enum err_code code;
	const char *fault;

	s->body_bytes += (int64_t)len;
	if (!takes_input(s) || !streams)
		(void)nghttp2_session_consume_stream(
		    s->conn->h2.session, s->id, len);
	if (!takes_input(s) || len == 0)
		return;
	if (s->head.content_length >= 0 &&
	    s->body_bytes > s->head.content_length) {
		head_malformed(&s->head, "more data than content-length");
		spoil(s);
	} else if (!streams) {
		if (!s->has_message)
			verdict = grpc_reader_feed(&s->reader, &bytes, &len);
		s->has_message |= verdict == GRPC_READ_MESSAGE;
		fault = fault_of(verdict, &code);
		if (fault != NULL)
			refuse_request(s, code, fault);
		else if (len > 0)
			refuse_request(s, ERR_UNIMPLEMENTED,
			    "more than one message in a unary call");
	} else if (buf_append(&s->inbox, bytes, len) < 0) { /* it fits */
		refuse_request(
		    s, ERR_UNAVAILABLE, "server has no memory for the message");
	} else {
		server_stream_touch(s);
	}
	server_stream_recount(s);
	if (takes_input(s) && !server_has_room(s->conn->server, s->conn))
		refuse_request(
		    s, ERR_UNAVAILABLE, "server holds too many bytes");
}

void
server_stream_on_input_end(struct server_stream *s)
{
	s->input_ended = true;
	if (!takes_input(s))
		return;
	if (s->head.content_length >= 0 &&
	    s->body_bytes != s->head.content_length) {
		head_malformed(&s->head, "less data than content-length");
		spoil(s);
	} else if (s->state != STREAM_BODY) {
		server_stream_touch(s);
	} else if (s->has_message) {
		complete(s);
	} else if (s->reader.prefix_len > 0) {
		refuse_request(
		    s, ERR_INTERNAL, "request ends inside a message");
	} else {
		refuse_request(
		    s, ERR_UNIMPLEMENTED, "no message in a unary call");
	}
}

void
server_stream_late(struct timeout *timeout)
{
	struct server_stream *s = container_of(
	    timeout, struct server_stream, wait);

	if (s->state == STREAM_HEAD) {
		/* Nothing else can come on this connection. */
		server_conn_end(
		    s->conn, SERVER_FAULT_STALLED, NGHTTP2_ENHANCE_YOUR_CALM);
		return;
	}
	refuse_request(
	    s, ERR_DEADLINE_EXCEEDED, "request did not arrive in time");
	h2io_flush_soon(&s->conn->h2);
}

void
server_stream_turn_away(struct server_stream *s)
{
	timeout_disarm(&s->wait);
	s->state = STREAM_ANSWERED;
	call_refuse(&s->call, SERVER_REFUSED_SLOW, 0, ERR_UNAVAILABLE,
	    "the server ends before the request is whole");
	server_stream_reset(s, NGHTTP2_REFUSED_STREAM);
}

/* ---- what follows from what has arrived ---- */

void
server_stream_leave(struct server_stream *s)
{
	if (s->state == STREAM_CALLED && s->call.leaving != NULL)
		s->call.leaving(&s->call);
}

/* A request that is not as HTTP/2, gRPC or our limits want it. */
static void
settle_faulty(struct server_stream *s)
{
	const struct head *head = &s->head;
	enum server_refusal why = SERVER_REFUSED_OTHER;

	if (head->fault == HEAD_MALFORMED) {
		call_refuse(&s->call, SERVER_REFUSED_MALFORMED, 0, head->code,
		    head->text);
		s->state = STREAM_ANSWERED;
		server_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
		return;
	}
	/* Each of the others has a status of its own. */
	if (head->http_status == 431)
		why = SERVER_REFUSED_HEADERS;
	else if (head->code == ERR_UNAVAILABLE)
		why = SERVER_REFUSED_MEMORY;
	else if (head->code == ERR_DEADLINE_EXCEEDED)
		why = SERVER_REFUSED_SLOW;
	call_refuse(&s->call, why, head->http_status, head->code, head->text);
}

/* Calls the handler, if there is room for one more call. */
static void
settle_whole(struct server_stream *s)
{
	struct server *server = s->conn->server;
	enum server_refusal why = SERVER_REFUSED_OTHER;
	struct err err = ERR_INIT;

	if (s->method == NULL) {
		(void)router_find(server->router, s->head.path, &err);
	} else if (server->counters.calls >= server->limits.calls &&
	    s->conn->call_count > 0) {
		/* Each connection may have one call, whatever others do. */
		why = SERVER_REFUSED_CALLS;
		(void)err_set(&err, ERR_UNAVAILABLE,
		    "server runs %zu calls already", server->counters.calls);
	} else if (!server_has_room(server, s->conn)) {
		why = SERVER_REFUSED_MEMORY;
		(void)err_set(&err, ERR_UNAVAILABLE,
		    "server holds %zu bytes already",
		    server->counters.buffered_bytes);
	}
	if (err_is_set(&err)) {
		call_refuse(&s->call, why, 200, err.code, err.text);
		return;
	}
	s->state = STREAM_CALLED;
	s->call.request_len = s->reader.message.len;
	s->call.request = s->call.request_len > 0
	    ? (const void *)s->reader.message.data
	    : no_bytes;
	call_open(&s->call, s->head.timeout_ms, s->method->start);
	if (server->draining)
		server_stream_leave(s);
}

/*
 * Puts the next message together, whose bytes open the window again, and gives
 * it to the handler that waits for it.
 */
static void
deliver(struct server_stream *s)
{
	size_t left = s->inbox.len - s->inbox_at, before = left;
	enum grpc_read verdict = GRPC_READ_MORE;
	const unsigned char *bytes;
	enum err_code code;
	const char *fault;

	if (left > 0) {
		bytes = s->inbox.data + s->inbox_at;
		verdict = grpc_reader_feed(&s->reader, &bytes, &left);
		(void)nghttp2_session_consume_stream(
		    s->conn->h2.session, s->id, before - left);
		s->inbox_at += before - left;
		server_stream_advance(&s->inbox, &s->inbox_at);
		server_stream_recount(s);
	}
	fault = fault_of(verdict, &code);
	if (verdict == GRPC_READ_MORE && s->input_ended &&
	    s->reader.prefix_len > 0)
		fault = "request ends inside a message";
	if (fault != NULL) {
		call_abort(&s->call, CALL_CANCELLED, code, fault);
	} else if (verdict == GRPC_READ_MESSAGE) {
		s->has_message = true;
		s->wants_message = false;
		s->call.message(&s->call,
		    s->reader.message.len > 0
			? (const void *)s->reader.message.data
			: no_bytes,
		    s->reader.message.len);
	} else if (s->input_ended) {
		s->wants_message = false;
		s->call.message(&s->call, NULL, 0);
	}
}

/* Tells a handler that is at work what it waits for. */
static void
settle_called(struct server_stream *s)
{
	if (s->head.fault == HEAD_MALFORMED) {
		s->state = STREAM_ANSWERED;
		server_stream_reset(s, NGHTTP2_PROTOCOL_ERROR);
		call_abort(&s->call, CALL_CANCELLED, ERR_CANCELLED,
		    "cancelled by the client");
		return;
	}
	if (s->head.fault == HEAD_REFUSED) {
		call_abort(
		    &s->call, CALL_CANCELLED, s->head.code, s->head.text);
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
server_stream_settle(struct server_stream *s)
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
		settle_whole(s);
		return;
	case STREAM_FAULTY:
		settle_faulty(s);
		return;
	case STREAM_ANSWERED:
		/* The answer is complete but the client still sends: stop it. */
		if (s->output_ended && !s->input_ended)
			server_stream_reset(s, NGHTTP2_NO_ERROR);
		return;
	case STREAM_CLOSED:
		server_stream_free(s, CALL_CANCELLED);
		return;
	}
}

void
stream_read(struct call *call)
{
	struct server_stream *s = server_stream_of(call);

	if (s->state != STREAM_CALLED)
		return;
	if (s->has_message) {
		s->has_message = false;
		grpc_reader_next(&s->reader);
		buf_slim(&s->reader.message);
		server_stream_recount(s);
	}
	s->wants_message = true;
	server_stream_touch(s);
	h2io_flush_soon(&s->conn->h2);
}
