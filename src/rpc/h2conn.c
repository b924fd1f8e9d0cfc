/*
 * h2conn.c - connections of the server side over nghttp2.
 */
#include "rpc/h2conn.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>
#include <sys/socket.h>

#define NO_RFC7540_PRIORITIES 9 /* RFC 9218 2.1 */

/* Kept for reuse. A sanitizer shall rather see who uses a dead one. */
#ifdef __SANITIZE_ADDRESS__
#define SPARE_CONNS 0
#else
#define SPARE_CONNS 64
#endif

static const uint8_t drain_ping[8] = { 'd', 'r', 'a', 'i', 'n' };

/* ---- the budget ---- */

/*
 * A peer may send so many frames at once that carry no work, and so many a
 * second in the long run. What is sent to it in answer to its calls adds to
 * that: grpc-go measures the bandwidth by pings and opens windows by the
 * bytes that it reads, and is never to be counted for it (demand: gRFC A8).
 */
#define BUDGET_FULL 1000
#define BUDGET_PER_S 100
#define BUDGET_EARNED 2 /* by a frame that carries an answer */

static bool
is_broke(struct h2conn *conn)
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

void
h2conn_spend(struct h2conn *conn, int frames)
{
	conn->budget -= frames;
}

/* ---- blame ---- */

/* Counts and logs why a connection has to end, once, and who is there. */
static void
blame(struct h2conn *conn, enum server_fault fault, uint32_t error)
{
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);

	if (conn->blamed)
		return;
	conn->blamed = true;
	conn->host->counters.faults[fault]++;
	(void)getsockopt(conn->h2.io.fd, SOL_SOCKET, SO_PEERCRED, &peer, &len);
	log_warn("rpc.peer_fault",
	    "reason=%s error=%s pid=%ld uid=%ld bytes_in=%llu bytes_out=%llu",
	    server_fault_name(fault), nghttp2_http2_strerror(error),
	    (long)peer.pid, (long)peer.uid,
	    (unsigned long long)conn->h2.bytes.in,
	    (unsigned long long)conn->h2.bytes.out);
}

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
		if (s == NULL) {
			(void)nghttp2_submit_rst_stream(session,
			    NGHTTP2_FLAG_NONE, id, NGHTTP2_REFUSED_STREAM);
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		}
		conn->called = true;
		timeout_stop(&conn->wait);
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
	struct h2stream *s = stream_get(session, frame);

	(void)flags;
	(void)arg;
	if (s != NULL)
		h2stream_on_field(s, (const char *)name, name_len,
		    (const char *)value, value_len);
	return 0;
}

