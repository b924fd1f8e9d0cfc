/*
 * h2host.c - limits, and what is done when they are reached.
 */
#include "config.h"

#include "rpc/h2host.h"

#include "base/clock.h"
#include "rpc/h2conn.h"

/*
 * Our own budget of frames (h2guard.c) ends a connection earlier and says why;
 * these only stand behind it.
 */
#define RESET_BURST 4000
#define RESETS_PER_S 400
#define MAX_CONTINUATIONS 8 /* frames that continue one header list */

/* A new connection is left alone so long: its first call may be on its way. */
#define CHANCE_MS 200

/* ---- when a time is over ---- */

static void
on_handshake_late(struct timeout *timeout)
{
	h2conn_end(container_of(timeout, struct h2conn, wait),
	    SERVER_FAULT_HANDSHAKE, NGHTTP2_SETTINGS_TIMEOUT);
}

static void
on_first_call_late(struct timeout *timeout)
{
	h2conn_end(container_of(timeout, struct h2conn, wait),
	    SERVER_FAULT_FIRST_CALL, NGHTTP2_NO_ERROR);
}

static void
on_idle(struct timeout *timeout)
{
	h2conn_end(container_of(timeout, struct h2conn, wait),
	    SERVER_FAULT_IDLE, NGHTTP2_NO_ERROR);
}

static void
on_stuck(struct timeout *timeout)
{
	h2conn_end(container_of(timeout, struct h2conn, stuck),
	    SERVER_FAULT_SLOW_READER, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void
on_arriving_late(struct timeout *timeout)
{
	h2stream_late(container_of(timeout, struct h2stream, wait));
}

static void
on_unread(struct timeout *timeout)
{
	struct h2stream *s = container_of(timeout, struct h2stream, wait);

	h2conn_end(
	    s->conn, SERVER_FAULT_SLOW_READER, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* ---- when there is no room ---- */

/* The connection that has waited longest, if it had its chance. */
static struct h2conn *
oldest_of(const struct timeouts *list)
{
	const struct timeout *first = timeouts_oldest(list);

	if (first == NULL ||
	    clock_now_ms() < first->due_ms - list->after_ms + CHANCE_MS)
		return NULL;
	return container_of(first, struct h2conn, wait);
}

struct h2conn *
h2host_least_needed(const struct h2host *host)
{
	struct h2conn *conn = oldest_of(&host->handshake);

	if (conn == NULL)
		conn = oldest_of(&host->first_call);
	if (conn != NULL)
		return conn;
	LIST_FOREACH (conn, &host->conns, link)
		if (conn->called && h2conn_is_idle(conn))
			return conn;
	return NULL;
}

static struct h2conn *
greediest(const struct h2host *host)
{
	struct h2conn *conn, *most = LIST_FIRST(&host->conns);

	LIST_FOREACH (conn, &host->conns, link)
		if (conn->buffered_bytes > most->buffered_bytes)
			most = conn;
	return most;
}

static bool
is_full(const struct h2host *host)
{
	return host->buffered_bytes > host->limits.buffered_bytes;
}

static void
on_relief(struct job *job)
{
	struct h2host *host = container_of(job, struct h2host, relief);

	while (is_full(host))
		h2conn_end(greediest(host), SERVER_FAULT_MEMORY,
		    NGHTTP2_ENHANCE_YOUR_CALM);
}

bool
h2host_has_room(struct h2host *host, const struct h2conn *conn)
{
	if (!is_full(host))
		return true;
	if (conn == greediest(host))
		return false;
	if (!host->relief.queued)
		loop_post(&host->relief);
	return true;
}

/* ---- coming and going ---- */

static void
limits_fill(struct server_limits *to, const struct server_limits *from)
{
	*to = from != NULL ? *from : (struct server_limits){ 0 };
	if (to->connections == 0)
		to->connections = 512;
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
	if (to->handshake_ms == 0)
		to->handshake_ms = 10 * 1000;
	if (to->first_call_ms == 0)
		to->first_call_ms = 5 * 60 * 1000;
	if (to->request_ms == 0)
		to->request_ms = 30 * 1000;
	if (to->write_ms == 0)
		to->write_ms = 60 * 1000;
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
    const struct server_limits *limits, void (*conn_left)(struct h2host *host))
{
	const struct server_limits *l = &host->limits;

	*host = (struct h2host){ .router = router, .conn_left = conn_left };
	limits_fill(&host->limits, limits);
	LIST_INIT(&host->conns);
	timeouts_init(&host->handshake, l->handshake_ms, on_handshake_late);
	timeouts_init(&host->first_call, l->first_call_ms, on_first_call_late);
	timeouts_init(&host->idle, l->idle_ms, on_idle);
	timeouts_init(&host->stuck, l->write_ms, on_stuck);
	timeouts_init(&host->arriving, l->request_ms, on_arriving_late);
	timeouts_init(&host->unread, l->write_ms, on_unread);
	host->relief.run = on_relief;
	if (nghttp2_session_callbacks_new(&host->callbacks) < 0 ||
	    nghttp2_option_new(&host->option) < 0)
		abort(); /* out of memory */
	h2callbacks_fill(host->callbacks);
	option_fill(host->option);
}

void
h2host_fini(struct h2host *host)
{
	struct h2conn *conn;

	while ((conn = LIST_FIRST(&host->conns)) != NULL)
		h2io_end(&conn->h2, NULL);
	loop_unpost(&host->relief);
	timeouts_fini(&host->handshake);
	timeouts_fini(&host->first_call);
	timeouts_fini(&host->idle);
	timeouts_fini(&host->stuck);
	timeouts_fini(&host->arriving);
	timeouts_fini(&host->unread);
	nghttp2_session_callbacks_del(host->callbacks);
	nghttp2_option_del(host->option);
}

void
h2host_drain(struct h2host *host)
{
	struct h2conn *conn;

	host->draining = true;
	LIST_FOREACH (conn, &host->conns, link)
		h2conn_tell_to_go(conn);
}

void
h2host_drain_now(struct h2host *host)
{
	struct h2conn *conn;

	LIST_FOREACH (conn, &host->conns, link)
		h2conn_close(conn);
}

void
h2host_turn_away(struct h2host *host)
{
	struct timeout *late;

	while ((late = timeouts_oldest(&host->arriving)) != NULL)
		h2stream_turn_away(container_of(late, struct h2stream, wait));
}
