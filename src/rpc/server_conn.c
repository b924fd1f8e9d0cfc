/*
 * server_conn.c - a client's connection: what nghttp2 tells of it, what the
 * peer may waste and may not do, and its end.
 */
#include "base/clock.h"
#include "base/log.h"
#include "rpc/server_impl.h"

#include <string.h>
#include <sys/socket.h>

#define NO_RFC7540_PRIORITIES 9 /* RFC 9218 2.1 */

/*
 * A peer may send so many frames at once that carry no work, and so many a
 * second in the long run. What is sent to it in answer to its calls adds to
 * that: grpc-go measures the bandwidth by pings and opens windows by the
 * bytes that it reads, and is never to be counted for it (gRFC A8).
 */
#define BUDGET_FULL 1000
#define BUDGET_PER_S 100
#define BUDGET_EARNED 2 /* by a frame that carries an answer */

/* The ping behind GOAWAY, step one. */
static const uint8_t drain_ping[8] = { 'd', 'r', 'a', 'i', 'n' };

/* ---- blame ---- */

/*
 * Counts and logs why a connection has to end, and who is at its other end;
 * the first reason only.
 */
static void
conn_blame(struct server_conn *conn, enum server_fault fault, uint32_t error)
{
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);

	if (conn->blamed)
		return;
	conn->blamed = true;
	conn->server->counters.faults[fault]++;
	(void)getsockopt(conn->h2.io.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	log_warn("rpc.peer_fault",
	    "reason=%s error=%s pid=%ld uid=%ld bytes_in=%llu bytes_out=%llu",
	    server_fault_name[fault], nghttp2_http2_strerror(error),
	    (long)peer.pid, (long)peer.uid,
	    (unsigned long long)conn->h2.bytes_in,
	    (unsigned long long)conn->h2.bytes_out);
}

void
server_conn_end(
    struct server_conn *conn, enum server_fault fault, uint32_t error)
{
	conn_blame(conn, fault, error);
	(void)nghttp2_session_terminate_session(conn->h2.session, error);
	h2io_end_told(&conn->h2, server_fault_name[fault]);
}

/* The peer has wasted more than it may: the connection has to end. */
static bool
is_broke(struct server_conn *conn)
{
	int64_t now_ms, earned;

	if (conn->budget >= 0)
		return false;
	now_ms = clock_now_ms();
	earned = (now_ms - conn->budget_ms) * BUDGET_PER_S / 1000;
	if (earned > BUDGET_FULL)
		earned = BUDGET_FULL;
	if (conn->budget + (int)earned < 0)
		return true;
	conn->budget += (int)earned;
	conn->budget_ms = now_ms;
	return false;
}

/*
 * What a client must not do, or NO_ERROR: go on with a stream that it has
 * ended or reset, or open one below those that it has opened; nghttp2, which
 * keeps no closed streams here, lets both pass. What we have reset may still
 * be under way. Source: RFC 9113 5.1 and 6.3.
 */
static uint32_t
violation_of(struct server_conn *conn, const nghttp2_frame_hd *hd, bool is_open)
{
	if (hd->type == NGHTTP2_PRIORITY && hd->stream_id == 0)
		return NGHTTP2_PROTOCOL_ERROR;
	if ((hd->type != NGHTTP2_HEADERS && hd->type != NGHTTP2_DATA) ||
	    (hd->stream_id & 1) == 0 || hd->stream_id <= conn->reset_id ||
	    is_open || conn->closing)
		return NGHTTP2_NO_ERROR;
	if (hd->stream_id <= conn->opened_id)
		return NGHTTP2_STREAM_CLOSED;
	if (hd->type == NGHTTP2_HEADERS)
		conn->opened_id = hd->stream_id;
	return NGHTTP2_NO_ERROR;
}

static int
conn_frame(struct h2io *h2, const nghttp2_frame_hd *hd)
{
	struct server_conn *conn = container_of(h2, struct server_conn, h2);
	bool is_open = hd->stream_id != 0 &&
	    nghttp2_session_find_stream(h2->session, hd->stream_id) != NULL;
	bool works;

	if (!nghttp2_session_want_read(h2->session))
		return 0; /* nghttp2 has given up already, and says why */
	conn->violation = violation_of(conn, hd, is_open);
	if (conn->violation != NGHTTP2_NO_ERROR)
		return NGHTTP2_ERR_PROTO;
	/*
	 * Requests carry work, and pieces of them: not when they are empty,
	 * padded, or shorter than any that a client makes.
	 */
	works = hd->type == NGHTTP2_HEADERS ||
	    (hd->type == NGHTTP2_DATA && is_open &&
		((hd->flags & NGHTTP2_FLAG_END_STREAM) != 0 ||
		    (hd->length >= GRPC_PREFIX_BYTES &&
			(hd->flags & NGHTTP2_FLAG_PADDED) == 0)));
	if (!works || (!is_open && hd->stream_id <= conn->reset_id))
		conn->budget--;
	return is_broke(conn) ? NGHTTP2_ERR_FLOODED : 0;
}

