/*
 * server.c - the listening socket, limits and what is done when they are
 * reached, and the orderly end.
 */
#include "config.h"

#include "rpc/server.h"

#include "base/clock.h"
#include "base/log.h"
#include "rpc/server_impl.h"

#include <errno.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>

#define BACKLOG 4096    /* the kernel cuts it to net.core.somaxconn */
#define ACCEPT_BATCH 64 /* then those who are connected get their turn */
#define RETRY_MS 100

/*
 * Our own budget of frames (server_conn.c) ends a connection earlier and says
 * why; these only stand behind it.
 */
#define RESET_BURST 4000
#define RESETS_PER_S 400
#define MAX_CONTINUATIONS 8 /* frames that continue one header list */

/* A new connection is left alone so long: its first call may be on its way. */
#define CHANCE_MS 200

/* How long a client may take to answer the ping behind the first GOAWAY. */
#define DRAIN_ANSWER_MS 1000
/* ... and after that, how long what it has begun to send may take. */
#define DRAIN_REQUEST_MS 4000

/*
 * The C library keeps what is freed. When so many connections have ended, or
 * messages of so many bytes have gone, the memory goes back to the kernel,
 * after a moment in which the next ones might come.
 */
#define TRIM_CONNECTIONS 32 /* that ended: some 800 KiB */
#define TRIM_BYTES ((size_t)1 << 20)
#define TRIM_DELAY_MS 1000

const char *const server_fault_name[SERVER_FAULT_COUNT] = {
	[SERVER_FAULT_PROTOCOL] = "protocol",
	[SERVER_FAULT_FLOOD] = "flood",
	[SERVER_FAULT_HANDSHAKE] = "handshake",
	[SERVER_FAULT_FIRST_CALL] = "first_call",
	[SERVER_FAULT_IDLE] = "idle",
	[SERVER_FAULT_STALLED] = "stalled",
	[SERVER_FAULT_SLOW_READER] = "slow_reader",
	[SERVER_FAULT_EVICTED] = "evicted",
	[SERVER_FAULT_MEMORY] = "memory",
};

const char *const server_refusal_name[SERVER_REFUSED_COUNT] = {
	[SERVER_REFUSED_MALFORMED] = "malformed",
	[SERVER_REFUSED_HEADERS] = "headers",
	[SERVER_REFUSED_CALLS] = "calls",
	[SERVER_REFUSED_MEMORY] = "memory",
	[SERVER_REFUSED_SLOW] = "slow",
	[SERVER_REFUSED_OTHER] = "other",
};

/* ---- when a time is over ---- */

static void
on_wait_over(struct timeout *timeout)
{
	struct server_conn *conn = container_of(
	    timeout, struct server_conn, wait);

	if (conn->called)
		server_conn_end(conn, SERVER_FAULT_IDLE, NGHTTP2_NO_ERROR);
	else if (conn->greeted)
		server_conn_end(
		    conn, SERVER_FAULT_FIRST_CALL, NGHTTP2_NO_ERROR);
	else
		server_conn_end(
		    conn, SERVER_FAULT_HANDSHAKE, NGHTTP2_SETTINGS_TIMEOUT);
}

static void
on_stuck(struct timeout *timeout)
{
	server_conn_end(container_of(timeout, struct server_conn, stuck),
	    SERVER_FAULT_SLOW_READER, NGHTTP2_ENHANCE_YOUR_CALM);
}

