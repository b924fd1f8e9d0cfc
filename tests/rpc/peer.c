/*
 * peer.c - an nghttp2 client for tests.
 */
#include "tests/rpc/peer.h"

#include "core/loop.h"
#include "rpc/grpc.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define BODY_MAX ((size_t)64 << 20)
#define IDLE_TURNS 4 /* turns of the loop without a byte: at rest */

static void
keep(char *to, size_t size, const uint8_t *value, size_t len)
{
	(void)snprintf(to, size, "%.*s", (int)len, (const char *)value);
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *arg)
{
	struct exchange *x = nghttp2_session_get_stream_user_data(
	    session, frame->hd.stream_id);
	char field[64];

	(void)flags;
	(void)arg;
	keep(field, sizeof(field), name, name_len);
	if (x == NULL)
		return 0;
	if (str_eq(field, ":status"))
		keep(x->status, sizeof(x->status), value, value_len);
	else if (str_eq(field, "content-type"))
		keep(
		    x->content_type, sizeof(x->content_type), value, value_len);
	else if (str_eq(field, "grpc-accept-encoding"))
		keep(x->accept_encoding, sizeof(x->accept_encoding), value,
		    value_len);
	else if (str_eq(field, "grpc-message"))
		keep(x->text, sizeof(x->text), value, value_len);
	else if (str_eq(field, "grpc-status"))
		x->code = atoi((const char *)value);
	return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id,
    const uint8_t *bytes, size_t len, void *arg)
{
	struct exchange *x = nghttp2_session_get_stream_user_data(session, id);

	(void)flags;
	(void)arg;
	if (x != NULL && buf_append(&x->reply, bytes, len) < 0)
		abort();
	return 0;
}

static int
on_stream_close(
    nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
	struct exchange *x = nghttp2_session_get_stream_user_data(session, id);

	(void)arg;
	if (x != NULL) {
		x->closed = true;
		x->reset = error_code;
	}
	return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2peer *peer = arg;

	if (frame->hd.type == NGHTTP2_GOAWAY) {
		peer->goaway_count++;
		peer->goaway_last_id = frame->goaway.last_stream_id;
		peer->goaway_code = frame->goaway.error_code;
	}
	if (frame->hd.type == NGHTTP2_SETTINGS)
		peer->max_streams = nghttp2_session_get_remote_settings(
		    session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	return 0;
}

static void
peer_init(struct h2peer *peer, int fd)
{
	nghttp2_session_callbacks *cb;

	*peer = (struct h2peer){ .session = NULL };
	wire_begin(&peer->wire, fd);
	LIST_INIT(&peer->exchanges);
	if (nghttp2_session_callbacks_new(&cb) < 0)
		abort();
	nghttp2_session_callbacks_set_on_header_callback(cb, on_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
	    cb, on_data_chunk);
	nghttp2_session_callbacks_set_on_stream_close_callback(
	    cb, on_stream_close);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, on_frame_recv);
	if (nghttp2_session_client_new(&peer->session, cb, peer) < 0 ||
	    nghttp2_submit_settings(peer->session, 0, NULL, 0) < 0)
		abort();
	nghttp2_session_callbacks_del(cb);
}

void
peer_open(struct h2peer *peer, struct server *server)
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		fds) < 0)
		abort();
	peer_init(peer, fds[0]);
	server_serve(server, fds[1]);
}

int
peer_connect(struct h2peer *peer, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 ||
	    str_put(address.sun_path, sizeof(address.sun_path), "%s", path) < 0)
		abort();
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		int rc = -errno;

		(void)close(fd);
		return rc;
	}
	peer_init(peer, fd);
	return 0;
}

void
peer_close(struct h2peer *peer)
{
	struct exchange *x;

	wire_fini(&peer->wire);
	nghttp2_session_del(peer->session);
	while ((x = LIST_FIRST(&peer->exchanges)) != NULL) {
		LIST_REMOVE(x, link);
		buf_fini(&x->body);
		buf_fini(&x->reply);
		free(x);
	}
}

