/*
 * client.c - the client side, on the same connection pump (h2io) and framing
 * (grpc) as the server.
 *
 * A call runs from client_call_start() to finish(), which is the only place
 * that wakes its waiter. nghttp2's callbacks note what comes; a stream that
 * nghttp2 has closed is judged in conn_settle().
 */
#include "rpc/client.h"

#include "base/clock.h"
#include "rpc/h2io.h"
#include "rpc/listen.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define REPLY_MAX ((size_t)64 << 20)
#define BODY_MAX ((size_t)64 << 20)
#define TEXT_MAX ((size_t)8 << 10)
#define RETRY_MS 5    /* when the listen queue is full */
#define REFUSED_MAX 3 /* then a call that is refused again fails */

struct client {
	struct sockaddr_un address;
	int endpoint_rc;         /* of parsing the address ... */
	struct err endpoint_err; /* ... told by each call */
	bool connect_per_call;
	struct client_conn *shared; /* where new calls go, or NULL */
	LIST_HEAD(, client_conn) conns;
	nghttp2_session_callbacks *callbacks;
};

struct client_conn {
	struct h2io h2;
	struct client *client;
	bool going; /* a GOAWAY has come just now */
	LIST_HEAD(, client_call) calls;
	STAILQ_HEAD(, client_call) closed;
	LIST_ENTRY(client_conn)
	link;
};

static void try_submit(struct client_call *call);

/* ---- the end of a call ---- */

static void
leave_conn(struct client_call *call)
{
	struct client_conn *conn = call->conn;

	if (conn == NULL)
		return;
	call->conn = NULL;
	LIST_REMOVE(call, link);
	if (call->closed) {
		STAILQ_REMOVE(&conn->closed, call, client_call, closed_link);
	} else if (conn->h2.session != NULL) {
		(void)nghttp2_session_set_stream_user_data(
		    conn->h2.session, call->stream_id, NULL);
		(void)nghttp2_submit_rst_stream(conn->h2.session,
		    NGHTTP2_FLAG_NONE, call->stream_id, NGHTTP2_CANCEL);
		h2io_flush_soon(&conn->h2);
	}
	if (conn->client->connect_per_call && conn->h2.session != NULL) {
		(void)nghttp2_session_terminate_session(
		    conn->h2.session, NGHTTP2_NO_ERROR);
		h2io_flush_soon(&conn->h2);
	}
}

/* `text` may be call->text. */
static void
finish(struct client_call *call, enum err_code code, const char *text)
{
	struct op *waiter = call->waiter;

	leave_conn(call);
	timer_stop(&call->deadline);
	timer_stop(&call->retry);
	call->code = code;
	if (text != call->text) {
		free(call->text);
		call->text = str_dup(text);
	}
	if (code == ERR_OK) {
		call->reply = call->reader.message;
		buf_init(&call->reader.message, 0);
	}
	call->waiter = NULL;
	op_wake(waiter, code == ERR_OK ? 0 : err_rc_of(code));
}

static enum err_code
code_of_reset(uint32_t reset_code)
{
	switch (reset_code) {
	case NGHTTP2_REFUSED_STREAM:
		return ERR_UNAVAILABLE;
	case NGHTTP2_CANCEL:
		return ERR_CANCELLED;
	case NGHTTP2_ENHANCE_YOUR_CALM:
		return ERR_RESOURCE_EXHAUSTED;
	default:
		return ERR_INTERNAL;
	}
}

/*
 * The server has not looked at the call, for instance because it is about to
 * leave: it is safe to try again, maybe with its successor (gRFC A6).
 */
static void
try_again(struct client_call *call)
{
	leave_conn(call);
	call->refused++;
	call->closed = false;
	call->body_at = 0;
	try_submit(call);
}

/* The stream is closed: what was the answer? */
static void
judge(struct client_call *call)
{
	char text[80];

	if (call->fault == GRPC_READ_TOO_LARGE) {
		finish(call, ERR_RESOURCE_EXHAUSTED, "answer is too large");
	} else if (call->fault != GRPC_READ_MORE) {
		finish(call, ERR_INTERNAL, "answer is compressed or garbled");
	} else if (call->has_status) {
		if (call->code == ERR_OK && !call->has_message)
			finish(call, ERR_UNIMPLEMENTED,
			    "no message in the answer");
		else
			finish(call, call->code, call->text);
	} else if (call->reset_code == NGHTTP2_REFUSED_STREAM &&
	    call->refused < REFUSED_MAX) {
		try_again(call);
	} else {
		(void)snprintf(text, sizeof(text),
		    "stream ended without a status: %s",
		    nghttp2_http2_strerror(call->reset_code));
		finish(call, code_of_reset(call->reset_code), text);
	}
}

/* ---- nghttp2's callbacks: they note ---- */

static void
note_status(struct client_call *call, const char *value, size_t len)
{
	unsigned n = 0;

	for (size_t i = 0; i < len && i < 3; i++)
		n = n * 10 + (unsigned)(value[i] - '0');
	call->has_status = true;
	call->code = n <= ERR_UNAUTHENTICATED ? (enum err_code)n : ERR_UNKNOWN;
}

