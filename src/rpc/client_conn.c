/*
 * client_conn.c - a client, and its connections over nghttp2.
 */
#include "config.h"

#include "base/clock.h"
#include "rpc/client_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define REPLY_BYTES ((size_t)64 << 20)

/* A stream number that is not given out any more: they are used up. */
#define LAST_STREAM (INT32_MAX - 2)

/* ---- nghttp2's callbacks: they note ---- */

static struct client_call *
call_get(nghttp2_session *session, const nghttp2_frame *frame)
{
	return nghttp2_session_get_stream_user_data(
	    session, frame->hd.stream_id);
}

static int
on_answer_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *arg)
{
	struct client_call *call = call_get(session, frame);

	(void)flags;
	(void)arg;
	if (call != NULL &&
	    !client_head_field(&call->head, (const char *)name, name_len,
		(const char *)value, value_len))
		call->fault = CLIENT_FAULT_HEADERS;
	return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id,
    const uint8_t *bytes, size_t len, void *arg)
{
	struct client_call *call = nghttp2_session_get_stream_user_data(
	    session, id);

	(void)flags;
	(void)arg;
	/* The connection's window stays open: streams wait on their own. */
	(void)nghttp2_session_consume_connection(session, len);
	if (call != NULL)
		client_call_on_data(call, bytes, len);
	return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct client_conn *conn = arg;
	struct client_call *call;
	bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;

	switch (frame->hd.type) {
	case NGHTTP2_SETTINGS:
		conn->greeted = true;
		return 0;
	case NGHTTP2_GOAWAY:
		conn->going = true;
		conn->goaway = frame->goaway.error_code;
		return 0;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		break;
	default:
		return 0;
	}
	call = call_get(session, frame);
	if (call == NULL)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS)
		client_head_end(&call->head, ends);
	if (ends)
		call->over = true;
	if (ends || call->fault != CLIENT_FAULT_NONE)
		client_conn_touch(call);
	return 0;
}

static int
on_invalid_frame(
    nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	struct client_call *call = call_get(session, frame);

	(void)arg;
	(void)error;
	if (call != NULL)
		call->broken = true;
	return 0;
}

static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct client_conn *conn = arg;
	struct client_call *call;

	if (frame->hd.type == NGHTTP2_GOAWAY)
		conn->fault = frame->goaway.error_code;
	if (frame->hd.type != NGHTTP2_HEADERS)
		return 0;
	call = call_get(session, frame);
	if (call != NULL)
		call->sent = true;
	return 0;
}

static int
on_stream_close(
    nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
	struct client_conn *conn = arg;
	struct client_call *call = nghttp2_session_get_stream_user_data(
	    session, id);

	conn->streams--;
	if (call != NULL) {
		(void)nghttp2_session_set_stream_user_data(session, id, NULL);
		call->closed = true;
		call->reset_code = error_code;
		client_conn_touch(call);
	}
	return 0;
}

static ssize_t
on_body_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room,
    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct client_call *call = nghttp2_session_get_stream_user_data(
	    session, id);

	(void)source;
	(void)arg;
	if (call == NULL) /* has left; the reset is on its way */
		return NGHTTP2_ERR_DEFERRED;
	return client_call_on_read(call, out, room, flags);
}

/* ---- streams ---- */