static int
on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *arg)
{
	struct h2conn *conn = arg;
	bool is_ack = (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0;
	struct h2stream *s;

	if (frame->hd.type == NGHTTP2_PING && is_ack &&
	    memcmp(frame->ping.opaque_data, drain_ping, sizeof(drain_ping)) ==
		0)
		conn->go_known = true;
	if (frame->hd.type == NGHTTP2_SETTINGS &&
	    conn->wait.list == &conn->host->handshake)
		timeout_start(&conn->wait, &conn->host->first_call);
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

	switch (frame->hd.type) {
	case NGHTTP2_GOAWAY:
		if (!conn->peer_went &&
		    frame->goaway.error_code != NGHTTP2_NO_ERROR)
			blame(conn, SERVER_FAULT_PROTOCOL,
			    frame->goaway.error_code);
		return 0;
	case NGHTTP2_RST_STREAM:
		if (frame->hd.stream_id > conn->reset_id)
			conn->reset_id = frame->hd.stream_id;
		if (frame->rst_stream.error_code != NGHTTP2_NO_ERROR)
			conn->budget--;
		return 0;
	case NGHTTP2_HEADERS:
	case NGHTTP2_DATA:
		if (conn->budget < BUDGET_FULL)
			conn->budget += BUDGET_EARNED;
		break;
	default:
		return 0;
	}
	if (frame->hd.type == NGHTTP2_HEADERS &&
	    (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0 &&
	    (s = stream_get(session, frame)) != NULL)
		h2stream_on_output_end(s);
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
	struct h2conn *conn = arg;

	(void)session;
	if (frame->hd.type == NGHTTP2_GOAWAY)
		conn->peer_went = true;
	/* It is reset from here on, whenever that is sent. */
	if (frame->hd.stream_id > conn->reset_id)
		conn->reset_id = frame->hd.stream_id;
	if (error != NGHTTP2_ERR_REFUSED_STREAM)
		h2conn_spend(conn, H2CONN_COST_OF_MISTAKE);
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

void
h2conn_fill_callbacks(nghttp2_session_callbacks *cb)
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

/* ---- faults ---- */

void
h2conn_end(struct h2conn *conn, enum server_fault fault, uint32_t error)
{
	blame(conn, fault, error);
	h2io_wake(&conn->h2);
	(void)nghttp2_session_terminate_session(conn->h2.session, error);
	h2io_end_told(&conn->h2, server_fault_name(fault));
}

/*
 * Does a frame carry work? Requests do, and pieces of them: not when they are
 * empty, padded, or shorter than any that a client makes.
 */
static bool
is_work(const nghttp2_frame_hd *hd, bool stream_is_open)
{
	if (hd->type == NGHTTP2_HEADERS)
		return true;
	if (hd->type != NGHTTP2_DATA || !stream_is_open)
		return false;
	if (hd->flags & NGHTTP2_FLAG_END_STREAM)
		return true;
	return hd->length >= GRPC_PREFIX_BYTES &&
	    (hd->flags & NGHTTP2_FLAG_PADDED) == 0;
}

/*
 * A client must not go on with a stream that it has ended or reset, nor open
 * one below those that it has opened; nghttp2, which keeps no closed streams
 * here, lets both pass. What we have reset may still be under way. Source:
 * RFC 9113 5.1 and 6.3.
 */
static uint32_t
violation(struct h2conn *conn, const nghttp2_frame_hd *hd, bool stream_is_open)
{
	if (hd->type == NGHTTP2_PRIORITY && hd->stream_id == 0)
		return NGHTTP2_PROTOCOL_ERROR;
	if ((hd->type != NGHTTP2_HEADERS && hd->type != NGHTTP2_DATA) ||
	    (hd->stream_id & 1) == 0 || hd->stream_id <= conn->reset_id ||
	    stream_is_open || conn->closing)
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
	struct h2conn *conn = container_of(h2, struct h2conn, h2);
	bool is_open = hd->stream_id != 0 &&
	    nghttp2_session_find_stream(h2->session, hd->stream_id) != NULL;

	if (!nghttp2_session_want_read(h2->session))
		return 0; /* nghttp2 has given up already, and says why */
	conn->violation = violation(conn, hd, is_open);
	if (conn->violation != NGHTTP2_NO_ERROR)
		return NGHTTP2_ERR_PROTO;
	if (!is_work(hd, is_open) ||
	    (!is_open && hd->stream_id <= conn->reset_id))
		conn->budget--;
	return is_broke(conn) ? NGHTTP2_ERR_FLOODED : 0;
}

static void
conn_refused(struct h2io *h2, int error)
{
	struct h2conn *conn = container_of(h2, struct h2conn, h2);
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
	blame(conn, fault, code);
	(void)nghttp2_session_terminate_session(h2->session, code);
}

/* ---- connections ---- */

void
h2conn_close(struct h2conn *conn)
{
	nghttp2_session *session = conn->h2.session;

	if (conn->closing)
		return;
	conn->closing = true;
	h2io_wake(&conn->h2);
	(void)nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
	    nghttp2_session_get_last_proc_stream_id(session), NGHTTP2_NO_ERROR,
	    NULL, 0);
	h2io_flush_soon(&conn->h2);
}

void
h2conn_tell_to_go(struct h2conn *conn)
{
	struct h2stream *s;

	if (conn->told_to_go)
		return;
	conn->told_to_go = true;
	LIST_FOREACH (s, &conn->streams, link)
		h2stream_leave(s);
	h2io_wake(&conn->h2);
	(void)nghttp2_submit_shutdown_notice(conn->h2.session);
	(void)nghttp2_submit_ping(
	    conn->h2.session, NGHTTP2_FLAG_NONE, drain_ping);
	h2io_flush_soon(&conn->h2);
}

bool
h2conn_is_idle(const struct h2conn *conn)
{
	return LIST_EMPTY(&conn->streams) && conn->h2.unsent.len == 0 &&
	    !conn->h2.flush.queued;
}

void
h2conn_park(struct h2conn *conn)
{
	if (h2conn_is_idle(conn))
		h2io_park(&conn->h2);
}

void
h2conn_has_no_stream(struct h2conn *conn)
{
	struct h2host *host = conn->host;

	if (host->limits.idle_ms > 0)
		timeout_start(&conn->wait, &host->idle);
	host->conn_left(host);
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
		h2conn_close(conn);
	if (is_broke(conn) && !conn->blamed) {
		blame(conn, SERVER_FAULT_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM);
		(void)nghttp2_session_terminate_session(
		    h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
	}
}

/* What does it wait for, now that there is nothing else to do? */
static void
conn_rested(struct h2io *h2)
{
	struct h2conn *conn = container_of(h2, struct h2conn, h2);
	struct h2host *host = conn->host;

	if (h2->unsent.len == 0) {
		timeout_stop(&conn->stuck);
		if (LIST_EMPTY(&conn->streams))
			h2host_rest(host, conn);
	} else if (conn->stuck.list == NULL ||
	    conn->stuck_bytes != h2->bytes.out) {
		conn->stuck_bytes = h2->bytes.out;
		timeout_start(&conn->stuck, &host->stuck);
	}
}

static void
conn_put(struct h2host *host, struct h2conn *conn)
{
	if (host->spare_conn_count >= SPARE_CONNS) {
		free(conn);
		return;
	}
	LIST_INSERT_HEAD(&host->spare_conns, conn, link);
	host->spare_conn_count++;
}

static void
conn_ended(struct h2io *h2, const char *why)
{
	struct h2conn *conn = container_of(h2, struct h2conn, h2);
	struct h2host *host = conn->host;
	struct h2stream *s;

	if (why != NULL && !conn->blamed)
		log_debug("rpc.connection_lost", "reason=\"%s\"", why);
	/* The gone() of one call may answer others: by now all are lost. */
	LIST_FOREACH (s, &conn->streams, link)
		s->state = STREAM_CLOSED;
	while ((s = LIST_FIRST(&conn->streams)) != NULL)
		h2stream_lost(s);
	host->counters.bytes_in += h2->bytes.in;
	host->counters.bytes_out += h2->bytes.out;
	timeout_stop(&conn->wait);
	timeout_stop(&conn->stuck);
	timeout_stop(&conn->rest);
	LIST_REMOVE(conn, link);
	conn_put(host, conn);
	host->conn_count--;
	host->conn_left(host);
}

static const struct h2io_ops conn_ops = {
	.settle = conn_settle,
	.frame = conn_frame,
	.refused = conn_refused,
	.rested = conn_rested,
	.ended = conn_ended,
};

/* There is no memory for one more: the socket is closed, others go on. */
static void
turn_away(struct h2host *host, int fd)
{
	host->counters.faults[SERVER_FAULT_MEMORY]++;
	log_warn("rpc.peer_fault", "reason=%s error=INTERNAL_ERROR",
	    server_fault_name(SERVER_FAULT_MEMORY));
	(void)close(fd);
}

static bool
session_start(struct h2conn *conn)
{
	struct h2host *host = conn->host;
	const nghttp2_settings_entry settings[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
		    host->limits.streams },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE,
		    (uint32_t)host->limits.header_bytes },
		{ NO_RFC7540_PRIORITIES, 1 },
	};

	return session_mem_server_new(&conn->h2.mem, &conn->h2.session,
		   host->callbacks, conn, host->option) == 0 &&
	    nghttp2_submit_settings(conn->h2.session, NGHTTP2_FLAG_NONE,
		settings, countof(settings)) == 0;
}

/* One that serves `fd`, or NULL: no memory. */
static struct h2conn *
conn_get(struct h2host *host, int fd)
{
	struct h2conn *conn = LIST_FIRST(&host->spare_conns);

	if (conn != NULL) {
		LIST_REMOVE(conn, link);
		host->spare_conn_count--;
		*conn = (struct h2conn){ .host = host };
	} else {
		conn = calloc(1, sizeof(*conn));
		if (conn == NULL)
			return NULL;
		conn->host = host;
	}
	if (session_start(conn) &&
	    h2io_init(&conn->h2, conn->h2.session, fd, &conn_ops) == 0)
		return conn;
	session_mem_fini(&conn->h2.mem);
	conn_put(host, conn);
	return NULL;
}

void
h2conn_start(struct h2host *host, int fd)
{
	struct h2conn *conn = conn_get(host, fd);

	host->counters.connections_accepted++;
	if (conn == NULL) {
		turn_away(host, fd);
		return;
	}
	conn->budget = BUDGET_FULL;
	conn->budget_ms = clock_now_ms();
	LIST_INIT(&conn->streams);
	STAILQ_INIT(&conn->touched);
	LIST_INSERT_HEAD(&host->conns, conn, link);
	host->conn_count++;
	timeout_start(&conn->wait, &host->handshake);
	h2io_flush_soon(&conn->h2);
	if (host->draining)
		h2conn_tell_to_go(conn);
}