static void
conn_refused(struct h2io *h2, int error)
{
	struct server_conn *conn = container_of(h2, struct server_conn, h2);
	enum server_fault fault = SERVER_FAULT_FLOOD;
	uint32_t code = NGHTTP2_ENHANCE_YOUR_CALM;

	switch (error) {
	case NGHTTP2_ERR_FLOODED:
	case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS:
		break;
	case NGHTTP2_ERR_NOMEM:
		fault = SERVER_FAULT_MEMORY;
		code = NGHTTP2_INTERNAL_ERROR;
		break;
	case NGHTTP2_ERR_PROTO: /* conn_frame() */
		fault = SERVER_FAULT_PROTOCOL;
		code = conn->violation;
		break;
	default: /* no HTTP/2 at all */
		fault = SERVER_FAULT_PROTOCOL;
		code = NGHTTP2_PROTOCOL_ERROR;
	}
	conn_blame(conn, fault, code);
	(void)nghttp2_session_terminate_session(h2->session, code);
}

/* ---- nghttp2's callbacks: they note, and do nothing else ---- */

static struct server_stream *
stream_get(nghttp2_session *session, const nghttp2_frame *frame)
{
	return nghttp2_session_get_stream_user_data(
	    session, frame->hd.stream_id);
}

static int
on_begin_headers(
    nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct server_conn *conn = arg;
	int32_t id = frame->hd.stream_id;
	struct server_stream *s;

	if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
		s = server_stream_new(conn, id);
		if (s == NULL) {
			conn->server->counters.streams_refused++;
			(void)nghttp2_submit_rst_stream(session,
			    NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
			return 0;
		}
		conn->called = true;
		timeout_disarm(&conn->wait);
		(void)nghttp2_session_set_stream_user_data(session, id, s);
		return 0;
	}
	s = stream_get(session, frame);
	if (s != NULL)
		s->in_trailers = true;
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *arg)
{
	struct server_stream *s = stream_get(session, frame);

	(void)flags;
	(void)arg;
	if (s != NULL)
		server_stream_on_field(s, (const char *)name, name_len,
		    (const char *)value, value_len);
	return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct server_conn *conn = arg;
	bool ends = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
	struct server_stream *s;

	switch (frame->hd.type) {
	case NGHTTP2_PING:
		if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 &&
		    memcmp(frame->ping.opaque_data, drain_ping,
			sizeof(drain_ping)) == 0)
			conn->go_known = true;
		return 0;
	case NGHTTP2_SETTINGS:
		if (!conn->greeted)
			timeout_arm(&conn->wait, &conn->server->first_call);
		conn->greeted = true;
		return 0;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		break;
	default:
		return 0;
	}
	s = stream_get(session, frame);
	if (s != NULL && frame->hd.type == NGHTTP2_HEADERS)
		server_stream_on_headers(s, ends);
	if (s != NULL && ends)
		server_stream_on_input_end(s);
	return 0;
}

static int
on_data_chunk(nghttp2_session *session, uint8_t flags, int32_t id,
    const uint8_t *bytes, size_t len, void *arg)
{
	struct server_stream *s = nghttp2_session_get_stream_user_data(
	    session, id);

	(void)flags;
	(void)arg;
	/* The connection's window stays open: streams wait on their own. */
	(void)nghttp2_session_consume_connection(session, len);
	if (s != NULL)
		server_stream_on_data(s, bytes, len);
	return 0;
}

static int
on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct server_conn *conn = arg;
	struct server_stream *s;

	switch (frame->hd.type) {
	case NGHTTP2_GOAWAY:
		if (!conn->peer_went &&
		    frame->goaway.error_code != NGHTTP2_NO_ERROR)
			conn_blame(conn, SERVER_FAULT_PROTOCOL,
			    frame->goaway.error_code);
		return 0;
	case NGHTTP2_RST_STREAM:
		if (frame->hd.stream_id > conn->reset_id)
			conn->reset_id = frame->hd.stream_id;
		if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
			conn->budget--;
		return 0;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA: /* of an answer: honest work */
		if (conn->budget < BUDGET_FULL)
			conn->budget += BUDGET_EARNED;
		break;
	default:
		return 0;
	}
	if (frame->hd.type == NGHTTP2_HEADERS &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
	    (s = stream_get(session, frame)) != NULL) {
		s->output_ended = true;
		server_stream_touch(s);
	}
	return 0;
}

/*
 * What nghttp2 itself refuses: a stream too many, or a mistake.
 *
 * grpc-go says good-bye with the number of its own last stream where that of
 * ours belongs. kubelet does so after each call: no reason for a warning.
 */
static int
on_invalid_frame(
    nghttp2_session *session, const nghttp2_frame *frame, int error, void *arg)
{
	struct server_conn *conn = arg;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		conn->peer_went = true;
	/* nghttp2 resets the stream: frames for it may be under way. */
	if (frame->hd.stream_id > conn->reset_id)
		conn->reset_id = frame->hd.stream_id;
	if (error == NGHTTP2_ERR_REFUSED_STREAM)
		conn->server->counters.streams_refused++;
	else
		conn->budget -= SERVER_CONN_MISTAKE;
	return 0;
}