static ssize_t
on_body_read(nghttp2_session *session, int32_t id, uint8_t *out, size_t room,
    uint32_t *flags, nghttp2_data_source *source, void *arg)
{
	struct exchange *x = source->ptr;
	size_t n = x->body.len - x->body_at;

	(void)session;
	(void)id;
	(void)arg;
	if (n == 0 && x->stay_open)
		return NGHTTP2_ERR_DEFERRED;
	if (n > room)
		n = room;
	if (x->piece > 0 && n > x->piece)
		n = x->piece;
	if (n > 0)
		memcpy(out, x->body.data + x->body_at, n);
	x->body_at += n;
	if (x->body_at == x->body.len && !x->stay_open)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

struct exchange *
peer_send(struct h2peer *peer, const struct field *fields, size_t count,
    const void *body, size_t len)
{
	struct exchange *x = mem_new(sizeof(*x));
	nghttp2_data_provider data = {
		.source.ptr = x,
		.read_callback = on_body_read,
	};
	nghttp2_nv nv[FIELDS_MAX];

	/* NO_COPY keeps capitals, which nghttp2 would make small. */
	for (size_t i = 0; i < count; i++)
		nv[i] = (nghttp2_nv){
			.name = (uint8_t *)(uintptr_t)fields[i].name,
			.namelen = strlen(fields[i].name),
			.value = (uint8_t *)(uintptr_t)fields[i].value,
			.valuelen = strlen(fields[i].value),
			.flags = NGHTTP2_NV_FLAG_NO_COPY_NAME,
		};
	x->code = -1;
	buf_init(&x->body, BODY_MAX);
	buf_init(&x->reply, BODY_MAX);
	if (buf_append(&x->body, body, len) < 0)
		abort();
	LIST_INSERT_HEAD(&peer->exchanges, x, link);
	x->id = nghttp2_submit_request(
	    peer->session, NULL, nv, count, &data, x);
	if (x->id < 0)
		abort();
	return x;
}

struct exchange *
peer_call(struct h2peer *peer, const char *path, const void *message,
    size_t len, const char *timeout)
{
	const struct field fields[] = {
		{ ":method", "POST" },
		{ ":scheme", "http" },
		{ ":path", path },
		{ ":authority", "localhost" },
		{ "content-type", "application/grpc" },
		{ "te", "trailers" },
		{ "grpc-timeout", timeout },
	};
	auto_free unsigned char *body = mem_new(GRPC_PREFIX_BYTES + len);

	grpc_prefix_put(body, (uint32_t)len);
	if (len > 0)
		memcpy(body + GRPC_PREFIX_BYTES, message, len);
	return peer_send(peer, fields,
	    countof(fields) - (timeout == NULL ? 1 : 0), body,
	    GRPC_PREFIX_BYTES + len);
}

void
peer_more(struct h2peer *peer, struct exchange *x, const void *body, size_t len)
{
	if (buf_append(&x->body, body, len) < 0)
		abort();
	(void)nghttp2_session_resume_data(peer->session, x->id);
}

void
peer_finish(struct h2peer *peer, struct exchange *x)
{
	x->stay_open = false;
	(void)nghttp2_session_resume_data(peer->session, x->id);
}

void
peer_cancel(struct h2peer *peer, struct exchange *x)
{
	(void)nghttp2_submit_rst_stream(
	    peer->session, 0, x->id, NGHTTP2_CANCEL);
}

static bool
send_some(struct h2peer *peer)
{
	const uint8_t *bytes;
	bool moved = false;
	ssize_t n;

	while ((n = nghttp2_session_mem_send(peer->session, &bytes)) > 0) {
		wire_put(&peer->wire, bytes, (size_t)n);
		moved = true;
	}
	return moved;
}

static bool
read_some(struct h2peer *peer)
{
	struct buf *in = &peer->wire.in;

	(void)wire_read(&peer->wire);
	if (in->len == 0)
		return false;
	(void)nghttp2_session_mem_recv(peer->session, in->data, in->len);
	buf_clear(in);
	return true;
}

void
peer_open_windows(struct h2peer *peer)
{
	const nghttp2_settings_entry all = {
		NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE,
		NGHTTP2_MAX_WINDOW_SIZE,
	};

	if (nghttp2_submit_settings(peer->session, 0, &all, 1) < 0 ||
	    nghttp2_session_set_local_window_size(
		peer->session, 0, 0, NGHTTP2_MAX_WINDOW_SIZE) < 0)
		abort();
	peer_run(peer);
}

void
peer_run_deaf(struct h2peer *peer)
{
	for (int i = 0; i < IDLE_TURNS; i++) {
		(void)send_some(peer);
		loop_turn(false);
	}
}

void
peer_run(struct h2peer *peer)
{
	for (int idle = 0; idle < IDLE_TURNS; idle++) {
		bool moved = false;

		if (!peer->wire.eof)
			moved |= send_some(peer);
		loop_turn(false);
		if (!peer->wire.eof)
			moved |= read_some(peer);
		if (moved)
			idle = 0;
	}
}

static struct wake drain_wake;
static bool *drain_flag;

static void
on_drained(struct wake *wake, int rc)
{
	(void)wake;
	*drain_flag = rc == 0;
}

void
drain_server(struct server *server, bool *drained)
{
	loop_unpost(&drain_wake.job); /* of a server that was freed */
	drain_wake.fn = on_drained;
	drain_flag = drained;
	*drained = false;
	server_drain_start(server, &drain_wake);
}

long
exchange_message(const struct exchange *x, const unsigned char **bytes)
{
	struct grpc_reader reader;
	const unsigned char *at = x->reply.data;
	size_t left = x->reply.len;
	long len = -1;

	grpc_reader_init(&reader, BODY_MAX);
	if (grpc_reader_feed(&reader, &at, &left) == GRPC_READ_MESSAGE &&
	    left == 0) {
		len = (long)reader.message.len;
		*bytes = x->reply.data + GRPC_PREFIX_BYTES;
	}
	buf_fini(&reader.message);
	return len;
}
