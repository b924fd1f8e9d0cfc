/*
 * h2request.c - a request as it arrives, piece by piece. Called inside
 * nghttp2, so it is only noted.
 */
#include "rpc/h2stream.h"

#include "rpc/h2conn.h"

/* All that a handler needs is here. */
static void
complete(struct h2stream *s)
{
	timeout_disarm(&s->wait);
	s->state = STREAM_WHOLE;
	h2stream_touch(s);
}

/* A fault is noted in `head`: a handler that was called hears of it, too. */
static void
spoil(struct h2stream *s)
{
	if (s->head.fault == HEAD_MALFORMED || s->head.http_status == 431)
		h2guard_spend(s->conn, H2GUARD_MISTAKE);
	if (s->state != STREAM_CALLED) {
		timeout_disarm(&s->wait);
		s->state = STREAM_FAULTY;
	}
	h2stream_touch(s);
}

/* Answered with a status, once we are outside of nghttp2. */
static void
refuse(struct h2stream *s, enum err_code code, const char *text)
{
	head_refuse(&s->head, 200, code, text);
	spoil(s);
}

/* The same for a request that there is no memory for. */
static void
refuse_for_memory(struct h2stream *s, const char *text)
{
	s->refusal = SERVER_REFUSED_MEMORY;
	refuse(s, ERR_UNAVAILABLE, text);
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
h2stream_on_field(struct h2stream *s, const char *name, size_t name_len,
    const char *value, size_t value_len)
{
	size_t max = s->conn->host->limits.header_bytes;

	if (s->in_trailers)
		head_trailer_field(
		    &s->head, name, name_len, value, value_len, max);
	else if (head_field(&s->head, name, name_len, value, value_len, max) &&
	    metadata_note(&s->metadata, name, name_len, value, value_len) < 0) {
		s->refusal = SERVER_REFUSED_MEMORY;
		head_refuse(&s->head, 200, ERR_UNAVAILABLE,
		    "server has no memory for the headers");
	}
	h2stream_recount(s);
}

void
h2stream_on_headers(struct h2stream *s, bool ends_input)
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
	    !h2host_has_room(s->conn->host, s->conn)) {
		refuse_for_memory(s, "server holds too many bytes");
	} else if (s->state == STREAM_BODY && s->method == NULL) {
		s->method = router_find(
		    s->conn->host->router, s->head.path, NULL);
		if (s->method != NULL && !s->method->client_streams)
			return;
		complete(s);
	}
}

const char *
h2stream_read_fault(enum grpc_read verdict, enum err_code *code)
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
	fault = h2stream_read_fault(verdict, &code);
	if (verdict == GRPC_READ_NO_MEMORY)
		refuse_for_memory(s, fault);
	else if (fault != NULL)
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
	else if (buf_append(&s->inbox, bytes, len) < 0) /* it fits */
		refuse_for_memory(s, "server has no memory for the message");
	else
		h2stream_touch(s);
	h2stream_recount(s);
	if (takes_input(s) && !h2host_has_room(s->conn->host, s->conn))
		refuse_for_memory(s, "server holds too many bytes");
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
		h2stream_touch(s);
	} else if (s->has_message) {
		complete(s);
	} else if (grpc_reader_in_message(&s->reader)) {
		refuse(s, ERR_INTERNAL, "request ends inside a message");
	} else {
		refuse(s, ERR_UNIMPLEMENTED, "no message in a unary call");
	}
}

void
h2stream_late(struct h2stream *s)
{
	if (s->state == STREAM_HEAD) {
		/* Nothing else can come on this connection. */
		h2conn_end(
		    s->conn, SERVER_FAULT_STALLED, NGHTTP2_ENHANCE_YOUR_CALM);
		return;
	}
	s->refusal = SERVER_REFUSED_SLOW;
	refuse(s, ERR_DEADLINE_EXCEEDED, "request did not arrive in time");
	h2io_flush_soon(&s->conn->h2);
}

void
h2stream_turn_away(struct h2stream *s)
{
	timeout_disarm(&s->wait);
	s->state = STREAM_ANSWERED;
	s->conn->host->counters.refusals[SERVER_REFUSED_SLOW]++;
	call_refused(&s->call, ERR_UNAVAILABLE,
	    "the server ends before the request is whole");
	h2stream_reset(s, NGHTTP2_REFUSED_STREAM);
}
