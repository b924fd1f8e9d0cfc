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

struct h2stream *
h2stream_new(struct h2conn *conn, int32_t id)
{
	struct h2host *host = conn->host;
	struct h2stream *s = STAILQ_FIRST(&host->spare);
	struct grpc_reader reader;
	struct buf reply;

	if (s != NULL) {
		STAILQ_REMOVE_HEAD(&host->spare, touch_link);
		host->spare_count--;
		reader = s->reader;
		reply = s->reply;
	} else {
		s = mem_new(sizeof(*s));
		grpc_reader_init(&reader, host->limits.request_bytes);
		buf_init(&reply, host->limits.reply_bytes + GRPC_PREFIX_BYTES);
	}
	*s = (struct h2stream){
		.conn = conn,
		.id = id,
		.reader = reader,
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
	host->buffered_bytes -= s->reader.message.len + s->reply.len;
	status_fini(&s->status);
	if (host->spare_count < SPARE_STREAMS) {
		grpc_reader_next(&s->reader);
		buf_slim(&s->reader.message);
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

/* Answered with a status, once we are outside of nghttp2. */
static void
refuse(struct h2stream *s, enum err_code code, const char *text)
{
	head_refuse(&s->head, 200, code, text);
	s->state = STREAM_FAULTY;
	touch(s);
}

/* Answered with RST_STREAM PROTOCOL_ERROR. */
static void
malformed(struct h2stream *s, const char *text)
{
	head_malformed(&s->head, text);
	s->state = STREAM_FAULTY;
	touch(s);
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
	if (s->head.fault != HEAD_FINE && s->state == STREAM_BODY) {
		s->state = STREAM_FAULTY;
		touch(s);
	}
}

static void
take_bytes(struct h2stream *s, const uint8_t *bytes, size_t len)
{
	switch (grpc_reader_feed(&s->reader, &bytes, &len)) {
	case GRPC_READ_MORE:
		return;
	case GRPC_READ_MESSAGE:
		s->has_message = true;
		if (len > 0)
			refuse(s, ERR_UNIMPLEMENTED,
			    "more than one message in a unary call");
		return;
	case GRPC_READ_TOO_LARGE:
		refuse(s, ERR_RESOURCE_EXHAUSTED,
		    "message is larger than the server takes");
		return;
	case GRPC_READ_COMPRESSED:
		refuse(s, ERR_INTERNAL,
		    "compressed message without grpc-encoding");
		return;
	case GRPC_READ_BAD_FLAG:
		refuse(
		    s, ERR_INTERNAL, "bad compression flag before a message");
		return;
	}
}

void
h2stream_on_data(struct h2stream *s, const uint8_t *bytes, size_t len)
{
	struct h2host *host = s->conn->host;
	size_t before = s->reader.message.len;

	s->body_bytes += (int64_t)len;
	if (s->state != STREAM_BODY || len == 0)
		return;
	if (s->head.content_length >= 0 &&
	    s->body_bytes > s->head.content_length) {
		malformed(s, "more data than content-length");
		return;
	}
	if (s->has_message)
		refuse(s, ERR_UNIMPLEMENTED,
		    "more than one message in a unary call");
	else
		take_bytes(s, bytes, len);
	host->buffered_bytes += s->reader.message.len - before;
	if (host->buffered_bytes > host->limits.buffered_bytes &&
	    s->state == STREAM_BODY)
		refuse(s, ERR_UNAVAILABLE,
		    "server holds too many bytes of other calls");
}

void
h2stream_on_input_end(struct h2stream *s)
{
	s->input_ended = true;
	if (s->state != STREAM_BODY)
		return;
	if (s->head.content_length >= 0 &&
	    s->body_bytes != s->head.content_length) {
		malformed(s, "less data than content-length");
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

/* nghttp2 asks for the next piece of the reply; trailers come behind it. */
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
	memcpy(out, s->reply.data + s->reply_at, n);
	s->reply_at += n;
	if (s->reply_at == s->reply.len) {
		*flags |= NGHTTP2_DATA_FLAG_EOF |
		    NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(
			session, id, nv, status_trailers(&s->status, nv)) < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	}
	return (ssize_t)n;
}

int
h2stream_reply(struct call *call, const void *bytes, size_t len)
{
	struct h2stream *s = stream_of(call);
	nghttp2_data_provider data = {
		.source.ptr = s,
		.read_callback = on_reply_read,
	};
	unsigned char *to;
	nghttp2_nv nv[STATUS_NV_MAX];

	if (len > s->conn->host->limits.reply_bytes)
		return -EMSGSIZE;
	if (s->state == STREAM_CLOSED)
		return 0;
	to = buf_reserve(&s->reply, GRPC_PREFIX_BYTES + len);
	if (to == NULL)
		return -EMSGSIZE;
	grpc_prefix_put(to, (uint32_t)len);
	if (len > 0)
		memcpy(to + GRPC_PREFIX_BYTES, bytes, len);
	s->reply.len += GRPC_PREFIX_BYTES + len;
	s->conn->host->buffered_bytes += s->reply.len;
	status_set(&s->status, ERR_OK, NULL);
	s->state = STREAM_ANSWERED;
	if (nghttp2_submit_response(
		s->conn->h2.session, s->id, nv, status_headers(nv), &data) < 0)
		reset(s, NGHTTP2_INTERNAL_ERROR);
	h2io_flush_soon(&s->conn->h2);
	return 0;
}

static void
fail(struct h2stream *s, int http_status, enum err_code code, const char *text)
{
	nghttp2_nv nv[STATUS_NV_MAX];

	if (s->state == STREAM_CLOSED)
		return;
	status_set(&s->status, code, text);
	s->state = STREAM_ANSWERED;
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
	struct err err = ERR_INIT;
	call_handler *handler;

	handler = router_find(host->router, s->head.path, &err);
	if (handler != NULL && host->call_count >= host->limits.calls) {
		handler = NULL;
		(void)err_set(&err, ERR_UNAVAILABLE,
		    "server runs %zu calls already", host->call_count);
	}
	if (handler == NULL) {
		call_refused(&s->call, err.code, err.text);
		fail(s, 200, err.code, err.text);
		return;
	}
	s->state = STREAM_CALLED;
	s->call.request = s->reader.message.len > 0 ? s->reader.message.data
						    : (const void *)"";
	s->call.request_len = s->reader.message.len;
	call_open(&s->call, s->head.timeout_ms, handler);
}

void
h2stream_settle(struct h2stream *s)
{
	s->touched = false;
	switch (s->state) {
	case STREAM_HEAD:
	case STREAM_BODY:
	case STREAM_CALLED:
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