static bool
has_room(const struct client_conn *conn)
{
	return conn->streams <
	    nghttp2_session_get_remote_settings(
		conn->h2.session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
}

/* No new call goes to it. */
static void
retire(struct client_conn *conn)
{
	conn->retired = true;
	if (conn->client->shared == conn)
		conn->client->shared = NULL;
}

static void
open_stream(struct client_conn *conn, struct client_call *call)
{
	nghttp2_data_provider data = { .read_callback = on_body_read };
	nghttp2_nv nv[8 + METADATA_FIELDS_MAX];
	char timeout[GRPC_TIMEOUT_MAX];
	int64_t left_ms;
	size_t n = 0;
	int32_t id;

	/* In the order that grpc/grpc doc/PROTOCOL-HTTP2.md asks for. */
	nv[n++] = grpc_field(":method", "POST", GRPC_FIXED);
	nv[n++] = grpc_field(":scheme", "http", GRPC_FIXED);
	nv[n++] = grpc_field(":path", call->path, GRPC_NAME_FIXED);
	nv[n++] = grpc_field(":authority", "localhost", GRPC_FIXED);
	if (call->timeout_ms > 0) {
		left_ms = call->deadline.due_ms - clock_now_ms();
		grpc_timeout_fmt(timeout, left_ms > 0 ? left_ms : 1);
		nv[n++] = grpc_field("grpc-timeout", timeout, GRPC_DIVERSE);
	}
	nv[n++] = grpc_field("te", "trailers", GRPC_FIXED);
	nv[n++] = grpc_field("content-type", "application/grpc", GRPC_FIXED);
	nv[n++] = grpc_field(
	    "user-agent", "grpc-c-rbd-csi/" PACKAGE_VERSION, GRPC_FIXED);
	n += metadata_fields(&call->headers, nv + n);
	id = nghttp2_submit_request(conn->h2.session, NULL, nv, n, &data, call);
	TAILQ_INSERT_TAIL(&conn->calls, call, link);
	call->state = CLIENT_CALL_OPEN;
	call->stream_id = id;
	if (id > 0) {
		conn->streams++;
	} else { /* it can be sent elsewhere */
		call->closed = true;
		call->reset_code = NGHTTP2_REFUSED_STREAM;
		client_conn_touch(call);
	}
	h2io_flush_soon(&conn->h2);
	if (id < 0 || id >= LAST_STREAM)
		retire(conn);
}

void
client_conn_join(struct client_conn *conn, struct client_call *call)
{
	call->conn = conn;
	if (!conn->retired && conn->client->connect_per_call) {
		conn->retired = true; /* this one is all it was made for */
		open_stream(conn, call);
		h2io_flush_now(&conn->h2);
	} else if (TAILQ_EMPTY(&conn->waiting) && has_room(conn)) {
		open_stream(conn, call);
	} else {
		TAILQ_INSERT_TAIL(&conn->waiting, call, link);
		call->state = CLIENT_CALL_QUEUED;
	}
}

void
client_conn_leave(struct client_call *call, uint32_t reset_code)
{
	struct client_conn *conn = call->conn;

	if (conn == NULL)
		return;
	call->conn = NULL;
	if (call->touched)
		STAILQ_REMOVE(&conn->touched, call, client_call, touch_link);
	call->touched = false;
	if (call->state == CLIENT_CALL_QUEUED)
		TAILQ_REMOVE(&conn->waiting, call, link);
	else
		TAILQ_REMOVE(&conn->calls, call, link);
	if (conn->h2.session == NULL)
		return;
	if (call->state == CLIENT_CALL_OPEN && !call->closed) {
		(void)nghttp2_session_set_stream_user_data(
		    conn->h2.session, call->stream_id, NULL);
		(void)nghttp2_submit_rst_stream(conn->h2.session,
		    NGHTTP2_FLAG_NONE, call->stream_id, reset_code);
		h2io_flush_soon(&conn->h2);
	}
	/* A connection that nobody will use any more says good-bye. */
	if (conn->retired && TAILQ_EMPTY(&conn->calls) &&
	    TAILQ_EMPTY(&conn->waiting)) {
		(void)nghttp2_session_terminate_session(
		    conn->h2.session, NGHTTP2_NO_ERROR);
		h2io_flush_soon(&conn->h2);
	}
}

void
client_conn_touch(struct client_call *call)
{
	if (call->conn == NULL || call->touched)
		return;
	call->touched = true;
	STAILQ_INSERT_TAIL(&call->conn->touched, call, touch_link);
}

void
client_conn_resume(struct client_call *call)
{
	if (!call->deferred || call->conn == NULL || call->closed)
		return;
	call->deferred = false;
	(void)nghttp2_session_resume_data(
	    call->conn->h2.session, call->stream_id);
	h2io_flush_soon(&call->conn->h2);
}

void
client_conn_consume(struct client_call *call, size_t len)
{
	struct client_conn *conn = call->conn;

	if (conn == NULL || call->closed || len == 0)
		return;
	(void)nghttp2_session_consume_stream(
	    conn->h2.session, call->stream_id, len);
	if (nghttp2_session_want_write(conn->h2.session))
		h2io_flush_soon(&conn->h2);
}

/* ---- connections ---- */

static void
conn_settle(struct h2io *h2)
{
	struct client_conn *conn = container_of(h2, struct client_conn, h2);
	struct client_call *call;

	if (conn->going)
		retire(conn);
	conn->going = false;
	while ((call = STAILQ_FIRST(&conn->touched)) != NULL) {
		STAILQ_REMOVE_HEAD(&conn->touched, touch_link);
		call->touched = false;
		client_call_settle(call);
	}
	while ((call = TAILQ_FIRST(&conn->waiting)) != NULL && has_room(conn) &&
	    !conn->retired) {
		TAILQ_REMOVE(&conn->waiting, call, link);
		open_stream(conn, call);
	}
	while (conn->retired && (call = TAILQ_FIRST(&conn->waiting)) != NULL)
		client_call_lost(
		    call, ERR_UNAVAILABLE, "no server takes the call");
}

static void
conn_ended(struct h2io *h2, const char *why)
{
	struct client_conn *conn = container_of(h2, struct client_conn, h2);
	enum err_code code = ERR_UNAVAILABLE;
	struct client_call *call;
	char text[256];

	retire(conn);
	/* What never spoke HTTP/2 may be another program, and end. */
	if (conn->fault != NGHTTP2_NO_ERROR && conn->greeted)
		code = client_head_code_of_reset(conn->fault);
	if (conn->goaway != NGHTTP2_NO_ERROR)
		why = nghttp2_http2_strerror(conn->goaway);
	else if (conn->fault != NGHTTP2_NO_ERROR)
		why = "the server breaks HTTP/2's rules";
	(void)snprintf(text, sizeof(text), "connection to %s lost%s%s",
	    conn->client->address.sun_path, why != NULL ? ": " : "",
	    why != NULL ? why : "");
	while ((call = TAILQ_FIRST(&conn->calls)) != NULL)
		client_call_lost(call, code, text);
	while ((call = TAILQ_FIRST(&conn->waiting)) != NULL)
		client_call_lost(call, code, text);
	LIST_REMOVE(conn, link);
	free(conn);
}

/*
 * The session is made before the socket is connected: so the first request is
 * mostly there when the server accepts, and is answered in one piece.
 */
int
client_conn_get(struct client *client, struct client_conn **conn)
{
	static const struct h2io_ops ops = {
		.settle = conn_settle,
		.ended = conn_ended,
	};
	static const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
	};
	nghttp2_session *session;
	struct client_conn *made;
	auto_close int fd = -1;
	int rc;

	*conn = client->shared;
	if (*conn != NULL)
		return 0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	made = mem_new(sizeof(*made));
	made->client = client;
	TAILQ_INIT(&made->calls);
	TAILQ_INIT(&made->waiting);
	STAILQ_INIT(&made->touched);
	if (nghttp2_session_client_new2(
		&session, client->callbacks, made, client->option) < 0 ||
	    nghttp2_submit_settings(
		session, NGHTTP2_FLAG_NONE, settings, countof(settings)) < 0)
		abort(); /* out of memory */
	if (connect(fd, (const struct sockaddr *)&client->address,
		sizeof(client->address)) < 0) {
		rc = -errno;
		nghttp2_session_del(session);
		free(made);
		return rc;
	}
	LIST_INSERT_HEAD(&client->conns, made, link);
	if (h2io_init(&made->h2, session, take_fd(&fd), &ops) < 0)
		abort(); /* out of memory */
	if (!client->connect_per_call)
		client->shared = made;
	*conn = made;
	return 0;
}