static int
on_stream_close(
    nghttp2_session *session, int32_t id, uint32_t error_code, void *arg)
{
	struct server_stream *s = nghttp2_session_get_stream_user_data(
	    session, id);

	(void)error_code;
	(void)arg;
	if (s != NULL) {
		(void)nghttp2_session_set_stream_user_data(session, id, NULL);
		s->state = STREAM_CLOSED;
		server_stream_touch(s);
	}
	return 0;
}

void
server_conn_callbacks(nghttp2_session_callbacks *cb)
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

/* ---- outside of nghttp2: acts on what was noted ---- */

static void
conn_settle(struct h2io *h2)
{
	struct server_conn *conn = container_of(h2, struct server_conn, h2);
	nghttp2_session *session = h2->session;
	struct server_stream *s;

	while ((s = STAILQ_FIRST(&conn->touched)) != NULL) {
		STAILQ_REMOVE_HEAD(&conn->touched, touch_link);
		server_stream_settle(s);
	}
	/* The two steps of an orderly end. */
	if (conn->to_go && !conn->told) {
		conn->told = true;
		(void)nghttp2_submit_shutdown_notice(session);
		(void)nghttp2_submit_ping(
		    session, NGHTTP2_FLAG_NONE, drain_ping);
	}
	if (conn->go_known && !conn->closing) {
		conn->closing = true;
		(void)nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
		    nghttp2_session_get_last_proc_stream_id(session),
		    NGHTTP2_NO_ERROR, NULL, 0);
	}
	if (is_broke(conn) && !conn->blamed)
		conn_refused(h2, NGHTTP2_ERR_FLOODED);
}

/* The turn is over: a peer that has left bytes unread is given a time. */
static void
conn_rested(struct h2io *h2)
{
	struct server_conn *conn = container_of(h2, struct server_conn, h2);

	if (h2->unsent.len == 0) {
		timeout_disarm(&conn->stuck);
	} else if (conn->stuck.list == NULL ||
	    conn->stuck_bytes != h2->bytes_out) {
		conn->stuck_bytes = h2->bytes_out;
		timeout_arm(&conn->stuck, &conn->server->stuck);
	}
}

static void
conn_ended(struct h2io *h2, const char *why)
{
	struct server_conn *conn = container_of(h2, struct server_conn, h2);
	struct server *server = conn->server;
	struct server_stream *s;

	if (why != NULL && !conn->blamed)
		log_debug("rpc.connection_lost", "reason=\"%s\"", why);
	/* The gone() of one call may answer others: by now all are lost. */
	LIST_FOREACH (s, &conn->streams, link)
		s->state = STREAM_CLOSED;
	while ((s = LIST_FIRST(&conn->streams)) != NULL)
		server_stream_free(s, CALL_DISCONNECTED);
	server->counters.bytes_in += h2->bytes_in;
	server->counters.bytes_out += h2->bytes_out;
	timeout_disarm(&conn->wait);
	timeout_disarm(&conn->stuck);
	LIST_REMOVE(conn, link);
	free(conn);
	server->counters.connections--;
	server_conn_left(server);
}

void
server_conn_tell_to_go(struct server_conn *conn)
{
	struct server_stream *s;

	conn->to_go = true;
	LIST_FOREACH (s, &conn->streams, link)
		server_stream_leave(s);
	h2io_flush_soon(&conn->h2);
}

void
server_serve(struct server *server, int fd)
{
	static const struct h2io_ops ops = {
		.settle = conn_settle,
		.frame = conn_frame,
		.refused = conn_refused,
		.rested = conn_rested,
		.ended = conn_ended,
	};
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
		    server->limits.streams },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		    (uint32_t)server->limits.header_bytes },
		{ NO_RFC7540_PRIORITIES, 1 },
	};
	struct server_conn *conn = calloc(1, sizeof(*conn));
	nghttp2_session *session = NULL;

	server->counters.connections_accepted++;
	if (conn == NULL ||
	    nghttp2_session_server_new2(
		&session, server->callbacks, conn, server->option) < 0 ||
	    nghttp2_submit_settings(
		session, NGHTTP2_FLAG_NONE, settings, countof(settings)) < 0 ||
	    h2io_init(&conn->h2, session, fd, &ops) < 0) {
		/* No memory: this connection is closed, the others go on. */
		nghttp2_session_del(session);
		free(conn);
		server->counters.faults[SERVER_FAULT_MEMORY]++;
		log_warn("rpc.peer_fault", "reason=%s error=INTERNAL_ERROR",
		    server_fault_name[SERVER_FAULT_MEMORY]);
		(void)close(fd);
		return;
	}
	conn->server = server;
	conn->budget = BUDGET_FULL;
	conn->budget_ms = clock_now_ms();
	LIST_INIT(&conn->streams);
	STAILQ_INIT(&conn->touched);
	LIST_INSERT_HEAD(&server->conns, conn, link);
	if (++server->counters.connections > server->conn_peak)
		server->conn_peak = server->counters.connections;
	timeout_arm(&conn->wait, &server->handshake);
	h2io_flush_soon(&conn->h2);
	if (server->draining)
		server_conn_tell_to_go(conn);
}
