/*
 * server.c - the listening socket and its connections.
 */
#include "rpc/server.h"

#include "base/log.h"
#include "core/loop.h"
#include "rpc/h2conn.h"
#include "rpc/listen.h"

#include <malloc.h>

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

struct server {
	struct h2host host;
	struct listener listener;
	size_t conn_peak; /* since memory was given back */
	bool told_full;   /* that there is no room is logged once */
	struct timer trim_timer;
	struct timer drain_timer;
	bool goodbye_said; /* GOAWAY's second step, to all */
	struct job drained_job;
	void (*drained)(void *arg);
	void *drained_arg;
	struct server_counters counters; /* server_counters() makes them */
};

static struct server *
server_of(struct h2host *host)
{
	return container_of(host, struct server, host);
}

static void
on_drained(struct job *job)
{
	struct server *server = container_of(job, struct server, drained_job);

	timer_disarm(&server->drain_timer);
	server->drained(server->drained_arg);
}

static void
check_drained(struct server *server)
{
	if (server->drained != NULL && server->host.conn_count == 0 &&
	    !server->drained_job.queued)
		loop_post(&server->drained_job);
}

static void
on_conn_left(struct h2host *host)
{
	struct server *server = server_of(host);

	listen_resume(&server->listener);
	if ((server->conn_peak - host->conn_count >= TRIM_CONNECTIONS ||
		host->buffered_peak - host->buffered_bytes >= TRIM_BYTES) &&
	    !timer_is_running(&server->trim_timer))
		timer_arm(&server->trim_timer, TRIM_DELAY_MS);
	check_drained(server);
}

/* One that nobody needs goes for a new one; if there is none, that waits. */
static size_t
on_room(struct listener *listener)
{
	struct server *server = container_of(listener, struct server, listener);
	struct h2host *host = &server->host;
	struct h2conn *spare;

	if (host->conn_count < host->limits.connections) {
		server->told_full = false;
		return host->limits.connections - host->conn_count;
	}
	spare = h2host_least_needed(host);
	if (spare != NULL) {
		h2conn_end(spare, SERVER_FAULT_EVICTED, NGHTTP2_NO_ERROR);
		return 1;
	}
	if (!server->told_full)
		log_warn("rpc.full", "connections=%zu", host->conn_count);
	server->told_full = true;
	return 0;
}

static void
on_accepted(struct listener *listener, int fd)
{
	server_serve(container_of(listener, struct server, listener), fd);
}

static void
on_trim_timer(struct timer *timer)
{
	struct server *server = container_of(timer, struct server, trim_timer);

	server->conn_peak = server->host.conn_count;
	server->host.buffered_peak = server->host.buffered_bytes;
	(void)malloc_trim(0);
}

static void
on_drain_timer(struct timer *timer)
{
	struct server *server = container_of(timer, struct server, drain_timer);

	if (server->goodbye_said) {
		h2host_turn_away(&server->host);
		return;
	}
	server->goodbye_said = true;
	h2host_drain_now(&server->host);
	timer_arm(timer, DRAIN_REQUEST_MS);
}

struct server *
server_new(const struct router *router, const struct server_limits *limits)
{
	struct server *server = mem_new(sizeof(*server));

	h2host_init(&server->host, router, limits, on_conn_left);
	server->listener.room = on_room;
	server->listener.accepted = on_accepted;
	server->trim_timer.fire = on_trim_timer;
	server->drain_timer.fire = on_drain_timer;
	server->drained_job.run = on_drained;
	return server;
}

int
server_listen(struct server *server, const char *endpoint,
    const struct unix_socket_file *file, struct err *err)
{
	return listen_open(&server->listener, endpoint, file, err);
}

void
server_serve(struct server *server, int fd)
{
	h2conn_accept(&server->host, fd);
	if (server->conn_peak < server->host.conn_count)
		server->conn_peak = server->host.conn_count;
}

void
server_drain(struct server *server, void (*done)(void *arg), void *arg)
{
	server->drained = done;
	server->drained_arg = arg;
	h2host_drain(&server->host);
	listen_stop(&server->listener);
	timer_arm(&server->drain_timer, DRAIN_ANSWER_MS);
	check_drained(server);
}

void
server_free(struct server *server)
{
	server->drained = NULL;
	listen_stop(&server->listener);
	h2host_fini(&server->host);
	timer_disarm(&server->trim_timer);
	timer_disarm(&server->drain_timer);
	loop_unpost(&server->drained_job);
	free(server);
}

size_t
server_buffered_bytes(const struct server *server)
{
	return server->host.buffered_bytes;
}

const struct server_counters *
server_counters(struct server *server)
{
	const struct h2conn *conn;

	server->counters = server->host.counters;
	LIST_FOREACH (conn, &server->host.conns, link) {
		server->counters.bytes_in += conn->h2.bytes.in;
		server->counters.bytes_out += conn->h2.bytes.out;
	}
	return &server->counters;
}

size_t
server_connection_count(const struct server *server)
{
	return server->host.conn_count;
}

size_t
server_call_count(const struct server *server)
{
	return server->host.call_count;
}