/* ---- the client ---- */

struct client *
client_new(const char *endpoint)
{
	struct client *client = mem_new(sizeof(*client));
	nghttp2_session_callbacks *cb;

	client->endpoint_rc = endpoint_parse(
	    endpoint, &client->address, &client->endpoint_err);
	client->reply_bytes = REPLY_BYTES;
	LIST_INIT(&client->conns);
	if (nghttp2_session_callbacks_new(&cb) < 0 ||
	    nghttp2_option_new(&client->option) < 0)
		abort(); /* out of memory */
	nghttp2_session_callbacks_set_on_header_callback(cb, on_answer_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
	    cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(
	    cb, on_invalid_frame);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, on_frame_send);
	nghttp2_session_callbacks_set_on_stream_close_callback(
	    cb, on_stream_close);
	client->callbacks = cb;
	/* A stream's window opens as its messages are read. */
	nghttp2_option_set_no_auto_window_update(client->option, 1);
	return client;
}

void
client_connect_per_call(struct client *client)
{
	client->connect_per_call = true;
	client->shared = NULL;
}

void
client_free(struct client *client)
{
	struct client_conn *conn;

	while ((conn = LIST_FIRST(&client->conns)) != NULL) {
		assert(
		    TAILQ_EMPTY(&conn->calls) && TAILQ_EMPTY(&conn->waiting));
		h2io_end(&conn->h2, NULL);
	}
	nghttp2_session_callbacks_del(client->callbacks);
	nghttp2_option_del(client->option);
	free(client);
}
