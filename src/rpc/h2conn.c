/*
 * h2conn.c - connections of the server side over nghttp2.
 */
#include "config.h"

#include "rpc/h2conn.h"

#include "base/log.h"

#include <string.h>

#define RESET_BURST 1000        /* streams a peer may reset at once ... */
#define RESETS_PER_S 33         /* ... and in the long run */
#define MAX_CONTINUATIONS 8     /* frames that continue one header list */
#define NO_RFC7540_PRIORITIES 9 /* RFC 9218 2.1 */

static const uint8_t drain_ping[8] = { 'd', 'r', 'a', 'i', 'n' };

/* ---- nghttp2's callbacks: they note, and do nothing else ---- */

static struct h2stream *
stream_get(nghttp2_session *session, const nghttp2_frame *frame)
{
	return nghttp2_session_get_stream_user_data(
	    session, frame->hd.stream_id);
}

static int
on_begin_headers(
    nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2conn *conn = arg;
	int32_t id = frame->hd.stream_id;
	struct h2stream *s;

	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		s = h2stream_new(conn, id);
		(void)nghttp2_session_set_stream_user_data(session, id, s);
		return 0;
	}
	s = stream_get(session, frame);
	if (s != NULL)
		s->trailers = true;
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *arg)
{
	struct h2conn *conn = arg;
	struct h2stream *s = stream_get(session, frame);

	(void)flags;
	if (s != NULL)
		(s->trailers ? head_trailer_field : head_field)(&s->head,
		    (const char *)name, name_len, (const char *)value,
		    value_len, conn->host->limits.header_bytes);
	return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2conn *conn = arg;
	struct h2stream *s;

	if (frame->hd.type == NGHTTP2_PING &&
	    (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 &&
	    memcmp(frame->ping.opaque_data, drain_ping, sizeof(drain_ping)) ==
		0)
		conn->go_known = true;
	if (frame->hd.type != NGHTTP2_HEADERS && frame->hd.type != NGHTTP2_DATA)
		return 0;
	s = stream_get(session, frame);
	if (s == NULL)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS)
		h2stream_on_headers(
		    s, (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0);
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM)
		h2stream_on_input_end(s);
	return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id,
    const uint8_t *bytes, size_t len, void *arg)
{
	struct h2stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	(void)arg;
	/* The connection's window stays open: streams wait on their own. */
	(void)nghttp2_session_consume_connection(session, len);
	if (s != NULL)
		h2stream_on_data(s, bytes, len);
	return 0;
}

static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2conn *conn = arg;
	struct h2stream *s;

	if (frame->hd.type == NGHTTP2_GOAWAY && !conn->peer_went)
		conn->fault = frame->goaway.error_code;
	if (frame->hd.type != NGHTTP2_HEADERS ||
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
		return 0;
	s = stream_get(session, frame);
	if (s != NULL)
		h2stream_on_output_end(s);
	return 0;
}

/*
 * grpc-go says good-bye with the number of its own last stream where that of
 * ours belongs. kubelet does so after each call: no reason for a warning.
 */
static int
on_invalid_frame(
    nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	struct h2conn *conn = arg;

	(void)session;
	(void)error;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		conn->peer_went = true;
	return 0;
}

static int
on_stream_close(
    nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
	struct h2stream *s = nghttp2_session_get_stream_user_data(session, id);

	(void)error_code;
	(void)arg;
	if (s != NULL) {
		(void)nghttp2_session_set_stream_user_data(session, id, NULL);
		h2stream_on_close(s);
	}
	return 0;
}

/* ---- connections ---- */

/* GOAWAY, step two: what is under way ends well, nothing new is taken. */
static void
conn_close(struct h2conn *conn)
{
	nghttp2_session *session = conn->h2.session;

	if (conn->closing)
		return;
	conn->closing = true;
	(void)nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
	    nghttp2_session_get_last_proc_stream_id(session), NGHTTP2_NO_ERROR,
	    NULL, 0);
	h2io_flush_soon(&conn->h2);
}

static void
conn_tell_to_go(struct h2conn *conn)
{
	struct h2stream *s;

	if (conn->told_to_go)
		return;
	conn->told_to_go = true;
	LIST_FOREACH (s, &conn->streams, link)
		h2stream_leave(s);
	(void)nghttp2_submit_shutdown_notice(conn->h2.session);
	(void)nghttp2_submit_ping(
	    conn->h2.session, NGHTTP2_FLAG_NONE, drain_ping);
	h2io_flush_soon(&conn->h2);
}

static void
conn_settle(struct h2io *h2)
{
	struct h2conn *conn = container_of(h2, struct h2conn, h2);
	struct h2stream *s;

	while ((s = STAILQ_FIRST(&conn->touched)) != NULL) {
		STAILQ_REMOVE_HEAD(&conn->touched, touch_link);
		h2stream_settle(s);
	}
	if (conn->go_known)
		conn_close(conn);
}