static void
on_unread(struct timeout *timeout)
{
	server_conn_end(container_of(timeout, struct server_stream, wait)->conn,
	    SERVER_FAULT_SLOW_READER, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* ---- when there is no room ---- */

/* The connection that has waited longest, if it had its chance. */
static struct server_conn *
oldest_of(const struct timeouts *list)
{
	const struct timeout *first = timeouts_oldest(list);

	if (first == NULL ||
	    clock_now_ms() < first->due_ms - list->after_ms + CHANCE_MS)
		return NULL;
	return container_of(first, struct server_conn, wait);
}

/*
 * How many connections may be made. When there is no room, one ends for a new
 * one: the oldest that never made a call though it had time to; else the
 * youngest that has nothing to do, since the old ones are sidecars, which end
 * themselves when their connection is lost.
 */
static size_t
make_room(struct server *server)
{
	struct server_conn *conn;

	if (server->counters.connections < server->limits.connections) {
		server->told_full = false;
		return server->limits.connections -
		    server->counters.connections;
	}
	conn = oldest_of(&server->handshake);
	if (conn == NULL)
		conn = oldest_of(&server->first_call);
	if (conn == NULL)
		LIST_FOREACH (conn, &server->conns, link)
			if (conn->called && LIST_EMPTY(&conn->streams) &&
			    conn->h2.unsent.len == 0 && !conn->h2.flush.queued)
				break;
	if (conn != NULL) {
		server_conn_end(conn, SERVER_FAULT_EVICTED, NGHTTP2_NO_ERROR);
		return 1;
	}
	if (!server->told_full)
		log_warn("rpc.full", "connections=%zu",
		    server->counters.connections);
	server->told_full = true;
	return 0;
}

static struct server_conn *
greediest(const struct server *server)
{
	struct server_conn *conn, *most = LIST_FIRST(&server->conns);

	LIST_FOREACH (conn, &server->conns, link)
		if (conn->buffered_bytes > most->buffered_bytes)
			most = conn;
	return most;
}

static void
on_relief(struct job *job)
{
	struct server *server = container_of(job, struct server, relief);

	while (server->counters.buffered_bytes > server->limits.buffered_bytes)
		server_conn_end(greediest(server), SERVER_FAULT_MEMORY,
		    NGHTTP2_ENHANCE_YOUR_CALM);
}

bool
server_has_room(struct server *server, const struct server_conn *conn)
{
	if (server->counters.buffered_bytes <= server->limits.buffered_bytes)
		return true;
	if (conn == greediest(server))
		return false;
	if (!server->relief.queued)
		loop_post(&server->relief);
	return true;
}

/* ---- the listening socket ---- */

static void
accept_some(struct server *server, size_t most)
{
	size_t room = make_room(server);

	for (size_t i = 0; i < most && i < room; i++) {
		int fd = accept4(
		    server->io.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd >= 0) {
			server->starved = false;
			server_serve(server, fd);
			continue;
		}
		if (errno == EAGAIN)
			return;
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* Out of descriptors or memory: let some connections end. */
		if (!server->starved)
			log_error("rpc.accept", "path=%s error=\"%s\"",
			    server->file.address.sun_path, strerror(errno));
		server->starved = true;
		room = 0;
	}
	if (room == 0) {
		server->paused = true;
		io_want(&server->io, 0);
		timer_arm(&server->accept_timer, RETRY_MS);
	}
}

static void
on_acceptable(struct io *io, int what)
{
	(void)what;
	accept_some(container_of(io, struct server, io), ACCEPT_BATCH);
}

static void
resume_accept(struct server *server)
{
	if (!server->paused || server->io.ev == NULL)
		return;
	server->paused = false;
	timer_disarm(&server->accept_timer);
	io_want(&server->io, IO_READ);
}

static void
on_accept_timer(struct timer *timer)
{
	resume_accept(container_of(timer, struct server, accept_timer));
}

int
server_listen(struct server *server, const char *endpoint,
    const struct unix_socket_file *file, struct err *err)
{
	int rc = endpoint_parse(endpoint, &server->file.address, err), fd;

	if (rc < 0)
		return rc;
	fd = unix_socket_listen(&server->file, file, BACKLOG, err);
	if (fd < 0)
		return fd;
	server->paused = false;
	io_watch(&server->io, fd, IO_READ, on_acceptable);
	return 0;
}

/* Takes what is in the queue already; the file goes if it is still ours. */
static void
stop_listening(struct server *server)
{
	if (server->io.ev == NULL)
		return;
	unix_socket_remove(&server->file);
	accept_some(server, BACKLOG);
	timer_disarm(&server->accept_timer);
	io_close(&server->io);
}

/* ---- coming and going ---- */

static void
on_trim_timer(struct timer *timer)
{
	struct server *server = container_of(timer, struct server, trim_timer);

	server->conn_peak = server->counters.connections;
	server->buffered_peak = server->counters.buffered_bytes;
	(void)malloc_trim(0);
}

void
server_conn_left(struct server *server)
{
	resume_accept(server);
	if ((server->conn_peak - server->counters.connections >=
		    TRIM_CONNECTIONS ||
		server->buffered_peak - server->counters.buffered_bytes >=
		    TRIM_BYTES) &&
	    !timer_is_running(&server->trim_timer))
		timer_arm(&server->trim_timer, TRIM_DELAY_MS);
	if (server->drained != NULL && server->counters.connections == 0) {
		timer_disarm(&server->drain_timer);
		wake_up(take_ptr(&server->drained), 0);
	}
}

/* The clients had time to answer; then, to finish what they had begun. */
static void
on_drain_timer(struct timer *timer)
{
	struct server *server = container_of(timer, struct server, drain_timer);
	struct server_conn *conn;
	struct timeout *late;

	if (server->goodbye_said) {
		while ((late = timeouts_oldest(&server->arriving)) != NULL)
			server_stream_turn_away(
			    container_of(late, struct server_stream, wait));
		return;
	}
	server->goodbye_said = true;
	LIST_FOREACH (conn, &server->conns, link) {
		conn->go_known = true;
		h2io_flush_soon(&conn->h2);
	}
	timer_arm(timer, DRAIN_REQUEST_MS);
}

void
server_drain_start(struct server *server, struct wake *waiter)
{
	struct server_conn *conn;

	server->drained = waiter;
	server->draining = true;
	LIST_FOREACH (conn, &server->conns, link)
		server_conn_tell_to_go(conn);
	stop_listening(server);
	timer_arm(&server->drain_timer, DRAIN_ANSWER_MS);
	server_conn_left(server);
}

struct server *
server_new(const struct router *router, const struct server_limits *limits)
{
	static const struct server_limits none = { .connections = 0 };
	const struct server_limits *l = limits != NULL ? limits : &none;
	struct server *server = mem_new(sizeof(*server));
	nghttp2_option *option;

	server->router = router;
	server->limits = (struct server_limits){
		.connections = l->connections ?: 512,
		.streams = l->streams ?: 256,
		.calls = l->calls ?: 4096,
		.request_bytes = l->request_bytes ?: (size_t)4 << 20,
		.reply_bytes = l->reply_bytes ?: (size_t)16 << 20,
		.header_bytes = l->header_bytes ?: (size_t)16 << 10,
		.buffered_bytes = l->buffered_bytes ?: (size_t)64 << 20,
		.handshake_ms = l->handshake_ms ?: 10 * 1000,
		.first_call_ms = l->first_call_ms ?: 5 * 60 * 1000,
		.idle_ms = l->idle_ms,
		.request_ms = l->request_ms ?: 30 * 1000,
		.write_ms = l->write_ms ?: 60 * 1000,
	};
	l = &server->limits;
	timeouts_init(&server->handshake, l->handshake_ms, on_wait_over);
	timeouts_init(&server->first_call, l->first_call_ms, on_wait_over);
	timeouts_init(&server->idle, l->idle_ms, on_wait_over);
	timeouts_init(&server->stuck, l->write_ms, on_stuck);
	timeouts_init(&server->arriving, l->request_ms, server_stream_late);
	timeouts_init(&server->unread, l->write_ms, on_unread);
	server->relief.run = on_relief;
	server->accept_timer.fire = on_accept_timer;
	server->trim_timer.fire = on_trim_timer;
	server->drain_timer.fire = on_drain_timer;

	if (nghttp2_session_callbacks_new(&server->callbacks) < 0 ||
	    nghttp2_option_new(&option) < 0)
		abort(); /* out of memory */
	server_conn_callbacks(server->callbacks);
	server->option = option;
	/* server_head.c has the rules; server_head.h tells why. */
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
	return server;
}

void
server_free(struct server *server)
{
	struct server_conn *conn;

	server->drained = NULL;
	stop_listening(server);
	while ((conn = LIST_FIRST(&server->conns)) != NULL)
		h2io_end(&conn->h2, NULL);
	loop_unpost(&server->relief);
	timeouts_fini(&server->handshake);
	timeouts_fini(&server->first_call);
	timeouts_fini(&server->idle);
	timeouts_fini(&server->stuck);
	timeouts_fini(&server->arriving);
	timeouts_fini(&server->unread);
	timer_disarm(&server->trim_timer);
	timer_disarm(&server->drain_timer);
	nghttp2_session_callbacks_del(server->callbacks);
	nghttp2_option_del(server->option);
	free(server);
}

/* ---- what it has seen ---- */

const struct server_counters *
server_counters(struct server *server)
{
	const struct server_conn *conn;

	server->told = server->counters;
	LIST_FOREACH (conn, &server->conns, link) {
		server->told.bytes_in += conn->h2.bytes_in;
		server->told.bytes_out += conn->h2.bytes_out;
	}
	return &server->told;
}

const struct server_limits *
server_limits(const struct server *server)
{
	return &server->limits;
}
