/*
 * h2conn.c - connections of the server side over nghttp2.
 */
#include "rpc/h2conn.h"

#include "base/log.h"

#define NO_RFC7540_PRIORITIES 9 /* RFC 9218 2.1 */

const uint8_t h2conn_drain_ping[8] = { 'd', 'r', 'a', 'i', 'n' };

void
h2conn_end(struct h2conn *conn, enum server_fault fault, uint32_t error)
{
	h2guard_blame(conn, fault, error);
	(void)nghttp2_session_terminate_session(conn->h2.session, error);
	h2io_end_told(&conn->h2, server_fault_name(fault));
}

/* The two steps of an orderly end, taken when the connection has its turn. */
static void
take_leave(struct h2conn *conn)
{
	nghttp2_session *session = conn->h2.session;

	if (conn->to_go && !conn->told) {
		conn->told = true;
		(void)nghttp2_submit_shutdown_notice(session);
		(void)nghttp2_submit_ping(
		    session, NGHTTP2_FLAG_NONE, h2conn_drain_ping);
	}
	if (conn->go_known && !conn->closing) {
		conn->closing = true;
		(void)nghttp2_submit_goaway(session, NGHTTP2_FLAG_NONE,
		    nghttp2_session_get_last_proc_stream_id(session),
		    NGHTTP2_NO_ERROR, NULL, 0);
	}
}

void
h2conn_tell_to_go(struct h2conn *conn)
{
	struct h2stream *s;

	conn->to_go = true;
	LIST_FOREACH (s, &conn->streams, link)
		h2stream_leave(s);
	h2io_flush_soon(&conn->h2);
}

void
h2conn_close(struct h2conn *conn)
{
	conn->go_known = true;
	h2io_flush_soon(&conn->h2);
}

bool
h2conn_is_idle(const struct h2conn *conn)
{
	return LIST_EMPTY(&conn->streams) && conn->h2.unsent.len == 0 &&
	    !conn->h2.flush.queued;
}

void
h2conn_has_no_stream(struct h2conn *conn)
{
	struct h2host *host = conn->host;

	if (host->limits.idle_ms > 0)
		timeout_arm(&conn->wait, &host->idle);
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
	take_leave(conn);
	if (h2guard_is_broke(conn) && !conn->blamed)
		h2guard_refused(conn, NGHTTP2_ERR_FLOODED);
}

/* What does it wait for, now that there is nothing else to do? */
static void
conn_rested(struct h2io *h2)
{
	struct h2conn *conn = container_of(h2, struct h2conn, h2);
	struct h2host *host = conn->host;

	if (h2->unsent.len == 0) {
		timeout_disarm(&conn->stuck);
	} else if (conn->stuck.list == NULL ||
	    conn->stuck_bytes != h2->bytes.out) {
		conn->stuck_bytes = h2->bytes.out;
		timeout_arm(&conn->stuck, &host->stuck);
	}
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
	timeout_disarm(&conn->wait);
	timeout_disarm(&conn->stuck);
	LIST_REMOVE(conn, link);
	free(conn);
	host->conn_count--;
	host->conn_left(host);
}

static int
conn_frame(struct h2io *h2, const nghttp2_frame_hd *hd)
{
	return h2guard_frame(container_of(h2, struct h2conn, h2), hd);
}

static void
conn_refused(struct h2io *h2, int error)
{
	h2guard_refused(container_of(h2, struct h2conn, h2), error);
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

	return nghttp2_session_server_new2(&conn->h2.session, host->callbacks,
		   conn, host->option) == 0 &&
	    nghttp2_submit_settings(conn->h2.session, NGHTTP2_FLAG_NONE,
		settings, countof(settings)) == 0;
}

/* One that serves `fd`, or NULL: no memory. */
static struct h2conn *
conn_get(struct h2host *host, int fd)
{
	struct h2conn *conn = calloc(1, sizeof(*conn));

	if (conn == NULL)
		return NULL;
	conn->host = host;
	if (session_start(conn) &&
	    h2io_init(&conn->h2, conn->h2.session, fd, &conn_ops) == 0)
		return conn;
	nghttp2_session_del(conn->h2.session);
	free(conn);
	return NULL;
}

void
h2conn_accept(struct h2host *host, int fd)
{
	struct h2conn *conn = conn_get(host, fd);

	host->counters.connections_accepted++;
	if (conn == NULL) {
		turn_away(host, fd);
		return;
	}
	h2guard_arm(conn);
	LIST_INIT(&conn->streams);
	STAILQ_INIT(&conn->touched);
	LIST_INSERT_HEAD(&host->conns, conn, link);
	host->conn_count++;
	timeout_arm(&conn->wait, &host->handshake);
	h2io_flush_soon(&conn->h2);
	if (host->draining)
		h2conn_tell_to_go(conn);
}
