/*
 * host.c - the server under the fuzz targets.
 */
#include "tests/fuzz/host.h"

#include "base/clock.h"
#include "base/log.h"
#include "core/loop.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/service.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define IDLE_TURNS 3   /* without a byte: at rest */
#define MAX_TURNS 2000 /* for all that the input can ask for */
#define START_MS 1000000

/*
 * Once it holds too much, it takes an answer that is on its way, small ones,
 * and headers until the requests are refused.
 */
#define BUFFERED_BYTES ((size_t)80000)
#define REPLY_BYTES ((size_t)60000)
#define CALLS 12
#define STREAMS 8
#define HEADER_BYTES ((size_t)1000)
#define HELD_MAX                                                               \
	(BUFFERED_BYTES + REPLY_BYTES + CALLS * (size_t)4200 +                 \
	    HOST_CONNS * STREAMS * HEADER_BYTES)

static uint64_t ended; /* calls, of the server that is under test */

static void
on_ended(const char *path, const void *method, enum err_code code, int64_t us)
{
	(void)method;
	fuzz_check(path != NULL && code <= ERR_UNAUTHENTICATED && us >= 0);
	ended++;
}

static const struct router router = {
	.services = service_table,
	.service_count = 4,
	.ended = on_ended,
};

/* Text for the log is made, but not shown. */
static void
on_log(enum log_level level, const char *line)
{
	(void)level;
	fuzz_check(strlen(line) > 0);
}

void
host_start(struct host *host)
{
	static const struct server_limits limits = {
		.connections = HOST_CONNS,
		.streams = STREAMS,
		.calls = CALLS,
		.request_bytes = 20000,
		.reply_bytes = REPLY_BYTES,
		.header_bytes = HEADER_BYTES,
		.buffered_bytes = BUFFERED_BYTES,
		.idle_ms = 100000,
	};
	static bool ready;

	if (!ready) {
		log_init("fuzz", LOG_LEVEL_DEBUG, LOG_FORMAT_TEXT);
		log_set_sink(on_log);
		fuzz_check(service_count == router.service_count);
		if (loop_init() < 0)
			abort();
		ready = true;
	}
	service_init();
	ended = 0;
	*host = (struct host){ .now_ms = START_MS };
	for (size_t i = 0; i < HOST_CONNS; i++)
		host->conn[i].fd = -1;
	clock_fake(host->now_ms);
	host->server = server_new(&router, &limits);
}

void
host_open(struct host *host, struct host_conn *conn)
{
	const int room = 4096;
	int fds[2];

	/* A server that drains does not listen any more. */
	if (conn->fd >= 0 || host->draining)
		return;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		fds) < 0)
		abort();
	/* A little: what the client does not read is soon our own problem. */
	if (setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room)) < 0)
		abort();
	*conn = (struct host_conn){ .fd = fds[0] };
	wire_init(&conn->wire);
	server_serve(host->server, fds[1]);
}

void
host_close(struct host_conn *conn)
{
	if (conn->fd >= 0)
		(void)close(conn->fd);
	conn->fd = -1;
}

/* Reads what is there; whether anything was. */
static bool
read_some(struct host_conn *conn)
{
	static unsigned char bytes[65536];
	bool moved = false;
	ssize_t n;

	if (conn->fd < 0 || conn->deaf || conn->over)
		return false;
	while ((n = recv(conn->fd, bytes, sizeof(bytes), 0)) > 0) {
		wire_feed(&conn->wire, bytes, (size_t)n);
		moved = true;
	}
	if (n == 0 || errno != EAGAIN)
		conn->over = true;
	return moved;
}

static bool
turn(struct host *host)
{
	bool moved = false;

	loop_turn(false);
	for (size_t i = 0; i < HOST_CONNS; i++)
		moved |= read_some(&host->conn[i]);
	return moved;
}

void
host_run(struct host *host)
{
	int turns = 0;

	for (int idle = 0; idle < IDLE_TURNS; idle++) {
		if (turn(host))
			idle = -1;
		fuzz_check(++turns < MAX_TURNS);
	}
	fuzz_check(server_counters(host->server)->buffered_bytes <= HELD_MAX);
}

void
host_send(
    struct host *host, struct host_conn *conn, const void *bytes, size_t len)
{
	const unsigned char *at = bytes;

	/* A server that does not read may be right: we do not read either. */
	for (int idle = 0; len > 0 && conn->fd >= 0 && idle < IDLE_TURNS;) {
		ssize_t n = send(conn->fd, at, len, MSG_NOSIGNAL);

		if (n > 0) {
			at += n;
			len -= (size_t)n;
		} else if (errno != EAGAIN) {
			return;
		} else {
			idle = turn(host) ? 0 : idle + 1;
		}
	}
}

void
host_wait(struct host *host, int64_t ms)
{
	host->now_ms += ms;
	clock_fake(host->now_ms);
}

static void
on_drained(struct wake *wake, int rc)
{
	struct host *host = container_of(wake, struct host, drain);

	fuzz_check(rc == 0 && !host->drained);
	fuzz_check(server_counters(host->server)->connections == 0);
	host->drained = true;
}

void
host_drain(struct host *host)
{
	host->drain.fn = on_drained;
	if (!host->draining)
		server_drain_start(host->server, &host->drain);
	host->draining = true;
}

/* Who has come has gone, and is counted so. */
static void
check_counters(struct host *host)
{
	const struct server_counters *c = server_counters(host->server);
	uint64_t refused = 0;

	for (size_t i = 0; i < SERVER_REFUSED_COUNT; i++)
		refused += c->refusals[i];
	fuzz_check(c->calls_started == c->calls_ended);
	fuzz_check(c->calls_started + refused == ended);
	fuzz_check(server_counters(host->server)->connections == 0);
	fuzz_check(server_counters(host->server)->calls == 0);
	fuzz_check(server_counters(host->server)->buffered_bytes == 0);
	fuzz_check(service_open() == 0);
}

/* The next client gets its answer. */
static void
check_served(struct host *host)
{
	static const char hello[] =
	    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	/* POST, http, then :path and content-type by name. */
	static const char call[] = "\0\0\x26\1\4\0\0\0\1\x83\x86"
				   "\x04\x09/f.S/Echo"
				   "\x0f\x10\x16"
				   "application/grpc+proto"
				   "\0\0\x0a\0\1\0\0\0\1\0\0\0\0\5probe";
	struct host_conn *conn = &host->conn[0];

	host_open(host, conn);
	host_send(host, conn, hello, sizeof(hello) - 1);
	host_send(host, conn, call, sizeof(call) - 1);
	host_run(host);
	fuzz_check(conn->wire.messages == 1 && !conn->over);
	host_close(conn);
	host_run(host);
}

void
host_end(struct host *host, bool hard)
{
	host_run(host);
	for (size_t i = 0; i < HOST_CONNS && !hard; i++)
		host_close(&host->conn[i]);
	if (!hard) {
		host_run(host);
		check_counters(host);
		fuzz_check(host->drained == host->draining);
		if (!host->draining)
			check_served(host);
	}
	server_free(host->server);
	fuzz_check(service_open() == 0);
	for (size_t i = 0; i < HOST_CONNS; i++)
		host_close(&host->conn[i]);
	clock_fake(-1);
}
