/*
 * h2reply.c - the answer's side of a stream: messages that are queued, and
 * the status that ends them.
 */
#include "rpc/h2stream.h"

#include "rpc/h2conn.h"

#include <errno.h>
#include <string.h>

/*
 * An answer that is smaller is given even when the server holds too much: not
 * to give it costs as much.
 */
#define SMALL_REPLY_BYTES 4096

void
h2stream_reset(struct h2stream *s, uint32_t error_code)
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
		if (nghttp2_submit_trailer(session, id, nv,
			status_trailers(&s->status, &s->trailers, nv)) < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		return (ssize_t)n;
	}
	h2stream_advance(&s->reply, &s->reply_at);
	h2stream_recount(s);
	if (s->refused_send)
		h2stream_touch(s);
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
	} else if (nghttp2_submit_response(session, s->id, nv,
		       status_headers(&s->headers, nv), &data) < 0) {
		h2stream_reset(s, NGHTTP2_INTERNAL_ERROR);
	}
	s->responding = true;
	h2io_flush_soon(&s->conn->h2);
}

/* Queues a message; it fits. 0, or -ENOMEM. */
static int
queue_message(struct h2stream *s, const void *bytes, size_t len)
{
	unsigned char *to;

	h2stream_advance(&s->reply, &s->reply_at);
	to = buf_reserve(&s->reply, GRPC_PREFIX_BYTES + len);
	if (to == NULL)
		return -ENOMEM;
	grpc_prefix_put(to, (uint32_t)len);
	if (len > 0)
		memcpy(to + GRPC_PREFIX_BYTES, bytes, len);
	s->reply.len += GRPC_PREFIX_BYTES + len;
	h2stream_recount(s);
	return 0;
}

/* The client has so long to take the rest of it. */
static void
answered(struct h2stream *s)
{
	s->state = STREAM_ANSWERED;
	timeout_arm(&s->wait, &s->conn->host->unread);
}

int
h2stream_reply(struct call *call, const void *bytes, size_t len)
{
	struct h2stream *s = h2stream_of(call);

	if (len > s->conn->host->limits.reply_bytes)
		return -EMSGSIZE;
	if (s->state == STREAM_CLOSED)
		return 0;
	if (len > SMALL_REPLY_BYTES && !h2host_has_room(s->conn->host, s->conn))
		return -ENOBUFS;
	if (queue_message(s, bytes, len) < 0)
		return -ENOMEM;
	h2stream_end(call);
	return 0;
}

int
h2stream_send(struct call *call, const void *bytes, size_t len)
{
	struct h2stream *s = h2stream_of(call);
	struct h2host *host = s->conn->host;
	size_t queued = s->reply.len - s->reply_at;

	if (len > host->limits.reply_bytes)
		return -EMSGSIZE;
	if (s->state != STREAM_CALLED)
		return 0;
	if (queued > 0 &&
	    (queued + GRPC_PREFIX_BYTES + len > H2STREAM_QUEUE_BYTES ||
		!h2host_has_room(host, s->conn))) {
		s->refused_send = true;
		return -EAGAIN;
	}
	/* There is nothing before it whose end could be waited for. */
	if (queued == 0 && len > SMALL_REPLY_BYTES &&
	    !h2host_has_room(host, s->conn))
		return -ENOMEM;
	if (queue_message(s, bytes, len) < 0)
		return -ENOMEM;
	respond(s);
	return 0;
}

void
h2stream_end(struct call *call)
{
	struct h2stream *s = h2stream_of(call);

	if (s->state == STREAM_CLOSED)
		return;
	answered(s);
	respond(s);
}

/* The status is set. */
static void
send_status(struct h2stream *s, int http_status)
{
	nghttp2_nv nv[STATUS_NV_MAX];

	answered(s);
	if (s->responding) {
		respond(s);
		return;
	}
	if (nghttp2_submit_response(s->conn->h2.session, s->id, nv,
		status_trailers_only(
		    &s->status, http_status, &s->headers, &s->trailers, nv),
		NULL) < 0)
		h2stream_reset(s, NGHTTP2_INTERNAL_ERROR);
	h2io_flush_soon(&s->conn->h2);
}

void
h2stream_refuse(
    struct h2stream *s, int http_status, enum err_code code, const char *text)
{
	if (s->state == STREAM_CLOSED)
		return;
	status_set(&s->status, code, text);
	send_status(s, http_status);
}

void
h2stream_fail(struct call *call, enum err_code code, const char *text,
    const struct call_details *details)
{
	struct h2stream *s = h2stream_of(call);

	if (s->state == STREAM_CLOSED)
		return;
	status_set(&s->status, code, text);
	if (details != NULL)
		status_set_details(&s->status, text, details->type,
		    details->bytes, details->len);
	send_status(s, 200);
}

struct metadata *
h2stream_headers(struct call *call)
{
	struct h2stream *s = h2stream_of(call);

	return s->responding ? NULL : &s->headers;
}

struct metadata *
h2stream_trailers(struct call *call)
{
	return &h2stream_of(call)->trailers;
}
