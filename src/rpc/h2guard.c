/*
 * h2guard.c - the budget of a connection, what no client may do, and blame.
 */
#include "rpc/h2guard.h"

#include "base/clock.h"
#include "base/log.h"
#include "rpc/h2conn.h"

#include <sys/socket.h>

/* ---- the budget ---- */

/*
 * A peer may send so many frames at once that carry no work, and so many a
 * second in the long run. What is sent to it in answer to its calls adds to
 * that: grpc-go measures the bandwidth by pings and opens windows by the
 * bytes that it reads, and is never to be counted for it (gRFC A8).
 */
#define BUDGET_FULL 1000
#define BUDGET_PER_S 100
#define BUDGET_EARNED 2 /* by a frame that carries an answer */

bool
h2guard_is_broke(struct h2conn *conn)
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
h2guard_spend(struct h2conn *conn, int frames)
{
	conn->budget -= frames;
}

void
h2guard_earn(struct h2conn *conn)
{
	if (conn->budget < BUDGET_FULL)
		conn->budget += BUDGET_EARNED;
}

void
h2guard_arm(struct h2conn *conn)
{
	conn->budget = BUDGET_FULL;
	conn->budget_ms = clock_now_ms();
}

/* ---- frames ---- */

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

int
h2guard_frame(struct h2conn *conn, const nghttp2_frame_hd *hd)
{
	nghttp2_session *session = conn->h2.session;
	bool is_open = hd->stream_id != 0 &&
	    nghttp2_session_find_stream(session, hd->stream_id) != NULL;

	if (!nghttp2_session_want_read(session))
		return 0; /* nghttp2 has given up already, and says why */
	conn->violation = violation(conn, hd, is_open);
	if (conn->violation != NGHTTP2_NO_ERROR)
		return NGHTTP2_ERR_PROTO;
	if (!is_work(hd, is_open) ||
	    (!is_open && hd->stream_id <= conn->reset_id))
		conn->budget--;
	return h2guard_is_broke(conn) ? NGHTTP2_ERR_FLOODED : 0;
}

void
h2guard_refused(struct h2conn *conn, int error)
{
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
	case NGHTTP2_ERR_PROTO: /* h2guard_frame() */
		fault = SERVER_FAULT_PROTOCOL;
		code = conn->violation;
		break;
	default: /* no HTTP/2 at all */
		fault = SERVER_FAULT_PROTOCOL;
		code = NGHTTP2_PROTOCOL_ERROR;
	}
	h2guard_blame(conn, fault, code);
	(void)nghttp2_session_terminate_session(conn->h2.session, code);
}

/* ---- blame ---- */

void
h2guard_blame(struct h2conn *conn, enum server_fault fault, uint32_t error)
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