static void
note_text(struct client_call *call, const char *value, size_t len)
{
	if (len > TEXT_MAX)
		len = TEXT_MAX;
	free(call->text);
	call->text = mem_new(len + 1);
	(void)grpc_percent_decode(call->text, value, len);
}

static bool
is(const uint8_t *name, size_t len, const char *word)
{
	return len == strlen(word) && memcmp(name, word, len) == 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *arg)
{
	struct client_call *call = nghttp2_session_get_stream_user_data(
	    session, frame->hd.stream_id);

	(void)flags;
	(void)arg;
	if (call == NULL)
		return 0;
	if (is(name, name_len, "grpc-status"))
		note_status(call, (const char *)value, value_len);
	else if (is(name, name_len, "grpc-message"))
		note_text(call, (const char *)value, value_len);
	return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id,
    const uint8_t *bytes, size_t len, void *arg)
{
	struct client_call *call = nghttp2_session_get_stream_user_data(
	    session, id);
	enum grpc_read verdict;

	(void)flags;
	(void)arg;
	if (call == NULL || call->has_message || len == 0 ||
	    call->fault != GRPC_READ_MORE)
		return 0;
	verdict = grpc_reader_feed(&call->reader, &bytes, &len);
	call->has_message = verdict == GRPC_READ_MESSAGE;
	if (verdict != GRPC_READ_MESSAGE)
		call->fault = verdict;
	return 0;
}

static void
note_closed(
    struct client_conn *conn, struct client_call *call, uint32_t reset_code)
{
	call->closed = true;
	call->reset_code = reset_code;
	STAILQ_INSERT_TAIL(&conn->closed, call, closed_link);
}

static int
on_stream_close(
    nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
	struct client_call *call = nghttp2_session_get_stream_user_data(
	    session, id);

	if (call != NULL) {
		(void)nghttp2_session_set_stream_user_data(session, id, NULL);
		note_closed(arg, call, error_code);
	}
	return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct client_conn *conn = arg;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		conn->going = true;
	return 0;
}

/* ---- connections ---- */

/* Calls that still wait for a stream on a server that leaves. */
static void
take_unsent_elsewhere(struct client_conn *conn)
{
	struct client_call *call, *next;

	for (call = LIST_FIRST(&conn->calls); call != NULL; call = next) {
		next = LIST_NEXT(call, link);
		if (!call->closed &&
		    nghttp2_session_find_stream(
			conn->h2.session, call->stream_id) == NULL)
			try_again(call);
	}
}

static void
conn_settle(struct h2io *h2)
{
	struct client_conn *conn = container_of(h2, struct client_conn, h2);
	struct client_call *call;

	if (conn->going) {
		conn->going = false;
		if (conn->client->shared == conn)
			conn->client->shared = NULL;
		take_unsent_elsewhere(conn);
	}
	while ((call = STAILQ_FIRST(&conn->closed)) != NULL)
		judge(call);
}

static void
conn_ended(struct h2io *h2, const char *why)
{
	struct client_conn *conn = container_of(h2, struct client_conn, h2);
	struct client_call *call;
	char text[256];

	if (conn->client->shared == conn)
		conn->client->shared = NULL;
	(void)snprintf(text, sizeof(text), "connection to %s lost%s%s",
	    conn->client->address.sun_path, why != NULL ? ": " : "",
	    why != NULL ? why : "");
	while ((call = LIST_FIRST(&conn->calls)) != NULL)
		finish(call, ERR_UNAVAILABLE, text);
	LIST_REMOVE(conn, link);
	free(conn);
}

static const struct h2io_ops conn_ops = {
	.settle = conn_settle,
	.ended = conn_ended,
};

static struct client_conn *
conn_new(struct client *client, int fd)
{
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 },
	};
	struct client_conn *conn = mem_new(sizeof(*conn));
	nghttp2_session *session;

	if (nghttp2_session_client_new(&session, client->callbacks, conn) < 0 ||
	    nghttp2_submit_settings(
		session, NGHTTP2_FLAG_NONE, settings, countof(settings)) < 0)
		abort(); /* out of memory */
	conn->client = client;
	LIST_INIT(&conn->calls);
	STAILQ_INIT(&conn->closed);
	LIST_INSERT_HEAD(&client->conns, conn, link);
	h2io_init(&conn->h2, session, fd, &conn_ops);
	return conn;
}

/* A connection for a new call, or a negative errno; -EAGAIN: try later. */
static int
conn_get(struct client *client, struct client_conn **conn)
{
	auto_close int fd = -1;

	*conn = client->shared;
	if (*conn != NULL)
		return 0;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0 ||
	    connect(fd, (const struct sockaddr *)&client->address,
		sizeof(client->address)) < 0)
		return -errno;
	*conn = conn_new(client, take_fd(&fd));
	if (!client->connect_per_call)
		client->shared = *conn;
	return 0;
}