static void
conn_ended(struct h2io *h2, const char *why)
{
	struct h2conn *conn = container_of(h2, struct h2conn, h2);
	struct h2host *host = conn->host;
	struct h2stream *s;

	if (conn->fault != NGHTTP2_NO_ERROR)
		log_warn("rpc.peer_fault", "error=%s",
		    nghttp2_http2_strerror(conn->fault));
	else if (why != NULL)
		log_debug("rpc.connection_lost", "reason=\"%s\"", why);
	while ((s = LIST_FIRST(&conn->streams)) != NULL)
		h2stream_lost(s);
	LIST_REMOVE(conn, link);
	free(conn);
	host->conn_count--;
	host->conn_ended(host);
}

static const struct h2io_ops conn_ops = {
	.settle = conn_settle,
	.ended = conn_ended,
};

void
h2conn_start(struct h2host *host, int fd)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
		    host->limits.streams },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		    (uint32_t)host->limits.header_bytes },
		{ NO_RFC7540_PRIORITIES, 1 },
	};
	struct h2conn *conn = mem_new(sizeof(*conn));
	nghttp2_session *session;

	if (nghttp2_session_server_new2(
		&session, host->callbacks, conn, host->option) < 0 ||
	    nghttp2_submit_settings(
		session, NGHTTP2_FLAG_NONE, settings, countof(settings)) < 0)
		abort(); /* out of memory */
	conn->host = host;
	LIST_INIT(&conn->streams);
	STAILQ_INIT(&conn->touched);
	LIST_INSERT_HEAD(&host->conns, conn, link);
	host->conn_count++;
	h2io_init(&conn->h2, session, fd, &conn_ops);
	h2io_flush_soon(&conn->h2);
	if (host->draining)
		conn_tell_to_go(conn);
}

/* ---- what they share ---- */

static void
limits_fill(struct server_limits *to, const struct server_limits *from)
{
	*to = from != NULL ? *from : (struct server_limits){ 0 };
	if (to->connections == 0)
		to->connections = 4096;
	if (to->streams == 0)
		to->streams = 256;
	if (to->calls == 0)
		to->calls = 4096;
	if (to->request_bytes == 0)
		to->request_bytes = (size_t)4 << 20;
	if (to->reply_bytes == 0)
		to->reply_bytes = (size_t)16 << 20;
	if (to->header_bytes == 0)
		to->header_bytes = (size_t)16 << 10;
	if (to->buffered_bytes == 0)
		to->buffered_bytes = (size_t)64 << 20;
}

static void
callbacks_fill(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_begin_headers_callback(
	    cb, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
	    cb, on_invalid_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
	    cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(
	    cb, on_stream_close);
}

static void
option_fill(nghttp2_option *option)
{
	/* head.c has the rules; see there why. */
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	/* A stream's window opens as its messages are read. */
	nghttp2_option_set_no_auto_window_update(option, 1);
#ifdef HAVE_NGHTTP2_OPTION_SET_STREAM_RESET_RATE_LIMIT
	nghttp2_option_set_stream_reset_rate_limit(
	    option, RESET_BURST, RESETS_PER_S);
#endif
#ifdef HAVE_NGHTTP2_OPTION_SET_MAX_CONTINUATIONS
	nghttp2_option_set_max_continuations(option, MAX_CONTINUATIONS);
#endif
}

void
h2host_init(struct h2host *host, const struct router *router,
    const struct server_limits *limits,
    void (*conn_ended_cb)(struct h2host *host))
{
	*host = (struct h2host){
		.router = router,
		.conn_ended = conn_ended_cb,
	};
	limits_fill(&host->limits, limits);
	LIST_INIT(&host->conns);
	STAILQ_INIT(&host->spare);
	if (nghttp2_session_callbacks_new(&host->callbacks) < 0 ||
	    nghttp2_option_new(&host->option) < 0)
		abort(); /* out of memory */
	callbacks_fill(host->callbacks);
	option_fill(host->option);
}

void
h2host_fini(struct h2host *host)
{
	struct h2conn *conn;
	struct h2stream *s;

	while ((conn = LIST_FIRST(&host->conns)) != NULL)
		h2io_end(&conn->h2, NULL);
	while ((s = STAILQ_FIRST(&host->spare)) != NULL) {
		STAILQ_REMOVE_HEAD(&host->spare, touch_link);
		h2stream_release(s);
	}
	nghttp2_session_callbacks_del(host->callbacks);
	nghttp2_option_del(host->option);
}

void
h2host_drain(struct h2host *host)
{
	struct h2conn *conn;

	host->draining = true;
	LIST_FOREACH (conn, &host->conns, link)
		conn_tell_to_go(conn);
}

void
h2host_drain_now(struct h2host *host)
{
	struct h2conn *conn;

	LIST_FOREACH (conn, &host->conns, link)
		conn_close(conn);
}