/* ---- calls ---- */

static ssize_t
on_body_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room,
    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct client_call *call = nghttp2_session_get_stream_user_data(
	    session, id);
	size_t n;

	(void)source;
	(void)arg;
	if (call == NULL)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = call->body.len - call->body_at;
	if (n > room)
		n = room;
	memcpy(out, call->body.data + call->body_at, n);
	call->body_at += n;
	if (call->body_at == call->body.len)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static nghttp2_nv
field(const char *name, const char *value)
{
	return (nghttp2_nv){
		.name = (uint8_t *)(uintptr_t)name,
		.namelen = strlen(name),
		.value = (uint8_t *)(uintptr_t)value,
		.valuelen = strlen(value),
	};
}

static void
submit(struct client_call *call, struct client_conn *conn)
{
	nghttp2_data_provider data = { .read_callback = on_body_read };
	char timeout[GRPC_TIMEOUT_MAX];
	nghttp2_nv nv[] = {
		field(":method", "POST"),
		field(":scheme", "http"),
		field(":path", call->path),
		field(":authority", "localhost"),
		field("content-type", "application/grpc"),
		field("te", "trailers"),
		field("grpc-timeout", ""),
	};
	size_t n = countof(nv) - 1;
	int64_t left_ms = call->deadline.due_ms - clock_now_ms();

	if (call->timeout_ms > 0) {
		grpc_timeout_fmt(timeout, left_ms > 0 ? left_ms : 1);
		nv[n++] = field("grpc-timeout", timeout);
	}
	call->stream_id = nghttp2_submit_request(
	    conn->h2.session, NULL, nv, n, &data, call);
	if (call->stream_id < 0) {
		finish(
		    call, ERR_UNAVAILABLE, nghttp2_strerror(call->stream_id));
		return;
	}
	call->conn = conn;
	call->connected = true;
	LIST_INSERT_HEAD(&conn->calls, call, link);
	h2io_flush_soon(&conn->h2);
}

static void
try_submit(struct client_call *call)
{
	struct client_conn *conn;
	struct err err = ERR_INIT;
	int rc = conn_get(call->client, &conn);

	if (rc == 0) {
		submit(call, conn);
	} else if (rc == -EAGAIN) {
		timer_start(&call->retry, RETRY_MS);
	} else {
		(void)err_set_rc(
		    &err, rc, "connect %s", call->client->address.sun_path);
		finish(call, ERR_UNAVAILABLE, err.text);
	}
}

static void
on_retry(struct timer *timer)
{
	try_submit(container_of(timer, struct client_call, retry));
}

static void
on_deadline(struct timer *timer)
{
	finish(container_of(timer, struct client_call, deadline),
	    ERR_DEADLINE_EXCEEDED, "no answer in time");
}

void
client_call_init(struct client_call *call, struct client *client)
{
	*call = (struct client_call){ .client = client };
	call->deadline.fire = on_deadline;
	call->retry.fire = on_retry;
	buf_init(&call->reply, REPLY_MAX);
	buf_init(&call->body, BODY_MAX);
	grpc_reader_init(&call->reader, REPLY_MAX);
}

void
client_call_fini(struct client_call *call)
{
	assert(call->waiter == NULL);
	free(call->text);
	free(call->path);
	buf_fini(&call->reply);
	buf_fini(&call->body);
	grpc_reader_fini(&call->reader);
}

void
client_call_start(struct client_call *call, const char *path, const void *body,
    size_t len, int64_t timeout_ms, struct op *waiter)
{
	unsigned char prefix[GRPC_PREFIX_BYTES];

	call->waiter = waiter;
	call->path = str_dup(path);
	call->timeout_ms = timeout_ms;
	if (call->client->endpoint_rc < 0) {
		finish(call, call->client->endpoint_err.code,
		    call->client->endpoint_err.text);
		return;
	}
	grpc_prefix_put(prefix, (uint32_t)len);
	if (len > BODY_MAX - sizeof(prefix) ||
	    buf_append(&call->body, prefix, sizeof(prefix)) < 0 ||
	    buf_append(&call->body, body, len) < 0) {
		finish(call, ERR_RESOURCE_EXHAUSTED, "request is too large");
		return;
	}
	if (timeout_ms > 0)
		timer_start(&call->deadline, timeout_ms);
	try_submit(call);
}

/* ---- clients ---- */

struct client *
client_new(const char *endpoint)
{
	struct client *client = mem_new(sizeof(*client));
	nghttp2_session_callbacks *cb;

	client->endpoint_rc = listen_parse(
	    endpoint, &client->address, &client->endpoint_err);
	LIST_INIT(&client->conns);
	if (nghttp2_session_callbacks_new(&cb) < 0)
		abort(); /* out of memory */
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
	    cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(
	    cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	client->callbacks = cb;
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
		assert(LIST_EMPTY(&conn->calls));
		h2io_end(&conn->h2, NULL);
	}
	nghttp2_session_callbacks_del(client->callbacks);
	free(client);
}
